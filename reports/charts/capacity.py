"""Charts of a search: latency over the rate, with budgets and bounds; and who was how busy along it.

    latency (log)   |            x p99          - - -  budget          o  a probe that passes, x one that fails
                    |- - - - - -/- - - - -                             <> one that says nothing of the system
                    |  o--o--o-'                                        |  what the quantile lies between
                    +-------------------- rate

A line goes through the median of the probes at each rate; the long ones at the edge are drawn over the short ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from harness.capacity.budget import LAG
from harness.record.run import Record
from reports.capacity_page import Curve, bounded, budget_us, capacity_of, value_us
from reports.charts import axes
from reports.charts.axes import Part
from reports.charts.view import Chart, Row, Series, Table, flat_spec, lines
from reports.quantities import quantity

_COLORS = {"p50": "var(--c-3)", "p90": "var(--c-5)", "p99": "var(--c-1)", "p99.9": "var(--c-6)", LAG: "var(--c-1)"}
_DASHES: dict[str, tuple[int, ...]] = {"p50": (5, 3), "p90": (1, 2), "p99": (), "p99.9": (2, 2), LAG: ()}
_SHAPES = {"PASS": "circle", "FAIL": "cross", "UNKNOWN": "diamond"}
_BUSY = (
    Series("server's core", "var(--c-2)"),
    Series("all cores of this machine", "var(--c-7)", (5, 3)),
    Series("instrument's core", "var(--c-3)", (2, 2)),
)


def capacity_charts(record: Record) -> list[Chart]:
    """The charts of a search; none of anything else."""
    curve = capacity_of(record)
    if curve is None or not curve.searched.points:
        return []
    lag = [_lag_chart(curve)] if curve.has_lag else []
    return [*_latency_chart(curve), *lag, *_busy_chart(curve)]


def _latency_chart(curve: Curve) -> list[Chart]:
    names = [name for name in curve.statistics if any(name in point.quantiles for point, _ in curve.points)]
    if not names:
        return []
    return [
        _curve_chart(
            curve,
            names,
            key="capacity-latency",
            title="Latency over the rate",
            caption="The response, counted from when each operation was due, of the seconds that are judged. A "
            "circle is a probe that passes, a cross is one that fails, a diamond is one that says nothing of the "
            "system. Its bar is the 95 % interval of the quantile. Dashed across: the budget. Shaded: between the "
            "highest rate that passes and the lowest that fails.",
            size="wide",
        )
    ]


def _lag_chart(curve: Curve) -> Chart:
    return _curve_chart(
        curve,
        [LAG],
        key="capacity-lag",
        title="Lag over the rate",
        caption="The longest that an event has waited for its effect in the seconds that are judged.",
        size="half",
    )


def _curve_chart(curve: Curve, names: Sequence[str], *, key: str, title: str, caption: str, size: str) -> Chart:
    series = [Series(name, _COLORS[name], _DASHES[name]) for name in names]
    rows: list[Row] = [
        {"x": rate, "v": max(1.0, value), "s": name} for name in names for rate, value in _line(curve, name)
    ]
    budgets = [(name, limit) for name in names if (limit := budget_us(curve, name)) is not None]
    marks = _marks(curve, names)
    values: list[float] = [*(row["v"] for row in rows), *(limit for _, limit in budgets)]
    values += [end for mark in marks for end in (mark["lo"], mark["hi"])]
    axis = axes.latency_axis(values)
    x = axes.amount_axis("rate that was due (a second)", "x")
    layers = [
        *_edge_layer(curve, x),
        *_budget_layers(budgets, values),
        *_named_apart(lines(x, axis, series, rows, by_kind=())),
        *_probe_layers(marks, series, x, values),
    ]
    return Chart(
        key=key,
        section="capacity",
        title=title,
        caption=caption,
        spec=flat_spec(layers, rows, 340 if size == "wide" else 260, axes.series_signals()),
        unit="µs",
        along="rate",
        series=series,
        table=_table(curve, names),
        size="wide" if size == "wide" else "half",
    )


def _named_apart(layers: list[Part]) -> list[Part]:
    """The lines alone: probes are drawn by marks of their own."""
    return [layer for layer in layers if layer["mark"]["type"] == "line"]


def _line(curve: Curve, statistic: str) -> list[tuple[float, float]]:
    """The rates and the median of what was seen at each, of the long probes where there are any."""
    by_rate: dict[float, list[tuple[bool, float]]] = {}
    for point, _ in curve.points:
        value = value_us(point, statistic)
        if value is not None:
            by_rate.setdefault(point.rate_per_s, []).append((point.is_long, value))
    found = []
    for rate, values in sorted(by_rate.items()):
        long = [value for is_long, value in values if is_long]
        found.append((round(rate, 3), float(median(long or [value for _, value in values]))))
    return found


def _marks(curve: Curve, names: Sequence[str]) -> list[Row]:
    """A row for each quantile of each probe: where it lies, between what, and what the probe says."""
    rows: list[Row] = []
    for point, probed in curve.points:
        for name in names:
            value = value_us(point, name)
            if value is None:
                continue
            quantile = point.quantiles.get(name)
            low, high = (None, None) if quantile is None else (quantile.low_us, quantile.high_us)
            rows.append(
                {
                    "x": round(point.rate_per_s, 3),
                    "v": max(1.0, value),
                    "s": name,
                    "w": probed.status,
                    "lo": max(1.0, value if low is None else low),
                    "hi": max(1.0, value if high is None else high),
                }
            )
    return rows


def _color(series: Sequence[Series]) -> Part:
    return {
        "field": "s",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": [s.name for s in series], "range": [s.color for s in series]},
    }


def _probe_layers(marks: list[Row], series: Sequence[Series], x: Part, values: Sequence[float]) -> list[Part]:
    bars: Part = {
        "data": {"values": marks},
        "transform": [axes.visible()],
        "mark": {"type": "rule", "strokeWidth": 1.2, "opacity": 0.75, "aria": False},
        "encoding": {
            "x": x,
            "y": axes.latency_axis(values, "lo"),
            "y2": {"field": "hi"},
            "color": _color(series),
        },
    }
    shape: Part = {
        "field": "w",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(_SHAPES), "range": list(_SHAPES.values())},
    }
    points: Part = {
        "data": {"values": marks},
        "transform": [axes.visible()],
        "mark": {"type": "point", "filled": True, "size": 55, "opacity": 0.9, "aria": False},
        "encoding": {"x": x, "y": axes.latency_axis(values), "color": _color(series), "shape": shape},
    }
    return [bars, points]


def _budget_layers(budgets: Sequence[tuple[str, float]], values: Sequence[float]) -> list[Part]:
    if not budgets:
        return []
    rows = [{"v": limit, "label": f"{name}: {quantity(limit, 'µs')}"} for name, limit in budgets]
    y = axes.latency_axis(values)
    rule: Part = {
        "data": {"values": rows},
        "mark": {"type": "rule", "color": "var(--fail)", "strokeDash": [6, 4], "aria": False},
        "encoding": {"y": y},
    }
    label: Part = {
        "data": {"values": rows},
        "mark": {
            "type": "text",
            "align": "left",
            "baseline": "bottom",
            "dx": 4,
            "dy": -3,
            "fontSize": 11,
            "color": "var(--fail)",
        },
        "encoding": {"x": {"value": 0}, "y": y, "text": {"field": "label"}},
    }
    return [rule, label]


def _edge_layer(curve: Curve, x: Part) -> list[Part]:
    found = curve.found
    if found.passes is None or found.fails is None:
        return []
    return [
        {
            "data": {"values": [{"x": found.passes, "end": found.fails}]},
            "mark": {"type": "rect", "color": "var(--phase)", "aria": False},
            "encoding": {"x": x, "x2": {"field": "end"}},
        }
    ]


def _busy_chart(curve: Curve) -> list[Chart]:
    rows: list[Row] = []
    for point, _ in sorted(curve.points, key=lambda each: each[0].rate_per_s):
        around = point.around
        shares = (around.server_core, around.host_busy, around.instrument_core)
        rows += [
            {"x": round(point.rate_per_s, 3), "v": round(share * 100, 1), "s": series.name}
            for series, share in zip(_BUSY, shares, strict=True)
            if share is not None
        ]
    if not rows:
        return []
    series = [each for each in _BUSY if any(row["s"] == each.name for row in rows)]
    x = axes.amount_axis("rate that was due (a second)", "x")
    return [
        Chart(
            key="capacity-busy",
            section="capacity",
            title="Who was how busy along it",
            caption="Shares of a core's time, and of that of all cores, in the seconds that are judged.",
            spec=flat_spec(lines(x, axes.amount_axis("busy (%)"), series, rows), rows, 260, axes.series_signals()),
            unit="%",
            along="rate",
            series=series,
            size="half",
        )
    ]


def _table(curve: Curve, names: Sequence[str]) -> Table:
    return Table(
        columns=["rate", "", *names],
        rows=[
            [
                f"{point.rate_per_s:,.0f}/s",
                probed.status,
                *(bounded(point, name) if name != LAG else quantity(point.lag_s, "s") for name in names),
            ]
            for point, probed in sorted(curve.points, key=lambda each: each[0].rate_per_s)
        ],
    )
