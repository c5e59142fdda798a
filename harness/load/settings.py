"""How a pump is to run, and what it has done: what it is given, and what it answers."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.recording import Interval, SlowOperation
from harness.run import WorkerShare
from harness.server.url import ServerUrl

# What select(2) can watch are 1,024 files; some of them are the pump's own.
MOST_CONNECTIONS = 1_000


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
        spin_ns: how long before an arrival is due the pump stops sleeping; it costs that much CPU each time.
        ship_ns: how often what was measured is handed on while the pump runs; 0: only with the result.
    """

    url: ServerUrl | str
    connections: int = 1
    max_in_flight: int = 100_000
    timeout_ns: int = 30_000_000_000
    drain_ns: int = 30_000_000_000
    keep_outcomes: bool = False
    spin_ns: int = 60_000
    ship_ns: int = 0

    def check(self) -> None:
        """See to it that a pump can run so.

        Raises:
            PumpError: it cannot.
        """
        if not 1 <= self.connections <= MOST_CONNECTIONS:
            raise PumpError(f"a pump has 1 to {MOST_CONNECTIONS:,} connections, not {self.connections:,}")


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
    outcomes: NDArray[np.uint8] | None
    cpu_share: float
    wall_ns: int
    scheduled_ns: int = 0
    gc_pauses: int = 0
    gc_pause_max_ns: int = 0
    workers: list[WorkerShare] = []
    told: dict[str, str] = {}

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
