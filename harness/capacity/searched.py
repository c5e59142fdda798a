"""What a search leaves as evidence: what was looked for, and every point that was seen; judged again from these.

    Searched --probed_of--> PASS, FAIL, UNKNOWN of each probe --outcome--> two rates, and what lies between them

The sentence, the verdicts and the figures follow from it, today as in a year.
"""

from __future__ import annotations

from msgspec import Struct

from harness.capacity.budget import LatencyBudget, budgets_said, duration_said
from harness.capacity.judging import judged, statistic_us
from harness.capacity.point import Point
from harness.capacity.probed import Ending, Found, Probed
from harness.capacity.search import found_in
from harness.record.run import Verdict

SECTION = "search"


class Searched(Struct, frozen=True, kw_only=True):
    """A search, as far as it has come.

    Attributes:
        scenario: that was probed.
        operations: what came at the rates, in the plural.
        conditions: what is to be said of them, such as "synced each second"; empty: nothing.
        budgets: that had to be kept.
        precision: by what share the two rates may differ.
        start_per_s: the first rate.
        most_per_s: the highest that could be tried; None: it was not known beforehand.
        limit_s: that it might take.
        points: what the probes have shown, in the order in which they were made.
        ended: why there are no more; None: it was ended before its time.
    """

    scenario: str
    operations: str
    conditions: str
    budgets: list[LatencyBudget]
    precision: float
    start_per_s: float
    most_per_s: float | None
    limit_s: float
    points: list[Point]
    ended: Ending | None = None


def probed_of(searched: Searched) -> list[Probed]:
    """What each probe says of its rate, by today's rule."""
    return [judged(point, searched.budgets) for point in searched.points]


def outcome(searched: Searched) -> Found:
    """What the probes say of the capacity, by today's rule."""
    return found_in(probed_of(searched), searched.ended or "time")


def point_at(searched: Searched, found: Found, status: str) -> Point | None:
    """The probe that is to be told of an edge: the last at that rate that came out so, a long one if there is.

    Where only all probes near the edge together tell (`line`), none at that rate may have come out so by itself.

    Args:
        found: the outcome.
        status: PASS: of the highest rate that passes; FAIL: of the lowest that fails.
    """
    rate = found.passes if status == "PASS" else found.fails
    at = [
        (point, probed)
        for point, probed in zip(searched.points, found.probes, strict=True)
        if probed.rate_per_s == rate
    ]
    at = [each for each in at if each[1].status == status] or at
    long = [each for each in at if each[1].is_long]
    return (long or at)[-1][0] if at else None


# In words --------------------------------------------------------------------------------------------------------


def sentence(searched: Searched, found: Found) -> str:
    """What was found, in a sentence: never more than was seen."""
    where = f", {searched.conditions}" if searched.conditions else ""
    budgets = budgets_said(searched.budgets)
    if not searched.points:
        return f"No {searched.operations} were tried at {budgets}{where}."
    if found.passes is None:
        return f"{_nothing_passes(searched, found, budgets, where)}."
    least = "" if found.ended == "narrow" and found.is_replicated else "At least "
    first = f"{least}{rate_said(found.passes)} {searched.operations} a second at {budgets}{where}"
    return f"{first}; {_beyond(searched, found)}."


def _nothing_passes(searched: Searched, found: Found, budgets: str, where: str) -> str:
    if found.fails is None:
        tried = ", ".join(dict.fromkeys(rate_said(point.rate_per_s) for point in searched.points))
        return (
            f"It is not known how many {searched.operations} a second there can be at {budgets}{where}: "
            f"tried {tried}"
        )
    lower = sorted({point.rate_per_s for point in searched.points if point.rate_per_s < found.fails})
    rest = ", the lowest that was tried"
    if lower:
        rest = f"; of lower rates nothing could be told: tried {', '.join(map(rate_said, lower))}"
    return (
        f"No rate was found at which {searched.operations} keep to {budgets}{where}: {_at(searched, found)}{rest}"
    )


def _beyond(searched: Searched, found: Found) -> str:
    if found.fails is None:
        told = {
            "instrument": "the instrument makes no more",
            "unknown": "of higher rates nothing could be learned",
            "time": "the time was up before a rate failed",
        }.get(found.ended, "no higher rate was tried")
        last = next((each for each in reversed(found.probes) if each.status == "UNKNOWN"), None)
        return (
            told
            if last is None or found.ended == "time"
            else f"{told}: at {rate_said(last.rate_per_s)} {last.why}"
        )
    return _at(searched, found)


def _at(searched: Searched, found: Found) -> str:
    """What there is at the lowest rate that fails: "at 41,000 p99 is 9 ms: the server's core was full"."""
    point = point_at(searched, found, "FAIL")
    if point is None or found.fails is None:
        return "none fails"
    probed = judged(point, searched.budgets)
    return f"at {rate_said(found.fails)} {_beyond_said(searched, point, probed)}"


def _beyond_said(searched: Searched, point: Point, probed: Probed) -> str:
    """By what a budget was not kept, and what the limit was."""
    if probed.bound not in {"latency", "lag"}:
        return probed.why
    over = [
        (seen_us / budget.limit_us, f"{budget.statistic} is {duration_said(_rounded(seen_us))}")
        for budget in searched.budgets
        if (seen_us := statistic_us(point, budget.statistic)[0]) is not None
    ]
    times, said = max(over)
    if times <= 1:
        # What was seen is within its budget, and not shown to be.
        return probed.why
    limit = probed.why.rpartition(": ")[2]
    return f"{said}: {limit}"


def _rounded(us: float) -> float:
    return float(f"{us:.3g}")


def rate_said(rate_per_s: float) -> str:
    """A rate in words, of three digits: 37,100; 212; 8.25."""
    if rate_per_s >= 100:
        digits = len(str(int(rate_per_s))) - 3
        return f"{round(rate_per_s, -digits):,.0f}"
    return f"{rate_per_s:.3g}"


def verdicts(searched: Searched, found: Found, prefix: str) -> list[Verdict]:
    """What is to be judged of a search: whether it has found the capacity, and whether its instrument kept up."""
    return [_found_verdict(searched, found, f"{prefix}.found")]


def _found_verdict(searched: Searched, found: Found, name: str) -> Verdict:
    known = _known(searched, found)
    if searched.ended is None:
        return Verdict(name=name, status="UNKNOWN", detail=f"the search was ended before its time; {known}")
    if not found.passes or not found.fails:
        return Verdict(name=name, status="UNKNOWN", detail=f"{_ended(searched, found)}; {known}")
    is_narrow = found.fails <= found.passes * (1 + searched.precision) * (1 + 1e-9)
    if found.ended != "narrow" or not is_narrow or not found.is_replicated:
        return Verdict(name=name, status="UNKNOWN", detail=f"{_ended(searched, found)}; {known}")
    way = {"cliff": ", a cliff between them", "smooth": ", and a smooth way between them", "": ""}[found.edge]
    return Verdict(name=name, status="PASS", detail=f"{known}, each seen more than once{way}")


def _known(searched: Searched, found: Found) -> str:
    if found.passes is None and found.fails is None:
        return f"{_probes(searched)}, and none could tell"
    passes = "no rate passes" if found.passes is None else f"{rate_said(found.passes)}/s passes"
    fails = "none fails" if found.fails is None else f"{rate_said(found.fails)}/s fails"
    return f"{passes} and {fails}, by {_probes(searched)}"


def _ended(searched: Searched, found: Found) -> str:
    return {
        "narrow": "the two rates, as they are judged now, are not as near as asked, or not each seen twice",
        "time": f"the time was up, {searched.limit_s:.0f} s: give it more --minutes",
        "instrument": "the instrument was the limit",
        "floor": "the lowest rate that may be tried fails",
        "unknown": "of higher rates nothing could be learned",
    }[found.ended]


def _probes(searched: Searched) -> str:
    """How many there were, in words."""
    return "1 probe" if len(searched.points) == 1 else f"{len(searched.points)} probes"
