"""How a pump is to run, and what it has done: what it is given, and what it answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import msgspec

from harness.arrays import Bytes
from harness.measure.failures import Failure
from harness.measure.floor import Floor, FloorRequest
from harness.measure.outcomes import Counts
from harness.measure.recorder import Interval, SlowOperation
from harness.record.load_report import LoadReport
from harness.record.run import WorkerShare
from harness.server.url import ServerUrl

# A server takes 10,000 by its default, and a host has some 28,000 ports for one address.
MOST_CONNECTIONS = 10_000
# Of a core, for waiting awake; with what the pump does besides, it stays below half a core while little is due.
SPIN_SHARE = 0.4
# What says it where no option does: a machine that others share, such as one of CI, has no core to spare.
SPIN_VARIABLE = "SHOPBENCH_SPIN"
_FIRST_READS = 3


class PumpError(Exception):
    """A pump that could not begin, or did not report."""


class PumpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a pump is to run.

    Attributes:
        url: the server's, with user and password if it wants them.
        connections: how many lanes, at most `MOST_CONNECTIONS`; arrivals take turns on them.
        max_in_flight: over all lanes.
        timeout_ns: how long a reply may take before its connection counts as lost.
        drain_ns: how long to wait for the last replies after the schedule's end.
        keep_outcomes: whether to remember the outcome of each operation, one byte each.
        spin_share: of a core that the pump may spend on waiting awake for what is due next, 0 to 1; it takes no
            more of it than waking up is late on this machine.
        scripts: Lua texts that its commands call by their hash: loaded again on each new connection, and where
            the server says that it does not know one.
        cores: that the pump's process may use; none given: those of whoever starts it.
        floor: what a bare exchange costs is measured before the load, if this is given.
        ship_ns: how often what was measured is handed on while the pump runs; 0: only with the result.
        quotes: whether an example of each error is kept in the server's own words; these may quote a command.
    """

    url: ServerUrl | str
    connections: int = 1
    max_in_flight: int = 100_000
    timeout_ns: int = 30_000_000_000
    drain_ns: int = 30_000_000_000
    keep_outcomes: bool = False
    spin_share: float = SPIN_SHARE
    scripts: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    floor: FloorRequest | None = None
    ship_ns: int = 0
    quotes: bool = True

    def check(self) -> None:
        """See to it that a pump can run so.

        Raises:
            PumpError: it cannot.
        """
        if not 1 <= self.connections <= MOST_CONNECTIONS:
            raise PumpError(f"a pump has 1 to {MOST_CONNECTIONS:,} connections, not {self.connections:,}")
        if not 0 <= self.spin_share <= 1:
            raise PumpError(f"a pump waits awake for a share of a core, 0 to 1, not {self.spin_share}")


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """What the pump knows of itself, besides the latencies.

    Attributes:
        dated_by_kernel: reads whose replies count as done when the kernel dates their arrival.
        dated_by_clock: reads whose replies count as done when they were read.
        clock_steps: reads among these during which the wall clock was set.
        awake_share: of a core, spent on waiting awake.
        awake_window_us: how long before a due time it waited awake at last.
        run_queue_wait_share: of the time, spent runnable while something else had the core; None where unknown.
        same_core_share: of the answers looked at, sent from the core that the pump was on; None where unknown.
        niceness: of its process.
        cores: that it might use.
    """

    dated_by_kernel: int = 0
    dated_by_clock: int = 0
    clock_steps: int = 0
    awake_share: float = 0.0
    awake_window_us: float = 0.0
    run_queue_wait_share: float | None = None
    same_core_share: float | None = None
    niceness: int = 0
    cores: int = 0

    @property
    def dated_by(self) -> str:
        """`kernel`, `clock`, `both`, or empty where nothing was read.

        Linux begins to date a moment after it was asked to, so the first reads of a connection may have no date:
        it is the kernel that dates as long as all but a hundredth of the reads are dated, or a step is to blame.
        """
        undated = self.dated_by_clock - self.clock_steps
        if self.dated_by_kernel and undated > max(_FIRST_READS, self.dated_by_kernel // 100):
            return "both"
        return "kernel" if self.dated_by_kernel else "clock" if self.dated_by_clock else ""


class PumpResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a pump has done and measured.

    Attributes:
        arrivals: how many were due; ok + failed + unknown + dropped.
        errors: the failed ones by the first word of the error.
        reconnects: how often a connection was lost and made again.
        outcomes: a byte an arrival, where they were kept.
        cpu_share: of one core, used by the pump's process.
        wall_ns: from the schedule's start to the last reply; without one, to the schedule's end.
        scheduled_ns: how long arrivals were due: the schedule's length, or less where it was ended early; 0: as
            long as `wall_ns`.
        gc_pauses: how often the interpreter collected garbage meanwhile.
        gc_pause_max_ns: the longest of these.
        workers: whose shares make it up, where there are several.
        told: what users were told of the things they have handled, the last word on each.
        failures: the failed ones by kind, with an example of each.
        offered_in_s: how many were due in each second of the schedule.
        answered_in_s: how many were answered well in each second, by when the answer arrived.
        instrument: what the pump knows of itself.
        silent_since_s: when the last answer came, from the schedule's origin, where at the end the server was
            away, or owed answers; None where it was there.
        away: the words with which it was away at last, where there were any.
        floor: what a bare exchange has cost before the load, where that was asked for and could be measured.
        floor_error: why it could not.
    """

    arrivals: int
    ok: int
    failed: int
    unknown: int
    dropped: int
    errors: dict[str, int]
    reconnects: int
    intervals: list[Interval]
    slowest: list[SlowOperation]
    outcomes: Bytes | None
    cpu_share: float
    wall_ns: int
    scheduled_ns: int = 0
    gc_pauses: int = 0
    gc_pause_max_ns: int = 0
    workers: list[WorkerShare] = []
    told: dict[str, str] = {}
    failures: list[Failure] = []
    offered_in_s: list[int] = []
    answered_in_s: list[int] = []
    instrument: Instrument = Instrument()
    silent_since_s: float | None = None
    away: str = ""
    floor: Floor | None = None
    floor_error: str = ""

    @property
    def counts(self) -> Counts:
        """How many were due, and what became of them."""
        return Counts(self.arrivals, self.ok, self.failed, self.unknown, self.dropped)

    def report(self) -> LoadReport:
        """What a record keeps of it: all but what grows with the events, and what stands in the latencies."""
        own = {name: getattr(self, name) for name in LoadReport.__struct_fields__ if name != "instrument_wait"}
        return LoadReport(**own, instrument_wait=self.instrument.run_queue_wait_share)

    @property
    def offered_per_s(self) -> float:
        """The rate at which arrivals were due, while any were."""
        return self.arrivals / ((self.scheduled_ns or self.wall_ns) / 1e9)

    @property
    def achieved_per_s(self) -> float:
        """The rate at which arrivals were answered well, until the last reply or, if later, until none was due."""
        return self.ok / (max(self.wall_ns, self.scheduled_ns) / 1e9)

    @property
    def unseen(self) -> int:
        """How many operations were the share of a worker that died, and so have no record."""
        return sum(worker.unseen for worker in self.workers)


def together(instruments: Sequence[Instrument]) -> Instrument:
    """What several pumps know of themselves, as one: counts added up, and the worst of the rest."""
    same = [each.same_core_share for each in instruments if each.same_core_share is not None]
    waits = [each.run_queue_wait_share for each in instruments if each.run_queue_wait_share is not None]
    return Instrument(
        dated_by_kernel=sum(each.dated_by_kernel for each in instruments),
        dated_by_clock=sum(each.dated_by_clock for each in instruments),
        clock_steps=sum(each.clock_steps for each in instruments),
        awake_share=sum(each.awake_share for each in instruments),
        awake_window_us=max((each.awake_window_us for each in instruments), default=0.0),
        run_queue_wait_share=max(waits, default=None),
        same_core_share=sum(same) / len(same) if same else None,
        niceness=min((each.niceness for each in instruments), default=0),
        cores=min((each.cores for each in instruments), default=0),
    )


def added(by_second: Iterable[Sequence[int]]) -> list[int]:
    """Counts by second of several pumps, added up second by second."""
    return [sum(counts) for counts in itertools.zip_longest(*by_second, fillvalue=0)]
