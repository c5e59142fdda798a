"""A histogram of latencies: nothing is rounded away, nothing is lost.

A `Histogram` is an HdrHistogram of 3 significant digits from 1 µs to 1 h, over a NumPy array of counts,
so that ten thousand values are recorded in one call:

    index of v:   bucket = max(0, bits(v) - 11);  index = (bucket << 10) + (v >> bucket)

    value   0 ... 2047 | 2048 ... 4095 | 4096 ... 8191 | ...
    width       1 µs   |     2 µs      |     4 µs      | ...
    index   0 ... 2047 | 2048 ... 3071 | 3072 ... 4095 | ...

A value above 1 h, or a negative one, is counted in `out_of_range`; it never vanishes.

Encoding and decoding are the `hdrhistogram` package's; its `record_value` (1 µs a value in pure Python, and silent
when a value is out of range) is not used.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pyhdrh
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from harness.arrays import Int64s

HIGHEST_US = 3_600_000_000
DIGITS = 3

_COMPRESSED_V2, _ENCODED_V2 = 0x1C849304, 0x1C849303
_HEADER = ">IIIIQQd"

HALF_BITS = 10
SUB_BUCKETS = 1 << (HALF_BITS + 1)
BUCKETS = 22
COUNTS = (BUCKETS + 1) << HALF_BITS
# A count takes up to 9 bytes.
_LONGEST_PAYLOAD = struct.calcsize(_HEADER) + 9 * COUNTS + 1


class RecordingError(Exception):
    """A latency log that cannot be read."""


def index_of(values_us: Int64s) -> Int64s:
    """The index of each value in an HDR counts array.

    Args:
        values_us: microseconds, each 0 or more, any shape.
    """
    # frexp's exponent is the number of bits: exact, since every value is far below 2**53.
    _, bits = np.frexp(values_us.astype(np.float64))
    bucket = np.maximum(bits.astype(np.int64) - (HALF_BITS + 1), 0)
    index: Int64s = (bucket << HALF_BITS) + (values_us >> bucket)
    return index


def lowest_at(index: Int64s) -> Int64s:
    """The smallest value in microseconds that falls on each index."""
    bucket = np.maximum((index >> HALF_BITS) - 1, 0)
    lowest: Int64s = (index - (bucket << HALF_BITS)) << bucket
    return lowest


def highest_at(index: Int64s) -> Int64s:
    """The largest value in microseconds that falls on each index."""
    bucket = np.maximum((index >> HALF_BITS) - 1, 0)
    highest: Int64s = lowest_at(index) + (np.int64(1) << bucket) - 1
    return highest


class Histogram:
    """An HdrHistogram of 3 digits, 1 µs to 1 h, recorded and merged by array."""

    __slots__ = ("counts", "out_of_range")

    def __init__(self, counts: Int64s | None = None, out_of_range: int = 0) -> None:
        self.counts: Int64s = np.zeros(COUNTS, np.int64) if counts is None else counts
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
        counts = np.zeros(COUNTS, np.int64)
        if counts_bytes:
            try:
                pyhdrh.decode(payload, struct.calcsize(_HEADER), counts.ctypes.data, COUNTS, 8)
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
        counts = np.zeros(COUNTS, np.int64)
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
