"""Charts of latency, for each operation: percentile curves; p50, p99, max over time; time x latency as a heat map.

A histogram holds every reply, refusals too, as the pump has them. A second in which nothing was recorded is a gap
in a line. What several durabilities have in common is drawn in `reports.charts.durabilities`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.arrays import Int64s
from harness.measure.histogram import Histogram, highest_at
from harness.measure.hlog import LatencyLog
from harness.measure.operations import intervals_of, total_of
from harness.measure.recorder import KINDS
from harness.record.run import Figure, Record, Run
from reports.charts import axes
from reports.charts.axes import Part
from reports.charts.view import Chart, Row, Table, View, flat_spec, lines, named_series
from reports.findings import printable, told
from reports.latencies import by_span, holes, operations, quantiles_of, start_of
from reports.quantities import grouped

_PERCENTILES = (0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1.0)
_HEAT_LEVELS = 7
_HEAT_PER_DECADE = 8
# Charts of these many operations, the busiest first; the rest stand in the tables.
_MOST_OPERATIONS = 6
# Of fewer samples of a part no curve over time is drawn.
_FEWEST_DRAWN = 30


def operation_charts(record: Record, view: View) -> list[Chart]:
    """The charts of each operation by itself."""
    log = record.latency
    over_time = [c for o in _drawn(log)[:_MOST_OPERATIONS] for c in latency_charts(log, o, view)]
    return [*percentile_charts(record), *over_time]


def _drawn(log: LatencyLog) -> list[str]:
    """The operations that are drawn over time: of a part with a handful of samples the table of steps says all."""
    found = operations(log)
    parts = {each for each in found if each.rpartition(".")[0] in found}
    return [each for each in found if each not in parts or log.total(f"{each}.response").total >= _FEWEST_DRAWN]


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
        columns = [quantiles_of(intervals_of(log, operation, kind), _PERCENTILES) for kind in totals]
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
                table=percentile_table([_kind_words(kind) for kind in totals], columns),
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


def percentile_table(names: Sequence[str], columns: Sequence[Sequence[Figure]]) -> Table:
    """Percentiles as a table, a column for each name: every figure of `columns` with its interval."""
    return Table(
        columns=["percentile", *names],
        rows=[
            [row[0].name.removeprefix("p") + " %" if row[0].name != "p100" else "slowest", *map(told, row)]
            for row in zip(*columns, strict=True)
        ],
    )


def latency_charts(log: LatencyLog, operation: str, view: View) -> list[Chart]:
    """An operation's response over time, as lines and as a heat map."""
    spans = by_span(intervals_of(log, operation, "response"), view.width_s)
    place = operations(log).index(operation)
    # Cells are what makes a page large: with many operations, each heat map has fewer columns.
    wide = view.width_s * max(1, math.ceil(min(len(operations(log)), _MOST_OPERATIONS) / 2))
    return [_latency_lines(spans, operation, place, view), _heat_map(spans, operation, place, view, wide)]


def _latency_lines(spans: dict[float, Histogram], operation: str, place: int, view: View) -> Chart:
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


def _heat_map(spans: dict[float, Histogram], operation: str, place: int, view: View, width_s: int) -> Chart:
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
