"""How sure is a ratio of two quantiles? A confidence interval from the seconds that they were measured in.

Two spans of time, of one run or of two, are each n seconds: n histograms. The quantile of a span is that of their
sum. What would it have been, had other seconds of the same kind been measured? Draw n seconds from the span, with
replacement, add up their histograms, take the quantile; do so for both spans, and divide; repeat. The middle 95 %
of the ratios are the interval (the percentile method of Efron and Tibshirani, An Introduction to the Bootstrap,
1993, chapter 13).

Seconds are not independent: a pause of the garbage collector, an fsync or a neighbour on the machine lasts more
than one. So blocks of seconds that follow one another are drawn, on a circle, so that each second is drawn
equally often (Politis and Romano, A circular block-resampling procedure, 1992); a block has about the cube root
of n seconds.

    seconds   0 1 2 3 4 5 6 7 8          blocks of 2 that begin at 3, 0, 8, 6, 3
    drawn     3 4 0 1 8 0 6 7 3

What the interval covers is the variation within these two spans. What moves all seconds of one of them alike is
not in it: where memory came to lie, what else the machine did, how warm it was. So two runs of one and the same
program can have intervals that do not contain 1; only more runs a side tell.

The method is known to be a little too sure of itself with few, dependent seconds. In simulations of spans of
12 to 60 seconds, whose level wanders (`tests/check/test_bootstrap.py` has some), its 95 % held the true ratio
in 86 to 94 of 100 cases.

The largest value has no interval: a maximum of what was drawn is never above the maximum of what was measured,
so that the bootstrap says nothing of it. The same is true of a quantile beyond which a span has only a handful
of operations: fewer than `FEWEST_BEYOND`, and there is none; nor is there one for fewer than `FEWEST_SECONDS`.

Alternative rejected: an interval from the operations rather than the seconds. There are thousands of them, so
it is narrow, and it is wrong, since they are anything but independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from harness.arrays import Floats, Int64s
from harness.measure.histogram import SparseHistogram, highest_at
from harness.measure.recorder import Interval

RESAMPLES = 1_000
CONFIDENCE = 0.95
# Of fewer seconds than these no interval is told, and it has as many operations beyond its quantile.
FEWEST_SECONDS = 8
FEWEST_BEYOND = 10
# A span of an hour is drawn in parts of six seconds: the same answer, in a sixth of the time.
_MOST_SECONDS = 600


class Ratio(msgspec.Struct, frozen=True):
    """How many times one span's figure that of another is, with the ends of its interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_told_apart(self) -> bool:
        """Whether the whole interval lies on one side of 1; never without an interval."""
        return self.low is not None and self.high is not None and not self.low <= 1.0 <= self.high


class Seconds(msgspec.Struct, frozen=True):
    """The histograms of a tag's seconds as a matrix: `counts[second, column]`, of values `values_us[column]`."""

    values_us: Int64s
    counts: Floats

    @property
    def total(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())


def seconds_of(intervals: Sequence[Interval]) -> Seconds:
    """The intervals of one tag as a matrix, in the order of time; long spans in parts of several seconds."""
    if not intervals:
        return Seconds(np.zeros(0, np.int64), np.zeros((0, 0)))
    by_second: dict[int, list[SparseHistogram]] = {}
    for interval in intervals:
        by_second.setdefault(int(interval.start_s // 1), []).append(interval.sparse)
    first, last = min(by_second), max(by_second)
    span = -(-(last - first + 1) // _MOST_SECONDS)
    columns = np.unique(np.concatenate([i.sparse.index for i in intervals]))
    # A second in which nothing was due is a row of zeros: it is part of the span, too.
    counts = np.zeros(((last - first) // span + 1, columns.size))
    for second, parts in by_second.items():
        for sparse in parts:
            counts[(second - first) // span, np.searchsorted(columns, sparse.index)] += sparse.counts
    return Seconds(highest_at(columns.astype(np.int64)), counts)


def sums(seconds: Seconds, weights: Floats) -> Floats:
    """Weighted sums of a span's seconds, cumulated over its values: `[resample, column]`.

    Args:
        seconds: the span.
        weights: `[resample, second]`, how often each second is taken.
    """
    cumulative: Floats = np.cumsum(weights @ seconds.counts, axis=1)
    return cumulative


def quantile_us(seconds: Seconds, cumulative: Floats, q: float) -> Floats:
    """The quantile of each sum in microseconds, NaN where a sum is empty.

    Args:
        seconds: the span.
        cumulative: its sums.
        q: 0 to 1; its rank as `harness.measure.histogram.Histogram.quantiles_us` has it.
    """
    totals = cumulative[:, -1]
    wanted = min(q, 1.0) * totals
    ranks = np.maximum(1.0, np.ceil(wanted - np.spacing(wanted)))
    at = np.minimum((cumulative < ranks[:, None]).sum(axis=1), seconds.values_us.size - 1)
    found: Floats = np.where(totals > 0, seconds.values_us[at].astype(np.float64), np.nan)
    return found


def drawn(rng: np.random.Generator, seconds: int, resamples: int) -> Floats:
    """How often each second is drawn, as `[resample, second]`: blocks on a circle, cut to `seconds` in all."""
    block = max(1, round(seconds ** (1 / 3)))
    starts = rng.integers(0, seconds, (resamples, -(-seconds // block)))
    at = (starts[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :seconds] % seconds
    weights = np.zeros((resamples, seconds))
    np.add.at(weights, (np.arange(resamples)[:, None], at), 1.0)
    return weights


def ratios(
    first: Seconds, other: Seconds, qs: Sequence[float], *, seed: int, resamples: int = RESAMPLES
) -> list[Ratio | None]:
    """The other span's quantiles by the first one's, with intervals where the spans are long enough for them.

    Args:
        first, other: the seconds of one tag in each span.
        qs: quantiles, 0 to 1; of 1, the maximum, there is no interval.
        seed: of the resampling; the same seed gives the same intervals.
        resamples: how many.

    Returns:
        One for each quantile: None where a span has no values, or the first one's quantile is 0.
    """
    if not first.total or not other.total:
        return [None for _ in qs]
    whole = [sums(span, np.ones((1, len(span.counts)))) for span in (first, other)]
    resampled: list[Floats] = []
    if any(_is_enough(first, q) and _is_enough(other, q) for q in qs):
        rng = np.random.default_rng(seed)
        resampled = [sums(span, drawn(rng, len(span.counts), resamples)) for span in (first, other)]
    found: list[Ratio | None] = []
    for q in qs:
        of_first, of_other = (float(quantile_us(r, w, q)[0]) for r, w in zip((first, other), whole, strict=True))
        if not of_first:
            found.append(None)
        elif _is_enough(first, q) and _is_enough(other, q):
            lower, upper = (quantile_us(r, w, q) for r, w in zip((first, other), resampled, strict=True))
            found.append(_with_interval(of_other / of_first, lower, upper))
        else:
            found.append(Ratio(of_other / of_first))
    return found


def _with_interval(value: float, of_first: Floats, of_other: Floats) -> Ratio:
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = of_other / of_first
    usable = resampled[np.isfinite(resampled)]
    # Where hardly a resample has values in both runs, what they say is not about the spans.
    if usable.size < resampled.size / 2:
        return Ratio(value)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(usable, [tail, 1 - tail])
    # With few and coarse values the resampled ratios may all lie beside the ratio; an interval holds its own.
    return Ratio(value, min(float(low), value), max(float(high), value))


def _is_enough(seconds: Seconds, q: float) -> bool:
    return len(seconds.counts) >= FEWEST_SECONDS and (1 - q) * seconds.total >= FEWEST_BEYOND
