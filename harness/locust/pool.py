"""Locust's users of one process, as a load: who acts when, and what became of it.

        schedule   0    1    2    3    4    5        arrival i belongs to seat i mod n
        seat 0     |due      |due      |due
        seat 1          |due      |due      |due

Who comes takes a seat, and acts when an arrival of it is due; who comes when all are taken has nothing to do. Who
goes, because Locust ends users, leaves the seat to the next one; what nobody was there for is DROPPED.
"""

from __future__ import annotations

# Locust first: importing it replaces sockets, threads and timers, which others must not have taken before.
from locust.env import Environment

# isort: split
import collections
import contextlib
import gc
import importlib
import itertools
import random
import weakref

import gevent
import numpy as np
import psutil
from gevent.event import Event

from harness.host.child import Channel
from harness.host.clock import Clock, SystemClock
from harness.host.gc_pauses import GcPauses
from harness.load.driver import Journeys
from harness.load.pacing import ClosedLoop, Pacer
from harness.load.settings import PumpError, PumpResult
from harness.measure.curves import SECOND_NS
from harness.measure.failures import Failures
from harness.measure.outcomes import FAIL, OK, UNKNOWN, Counts
from harness.measure.recorder import Interval, Recorder

TICK_S = 0.05
# How often a worker hands on what was measured.
SHIP_NS = 500_000_000
_FLUSH_EVERY = 256
# After the schedule's end, what is late may still begin for so long, and what has begun may take so long.
_GRACE_NS = 10_000_000_000
_PATIENCE_NS = 25_000_000_000
# How long users are waited for before the schedule begins.
_ARRIVAL_NS = 60_000_000_000


class UserPool:
    """The users of this process, as a load.

    Args:
        journeys: what they do.
        pacer: when; every arrival belongs to the seat whose number it leaves.
        first_user: the number of the first seat here.
        here: how many of the seats are in this process.
        clock: of due times.

    Attributes:
        told: what users were told of things, the last word on each.
    """

    def __init__(self, journeys: Journeys, pacer: Pacer, *, first_user: int, here: int, clock: Clock) -> None:
        self.journeys = journeys
        self.clock = clock
        self.begun = Event()
        self.progress = Counts()
        self.told: dict[str, str] = {}
        self._pacer = pacer
        self._seats = range(first_user, first_user + here)
        self._free = collections.deque(self._seats)
        self._next = {seat: seat for seat in self._seats}
        self._origin_ns = 0
        self._until_ns = pacer.duration_ns
        self._due = self._due_before(self._until_ns)
        self._is_stopped = False
        self._begun_steps = 0
        self._last_done_ns = 0
        self._shipped_ns = 0
        self._noted: dict[str, list[tuple[int, int, int]]] = {}
        self._count = 0
        self._counts = [0] * 4
        self._failures = Failures()
        self._answered: collections.Counter[int] = collections.Counter()
        self._recorder = Recorder()
        self._pauses = GcPauses(clock)
        self._measuring = contextlib.ExitStack()
        self._process = psutil.Process()
        self._cpu_before_s = 0.0
        random.seed(f"{journeys.seed} {first_user}")  # Locust draws its tasks from the one of the process

    def take_seat(self) -> int | None:
        """Come in; answers a seat's number, None where all are taken."""
        return self._free.popleft() if self._free else None

    def leave_seat(self, seat: int) -> None:
        """Go, so that somebody else can come."""
        self._free.append(seat)

    def wait_until_ready(self) -> None:
        """Wait until all users of this process are there.

        Raises:
            PumpError: not within 60 s.
        """
        deadline_ns = self.clock.now_ns() + _ARRIVAL_NS
        while self._free:
            if self.clock.now_ns() > deadline_ns:
                raise PumpError(
                    f"of {len(self._seats)} users {len(self._free)} have not come after {_ARRIVAL_NS // 10**9} s"
                )
            gevent.sleep(0.01)
        # What is there by now stays: no later collection needs to look at it.
        gc.collect()
        gc.freeze()

    def begin(self, origin_ns: int) -> None:
        """Start the schedule at a moment of the monotonic clock."""
        self._origin_ns = origin_ns
        self._recorder = Recorder(origin_ns)
        self._cpu_before_s = sum(self._process.cpu_times()[:2])
        self._measuring.enter_context(self._pauses)
        self.begun.set()

    def next_due_ns(self, seat: int) -> int | None:
        """When a seat's next arrival is due; None: none is any more."""
        if isinstance(self._pacer, ClosedLoop):
            now_ns = max(self.clock.now_ns(), self._origin_ns)
            return now_ns if now_ns < self._end_ns else None
        number = self._next[seat]
        if number >= self._pacer.total:
            return None
        self._next[seat] = number + self.journeys.users
        return int(self._pacer.due_ns(number, 1)[0]) + self._origin_ns

    def number_at(self, seat: int) -> int:
        """The number of the arrival that a seat was told of last, by the whole schedule."""
        return self._next[seat] - self.journeys.users

    @property
    def _end_ns(self) -> int:
        return self._origin_ns + self._until_ns

    def begin_step(self, due_ns: int) -> bool:
        """Begin what was due, if that may still be."""
        if due_ns >= self._end_ns or self._is_past(_GRACE_NS):
            return False
        self._begun_steps += 1
        return True

    def end_step(
        self, operation: str, times_ns: tuple[int, int, int], outcome: int, reason: str, body: str = ""
    ) -> None:
        """Record a step: when it was due, started and done; how it went, and what the system said of that."""
        self._counts[outcome] += 1
        self._last_done_ns = times_ns[2]
        if outcome == OK:
            self._answered[(times_ns[2] - self._origin_ns) // SECOND_NS] += 1
        if reason:
            text = f"{reason}: {body}" if body else reason
            self._failures.note(text, (times_ns[2] - self._origin_ns) / 1e9, kind=reason)
        if outcome != UNKNOWN:
            self._noted.setdefault(operation, []).append(times_ns)
            self._count += 1
            if self._count >= _FLUSH_EVERY:
                self._flush()
        self.progress = Counts(self._begun_steps, *self._outcomes)

    @property
    def _outcomes(self) -> list[int]:
        return [self._counts[OK], self._counts[FAIL], self._counts[UNKNOWN]]

    def _flush(self) -> None:
        for operation, times in self._noted.items():
            due, start, done = np.array(times, np.int64).T
            self._recorder.record(operation, due, start, done)
        self._noted.clear()
        self._count = 0

    def take(self) -> list[Interval]:
        """What was measured since something was taken last, each half second; it is not in the result."""
        now_ns = self.clock.now_ns()
        if now_ns - self._shipped_ns < SHIP_NS:
            return []
        self._shipped_ns = now_ns
        self._flush()
        return self._recorder.take()

    def stop(self) -> None:
        """End the schedule now; what was due until then may still be done."""
        if not self._is_stopped:
            self._is_stopped = True
            since_ns = self.clock.now_ns() - self._origin_ns if self.begun.is_set() else 0
            self._until_ns = max(0, min(self._until_ns, since_ns))
            self._due = self._due_before(self._until_ns)
            self.begun.set()

    def is_done(self) -> bool:
        """Whether all that was due is done, or may not be done any more."""
        if not self.begun.is_set():
            return False
        is_busy = self._begun_steps > sum(self._outcomes)
        if isinstance(self._pacer, ClosedLoop):
            return (self._is_past(0) and not is_busy) or self._is_past(_PATIENCE_NS)
        is_complete = self._begun_steps >= self._due or self._is_past(_GRACE_NS)
        return (is_complete and not is_busy) or self._is_past(_GRACE_NS + _PATIENCE_NS)

    def _is_past(self, beyond_ns: int) -> bool:
        return self.clock.now_ns() >= self._end_ns + beyond_ns

    def result(self, _: float) -> PumpResult:
        """What they have done and measured; what was due and never begun is DROPPED, what hangs UNKNOWN."""
        self._flush()
        self._measuring.close()
        ok, failed, _ = self._outcomes
        due = max(self._due, self._begun_steps)
        wall_ns = max(1, self._last_done_ns - self._origin_ns if self._last_done_ns else self._until_ns)
        cpu_s = sum(self._process.cpu_times()[:2]) - self._cpu_before_s
        return PumpResult(
            arrivals=due,
            ok=ok,
            failed=failed,
            unknown=self._begun_steps - ok - failed,
            dropped=due - self._begun_steps,
            errors={failure.kind: failure.count for failure in self._failures.all()},
            failures=self._failures.all(),
            reconnects=0,
            intervals=self._recorder.take(),
            slowest=self._recorder.slowest(),
            outcomes=None,
            cpu_share=cpu_s / (wall_ns / 1e9),
            wall_ns=wall_ns,
            scheduled_ns=max(1, self._until_ns),
            gc_pauses=self._pauses.count,
            gc_pause_max_ns=self._pauses.longest_ns,
            told=dict(self.told),
            offered_in_s=self._offered_in_s(),
            answered_in_s=[self._answered[s] for s in range(max(self._answered, default=-1) + 1)],
        )

    def _offered_in_s(self) -> list[int]:
        """How many were due in each second of the schedule; none where there is no schedule."""
        if not self._pacer.total:
            return []
        ends_ns = range(SECOND_NS, self._until_ns + SECOND_NS, SECOND_NS)
        due = [0, *(self._due_before(min(end_ns, self._until_ns)) for end_ns in ends_ns)]
        return [after - before for before, after in itertools.pairwise(due)]

    def _due_before(self, until_ns: int) -> int:
        """How many arrivals of the seats here are due before a time of the schedule."""
        low, high = 0, self._pacer.total
        while low < high:
            middle = (low + high) // 2
            if int(self._pacer.due_ns(middle, 1)[0]) < until_ns:
                low = middle + 1
            else:
                high = middle
        rounds, rest = divmod(low, self.journeys.users)
        return rounds * len(self._seats) + len(range(self._seats.start, min(rest, self._seats.stop)))

    def close(self) -> None:
        """Let nobody begin anything more."""
        self.stop()
        self._measuring.close()


class Lobby:
    """Where the users of a process wait until there is something to do."""

    def __init__(self) -> None:
        self._open = Event()
        self._pool: UserPool | None = None

    def open(self, pool: UserPool) -> None:
        """Let the users in."""
        self._pool = pool
        self._open.set()

    def close(self) -> None:
        """Let nobody in until the next load."""
        self._pool = None
        self._open.clear()

    def wait(self) -> UserPool:
        """Wait until there is something to do, or until the user is killed."""
        while self._pool is None:
            self._open.wait()
        return self._pool


_LOBBIES: weakref.WeakKeyDictionary[Environment, Lobby] = weakref.WeakKeyDictionary()


def lobby_of(environment: Environment) -> Lobby:
    """The lobby of an environment of Locust, which is a process."""
    return _LOBBIES.setdefault(environment, Lobby())


def users_main(channel: Channel, journeys: Journeys, pacer: Pacer) -> None:
    """The process of `driving.UsersProcess`: users without Locust's command line."""
    module, _, name = journeys.entry.partition(":")
    user_class = type("User", (getattr(importlib.import_module(module), name),), {"abstract": False})
    environment = Environment(user_classes=[user_class], host=str(journeys.host))
    runner = environment.create_local_runner()
    pool = UserPool(journeys, pacer, first_user=0, here=journeys.users, clock=SystemClock())
    lobby_of(environment).open(pool)
    runner.start(journeys.users, spawn_rate=min(100, journeys.users))
    try:
        pool.wait_until_ready()
    except PumpError as error:
        channel.send(str(error))
        return
    channel.send(None)
    while not pool.is_done():
        if channel.has_message(TICK_S):
            what, origin_ns = channel.receive()
            if what == "begin":
                pool.begin(origin_ns)
            else:
                pool.stop()
        channel.numbers[:5] = tuple(pool.progress)
    channel.send(pool.result(0.0))
    runner.quit()
