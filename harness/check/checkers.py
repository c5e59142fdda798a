"""Checkers: pure functions from what a run recorded to a verdict.

    PASS      the evidence says so
    UNKNOWN   there is no evidence, or the instrument that gathered it was not fit for it
    FAIL      the evidence says otherwise

No evidence is UNKNOWN, never PASS: an empty histogram, a figure that is missing, an account that was made before
everything had drained, a checker that crashed, no checker at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from harness.account.ledger import Account
from harness.account.losses import Losses
from harness.account.order import Order
from harness.check.ratio import Ratio
from harness.measure.failures import in_words
from harness.measure.histogram import Histogram
from harness.record.load_report import LoadReport
from harness.record.run import Status, Verdict, WorkerShare

# How the wait for a drain ended: nothing waits; nothing moves any more, so that the account is closed as well; or
# the time was up while things moved, so that nobody knows what will become of what waits.
Ending = Literal["drained", "still", "time_up"]

# The exit codes of `shopbench run`.
EXIT_PASS = 0
EXIT_FAIL = 1
EXIT_USAGE = 2
EXIT_INVALID = 3

_ORDER: tuple[Status, ...] = ("PASS", "UNKNOWN", "FAIL")


def worst(verdicts: Sequence[Verdict]) -> Status:
    """The worst status of all; UNKNOWN where there is no verdict at all."""
    return worst_of([verdict.status for verdict in verdicts])


def worst_of(statuses: Sequence[Status]) -> Status:
    """The worst of some statuses; UNKNOWN where there is none."""
    return max(statuses, key=_ORDER.index, default="UNKNOWN")


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 where every verdict passes, 1 where one fails, 3 where the measurement is not valid."""
    return code_of(worst(verdicts))


def code_of(status: Status) -> int:
    """The exit code that stands for a status."""
    return {"PASS": EXIT_PASS, "UNKNOWN": EXIT_INVALID, "FAIL": EXIT_FAIL}[status]


def instrument_kept_up(name: str, send_lag: Histogram, budget_us: float) -> Verdict:
    """Whether the instrument held its schedule: send lag at p99 within the scenario's budget."""
    p99 = send_lag.quantile_us(0.99)
    if p99 is None:
        return Verdict(name=name, status="UNKNOWN", detail="nothing was sent")
    figures = f"send lag at p99 is {p99 / 1000:.2f} ms, the budget {budget_us / 1000:.2f} ms"
    if p99 > budget_us:
        return Verdict(name=name, status="UNKNOWN", detail=f"the instrument fell behind: {figures}")
    return Verdict(name=name, status="PASS", detail=f"the instrument held its schedule: {figures}")


def workers_reported(name: str, workers: Sequence[WorkerShare]) -> Verdict:
    """Whether every worker that took part has told what became of its share."""
    died = [worker for worker in workers if worker.silent_from_s is not None]
    if not workers:
        return Verdict(name=name, status="UNKNOWN", detail="no worker took part")
    if died:
        lost = ", ".join(
            f"{w.name} was last heard of at {w.silent_from_s:.1f} s, {w.unseen:,} of its operations have no record"
            for w in died
        )
        return Verdict(name=name, status="UNKNOWN", detail=f"{len(died)} of {len(workers)} workers died: {lost}")
    who = "the one worker" if len(workers) == 1 else f"each of {len(workers)} workers"
    return Verdict(name=name, status="PASS", detail=f"{who} has reported its share")


def all_answered(name: str, load: LoadReport) -> Verdict:
    """Whether every operation of a load that was due got an answer, and a good one."""
    if not load.arrivals:
        return Verdict(name=name, status="UNKNOWN", detail="no operation was due")
    of = f"of {load.arrivals:,} operations"
    if load.ok == load.arrivals:
        return Verdict(name=name, status="PASS", detail=f"all {load.arrivals:,} operations were answered")
    if load.unseen and not load.failed and load.unknown + load.dropped <= load.unseen:
        return Verdict(name=name, status="UNKNOWN", detail=f"{of} {load.unseen:,} have no record")
    detail = f"{of} {load.failed:,} failed, {load.unknown:,} got no answer, {load.dropped:,} were dropped"
    if said := in_words(load.failures):
        detail += f"; {said}"
    if load.silent_since_s is not None:
        since = f"since {load.silent_since_s:.1f} s" if load.ok + load.failed else "at all"
        detail += f"; the server has not answered {since}" + (f" ({load.away})" if load.away else "")
    return Verdict(name=name, status="FAIL", detail=detail)


def drained(
    name: str, *, ending: Ending, waited_s: float, still_s: float = 0.0, stuck: Mapping[str, int] | None = None
) -> Verdict:
    """Whether consumers handled everything that waited for them.

    Args:
        ending: of the drain.
        waited_s: for how long that might take, while things moved.
        still_s: for how long nothing had moved.
        stuck: how many events waited then: pending, and never_delivered.
    """
    if ending == "drained":
        return Verdict(name=name, status="PASS", detail="nothing waits for the consumers any more")
    if ending == "time_up":
        detail = f"consumers had not handled every event that waited for them after {waited_s:.0f} s"
        return Verdict(name=name, status="FAIL", detail=detail)
    detail = f"{_stuck_said(stuck or {})}, and nothing has moved for {still_s:.0f} s"
    return Verdict(name=name, status="FAIL", detail=detail)


def _stuck_said(stuck: Mapping[str, int]) -> str:
    count = sum(stuck.values())
    if not count:
        return "consumers have not handled every event that waited for them"
    if count == 1:
        return f"1 event is stuck: it {'is pending' if stuck.get('pending') else 'was never delivered'}"
    places = [at for at, there in stuck.items() if there]
    said = f"they {_WHERE[places[0]]}" if len(places) == 1 else _where_said(stuck.items())
    return f"{count:,} events are stuck: {said}"


def _where_said(where: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count:,} {_WHERE[at]}" for at, count in where if count)


def _account_verdict(name: str, account: Account, *, is_closed: bool, count: int, what: str, none: str) -> Verdict:
    if not account.acknowledged:
        return Verdict(name=name, status="UNKNOWN", detail="no event was acknowledged")
    if not is_closed:
        return Verdict(name=name, status="UNKNOWN", detail="not drained, so the account is not closed")
    if count:
        return Verdict(name=name, status="FAIL", detail=f"{count:,} {what}")
    return Verdict(name=name, status="PASS", detail=none)


_WHERE = {
    "trimmed_unread": "were trimmed before they were read",
    "trimmed_in_hand": "were trimmed while a consumer had them in hand",
    "not_in_stream": "are not in the stream",
    "never_delivered": "were never delivered",
    "pending": "are pending",
    "without_effect": "were acknowledged by the consumer without an effect",
    "dropped_with_consumer": "were pending of a consumer when it was deleted from the group",
    "dropped_with_group": "were pending when the group was destroyed",
    "skipped_by_group": "were skipped by the group, which was made anew or set beyond them, and never delivered",
    "unkept": "were read with NOACK and had no effect",
    "group_gone": "are in a stream that has no group any more",
    "not_pending": (
        "were passed by the group, are not pending, and had no effect: who acknowledged or skipped them "
        "was not seen"
    ),
    "unclassed": "stopped nobody knows where",
}


def where_lost(name: str) -> str:
    """What became of lost events of a class, in words that follow `they`."""
    return _WHERE.get(name, "stopped somewhere that this version does not know")


def nothing_lost(
    name: str,
    account: Account,
    *,
    ending: Ending,
    losses: Losses | None = None,
    still_s: float = 0.0,
    spared: Mapping[str, int] | None = None,
) -> Verdict:
    """Whether every acknowledged event has had its effect.

    Args:
        ending: of the drain; where it is still, what waits then is lost, and is called stuck.
        losses: where the lost ones stopped, if that is known.
        still_s: for how long nothing had moved.
        spared: how many are not lost though they have had no effect, by the reason, in words.
    """
    where = _where_said(losses.counts.items()) if losses else ""
    classed = f" ({where})" if where else ""
    stuck = sum(losses.waiting.values()) if losses and ending == "still" else 0
    still = f"nothing has moved for {still_s:.0f} s"
    of = f"of {account.acknowledged:,} appended events"
    if not stuck:
        what = f"{of} were lost: they have had no effect{classed}"
    elif stuck < account.lost:
        parts = f"{account.lost - stuck:,} were lost, {stuck:,} are stuck"
        what = f"{of} have had no effect: {parts}{classed}; {still}"
    else:
        what = f"{of} are stuck: they have had no effect{classed}, and {still}"
    but = ", ".join(f"{count:,} {reason}" for reason, count in (spared or {}).items() if count)
    return _account_verdict(
        name,
        account,
        is_closed=ending != "time_up",
        count=account.lost,
        what=what + (f"; beside these, {but}" if but else ""),
        none=f"each {of} has had its effect" + (f", but for those of which {but}" if but else ""),
    )


def nothing_twice(name: str, account: Account, *, ending: Ending) -> Verdict:
    """Whether no event has had its effect more than once."""
    return _account_verdict(
        name,
        account,
        is_closed=ending != "time_up",
        count=account.duplicated,
        what="effects were repeated: their events had had an effect before",
        none="no event has had its effect twice",
    )


def in_order(name: str, order: Order, of: tuple[str, str] = ("entity", "entities")) -> Verdict:
    """Whether the effects of each entity came in the order of its events.

    Args:
        of: what has an order: one of it, and several.
    """
    one, several = of
    if not order.effects:
        return Verdict(name=name, status="UNKNOWN", detail="no effect of an event whose place is known")
    if order.disordered:
        detail = (
            f"{order.disordered:,} of {order.effects:,} effects came after that of a later event of the same "
            f"{one}, in {order.disordered_entities:,} of {order.entities:,} {several}"
        )
        return Verdict(name=name, status="FAIL", detail=detail)
    detail = f"the effects of each of {order.entities:,} {several} came in the order of its events"
    return Verdict(name=name, status="PASS", detail=detail)


def nothing_unexpected(
    name: str, account: Account, *, ending: Ending, foreign: int = 0, examples: Sequence[str] = ()
) -> Verdict:
    """Whether no effect came from an event that nobody attempted.

    Args:
        foreign: how many effects were of no event of the producer's; these are known at any time.
        examples: what the first of them called their events.
    """
    named = f", such as {', '.join(map(repr, examples))}" if examples else ""
    if foreign and account.acknowledged:
        detail = f"{account.unexpected:,} effects came from events that nobody attempted{named}"
        return Verdict(name=name, status="FAIL", detail=detail)
    return _account_verdict(
        name,
        account,
        is_closed=ending != "time_up",
        count=account.unexpected,
        what="effects came from events that nobody attempted",
        none="every effect comes from an event that was attempted",
    )


def loss_shown(name: str, account: Account, *, ending: Ending) -> Verdict:
    """Whether events were lost, where that is what a run is to show: FAIL if none was."""
    found = nothing_lost(name, account, ending=ending)
    if found.status == "FAIL":
        return Verdict(name=name, status="PASS", detail=f"as expected, {found.detail}")
    if found.status == "PASS":
        return Verdict(name=name, status="FAIL", detail=f"a loss was expected, and {found.detail}")
    return found


def producers_unharmed(name: str, ratios: Mapping[str, Ratio | None], *, within: float) -> Verdict:
    """Whether producers were answered about as fast as before.

    FAIL needs evidence: an interval that lies beyond the tolerance as a whole. PASS needs a ratio within it; the
    interval may reach beyond, and is told, since a response at p99 on a machine that others use, too, has one
    that nearly always does: asked for the whole interval, runs there would be UNKNOWN, come what may, and who
    reads that every day no longer looks. So the tolerance is for what an outage does to producers that it
    reaches (they wait for its end, thousands of times as long as before), and the figures are for the rest. A
    ratio beyond the tolerance that may be chance is UNKNOWN, and so is one of too few seconds for an interval.

    Args:
        ratios: of the response at some quantiles, then against before; None where there was none.
        within: the tolerance: so many times as slow is not harmed yet.
    """
    told = ", ".join(f"{quantile} {_times(ratio)}" for quantile, ratio in ratios.items() if ratio is not None)
    if not ratios or any(ratio is None for ratio in ratios.values()):
        return Verdict(name=name, status="UNKNOWN", detail="there is no whole second of responses to compare")
    beyond = {quantile: ratio for quantile, ratio in ratios.items() if ratio is not None and ratio.value > within}
    detail = f"responses took {told} as long as before, the tolerance is {within:g} times"
    if any(ratio.low is not None and ratio.low > within for ratio in beyond.values()):
        return Verdict(name=name, status="FAIL", detail=detail)
    if beyond:
        return Verdict(name=name, status="UNKNOWN", detail=f"{detail}; this may be chance: measure for longer")
    return Verdict(name=name, status="PASS", detail=detail)


def _times(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f} times (too few seconds for an interval)"
    return f"{ratio.value:.2f} times ({ratio.low:.2f} to {ratio.high:.2f})"


def all_faults_done(name: str, *, planned: int, done: int) -> Verdict:
    """Whether each fault of the plan was done and has healed: what did not happen has tested nothing."""
    if not planned or done < planned:
        return Verdict(
            name=name, status="UNKNOWN", detail=f"{done:,} of {planned:,} faults were applied and healed"
        )
    return Verdict(name=name, status="PASS", detail=f"each of {planned:,} faults was applied and has healed")


def hit_in_batch(name: str, in_hand: float | None) -> Verdict:
    """Whether a consumer had events in hand when it was killed; without them its death has tested little.

    Args:
        in_hand: events that were delivered and not acknowledged while it was away, or None where nobody looked.
    """
    if in_hand is None:
        return Verdict(
            name=name, status="UNKNOWN", detail="the number of events in hand when it was killed was not seen"
        )
    if not in_hand:
        return Verdict(name=name, status="UNKNOWN", detail="it had nothing in hand when it was killed")
    return Verdict(name=name, status="PASS", detail=f"it was killed with {in_hand:,.0f} events in hand")
