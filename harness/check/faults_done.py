"""Whether a fault was what it says: pure functions from what was seen of it to a verdict.

A fault that has hit nothing proves nothing. So each kind whose name says more than what was done to a process has
a verdict: PASS, it was so, with the numbers; UNKNOWN, it was not, or nobody saw it. None of them is FAIL: what a
consumer makes of a fault is told by its account.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from pyroaring import AbstractBitMap

from harness.measure.timeline import FaultWindow
from harness.record.run import Verdict


class Parted(Struct, frozen=True, kw_only=True):
    """What a stream got: events that were published while a consumer was away, and after that.

    Attributes:
        away: while it was away.
        news: afterwards.
    """

    away: int
    news: int


class FaultFacts(Struct, frozen=True, kw_only=True):
    """What was seen of a fault beside its window; None or empty where nobody looked.

    Attributes:
        due_after: events that were due after it had begun.
        effects_meanwhile: that were had while it lasted.
        streams: what each stream got, by its name, in the order of the system's streams.
        attempts: at effects in all of the run, by outcome: A had, D known before, R refused, P refused for ever.
        taken_over_s: from its beginning until nothing was pending any more for those who had been in the group
            before it.
        still_theirs: what was pending for those in the end.
    """

    due_after: int | None = None
    effects_meanwhile: int | None = None
    streams: dict[str, Parted] = {}
    attempts: dict[str, int] = {}
    taken_over_s: float | None = None
    still_theirs: int | None = None


def _unknown(name: str, detail: str) -> Verdict:
    return Verdict(name=name, status="UNKNOWN", detail=detail)


def went_quiet(name: str, facts: FaultFacts) -> Verdict:
    """Whether nothing was published any more after a fault had begun."""
    if facts.due_after is None:
        return _unknown(name, "it was not seen whether events were due after the kill")
    if facts.due_after:
        return _unknown(name, f"{facts.due_after:,} events were due after the kill, so it was not quiet")
    return Verdict(name=name, status="PASS", detail="no event was due after the kill")


def one_backlog(name: str, facts: FaultFacts) -> Verdict:
    """Whether one stream got events while a consumer was away, and only the others got any afterwards."""
    if len(facts.streams) < 2:
        return _unknown(name, "it was not seen which stream got which events")
    (first, one), *others = facts.streams.items()
    away, news = sum(other.away for _, other in others), sum(other.news for _, other in others)
    if one.away and news and not one.news and not away:
        detail = (
            f"{first} got {one.away:,} events while the consumer was away, and none afterwards; the others got "
            f"{news:,} events afterwards, and none while it was away"
        )
        return Verdict(name=name, status="PASS", detail=detail)
    detail = (
        f"{first} got {one.away:,} events while the consumer was away and {one.news:,} afterwards, "
        f"the others {away:,} and {news:,}"
    )
    return _unknown(name, f"not one backlog, and news elsewhere: {detail}")


def others_lived_on(name: str, fault: FaultWindow | None, facts: FaultFacts) -> Verdict:
    """Whether anything of a consumer was left when its first process had been killed."""
    survivors = None if fault is None else fault.seen.get("survivors")
    if survivors is None:
        return _unknown(name, "it was not seen what was left when the first process was killed")
    if not survivors:
        return _unknown(name, "nothing was left when the first process was killed: it was a plain kill")
    had = (
        "it was not seen how many effects came meanwhile"
        if facts.effects_meanwhile is None
        else f"{facts.effects_meanwhile:,} effects were seen meanwhile"
    )
    left = "process was" if survivors == 1 else "processes were"
    detail = f"{survivors:,.0f} {left} left when the first one was killed; {had}"
    return Verdict(name=name, status="PASS", detail=detail)


def hit_while_away(name: str, fault: FaultWindow | None, done: str) -> Verdict:
    """Whether a consumer had events in hand when something was done to it while what it calls was away.

    Args:
        done: what was done to it, such as "was killed".
    """
    seen = {} if fault is None else fault.seen
    in_hand = seen.get("in_hand")
    if in_hand is None:
        return _unknown(name, f"the number of events in hand when it {done} was not seen")
    if not in_hand:
        return _unknown(name, f"it had nothing in hand when it {done}")
    detail = f"it {done} with {in_hand:,.0f} events in hand, while what it calls was away"
    took_s = seen.get("stop_took_s")
    if took_s is not None:
        detail += f", and had ended {took_s:.1f} s later"
    return Verdict(name=name, status="PASS", detail=detail)


def rolled(name: str, fault: FaultWindow | None, facts: FaultFacts) -> Verdict:
    """Whether a consumer of another name came and the old one ended; and what became of what it left."""
    seen = {} if fault is None else fault.seen
    if "left" not in seen:
        return _unknown(name, "it was not seen that another consumer took the place of the old one")
    if not seen["new_names"]:
        return _unknown(name, "the group has no new name: the new consumer calls itself as the old one did")
    if not seen["left"]:
        detail = "a consumer of another name came; nothing was pending for the old one when it had ended"
        return Verdict(name=name, status="PASS", detail=detail)
    left = f"{seen['left']:,.0f} events were pending for the old consumer when it had ended"
    if facts.taken_over_s is not None:
        after_s = facts.taken_over_s
        detail = (
            f"{left}; {after_s:.1f} s after the new one was started none was pending for the old name any more"
        )
    elif facts.still_theirs is not None:
        detail = f"{left}; {facts.still_theirs:,} still were in the end"
    else:
        detail = f"{left}; what became of them in the group was not seen"
    return Verdict(name=name, status="PASS", detail=detail)


def was_answered(name: str, outcome: str, attempts: Mapping[str, int]) -> Verdict:
    """Whether a refusal has met anybody.

    Args:
        outcome: R, refused for now, or P, refused for ever.
        attempts: of all of the run, by outcome.
    """
    words = {"R": "were refused for now", "P": "at the poisoned event were refused"}[outcome]
    if not attempts:
        return _unknown(name, "attempts at effects were not counted")
    count = attempts.get(outcome, 0)
    if not count:
        return _unknown(name, f"no attempts {words}")
    return Verdict(name=name, status="PASS", detail=f"{count:,} attempts {words}")


def redelivered(name: str, set_back: AbstractBitMap | None, tried_again: AbstractBitMap | None) -> Verdict:
    """Whether each event that the group was set back by was attempted once more.

    Args:
        set_back: the events that stood behind the group's new position; None: nobody saw.
        tried_again: those for which one more attempt at their effect was seen; None: attempts were not seen.
    """
    if set_back is None or not set_back:
        return _unknown(name, "the group was not set back by any event of this run")
    count = len(set_back)
    if tried_again is None:
        return _unknown(name, f"the group was set back by {count:,} events; attempts at effects were not seen")
    missing = len(set_back - tried_again)
    if missing:
        detail = f"of {count:,} events that the group was set back by, {missing:,} were not attempted once more"
        return _unknown(name, detail)
    detail = f"the effect of each of {count:,} events was attempted once more; this does not test claiming"
    return Verdict(name=name, status="PASS", detail=detail)
