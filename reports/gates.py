"""A gate as a table: what each metric takes on both sides, and where the interval of their ratio lies.

         1.00    relevant
          |         |
      ----+--<=o=>--+------      the bar is the interval, the circle the ratio; beyond `relevant` it matters

All rows have one scale, so that they can be set beside one another. An end that lies beyond it, or that could not
be told, reaches to the edge.
"""

from __future__ import annotations

import msgspec

from harness.record.run import Run, Status
from reports.quantities import NOT_MEASURED, quantity

WIDTH = 240.0
# The scale shows at least so much on both sides of 1, and at most so much; an interval may be wider.
_LEAST, _MOST = 0.12, 0.6
_TOO_FEW = "too few rounds"


class GateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A metric or a control of a gate, in words, and its bar in places from 0 to `WIDTH`.

    Attributes:
        relevant: where a slowdown begins to matter; None for a control.
    """

    name: str
    status: Status
    baseline: str
    candidate: str
    ratio: str
    interval: str
    low: float
    high: float
    at: float
    one: float
    relevant: float | None


def gate_rows(run: Run) -> list[GateRow]:
    """The rows of a gate's table; none where a run is no gate, or has decided nothing."""
    values = {figure.name: figure.value for figure in run.figures}
    units = {figure.name: figure.unit for figure in run.figures}
    statuses = {verdict.name: verdict.status for verdict in run.verdicts}
    names = [
        name.removesuffix(".ratio") for name in values if name.startswith("gate.") and name.endswith(".ratio")
    ]
    if run.scenario != "gate" or not names:
        return []
    ends = [values.get(f"{name}.{end}") for name in names for end in ("low", "high", "relevant")]
    reach = max(abs(end - 1) for end in [*(end for end in ends if end is not None), 1 + _LEAST]) * 1.05
    reach = min(reach, _MOST)

    def place(value: float | None, otherwise: float) -> float:
        share = otherwise if value is None else (value - 1 + reach) / (2 * reach)
        return round(WIDTH * min(1.0, max(0.0, share)), 1)

    def told(name: str) -> str:
        return quantity(values.get(name), units.get(name, ""))

    rows = []
    for name in names:
        low, high, relevant = (values.get(f"{name}.{end}") for end in ("low", "high", "relevant"))
        rows.append(
            GateRow(
                name=name.removeprefix("gate."),
                status=statuses.get(name, "UNKNOWN"),
                baseline=told(f"{name}.baseline"),
                candidate=told(f"{name}.candidate"),
                ratio=_ratio(values.get(f"{name}.ratio")),
                interval=_interval(low, high),
                low=place(low, 0.0),
                high=place(high, 1.0),
                at=place(values.get(f"{name}.ratio"), 0.5),
                one=place(1.0, 0.5),
                relevant=None if relevant is None else place(relevant, 1.0),
            )
        )
    return rows


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
