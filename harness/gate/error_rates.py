"""`shopbench selfcheck --gate`: how often is the gate wrong? Measured on this machine, and counted.

    record     real gates of each kind, in turn, until there are enough of each; every round goes into a file
               nothing            the same code on both sides
               neighbour          the same, while another process keeps a core busy
               append +x %        each append of the candidate is busy for x % of its own time longer
               tail +x %          only the slowest tenth of appends is: p99 moves by x %, and p50 does not
    resample   blocks of recorded rounds that followed one another, drawn with replacement, so that drift stays in
               them, strung together into thousands of gates; the loop and the decision are those of a real gate,
               on a clock that each round moves by as long as it took
    curve      the rounds of unchanged code, with a slowdown put into the ratios: how much must it be to be seen?

A slowdown is put where a developer would put one: into a copy of the package under test. It is busy and does not
sleep, since a sleep gives the core to others and wakes up late.

The file of rounds is all that the arithmetic needs: `--rounds FILE` repeats it anywhere, without a server.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

import msgspec
import numpy as np

from harness.gate import loop as gate
from harness.gate.decision import Outcome, lower_bound, upper_bound, walsh_averages
from harness.gate.rounds import Measure, Round, Rounds
from harness.host.child import Channel, Child
from harness.host.clock import Clock, VirtualClock

BLOCK_ROUNDS = 8
SIMULATED = 2_000
CURVE_SIMULATED = 300
CURVE = (0.02, 0.04, 0.06, 0.08, 0.10, 0.15, 0.20, 0.30)
CURVE_MINUTES = (1.0, 2.0, 5.0)
CURVE_METRICS = ("append.p50", "append.p99")
CONFIDENCE = 0.95

BEGIN = "<!-- gate figures: written by `shopbench selfcheck --gate --into` -->"
END = "<!-- end of gate figures -->"


class SelfCheckError(Exception):
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
    """A real gate in the file: how it came out, and of which revision and machine."""

    kind: str
    gate: int
    minutes: float
    outcome: Outcome
    failed: list[str]
    rounds: int
    took_s: float
    revision: str | None
    cpu: str


Line = Recorded | Ended


def burn(channel: Channel) -> None:
    """A child that keeps a core busy until its parent ends it."""
    channel.send("burning")
    count = 0
    while not channel.numbers[0]:
        count += 1


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
    with contextlib.closing(Child("harness.gate.error_rates:burn")) as neighbour:
        neighbour.receive()
        yield


def real_gate(
    measure: Measure,
    kind: Kind,
    *,
    clock: Clock,
    minutes: float,
    keep: Callable[[Round], None],
    progress: Callable[[float, str], None],
) -> gate.Gated:
    """One real gate of a kind: the measure's baseline, against it with the kind's slowdown.

    Args:
        measure: its candidate's source is replaced.
        kind: of the comparison.
        clock: for time.
        minutes: that the gate may take.
        keep: gets each round.
        progress: told how far it is.
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
        return gate.conduct_rounds(
            bench, clock=clock, limit_s=minutes * 60, relevant={}, keep=keep, progress=progress
        )


def record(
    path: Path,
    measure: Measure,
    *,
    kinds: Sequence[Kind],
    gates: int,
    minutes: float,
    clock: Clock,
    host: Mapping[str, Any],
    progress: Callable[[float, str], None],
) -> None:
    """Record real gates until a file has so many of each kind; what it has already is kept.

    Args:
        path: the file, lines of JSON.
        measure: what is measured; its seed is that of the first gate.
        kinds: of comparisons; they take turns, so that each meets the same hours of the machine.
        gates: of each kind.
        minutes: that a gate may take.
        clock: for time.
        host: what is known of the machine.
        progress: told how far it is.

    Raises:
        SelfCheckError: the file has gates of another length or machine, or cannot be written.
    """
    ended = [each for each in read_lines(path) if isinstance(each, Ended)] if path.exists() else []
    if other := next(
        (each for each in ended if each.minutes != minutes or each.cpu != str(host.get("cpu"))), None
    ):
        raise SelfCheckError(
            f"{path}: its gates are of {other.minutes:g} minutes on {other.cpu}; other ones go into another file"
        )
    done = [(each.kind, each.gate) for each in ended]
    left = [(number, kind) for number in range(gates) for kind in kinds if (kind.name, number) not in done]
    try:
        file = path.open("ab")
    except OSError as error:
        raise SelfCheckError(f"{path}: {error.strerror}") from error
    with file:
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
            )
            # A gate's lines are written together when it has ended: of one that was interrupted there are none.
            lines: list[Line] = [
                Recorded(kind=kind.name, gate=number, at_s=r.at_s, took_s=r.took_s, ratios=_short(r.ratios))
                for r in rounds
            ]
            lines.append(
                Ended(
                    kind=kind.name,
                    gate=number,
                    minutes=minutes,
                    outcome=gated.decision.outcome,
                    failed=[f.metric for f in gated.decision.findings if f.status == "FAIL"],
                    rounds=len(rounds),
                    took_s=round((clock.now_ns() - before_ns) / 1e9, 1),
                    revision=host.get("revision"),
                    cpu=str(host.get("cpu")),
                )
            )
            file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
            file.flush()


def _short(ratios: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in ratios.items()}


def read_lines(path: Path) -> list[Line]:
    """All rounds and gates of a file.

    Raises:
        SelfCheckError: it cannot be read, or a line of it is neither.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SelfCheckError(f"{path}: {error.strerror}") from error
    found: list[Line] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(msgspec.json.decode(line, type=Line))
        except msgspec.MsgspecError as error:
            raise SelfCheckError(f"{path}: line {number} is no round of a gate ({error})") from error
    return found


class _Replayed:
    """A bench that answers rounds which were measured before, and moves a clock by what they took."""

    server: dict[str, Any] = {}  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it

    def __init__(self, rounds: Sequence[Recorded], order: Iterator[int], clock: VirtualClock) -> None:
        self._rounds = rounds
        self._order = order
        self._clock = clock

    def measure(self, number: int) -> Round:
        """The next round of the order."""
        found = self._rounds[next(self._order)]
        # None takes no time, or a gate of them would not end.
        self._clock.sleep_ns(max(1_000_000, int(found.took_s * 1e9)))
        return Round(
            number=number,
            at_s=found.at_s,
            took_s=found.took_s,
            first="baseline",
            ratios=found.ratios,
            values_ns={},
        )


def block_order(rounds: int, generator: np.random.Generator, block: int = BLOCK_ROUNDS) -> Iterator[int]:
    """Places of rounds, without end: blocks on a circle that begin anywhere, each of rounds in their order."""
    while True:
        start = int(generator.integers(rounds))
        for offset in range(block):
            yield (start + offset) % rounds


def simulated(rounds: Sequence[Recorded], *, gates: int, minutes: float, seed: int) -> list[gate.Gated]:
    """Gates made of recorded rounds, decided by the loop of a real one.

    Args:
        rounds: of one kind, in the order in which they were measured.
        gates: how many to make.
        minutes: that a gate may take.
        seed: of the resampling.
    """
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(gates):
        clock = VirtualClock()
        bench = _Replayed(rounds, block_order(len(rounds), generator), clock)
        found.append(gate.conduct_rounds(bench, clock=clock, limit_s=minutes * 60, relevant={}))
    return found


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927), for counts of 0 and of all as good as for others.

    Args:
        successes: of the trials.
        trials: how many; none tells nothing.
        confidence: that the share is in it.
    """
    if not trials:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(count: int, trials: int) -> str:
    low, high = wilson(count, trials)
    return f"{count} of {trials:,} ({low:.1%} to {high:.1%})" if trials else "none"


def _failed(kind: Kind, found: gate.Gated) -> bool:
    metrics = {f.metric for f in found.decision.findings if f.status == "FAIL"}
    return found.decision.outcome == "fail" and (not kind.metric or kind.metric in metrics)


def figures_table(lines: Sequence[Line], *, minutes: float, gates: int, seed: int) -> str:
    """False alarms and detections, of real gates and of simulated ones, as a Markdown table.

    Args:
        lines: of the file.
        minutes: that a simulated gate may take.
        gates: how many are simulated of each kind.
        seed: of the resampling.
    """
    rows = [
        "| put into the candidate | goal | simulated gates that FAIL | PASS / inconclusive / contaminated "
        "| real gates that FAIL | PASS / inconclusive / contaminated | time to the verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        rounds = [each for each in lines if isinstance(each, Recorded) and each.kind == kind.name]
        real = [each for each in lines if isinstance(each, Ended) and each.kind == kind.name]
        if not rounds:
            continue
        made = simulated(rounds, gates=gates, minutes=minutes, seed=seed)
        outcomes = [each.decision.outcome for each in made]
        failed_really = sum(
            each.outcome == "fail" and (not kind.metric or kind.metric in each.failed) for each in real
        )
        took_s = [sum(r.took_s for r in each.rounds) for each in made]
        rows.append(
            f"| {kind.name} | {kind.goal} | {_share(sum(_failed(kind, each) for each in made), gates)} "
            f"| {_others(outcomes)} | {_share(failed_really, len(real))} | {_others([r.outcome for r in real])} "
            f"| {median(took_s):.0f} s |"
        )
    return "\n".join(rows)


def _others(outcomes: Sequence[Outcome]) -> str:
    return " / ".join(str(outcomes.count(each)) for each in ("pass", "inconclusive", "contaminated"))


def noise_table(lines: Sequence[Line]) -> str:
    """What the ratios of unchanged code are in all, how much they wander, and whether neighbours are alike."""
    rounds = [each for each in lines if isinstance(each, Recorded) and each.kind == "nothing"]
    rows = [
        "| metric | ratio of all rounds (95 %) | spread of a round (robust) | standard deviation "
        "| likeness of neighbours |",
        "|---|---|---|---|---|",
    ]
    for metric in rounds[0].ratios if rounds else ():
        ratios = np.array([each.ratios[metric] for each in rounds])
        robust = 1.4826 * float(np.median(np.abs(ratios - np.median(ratios))))
        alike = float(np.corrcoef(ratios[:-1], ratios[1:])[0, 1]) if ratios.size > 2 else math.nan
        averages = walsh_averages(ratios)
        ends = [bound(averages, ratios.size, 0.025) for bound in (lower_bound, upper_bound)]
        interval = " to ".join(f"{math.exp(end):.3f}" for end in ends if end is not None)
        whole = f"{math.exp(float(np.median(averages))):.3f} ({interval or 'too few rounds'})"
        rows.append(f"| {metric} | {whole} | {robust:.2%} | {float(ratios.std()):.2%} | {alike:+.2f} |")
    return "\n".join(rows)


def curve_table(lines: Sequence[Line], *, gates: int, seed: int) -> str:
    """Which share of gates fails for which slowdown, by the gate's time: unchanged code with a slowdown put in."""
    rounds = [each for each in lines if isinstance(each, Recorded) and each.kind == "nothing"]
    heads = [f"+{effect:.0%}".replace("%", " %") for effect in CURVE]
    rows = [f"| metric, minutes | {' | '.join(heads)} |", f"|---|{'---|' * len(CURVE)}"]
    for metric in CURVE_METRICS:
        for minutes in CURVE_MINUTES:
            shares = []
            for effect in CURVE:
                shifted = [
                    msgspec.structs.replace(
                        each, ratios={**each.ratios, metric: each.ratios[metric] + math.log1p(effect)}
                    )
                    for each in rounds
                ]
                made = simulated(shifted, gates=gates, minutes=minutes, seed=seed)
                shares.append(sum(each.decision.outcome == "fail" for each in made) / gates)
            rows.append(f"| {metric}, {minutes:g} min | {' | '.join(f'{share:.0%}' for share in shares)} |")
    return "\n".join(rows)


def told(
    lines: Sequence[Line], *, minutes: float, simulated_gates: int, curve_gates: int, seed: int, command: str
) -> str:
    """All that the file says, in Markdown.

    Raises:
        SelfCheckError: it has no rounds of unchanged code.
    """
    rounds = [each for each in lines if isinstance(each, Recorded)]
    unchanged = [each for each in rounds if each.kind == "nothing"]
    if not unchanged:
        raise SelfCheckError("there are no rounds of unchanged code in that file")
    real = [each for each in lines if isinstance(each, Ended)]
    cpus = sorted({each.cpu for each in real})
    revisions = sorted({str(each.revision) for each in real})
    return "\n\n".join(
        [
            f"Made by `{command}`.",
            f"{len(rounds):,} rounds of {len(real)} real gates, on {', '.join(cpus)}, revision "
            f"{', '.join(revisions)}; a round took {median(each.took_s for each in unchanged):.1f} s. A gate may "
            f"take {minutes:g} minutes. Intervals are Wilson's, 95 %.",
            figures_table(lines, minutes=minutes, gates=simulated_gates, seed=seed),
            "Unchanged code, from round to round:",
            noise_table(lines),
            "Share of gates that FAIL, for a slowdown put into the ratios of unchanged code:",
            curve_table(lines, gates=curve_gates, seed=seed),
        ]
    )


def check_marks(path: Path) -> tuple[str, str]:
    """What stands before and after the marked place of a document.

    Raises:
        SelfCheckError: the document cannot be read, or lacks the marks.
    """
    try:
        whole = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SelfCheckError(f"{path}: {error.strerror}") from error
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SelfCheckError(f"{path}: lacks the marks {BEGIN!r} and {END!r}")
    return before, after


def put_into(path: Path, text: str) -> None:
    """Replace what stands between the marks of a document.

    Raises:
        SelfCheckError: the document cannot be read, or lacks the marks.
    """
    before, after = check_marks(path)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
