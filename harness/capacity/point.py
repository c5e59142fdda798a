"""What one probe has shown: a point of the rate-latency curve, read from the record of a whole run at one rate.

    |-- warm-up --|------------------ judged ------------------|   drain
    fresh server, empty stream          what is due in it counts, however late it is answered

Nothing that is due in the warm-up counts: connections are new, memory is touched for the first time, and a file
that is synced each second has not been synced yet. Quantiles are of all values of the judged seconds, and have
bounds by these seconds (`harness.measure.bounds`); cores and lag are of the same seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from harness.capacity.budget import QUANTILES
from harness.capacity.judging_probe import open_at_seconds
from harness.check.arrival import ArrivalRule, arrival_of, surroundings
from harness.check.load_reached import LEAST_SHARE, MOST_UNSEEN_SHARE, Surroundings
from harness.check.loads import BUDGET
from harness.measure.bounds import By, all_bounds_of
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.operations import intervals_of
from harness.measure.timeline import History
from harness.record.evidence import EvidenceError
from harness.record.load_report import LoadReport, section_of
from harness.record.run import Record, RunError, Status, Verdict

WARM_UP_S = 1
_LAGS = {"p50": 0.5, "p99": 0.99, "max": 1.0}


class Quantile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A quantile of the response in microseconds, and its bounds; None where too few values were seen for one.

    Attributes:
        by: how the bounds were found.
    """

    value_us: float
    low_us: float | None = None
    high_us: float | None = None
    by: By = "blocks"


class Told(Struct, frozen=True):
    """A verdict of a probe's record, without the scenario's name and its load's.

    Attributes:
        what: `load_reached`, `answered`, `send_lag`, `nothing_lost` and so on.
    """

    what: str
    status: Status
    detail: str


class Point(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one probe has shown.

    Attributes:
        number: of the probe, from 1.
        directory: of its record, below that of the search.
        rate_per_s: that was due.
        seconds: that are judged; the warm-up comes before them.
        took_s: of all of it, from the start of its server to the end of its record.
        is_long: whether it was one of the long ones, that decide at the edge.
        failed: why it could not be carried out; empty: it was.
        samples: of how many values the quantiles are.
        quantiles: of the response, by name.
        slowest_us: the longest response.
        send_lag_us: by `p50`, `p99` and `max`.
        send_lag_budget_us: how late, at p99, the instrument may send.
        offered, answered, refused: how many were due, were answered well, and with an error.
        short_s: seconds in which too little reached the server in time; None: nobody saw that.
        open_at: how many had no answer yet at the end of each second.
        waiting: how many events waited for their effect, on average, in each second; empty: nobody looked.
        lag_s: the longest that an event waited, by the looks at it; None: nobody looked.
        around: who had the cores meanwhile; the server's, of all of them, the instrument's.
        verdicts: of its record.
    """

    number: int
    directory: str
    rate_per_s: float
    seconds: int
    took_s: float
    is_long: bool = False
    failed: str = ""
    samples: int = 0
    quantiles: dict[str, Quantile] = {}
    slowest_us: float | None = None
    send_lag_us: dict[str, float] = {}
    send_lag_budget_us: float = 0.0
    offered: int = 0
    answered: int = 0
    refused: int = 0
    short_s: int | None = None
    open_at: tuple[float, ...] = ()
    waiting: tuple[float, ...] = ()
    lag_s: float | None = None
    around: Surroundings = Surroundings()
    verdicts: list[Told] = []


def point_of(point: Point, record: Record, operation: str) -> Point:
    """What a probe's record has shown.

    Args:
        point: what was known before it: its number, its rate, how long it was.
        record: of the probe.
        operation: of its load.
    """
    run = record.run
    told = [Told(_what(verdict), verdict.status, verdict.detail) for verdict in run.verdicts]
    failed = "" if run.status == "complete" else run.reason or run.status
    point = replace(point, verdicts=told, failed=failed)
    try:
        load = _load_of(record)
        report = record.evidence.value(section_of("load", load), LoadReport)
        rule = record.evidence.value(section_of("arrival", load), ArrivalRule)
        seen = _Judged(record.latency, record.history, rule, point.seconds)
    except (EvidenceError, RunError) as error:
        return replace(point, failed=point.failed or str(error))
    responses, send_lags = seen.seconds_of(operation, "response"), seen.seconds_of(operation, "send_lag")
    whole = _together(responses)
    until = WARM_UP_S + point.seconds
    budget_ms = run.parameters.get(BUDGET)
    return replace(
        point,
        samples=whole.total,
        quantiles=_quantiles(responses, whole),
        slowest_us=whole.max_us,
        send_lag_us=_known(_LAGS, _together(send_lags)),
        send_lag_budget_us=budget_ms * 1e3 if isinstance(budget_ms, int | float) else 0.0,
        offered=sum(report.offered_in_s[WARM_UP_S:until]),
        answered=sum(report.answered_in_s[WARM_UP_S:until]),
        refused=report.failed,
        short_s=_short_of(report, seen),
        open_at=open_at_seconds(report.offered_in_s[:until], report.answered_in_s, WARM_UP_S),
        waiting=seen.means("lag.events"),
        lag_s=seen.highest("lag.seconds"),
        around=_around(report, seen, operation),
    )


class _Judged:
    """The judged seconds of a record."""

    def __init__(self, log: LatencyLog, history: History, rule: ArrivalRule, seconds: int) -> None:
        self.log, self.history, self.rule, self.seconds = log, history, rule, seconds
        self.from_s = rule.offset_ns / 1e9 + WARM_UP_S

    def seconds_of(self, operation: str, kind: str) -> list[Histogram]:
        """The values of a kind by the second in which they were due, parts of an operation together."""
        found = [Histogram() for _ in range(self.seconds)]
        for interval in intervals_of(self.log, operation, kind):
            at = round(interval.start_s - self.from_s)
            if 0 <= at < len(found):
                interval.sparse.add_to(found[at])
        return found

    def readings(self, name: str) -> list[list[float]]:
        """The readings of a name, by the second in which they were taken."""
        found: list[list[float]] = [[] for _ in range(self.seconds)]
        for reading in self.history.readings(name):
            at = int((reading.t_ns / 1e9 - self.from_s) // 1)
            if reading.value is not None and 0 <= at < len(found):
                found[at].append(reading.value)
        return found

    def means(self, name: str) -> tuple[float, ...]:
        """The mean of the readings of each second that has any."""
        return tuple(sum(values) / len(values) for values in self.readings(name) if values)

    def highest(self, name: str) -> float | None:
        """The highest reading."""
        return max((value for values in self.readings(name) for value in values), default=None)


def _what(verdict: Verdict) -> str:
    return verdict.name.rpartition(".")[2]


def _load_of(record: Record) -> str:
    """The one load of a record, by the name of its section; empty where it has no name."""
    whole = section_of("arrival")
    names = [name for name in record.evidence.sections() if name == whole or name.startswith(f"{whole}.")]
    if len(names) != 1:
        raise EvidenceError(f"the record is of {len(names)} loads, and a probe has one")
    return names[0].removeprefix(whole).removeprefix(".")


def _together(blocks: Sequence[Histogram]) -> Histogram:
    whole = Histogram()
    for block in blocks:
        whole.add(block)
    return whole


def _known(wanted: dict[str, float], histogram: Histogram) -> dict[str, float]:
    values = zip(wanted, histogram.quantiles_us(list(wanted.values())), strict=True)
    return {name: value for name, value in values if value is not None}


def _quantiles(blocks: Sequence[Histogram], whole: Histogram) -> dict[str, Quantile]:
    bounds = dict(zip(QUANTILES, all_bounds_of(blocks, list(QUANTILES.values())), strict=True))
    return {
        name: Quantile(
            value_us=value, low_us=bounds[name].low_us, high_us=bounds[name].high_us, by=bounds[name].by
        )
        for name, value in _known(QUANTILES, whole).items()
    }


def _short_of(report: LoadReport, seen: _Judged) -> int | None:
    """In how many of the judged seconds too little of the load reached the server; None: nobody saw."""
    whole = arrival_of(report, seen.history, seen.log, seen.rule).judged
    if whole.unseen > MOST_UNSEEN_SHARE * (whole.judged + whole.unseen):
        return None
    return sum(1 for second in whole.short if WARM_UP_S <= second < WARM_UP_S + seen.seconds)


def _around(report: LoadReport, seen: _Judged, operation: str) -> Surroundings:
    """Who had the cores in the judged seconds, and whether what was due in them was sent late or answered late."""
    seconds = range(WARM_UP_S, WARM_UP_S + seen.seconds)
    around = surroundings(report, seen.history, seen.log, seconds, seen.rule)
    lag, service = (
        _together(seen.seconds_of(operation, kind)).quantile_us(LEAST_SHARE) for kind in ("send_lag", "service")
    )
    return replace(around, send_lag_us=lag, service_us=service)
