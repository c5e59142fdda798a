"""What of a load has reached the server: the probes that look, the verdict, and what a headline may say of a rate.

    Arriving(...)          looks ten times a second, in a thread of its own, at what the server has taken, at the
                           core that it runs on, and at what else the scenario counts
    add_arrival(...)       afterwards: figures `reached`, `reached_per_s`, `short_s`, the verdict `load_reached`,
                           and what limited the load and where, which the record keeps beside how the load came

The probes have threads of their own, one for what asks the server and one for what does not: others ask questions
that a server answers late, or not at all, when it is full or away, and that is what these are for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from harness.check import checkers as checking
from harness.check.load_reached import (
    LEAST_SHARE,
    LoadCounts,
    Seconds,
    Surroundings,
    limit_of,
    limit_of_steps,
    load_reached,
    reached_by,
    seconds_of,
)
from harness.conduct.conduct import Findings, Stage, operations_below
from harness.load.settings import PumpResult
from harness.measure.curves import SECOND_NS, curve_of, interpolated, readings_of
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.probes import PERIOD_NS, Probe, Sampler
from harness.measure.reached import CoreOf, Reached
from harness.measure.timeline import FaultWindow, History, Reading
from harness.server.server import Server

# However late an instrument may be, what takes longer than this has not reached the server in time.
_LONGEST_ALLOWANCE_NS = SECOND_NS


class Arriving:
    """Looks at what reaches a server while it is entered.

    Args:
        stage: for the clock.
        server: that takes it.
        streams: that the load appends to.
        history: gets the readings.
        origin_ns: of the history.
        on_error: told of a probe that has failed.
        counting: more that is to be looked at, and that asks no server.
        trims: whether something removes events from the streams meanwhile.
        load: which of several loads it is; empty: the only one.
    """

    def __init__(
        self,
        stage: Stage,
        server: Server,
        streams: Sequence[str],
        *,
        history: History,
        origin_ns: int,
        on_error: Callable[[str], None],
        counting: Sequence[Probe] = (),
        trims: bool = False,
        load: str = "",
    ) -> None:
        self._clock = stage.clock
        self._history = history
        self._origin_ns = origin_ns
        self._stack = contextlib.ExitStack()
        self._reached = Reached(server.url, streams, trims=trims, load=load)
        asking: list[Probe] = [self._reached]
        self._samplers = [
            Sampler(probes, clock=stage.clock, origin_ns=origin_ns, history=history, on_error=on_error)
            for probes in (asking, [CoreOf(lambda: server.pid, stage.clock), *counting])
        ]

    @property
    def blind(self) -> str:
        """Why the server has not said what it has taken; empty where it has."""
        return self._reached.blind

    def __enter__(self) -> Self:
        self._reached.begin()
        self._stack.callback(self._reached.close)
        for sampler in self._samplers:
            self._stack.enter_context(sampler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def end(self) -> None:
        """Look once more, when nothing can come any more, and no more after that."""
        self._stack.close()
        t_ns = self._clock.now_ns() - self._origin_ns
        for sample in self._reached.read():
            self._history.add(
                Reading(
                    t_ns=t_ns, name=sample.name, value=sample.value, unit=sample.unit, labels=dict(sample.labels)
                )
            )
        self._reached.close()


class Judged(Struct, frozen=True, kw_only=True):
    """How a load is judged.

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


def add_arrival(findings: Findings, history: History, result: PumpResult, how: Judged) -> Seconds:
    """Add the figures and the verdict on whether a load has arrived, and what limited it.

    Args:
        history: with the load's curves, and the readings of server and host meanwhile.
        result: of the pump.
    """
    counts = LoadCounts(
        offered_in_s=tuple(result.offered_in_s),
        scheduled_ns=result.scheduled_ns or result.wall_ns,
        reached=tuple(curve_of(history, how.reached, load=how.name, offset_ns=how.offset_ns)),
        is_final=True,
        allowance_ns=how.allowance_ns,
        excused=excused_by(history.faults, how.offset_ns),
        # A shop that says no has answered.
        answered_else=result.failed if how.users else 0,
    )
    if how.blind and not counts.reached:
        counts = replace(counts, reached=acknowledged_by(result), at_least=True)
    whole = seconds_of(counts)
    around = surroundings(findings, history, result, whole.short, how)
    limit = limit_of_steps(around) if how.users else limit_of(around, refused=_is_refused(counts, result))
    judged = whole if how.until_ns is None else seconds_of(replace(counts, until_ns=how.until_ns))
    dot = f"{how.name}." if how.name else ""
    if how.reached == "reached":
        add_reached(findings, counts, dot)
    # Of what was only acknowledged, no second is known to be short.
    is_known = whole.judged and not (counts.at_least and whole.unseen)
    findings.figure(f"{dot}short_s", len(whole.short) if is_known else None, "s")
    if whole.short:
        findings.load.setdefault("limited_by", {})[how.name] = limit.words
        findings.load.setdefault("limited_at", {})[how.name] = limit.place
    name = f"{findings.prefix}.{dot}load_reached"
    arrived = "been answered" if how.reached == "answered" else "reached the server"
    findings.verdicts.append(
        checking.checked(name, lambda: load_reached(name, counts, judged, limit, arrived=arrived, blind=how.blind))
    )
    return whole


def acknowledged_by(result: PumpResult) -> tuple[tuple[int, float], ...]:
    """How many of a load had been acknowledged by the end of each second, and when its last answer came."""
    by_end = [(t_ns, float(count)) for t_ns, count in readings_of(result.answered_in_s) if t_ns < result.wall_ns]
    return (*by_end, (result.wall_ns, float(sum(result.answered_in_s))))


def add_reached(findings: Findings, counts: LoadCounts, dot: str) -> None:
    """What the server had taken when nothing more was due, a second of the schedule, and in the end."""
    # The least that there was is not what there was.
    by_end = None if counts.at_least else reached_by(counts.reached, counts.scheduled_ns)
    per_s = None if by_end is None else by_end / (counts.scheduled_ns / SECOND_NS)
    findings.figure(
        f"{dot}reached", counts.reached[-1][1] if counts.reached and not counts.at_least else None, "events"
    )
    findings.figure(f"{dot}reached_per_s", per_s, "1/s")


def excused_by(faults: Sequence[FaultWindow], offset_ns: int = 0) -> tuple[tuple[int, int], ...]:
    """From when to when faults of the server lasted, from the load's origin; others keep no load from arriving."""
    return tuple(
        (fault.start_ns - offset_ns, (fault.end_ns if fault.end_ns is not None else 1 << 62) - offset_ns)
        for fault in faults
        if fault.target.split(" ")[0] == "server"
    )


def _is_refused(counts: LoadCounts, result: PumpResult) -> bool:
    """Whether what did not arrive was refused, rather than late."""
    due = sum(counts.offered_in_s)
    return result.failed > 0.5 * max(1.0, due - (counts.reached[-1][1] if counts.reached else due))


def surroundings(
    findings: Findings, history: History, result: PumpResult, seconds: Sequence[int], how: Judged
) -> Surroundings:
    """What was to be seen around a load in some seconds of it."""
    log = LatencyLog(findings.intervals)
    spans = [
        ((second * SECOND_NS + how.offset_ns) / 1e9, ((second + 1) * SECOND_NS + how.offset_ns) / 1e9)
        for second in seconds
    ]

    begun = [span for second, span in zip(seconds, spans, strict=True) if second - 1 not in seconds]

    def all_of(kind: str, of: Sequence[tuple[float, float]]) -> Histogram:
        whole = Histogram()
        for operation in (how.operation, *operations_below(log, how.operation)):
            for from_s, to_s in of:
                whole.add(log.total(f"{operation}.{kind}", from_s - 1e-3, to_s + 1e-3))
        return whole

    def mean(name: str) -> float | None:
        values = [
            reading.value
            for reading in history.readings(name)
            if reading.value is not None
            and any(from_s <= reading.t_ns / 1e9 < to_s + how.allowance_ns / 1e9 for from_s, to_s in spans)
        ]
        return sum(values) / len(values) if values else None

    core = mean("server.core_share")
    served = all_of("service", spans)
    busy_us = (served.mean_us or 0.0) * served.total
    return Surroundings(
        send_lag_us=all_of("send_lag", begun).quantile_us(LEAST_SHARE),
        service_us=all_of("service", begun).quantile_us(LEAST_SHARE),
        server_core=core if core is not None else mean("server.cpu_share"),
        server_wait=mean("server.core_wait_share"),
        host_busy=mean("host.cpu_share"),
        steal=mean("host.steal_share"),
        throttled=mean("host.throttled_share"),
        instrument_core=result.cpu_share,
        instrument_wait=result.instrument.run_queue_wait_share,
        users_busy=busy_us / 1e6 / (len(seconds) * how.users) if how.users and seconds else None,
    )


def add_part(findings: Findings, history: History, name: str, from_ns: int, to_ns: int, *, load: str = "") -> None:
    """What was due and what arrived a second in a part of the load, as figures of a name."""
    seconds = (to_ns - from_ns) / SECOND_NS
    for kind in ("offered", "reached"):
        curve = curve_of(history, kind, load=load)
        first, last = (interpolated(curve, t_ns, within_ns=SECOND_NS) for t_ns in (from_ns, to_ns))
        per_s = None if first is None or last is None or last < first else (last - first) / seconds
        findings.figure(f"{name}.{kind}_per_s", per_s, "1/s")
