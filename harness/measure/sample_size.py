"""How many values a quantile wants: the p99 of 45 operations is their maximum, whatever their distribution is.

Of n values each is below the true quantile q with probability q, so that all of them are with q^n: then not even
the highest one says how high the quantile is. One-sided, at 95 %, that may be so in one case of twenty:

    q^n <= 0.05       n >= ln 0.05 / ln q       p50: 5      p90: 29      p99: 299      p99.9: 2,995

From that many on the maximum is an upper bound of the quantile (Wilks, 1941). It is the least that a quantile
wants; whoever searches for a limit wants bounds besides.
"""

from __future__ import annotations

import math
import re

_CHANCE = 0.05
_QUANTILE = re.compile(r"(?:^|\.)p(\d{1,2}(?:\.\d+)?)$")


def samples_wanted(q: float) -> int:
    """The fewest values of which a quantile may be told.

    Args:
        q: the quantile, above 0 and below 1.
    """
    return math.ceil(math.log(_CHANCE) / math.log(q))


def enough_samples(q: float, n: int) -> bool:
    """Whether a quantile may be told of `n` values: one-sided, at 95 %, the highest of them is not below it."""
    return n >= samples_wanted(q)


def quantile_named(name: str) -> float | None:
    """The quantile that a figure's name ends in (`append.always.response.p99.9`: 0.999); None where in none."""
    match = _QUANTILE.search(name)
    share = float(match[1]) / 100 if match else 0.0
    return share if 0 < share < 1 else None


def too_few(name: str, n: int | None) -> str:
    """What to say of a quantile of too few values, by its name: empty where they are enough, or nobody counted."""
    q = quantile_named(name)
    if q is None or n is None or enough_samples(q, n):
        return ""
    values = "1 value" if n == 1 else f"{n:,} values"
    return f"of {values} only: p{q * 100:g} wants {samples_wanted(q):,}"
