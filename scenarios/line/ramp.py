"""What a ramp shows of consumers: the rate of arrivals at which their lag starts to grow without bound."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from harness.measure.timeline import History
from scenarios.line.recovery import Applied, count_at, takeoff_s

# Lag that grows by less than this share of the arrivals is not without bound.
LEAST_GROWTH_SHARE = 0.05
# Where appends are behind the schedule by more than this, they are no longer a load that rises in a straight line.
BEHIND_S = 0.1


class Rise(Protocol):
    """A load that rises in a straight line: from which rate to which, and for how long."""

    @property
    def base_per_s(self) -> float:
        """Where it begins."""
        ...

    @property
    def peak_per_s(self) -> float:
        """Where it ends."""
        ...

    @property
    def load_s(self) -> float:
        """How long it takes."""
        ...


class Ramped(Struct, frozen=True, kw_only=True):
    """What a ramp has shown.

    Attributes:
        capacity_per_s: the rate of arrivals at which lag started to grow without bound; None where it never did.
        highest_per_s: up to which rate appends kept to the schedule; what came after it says nothing.
    """

    capacity_per_s: float | None
    highest_per_s: float


def ramped(chosen: Rise, history: History, applied: Applied) -> Ramped:
    """What a ramp has shown, as far as appends kept to its schedule.

    Args:
        chosen: the ramp.
        history: with readings of `lag.events`.
        applied: effects over time; what was appended by a time is what had its effect, and what waited.
    """
    rise_per_s2 = (chosen.peak_per_s - chosen.base_per_s) / chosen.load_s
    points: list[tuple[float, float]] = []
    kept = 0
    for reading in history.readings("lag.events"):
        at_s = reading.t_ns / 1e9
        if reading.value is None or not 0 <= at_s <= chosen.load_s:
            continue
        points.append((at_s, reading.value))
        due = chosen.base_per_s * at_s + rise_per_s2 * at_s * at_s / 2
        behind = due - count_at(applied, reading.t_ns) - reading.value
        if behind <= BEHIND_S * (chosen.base_per_s + rise_per_s2 * at_s):
            kept = len(points)
    # A stall that was made up for is no end; what comes after the last reading on schedule is none of the ramp.
    del points[kept:]
    highest_per_s = chosen.base_per_s + rise_per_s2 * (points[-1][0] if points else 0.0)
    off_s = takeoff_s(points, rise_per_s2=rise_per_s2, least_growth_per_s=LEAST_GROWTH_SHARE * highest_per_s)
    return Ramped(
        capacity_per_s=chosen.base_per_s + rise_per_s2 * off_s if off_s is not None else None,
        highest_per_s=highest_per_s,
    )
