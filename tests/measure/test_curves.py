"""Curves: counts that only grow, and what came of them in each second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.curves import add_curve, bounds, curve_of, interpolated, per_second, readings_of
from harness.measure.timeline import History

S = 1_000_000_000


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=20))
def test_a_curve_of_seconds_gives_them_back(counts: list[int]) -> None:
    """Counts by second, put on a timeline and read again, are the same counts by second."""
    history = History()
    add_curve(history, "answered", list(readings_of(counts)), offset_ns=3 * S, load="always")
    curve = curve_of(history, "answered", load="always", offset_ns=3 * S)
    assert per_second(curve) == [(float(second), float(count)) for second, count in enumerate(counts)]
    assert curve_of(history, "answered") == []


def test_a_schedule_that_ends_within_a_second() -> None:
    """The last reading stands where the schedule ends, and its rate is that of the part of a second."""
    curve = list(readings_of([100, 50], scheduled_ns=1_500_000_000))
    assert curve[-1] == (1_500_000_000, 150)
    assert per_second(curve) == [(0.0, 100.0), (1.0, 100.0)]


def test_between_two_looks() -> None:
    """A curve lies between the looks around a moment; before the first and after the last one side is open."""
    curve = [(S, 10.0), (2 * S, 30.0)]
    assert bounds(curve, S) == (10.0, 10.0)
    assert bounds(curve, 3 * S // 2) == (10.0, 30.0)
    assert bounds(curve, 0) == (None, 10.0)
    assert bounds(curve, 3 * S) == (30.0, None)
    assert bounds([], S) == (None, None)


def test_a_gap_is_no_zero() -> None:
    """Where looks are too far apart, or a server has lost what it had, nothing is said of the time between."""
    curve = [(0, 0.0), (S, 100.0), (4 * S, 400.0), (5 * S, 50.0), (6 * S, 150.0)]
    assert per_second(curve) == [
        (0.0, 100.0), (1.0, None), (2.0, None), (3.0, None), (4.0, None), (5.0, 100.0),
    ]  # fmt: skip
    assert bounds(curve, 9 * S // 2) == (None, None)
    assert interpolated(curve, 2 * S, within_ns=S) is None
    assert interpolated(curve, S // 2, within_ns=S) == pytest.approx(50.0)
