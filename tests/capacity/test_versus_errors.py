"""How often a comparison is wrong: counted by the gate's tables, in the words of a comparison."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from harness.capacity.versus_errors import WORDS, conduct_versus
from harness.gate.error_rates import simulated, told
from harness.gate.slowdowns import Ended, Line, Recorded


def recorded(effect: float, kind: str = "nothing", count: int = 40) -> list[Recorded]:
    """Rounds of two seconds whose p50 has an effect."""
    drawn = np.random.default_rng(3).normal(0, 0.01, (count, 3))
    return [
        Recorded(
            kind=kind,
            gate=0,
            at_s=2.0 * at,
            took_s=2.0,
            ratios={"append.p50": effect + p50, "append.p99": p99, "control.ping": ping / 20},
        )
        for at, (p50, p99, ping) in enumerate(drawn.tolist())
    ]


@pytest.mark.parametrize(("effect", "outcome"), [(0.0, "pass"), (0.1, "fail"), (-0.1, "fail"), (0.003, "pass")])
def test_either_way_is_a_difference(effect: float, outcome: str) -> None:
    """What is faster is told as what is slower is, where a gate would pass it."""
    made = simulated(recorded(effect), gates=20, minutes=2, seed=1, conduct=conduct_versus)
    assert {each.decision.outcome for each in made} == {outcome}


def test_a_control_that_moves_is_no_difference() -> None:
    """It is told apart from a false alarm."""
    moved = [
        msgspec.structs.replace(each, ratios=each.ratios | {"control.ping": 0.05 + each.ratios["control.ping"]})
        for each in recorded(0.1)
    ]
    made = simulated(moved, gates=5, minutes=2, seed=1, conduct=conduct_versus)
    assert {each.decision.outcome for each in made} == {"contaminated"}


@pytest.mark.parametrize(
    ("by", "real", "of"), [("gate", "none", "1 real gates"), ("versus", "0 of 1", "1 real comp")]
)
def test_only_what_a_comparison_has_decided_is_real(by: str, real: str, of: str) -> None:
    """Rounds that a gate has recorded are resampled, but its decisions are not a comparison's."""
    ended = {"kind": "nothing", "gate": 0, "minutes": 1.0, "outcome": "pass", "failed": [], "rounds": 40}
    ended |= {"type": "gate", "took_s": 80.0, "revision": "a", "cpu": "c", "by": by}
    lines: list[Line] = [*recorded(0.0), msgspec.convert(ended, Ended)]
    text = told(
        lines,
        minutes=2,
        simulated_gates=3,
        curve_gates=1,
        seed=1,
        command="it",
        conduct=conduct_versus,
        words=WORDS,
    )
    [row] = [line for line in text.splitlines() if line.startswith("| nothing")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1] == "say faster or slower in at most 1 %"
    assert cells[2].startswith("0 of 3")
    assert cells[4].startswith(real)
    assert f"40 rounds of {of}" in text
    assert "FAIL" not in text
