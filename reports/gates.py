"""A gate, or a comparison, as a table: what each metric takes on both sides, and how sure their ratio is.

         1.00    relevant
          |         |
      ----+--<=o=>--+------      the bar is the interval, the circle the ratio; beyond `relevant` it matters

All rows have one scale, so that they can be set beside one another. An end that lies beyond it, or that could not
be told, reaches to the edge. Of a comparison both directions matter: there are two lines at what is relevant.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from harness.record.run import Run, Status
from reports.findings import printable
from reports.quantities import NOT_MEASURED, quantity

WIDTH = 240.0
# The scale shows at least so much on both sides of 1, and at most so much; an interval may be wider.
_LEAST, _MOST = 0.12, 0.6
_TOO_FEW = "too few rounds"


class GateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A metric or a control, in words, and its bar in places from 0 to `WIDTH`.

    Attributes:
        first, other: what both sides take; of a gate, the baseline and the candidate.
        relevant: where a difference begins to matter; none for a control.
    """

    name: str
    status: Status
    first: str
    other: str
    ratio: str
    interval: str
    low: float
    high: float
    at: float
    one: float
    relevant: list[float]


class GateTable(msgspec.Struct, frozen=True, kw_only=True):
    """All rows, and what to say above them.

    Attributes:
        title: of the table.
        words: what it shows, in sentences.
        first, other: the heads of both sides' columns.
    """

    title: str
    words: str
    first: str
    other: str
    rows: list[GateRow]


def gate_table(run: Run) -> GateTable | None:
    """The table of a gate or a comparison; None where a run is neither, or has decided nothing."""
    if run.scenario == "gate":
        rows = _rows(run, ("baseline", "candidate"))
        table = GateTable(
            title="Candidate and baseline",
            words="A circle shows how many times as long the candidate takes, and a bar shows the interval. At "
            "the solid line, 1, it takes as long as the baseline. Beyond the dashed line a slowdown matters. "
            "Values are medians over the rounds. Each ratio is taken within a round.",
            first="Baseline",
            other="Candidate",
            rows=rows,
        )
    elif run.scenario == "versus":
        rows = _rows(run, ("first", "other"))
        names = side_names(run)
        other = names[1] if len(names) == 2 else "The other side"
        table = GateTable(
            title=f"{', '.join(names[1:])} against {names[0]}" if names else "The sides",
            words=f"A circle shows how many times as long {'it' if len(names) > 2 else other} takes, and a bar "
            "shows the interval. At the solid line, 1, it takes as long as "
            f"{names[0] if names else 'the first side'}. Beyond the dashed lines a difference matters, in either "
            "direction. Values are medians over the rounds. Each ratio is taken within a round.",
            first=names[0] if names else "The first side",
            other=other,
            rows=rows,
        )
    else:
        return None
    return table if rows else None


def gate_rows(run: Run) -> list[GateRow]:
    """The rows of that table; none where there is none."""
    table = gate_table(run)
    return [] if table is None else table.rows


def side_names(run: Run) -> list[str]:
    """What the sides of a comparison are called, as far as its record says."""
    sides = run.parameters.get("sides")
    told = sides if isinstance(sides, list) else []
    return [printable(str(side.get("name", ""))) for side in told if isinstance(side, Mapping)]


def _rows(run: Run, labels: tuple[str, str]) -> list[GateRow]:
    values = {figure.name: figure.value for figure in run.figures}
    units = {figure.name: figure.unit for figure in run.figures}
    statuses = {verdict.name: verdict.status for verdict in run.verdicts}
    prefix = f"{run.scenario}."
    names = [name.removesuffix(".ratio") for name in values if name.startswith(prefix) and name.endswith(".ratio")]
    limits = {name: _limits(run, values.get(f"{name}.relevant")) for name in names}
    ends = [values.get(f"{name}.{end}") for name in names for end in ("low", "high")]
    ends += [limit for each in limits.values() for limit in each]
    reach = max([*(abs(end - 1) for end in ends if end is not None), _LEAST]) * 1.05
    reach = min(reach, _MOST)

    def place(value: float | None, otherwise: float) -> float:
        share = otherwise if value is None else (value - 1 + reach) / (2 * reach)
        return round(WIDTH * min(1.0, max(0.0, share)), 1)

    def told(name: str) -> str:
        return quantity(values.get(name), units.get(name, ""))

    rows = []
    for name in names:
        low, high = (values.get(f"{name}.{end}") for end in ("low", "high"))
        first, other = (told(f"{name}.{label}") for label in labels)
        rows.append(
            GateRow(
                name=_named(run, name.removeprefix(prefix)),
                status=statuses.get(name, "UNKNOWN"),
                first=first,
                other=other,
                ratio=_ratio(values.get(f"{name}.ratio")),
                interval=_interval(low, high),
                low=place(low, 0.0),
                high=place(high, 1.0),
                at=place(values.get(f"{name}.ratio"), 0.5),
                one=place(1.0, 0.5),
                relevant=[place(limit, 1.0) for limit in limits[name]],
            )
        )
    return rows


def _limits(run: Run, relevant: float | None) -> list[float]:
    """From where on a ratio matters."""
    if relevant is None:
        return []
    return [relevant] if run.scenario == "gate" else [1 / relevant, relevant]


def _named(run: Run, name: str) -> str:
    """A metric as a row calls it: of several pairs with the other side's name."""
    letter, _, metric = name.partition(".")
    names = side_names(run)
    if run.scenario == "gate" or len(names) < 3 or len(letter) != 1 or not metric:
        return name
    at = ord(letter) - ord("a")
    return f"{names[at]}: {metric}" if 0 < at < len(names) else name


def library_rows(run: Run) -> list[list[str]]:
    """Of a gate on libraries, each that differs, and its version on both sides."""
    given = run.parameters.get("libraries")
    found = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    return [
        [str(each.get("library", "")), *(str(each.get(side) or "absent") for side in ("baseline", "candidate"))]
        for each in found
    ]


def _interval(low: float | None, high: float | None) -> str:
    """Both ends, or why there is only one of them, or none: an end needs a number of rounds."""
    if low is None and high is None:
        return _TOO_FEW
    if low is None:
        return f"up to {_ratio(high)}; {_TOO_FEW} for its lower end"
    if high is None:
        return f"from {_ratio(low)}; {_TOO_FEW} for its upper end"
    return f"{_ratio(low)} to {_ratio(high)}"


def _ratio(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.3f} ×"
