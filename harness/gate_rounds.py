"""Rounds: both sides measured side by side, by one instrument, again and again from scratch.

    round      two fresh servers, two fresh processes; which side comes first is drawn
    turns      within a round the sides take turns, a block of some ten milliseconds each, one at work at a time:

                   A B B A  B A A B  B A A B  A B B A

               so that what drifts, in a straight line or a curve, falls on both alike (Thue and Morse's sequence)
    core       all of it takes turns on one core, too (`harness.cores`), drawn for each round
    control    before each turn, on behalf of the side whose turn it is: a loop in pure Python and some PINGs to a
               server of their own, both by this process, which runs nothing of either side
    ratio      of a metric in a round, as a logarithm, candidate by baseline: neighbouring turns are a pair, and a
               pair has the log ratio of their quantiles. Of p50 the round's is the median over its pairs: a burst
               of the neighbours' spoils a pair, and not the round. Of p99 it is the mean, for code that stalls
               only now and then spoils a pair, too, and must show. Either is steadier than the quantile over all
               operations

A round is one observation, however many operations are in it: where memory came to lie, which core a process woke
up on and what the neighbours did is drawn anew with each round, and only with it. And because a coin decides which
side takes which place, code that makes no difference gives a ratio that is as likely `+x` as `-x`, whatever the
machine does, and however much one round is like the next. That is all that `harness.gating` assumes.

Rejected: alternating who comes first. A disturbance that alternates too, or lasts for a few rounds, then looks
like a difference, or like more evidence than it is.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import hiredis
import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.child import Child, ChildError
from harness.clock import Clock
from harness.cores import Cores, core_of, on_core
from harness.gate_side import Block, Opened, Operation, Ready, Refused, SideSettings
from harness.pump import open_socket
from harness.servers import Durability, open_server

Int64s = NDArray[np.int64]
Side = Literal["baseline", "candidate"]
SIDES: tuple[Side, Side] = ("baseline", "candidate")

# How long a side may take to load, and for a block, before it counts as hanging.
TIMEOUT_S = 60.0
_PING = hiredis.pack_command(("PING",))


class SideError(Exception):
    """A side whose code cannot be measured; its text is one clear line."""


class Part(msgspec.Struct, frozen=True):
    """A part of a round.

    Attributes:
        operation: what is done.
        count: as in `harness.gate_side.Block`.
        blocks: of each side.
    """

    operation: Operation
    count: int
    blocks: int


WARM_UP = (Part("append", 300, 1), Part("append_many", 500, 1))
PARTS = (
    Part("append", 250, 16),
    Part("find_one", 125, 8),
    Part("replay", 1, 8),
    Part("append_many", 500, 8),
    Part("drain", 1_000, 8),
)

# A metric's name, the operation that it is of, and its quantile.
METRICS: dict[str, tuple[str, float]] = {
    "append.p50": ("append", 0.5),
    "append.p99": ("append", 0.99),
    "append_many.per_event": ("append_many", 0.5),
    "find_one.p50": ("find_one", 0.5),
    "replay.per_event": ("replay", 0.5),
    "drain.per_event": ("drain", 0.5),
}
CONTROLS = ("control.ping", "control.python")
_PINGS, _LOOPS, _LOOP = 12, 6, 2_000


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What a round has measured.

    Attributes:
        number: from 0.
        at_s: when it began, in seconds since 1970.
        took_s: how long it took, with everything.
        first: the side that took the first place.
        ratios: of each metric and control, the natural logarithm of candidate by baseline.
        values_ns: of each metric and control, what the baseline and the candidate took, in nanoseconds.
    """

    number: int
    at_s: float
    took_s: float
    first: Side
    ratios: dict[str, float]
    values_ns: dict[str, tuple[float, float]]


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, and how.

    Attributes:
        target: `module:factory`.
        packages: the packages that come from each side's source.
        sources: of each side, the directory that holds these packages.
        names: of each side, what to call it in an error.
        server: `embedded` or a server program; both sides and the control get one each.
        durability: of these servers.
        seed: of the coin.
        cores: `one` for each round, or `all`.
        metrics: the only ones that are asked for, so that other operations can be left out; all where empty.
        scratch: where temporary directories go that somebody else removes in the end; None for the system's place.
            An interrupt between the making of one and the note that it was made leaves it there.
    """

    target: str
    packages: tuple[str, ...]
    sources: Mapping[Side, Path]
    names: Mapping[Side, str]
    server: str = "embedded"
    durability: Durability = "none"
    seed: int = 1
    cores: Cores = "one"
    metrics: tuple[str, ...] = ()
    scratch: Path | None = None


def turns(count: int) -> list[int]:
    """Whose turn it is, 0 or 1, `count` times each if that is a power of two: the Thue-Morse sequence."""
    return [turn.bit_count() % 2 for turn in range(2 * count)]


def first_of(seed: int, number: int) -> Side:
    """Which side takes the first place in a round, as the coin of that round falls."""
    return SIDES[int(np.random.default_rng([seed, number]).integers(2))]


def measured(
    taken_ns: Mapping[Side, Mapping[str, Sequence[Int64s]]],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """The log ratio of each metric and control, and its value on the baseline and the candidate in nanoseconds.

    Args:
        taken_ns: of each side and operation, what each turn has taken; turns of both sides with one place are a
        pair.
    """
    ratios, values_ns = {}, {}
    wanted = {**METRICS, **{control: (control, 0.5) for control in CONTROLS}}
    for metric, (operation, q) in wanted.items():
        turns_ns = [taken_ns[side].get(operation, ()) for side in SIDES]
        if not all(turns_ns):
            continue
        baseline, candidate = (float(np.quantile(np.concatenate(each), q)) for each in turns_ns)
        values_ns[metric] = baseline, candidate
        pairs = [
            math.log(max(1.0, np.quantile(c, q)) / max(1.0, np.quantile(b, q)))
            for b, c in zip(*turns_ns, strict=True)
        ]
        ratios[metric] = float(np.median(pairs) if q == 0.5 else np.mean(pairs))
    return ratios, values_ns


class Controls:
    """Work that neither side's code can influence, done in this process.

    Args:
        url: of a server that only the control uses.
        clock: that times it.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._now_ns = clock.now_ns
        self._socket = open_socket(url)

    def measure(self) -> dict[str, list[int]]:
        """Nanoseconds of some PINGs and of some loops."""
        now_ns, connection = self._now_ns, self._socket
        pings, loops = [], []
        for _ in range(_PINGS):
            before_ns = now_ns()
            connection.sendall(_PING)
            connection.recv(64)
            pings.append(now_ns() - before_ns)
        for _ in range(_LOOPS):
            before_ns = now_ns()
            total = 0
            for number in range(_LOOP):
                total ^= number
            loops.append(now_ns() - before_ns)
        # The first of each pays for the caches that the side before has used.
        return {"control.ping": pings[1:], "control.python": loops[1:]}

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def overlay(stack: contextlib.ExitStack, measure: Measure, side: Side) -> str:
    """A directory with a link for each package to a side's source, removed with the stack.

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
    return str(directory)


class _OpenSide:
    """One side of one round: a child and its server."""

    def __init__(self, child: Child, name: str) -> None:
        self.pid = child.pid
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

    def open(self, url: str) -> None:
        """Open the target on a server."""
        self._tell(url, "cannot be opened")
        self.operations = self.answer(Opened, "cannot be opened").operations

    def work(self, part: Part) -> Int64s:
        """Let it do one block of a part."""
        self._tell(Block(part.operation, part.count), f"failed in {part.operation}")
        taken_ns: Int64s = self.answer(np.ndarray, f"failed in {part.operation}")
        return taken_ns


class Rounds:
    """Measures rounds.

    Args:
        measure: what, and how.
        clock: for time, and the waits of servers.
    """

    def __init__(self, measure: Measure, clock: Clock) -> None:
        self._measure = measure
        self._clock = clock
        self._stack = contextlib.ExitStack()
        try:
            self._overlays = {side: overlay(self._stack, measure, side) for side in SIDES}
            control = self._stack.enter_context(open_server(measure.server, clock, durability="none"))
            self._control_pid = control.pid
            self.server = control.describe()
            self._controls = self._stack.enter_context(contextlib.closing(Controls(control.url, clock)))
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
        first = first_of(self._measure.seed, number)
        order: list[Side] = [first, "candidate" if first == "baseline" else "baseline"]
        taken: dict[Side, dict[str, list[Int64s]]] = {side: {} for side in SIDES}
        with self._open(number, order) as sides:
            able = set(sides["baseline"].operations) & set(sides["candidate"].operations)
            if wanted := {METRICS[metric][0] for metric in self._measure.metrics if metric in METRICS}:
                able &= wanted | {"append"}
            for part in WARM_UP:
                for side in order if part.operation in able else ():
                    sides[side].work(part)
            for part in PARTS:
                for turn in turns(part.blocks) if part.operation in able else ():
                    side = order[turn]
                    for name, values in self._controls.measure().items():
                        taken[side].setdefault(name, []).append(np.array(values, np.int64))
                    taken[side].setdefault(part.operation, []).append(sides[side].work(part))
        ratios, values_ns = measured(taken)
        return Round(
            number=number,
            at_s=round(at_s, 3),
            took_s=round((self._clock.now_ns() - began_ns) / 1e9, 3),
            first=first,
            ratios=ratios,
            values_ns=values_ns,
        )

    @contextlib.contextmanager
    def _open(self, number: int, order: Sequence[Side]) -> Iterator[dict[Side, _OpenSide]]:
        measure = self._measure
        with contextlib.ExitStack() as stack:
            sides: dict[Side, _OpenSide] = {}
            for side in order:
                settings = SideSettings(self._overlays[side], measure.packages, measure.target)
                child = stack.enter_context(contextlib.closing(Child("harness.gate_side:main", settings)))
                sides[side] = _OpenSide(child, measure.names[side])
            # They load their code while the servers start.
            servers = [
                stack.enter_context(open_server(measure.server, self._clock, durability=measure.durability))
                for _ in order
            ]
            for side, server in zip(order, servers, strict=True):
                sides[side].answer(Ready, "does not build")
                sides[side].open(server.url)
            core = core_of(measure.cores, measure.seed, number)
            pids = [*(side.pid for side in sides.values()), *(server.pid for server in servers)]
            with on_core(core, self._control_pid, *pids):
                yield sides
