"""The binomial distribution, exactly, also of a number of trials that is no whole one; and Student's t.

Both are the regularized incomplete beta function I_x(a, b):

    P(Bin(n, p) >= k) = I_p(k, n - k + 1)            NIST, Digital Library of Mathematical Functions, 8.17.5
    P(|t| > x)        = I_y(d / 2, 1 / 2)            y = d / (d + x^2), of d degrees of freedom; 26.7.1 in
                                                     Abramowitz and Stegun, Handbook of Mathematical Functions

I_x is a continued fraction (DLMF 8.17.22), taken by the method of Lentz. It needs about as many steps as the
square root of the larger of a and b: a hundred million trials are 10,000 of them.

Rejected: SciPy, which has all of this and is many times as large as the whole project; the normal approximation,
which is wrong where a tail is all that one has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

_SMALLEST = 1e-300
_PRECISION = 1e-13
# Of the steps of a fraction: more than a hundred billion trials take.
_MOST_STEPS = 1_000_000


def at_least(k: float, n: float, p: float) -> float:
    """The probability of `k` successes or more in `n` trials, for real numbers too.

    Args:
        k: above 0 and at most `n`.
        n: how many trials.
        p: the probability of a success, above 0 and below 1.
    """
    return incomplete_beta(k, n - k + 1, p)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b).

    Args:
        a, b: above 0.
        x: 0 to 1.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    # The fraction converges fast on this side of the mean only.
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return min(1.0, math.exp(front) * _fraction(a, b, x) / a)


def _fraction(a: float, b: float, x: float) -> float:
    """1 / (1 + d1 / (1 + d2 / ...)) of DLMF 8.17.22, by Lentz."""
    c, d = 1.0, 1 / _not_0(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_STEPS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / _not_0(1 + term * d), _not_0(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value


def _not_0(value: float) -> float:
    return value if abs(value) > _SMALLEST else _SMALLEST


@lru_cache(maxsize=1024)
def t_quantile(q: float, degrees: int) -> float:
    """The quantile of Student's t.

    Args:
        q: 0.5 or more, and below 1.
        degrees: of freedom, 1 or more.
    """
    low, high = 0.0, 1.0
    while _t_above(high, degrees) > 1 - q:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _t_above(middle, degrees) > 1 - q else (low, middle)
    return high


def _t_above(x: float, degrees: int) -> float:
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + x * x)) / 2


@lru_cache(maxsize=4096)
def successes(n: float, p: float, chance: float) -> float | None:
    """The real number k at which the probability of k successes or more is `chance`.

    Args:
        n: how many trials, above 0.
        p: the probability of a success, above 0 and below 1.
        chance: above 0 and below 1.

    Returns:
        More than 0; None where even `n` successes are more probable.
    """
    if p**n > chance:
        return None
    wanted = _log_odds(chance)

    def beyond(k: float) -> float:
        return _log_odds(at_least(k, n, p)) - wanted

    # The chance falls as k grows. From about the right place in steps that grow, until it is passed.
    step = 0.5 + math.sqrt(n * p * (1 - p)) / 4
    low = high = min(max(n * p - NormalDist().inv_cdf(chance) * math.sqrt(n * p * (1 - p)), 1e-9), n)
    at_low = at_high = beyond(low)
    while at_low <= 0 and low > 1e-9:
        high, at_high, low, step = low, at_low, max(low - step, 1e-9), 2 * step
        at_low = beyond(low)
    while at_high > 0 and high < n:
        low, at_low, high, step = high, at_high, min(high + step, n), 2 * step
        at_high = beyond(high)
    return _between(beyond, (low, at_low), (high, at_high))


def _log_odds(chance: float) -> float:
    inner = min(max(chance, 1e-300), 1 - 1e-16)
    return math.log(inner) - math.log1p(-inner)


def _between(function: Callable[[float], float], low: tuple[float, float], high: tuple[float, float]) -> float:
    """Where a falling function is 0, by regula falsi as the Illinois algorithm has it (Dowell and Jarratt, 1971).

    Args:
        function: above 0 at the low end and not so at the high one.
        low, high: the ends, each with its value.
    """
    (a, at_a), (b, at_b) = low, high
    for _ in range(100):
        if b - a <= 1e-9 * max(b, 1.0) or not at_b:
            break
        middle = (a * at_b - b * at_a) / (at_b - at_a)
        if not a < middle < b:
            middle = (a + b) / 2
        found = function(middle)
        if found > 0:
            a, at_a, at_b = middle, found, at_b / 2
        else:
            b, at_b, at_a = middle, found, at_a / 2
    return b
