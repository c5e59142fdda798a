"""Faster, slower, the same, or not decided: from ratios to answers, by arithmetic alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.capacity.answers import answers, word_of
from harness.gate.decision import ALPHA, Size, Spending

SIZE = Size(relevant=0.05, margin=0.01)
ALL = Spending(share=1.0)


def rounds(effect: float, spread: float = 0.02, count: int = 24, seed: int = 4) -> list[float]:
    """Log ratios evenly about an effect, in an order that is drawn."""
    noise = np.random.default_rng(seed).permutation(np.linspace(-spread, spread, count))
    return (math.log1p(effect) + noise).tolist()


@pytest.mark.parametrize(
    ("effect", "spread", "count", "word"),
    [
        (0.10, 0.02, 24, "slower"),
        (-0.10, 0.02, 24, "faster"),
        (0.03, 0.005, 24, "slower"),
        (0.00, 0.02, 24, "same"),
        (0.00, 0.50, 24, "open"),
        (0.30, 0.02, 4, "open"),
    ],
)
def test_an_answer(effect: float, spread: float, count: int, word: str) -> None:
    """A difference beyond the margin is told either way; else sides are the same, or it is open."""
    [found] = answers({"x.p50": rounds(effect, spread, count)}, {"x.p50": SIZE}, {}, ALL).metrics
    assert found.word == word
    assert (found.low is None) == (count == 4)
    if found.low is not None and found.high is not None:
        assert found.low <= found.ratio <= found.high
        assert found.ratio == pytest.approx(1 + effect, rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_sides_that_change_places(seed: int) -> None:
    """What is slower one way is faster the other, with the same interval, turned over."""
    drawn = np.random.default_rng(seed).normal(0.04, 0.03, 30).tolist()
    [one] = answers({"x": drawn}, {"x": SIZE}, {}, ALL).metrics
    [other] = answers({"x": [-each for each in drawn]}, {"x": SIZE}, {}, ALL).metrics
    assert (one.low, one.high) == (pytest.approx(1 / (other.high or 0)), pytest.approx(1 / (other.low or 0)))
    assert one.ratio == pytest.approx(1 / other.ratio)
    turned = {"faster": "slower", "slower": "faster"}
    assert turned.get(one.word, one.word) == other.word


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.011, 0.2, "slower"),
        (-0.2, -0.011, "faster"),
        (-0.04, 0.04, "same"),
        (0.0, 0.06, "open"),
        (-0.06, 0.0, "open"),
        (-0.2, 0.2, "open"),
    ],
)
def test_an_answer_follows_from_its_interval(low: float, high: float, word: str) -> None:
    """And from nothing else: where it lies beside the margin and what matters."""
    assert word_of(low, high, SIZE) == word


def test_more_pairs_make_each_interval_wider() -> None:
    """Holm's method shares the error out over all metrics of all pairs, but not over those that are told."""
    alone = answers({"b.x": rounds(0.0)}, {"b.x": SIZE}, {}, ALL).metrics[0]
    names = [f"{letter}.{metric}" for letter in "bcd" for metric in "wxyz"]
    many = answers(
        {name: rounds(0.0, seed=at) for at, name in enumerate(names)}, dict.fromkeys(names, SIZE), {}, ALL
    )
    assert (many.metrics[0].high or 0) > (alone.high or 0)
    assert (many.metrics[0].low or 1) < (alone.low or 1)


def test_a_control_that_moved() -> None:
    """It makes all of it doubtful, and more rounds are wanted until time is up."""
    found = answers({"x": rounds(0.0)}, {"x": SIZE}, {"control.ping": rounds(0.04, 0.001)}, ALL)
    assert found.is_contaminated
    assert not found.is_final
    quiet = answers({"x": rounds(0.0)}, {"x": SIZE}, {"control.ping": rounds(0.0, 0.001)}, ALL)
    assert (quiet.is_contaminated, quiet.is_final) == (False, True)


def test_sides_that_are_alike_are_seldom_told_apart() -> None:
    """Of 3,000 comparisons without an effect at most as many as alpha allows, and some more by chance."""
    drawn = np.random.default_rng(11).standard_t(3, (3_000, 6, 16)) * 0.04
    names = [f"m{at}" for at in range(6)]
    sizes = dict.fromkeys(names, Size(relevant=0.05, margin=0.0))
    false = 0
    for each in drawn:
        found = answers(dict(zip(names, each.tolist(), strict=True)), sizes, {}, ALL)
        false += any(answer.word in {"faster", "slower"} for answer in found.metrics)
    # Three standard deviations above what it may be.
    assert false <= 3_000 * ALPHA + 3 * math.sqrt(3_000 * ALPHA)
