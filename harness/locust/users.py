"""Locust's users: a connection of the pump, or somebody who goes shopping.

    ArrivalUser   open loop. Users are connections; what is due goes out over them whatever they wait for
    ActingUser    one thing at a time, each due by a schedule: what begins late because the user was busy counts
                  from when it was due, so that a slow system does not slow its own measurement. Without a
                  schedule (`ClosedLoop`) the next thing is due when the one before is done
    JourneyUser   one of these, over HTTP

        schedule   0    1    2    3    4    5        arrival i belongs to seat i mod n
        seat 0     |due      |due      |due
        seat 1          |due      |due      |due

Who comes takes a seat, and acts when an arrival of it is due; who comes when all are taken has nothing to do. Who
goes, because Locust ends users, leaves the seat to the next one; what nobody was there for is DROPPED.

Steps are Locust tasks, with their weights and tags, marked by `@step`; each has its own name for a tag:

    class Shopper(JourneyUser):
        @step(50, "read")
        def browse(self):
            self.call("GET", "/products")

gevent's timers count in milliseconds: a step begins up to one late, which stands in its send lag.

All are measured in our histograms. Locust gets the pump's answers once a tick, as counts by rounded milliseconds
(`add_to_stats`), because `events.request.fire` for each would cost more than the request.

Rejected: the pump as a greenlet among the web UI's, heartbeats and statistics. Each of them runs for milliseconds
without a break, and would be measured as the system's latency. A worker starts its pump as a process, and waits.
"""

from __future__ import annotations

# Locust first: importing it replaces sockets, threads and timers, which others must not have taken before.
from locust import FastHttpUser, User, tag, task
from locust.env import Environment
from locust.exception import StopUser
from locust.stats import RequestStats, StatsError, bucket_response_time

# isort: split
import collections
import contextlib
import functools
import gc
import importlib
import itertools
import random
import uuid
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

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
from harness.measure.outcomes import FAILED, OK, UNKNOWN
from harness.measure.recording import Histogram, Interval, Recorder

TICK_S = 0.05
# How often a worker hands on what was measured.
SHIP_NS = 500_000_000
_FLUSH_EVERY = 256
# Of what a system says of a failure, so much is kept.
_BODY_CHARS = 300
# A connection that was idle for longer is not used again: the other side may be closing it this very moment, and
# whether a command was lost with it could not be known. Servers wait for 5 s at the least.
_KEEP_ALIVE_NS = 4_000_000_000
# After the schedule's end, what is late may still begin for so long, and what has begun may take so long.
_GRACE_NS = 10_000_000_000
_PATIENCE_NS = 25_000_000_000
# How long users are waited for before the schedule begins.
_ARRIVAL_NS = 60_000_000_000


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
        body: what the system said of it, of which one is kept for each reason.
    """

    def __init__(self, reason: str, outcome: int = FAILED, body: str = "") -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.body = body


_Step = TypeVar("_Step", bound=Callable[..., None])


def step(weight: int, *tags: str) -> Callable[[_Step], _Step]:
    """Mark a method of an `ActingUser` as a step that is taken with that weight, and measured.

    Args:
        tags: Locust's, besides the method's name.
    """

    def mark(function: _Step) -> _Step:
        @functools.wraps(function)
        def measured(user: ActingUser) -> None:
            user.take_step(function)

        marked: _Step = tag(function.__name__, *tags)(task(weight)(measured))
        return marked

    return mark


class ActingUser(User):  # type: ignore[misc]  # locust comes without types
    """Somebody who does one thing at a time, each when it is due; subclasses have steps.

    Attributes:
        operation: the first part of what a step is recorded as; a step of that very name has no second part.
        doing: the name of the step that is recorded; a step that does something else in its place sets it.
    """

    abstract = True
    operation: ClassVar[str] = "journey"

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.doing = ""
        self._pool: UserPool | None = None
        self._seat: int | None = None
        self._due_ns = 0
        self._is_acting = False

    @property
    def pool(self) -> UserPool:
        """What this user is one of, once there is something to do."""
        if self._pool is None:
            raise StopUser("the load has not begun")
        return self._pool

    @property
    def seat(self) -> int:
        """The user's number in the load, from 0."""
        return self._seat or 0

    def on_start(self) -> None:
        """Wait until the load begins, and for this user's first arrival."""
        self._pool = lobby_of(self.environment).wait()
        self._seat = self._pool.take_seat()
        self._pool.begun.wait()
        gevent.sleep(self.wait_time())

    def on_stop(self) -> None:
        """Leave the seat to whoever comes next."""
        if self._pool is not None and self._seat is not None:
            self._pool.leave_seat(self._seat)
            self._seat = None

    def stop(self, force: bool = False) -> bool:
        """End the user: at once where it does nothing, else as Locust means it."""
        ended: bool = super().stop(force or not self._is_acting)
        return ended

    def wait_time(self) -> float:
        """The seconds until this user's next arrival is due; after the last one, until Locust ends the user."""
        due_ns = None if self._seat is None else self.pool.next_due_ns(self._seat)
        if due_ns is None:
            Event().wait()  # until the user is killed
            raise StopUser
        self._due_ns = due_ns
        return max(0.0, (due_ns - self.pool.clock.now_ns()) / 1e9)

    def take_step(self, function: Callable[..., None]) -> None:
        """Do a step and record it, from when it was due."""
        pool = self.pool
        # A timer may be early by some microseconds.
        while (early_ns := self._due_ns - pool.clock.now_ns()) > 0:
            gevent.sleep(early_ns / 1e9)
        if not pool.begin_step(self._due_ns):
            return
        start_ns = pool.clock.now_ns()
        self.doing = function.__name__
        self._is_acting = True
        outcome, reason, body = UNKNOWN, "the user was ended", ""
        try:
            function(self)
            outcome, reason = OK, ""
        except StepError as error:
            outcome, reason, body = error.outcome, str(error), error.body
        except Exception as error:
            outcome, reason = FAILED, f"{self.doing}: {type(error).__name__}: {error}"
            raise
        finally:
            self._is_acting = False
            operation = self.operation if self.doing == self.operation else f"{self.operation}.{self.doing}"
            pool.end_step(operation, (self._due_ns, start_ns, pool.clock.now_ns()), outcome, reason, body)

    def tell(self, thing: str, state: str) -> None:
        """Note what this user was told of a thing; the last word on it is in the result."""
        self.pool.told[thing] = state


class JourneyUser(ActingUser, FastHttpUser):  # type: ignore[misc]  # locust comes without types
    """Somebody who does one thing at a time over HTTP, each when it is due; subclasses have steps."""

    abstract = True
    host: str | None
    connection_timeout = 10.0
    network_timeout = 20.0

    def __init__(self, environment: Environment) -> None:
        # The real one comes with the load: the system is started, or named, when the run begins.
        self.host = self.host or "http://127.0.0.1"
        self._last_call_ns = 0
        super().__init__(environment)

    def on_start(self) -> None:
        """Wait until the load begins, and for this user's first arrival."""
        self.client.base_url = str(lobby_of(self.environment).wait().journeys.host).rstrip("/")
        super().on_start()

    def on_stop(self) -> None:
        """Close the connection, and leave the seat."""
        self._hang_up()
        super().on_stop()

    def call(self, method: str, path: str, json: Any = None, *, name: str = "") -> Any:
        """Ask the system, and answer what its JSON says.

        A command has an `Idempotency-Key`: the HTTP client sends a PUT or DELETE again by itself where its
        connection was lost, which then does nothing twice.

        Args:
            name: what Locust shows it under, where the path has IDs in it.

        Raises:
            StepError: no answer, or one that is no success.
        """
        now_ns = self.pool.clock.now_ns()
        if now_ns - self._last_call_ns > _KEEP_ALIVE_NS:
            self._hang_up()
        headers = {} if method == "GET" else {"Idempotency-Key": str(uuid.uuid4())}
        response = self.client.request(method, path, json=json, name=name or path, headers=headers)
        self._last_call_ns = self.pool.clock.now_ns()
        said = f"{method} {name or path}"
        # It may have happened: a question can be asked again, but what a command has changed is not known.
        in_doubt = FAILED if method == "GET" else UNKNOWN
        if not response.status_code:
            raise StepError(f"{said}: no answer", in_doubt)
        if response.status_code != 200:
            outcome = in_doubt if response.status_code >= 500 else FAILED
            body = " ".join(response.text[:_BODY_CHARS].split())
            raise StepError(f"{said}: {response.status_code}", outcome, body)
        try:
            return response.json()
        except ValueError as error:
            raise StepError(f"{said}: no JSON", in_doubt) from error

    def _hang_up(self) -> None:
        self.client.client.clientpool.close()


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
        self.progress = [0] * 5
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
        self.progress[:] = [self._begun_steps, *self._outcomes, 0]

    @property
    def _outcomes(self) -> list[int]:
        return [self._counts[OK], self._counts[FAILED], self._counts[UNKNOWN]]

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
        channel.numbers[:5] = pool.progress
    channel.send(pool.result(0.0))
    runner.quit()
