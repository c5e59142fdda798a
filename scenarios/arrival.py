"""What of a load has reached the server: the probes that look, the figures, and what a headline may say of a rate.

    Arriving(...)          looks ten times a second, in a thread of its own, at what the server has taken, at the
                           core that it runs on, and at what else the scenario counts
    add_arrival(...)       afterwards: figures `reached`, `reached_per_s`, `short_s`; how the arrival is judged, as
                           evidence; and what limited the load and where, which the record keeps beside how the
                           load came. The verdict is found in the record (`harness.check.arrival`).

The probes have threads of their own, one for what asks the server and one for what does not: others ask questions
that a server answers late, or not at all, when it is full or away, and that is what these are for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from harness.check.arrival import ArrivalRule, arrival_of
from harness.check.load_reached import LoadCounts, Seconds, reached_by
from harness.conduct.findings import Findings
from harness.conduct.scenario import Stage
from harness.load.settings import PumpResult
from harness.measure.curves import SECOND_NS, curve_of, interpolated
from harness.measure.hlog import LatencyLog
from harness.measure.probes import Probe, Sampler
from harness.measure.reached import CoreOf, Reached
from harness.measure.timeline import History, Reading
from harness.record.load_report import LoadReport, section_of
from harness.server.server import Server

# How long after the end of a second what was due in it may be answered.
PATIENCE_MS = 1_000.0


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

    def __init__(  # noqa: PLR0913 - what is looked at, and all that is told of it
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


def add_arrival(findings: Findings, history: History, report: LoadReport, rule: ArrivalRule) -> Seconds:
    """Add the figures on whether a load has arrived, what limited it, and how that is judged.

    Args:
        history: with the load's curves, and the readings of server and host meanwhile.
        report: of the pump.
    """
    found = arrival_of(report, history, LatencyLog(findings.intervals), rule)
    counts, whole = found.counts, found.whole
    findings.evidence.add_json(section_of("arrival", rule.name), rule)
    dot = f"{rule.name}." if rule.name else ""
    if rule.reached == "reached":
        add_reached(findings, counts, dot)
    # Of what was only acknowledged, no second is known to be short.
    is_known = whole.judged and not (counts.at_least and whole.unseen)
    findings.figure(f"{dot}short_s", len(whole.short) if is_known else None, "s")
    if whole.short:
        findings.load.setdefault("limited_by", {})[rule.name] = found.limit.words
        findings.load.setdefault("limited_at", {})[rule.name] = found.limit.place
    return whole


def add_reached(findings: Findings, counts: LoadCounts, dot: str) -> None:
    """What the server had taken when nothing more was due, a second of the schedule, and in the end."""
    # The least that there was is not what there was.
    by_end = None if counts.at_least else reached_by(counts.reached, counts.scheduled_ns)
    per_s = None if by_end is None else by_end / (counts.scheduled_ns / SECOND_NS)
    findings.figure(
        f"{dot}reached", counts.reached[-1][1] if counts.reached and not counts.at_least else None, "events"
    )
    findings.figure(f"{dot}reached_per_s", per_s, "1/s")


def add_users_arrival(findings: Findings, operation: str, report: LoadReport, users: int) -> None:
    """Add how many users there were, and the figures on whether what they were due to do was answered.

    Args:
        operation: as it is recorded, with all that is below it.
        report: of their load.
        users: how many were asked for; where workers have them, they say how many there were.
    """
    findings.figure("users", findings.load.get("users"), "users")
    there = int(findings.load.get("users", users))
    rule = ArrivalRule(budget_ms=PATIENCE_MS, operation=operation, reached="answered", users=there)
    add_arrival(findings, findings.history, report, rule)


def in_doubt_of(result: PumpResult, also: int = 0) -> int:
    """Of how many operations of users nobody knows what has become of them.

    What the users of a worker that died were told died with it.

    Args:
        result: of their load.
        also: how many are in doubt besides those without an answer.
    """
    is_one_silent = any(worker.silent_from_s is not None for worker in result.workers)
    return result.arrivals if is_one_silent else result.unknown + also


def add_part(findings: Findings, history: History, name: str, from_ns: int, to_ns: int, *, load: str = "") -> None:
    """What was due and what arrived a second in a part of the load, as figures of a name."""
    seconds = (to_ns - from_ns) / SECOND_NS
    for kind in ("offered", "reached"):
        curve = curve_of(history, kind, load=load)
        first, last = (interpolated(curve, t_ns, within_ns=SECOND_NS) for t_ns in (from_ns, to_ns))
        per_s = None if first is None or last is None or last < first else (last - first) / seconds
        findings.figure(f"{name}.{kind}_per_s", per_s, "1/s")
