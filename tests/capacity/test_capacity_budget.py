"""Budgets: durations in words, and what is none."""

from __future__ import annotations

import pytest

from harness.capacity.budget import LatencyBudget, budgets_of, budgets_said, duration_said, duration_us


@pytest.mark.parametrize(
    ("text", "us"),
    [("5ms", 5_000.0), ("300us", 300.0), ("300 µs", 300.0), ("1 s", 1e6), ("0.5s", 5e5), ("2min", 120e6)],
)
def test_a_duration_in_words(text: str, us: float) -> None:
    """A number and its unit, with a space or without."""
    assert duration_us(text) == pytest.approx(us)


@pytest.mark.parametrize("text", ["5", "", "ms", "-5ms", "5 m", "fast", "1e3ms", "0ms", "5ms 3ms"])
def test_what_is_no_duration(text: str) -> None:
    """Without a unit nobody knows what was meant; and nothing is done within no time."""
    with pytest.raises(ValueError, match=r"duration|more than 0"):
        duration_us(text)


def test_budgets_in_their_order() -> None:
    """However they were given, quantiles come first, and the message says which option was wrong."""
    given = {"lag": "1s", "p99": "5ms", "p50": None, "p99.9": "20 ms"}
    found = budgets_of(given)
    assert found == [LatencyBudget("p99", 5_000.0), LatencyBudget("p99.9", 20_000.0), LatencyBudget("lag", 1e6)]
    assert budgets_said(found) == "p99 <= 5 ms and p99.9 <= 20 ms and lag <= 1 s"
    with pytest.raises(ValueError, match=r"^--p99: 'soon' is no duration"):
        budgets_of({"p99": "soon"})


@pytest.mark.parametrize(("us", "said"), [(20.0, "20 µs"), (1_500.0, "1.5 ms"), (999.0, "999 µs"), (2e6, "2 s")])
def test_a_duration_is_said_in_the_unit_that_fits(us: float, said: str) -> None:
    """As a reader would write it."""
    assert duration_said(us) == said
