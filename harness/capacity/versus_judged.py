"""What the rounds of a comparison say: answers, figures, verdicts and a headline, found in the rounds alone.

So a record that keeps its rounds can be judged again. What makes an answer doubtful is said beside it: a control
that moved, a side that works in the background, a load that was not answered or not sent in time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from msgspec import Struct

from harness.capacity.answers import Answer, Answers, answers
from harness.capacity.pairs import LETTERS, SideLoad, VersusRound, metrics_of
from harness.capacity.sides import listed
from harness.capacity.versus_words import (
    CONTAMINATED,
    control_verdict,
    few_rounds,
    left_out,
    pair_headline,
    takes,
    verdict,
)
from harness.check.instrument import LEAST_US, MOST_SHARE
from harness.conduct.findings import Findings
from harness.gate.decision import ALPHA, Finding, Size, Spending
from harness.gate.looks import Measured, is_control
from harness.gate.loop import BACKGROUND, size_of
from harness.record.run import Record, Verdict

ROUNDS, LOOKS = "rounds", "looks"
# A side that answers less of its load than this has not borne it.
REACHED = 0.98


class SideParameters(Struct, frozen=True, kw_only=True):
    """A side, as it was asked for, and what it is called."""

    name: str
    server: str
    durability: str
    config: list[str] = []
    load: dict[str, str] = {}
    system: str = ""


class VersusParameters(Struct, frozen=True, kw_only=True):
    """What was chosen for a comparison.

    Attributes:
        sides: two or more; the others are set against the first.
        minutes: that it may take.
        cores: `one` for each round, `apart` or `all`.
        relevant: the size that was set for a metric, as a share.
        metrics: the only ones that count; all of them where empty.
        rate_per_s: of the load, of the first side; 0: one operation after the other.
        arrivals: evenly, or at random.
        aa: whether the sides are alike on purpose.
    """

    sides: list[SideParameters]
    minutes: float
    cores: str = "one"
    relevant: dict[str, float] = {}
    metrics: list[str] = []
    rate_per_s: float = 0.0
    arrivals: str = "constant"
    aa: bool = False


class Looks(Struct, frozen=True, kw_only=True):
    """When the rounds were looked at.

    Attributes:
        metrics: that count, by their names among all pairs.
        looks: at which numbers of rounds.
        spent: at each look, the share of the errors that it might spend.
    """

    metrics: list[str]
    looks: list[int]
    spent: list[float]


class Judged(Struct, frozen=True, kw_only=True):
    """What rounds say at the last look."""

    rounds: list[VersusRound]
    counted: list[str]
    answers: Answers


def size_for(metric: str, relevant: Mapping[str, float]) -> Size:
    """The size that a metric of a pair is judged by.

    Args:
        metric: its name among all pairs, such as `c.append.p50`, or within the only one.
        relevant: sizes that were set, by the name within a pair.

    Raises:
        ValueError: a size that cannot be.
    """
    letter, _, rest = metric.partition(".")
    return size_of(rest if letter in LETTERS else metric, relevant)


def judged(
    rounds: Sequence[Measured], metrics: Sequence[str], spending: Spending, relevant: Mapping[str, float]
) -> Answers:
    """What rounds say at a look."""
    ratios = [each.ratios for each in rounds]
    return answers(
        {metric: [each[metric] for each in ratios] for metric in metrics},
        {metric: size_for(metric, relevant) for metric in metrics},
        {name: [each[name] for each in ratios] for name in ratios[0] if is_control(name)},
        spending,
    )


def metrics_for(metrics: Sequence[str], others: Sequence[str]) -> list[str]:
    """The names among all pairs of metrics that were named.

    Args:
        metrics: by their names within a pair.
        others: the letters of the other sides.
    """
    return [f"{letter}.{each}" for letter in others for each in metrics] if len(others) > 1 else list(metrics)


def judged_again(parameters: VersusParameters, record: Record) -> Judged:
    """What the rounds of a record say, as they said when it was made.

    Raises:
        EvidenceError: they are not there.
    """
    rounds = record.evidence.value(ROUNDS, list[VersusRound])
    looks = record.evidence.value(LOOKS, Looks)
    at_last = Spending(share=looks.spent[-1])
    found = judged(rounds[: looks.looks[-1]], looks.metrics, at_last, parameters.relevant)
    return Judged(rounds=rounds, counted=looks.metrics, answers=found)


def _names(parameters: VersusParameters) -> dict[str, str]:
    return {letter: side.name for letter, side in zip(LETTERS, parameters.sides, strict=False)}


def add_figures(found: Judged, parameters: VersusParameters, findings: Findings) -> None:
    """Put what rounds say into figures."""
    by_name: dict[str, Answer | Finding] = {each.metric: each for each in found.answers.metrics}
    by_name |= {each.metric: each for each in found.answers.controls}
    for name, letter, metric in metrics_of(found.rounds[0]):
        if name not in by_name:
            continue
        each = by_name[name]
        for at, label in enumerate(("first", "other")):
            value = median(of.values_ns(letter, metric)[at] for of in found.rounds) / 1000
            findings.figure(f"{name}.{label}", value, "µs")
        findings.figure(f"{name}.ratio", each.ratio, "×")
        findings.figure(f"{name}.low", each.low, "×")
        findings.figure(f"{name}.high", each.high, "×")
        if not is_control(name):
            size = size_for(name, parameters.relevant)
            findings.figure(f"{name}.relevant", 1 + size.relevant, "×")
    findings.figure("rounds", len(found.rounds), "1")
    for letter, share in background_of(found.rounds).items():
        findings.figure(f"background.{letter}", share, "share")
    for letter, loads in loads_of(found.rounds).items():
        findings.figure(f"load.{letter}.offered_per_s", median(each.due / each.due_s for each in loads), "1/s")
        findings.figure(f"load.{letter}.reached", median(each.reached for each in loads), "share")
        for label in loads[0].send_lag_us:
            late = median(each.send_lag_us[label] for each in loads)
            findings.figure(f"load.{letter}.send_lag.{label}", late, "µs")


def background_of(rounds: Sequence[VersusRound]) -> dict[str, float]:
    """Of each side, by its letter, the median share of the others' time in which it was at work, not below 0."""
    found: dict[str, list[float]] = {}
    for each in rounds:
        for pair in each.pairs:
            for letter, share in each.background(pair).items():
                found.setdefault(letter, []).append(share)
    return {letter: max(0.0, median(shares)) for letter, shares in sorted(found.items())}


def loads_of(rounds: Sequence[VersusRound]) -> dict[str, list[SideLoad]]:
    """The loads of each side, by its letter, in all rounds."""
    found: dict[str, list[SideLoad]] = {}
    for each in rounds:
        for letter, pair in each.loads.items():
            for mine, load in zip((LETTERS[0], letter), pair, strict=True):
                found.setdefault(mine, []).append(load)
    return dict(sorted(found.items()))


def few(found: Judged) -> str:
    """Why nothing can be told of any metric; empty where something can."""
    each_s = sum(each.took_s for each in found.rounds) / len(found.rounds)
    needed = math.ceil(math.log2(2 * len(found.counted) / ALPHA)) + 1
    return few_rounds(found.answers, needed, each_s)


def verdicts_of(found: Judged, parameters: VersusParameters) -> list[Verdict]:
    """The verdicts on metrics, controls, and what makes them doubtful."""
    names = _names(parameters)
    if why := few(found):
        return [Verdict(name="versus.rounds", status="UNKNOWN", detail=why), *doubts_of(found, parameters)]
    within = {name: (letter, metric) for name, letter, metric in metrics_of(found.rounds[0])}
    verdicts = []
    for each in found.answers.metrics:
        letter, metric = within[each.metric]
        said = takes(each, metric, names[LETTERS[0]], names[letter])
        size = size_for(each.metric, parameters.relevant)
        is_contaminated = found.answers.is_contaminated
        verdicts.append(verdict(f"versus.{each.metric}", each, size, said, is_contaminated=is_contaminated))
    for control in found.answers.controls:
        letter, _ = within[control.metric]
        verdicts.append(control_verdict(f"versus.{control.metric}", control, names[letter]))
    return [*verdicts, *doubts_of(found, parameters)]


def doubts_of(found: Judged, parameters: VersusParameters) -> list[Verdict]:
    """What makes answers doubtful: a side that works in the background, a load that did not arrive in time."""
    names = _names(parameters)
    verdicts = [
        Verdict(
            name=f"versus.background.{letter}",
            status="UNKNOWN",
            detail=f"{names[letter]} is at work while the other side and the controls have their turn, for at "
            f"least {share * 100:.0f} % of that time: this slows both sides, and the ratios are nearer to 1 "
            "than what differs makes them; --cores all gives it a core of its own",
        )
        for letter, share in background_of(found.rounds).items()
        if share > BACKGROUND
    ]
    for letter, loads in loads_of(found.rounds).items():
        verdicts.append(_answered(f"versus.answered.{letter}", names[letter], loads))
        verdicts.append(_in_time(f"versus.{letter}.send_lag", names[letter], loads))
    return verdicts


def _answered(name: str, side: str, loads: Sequence[SideLoad]) -> Verdict:
    """Whether a side bore its load; else what it let wait is what was measured, and it says so."""
    due, ok = sum(each.due for each in loads), sum(each.ok for each in loads)
    reached = median(each.reached for each in loads)
    told = f"{ok:,} of {due:,} were answered well, at {reached * 100:.1f} % of the rate at which they were due"
    if ok < due:
        failed, unknown, dropped = (
            sum(getattr(e, which) for e in loads) for which in ("failed", "unknown", "dropped")
        )
        told += f"; {failed:,} failed, {unknown:,} unknown, {dropped:,} dropped"
        return Verdict(name=name, status="UNKNOWN", detail=f"{side}: {told}: responses are only of those answered")
    if reached < REACHED:
        detail = f"{side} does not keep up with this rate: {told}; its responses grow for as long as a turn lasts"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    return Verdict(name=name, status="PASS", detail=f"{side}: {told}")


def _in_time(name: str, side: str, loads: Sequence[SideLoad]) -> Verdict:
    """Whether the instrument sent in time, by the rule that holds for every load at a rate."""
    lag = median(each.send_lag_us["p99"] for each in loads)
    response = median(each.response_us["p99"] for each in loads)
    told = f"{side}: sent {lag / 1000:.2f} ms late at p99, where the response is {response / 1000:.2f} ms"
    if lag > LEAST_US and lag > MOST_SHARE * response:
        return Verdict(name=name, status="UNKNOWN", detail=f"the instrument fell behind: {told}")
    return Verdict(name=name, status="PASS", detail=told)


def headline(found: Judged, parameters: VersusParameters) -> str:
    """What came out, in a few sentences."""
    names = _names(parameters)
    others = [name for letter, name in names.items() if letter != LETTERS[0]]
    against = f"{listed(others)} against {names[LETTERS[0]]}"
    if found.answers.is_contaminated:
        return f"Contaminated, {against}: {CONTAMINATED}."
    if why := few(found):
        return f"Not decided, {against}: {why}."
    within = {name: (letter, metric) for name, letter, metric in metrics_of(found.rounds[0])}
    told, new = [], {}
    for letter in found.rounds[0].pairs:
        mine = [
            (within[each.metric][1], each, size_for(each.metric, parameters.relevant))
            for each in found.answers.metrics
            if within[each.metric][0] == letter
        ]
        is_long = len(others) == 1
        told.append(pair_headline(mine, names[LETTERS[0]], names[letter], is_long=is_long))
        new[names[letter]] = sorted({name for each in found.rounds for name in each.pairs[letter].new})
    moved = [each.metric for each in found.answers.controls if each.status == "UNKNOWN"]
    if moved:
        told.append(f"Too few rounds to say whether {listed(moved)} moved.")
    told += [
        f"{names[letter]} works in the background, which slows both sides."
        for letter, share in background_of(found.rounds).items()
        if share > BACKGROUND
    ]
    return " ".join(filter(None, [*told, left_out(new), how(found, parameters)]))


def how(found: Judged, parameters: VersusParameters) -> str:
    """How it was measured, in a sentence."""
    rounds = f"{len(found.rounds)} {'round' if len(found.rounds) == 1 else 'rounds'}"
    if parameters.rate_per_s:
        rates = dict.fromkeys(
            float(side.load.get("rate_per_s", parameters.rate_per_s)) for side in parameters.sides
        )
        rate = listed([f"{each:,.0f}/s" for each in rates])
        return f"{rounds}, at {rate}, counted from when each append was due."
    where = "all on one core" if parameters.cores == "one" else "on all cores"
    return f"{rounds}, one operation after the other, {where}."
