"""Charts of throughput: what was due, reached the server, was answered and had its effect, second by second.

Where a record does not have that: replies per second, of success or refusal. A second stands where its load has
it, so that no effect is drawn before its cause; one in which nothing was recorded is 0 replies while a load ran.
"""

from __future__ import annotations

from harness.measure import curves
from harness.measure.hlog import LatencyLog
from harness.measure.timeline import History
from reports.charts import axes
from reports.charts.view import Chart, Row, View, lines, named_series
from reports.latencies import holes, start_of

_LOAD_WORDS = {
    "offered": "due by the schedule",
    "reached": "taken by the server, by its own count",
    "answered": "acknowledged to the producer",
    "applied": "first effects at the end of the line",
}


def load_chart(history: History, view: View) -> list[Chart]:
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


def throughput_chart(log: LatencyLog, view: View) -> list[Chart]:
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


def _covered(t: float, view: View) -> float:
    """How many seconds of the run an interval covers: the last one may be cut short."""
    return max(1.0, min(float(view.width_s), view.span[1] - t))
