"""What charts are made of: a specification with what the page around it needs, its lines and bars, its legend.

A `View` is what all charts over time of a run share: its span, how wide a point in time is, faults and marks.
Rows have fixed, short fields, whatever they show: `t` or `x` for the abscissa, `v` for the value, `s` for the
series, `k` for a kind of line within it, `o` for a value that no line would show. Text from the record stands
in rows and literal arrays only.

A run may take an hour and a report may not take megabytes: seconds are merged until at most `intervals` are
left. Histograms merge without loss; of readings the highest of each span is kept, where it was, since a peak of
lag is what the reader looks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from harness.measure.timeline import History, Reading
from harness.record.run import Record
from reports.charts import axes
from reports.charts.axes import Part
from reports.findings import printable

Row = dict[str, Any]
Section = Literal["capacity", "latency", "throughput", "lag", "events", "replay", "machine"]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_WIDTHS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600)
_FINER_S = (0.2, 0.5)
PALETTE = tuple(f"var(--c-{n})" for n in (1, 2, 6, 3, 4, 5, 8, 7))
_COLORS = {
    "measured": "var(--c-1)",
    "predicted": "var(--c-2)",
    "response": "var(--c-1)",
    "service": "var(--c-3)",
    "send lag": "var(--c-7)",
    "p50": "var(--c-3)",
    "p99": "var(--c-1)",
    "max": "var(--c-2)",
    "answered or refused": "var(--c-1)",
    "offered": "var(--c-7)",
    "reached": "var(--c-2)",
    "answered": "var(--c-1)",
    "applied": "var(--c-3)",
}
DASHES = {
    "predicted": [6, 4],
    "send lag": [2, 2],
    "service": [4, 4],
    "max": [2, 2],
    "pending": [4, 3],
    "not answered": [1, 2],
    "offered": [6, 3],
    "answered": [4, 3],
    "applied": [1, 2],
}
MOST_SERIES = 8
# A series of so few points has each of them drawn, since a line through them says little.
_FEW_POINTS = 12


class Series(msgspec.Struct, frozen=True):
    """A line of a legend: its name, its colour as CSS, its dashes (empty where solid)."""

    name: str
    color: str
    dash: tuple[int, ...] = ()


class Table(msgspec.Struct, frozen=True):
    """The data behind a chart, in words: titles of columns, and a text per cell."""

    columns: list[str]
    rows: list[list[str]]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart and what belongs to it on a page.

    `hover` says how the pointer reads it: along `series` at one abscissa, a `cell` of a heat map, or the
    `item` under it. `unit` is that of `v`, `along` what the abscissa is. `table` is None where the rows
    themselves are the table. A `timed` chart has the signals `from`, `to` and `at`. `tiles` are numbers to be
    read beside the chart.
    """

    key: str
    section: Section
    title: str
    caption: str
    spec: Part
    unit: str = ""
    hover: Literal["series", "cell", "item"] = "series"
    along: Literal["time", "percentile", "events", "restart", "load", "rate"] = "time"
    series: list[Series] = []
    table: Table | None = None
    timed: bool = False
    size: Literal["wide", "half", "third"] = "half"
    tiles: list[tuple[str, str, str]] = []
    steps: list[str] = []

    @property
    def rows(self) -> list[Row]:
        """The rows that the chart draws."""
        rows: list[Row] = self.spec["datasets"]["rows"]
        return rows


class View:
    """What all charts over time of a run share: its span, the width of their intervals, faults and marks."""

    def __init__(self, record: Record, intervals: int) -> None:
        self.run = record.run
        starts = [i.start_s for i in record.latency.intervals]
        ends = [i.start_s + i.length_s for i in record.latency.intervals]
        entries = record.history.entries
        seen = [e.t_ns / 1e9 for e in entries if isinstance(e, Reading)]
        seen += [m.t_ns / 1e9 for m in record.history.marks]
        for fault in record.history.faults:
            seen += [fault.start_ns / 1e9, (fault.end_ns or fault.start_ns) / 1e9]
        self.span = (float(min([0.0, *starts, *seen])), float(max([1.0, *ends, *seen])))
        self.intervals = intervals
        length = self.span[1] - self.span[0]
        self.width_s = next((w for w in _WIDTHS_S if length / w <= intervals), _WIDTHS_S[-1])
        # Probes look more often than once a second.
        finer = (w for w in _FINER_S if length / w <= intervals)
        self.reading_width_s: float = next(finer, self.width_s)
        self.faults = record.history.faults
        self.marks = record.history.marks
        self.phases = record.history.phases

    def merged(self, what: str) -> str:
        """A sentence on merged seconds, empty where none were."""
        return f" Each point is {what} of {self.width_s} s." if self.width_s > 1 else ""

    def highest(self, *, merged: bool) -> str:
        """A sentence on merged readings, empty where none were."""
        return f" Each point is the highest reading of {self.reading_width_s:g} s." if merged else ""

    def readings(self, history: History, name: str) -> tuple[list[Row], bool]:
        """Readings of a name as rows per label; and whether any were merged, being more than the view has points.

        Of merged ones the highest of each span of time is left, at its own moment.
        """
        by_label: dict[str, list[Reading]] = {}
        for reading in history.readings(name):
            by_label.setdefault(label_of(reading), []).append(reading)
        rows: list[Row] = []
        merged = False
        for label, readings in by_label.items():
            kept = readings
            if len(readings) > self.intervals:
                merged = True
                kept = self._peaks(readings)
            rows += [{"t": round(r.t_ns / 1e9, 3), "v": r.value, "s": label} for r in kept]
        return rows, merged

    def _peaks(self, readings: list[Reading]) -> list[Reading]:
        peaks: dict[int, Reading] = {}
        width_ns = int(self.reading_width_s * 1e9)
        for reading in readings:
            span = reading.t_ns // width_ns
            peaks[span] = max(peaks.get(span, reading), reading, key=_height)
        return [peaks[span] for span in sorted(peaks)]

    def spec(self, layers: list[Part], rows: list[Row], height: int, *, named: bool = False) -> Part:
        """A chart over time: faults behind the layers, marks and the reader's pointer before them."""
        return flat_spec(
            [
                *axes.phase_layers(self.phases, self.span, named=named),
                *axes.fault_layers(self.faults, self.span, named=named),
                *layers,
                *axes.mark_layers(self.marks, self.span, named=named, below=axes.fault_rows(self.faults)),
                axes.pointer_layer(self.span),
            ],
            rows,
            height,
            axes.time_signals(self.span),
        )


def label_of(reading: Reading) -> str:
    """What a reading's labels call it: the consumer group, or all labels, or nothing."""
    labels = reading.labels
    if set(labels) == {"group"}:
        return printable(labels["group"])
    return printable(", ".join(f"{key} {value}" for key, value in sorted(labels.items())))


def _height(reading: Reading) -> float:
    return -math.inf if reading.value is None else reading.value


def not_drawn(count: int, what: str) -> str:
    """A sentence on the series beyond those that a chart has room for, empty where there are none."""
    return f" {count} more {what} not drawn, and stand in the table of readings." if count > 0 else ""


def flat_spec(layers: list[Part], rows: list[Row], height: int, params: list[Part]) -> Part:
    """Layers over rows as a whole specification, as wide as its place on the page."""
    return {
        "$schema": _SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": params,
        "datasets": {"rows": rows},
        "data": {"name": "rows"},
        "layer": layers,
    }


def lines(
    x: Part,
    y: Part,
    series: Sequence[Series],
    rows: list[Row],
    *,
    by_kind: Sequence[str] | Mapping[str, Sequence[int]] = (),
    step: str = "",
) -> list[Part]:
    """A line per series: colour, and dashes where they are not told by the kind `k`; dots for what is alone.

    Args:
        x, y: the axes.
        series: names and colours.
        rows: what is drawn; those that no line would show are marked with `o`.
        by_kind: the kinds `k`, where there are any; with their dashes, where those are not the usual ones.
        step: how Vega joins two points, where not by a straight line.
    """
    names = [s.name for s in series]
    usual: dict[str, Sequence[int]] = {**DASHES, **(by_kind if isinstance(by_kind, Mapping) else {})}
    dashes = {k: list(usual.get(k) or [1, 0]) for k in by_kind} or {s.name: list(s.dash) or [1, 0] for s in series}
    color: Part = {
        "field": "s",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": names, "range": [s.color for s in series]},
    }
    mark: Part = {"type": "line", "clip": True, "strokeWidth": 1.8, "strokeJoin": "round"}
    if step:
        mark["interpolate"] = step
    line: Part = {
        "transform": [axes.visible()],
        "mark": mark,
        "encoding": {
            "x": x,
            "y": y,
            "color": color,
            "strokeDash": {
                "field": "k" if by_kind else "s",
                "type": "nominal",
                "legend": None,
                "scale": {
                    "domain": list(dashes),
                    "range": list(dashes.values()),
                },
            },
        },
    }
    if not _mark_lonely(rows):
        return [line]
    dots: Part = {
        "transform": [axes.visible(), {"filter": "datum.o === 1"}],
        "mark": {"type": "point", "clip": False, "filled": True, "size": 22, "opacity": 1, "aria": False},
        "encoding": {"x": x, "y": y, "color": color},
    }
    return [line, dots]


def _mark_lonely(rows: list[Row]) -> bool:
    """Mark the values that have no neighbour in their series, or one among few; answer whether there are any."""
    by_series: dict[Any, list[Row]] = {}
    for row in rows:
        by_series.setdefault((row.get("s"), row.get("k")), []).append(row)
    found = False
    for mine in by_series.values():
        known = [row["v"] is not None for row in mine]
        few = sum(known) <= _FEW_POINTS
        for at, row in enumerate(mine):
            before, after = at > 0 and known[at - 1], at + 1 < len(mine) and known[at + 1]
            if known[at] and (few or not (before or after)):
                row["o"] = 1
                found = True
    return found


def named_series(names: Iterable[str]) -> list[Series]:
    """Series of the words that have a colour of their own, each with its dashes."""
    return [Series(n, _COLORS[n], tuple(DASHES.get(n, ()))) for n in names]


def bars(rows: list[Row], colors: dict[str, str], *, scale: str, title: str, begin: str = "") -> Part:
    """Horizontal bars, each with its text above it, where it fits at any width; from 0, or the field `begin`."""
    order = [row["label"] for row in rows]
    y: Part = {
        "field": "label",
        "type": "nominal",
        "sort": order,
        "axis": None,
        "scale": {"domain": order, "paddingInner": 0.7, "paddingOuter": 0.6},
    }
    x = axes.amount_axis(title, scale=scale)
    color: Part = {
        "field": "s",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(colors), "range": list(colors.values())},
    }
    text: Part = {"type": "text", "align": "left", "baseline": "bottom", "dx": 0, "dy": -2, "fontSize": 12}
    above: Part = {"x": {"value": 0}, "y": y | {"bandPosition": 0}}
    bar: Part = {"type": "bar", "cornerRadiusEnd": 2, "tooltip": {"content": "data"}}
    layers: list[Part] = [
        {"mark": bar, "encoding": {"x": x, "y": y, "color": color} | ({"x2": {"field": begin}} if begin else {})},
        {
            "transform": [{"calculate": "datum.label + ': ' + datum.text", "as": "words"}],
            "mark": text | {"color": "var(--ink)"},
            "encoding": above | {"text": {"field": "words"}},
        },
    ]
    return flat_spec(layers, rows, 46 * len(rows) + 10, [])
