"""The charts of a run, as Vega-Lite specifications: parts of a record in, plain dicts out.

`charts(record)` gives every chart that the record has evidence for, in reading order. A `Chart` is a
specification with what the page around it needs: a caption, the series of its legend, a table of its data.

    latency     percentile curves per operation; p50, p99, max over time; time x latency as a heat map; where
                several durabilities were measured, over one another (`reports.charts.durabilities`)
    throughput  what was due, reached the server, was answered and had its effect, second by second; where a
                record does not have that: replies per second, of success or refusal
    lag         events not applied, pending, and the age of the oldest, per consumer group
    drain       what waits after a restart: as measured, and as the rates predict it
    events      outcomes by kind; the ledger, attempted -> acknowledged -> applied
    replay      speed over the number of events
    stack       where the time of one append goes, layer by layer
    capacity    latency and who was busy over the rate, where one was searched
    machine     memory, CPU and append-only file of the server; CPU of the host

Drawing is Vega's, through Vega-Lite (`reports.javascript`). Bokeh was the other candidate: its linked ranges come
for free, its charts are canvas (no text for screen readers, blurred in print) and twice the size.
"""

from __future__ import annotations

from harness.record.run import Record
from reports.charts.capacity import capacity_charts
from reports.charts.durabilities import durability_charts
from reports.charts.events import ledger_charts, outcome_chart, replay_chart
from reports.charts.lag import drain_chart, lag_charts
from reports.charts.latency import operation_charts
from reports.charts.machine import machine_charts, stack_chart
from reports.charts.throughput import load_chart, throughput_chart
from reports.charts.view import Chart, View


def charts(record: Record, intervals: int = 300) -> list[Chart]:
    """Every chart that a record has evidence for, in reading order.

    Args:
        record: a single run.
        intervals: how many points in time a chart has at most.

    Raises:
        RunError: a part of the record cannot be read.
    """
    log, history = record.latency, record.history
    view = View(record, intervals)
    return [
        *capacity_charts(record),
        *(durability_charts(record, view.width_s) or operation_charts(record, view)),
        *(load_chart(history, view) or throughput_chart(log, view)),
        *lag_charts(history, view),
        *drain_chart(record),
        *ledger_charts(record),
        *outcome_chart(record),
        *replay_chart(record),
        *stack_chart(record),
        *machine_charts(history, view),
    ]
