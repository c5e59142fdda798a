"""Is the other side faster, slower, or the same? From the ratios of rounds to an answer, by arithmetic alone.

    log ratio   of one metric in one round: ln(other / first); -0.05 is 5 % faster
    interval    those true effects that the signed-rank test would not reject, from either end
    margin      within it a difference is noise, whatever the test says
    relevant    from here on a difference matters; within it two sides are the same

              relevant   margin 0 margin   relevant
    faster -------|--------|----|----|--------|-------- slower
      <---*--->                                              faster
                                       <---*--->             slower
                        <---*--->                            the same: less than what matters, either way
                             <-----------*----------->       not decided: more rounds

The statistic, the looks and what each of them may spend are those of `harness.gate.decision`. A gate asks from one
side only whether there is a slowdown; here both ends of the interval count, each with half of a metric's level. So
`alpha` is the probability that, of sides that are alike, any metric of any pair is called faster or slower at any
look. Holm's method shares it out over all metrics of all pairs together.

An answer follows from the interval that is shown, and from nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from harness.arrays import Floats
from harness.gate.decision import (
    Finding,
    Size,
    Spending,
    decide_controls,
    holm_levels,
    lower_bound,
    p_value,
    upper_bound,
    walsh_averages,
)

Word = Literal["faster", "slower", "same", "open"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds say of one metric of one pair.

    Attributes:
        metric: its name; of several pairs, with the other side's letter in front.
        rounds: how many there were.
        ratio: what the other side takes by what the first one takes.
        low, high: the ends of its interval; None where there are too few rounds for one at its level.
        word: the answer; `open` where there is none yet.
    """

    metric: str
    rounds: int
    ratio: float
    low: float | None
    high: float | None
    word: Word


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What a look has found, of all metrics and controls together."""

    metrics: list[Answer]
    controls: list[Finding]

    @property
    def is_contaminated(self) -> bool:
        """Whether a control has moved: the machine treated the sides differently."""
        return any(control.status == "FAIL" for control in self.controls)

    @property
    def is_final(self) -> bool:
        """Whether more rounds are not wanted: each metric has its answer, and no control has moved."""
        controls = all(control.status == "PASS" for control in self.controls)
        return controls and all(answer.word != "open" for answer in self.metrics)


def answers(
    ratios: Mapping[str, Sequence[float]],
    sizes: Mapping[str, Size],
    controls: Mapping[str, Sequence[float]],
    spending: Spending,
) -> Answers:
    """What the rounds so far say, at one look.

    Args:
        ratios: of each metric of each pair, the log ratio of each round.
        sizes: of each of these.
        controls: of each control, the log ratio of each round.
        spending: what this look may spend.
    """
    averages = {name: walsh_averages(np.asarray(each, np.float64)) for name, each in ratios.items()}
    levels = holm_levels(
        [_p_value(averages[name], len(each), sizes[name]) for name, each in ratios.items()],
        spending.alpha * spending.share,
    )
    return Answers(
        metrics=[
            _answer(name, averages[name], len(ratios[name]), sizes[name], level)
            for name, level in zip(ratios, levels, strict=True)
        ],
        controls=decide_controls(controls, spending),
    )


def _p_value(averages: Floats, rounds: int, size: Size) -> float:
    """How likely averages so far off are, either way, if the true effect is within the margin."""
    margin = math.log1p(size.margin)
    mirrored = -averages[::-1]
    return min(1.0, 2 * min(p_value(averages, rounds, margin), p_value(mirrored, rounds, margin)))


def _answer(metric: str, averages: Floats, rounds: int, size: Size, level: float) -> Answer:
    low, high = lower_bound(averages, rounds, level / 2), upper_bound(averages, rounds, level / 2)
    return Answer(
        metric=metric,
        rounds=rounds,
        ratio=math.exp(float(np.median(averages))) if averages.size else 1.0,
        low=None if low is None else math.exp(low),
        high=None if high is None else math.exp(high),
        word="open" if low is None or high is None else word_of(low, high, size),
    )


def word_of(low: float, high: float, size: Size) -> Word:
    """The answer of an interval.

    Args:
        low, high: its ends, as logarithms.
        size: what an effect means.
    """
    margin, relevant = math.log1p(size.margin), math.log1p(size.relevant)
    if low > margin:
        return "slower"
    if high < -margin:
        return "faster"
    return "same" if -relevant < low and high < relevant else "open"
