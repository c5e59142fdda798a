"""The self-check: the right answers by calculation, and an oracle that keeps to its script."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clock import SystemClock
from harness.load.pump_process import PumpProcess
from harness.load.settings import PumpSettings
from harness.oracle import Oracle, responses_ns
from harness.pacing import constant
from harness.recording import Histogram, LatencyLog
from harness.selfcheck import QUANTILES, exact_quantiles_us, lateness, oracle_status, scripts, tolerance_used
from harness.workload import StampedCommand, placeholder


def test_responses_without_a_queue() -> None:
    """Operations that do not meet take exactly their delay."""
    due = np.array([0, 100, 200], np.int64)
    assert responses_ns(due, np.array([5, 7, 9], np.int64)).tolist() == [5, 7, 9]


def test_responses_behind_a_slow_one() -> None:
    """Answers come in order: whoever is behind a slow one waits for it."""
    due = np.array([0, 10, 20], np.int64)
    assert responses_ns(due, np.array([100, 1, 200], np.int64)).tolist() == [100, 90, 200]


@given(st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 10_000)), min_size=1, max_size=50))
def test_responses_equal_a_naive_server(script: list[tuple[int, int]]) -> None:
    """The closed form equals a server that handles one operation after the other."""
    due = np.cumsum([gap for gap, _ in script]).astype(np.int64)
    delays = np.array([delay for _, delay in script], np.int64)
    released, expected = 0, []
    for at, delay in zip(due.tolist(), delays.tolist(), strict=True):
        released = max(released, at + delay)
        expected.append(released - at)
    assert expected == responses_ns(due, delays).tolist()


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200), st.sampled_from(QUANTILES))
def test_exact_quantile(values_us: list[int], share: float) -> None:
    """An exact quantile is of the rank that a histogram takes, and differs by no more than its resolution."""
    histogram = Histogram()
    histogram.record(np.array(values_us, np.int64))
    exact = exact_quantiles_us(np.array(values_us, np.int64) * 1_000, (share,))
    assert histogram.quantiles_us([share]) == pytest.approx(exact, rel=0.001)


def test_lateness() -> None:
    """The share of the late, and their quantiles by rank; without any, nothing is late."""
    responses_us = np.concatenate([np.full(900, 10.0), np.arange(1_000.0, 1_100.0)])
    assert lateness(responses_us, 500.0) == [0.1, 1_049.0, 1_089.0, 1_098.0]
    assert lateness(responses_us, 5_000.0) == [0.0] * 4


def test_scripts_come_from_the_seed() -> None:
    """The same seed scripts the same delays, another one others; all are 1 to 100 ms."""
    first, again, other = scripts(1), scripts(1), scripts(2)
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["heavy tail"] != other["heavy tail"]).any()
    assert all(delays.min() >= 10**6 and delays.max() <= 10**8 for delays in first.values())


def test_tolerance_names_the_worst_quantile() -> None:
    """The share of the tolerance that is used is that of the quantile which is furthest off."""
    expected = [1_000.0] * len(QUANTILES)
    recorded: list[float | None] = [1_000] * len(QUANTILES)
    recorded[3] = 1_302
    used, share = tolerance_used(expected, recorded)
    assert (pytest.approx(2.0), QUANTILES[3]) == (used, share)


def test_a_missing_quantile_passes_nothing() -> None:
    """A quantile without a value is infinitely far off."""
    used, _ = tolerance_used([1.0] * len(QUANTILES), [None] * len(QUANTILES))
    assert used == float("inf")


def test_the_oracle_keeps_to_its_script() -> None:
    """No answer leaves the oracle before its script allows, and none is recorded before it has left."""
    pacer = constant(200, 0.5)
    delays = np.where(np.arange(pacer.total) % 10 == 3, 30_000_000, 2_000_000).astype(np.int64)
    source = StampedCommand("probe", ["ECHO", placeholder(1)], 1)
    clock = SystemClock()
    with Oracle(delays, source.command_bytes) as oracle:
        pump = PumpProcess(PumpSettings(url=oracle.url), pacer, source)
        try:
            pump.wait_until_ready()
            origin = clock.now_ns() + 100_000_000
            pump.begin(origin)
            result = pump.result(60)
        finally:
            pump.close()
        answered = oracle.answered_ns
    due = pacer.due_ns(0, pacer.total)
    assert result.ok == pacer.total
    assert (answered - origin - due >= responses_ns(due, delays)).all()
    recorded = LatencyLog(result.intervals).total("probe.response")
    served = exact_quantiles_us(answered - origin - due, QUANTILES)
    # A recorded value may be rounded down by half a microsecond.
    assert all(
        (value or 0) >= truth - 0.5 for value, truth in zip(recorded.quantiles_us(QUANTILES), served, strict=True)
    )


@pytest.mark.parametrize(
    ("complete", "used", "oracle_late", "status"),
    [
        (True, 0.9, 0.1, "PASS"),
        (True, 0.9, 5.0, "PASS"),
        (True, 1.1, 0.9, "FAIL"),
        (True, 1.1, 1.1, "UNKNOWN"),
        (False, 0.1, 5.0, "FAIL"),
    ],
)
def test_a_busy_machine_is_no_verdict_on_the_instrument(
    complete: bool, used: float, oracle_late: float, status: str
) -> None:
    """What is off is the instrument's fault only where the oracle has kept to its own script."""
    assert status == oracle_status(complete=complete, used=used, oracle_late=oracle_late)
