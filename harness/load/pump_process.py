"""A pump in a process of its own: beside a progress bar and probes it would measure the interpreter's lock."""

from __future__ import annotations

import contextlib
import gc
import os

import msgspec
import numpy as np

from harness.arrays import Int64s
from harness.host.child import Channel, Child, ChildError
from harness.host.clock import SystemClock
from harness.load.pacing import Pacer
from harness.load.pump import Pump
from harness.load.settings import PumpError, PumpResult, PumpSettings
from harness.load.workload import Source
from harness.measure.floor import Floor, FloorError, measure_floor
from harness.measure.outcomes import Counts
from harness.measure.recorder import Interval, Recorder, merged
from harness.server.dial import DialError

# Of the numbers that a pump's process shares with its parent: first its progress, then these.
_STOP, _TAKEN = 5, 6
_NICENESS = -10


class _SharedStop:
    """A flag in shared memory: reading it costs the loop nothing, where an Event of a process takes a lock."""

    def __init__(self, numbers: Int64s) -> None:
        self._numbers = numbers

    def is_set(self) -> bool:
        return bool(self._numbers[_STOP])


class PumpProcess:
    """A pump in a process of its own.

    Args:
        settings, pacer, source: as for `Pump`; all of them can be pickled.

    Use `begin(origin_ns)` after the process has said that it is ready; due times are monotonic, so that parent
    and pump mean the same moment.

    Raises:
        PumpError: too many connections, or none.
    """

    def __init__(self, settings: PumpSettings, pacer: Pacer, source: Source) -> None:
        # Here, and not only in its process, where an error that nobody expects is no answer.
        settings.check()
        self._child = Child("harness.load.pump_process:pump_main", settings, pacer, source)
        self._taken: list[Interval] = []
        self._answer: PumpResult | None = None

    @property
    def progress(self) -> Counts:
        """How many were due so far, and what became of them."""
        return Counts.of(self._child.numbers[:5])

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    def wait_until_ready(self) -> None:
        """Wait until it has connected.

        Raises:
            PumpError: it could not connect.
        """
        self._receive(60.0)

    def begin(self, origin_ns: int) -> None:
        """Start the schedule at a moment of the monotonic clock, a little in the future.

        Raises:
            PumpError: its process has ended.
        """
        try:
            self._child.send(origin_ns)
        except ChildError as error:
            raise PumpError("the pump's process has ended before it began") from error

    def take(self) -> list[Interval]:
        """What was measured since it was asked last, where `ship_ns` is set; what is taken is not in the result.

        Raises:
            PumpError: it has ended without a result.
        """
        while self._answer is None and self._child.has_message():
            self._receive(0.0)
        taken, self._taken = self._taken, []
        return taken

    def is_done(self) -> bool:
        """Whether its result is there, or will not come."""
        while self._answer is None and self._child.has_message():
            try:
                self._receive(0.0)
            except PumpError:
                return True
        return self._answer is not None

    def stop(self) -> None:
        """End the schedule now; the result counts what was due until then."""
        self._child.numbers[_STOP] = 1

    def result(self, timeout_s: float) -> PumpResult:
        """What it has done and measured.

        Raises:
            PumpError: it has ended without a result, or does not answer in time.
        """
        while self._answer is None:
            self._receive(timeout_s)
        taken, self._taken = self._taken, []
        return msgspec.structs.replace(self._answer, intervals=merged([*taken, *self._answer.intervals]))

    def _receive(self, timeout_s: float) -> None:
        if not self._child.has_message(timeout_s):
            raise PumpError("the pump does not report")
        try:
            answer = self._child.receive()
        except ChildError as error:
            raise PumpError("the pump's process has ended without a result") from error
        if isinstance(answer, str):
            raise PumpError(answer)
        if isinstance(answer, PumpResult):
            self._answer = answer
        elif answer is not None:
            self._taken += answer
            self._child.numbers[_TAKEN] += 1

    def close(self) -> None:
        """End the process if it still runs."""
        self._child.close()


def pump_main(channel: Channel, settings: PumpSettings, pacer: Pacer, source: Source) -> None:
    """The pump's process: connect, say so, wait for the origin, run, answer."""
    numbers = channel.numbers
    take_place(settings)
    shipping = _Shipping(channel)
    # Connections are made, and NumPy is warm, before the schedule begins.
    pump = Pump(
        settings,
        pacer,
        source,
        clock=SystemClock(),
        origin_ns=0,
        stop=_SharedStop(numbers),
        progress=numbers[:5],
        ship=shipping.ship if settings.ship_ns else None,
    )
    try:
        pump.connect()
    except (OSError, DialError) as error:
        channel.send(f"no connection to the server: {error}")
        return
    floor, floor_error = _floor(settings)
    source.pack(0, 64)
    pump.recorder.record("warm-up", *(np.zeros(64, np.int64) for _ in range(3)))
    channel.send(None)
    pump.set_origin(channel.receive())
    gc.collect()
    gc.disable()
    result = pump.run()
    intervals = [*shipping.kept, *result.intervals]
    channel.send(msgspec.structs.replace(result, intervals=intervals, floor=floor, floor_error=floor_error))


def _floor(settings: PumpSettings) -> tuple[Floor | None, str]:
    """What a bare exchange costs from here, or why that is not known."""
    asked = settings.floor
    if asked is None:
        return None, ""
    try:
        return measure_floor(settings.url, clock=SystemClock(), **msgspec.structs.asdict(asked)), ""
    except FloorError as error:
        return None, str(error)


def take_place(settings: PumpSettings) -> None:
    """Go to the cores of the settings, and a little before others, where that is allowed.

    It starts no process, so nothing inherits this. Real-time priority is a trap: a pump that waits awake would
    keep the server from its core, and the kernel then stops the pump for tens of milliseconds at a time.
    """
    if settings.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, settings.cores)
    # Who may not is not worse off than before; the record has what it came to.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, min(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


class _Shipping:
    """Hands on what was measured while the pump runs, without ever waiting for whoever takes it.

    A piece goes only when the one before it was taken, and a piece is small enough for the socket's buffer.
    """

    PIECE = 6

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sent = 0
        self.kept: list[Interval] = []

    def ship(self, recorder: Recorder) -> None:
        if self._channel.numbers[_TAKEN] != self._sent:
            return
        self.kept = merged([*self.kept, *recorder.take()])
        if self.kept:
            self._channel.send(self.kept[: self.PIECE])
            del self.kept[: self.PIECE]
            self._sent += 1
