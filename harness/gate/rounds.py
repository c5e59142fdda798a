"""Rounds: both sides measured side by side, by one instrument, again and again from scratch.

    round      two fresh servers, two fresh processes; which side comes first is drawn
    turns      within a round the sides take turns, a block of some ten milliseconds each, one at work at a time:

                   A B B A  B A A B  B A A B  A B B A

               so that what drifts, in a straight line or a curve, falls on both alike (Thue and Morse's sequence)
    core       all of it takes turns on one core, too (`harness.host.cores`), drawn for each round
    control    before each turn, on behalf of the side whose turn it is: a loop in pure Python and some PINGs to a
               server of their own, both by this process, which runs nothing of either side
    background what a side goes on with while others have their turn: on one core it slows them, too, and draws the
               ratio towards 1. It is noted, as a share of the others' time, from CPU times read twice a round and
               from those that a side's process notes of itself between its turns

A round is one observation, however many operations are in it: where memory came to lie, which core a process woke
up on and what the neighbours did is drawn anew with each round, and only with it. And because a coin decides which
side takes which place, code that makes no difference gives a ratio that is as likely `+x` as `-x`, whatever the
machine does, and however much one round is like the next. That is all that `harness.gate.decision` assumes.

Rejected: alternating who comes first. A disturbance that alternates too, or lasts for a few rounds, then looks
like a difference, or like more evidence than it is.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from harness.arrays import Int64s
from harness.gate.controls import opened_controls
from harness.gate.metrics import METRICS, background_share, compared, measured
from harness.gate.parts import WARM_UP, Part, parts_of
from harness.gate.setup import Setup
from harness.gate.side import (
    OPERATIONS,
    SIDES,
    Between,
    Block,
    Opened,
    Operation,
    Ready,
    Refused,
    Side,
    SideError,
    SideSettings,
)
from harness.host.child import Child, ChildError
from harness.host.clock import Clock
from harness.host.cores import Cores, core_of, on_core
from harness.host.own_python import ROOT, Elsewhere
from harness.server.server import Durability, Server
from harness.server.url import ServerUrl

# How long a side may take to load, and for a block, before it counts as hanging.
TIMEOUT_S = 60.0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What a round has measured.

    Attributes:
        number: from 0.
        at_s: when it began, in seconds since 1970.
        took_s: how long it took, with everything.
        first: the side that took the first place.
        ratios: of each metric and control, the natural logarithm of candidate by baseline.
        values_ns: of each metric and control, what the baseline and the candidate took, in nanoseconds.
        new: what only the candidate can do, or one of two sides that need not do the same; it is not measured.
        background: of each side, `background_share`; empty where nothing can be said of it.
    """

    number: int
    at_s: float
    took_s: float
    first: Side
    ratios: dict[str, float]
    values_ns: dict[str, tuple[float, float]]
    new: tuple[str, ...] = ()
    background: dict[Side, float] = {}


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, and how.

    Attributes:
        target: `module:factory`.
        packages: the packages that come from each side's source.
        sources: of each side, the directory that holds these packages.
        names: of each side, what to call it in an error.
        adapter: the top-level package or file with the target, where that is none of the packages: both sides have
            it from here. None for one that is found on the path.
        server: `embedded` or a server program; both sides and the control get one each.
        durability: of these servers.
        seed: of the coin.
        cores: `one` for each round, or `all`.
        metrics: the only ones that are asked for, so that other operations can be left out; all where empty.
        setups: of each side, what it has of its own in the place of this target, server and durability.
        only_common: whether what one of the sides cannot do is left out; else the candidate has to do whatever the
            baseline can.
        turn_s: how long a turn of appends may be (`harness.gate.parts`).
        pythons: of each side, the interpreter that has its libraries; empty where both have those of ours.
        scratch: where temporary directories go that somebody else removes in the end; None for the system's place.
            An interrupt between the making of one and the note that it was made leaves it there.
    """

    target: str
    packages: tuple[str, ...]
    sources: Mapping[Side, Path]
    names: Mapping[Side, str]
    adapter: Path | None = None
    server: ServerUrl | str = "embedded"
    durability: Durability = "none"
    seed: int = 1
    cores: Cores = "one"
    metrics: tuple[str, ...] = ()
    setups: Mapping[Side, Setup] = {}
    only_common: bool = False
    turn_s: float = math.inf
    pythons: Mapping[Side, str] = {}
    scratch: Path | None = None

    def setup_of(self, side: Side) -> Setup:
        """What a side has of its own."""
        shared = Setup(target=self.target, server=self.server, durability=self.durability)
        return self.setups.get(side, shared)

    def common(self, can: Mapping[Side, Collection[str]], wanted: Collection[str]) -> tuple[set[str], set[str]]:
        """What both sides can do, and so is compared; and what only one can, and is not.

        Raises:
            SideError: the candidate cannot do something that the baseline can, and that may not be left out.
        """
        baseline, candidate = (set(can[side]) for side in SIDES)
        if self.only_common:
            return baseline & candidate, baseline ^ candidate
        both = compared(can["baseline"], can["candidate"], self.names, wanted)
        return set(both), candidate - baseline


def turns(count: int) -> list[int]:
    """Whose turn it is, 0 or 1, `count` times each if that is a power of two: the Thue-Morse sequence."""
    return [turn.bit_count() % 2 for turn in range(2 * count)]


def first_of(seed: int, number: int) -> Side:
    """Which side takes the first place in a round, as the coin of that round falls."""
    return SIDES[int(np.random.default_rng([seed, number]).integers(2))]


def order_of(seed: int, number: int) -> tuple[Side, Side]:
    """The sides of a round, the one that takes the first place first."""
    first = first_of(seed, number)
    return (first, "candidate" if first == "baseline" else "baseline")


def overlay(stack: contextlib.ExitStack, measure: Measure, side: Side) -> str:
    """A directory with a link for each package to a side's source, and for the adapter; removed with the stack.

    Raises:
        SideError: the source lacks a package.
    """
    # Both paths are of one length: the length of a path moves what lies behind it in memory.
    directory = Path(
        stack.enter_context(tempfile.TemporaryDirectory(prefix="shopbench-side-", dir=measure.scratch))
    )
    for package in measure.packages:
        source = measure.sources[side] / package
        if not source.is_dir():
            raise SideError(f"{measure.names[side]} has another layout: it has no package {package}")
        (directory / package).symlink_to(source.resolve(), target_is_directory=True)
    if measure.adapter is not None:
        adapter = measure.adapter.resolve()
        (directory / measure.adapter.name).symlink_to(adapter, target_is_directory=adapter.is_dir())
    return str(directory)


def instrument(stack: contextlib.ExitStack, measure: Measure) -> str:
    """A directory with a link to our own package alone, for an interpreter that has none of our libraries."""
    directory = Path(
        stack.enter_context(tempfile.TemporaryDirectory(prefix="shopbench-ours-", dir=measure.scratch))
    )
    ours = __name__.partition(".")[0]
    (directory / ours).symlink_to(ROOT / ours, target_is_directory=True)
    return str(directory)


class _OpenSide:
    """One side of one round: a child and its server."""

    def __init__(self, child: Child, name: str) -> None:
        self.pids = [child.pid]
        self._child = child
        self._name = name
        self.operations: tuple[Operation, ...] = ()

    def _tell(self, message: Any, doing: str) -> None:
        try:
            self._child.send(message)
        except ChildError as error:
            raise SideError(f"{self._name} {doing}: its process ended") from error

    def answer(self, kind: type[Any], doing: str) -> Any:
        """What the child answers.

        Raises:
            SideError: its code has failed, or does not answer.
        """
        try:
            if not self._child.has_message(TIMEOUT_S):
                raise SideError(f"{self._name} {doing}: no answer in {TIMEOUT_S:.0f} s")
            answer = self._child.receive()
        except ChildError as error:
            raise SideError(f"{self._name} {doing}: its process ended") from error
        if isinstance(answer, Refused):
            raise SideError(f"{self._name} {doing}: {answer.why}")
        if not isinstance(answer, kind):
            raise SideError(f"{self._name} {doing}: it answered {type(answer).__name__}")
        return answer

    def open(self, server: Server) -> None:
        """Open the target on a server.

        Raises:
            SideError: its code has failed, or it is no target.
        """
        # A target is anybody's code, and takes text; servers of ours have no password.
        self._tell(server.url.unmasked, "cannot be opened")
        self.operations = self.answer(Opened, "cannot be opened").operations
        if "append" not in self.operations:
            raise SideError(f"{self._name} has no append, which no target may leave out")
        if server.pid is not None:
            self.pids.append(server.pid)

    def work(self, part: Part) -> Int64s:
        """Let it do one block of a part."""
        self._tell(Block(part.operation, part.count), f"failed in {part.operation}")
        return np.array(self.answer(array, f"failed in {part.operation}"), np.int64)

    def used_ns(self) -> tuple[float, float]:
        """The CPU time that its process and its server have used so far, and that its process has between turns.

        The first is NaN where it cannot be read.
        """
        self._tell(Between(), "does not answer")
        between_ns = float(self.answer(int, "does not answer"))
        try:
            times = [psutil.Process(pid).cpu_times() for pid in self.pids]
        except psutil.Error:
            return math.nan, between_ns  # a process that has ended; whoever talks to it next finds out
        return sum(each.user + each.system for each in times) * 1e9, between_ns


class Rounds:
    """Measures rounds.

    Args:
        measure: what, and how.
        clock: for time, and the waits of servers.

    Attributes:
        server: that of a side in the first round, in words; empty before there was one.
    """

    def __init__(self, measure: Measure, clock: Clock) -> None:
        self._measure = measure
        self._clock = clock
        self._stack = contextlib.ExitStack()
        try:
            self._overlays = {side: overlay(self._stack, measure, side) for side in SIDES}
            ours = instrument(self._stack, measure) if measure.pythons else ""
            self._elsewhere = {side: Elsewhere(python, (ours,)) for side, python in measure.pythons.items()}
            self.server: dict[str, Any] = {}
            self._controls, self._control_pid = opened_controls(self._stack, measure.server, clock)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Rounds:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, number: int) -> Round:
        """Measure one round, from scratch.

        Raises:
            SideError: the code of a side cannot be measured.
            ServerError: a server cannot be started.
        """
        at_s, began_ns = self._clock.epoch_s(), self._clock.now_ns()
        order = order_of(self._measure.seed, number)
        core = core_of(self._measure.cores, self._measure.seed, number)
        wanted = {METRICS[metric][0] for metric in self._measure.metrics if metric in METRICS}
        with self._open(order, core) as sides:
            can = {side: sides[side].operations for side in SIDES}
            able, alone = self._measure.common(can, wanted)
            if wanted:
                able &= wanted | {"append"}
            slowest_ns = 0.0
            for part in WARM_UP:
                for side in order if part.operation in able else ():
                    warm = sides[side].work(part)
                    if part.operation == "append":
                        slowest_ns = max(slowest_ns, float(np.median(warm)))
            parts = [part for part in parts_of(slowest_ns, self._measure.turn_s) if part.operation in able]
            taken, background = self._in_turns(sides, order, parts)
        ratios, values_ns = measured(taken)
        return Round(
            number=number,
            at_s=round(at_s, 3),
            took_s=round((self._clock.now_ns() - began_ns) / 1e9, 3),
            first=order[0],
            ratios=ratios,
            values_ns=values_ns,
            new=tuple(name for name in OPERATIONS if name in alone),
            # On more cores than one a side's process and its server may be at work at once.
            background={} if core is None else background,
        )

    def _in_turns(
        self, sides: Mapping[Side, _OpenSide], order: Sequence[Side], parts: Sequence[Part]
    ) -> tuple[dict[Side, dict[str, list[Int64s]]], dict[Side, float]]:
        """What each turn has taken, of each side and operation; and of each side its `background_share`."""
        now_ns = self._clock.now_ns
        taken: dict[Side, dict[str, list[Int64s]]] = {side: {} for side in SIDES}
        own_ns = dict.fromkeys(SIDES, 0)
        before_ns = {side: sides[side].used_ns() for side in SIDES}
        began_ns = now_ns()
        for part in parts:
            for turn in turns(part.blocks):
                side = order[turn]
                for name, values in self._controls.measure().items():
                    taken[side].setdefault(name, []).append(np.array(values, np.int64))
                turn_ns = now_ns()
                taken[side].setdefault(part.operation, []).append(sides[side].work(part))
                own_ns[side] += now_ns() - turn_ns
        whole_ns = now_ns() - began_ns
        background = {}
        for side in SIDES:
            cpu_ns, between_ns = np.subtract(sides[side].used_ns(), before_ns[side]).tolist()
            share = background_share(cpu_ns=cpu_ns, between_ns=between_ns, own_ns=own_ns[side], whole_ns=whole_ns)
            background[side] = round(share, 4)
        return taken, background

    @contextlib.contextmanager
    def _open(self, order: Sequence[Side], core: int | None) -> Iterator[dict[Side, _OpenSide]]:
        measure = self._measure
        with contextlib.ExitStack() as stack:
            sides: dict[Side, _OpenSide] = {}
            for side in order:
                setup = measure.setup_of(side)
                settings = SideSettings(self._overlays[side], measure.packages, setup.target, setup.options)
                child = Child("harness.gate.side:main", settings, elsewhere=self._elsewhere.get(side))
                stack.enter_context(contextlib.closing(child))
                sides[side] = _OpenSide(child, measure.names[side])
            # They load their code while the servers start.
            servers = [stack.enter_context(measure.setup_of(side).opened(self._clock)) for side in order]
            self.server = self.server or servers[0].describe()
            # That one does not build is said before that the other cannot be opened, whichever is first.
            for side in SIDES:
                sides[side].answer(Ready, "does not build")
            for side, server in zip(order, servers, strict=True):
                sides[side].open(server)
            with on_core(core, self._control_pid, *(pid for side in sides.values() for pid in side.pids)):
                yield sides
