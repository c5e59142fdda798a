"""What a gate says at its end: figures, verdicts, a sentence, and a table whose bars are where the numbers are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_runs

from harness.conduct.findings import Findings
from harness.gate.decision import Decision, Spending
from harness.gate.loop import Gated, GateParameters, judged, tell
from harness.gate.rounds import Round
from harness.record.run import Run, load, save
from reports.gates import WIDTH, gate_rows
from reports.render import render
from reports.summaries import markdown
from tests.reports.test_render import Page

CHOSEN = GateParameters(
    baseline="b" * 40,
    candidate="c" * 40 + "+",
    target="a:b",
    packages=["a"],
    minutes=5,
    durability="none",
)


def ended(
    effect: float = 0.0, *, spread: float = 0.02, control: float = 0.0, rounds: int = 24, **of_each: Any
) -> Run:
    """The record of a gate of two metrics, of which the first has an effect; and what else each round has."""
    noise = np.random.default_rng(4).permutation(np.linspace(-spread, spread, rounds))
    measured = [
        Round(
            number=number,
            at_s=0.0,
            took_s=2.0,
            first="baseline",
            ratios={"append.p50": effect + wander, "append.p99": wander, "control.ping": control + wander / 100},
            values_ns={"append.p50": (100e3, 110e3), "append.p99": (300e3, 300e3), "control.ping": (20e3, 20e3)},
            **of_each,
        )
        for number, wander in enumerate(noise.tolist())
    ]
    decision = judged(measured, ["append.p50", "append.p99"], {}, Spending(share=1.0))
    return run_of(Gated(decision, measured, [rounds]))


def run_of(gated: Gated) -> Run:
    """The record of a gate."""
    findings = Findings("gate")
    tell(gated, CHOSEN, findings)
    return report_runs.run_of(
        "gate", figures=findings.figures, verdicts=findings.verdicts, headline=findings.headline
    )


@pytest.mark.parametrize(
    ("run", "begins", "statuses"),
    [
        (
            ended(0.10),
            "Slower, cccccccccccc+ against bbbbbbbbbbbb: append.p50 takes 1.10",
            ["FAIL", "PASS", "PASS"],
        ),
        (ended(0.00), "No relevant slowdown, cccccccccccc+ against", ["PASS", "PASS", "PASS"]),
        (ended(0.00, spread=1.0), "Inconclusive, ", ["UNKNOWN", "UNKNOWN", "PASS"]),
        (ended(0.10, control=0.04), "Contaminated, ", ["UNKNOWN", "UNKNOWN", "UNKNOWN"]),
        (
            ended(0.10, rounds=3),
            "Inconclusive, cccccccccccc+ against bbbbbbbbbbbb: too few rounds: 3 rounds, where ",
            ["UNKNOWN"],
        ),
        (
            ended(0.0, rounds=5),
            "Inconclusive, cccccccccccc+ against bbbbbbbbbbbb: too few rounds to say whether control.ping moved.",
            ["PASS", "PASS", "UNKNOWN"],
        ),
        (
            ended(0.0, background={"baseline": 0.01, "candidate": 0.3}),
            "Inconclusive, cccccccccccc+ against bbbbbbbbbbbb: the candidate works in the background, which slows",
            ["PASS", "PASS", "PASS", "UNKNOWN"],
        ),
        (ended(0.0, background={"baseline": 0.01, "candidate": 0.04}), "No relevant slowdown", ["PASS"] * 3),
        (
            run_of(Gated(Decision(outcome="inconclusive", findings=[], controls=[]), [], [])),
            "Inconclusive, cccccccccccc+ against bbbbbbbbbbbb: no metric was measured.",
            ["UNKNOWN"],
        ),
    ],
)
def test_a_gate_in_a_sentence(run: Run, begins: str, statuses: list[str]) -> None:
    """The sentence names both revisions, and what each outcome is about; each has its verdict, if any can."""
    assert run.headline.startswith(begins)
    assert [verdict.status for verdict in run.verdicts] == statuses


def test_figures_of_a_gate() -> None:
    """Both sides' values, the ratio and its interval, what is relevant and what could have been seen."""
    run = ended(0.10)
    assert run.figure("gate.append.p50.baseline") == 100.0
    assert run.figure("gate.append.p50.candidate") == 110.0
    assert run.figure("gate.append.p50.relevant") == pytest.approx(1.05)
    low, ratio, high = (run.figure(f"gate.append.p50.{end}") or 0 for end in ("low", "ratio", "high"))
    assert 1.05 < low < ratio < high < 1.15
    assert run.figure("gate.rounds") == 24


def test_what_is_new_is_said() -> None:
    """What only the candidate can do is compared with nothing, which the sentence says."""
    told = ended(0.0, new=("find_one", "drain")).headline
    assert told.endswith(" 24 rounds. Not compared, since only the candidate has it: drain, find_one.")


def test_work_in_the_background_is_told() -> None:
    """The median share of both sides is a figure, and a large one has a verdict that says what follows from it."""
    run = ended(0.1, background={"baseline": 0.01, "candidate": 0.3})
    assert (run.figure("gate.background.baseline"), run.figure("gate.background.candidate")) == (0.01, 0.3)
    [verdict] = [each for each in run.verdicts if each.name.startswith("gate.background")]
    assert "the candidate is at work" in verdict.detail
    assert "for at least 30 % of that time" in verdict.detail


@pytest.mark.parametrize("effect", [-0.4, 0.0, 0.02, 0.1, 2.0])
def test_bars_are_where_the_numbers_are(effect: float) -> None:
    """On one scale for all rows, with 1 in its middle; what lies beyond it reaches to the edge."""
    rows = gate_rows(ended(effect))
    assert [row.name for row in rows] == ["append.p50", "append.p99", "control.ping"]
    for row in rows:
        assert row.one == WIDTH / 2
        assert 0 <= row.low <= row.at <= row.high <= WIDTH
    assert (rows[0].at > WIDTH / 2) == (effect > 0)
    assert len(rows[0].relevant) == 1
    assert rows[2].relevant == []


def test_an_end_that_could_not_be_told_reaches_to_the_edge() -> None:
    """Of three rounds there is no interval."""
    [row, *_] = gate_rows(ended(0.1, rounds=3))
    assert (row.low, row.interval) == (0.0, "too few rounds")


def test_only_a_gate_has_the_table() -> None:
    """A run of something else, or a gate that was interrupted, has no rows."""
    assert gate_rows(report_runs.run_of("append")) == []
    assert gate_rows(report_runs.run_of("gate", status="interrupted")) == []


def test_a_gates_page_and_its_markdown(tmp_path: Path) -> None:
    """The page is well formed, has the table with a bar a row, and misses nothing that a gate does not measure."""
    save(tmp_path, ended(0.10))
    record = load(tmp_path)
    page = Page(render(record))
    assert page.errors == []
    assert page.count("circle", **{"class": "fail"}) == 1
    assert "No evidence in" not in page.words
    assert "No evidence:" not in page.words
    assert "gate.append.p50" in markdown(record)
