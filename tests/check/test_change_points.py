"""Change points: found where they are, hardly ever where there are none, and as a naive count has them."""

from __future__ import annotations

import itertools
import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.check.change_points import (
    ALPHA,
    LEAST,
    _doubled_ranks,
    _scores,
    _stretches,
    _surprise,
    change_points,
)

FEW = st.lists(st.integers(0, 9).map(float), min_size=2 * LEAST, max_size=11)


def naive_surprise(values: list[float], begin: int, end: int) -> float:
    """Of all choices of as many values, the share whose ranks have a sum as far from the mean: -log10 of it."""
    ranks = [sum(v < value for v in values) + (values.count(value) + 1) / 2 for value in values]
    mean = sum(ranks) * (end - begin) / len(ranks)
    distance = abs(sum(ranks[begin:end]) - mean)
    sums = [sum(chosen) for chosen in itertools.combinations(ranks, end - begin)]
    return -math.log10(sum(abs(found - mean) >= distance - 1e-9 for found in sums) / len(sums))


@settings(max_examples=25, deadline=None)
@given(FEW.filter(lambda values: len(set(values)) > 1))
def test_surprise_is_that_of_all_choices(values: list[float]) -> None:
    """How much a stretch stands out is what counting all choices of as many values says, ties and all."""
    ranks = _doubled_ranks(np.array(values))
    begins, ends = _stretches(len(values), only_splits=False)
    found = _scores(ranks[None, :], begins, ends, _surprise(tuple(sorted(ranks.tolist()))))[0]
    expected = [naive_surprise(values, begin, end) for begin, end in zip(begins, ends, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1, 2), min_size=0, max_size=20), st.integers(0, 20), st.floats(1.0, 3.0))
def test_only_the_order_of_values_counts(values: list[float], place: int, shift: float) -> None:
    """Another unit, or another scale with the same order, has its changes at the same places."""
    series = [value + (shift if at >= place else 0) for at, value in enumerate(values)]
    places = [(change.at, change.p) for change in change_points(series)]
    assert [(c.at, c.p) for c in change_points([8 * value for value in series])] == places


@pytest.mark.parametrize("count", range(2 * LEAST))
def test_few_values_tell_nothing(count: int) -> None:
    """Too few values for two levels have no change point, none at all included."""
    assert change_points([float(at) for at in range(count)]) == []


@pytest.mark.parametrize("values", [[5.0] * 60, [0.0] * 59 + [1.0], [1.0] * 57 + [90.0, 95.0, 1.0]])
def test_no_new_level(values: list[float]) -> None:
    """The same again and again, and a bad day or two, are no change of level."""
    assert change_points(values) == []


@pytest.mark.parametrize("place", [5, 15, 25])
def test_a_clear_step_is_found_where_it_is(place: int) -> None:
    """The change point is the first value of the new level, and tells both levels."""
    wobble = [0.1 * (at % 3) for at in range(30)]
    values = [100 + w + (20 if at >= place else 0) for at, w in enumerate(wobble)]
    [change] = change_points(values)
    assert (change.at, change.p <= ALPHA) == (place, True)
    assert (change.before, change.after) == (median(values[:place]), median(values[place:]))


def test_the_highest_value_of_the_lower_level_belongs_to_it() -> None:
    """Where a level ends is told by the values, not by ranks alone: 0.9 is nearer to 0 than to 200."""
    low = [0.1 * (at % 7) for at in range(35)]
    [change] = change_points([*low, 0.9, 200.0, 201.0, 202.0, 203.0])
    assert change.at == 36


def test_up_and_down_again() -> None:
    """A level between two equal ones has its two ends."""
    generator = np.random.default_rng(4)
    values = generator.normal(100, 1, 60)
    values[20:40] += 10
    assert [change.at for change in change_points(list(values))] == [20, 40]


@pytest.mark.parametrize(
    ("noise", "series", "most"), [("normal", 1_000, 6), ("heavy", 1_000, 6), ("rounded", 150, 3)]
)
def test_noise_has_no_change_points(noise: str, series: int, most: int) -> None:
    """About `ALPHA` of series of one level have a change point: more than so many would be 1 chance in 10,000."""
    generator = np.random.default_rng(3)
    draw = {
        "normal": lambda: generator.normal(100, 2, 30),
        "heavy": lambda: generator.standard_t(2, 30),
        "rounded": lambda: generator.poisson(1, 30).astype(float),
    }[noise]
    assert sum(bool(change_points(list(draw()))) for _ in range(series)) <= most


def test_power() -> None:
    """A step of three spreads, ten values ago in forty, is found in nearly all series, within two places."""
    generator = np.random.default_rng(5)
    found = 0
    for _ in range(200):
        values = generator.normal(100, 1, 40)
        values[30:] += 3
        found += any(abs(change.at - 30) <= 2 for change in change_points(list(values)))
    assert found >= 190
