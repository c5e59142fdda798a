"""Latencies in, histograms out: one for each operation, kind and second.

An operation has three times: when it was *due*, when it *started*, when it was *done*. From them come
three latencies, each recorded in a histogram of its own:

    response = done - due       what a user of the system waits; the number to quote
    service  = done - start     what the system needed once it was asked
    send_lag = start - due      how late the instrument itself was

Where the kernel dates a reply's arrival, which is then `done`, there is a fourth: `reading_lag`, from there to
when the instrument had read it. It is in none of the other three.

A `Recorder` keeps one histogram per operation, kind and second. The second is that of the *due* time, so
that a stall stands where its arrivals were due, at its full length. Seconds that are over are folded into
sparse pairs of index and count: memory grows with the length of a run, never with its operations.
"""

from __future__ import annotations

import heapq
import re
import zlib
from collections.abc import Iterable

import msgspec
import numpy as np

from harness.arrays import Int64s
from harness.measure.histogram import (
    COUNTS,
    HALF_BITS,
    HIGHEST_US,
    SUB_BUCKETS,
    Histogram,
    RecordingError,
    SparseHistogram,
)

KINDS = ("response", "service", "send_lag")
READING_LAG = "reading_lag"
_OPERATION = re.compile(r"[A-Za-z0-9_.-]+")


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
            if 0 <= value < SUB_BUCKETS:
                self._views[at][value] += 1
            elif 0 <= value <= HIGHEST_US:
                bucket = value.bit_length() - (HALF_BITS + 1)
                self._views[at][(bucket << HALF_BITS) + (value >> bucket)] += 1
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
            if index.size != counts.size or (index.size and int(index.max()) >= COUNTS):
                raise RecordingError("intervals whose counts do not fit")
            sparse = SparseHistogram.of(index.astype(np.uint16), counts.astype(np.int64), p.out_of_range)
            result.append(Interval(tag=p.tag, start_s=p.start_s, length_s=p.length_s, sparse=sparse))
    except (zlib.error, msgspec.MsgspecError, ValueError) as error:
        raise RecordingError(f"not intervals ({error})") from error
    return result
