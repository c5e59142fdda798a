"""Charts that set durabilities side by side: measured one after the other, drawn over one another.

    on the run's time      |always ....|everysec ....|none ....|      three stubs on an axis that is mostly empty
    since each load began  |always, everysec, none .....|             one axis, three lines

Each load is put at its own beginning, which is the first second in which one of its operations was due.
Percentiles are in one chart for the same reason. A durability is the second half of an operation's name,
`append_always`, and one of the words that the scenario has told its record.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.operations import intervals_of, total_of
from harness.record.run import Record, Run
from reports.charts import axes
from reports.charts.axes import Part
from reports.charts.latency import heat_layer, percentile_rows, percentile_table
from reports.charts.view import Chart, Row, Series, flat_spec, lines
from reports.findings import part_words, told
from reports.latencies import by_span, holes, operations, quantiles_of
from reports.quantities import grouped

_COLORS = tuple(f"var(--c-{n})" for n in (2, 1, 3, 4, 5, 6, 7, 8))
_QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
_DASHES: dict[str, tuple[int, ...]] = {"p50": (5, 3), "p99": (), "max": (2, 2)}
# Of these percentiles, by their names.
_IN_TILES = ("p50", "p99", "p100")
_PERCENTILES = (0.5, 0.9, 0.99, 0.999, 1.0)


def durabilities(record: Record) -> dict[str, str]:
    """The operations of a run's parts, by the part, in the order of their words; none where it has one only.

    Nor where something was broken: what happened then has its own timeline, and is not drawn over another.
    """
    found = {o.partition("_")[2]: o for o in operations(record.latency)}
    # A part is a word of ours also in a record that somebody else has written: it becomes part of an element's id.
    words = [label for label in record.run.words if label.isidentifier()]
    if len(found) < 2 or record.history.faults or not found.keys() <= set(words):
        return {}
    return {label: found[label] for label in words if label in found}


def durability_charts(record: Record, width_s: int) -> list[Chart]:
    """Percentiles, responses over time and where they lie, of several durabilities; empty where there is one.

    Args:
        width_s: of a point in time, in seconds.
    """
    found = durabilities(record)
    if not found:
        return []
    spans = {label: _since_begun(record, operation, width_s) for label, operation in found.items()}
    end_s = max(max(each, default=0.0) for each in spans.values()) + width_s
    series = _series(record.run)
    heats = [_heat(label, series[label].name, spans[label], end_s, width_s) for label in found]
    return [_percentiles(record.latency, found, series), _over_time(spans, series, end_s, width_s), *heats]


def _series(run: Run) -> dict[str, Series]:
    """A line for each part that a run may have, so that its colour does not depend on which of them it has."""
    return {
        label: Series(part_words(label, run), _COLORS[at % len(_COLORS)]) for at, label in enumerate(run.words)
    }


def _since_begun(record: Record, operation: str, width_s: int) -> dict[float, Histogram]:
    """The responses of a load by spans of time since it began."""
    spans = by_span(intervals_of(record.latency, operation, "response"), width_s)
    first = min(spans, default=0.0)
    return {round(start - first, 3): histogram for start, histogram in spans.items()}


def _percentiles(log: LatencyLog, found: dict[str, str], named: Mapping[str, Series]) -> Chart:
    totals = {label: total_of(log, operation, "response") for label, operation in found.items()}
    rows = [row for label, total in totals.items() for row in percentile_rows(named[label].name, total)]
    series = [named[label] for label in totals]
    axis = axes.latency_axis(row["v"] for row in rows)
    x = axes.percentile_axis(max(row["x"] for row in rows))
    columns = {
        label: quantiles_of(intervals_of(log, operation, "response"), _PERCENTILES)
        for label, operation in found.items()
    }
    counts = ", ".join(f"{grouped(total.total)} {named[label].name}" for label, total in totals.items())
    return Chart(
        key="percentiles-0",
        section="latency",
        title="Response by percentile, durabilities side by side",
        caption=f"Operations: {counts}. Each further nine is one in ten of what is left; the right end is the "
        "slowest of all.",
        spec=flat_spec(lines(x, axis, series, rows, step="step-before"), rows, 300, axes.series_signals()),
        unit="µs",
        along="percentile",
        series=series,
        table=percentile_table([named[label].name for label in totals], list(columns.values())),
        size="wide",
        tiles=[
            (
                f"{named[label].name}: p50, p99, slowest",
                ", ".join(told(each) for each in columns[label] if each.name in _IN_TILES),
                "",
            )
            for label in totals
        ],
    )


def _axis(end_s: float, field: str) -> Part:
    x = axes.amount_axis("seconds since the load began (s)", field)
    x["scale"] = {"type": "linear", "domain": [0, end_s], "nice": False}
    x["axis"] |= {"grid": False}
    return x


def _over_time(
    spans: dict[str, dict[float, Histogram]], named: Mapping[str, Series], end_s: float, width_s: int
) -> Chart:
    rows: list[Row] = []
    nothing = Histogram()
    for label, mine in spans.items():
        for start in sorted([*mine, *holes(mine, width_s)]):
            values = mine.get(start, nothing).quantiles_us(list(_QUANTILES.values()))
            rows += [
                # A point is in the middle of its seconds: a load of few of them is no line at the left edge.
                {"x": start + width_s / 2, "v": None if v is None else max(v, 1), "s": named[label].name, "k": k}
                for k, v in zip(_QUANTILES, values, strict=True)
            ]
    series = [named[label] for label in spans]
    axis = axes.latency_axis(row["v"] for row in rows if row["v"] is not None)
    drawn = lines(_axis(end_s, "x"), axis, series, rows, by_kind=_DASHES)
    merged = f" Each point is the quantile of {width_s} s." if width_s > 1 else ""
    return Chart(
        key="latency-0",
        section="latency",
        title="Response over time, durabilities side by side",
        caption="Measured one after the other, each on a server of its own; drawn over one another, each from "
        "when its load began. By the second in which an operation was due, so a stall stands at its full length."
        + merged,
        spec=flat_spec(drawn, rows, 280, axes.series_signals()),
        unit="µs",
        along="load",
        series=[*series, *(Series(k, "var(--quiet)", dash) for k, dash in _DASHES.items())],
        size="wide",
    )


def _heat(label: str, words: str, spans: dict[float, Histogram], end_s: float, width_s: int) -> Chart:
    heat, rows, levels = heat_layer(spans, width_s, _axis(end_s, "t"))
    return Chart(
        key=f"heat-{label}",
        section="latency",
        title=f"Where the responses lie: {words}",
        caption=f"Operations due in {width_s} s, by their response, from when the load began. Two bands are two "
        "populations; percentiles alone do not tell.",
        spec=flat_spec([heat], rows, 200, axes.series_signals()),
        unit="µs",
        hover="cell",
        along="load",
        size="third",
        steps=[grouped(level) for level in levels],
    )
