"""Faults: what is done to a process on purpose, when, and that it always heals.

A `Fault` is injected into a `Target` and heals. A `Nemesis` plays a plan of them in a thread beside the load,
puts a window on the timeline for each, and heals whatever is open when it is left, whatever happens to the run.

    stop     SIGTERM: it may finish what it has in hand       healed by starting it again
    kill     SIGKILL: it may not                              healed by starting it again
    freeze   SIGSTOP: it keeps its connections, silently      healed by SIGCONT
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

from harness.clock import Clock
from harness.history import FaultWindow, History, Mark

FaultName = Literal["stop", "kill", "freeze"]


class Target(Protocol):
    """A process that faults can be done to."""

    @property
    def name(self) -> str:
        """What it is called on the timeline."""
        ...

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""

    def freeze(self) -> None:
        """SIGSTOP."""

    def thaw(self) -> None:
        """SIGCONT."""

    def start(self) -> None:
        """Start it again, as it was started before."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a plan: what, when after the run's origin, and for how long."""

    name: FaultName
    at_ns: int
    for_ns: int


def inject(fault: FaultName, target: Target) -> None:
    """Do a fault to a target."""
    {"stop": target.stop, "kill": target.kill, "freeze": target.freeze}[fault]()


def heal(fault: FaultName, target: Target) -> None:
    """Undo a fault."""
    (target.thaw if fault == "freeze" else target.start)()


class Nemesis:
    """Plays a plan of faults against a target while it is entered; leaves with the target healed.

    Args:
        target: of all faults.
        plan: faults that do not overlap, in the order of time.
        clock: for their times.
        origin_ns: the clock's time at which the run begins.
        history: gets a window for each fault, and a mark when the target is asked to come back.
        on_error: told of a fault that could not be injected or healed.

    Raises:
        ValueError: faults that overlap.
    """

    def __init__(
        self,
        target: Target,
        plan: Sequence[Fault],
        *,
        clock: Clock,
        origin_ns: int,
        history: History,
        on_error: Callable[[str], None],
    ) -> None:
        for before, after in itertools.pairwise(plan):
            if before.at_ns + before.for_ns > after.at_ns:
                raise ValueError(
                    f"the fault at {after.at_ns / 1e9:.1f} s begins before the one before it has healed"
                )
        self._target = target
        self._plan = list(plan)
        self._clock = clock
        self._origin_ns = origin_ns
        self._history = history
        self._on_error = on_error
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name="nemesis", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _play(self) -> None:
        for fault in self._plan:
            if self._wait_until(fault.at_ns):
                return
            start_ns = self._clock.now_ns() - self._origin_ns
            is_injected = self._inject(fault)
            if is_injected:
                self._wait_until(fault.at_ns + fault.for_ns)
            # Also where the injection failed: half of it may have been done.
            end_ns = self._heal(fault)
            self._history.add(
                FaultWindow(name=fault.name, target=self._target.name, start_ns=start_ns, end_ns=end_ns)
            )
            if not is_injected:
                return

    def _inject(self, fault: Fault) -> bool:
        try:
            inject(fault.name, self._target)
        except Exception as error:  # noqa: BLE001 - in this thread nobody else would hear of it
            self._on_error(f"{fault.name} could not be done to {self._target.name}: {error}")
            return False
        return True

    def _heal(self, fault: Fault) -> int | None:
        end_ns = self._clock.now_ns() - self._origin_ns
        try:
            heal(fault.name, self._target)
        except Exception as error:  # noqa: BLE001 - in this thread nobody else would hear of it
            self._on_error(f"{self._target.name} did not come back after {fault.name}: {error}")
            return None
        self._history.add(Mark(t_ns=end_ns, name="restart"))
        return end_ns

    def _wait_until(self, at_ns: int) -> bool:
        """Wait for a time of the run; whether the nemesis was told to stop meanwhile."""
        left_ns = self._origin_ns + at_ns - self._clock.now_ns()
        return self._stop.wait(max(0.0, left_ns / 1e9))
