"""The gate's statistics: against brute force, against SciPy, and on data whose truth is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.arrays import Floats
from harness.gate import decision
from harness.gate.decision import Decision, Finding, Size, Spending

RATIOS = st.lists(st.floats(-0.5, 0.5).map(lambda x: round(x, 6)), min_size=1, max_size=25)
SIZE = Size(relevant=0.05, margin=0.01)
ALL = Spending(share=1.0)
# No tie within any list that is made of them: each is a sum that no other pair has.
UNTIED = st.lists(st.integers(0, 40), min_size=5, max_size=20, unique=True).map(
    lambda powers: [(1 if power % 2 else -1) * 1.37**power for power in powers]
)


def averages_of(ratios: Sequence[float]) -> Floats:
    return decision.walsh_averages(np.asarray(ratios, np.float64))


def one(ratios: Sequence[float], *, size: Size = SIZE, spending: Spending = ALL) -> Finding:
    """What a gate of a single metric finds."""
    [finding] = decision.decide({"m": ratios}, {"m": size}, {}, spending).findings
    return finding


# Against brute force ---------------------------------------------------------------------------------------


@given(RATIOS)
def test_walsh_averages_are_the_means_of_all_pairs(ratios: list[float]) -> None:
    """Each round with itself and with every other one, in rising order."""
    expected = sorted((ratios[i] + ratios[j]) / 2 for i in range(len(ratios)) for j in range(i, len(ratios)))
    assert expected == pytest.approx(averages_of(ratios).tolist())


@pytest.mark.parametrize("rounds", range(1, 11))
def test_the_null_distribution_is_that_of_all_sign_flips(rounds: int) -> None:
    """P(T <= t) counts the sign patterns whose positive ranks add up to no more than t."""
    sums = [
        sum(rank for rank, positive in enumerate(signs, 1) if positive)
        for signs in itertools.product((False, True), repeat=rounds)
    ]
    expected = [sum(s <= t for s in sums) / 2**rounds for t in range(rounds * (rounds + 1) // 2 + 1)]
    assert expected == pytest.approx(decision._cumulative(rounds).tolist())


@given(UNTIED, st.sampled_from([0.0, 0.013, -2.0]))
def test_p_value_is_scipys(ratios: list[float], effect: float) -> None:
    """The exact one-sided signed-rank test of SciPy gives the same p-value."""
    expected = stats.wilcoxon(np.array(ratios) - effect, alternative="greater", method="exact").pvalue
    assert expected == pytest.approx(decision.p_value(averages_of(ratios), len(ratios), effect))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_holm_rejects_what_adjusted_p_values_reject(p_values: list[float], alpha: float) -> None:
    """A hypothesis is rejected at its level exactly where Holm's adjusted p-value is within alpha."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, worst = [0.0] * len(p_values), 0.0
    for place, at in enumerate(order):
        worst = max(worst, (len(p_values) - place) * p_values[at])
        adjusted[at] = worst
    levels = decision.holm_levels(p_values, alpha)
    expected = [p <= alpha for p in adjusted]
    near = [math.isclose(p, alpha, rel_tol=1e-9) for p in adjusted]
    found = [p <= level for p, level in zip(p_values, levels, strict=True)]
    assert all(e == f or n for e, f, n in zip(expected, found, near, strict=True))


# Laws ------------------------------------------------------------------------------------------------------


@given(RATIOS, st.sampled_from([0.2, 0.05, 0.01, 0.001]))
def test_an_interval_is_what_the_test_does_not_reject(ratios: list[float], level: float) -> None:
    """An effect is below the lower end exactly where the test at that level rejects it."""
    averages = averages_of(ratios)
    low = decision.lower_bound(averages, len(ratios), level)
    for effect in (*averages.tolist(), -1.0, 1.0):
        is_rejected = decision.p_value(averages, len(ratios), effect) <= level
        assert (low is not None and effect < low) == is_rejected


@given(RATIOS, st.sampled_from([0.2, 0.01]))
def test_both_ends_are_alike(ratios: list[float], level: float) -> None:
    """The upper end is the lower end of the ratios with their signs changed."""
    upper = decision.upper_bound(averages_of(ratios), len(ratios), level)
    lower = decision.lower_bound(averages_of([-ratio for ratio in ratios]), len(ratios), level)
    assert upper == (None if lower is None else pytest.approx(-lower))


@given(RATIOS, st.floats(-0.3, 0.3))
def test_a_shift_moves_everything_by_itself(ratios: list[float], shift: float) -> None:
    """What is put on each log ratio comes out of the estimate and of both ends."""
    before, after = one(ratios), one([ratio + shift for ratio in ratios])
    pairs = [(before.ratio, after.ratio), (before.low, after.low), (before.high, after.high)]
    for old, new in pairs:
        assert new == (None if old is None else pytest.approx(old * math.exp(shift)))


@given(st.lists(RATIOS.filter(lambda r: len(r) >= 12), min_size=1, max_size=3), st.floats(0.02, 0.5))
def test_a_control_that_moved_lets_nothing_fail(metrics: list[list[float]], moved: float) -> None:
    """Whatever the metrics say, the gate is contaminated."""
    made = decision.decide(
        {str(at): [ratio + 0.5 for ratio in each] for at, each in enumerate(metrics)},
        {str(at): SIZE for at in range(len(metrics))},
        {"control": [moved] * 16},
        ALL,
    )
    assert made.outcome == "contaminated"
    verdicts = [decision.verdict(finding, SIZE, made.outcome) for finding in made.findings]
    assert {"UNKNOWN"} == {each.status for each in verdicts}
    assert all("contaminated" in each.detail for each in verdicts)


# Verdicts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "spread", "status"),
    [
        (0.20, 0.02, "FAIL"),
        (0.03, 0.01, "PASS"),  # slower beyond doubt, and not by what matters
        (0.00, 0.01, "PASS"),
        (-0.30, 0.05, "PASS"),
        (0.05, 0.10, "UNKNOWN"),
        (0.30, 2.00, "UNKNOWN"),  # large, and nothing but noise
    ],
)
def test_the_verdict_on_a_metric(effect: float, spread: float, status: str) -> None:
    """FAIL needs an interval above the margin and a relevant effect; PASS one that excludes such an effect."""
    noise = np.tile([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0], 4) + np.linspace(-0.01, 0.01, 24)
    assert status == one((effect + spread * noise).tolist()).status


def test_a_verdict_names_the_metric_the_ratio_and_its_interval() -> None:
    """Who reads only the sentence knows what, by how much, and how sure."""
    found = Finding(
        metric="append.p50", rounds=20, ratio=1.1234, low=1.08, high=1.17, smallest=0.06, status="FAIL"
    )
    told = decision.verdict(found, SIZE, "fail")
    assert told.name == "gate.append.p50"
    assert "append.p50 takes 1.123 × the baseline (1.080 to 1.170, 20 rounds)" in told.detail


@pytest.mark.parametrize(
    ("relevant", "words"),
    [(0.05, "5 %"), (0.025, "2.5 %"), (0.005, "0.5 %"), (0.12345, "12.3 %"), (2.0, "200 %"), (123.0, "12300 %")],
)
def test_a_verdict_names_the_limit_as_it_was_given(relevant: float, words: str) -> None:
    """To three digits, and never rounded to nothing."""
    told = decision.verdict(one([0.0, 0.001, -0.001] * 8), Size(relevant, 0.001), "pass")
    assert told.detail.endswith(f": less than {words} slower")


def test_an_inconclusive_verdict_tells_what_could_have_been_seen() -> None:
    """The smallest slowdown of that run stands in the sentence."""
    noise = np.tile([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0], 4) * 0.3
    found = one((0.05 + noise).tolist())
    assert found.smallest is not None
    assert (
        f"could have seen is {found.smallest * 100:+.1f} %" in decision.verdict(found, SIZE, "inconclusive").detail
    )


def test_too_few_rounds_decide_nothing() -> None:
    """Five rounds cannot reject anything at one in a hundred, however alike they are."""
    found = one([0.5, 0.51, 0.52, 0.53, 0.54])
    assert (found.status, found.low, found.smallest) == ("UNKNOWN", None, None)
    assert "too few rounds" in decision.verdict(found, SIZE, "inconclusive").detail


@pytest.mark.parametrize(("rounds", "outcome"), [(5, "inconclusive"), (6, "inconclusive"), (7, "pass")])
def test_a_control_of_which_nothing_is_known_lets_nothing_pass(rounds: int, outcome: str) -> None:
    """A metric may pass with fewer rounds than its controls need; the gate waits for them."""
    ratios = np.linspace(-0.001, 0.001, rounds).tolist()
    controls = {"control.ping": ratios, "control.python": ratios}
    made = decision.decide({"m": ratios}, {"m": SIZE}, controls, ALL)
    assert [each.status for each in made.findings] == ["PASS"]
    assert outcome == made.outcome


def test_no_metric_at_all_is_inconclusive() -> None:
    """A gate without evidence passes nothing."""
    assert decision.decide({}, {}, {}, ALL).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("ratios", "status", "words"),
    [
        ([0.03] * 16, "UNKNOWN", "treated the sides differently"),
        ([-0.03] * 16, "UNKNOWN", "treated the sides differently"),
        ([0.001, -0.001] * 8, "PASS", "stayed the same"),
        ([0.03] * 3, "UNKNOWN", "too few rounds"),
    ],
)
def test_the_verdict_on_a_control(ratios: list[float], status: str, words: str) -> None:
    """It passes where it has not moved by more than its margin, as far as is known."""
    [control] = decision.decide({"m": ratios}, {"m": SIZE}, {"control.ping": ratios}, ALL).controls
    told = decision.control_verdict(control)
    assert status == told.status
    assert words in told.detail


@pytest.mark.parametrize(("relevant", "margin"), [(0.01, 0.01), (0.05, -0.01), (math.inf, 0.01), (math.nan, 0.01)])
def test_a_size_that_cannot_be(relevant: float, margin: float) -> None:
    """What is relevant lies above the margin, and is a number."""
    with pytest.raises(ValueError, match="relevant size"):
        Size(relevant, margin)


@pytest.mark.parametrize(
    ("rounds", "share", "looked_at", "metrics", "expected"),
    [
        (12, 0.14, 0.0, 6, False),
        (12, 0.15, 0.0, 6, True),
        (11, 0.15, 0.0, 6, False),  # too few rounds for six metrics and so small a share, ...
        (10, 0.15, 0.0, 1, True),
        (11, 0.50, 0.0, 6, True),  # ... and enough for a larger one
        (30, 0.29, 0.15, 6, False),
        (30, 0.31, 0.15, 6, True),
        (30, 0.31, 0.31, 6, False),
        (60, 1.00, 0.80, 6, True),
    ],
)
def test_looks_come_at_planned_shares_of_the_time(
    rounds: int, share: float, looked_at: float, metrics: int, expected: bool
) -> None:
    """A look is due where a planned share lies between the last look and now, and there are rounds enough."""
    assert expected == decision.is_look(rounds, share, looked_at, metrics)


# Simulations with known truth --------------------------------------------------------------------------------

Noise = Callable[[np.random.Generator, int], Floats]
# As many that a test's words hold of them as they stand: 6 may fail for nothing, and 30 pass that should not.
GATES = 600


def normal(generator: np.random.Generator, rounds: int) -> Floats:
    return generator.normal(0, 0.04, rounds)


def heavy(generator: np.random.Generator, rounds: int) -> Floats:
    """One round in ten is eight times as noisy."""
    spread = np.where(generator.random(rounds) < 0.1, 0.32, 0.04)
    found: Floats = generator.normal(0, 1, rounds) * spread
    return found


def drifting(generator: np.random.Generator, rounds: int) -> Floats:
    """What the first place costs wanders slowly; a coin says which side has it."""
    steps = heavy(generator, rounds + 30)
    place = np.zeros(rounds + 30)
    for at in range(1, rounds + 30):
        place[at] = 0.9 * place[at - 1] + steps[at]
    return np.where(generator.random(rounds) < 0.5, 1.0, -1.0) * place[30:]


@pytest.mark.parametrize("noise", [normal, heavy, drifting])
@pytest.mark.parametrize("rounds", [13, 40])
def test_intervals_cover_the_truth_as_often_as_they_say(noise: Noise, rounds: int) -> None:
    """The lower end at 2 % is above the truth in 2 of 100 cases, whatever the noise."""
    generator = np.random.default_rng([7, rounds])
    trials, level = 1_200, 0.02
    lows = [
        decision.lower_bound(averages_of(noise(generator, rounds) + 0.1), rounds, level) for _ in range(trials)
    ]
    above = sum(low is not None and low > 0.1 for low in lows)
    expected = float(decision._cumulative(rounds)[decision._excluded(rounds, level)])
    assert expected <= level
    assert abs(above / trials - expected) < 4 * math.sqrt(level * (1 - level) / trials)


def simulated_gate(generator: np.random.Generator, noise: Noise, effect: float) -> Decision:
    """Five looks at up to a hundred rounds of four metrics, of which the first has an effect."""
    rounds = [noise(generator, 100) + math.log1p(effect * (at == 0)) for at in range(4)]
    sizes = {str(at): SIZE for at in range(4)}
    before = 0.0
    for share in decision.LOOKS:
        seen = {str(at): each[: int(100 * share)].tolist() for at, each in enumerate(rounds)}
        made = decision.decide(seen, sizes, {}, Spending(share=share - before))
        before = share
        if made.outcome in {"pass", "fail"}:
            break
    return made


@pytest.mark.parametrize("noise", [normal, heavy, drifting])
def test_false_alarms_are_rarer_than_alpha(noise: Noise) -> None:
    """Of gates of unchanged code, each with five looks at four metrics, no more than one in a hundred fails."""
    generator = np.random.default_rng(11)
    failed = sum(simulated_gate(generator, noise, 0.0).outcome == "fail" for _ in range(GATES))
    assert failed <= decision.ALPHA * GATES


def test_an_effect_below_the_margin_fails_as_seldom() -> None:
    """A slowdown that is no more than the margin is no reason to fail, however many rounds there are."""
    generator = np.random.default_rng(12)
    failed = sum(simulated_gate(generator, normal, SIZE.margin).outcome == "fail" for _ in range(GATES))
    assert failed <= decision.ALPHA * GATES


@pytest.mark.parametrize("noise", [normal, heavy])
def test_ten_percent_are_seen(noise: Noise) -> None:
    """With rounds that wander by 4 %, a slowdown of 10 % is failed nearly always."""
    generator = np.random.default_rng(13)
    assert sum(simulated_gate(generator, noise, 0.10).outcome == "fail" for _ in range(100)) >= 95


def test_a_relevant_effect_hardly_ever_passes() -> None:
    """An effect of exactly the relevant size passes in no more than beta of the gates."""
    generator = np.random.default_rng(14)
    passed = sum(simulated_gate(generator, normal, SIZE.relevant).outcome == "pass" for _ in range(GATES))
    assert passed <= decision.BETA * GATES


def test_the_smallest_effect_that_is_told_is_the_one_that_is_seen() -> None:
    """Of gates with a slowdown of the size that is told, about 95 in 100 fail."""
    generator = np.random.default_rng(15)
    told = float(np.median([one(normal(generator, 40).tolist()).smallest or 0 for _ in range(50)]))
    seen = sum(one((normal(generator, 40) + math.log1p(told)).tolist()).status == "FAIL" for _ in range(300))
    assert 0.88 <= seen / 300 <= 0.995


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_the_same_rounds_give_the_same_decision(seed: int) -> None:
    """Nothing is drawn in a decision."""
    ratios = {"m": heavy(np.random.default_rng(seed), 30).tolist()}
    assert decision.decide(ratios, {"m": SIZE}, ratios, ALL) == decision.decide(ratios, {"m": SIZE}, ratios, ALL)
