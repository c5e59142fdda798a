"""A latency log as reports read it: by operation, and by spans of time.

    append.response  0 s [..]  1 s [..]  2 s [..]        operations   append, journey, journey.browse, ...
    journey.browse.response  0.4 s [..]  3.4 s [..]      spans        0.4 s, (1.4 s, 2.4 s: holes), 3.4 s

An operation may have parts: `journey.browse` and `journey.order` are parts of `journey`, whose latencies are those
of all its parts. A load begins at no whole second of its run, and so do the seconds of its log: where they are not
merged they stay where they are, so that nothing is drawn before it was due. A second in which nothing was recorded
is not in the log at all; whoever draws a line must leave it out, or the line says that there was something.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import msgspec

from harness.measure.bounds import all_bounds_of
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.operations import seconds_of
from harness.measure.recorder import Interval
from harness.record.run import Figure


def busiest(log: LatencyLog) -> list[str]:
    """The operations of a log, the one recorded most often first."""
    counts: dict[str, int] = {}
    for interval in log.intervals:
        operation, _, kind = interval.tag.rpartition(".")
        if operation and kind == "response":
            counts[operation] = counts.get(operation, 0) + interval.histogram.total
    return sorted((o for o, n in counts.items() if n), key=lambda o: (-counts[o], o))


def operations(log: LatencyLog) -> list[str]:
    """The operations of a log, the busiest first; and before the first of its parts, the whole.

    `journey.browse` and `journey.order` are parts of `journey`, whose latencies are those of all its parts.
    """
    found: dict[str, None] = {}
    for operation in busiest(log):
        whole = operation.rpartition(".")[0]
        if whole:
            found.setdefault(whole)
        found.setdefault(operation)
    return list(found)


def start_of(t_s: float, width_s: int) -> float:
    """Where the span of time begins in which an interval falls that begins at `t_s`.

    A span of one second is the interval itself: a load begins at no whole second of its run. Wider ones begin at
    the multiples of their width.
    """
    return t_s if width_s == 1 else math.floor(t_s / width_s) * float(width_s)


def by_span(intervals: Iterable[Interval], width_s: int) -> dict[float, Histogram]:
    """Intervals merged into spans of a width, by the start of each, in the order of time."""
    spans: dict[float, Histogram] = {}
    for interval in intervals:
        spans.setdefault(start_of(interval.start_s, width_s), Histogram()).add(interval.histogram)
    return dict(sorted(spans.items()))


def holes(starts: Iterable[float], width_s: int) -> list[float]:
    """Where whole spans are missing between the first and the last of `starts`.

    Args:
        starts: of the spans that there are, in seconds.
        width_s: of each.
    """
    return [
        round(begin + number * width_s, 3)
        for begin, end in itertools.pairwise(sorted(starts))
        for number in range(1, math.floor((end - begin) / width_s + 1e-6))
    ]


def quantiles_of(intervals: Sequence[Interval], qs: Sequence[float]) -> list[Figure]:
    """Quantiles of some seconds, each with its interval, as figures that have no other name than `p99`.

    Args:
        intervals: of one second each.
        qs: 0 to 1; the maximum, 1, has no interval.
    """
    whole = Histogram()
    for interval in intervals:
        interval.sparse.add_to(whole)
    inner = [q for q in qs if q < 1]
    bounds = dict(zip(inner, all_bounds_of(seconds_of(intervals), inner), strict=True))
    found = []
    for q, value in zip(qs, whole.quantiles_us(qs), strict=True):
        figure = Figure(name=f"p{q * 100:g}", value=value, unit="µs", samples=whole.total)
        if q in bounds:
            low, high, by = msgspec.structs.astuple(bounds[q])
            figure = msgspec.structs.replace(figure, low=low, high=high, bound_by=by)
        found.append(figure)
    return found
