"""Who makes a scenario's load: processes of its own, or Locust's workers. The scenario does not know.

    scenario.run --> stage.driver.pump(settings, pacer, source) --> Drive --> DriveResult
                     stage.driver.users(journeys)

    OwnProcesses      `shopbench run`: a pump in a process of its own; users in a process that runs Locust
    Spread            `locust -f scenarios/append.py`: a share on each of its workers (harness/locust/spread.py)

A `Drive` is load that is being made: it is prepared, begins at a moment, shows how far it is, and has a result. So
the same scenario class is conducted, recorded, checked and reported in the same way whoever drives it.
"""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

import msgspec

from harness.host.child import Child, ChildError
from harness.load.pacing import Pacer
from harness.load.pump_process import PumpProcess
from harness.load.settings import SPIN_SHARE, PumpError, PumpResult, PumpSettings
from harness.load.workload import Source
from harness.measure.outcomes import Counts
from harness.measure.recorder import Interval, merged
from harness.server.url import ServerUrl


class Drive(Protocol):
    """Load that is being made."""

    @property
    def progress(self) -> Counts:
        """How many were due so far, and what became of them."""
        ...

    def wait_until_ready(self) -> None:
        """Wait until it can begin.

        Raises:
            PumpError: it cannot.
        """
        ...

    def begin(self, origin_ns: int) -> None:
        """Start the schedule at a moment of this host's monotonic clock, a little in the future."""
        ...

    def is_done(self) -> bool:
        """Whether its result is there, or will not come."""
        ...

    def take(self) -> list[Interval]:
        """What was measured since it was asked last, as far as it is told meanwhile; that is not in the result.

        Raises:
            PumpError: it has ended without a result.
        """
        ...

    def stop(self) -> None:
        """End the schedule now; the result counts what was due until then."""
        ...

    def result(self, timeout_s: float) -> PumpResult:
        """What was done and measured.

        Raises:
            PumpError: no result, or not in time.
        """
        ...

    def close(self) -> None:
        """End it, whatever it does."""
        ...


class Journeys(msgspec.Struct, frozen=True, kw_only=True):
    """Users that act on a schedule, or as often as they can.

    Attributes:
        entry: `module:class` of the `ActingUser`.
        host: of the system, as a URL; as a `ServerUrl`, where that may have a password.
        users: how many.
        seed: of what they draw.
        given: what they need to know, by name.
    """

    entry: str
    host: ServerUrl | str
    users: int
    seed: int
    given: dict[str, Any]


class Driver(Protocol):
    """What makes load on a scenario's behalf."""

    def pump(self, settings: PumpSettings, pacer: Pacer, source: Source) -> Drive:
        """Commands on a schedule, open loop."""
        ...

    def users(self, journeys: Journeys, pacer: Pacer) -> Drive:
        """Users that begin something whenever the schedule says so, each one thing at a time."""
        ...


class OwnProcesses:
    """Load from processes of this machine that are started for it.

    Args:
        spin_share: of a core, that a pump may spend on waiting awake.
        cores: of a pump's process; none: those of this one.
    """

    def __init__(self, spin_share: float = SPIN_SHARE, cores: tuple[int, ...] = ()) -> None:
        self._spin_share = spin_share
        self._cores = cores

    def pump(self, settings: PumpSettings, pacer: Pacer, source: Source) -> Drive:
        """A pump in a process of its own."""
        placed = msgspec.structs.replace(settings, spin_share=self._spin_share, cores=self._cores)
        return PumpProcess(placed, pacer, source)

    def users(self, journeys: Journeys, pacer: Pacer) -> Drive:
        """Users in a process of their own, in which Locust runs."""
        return UsersProcess(journeys, pacer)


class UsersProcess:
    """Locust's users in a process of their own, so that nothing here is patched by it.

    Args:
        journeys: who they are and what they do.
        pacer: when they begin something.
    """

    def __init__(self, journeys: Journeys, pacer: Pacer) -> None:
        self._child = Child("harness.locust.pool:users_main", journeys, pacer)
        self._result: PumpResult | None = None
        self._intervals: list[Interval] = []

    @property
    def progress(self) -> Counts:
        """How many were due so far, and what became of them."""
        return Counts.of(self._child.numbers[:5])

    def wait_until_ready(self) -> None:
        """Wait until its users are there.

        Raises:
            PumpError: they are not.
        """
        self._receive(60.0)

    def begin(self, origin_ns: int) -> None:
        """Start the schedule at a moment of the monotonic clock."""
        self._send("begin", origin_ns)

    def take(self) -> list[Interval]:
        """All that they measure is in their result."""
        return []

    def stop(self) -> None:
        """End the schedule now; that of users who have just ended by themselves has ended."""
        with contextlib.suppress(PumpError):
            self._send("stop", 0)

    def _send(self, what: str, origin_ns: int) -> None:
        try:
            self._child.send((what, origin_ns))
        except ChildError as error:
            raise PumpError("the users' process has ended") from error

    def is_done(self) -> bool:
        """Whether its result is there, or will not come."""
        while self._result is None and self._child.has_message():
            try:
                self._receive(0.0)
            except PumpError:
                return True
        return self._result is not None

    def result(self, timeout_s: float) -> PumpResult:
        """What they have done and measured.

        Raises:
            PumpError: no result, or not in time.
        """
        while self._result is None:
            self._receive(timeout_s)
        return msgspec.structs.replace(self._result, intervals=merged(self._result.intervals))

    def _receive(self, timeout_s: float) -> None:
        if not self._child.has_message(timeout_s):
            raise PumpError("the users do not report")
        try:
            answer = self._child.receive()
        except ChildError as error:
            raise PumpError("the users' process has ended without a result") from error
        if isinstance(answer, str):
            raise PumpError(answer)
        if isinstance(answer, PumpResult):
            self._result = answer

    def close(self) -> None:
        """End the process if it still runs."""
        self._child.close()
