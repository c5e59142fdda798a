"""`shopbench gate`: rounds until the gate can tell, then a record like that of any other run.

    rounds.measure(0), (1), ...  --ratios-->  decide at planned looks  --> pass, fail: the end
                                                                       --> neither: more rounds

`harness.gate.looks` says when it looks, and why. At the end of its time the gate says what it knows: PASS, FAIL,
or how small a slowdown it could have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct

from harness.check.figures import figure_names
from harness.conduct.findings import Findings
from harness.conduct.scenario import ScenarioError, Stage
from harness.gate.controls import CONTROLS
from harness.gate.decision import (
    ALPHA,
    Decision,
    Finding,
    Size,
    Spending,
    control_verdict,
    decide,
    percent,
    verdict,
)
from harness.gate.libraries import Difference, named
from harness.gate.looks import Asked, BenchOf, look
from harness.gate.rounds import Round
from harness.gate.side import SIDES, Side, SideError
from harness.host.clock import Clock
from harness.record.run import KeyFigure, Verdict

# Of the time in which others had their turn, the share from which on a side's work in it may not be left unsaid.
BACKGROUND = 0.05
# Relevant size and noise margin of a metric whose name ends so; the first that fits.
DEFAULT_SIZES: tuple[tuple[str, Size], ...] = (
    (".p99.9", Size(relevant=0.20, margin=0.04)),
    (".p99", Size(relevant=0.10, margin=0.02)),
    ("", Size(relevant=0.05, margin=0.01)),
)

Bench = BenchOf[Round]


class Gated(Struct, frozen=True):
    """How a gate came out.

    Attributes:
        decision: at its last look.
        rounds: all of them.
        looks: at which numbers of rounds it looked.
        spent: at each look, the share of `alpha` and `beta`.
    """

    decision: Decision
    rounds: list[Round]
    looks: list[int]
    spent: list[float] = []


class GateParameters(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was chosen for a gate.

    Attributes:
        baseline, candidate: the revisions; the candidate's with `+` where it has changes.
        target: what was gated, or the file of micro-benchmarks.
        packages: those that came from each side's source.
        minutes: that the gate may take.
        cores: `one` for each round, or `all`.
        relevant: the size that was set for a metric, as a share.
        metrics: the only ones that count; all of them where empty.
        constraints: of each side that was given one, the file of constraints on its libraries.
        libraries: that are not the same on both sides.
    """

    baseline: str
    candidate: str
    target: str
    packages: list[str]
    minutes: float
    durability: str
    cores: str = "one"
    relevant: dict[str, float] = {}
    metrics: list[str] = []
    constraints: dict[Side, str] = {}
    libraries: list[Difference] = []


def size_of(metric: str, relevant: Mapping[str, float]) -> Size:
    """The size that a metric is judged by: as it was set, or its kind's default.

    Raises:
        ValueError: a size that cannot be.
    """
    default = next(size for ending, size in DEFAULT_SIZES if metric.endswith(ending))
    given = relevant.get(metric)
    # Of a size that was set to less than usual the margin takes the usual part.
    return default if given is None else Size(given, min(default.margin, given / 5))


def conduct_rounds(
    bench: Bench,
    *,
    clock: Clock,
    limit_s: float,
    relevant: Mapping[str, float],
    metrics: Sequence[str] = (),
    keep: Callable[[Round], None] = lambda _: None,
    progress: Callable[[float, str], None] = lambda *_: None,
) -> Gated:
    """Measure rounds until a look decides, or the time is over.

    Args:
        bench: measures them.
        limit_s: the gate's time, in seconds.
        relevant: sizes that were set.
        metrics: those that count; all that were measured where empty.
        keep: gets each round as soon as it is there.
        progress: told how far it is.

    Raises:
        SideError: the code of a side cannot be measured, a metric was named that was not measured, or not every
            round has measured the same ones.
    """
    found = look(
        bench,
        lambda rounds, counted, spending: judged(rounds, counted, relevant, spending),
        Asked(metrics=metrics, named=relevant),
        clock=clock,
        limit_s=limit_s,
        keep=keep,
        progress=progress,
    )
    return Gated(*found)


def judged(
    rounds: Sequence[Round], metrics: Sequence[str], relevant: Mapping[str, float], spending: Spending
) -> Decision:
    """What rounds say at a look."""
    return decide(
        {metric: [each.ratios[metric] for each in rounds] for metric in metrics},
        {metric: size_of(metric, relevant) for metric in metrics},
        {
            control: [each.ratios[control] for each in rounds]
            for control in CONTROLS
            if control in rounds[0].ratios
        },
        spending,
    )


class Gate:
    """A gate, to be conducted like a scenario.

    Args:
        opened: opens what measures the rounds, for a stage.
    """

    name = "gate"
    summary = "is the candidate slower than the baseline?"
    parameters = GateParameters
    figures = figure_names(
        "gate",
        "share   background.{baseline,candidate}",
        "µs      *.{baseline,candidate}",
        "×       *.{ratio,low,high,relevant,smallest_seen}",
        "1       rounds looks",
    )
    key_figures = (
        KeyFigure("gate.append.p50.ratio", "One append, p50, by the baseline's"),
        KeyFigure("gate.append.p99.ratio", "One append, p99, by the baseline's"),
        KeyFigure("gate.rounds", "Rounds"),
    )
    profiles: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it

    def __init__(self, opened: Callable[[Stage], AbstractContextManager[Bench]]) -> None:
        self._opened = opened

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Measure and decide."""
        chosen: GateParameters = parameters
        findings.closed_loop()
        with (stage.directory / "rounds.jsonl").open("wb") as file:

            def keep(found: Round) -> None:
                file.write(msgspec.json.encode(found) + b"\n")
                file.flush()

            try:
                with self._opened(stage) as bench:
                    try:
                        gated = conduct_rounds(
                            bench,
                            clock=stage.clock,
                            limit_s=chosen.minutes * 60,
                            relevant=chosen.relevant,
                            metrics=chosen.metrics,
                            keep=keep,
                            progress=stage.progress,
                        )
                    finally:
                        # The rounds start their servers, and of a gate that failed they are worth knowing, too.
                        findings.server = dict(bench.server)
            except SideError as error:
                raise ScenarioError(str(error)) from error
        tell(gated, chosen, findings)


def tell(gated: Gated, chosen: GateParameters, findings: Findings) -> None:
    """Put how a gate came out into figures, verdicts and a sentence."""
    decision = gated.decision
    for finding in [*decision.findings, *decision.controls]:
        name = finding.metric
        for side, label in enumerate(("baseline", "candidate")):
            value = median(each.values_ns[name][side] for each in gated.rounds) / 1000
            findings.figure(f"{name}.{label}", value, "µs")
        findings.figure(f"{name}.ratio", finding.ratio, "×")
        findings.figure(f"{name}.low", finding.low, "×")
        findings.figure(f"{name}.high", finding.high, "×")
    few = too_few(gated)
    for finding in decision.findings:
        size = size_of(finding.metric, chosen.relevant)
        findings.figure(f"{finding.metric}.relevant", 1 + size.relevant, "×")
        smallest = None if finding.smallest is None else 1 + finding.smallest
        findings.figure(f"{finding.metric}.smallest_seen", smallest, "×")
        if not few:
            findings.verdicts.append(verdict(finding, size, decision.outcome))
    if not decision.findings:
        findings.verdicts.append(Verdict(name="gate.metrics", status="UNKNOWN", detail="no metric was measured"))
    if few:
        findings.verdicts.append(Verdict(name="gate.rounds", status="UNKNOWN", detail=few))
    else:
        findings.verdicts += [control_verdict(control) for control in decision.controls]
    findings.figure("rounds", len(gated.rounds), "1")
    findings.figure("looks", len(gated.looks), "1")
    background = background_of(gated.rounds)
    for of_side, share in background.items():
        findings.figure(f"background.{of_side}", share, "share")
    busy = [of_side for of_side, share in background.items() if share > BACKGROUND]
    findings.verdicts += [background_verdict(of_side, background[of_side]) for of_side in busy]
    findings.headline = headline(decision, chosen, busy)
    if few and not busy:
        findings.headline = f"Inconclusive, {_against(chosen)}: {few}."
    if new := sorted({name for each in gated.rounds for name in each.new}):
        findings.headline += f" Not compared, since only the candidate has it: {', '.join(new)}."


def background_of(rounds: Sequence[Round]) -> dict[Side, float]:
    """Of each side, the median over the rounds of its `harness.gate.rounds.background_share`, and not below 0."""
    shares = {side: [each.background[side] for each in rounds if side in each.background] for side in SIDES}
    return {side: max(0.0, median(found)) for side, found in shares.items() if found}


def background_verdict(side: Side, share: float) -> Verdict:
    """UNKNOWN: a side that is at work while another has its turn slows that one, too."""
    detail = (
        f"the {side} is at work while the other side and the controls have their turn, for at least "
        f"{share * 100:.0f} % of that time: this slows both sides, and the ratios are nearer to 1 than the code "
        "makes them; --cores all gives it a core of its own"
    )
    return Verdict(name=f"gate.background.{side}", status="UNKNOWN", detail=detail)


def headline(decision: Decision, chosen: GateParameters, busy: Sequence[Side] = ()) -> str:
    """How a gate came out, in a sentence.

    Args:
        decision: its last look.
        chosen: what it was about.
        busy: sides that work in the background.
    """
    against = _against(chosen)
    if decision.outcome == "contaminated":
        return (
            f"Contaminated, {against}: a control moved that no code can influence, "
            "so the gate says nothing about the code."
        )
    if decision.outcome == "fail":
        worse = sorted((f for f in decision.findings if f.status == "FAIL"), key=lambda f: -f.ratio)
        return f"Slower, {against}: {'; '.join(map(_slower, worse))}."
    if decision.outcome == "pass" and not busy:
        return f"No relevant slowdown, {against}: {_bounds(decision.findings)}."
    open_ones = [f"{f.metric} ({_seen(f)})" for f in decision.findings if f.status == "UNKNOWN"]
    if unknown := [f.metric for f in decision.controls if f.status == "UNKNOWN"]:
        open_ones.append(f"too few rounds to say whether {' and '.join(unknown)} moved")
    open_ones += [f"the {side} works in the background, which slows both sides" for side in busy]
    return f"Inconclusive, {against}: {', '.join(open_ones) or 'no metric was measured'}."


def too_few(gated: Gated) -> str:
    """Why nothing can be told of any metric, and how many minutes would do; empty where something can.

    With fewer rounds than an interval needs there is none, whatever they have measured, and a line for each metric
    says no more than one for all.
    """
    decision = gated.decision
    findings = [*decision.findings, *decision.controls]
    if (
        decision.outcome != "inconclusive"
        or not findings
        or any(f.smallest is not None for f in decision.findings)
    ):
        return ""
    if any(f.low is not None or f.status != "UNKNOWN" for f in findings):
        return ""
    needed = math.ceil(math.log2(max(1, len(decision.findings)) / ALPHA)) + 1
    each_s = sum(each.took_s for each in gated.rounds) / len(gated.rounds)
    # A part of the rounds is looked at early, and some more make it likely that something is seen.
    minutes = max(1, math.ceil(2 * needed * each_s / 60))
    rounds = f"{len(gated.rounds)} {'round' if len(gated.rounds) == 1 else 'rounds'}"
    least = f"{needed} are the least that a verdict needs"
    return f"too few rounds: {rounds}, where {least}; give it --minutes {minutes}"


def _against(chosen: GateParameters) -> str:
    changed = "+" if chosen.candidate.endswith("+") else ""
    libraries = f" ({named(chosen.libraries)})" if chosen.constraints else ""
    return f"{chosen.candidate[:12]}{changed} against {chosen.baseline[:12]}{libraries}"


def _slower(finding: Finding) -> str:
    low = 0.0 if finding.low is None else finding.low
    high = math.inf if finding.high is None else finding.high
    return (
        f"{finding.metric} takes {finding.ratio:.3f} × as long ({low:.3f} to {high:.3f}, {finding.rounds} rounds)"
    )


def _bounds(found: Sequence[Finding]) -> str:
    highest = max((f.high or math.inf for f in found), default=math.inf)
    return f"each of {len(found)} metrics takes at most {highest:.3f} × as long, {found[0].rounds} rounds"


def _seen(finding: Finding) -> str:
    if finding.smallest is None:
        return "too few rounds"
    return f"{percent(finding.ratio - 1)}; a slowdown of {percent(finding.smallest)} would have shown"
