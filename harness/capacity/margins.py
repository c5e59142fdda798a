"""Where does the margin cross zero? From noisy probes of several lengths, without trust in any one of them.

    margin                          probes, the longer ones with more weight
      |  o
      |      o   O                  decreasing by what a capacity is: isotonic regression pools what is not
      +-----------+-------- rate    the root lies between the last above zero and the first below it
      |             O    o
      |               x  x          full: how far below says only how long the probe was, so it is cut off

A sign alone has one bit, and a single noisy probe then moves the answer; the margin says how near it was. What
is fitted is what was seen, less what will be in doubt of it in the end: a single probe's bound says more of that
probe than of the rate.

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
# What is in doubt of a margin when all probes at the edge have been made.
_DOUBT = 0.08


def _margin(probe: Probed) -> float | None:
    """The margin that a rate may be found to have; None where nothing was seen."""
    seen = probe.seen_margin
    return None if seen is None else max(-_MOST, min(_MOST, seen - min(probe.spread, _DOUBT)))


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


def root_of(probes: Sequence[Probed]) -> float | None:
    """The rate at which the margin is about zero; None where it does not cross it."""
    points = sorted(
        (math.log(probe.rate_per_s), margin, probe.took_s)
        for probe in probes
        if (margin := _margin(probe)) is not None
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
