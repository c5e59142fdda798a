"""The charts of a run, as Vega-Lite specifications: parts of a record in, plain dicts out.

`charts(record)` gives every chart that the record has evidence for, in reading order. A `Chart` is a
specification with what the page around it needs: a caption, the series of its legend, a table of its data.

    latency     percentile curves per operation; p50, p99, max over time; time x latency as a heat map; where
                several durabilities were measured, over one another (`reports.durabilities`)
    throughput  what was due, reached the server, was answered and had its effect, second by second; where a
                record does not have that: replies per second, of success or refusal
    lag         events not applied, pending, and the age of the oldest, per consumer group
    drain       what waits after a restart: as measured, and as the rates predict it
    events      outcomes by kind; the ledger, attempted -> acknowledged -> applied
    replay      speed over the number of events
    stack       where the time of one append goes, layer by layer
    machine     memory, CPU and append-only file of the server; CPU of the host

Rows have fixed, short fields, whatever they show: `t` or `x` for the abscissa, `v` for the value, `s` for the
series, `k` for a kind of line within it, `o` for a value that no line would show. Text from the record stands
in rows and literal arrays only.

A run may take an hour and a report may not take megabytes: seconds are merged until at most `intervals` are
left. Histograms merge without loss; of readings the highest of each span is kept, where it was, since a peak of
lag is what the reader looks for. A second stands where its load has it, so that no effect is drawn before its
cause; one in which nothing was recorded is a gap in a line of latencies, and 0 replies while a load ran.

A histogram holds every reply, refusals too, as the pump has them; a scenario's rate and its `ok` hold successes.

Drawing is Vega's, through Vega-Lite (`reports.javascript`). Bokeh was the other candidate: its linked ranges come
for free, its charts are canvas (no text for screen readers, blurred in print) and twice the size.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from harness.arrays import Int64s
from harness.measure import curves
from harness.measure.histogram import Histogram, highest_at
from harness.measure.hlog import LatencyLog
from harness.measure.recorder import KINDS
from harness.measure.sample_size import enough_samples
from harness.measure.timeline import History, Reading
from harness.record.run import Record, Run
from reports import axes
from reports.axes import Part
from reports.drain import drain_of, in_words
from reports.findings import LEDGER, OUTCOMES, groups, printable
from reports.latencies import by_span, holes, intervals_of, operations, start_of, total_of
from reports.quantities import grouped, quantity

Row = dict[str, Any]
Section = Literal["latency", "throughput", "lag", "events", "replay", "machine"]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_WIDTHS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600)
_FINER_S = (0.2, 0.5)
_PALETTE = tuple(f"var(--c-{n})" for n in (1, 2, 6, 3, 4, 5, 8, 7))
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
_DASHES = {
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
_PERCENTILES = (0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1.0)
_HEAT_LEVELS = 7
_HEAT_PER_DECADE = 8
# Charts of these many operations, the busiest first; the rest stand in the tables.
_MOST_OPERATIONS = 6
# Of fewer samples of a part no curve over time is drawn.
_FEWEST_DRAWN = 30
_MOST_GROUPS = 8
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
    along: Literal["time", "percentile", "events", "restart", "load"] = "time"
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


def charts(record: Record, intervals: int = 300) -> list[Chart]:
    """Every chart that a record has evidence for, in reading order.

    Args:
        record: a single run.
        intervals: how many points in time a chart has at most.

    Raises:
        RunError: a part of the record cannot be read.
    """
    # It draws with what is here.
    from reports.durabilities import durability_charts

    log, history = record.latency, record.history
    view = _View(record, intervals)
    return [
        *(durability_charts(record, view.width_s) or _latency(record, view)),
        *(load_chart(history, view) or throughput_chart(log, view)),
        *lag_charts(history, view),
        *drain_chart(record),
        *ledger_charts(record),
        *outcome_chart(record),
        *replay_chart(record),
        *stack_chart(record),
        *machine_charts(history, view),
    ]


def _latency(record: Record, view: _View) -> list[Chart]:
    """The charts of each operation by itself."""
    log = record.latency
    over_time = [c for o in _drawn(log)[:_MOST_OPERATIONS] for c in latency_charts(log, o, view)]
    return [*percentile_charts(record), *over_time]


def _drawn(log: LatencyLog) -> list[str]:
    """The operations that are drawn over time: of a part with a handful of samples the table of steps says all."""
    found = operations(log)
    parts = {each for each in found if each.rpartition(".")[0] in found}
    return [each for each in found if each not in parts or log.total(f"{each}.response").total >= _FEWEST_DRAWN]


class _View:
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
    usual: dict[str, Sequence[int]] = {**_DASHES, **(by_kind if isinstance(by_kind, Mapping) else {})}
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
    return [Series(n, _COLORS[n], tuple(_DASHES.get(n, ()))) for n in names]


# --- latency ---------------------------------------------------------------------------------------------


def _refused_words(run: Run, operation: str) -> str:
    """A sentence on the replies of an operation that were refusals, empty where there were none, or nobody knows.

    Scenarios count outcomes for a load: that of the operation `append` as `crm_outage.failed`, that of
    `append_always` as `redis_crash.always.failed`; for the parts of an operation not at all.
    """
    label = operation.partition("_")[2]
    failed = run.figure(f"{run.scenario}.{label}.failed" if label else f"{run.scenario}.failed")
    if not failed or "." in operation:
        return ""
    return f" {grouped(failed)} of these operations {'was' if failed == 1 else 'were'} refused."


def percentile_charts(record: Record) -> list[Chart]:
    """For each operation, its three latencies over the percentiles."""
    log = record.latency
    found: list[Chart] = []
    shown = _drawn(log)[:_MOST_OPERATIONS]
    for operation in shown:
        totals = {kind: total_of(log, operation, kind) for kind in KINDS}
        totals = {kind: total for kind, total in totals.items() if total.total}
        rows = [row for kind, total in totals.items() for row in percentile_rows(_kind_words(kind), total)]
        series = named_series(_kind_words(kind) for kind in totals)
        axis = axes.latency_axis(row["v"] for row in rows)
        line = lines(axes.percentile_axis(max(r["x"] for r in rows)), axis, series, rows, step="step-before")
        name = printable(operation)
        count = totals["response"].total
        found.append(
            Chart(
                key=f"percentiles-{len(found)}",
                section="latency",
                title=f"Latency by percentile: {name}",
                caption=f"{grouped(count)} operations.{_refused_words(record.run, operation)} Each further nine "
                "is one in ten of what is left; the right end is the slowest of all.",
                spec=flat_spec(line, rows, 300, axes.series_signals()),
                unit="µs",
                along="percentile",
                series=series,
                table=_percentile_table(totals),
                size="half" if len(shown) > 1 else "wide",
            )
        )
    return found


def _kind_words(kind: str) -> str:
    return kind.replace("_", " ")


def percentile_rows(name: str, total: Histogram) -> list[Row]:
    """A histogram as a curve over x = 1 / (1 - p), as rows of a series of that name."""
    count = total.total
    # 20 points a decade of 1 / (1 - p), and the slowest of all at its own place.
    xs = np.unique(np.append(10 ** np.arange(0, math.log10(count), 0.05), float(count)))
    values = total.quantiles_us([1 - 1 / x for x in xs[:-1]] + [1.0])
    return [
        {"x": float(f"{x:.4g}"), "v": max(v or 0, 1), "s": name} for x, v in zip(xs.tolist(), values, strict=True)
    ]


def _percentile_table(totals: dict[str, Histogram]) -> Table:
    values = [totals[kind].quantiles_us(_PERCENTILES) for kind in totals]
    names = [f"{p * 100:g} %" if p < 1 else "slowest" for p in _PERCENTILES]
    return Table(
        columns=["percentile", *map(_kind_words, totals)],
        rows=[
            [name, *(_told(q, value, total) for value, total in zip(row, totals.values(), strict=True))]
            for q, name, row in zip(_PERCENTILES, names, zip(*values, strict=True), strict=True)
        ],
    )


def _told(q: float, value: float | None, total: Histogram) -> str:
    few = value is not None and q < 1 and not enough_samples(q, total.total)
    return f"{quantity(value, 'µs')}{' (too few values)' if few else ''}"


def latency_charts(log: LatencyLog, operation: str, view: _View) -> list[Chart]:
    """An operation's response over time, as lines and as a heat map."""
    spans = by_span(intervals_of(log, operation, "response"), view.width_s)
    place = operations(log).index(operation)
    # Cells are what makes a page large: with many operations, each heat map has fewer columns.
    wide = view.width_s * max(1, math.ceil(min(len(operations(log)), _MOST_OPERATIONS) / 2))
    return [_latency_lines(spans, operation, place, view), _heat_map(spans, operation, place, view, wide)]


def _latency_lines(spans: dict[float, Histogram], operation: str, place: int, view: _View) -> Chart:
    rows: list[Row] = []
    nothing = Histogram()
    for t in sorted([*spans, *holes(spans, view.width_s)]):
        histogram = spans.get(t, nothing)
        p50, p99 = histogram.quantiles_us([0.5, 0.99])
        highest = histogram.max_us
        rows += [
            {"t": t, "v": None if v is None else max(v, 1), "s": s}
            for s, v in (("p50", p50), ("p99", p99), ("max", highest))
        ]
    series = named_series(["p50", "p99", "max"])
    axis = axes.latency_axis(row["v"] for row in rows if row["v"] is not None)
    line = lines(axes.time_axis(view.span), axis, series, rows)
    return Chart(
        key=f"latency-{place}",
        section="latency",
        title=f"Response over time: {printable(operation)}",
        caption="By the second in which an operation was due, so a stall stands at its full length."
        + view.merged("the quantile")
        + _refused_words(view.run, operation),
        spec=view.spec(line, rows, 240),
        unit="µs",
        series=series,
        timed=True,
    )


def _heat_map(spans: dict[float, Histogram], operation: str, place: int, view: _View, width_s: int) -> Chart:
    heat, rows, levels = heat_layer(spans, width_s, axes.time_axis(view.span))
    return Chart(
        key=f"heat-{place}",
        section="latency",
        title=f"Where the responses lie: {printable(operation)}",
        caption=f"Operations due in {width_s} s, by their response. Two bands are two populations; "
        f"percentiles alone do not tell.{_refused_words(view.run, operation)}",
        spec=view.spec([heat], rows, 240),
        unit="µs",
        hover="cell",
        timed=True,
        steps=[grouped(level) for level in levels],
    )


def heat_layer(spans: dict[float, Histogram], width_s: int, x: Part) -> tuple[Part, list[Row], list[int]]:
    """A heat map: its layer, its rows, and the counts at which its colours change.

    Args:
        spans: responses by the start of a span of time.
        width_s: of a cell.
        x: the axis of time, of the field `t`.
    """
    step = 1 / _HEAT_PER_DECADE
    counts: dict[tuple[float, int], int] = {}
    for start, histogram in spans.items():
        t = start_of(start, width_s)
        index = np.flatnonzero(histogram.counts)
        cells = _heat_cells(index)
        for cell in np.unique(cells).tolist():
            counts[t, cell] = counts.get((t, cell), 0) + int(histogram.counts[index[cells == cell]].sum())
    rows = [{"t": t, "v": float(f"{10 ** (cell * step):.4g}"), "n": n} for (t, cell), n in sorted(counts.items())]
    levels = _levels(max(counts.values(), default=1))
    heat: Part = {
        "transform": [
            {"calculate": f"datum.t + {width_s}", "as": "end"},
            {"calculate": f"datum.v * {10**step:.4f}", "as": "e"},
        ],
        "mark": {"type": "rect", "clip": True, "aria": False, "tooltip": {"content": "data"}},
        "encoding": {
            "x": x,
            "x2": {"field": "end"},
            "y": axes.latency_axis(row["v"] * edge for row in rows for edge in (1, 10**step * 0.999)),
            "y2": {"field": "e"},
            "color": {
                "field": "n",
                "type": "quantitative",
                "legend": None,
                "scale": {
                    "type": "threshold",
                    "domain": levels,
                    "range": [f"var(--h-{n})" for n in range(1, len(levels) + 2)],
                },
            },
        },
    }
    return heat, rows, levels


def _heat_cells(index: Int64s) -> Int64s:
    values = np.maximum(highest_at(index), 1)
    cells: Int64s = np.floor(np.log10(values) * _HEAT_PER_DECADE + 1e-9).astype(np.int64)
    return cells


def _levels(most: int) -> list[int]:
    """Thresholds between colours, at equal ratios from 2 up to the fullest cell."""
    powers = (max(most, 2) ** (n / _HEAT_LEVELS) for n in range(1, _HEAT_LEVELS))
    return sorted({max(2, math.ceil(p)) for p in powers})


# --- throughput ------------------------------------------------------------------------------------------


_LOAD_WORDS = {
    "offered": "due by the schedule",
    "reached": "taken by the server, by its own count",
    "answered": "acknowledged to the producer",
    "applied": "first effects at the end of the line",
}


def load_chart(history: History, view: _View) -> list[Chart]:
    """What was due, arrived, was answered and had its effect, each in the second in which it happened."""
    loads = sorted({r.labels.get("load", "") for r in history.readings("load.offered")})
    # Each load has seconds of its own, from the moment in which its schedule began.
    begins = {load: curves.curve_of(history, "offered", load=load)[0][0] for load in loads}
    rows: list[Row] = []
    found = []
    for kind in curves.KINDS:
        mine: list[Row] = []
        for load in sorted(loads, key=begins.__getitem__):
            mine += _load_rows(history, kind, load, begins[load], view.width_s)
        if mine:
            found.append(kind)
            rows += mine
    if not {"offered", "answered"} <= set(found):
        return []
    series = named_series(found)
    line = lines(
        axes.time_axis(view.span), axes.amount_axis("events per second (1/s)"), series, rows, step="step-after"
    )
    told = ", ".join(f"{kind} is {_LOAD_WORDS[kind]}" for kind in found)
    return [
        Chart(
            key="throughput",
            section="throughput",
            title="Events per second: due, arrived, done",
            caption=f"Each in the second in which it happened: {told}. Where these lie on one another the load "
            f"arrived as it was due.{view.merged('the mean')}",
            spec=view.spec(line, rows, 240, named=True),
            unit="1/s",
            series=series,
            timed=True,
            size="wide",
        )
    ]


def _load_rows(history: History, kind: str, load: str, begin_ns: int, width_s: int) -> list[Row]:
    """A curve of a load as steps, with a gap behind the last."""
    curve = curves.curve_of(history, kind, load=load, offset_ns=begin_ns)
    # Probes look before the load begins, too.
    spans = [span for span in curves.per_second(curve, width_s=float(width_s)) if span[0] >= 0]
    if not spans:
        return []
    begin_s = begin_ns / 1e9
    rows: list[Row] = [
        {"t": round(begin_s + t, 3), "v": None if rate is None else round(rate, 3), "s": kind} for t, rate in spans
    ]
    end_s = round(begin_s + min(spans[-1][0] + width_s, curve[-1][0] / 1e9), 3)
    return [*rows, rows[-1] | {"t": end_s}, {"t": end_s, "v": None, "s": kind}]


def throughput_chart(log: LatencyLog, view: _View) -> list[Chart]:
    """Replies per second; 0 where a load got none, nothing where no load ran."""
    answered: dict[float, int] = {}
    loads: dict[str, tuple[float, float]] = {}
    for interval in log.intervals:
        if interval.tag.endswith(".response"):
            at = start_of(interval.start_s, view.width_s)
            answered[at] = answered.get(at, 0) + interval.histogram.total
            # The parts of an operation are one load.
            load = interval.tag.partition(".")[0]
            begin, end = loads.get(load, (interval.start_s, 0.0))
            loads[load] = min(begin, interval.start_s), max(end, interval.start_s + interval.length_s)
    if not answered:
        return []
    series = named_series(["answered or refused"])
    rows: list[Row] = []
    for t in sorted([*answered, *holes(answered, view.width_s)]):
        middle = t + view.width_s / 2
        ran = t in answered or any(begin <= middle < end for begin, end in loads.values())
        rows.append({"t": t, "v": answered.get(t, 0) / _covered(t, view) if ran else None, "s": series[0].name})
    line = lines(axes.time_axis(view.span), axes.amount_axis("operations per second (1/s)"), series, rows)
    return [
        Chart(
            key="throughput",
            section="throughput",
            title="Operations per second",
            caption="Replies, of success or refusal, at the second in which their operations were due."
            + view.merged("the mean"),
            spec=view.spec(line, rows, 200),
            unit="1/s",
            series=series,
            timed=True,
            size="wide",
        )
    ]


def _covered(t: float, view: _View) -> float:
    """How many seconds of the run an interval covers: the last one may be cut short."""
    return max(1.0, min(float(view.width_s), view.span[1] - t))


# --- readings --------------------------------------------------------------------------------------------


def label_of(reading: Reading) -> str:
    """What a reading's labels call it: the consumer group, or all labels, or nothing."""
    labels = reading.labels
    if set(labels) == {"group"}:
        return printable(labels["group"])
    return printable(", ".join(f"{key} {value}" for key, value in sorted(labels.items())))


def _reading_rows(history: History, name: str, view: _View) -> tuple[list[Row], bool]:
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
        if len(readings) > view.intervals:
            merged = True
            peaks: dict[int, Reading] = {}
            width_ns = int(view.reading_width_s * 1e9)
            for reading in readings:
                span = reading.t_ns // width_ns
                peaks[span] = max(peaks.get(span, reading), reading, key=_height)
            kept = [peaks[span] for span in sorted(peaks)]
        rows += [{"t": round(r.t_ns / 1e9, 3), "v": r.value, "s": label} for r in kept]
    return rows, merged


def _height(reading: Reading) -> float:
    return -math.inf if reading.value is None else reading.value


def _highest_of(view: _View, *, merged: bool) -> str:
    """A sentence on merged readings, empty where none were."""
    return f" Each point is the highest reading of {view.reading_width_s:g} s." if merged else ""


def _not_drawn(count: int, what: str) -> str:
    """A sentence on the series beyond those that a chart has room for, empty where there are none."""
    return f" {count} more {what} not drawn, and stand in the table of readings." if count > 0 else ""


# The charts of lag: key, title, unit, title of the axis, and the reading behind each kind of line.
_LAGS: tuple[tuple[str, str, str, str, dict[str, str]], ...] = (
    (
        "lag-events",
        "Events waiting",
        "events",
        "events",
        {"not applied": "lag.events", "pending": "lag.pending", "not answered": "lag.unanswered"},
    ),
    ("lag-seconds", "Age of the oldest event not yet applied", "s", "seconds (s)", {"age": "lag.seconds"}),
)


def lag_charts(history: History, view: _View) -> list[Chart]:
    """Consumer lag in events and in seconds, with the moments of the recovery."""
    read = {name: _reading_rows(history, name, view) for *_, kinds in _LAGS for name in kinds.values()}
    peaks: dict[str, float] = {}
    for row in itertools.chain.from_iterable(rows for rows, _ in read.values()):
        peaks[row["s"]] = max(peaks.get(row["s"], 0.0), row["v"] or 0.0)
    shown = sorted(peaks, key=lambda s: -peaks[s])[:_MOST_GROUPS]
    # A colour belongs to a group by its name, so that it stays the same whatever the peaks are.
    series = [Series(s or "all", _PALETTE[n]) for n, s in enumerate(sorted(shown))]
    told = "By consumer group; shaded while a fault lasted." + _not_drawn(len(peaks) - len(shown), "groups are")
    if view.faults and not axes.fault_rows(view.faults):
        told += f" The {len(view.faults)} faults are named in their table."
    found = []
    for key, title, unit, axis, kinds in _LAGS:
        mine = [
            row | {"s": row["s"] or "all", "k": kind}
            for kind, name in kinds.items()
            for row in read[name][0]
            if row["s"] in shown
        ]
        if not mine:
            continue
        used = [s for s in series if any(row["s"] == s.name for row in mine)]
        drawn = [k for k in kinds if any(row["k"] == k for row in mine)]
        line = lines(axes.time_axis(view.span), axes.amount_axis(axis), used, mine, by_kind=drawn)
        legend = [Series(k, "var(--quiet)", tuple(_DASHES.get(k, ()))) for k in drawn if len(kinds) > 1]
        found.append(
            Chart(
                key=key,
                section="lag",
                title=title,
                caption=told + _highest_of(view, merged=any(read[name][1] for name in kinds.values())),
                spec=view.spec(line, mine, 260, named=True),
                unit=unit,
                series=[*used, *legend],
                timed=True,
                size="wide",
            )
        )
    return found


def drain_chart(record: Record) -> list[Chart]:
    """The lag after a restart as it was measured, beside what the rates say that it should have been."""
    found = drain_of(record)
    if found is None:
        return []
    last_s = found.measured[-1][0]
    end_s = last_s if found.end_s is None else found.end_s
    span_s = max(end_s, min(last_s, 1.3 * max(end_s, found.back_s or last_s)))
    rows: list[Row] = [{"x": round(x, 3), "v": v, "s": "measured"} for x, v in found.measured if x <= span_s]
    rows += [{"x": round(x, 4), "v": float(f"{v:.6g}"), "s": "predicted"} for x, v in found.predicted]
    series = named_series(dict.fromkeys(row["s"] for row in rows))
    x = axes.amount_axis("seconds since the restart (s)", "x")
    x["scale"] = {"type": "linear", "domain": [0, span_s], "nice": False}
    x["axis"] |= {"grid": False}
    rates = f"{quantity(found.drain_per_s, '1/s')} applied and {quantity(found.arrival_per_s, '1/s')} arriving"
    return [
        Chart(
            key="drain",
            section="lag",
            title="Drain after the restart: predicted and measured",
            caption=f"{in_words(found)} Predicted is what waits from the first effect on, with {rates} until the "
            "load ends. The rate of the drain is this run's own: a curve beside the line is a drain that was not "
            "steady.",
            spec=flat_spec(
                lines(x, axes.amount_axis("events waiting"), series, rows), rows, 240, axes.series_signals()
            ),
            unit="events",
            along="restart",
            series=series,
            size="wide",
        )
    ]


def _aof_title(name: str) -> str:
    return f"Append-only file: {name.removeprefix('server.aof_').replace('_', ' ')}"


_AOF_UNITS = {"bytes": ("MiB", 2.0**-20), "share": ("%", 100.0), "µs": ("ms", 1e-3)}
_MACHINE = {
    "server.used_memory_bytes": ("Memory of the server", "MiB", 2.0**-20),
    "server.cpu_share": ("CPU of the server", "%", 100.0),
    "host.cpu_share": ("CPU of the host", "%", 100.0),
    "host.steal_share": ("CPU taken by the host", "%", 100.0),
}

# Of what a share of CPU time is one.
_CORES = {
    "server.cpu_share": " of one core",
    "host.cpu_share": " of all cores",
    "host.steal_share": " of all cores",
}


def machine_charts(history: History, view: _View) -> list[Chart]:
    """Memory, CPU and append-only file of the server, CPU of the host; a small chart each."""
    found = []
    shown = dict(_MACHINE)
    for name in history.reading_names:
        if name.startswith("server.aof_"):
            unit = next(history.readings(name)).unit
            shown[name] = (printable(_aof_title(name)), *_AOF_UNITS.get(unit, (printable(unit), 1.0)))
    for at, (name, (title, unit, factor)) in enumerate(shown.items()):
        read, merged = _reading_rows(history, name, view)
        rows = [
            row | {"v": None if row["v"] is None else float(f"{row['v'] * factor:.6g}"), "s": row["s"] or "all"}
            for row in read
        ]
        if not rows:
            continue
        every = sorted({row["s"] for row in rows})
        names = every[:_MOST_GROUPS]
        rows = [row for row in rows if row["s"] in names]
        series = [Series(s, _PALETTE[n]) for n, s in enumerate(names)]
        line = lines(axes.time_axis(view.span), axes.amount_axis(unit), series, rows)
        found.append(
            Chart(
                key=name.replace(".", "-") if name in _MACHINE else f"aof-{at}",
                section="machine",
                title=title,
                caption=f"In {unit}{_CORES.get(name, '')}."
                + _highest_of(view, merged=merged)
                + _not_drawn(len(every) - len(names), "are"),
                spec=view.spec(line, rows, 120),
                unit=unit,
                series=series if len(series) > 1 else [],
                timed=True,
                size="third",
            )
        )
    return found


# --- figures ---------------------------------------------------------------------------------------------


def outcome_chart(record: Record) -> list[Chart]:
    """How operations ended, by kind: OK, FAIL, UNKNOWN, DROPPED."""
    by_prefix = groups(record.run.figures, OUTCOMES)
    words = {"ok": "OK", "failed": "FAIL", "unknown": "UNKNOWN", "dropped": "DROPPED"}
    rows: list[Row] = []
    for prefix, counts in by_prefix.items():
        whole = sum(counts.values())
        for outcome in OUTCOMES:
            if outcome in counts:
                count = counts[outcome]
                share = f" · {quantity(count / whole, 'share')}" if whole else ""
                label = f"{words[outcome]}" + (f" · {printable(prefix)}" if len(by_prefix) > 1 else "")
                rows.append({"v": count, "s": words[outcome], "label": label, "text": grouped(count) + share})
    if not rows:
        return []
    colors = {"OK": "var(--c-3)", "FAIL": "var(--c-2)", "UNKNOWN": "var(--c-4)", "DROPPED": "var(--c-7)"}
    return [
        Chart(
            key="outcomes",
            section="events",
            title="How operations ended",
            caption="UNKNOWN: no answer in time, so it may have happened. DROPPED: due, but never sent. "
            "The axis is a symmetric logarithm, so that one among a million is visible.",
            spec=_bars(rows, colors, scale="symlog", title="operations (symmetric log)"),
            hover="item",
            table=Table(["outcome", "operations"], [[row["label"], row["text"]] for row in rows]),
        )
    ]


def ledger_charts(record: Record) -> list[Chart]:
    """What became of every append: attempted, acknowledged, applied; and what does not add up."""
    found: list[Chart] = []
    for prefix, counts in groups(record.run.figures, LEDGER).items():
        stages = [part for part in LEDGER[:3] if part in counts]
        if not stages:
            continue
        rows: list[Row] = []
        before: float | None = None
        for stage in stages:
            count = counts[stage]
            # As many applied may be others: some lost, and as many recovered.
            is_same = stage != "applied" or (counts.get("lost") == 0 and counts.get("recovered") == 0)
            change = "" if before is None else _change(count - before, is_same=is_same)
            rows.append({"v": count, "s": stage, "label": stage, "text": grouped(count) + change})
            before = count
        colors = {"attempted": "var(--c-5)", "acknowledged": "var(--c-1)", "applied": "var(--c-3)"}
        lost = _lost_classes(record, prefix)
        found.append(
            Chart(
                key=f"ledger-{len(found)}",
                section="events",
                title=f"From attempt to effect: {printable(prefix)}",
                caption="From the producer's attempt to the effect at the end of the line, after the drain.",
                spec=_bars(rows, colors, scale="linear", title="events"),
                hover="item",
                table=Table(
                    ["stage", "events"],
                    [[part, grouped(counts[part])] for part in LEDGER if part in counts] + lost,
                ),
                tiles=[
                    (part, grouped(counts[part]), _tone(part, counts[part]))
                    for part in LEDGER[3:]
                    if part in counts
                ],
            )
        )
    return found


def _change(difference: float, *, is_same: bool) -> str:
    if not difference:
        return " · all of them" if is_same else " · as many"
    return f" · {grouped(abs(difference))} {'fewer' if difference < 0 else 'more'}"


def _tone(part: str, count: float) -> str:
    if part == "recovered":
        return "plain"
    return "bad" if count and part in {"lost", "unexpected"} else "warn" if count else "good"


def _lost_classes(record: Record, prefix: str) -> list[list[str]]:
    start = f"{prefix}.lost."
    return [
        [f"lost: {printable(f.name.removeprefix(start)).replace('_', ' ')}", quantity(f.value, "1")]
        for f in record.run.figures
        if f.name.startswith(start)
    ]


def _bars(rows: list[Row], colors: dict[str, str], *, scale: str, title: str, begin: str = "") -> Part:
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


_REPLAY = re.compile(r"^(?:.+\.)?replay\.(\d{1,15})\.events_per_s$")


def replay_chart(record: Record) -> list[Chart]:
    """Speed of a replay over the number of events replayed."""
    rows: list[Row] = [
        {"x": int(match[1]), "v": figure.value, "s": "speed"}
        for figure in record.run.figures
        if (match := _REPLAY.match(figure.name)) and figure.value is not None and int(match[1])
    ]
    rows.sort(key=lambda row: row["x"])
    if not rows:
        return []
    encoding: Part = {
        "x": axes.amount_axis("events in the streams (log)", "x", "log"),
        "y": axes.amount_axis("events per second (1/s)"),
    }
    line: Part = {
        "mark": {"type": "line", "color": "var(--c-1)", "strokeWidth": 1.8},
        "encoding": encoding,
    }
    points: Part = {
        "mark": {"type": "point", "color": "var(--c-1)", "filled": True, "size": 60, "opacity": 1},
        "encoding": encoding,
    }
    return [
        Chart(
            key="replay",
            section="replay",
            title="Replay speed over the number of events",
            caption=_slope(rows),
            spec=flat_spec([line, points], rows, 240, []),
            unit="events/s",
            along="events",
            series=[],
            table=Table(
                ["events", "speed", "whole replay"],
                [
                    [
                        grouped(r["x"]),
                        quantity(r["v"], "events/s"),
                        quantity(r["x"] / r["v"] if r["v"] else None, "s"),
                    ]
                    for r in rows
                ],
            ),
            size="wide",
        )
    ]


def _slope(rows: list[Row]) -> str:
    """How the speed changes with ten times the events: the least-squares line through the logarithms."""
    usable = [row for row in rows if row["v"] > 0]
    if len(usable) < 2:
        return "One size only: no slope."
    slope = np.polyfit([math.log10(r["x"]) for r in usable], [math.log10(r["v"]) for r in usable], 1)[0]
    change = 10 ** float(slope) - 1
    if abs(change) < 0.02:
        return "A flat line means that the cost of an event does not depend on their number. This line is flat."
    word = "faster" if change > 0 else "slower"
    return f"With ten times the events, a replay is {quantity(abs(change), 'share')} {word} per event."


# What an append passes, from the bare socket outwards: what each layer adds to the one before it.
STACK = {
    "socket": "bare socket, XADD",
    "redis_py": "redis-py",
    "store_event": "event store, event only",
    "store": "event store, with entity cache",
    "http": "HTTP, customer service",
    "gateway": "HTTP, through the gateway",
}


def stack_chart(record: Record) -> list[Chart]:
    """Where the time of one append goes: each layer's bar begins where the one before it ends."""
    values = {f.name: f.value for f in record.run.figures}
    rows: list[Row] = []
    cells: list[list[str]] = []
    before = 0.0
    for layer, label in STACK.items():
        p50 = values.get(f"micro.stack.{layer}.p50")
        if p50 is None:
            continue
        added = f"{'+' if p50 >= before else '−'}{quantity(abs(p50 - before), 'µs')}" if rows else ""
        text = f"{added}, in all {quantity(p50, 'µs')}" if rows else quantity(p50, "µs")
        rows.append({"b": before, "v": p50, "s": layer, "label": label, "text": text})
        p99 = values.get(f"micro.stack.{layer}.p99")
        cells.append([label, quantity(p50, "µs"), added, quantity(p99, "µs")])
        before = p50
    if not rows:
        return []
    colors = {layer: _PALETTE[n] for n, layer in enumerate(STACK)}
    return [
        Chart(
            key="stack",
            section="latency",
            title="Where the time of one append goes",
            caption="The median of one call at a time through each layer, all measured in turn in the same "
            "rounds. A bar is what its layer adds to the layer above it; one that goes back is a layer that does "
            "less than the one above.",
            spec=_bars(rows, colors, scale="linear", title="microseconds (µs)", begin="b"),
            unit="µs",
            hover="item",
            table=Table(["layer", "p50", "added", "p99"], cells),
            size="wide",
        )
    ]
