"""Where does the margin cross zero? From noisy probes of several lengths, without trust in any one of them.

    margin                          probes, the longer ones with more weight
      |  o
      |      o   O                  decreasing by what a capacity is: isotonic regression pools what is not
      +-----------+-------- rate    the root lies between the last above zero and the first below it
      |             O    o
      |               x  x          full: how far below says only how long the probe was, so it is cut off

A sign alone has one bit, and a single noisy probe then moves the answer; the margin says how near it was. What is
fitted is the margin that a long probe would have had: the bound of a quantile draws nearer to it with the square
root of the time.

Source: Barlow et al., Statistical inference under order restrictions, 1972 (pool adjacent violators).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.arrays import Floats
from harness.capacity.probed import Probed

# A quantile that is 2.7 times its limit, or of a third of it, is far from it: how far is of no use here.
_MOST = 1.0


def margin_if_long(probe: Probed, long_s: float) -> float | None:
    """The margin that a probe would have had if it had been long; None where it has none.

    Args:
        long_s: the length of a long one.
    """
    seen = probe.seen_margin
    if seen is None:
        return None
    return seen - probe.spread * math.sqrt(min(1.0, probe.took_s / long_s))


def decreasing(values: Sequence[float], weights: Sequence[float]) -> Floats:
    """The values nearest to those given, by weighted squares, that nowhere rise."""
    # Pools of (mean, weight, how many): a pool that is above the one before it is joined with that.
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, whole, count = value, weight, 1
        while pools and pools[-1][0] < mean:
            before, heavy, many = pools.pop()
            mean = (before * heavy + mean * whole) / (heavy + whole)
            whole, count = whole + heavy, count + many
        pools.append((mean, whole, count))
    return np.repeat([mean for mean, _, _ in pools], [count for _, _, count in pools])


def root_of(probes: Sequence[Probed], long_s: float) -> float | None:
    """The rate at which the margin of a long probe is about zero; None where it does not cross it.

    Args:
        probes: in any order.
        long_s: the length of a long one.
    """
    points = sorted(
        (math.log(probe.rate_per_s), max(-_MOST, min(_MOST, margin)), probe.took_s)
        for probe in probes
        if (margin := margin_if_long(probe, long_s)) is not None
    )
    if not points:
        return None
    at = [x for x, _, _ in points]
    fitted = decreasing([y for _, y, _ in points], [weight for _, _, weight in points])
    after = int(np.searchsorted(-fitted, 0.0))
    if after in {0, len(points)}:
        return None
    # The nearest rates whose fitted margins differ.
    high, low = float(fitted[after - 1]), float(fitted[after])
    share = high / (high - low)
    return math.exp(at[after - 1] + share * (at[after] - at[after - 1]))
