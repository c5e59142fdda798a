"""Faults: what is broken on purpose, when, and that it always heals.

A `Fault` is injected into a `Target` and heals. A `Nemesis` plays a plan of them beside the load, over any number
of targets, puts a window on the timeline for each, and heals whatever is open when it is left.

    on a process    stop           SIGTERM: it may finish what it has in hand    healed by starting it again
                    kill           SIGKILL: it may not                           healed by starting it again
                    freeze         SIGSTOP: it keeps its connections, silently   healed by SIGCONT
    on a line       cut            reset or half-open, by a `Proxy`              healed by passing through
                    delay          latency, jitter, a narrow line                healed by passing through
    on a service    slow           each of its answers takes so long             healed by no delay
                    poison         an event that always fails is planted         it stays: nothing to heal
    on the server   kill, freeze   as for a process; it starts with its data
                    pause          CLIENT PAUSE: it takes no command             it ends by itself
                    restart_empty  stopped, its data removed                     healed by starting it

A target is a process, as the supervisor knows it, or says by itself which faults can be done to it, and how:

    Part("mail", process_faults(mail) | slow_fault(mail.slow))      Part("link", link_faults(proxy))

    crm      ------[ kill ]-----------------[ freeze ]----    on one target, faults do not overlap;
    link     -----------[ cut          ]------------------    on different ones they may

Each target has a thread, so that one which takes long to break or to heal does not hold up the others. Besides the
plan a fault can be injected and healed by hand, from any thread, such as a button's. While a fault is open on a
target, another one on it is refused: two that overlap could not be healed apart.

What heals, and when. A fault counts as open before its injection begins, so that also half an injection is
healed. Leaving the nemesis, by its end, an error or Ctrl-C, heals what is open; another Ctrl-C meanwhile waits
until that is done. What could not be healed is told, stays open, and is tried once more at the end. Where the
harness itself is killed, the guards of `servers`, `proxy` and the supervisor end what it has started.

Rejected: a nemesis that draws its next fault while it plays. `random_plan` draws all of them before the run, by a
pure function of a seed, so that the plan stands in the record and can be played again.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self, runtime_checkable

import msgspec
import numpy as np

from harness.host.clock import Clock
from harness.measure.timeline import FaultWindow, History, Mark
from harness.nemesis.proxy import Proxy
from harness.server.servers import OwnServer

FaultName = Literal["stop", "kill", "freeze", "cut", "delay", "slow", "poison", "pause", "restart_empty"]
Option = str | float | None

# Where healing means that the target comes back, the timeline gets a mark.
RESTARTS: frozenset[FaultName] = frozenset({"stop", "kill", "freeze", "restart_empty"})
# For all of a target's healing.
LEAVE_TIMEOUT_S = 120.0
# Of a pause that is injected by hand and not told for how long.
PAUSE_NS = 5_000_000_000


class FaultError(Exception):
    """A fault that could not be done, or not be healed; its text is one clear line."""


class FaultRefusedError(FaultError):
    """A fault that was not even tried, such as one on a target on which another is open."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a plan.

    Args:
        name: what is done.
        at_ns: when, after the run's origin.
        for_ns: for how long.
        target: the name of the target; may be left out where there is one only.
        options: how, such as `{"variant": "half_open"}`; what there is depends on target and name.

    Raises:
        ValueError: a time below 0.
    """

    name: FaultName
    at_ns: int
    for_ns: int
    target: str = ""
    options: dict[str, Option] = {}

    def __post_init__(self) -> None:
        if self.at_ns < 0 or self.for_ns < 0:
            raise ValueError(f"{self.name}: a fault neither begins before the run nor lasts less than nothing")


# Targets ----------------------------------------------------------------------------------------------------


class Injection(NamedTuple):
    """How a fault is done to a target, and how it is undone.

    Args:
        inject: gets the fault's options by name.
        heal: may be called after an injection that has failed half-way, and more than once.
        ends_by_itself: whether `inject` must be told, as `for_ns`, for how long, and `heal` waits for its end.
    """

    inject: Callable[..., object]
    heal: Callable[[], object]
    ends_by_itself: bool = False


Faults = dict[FaultName, Injection]


class Process(Protocol):
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


@runtime_checkable
class Breakable(Protocol):
    """Anything that says which faults can be done to it."""

    @property
    def name(self) -> str:
        """What it is called on the timeline."""
        ...

    @property
    def faults(self) -> Mapping[FaultName, Injection]:
        """The faults it knows."""
        ...


Target = Process | Breakable


class Part(msgspec.Struct, frozen=True):
    """A target that is put together: `Part("mail", process_faults(mail) | slow_fault(mail.slow))`."""

    name: str
    faults: Faults


def faults_of(target: Target) -> Mapping[FaultName, Injection]:
    """The faults that a target knows, and how each is done."""
    return target.faults if isinstance(target, Breakable) else process_faults(target)


def process_faults(process: Process) -> Faults:
    """What can be done to a process: stop, kill, freeze."""
    return {
        "stop": Injection(process.stop, process.start),
        "kill": Injection(process.kill, process.start),
        "freeze": Injection(process.freeze, process.thaw),
    }


def link_faults(proxy: Proxy) -> Faults:
    """What can be done to a line: cut (`variant`), delay (`latency_ms`, `jitter_ms`, `bytes_per_s`, `seed`)."""
    return {
        "cut": Injection(proxy.cut, proxy.pass_through),
        "delay": Injection(proxy.delay, proxy.pass_through),
    }


def slow_fault(slow: Callable[[float], object]) -> Faults:
    """What can be done to a service that can be told to take its time.

    Args:
        slow: makes each answer take so many milliseconds; 0: as before.
    """

    def inject(ms: float = 500.0) -> None:
        slow(ms)

    return {"slow": Injection(inject, lambda: slow(0.0))}


def poison_fault(plant: Callable[[], object]) -> Faults:
    """An event that always fails.

    Args:
        plant: appends it, once. What becomes of it is the consumer's affair; so there is nothing to heal.
    """
    return {"poison": Injection(plant, lambda: None)}


class ServerTarget:
    """A server of ours, for faults: kill, freeze, pause, restart_empty.

    Killed, it comes back with what its durability has kept. A pause holds back every command, also the one that
    would end it; so healing one before its time means to wait for its end.
    """

    def __init__(self, server: OwnServer, name: str = "server") -> None:
        self._server = server
        self._pause_s = 0.0
        self.name = name
        self.faults: Faults = {
            "kill": Injection(server.kill, self._start),
            "freeze": Injection(server.freeze, server.thaw),
            "pause": Injection(self._pause, self._wait_until_unpaused, ends_by_itself=True),
            "restart_empty": Injection(self._remove, self._start),
        }

    def _start(self) -> None:
        # After half an injection it may still run; a second one on its port would end at once.
        if self._server.pid is None:
            self._server.start()

    def _remove(self) -> None:
        self._server.kill()
        self._server.empty_directory()

    def _pause(self, for_ns: int = PAUSE_NS) -> None:
        self._pause_s = for_ns / 1e9
        with self._server.client() as client:
            client.client_pause(max(1, for_ns // 1_000_000), all=True)

    def _wait_until_unpaused(self) -> None:
        with self._server.client(timeout_s=self._pause_s + 5.0) as client:
            client.client_unpause()


# Playing ----------------------------------------------------------------------------------------------------


class _Patient:
    """One target, with the fault that is open on it. Whoever holds the lock is breaking it or healing it."""

    def __init__(self, target: Target, *, clock: Clock, origin_ns: int, history: History) -> None:
        self.name = target.name
        self.faults = faults_of(target)
        self.plan: list[Fault] = []
        self.open: FaultWindow | None = None
        self._clock = clock
        self._origin_ns = origin_ns
        self._history = history
        self._lock = threading.Lock()
        self._is_playing = False

    def check(self, fault: Fault) -> None:
        """Raise ValueError for a fault or an option that it does not know."""
        injection = self.faults.get(fault.name)
        if injection is None:
            raise ValueError(f"{self.name} has no fault {fault.name!r}; it has {', '.join(self.faults)}")
        try:
            inspect.signature(injection.inject).bind(**_arguments(injection, fault))
        except TypeError as error:
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
            injection = self.faults[fault.name]
            try:
                injection.inject(**_arguments(injection, fault))
            except Exception as error:  # whatever a target raises is told in its name
                raise FaultError(f"{fault.name} could not be applied to {self.name}: {error}") from error
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
        name: FaultName = current.name  # type: ignore[assignment]  # it came from a Fault
        injection = self.faults[name]
        try:
            injection.heal()
        except Exception as error:  # whatever a target raises is told in its name
            raise FaultError(f"{self.name} did not come back after {name}: {error}") from error
        if injection.ends_by_itself:
            end_ns = self._now_ns()
        if name in RESTARTS:
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


def _arguments(injection: Injection, fault: Fault) -> dict[str, Option]:
    if injection.ends_by_itself and fault.for_ns:
        return {"for_ns": fault.for_ns, **fault.options}
    return fault.options


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
            _refuse_overlap(patient.plan)
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
    def open_faults(self) -> list[FaultWindow]:
        """What is broken at this moment; the windows have no end yet."""
        return [patient.open for patient in self._patients.values() if patient.open is not None]

    def inject_now(self, name: FaultName, target: str = "", *, by_hand: bool = True, **options: Option) -> None:
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


def _refuse_overlap(plan: Sequence[Fault]) -> None:
    for before, after in itertools.pairwise(plan):
        if before.at_ns + before.for_ns > after.at_ns:
            raise ValueError(f"the fault at {after.at_ns / 1e9:.1f} s begins before the one before it has healed")


# Drawing ----------------------------------------------------------------------------------------------------


def random_plan(
    seed: int,
    targets: Mapping[str, Sequence[FaultName]],
    *,
    count: int,
    within_ns: tuple[int, int],
    for_ns: tuple[int, int],
    gap_ns: int = 0,
    options: Mapping[FaultName, Sequence[dict[str, Option]]] | None = None,
) -> list[Fault]:
    """Draw a plan: the same for the same arguments.

    Faults are dealt from a shuffled deck of all pairs of target and fault, and from another when it is used up; so
    in a plan with as many faults as there are pairs each comes up, where its target has room. On a target,
    durations are drawn first, and what is left of the time is parted at random between the faults.

    Args:
        seed: of the generator.
        targets: the faults to draw from, by the name of the target.
        count: of faults, over all targets.
        within_ns: all faults begin and heal in this range, after the run's origin.
        for_ns: the shortest and the longest fault.
        gap_ns: between two faults on the same target, at least.
        options: to choose from, by the name of the fault; none: the fault's own defaults.

    Returns:
        The faults in the order of their start.

    Raises:
        ValueError: a range that is none, or so many faults could be so long that they have no room.
    """
    (begin_ns, end_ns), (shortest_ns, longest_ns) = within_ns, for_ns
    if not 0 <= begin_ns <= end_ns or not 0 <= shortest_ns <= longest_ns or gap_ns < 0 or count < 0:
        raise ValueError("a plan needs ranges from less to more, and nothing below 0")
    room = (end_ns - begin_ns + gap_ns) // max(1, longest_ns + gap_ns)
    able = [target for target, names in targets.items() if names]
    if count > room * len(able):
        raise ValueError(f"{count} faults have no room: each of {len(able)} targets has room for {room}")
    generator = np.random.default_rng(seed)
    drawn: list[Fault] = []
    for target, names in _deal(generator, {target: targets[target] for target in able}, count, room).items():
        durations = generator.integers(shortest_ns, longest_ns, size=len(names), endpoint=True)
        spare_ns = end_ns - begin_ns - int(durations.sum()) - gap_ns * (len(names) - 1)
        at_ns = begin_ns + np.sort(generator.integers(0, spare_ns, size=len(names), endpoint=True))
        at_ns[1:] += np.cumsum(durations[:-1] + gap_ns)
        for name, start_ns, duration_ns in zip(names, at_ns, durations, strict=True):
            choices = (options or {}).get(name, ())
            chosen = choices[int(generator.integers(len(choices)))] if choices else {}
            drawn.append(
                Fault(name=name, at_ns=int(start_ns), for_ns=int(duration_ns), target=target, options=chosen)
            )
    return sorted(drawn, key=lambda fault: fault.at_ns)


def _deal(
    generator: np.random.Generator, targets: Mapping[str, Sequence[FaultName]], count: int, room: int
) -> dict[str, list[FaultName]]:
    """So many faults for each target, in the order in which they come up; no target gets more than it has room."""
    deck = [(target, name) for target, names in targets.items() for name in names]
    hands: dict[str, list[FaultName]] = {}
    left = count
    while left:
        # A round deals at least one, since there is room for all that is left.
        for card in generator.permutation(len(deck)):
            target, name = deck[card]
            if left and len(hands.setdefault(target, [])) < room:
                hands[target].append(name)
                left -= 1
    return {target: names for target, names in hands.items() if names}
