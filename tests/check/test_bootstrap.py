"""The bootstrap: quantiles against a naive oracle, intervals in simulations with a known ratio."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.check.ratio import FEWEST_SECONDS, drawn, quantile_us, ratios, seconds_of, sums
from harness.measure.histogram import Histogram, SparseHistogram
from harness.measure.recorder import Interval

QS = (0.0, 0.25, 0.5, 0.9, 0.99, 1.0)
Values = list[list[int]]


def intervals(seconds: Values) -> list[Interval]:
    """One interval a second, with these values in microseconds."""
    found = []
    for second, values in enumerate(seconds):
        histogram = Histogram()
        histogram.record(np.array(values, np.int64))
        found.append(
            Interval(tag="a.response", start_s=float(second), length_s=1.0, sparse=SparseHistogram(histogram))
        )
    return found


def wandering(rng: np.random.Generator, seconds: int, per_s: int, factor: float = 1.0) -> list[Interval]:
    """Log-normal latencies around a level that wanders from second to second (first order, 0.4)."""
    level, found = 0.0, []
    for _ in range(seconds):
        level = 0.4 * level + rng.normal(0, 0.15)
        found.append((factor * rng.lognormal(6 + level, 0.5, per_s)).astype(int).tolist())
    return intervals(found)


@given(
    st.lists(st.lists(st.integers(0, 5000), max_size=8), min_size=1, max_size=6).filter(any),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_quantiles_of_what_is_drawn(seconds: Values, data: st.DataObject) -> None:
    """The quantile of drawn seconds is that of a histogram into which the same seconds are recorded one by one."""
    matrix = seconds_of(intervals(seconds))
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(seconds), max_size=len(seconds)))
    naive = Histogram()
    for count, values in zip(times, seconds, strict=True):
        for _ in range(count):
            naive.record(np.array(values, np.int64))
    cumulative = sums(matrix, np.array([times], float))
    found = [float(quantile_us(matrix, cumulative, q)[0]) for q in QS]
    expected = [math.nan if v is None else float(v) for v in naive.quantiles_us(QS)]
    np.testing.assert_array_equal(found, expected)


def test_each_second_is_drawn_equally_often() -> None:
    """Over many resamples no second is preferred, and each resample is as long as the run."""
    weights = drawn(np.random.default_rng(1), 30, 4000)
    assert (set(weights.sum(axis=1)), bool(np.all(np.abs(weights.mean(axis=0) - 1) < 0.1))) == ({30.0}, True)


def test_seconds_are_drawn_in_blocks() -> None:
    """In a run of 27 seconds, blocks of three follow one another: where one is drawn, so is a neighbour."""
    weights = drawn(np.random.default_rng(1), 27, 200)
    alone = (weights > 0) & (np.roll(weights, 1, axis=1) == 0) & (np.roll(weights, -1, axis=1) == 0)
    assert alone.sum() == 0


def test_ratio_without_resampling() -> None:
    """The ratio itself is that of the whole runs' quantiles."""
    rng = np.random.default_rng(3)
    a, b = wandering(rng, 20, 50), wandering(rng, 20, 50, 2.0)
    whole = []
    for mine in (a, b):
        histogram = Histogram()
        for interval in mine:
            interval.sparse.add_to(histogram)
        whole.append(histogram.quantiles_us(QS[1:]))
    found = ratios(seconds_of(a), seconds_of(b), QS[1:], seed=1, resamples=20)
    assert [r and r.value for r in found] == [y / x for x, y in zip(*whole, strict=True) if x and y]


def test_interval_covers_the_true_ratio() -> None:
    """In simulations with a known ratio, intervals hold it about as often as they say: 57 of 60 were due."""
    rng = np.random.default_rng(11)
    held = np.zeros(2)
    for seed in range(60):
        a, b = (seconds_of(wandering(rng, 30, 60, factor)) for factor in (1.0, 1.5))
        found = ratios(a, b, [0.5, 0.99], seed=seed, resamples=200)
        held += [
            r is not None and r.low is not None and r.high is not None and r.low <= 1.5 <= r.high for r in found
        ]
    assert bool(np.all(held >= 45))


def test_interval_of_a_run_with_itself_holds_one() -> None:
    """A run against itself is × 1, and is not told apart."""
    run = seconds_of(wandering(np.random.default_rng(5), 20, 100))
    found = ratios(run, run, [0.5, 0.9], seed=1)
    assert [(r.value, r.is_told_apart) for r in found if r] == [(1.0, False)] * 2


def test_same_seed_same_interval() -> None:
    """Resampling is a function of its seed."""
    rng = np.random.default_rng(5)
    a, b = (seconds_of(wandering(rng, 20, 100)) for _ in range(2))
    assert ratios(a, b, [0.5, 0.9], seed=7) == ratios(a, b, [0.5, 0.9], seed=7)


def test_far_apart_runs_are_told_apart() -> None:
    """Three times as slow is told apart from the same."""
    rng = np.random.default_rng(5)
    [found] = ratios(seconds_of(wandering(rng, 30, 100)), seconds_of(wandering(rng, 30, 100, 3.0)), [0.9], seed=1)
    assert found is not None
    assert found.is_told_apart


@pytest.mark.parametrize(
    ("seconds", "per_s", "q"), [(FEWEST_SECONDS - 1, 500, 0.5), (30, 20, 0.99), (30, 500, 1.0), (30, 500, 0.9999)]
)
def test_no_interval_without_evidence(seconds: int, per_s: int, q: float) -> None:
    """Too short a run, too few operations beyond a quantile, or a maximum: a ratio, and no interval."""
    rng = np.random.default_rng(5)
    a, b = (seconds_of(wandering(rng, seconds, per_s)) for _ in range(2))
    [found] = ratios(a, b, [q], seed=1)
    assert found is not None
    assert (found.low, found.high, found.is_told_apart) == (None, None, False)


def test_no_ratio_without_values() -> None:
    """Against a run that recorded nothing there is no ratio, nor against a quantile of 0."""
    run, nothing, zero = (seconds_of(intervals(v)) for v in ([[5], [6]], [[], []], [[0], [0]]))
    assert [ratios(a, b, [0.5], seed=1) for a, b in ((nothing, run), (run, nothing), (zero, run))] == [[None]] * 3


def test_seconds_without_operations_are_part_of_the_run() -> None:
    """A gap in the log is a second with nothing in it, not a shorter run."""
    first, last = intervals([[5], [7]])
    far = Interval(tag=last.tag, start_s=9.0, length_s=1.0, sparse=last.sparse)
    assert seconds_of([first, far]).counts.sum(axis=1).tolist() == [1.0, *[0.0] * 8, 1.0]


def test_long_runs_are_drawn_in_parts() -> None:
    """An hour has at most 600 rows, and every value is in one of them."""
    sparse = intervals([[5, 6, 7]])[0].sparse
    hour = [Interval(tag="a.response", start_s=float(t), length_s=1.0, sparse=sparse) for t in range(3600)]
    matrix = seconds_of(hour)
    assert (len(matrix.counts), matrix.total) == (600, 3 * 3600)
