"""What an outage, or a load too high, looks like from outside: figures from counts and readings, pure functions.

    lag                          _-|-_          excess: the area between lag and its band, from the fault on
                              _-   |  -_
                           _-      |    -_
     ----band-----------=-..detected......=-----
                        |          |      |
                      fault     restart   back in band; and then it stays there
                                   | first effect ... backlog applied

The band is what lag was before the first fault, at its highest. What is to be expected of a drain follows from two
rates: what waits at the first effect shrinks by what is applied and grows by what arrives, so it takes

    waiting / (drain rate - arrival rate)

The capacity of a consumer is found with a load that rises in a straight line, by so much each second. As long as
it is below the capacity, lag is about proportional to it (what arrives during a batch); from then on what is too
much piles up. So lag is fitted, by least squares, with

    a + b t + rise / 2 max(0, t - takeoff)²            of all moments tried as takeoff, the one that fits best

Rejected: to fit the last factor, too. It is known, and a stall of half a second, which bends the curve elsewhere,
then moves the takeoff by much more; in simulations by up to a quarter, in place of a tenth.
Rejected as well: the highest rate of effects as the capacity. It is what was measured at best, also while a
backlog was worked off in full batches, and says nothing where the load never reached the capacity.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from harness.arrays import Floats
from harness.measure.timeline import FaultWindow, History

# Over time: (nanoseconds since the run's origin, different events that have had an effect so far), both rising.
# A repeated effect does not count: it brings no event nearer to its end.
Applied = Sequence[tuple[int, int]]


class Recovery(Struct, frozen=True, kw_only=True):
    """How a consumer came back; each time counts from its restart, None where it did not happen.

    Until the first effect it starts; from then on it drains.
    """

    first_effect_s: float | None
    back_in_band_s: float | None
    drained_s: float | None
    drain_rate_per_s: float | None


def count_at(applied: Applied, t_ns: int) -> int:
    """How many effects there were at a time."""
    at = bisect.bisect_right(applied, t_ns, key=lambda look: look[0])
    return applied[at - 1][1] if at else 0


def recovery(
    applied: Applied, history: History, *, restart_ns: int, backlog_until: Callable[[int], int]
) -> Recovery:
    """How a consumer came back.

    Args:
        applied: effects over time.
        history: with readings of `lag.events`.
        restart_ns: when it was asked to come back.
        backlog_until: how many effects there are once all that had been appended by a moment is applied. What
            waits is what had been appended by the first effect: until then it grows.
    """
    before = count_at(applied, restart_ns)
    after = [(at_ns, count) for at_ns, count in applied if at_ns > restart_ns and count > before]
    first = after[0] if after else None
    until = backlog_until(first[0]) if first else 0
    last = next(((at_ns, count) for at_ns, count in after if count >= until), None)
    rate = None
    # From the first effect seen to the last of the backlog; what one look has seen at once gives no rate.
    if first and last and last[0] > first[0]:
        rate = (last[1] - first[1]) / ((last[0] - first[0]) / 1e9)
    return Recovery(
        first_effect_s=(first[0] - restart_ns) / 1e9 if first else None,
        back_in_band_s=_back_in_band_s(history, restart_ns),
        drained_s=(last[0] - restart_ns) / 1e9 if last else None,
        drain_rate_per_s=rate,
    )


def _back_in_band_s(history: History, restart_ns: int) -> float | None:
    """When lag is back where it was before the first fault, and stays there."""
    fault_ns = first_fault_ns(history) if history.faults else restart_ns
    readings = [(r.t_ns, r.value) for r in history.readings("lag.events") if r.value is not None]
    before = [value for t_ns, value in readings if t_ns < fault_ns]
    after = [(t_ns, value) for t_ns, value in readings if t_ns >= restart_ns]
    if not before or not after:
        return None
    highest = max(before)
    outside = [t_ns for t_ns, value in after if value > highest]
    if not outside:
        return (after[0][0] - restart_ns) / 1e9
    inside = next((t_ns for t_ns, _ in after if t_ns > outside[-1]), None)
    return (inside - restart_ns) / 1e9 if inside is not None else None


def highest_rate_per_s(applied: Applied, *, over_ns: int, from_ns: int, to_ns: int) -> float | None:
    """The highest rate of effects over any span of a length, within some time; None without such a span."""
    best: float | None = None
    start = 0
    points = [(at_ns, count) for at_ns, count in applied if from_ns <= at_ns <= to_ns]
    for at_ns, count in points:
        while start < len(points) and at_ns - points[start][0] >= over_ns:
            rate = (count - points[start][1]) / ((at_ns - points[start][0]) / 1e9)
            best = rate if best is None else max(best, rate)
            start += 1
    return best


def first_fault_ns(history: History) -> int:
    """When the first fault began that was planned; where only faults by hand were done, the first of those.

    Raises:
        IndexError: there was none.
    """
    planned = (fault for fault in history.faults if not fault.by_hand)
    return next(planned, history.faults[0]).start_ns


def band(history: History) -> float | None:
    """The highest lag in events before the first fault; None where nobody looked before it, or there was none."""
    if not history.faults:
        return None
    fault_ns = history.faults[0].start_ns
    return max((value for t_ns, value in _lag(history) if t_ns < fault_ns), default=None)


def highest_lag(history: History, from_ns: int) -> float | None:
    """The most events that waited from a moment on; None where nobody looked."""
    return max((value for t_ns, value in _lag(history) if t_ns >= from_ns), default=None)


def _lag(history: History) -> list[tuple[int, float]]:
    return [(r.t_ns, r.value) for r in history.readings("lag.events") if r.value is not None]


def detected_s(history: History) -> float | None:
    """From the first fault to the first reading of lag above its band; None where there was none."""
    highest = band(history)
    if highest is None:
        return None
    fault_ns = first_fault_ns(history)
    return next(((t_ns - fault_ns) / 1e9 for t_ns, v in _lag(history) if t_ns >= fault_ns and v > highest), None)


def excess_lag_event_s(history: History) -> float | None:
    """The area between lag and its band from the first fault on, in event seconds; None without a band.

    Readings are joined by straight lines, below the band there is nothing to be made good.
    """
    highest = band(history)
    if highest is None:
        return None
    fault_ns = first_fault_ns(history)
    after = [(t_ns / 1e9, max(0.0, value - highest)) for t_ns, value in _lag(history) if t_ns >= fault_ns]
    return sum(
        (later_s - at_s) * (value + next_value) / 2
        for (at_s, value), (later_s, next_value) in itertools.pairwise(after)
    )


def back_after_s(history: History, fault: FaultWindow) -> float | None:
    """From a fault's healing until lag is first back in the band; None where it was not seen to be."""
    highest, end_ns = band(history), fault.end_ns
    if highest is None or end_ns is None:
        return None
    return next(((t_ns - end_ns) / 1e9 for t_ns, v in _lag(history) if t_ns >= end_ns and v <= highest), None)


def caught_up_ns(applied: Applied, due_at: Callable[[int], int], *, from_ns: int, within: float) -> int | None:
    """When effects had first caught up with what was due, after a time; None where they did not.

    Args:
        applied: effects over time.
        due_at: how many arrivals were due by a time in nanoseconds.
        from_ns: effects before it do not count.
        within: so many events may wait all the same, as they did before the fault.
    """
    return next((at for at, count in applied if at > from_ns and count >= due_at(at) - within), None)


def predicted_drain_s(
    waiting: float, *, drain_per_s: float, arrival_per_s: float, arriving_s: float
) -> float | None:
    """How long it takes until nothing waits: waiting / (drain rate - arrival rate), while there are arrivals.

    Args:
        waiting: events, at the beginning.
        drain_per_s: events applied, a second.
        arrival_per_s: events that come meanwhile, a second.
        arriving_s: for how long they come; what waits then is drained without more to come.
    """
    if drain_per_s <= 0:
        return None
    if waiting <= 0:
        return 0.0
    net_per_s = drain_per_s - arrival_per_s
    if net_per_s > 0 and waiting / net_per_s <= arriving_s:
        return waiting / net_per_s
    arriving_s = max(0.0, arriving_s)
    return arriving_s + (waiting - net_per_s * arriving_s) / drain_per_s


# Capacity ---------------------------------------------------------------------------------------------------


# Of these many moments the best is taken as the takeoff.
_MOMENTS = 200
_FEWEST_READINGS = 20


def slope_per_s(points: Sequence[tuple[float, float]]) -> float | None:
    """How fast a value grows: the slope of the straight line through (seconds, value) by least squares."""
    if len({at_s for at_s, _ in points}) < 2:
        return None
    at, value = np.array(points, np.float64).T
    at -= at.mean()
    return float((at @ (value - value.mean())) / (at @ at))


def takeoff_s(
    points: Sequence[tuple[float, float]], *, rise_per_s2: float, least_growth_per_s: float
) -> float | None:
    """When lag begins to grow without bound under a load that rises in a straight line.

    Args:
        points: (seconds, lag in events), while the load rises.
        rise_per_s2: by how much the rate of arrivals grows each second.
        least_growth_per_s: how fast lag has to grow at the end, beyond its straight line, to be without bound.

    Returns:
        The moment, or None where lag never took off: it grows less than that, or fits a straight line as well.
    """
    if len(points) < _FEWEST_READINGS or rise_per_s2 <= 0:
        return None
    at, lag = np.array(points, np.float64).T
    moments = np.linspace(at[0], at[-1], _MOMENTS + 2)[1:-1]
    basis, _ = np.linalg.qr(np.stack([np.ones_like(at), at], axis=1))
    piles = rise_per_s2 / 2 * np.maximum(0.0, at[:, None] - moments) ** 2
    # Whatever piles up, a constant and a slope are fitted to the rest: what these cannot tell is the error.
    lag_left: Floats = lag - basis @ (basis.T @ lag)
    left: Floats = lag_left[:, None] - (piles - basis @ (basis.T @ piles))
    errors = np.einsum("ij,ij->j", left, left)
    best = int(np.argmin(errors))
    # A takeoff that leaves more than half of what the line alone leaves is not what has happened.
    if rise_per_s2 * (at[-1] - moments[best]) < least_growth_per_s or errors[best] > (lag_left @ lag_left) / 2:
        return None
    return float(moments[best])
