"""What a search of a capacity says on its page: the points of its curve, what bound it, and a row for each probe.

    record --capacity_of--> Curve --+--> charts      reports.charts.capacity
                                    +--> rows        with a link to each probe's own report

Each point is judged again here, so that page, sentence and verdict say the same. What a record has no search of,
or none that can be read, has no curve; its verdicts say so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from harness.capacity.budget import LAG, QUANTILES
from harness.capacity.judging import statistic_us
from harness.capacity.point import Point
from harness.capacity.probed import Found, Probed
from harness.capacity.searched import SECTION, Searched, outcome, rate_said
from harness.record.evidence import EvidenceError
from harness.record.run import Record, RunError, Status
from reports.quantities import NOT_MEASURED, quantity

_DIRECTORY = re.compile(r"probes/\d{3,6}")
_BOUND = {
    "latency": "a latency was beyond its budget",
    "lag": "lag was beyond its budget",
    "backlog": "what was due did not all get done: a backlog grew",
    "errors": "operations were refused, or events were lost",
    "instrument": "the instrument could make no more",
    "host": "this machine had no more to give",
}


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """The points of a search, each with what it says, and what they say together."""

    searched: Searched
    found: Found

    @property
    def points(self) -> list[tuple[Point, Probed]]:
        """Each probe and what it says, in the order in which they were made."""
        return list(zip(self.searched.points, self.found.probes, strict=True))

    @property
    def statistics(self) -> list[str]:
        """The quantiles that are shown: the usual ones, and what has a budget."""
        budgets = {each.statistic for each in self.searched.budgets}
        return [name for name in QUANTILES if name in {"p50", "p99", "p99.9"} | budgets]

    @property
    def has_lag(self) -> bool:
        """Whether anybody looked how far consumers were behind."""
        return any(point.lag_s is not None for point in self.searched.points)


class ProbeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A probe as the template prints it: each cell a value and what it lies between; `link` may be empty."""

    number: int
    link: str
    status: Status
    rate: str
    cells: list[tuple[str, str]]
    why: str


class CapacityView(msgspec.Struct, frozen=True, kw_only=True):
    """A search as the template prints it: what it says, then columns and rows of its probes."""

    facts: list[str]
    columns: list[str]
    rows: list[ProbeRow]


def capacity_of(record: Record) -> Curve | None:
    """The curve of a search; None where a record is of none, or it cannot be read."""
    if record.run.scenario != "capacity":
        return None
    try:
        if not record.evidence.exists or not record.evidence.has(SECTION):
            return None
        searched = record.evidence.value(SECTION, Searched)
    except (EvidenceError, RunError):
        return None
    return Curve(searched=searched, found=outcome(searched))


def capacity_view(record: Record) -> CapacityView | None:
    """What the page says of a search; None where there is none."""
    curve = capacity_of(record)
    if curve is None:
        return None
    columns = [*curve.statistics, *([LAG] if curve.has_lag else []), "server", "machine", "instrument", "judged"]
    rows = [
        _row(curve, point, probed) for point, probed in sorted(curve.points, key=lambda each: each[0].rate_per_s)
    ]
    return CapacityView(facts=list(_facts(curve)), columns=columns, rows=rows)


def _facts(curve: Curve) -> Sequence[str]:
    """What bound it, and how the way between the two rates is, as sentences."""
    found = curve.found
    told = []
    if found.bound:
        told.append(f"What bound it: {_BOUND[found.bound]}.")
    if found.edge == "smooth":
        told.append("Between the two rates the way is smooth: the latency rises a little at a time.")
    if found.edge == "cliff":
        told.append("Between the two rates there is a cliff: the latency more than doubles.")
    if found.passes and not found.is_replicated:
        told.append("Not each of the two rates was seen twice by a long probe.")
    unknown = sum(probed.status == "UNKNOWN" for probed in found.probes)
    if unknown:
        probes = "probe says" if unknown == 1 else "probes say"
        told.append(f"{unknown} of {len(found.probes)} {probes} nothing of the system.")
    return told


def _row(curve: Curve, point: Point, probed: Probed) -> ProbeRow:
    values = [(told(point, name), interval(point, name)) for name in curve.statistics]
    if curve.has_lag:
        values.append((quantity(point.lag_s, "s"), ""))
    around = point.around
    return ProbeRow(
        number=point.number,
        link=f"{point.directory}/report.html" if _DIRECTORY.fullmatch(point.directory) else "",
        status=probed.status,
        rate=f"{rate_said(point.rate_per_s)}/s",
        cells=[
            *values,
            *((_percent(each), "") for each in (around.server_core, around.host_busy, around.instrument_core)),
            (f"{point.seconds} s", "long" if point.is_long else ""),
        ],
        why=probed.why,
    )


def told(point: Point, name: str) -> str:
    """A quantile of a probe in words."""
    quantile = point.quantiles.get(name)
    return NOT_MEASURED if quantile is None else quantity(quantile.value_us, "µs")


def interval(point: Point, name: str) -> str:
    """What a quantile of a probe lies between, in words; of too few values nobody knows."""
    quantile = point.quantiles.get(name)
    if quantile is None:
        return ""
    low, high = (None if us is None else quantity(us, "µs") for us in (quantile.low_us, quantile.high_us))
    if low is None and high is None:
        return "no interval"
    if low is None or high is None:
        return f"at most {high}" if low is None else f"at least {low}"
    return f"{low} to {high}"


def bounded(point: Point, name: str) -> str:
    """Both together: 1.24 ms (1.18 ms to 1.31 ms)."""
    between = interval(point, name)
    return f"{told(point, name)} ({between})" if between else told(point, name)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.0f} %"


def budget_us(curve: Curve, statistic: str) -> float | None:
    """The budget of a statistic in microseconds; None where it has none."""
    return next((each.limit_us for each in curve.searched.budgets if each.statistic == statistic), None)


def value_us(point: Point, statistic: str) -> float | None:
    """A statistic of a probe, in microseconds."""
    return statistic_us(point, statistic)[0]
