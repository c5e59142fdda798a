"""Latencies in, HDR interval histograms out: nothing is rounded away, nothing is lost.

An operation has three times: when it was *due*, when it *started*, when it was *done*. From them come
three latencies, each recorded in a histogram of its own:

    response = done - due       what a user of the system waits; the number to quote
    service  = done - start     what the system needed once it was asked
    send_lag = start - due      how late the instrument itself was

Where the kernel dates a reply's arrival, which is then `done`, there is a fourth: `reading_lag`, from there to
when the instrument had read it. It is in none of the other three.

A `Histogram` is an HdrHistogram of 3 significant digits from 1 µs to 1 h, over a NumPy array of counts,
so that ten thousand values are recorded in one call:

    index of v:   bucket = max(0, bits(v) - 11);  index = (bucket << 10) + (v >> bucket)

    value   0 ... 2047 | 2048 ... 4095 | 4096 ... 8191 | ...
    width       1 µs   |     2 µs      |     4 µs      | ...
    index   0 ... 2047 | 2048 ... 3071 | 3072 ... 4095 | ...

A value above 1 h, or a negative one, is counted in `out_of_range`; it never vanishes.

A `Recorder` keeps one histogram per operation, kind and second. The second is that of the *due* time, so
that a stall stands where its arrivals were due, at its full length. Seconds that are over are folded into
sparse pairs of index and count: memory grows with the length of a run, never with its operations.

The file is one HdrHistogram V2 interval log (`latency.hlog`), a tag per operation and kind
(`append.response`), readable by every HdrHistogram implementation. Encoding and decoding are the
`hdrhistogram` package's; its `record_value` (1 µs a value in pure Python, and silent when a value is out
of range) and its log writer (no tags, an Interval_Max of 0 under a second) are not used.

Format: https://github.com/HdrHistogram/HdrHistogram (histogram log format 1.3).
"""

from __future__ import annotations

import base64
import heapq
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyhdrh
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from harness.arrays import Int64s

HIGHEST_US = 3_600_000_000
DIGITS = 3
KINDS = ("response", "service", "send_lag")
READING_LAG = "reading_lag"
_OPERATION = re.compile(r"[A-Za-z0-9_.-]+")

_COMPRESSED_V2, _ENCODED_V2 = 0x1C849304, 0x1C849303
_HEADER = ">IIIIQQd"

_HALF_BITS = 10
_SUB_BUCKETS = 1 << (_HALF_BITS + 1)
_BUCKETS = 22
_COUNTS = (_BUCKETS + 1) << _HALF_BITS
# A count takes up to 9 bytes.
_LONGEST_PAYLOAD = struct.calcsize(_HEADER) + 9 * _COUNTS + 1


class RecordingError(Exception):
    """A latency log that cannot be read."""


def index_of(values_us: Int64s) -> Int64s:
    """The index of each value in an HDR counts array.

    Args:
        values_us: microseconds, each 0 or more, any shape.
    """
    # frexp's exponent is the number of bits: exact, since every value is far below 2**53.
    _, bits = np.frexp(values_us.astype(np.float64))
    bucket = np.maximum(bits.astype(np.int64) - (_HALF_BITS + 1), 0)
    index: Int64s = (bucket << _HALF_BITS) + (values_us >> bucket)
    return index


def lowest_at(index: Int64s) -> Int64s:
    """The smallest value in microseconds that falls on each index."""
    bucket = np.maximum((index >> _HALF_BITS) - 1, 0)
    lowest: Int64s = (index - (bucket << _HALF_BITS)) << bucket
    return lowest


def highest_at(index: Int64s) -> Int64s:
    """The largest value in microseconds that falls on each index."""
    bucket = np.maximum((index >> _HALF_BITS) - 1, 0)
    highest: Int64s = lowest_at(index) + (np.int64(1) << bucket) - 1
    return highest


class Histogram:
    """An HdrHistogram of 3 digits, 1 µs to 1 h, recorded and merged by array."""

    __slots__ = ("counts", "out_of_range")

    def __init__(self, counts: Int64s | None = None, out_of_range: int = 0) -> None:
        self.counts: Int64s = np.zeros(_COUNTS, np.int64) if counts is None else counts
        self.out_of_range = out_of_range

    def record(self, values_us: Int64s) -> None:
        """Record values in microseconds, any number of them at once."""
        inside = (values_us >= 0) & (values_us <= HIGHEST_US)
        if not inside.all():
            self.out_of_range += int(values_us.size - np.count_nonzero(inside))
            values_us = values_us[inside]
        if values_us.size:
            folded = np.bincount(index_of(values_us))
            self.counts[: folded.size] += folded

    def add(self, other: Histogram) -> None:
        """Merge another histogram into this one, without loss."""
        self.counts += other.counts
        self.out_of_range += other.out_of_range

    @property
    def total(self) -> int:
        """How many values are recorded (those out of range not among them)."""
        return int(self.counts.sum())

    def quantile_us(self, q: float) -> int | None:
        """The smallest recorded value that at least the share `q` (0 to 1) of all values does not pass.

        Returns the highest value equivalent to it, as every HdrHistogram does; None with no value at all.
        """
        return self.quantiles_us([q])[0]

    def quantiles_us(self, qs: Sequence[float]) -> list[int | None]:
        """The value in microseconds at each quantile (0 to 1), or None where nothing is recorded."""
        total = self.total
        if not total:
            return [None for _ in qs]
        # Rank as in HdrHistogram since 2.1.10: rounded up, less the last bit that the product may be too high by.
        wanted = [min(q, 1.0) * total for q in qs]
        ranks = np.array([max(1, math.ceil(rank - math.ulp(rank))) for rank in wanted], np.int64)
        found = np.searchsorted(np.cumsum(self.counts), ranks)
        return [int(v) for v in highest_at(found.astype(np.int64))]

    @property
    def max_us(self) -> int | None:
        """The highest value equivalent to the largest recorded one."""
        nonzero = np.flatnonzero(self.counts)
        return int(highest_at(nonzero[-1:])[0]) if nonzero.size else None

    @property
    def mean_us(self) -> float | None:
        """The mean of the middles of the buckets, weighted by count."""
        return self._moments()[0] if self.total else None

    @property
    def deviation_us(self) -> float | None:
        """The standard deviation of the middles of the buckets, weighted by count."""
        return self._moments()[1] if self.total else None

    def _moments(self) -> tuple[float, float]:
        index = np.flatnonzero(self.counts)
        counts = self.counts[index]
        # The middle as HdrHistogram has it: a whole number, the upper one of two.
        middles = (lowest_at(index) + highest_at(index) + 1) // 2
        mean = float(np.average(middles, weights=counts))
        return mean, float(np.sqrt(np.average((middles - mean) ** 2, weights=counts)))

    def distribution(self) -> tuple[Int64s, Int64s]:
        """The values (highest equivalent, µs) that occur and how often each does."""
        nonzero = np.flatnonzero(self.counts)
        return highest_at(nonzero), self.counts[nonzero]

    def encode(self) -> str:
        """The base64 of the compressed V2 encoding, as it stands in an interval log."""
        hdr = HdrHistogram(1, HIGHEST_US, DIGITS)
        np.frombuffer(hdr.counts, np.uint64)[:] = self.counts.astype(np.uint64)
        nonzero = np.flatnonzero(self.counts)
        if nonzero.size:
            first = int(nonzero[0]) if nonzero[0] else int(nonzero[min(1, nonzero.size - 1)])
            hdr.set_internal_tacking_values(first, int(nonzero[-1]), self.total)
        encoded: bytes = hdr.encode()
        return encoded.decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """Read what `encode`, or another implementation, has written.

        Layout, big-endian: cookie, length, then compressed: cookie, payload length, offset, digits, lowest and
        highest trackable value, ratio, and the counts as ZigZag LEB128, runs of zeros as negative numbers.

        Raises:
            RecordingError: not a V2 histogram, or one of another range or number of digits.
        """
        try:
            content = base64.b64decode(text, validate=True)
            cookie, length = struct.unpack_from(">II", content)
            if length != len(content) - 8:
                raise RecordingError(f"a histogram of {len(content) - 8} bytes that says it has {length}")
            unpacking = zlib.decompressobj()
            payload = unpacking.decompress(content[8:], _LONGEST_PAYLOAD)
            if not unpacking.eof:
                raise RecordingError("a histogram that is cut off, or far too long")
            inner, counts_bytes, _, digits, lowest, highest, _ = struct.unpack_from(_HEADER, payload)
        except (ValueError, struct.error, zlib.error) as error:
            raise RecordingError(f"not an HdrHistogram ({error})") from error
        if cookie & ~0xF0 != _COMPRESSED_V2 or inner & ~0xF0 != _ENCODED_V2:
            raise RecordingError("not an HdrHistogram of encoding V2")
        if digits != DIGITS or lowest != 1 or highest > 1 << 32:
            raise RecordingError(
                f"a histogram of {digits} digits from {lowest} to {highest}, "
                f"where {DIGITS} digits from 1 to {HIGHEST_US} are expected"
            )
        counts = np.zeros(_COUNTS, np.int64)
        if counts_bytes:
            try:
                pyhdrh.decode(payload, struct.calcsize(_HEADER), counts.ctypes.data, _COUNTS, 8)
            except (IndexError, OverflowError, ValueError) as error:
                raise RecordingError(f"the counts of a histogram cannot be read ({error})") from error
        return cls(counts)


class SparseHistogram:
    """A histogram as it is kept: only the counts that are not 0."""

    __slots__ = ("counts", "index", "out_of_range")

    def __init__(self, histogram: Histogram) -> None:
        index = np.flatnonzero(histogram.counts)
        self.index = index.astype(np.uint16)
        self.counts = histogram.counts[index]
        self.out_of_range = histogram.out_of_range

    def dense(self) -> Histogram:
        """The histogram, to calculate with."""
        counts = np.zeros(_COUNTS, np.int64)
        counts[self.index] = self.counts
        return Histogram(counts, self.out_of_range)

    @classmethod
    def of(cls, index: NDArray[np.uint16], counts: Int64s, out_of_range: int = 0) -> SparseHistogram:
        """Put one together from its parts."""
        sparse = cls.__new__(cls)
        sparse.index, sparse.counts, sparse.out_of_range = index, counts, out_of_range
        return sparse

    def add_to(self, whole: Histogram) -> None:
        """Merge into another histogram, without loss."""
        whole.counts[self.index] += self.counts
        whole.out_of_range += self.out_of_range


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an interval log: the latencies of the operations due within it."""

    tag: str
    start_s: float
    length_s: float
    sparse: SparseHistogram

    @property
    def histogram(self) -> Histogram:
        """The interval's values, to calculate with."""
        return self.sparse.dense()


class SlowOperation(msgspec.Struct, frozen=True, kw_only=True):
    """One of the slowest operations of a run, kept so that it can be set beside faults."""

    operation: str
    due_ns: int
    response_ns: int


# Of one operation and second: a histogram of each kind, the reading lag last.
_Histograms = tuple["Histogram", ...]
_Sparse = tuple["SparseHistogram", ...]


class Recorder:
    """Latencies of one producer, folded into histograms per operation, kind and second.

    Args:
        origin_ns: the monotonic time at which the run began; all times are kept relative to it.
        slowest: how many of the slowest operations are kept.
    """

    OPEN_SECONDS = 4
    PARTS = 16

    def __init__(self, origin_ns: int = 0, slowest: int = 100) -> None:
        self.origin_ns = origin_ns
        self._slowest = slowest
        self._heap: list[tuple[int, int, str]] = []
        self._open: dict[tuple[str, int], _Histograms] = {}
        self._closed: dict[tuple[str, int], list[_Sparse]] = {}
        # Where single operations of the present second go.
        self._seat: tuple[str, int] = ("", -1)
        self._views: tuple[memoryview, ...] = ()

    def record(
        self,
        operation: str,
        due_ns: Int64s,
        start_ns: Int64s,
        done_ns: Int64s,
        read_ns: Int64s | None = None,
    ) -> None:
        """Record operations that were answered.

        Args:
            operation: its name, the first part of the log's tag.
            due_ns, start_ns, done_ns: monotonic nanoseconds, one-dimensional and of one length.
            read_ns: when their replies were read, likewise, where that is not `done_ns`.

        Raises:
            ValueError: a name that cannot stand in a tag.
        """
        if not due_ns.size:
            return
        response = done_ns - due_ns
        self._keep_slowest(operation, due_ns, response)
        seconds = (due_ns - self.origin_ns) // 1_000_000_000
        low, high = int(seconds.min()), int(seconds.max())
        for second in range(low, high + 1):
            mine = slice(None) if low == high else np.flatnonzero(seconds == second)
            due, start, done = due_ns[mine], start_ns[mine], done_ns[mine]
            if due.size:
                latencies = [done - due, done - start, start - due]
                if read_ns is not None:
                    latencies.append(read_ns[mine] - done)
                for histogram, nanos in zip(self._histograms(operation, second), latencies, strict=False):
                    histogram.record((nanos + 500) // 1000)
        self._close_before(high - self.OPEN_SECONDS)

    def record_one(
        self, operation: str, due_ns: int, start_ns: int, done_ns: int, read_ns: int | None = None
    ) -> None:
        """Record one operation that was answered, at the cost of a few; as `record` does with many.

        Args:
            operation: its name, the first part of the log's tag.
            due_ns, start_ns, done_ns: monotonic nanoseconds.
            read_ns: when its reply was read, where that is not `done_ns`.

        Raises:
            ValueError: a name that cannot stand in a tag.
        """
        second = (due_ns - self.origin_ns) // 1_000_000_000
        if (operation, second) != self._seat:
            histograms = self._histograms(operation, second)
            self._close_before(second - self.OPEN_SECONDS)
            self._seat = (operation, second)
            self._views = tuple(memoryview(histogram.counts.data) for histogram in histograms)
        response_ns = done_ns - due_ns
        latencies: tuple[int, ...] = (response_ns, done_ns - start_ns, start_ns - due_ns)
        if read_ns is not None:
            latencies = (*latencies, read_ns - done_ns)
        for at, nanos in enumerate(latencies):
            value = (nanos + 500) // 1000
            if 0 <= value < _SUB_BUCKETS:
                self._views[at][value] += 1
            elif 0 <= value <= HIGHEST_US:
                bucket = value.bit_length() - (_HALF_BITS + 1)
                self._views[at][(bucket << _HALF_BITS) + (value >> bucket)] += 1
            else:
                self._histograms(operation, second)[at].out_of_range += 1
        if response_ns > (self._heap[0][0] if len(self._heap) >= self._slowest else -1):
            self._push_slow(response_ns, due_ns - self.origin_ns, operation)

    def _histograms(self, operation: str, second: int) -> _Histograms:
        key = (operation, second)
        if key not in self._open:
            if not _OPERATION.fullmatch(operation):
                raise ValueError(f"an operation is named by letters, digits, '_', '-' and '.', not {operation!r}")
            self._open[key] = (Histogram(), Histogram(), Histogram(), Histogram())
        return self._open[key]

    def _close_before(self, second: int) -> None:
        for key in [k for k in self._open if k[1] < second]:
            if key == self._seat:
                self._seat = ("", -1)
            # A second may close more than once: a reply that comes after a long stall opens it again.
            sparse = tuple(SparseHistogram(histogram) for histogram in self._open.pop(key))
            parts = self._closed.setdefault(key, [])
            parts.append(sparse)
            if len(parts) >= self.PARTS:
                parts[:] = [_merged(parts)]

    def _keep_slowest(self, operation: str, due_ns: Int64s, response_ns: Int64s) -> None:
        floor = self._heap[0][0] if len(self._heap) >= self._slowest else -1
        candidates = np.flatnonzero(response_ns > floor)
        if candidates.size > self._slowest:
            top = np.argpartition(response_ns[candidates], -self._slowest)[-self._slowest :]
            candidates = candidates[top]
        for i in candidates:
            self._push_slow(int(response_ns[i]), int(due_ns[i]) - self.origin_ns, operation)

    def _push_slow(self, response_ns: int, due_ns: int, operation: str) -> None:
        entry = (response_ns, due_ns, operation)
        if len(self._heap) < self._slowest:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def intervals(self) -> list[Interval]:
        """Everything recorded so far, ordered by second, then by tag."""
        self._close_before(1 << 62)
        result = []
        for (operation, second), parts in sorted(self._closed.items(), key=lambda item: (item[0][1], item[0][0])):
            for kind, sparse in zip((*KINDS, READING_LAG), _merged(parts), strict=True):
                # Who reads no dates has no reading lag.
                if kind != READING_LAG or sparse.index.size or sparse.out_of_range:
                    result.append(
                        Interval(tag=f"{operation}.{kind}", start_s=float(second), length_s=1.0, sparse=sparse)
                    )
        return result

    def take(self) -> list[Interval]:
        """Everything recorded since this was asked last; what is taken is not in `intervals` any more."""
        taken = self.intervals()
        self._closed.clear()
        return taken

    def slowest(self) -> list[SlowOperation]:
        """The slowest operations, slowest first; due times count from the run's origin."""
        return [
            SlowOperation(operation=operation, due_ns=due_ns, response_ns=response_ns)
            for response_ns, due_ns, operation in sorted(self._heap, reverse=True)
        ]


def _merged(parts: list[_Sparse]) -> _Sparse:
    """The parts of one second, as one."""
    if len(parts) == 1:
        return parts[0]
    wholes = tuple(Histogram() for _ in parts[0])
    for part in parts:
        for sparse, whole in zip(part, wholes, strict=True):
            sparse.add_to(whole)
    return tuple(SparseHistogram(whole) for whole in wholes)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Intervals of any number of recorders as one of each tag and time, without loss; by time, then by tag."""
    parts: dict[tuple[float, str, float], list[Interval]] = {}
    for interval in intervals:
        parts.setdefault((interval.start_s, interval.tag, interval.length_s), []).append(interval)
    result = []
    for (start_s, tag, length_s), same in sorted(parts.items()):
        sparse = same[0].sparse
        if len(same) > 1:
            whole = Histogram()
            for interval in same:
                interval.sparse.add_to(whole)
            sparse = SparseHistogram(whole)
        result.append(Interval(tag=tag, start_s=start_s, length_s=length_s, sparse=sparse))
    return result


class _Packed(msgspec.Struct, array_like=True):
    """An interval as it travels: its counts as little-endian bytes."""

    tag: str
    start_s: float
    length_s: float
    index: bytes
    counts: bytes
    out_of_range: int


def pack_intervals(intervals: Iterable[Interval]) -> bytes:
    """Intervals as bytes, for a message to another process or host; nothing in them is rounded."""
    packed = [
        _Packed(
            tag=i.tag,
            start_s=i.start_s,
            length_s=i.length_s,
            index=i.sparse.index.astype("<u2").tobytes(),
            counts=i.sparse.counts.astype("<i8").tobytes(),
            out_of_range=i.sparse.out_of_range,
        )
        for i in intervals
    ]
    return zlib.compress(msgspec.msgpack.encode(packed), 1)


def unpack_intervals(content: bytes) -> list[Interval]:
    """Read what `pack_intervals` made.

    Raises:
        RecordingError: bytes that it did not make.
    """
    try:
        packed = msgspec.msgpack.decode(zlib.decompress(content), type=list[_Packed])
        result = []
        for p in packed:
            index, counts = np.frombuffer(p.index, "<u2"), np.frombuffer(p.counts, "<i8")
            if index.size != counts.size or (index.size and int(index.max()) >= _COUNTS):
                raise RecordingError("intervals whose counts do not fit")
            sparse = SparseHistogram.of(index.astype(np.uint16), counts.astype(np.int64), p.out_of_range)
            result.append(Interval(tag=p.tag, start_s=p.start_s, length_s=p.length_s, sparse=sparse))
    except (zlib.error, msgspec.MsgspecError, ValueError) as error:
        raise RecordingError(f"not intervals ({error})") from error
    return result


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
        f"#[Buckets = {_BUCKETS:12d}, SubBuckets     = {_SUB_BUCKETS:12d}]",
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
