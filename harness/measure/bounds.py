"""How sure is a quantile? An interval that holds the true one, whatever the distribution is, in 95 of 100 cases.

    low     high    by
    6.9 ms  8.1 ms  "blocks"    p99 of 20 s at 2,000/s, in which responses hung together
    6.9 ms  None    "order"     of 300 values: 368 are the fewest of which p99 has an upper bound

**By order.** Of n independent values, how many are not above the true quantile q is binomial, whatever they are.
So the k-th of them, sorted, is an upper bound in 1 - P(Bin(n, q) >= k) of all cases, and a lower one likewise
(Thompson, 1936; David and Nagaraja, Order Statistics, 2003, 7.1). A histogram has values in buckets: the lower
bound is the low end of its bucket, the upper bound the high end.

**By blocks.** Responses are not independent: a stall meets all that were due in it. So the seconds of a run are
looked at as blocks. In each, the share of values beyond the quantile is somewhat more, or less; how much, says how
sure the share of all of them is (Woodruff, Confidence intervals for medians and other position measures, 1952).
What comes out is a number: how many *independent* values the n are worth. Then the bound by order is made, as of
so many values (Korn and Graubard, Confidence intervals for proportions with small expected number of positive
counts estimated from survey data, 1998). Three things make that number smaller:

    seconds hang together     Their variance is multiplied by (1 + r) / (1 - r), r the correlation of a second with
                              the next one; and it is taken of blocks of 2, 4, 8, ... seconds, too, as long as
                              there are `FEWEST_BLOCKS`. The least number counts.
    blocks are few            Their variance is itself not sure: (z / t)^2, t of Student with as many degrees of
                              freedom as there are blocks, less one, by (1 + r) / (1 - r).
    few blocks have it all    The same, by the kurtosis k of the blocks: 2 / (k - 1) times as many degrees, for the
                              variance of a variance is (k - 1) / 2 times that of normal values.

So both are one computation, and the wider one is that of fewer values: that by blocks, unless values repel each
other. Where even the highest value is no upper bound there is none, and none at all of fewer blocks than
`FEWEST_BLOCKS`.

What the bound is about: other seconds like those that were measured. What did not happen in them is not in it.
A stall that comes once a minute is not seen in most runs of ten seconds, and no statistic of those knows of it.

Rejected, with the figures of `examples/accuracy/coverage.py`: see docs/accuracy.md, "How sure is a quantile".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np

from harness.arrays import Floats, Int64s
from harness.measure.binomial import successes, t_quantile
from harness.measure.histogram import Histogram, SparseHistogram, highest_at, lowest_at

LEVEL = 0.95
FEWEST_BLOCKS = 5
# A correlation of seconds that is estimated from few of them is not taken for more.
_MOST_KEPT = 0.9
By = Literal["order", "blocks"]


class Bounds(msgspec.Struct, frozen=True):
    """The interval of a quantile, in microseconds; None for an end of which there are too few values or blocks.

    Attributes:
        low_us, high_us: the ends.
        by: by what: values as if each were independent, or blocks of time.
    """

    low_us: float | None
    high_us: float | None
    by: By


def bounds_of(blocks: Sequence[Histogram | SparseHistogram], q: float, level: float = LEVEL) -> Bounds:
    """The interval of a quantile.

    Args:
        blocks: of one second each, in the order of time; of a second in which nothing was due, an empty one.
        q: the quantile, above 0 and below 1.
        level: of how many cases the interval holds the true quantile: half of the rest lies at each end.
    """
    return all_bounds_of(blocks, [q], level)[0]


def all_bounds_of(
    blocks: Sequence[Histogram | SparseHistogram], qs: Sequence[float], level: float = LEVEL
) -> list[Bounds]:
    """The intervals of several quantiles of the same blocks, as `bounds_of` has them."""
    seconds = _Seconds(blocks)
    return [_bounds(seconds, q, level) for q in qs]


def ranks(n: int, q: float, level: float = LEVEL, worth: float | None = None) -> tuple[int | None, int | None]:
    """Which of `n` values, sorted, bound a quantile: their numbers, from 1; None where none of them does.

    Args:
        n: how many values.
        q: the quantile, above 0 and below 1.
        level: two-sided.
        worth: as how many independent values they count; None: all.
    """
    worth = float(n) if worth is None else worth
    if n < 1 or worth <= 0:
        return None, None
    side = (1 - level) / 2
    above = successes(worth, q, side)
    below = successes(worth, q, 1 - side)
    high = None if above is None else min(n, math.ceil(above * n / worth - 1e-9))
    if below is None:
        # Even that all of them are not above the quantile is that probable: the last one is below it.
        below = worth
    low = None if below < 1 else math.floor((below - 1) * n / worth + 1e-9) + 1
    return low, high


class _Seconds:
    """Blocks as counts that are not 0, and what they add up to."""

    def __init__(self, blocks: Sequence[Histogram | SparseHistogram]) -> None:
        self._sparse = [each if isinstance(each, SparseHistogram) else SparseHistogram(each) for each in blocks]
        whole = Histogram()
        for each in self._sparse:
            each.add_to(whole)
        self._up_to: Int64s = np.cumsum(whole.counts)
        self.total = whole.total
        self.of_block: Floats = np.array([each.counts.sum() for each in self._sparse], np.float64)

    def bucket(self, rank: int) -> int:
        """The bucket of the value of that number, from 1, in the order of all values."""
        return int(np.searchsorted(self._up_to, rank))

    def beyond(self, bucket: int) -> Floats:
        """How many values of each block are beyond a bucket."""
        counted = (each.counts[np.searchsorted(each.index, bucket, "right") :].sum() for each in self._sparse)
        return np.fromiter(counted, np.float64, len(self._sparse))


def _bounds(seconds: _Seconds, q: float, level: float) -> Bounds:
    if not seconds.total:
        return Bounds(None, None, "order")
    worth = _worth(seconds, q, level)
    if worth is None:
        return Bounds(None, None, "blocks")
    by: By = "blocks" if worth < seconds.total else "order"
    low, high = ranks(seconds.total, q, level, min(worth, float(seconds.total)))
    return Bounds(
        None if low is None else float(lowest_at(np.array([seconds.bucket(low)]))[0]),
        None if high is None else float(highest_at(np.array([seconds.bucket(high)]))[0]),
        by,
    )


def _worth(seconds: _Seconds, q: float, level: float) -> float | None:
    """As how many independent values those of all seconds count; None: of too few seconds nobody knows."""
    if np.count_nonzero(seconds.of_block) < FEWEST_BLOCKS:
        return None
    bucket = seconds.bucket(max(1, math.ceil(q * seconds.total)))
    lengths = _lengths(len(seconds.of_block))
    # On both sides of the bucket that the quantile is in: it may hold many values.
    return min(
        _worth_in_blocks(beyond, seconds.of_block, length, level)
        for beyond in (seconds.beyond(bucket - 1), seconds.beyond(bucket))
        for length in lengths
    )


def _lengths(number: int) -> list[int]:
    """The lengths of blocks: 1, 2, 4, ... seconds."""
    return [1 << power for power in range(number.bit_length()) if number >> power >= FEWEST_BLOCKS]


def _worth_in_blocks(beyond: Floats, of_block: Floats, length: int, level: float) -> float:
    """Of how many independent values the share beyond would vary as much as that of blocks of a length does."""
    number = len(beyond) // length
    total, share = float(of_block.sum()), float(beyond.sum() / of_block.sum())
    if not 0 < share < 1:
        return math.inf
    # Seconds that are left over belong to the last block.
    found = np.add.reduceat(beyond - share * of_block, np.arange(number) * length)
    squares = found**2
    whole = float(squares.sum())
    if not whole:
        return math.inf
    peaked = number * float((squares**2).sum()) / whole**2
    degrees = (number - 1) * min(1.0, 2 / max(peaked - 1, 1e-9))
    variance = number / (number - 1) * whole / total**2
    if length == 1:
        # Of a series without any correlation the estimate is -1 / number in the mean.
        kept = min(max(float((found[1:] * found[:-1]).sum()) / whole + 1 / number, 0.0), _MOST_KEPT)
        variance *= (1 + kept) / (1 - kept)
        degrees *= (1 - kept) / (1 + kept)
    side = (1 + level) / 2
    by_chance = share * (1 - share)
    return by_chance / variance * (NormalDist().inv_cdf(side) / t_quantile(side, max(1, round(degrees)))) ** 2
