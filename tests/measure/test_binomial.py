"""The binomial distribution and Student's t, against sums in whole numbers, against SciPy, and against tables."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.binomial import at_least, incomplete_beta, successes, t_quantile


def summed(k: int, n: int, p: Fraction) -> Fraction:
    """The probability of `k` successes or more, term by term, without rounding."""
    return sum((math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1)), Fraction(0))


@given(st.integers(1, 60), st.data())
def test_the_binomial_is_what_its_terms_add_up_to(n: int, data: st.DataObject) -> None:
    """Of whole numbers it is the sum of the terms, to twelve digits."""
    k = data.draw(st.integers(1, n))
    p = data.draw(st.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=1000))
    assert at_least(k, n, float(p)) == pytest.approx(float(summed(k, n, p)), rel=1e-9, abs=1e-12)


@given(st.floats(0.5, 1e6), st.floats(0.5, 1e6), st.floats(0, 1))
def test_the_incomplete_beta_function_is_scipys(a: float, b: float, x: float) -> None:
    """Also of real numbers, large and small."""
    assert incomplete_beta(a, b, x) == pytest.approx(scipy.special.betainc(a, b, x), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("p", [0.5, 0.99, 0.999])
def test_a_hundred_million_trials(p: float) -> None:
    """An hour of 30,000 a second has no other answer than SciPy's."""
    n = 100_000_000
    k = successes(float(n), p, 0.025)
    assert k is not None
    assert math.ceil(k) == scipy.stats.binom.isf(0.025, n, p) + 1


@given(st.integers(1, 3_000), st.sampled_from([0.1, 0.5, 0.9, 0.99, 0.999]), st.sampled_from([0.025, 0.5, 0.975]))
def test_so_many_successes_have_that_chance(n: int, p: float, chance: float) -> None:
    """The number found is where the chance is crossed; None only where all of them are more probable."""
    k = successes(float(n), p, chance)
    if k is None:
        assert p**n > chance
    else:
        assert at_least(k, n, p) == pytest.approx(chance, rel=1e-4)


@pytest.mark.parametrize(
    ("degrees", "value"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (29, 2.045), (599, 1.964)]
)
def test_students_t(degrees: int, value: float) -> None:
    """As every table has it, at 97.5 %."""
    assert t_quantile(0.975, degrees) == pytest.approx(value, abs=5e-4)
    assert t_quantile(0.9, degrees) == pytest.approx(scipy.stats.t.ppf(0.9, degrees), rel=1e-9)
