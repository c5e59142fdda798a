"""Does something grow? The slope of a series over time, with its bounds, and whether it is within what may be.

    readings  ....::..:.:::..:..::.:   ->   medians of blocks   o  o o  o  o o   ->   slope, from low to high

A soak asks what hours show: memory that is not given back, a list that gets longer, a heap that falls apart. What
is read from one moment to the next goes up and down, and one reading is much like the one before. So time is cut
into some twenty equal blocks, and of each the median is taken. The slope is the median of the slopes between all
pairs of these (Theil 1950, Sen 1968): a burst in one block, or a fall at a restart, does not turn it. Its bounds
are Sen's, at 95 %: the pairs' slopes in order, as far from the middle as Kendall's S is by chance

    C = 1.96 sqrt(n (n - 1) (2 n + 5) / 18)     of N = n (n - 1) / 2 slopes those of rank (N - C) / 2 from each end

which supposes that blocks do not hang together. They do where the series wanders more slowly than a block lasts;
then the bounds are too narrow, and only a longer run tells.

A verdict compares the bounds, not the slope: FAIL where the lowest slope is above what may be, PASS where the
highest is not, else UNKNOWN, which a longer run can decide. That something shrinks is no growth.

Rejected: a line by least squares. One burst of a rewrite at the end of a run makes a slope out of nothing.

Sources: H. Theil, A rank-invariant method of linear and polynomial regression analysis (1950); P. K. Sen,
Estimates of the regression coefficient based on Kendall's tau, JASA 63 (1968), 1379-1389.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from harness.record.run import Verdict

BLOCKS, FEWEST_BLOCKS, FEWEST_IN_A_BLOCK = 24, 8, 5
_Z = 1.959963984540054
_HOUR_S = 3600.0


class Growth(Struct, frozen=True, kw_only=True):
    """How a series goes over time.

    Attributes:
        per_h: its slope, a hour.
        low_per_h, high_per_h: the bounds of that.
        level: the median of the series.
        blocks: of how many medians these are.
        lasted_s: from the first of these to the last.
    """

    per_h: float
    low_per_h: float
    high_per_h: float
    level: float
    blocks: int
    lasted_s: float


def growth_of(points: Sequence[tuple[float, float]]) -> Growth | None:
    """The slope of a series; None where there are too few readings for its bounds.

    Args:
        points: when each was read, in seconds, and what it was.
    """
    medians = _medians(points)
    n = len(medians)
    if n < FEWEST_BLOCKS:
        return None
    at_s, values = np.array(medians).T
    first, second = np.triu_indices(n, 1)
    slopes = np.sort((values[second] - values[first]) / (at_s[second] - at_s[first])) * _HOUR_S
    by_chance = _Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, math.floor((slopes.size - by_chance) / 2) - 1)
    high = min(slopes.size - 1, math.ceil((slopes.size + by_chance) / 2))
    return Growth(
        per_h=float(np.median(slopes)),
        low_per_h=float(slopes[low]),
        high_per_h=float(slopes[high]),
        level=float(np.median([value for _, value in points])),
        blocks=n,
        lasted_s=float(at_s[-1] - at_s[0]),
    )


def _medians(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The medians of each block of time, of when it was read and of what; those with too few are left out."""
    if len(points) < FEWEST_BLOCKS * FEWEST_IN_A_BLOCK:
        return []
    at_s, values = np.array(sorted(points)).T
    count = min(BLOCKS, len(points) // FEWEST_IN_A_BLOCK)
    edges = np.linspace(at_s[0], at_s[-1], count + 1)
    block = np.clip(np.searchsorted(edges, at_s, "right") - 1, 0, count - 1)
    return [
        (float(np.median(at_s[block == number])), float(np.median(values[block == number])))
        for number in range(count)
        if np.count_nonzero(block == number) >= FEWEST_IN_A_BLOCK
    ]


def steady(name: str, what: str, growth: Growth | None, most_per_h: float, unit: str) -> Verdict:
    """Whether a series grows by no more than it may.

    Args:
        name: of the verdict.
        what: grows, as a sentence begins.
        growth: of it; None: too little of it was seen.
        most_per_h: that it may grow by in an hour.
        unit: of both.
    """
    if growth is None:
        return Verdict(name=name, status="UNKNOWN", detail=f"too little was seen of {what[:1].lower()}{what[1:]}")
    between = f"{growth.low_per_h:,.4g} to {growth.high_per_h:,.4g}"
    by = f"{growth.per_h:,.4g} {unit}".rstrip()
    detail = (
        f"{what} grew by {by} an hour ({between}, by {growth.blocks} medians over "
        f"{growth.lasted_s:,.0f} s); {most_per_h:,.4g} may be"
    )
    if growth.low_per_h > most_per_h:
        return Verdict(name=name, status="FAIL", detail=detail)
    if growth.high_per_h <= most_per_h:
        return Verdict(name=name, status="PASS", detail=detail)
    return Verdict(name=name, status="UNKNOWN", detail=f"{detail}: a longer run can tell")
