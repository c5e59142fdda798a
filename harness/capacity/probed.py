"""What a search of a capacity is given, what it sees at each rate, and what it has found."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

ProbeStatus = Literal["PASS", "FAIL", "UNKNOWN"]
Bound = Literal["latency", "errors", "backlog", "lag", "instrument", "host", ""]
Ending = Literal["narrow", "time", "instrument", "floor", "unknown"]
Edge = Literal["smooth", "cliff", ""]
Phase = Literal["bracket", "narrow", "edge"]
# Within what an answer is narrow, p99 more than doubles: one rate further is another world.
CLIFF = math.log(2.0)


class Probed(Struct, frozen=True, kw_only=True):
    """What was seen at one rate.

    Attributes:
        rate_per_s: the rate.
        status: PASS: within all budgets, and shown to be; FAIL: beyond one, or not shown to be within it;
            UNKNOWN: nothing is known of the system at this rate.
        margin: of the tightest budget, ln(limit / upper bound) where it passes, ln(limit / what was seen) where it
            fails; None where nothing was measured.
        bound: what it was that was beyond, or tightest.
        why: in words.
        took_s: how long the load was.
        is_long: whether it was one of the long ones, that decide at the edge.
        spread: ln(upper bound / what was seen) of the tightest budget: how little is known of it.
        unbounded: ln(limit / what was seen) where that has too few values for an upper bound, and so is UNKNOWN.
        answered_per_s: what came back, where more was due than that; None where all of it did.
    """

    rate_per_s: float
    status: ProbeStatus
    margin: float | None
    bound: Bound
    why: str
    took_s: float
    is_long: bool = False
    spread: float = 0.0
    answered_per_s: float | None = None
    unbounded: float | None = None

    @property
    def seen_margin(self) -> float | None:
        """ln(limit / what was seen), whatever that came to."""
        if self.margin is None:
            return self.unbounded
        return self.margin + self.spread if self.status == "PASS" else self.margin


class SearchPlan(Struct, frozen=True, kw_only=True):
    """What is searched, how narrow, and for how long.

    Attributes:
        start_per_s: the first rate.
        most_per_s: that the instrument can make, as far as is known beforehand; infinite: nothing is.
        least_per_s: no lower rate is tried.
        precision: by what share the lowest rate that fails may be above the highest one that passes.
        limit_s: no probe begins that would not end by then.
        probe_s, long_probe_s: the length of a load, on the way and at the edge.
        operations: so many a probe has to have; at a low rate it is as much longer.

    Raises:
        ValueError: what cannot be searched.
    """

    start_per_s: float
    probe_s: float
    long_probe_s: float
    most_per_s: float = math.inf
    least_per_s: float = 1.0
    precision: float = 0.05
    limit_s: float = 180.0
    operations: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.least_per_s <= self.start_per_s <= self.most_per_s:
            raise ValueError("a search begins between the lowest and the highest rate that may be tried")
        if not 0 < self.probe_s <= self.long_probe_s:
            raise ValueError("a long probe is no shorter than a short one")
        if not 0 < self.precision < 1 or self.limit_s <= 0 or self.operations < 0:
            raise ValueError("a search has a precision between 0 and 1, and some time")

    def seconds_of(self, rate_per_s: float, *, is_long: bool) -> float:
        """How long a probe at a rate is."""
        return max(self.long_probe_s if is_long else self.probe_s, self.operations / rate_per_s)


class Progress(Struct, frozen=True, kw_only=True):
    """Where a search stands.

    Attributes:
        phase: what it does.
        probes: all so far.
        passes, fails: the bracket.
        next_per_s, next_s: what is probed now; None when it is over.
    """

    phase: Phase
    probes: list[Probed]
    passes: float | None
    fails: float | None
    next_per_s: float | None = None
    next_s: float | None = None


class Found(Struct, frozen=True, kw_only=True):
    """What a search has found.

    Attributes:
        passes: the highest rate that passes; None: none did.
        fails: the lowest rate above it that fails; None: none did.
        ended: narrow: the two are as near as asked; time: it was up; instrument: no higher rate can be made;
            floor: the lowest rate that may be tried fails; unknown: of higher rates nothing could be learned.
        edge: smooth, or a cliff: between the two what was measured more than doubles.
        probes: all of them, in the order in which they were made.
        is_replicated: whether the answer has been seen twice on each side that it has.
    """

    passes: float | None
    fails: float | None
    ended: Ending
    edge: Edge
    probes: list[Probed]
    is_replicated: bool = False

    @property
    def bound(self) -> Bound:
        """What it is that a higher rate is beyond: of the last probe at the lowest rate that fails."""
        if self.fails is None:
            return "instrument" if self.ended == "instrument" else ""
        failed = [each for each in self.probes if each.rate_per_s == self.fails and each.status == "FAIL"]
        return failed[-1].bound if failed else ""
