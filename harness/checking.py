"""Checkers: pure functions from what a run recorded to a verdict.

    PASS      the evidence says so
    UNKNOWN   there is no evidence, or the instrument that gathered it was not fit for it
    FAIL      the evidence says otherwise

No evidence is UNKNOWN, never PASS: an empty histogram, a figure that is missing, an account that was made before
everything had drained, a checker that crashed, no checker at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.ledger import Account, Losses, Order
from harness.recording import Histogram
from harness.run import Status, Verdict, WorkerShare

# The exit codes of `shopbench run`.
EXIT_PASS = 0
EXIT_FAIL = 1
EXIT_USAGE = 2
EXIT_INVALID = 3

_ORDER: tuple[Status, ...] = ("PASS", "UNKNOWN", "FAIL")


def worst(verdicts: Sequence[Verdict]) -> Status:
    """The worst status of all; UNKNOWN where there is no verdict at all."""
    if not verdicts:
        return "UNKNOWN"
    return max((verdict.status for verdict in verdicts), key=_ORDER.index)


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 where every verdict passes, 1 where one fails, 3 where the measurement is not valid."""
    return {"PASS": EXIT_PASS, "UNKNOWN": EXIT_INVALID, "FAIL": EXIT_FAIL}[worst(verdicts)]


def checked(name: str, checker: Callable[[], Verdict]) -> Verdict:
    """The verdict of a checker; UNKNOWN where it crashes."""
    try:
        return checker()
    except Exception as error:  # noqa: BLE001 - whatever breaks in a checker, its verdict is UNKNOWN
        return Verdict(name=name, status="UNKNOWN", detail=f"the checker crashed: {type(error).__name__}: {error}")


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
    return Verdict(name=name, status="PASS", detail=f"each of {len(workers)} workers has reported its share")


def all_answered(
    name: str, *, arrivals: int, ok: int, failed: int, unknown: int, dropped: int, unseen: int = 0
) -> Verdict:
    """Whether every operation that was due got an answer, and a good one.

    Args:
        unseen: how many of the unknown and dropped ones are so only because a worker died.
    """
    if not arrivals:
        return Verdict(name=name, status="UNKNOWN", detail="no operation was due")
    if ok == arrivals:
        return Verdict(name=name, status="PASS", detail=f"all {arrivals:,} operations were answered")
    if unseen and not failed and unknown + dropped <= unseen:
        return Verdict(name=name, status="UNKNOWN", detail=f"of {arrivals:,} operations {unseen:,} have no record")
    detail = f"of {arrivals:,} operations {failed:,} failed, {unknown:,} got no answer, {dropped:,} were dropped"
    return Verdict(name=name, status="FAIL", detail=detail)


def drained(name: str, *, is_drained: bool, waited_s: float) -> Verdict:
    """Whether consumers handled everything that waited for them."""
    if is_drained:
        return Verdict(name=name, status="PASS", detail="consumers have handled all that waited for them")
    detail = f"consumers had not handled all that waited for them after {waited_s:.0f} s"
    return Verdict(name=name, status="FAIL", detail=detail)


def _account_verdict(
    name: str, account: Account, *, is_drained: bool, count: int, what: str, none: str
) -> Verdict:
    if not account.acknowledged:
        return Verdict(name=name, status="UNKNOWN", detail="no event was acknowledged")
    if not is_drained:
        return Verdict(name=name, status="UNKNOWN", detail="not drained, so the account is not closed")
    if count:
        return Verdict(name=name, status="FAIL", detail=f"{count:,} {what}")
    return Verdict(name=name, status="PASS", detail=none)


_WHERE = {
    "not_in_stream": "are not in the stream",
    "never_delivered": "were never delivered",
    "pending": "are pending",
    "without_effect": "were acknowledged by the consumer without an effect",
    "unclassed": "stopped nobody knows where",
}


def nothing_lost(name: str, account: Account, *, is_drained: bool, losses: Losses | None = None) -> Verdict:
    """Whether every acknowledged event has had its effect.

    Args:
        losses: where the lost ones stopped, if that is known.
    """
    where = [f"{count:,} {_WHERE[at]}" for at, count in (losses.counts if losses else {}).items() if count]
    classed = f" ({', '.join(where)})" if where else ""
    return _account_verdict(
        name,
        account,
        is_drained=is_drained,
        count=account.lost,
        what=f"of {account.acknowledged:,} acknowledged events were lost: they have had no effect{classed}",
        none=f"each of {account.acknowledged:,} acknowledged events has had its effect",
    )


def nothing_twice(name: str, account: Account, *, is_drained: bool) -> Verdict:
    """Whether no event has had its effect more than once."""
    return _account_verdict(
        name,
        account,
        is_drained=is_drained,
        count=account.duplicated,
        what="effects happened again for an event that had had its effect",
        none="no event has had its effect twice",
    )


def in_order(name: str, order: Order) -> Verdict:
    """Whether the effects of each entity came in the order of its events."""
    if not order.effects:
        return Verdict(name=name, status="UNKNOWN", detail="no effect of an event whose place is known")
    if order.disordered:
        detail = (
            f"{order.disordered:,} of {order.effects:,} effects came after that of a later event of the same "
            f"entity, in {order.disordered_entities:,} of {order.entities:,} entities"
        )
        return Verdict(name=name, status="FAIL", detail=detail)
    detail = f"the effects of each of {order.entities:,} entities came in the order of its events"
    return Verdict(name=name, status="PASS", detail=detail)


def nothing_unexpected(name: str, account: Account, *, is_drained: bool) -> Verdict:
    """Whether no effect came from an event that nobody attempted."""
    return _account_verdict(
        name,
        account,
        is_drained=is_drained,
        count=account.unexpected,
        what="effects came from events that nobody attempted",
        none="every effect comes from an event that was attempted",
    )
