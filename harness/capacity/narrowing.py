"""Which rate is probed next? A pure answer to the probes so far.

    bracket   x2, x3 from the start, or down from it, until one rate passes and a higher one fails      short
    narrow    between the two, where the margins say, until they are within three times the precision   short
    edge      the highest rate that all of them together show to be within, and one a little above it;  long
              the two in turn, until each has been seen twice, and the answer is as sure as asked

Long probes overrule short ones: a short one may fail since something else happened, and may pass since a backlog
that grows only as the square root of time had no time to grow. Where a long probe contradicts another one, the one
that was made less often is made again. What is UNKNOWN is made again once, and then a ceiling: no rate from there
on is counted on, and the search goes on below it.

Rejected: bisection by the sign of each probe. One noisy probe then decides for a half of the bracket for good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from harness.capacity.line import Line, is_near, line_of
from harness.capacity.margins import root_of
from harness.capacity.probed import Ending, Phase, Probed, ProbeStatus, SearchPlan

# Short probes narrow the bracket to so many times the precision.
_COARSE = 3.0
_REPLICATES = 2
# Probes at one rate of which as many pass as fail, and at rates that contradict each other, are made so often.
_MOST_IF_TIED, _MOST_IF_DOUBTFUL = 5, 3
# A first probe at the edge stands so much of the precision below the root, the one above it less than all of it.
_BELOW, _ABOVE = 0.35, 0.9
# Rates along a line stand on a grid of so many parts of the precision; no more probes than this are made there.
_GRID, _MOST_ALONG = 4, 12
# A step of the margin that is less than this is none, if there is more than this left.
_FLAT = 0.4
# What a full server answers, less this, is the next guess.
_OF_ANSWERED = 0.9
# Where nothing was learned at so many rates, it is not the rate.
_MOST_IN_THE_DARK = 3
# A quantile of less than so much of its limit is far from it, whatever its bound is.
_NEAR = math.log(1.4)


class Step(Struct, frozen=True):
    """The next probe.

    Attributes:
        rate_per_s: its rate.
        is_long: whether it counts as one of those that decide at the edge.
        phase: of the search.
        is_longer: what was perhaps too short to tell anything is made as long as a long one.
    """

    rate_per_s: float
    is_long: bool
    phase: Phase
    is_longer: bool = False


class Ended(Struct, frozen=True):
    """There is no next probe."""

    ended: Ending


class Seen(Struct, frozen=True, kw_only=True):
    """What the probes at one rate say together; where there are long ones, these.

    Attributes:
        rate_per_s: the rate.
        passes, fails, unknown: how many; in `unknown` those of which nothing was seen at all.
        made: how many of the length that counts have seen anything.
        is_long: whether it is long ones that are counted.
        is_instrument: whether an UNKNOWN one was the instrument's.
        by_line: what the line through all that are near the edge says (`line`); None: nothing of this rate.
    """

    rate_per_s: float
    passes: int
    fails: int
    unknown: int
    made: int
    is_long: bool
    is_instrument: bool
    by_line: ProbeStatus | None = None

    @property
    def status(self) -> ProbeStatus:
        """What the line says, else what most say; UNKNOWN where as many pass as fail."""
        if self.by_line is not None:
            return self.by_line
        if self.passes == self.fails:
            return "UNKNOWN"
        return "PASS" if self.passes > self.fails else "FAIL"

    @property
    def is_ceiling(self) -> bool:
        """Whether nothing was learned here, twice."""
        return not self.made and self.unknown > 1

    @property
    def ending(self) -> Ending:
        """How a search ends that has this ceiling above it."""
        return "instrument" if self.is_instrument else "unknown"


def is_open(probe: Probed) -> bool:
    """Whether a probe was too short to tell: what was seen is within its limit, though near, its bound is not."""
    return probe.status != "PASS" and probe.seen_margin is not None and 0 < probe.seen_margin < _NEAR


def seems(probe: Probed) -> ProbeStatus:
    """What a short probe counts as on the way: what is far within passes, though its bound is beyond."""
    if probe.seen_margin is not None and probe.seen_margin >= _NEAR:
        return "PASS"
    return "UNKNOWN" if is_open(probe) else probe.status


def seen_at(probes: Sequence[Probed], *, is_final: bool = False) -> list[Seen]:
    """What was seen at each rate, from the lowest to the highest.

    Args:
        probes: in any order.
        is_final: short ones, too, count as what they are, and not as what they seem on the way.
    """
    found = []
    line = line_of(probes)
    for rate in sorted({probe.rate_per_s for probe in probes}):
        here = [probe for probe in probes if probe.rate_per_s == rate]
        told = [probe for probe in here if probe.seen_margin is not None]
        is_long = any(probe.is_long for probe in told)
        told = [probe for probe in told if probe.is_long == is_long]
        counted = [probe.status if is_long or is_final else seems(probe) for probe in told]
        unknown = [probe for probe in here if probe.seen_margin is None]
        found.append(
            Seen(
                rate_per_s=rate,
                passes=counted.count("PASS"),
                fails=counted.count("FAIL"),
                unknown=len(unknown),
                made=len(told),
                is_long=is_long,
                is_instrument=bool(unknown) and unknown[-1].bound == "instrument",
                by_line=_by_line(line, told, rate) if is_long else None,
            )
        )
    return found


def _by_line(line: Line | None, told: Sequence[Probed], rate_per_s: float) -> ProbeStatus | None:
    """What a line says of a rate at which most are near the edge; UNKNOWN where most alone say otherwise."""
    if line is None or 2 * sum(map(is_near, told)) < len(told):
        return None
    if line.low(rate_per_s) >= 0:
        return "PASS"
    return "UNKNOWN" if 2 * sum(probe.status == "PASS" for probe in told) > len(told) else "FAIL"


def bracket_of(seen: Sequence[Seen]) -> tuple[Seen | None, Seen | None]:
    """The highest rate that passes below any that fails, and the lowest that fails; by long probes, if they tell.

    A short probe that fails below a long one that passes does not count.
    """
    longest_pass = max((each.rate_per_s for each in seen if each.is_long and each.status == "PASS"), default=0.0)
    failing = [each for each in seen if each.status == "FAIL"]
    failing = [each for each in failing if each.is_long] or [
        each for each in failing if each.rate_per_s > longest_pass
    ]
    fails = failing[0] if failing else None
    below = fails.rate_per_s if fails else math.inf
    passing = [each for each in seen if each.status == "PASS" and each.rate_per_s < below]
    passing = [each for each in passing if each.is_long] or passing
    return (passing[-1] if passing else None), fails


def next_step(plan: SearchPlan, probes: Sequence[Probed]) -> Step | Ended:
    """What to do after these probes."""
    if not probes:
        return Step(plan.start_per_s, False, "bracket")
    seen = seen_at(probes)
    last = probes[-1]
    here = next(each for each in seen if each.rate_per_s == last.rate_per_s)
    # 1. Nothing was learned: once more.
    if last.seen_margin is None and here.unknown == 1:
        phase: Phase = "edge" if last.is_long else "bracket"
        return Step(last.rate_per_s, last.is_long, phase, is_longer=not last.bound)
    passes, fails = bracket_of(seen)
    ceiling = _ceiling(seen, passes)
    # 2. Nothing passes so far: down.
    if passes is None:
        return _down(plan, probes, seen, fails, ceiling)
    top = min(fails.rate_per_s if fails else math.inf, ceiling.rate_per_s if ceiling else math.inf)
    # What is open has to be looked at for longer: the edge is near.
    is_edge = any(each.is_long and each.made for each in seen) or any(map(is_open, probes))
    # 3. Nothing is in the way yet: up.
    if not is_edge and math.isinf(top) and passes.rate_per_s < plan.most_per_s:
        return _up(plan, probes, passes)
    # 4. Between the two, roughly.
    if not is_edge and not math.isinf(top) and top / passes.rate_per_s > 1 + _COARSE * plan.precision:
        return Step(_between(probes, passes.rate_per_s, top), False, "narrow")
    # 5. At the edge.
    return _edge(plan, probes, seen, ceiling)


def _ceiling(seen: Sequence[Seen], passes: Seen | None) -> Seen | None:
    """The lowest rate above what passes of which nothing can be learned."""
    above = passes.rate_per_s if passes else 0.0
    return next((each for each in seen if each.is_ceiling and each.rate_per_s > above), None)


def _down(
    plan: SearchPlan, probes: Sequence[Probed], seen: Sequence[Seen], fails: Seen | None, ceiling: Seen | None
) -> Step | Ended:
    # Where nothing is told at the only rates there are, the last is made again.
    if fails is None and ceiling is None:
        return Step(min(probe.rate_per_s for probe in probes), True, "edge")
    lowest = min((each for each in (fails, ceiling) if each is not None), key=lambda each: each.rate_per_s)
    rate = lowest.rate_per_s
    if sum(each.is_ceiling for each in seen) >= _MOST_IN_THE_DARK and not any(each.made for each in seen):
        return Ended(lowest.ending)
    if rate <= plan.least_per_s:
        if lowest.is_ceiling:
            return Ended(lowest.ending)
        return Ended("floor") if lowest.is_long and lowest.fails >= _REPLICATES else Step(rate, True, "bracket")
    if lowest.is_long and any(map(is_near, probes)):
        return _lower(plan, probes, [each for each in seen if each.is_long and each.made])
    target = rate / (2.0 if sum(1 for each in seen if each.rate_per_s >= rate) < 3 else 4.0)
    answered = _answered(probes, rate)
    if answered is not None:
        target = max(target, min(answered, rate / (1 + _COARSE * plan.precision)))
    return Step(max(plan.least_per_s, target), False, "bracket")


def _up(plan: SearchPlan, probes: Sequence[Probed], passes: Seen) -> Step:
    margins = [probe.seen_margin for probe in probes if probe.seen_margin is not None][-2:]
    # Where the last step has changed little, the next one is longer.
    is_flat = len(margins) == 2 and min(margins) > _FLAT and margins[0] - margins[1] < _FLAT
    return Step(min(plan.most_per_s, passes.rate_per_s * (3.0 if is_flat else 2.0)), False, "bracket")


def _answered(probes: Sequence[Probed], rate_per_s: float) -> float | None:
    """A guess at the capacity by what a server that was too full at a rate has answered."""
    answered = [
        probe.answered_per_s
        for probe in probes
        if probe.rate_per_s == rate_per_s and probe.status == "FAIL" and probe.answered_per_s is not None
    ]
    return _OF_ANSWERED * min(answered) if answered else None


def _between(probes: Sequence[Probed], low: float, high: float) -> float:
    """A rate between two: where the margins cross zero, but no nearer to an end than a fifth of the way."""
    width = math.log(high / low)
    guess = _answered(probes, high)
    if guess is None or not low < guess < high or any(low < each.rate_per_s < high for each in probes):
        guess = root_of(probes)
    share = 0.5 if guess is None else math.log(guess / low) / width
    return low * math.exp(width * max(0.2, min(0.8, share)))


def _edge(plan: SearchPlan, probes: Sequence[Probed], seen: Sequence[Seen], ceiling: Seen | None) -> Step | Ended:
    known = [each for each in seen if each.is_long and each.made]
    passes, fails = bracket_of(seen)
    if not known:
        return Step(_first_at_edge(plan, probes, passes, fails), True, "edge")
    line = line_of(probes)
    if line is not None and not any(each.is_ceiling for each in seen):
        return _along(plan, line, known)
    again = _again(known)
    if again is not None:
        return Step(again.rate_per_s, True, "edge")
    low = passes if passes is not None and passes.is_long else None
    high = fails if fails is not None and fails.is_long else None
    if low is None:
        return _lower(plan, probes, known)
    if high is None:
        return _higher(plan, probes, known, low, ceiling)
    is_wide = high.rate_per_s / low.rate_per_s > 1 + plan.precision
    if is_wide and ceiling is not None and ceiling.rate_per_s < high.rate_per_s:
        return _higher(plan, probes, known, low, ceiling)
    return _closer(plan, probes, low, high)


def _closer(plan: SearchPlan, probes: Sequence[Probed], low: Seen, high: Seen) -> Step | Ended:
    """Between a long one that passes and one that fails, or once more where they are."""
    if high.rate_per_s / low.rate_per_s > 1 + plan.precision:
        return Step(_between(probes, low.rate_per_s, high.rate_per_s), True, "edge")
    # As near as asked: the two in turn, until each has been seen twice.
    rarer = low if low.made <= high.made else high
    if rarer.made < _REPLICATES:
        return Step(rarer.rate_per_s, True, "edge")
    return Ended("narrow")


def _along(plan: SearchPlan, line: Line, known: Sequence[Seen]) -> Step | Ended:
    """By the line: the highest rate of a grid that it shows to be within, and one above it, in turn."""
    step = math.log1p(plan.precision) / _GRID
    low = math.exp(math.floor(math.log(line.passes_up_to) / step) * step)
    low = max(plan.least_per_s, min(plan.most_per_s, low))
    made = {each.rate_per_s: each.made for each in known}
    if low not in made:
        return Step(low, True, "edge")
    highest = low * (1 + plan.precision) * (1 + 1e-9)
    above = [each for each in known if low < each.rate_per_s <= highest and each.status == "FAIL"]
    if not above:
        if low >= plan.most_per_s:
            return Ended("instrument") if made[low] >= _REPLICATES else Step(low, True, "edge")
        high_per_s = low * math.exp(step * (_GRID - 1))
        if made.get(high_per_s, 0) >= _REPLICATES:
            high_per_s = low * (1 + plan.precision)
        return Step(min(plan.most_per_s, high_per_s), True, "edge")
    high = max(above, key=lambda each: each.made)
    is_sure = line.doubt <= plan.precision / 2
    if sum(made.values()) >= _MOST_ALONG or (is_sure and min(made[low], high.made) >= _REPLICATES):
        return Ended("narrow")
    return Step(low if made[low] <= high.made else high.rate_per_s, True, "edge")


def _first_at_edge(plan: SearchPlan, probes: Sequence[Probed], passes: Seen | None, fails: Seen | None) -> float:
    """A little below the root of the margins; else below what was open, or what passes."""
    low = passes.rate_per_s if passes else plan.least_per_s
    guess = root_of(probes)
    if guess is None:
        guess = min((probe.rate_per_s for probe in probes if is_open(probe)), default=low)
    below = guess * (1 - _BELOW * plan.precision)
    high = fails.rate_per_s / (1 + _BELOW * plan.precision) if fails else math.inf
    return max(low, min(below, high, plan.most_per_s))


def _again(known: Sequence[Seen]) -> Seen | None:
    """Which rate has to be made again, since long probes contradict each other; None: none, or it was enough."""
    tied = [each for each in known if each.status == "UNKNOWN" and each.made < _MOST_IF_TIED]
    if tied:
        return tied[0]
    failing = [each.rate_per_s for each in known if each.status == "FAIL"]
    passing = [each.rate_per_s for each in known if each.status == "PASS"]
    if not failing or not passing or min(failing) > max(passing):
        return None
    # A rate that fails below one that passes: one of them is wrong.
    doubtful = [each for each in known if min(failing) <= each.rate_per_s <= max(passing)]
    rarest = min(doubtful, key=lambda each: each.made)
    return rarest if rarest.made < _MOST_IF_DOUBTFUL else None


def _lower(plan: SearchPlan, probes: Sequence[Probed], known: Sequence[Seen]) -> Step | Ended:
    """Below all that were long, each of which has failed."""
    lowest = known[0].rate_per_s
    if lowest <= plan.least_per_s:
        return Ended("floor") if known[0].fails >= _REPLICATES else Step(lowest, True, "edge")
    step = plan.precision * 2.0 ** (len(known) - 1)
    root = root_of(probes)
    if root is None:
        target = lowest / (1 + _ABOVE * step)
    else:
        target = min(root * (1 - _BELOW * plan.precision), lowest / (1 + _BELOW * step / 2))
    return Step(max(plan.least_per_s, target), True, "edge")


def _higher(
    plan: SearchPlan, probes: Sequence[Probed], known: Sequence[Seen], low: Seen, ceiling: Seen | None
) -> Step | Ended:
    """Above all that were long, each of which has passed."""
    top = min(plan.most_per_s, ceiling.rate_per_s if ceiling else math.inf)
    if low.rate_per_s >= top / (1 + plan.precision) and (ceiling is not None or low.rate_per_s >= top):
        if low.made < _REPLICATES:
            return Step(low.rate_per_s, True, "edge")
        return Ended("instrument" if ceiling is None else ceiling.ending)
    passing = sum(1 for each in known if each.status == "PASS")
    target = low.rate_per_s * (1 + _ABOVE * plan.precision * 2.0 ** (passing - 1))
    root = root_of(probes)
    if root is not None and not math.isinf(root):
        # As far as the margins of all probes say, where that is further than a step.
        target = max(target, root * (1 - _BELOW * plan.precision))
    if target >= top:
        target = plan.most_per_s if ceiling is None else math.sqrt(low.rate_per_s * top)
    return Step(target, True, "edge")
