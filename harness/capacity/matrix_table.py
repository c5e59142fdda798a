"""What the runs of a matrix have measured, as a table: of each cell its figures, each the median of its repeats.

    cells/03-always/1/run.json  --figure-->  2.31 ms  |
    cells/03-always/2/run.json  --figure-->  2.20 ms  |--  median 2.31, from 2.20 to 2.64
    cells/03-always/3/run.json  --figure-->  2.64 ms  |

A cell is as good as the worst of its runs. What one of them could not measure is missing there, and the others are
shown for what they are: so many.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from harness.capacity.matrix import CELLS, Cell, Matrix
from harness.check.checkers import worst, worst_of
from harness.record.run import Run, RunError, Status, load

# What the figures of a search begin with.
SEARCHED = "capacity"


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a cell.

    Attributes:
        repeat: from 1.
        link: to its page, from the matrix's.
        status: of its verdicts; UNKNOWN where it did not come to its end.
        reason: what it did not come to its end by; of one that could not be decided, or fails, the first reason.
        is_complete: whether it came to its end.
        run: its record.
    """

    repeat: int
    link: str
    status: Status
    reason: str
    is_complete: bool
    run: Run


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of a cell.

    Attributes:
        unit: of all.
        values: of each run that has it.
    """

    unit: str
    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        """Their median."""
        return median(self.values)

    @property
    def low(self) -> float:
        """The lowest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest."""
        return max(self.values)


class Column(msgspec.Struct, frozen=True):
    """A figure of every cell.

    Attributes:
        name: of the figure, with `*` for what differs between cells.
        label: in words.
    """

    name: str
    label: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A cell, and what was measured of it.

    Attributes:
        runs: those that there are.
        values: by column; a column is missing where no run has such a figure.
    """

    cell: Cell
    runs: list[Ran]
    values: dict[str, Value]

    def can_have(self, column: Column) -> bool:
        """Whether its runs could have a figure: a search has none of a run's."""
        return column.name.partition(".")[0] == (self.cell.scenario if self.cell.search is None else SEARCHED)

    @property
    def status(self) -> Status | None:
        """The worst of its runs; None: there is none yet."""
        return worst_of([each.status for each in self.runs]) if self.runs else None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """All cells, in the order of the file.

    Attributes:
        wanted: how many runs there are to be.
    """

    rows: list[Row]
    columns: list[Column]
    wanted: int

    @property
    def runs(self) -> list[Ran]:
        """All runs."""
        return [each for row in self.rows for each in row.runs]

    @property
    def done(self) -> int:
        """How many came to their end."""
        return sum(each.is_complete for each in self.runs)

    @property
    def status(self) -> Status:
        """The worst of all; UNKNOWN as long as some are missing."""
        found = [each.status for each in self.runs]
        return worst_of([*found, "UNKNOWN"] if self.done < self.wanted else found)


def table_of(matrix: Matrix, directory: Path) -> Table:
    """What there is of a matrix by now.

    Args:
        directory: the matrix's.
    """
    found = [(cell, _runs_of(matrix, cell, directory)) for cell in matrix.cells]
    columns = _columns(matrix, [each.run for _, runs in found for each in runs])
    rows = [
        Row(
            cell=cell,
            runs=runs,
            values={
                column.name: value
                for column in columns
                if (value := _value(column.name, [each.run for each in runs if each.is_complete])) is not None
            },
        )
        for cell, runs in found
    ]
    return Table(rows=rows, columns=columns, wanted=len(matrix.cells) * matrix.repeat)


def _runs_of(matrix: Matrix, cell: Cell, directory: Path) -> list[Ran]:
    found = []
    for repeat in range(1, matrix.repeat + 1):
        place = f"{CELLS}/{cell.directory}/{repeat}"
        try:
            run = load(directory / place).run
        except RunError:
            continue  # it is not there yet
        is_complete = run.status == "complete"
        status = worst(run.verdicts) if is_complete else "UNKNOWN"
        told = next((each.detail for each in run.verdicts if each.status == status != "PASS"), "")
        found.append(
            Ran(
                repeat=repeat,
                link=f"{place}/report.html",
                status=status,
                reason=told if is_complete else run.reason or "it did not come to its end",
                is_complete=is_complete,
                run=run,
            )
        )
    return found


def _columns(matrix: Matrix, runs: Sequence[Run]) -> list[Column]:
    """The figures that the matrix names, or else those that the scenarios say matter."""
    labels = {each.name: each.label for run in runs for each in run.key_figures}
    named = matrix.figures or dict.fromkeys(labels, "")
    return [Column(name, label or labels.get(name) or name) for name, label in named.items()]


def _value(name: str, runs: Sequence[Run]) -> Value | None:
    """A figure of some runs; where a run has several of that name, the highest."""
    units: list[str] = []
    values = []
    for run in runs:
        found = [each for each in run.figures if fnmatch.fnmatchcase(each.name, name) and each.value is not None]
        if found:
            units.append(found[0].unit)
            values.append(max(each.value for each in found if each.value is not None))
    return Value(unit=units[0], values=tuple(values)) if values else None
