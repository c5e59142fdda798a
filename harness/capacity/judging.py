"""Whether a probe of ours has kept its budgets: what `judging_probe` says of it, and its record's own verdicts.

Producers and consumers are judged each by itself, and the worse of the two counts:

    producers   quantiles of the response, what had no answer yet; the limit is the server, or who kept it
    consumers   lag, what waited for its effect; the limit is the consumers

A machine that is full when consumers are at their limit is theirs as well: they may have what others leave, and
that is what this machine can do. So their limit is said with it, where a server's is then not known.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from harness.capacity.budget import LAG, LatencyBudget
from harness.capacity.judging_probe import Held, ProbeSeen, growth_of, judge
from harness.capacity.point import Point
from harness.capacity.probed import Bound, Probed
from harness.check.instrument import without_cause
from harness.check.load_reached import FULL, KEPT_WAITING, MACHINE_FULL, TAKEN_AWAY, Limit, limit_of

# A server that waits for so much of the time, beside that for which it works, is kept from answering in time.
LEAST_WAIT, WAIT_SHARE = 0.02, 0.25
# What is always kept, where there is no budget.
_ANYTHING = Held(name="response", limit_us=1e15, seen_us=1.0, high_us=1.0)


def judged(point: Point, budgets: Sequence[LatencyBudget]) -> Probed:
    """Whether a probe has kept its budgets.

    Args:
        point: what it has shown.
        budgets: at least one.
    """
    if point.failed:
        return _unknown(point, f"it could not be carried out: {point.failed}")
    found = [_producers(point, budgets)]
    if point.waiting or any(each.statistic == LAG for each in budgets):
        found.append(_consumers(point, budgets))
    return _with_verdicts(point, _worse(found))


def statistic_us(point: Point, statistic: str) -> tuple[float | None, float | None]:
    """A statistic of a probe and its upper bound, in microseconds; None where there is none.

    Of lag it is the highest reading: what was seen is its own bound.
    """
    if statistic == LAG:
        lag_us = None if point.lag_s is None else point.lag_s * 1e6
        return lag_us, lag_us
    found = point.quantiles.get(statistic)
    return (None, None) if found is None else (found.value_us, found.high_us)


def _seen(point: Point, held: tuple[Held, ...], limit: Limit) -> ProbeSeen:
    return ProbeSeen(
        rate_per_s=point.rate_per_s,
        took_s=point.seconds,
        held=held or (_ANYTHING,),
        offered=point.offered,
        answered=point.answered,
        refused=point.refused,
        open_at=point.open_at,
        send_lag_us=point.send_lag_us.get("p99"),
        send_lag_budget_us=point.send_lag_budget_us,
        limit=limit,
        instrument_core=point.around.instrument_core,
        instrument_wait=point.around.instrument_wait,
        is_long=point.is_long,
    )


def _held(point: Point, budget: LatencyBudget) -> Held:
    seen_us, high_us = statistic_us(point, budget.statistic)
    return Held(
        name=budget.statistic,
        limit_us=budget.limit_us,
        seen_us=seen_us,
        high_us=high_us,
        bound="lag" if budget.statistic == LAG else "latency",
    )


def _producers(point: Point, budgets: Sequence[LatencyBudget]) -> Probed:
    held = tuple(_held(point, each) for each in budgets if each.statistic != LAG)
    return _tail_of(point, judge(_seen(point, held, limit_of(point.around))))


def _tail_of(point: Point, found: Probed) -> Probed:
    """A judgement; where a tail is too long and the server was kept from its core meanwhile, nobody knows whose.

    Of a throughput `limit_of` blames the machine where a server that wanted all of a core did not get it. A tail
    is longer as soon as the server waits for its core now and then, however little it has to do.
    """
    core, waited = point.around.server_core or 0.0, point.around.server_wait or 0.0
    is_kept = core < FULL and waited >= max(LEAST_WAIT, WAIT_SHARE * core)
    if found.status != "FAIL" or found.bound != "latency" or not is_kept:
        return found
    why = f"the server waited for a core for {waited:.0%} of the time, and had one for {core:.0%}"
    return replace(
        found, status="UNKNOWN", margin=None, bound="host", why=f"{found.why.rpartition(': ')[0]}: {why}"
    )


def _consumers(point: Point, budgets: Sequence[LatencyBudget]) -> Probed:
    # Without a budget on it, lag may be what it is; that more and more events wait may not.
    held = tuple(_held(point, each) for each in budgets if each.statistic == LAG)
    grew = max(0.0, growth_of(point.waiting))
    seen = replace(
        _seen(point, held, _limit_of_consumers(point)),
        answered=max(0, round(point.offered - grew)),
        refused=0,
        open_at=point.waiting,
    )
    found = judge(seen)
    return replace(found, why=found.why.replace("were answered by the end", "had had their effect by the end"))


def _limit_of_consumers(point: Point) -> Limit:
    """What the limit was where consumers were too slow."""
    around = point.around
    if max(around.steal or 0.0, around.throttled or 0.0) >= TAKEN_AWAY:
        return Limit("host", "a part of this machine was given to others, or a quota was used up")
    full = (around.host_busy or 0.0) >= MACHINE_FULL
    return Limit(
        "server", f"the consumers were the limit{', with all cores of this machine busy' if full else ''}"
    )


def _worse(found: Sequence[Probed]) -> Probed:
    """The worse of some judgements: FAIL, UNKNOWN, PASS; of two alike that of the smaller margin."""
    order = {"FAIL": 0, "UNKNOWN": 1, "PASS": 2}
    return min(found, key=lambda each: (order[each.status], each.margin if each.margin is not None else 0.0))


def _with_verdicts(point: Point, found: Probed) -> Probed:
    """A judgement, with what the probe's own record says besides: that its load arrived, that nothing was lost."""
    if found.status != "PASS":
        return found
    # What did not arrive in the warm-up alone is not judged. That an instrument was late makes a response longer:
    # one that keeps its budget all the same has kept it, and how late it may be is judged already.
    counted = [
        each
        for each in point.verdicts
        if each.what != "send_lag" and (each.what != "load_reached" or point.short_s != 0)
    ]
    for told in counted:
        if told.status == "FAIL" and told.what != "answered":
            bound: Bound = "backlog" if told.what in {"load_reached", "drained"} else "errors"
            why = f"{told.what}: {told.detail}"
            return replace(found, status="FAIL", margin=-found.spread, bound=bound, why=why)
    for told in counted:
        if told.status == "UNKNOWN":
            why = f"{told.what}: {without_cause(told.detail)[0]}"
            return replace(found, status="UNKNOWN", margin=None, bound=_blamed(point, told.what), why=why)
    return found


def _blamed(point: Point, what: str) -> Bound:
    """Who was in the way where a verdict on the load could not be told."""
    if what != "load_reached":
        return ""
    waited = max(point.around.instrument_wait or 0.0, point.around.server_wait or 0.0)
    return "host" if waited >= KEPT_WAITING else "instrument"


def _unknown(point: Point, why: str) -> Probed:
    return Probed(
        rate_per_s=point.rate_per_s,
        status="UNKNOWN",
        margin=None,
        bound="",
        why=why,
        took_s=point.seconds,
        is_long=point.is_long,
    )
