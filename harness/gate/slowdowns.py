"""Real gates with slowdowns of a known size, recorded: what the gate's error rates are counted from.

    record     real gates of each kind, in turn, until there are enough of each; every round goes into a file
               nothing            the same code on both sides
               neighbour          the same, while another process keeps a core busy
               append +x %        each append of the candidate is busy for x % of its own time longer
               tail +x %          only the slowest tenth of appends is: p99 moves by x %, and p50 does not

A slowdown is put where a developer would put one: into a copy of the package under test. It is busy and does not
sleep, since a sleep gives the core to others and wakes up late.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

import msgspec

from harness.gate.decision import Outcome
from harness.gate.loop import Bench, Gated, conduct_rounds
from harness.gate.rounds import Measure, Round, Rounds
from harness.host.child import Channel, Child
from harness.host.clock import Clock


class ErrorRateError(Exception):
    """A check of the gate that cannot be made; its text is one clear line."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of comparison.

    Attributes:
        name: as it stands in the file.
        slowdown: by which share an append is slower; 0 for none.
        is_tail: whether only the slowest tenth of appends is.
        has_neighbour: whether a core is kept busy meanwhile.
        metric: that must be found slower; empty where none may be.
        goal: what share of gates must fail, or must not, in words.
    """

    name: str
    slowdown: float = 0.0
    is_tail: bool = False
    has_neighbour: bool = False
    metric: str = ""
    goal: str = ""


KINDS = (
    Kind(name="nothing", goal="FAIL in at most 1 %"),
    Kind(name="neighbour", has_neighbour=True, goal="never FAIL"),
    Kind(name="append +5 %", slowdown=0.05, metric="append.p50"),
    Kind(name="append +10 %", slowdown=0.10, metric="append.p50", goal="FAIL in at least 95 %"),
    Kind(name="append +20 %", slowdown=0.20, metric="append.p50"),
    Kind(name="append +50 %", slowdown=0.50, metric="append.p50"),
    Kind(name="tail +20 %", slowdown=0.20, is_tail=True, metric="append.p99", goal="FAIL in at least 90 %"),
)

# Appended to the module that has the method. What a call is to take longer is spun away. For a tail, a threshold
# follows the 90th percentile of what calls take (Robbins and Monro): it rises a little with each call above it,
# and falls by a ninth of that with each below.
_SLOW = """

import time as _time


def _slowed(call, share, is_tail):
    threshold = 0.0

    def slowed(*arguments, **named):
        nonlocal threshold
        began = _time.perf_counter_ns()
        answer = call(*arguments, **named)
        taken = _time.perf_counter_ns() - began
        if is_tail:
            above = taken > threshold
            threshold = threshold * (1.018 if above else 0.998) if threshold else taken
            if not above:
                return answer
        until = began + taken * (1 + share)
        while _time.perf_counter_ns() < until:
            pass
        return answer

    return slowed


{owner}.{method} = _slowed({owner}.{method}, {share!r}, {is_tail!r})
"""


def slowed_copy(
    package: Path, directory: Path, kind: Kind, *, module: str = "event_store.py", owner: str = "EventStore"
) -> None:
    """Copy a package and put a slowdown into it.

    Args:
        package: its directory.
        directory: where the copy goes, under the package's name.
        kind: how slow it is to be.
        module: the file that gets the slowdown.
        owner: the class in it whose `append` is slowed.
    """
    copy = directory / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if kind.slowdown:
        slow = _SLOW.format(owner=owner, method="append", share=kind.slowdown, is_tail=kind.is_tail)
        path = copy / module
        path.write_text(path.read_text(encoding="utf-8") + slow, encoding="utf-8")


class Recorded(msgspec.Struct, frozen=True, kw_only=True, tag="round"):
    """A round in the file: of which gate of which kind, when, how long, and its log ratios."""

    kind: str
    gate: int
    at_s: float
    took_s: float
    ratios: dict[str, float]


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="gate"):
    """A real gate in the file: how it came out, by whose decision, and of which revision and machine."""

    kind: str
    gate: int
    minutes: float
    outcome: Outcome
    failed: list[str]
    rounds: int
    took_s: float
    revision: str | None
    cpu: str
    by: By = "gate"


Line = Recorded | Ended


def burn(channel: Channel) -> None:
    """A child that keeps a core busy until its parent ends it."""
    channel.send("burning")
    count = 0
    while not channel.numbers[0]:
        count += 1


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
    with contextlib.closing(Child("harness.gate.slowdowns:burn")) as neighbour:
        neighbour.receive()
        yield


class Conduct(Protocol):
    """What measures rounds until it can tell: a gate's loop, or another that is told of in a gate's words."""

    def __call__(
        self,
        bench: Bench,
        *,
        clock: Clock,
        limit_s: float,
        relevant: Mapping[str, float],
        keep: Callable[[Round], None] = ...,
        progress: Callable[[float, str], None] = ...,
    ) -> Gated:
        """Measure rounds until a look decides, or the time is over."""
        ...


def real_gate(
    measure: Measure,
    kind: Kind,
    *,
    clock: Clock,
    minutes: float,
    keep: Callable[[Round], None],
    progress: Callable[[float, str], None],
    conduct: Conduct = conduct_rounds,
) -> Gated:
    """One real gate of a kind: the measure's baseline, against it with the kind's slowdown.

    Args:
        measure: its candidate's source is replaced.
        kind: of the comparison.
        clock: for time.
        minutes: that the gate may take.
        keep: gets each round.
        progress: told how far it is.
        conduct: the gate's loop, or another.
    """
    with contextlib.ExitStack() as stack:
        # Both sides are copies, so that nothing but the slowdown tells them apart.
        sources = dict(measure.sources)
        for side, of_side in (("baseline", Kind(name="nothing")), ("candidate", kind)):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shopbench-copy-")))
            for package in measure.packages:
                slowed_copy(measure.sources["baseline"] / package, directory, of_side)
            sources[side] = directory  # type: ignore[index]
        if kind.has_neighbour:
            stack.enter_context(_busy_core())
        bench = stack.enter_context(Rounds(msgspec.structs.replace(measure, sources=sources), clock))
        return conduct(bench, clock=clock, limit_s=minutes * 60, relevant={}, keep=keep, progress=progress)


# Who has decided: a gate, or a comparison that asks in both directions.
By = Literal["gate", "versus"]


class Wanted(NamedTuple):
    """What is to be recorded.

    Attributes:
        kinds: of comparisons; they take turns, so that each meets the same hours of the machine.
        gates: of each kind.
        minutes: that a gate may take.
        conduct: the gate's loop, or another.
        by: whose loop it is.
    """

    kinds: Sequence[Kind]
    gates: int
    minutes: float
    conduct: Conduct = conduct_rounds
    by: By = "gate"


def record(
    path: Path,
    measure: Measure,
    wanted: Wanted,
    *,
    clock: Clock,
    host: Mapping[str, Any],
    progress: Callable[[float, str], None],
) -> None:
    """Record real gates until a file has so many of each kind; what it has already is kept.

    Args:
        path: the file, lines of JSON.
        measure: what is measured; its seed is that of the first gate.
        wanted: what is to be in it.
        clock: for time.
        host: what is known of the machine.
        progress: told how far it is.

    Raises:
        ErrorRateError: the file has gates of another length or machine, or cannot be written.
    """
    kinds, gates, minutes, conduct, by = wanted
    done = _recorded_before(path, wanted, str(host.get("cpu")))
    left = [(number, kind) for number in range(gates) for kind in kinds if (kind.name, number) not in done]
    with _appended_to(path) as file:
        for at, (number, kind) in enumerate(left):
            rounds: list[Round] = []
            before_ns = clock.now_ns()
            name = f"gate {number + 1} of {gates}, {kind.name}"
            gated = real_gate(
                msgspec.structs.replace(measure, seed=measure.seed + 1_000 * number + KINDS.index(kind)),
                kind,
                clock=clock,
                minutes=minutes,
                keep=rounds.append,
                progress=lambda share, doing, at=at, name=name: progress(  # type: ignore[misc]
                    (at + share) / len(left), f"{name}: {doing}"
                ),
                conduct=conduct,
            )
            ended = Ended(
                kind=kind.name,
                gate=number,
                minutes=minutes,
                outcome=gated.decision.outcome,
                failed=[f.metric for f in gated.decision.findings if f.status == "FAIL"],
                rounds=len(rounds),
                took_s=round((clock.now_ns() - before_ns) / 1e9, 1),
                revision=host.get("revision"),
                cpu=str(host.get("cpu")),
                by=by,
            )
            # A gate's lines are written together when it has ended: of one that was interrupted there are none.
            lines: list[Line] = [*(_kept(each, ended) for each in rounds), ended]
            file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
            file.flush()


def _appended_to(path: Path) -> BinaryIO:
    try:
        return path.open("ab")
    except OSError as error:
        raise ErrorRateError(f"{path}: {error.strerror}") from error


def _recorded_before(path: Path, wanted: Wanted, cpu: str) -> set[tuple[str, int]]:
    """The gates that a file has already, by kind and number; all of this length, decided so, on this machine."""
    ended = [each for each in read_lines(path) if isinstance(each, Ended)] if path.exists() else []
    for each in ended:
        if (each.minutes, each.by, each.cpu) != (wanted.minutes, wanted.by, cpu):
            raise ErrorRateError(
                f"{path}: its gates are of {each.minutes:g} minutes on {each.cpu}, decided by {each.by}; "
                "other ones go into another file"
            )
    return {(each.kind, each.gate) for each in ended}


def _kept(measured: Round, of: Ended) -> Recorded:
    ratios = {name: round(value, 5) for name, value in measured.ratios.items()}
    return Recorded(kind=of.kind, gate=of.gate, at_s=measured.at_s, took_s=measured.took_s, ratios=ratios)


def read_lines(path: Path) -> list[Line]:
    """All rounds and gates of a file.

    Raises:
        ErrorRateError: it cannot be read, or a line of it is neither.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ErrorRateError(f"{path}: {error.strerror}") from error
    found: list[Line] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(msgspec.json.decode(line, type=Line))
        except msgspec.MsgspecError as error:
            raise ErrorRateError(f"{path}: line {number} is no round of a gate ({error})") from error
    return found
