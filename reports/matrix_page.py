"""A matrix as files: a page with a heat map for each figure and a table that can be sorted; and as Markdown.

    matrix.json, cells/*/*/run.json --table_of--> Table --maps_of--> HeatMap --> report.html, summary.md

A map has a row for each server and configuration, and a column for each load and what was asked. Its colour is the
rank of a number on a logarithmic scale, in one hue from light to dark, so that it does not hang on seeing colours;
and the number stands in it. What stands beside it compares with the first row of the same column.

Everything here is a function of saved records.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from harness.capacity.matrix import Cell, Matrix
from harness.capacity.matrix_table import Column, Row, Table, Value
from harness.record.run import Run, Status, write_atomically
from reports.differences import server_of
from reports.page import page, static
from reports.quantities import NOT_MEASURED, quantity
from reports.summaries import SIGNS, as_markdown, one_line

PAGE, MARKDOWN = "report.html", "summary.md"
# Steps of the colour scale, as the style sheet has them.
STEPS = 6
# Of what cannot be there.
_DASH = "–"
# What lies closer together than this has one colour.
_ALIKE = 1.02


class HeatCell(Struct, frozen=True, kw_only=True):
    """A place in a map.

    Attributes:
        step: of the colour, from 1; 0: there is no value.
        value: the median of the repeats.
        spread: from the lowest to the highest of them; empty where there is one.
        ratio: how it compares with the first row of its column; empty for that row.
        status: the worst of its runs; None: there is none yet.
        links: to the page of each run.
    """

    step: int
    value: str
    spread: str
    ratio: str
    status: Status | None
    links: list[tuple[str, str]]


class HeatMap(Struct, frozen=True, kw_only=True):
    """A figure of all cells.

    Attributes:
        label, name: of the figure.
        columns: their heads.
        rows: the head of each, and its cells; None: the matrix has no such cell.
        scale: the lowest and the highest value, in words; empty where there is none.
        first: the head of the row that others are compared with.
    """

    label: str
    name: str
    columns: list[str]
    rows: list[tuple[str, list[HeatCell | None]]]
    scale: tuple[str, str] | None
    first: str


class Sorted(NamedTuple):
    """A place in the table: what it shows, by what it is sorted, and the spread beneath it."""

    text: str
    key: str
    spread: str = ""


class TableRow(Struct, frozen=True, kw_only=True):
    """A cell of the matrix in the table."""

    names: list[str]
    values: list[Sorted]
    status: Status | None
    links: list[tuple[str, str]]


def write_matrix(matrix: Matrix, table: Table, directory: Path) -> Path:
    """Write the page and the Markdown of a matrix, each as a whole, and return the page's path.

    Raises:
        OSError: a file cannot be written.
    """
    shapes = {MARKDOWN: matrix_markdown(matrix, table), PAGE: matrix_page(matrix, table)}
    for name, text in shapes.items():
        write_atomically(directory / name, text.encode())
    return directory / PAGE


def matrix_page(matrix: Matrix, table: Table) -> str:
    """A matrix as one self-contained HTML page; the pages of its runs lie beside it."""
    axes = axes_of(matrix.cells)
    return page(
        "matrix.html.j2",
        matrix=matrix,
        table=table,
        status=table.status,
        sentence=sentence(matrix, table),
        maps=[map_of(column, table) for column in table.columns],
        steps=range(1, STEPS + 1),
        axes=axes,
        heads=[column.label for column in table.columns],
        rows=[_table_row(row, table.columns, axes) for row in table.rows],
        troubles=troubles(table),
        facts=facts(matrix, table),
        script=static("matrix.js"),
    )


# Words -----------------------------------------------------------------------------------------------------------


def sentence(matrix: Matrix, table: Table) -> str:
    """How far a matrix is, what does not pass, and between what the first figures lie of what does."""
    counted = f"{len(matrix.cells)} cells" if len(matrix.cells) != 1 else "1 cell"
    times = "" if matrix.repeat == 1 else f", each measured {matrix.repeat} times"
    if table.done < table.wanted:
        return f"{table.done} of {table.wanted} runs are there, of {counted}{times}."
    axes = axes_of(matrix.cells)
    # Of cells that do not pass, what they show may be the machine's, or a loss.
    sure = [row for row in table.rows if row.status == "PASS"]
    said = [told for column in table.columns if (told := _range_said(column, sure, axes))][:2]
    doubts = [
        f"{count} of them {words}."
        for status, words in (("FAIL", "fail"), ("UNKNOWN", "could not be decided"))
        if (count := sum(row.status == status for row in table.rows))
    ]
    return " ".join([f"{counted}{times}.", *doubts, *said])


def _range_said(column: Column, rows: Sequence[Row], axes: Sequence[tuple[str, str]]) -> str:
    """Between what a figure lies, and in which cells."""
    found = [(row.values[column.name], row) for row in rows if column.name in row.values]
    if len(found) < 2:
        return ""
    (low, lowest), (high, highest) = (choose(found, key=lambda each: each[0].middle) for choose in (min, max))
    lower, higher = name_of(lowest.cell, axes), name_of(highest.cell, axes)
    return f"{column.label}: from {_told(low)} ({lower}) to {_told(high)} ({higher})."


def troubles(table: Table) -> list[tuple[Status, str, str, str]]:
    """The runs that do not pass: status, cell and repeat, the link to its page, and why."""
    axes = axes_of([row.cell for row in table.rows])
    return [
        (ran.status, f"{name_of(row.cell, axes)}, time {ran.repeat}", ran.link, ran.reason)
        for row in table.rows
        for ran in row.runs
        if ran.status != "PASS"
    ]


def facts(matrix: Matrix, table: Table) -> list[str]:
    """What all of it was measured with, in a few words each."""
    runs = [each.run for each in table.runs]
    started = sorted(run.started_at for run in runs)
    found = [f"profile {matrix.profile}", f"seed {matrix.seed}"]
    if started:
        days = dict.fromkeys(each[:16].replace("T", " ") for each in (started[0], started[-1]))
        found.append(f"measured {' to '.join(days)} UTC")
    found += list(dict.fromkeys(server_of(run) for run in runs if server_of(run)))
    found += list(dict.fromkeys(_machine(run) for run in runs if _machine(run)))
    return found


def _machine(run: Run) -> str:
    host: Any = run.environment.get("host")
    if not isinstance(host, dict):
        return ""
    return " ".join(str(host[key]) for key in ("cpu", "host") if host.get(key))


# Maps ------------------------------------------------------------------------------------------------------------


def map_of(column: Column, table: Table) -> HeatMap:
    """The map of a figure."""
    axes = [field for field, _ in axes_of([row.cell for row in table.rows])]
    # Of a column in which nothing could have the figure there is nothing to show.
    rows = [row for row in table.rows if row.can_have(column)] or table.rows
    down = list(dict.fromkeys(_down(row, axes) for row in rows))
    across = list(dict.fromkeys(row.cell.doing for row in rows))
    placed = {(_down(row, axes), row.cell.doing): row for row in rows}
    values = [row.values[column.name] for row in rows if column.name in row.values]
    low, high = _ends(values)
    first = {head: placed.get((down[0], head)) for head in across}

    def cell(at: str, head: str) -> HeatCell | None:
        row = placed.get((at, head))
        if row is None:
            return None
        value = row.values.get(column.name)
        return HeatCell(
            step=0 if value is None else _step(value.middle, low, high),
            value=_missing(row, column) if value is None else _told(value),
            spread="" if value is None else _spread(value),
            ratio="" if at == down[0] else _ratio(row, first[head], column),
            status=row.status,
            links=_links(row),
        )

    return HeatMap(
        label=column.label,
        name=column.name,
        columns=across,
        rows=[(at, [cell(at, head) for head in across]) for at in down],
        scale=(quantity(low, values[0].unit), quantity(high, values[0].unit)) if values else None,
        first=down[0] if len(down) > 1 else "",
    )


def _down(row: Row, axes: Collection[str]) -> str:
    said = [getattr(row.cell, each) for each in ("server", "configuration") if each in axes]
    return ", ".join(filter(None, said)) or row.cell.server


def _ends(values: Sequence[Value]) -> tuple[float, float]:
    """The lowest and the highest of some values; 0 where there is none."""
    middles = [each.middle for each in values]
    return min(middles, default=0.0), max(middles, default=0.0)


def _step(value: float, low: float, high: float) -> int:
    """The step of the colour of a value among others, on a logarithmic scale where all are above 0."""
    if (high <= low * _ALIKE and low > 0) or high == low:
        return 1
    share = math.log(value / low) / math.log(high / low) if low > 0 else (value - low) / (high - low)
    return 1 + min(STEPS - 1, int(share * STEPS))


def _told(value: Value) -> str:
    return quantity(value.middle, value.unit)


def _spread(value: Value) -> str:
    if len(value.values) < 2:
        return ""
    return f"{quantity(value.low, value.unit)} to {quantity(value.high, value.unit)}"


def _ratio(row: Row, reference: Row | None, column: Column) -> str:
    """How a cell compares with another one: not told of repeats that overlap, or of what does not pass."""
    if reference is None or not row.status == reference.status == "PASS":
        return ""
    value, first = row.values.get(column.name), reference.values.get(column.name)
    if value is None or first is None or first.middle <= 0:
        return ""
    if len(value.values) > 1 and len(first.values) > 1 and value.low <= first.high and first.low <= value.high:
        return "repeats overlap"
    ratio = value.middle / first.middle
    return f"{ratio:.3g} ×" if ratio < 100 else f"{ratio:,.0f} ×"


def _missing(row: Row, column: Column) -> str:
    if not row.can_have(column):
        return _DASH
    return "not yet" if not row.runs else NOT_MEASURED


def _links(row: Row) -> list[tuple[str, str]]:
    return [(str(ran.repeat), ran.link) for ran in row.runs]


# The table -------------------------------------------------------------------------------------------------------

_AXES = {"server": "Server", "configuration": "Configuration", "doing": "Load"}


def axes_of(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """What cells differ in: the name of the field, and its head; of cells that do not, the server."""
    differ = [(field, head) for field, head in _AXES.items() if len({getattr(cell, field) for cell in cells}) > 1]
    return differ or [("server", _AXES["server"])]


def name_of(cell: Cell, axes: Sequence[tuple[str, str]]) -> str:
    """What a cell is called among the others: by what it differs in."""
    return ", ".join(filter(None, (getattr(cell, field) for field, _ in axes)))


def _table_row(row: Row, columns: Sequence[Column], axes: Sequence[tuple[str, str]]) -> TableRow:
    return TableRow(
        names=[getattr(row.cell, field) for field, _ in axes],
        values=[_sorted(row, column) for column in columns],
        status=row.status,
        links=_links(row),
    )


def _sorted(row: Row, column: Column) -> Sorted:
    value = row.values.get(column.name)
    if value is None:
        return Sorted(_missing(row, column), "")
    return Sorted(_told(value), repr(value.middle), _spread(value))


# Markdown --------------------------------------------------------------------------------------------------------


def matrix_markdown(matrix: Matrix, table: Table) -> str:
    """A matrix as GitHub-flavoured Markdown: a sentence, a table, and what does not pass."""
    return "\n".join(_markdown_lines(matrix, table)) + "\n"


def _markdown_lines(matrix: Matrix, table: Table) -> Iterator[str]:
    axes = axes_of(matrix.cells)
    yield f"## {SIGNS[table.status]} {table.status}: {as_markdown(matrix.title)}"
    yield ""
    yield as_markdown(sentence(matrix, table))
    yield ""
    heads = [*(head for _, head in axes), *(column.label for column in table.columns), "verdict"]
    yield f"| {' | '.join(as_markdown(head) for head in heads)} |"
    yield f"|{'---|' * len(axes)}{'---:|' * len(table.columns)}---|"
    for row in table.rows:
        status = "not yet" if row.status is None else f"{SIGNS[row.status]} {row.status}"
        names = [as_markdown(getattr(row.cell, field)) for field, _ in axes]
        yield f"| {' | '.join([*names, *(_markdown_value(row, column) for column in table.columns), status])} |"
    yield ""
    if matrix.repeat > 1:
        yield f"Each value is the median of {matrix.repeat} runs; the lowest and the highest stand behind it."
        yield ""
    for status, name, _, why in troubles(table):
        yield f"- {SIGNS[status]} {as_markdown(name)}: {as_markdown(why or 'nothing was checked')}"
    yield ""
    yield as_markdown("; ".join(facts(matrix, table)))


def _markdown_value(row: Row, column: Column) -> str:
    value = row.values.get(column.name)
    if value is None:
        return as_markdown(_missing(row, column))
    spread = _spread(value)
    return as_markdown(f"{_told(value)} ({spread})" if spread else _told(value))


# The terminal ----------------------------------------------------------------------------------------------------


def terminal_lines(matrix: Matrix, table: Table, width: int) -> Iterator[str]:
    """A matrix as lines for a terminal: the sentence, and a line for each cell.

    Args:
        width: of the terminal.
    """
    yield from textwrap.wrap(one_line(f"{table.status}  {matrix.title}: {sentence(matrix, table)}"), width)
    axes = axes_of(matrix.cells)
    grid = [["", *(one_line(column.label) for column in table.columns), ""]]
    for row in table.rows:
        values = [row.values.get(column.name) for column in table.columns]
        told = [
            _missing(row, column) if value is None else _told(value)
            for column, value in zip(table.columns, values, strict=True)
        ]
        grid.append([one_line(name_of(row.cell, axes)), *told, row.status or "not yet"])
    widths = [max(len(line[at]) for line in grid) for at in range(len(grid[0]))]
    if sum(widths) + 2 * (len(widths) - 1) > width:
        yield from _one_below_the_other(grid, width)
        return
    for name, *cells in grid:
        shown = [name.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=True))]
        yield "  ".join(shown).rstrip()


def _one_below_the_other(grid: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """What does not fit a terminal side by side: each cell, and its figures beneath it."""
    (_, *labels, _), *rows = grid
    for name, *values, status in rows:
        yield f"{status}  {name}"
        told = [f"{label} {value}" for label, value in zip(labels, values, strict=True) if value != _DASH]
        yield from textwrap.wrap("; ".join(told), max(width, 20), initial_indent="    ", subsequent_indent="    ")
