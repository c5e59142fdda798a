"""A worker's end of a load that Locust spreads: its share, made here, told to the master once a tick.

    master                                         worker
      shopbench.clock     {sent_ns}            ->
                                               <-  shopbench.clock_answer  {sent_ns, now_ns, epoch_s}
      shopbench.prepare   {load, share, what}  ->    starts a pump, or lets its users in
                                               <-  shopbench.ready | shopbench.failed {reason}
      shopbench.begin     {origin_ns}          ->    by this worker's own clock
                                               <-  shopbench.tick  {progress, intervals}      twenty a second
      shopbench.stop                           ->
                                               <-  shopbench.done  {counts, intervals, outcomes}

They are Locust's own messages, and in a run of one process they are calls. What goes to a worker is a pickle, for
a master can have its workers run any code anyway; what comes from a worker is plain data, and is checked.

Intervals travel as histograms of one second each, so that the master's are the sum of all, bucket by bucket. What
a tick has brought is at the master; if the worker then dies, it is in the record.
"""

from __future__ import annotations

import contextlib
import pickle
import zlib
from typing import Any

import gevent
import msgspec
import numpy as np
from gevent.event import Event
from locust.env import Environment

from harness.host.clock import SystemClock
from harness.load.driver import Drive, Journeys
from harness.load.pacing import Pacer, Stripe
from harness.load.pump_process import PumpProcess
from harness.load.settings import MOST_CONNECTIONS, Instrument, PumpError, PumpResult, PumpSettings
from harness.load.striped import StripedSource
from harness.load.workload import Source
from harness.locust.pool import SHIP_NS, TICK_S, UserPool, lobby_of
from harness.locust.stats import add_to_stats
from harness.measure.failures import Failure
from harness.measure.floor import Floor
from harness.measure.histogram import Histogram, RecordingError
from harness.measure.outcomes import Counts
from harness.measure.recorder import Interval, SlowOperation, pack_intervals, unpack_intervals

PREPARE, BEGIN, STOP, CLOCK = (f"shopbench.{name}" for name in ("prepare", "begin", "stop", "clock"))
CLOCK_ANSWER, READY, FAILED, TICK, DONE = (
    f"shopbench.{name}" for name in ("clock_answer", "ready", "failed", "tick", "done")
)


class PumpWork(msgspec.Struct, frozen=True):
    """What a worker's pump is to send."""

    settings: PumpSettings
    pacer: Pacer
    source: Source


class UserWork(msgspec.Struct, frozen=True):
    """What a worker's users are to do."""

    journeys: Journeys
    pacer: Pacer


class Portion(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a load is a worker's.

    Attributes:
        index, of: of the workers that take part.
        first_user: the number of its first user.
        users: how many it has.
    """

    index: int
    of: int
    first_user: int
    users: int


class WorkerEnd:
    """The worker's end; it lives as long as the process.

    Args:
        environment: Locust's, whose runner is there.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._clock = SystemClock()
        self._share: _Share | None = None
        runner = environment.runner
        runner.register_message(CLOCK, self._on_clock)
        runner.register_message(PREPARE, self._on_prepare)
        runner.register_message(BEGIN, self._on_begin)
        runner.register_message(STOP, self._on_stop)

    def _on_clock(self, msg: Any, **_: Any) -> None:
        answer = {"sent_ns": msg.data["sent_ns"], "now_ns": self._clock.now_ns(), "epoch_s": self._clock.epoch_s()}
        self._environment.runner.send_message(CLOCK_ANSWER, {**answer, "worker": self._name})

    @property
    def _name(self) -> str:
        name: str = self._environment.runner.client_id
        return name

    def _on_prepare(self, msg: Any, **_: Any) -> None:
        self.end()
        work, portion = pickle.loads(msg.data["work"])  # noqa: S301 - from the master, whose code we run anyway
        self._share = _Share(self._environment, self._name, msg.data["load"], work, portion)

    def _on_begin(self, msg: Any, **_: Any) -> None:
        if self._share is not None:
            self._share.begin(msg.data["load"], msg.data["origin_ns"])

    def _on_stop(self, msg: Any, **_: Any) -> None:
        if self._share is not None:
            self._share.stop(msg.data["load"])

    def let_users_finish(self, patience_s: float) -> None:
        """End the schedule of users, and wait until they have done what was due: Locust is about to end them."""
        if self._share is not None and self._share.has_users:
            self._share.finish(patience_s)

    def end(self, patience_s: float = 0.0) -> None:
        """End what is being made, and wait for the report of it."""
        if self._share is not None:
            self._share.end(patience_s)
            self._share = None


class _Share:
    """A load's share, from its preparation to its report."""

    def __init__(
        self, environment: Environment, name: str, load: int, work: PumpWork | UserWork, portion: Portion
    ) -> None:
        self._environment = environment
        self._name = name
        self._load = load
        self._work = work
        self._portion = portion
        self._begun = Event()
        self._stopped = False
        self._origin_ns = 0
        self._told = Counts()
        self._greenlet = gevent.spawn(self._run)

    def begin(self, load: int, origin_ns: int) -> None:
        if load == self._load:
            self._origin_ns = origin_ns
            self._begun.set()

    def stop(self, load: int) -> None:
        if load == self._load:
            self._stopped = True
            self._begun.set()

    @property
    def has_users(self) -> bool:
        return isinstance(self._work, UserWork)

    def finish(self, patience_s: float) -> None:
        self.stop(self._load)
        self._greenlet.join(patience_s)

    def end(self, patience_s: float) -> None:
        self.finish(patience_s)
        self._greenlet.kill()

    def _send(self, kind: str, **data: Any) -> None:
        self._environment.runner.send_message(kind, {"load": self._load, "worker": self._name, **data})

    def _run(self) -> None:
        try:
            with contextlib.closing(self._made()) as drive:
                drive.wait_until_ready()
                self._send(READY)
                self._begun.wait()
                self._drive(drive)
        except PumpError as error:
            self._send(FAILED, reason=str(error))
        finally:
            lobby_of(self._environment).close()

    def _made(self) -> Any:
        portion = self._portion
        if isinstance(self._work, PumpWork):
            return PumpProcess(
                settings_of(self._work.settings, portion),
                Stripe(self._work.pacer, portion.index, portion.of),
                StripedSource(self._work.source, portion.index, portion.of),
            )
        pool = UserPool(
            self._work.journeys,
            self._work.pacer,
            first_user=portion.first_user,
            here=portion.users,
            clock=SystemClock(),
        )
        lobby_of(self._environment).open(pool)
        return pool

    def _drive(self, drive: Drive) -> None:
        if not self._stopped:
            drive.begin(self._origin_ns)
        else:
            drive.begin(SystemClock().now_ns())
        asked = False
        while not drive.is_done():
            if self._stopped and not asked:
                drive.stop()
                asked = True
            self._tick(drive)
            gevent.sleep(TICK_S)
        result: PumpResult = drive.result(5.0)
        self._count(result.intervals, result.counts)
        self._send(DONE, **encoded(result))

    def _tick(self, drive: Drive) -> None:
        progress = drive.progress
        intervals = drive.take()
        self._count(intervals, progress)
        self._send(TICK, progress=list(progress), intervals=pack_intervals(intervals) if intervals else b"")

    def _count(self, intervals: list[Interval], progress: Counts) -> None:
        """Tell Locust's statistics of a pump's answers; users' requests are there by themselves."""
        if not isinstance(self._work, PumpWork):
            return
        response = Histogram()
        for interval in intervals:
            if interval.tag.endswith(".response"):
                interval.sparse.add_to(response)
        fresh = progress - self._told
        self._told = progress
        named = {
            "error answered": fresh.failed,
            "no answer": fresh.unknown,
            "dropped: too many in flight": fresh.dropped,
        }
        add_to_stats(
            self._environment.stats,
            "RESP",
            self._work.source.operation,
            response,
            unanswered=fresh.unknown + fresh.dropped,
            errors={reason: count for reason, count in named.items() if count > 0},
            second=int(SystemClock().epoch_s()),
        )


def settings_of(settings: PumpSettings, portion: Portion) -> PumpSettings:
    """How a worker's pump is to run its portion: with a connection a user, and its part of what may be in flight.

    Raises:
        PumpError: more users than a pump can have connections.
    """
    if portion.users > MOST_CONNECTIONS:
        raise PumpError(
            f"a worker can have 1 to {MOST_CONNECTIONS:,} connections, not {portion.users:,}: "
            "start more workers, or fewer users"
        )
    return msgspec.structs.replace(
        settings,
        connections=portion.users,
        max_in_flight=max(1, settings.max_in_flight // portion.of),
        ship_ns=SHIP_NS,
        # One of the workers is enough: what they have in common is the server.
        floor=settings.floor if portion.index == 0 else None,
    )


def encoded(result: PumpResult) -> dict[str, Any]:
    """A result as plain data, for a message."""
    outcomes = b"" if result.outcomes is None else zlib.compress(result.outcomes.tobytes(), 1)
    return {
        "counts": list(result.counts),
        "errors": dict(result.errors),
        "reconnects": result.reconnects,
        "intervals": pack_intervals(result.intervals),
        "slowest": [[s.operation, s.due_ns, s.response_ns] for s in result.slowest],
        "outcomes": outcomes,
        "kept": result.outcomes is not None,
        "cpu_share": float(result.cpu_share),
        "wall_ns": result.wall_ns,
        "scheduled_ns": result.scheduled_ns,
        "gc": [result.gc_pauses, result.gc_pause_max_ns],
        "told": dict(result.told),
        "failures": msgspec.to_builtins(result.failures),
        "by_second": [list(result.offered_in_s), list(result.answered_in_s)],
        "instrument": msgspec.to_builtins(result.instrument),
        "floor": msgspec.to_builtins(result.floor),
        "floor_error": result.floor_error,
        "silent_since_s": result.silent_since_s,
        "away": result.away,
    }


def decoded(data: dict[str, Any]) -> PumpResult:
    """Read what `encoded` made.

    Raises:
        PumpError: something else.
    """
    try:
        counts = Counts.of(data["counts"])
        outcomes = np.frombuffer(zlib.decompress(data["outcomes"]), np.uint8) if data["kept"] else None
        return PumpResult(
            arrivals=counts.arrivals,
            ok=counts.ok,
            failed=counts.failed,
            unknown=counts.unknown,
            dropped=counts.dropped,
            errors={str(reason): int(count) for reason, count in data["errors"].items()},
            reconnects=int(data["reconnects"]),
            intervals=unpack_intervals(data["intervals"]),
            slowest=[SlowOperation(operation=o, due_ns=d, response_ns=r) for o, d, r in data["slowest"]],
            outcomes=outcomes,
            cpu_share=float(data["cpu_share"]),
            wall_ns=int(data["wall_ns"]),
            scheduled_ns=int(data["scheduled_ns"]),
            gc_pauses=int(data["gc"][0]),
            gc_pause_max_ns=int(data["gc"][1]),
            told={str(thing): str(state) for thing, state in data["told"].items()},
            failures=msgspec.convert(data["failures"], list[Failure]),
            offered_in_s=[int(count) for count in data["by_second"][0]],
            answered_in_s=[int(count) for count in data["by_second"][1]],
            instrument=msgspec.convert(data["instrument"], Instrument),
            floor=msgspec.convert(data["floor"], Floor | None),
            floor_error=str(data["floor_error"]),
            silent_since_s=msgspec.convert(data["silent_since_s"], float | None),
            away=str(data["away"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, zlib.error, RecordingError) as error:
        raise PumpError(f"a worker's report cannot be read ({error})") from error
