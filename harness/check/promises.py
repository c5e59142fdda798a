"""Verdicts on what a consumer promises: pure functions, beside those of `checkers` that hold for every line.

    at_least_once       nothing_lost                                                repeats are a figure
    effectively_once    nothing_lost, and nothing_twice: no effect was had twice, what its idempotency key has kept
                        from it left aside
    at_most_once        nothing_twice: no effect was so much as asked for twice    loss is a figure, stuck or not
    recovers_within_s   recovered_within: from a fault's healing until what waited then had had its effect

An event whose effect is refused for ever is nobody's loss. That it blocks no other is a promise that nobody has
to ask for: `poison_passed_over`. What was done with it is not asked: whoever parks it may say so in a file of
facts (`harness.account.facts`); else it may be pending for ever.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from harness.account.ledger import Account
from harness.check.checkers import Ending
from harness.record.run import Verdict

# Without an effect for so long, that is told.
_TOLD_S = 5.0


class Recovered(Struct, frozen=True, kw_only=True):
    """What became, after a fault had healed, of the events that waited then.

    Attributes:
        fault: its name.
        target: that it was done to.
        healed_ns: when it had healed, after the run's origin.
        waiting: how many events waited then.
        without_effect: how many of these have had no effect, though they should.
        took_s: until all others of them had had theirs.
        watched_s: for how long it was looked for.
    """

    fault: str
    target: str
    healed_ns: int
    waiting: int
    without_effect: int
    took_s: float
    watched_s: float


def still_at_it(name: str, *, waited_s: float, quiet_s: float) -> Verdict:
    """That consumers had not handled everything when the time was up, and it is not known whether they would have.

    Args:
        waited_s: for how long that might take.
        quiet_s: for how long there had been no effect.
    """
    detail = (
        f"consumers had not handled every event that waited for them after {waited_s:.0f} s; things still moved"
    )
    if quiet_s >= _TOLD_S:
        detail += f", though no effect had come for {quiet_s:.0f} s"
    return Verdict(name=name, status="UNKNOWN", detail=detail)


def nothing_twice_after_keys(
    name: str, account: Account, *, ending: Ending, kept_out: int, sees_repeats: bool
) -> Verdict:
    """Whether no event has had its effect twice, as `effectively_once` promises.

    Args:
        ending: of the drain.
        kept_out: how many effects were asked for again, and not had, since their idempotency key was known.
        sees_repeats: whether one that was had twice would have been seen twice.
    """
    if account.duplicated:
        return _repeated(name, account, f"{account.duplicated:,} effects were repeated")
    return _once(
        name,
        account,
        ending=ending,
        sees_repeats=sees_repeats,
        passed="no event has had its effect twice"
        + (
            f"; {kept_out:,} effects were asked for again, and their idempotency key was known" if kept_out else ""
        ),
    )


def nothing_asked_twice(
    name: str, account: Account, *, ending: Ending, kept_out: int, sees_repeats: bool
) -> Verdict:
    """Whether no effect was asked for twice, as `at_most_once` promises.

    Args:
        ending: of the drain.
        kept_out: how many effects were asked for again, and not had, since their idempotency key was known.
        sees_repeats: whether one that was had twice would have been seen twice.
    """
    if account.duplicated + kept_out:
        what = f"{account.duplicated + kept_out:,} effects were asked for again"
        return _repeated(
            name, account, f"{what}, and {account.duplicated:,} of them had again" if kept_out else what
        )
    return _once(name, account, ending=ending, sees_repeats=sees_repeats, passed="no effect was asked for twice")


def _repeated(name: str, account: Account, what: str) -> Verdict:
    # What was seen twice was had twice, however the rest ends.
    detail = f"{what}: their events had had an effect before; {account.applied:,} events have had one"
    return Verdict(name=name, status="FAIL", detail=detail)


def _once(name: str, account: Account, *, ending: Ending, sees_repeats: bool, passed: str) -> Verdict:
    if not account.applied:
        return Verdict(name=name, status="UNKNOWN", detail="no event has had an effect")
    if ending == "time_up":
        return Verdict(name=name, status="UNKNOWN", detail="not drained, so the account is not closed")
    if not sees_repeats:
        detail = (
            "no effect was seen twice, and none could be: behind a unique key a probe sees each but once; let the "
            "consumer post its effects, too"
        )
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    return Verdict(name=name, status="PASS", detail=passed)


def recovered_within(name: str, recoveries: Sequence[Recovered], *, within_s: float, may_lose: bool) -> Verdict:
    """Whether, after each fault had healed, what waited then had its effect in time.

    Args:
        recoveries: of the faults that have healed; where another began before what waited had had its effect, it
            counts from the healing of that one.
        within_s: as is promised.
        may_lose: whether events may be lost: those are no longer waited for.
    """
    if not recoveries:
        return Verdict(name=name, status="UNKNOWN", detail="no fault has healed")
    for each in recoveries:
        missing = 0 if may_lose else each.without_effect
        of = f"of {each.waiting:,} events that waited when {each.fault} of {each.target} had healed"
        if missing and each.watched_s > within_s:
            detail = (
                f"{missing:,} {of} have had no effect {each.watched_s:.1f} s later; {within_s:g} s are promised"
            )
            return Verdict(name=name, status="FAIL", detail=detail)
        if each.took_s > within_s:
            detail = f"the last {of} had its effect after {each.took_s:.2f} s; {within_s:g} s are promised"
            return Verdict(name=name, status="FAIL", detail=detail)
        if missing:
            detail = f"{missing:,} {of} have had no effect, and were waited for {each.watched_s:.1f} s only"
            return Verdict(name=name, status="UNKNOWN", detail=detail)
    if not any(each.waiting for each in recoveries):
        return Verdict(name=name, status="UNKNOWN", detail="nothing waited when a fault had healed")
    longest = max(recoveries, key=lambda each: each.took_s)
    detail = (
        f"what waited when a fault had healed had had its effect {longest.took_s:.2f} s later at most; "
        f"{within_s:g} s are promised"
    )
    return Verdict(name=name, status="PASS", detail=detail)


def poison_passed_over(
    name: str, *, poisoned: int, tried: int, blocked: int, ending: Ending, quiet_s: float, patience_s: float
) -> Verdict | None:
    """Whether what is refused for ever has kept no other event from its effect; None where nothing is.

    Args:
        poisoned: how many events are refused for ever.
        tried: how often their effects were asked for.
        blocked: how many others wait, at the end.
        ending: of the drain.
        quiet_s: for how long there had been no effect.
        patience_s: for how long nothing may move before a line is still; without an effect for as long, what is
            tried again and again gets nowhere.
    """
    if not poisoned:
        return None
    refused = f"{poisoned:,} {'event is' if poisoned == 1 else 'events are'} refused for ever"
    if not blocked and not tried:
        return Verdict(name=name, status="UNKNOWN", detail=f"{refused}, and nobody has tried to have its effect")
    if not blocked:
        return Verdict(name=name, status="PASS", detail=f"{refused}, and no other waits")
    waits = f"{blocked:,} {'other waits' if blocked == 1 else 'others wait'}"
    if ending == "still":
        return Verdict(name=name, status="FAIL", detail=f"{refused}, {waits}, and nothing moves any more")
    if quiet_s >= patience_s:
        detail = f"{refused}, {waits}, and no effect has come for {quiet_s:.0f} s"
        return Verdict(name=name, status="FAIL", detail=detail)
    detail = f"{refused}, and {waits}: the time was up while effects still came"
    return Verdict(name=name, status="UNKNOWN", detail=detail)
