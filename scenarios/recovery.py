"""What an outage looks like from outside: figures from counts and readings, pure functions of them.

before the fault | away          | back
lag in its band  | lag rises     | first effect ... backlog applied ... lag back in its band
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from harness.history import History

# Applied counts over time: (nanoseconds since the run's origin, effects so far), both rising.
Applied = Sequence[tuple[int, int]]


class Recovery(Struct, frozen=True, kw_only=True):
    """How a consumer came back; each time counts from its restart, None where it did not happen."""

    first_effect_s: float | None
    back_in_band_s: float | None
    drained_s: float | None
    drain_rate_per_s: float | None


def count_at(applied: Applied, t_ns: int) -> int:
    """How many effects there were at a time."""
    return max((count for at_ns, count in applied if at_ns <= t_ns), default=0)


def recovery(applied: Applied, history: History, *, restart_ns: int, backlog_until: int) -> Recovery:
    """How a consumer came back.

    Args:
        applied: effects over time.
        history: with readings of `lag.events`.
        restart_ns: when it was asked to come back.
        backlog_until: how many effects there are once all that had been appended by then is applied.
    """
    before = count_at(applied, restart_ns)
    after = [(at_ns, count) for at_ns, count in applied if at_ns > restart_ns and count > before]
    first = after[0] if after else None
    last = next(((at_ns, count) for at_ns, count in after if count >= backlog_until), None)
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
    fault_ns = history.faults[0].start_ns if history.faults else restart_ns
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
