"""The search of a capacity: the highest rate at which a system stays within its budgets.

    probe(rate, seconds)      somebody puts a load on the system and says what was seen: PASS, FAIL or UNKNOWN,
                              and by how much (`Probed`); several budgets are one margin by then
    next_step(plan, probes)   which rate is next (`narrowing`)
    search(...)               asks the one, calls the other, until the answer is narrow, or time is up

The answer is two rates: the highest that passes and the lowest that fails, each seen twice by long probes in turn,
so that a machine that becomes slower meanwhile does so for both. Nothing here has a clock or a server: a search is
tested against queues that are calculated.

The search is bounded in time by its plan, and in number by `MOST_PROBES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from msgspec.structs import replace

from harness.capacity.narrowing import Ended, Seen, Step, bracket_of, next_step, seen_at
from harness.capacity.probed import (
    CLIFF,
    Bound,
    Edge,
    Ending,
    Found,
    Phase,
    Probed,
    ProbeStatus,
    Progress,
    SearchPlan,
)

__all__ = [
    "CLIFF",
    "MOST_PROBES",
    "Bound",
    "Edge",
    "Ending",
    "Found",
    "Phase",
    "ProbeStatus",
    "Probed",
    "Progress",
    "SearchPlan",
    "found_in",
    "search",
]

MOST_PROBES = 60
_REPLICATED = 2
# Rates that are further apart than this say nothing of the way between them.
NEAR = 0.1


def search(
    plan: SearchPlan,
    probe: Callable[[float, float], Probed],
    elapsed_s: Callable[[], float],
    show: Callable[[Progress], None] = lambda _: None,
) -> Found:
    """Search the highest rate that passes.

    Args:
        plan: from where, how narrow, for how long.
        probe: puts a load of so many operations a second on the system, for so many seconds, and says what was
            seen.
        elapsed_s: for how long the search has been going on.
        show: told before each probe, and at the end.
    """
    probes: list[Probed] = []
    spent_s: list[float] = []
    phase: Phase = "bracket"
    ended: Ending = "time"
    while len(probes) < MOST_PROBES:
        step = next_step(plan, probes)
        if isinstance(step, Ended):
            ended = step.ended
            break
        phase = step.phase
        begun_s = elapsed_s()
        seconds = _seconds(plan, step, plan.limit_s - begun_s - _overhead_s(spent_s))
        if seconds is None:
            break
        show(_progress(phase, probes, step.rate_per_s, seconds))
        seen = probe(step.rate_per_s, seconds)
        probes.append(replace(seen, rate_per_s=step.rate_per_s, took_s=seconds, is_long=step.is_long))
        spent_s.append(max(0.0, elapsed_s() - begun_s - seconds))
    show(_progress(phase, probes))
    return found_in(probes, ended)


def _seconds(plan: SearchPlan, step: Step, left_s: float) -> float | None:
    """How long the next probe is; None where no time is left. A long one may be cut down to half."""
    wanted_s = plan.seconds_of(step.rate_per_s, is_long=step.is_long or step.is_longer)
    if wanted_s <= left_s:
        return wanted_s
    least_s = max(wanted_s / 2 if step.is_long else wanted_s, plan.operations / step.rate_per_s)
    return left_s if left_s >= least_s else None


def _overhead_s(spent_s: Sequence[float]) -> float:
    """What a probe takes besides its load: the most of the last three."""
    return max(spent_s[-3:], default=0.0)


def _progress(
    phase: Phase, probes: list[Probed], next_per_s: float | None = None, next_s: float | None = None
) -> Progress:
    passes, fails = bracket_of(seen_at(probes))
    return Progress(
        phase=phase,
        probes=list(probes),
        passes=passes.rate_per_s if passes else None,
        fails=fails.rate_per_s if fails else None,
        next_per_s=next_per_s,
        next_s=next_s,
    )


def found_in(probes: list[Probed], ended: Ending) -> Found:
    """What some probes say of the capacity, however their search has ended.

    Args:
        probes: in the order in which they were made.
        ended: why no more were.
    """
    passes, fails = bracket_of(seen_at(probes, is_final=True))
    return Found(
        passes=passes.rate_per_s if passes else None,
        fails=fails.rate_per_s if fails else None,
        ended=ended,
        edge=_edge(probes, passes, fails),
        probes=probes,
        is_replicated=all(each.is_long and each.made >= _REPLICATED for each in (passes, fails) if each)
        and passes is not None,
    )


def _edge(probes: Sequence[Probed], passes: Seen | None, fails: Seen | None) -> Edge:
    """Smooth, or a cliff, where the two are near enough to tell."""
    if passes is None or fails is None or fails.rate_per_s > (1 + NEAR) * passes.rate_per_s:
        return ""
    within, beyond = _margins(probes, passes), _margins(probes, fails)
    if not within or not beyond:
        return ""
    return "cliff" if median(within) - median(beyond) > CLIFF else "smooth"


def _margins(probes: Sequence[Probed], seen: Seen) -> list[float]:
    """What was seen by the probes that count at a rate."""
    return [
        margin
        for probe in probes
        if (probe.rate_per_s, probe.is_long) == (seen.rate_per_s, seen.is_long)
        and (margin := probe.seen_margin) is not None
    ]
