"""The axes that charts of latency have in common, as parts of Vega-Lite specifications.

    latency     logarithmic, labelled in the unit that fits: 200 µs, 1 ms, 5 s
    percentile  the axis of HdrHistogram, x = 1 / (1 - p), logarithmic: each further nine is as wide as the last
    time        seconds since the run began; its span is held by two signals, `from` and `to`, that
                `static/report.js` sets alike in all charts of a run: zoom one, and all move

A specification is a plain dict. Two rules keep hostile text out of Vega's expressions: every field name and
every expression in it is a literal of ours, and whatever came from the record stands only in data rows and in
literal arrays (domains of scales), where Vega shows it as text.

Colours are CSS custom properties (`var(--c-response)`), which an SVG takes like any colour. So light, dark
and print are a matter of the style sheet, and a chart need not be drawn again when the reader's scheme
changes. Alternative rejected: two themes of Vega and a second embedding, which loses the reader's zoom and
prints dark ink on a dark ground.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from harness.measure.histogram import HIGHEST_US
from harness.measure.timeline import FaultWindow, Mark, Phase
from reports.findings import printable

Part = dict[str, Any]

CONFIG: Part = {
    "background": None,
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "padding": {"left": 2, "right": 8, "top": 6, "bottom": 2},
    "view": {"stroke": None},
    "axis": {
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "gridColor": "var(--grid)",
        "labelColor": "var(--quiet)",
        "titleColor": "var(--quiet)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelPadding": 4,
        "tickSize": 4,
        "labelOverlap": "greedy",
    },
    "axisY": {"domain": False, "ticks": False},
    "axisX": {"grid": False},
}

# Names of faults stand in so many lines, one below the other; more faults than that many are not named.
_FAULT_LINES = 4
_MOST_NAMED_FAULTS = 12
# Ticks of the time axis in seconds; the smallest that leaves about 80 pixels a label is taken.
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_NINES = (
    "datum.value == 1 ? '0 %' : datum.value == 2 ? '50 %' : datum.value == 10 ? '90 %' : "
    "datum.value == 100 ? '99 %' : datum.value == 1000 ? '99.9 %' : datum.value == 10000 ? '99.99 %' : "
    "datum.value == 100000 ? '99.999 %' : datum.value == 1000000 ? '99.9999 %' : ''"
)
_LATENCY = (
    "datum.value >= 1000000 ? datum.value / 1000000 + ' s' : "
    "datum.value >= 1000 ? datum.value / 1000 + ' ms' : datum.value + ' µs'"
)
# D3's own `s` format has one prefix for all ticks of an axis, and so a zero of "0k".
_COUNT = "datum.value == 0 ? '0' : abs(datum.value) < 1 ? format(datum.value, '~r') : format(datum.value, '~s')"
_ZOOMED_IN = "datum.t >= from && datum.t <= to"


def latency_axis(values_us: Iterable[float], field: str = "v", title: str = "latency (log)") -> Part:
    """A logarithmic y axis for latencies in µs, from just below the smallest to just above the largest."""
    low, high = _log_domain(values_us)
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"type": "log", "domain": [low, high], "nice": False, "clamp": True},
        "axis": {"title": title, "values": _log_ticks(low, high), "labelExpr": _LATENCY},
    }


def amount_axis(title: str, field: str = "v", scale: str = "linear") -> Part:
    """An axis of counts, rates or sizes, from zero; a logarithm from its smallest value, ticks at tens."""
    if scale == "log":
        ends: Part = {"type": "log", "nice": False, "padding": 12}
        ticks: Part = {"values": [10**n for n in range(16)]}
    else:
        ends, ticks = {"type": scale, "nice": True, "zero": True}, {"tickCount": 4}
    return {
        "field": field,
        "type": "quantitative",
        "scale": ends,
        "axis": {"title": title, "labelExpr": _COUNT, "grid": True, **ticks},
    }


def percentile_axis(largest: float) -> Part:
    """HdrHistogram's x axis, up to `largest` = 1 / (1 - p) of the highest percentile there is."""
    return {
        "field": "x",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [1, max(10, largest)], "nice": False},
        "axis": {
            "title": "percentile, on a scale of 1 / (1 − p)",
            "values": [1, 2, 10, 100, 1000, 10_000, 100_000, 1_000_000],
            "labelExpr": _NINES,
            "grid": True,
        },
    }


def time_axis(span: tuple[float, float], field: str = "t") -> Part:
    """The x axis of a chart over time, whose ends are the signals `from` and `to`."""
    minutes = span[1] - span[0] >= 120
    clock = (
        "floor(round(datum.value * 10) / 600) + ':' + "
        "format((round(datum.value * 10) / 10) % 60, step < 1 ? '04.1f' : '02.0f')"
    )
    seconds = "format(datum.value, step < 1 ? '.1f' : 'd')"
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"domainMin": {"expr": "from"}, "domainMax": {"expr": "to"}, "nice": False, "zero": False},
        "axis": {
            "title": f"time since the start ({'min:s' if minutes else 's'})",
            "values": {"expr": "sequence(ceil(from / step) * step, to + step / 1000, step)"},
            "labelExpr": clock if minutes else seconds,
        },
    }


def time_signals(span: tuple[float, float]) -> list[Part]:
    """The signals of a chart over time: `from` and `to`, `at` (the reader's pointer), `hidden` (series)."""
    step = str(_STEPS[-1])
    for size in reversed(_STEPS[:-1]):
        step = f"(to - from) <= {size} * max(3, width / 80) ? {size} : {step}"
    return [
        {"name": "from", "value": span[0]},
        {"name": "to", "value": span[1]},
        {"name": "at", "value": None},
        {"name": "step", "expr": step},
        *series_signals(),
    ]


def series_signals() -> list[Part]:
    """The signal of every chart with a legend: the names of the series that the reader has hidden."""
    return [{"name": "hidden", "value": []}]


def visible() -> Part:
    """The transform that leaves out what the reader has hidden: a series `s`, or a kind `k` of line."""
    return {"filter": "indexof(hidden, datum.s) < 0 && indexof(hidden, datum.k) < 0"}


def fault_rows(faults: Sequence[FaultWindow]) -> int:
    """How many lines the names of faults take at the top of a chart; 0 where they are too many to be named."""
    return min(len(faults), _FAULT_LINES) if len(faults) <= _MOST_NAMED_FAULTS else 0


def fault_layers(faults: Sequence[FaultWindow], span: tuple[float, float], *, named: bool) -> list[Part]:
    """Fault windows as shaded spans of time, with their names at the top where `named` and not too many."""
    rows = [
        {
            "t": fault.start_ns / 1e9,
            "end": span[1] if fault.end_ns is None else fault.end_ns / 1e9,
            "label": printable(f"{fault.name} {fault.target}".strip()),
            "row": at % _FAULT_LINES,
        }
        for at, fault in enumerate(faults)
    ]
    if not rows:
        return []
    data: Part = {"values": rows}
    shade = _shade(data, span, "var(--fault)")
    if not named or not fault_rows(faults):
        return [shade]
    mark = _text("var(--fault-ink)", bold=True) | {"dy": {"expr": "14 * datum.row"}}
    return [shade, _names(data, span, mark, 10)]


def _shade(data: Part, span: tuple[float, float], color: str) -> Part:
    """Spans of time, from `t` to `end` of each row."""
    return {
        "data": data,
        "mark": {"type": "rect", "clip": True, "color": color, "aria": False},
        "encoding": {"x": time_axis(span), "x2": {"field": "end"}},
    }


def _names(data: Part, span: tuple[float, float], mark: Part, y: int | Part) -> Part:
    """The names of spans of time, each at the start of what is to be seen of its span."""
    return {
        "data": data,
        "transform": [
            {"filter": "datum.end >= from && datum.t <= to"},
            {"calculate": "max(datum.t, from)", "as": "t"},
        ],
        "mark": mark,
        "encoding": {"x": time_axis(span), "y": {"value": y}, "text": {"field": "label"}},
    }


def phase_layers(phases: Sequence[Phase], span: tuple[float, float], *, named: bool) -> list[Part]:
    """Parts of the load, such as a burst, as shaded spans of time from start to end, named at the foot."""
    rows = [
        {"t": phase.start_ns / 1e9, "end": phase.end_ns / 1e9, "label": printable(phase.name)} for phase in phases
    ]
    if not rows:
        return []
    data: Part = {"values": rows}
    shade = _shade(data, span, "var(--phase)")
    if not named:
        return [shade]
    return [shade, _names(data, span, _text("var(--phase-ink)", bold=True), {"expr": "height - 10"})]


def mark_layers(marks: Sequence[Mark], span: tuple[float, float], *, named: bool, below: int = 1) -> list[Part]:
    """Named moments as vertical rules, with their names beside them where `named`, `below` so many lines."""
    rows = [{"t": m.t_ns / 1e9, "label": printable(m.name), "row": i % 4} for i, m in enumerate(marks)]
    if not rows:
        return []
    inside: Part = {"filter": _ZOOMED_IN}
    rule: Part = {
        "data": {"values": rows},
        "transform": [inside],
        "mark": {"type": "rule", "color": "var(--mark)", "strokeDash": [2, 3], "aria": False},
        "encoding": {"x": time_axis(span)},
    }
    if not named:
        return [rule]
    # Near the right edge a name stands to the left of its rule, so that it is never cut off.
    left = "width * (to - datum.t) / (to - from) < 76"
    text = _text("var(--mark)")
    text |= {
        "align": {"expr": f"{left} ? 'right' : 'left'"},
        "dx": {"expr": f"{left} ? -4 : 4"},
        "dy": {"expr": f"{12 + 14 * below} + 14 * datum.row"},
    }
    name: Part = {
        "data": {"values": rows},
        "transform": [inside],
        "mark": text,
        "encoding": {"x": time_axis(span), "y": {"value": 0}, "text": {"field": "label"}},
    }
    return [rule, name]


def pointer_layer(span: tuple[float, float]) -> Part:
    """A rule where the reader points, in all charts of a run at once."""
    return {
        "data": {"values": [{}]},
        "transform": [{"filter": "at !== null"}, {"calculate": "at", "as": "t"}],
        "mark": {"type": "rule", "clip": True, "color": "var(--ink)", "opacity": 0.45, "aria": False},
        "encoding": {"x": time_axis(span)},
    }


def _text(color: str, *, bold: bool = False) -> Part:
    return {
        "type": "text",
        "align": "left",
        "baseline": "middle",
        "dx": 4,
        "fontSize": 11,
        "fontWeight": 600 if bold else 400,
        "color": color,
        "limit": 180,
    }


def _log_domain(values_us: Iterable[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis: 1, 2 or 5 times a power of ten around all values, never below 1 µs."""
    values = [min(max(v, 1.0), float(HIGHEST_US)) for v in values_us] or [1.0, 10.0]
    low, high = min(values), max(values)
    steps = [m * 10.0**e for e in range(11) for m in (1, 2, 5)]
    bottom = max((s for s in steps if s <= low), default=1.0)
    top = min((s for s in steps if s >= high and s > bottom), default=steps[-1])
    return bottom, top


def _log_ticks(low: float, high: float) -> list[float]:
    near = math.log10(high / low) <= 2.2
    each = (1, 2, 5) if near else (1,)
    return [m * 10.0**e for e in range(11) for m in each if low <= m * 10.0**e <= high]
