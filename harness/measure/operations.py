"""Operations that are part of another, as `journey.browse` is of `journey`, and all of them together."""

from __future__ import annotations

from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog


def operations_below(log: LatencyLog, operation: str) -> list[str]:
    """The operations that are part of another, as `journey.browse` is of `journey`."""
    recorded = {tag.rpartition(".")[0] for tag in log.tags}
    return sorted(each for each in recorded if each.startswith(f"{operation}."))


def total_of(log: LatencyLog, operation: str, kind: str) -> Histogram:
    """All values of a kind of an operation and of those below it."""
    whole = Histogram()
    for each in (operation, *operations_below(log, operation)):
        whole.add(log.total(f"{each}.{kind}"))
    return whole
