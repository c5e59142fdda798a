"""The nemesis: breaks targets while a load runs, as a plan or a hand says, and leaves all of them healed.

A `Nemesis` plays a plan of faults beside the load, over any number of targets, puts a window on the timeline for
each, and heals whatever is open when it is left. Each target has a thread, so that one which takes long to break
or to heal does not hold up the others. Besides the plan a fault can be injected and healed by hand, from any
thread, such as a button's. While a fault is open on a target, another one on it is refused: two that overlap could
not be healed apart.

What heals, and when. A fault counts as open before its injection begins, so that also half an injection is
healed. Leaving the nemesis, by its end, an error or Ctrl-C, heals what is open; another Ctrl-C meanwhile waits
until that is done. What could not be healed is told, stays open, and is tried once more at the end. Where the
harness itself is killed, the guards of `servers`, `proxy` and the supervisor end what it has started.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from harness.host.clock import Clock
from harness.measure.timeline import FaultWindow, History, Mark
from harness.nemesis.faults import faults_of
from harness.nemesis.kind import FaultKind, Option
from harness.nemesis.plan import Fault, refuse_overlap
from harness.nemesis.targets import Target, abilities_of

# For all of a target's healing.
LEAVE_TIMEOUT_S = 120.0


class FaultError(Exception):
    """A fault that could not be done, or not be healed; its text is one clear line."""


class FaultRefusedError(FaultError):
    """A fault that was not even tried, such as one on a target on which another is open."""


class _Patient:
    """One target, with the fault that is open on it. Whoever holds the lock is breaking it or healing it."""

    def __init__(self, target: Target, *, clock: Clock, origin_ns: int, history: History) -> None:
        self.name = target.name
        self.faults = faults_of(abilities_of(target))
        self.plan: list[Fault] = []
        self.open: FaultWindow | None = None
        self._can = abilities_of(target)
        self._clock = clock
        self._origin_ns = origin_ns
        self._history = history
        self._lock = threading.Lock()
        self._is_playing = False

    def check(self, fault: Fault) -> None:
        """Raise ValueError for a fault or an option that it does not know."""
        kind = self.faults.get(fault.name)
        if kind is None:
            raise ValueError(f"{self.name} has no fault {fault.name!r}; it has {', '.join(self.faults)}")
        try:
            _arguments(kind, fault)
        except ValueError as error:
            raise ValueError(f"{fault.name} of {self.name}: {error}") from error

    def begin(self) -> None:
        """From now on faults can be done."""
        self._is_playing = True

    def inject(self, fault: Fault, *, by_hand: bool = False) -> FaultWindow:
        """Do a fault; afterwards it is open, also where it failed half-way.

        Raises:
            FaultRefusedError: another one is open, or the nemesis is not playing.
            FaultError: it could not be done, or not all of it.
        """
        if not self._lock.acquire(blocking=False):
            raise FaultRefusedError(f"{fault.name} was not applied to {self.name}: {self._what_is_open()}")
        try:
            if self.open is not None or not self._is_playing:
                raise FaultRefusedError(f"{fault.name} was not applied to {self.name}: {self._what_is_open()}")
            opened = FaultWindow(
                name=fault.name, target=self.name, start_ns=self._now_ns(), end_ns=None, by_hand=by_hand
            )
            self.open = opened
            kind = self.faults[fault.name]
            try:
                found = kind.inject(self._can, _arguments(kind, fault))
            except Exception as error:  # whatever a target raises is told in its name
                raise FaultError(f"{fault.name} could not be applied to {self.name}: {error}") from error
            opened = self.open = _with_seen(opened, found)
        finally:
            self._lock.release()
        return opened

    def heal(self, opened: FaultWindow | None = None) -> None:
        """Heal what is open, or one fault if it still is.

        Raises:
            FaultError: it could not be healed, and is still open.
        """
        with self._lock:
            self._heal(opened)

    def leave(self) -> None:
        """Heal what is open, for the last time; nothing can be done to it any more.

        Raises:
            FaultError: it could not be healed; its window is on the timeline, without an end.
        """
        with self._lock:
            self._is_playing = False
            try:
                self._heal(None)
            finally:
                if self.open is not None:
                    self._history.add(self.open)
                    self.open = None

    def _heal(self, opened: FaultWindow | None) -> None:
        current = self.open
        if current is None or (opened is not None and current is not opened):
            return
        end_ns = self._now_ns()
        kind = self.faults[current.name]
        try:
            current = _with_seen(current, kind.heal(self._can))
        except Exception as error:  # whatever a target raises is told in its name
            raise FaultError(f"{self.name} did not come back after {kind.name}: {error}") from error
        if kind.ends_by_itself:
            end_ns = self._now_ns()
        if kind.comes_back:
            self._history.add(Mark(t_ns=end_ns, name="restart"))
        self._history.add(msgspec.structs.replace(current, end_ns=end_ns))
        self.open = None

    def _what_is_open(self) -> str:
        current = self.open
        if current is not None:
            return f"{current.name} is open there since {current.start_ns / 1e9:.1f} s"
        return "a fault there is just being healed" if self._is_playing else "no plan of faults is running"

    def _now_ns(self) -> int:
        return self._clock.now_ns() - self._origin_ns


def _arguments(kind: FaultKind, fault: Fault) -> dict[str, Any]:
    lasting = {"for_ns": fault.for_ns} if kind.ends_by_itself and fault.for_ns else {}
    return kind.arguments({**lasting, **fault.options})


def _with_seen(window: FaultWindow, found: object) -> FaultWindow:
    """A window with what was seen as its fault was done or healed: numbers by name, where a kind answers some."""
    if not isinstance(found, Mapping) or not found:
        return window
    return msgspec.structs.replace(window, seen={**window.seen, **found})


class Nemesis:
    """Plays a plan of faults while it is entered, and takes more by hand; leaves with all targets healed.

    Args:
        targets: one, or several with different names.
        plan: faults; those on one target do not overlap.
        clock: for their times.
        origin_ns: the clock's time at which the run begins.
        history: gets a window for each fault, and a mark when a target is asked to come back.
        on_error: told, from a thread, of a planned fault that was refused, could not be done or not be healed.

    Raises:
        ValueError: faults that overlap, or a target, a fault or an option that there is not.
    """

    def __init__(
        self,
        targets: Target | Sequence[Target],
        plan: Sequence[Fault] = (),
        *,
        clock: Clock,
        origin_ns: int,
        history: History,
        on_error: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._origin_ns = origin_ns
        self._on_error = on_error
        self._stop = threading.Event()
        self._patients: dict[str, _Patient] = {}
        for target in targets if isinstance(targets, Sequence) else [targets]:
            if target.name in self._patients:
                raise ValueError(f"two targets are called {target.name!r}")
            self._patients[target.name] = _Patient(target, clock=clock, origin_ns=origin_ns, history=history)
        for fault in sorted(plan, key=lambda each: each.at_ns):
            self._checked(fault).plan.append(fault)
        for patient in self._patients.values():
            refuse_overlap(patient.plan)
        self._played = {name: threading.Event() for name in self._patients}
        self._threads = {
            name: threading.Thread(target=self._play, args=(patient,), name=f"nemesis-{name}", daemon=True)
            for name, patient in self._patients.items()
        }

    def __enter__(self) -> Self:
        try:
            for name, thread in self._threads.items():
                self._patients[name].begin()
                thread.start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    @property
    def origin_ns(self) -> int:
        """The clock's time from which faults count."""
        return self._origin_ns

    @property
    def faults(self) -> dict[str, dict[str, FaultKind]]:
        """What can be done to each target, by the names of both."""
        return {name: patient.faults for name, patient in self._patients.items()}

    @property
    def open_faults(self) -> list[FaultWindow]:
        """What is broken at this moment; the windows have no end yet."""
        return [patient.open for patient in self._patients.values() if patient.open is not None]

    def wait_until_played(self) -> None:
        """Wait until each fault of the plan was done and healed, or refused."""
        for played in self._played.values():
            played.wait()

    def inject_now(self, name: str, target: str = "", *, by_hand: bool = True, **options: Option) -> None:
        """Do a fault by hand; it stays open until it is healed by hand or the nemesis is left.

        Args:
            name: what is done.
            target: the name of a target; may be left out where there is one only.
            by_hand: whether a person does it; not so where a scenario does.
            options: how.

        Raises:
            FaultRefusedError: another one is open on that target, or the nemesis is not playing.
            FaultError: it could not be done; what was done of it has been healed, or is still open.
            ValueError: a target, a fault or an option that there is not.
        """
        fault = Fault(name=name, at_ns=0, for_ns=0, target=target, options=options)
        patient = self._checked(fault)
        try:
            patient.inject(fault, by_hand=by_hand)
        except FaultRefusedError:
            raise
        except FaultError:
            patient.heal()
            raise

    def heal_now(self, target: str = "") -> None:
        """Heal by hand what is open on a target, be it of the plan or by hand.

        Raises:
            FaultRefusedError: nothing is open there.
            FaultError: it could not be healed, and is still open.
            ValueError: there is no such target.
        """
        patient = self._patient(target)
        if patient.open is None:
            raise FaultRefusedError(f"nothing is open on {patient.name}")
        patient.heal()

    def _patient(self, target: str) -> _Patient:
        if not target and len(self._patients) == 1:
            return next(iter(self._patients.values()))
        if target not in self._patients:
            raise ValueError(f"there is no target {target!r}; there is {', '.join(self._patients)}")
        return self._patients[target]

    def _checked(self, fault: Fault) -> _Patient:
        patient = self._patient(fault.target)
        patient.check(fault)
        return patient

    def _play(self, patient: _Patient) -> None:
        try:
            for fault in patient.plan:
                if self._wait_until(fault.at_ns) or not self._play_one(patient, fault):
                    break
        finally:
            self._played[patient.name].set()
            self._stop.wait()
            self._tell(patient.leave)

    def _play_one(self, patient: _Patient, fault: Fault) -> bool:
        """Play one fault to its end; whether the plan can go on."""
        try:
            opened = patient.inject(fault)
        except FaultRefusedError as error:
            # Somebody is at work on this target by hand.
            self._on_error(str(error))
            return True
        except FaultError as error:
            self._on_error(str(error))
            # Half of it may have been done.
            self._tell(patient.heal)
            return False
        self._wait_until(fault.at_ns + fault.for_ns)
        return self._tell(lambda: patient.heal(opened))

    def _tell(self, heal: Callable[[], None]) -> bool:
        try:
            heal()
        except FaultError as error:
            self._on_error(str(error))
            return False
        return True

    def _leave(self) -> None:
        """Let every target's thread heal what is open, all at once, and wait for it."""
        with _without_ctrl_c():
            self._stop.set()
            for name, thread in self._threads.items():
                if thread.ident is not None:
                    thread.join(LEAVE_TIMEOUT_S)
                if thread.is_alive():
                    self._on_error(f"{name} is not healed after {LEAVE_TIMEOUT_S:.0f} s")

    def _wait_until(self, at_ns: int) -> bool:
        """Wait for a time of the run; whether the nemesis was told to stop meanwhile."""
        left_ns = self._origin_ns + at_ns - self._clock.now_ns()
        return self._stop.wait(max(0.0, left_ns / 1e9))


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C wait until the end; in other threads than the main one it never arrives."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        # None where a handler was not set from Python; it cannot be set again from here.
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
        if held:
            signal.raise_signal(signal.SIGINT)
