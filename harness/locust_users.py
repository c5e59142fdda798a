"""Locust's users: a connection of the pump, or somebody who goes shopping.

    ArrivalUser   open loop. Users are connections; what is due goes out over them whatever they wait for
    JourneyUser   one thing at a time, each due by a schedule: what begins late because the user was busy counts
                  from when it was due, so that a slow system does not slow its own measurement

        schedule   0    1    2    3    4    5        arrival i belongs to user i mod n
        user 0     |due      |due      |due
        user 1          |due      |due      |due

A journey's steps are Locust tasks, with their weights and tags, marked by `@step`:

    class Shopper(JourneyUser):
        @step(60)
        def browse(self):
            self.call("GET", "/products")

Both are measured in our histograms. Locust gets the pump's answers once a tick, as counts by rounded milliseconds
(`add_to_stats`), because `events.request.fire` for each would cost more than the request.

Rejected: the pump as a greenlet among the web UI's, heartbeats and statistics. Each of them runs for milliseconds
without a break, and would be measured as the system's latency. A worker starts its pump as a process, and waits.
"""

from __future__ import annotations

# Locust first: importing it replaces sockets, threads and timers, which others must not have taken before.
from locust import FastHttpUser, User, task
from locust.env import Environment
from locust.exception import StopUser
from locust.stats import RequestStats, StatsError, bucket_response_time

# isort: split
import collections
import functools
import importlib
import random
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import gevent
import numpy as np
from gevent.event import Event

from harness.child import Channel
from harness.clock import Clock, SystemClock
from harness.driving import Journeys
from harness.pacing import Pacer
from harness.pump import FAILED, OK, UNKNOWN, PumpError, PumpResult
from harness.recording import Histogram, Interval, Recorder

TICK_S = 0.05
_FLUSH_EVERY = 256
# After the schedule's end, what is late may still begin for so long.
_GRACE_NS = 10_000_000_000


class ArrivalUser(User):  # type: ignore[misc]  # locust comes without types
    """A connection of this worker's pump; it does nothing itself, for the pump sends."""

    abstract = True

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._ended = Event()

    @task  # type: ignore[untyped-decorator]
    def arrivals(self) -> None:
        """Be there until Locust ends the user."""
        self._ended.wait()

    def stop(self, force: bool = False) -> bool:
        """End the user."""
        self._ended.set()
        ended: bool = super().stop(force)
        return ended


class StepError(Exception):
    """A step of a journey that did not go well.

    Args:
        reason: what is counted, a few words.
        outcome: FAILED, or UNKNOWN where it may have happened all the same.
    """

    def __init__(self, reason: str, outcome: int = FAILED) -> None:
        super().__init__(reason)
        self.outcome = outcome


_Step = TypeVar("_Step", bound=Callable[..., None])


def step(weight: int) -> Callable[[_Step], _Step]:
    """Mark a method of a `JourneyUser` as a step that is taken with that weight, and measured."""

    def mark(function: _Step) -> _Step:
        @functools.wraps(function)
        def measured(user: JourneyUser) -> None:
            user.take_step(function)

        marked: _Step = task(weight)(measured)
        return marked

    return mark


class JourneyUser(FastHttpUser):  # type: ignore[misc]  # locust comes without types
    """Somebody who does one thing at a time over HTTP, each when it is due; subclasses have steps."""

    abstract = True
    # The real one comes with the load: the system is started, or named, when the run begins.
    host = "http://127.0.0.1"
    connection_timeout = 10.0
    network_timeout = 30.0

    operation: ClassVar[str] = "journey"

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._pool: UserPool | None = None
        self._number = 0
        self._due_ns = 0

    @property
    def pool(self) -> UserPool:
        """What this user is one of, once there is something to do."""
        if self._pool is None:
            raise StopUser("the load has not begun")
        return self._pool

    def on_start(self) -> None:
        """Wait until the load begins, and for this user's first arrival."""
        self._pool = lobby_of(self.environment).wait()
        self.client.base_url = self._pool.journeys.host
        self._number = self._pool.join() - self._pool.users
        self._pool.begun.wait()
        gevent.sleep(self.wait_time())

    def wait_time(self) -> float:
        """The seconds until this user's next arrival is due; after the last one, until Locust ends the user."""
        pool = self.pool
        self._number += pool.users
        due_ns = pool.due_ns(self._number)
        if due_ns is None:
            pool.leave(self._number)
            Event().wait()  # until the user is killed
            raise StopUser
        self._due_ns = due_ns
        return max(0.0, (due_ns - pool.clock.now_ns()) / 1e9)

    def take_step(self, function: Callable[..., None]) -> None:
        """Do a step and record it, from when it was due."""
        pool = self.pool
        if pool.is_over():
            return
        start_ns = pool.clock.now_ns()
        outcome, reason = OK, ""
        pool.busy += 1
        try:
            function(self)
        except StepError as error:
            outcome, reason = error.outcome, str(error)
        except gevent.GreenletExit:
            outcome, reason = UNKNOWN, "the user was ended"
            raise
        finally:
            pool.busy -= 1
            operation = f"{self.operation}.{function.__name__}"
            pool.note(operation, (self._due_ns, start_ns, pool.clock.now_ns()), outcome, reason)

    def call(self, method: str, path: str, json: Any = None, *, name: str = "") -> Any:
        """Ask the system, and answer what its JSON says.

        Args:
            name: what Locust shows it under, where the path has IDs in it.

        Raises:
            StepError: no answer, or one that is no success.
        """
        response = self.client.request(method, path, json=json, name=name or path)
        if response.status_code == 200:
            return response.json()
        if not response.status_code:
            # It may have arrived: a question can be asked again, but what it changes is not known.
            raise StepError("no answer", FAILED if method == "GET" else UNKNOWN)
        raise StepError(f"{method} {name or path}: {response.status_code}")


class UserPool:
    """The users of this process, as a load.

    Args:
        journeys: what they do.
        pacer: when; every arrival belongs to the user whose number it leaves.
        first_user: the number of the first user here.
        here: how many of the users are in this process.
        clock: of due times.
    """

    def __init__(self, journeys: Journeys, pacer: Pacer, *, first_user: int, here: int, clock: Clock) -> None:
        self.journeys = journeys
        self.users = journeys.users
        self.clock = clock
        self.begun = Event()
        self.busy = 0
        self.progress = [0] * 5
        self._pacer = pacer
        self._first_user = first_user
        self._here = here
        self._joined = 0
        self._left = 0
        self._origin_ns = 0
        self._end_ns: int | None = None
        self._noted: dict[str, list[tuple[int, int, int]]] = {}
        self._count = 0
        self._counts = [0] * 4
        self._errors: collections.Counter[str] = collections.Counter()
        self._recorder = Recorder()
        random.seed(f"{journeys.seed} {first_user}")  # Locust draws its tasks from the one of the process

    def join(self) -> int:
        """Come in; answers the user's number."""
        number = self._first_user + self._joined
        self._joined += 1
        return number

    def leave(self, _: int) -> None:
        """Have nothing more to do."""
        self._left += 1

    def wait_until_ready(self) -> None:
        """Wait until all users of this process are there.

        Raises:
            PumpError: not within 60 s.
        """
        with gevent.Timeout(60, PumpError(f"of {self._here} users only {self._joined} came within 60 s")):
            while self._joined < self._here:
                gevent.sleep(0.01)

    def begin(self, origin_ns: int) -> None:
        """Start the schedule at a moment of the monotonic clock."""
        self._origin_ns = origin_ns
        self._recorder = Recorder(origin_ns)
        self.begun.set()

    def due_ns(self, number: int) -> int | None:
        """When an arrival is due; None: not in this run any more."""
        if number >= self._pacer.total or self.is_over():
            return None
        return int(self._pacer.due_ns(number, 1)[0]) + self._origin_ns

    def is_over(self) -> bool:
        """Whether nothing more may begin."""
        last_ns = self._origin_ns + self._pacer.duration_ns + _GRACE_NS
        return self._end_ns is not None or self.clock.now_ns() > last_ns

    def note(self, operation: str, times_ns: tuple[int, int, int], outcome: int, reason: str) -> None:
        """Record a step: when it was due, started and done; and how it went."""
        self._counts[outcome] += 1
        if reason:
            self._errors[reason] += 1
        if outcome != UNKNOWN:
            self._noted.setdefault(operation, []).append(times_ns)
            self._count += 1
            if self._count >= _FLUSH_EVERY:
                self._flush()
        self._show()

    def _flush(self) -> None:
        for operation, times in self._noted.items():
            due, start, done = np.array(times, np.int64).T
            self._recorder.record(operation, due, start, done)
        self._noted.clear()
        self._count = 0

    def _show(self) -> None:
        ok, failed, unknown = self._counts[OK], self._counts[FAILED], self._counts[UNKNOWN]
        self.progress[:] = [ok + failed + unknown, ok, failed, unknown, 0]

    def take(self) -> list[Interval]:
        """What was measured since it was asked last; what is taken is not in the result."""
        self._flush()
        return self._recorder.take()

    def stop(self) -> None:
        """End the schedule now."""
        if self._end_ns is None:
            self._end_ns = self.clock.now_ns()
            self.begun.set()

    def is_done(self) -> bool:
        """Whether every user has done what was due, or may not go on."""
        return self._left >= self._here or (self._end_ns is not None and not self.busy) or self._is_late()

    def _is_late(self) -> bool:
        # A step that hangs is not waited for longer than its connection would.
        last_ns = self._origin_ns + self._pacer.duration_ns + _GRACE_NS
        return self.begun.is_set() and self.clock.now_ns() > last_ns + int(self._patience_s * 1e9)

    _patience_s = JourneyUser.network_timeout

    def result(self, _: float) -> PumpResult:
        """What they have done and measured; what was due and never begun is DROPPED."""
        self._flush()
        until_ns = self._pacer.duration_ns
        if self._end_ns is not None:
            until_ns = min(until_ns, self._end_ns - self._origin_ns)
        due = sum(
            self._due_before(self._first_user + user, until_ns) for user in range(max(self._joined, self._here))
        )
        ok, failed, unknown = self._counts[OK], self._counts[FAILED], self._counts[UNKNOWN]
        done = ok + failed + unknown
        return PumpResult(
            arrivals=max(due, done),
            ok=ok,
            failed=failed,
            unknown=unknown,
            dropped=max(0, due - done),
            errors=dict(self._errors),
            reconnects=0,
            intervals=self._recorder.take(),
            slowest=self._recorder.slowest(),
            outcomes=None,
            cpu_share=0.0,
            wall_ns=max(1, self.clock.now_ns() - self._origin_ns),
        )

    def _due_before(self, user: int, until_ns: int) -> int:
        """How many of a user's arrivals were due before a time of the schedule."""
        if until_ns <= 0 or user >= self._pacer.total:
            return 0
        low, high = 0, (self._pacer.total - user + self.users - 1) // self.users
        while low < high:
            middle = (low + high) // 2
            if int(self._pacer.due_ns(user + middle * self.users, 1)[0]) < until_ns:
                low = middle + 1
            else:
                high = middle
        return low

    def close(self) -> None:
        """Let nobody begin anything more."""
        self.stop()


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
        """Wait until it is open.

        Raises:
            StopUser: there is nothing to do for users.
        """
        self._open.wait()
        if self._pool is None:
            raise StopUser
        return self._pool


_LOBBIES: weakref.WeakKeyDictionary[Environment, Lobby] = weakref.WeakKeyDictionary()


def lobby_of(environment: Environment) -> Lobby:
    """The lobby of an environment of Locust, which is a process."""
    return _LOBBIES.setdefault(environment, Lobby())


def add_to_stats(
    stats: RequestStats,
    method: str,
    name: str,
    response: Histogram,
    *,
    unanswered: int,
    errors: Mapping[str, int],
    second: int,
) -> None:
    """Add many operations to Locust's statistics at once.

    Args:
        method, name: under which Locust shows them.
        response: of those that were answered.
        unanswered: how many were not.
        errors: how many went wrong, by reason.
        second: of the time of day, under which Locust counts them.
    """
    values_us, counts = response.distribution()
    if values_us.size:
        # One in Locust's own way, which keeps its clocks and caches; the rest by their counts.
        stats.log_request(method, name, int(values_us[0]) / 1000, 0)
        counts[0] -= 1
    rounded: collections.Counter[int] = collections.Counter()
    for value_us, count in zip(values_us.tolist(), counts.tolist(), strict=True):
        rounded[bucket_response_time(value_us / 1000)] += count
    total = int(counts.sum())
    for entry in (stats.total, stats.get(name, method)):
        entry.num_requests += total + unanswered
        entry.num_none_requests += unanswered
        entry.num_reqs_per_sec[second] += total + unanswered
        entry.total_response_time += float((values_us * counts).sum()) / 1000
        if values_us.size:
            entry.max_response_time = max(entry.max_response_time, int(values_us[-1]) / 1000)
        for value_ms, count in rounded.items():
            entry.response_times[value_ms] += count
        entry.num_failures += sum(errors.values())
        if errors:
            entry.num_fail_per_sec[second] += sum(errors.values())
    for reason, count in errors.items():
        key = StatsError.create_key(method, name, reason)
        known = stats.errors.setdefault(key, StatsError(method, name, reason))
        known.occurrences += count


def users_main(channel: Channel, journeys: Journeys, pacer: Pacer) -> None:
    """The process of `driving.UsersProcess`: users without Locust's command line."""
    module, _, name = journeys.entry.partition(":")
    user_class = getattr(importlib.import_module(module), name)
    user_class.abstract = False
    environment = Environment(user_classes=[user_class], host=journeys.host)
    runner = environment.create_local_runner()
    pool = UserPool(journeys, pacer, first_user=0, here=journeys.users, clock=SystemClock())
    lobby_of(environment).open(pool)
    runner.start(journeys.users, spawn_rate=100)
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
        channel.numbers[:5] = pool.progress
    channel.send(pool.result(0.0))
    runner.quit()
