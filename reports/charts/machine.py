"""Charts of the machine: memory, CPU and append-only file of the server, CPU of the host; an append's layers."""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.measure.timeline import History
from harness.record.run import Record, Run
from reports.charts import axes
from reports.charts.view import (
    MOST_SERIES,
    PALETTE,
    Chart,
    Row,
    Series,
    Table,
    View,
    bars,
    lines,
    not_drawn,
)
from reports.findings import part_words, printable
from reports.quantities import quantity


class _Gauge(NamedTuple):
    """A reading of the machine as a chart: its title, its unit there, and what the unit is a share of."""

    title: str
    unit: str
    factor: float
    of: str = ""


_GAUGES = {
    "server.used_memory_bytes": _Gauge("Memory of the server", "MiB", 2.0**-20),
    "server.resident_bytes": _Gauge("Memory that the server has of the machine", "MiB", 2.0**-20),
    "server.fragmentation": _Gauge("Fragmentation of the server's memory", "×", 1.0),
    "server.cpu_share": _Gauge("CPU of the server", "%", 100.0, " of one core"),
    "host.cpu_share": _Gauge("CPU of the host", "%", 100.0, " of all cores"),
    "host.steal_share": _Gauge("CPU taken by the host", "%", 100.0, " of all cores"),
}
_AOF = "server.aof_"
_AOF_UNITS = {"bytes": ("MiB", 2.0**-20), "share": ("%", 100.0), "µs": ("ms", 1e-3)}


def machine_charts(history: History, view: View) -> list[Chart]:
    """Memory, CPU and append-only file of the server, CPU of the host; a small chart each."""
    shown = dict(_GAUGES)
    for name in history.reading_names:
        if name.startswith(_AOF):
            unit = next(history.readings(name)).unit
            title = printable(f"Append-only file: {name.removeprefix(_AOF).replace('_', ' ')}")
            shown[name] = _Gauge(title, *_AOF_UNITS.get(unit, (printable(unit), 1.0)))
    found = []
    for at, (name, gauge) in enumerate(shown.items()):
        key = name.replace(".", "-") if name in _GAUGES else f"aof-{at}"
        found += _machine_chart(key, gauge, view.readings(history, name), view)
    return found


def _machine_chart(key: str, gauge: _Gauge, readings: tuple[list[Row], bool], view: View) -> list[Chart]:
    read, merged = readings
    every = sorted({row["s"] or "all" for row in read})
    if not every:
        return []
    names = every[:MOST_SERIES]
    rows = [
        row | {"v": None if row["v"] is None else float(f"{row['v'] * gauge.factor:.6g}"), "s": row["s"] or "all"}
        for row in read
        if (row["s"] or "all") in names
    ]
    series = [Series(s, PALETTE[n]) for n, s in enumerate(names)]
    line = lines(axes.time_axis(view.span), axes.amount_axis(gauge.unit), series, rows)
    return [
        Chart(
            key=key,
            section="machine",
            title=gauge.title,
            caption=f"In {gauge.unit}{gauge.of}."
            + view.highest(merged=merged)
            + not_drawn(len(every) - len(names), "are"),
            spec=view.spec(line, rows, 120),
            unit=gauge.unit,
            series=series if len(series) > 1 else [],
            timed=True,
            size="third",
        )
    ]


_LAYER = re.compile(r".+\.stack\.(\w+)\.p50")


def stack_chart(record: Record) -> list[Chart]:
    """Where the time of one append goes: each layer's bar begins where the one before it ends."""
    values = {f.name: f.value for f in record.run.figures}
    layers = _layers(record.run)
    rows: list[Row] = []
    cells: list[list[str]] = []
    before = 0.0
    for layer, name in layers.items():
        p50 = values[name]
        if p50 is None:
            continue
        label = part_words(layer, record.run)
        added = f"{'+' if p50 >= before else '−'}{quantity(abs(p50 - before), 'µs')}" if rows else ""
        text = f"{added}, in all {quantity(p50, 'µs')}" if rows else quantity(p50, "µs")
        rows.append({"b": before, "v": p50, "s": layer, "label": label, "text": text})
        p99 = values.get(f"{name.removesuffix('p50')}p99")
        cells.append([label, quantity(p50, "µs"), added, quantity(p99, "µs")])
        before = p50
    if not rows:
        return []
    colors = {layer: PALETTE[n] for n, layer in enumerate(layers)}
    return [
        Chart(
            key="stack",
            section="latency",
            title="Where the time of one append goes",
            caption="The median of one call at a time through each layer, all measured in turn in the same "
            "rounds. A bar is what its layer adds to the layer above it; one that goes back is a layer that does "
            "less than the one above.",
            spec=bars(rows, colors, scale="linear", title="microseconds (µs)", begin="b"),
            unit="µs",
            hover="item",
            table=Table(["layer", "p50", "added", "p99"], cells),
            size="wide",
        )
    ]


def _layers(run: Run) -> dict[str, str]:
    """The layers of an append from the outermost on, each with the figure of its median: by the run's words."""
    found = {match[1]: match[0] for f in run.figures if (match := _LAYER.fullmatch(f.name))}
    return {layer: found[layer] for layer in [*run.words, *found] if layer in found}
