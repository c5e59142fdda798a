"""The slope of a series and its bounds: right where it is known, wide where little is, and judged by them."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from harness.check.growth import Growth, growth_of, steady
from harness.record.run import Status


def series(per_h: float, *, noise: float = 0.0, seed: int = 0, seconds: int = 600) -> list[tuple[float, float]]:
    """A reading a second of something that grows evenly."""
    generator = np.random.default_rng(seed)
    return [(float(at), 50 + per_h * at / 3600 + noise * generator.normal()) for at in range(seconds)]


@pytest.mark.parametrize("per_h", [0.0, 12.0, -7.5])
def test_a_straight_line_has_its_slope(per_h: float) -> None:
    """Without noise the slope is exact, and so are its bounds."""
    growth = growth_of(series(per_h))
    assert growth is not None
    assert (growth.per_h, growth.low_per_h, growth.high_per_h) == pytest.approx((per_h, per_h, per_h), abs=1e-6)
    assert growth.blocks == 24


def test_the_bounds_hold_the_slope() -> None:
    """In 95 of 100 series of noise the true slope lies within them; of 400, by chance 361 at least."""
    held = 0
    for seed in range(400):
        growth = growth_of(series(30, noise=4, seed=seed))
        assert growth is not None
        held += growth.low_per_h <= 30 <= growth.high_per_h
    assert held >= 361


def test_the_bounds_are_those_of_a_second_account() -> None:
    """Of eight medians: N = 28 slopes, C = 1.96 sqrt(8 7 21 / 18) = 15.8; the 6th from either end."""
    values = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0, 6.0]
    points = [(block * 60 + at, value) for block, value in enumerate(values) for at in (10, 20, 30, 40, 50)]
    growth = growth_of(points)
    assert growth is not None
    slopes = sorted((values[j] - values[i]) / ((j - i) * 60) for j in range(8) for i in range(j))
    assert growth.low_per_h == pytest.approx(3_600 * slopes[5])
    assert growth.high_per_h == pytest.approx(3_600 * slopes[22])
    assert growth.per_h == pytest.approx(3_600 * (slopes[13] + slopes[14]) / 2)


def test_one_burst_makes_no_slope() -> None:
    """A rewrite that takes twice the memory in the last moments does not turn the line."""
    points = series(0, noise=1, seed=3)
    growth = growth_of([(at, value * 2 if at >= 580 else value) for at, value in points])
    assert growth is not None
    assert growth.low_per_h <= 0 <= growth.high_per_h


@pytest.mark.parametrize("points", [[], series(1)[:39], [(0.0, 1.0)] * 400])
def test_too_few_readings_have_no_slope(points: list[tuple[float, float]]) -> None:
    """Nothing is said of a few readings, or of many at one moment."""
    assert growth_of(points) is None


FLAT = Growth(per_h=1, low_per_h=-3, high_per_h=2, level=50, blocks=24, lasted_s=600)


@pytest.mark.parametrize(
    ("growth", "most", "status", "words"),
    [
        (FLAT, 2.0, "PASS", "Memory grew by 1 % an hour (-3 to 2, by 24 medians over 600 s); 2 may be"),
        (FLAT, 1.9, "UNKNOWN", "a longer run can tell"),
        (replace(FLAT, low_per_h=1.9), 1.9, "UNKNOWN", "a longer run can tell"),
        (replace(FLAT, low_per_h=1.95), 1.9, "FAIL", "1.9 may be"),
        (replace(FLAT, per_h=-4, high_per_h=-1), 0.0, "PASS", "0 may be"),
        (None, 2.0, "UNKNOWN", "too little was seen of memory"),
    ],
)
def test_whether_something_is_steady(growth: Growth | None, most: float, status: Status, words: str) -> None:
    """It fails by its lowest slope, passes by its highest, and is not known between them."""
    verdict = steady("x", "Memory", growth, most, "%")
    assert (verdict.status, words in verdict.detail) == (status, True), verdict.detail
