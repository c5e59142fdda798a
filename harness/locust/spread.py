"""A load that Locust's workers make: the master's end.

    Spread         a driver, as `harness.load.driver` means it: it knows the workers, and hears what they say
    SpreadLoad     one load: prepared, begun and ended on every worker that has users; its result is all of theirs

Locust decides how many users there are and on which workers. A worker takes part in a load with an equal share of
its arrivals, and with as many connections as it has users.

A worker that is silent for some seconds is not waited for: what it had reported is in the record, the rest of its
share is a hole (`harness.locust.shares`).

Clocks: a worker is told its origin in its own monotonic time. The offset comes from the quickest of some round
trips, as in NTP (RFC 5905, section 8): (their time) - (sent + received) / 2, wrong by half of the trip at most.
"""

from __future__ import annotations

# Locust first: importing it replaces sockets, threads and timers, which others must not have taken before.
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner

# isort: split
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent.event import Event
from msgspec.structs import replace

from harness.conduct.interrupt import Interrupted
from harness.host.clock import Clock
from harness.load.driver import Drive, Journeys
from harness.load.pacing import Pacer
from harness.load.settings import SPIN_SHARE, PumpError, PumpResult, PumpSettings
from harness.load.workload import Source
from harness.locust.shares import Share, as_one, gathered, hole, numbers_of
from harness.locust.view import Measured
from harness.locust.worker import (
    BEGIN,
    CLOCK,
    CLOCK_ANSWER,
    DONE,
    FAILED,
    PREPARE,
    READY,
    STOP,
    TICK,
    Portion,
    PumpWork,
    UserWork,
    decoded,
)
from harness.measure.outcomes import Counts
from harness.measure.recorder import Interval, unpack_intervals
from harness.record.run import WorkerShare

READY_S = 60.0
SILENT_NS = 5_000_000_000
REPORTS_NS = 10_000_000_000
_PINGS = 8


class _Offset:
    """A worker's clock beside the master's, by the quickest round trip so far."""

    def __init__(self) -> None:
        self.trip_ns: int | None = None
        self.monotonic_ns = 0
        self.time_of_day_s = 0.0

    def note(self, sent_ns: int, now_ns: int, their_ns: int, epoch_difference_s: float) -> None:
        trip_ns = now_ns - sent_ns
        if self.trip_ns is None or trip_ns < self.trip_ns:
            self.trip_ns = trip_ns
            self.monotonic_ns = their_ns - (sent_ns + now_ns) // 2
            self.time_of_day_s = epoch_difference_s


class Spread:
    """A driver whose load is made by Locust's workers.

    Args:
        environment: Locust's; its runner is a master or local.
        clock: of this host.

    Attributes:
        spin_share: of a core, that each worker's pump may spend on waiting awake.
    """

    def __init__(self, environment: Environment, clock: Clock) -> None:
        self._runner = environment.runner
        self._clock = clock
        self._loads: dict[int, SpreadLoad] = {}
        self._offsets: dict[str, _Offset] = {}
        self.spawned = Event()
        self.is_cut = False
        self.spin_share = SPIN_SHARE
        for kind, listener in ((CLOCK_ANSWER, self._on_clock), (READY, self._on_ready), (FAILED, self._on_failed)):
            self._runner.register_message(kind, listener)
        self._runner.register_message(TICK, self._on_tick)
        self._runner.register_message(DONE, self._on_done)

    def reset(self) -> None:
        """Forget the test before."""
        self._loads.clear()
        self.spawned.clear()
        self.is_cut = False

    def cut(self) -> None:
        """End every schedule now; a load that has not begun will not."""
        self.is_cut = True
        for load in self._loads.values():
            load.stop()

    @property
    def is_loading(self) -> bool:
        """Whether any load has not ended yet."""
        return any(not load.is_done() for load in self._loads.values())

    def pump(self, settings: PumpSettings, pacer: Pacer, source: Source) -> Drive:
        """Commands on a schedule, from every worker that has users."""
        placed = replace(settings, spin_share=self.spin_share)
        return self._load(PumpWork(placed, pacer, source), pacer, settings.keep_outcomes)

    def users(self, journeys: Journeys, pacer: Pacer) -> Drive:
        """Locust's users, on a schedule."""
        return self._load(UserWork(journeys, pacer), pacer, False)

    def _load(self, work: PumpWork | UserWork, pacer: Pacer, keep_outcomes: bool) -> SpreadLoad:
        load = SpreadLoad(self, len(self._loads) + 1, work, pacer, keep_outcomes=keep_outcomes)
        self._loads[load.number] = load
        return load

    @property
    def intervals(self) -> list[Interval]:
        """What was measured so far in this test, half a second ago at the latest; of all workers, as it came."""
        return [i for load in self._loads.values() for share in load.shares.values() for i in share.measured]

    @property
    def measured(self) -> list[Measured]:
        """The same, by load and worker."""
        return [
            Measured((load.number, worker), load.origin_ns, share.measured)
            for load in self._loads.values()
            for worker, share in load.shares.items()
        ]

    @property
    def left_s(self) -> float | None:
        """How long the schedule of the load that is on goes on; None where none is."""
        for load in reversed(self._loads.values()):
            if load.origin_ns and load.until_ns > 0:
                left_ns = load.origin_ns + load.until_ns - self._clock.now_ns()
                return left_ns / 1e9 if left_ns > 0 else None
        return None

    # What workers say. A message of an earlier test finds no load, and is not for us.

    def _share(self, msg: Any) -> Share | None:
        load = self._loads.get(msg.data["load"])
        share = load.shares.get(msg.data["worker"]) if load is not None else None
        if share is not None:
            share.heard_ns = self._clock.now_ns()
        return share

    def _on_clock(self, msg: Any, **_: Any) -> None:
        now_ns, data = self._clock.now_ns(), msg.data
        offset = self._offsets.setdefault(data["worker"], _Offset())
        # Its time of day was taken in the middle of the trip, as its monotonic time was.
        ours_s = self._clock.epoch_s() - (now_ns - data["sent_ns"]) / 2e9
        offset.note(data["sent_ns"], now_ns, data["now_ns"], data["epoch_s"] - ours_s)

    def _on_ready(self, msg: Any, **_: Any) -> None:
        if share := self._share(msg):
            share.is_ready = True

    def _on_failed(self, msg: Any, **_: Any) -> None:
        if share := self._share(msg):
            share.failed = str(msg.data["reason"])

    def _on_tick(self, msg: Any, **_: Any) -> None:
        if share := self._share(msg):
            share.progress = Counts.of(msg.data["progress"])
            if msg.data["intervals"]:
                share.intervals += unpack_intervals(msg.data["intervals"])

    def _on_done(self, msg: Any, **_: Any) -> None:
        if share := self._share(msg):
            try:
                share.result = decoded(msg.data)
            except PumpError as error:
                share.failed = str(error)

    # What the master says.

    def members(self) -> dict[str, int]:
        """The workers that have users, and how many."""
        if isinstance(self._runner, MasterRunner):
            return {c.id: c.user_count for c in self._runner.clients.all if c.user_count and self._is_there(c)}
        return {self._runner.client_id: self._runner.user_count} if self._runner.user_count else {}

    def wait_for_reports(self) -> None:
        """Wait until workers have told of all users: after a second Locust itself takes them for spawned.

        Whose report does not come within some seconds makes no part of the load.
        """
        deadline_ns = self._clock.now_ns() + REPORTS_NS
        while sum(self.members().values()) < self._runner.target_user_count:
            if self.is_cut or self._clock.now_ns() > deadline_ns:
                return
            gevent.sleep(0.01)

    @staticmethod
    def _is_there(client: Any) -> bool:
        return bool(client.state != STATE_MISSING)

    def is_missing(self, worker: str) -> bool:
        """Whether a worker is gone."""
        if not isinstance(self._runner, MasterRunner):
            return False
        client = self._runner.clients.get(worker)
        return client is None or not self._is_there(client)

    def send(self, kind: str, worker: str, **data: Any) -> None:
        """Send a message to one worker."""
        self._runner.send_message(kind, data, worker)

    def compare_clocks(self, workers: Sequence[str]) -> None:
        """Estimate by how much each worker's clock differs from ours."""
        for _ in range(_PINGS):
            for worker in workers:
                self.send(CLOCK, worker, sent_ns=self._clock.now_ns())
            gevent.sleep(0.005)

    def offset_of(self, worker: str) -> _Offset:
        """What is known of a worker's clock."""
        return self._offsets.get(worker, _Offset())

    @property
    def clock(self) -> Clock:
        """Of this host."""
        return self._clock


class SpreadLoad:
    """A load that is made by several workers."""

    def __init__(
        self, spread: Spread, number: int, work: PumpWork | UserWork, pacer: Pacer, *, keep_outcomes: bool
    ) -> None:
        self.number = number
        self.shares: dict[str, Share] = {}
        self._spread = spread
        self._work = work
        self._pacer = pacer
        self._keep_outcomes = keep_outcomes
        self._origin_ns = 0
        self._until_ns = pacer.duration_ns
        self._is_stopped = False
        self._users = 0

    @property
    def origin_ns(self) -> int:
        """When its schedule began, by this host's clock; 0 before."""
        return self._origin_ns

    @property
    def until_ns(self) -> int:
        """When its schedule ends, or was ended, from its origin; 0 where it has no end of its own."""
        return self._until_ns

    @property
    def progress(self) -> Counts:
        """How many were due, and what became of them, as far as was told."""
        return sum((share.progress for share in self.shares.values()), Counts())

    def wait_until_ready(self) -> None:
        """Wait until every worker with users can begin.

        Raises:
            PumpError: one cannot, or does not say so in time; or no worker has users.
        """
        spread = self._spread
        self._wait(spread.spawned.is_set, "Locust has not spawned its users")
        spread.wait_for_reports()
        members = spread.members()
        if not members:
            raise PumpError("no worker has users: --users is 1 or more")
        spread.compare_clocks(list(members))
        first_user = 0
        for index, (worker, users) in enumerate(members.items()):
            portion = Portion(index=index, of=len(members), first_user=first_user, users=users)
            first_user += users
            self.shares[worker] = Share(portion)
        work, self._users = self._work, first_user
        if isinstance(work, UserWork):
            work = UserWork(replace(work.journeys, users=first_user), work.pacer)
        for worker, share in self.shares.items():
            spread.send(PREPARE, worker, load=self.number, work=pickle.dumps((work, share.portion)))
        self._wait(self._is_prepared, "a worker is not ready")
        self._refuse_failed()

    def _refuse_failed(self) -> None:
        for worker, share in self.shares.items():
            if share.failed:
                raise PumpError(f"worker {worker}: {share.failed}" if len(self.shares) > 1 else share.failed)

    def _is_prepared(self) -> bool:
        for worker in self.shares:
            if self._spread.is_missing(worker):
                raise PumpError(f"worker {worker} is gone")
        return all(share.is_ready or share.failed for share in self.shares.values())

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline_ns = self._spread.clock.now_ns() + int(READY_S * 1e9)
        while not condition():
            if self._spread.is_cut:
                raise Interrupted("a stop before the load began")
            if self._spread.clock.now_ns() > deadline_ns:
                raise PumpError(f"{what} after {READY_S:.0f} s")
            gevent.sleep(0.01)

    def begin(self, origin_ns: int) -> None:
        """Start the schedule at a moment of this host's clock, which each worker is told by its own."""
        self._origin_ns = origin_ns
        for worker, share in self.shares.items():
            share.heard_ns = self._spread.clock.now_ns()
            theirs_ns = origin_ns + self._spread.offset_of(worker).monotonic_ns
            self._spread.send(BEGIN, worker, load=self.number, origin_ns=theirs_ns)

    def take(self) -> list[Interval]:
        """What workers tell meanwhile is in the result."""
        return []

    def stop(self) -> None:
        """End the schedule now."""
        if not self._is_stopped:
            self._is_stopped = True
            since_ns = self._spread.clock.now_ns() - self._origin_ns if self._origin_ns else 0
            self._until_ns = max(0, min(self._until_ns, since_ns))
            for worker in self.shares:
                self._spread.send(STOP, worker, load=self.number)

    def is_done(self) -> bool:
        """Whether every worker has reported its result, cannot, or is gone."""
        return all(self._is_closed(worker, share) for worker, share in self.shares.items())

    def _is_closed(self, worker: str, share: Share) -> bool:
        if share.result is not None or share.failed:
            return True
        silent_ns = self._spread.clock.now_ns() - share.heard_ns
        return silent_ns > SILENT_NS or (silent_ns > SILENT_NS // 2 and self._spread.is_missing(worker))

    def result(self, timeout_s: float) -> PumpResult:
        """What all of them have done and measured, as one; workers that died leave holes.

        Raises:
            PumpError: a worker could not do its part, or all of them are gone.
        """
        deadline_ns = self._spread.clock.now_ns() + int(timeout_s * 1e9)
        while not self.is_done() and self._spread.clock.now_ns() < deadline_ns:
            gevent.sleep(0.01)
        self._refuse_failed()
        if not any(share.result for share in self.shares.values()):
            raise PumpError("every worker is gone")
        return self._together()

    def _together(self) -> PumpResult:
        shares = self.shares
        reports = {worker: share.result or self._hole(share) for worker, share in shares.items()}
        whole = as_one([replace(reports[worker], intervals=share.measured) for worker, share in shares.items()])
        outcomes = None
        if self._keep_outcomes:
            dealt = [(share.portion, reports[worker].outcomes) for worker, share in shares.items()]
            outcomes = gathered(dealt, self._pacer.total)
        workers = [self._told_of(worker, report) for worker, report in reports.items()]
        return replace(whole, workers=workers, outcomes=outcomes)

    def _hole(self, share: Share) -> PumpResult:
        users = self._users if isinstance(self._work, UserWork) else None
        numbers = numbers_of(share.portion, self._pacer.total, users)
        return hole(share, self._pacer, numbers, self._until_ns, keep_outcomes=self._keep_outcomes)

    def _told_of(self, worker: str, report: PumpResult) -> WorkerShare:
        share, offset = self.shares[worker], self._spread.offset_of(worker)
        is_silent = share.result is None
        return WorkerShare(
            name=worker,
            arrivals=report.arrivals,
            connections=share.portion.users,
            clock_offset_s=None if offset.trip_ns is None else offset.time_of_day_s,
            clock_error_s=None if offset.trip_ns is None else offset.trip_ns / 2e9,
            unseen=report.arrivals - share.progress.ended if is_silent else 0,
            silent_from_s=(share.heard_ns - self._origin_ns) / 1e9 if is_silent else None,
        )

    def close(self) -> None:
        """End it on every worker, also on one that was ready when another was not."""
        self.stop()
