"""One side of a gate: a child process that has loaded one revision's code, and does what it is told.

    parent                                     child, a fresh one for each side of each round
    SideSettings  --------------------------->  sys.path begins with an overlay; its target is imported from there
                  <---------------------------  Ready, or Refused and why
    url           --------------------------->  the target is opened
    Block("append", 250)  ------------------->  events are made, then appended, each timed
                  <---------------------------  nanoseconds, one number an operation
    Between()     --------------------------->  how much CPU time has it used while no block was being done?
                  <---------------------------  nanoseconds

An overlay is a directory with a symbolic link for each package under test, to one revision's source. All else
(this file, the target's adapter unless it is in such a package, every library unless the gate is about these) is
the same on both sides. So what differs is the system under test, and nothing of the instrument.

A side's own libraries are those that the project needs, and not those that the instrument does. So this file, and
all that it imports, makes do with Python's own modules.

What is timed is the call alone: events are made before, and the garbage of making them is out of the way.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import resource
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

from harness.host.child import Channel, ChildError
from harness.host.clock import Clock, SystemClock

_OURS = __name__.partition(".")[0]
Side = Literal["baseline", "candidate"]
SIDES: tuple[Side, Side] = ("baseline", "candidate")
Operation = Literal["append", "append_many", "replay", "drain", "find_one"]

# What a target can do, by the method that does it. It may leave out all but `append`, without which
# `harness.gate.rounds` refuses it.
OPERATIONS: tuple[Operation, ...] = ("append", "append_many", "replay", "drain", "find_one")


class SideError(Exception):
    """A side whose code cannot be measured; its text is one clear line."""


@dataclass(frozen=True)
class SideSettings:
    """What a side loads.

    Attributes:
        overlay: goes to the front of `sys.path`.
        packages: that must come from there.
        target: `module:factory`.
        options: what the factory is given besides the URL, by name.
    """

    overlay: str
    packages: tuple[str, ...]
    target: str
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Ready:
    """A target was loaded; what it was loaded from."""

    files: dict[str, str]


@dataclass(frozen=True)
class Opened:
    """A target was opened; what it can do."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Refused:
    """The code of a side has raised an error, or is not what it should be."""

    why: str


@dataclass(frozen=True)
class Block:
    """A stretch of one operation.

    Attributes:
        operation: which.
        count: how many of them; of `append_many` and `drain`, how many events.
    """

    operation: Operation
    count: int


@dataclass(frozen=True)
class Between:
    """Asks for the CPU time that this process has used between blocks: by threads that went on, above all."""


def main(channel: Channel, settings: SideSettings) -> None:
    """Serve one side until its parent ends it."""
    try:
        _serve(channel, settings, SystemClock())
    except ChildError:
        return  # the parent has what it wanted
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the revision's code may raise anything; it is told
        why = " ".join(str(error).split())
        channel.send(Refused(f"{type(error).__name__}: {why}" if why else type(error).__name__))


def _serve(channel: Channel, settings: SideSettings, clock: Clock) -> None:
    sys.path.insert(0, settings.overlay)
    with _Name(is_theirs=_OURS in settings.packages) as name:
        files = {package: _file_of(package, settings.overlay) for package in settings.packages}
        factory = loaded(settings.target)
        with name.lent():
            channel.send(Ready(files))
            url = channel.receive()
        work = Work(factory(url, **dict(settings.options)), clock)
        with name.lent():
            channel.send(Opened(work.operations))
        between_ns, ended_ns = 0, _cpu_ns()
        while True:
            with name.lent():
                message = channel.receive()
            between_ns += _cpu_ns() - ended_ns
            answer = between_ns if isinstance(message, Between) else work.done(message)
            ended_ns = _cpu_ns()
            with name.lent():
                channel.send(answer)


class _Name:
    """Whose modules our own name stands for: theirs while their code runs, where they gate a package called so.

    What we are made of is loaded by then, and goes on without its name; only a message, which is pickled by the
    name of its class, needs it back.

    Args:
        is_theirs: whether there is such a package among those under test.
    """

    def __init__(self, *, is_theirs: bool) -> None:
        self._is_theirs = is_theirs
        self._kept: dict[str, ModuleType] = {}

    def __enter__(self) -> Self:
        self._exchange()
        return self

    def __exit__(self, *_: object) -> None:
        self._exchange()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Ours, for a message."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        if self._is_theirs:
            names = [name for name in sys.modules if name.partition(".")[0] == _OURS]
            gone = {name: sys.modules.pop(name) for name in names}
            sys.modules.update(self._kept)
            self._kept = gone


def _cpu_ns() -> int:
    """The CPU time of this process, with all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int((used.ru_utime + used.ru_stime) * 1e9)


def _file_of(package: str, overlay: str) -> str:
    """Where a package was loaded from.

    Raises:
        ImportError: not from the overlay, where it may be no package at all.
    """
    file = importlib.import_module(package).__file__ or ""
    if not Path(file).is_relative_to(overlay):
        # Such a directory, a submodule that was not checked out among them, gives way to any other of its name.
        if not any(Path(overlay, package).glob("__init__.*")):
            raise ImportError(f"{package} has no __init__.py")
        raise ImportError(f"{package} was loaded from {file}, and not from the revision under test")
    return str(Path(file).resolve())


def loaded(target: str) -> Callable[..., Any]:
    """The factory that `module:factory` names.

    Raises:
        ImportError: there is no such module, or it has no such function.
    """
    module, colon, name = target.partition(":")
    if not colon or not module or not name:
        raise ImportError(f"a target is named package.module:factory, not {target!r}")
    try:
        factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except AttributeError as error:
        raise ImportError(f"{module} has no {name}") from error
    return factory


class Work:
    """A target's operations, timed.

    Args:
        target: the open target.
        clock: that times them.
    """

    def __init__(self, target: Any, clock: Clock) -> None:
        self._target = target
        self._now_ns = clock.now_ns
        self._written = 0
        self._groups = 0
        self._looked_up = 0

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What the target can do."""
        return tuple(name for name in OPERATIONS if hasattr(self._target, name))

    def done(self, block: Block) -> array[int]:
        """Do a block and answer its nanoseconds, one number an operation or, for many events at once, an event.

        Raises:
            ValueError: the target has not done what it should have.
        """
        taken_ns = {
            "append": self._append,
            "append_many": self._append_many,
            "replay": self._replay,
            "drain": self._drain,
            "find_one": self._find_one,
        }[block.operation](block.count)
        return array("q", taken_ns)

    def _new_events(self, count: int) -> list[Any]:
        event = self._target.event
        events = [event(number) for number in range(self._written, self._written + count)]
        self._written += count
        # What lives on is not looked at again; a collection in the middle of a block is the block's own.
        gc.collect()
        gc.freeze()
        return events

    def _each(self, call: Callable[[Any], Any], arguments: list[Any], otherwise: str) -> list[int]:
        now_ns = self._now_ns
        taken_ns = []
        unanswered = 0
        for argument in arguments:
            before_ns = now_ns()
            answer = call(argument)
            taken_ns.append(now_ns() - before_ns)
            unanswered += answer is None
        if unanswered:
            raise ValueError(f"{otherwise} for {unanswered} of {len(arguments)}")
        return taken_ns

    def _append(self, count: int) -> list[int]:
        return self._each(self._target.append, self._new_events(count), "append answered no ID")

    def _find_one(self, count: int) -> list[int]:
        numbers = [(self._looked_up + at) % self._written for at in range(count)]
        self._looked_up += count
        return self._each(self._target.find_one, numbers, "find_one found nothing")

    def _append_many(self, count: int) -> list[int]:
        events = self._new_events(count)
        before_ns = self._now_ns()
        ids = self._target.append_many(events)
        taken_ns = self._now_ns() - before_ns
        if len(ids) != count:
            raise ValueError(f"append_many stored {len(ids)} of {count} events")
        return [taken_ns // count]

    def _replay(self, count: int) -> list[int]:
        taken_ns = []
        for _ in range(count):
            before_ns = self._now_ns()
            found = len(self._target.replay())
            taken_ns.append((self._now_ns() - before_ns) // self._written)
            if found != self._written:
                raise ValueError(f"a replay gave {found} of {self._written} entities")
        return taken_ns

    def _drain(self, count: int) -> list[int]:
        self._groups += 1
        before_ns = self._now_ns()
        seen = self._target.drain(f"gate-{self._groups}", count)
        taken_ns = self._now_ns() - before_ns
        if seen < count:
            raise ValueError(f"{seen} of {count} events were delivered")
        return [taken_ns // count]
