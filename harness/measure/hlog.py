"""The latencies of a run in a file: an HdrHistogram V2 interval log, a tag per operation and kind.

`latency.hlog` has a line for each interval and tag (`append.response`), readable by every HdrHistogram
implementation. The `hdrhistogram` package's own log writer (no tags, an Interval_Max of 0 under a second) is not
used.

Format: https://github.com/HdrHistogram/HdrHistogram (histogram log format 1.3).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from harness.measure.histogram import BUCKETS, SUB_BUCKETS, Histogram, RecordingError, SparseHistogram
from harness.measure.recorder import Interval


class LatencyLog:
    """The intervals of a run, and what they add up to."""

    def __init__(self, intervals: Iterable[Interval] = (), started_epoch_s: float = 0.0) -> None:
        self.intervals = list(intervals)
        self.started_epoch_s = started_epoch_s

    @property
    def tags(self) -> list[str]:
        """Every tag of the log, sorted."""
        return sorted({interval.tag for interval in self.intervals})

    def of(self, tag: str) -> Iterator[Interval]:
        """The intervals of one tag, in the order of time."""
        return (interval for interval in self.intervals if interval.tag == tag)

    def total(self, tag: str, from_s: float = float("-inf"), to_s: float = float("inf")) -> Histogram:
        """All values of a tag that were due in a span of the run's time, as one histogram."""
        whole = Histogram()
        for interval in self.of(tag):
            if interval.start_s >= from_s and interval.start_s + interval.length_s <= to_s:
                interval.sparse.add_to(whole)
        return whole


_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
_LINE = re.compile(r"^(?:Tag=([^,\s]+),)?(-?\d+(?:\.\d*)?),(\d+(?:\.\d*)?),(\d+(?:\.\d*)?),(\S+)$")
_START = re.compile(r"^#\[StartTime: (\d+(?:\.\d*)?) ")


def write_hlog(path: Path, intervals: Iterable[Interval], started_epoch_s: float) -> None:
    """Write an interval log: times in seconds from `started_epoch_s`, values in µs, Interval_Max in ms."""
    lines = [
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {started_epoch_s:.3f} (seconds since epoch)]",
        f"#[BaseTime: {started_epoch_s:.3f} (seconds since epoch)]",
        "#[Values are microseconds; Interval_Max is in milliseconds]",
        _LEGEND,
    ]
    for interval in intervals:
        histogram = interval.histogram
        highest_ms = (histogram.max_us or 0) / 1000
        if histogram.out_of_range:
            lines.append(
                f"#[{interval.tag} at {interval.start_s:.3f}: {histogram.out_of_range} values out of range]"
            )
        lines.append(
            f"Tag={interval.tag},{interval.start_s:.3f},{interval.length_s:.3f},{highest_ms:.3f},{histogram.encode()}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def write_hgrm(path: Path, histogram: Histogram) -> None:
    """Write a percentile distribution in milliseconds, 5 ticks per half of the distance to 100 %.

    The text is that of HdrHistogram's `outputPercentileDistribution` (Java), which its plotter reads:
    https://hdrhistogram.github.io/HdrHistogram/plotFiles.html
    """
    values, counts = histogram.distribution()
    counts_to = np.cumsum(counts)
    shares = 100.0 * counts_to / max(histogram.total, 1)
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    level, at = 0.0, -1
    while at < values.size - 1:
        at = int(np.searchsorted(shares, level))
        lines.append(
            f"{values[at] / 1000:12.3f} {level / 100:.12f} {counts_to[at]:10d} {1 / (1 - level / 100):14.2f}"
        )
        # Each time that half of what was left to 100 % is passed, the ticks are half as far apart.
        level += 100.0 / (5 << (math.floor(math.log2(100.0 / (100.0 - level))) + 1))
    if values.size:
        lines.append(f"{values[-1] / 1000:12.3f} {1:.12f} {counts_to[-1]:10d}")
    mean_ms, deviation_ms = (histogram.mean_us or 0.0) / 1000, (histogram.deviation_us or 0.0) / 1000
    lines += [
        f"#[Mean    = {mean_ms:12.3f}, StdDeviation   = {deviation_ms:12.3f}]",
        f"#[Max     = {(histogram.max_us or 0) / 1000:12.3f}, Total count    = {histogram.total:12d}]",
        f"#[Buckets = {BUCKETS:12d}, SubBuckets     = {SUB_BUCKETS:12d}]",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def read_hlog(path: Path, on_broken: Callable[[str], None] | None = None) -> LatencyLog:
    """Read an interval log.

    Args:
        on_broken: told of each line that is none of the format's, which is then left out; None: one is an error.

    Raises:
        RecordingError: a line that is none of the format's.
    """
    started = 0.0
    intervals = []
    try:
        # What is not ASCII is on no line of the format.
        lines = path.read_text(encoding="ascii", errors="strict" if on_broken is None else "replace").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path.name}: {error}") from error
    for number, line in enumerate(lines, 1):
        if start := _START.match(line):
            started = float(start[1])
        if not line or line.startswith("#") or line == _LEGEND:
            continue
        try:
            intervals.append(_interval_of(line))
        except RecordingError as error:
            told = f"{path.name}, line {number}: {error}"
            if on_broken is None:
                raise RecordingError(told) from error
            on_broken(told)
    return LatencyLog(intervals, started)


def _interval_of(line: str) -> Interval:
    match = _LINE.match(line)
    if not match:
        raise RecordingError("not a line of an interval log")
    tag, start_s, length_s, _, encoded = match.groups()
    return Interval(
        tag=tag or "",
        start_s=float(start_s),
        length_s=float(length_s),
        sparse=SparseHistogram(Histogram.decode(encoded)),
    )
