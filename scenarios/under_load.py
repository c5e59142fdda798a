"""A load, and what is sampled while it comes, on one timeline: origin, samplers, run, keep.

    load = UnderLoad(stage, findings)                 from now on its first arrival is a moment away
    with load.sampling(probes):
        result = load.run(drive, pacer, "append", show)

A scenario with several loads, one after the other, has one timeline for all of them: each load is told since when
that counts (`since_ns`), and may keep readings of its own (`history`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.conduct.findings import Findings
from harness.conduct.scenario import Stage
from harness.load.driver import Drive
from harness.load.pacing import Pacer
from harness.load.settings import PumpError, PumpResult
from harness.measure.probes import PERIOD_NS, Probe, Sampler
from harness.measure.timeline import History
from harness.server.server import Server
from scenarios.arrival import Arriving

# From "everybody is ready" to the first arrival.
LEAD_NS = 200_000_000


class UnderLoad:
    """A load that is about to come; what it measures, and what is sampled meanwhile, goes into findings.

    Args:
        stage: for the clock.
        findings: also told when the load begins and how far it is, where it is the run's only one.
        history: gets the readings; None: that of the findings.
        since_ns: the origin of that history, by the stage's clock; None: the load's.

    Attributes:
        origin_ns: when the schedule begins, by the stage's clock.
    """

    def __init__(
        self, stage: Stage, findings: Findings, *, history: History | None = None, since_ns: int | None = None
    ) -> None:
        self._stage = stage
        self._findings = findings
        self._history = findings.history if history is None else history
        self._is_only = since_ns is None
        self.origin_ns = stage.clock.now_ns() + LEAD_NS
        self._since_ns = self.origin_ns if since_ns is None else since_ns
        if self._is_only:
            findings.origin_ns = self.origin_ns

    @property
    def offset_ns(self) -> int:
        """From the timeline's origin to the load's."""
        return self.origin_ns - self._since_ns

    def sampling(self, probes: Sequence[Probe], *, period_ns: int = PERIOD_NS) -> Sampler:
        """What samples probes, so often, while it is entered."""
        return Sampler(
            probes,
            clock=self._stage.clock,
            origin_ns=self._since_ns,
            history=self._history,
            on_error=self._findings.probe_failed,
            period_ns=period_ns,
        )

    def arriving(
        self,
        server: Server,
        streams: Sequence[str],
        *,
        counting: Sequence[Probe] = (),
        trims: bool = False,
        load: str = "",
    ) -> Arriving:
        """What looks at how much of the load reaches a server, while it is entered; as `Arriving` has it."""
        return Arriving(
            self._stage,
            server,
            streams,
            history=self._history,
            origin_ns=self._since_ns,
            on_error=self._findings.probe_failed,
            counting=counting,
            trims=trims,
            load=load,
        )

    def run(
        self,
        drive: Drive,
        pacer: Pacer,
        operation: str,
        show: Callable[[float], None],
        *,
        name: str = "",
        then: Callable[[PumpResult], None] | None = None,
    ) -> PumpResult:
        """Run a schedule to its end, and keep what was measured; also what there is of it when it is interrupted.

        Args:
            drive: that is ready.
            pacer: its schedule.
            operation: as the drive records it.
            show: told what share of the schedule is over.
            name: of one of several loads, in front of its figures' names.
            then: gets what was kept as well.

        Raises:
            PumpError: the drive does not report.
        """

        def keep(result: PumpResult) -> None:
            self._findings.pumped(operation, result, offset_ns=self.offset_ns, name=name)
            self._findings.host_steal(self._history, name=name)
            if then is not None:
                then(result)

        if self._is_only:
            self._findings.progress = lambda: drive.progress
        return run_pump(self._stage, drive, self.origin_ns, pacer.duration_ns, show, keep)


def run_pump(
    stage: Stage,
    pump: Drive,
    origin_ns: int,
    duration_ns: int,
    show: Callable[[float], None],
    keep: Callable[[PumpResult], None],
) -> PumpResult:
    """Let a pump run its schedule, showing how far it is.

    Args:
        keep: gets the result, also what there is of it when the run is interrupted.

    Raises:
        PumpError: it does not report.
    """
    try:
        pump.begin(origin_ns)
        # Its own bounds are the schedule and its drain; this one is for a pump that hangs.
        deadline_ns = origin_ns + duration_ns + 120_000_000_000
        while not pump.is_done():
            now_ns = stage.clock.now_ns()
            if now_ns > deadline_ns:
                raise PumpError("the pump does not report")
            show(min(1.0, max(0.0, (now_ns - origin_ns) / duration_ns)))
            stage.clock.sleep_ns(50_000_000)
        result = pump.result(5.0)
    except KeyboardInterrupt:
        pump.stop()
        keep(pump.result(40.0))
        raise
    keep(result)
    return result
