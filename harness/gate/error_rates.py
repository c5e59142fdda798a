"""`shopbench gate-errors`: how often is the gate wrong, or a comparison? Measured on this machine, and counted.

    record     real gates of each kind, with slowdowns of a known size (`harness.gate.slowdowns`)
    resample   blocks of recorded rounds that followed one another, drawn with replacement, so that drift stays in
               them, strung together into thousands of gates; the loop and the decision are those of a real gate,
               on a clock that each round moves by as long as it took
    curve      the rounds of unchanged code, with a slowdown put into the ratios: how much must it be to be seen?

The file of rounds is all that the arithmetic needs: `--rounds FILE` repeats it anywhere, without a server.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

import msgspec
import numpy as np

from harness.gate.decision import Outcome, lower_bound, upper_bound, walsh_averages
from harness.gate.loop import Gated, conduct_rounds
from harness.gate.rounds import Round
from harness.gate.slowdowns import KINDS, By, Conduct, Ended, ErrorRateError, Kind, Line, Recorded
from harness.host.clock import VirtualClock

BLOCK_ROUNDS = 8
SIMULATED = 2_000
CURVE_SIMULATED = 300
CURVE = (0.02, 0.04, 0.06, 0.08, 0.10, 0.15, 0.20, 0.30)
CURVE_MINUTES = (1.0, 2.0, 5.0)
CURVE_METRICS = ("append.p50", "append.p99")
CONFIDENCE = 0.95

BEGIN = "<!-- gate figures: written by `shopbench gate-errors --into` -->"
END = "<!-- end of gate figures -->"


class Wording(msgspec.Struct, frozen=True):
    """What the tables call what is counted.

    Attributes:
        one, many: such as `gate` and `gates`.
        alarm: that it found a difference.
        outcomes: its other outcomes: nothing that matters, not decided, contaminated.
        by: who has to have decided of what is called real.
    """

    one: str = "gate"
    many: str = "gates"
    alarm: str = "FAIL"
    outcomes: str = "PASS / inconclusive / contaminated"
    by: By = "gate"


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


def simulated(
    rounds: Sequence[Recorded], *, gates: int, minutes: float, seed: int, conduct: Conduct = conduct_rounds
) -> list[Gated]:
    """Gates made of recorded rounds, decided by the loop of a real one.

    Args:
        rounds: of one kind, in the order in which they were measured.
        gates: how many to make.
        minutes: that a gate may take.
        seed: of the resampling.
        conduct: the loop.
    """
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(gates):
        clock = VirtualClock()
        bench = _Replayed(rounds, block_order(len(rounds), generator), clock)
        found.append(conduct(bench, clock=clock, limit_s=minutes * 60, relevant={}))
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


def _failed(kind: Kind, found: Gated) -> bool:
    metrics = {f.metric for f in found.decision.findings if f.status == "FAIL"}
    return found.decision.outcome == "fail" and (not kind.metric or kind.metric in metrics)


def figures_table(
    lines: Sequence[Line],
    *,
    minutes: float,
    gates: int,
    seed: int,
    conduct: Conduct = conduct_rounds,
    words: Wording = Wording(),  # noqa: B008 - frozen
) -> str:
    """False alarms and detections, of real gates and of simulated ones, as a Markdown table.

    Args:
        lines: of the file.
        minutes: that a simulated gate may take.
        gates: how many are simulated of each kind.
        seed: of the resampling.
        conduct: the loop.
        words: what the table calls them.
    """
    rows = [
        f"| put into the candidate | goal | simulated {words.many} that {words.alarm} | {words.outcomes} "
        f"| real {words.many} that {words.alarm} | {words.outcomes} | time to the verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        rounds = [each for each in lines if isinstance(each, Recorded) and each.kind == kind.name]
        # Rounds may have been recorded by others, whose decisions are not these.
        real = [
            each for each in lines if isinstance(each, Ended) and (each.kind, each.by) == (kind.name, words.by)
        ]
        if not rounds:
            continue
        made = simulated(rounds, gates=gates, minutes=minutes, seed=seed, conduct=conduct)
        outcomes = [each.decision.outcome for each in made]
        failed_really = sum(
            each.outcome == "fail" and (not kind.metric or kind.metric in each.failed) for each in real
        )
        took_s = [sum(r.took_s for r in each.rounds) for each in made]
        goal = kind.goal.replace("FAIL", words.alarm)
        rows.append(
            f"| {kind.name} | {goal} | {_share(sum(_failed(kind, each) for each in made), gates)} "
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


def curve_table(lines: Sequence[Line], *, gates: int, seed: int, conduct: Conduct = conduct_rounds) -> str:
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
                made = simulated(shifted, gates=gates, minutes=minutes, seed=seed, conduct=conduct)
                shares.append(sum(each.decision.outcome == "fail" for each in made) / gates)
            rows.append(f"| {metric}, {minutes:g} min | {' | '.join(f'{share:.0%}' for share in shares)} |")
    return "\n".join(rows)


def told(
    lines: Sequence[Line],
    *,
    minutes: float,
    simulated_gates: int,
    curve_gates: int,
    seed: int,
    command: str,
    conduct: Conduct = conduct_rounds,
    words: Wording = Wording(),  # noqa: B008 - frozen
) -> str:
    """All that the file says, in Markdown.

    Args:
        lines: of the file.
        minutes: that a simulated gate may take.
        simulated_gates, curve_gates: how many are simulated of each kind, and for each place of the curve.
        seed: of the resampling.
        command: that makes it again.
        conduct: the loop.
        words: what it calls them.

    Raises:
        ErrorRateError: it has no rounds of unchanged code.
    """
    rounds = [each for each in lines if isinstance(each, Recorded)]
    unchanged = [each for each in rounds if each.kind == "nothing"]
    if not unchanged:
        raise ErrorRateError("there are no rounds of unchanged code in that file")
    real = [each for each in lines if isinstance(each, Ended)]
    called = {"gate": "real gates", "versus": "real comparisons"}
    recorded = " and ".join(
        f"{sum(each.by == by for each in real)} {name}"
        for by, name in called.items()
        if any(e.by == by for e in real)
    )
    cpus = sorted({each.cpu for each in real})
    revisions = sorted({str(each.revision) for each in real})
    return "\n\n".join(
        [
            f"Made by `{command}`.",
            f"{len(rounds):,} rounds of {recorded}, on {', '.join(cpus)}, revision "
            f"{', '.join(revisions)}; a round took {median(each.took_s for each in unchanged):.1f} s. "
            f"A {words.one} may take {minutes:g} minutes. Intervals are Wilson's, 95 %.",
            figures_table(lines, minutes=minutes, gates=simulated_gates, seed=seed, conduct=conduct, words=words),
            "Unchanged code, from round to round:",
            noise_table(lines),
            f"Share of {words.many} that {words.alarm}, for a slowdown put into the ratios of unchanged code:",
            curve_table(lines, gates=curve_gates, seed=seed, conduct=conduct),
        ]
    )


def check_marks(path: Path) -> tuple[str, str]:
    """What stands before and after the marked place of a document.

    Raises:
        ErrorRateError: the document cannot be read, or lacks the marks.
    """
    try:
        whole = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ErrorRateError(f"{path}: {error.strerror}") from error
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ErrorRateError(f"{path}: lacks the marks {BEGIN!r} and {END!r}")
    return before, after


def put_into(path: Path, text: str) -> None:
    """Replace what stands between the marks of a document.

    Raises:
        ErrorRateError: the document cannot be read, or lacks the marks.
    """
    before, after = check_marks(path)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
