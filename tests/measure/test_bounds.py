"""Bounds of quantiles: by order against all the cases there are, by blocks against what hangs together."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.arrays import Int64s
from harness.measure.bounds import FEWEST_BLOCKS, Bounds, all_bounds_of, bounds_of, ranks
from harness.measure.histogram import Histogram, SparseHistogram
from harness.measure.sample_size import samples_wanted

SIDE = Fraction(25, 1000)


def naive_ranks(n: int, q: Fraction) -> tuple[int | None, int | None]:
    """The ranks by definition: of each, how often so many of n values are not above the quantile, term by term."""
    terms = [math.comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(n + 1)]
    # The k-th value is above the quantile where fewer than k are not, and below it where k or more are.
    is_above = [Fraction(0), *itertools.accumulate(terms)]
    lows = [k for k in range(1, n + 1) if is_above[k] <= SIDE]
    highs = [k for k in range(1, n + 1) if 1 - is_above[k] <= SIDE]
    return (max(lows) if lows else None), (min(highs) if highs else None)


@pytest.mark.parametrize("q", [Fraction(1, 2), Fraction(9, 10), Fraction(99, 100)])
def test_ranks_are_those_of_the_definition(q: Fraction) -> None:
    """Of any number of values up to forty, and where p99 gets an upper bound."""
    for n in [*range(1, 40), 367, 368]:
        assert ranks(n, float(q)) == naive_ranks(n, q), n


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99, 0.999])
def test_the_upper_bound_exists_from_as_many_values_as_are_wanted(q: float) -> None:
    """One less, and there is none: the two modules agree."""
    wanted = samples_wanted(q)
    assert ranks(wanted, q)[1] == wanted
    assert ranks(wanted - 1, q)[1] is None


@given(st.integers(1, 100_000), st.sampled_from([0.5, 0.9, 0.99, 0.999]), st.floats(0.01, 1))
def test_values_that_are_worth_less_bound_more_widely(n: int, q: float, share: float) -> None:
    """Counted as fewer independent ones, the interval holds that of all of them, or has no end there."""
    low, high = ranks(n, q)
    wide_low, wide_high = ranks(n, q, worth=share * n)
    assert wide_low is None or (low is not None and wide_low <= low)
    assert wide_high is None or (high is not None and wide_high >= high)


def seconds(*values: Int64s) -> list[Histogram]:
    """A histogram for each array of microseconds."""
    found = []
    for each in values:
        histogram = Histogram()
        histogram.record(np.asarray(each, np.int64))
        found.append(histogram)
    return found


def even(number: int, each: int) -> list[Histogram]:
    """Seconds that have all the same values, 1 to `each` µs."""
    return seconds(*[np.arange(1, each + 1) for _ in range(number)])


def test_seconds_that_are_alike_are_bounded_by_order() -> None:
    """Where blocks vary less than chance would, the bound is that of independent values."""
    found = bounds_of(even(20, 1_000), 0.5)
    low, high = ranks(20_000, 0.5)
    assert low is not None
    assert high is not None
    assert found == Bounds(float(math.ceil(low / 20)), float(math.ceil(high / 20)), "order")


def test_seconds_that_hang_together_are_bounded_by_blocks() -> None:
    """One stall has all the slow ones: p99 has no upper bound, whatever the number of values."""
    calm, stalled = np.full(1_000, 500), np.concatenate([np.full(700, 500), np.full(300, 90_000)])
    found = bounds_of(seconds(*[calm] * 12, stalled, *[calm] * 7), 0.99)
    assert (found.low_us, found.high_us, found.by) == (500, None, "blocks")
    assert bounds_of(seconds(*[calm] * 20), 0.99).by == "order"


def test_a_trend_is_wider_than_the_same_seconds_in_turns() -> None:
    """Seconds that hang together over several of them are worth less than the same ones, shuffled."""
    levels = np.linspace(900, 1_000, 40).astype(np.int64)
    rng = np.random.default_rng(1)
    of_trend = [level + rng.integers(0, 400, 500) for level in levels]
    trend = bounds_of(seconds(*of_trend), 0.5)
    shuffled = bounds_of(seconds(*(of_trend[at] for at in rng.permutation(40))), 0.5)
    assert None not in (trend.low_us, trend.high_us, shuffled.low_us, shuffled.high_us)
    assert trend.high_us - trend.low_us > 1.3 * (shuffled.high_us - shuffled.low_us)  # type: ignore[operator]


def test_too_few_seconds_bound_nothing() -> None:
    """Whether responses hang together is not seen in a few blocks; an empty one is none of them."""
    few = even(FEWEST_BLOCKS - 1, 1_000)
    assert bounds_of(few, 0.5) == Bounds(None, None, "blocks")
    assert bounds_of([*few, Histogram()], 0.5) == Bounds(None, None, "blocks")
    assert bounds_of([*few, *even(1, 1_000)], 0.5).high_us is not None


def test_too_few_values_have_no_upper_end() -> None:
    """Of 200 values the highest is no bound of the p99; the lower end is there all the same."""
    found = bounds_of(even(10, 20), 0.99)
    assert (found.high_us, found.by) == (None, "order")
    assert found.low_us is not None


@pytest.mark.parametrize("blocks", [[], [Histogram()], [Histogram() for _ in range(20)]])
def test_nothing_has_no_bounds(blocks: list[Histogram]) -> None:
    """No value, no bound."""
    assert bounds_of(blocks, 0.99) == Bounds(None, None, "order")


def test_ends_are_those_of_the_buckets() -> None:
    """Where a bucket holds several values, the bound is on the outer side of it, so that none is left out."""
    found = bounds_of(seconds(*[np.full(100, 5_001)] * 10), 0.5)
    assert (found.low_us, found.high_us) == (5_000.0, 5_003.0)


def test_sparse_histograms_say_the_same() -> None:
    """As they are kept they need not be made dense; several quantiles at once are those one by one."""
    rng = np.random.default_rng(2)
    blocks = seconds(*(rng.lognormal(6, 1, 500).astype(np.int64) for _ in range(15)))
    qs = [0.5, 0.9, 0.99]
    found = all_bounds_of([SparseHistogram(block) for block in blocks], qs)
    assert found == [bounds_of(blocks, q) for q in qs]


@given(st.lists(st.lists(st.integers(0, 10**7), max_size=30), max_size=30), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_bound_holds_the_quantile_that_was_measured(values: list[list[int]], q: float) -> None:
    """The point lies within, whatever was measured, and a lower level never makes it wider."""
    blocks = seconds(*(np.array(each, np.int64) for each in values))
    whole = Histogram()
    for block in blocks:
        whole.add(block)
    point = whole.quantile_us(q)
    wide, narrow = bounds_of(blocks, q), bounds_of(blocks, q, 0.5)
    if wide.low_us is not None and point is not None:
        assert wide.low_us <= point
    if wide.high_us is not None and point is not None:
        assert wide.high_us >= point
    if None not in (wide.low_us, wide.high_us, narrow.low_us, narrow.high_us):
        assert (wide.low_us, narrow.high_us) <= (narrow.low_us, wide.high_us)  # type: ignore[operator]
