"""Operations that are part of another, as `journey.browse` is of `journey`, and all of them together."""

from __future__ import annotations

from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.recorder import Interval


def operations_below(log: LatencyLog, operation: str) -> list[str]:
    """The operations that are part of another, as `journey.browse` is of `journey`."""
    recorded = {tag.rpartition(".")[0] for tag in log.tags}
    return sorted(each for each in recorded if each.startswith(f"{operation}."))


def intervals_of(log: LatencyLog, operation: str, kind: str) -> list[Interval]:
    """The intervals of a kind of an operation, and of its parts."""
    return [i for i in log.intervals if i.tag.endswith(f".{kind}") and i.tag.startswith(f"{operation}.")]


def total_of(log: LatencyLog, operation: str, kind: str) -> Histogram:
    """All values of a kind of an operation, and of its parts."""
    whole = Histogram()
    for interval in intervals_of(log, operation, kind):
        interval.sparse.add_to(whole)
    return whole
