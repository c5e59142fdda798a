"""What a scenario has found so far: figures, histograms, a timeline, evidence; and what can be watched of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from harness.account.ledger import Account
from harness.check.judge import CONCLUDED
from harness.conduct.judging import PROBES
from harness.load.settings import PumpResult
from harness.measure.bounds import Bounds, all_bounds_of
from harness.measure.curves import add_curve, readings_of
from harness.measure.floor import COLUMNS, Floor
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.operations import intervals_of, operations_below, seconds_of
from harness.measure.outcomes import Counts
from harness.measure.recorder import KINDS, READING_LAG, Interval, SlowOperation
from harness.measure.timeline import History
from harness.nemesis.nemesis import Nemesis
from harness.record.load_report import section_of
from harness.record.run import Figure, Verdict
from harness.record.sections import Sections

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


# What `Findings.pumped` and `host_steal` add, for `figure_names`.
PUMPED = """
    1/s     {offered,achieved,reached}_per_s
    events  ok failed unknown dropped unseen reached
    s       short_s by_hand.*.lasted_s
    faults  by_hand
    µs      {response,service,send_lag,reading_lag}.{p50,p90,p99,p99.9,max} gc_pause_max
    µs      floor.{xadd,ping}.{send_lag,service,read}.{p50,p90,p99,max}
    values  out_of_range
    cores   instrument_cpu_share awake_share
    pauses  gc_pauses
    workers workers
    share   host_steal_share
"""


# The same of an operation that is part of another.
PUMPED_PART = """
    events  answered
    µs      {response,service}.{p50,p90,p99,p99.9,max}
"""


class Findings:
    """What a scenario has found so far.

    Args:
        prefix: the scenario's name, the first part of its figures' names.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.figures: list[Figure] = []
        self.verdicts: list[Verdict] = []
        self.intervals: list[Interval] = []
        self.slowest: list[SlowOperation] = []
        self.history = History()
        self.headline = ""
        self.server: dict[str, Any] = {}
        self.load: dict[str, Any] = {}
        # What the pumps know of themselves, each by the first part of its figures' names.
        self.pumps: dict[str, Any] = {}
        # What was seen of each event, and whatever else verdicts rest on.
        self.evidence = Sections()
        # Of each load that has been waited for: whether nothing more will become of what it has appended.
        self.closed: list[bool] = []
        # Why the load was ended before its schedule; empty where it was not. What was measured until then stands.
        self.cut_short = ""
        # What can be looked at, and done by hand, while the scenario runs; None where it has no such thing.
        self._probes_failed: list[str] = []
        self._concluded: list[str] = []
        self.origin_ns: int | None = None
        self.progress: Callable[[], Counts] | None = None
        self.account: Callable[[], Account] | None = None
        self.nemesis: Nemesis | None = None

    def figure(
        self,
        name: str,
        value: float | None,
        unit: str,
        *,
        samples: int | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Add a figure; its name gets the scenario's in front.

        Args:
            samples: of how many values a quantile is taken.
            bounds: of a quantile, in microseconds.
        """
        figure = Figure(name=f"{self.prefix}.{name}", value=value, unit=unit, samples=samples)
        if bounds is not None:
            figure = msgspec.structs.replace(figure, low=bounds.low_us, high=bounds.high_us, bound_by=bounds.by)
        self.figures.append(figure)

    def quantiles(self, name: str, intervals: Sequence[Interval], wanted: Mapping[str, float] = QUANTILES) -> None:
        """Add quantiles in microseconds, each with its interval; a maximum has none.

        Args:
            name: of the figures, before the quantile's.
            intervals: that the values are in, of one second each.
            wanted: quantiles, 0 to 1, by what figures call them.
        """
        whole = Histogram()
        for interval in intervals:
            interval.sparse.add_to(whole)
        inner = [q for q in wanted.values() if q < 1]
        bounds = dict(zip(inner, all_bounds_of(seconds_of(intervals), inner), strict=True))
        for (label, q), value in zip(wanted.items(), whole.quantiles_us(list(wanted.values())), strict=True):
            self.figure(f"{name}.{label}", value, "µs", samples=whole.total, bounds=bounds.get(q))

    def probe_failed(self, reason: str) -> None:
        """Note that a probe has failed: its readings are not all there, so the run is not complete."""
        self._probes_failed.append(reason)
        self.evidence.add_json(PROBES, self._probes_failed)

    def concluded(self, part: str = "") -> None:
        """Note that all is there by which a part of the run is judged.

        Args:
            part: such as one of several loads; empty: all of the run.
        """
        self._concluded.append(part)
        self.evidence.add_json(CONCLUDED, self._concluded)

    def open_loop(self, *, connections: int, arrivals: str, producer: int) -> None:
        """Name how the load comes: open loop, so that whoever quotes a latency knows what was measured.

        Args:
            connections: of the pump; one that is shared costs a server less than many do at the same rate.
            arrivals: by which law.
            producer: that the events carry; given again, it repeats the run event by event.
        """
        self.load = {"loop": "open", "connections": connections, "arrivals": arrivals, "producer": producer}

    def closed_loop(self) -> None:
        """Name how the load comes: closed loop, each call when the one before has been answered."""
        self.load = {"loop": "closed"}

    def paced_users(self, *, users: int, arrivals: str) -> None:
        """Name how the load comes: users that do one thing at a time, each due by a schedule.

        Args:
            users: how many.
            arrivals: by which law.
        """
        self.load = {"loop": "paced", "users": users, "arrivals": arrivals}

    def host_steal(self, history: History, *, name: str = "") -> None:
        """Add the share of CPU time that the host was robbed of over the readings, None where there are none."""
        read = [r.value for r in history.readings("host.steal_share") if r.value is not None]
        share = sum(read) / len(read) if read else None
        self.figure(f"{name}.host_steal_share" if name else "host_steal_share", share, "share")

    def pumped(self, operation: str, result: PumpResult, *, offset_ns: int = 0, name: str = "") -> LatencyLog:
        """Add what a pump has measured, as histograms and as figures.

        Args:
            operation: as the pump recorded it. Those below it, such as `journey.browse` below `journey`, are
                added up, and have figures of their own.
            offset_ns: from the run's origin to the pump's.
            name: the figures' first part; empty for none.

        Returns:
            The pump's intervals, on the run's time.
        """
        shifted = [
            msgspec.structs.replace(interval, start_s=interval.start_s + offset_ns / 1e9)
            for interval in result.intervals
        ]
        self.intervals += shifted
        self.slowest += [msgspec.structs.replace(slow, due_ns=slow.due_ns + offset_ns) for slow in result.slowest]
        scheduled_ns = result.scheduled_ns or None
        for kind, curve in (
            ("offered", readings_of(result.offered_in_s, scheduled_ns=scheduled_ns)),
            ("answered", readings_of(result.answered_in_s)),
        ):
            add_curve(self.history, kind, list(curve), offset_ns=offset_ns, load=name)
        self.evidence.add_json(section_of("load", name), result.report())
        log = LatencyLog(shifted)
        dot = f"{name}." if name else ""
        self.figure(f"{dot}offered_per_s", result.offered_per_s, "1/s")
        self.figure(f"{dot}achieved_per_s", result.achieved_per_s, "1/s")
        for count in ("ok", "failed", "unknown", "dropped"):
            self.figure(f"{dot}{count}", getattr(result, count), "events")
        for kind in KINDS:
            self.quantiles(f"{dot}{kind}", intervals_of(log, operation, kind))
        if any(tag.endswith(f".{READING_LAG}") for tag in log.tags):
            self.quantiles(f"{dot}{READING_LAG}", intervals_of(log, operation, READING_LAG))
        self._instrument(dot, name, result)
        beyond = sum(interval.sparse.out_of_range for interval in shifted)
        self.figure(f"{dot}out_of_range", beyond, "values")
        for each in operations_below(log, operation):
            part = each.removeprefix(f"{operation}.")
            self.figure(f"{dot}{part}.answered", log.total(f"{each}.response").total, "events")
            for kind in ("response", "service"):
                self.quantiles(f"{dot}{part}.{kind}", list(log.of(f"{each}.{kind}")))
        return log

    def _instrument(self, dot: str, name: str, result: PumpResult) -> None:
        """Add what a pump, or the workers that it consists of, knows of itself."""
        self.pumps[name or self.prefix] = {
            **msgspec.to_builtins(result.instrument),
            "dated_by": result.instrument.dated_by,
            "floor_error": result.floor_error,
            "failures": msgspec.to_builtins(result.failures),
            "silent_since_s": result.silent_since_s,
            "away": result.away,
        }
        if result.floor is not None:
            self._floor(f"{dot}floor", result.floor)
        self.figure(f"{dot}awake_share", result.instrument.awake_share, "cores")
        self.figure(f"{dot}instrument_cpu_share", result.cpu_share, "cores")
        self.figure(f"{dot}gc_pauses", result.gc_pauses, "pauses")
        self.figure(f"{dot}gc_pause_max", result.gc_pause_max_ns / 1000, "µs")
        if result.workers:
            self.load["workers"] = msgspec.to_builtins(result.workers)
            of = "users" if "users" in self.load else "connections"
            self.load[of] = sum(worker.connections for worker in result.workers)
            self.figure(f"{dot}workers", len(result.workers), "workers")
            self.figure(f"{dot}unseen", result.unseen, "events")

    def _floor(self, name: str, floor: Floor) -> None:
        """Add what a bare exchange has cost, by quantile."""
        for command, exchange in (("xadd", floor.xadd), ("ping", floor.ping)):
            for kind in ("send_lag", "service", "read"):
                for label, value in zip(COLUMNS, getattr(exchange, kind).row_us, strict=True):
                    self.figure(f"{name}.{command}.{kind}.{label}", value, "µs")
