"""Waiting awake: as long as waking up is late, never longer than it may, and for nobody's harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.host.waking import Waking

US, MS = 1_000, 1_000_000


@pytest.mark.parametrize(
    ("middle_us", "spread"), [(30, 0.3), (60, 0.8), (20, 1.2)], ids=["even", "uneven", "long tail"]
)
def test_the_estimate_rests_where_one_sleep_in_a_hundred_is_later(middle_us: float, spread: float) -> None:
    """After some thousand sleeps it stays about the p99 of their lateness; seeds fixed."""
    late_ns = np.random.default_rng(3).lognormal(np.log(middle_us * US), spread, 200_000)
    waking = Waking(0.4, 2)
    seen, later = [], 0
    for at, late in enumerate(late_ns):
        if at >= 20_000:
            seen.append(waking.estimate_ns)
            later += late > waking.estimate_ns
        waking.slept(int(late))
    assert waking.sleeps == 200_000
    assert 0.009 <= later / len(seen) <= 0.012
    assert float(np.median(seen)) == pytest.approx(np.quantile(late_ns, 0.99), rel=0.25)


def test_the_estimate_follows_a_machine_that_changes() -> None:
    """A machine that wakes ten times as late is noticed within a few hundred sleeps, forgotten in thousands."""
    waking = Waking(0.4, 2)
    for _ in range(10_000):
        waking.slept(20 * US)
    quiet_ns = waking.estimate_ns
    for _ in range(300):
        waking.slept(200 * US)
    assert quiet_ns == pytest.approx(20 * US, rel=0.15)
    assert waking.estimate_ns == pytest.approx(200 * US, rel=0.15)
    for _ in range(10_000):
        waking.slept(20 * US)
    assert waking.estimate_ns == pytest.approx(20 * US, rel=0.15)


@settings(deadline=None)
@given(
    share=st.floats(0, 1),
    cores=st.integers(1, 64),
    lateness_ns=st.lists(st.integers(0, 10_000 * MS), max_size=400),
    gap_ns=st.integers(0, 10_000 * MS),
    is_idle=st.booleans(),
)
def test_the_window_is_bounded(
    share: float, cores: int, lateness_ns: list[int], gap_ns: int, is_idle: bool
) -> None:
    """However late sleeps end: of a gap at most its share is waited out awake, and 2 ms at the most."""
    waking = Waking(share, cores)
    for late in lateness_ns:
        waking.slept(late)
    window_ns = waking.window_ns(gap_ns, is_idle=is_idle)
    assert 0 <= window_ns <= min(share * gap_ns, 2 * MS)
    if not share:
        assert window_ns == 0


@given(lateness_ns=st.lists(st.integers(0, 100 * MS), max_size=200), gap_ns=st.integers(1, 1_000 * MS))
def test_on_one_core_nobody_waits_awake_while_a_reply_is_outstanding(lateness_ns: list[int], gap_ns: int) -> None:
    """Whoever is to answer needs the core; with none outstanding it is a little, whatever the estimate says."""
    waking = Waking(1.0, 1)
    for late in lateness_ns:
        waking.slept(late)
    assert waking.window_ns(gap_ns, is_idle=False) == 0
    assert waking.window_ns(gap_ns, is_idle=True) <= 60 * US
