"""How much one run differs from the next, where there are several of one kind among those that are compared.

    shopbench compare a1 a2 a3 b1 b2 b3       a1, a2, a3 are alike in all that was recorded, and so are b1, b2, b3

Runs are of one side where nothing differs between them that could be why their figures differ: the same question,
machine, server and code. Other random numbers are no other side. What their figures differ by is then how much a
run differs from the next, which the interval of a ratio of two runs does not cover.

Of a few runs nothing is said but what was seen: from where to where, and whether two sides overlap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import msgspec

from harness.record.run import Run
from reports.differences import differences
from reports.quantities import quantity, significant

# What may differ between two runs of one side: what was drawn, and what was seen of the instrument.
_ALIKE = re.compile(r"(parameters\.)?seed|parameters\.producer|verdict .*", re.DOTALL)


class FigureLine(Protocol):
    """A figure in all runs that are compared."""

    @property
    def label(self) -> str:
        """What it is called."""
        ...

    @property
    def unit(self) -> str:
        """Of its values."""
        ...

    @property
    def values(self) -> list[float | None]:
        """Of each run."""
        ...


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """From where to where the runs of one side go; `letters` are those that have the figure."""

    letters: list[str]
    low: float
    high: float


class RunToRun(msgspec.Struct, frozen=True, kw_only=True):
    """A figure, and the range of each side of which there are several runs."""

    label: str
    unit: str
    ranges: list[Range]


def sides_of(runs: Sequence[Run]) -> list[list[int]]:
    """The runs of each side, by their places, in the order of the first of each."""
    sides: list[list[int]] = []
    for at, run in enumerate(runs):
        mine = next((side for side in sides if _is_alike(runs[side[0]], run)), None)
        if mine is None:
            sides.append([at])
        else:
            mine.append(at)
    return sides


def _is_alike(one: Run, other: Run) -> bool:
    return all(_ALIKE.fullmatch(each.name) for each in differences([one, other])[0])


def run_to_run(runs: Sequence[Run], letters: Sequence[str], lines: Sequence[FigureLine]) -> list[RunToRun]:
    """What figures differ by from run to run; none where no side has several runs.

    Args:
        runs: that are compared.
        letters: of each.
        lines: the figures.
    """
    sides = [side for side in sides_of(runs) if len(side) > 1]
    found = []
    for line in lines:
        ranges = []
        for side in sides:
            values = [(letters[at], value) for at in side if (value := line.values[at]) is not None]
            if len(values) > 1:
                low, high = min(v for _, v in values), max(v for _, v in values)
                ranges.append(Range(letters=[letter for letter, _ in values], low=low, high=high))
        if ranges:
            found.append(RunToRun(label=line.label, unit=line.unit, ranges=ranges))
    return found


def told_range(each: Range, unit: str) -> str:
    """A range in words: `A, C: 4.1 ms to 4.4 ms, × 1.07 from run to run`."""
    span = f"{quantity(each.low, unit)} to {quantity(each.high, unit)}"
    ratio = f", × {significant(each.high / each.low)} from run to run" if each.low > 0 else ""
    return f"{', '.join(each.letters)}: {span}{ratio}"


def told(found: RunToRun) -> str:
    """A figure's ranges as a sentence, and whether those of two sides overlap."""
    said = "; ".join(told_range(each, found.unit) for each in found.ranges)
    if len(found.ranges) != 2:
        return f"{found.label}: {said}"
    one, other = found.ranges
    overlaps = one.low <= other.high and other.low <= one.high
    return f"{found.label}: {said}; the two {'overlap' if overlaps else 'do not overlap'}"
