"""`shopbench versus A B`: which of two sides takes less time, by how much, and how sure is that?

    pairs.measure(0), (1), ...  --ratios-->  answers at planned looks  --> all decided: the end
                                                                       --> else more rounds

The rounds, the looks, the statistic and the controls are a gate's (`harness.gate`); `harness.capacity.answers`
The rounds, the looks, the statistic and the controls are those of a gate; `harness.capacity.answers` says what is
asked of them. A verdict is PASS where there is an answer, whichever it is: faster, slower, or the same

The record keeps every round, and all that it says is found in these: `shopbench check` finds it again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from harness.capacity.answers import Answers
from harness.capacity.pairs import LETTERS, VersusRound
from harness.capacity.versus_judged import (
    LOOKS,
    ROUNDS,
    Judged,
    Looks,
    VersusParameters,
    add_figures,
    headline,
    judged,
    judged_again,
    metrics_for,
    verdicts_of,
)
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.findings import Findings
from harness.conduct.scenario import ScenarioError, Stage
from harness.gate.decision import Spending
from harness.gate.looks import Asked, BenchOf, look
from harness.gate.side import SideError
from harness.record.evidence import EvidenceError
from harness.record.run import KeyFigure, Record, Verdict


class Versus:
    """A comparison, to be conducted like a scenario.

    Args:
        opened: opens what measures the rounds, for a stage; None: nothing is measured, only judged.
    """

    name = "versus"
    summary = "which of two sides takes less time?"
    parameters = VersusParameters
    figures = figure_names(
        "versus",
        "share   background.* load.*.reached",
        "1/s     load.*.offered_per_s",
        "µs      *.{first,other} load.*.send_lag.{p50,p99,max}",
        "×       *.{ratio,low,high,relevant}",
        "1       rounds looks",
    )
    key_figures = (
        KeyFigure("versus.append.p50.ratio", "One append, p50, by the first side's"),
        KeyFigure("versus.response.p50.ratio", "Response, p50, by the first side's"),
        KeyFigure("versus.append.p99.ratio", "One append, p99, by the first side's"),
        KeyFigure("versus.response.p99.ratio", "Response, p99, by the first side's"),
        KeyFigure("versus.response.p99.9.ratio", "Response, p99.9, by the first side's"),
        KeyFigure("versus.rounds", "Rounds"),
    )
    profiles: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it

    def __init__(
        self, opened: Callable[[Stage], AbstractContextManager[BenchOf[VersusRound]]] | None = None
    ) -> None:
        self._opened = opened

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Measure and decide."""
        chosen: VersusParameters = parameters
        if self._opened is None:
            raise ScenarioError("versus: there is nothing to measure its sides with")
        if chosen.rate_per_s:
            connections = int(chosen.sides[0].load.get("connections", "1"))
            findings.open_loop(connections=connections, arrivals=chosen.arrivals, producer=1)
        else:
            findings.closed_loop()
        others = LETTERS[1 : len(chosen.sides)]
        with (stage.directory / "rounds.jsonl").open("wb") as file:

            def keep(found: VersusRound) -> None:
                file.write(msgspec.json.encode(found) + b"\n")
                file.flush()

            try:
                with self._opened(stage) as bench:
                    findings.server = dict(bench.server)
                    looked = look(
                        bench,
                        functools.partial(_judge, relevant=chosen.relevant),
                        Asked(
                            metrics=metrics_for(chosen.metrics, others),
                            named=metrics_for(list(chosen.relevant), others),
                            questions=2,
                        ),
                        clock=stage.clock,
                        limit_s=chosen.minutes * 60,
                        keep=keep,
                        progress=stage.progress,
                    )
            except SideError as error:
                raise ScenarioError(str(error)) from error
        counted = [answer.metric for answer in looked.judgement.metrics]
        findings.evidence.add_json(ROUNDS, msgspec.to_builtins(looked.rounds))
        looks = Looks(metrics=counted, looks=looked.looks, spent=looked.spent)
        findings.evidence.add_json(LOOKS, msgspec.to_builtins(looks))
        found = Judged(rounds=looked.rounds, counted=counted, answers=looked.judgement)
        add_figures(found, chosen, findings)
        findings.figure("looks", len(looked.looks), "1")
        findings.concluded()

    def checkers(self, parameters: VersusParameters, record: Record) -> list[Checker]:
        """What finds its verdicts in a record: of each metric, each control, and what makes them doubtful."""
        if not record.evidence.has(ROUNDS) and record.run.status != "complete":
            return []
        try:
            found = verdicts_of(judged_again(parameters, record), parameters)
        except EvidenceError as error:
            found = [Verdict(name="versus.rounds", status="UNKNOWN", detail=str(error))]
        # They are found in these sections, and stand as long as these do.
        return [Checker(each.name, functools.partial(_found, each), (ROUNDS, LOOKS)) for each in found]

    def headline(self, parameters: VersusParameters, record: Record) -> str:
        """What came out, in a few sentences, from the rounds of a record.

        Raises:
            EvidenceError: they are not there.
        """
        return headline(judged_again(parameters, record), parameters)


def _found(verdict: Verdict, _: Record) -> Verdict:
    return verdict


def _judge(
    rounds: Sequence[VersusRound], metrics: Sequence[str], spending: Spending, *, relevant: Mapping[str, float]
) -> Answers:
    return judged(rounds, metrics, spending, relevant)
