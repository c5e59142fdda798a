"""Locust's users: a connection of the pump, or somebody who goes shopping.

    ArrivalUser   open loop. Users are connections; what is due goes out over them whatever they wait for
    ActingUser    one thing at a time, each due by a schedule: what begins late because the user was busy counts
                  from when it was due, so that a slow system does not slow its own measurement. Without a
                  schedule (`ClosedLoop`) the next thing is due when the one before is done
    JourneyUser   one of these, over HTTP

Steps are Locust tasks, with their weights and tags, marked by `@step`; each has its own name for a tag:

    class Shopper(JourneyUser):
        @step(50, "read")
        def browse(self):
            self.call("GET", "/products")

gevent's timers count in milliseconds: a step begins up to one late, which stands in its send lag.

Rejected: the pump as a greenlet among the web UI's, heartbeats and statistics. Each of them runs for milliseconds
without a break, and would be measured as the system's latency. A worker starts its pump as a process, and waits.
"""

from __future__ import annotations

# Locust first: importing it replaces sockets, threads and timers, which others must not have taken before.
from locust import FastHttpUser, User, tag, task
from locust.env import Environment
from locust.exception import StopUser

# isort: split
import functools
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import gevent
from gevent.event import Event

from harness.locust.pool import UserPool, lobby_of
from harness.measure.outcomes import FAIL, OK, UNKNOWN

# Of what a system says of a failure, so much is kept.
_BODY_CHARS = 300
# A connection that was idle for longer is not used again: the other side may be closing it this very moment, and
# whether a command was lost with it could not be known. Servers wait for 5 s at the least.
_KEEP_ALIVE_NS = 4_000_000_000


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
        outcome: FAIL, or UNKNOWN where it may have happened all the same.
        body: what the system said of it, of which one is kept for each reason.
    """

    def __init__(self, reason: str, outcome: int = FAIL, body: str = "") -> None:
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

    @property
    def number(self) -> int:
        """Which arrival of the schedule the present step is, of all users' and from 0."""
        return self.pool.number_at(self.seat)

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
            outcome, reason = FAIL, f"{self.doing}: {type(error).__name__}: {error}"
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
        in_doubt = FAIL if method == "GET" else UNKNOWN
        if not response.status_code:
            raise StepError(f"{said}: no answer", in_doubt)
        if response.status_code != 200:
            outcome = in_doubt if response.status_code >= 500 else FAIL
            body = " ".join(response.text[:_BODY_CHARS].split())
            raise StepError(f"{said}: {response.status_code}", outcome, body)
        try:
            return response.json()
        except ValueError as error:
            raise StepError(f"{said}: no JSON", in_doubt) from error

    def _hang_up(self) -> None:
        self.client.client.clientpool.close()
