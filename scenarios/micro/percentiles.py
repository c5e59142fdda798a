"""Percentiles of micro-benchmarks, by HdrHistogram, in microseconds.

The instrument's histogram counts whole microseconds, up to an hour. That is a percent or two of an append, and so
here it is given units of ten nanoseconds: 0.01 µs to 36 s, at three digits.
"""

from __future__ import annotations

import numpy as np

from harness.arrays import Int64s
from harness.measure.bounds import all_bounds_of
from harness.measure.histogram import Histogram

UNIT_NS = 10
# Calls that follow one another hang together: their intervals are made from so many parts of them.
PARTS = 20
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


def percentiles_us(taken_ns: Int64s) -> dict[str, float | None]:
    """The percentiles of some durations, each the highest value that is equivalent to it; None without any."""
    histogram = Histogram()
    histogram.record((taken_ns + UNIT_NS // 2) // UNIT_NS)
    values = histogram.quantiles_us(list(QUANTILES.values()))
    if histogram.out_of_range:
        # Longer than 36 s: exact in place of HDR, and never lost.
        values = [
            int(v) // UNIT_NS for v in np.quantile(taken_ns, list(QUANTILES.values()), method="inverted_cdf")
        ]
    return {
        name: None if value is None else value * UNIT_NS / 1000
        for name, value in zip(QUANTILES, values, strict=True)
    }


def bounds_us(taken_ns: Int64s) -> dict[str, tuple[float | None, float | None, str]]:
    """The ends of each percentile's interval, and by what it was made (`harness.measure.bounds`).

    Args:
        taken_ns: in the order in which they were measured; those longer than 36 s are not in it.
    """
    parts = []
    for some in np.array_split((taken_ns + UNIT_NS // 2) // UNIT_NS, PARTS):
        part = Histogram()
        part.record(some)
        parts.append(part)
    found = all_bounds_of(parts, list(QUANTILES.values()))
    return {
        name: (_in_us(bounds.low_us), _in_us(bounds.high_us), bounds.by)
        for name, bounds in zip(QUANTILES, found, strict=True)
    }


def _in_us(units: float | None) -> float | None:
    return None if units is None else units * UNIT_NS / 1000
