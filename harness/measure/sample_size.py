"""How many values a quantile wants: the p99 of 45 operations is their maximum, whatever their distribution is.

Of n independent values each is below the true quantile q with probability q, so that all of them are with q^n:
then not even the highest one says how high the quantile is. The interval of `harness.measure.bounds` is wrong at
its upper end in at most 2.5 % of cases, so that it has an upper end from this many values on:

    q^n <= 0.025       n >= ln 0.025 / ln q       p50: 6      p90: 36      p99: 368      p99.9: 3,688

From that many on the maximum is an upper bound of the quantile (Wilks, 1941). It is the least that a quantile
wants: values that hang together count as fewer.
"""

from __future__ import annotations

import math
import re

from harness.measure.bounds import LEVEL

_CHANCE = (1 - LEVEL) / 2
_QUANTILE = re.compile(r"(?:^|\.)p(\d{1,2}(?:\.\d+)?)$")


def samples_wanted(q: float) -> int:
    """The fewest values of which a quantile has an upper bound.

    Args:
        q: the quantile, above 0 and below 1.
    """
    return math.ceil(math.log(_CHANCE) / math.log(q))


def enough_samples(q: float, n: int) -> bool:
    """Whether a quantile has an upper bound of `n` independent values: the highest of them, at least."""
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


def unbounded(name: str, n: int | None) -> str:
    """Why a quantile has no bound at an end, by its name and the number of its values."""
    return too_few(name, n) or "too few seconds, or too few that have the slow ones"
