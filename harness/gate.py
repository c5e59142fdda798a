"""`shopbench gate`: rounds until the gate can tell, then a record like that of any other run.

    rounds.measure(0), (1), ...  --ratios-->  gating.decide at planned shares of the time  --> pass, fail: the end
                                                                                          --> neither: more rounds

When to look is planned before the first round, as shares of the gate's time, and each look has its part of the
error: to go on until something shows would find something in unchanged code sooner or later. What decides when a
look comes is the clock, and never a ratio.

At the end of its time the gate says what it knows: PASS, FAIL, or how small a slowdown it could have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import median
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from harness import gating
from harness.clock import Clock
from harness.conducting import Findings, ScenarioError, Stage
from harness.gate_rounds import CONTROLS, Round, SideError
from harness.gating import Decision, Finding, Size, Spending

# Relevant size and noise margin of a metric whose name ends so; the first that fits.
DEFAULT_SIZES: tuple[tuple[str, Size], ...] = (
    (".p99", Size(relevant=0.10, margin=0.02)),
    ("", Size(relevant=0.05, margin=0.01)),
)


class Bench(Protocol):
    """What measures rounds."""

    @property
    def server(self) -> dict[str, Any]:
        """The server that they are measured on."""
        ...

    def measure(self, number: int) -> Round:
        """Measure one round."""
        ...


class Gated(Struct, frozen=True):
    """How a gate came out: its last look, its rounds, and at which numbers of rounds it looked."""

    decision: Decision
    rounds: list[Round]
    looks: list[int]


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
        SideError: the code of a side cannot be measured, or a metric was asked for that it does not have.
    """
    began_ns = clock.now_ns()
    rounds: list[Round] = []
    looks: list[int] = []
    looked_at = 0.0
    while True:
        found = bench.measure(len(rounds))
        rounds.append(found)
        keep(found)
        counted = _counted(found, metrics)
        elapsed_s = (clock.now_ns() - began_ns) / 1e9
        is_last = elapsed_s + max(each.took_s for each in rounds[-3:]) > limit_s
        share = 1.0 if is_last else min(elapsed_s / limit_s, 1.0)
        progress(min(share, 1.0), f"round {len(rounds)}")
        if not is_last and not gating.is_look(len(rounds), share, looked_at, len(counted)):
            continue
        looks.append(len(rounds))
        decision = judged(rounds, counted, relevant, Spending(share=share - looked_at))
        looked_at = share
        if is_last or decision.outcome in {"pass", "fail"}:
            return Gated(decision, rounds, looks)


def _counted(found: Round, metrics: Sequence[str]) -> list[str]:
    measured = [name for name in found.ratios if name not in CONTROLS]
    for metric in metrics:
        if metric not in measured:
            raise SideError(f"there is no metric {metric!r}; there are {', '.join(measured)}")
    return list(metrics) or measured


def judged(
    rounds: Sequence[Round], metrics: Sequence[str], relevant: Mapping[str, float], spending: Spending
) -> Decision:
    """What rounds say at a look."""
    return gating.decide(
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
                    findings.server = bench.server
                    gated = conduct_rounds(
                        bench,
                        clock=stage.clock,
                        limit_s=chosen.minutes * 60,
                        relevant=chosen.relevant,
                        metrics=chosen.metrics,
                        keep=keep,
                        progress=stage.progress,
                    )
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
    for finding in decision.findings:
        size = size_of(finding.metric, chosen.relevant)
        findings.figure(f"{finding.metric}.relevant", 1 + size.relevant, "×")
        smallest = None if finding.smallest is None else 1 + finding.smallest
        findings.figure(f"{finding.metric}.smallest_seen", smallest, "×")
        findings.verdicts.append(gating.verdict(finding, size, decision.outcome))
    findings.verdicts += [gating.control_verdict(control) for control in decision.controls]
    findings.figure("rounds", len(gated.rounds), "1")
    findings.figure("looks", len(gated.looks), "1")
    findings.headline = headline(decision, chosen)


def headline(decision: Decision, chosen: GateParameters) -> str:
    """How a gate came out, in a sentence."""
    changed = "+" if chosen.candidate.endswith("+") else ""
    against = f"{chosen.candidate[:12]}{changed} against {chosen.baseline[:12]}"
    if decision.outcome == "contaminated":
        return f"Contaminated, {against}: what no code can influence moved, so nothing is said of the code."
    if decision.outcome == "fail":
        worse = sorted((f for f in decision.findings if f.status == "FAIL"), key=lambda f: -f.ratio)
        return f"Slower, {against}: {'; '.join(map(_slower, worse))}."
    if decision.outcome == "pass":
        return f"No relevant slowdown, {against}: {_bounds(decision.findings)}."
    open_ones = [f"{f.metric} ({_seen(f)})" for f in decision.findings if f.status == "UNKNOWN"]
    return f"Inconclusive, {against}: {', '.join(open_ones)}."


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
    return (
        f"{gating.percent(finding.ratio - 1)}; a slowdown of {gating.percent(finding.smallest)} would have shown"
    )
