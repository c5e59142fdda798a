"""Charts of lag: how many events wait and for how long, per consumer group; and how the backlog drained."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from harness.measure.timeline import History
from harness.record.run import Record
from reports.charts import axes
from reports.charts.view import (
    DASHES,
    MOST_SERIES,
    PALETTE,
    Chart,
    Row,
    Series,
    View,
    flat_spec,
    lines,
    named_series,
    not_drawn,
)
from reports.drain import drain_of, in_words
from reports.quantities import quantity


class _Kind(NamedTuple):
    """A chart of lag: what it is of, and the reading behind each kind of its lines."""

    key: str
    title: str
    unit: str
    axis: str
    readings: dict[str, str]


_LAGS = (
    _Kind(
        "lag-events",
        "Events waiting",
        "events",
        "events",
        {"not applied": "lag.events", "pending": "lag.pending", "not answered": "lag.unanswered"},
    ),
    _Kind("lag-seconds", "Age of the oldest event not yet applied", "s", "seconds (s)", {"age": "lag.seconds"}),
)


def lag_charts(history: History, view: View) -> list[Chart]:
    """Consumer lag in events and in seconds, with the moments of the recovery."""
    read = {name: view.readings(history, name) for kind in _LAGS for name in kind.readings.values()}
    peaks: dict[str, float] = {}
    for row in itertools.chain.from_iterable(rows for rows, _ in read.values()):
        peaks[row["s"]] = max(peaks.get(row["s"], 0.0), row["v"] or 0.0)
    shown = sorted(peaks, key=lambda s: -peaks[s])[:MOST_SERIES]
    # A colour belongs to a group by its name, so that it stays the same whatever the peaks are.
    colors = {s: PALETTE[n] for n, s in enumerate(sorted(shown))}
    told = "By consumer group; shaded while a fault lasted." + not_drawn(len(peaks) - len(shown), "groups are")
    if view.faults and not axes.fault_rows(view.faults):
        told += f" The {len(view.faults)} faults are named in their table."
    return [chart for kind in _LAGS for chart in _lag_chart(kind, read, colors, told, view)]


def _lag_chart(
    kind: _Kind, read: dict[str, tuple[list[Row], bool]], colors: dict[str, str], told: str, view: View
) -> list[Chart]:
    """One chart of lag, of the groups that have a colour; none where none of them was read."""
    rows = [
        row | {"s": row["s"] or "all", "k": line}
        for line, name in kind.readings.items()
        for row in read[name][0]
        if row["s"] in colors
    ]
    if not rows:
        return []
    groups, drawn = {row["s"] for row in rows}, {row["k"] for row in rows}
    series = [Series(s or "all", color) for s, color in colors.items() if (s or "all") in groups]
    kinds = [line for line in kind.readings if line in drawn]
    legend = [Series(k, "var(--quiet)", tuple(DASHES.get(k, ()))) for k in kinds if len(kind.readings) > 1]
    layers = lines(axes.time_axis(view.span), axes.amount_axis(kind.axis), series, rows, by_kind=kinds)
    return [
        Chart(
            key=kind.key,
            section="lag",
            title=kind.title,
            caption=told + view.highest(merged=any(read[name][1] for name in kind.readings.values())),
            spec=view.spec(layers, rows, 260, named=True),
            unit=kind.unit,
            series=[*series, *legend],
            timed=True,
            size="wide",
        )
    ]


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
