"""What the probes near the edge say together: a straight line through their margins, and how sure it is.

    margin                         seen margin = ln(limit / what was seen), without its bound
      |  o
      | - - o - - _                the line, by least squares, weighted by how long each probe was
      |     _ - - _o- - _          and its lower bound, at the level of the bounds of a quantile
      +-----------|---|--------    ln(rate)
      |           t   r            a rate passes up to t, where the lower bound crosses zero

A single probe of a quarter of a minute knows a p99 to a tenth or two, so that its own upper bound is beyond the
limit at rates that are well within it. Around the edge there are ten of them; near enough to it the curve is
straight, and all of them tell of each rate there. How sure one is follows from the bounds of its quantile: the
median of all, as one that was lucky has a low quantile and a narrow bound; and it is less sure where the probes
differ from each other by more than their bounds allow. The slope is hardly to be seen within a few percent, so
that what slopes usually are is weighed in as if it were seen, too.

Only probes within a factor of 1.5 of the limit are on the line: a probe that something else has disturbed is
mostly not among them, and neither is anything beyond a cliff. Without three of them there is no line, and each
rate stands for itself.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from harness.capacity.probed import Probed
from harness.measure.bounds import LEVEL

_NEAR = math.log(1.5)
_FEWEST = 3
# The slope that a latency has at a budget, mostly: by how much its logarithm falls with that of the rate.
_SLOPE, _SLOPE_DEVIATION = 5.0, 4.0
_SLOPES = (1.0, 60.0)
# No probe is surer than this of what it has seen: two of the same differ by that on a quiet machine.
_LEAST_SPREAD = 0.01
_SIDE = NormalDist().inv_cdf((1 + LEVEL) / 2)


class Line(Struct, frozen=True):
    """Margins near the edge, as a straight line against the logarithm of the rate.

    Attributes:
        at: the logarithm of the rate around which it is known best.
        margin: there.
        slope: by how much the margin falls; above 0.
        variance: of the margin there.
        slope_variance: of the slope.
    """

    at: float
    margin: float
    slope: float
    variance: float
    slope_variance: float

    def low(self, rate_per_s: float) -> float:
        """The lower bound of the margin at a rate."""
        far = math.log(rate_per_s) - self.at
        return self.margin - self.slope * far - _SIDE * math.sqrt(self.variance + self.slope_variance * far**2)

    @property
    def passes_up_to(self) -> float:
        """The rate at which the lower bound crosses zero, were the slope as sure as it looks."""
        return math.exp(self.at + (self.margin - _SIDE * math.sqrt(self.variance)) / self.slope)

    @property
    def doubt(self) -> float:
        """By what share of the rate its bound lies below the line, at best."""
        return _SIDE * math.sqrt(self.variance) / self.slope


def is_near(probe: Probed) -> bool:
    """Whether what a probe has seen is near the limit, so that it is on the line."""
    seen = probe.seen_margin
    return probe.bound in {"latency", "lag", ""} and seen is not None and abs(seen) < _NEAR


def line_of(probes: Sequence[Probed]) -> Line | None:
    """The line through the probes that are near the limit; None where these are too few.

    Args:
        probes: in any order.
    """
    near = [probe for probe in probes if is_near(probe)]
    if len(near) < _FEWEST:
        return None
    x = np.log([probe.rate_per_s for probe in near])
    y = np.array([probe.seen_margin for probe in near], np.float64)
    took = np.array([probe.took_s for probe in near])
    # The variance that a probe of a second would have; what is beyond its limit may have no bound.
    spreads = [probe.spread * math.sqrt(probe.took_s) for probe in near if probe.spread] or [0.0]
    of_a_second = max(statistics.median(spreads) ** 2, _LEAST_SPREAD**2 * float(took.mean())) / _SIDE**2
    weights = took / of_a_second
    at = float(np.average(x, weights=weights))
    mean = float(np.average(y, weights=weights))
    prior = _SLOPE_DEVIATION**-2
    about = float((weights * (x - at) ** 2).sum()) + prior
    fall = -float((weights * (x - at) * (y - mean)).sum())
    slope = min(_SLOPES[1], max(_SLOPES[0], (fall + prior * _SLOPE) / about))
    residuals = y - mean + slope * (x - at)
    scatter = max(1.0, float((weights * residuals**2).sum()) / (len(near) - 1))
    return Line(at, mean, slope, scatter / float(weights.sum()), scatter / about)
