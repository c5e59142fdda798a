"""Operations that are part of another, as `journey.browse` is of `journey`, and all of them together."""

from __future__ import annotations

from collections.abc import Iterable

from harness.measure.histogram import Histogram, SparseHistogram
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


def seconds_of(intervals: Iterable[Interval]) -> list[SparseHistogram]:
    """Intervals as blocks for `harness.measure.bounds`: one a second, in the order of time.

    Those of the same second are added up. A second between the first and the last in which nothing was due is an
    empty one.

    Args:
        intervals: of one second each.
    """
    by_start: dict[int, list[SparseHistogram]] = {}
    first_s = None
    for interval in intervals:
        # A load begins at no whole second of its run.
        first_s = interval.start_s if first_s is None else first_s
        by_start.setdefault(round(interval.start_s - first_s), []).append(interval.sparse)
    if not by_start:
        return []
    return [_added(by_start.get(second, [])) for second in range(min(by_start), max(by_start) + 1)]


def _added(parts: list[SparseHistogram]) -> SparseHistogram:
    if len(parts) == 1:
        return parts[0]
    whole = Histogram()
    for part in parts:
        part.add_to(whole)
    return SparseHistogram(whole)
