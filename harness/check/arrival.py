"""The arrival of a load, judged from a record: what its report, its curves and its latencies say together.

    LoadReport (what the pump said), ArrivalRule (how it is judged), timeline, latencies
        --arrival_of--> Arrival: the counts, the seconds that were short, and what the limit was
        --arrival_checker--> the verdict `load_reached`

The rule by which seconds are judged, and a limit is found, is `harness.check.load_reached`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from harness.check.judge import Checker
from harness.check.load_reached import (
    LEAST_SHARE,
    Limit,
    LoadCounts,
    Seconds,
    Surroundings,
    limit_of,
    limit_of_steps,
    load_reached,
    seconds_of,
)
from harness.measure.curves import SECOND_NS, curve_of, readings_of
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.operations import operations_below, total_of
from harness.measure.probes import PERIOD_NS
from harness.measure.timeline import FaultWindow, History
from harness.record.files import LATENCIES, TIMELINE
from harness.record.load_report import LoadReport, section_of
from harness.record.run import Record, Verdict

# However late an instrument may be, what takes longer than this has not reached the server in time.
_LONGEST_ALLOWANCE_NS = SECOND_NS


class ArrivalRule(Struct, frozen=True, kw_only=True):
    """How the arrival of a load is judged.

    Attributes:
        budget_ms: what the instrument may be late.
        name: the first part of its figures' names, where a run has several loads.
        operation: as the pump recorded it.
        offset_ns: from the run's origin to the load's.
        until_ns: up to when; None: all of it.
        reached: the curve that stands for what has arrived.
        users: who make the load, each one thing at a time; 0: nobody, it is sent whenever it is due.
        blind: why the server has not said what it has taken; what it has acknowledged stands for that then.
    """

    budget_ms: float
    name: str = ""
    operation: str = "append"
    offset_ns: int = 0
    until_ns: int | None = None
    reached: str = "reached"
    users: int = 0
    blind: str = ""

    @property
    def allowance_ns(self) -> int:
        """How long after the end of a second what was due in it may arrive."""
        return min(_LONGEST_ALLOWANCE_NS, PERIOD_NS + round(self.budget_ms * 1e6))


class Arrival(Struct, frozen=True, kw_only=True):
    """What has become of a load on its way to the server.

    Attributes:
        counts: what was due, and what had arrived.
        whole: the seconds of all of it.
        judged: those of the part that is judged.
        limit: of the short ones; of no meaning where there are none.
    """

    counts: LoadCounts
    whole: Seconds
    judged: Seconds
    limit: Limit


def arrival_of(report: LoadReport, history: History, log: LatencyLog, rule: ArrivalRule) -> Arrival:
    """What has become of a load on its way to the server.

    Args:
        report: of the pump.
        history: with the load's curves, and the readings of server and host meanwhile.
        log: of the run.
        rule: how it is judged.
    """
    counts = LoadCounts(
        offered_in_s=tuple(report.offered_in_s),
        scheduled_ns=report.scheduled_ns or report.wall_ns,
        reached=tuple(curve_of(history, rule.reached, load=rule.name, offset_ns=rule.offset_ns)),
        is_final=True,
        allowance_ns=rule.allowance_ns,
        excused=excused_by(history.faults, rule.offset_ns),
        # Who says no has answered.
        answered_else=report.failed if rule.reached == "answered" else 0,
    )
    if rule.blind and not counts.reached:
        counts = replace(counts, reached=acknowledged_by(report), at_least=True)
    whole = seconds_of(counts)
    around = surroundings(report, history, log, whole.short, rule)
    limit = limit_of_steps(around) if rule.users else limit_of(around, refused=_is_refused(counts, report))
    judged = whole if rule.until_ns is None else seconds_of(replace(counts, until_ns=rule.until_ns))
    return Arrival(counts=counts, whole=whole, judged=judged, limit=limit)


def arrival_checker(prefix: str, load: str = "") -> Checker:
    """What finds whether a load has reached its server: `<prefix>.load_reached`.

    Args:
        prefix: the scenario's name.
        load: which of its loads; empty: the only one.
    """
    sections = section_of("load", load), section_of("arrival", load)
    name = ".".join(filter(None, (prefix, load, "load_reached")))

    def check(record: Record) -> Verdict:
        report = record.evidence.value(sections[0], LoadReport)
        rule = record.evidence.value(sections[1], ArrivalRule)
        found = arrival_of(report, record.history, record.latency, rule)
        arrived = "been answered" if rule.reached == "answered" else "reached the server"
        return load_reached(name, found.counts, found.judged, found.limit, arrived=arrived, blind=rule.blind)

    return Checker(name, check, reads=(*sections, TIMELINE, LATENCIES), part=load)


def acknowledged_by(report: LoadReport) -> tuple[tuple[int, float], ...]:
    """How many of a load had been acknowledged by the end of each second, and when its last answer came."""
    by_end = [(t_ns, float(count)) for t_ns, count in readings_of(report.answered_in_s) if t_ns < report.wall_ns]
    return (*by_end, (report.wall_ns, float(sum(report.answered_in_s))))


def excused_by(faults: Sequence[FaultWindow], offset_ns: int = 0) -> tuple[tuple[int, int], ...]:
    """From when to when faults of the server lasted, from the load's origin; others keep no load from arriving."""
    return tuple(
        (fault.start_ns - offset_ns, (fault.end_ns if fault.end_ns is not None else 1 << 62) - offset_ns)
        for fault in faults
        if fault.target.split(" ")[0] == "server"
    )


def _is_refused(counts: LoadCounts, report: LoadReport) -> bool:
    """Whether what did not arrive was refused, rather than late."""
    due = sum(counts.offered_in_s)
    return report.failed > 0.5 * max(1.0, due - (counts.reached[-1][1] if counts.reached else due))


def surroundings(
    report: LoadReport, history: History, log: LatencyLog, seconds: Sequence[int], rule: ArrivalRule
) -> Surroundings:
    """What was to be seen around a load in some seconds of it."""
    spans = [
        ((second * SECOND_NS + rule.offset_ns) / 1e9, ((second + 1) * SECOND_NS + rule.offset_ns) / 1e9)
        for second in seconds
    ]

    begun = [span for second, span in zip(seconds, spans, strict=True) if second - 1 not in seconds]

    def all_of(kind: str, of: Sequence[tuple[float, float]]) -> Histogram:
        whole = Histogram()
        for operation in (rule.operation, *operations_below(log, rule.operation)):
            for from_s, to_s in of:
                whole.add(log.total(f"{operation}.{kind}", from_s - 1e-3, to_s + 1e-3))
        return whole

    def mean(name: str) -> float | None:
        values = [
            reading.value
            for reading in history.readings(name)
            if reading.value is not None
            and any(from_s <= reading.t_ns / 1e9 < to_s + rule.allowance_ns / 1e9 for from_s, to_s in spans)
        ]
        return sum(values) / len(values) if values else None

    core = mean("server.core_share")
    served = all_of("service", spans)
    busy_us = (served.mean_us or 0.0) * served.total
    late_us = total_of(log, rule.operation, "send_lag").quantile_us(0.99)
    return Surroundings(
        send_lag_us=all_of("send_lag", begun).quantile_us(LEAST_SHARE),
        service_us=all_of("service", begun).quantile_us(LEAST_SHARE),
        server_core=core if core is not None else mean("server.cpu_share"),
        server_wait=mean("server.core_wait_share"),
        host_busy=mean("host.cpu_share"),
        steal=mean("host.steal_share"),
        throttled=mean("host.throttled_share"),
        instrument_core=report.cpu_share,
        instrument_wait=report.instrument_wait,
        fell_behind=(late_us or 0.0) > rule.budget_ms * 1000,
        users_busy=busy_us / 1e6 / (len(seconds) * rule.users) if rule.users and seconds else None,
    )
