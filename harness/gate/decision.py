"""Is the candidate slower than the baseline? From rounds to a verdict, by arithmetic alone.

    log ratio   of one metric in one round: ln(candidate / baseline); 0.05 is 5 % slower
    estimate    the Hodges-Lehmann pseudo-median: the median of the means of all pairs of rounds (Walsh averages)
    interval    those Walsh averages that the signed-rank test would not reject as the true effect
    margin      below it a difference is noise, whatever the test says: another order of bytes in memory can do it
    relevant    from here on a slowdown matters; the user says how much that is

          faster     0  margin        relevant            slower
    ------------------|----|--------------|---------------------->
              <-------*-->                                           PASS: a relevant slowdown is excluded
                             <------------|---*------------->        FAIL: above the margin, and relevant
                    <----------*----------|---->                     INCONCLUSIVE: neither; more rounds
                          <----*--->      |                          PASS: slower, and not by what matters

Assumption: a round's log ratio, less the true effect, is as likely +x as -x. The coin of `harness.gate.rounds`
sees to it. The signed-rank test is the sign-flip permutation test on ranks (Wilcoxon 1945; the interval: Hodges
and Lehmann 1963, in Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3.3), exact for any number of
rounds, heavy tails or not. Under the null hypothesis nothing more is assumed: not that rounds are alike, nor
independent, since it is the coin's tosses that are.

Error: a gate that looks at its data several times, at several metrics, has many chances to be wrong. `alpha` is
for all of them together. Each look spends as much of it as the share of time that has passed since the one before,
and what is spent adds up to `alpha` (Bonferroni's inequality holds whatever the looks have in common). Within a
look, Holm (1979) shares it out over the metrics. `beta` is spent over looks in the same way, but each metric gets
all of it: a gate passes only if every metric does, so a relevant slowdown must get past its own test in any case.

Controls are what neither side's code can influence. If one moved beyond its margin the machine has treated the
sides differently, and no verdict on the code follows: contaminated, never FAIL. Nor does a gate pass of whose
controls too few rounds say nothing.

Rejected. A bootstrap (percentile, BCa): of 12 to 20 rounds its interval at 99.9 % is made of hardly more than the
extremes, and too short; in simulations it was wrong several times as often as it said. Student's t: right for
normal noise, and half as sharp where one round in ten is disturbed. Lan and DeMets' spending, which counts with
what looks have in common: intervals 3 % shorter, for a recursion of integrals. `docs/gate.md` has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.arrays import Floats
from harness.record.run import Status, Verdict

Outcome = Literal["pass", "fail", "inconclusive", "contaminated"]

# Of all rounds' time, the shares after which the gate looks.
LOOKS = (0.15, 0.3, 0.5, 0.75, 1.0)
ALPHA = 0.01
BETA = 0.05
# For controls: more readily suspected than a metric is failed.
CONTROL_ALPHA = 0.05
CONTROL_MARGIN = 0.01
POWER = 0.95


class Size(msgspec.Struct, frozen=True):
    """What an effect on a metric means, as shares: 0.05 is 5 % slower.

    Raises:
        ValueError: a margin that is negative, or not below what is relevant.
    """

    relevant: float
    margin: float

    def __post_init__(self) -> None:
        if not 0 <= self.margin < self.relevant < math.inf:
            raise ValueError(
                f"a relevant size is above the noise margin of {_size(self.margin)}, not {_size(self.relevant)}"
            )


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What a look may spend: of `alpha`, `beta` and the controls' level, this share."""

    share: float
    alpha: float = ALPHA
    beta: float = BETA
    control_alpha: float = CONTROL_ALPHA


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds say of one metric.

    Attributes:
        metric: its name.
        rounds: how many there were.
        ratio: candidate by baseline.
        low, high: the ends of its interval; None where there are too few rounds for one at its level.
        smallest: the smallest slowdown, as a share, that as many rounds as these would have failed with
            `POWER`; None as above.
        status: FAIL, PASS, or UNKNOWN for neither.
    """

    metric: str
    rounds: int
    ratio: float
    low: float | None
    high: float | None
    smallest: float | None
    status: Status


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a look has found, of all metrics and controls together."""

    outcome: Outcome
    findings: list[Finding]
    controls: list[Finding]

    @property
    def is_final(self) -> bool:
        """Whether more rounds are not wanted: it has passed or failed."""
        return self.outcome in {"pass", "fail"}


def walsh_averages(ratios: Floats) -> Floats:
    """The means of all pairs, each round with itself too, in rising order: n (n + 1) / 2 of them."""
    first, second = _pairs(ratios.size)
    averages: Floats = np.sort((ratios[first] + ratios[second]) / 2)
    return averages


@lru_cache(maxsize=1_024)
def _pairs(rounds: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(rounds)


@lru_cache(maxsize=4_096)
def _cumulative(rounds: int) -> Floats:
    """P(T <= t) for t from 0 of the signed-rank statistic: each rank counts or not, as a coin falls."""
    weights = np.zeros(rounds * (rounds + 1) // 2 + 1)
    weights[0] = 1.0
    for rank in range(1, rounds + 1):
        shifted = np.zeros_like(weights)
        shifted[rank:] = weights[:-rank]
        weights = (weights + shifted) / 2
    cumulative: Floats = np.cumsum(weights)
    return cumulative


@lru_cache(maxsize=65_536)
def _excluded(rounds: int, level: float) -> int:
    """How many Walsh averages from one end a one-sided interval of that level leaves out; -1 where none may be."""
    return int(np.searchsorted(_cumulative(rounds), level, side="right")) - 1


def lower_bound(averages: Floats, rounds: int, level: float) -> float | None:
    """The lower end of a one-sided interval.

    Args:
        averages: Walsh averages in rising order.
        rounds: of how many rounds.
        level: the probability that the true effect is below, at most.

    Returns:
        None where so few rounds have no such interval.
    """
    at = _excluded(rounds, level)
    return None if at < 0 else float(averages[at])


def upper_bound(averages: Floats, rounds: int, level: float) -> float | None:
    """The upper end of a one-sided interval; as `lower_bound`."""
    at = _excluded(rounds, level)
    return None if at < 0 else float(averages[-1 - at])


def p_value(averages: Floats, rounds: int, effect: float) -> float:
    """How likely Walsh averages so far up are if the true effect is not above `effect`."""
    not_above = int(np.searchsorted(averages, effect, side="right"))
    # As likely as that so few are above: the statistic is symmetric, and small numbers keep their digits so.
    return float(_cumulative(rounds)[not_above])


def holm_levels(p_values: Sequence[float], alpha: float) -> list[float]:
    """The level at which Holm's procedure has tested each hypothesis in the end.

    The smallest p-value is tested at alpha / m; if it is rejected, the next one at alpha / (m - 1), and so on. All
    that come behind the first which is not rejected share its level.
    """
    levels = [0.0] * len(p_values)
    left = len(p_values)
    stopped = False
    for at in sorted(range(len(p_values)), key=lambda index: p_values[index]):
        levels[at] = alpha / left
        stopped = stopped or p_values[at] > levels[at]
        if not stopped:
            left -= 1
    return levels


def decide(
    ratios: Mapping[str, Sequence[float]],
    sizes: Mapping[str, Size],
    controls: Mapping[str, Sequence[float]],
    spending: Spending,
) -> Decision:
    """What the rounds so far say, at one look.

    Args:
        ratios: of each metric, the log ratio of each round.
        sizes: of each of these metrics.
        controls: of each control, the log ratio of each round.
        spending: what this look may spend.
    """
    averages = {metric: walsh_averages(np.asarray(each, np.float64)) for metric, each in ratios.items()}
    rounds = {metric: len(each) for metric, each in ratios.items()}
    names = list(ratios)
    p_values = [p_value(averages[n], rounds[n], math.log1p(sizes[n].margin)) for n in names]
    levels = holm_levels(p_values, spending.alpha * spending.share)
    findings = [
        _finding(n, averages[n], rounds[n], sizes[n], level, spending.beta * spending.share)
        for n, level in zip(names, levels, strict=True)
    ]
    seen = decide_controls(controls, spending)
    return Decision(outcome=_outcome(findings, seen), findings=findings, controls=seen)


def decide_controls(controls: Mapping[str, Sequence[float]], spending: Spending) -> list[Finding]:
    """Whether each control has moved: FAIL where it has, PASS where it has not by more than its margin.

    Args:
        controls: of each, the log ratio of each round.
        spending: what this look may spend.
    """
    # Both ends of each.
    level = spending.control_alpha * spending.share / max(1, 2 * len(controls))
    return [_control(name, np.asarray(each, np.float64), level) for name, each in controls.items()]


def _outcome(findings: Sequence[Finding], controls: Sequence[Finding]) -> Outcome:
    if any(control.status == "FAIL" for control in controls):
        return "contaminated"
    if any(finding.status == "FAIL" for finding in findings):
        return "fail"
    # What has passed on a machine of which nothing is known has not.
    if findings and all(each.status == "PASS" for each in [*findings, *controls]):
        return "pass"
    return "inconclusive"


def _finding(metric: str, averages: Floats, rounds: int, size: Size, level: float, beta: float) -> Finding:
    estimate = float(np.median(averages)) if averages.size else 0.0
    low = lower_bound(averages, rounds, level)
    high = upper_bound(averages, rounds, beta)
    relevant, margin = math.log1p(size.relevant), math.log1p(size.margin)
    status: Status = "UNKNOWN"
    if low is not None and low > margin and estimate >= relevant:
        status = "FAIL"
    elif high is not None and high < relevant:
        status = "PASS"
    return Finding(
        metric=metric,
        rounds=rounds,
        ratio=math.exp(estimate),
        low=None if low is None else math.exp(low),
        high=None if high is None else math.exp(high),
        smallest=None if low is None else _smallest(estimate - low, level, relevant, margin),
        status=status,
    )


def _smallest(half_width: float, level: float, relevant: float, margin: float) -> float:
    """The effect that would have been failed with `POWER`, the interval being as wide as it is.

    The estimate wanders about the effect by its standard error, here the half width by the normal quantile of its
    level.
    """
    error = half_width / NormalDist().inv_cdf(1 - level)
    needed = max(margin + half_width, relevant) + NormalDist().inv_cdf(POWER) * error
    return math.expm1(needed)


def _control(name: str, ratios: Floats, level: float) -> Finding:
    """FAIL where a control has moved, PASS where it has not by more than its margin, as far as is known."""
    averages = walsh_averages(ratios)
    low, high = lower_bound(averages, ratios.size, level), upper_bound(averages, ratios.size, level)
    margin = math.log1p(CONTROL_MARGIN)
    status: Status = "UNKNOWN"
    if low is not None and high is not None:
        status = "FAIL" if low > margin or high < -margin else "PASS"
    return Finding(
        metric=name,
        rounds=ratios.size,
        ratio=math.exp(float(np.median(averages))) if averages.size else 1.0,
        low=None if low is None else math.exp(low),
        high=None if high is None else math.exp(high),
        smallest=None,
        status=status,
    )


def is_look(rounds: int, share: float, looked_at: float, metrics: int) -> bool:
    """Whether the gate is to look at its rounds now.

    A planned look waits until there are so many rounds that it could reject something: if all of them say slower,
    which happens to unchanged code once in 2^rounds times, that is within what it may spend on the first metric.

    Args:
        rounds: how many there are.
        share: of the gate's time that has passed, 1 at its end.
        looked_at: the share at its look before; 0 where there was none.
        metrics: how many the gate has.
    """
    is_planned = any(looked_at < planned <= share for planned in LOOKS)
    return is_planned and 2.0**-rounds <= ALPHA * (share - looked_at) / max(1, metrics)


def percent(share: float | None) -> str:
    """A share in words: `+9.8 %`."""
    return "unknown" if share is None else f"{share * 100:+.1f} %"


def _size(share: float) -> str:
    """A size in words, by three digits: `5 %`, `0.25 %`."""
    return f"{share * 100:.3g} %" if abs(share) < 10 else f"{share * 100:.0f} %"


def verdict(finding: Finding, size: Size, outcome: Outcome) -> Verdict:
    """The verdict on one metric at the end of a gate, in a sentence."""
    name = f"gate.{finding.metric}"
    told = f"{finding.ratio:.3f} × the baseline ({_interval(finding)}, {finding.rounds} rounds)"
    limit = _size(size.relevant)
    if outcome == "contaminated":
        detail = (
            f"contaminated: a control moved, so this says nothing about the code: {finding.metric} takes {told}"
        )
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    if finding.status == "FAIL":
        return Verdict(name=name, status="FAIL", detail=f"slower: {finding.metric} takes {told}; {limit} matters")
    if finding.status == "PASS":
        return Verdict(name=name, status="PASS", detail=f"{finding.metric} takes {told}: less than {limit} slower")
    if outcome == "fail":
        detail = f"left open, since the gate failed before it could tell: {finding.metric} takes {told}"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    seen = "too few rounds to see anything"
    if finding.smallest is not None:
        seen = f"the smallest slowdown that this run could have seen is {percent(finding.smallest)}"
    return Verdict(name=name, status="UNKNOWN", detail=f"inconclusive: {finding.metric} takes {told}; {seen}")


def control_verdict(finding: Finding) -> Verdict:
    """The verdict on a control: UNKNOWN where it moved."""
    told = f"{finding.ratio:.3f} × ({_interval(finding)}, {finding.rounds} rounds)"
    if finding.status == "PASS":
        detail = f"the control, which no code can influence, stayed the same on both sides: {told}"
        return Verdict(name=f"gate.{finding.metric}", status="PASS", detail=detail)
    detail = f"too few rounds to say whether it moved: {told}"
    if finding.status == "FAIL":
        detail = (
            "the machine treated the sides differently: the control, which no code can influence, "
            f"took {told} on the candidate's side"
        )
    return Verdict(name=f"gate.{finding.metric}", status="UNKNOWN", detail=detail)


def _interval(finding: Finding) -> str:
    low = "?" if finding.low is None else f"{finding.low:.3f}"
    high = "?" if finding.high is None else f"{finding.high:.3f}"
    return f"{low} to {high}"
