"""The self-check: the right answers by calculation, and an oracle that keeps to its script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.host.clock import SystemClock
from harness.host.contention import Contention, ContentionMeter
from harness.load.pacing import constant
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.selfcheck.checks import lateness
from harness.selfcheck.oracle import Oracle, OracleError, responses_ns
from harness.selfcheck.oracle_checks import (
    QUANTILES,
    Beside,
    exact_quantiles_us,
    longest_ways_us,
    oracle_status,
    probe_source,
    run_beside,
    scripts,
    tolerance_used,
)
from harness.selfcheck.plain_client import Exchanges, exchanges
from tests.waiting import until


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
    recorded[3] = 1_022
    used, share = tolerance_used(expected, recorded)
    assert (pytest.approx(2.0), QUANTILES[3]) == (used, share)


@pytest.mark.parametrize(
    ("share", "up_to", "used"), [(0.5, 1.0, 10.0), (0.9, 1.0, 10.0), (0.99, 1.0, 0.66), (0.99, 0.9, 0.0)]
)
def test_tolerance_is_narrow_up_to_p90(share: float, up_to: float, used: float) -> None:
    """110 µs are ten times what p50 and p90 may be off, and less than p99 may, where it counts."""
    expected = [1_000.0] * len(QUANTILES)
    recorded = [1_000.0 + (110.0 if each == share else 0.0) for each in QUANTILES]
    assert tolerance_used(expected, recorded, up_to=up_to)[0] == pytest.approx(used, abs=0.1)


@pytest.mark.parametrize(("recorded", "used"), [(989.0, 1.0), (1_000.0, 0.0), (1_010.0, 0.0), (1_021.0, 1.0)])
def test_a_way_may_be_in_what_is_recorded_only(recorded: float, used: float) -> None:
    """With a way of 10 µs, what is too long by as much is right, and what is too short is not."""
    expected = [1_000.0] * len(QUANTILES)
    assert tolerance_used(expected, [recorded] * len(QUANTILES), up_to=0.9, ways_us=[10.0] * len(QUANTILES))[
        0
    ] == pytest.approx(used)


def test_a_missing_quantile_passes_nothing() -> None:
    """A quantile without a value is infinitely far off."""
    used, _ = tolerance_used([1.0] * len(QUANTILES), [None] * len(QUANTILES))
    assert used == float("inf")


def test_the_oracle_keeps_to_its_script() -> None:
    """No answer leaves the oracle before its script allows, and none is recorded before it has left."""
    pacer = constant(200, 0.5)
    delays = np.where(np.arange(pacer.total) % 10 == 3, 30_000_000, 2_000_000).astype(np.int64)
    source = probe_source()
    with Oracle(delays, source.command_bytes) as oracle:
        result, origin, contention = run_beside(SystemClock(), oracle, pacer, source)
        notes = oracle.notes()
    due = pacer.due_ns(0, pacer.total)
    assert result.ok == pacer.total
    assert (notes.answered_ns - origin - due >= responses_ns(due, delays)).all()
    assert (notes.before_ns >= notes.released_ns).all()
    assert contention.stolen_share >= 0
    recorded = LatencyLog(result.intervals).total("probe.response")
    left = exact_quantiles_us(notes.before_ns - origin - due, QUANTILES)
    # A recorded value may be rounded down by half a microsecond, and two clocks are read for a date.
    assert all(
        (value or 0) >= truth - 1.5 for value, truth in zip(recorded.quantiles_us(QUANTILES), left, strict=True)
    )


def beside(
    *,
    off_us: float = 0.0,
    service_off_us: float = 0.0,
    ways_us: tuple[float, float] = (2.0, 6.0),
    is_dated: bool = True,
    oracle_late_us: float = 0.0,
    waited: float | None = 0.0,
) -> Beside:
    """A comparison in which responses and services are off by so much at each quantile."""
    answered = [1_000.0] * len(QUANTILES)
    recorded: list[int | None] = [round(1_000 + off_us)] * len(QUANTILES)
    served: list[int | None] = [round(1_000 + service_off_us)] * len(QUANTILES)
    return Beside(
        complete=True,
        counts=(10, 10),
        response=(answered, recorded),
        service=(answered, served),
        ways_us=([ways_us[0]] * len(QUANTILES), [ways_us[1]] * len(QUANTILES)),
        is_dated=is_dated,
        oracle_late_us=oracle_late_us,
        contention=Contention(waited_share=waited, stolen_share=0.0),
    )


def test_what_is_furthest_off_is_named() -> None:
    """Of response and service, the one that uses more of its tolerance counts."""
    used, share, of_what = beside(off_us=22.0).used
    assert (round(used, 6), share, of_what) == (2.0, 0.9, "response")


@pytest.mark.parametrize(
    ("found", "share", "cause"),
    [
        (beside(), 0.5, ""),
        (beside(waited=None), 0.5, ""),
        (beside(waited=0.019), 0.5, ""),
        (beside(waited=0.021), 0.5, "our processes waited 2.1% of the time for a core"),
        (beside(waited=0.019), 0.99, "our processes waited 1.9% of the time for a core"),
        (beside(oracle_late_us=49.0), 0.5, ""),
        (beside(oracle_late_us=51.0), 0.5, "the oracle missed its own script by 51 µs at p90"),
        (beside(is_dated=False), 0.5, "this system's kernel does not date replies"),
    ],
)
def test_what_else_may_be_the_cause(found: Beside, share: float, cause: str) -> None:
    """What took enough of the operations beyond a quantile is named; on a quiet machine, nothing is."""
    assert found.busy(share).startswith(cause)
    assert bool(found.busy(share)) == bool(cause)


@pytest.mark.parametrize(
    ("complete", "used", "busy", "status"),
    [
        (True, 0.9, "", "PASS"),
        (True, 0.9, "a neighbor", "PASS"),
        (True, 1.1, "", "FAIL"),
        (True, 1.1, "a neighbor", "UNKNOWN"),
        (False, 0.1, "a neighbor", "FAIL"),
    ],
)
def test_a_busy_machine_is_no_verdict_on_the_instrument(
    complete: bool, used: float, busy: str, status: str
) -> None:
    """What is off is the instrument's fault only where nothing else can be its cause."""
    assert status == oracle_status(complete=complete, used=used, busy=busy)


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (beside(service_off_us=30), ""),
        (beside(service_off_us=30, ways_us=(2.0, 18.0)), ""),
        (beside(service_off_us=30, ways_us=(2.0, 25.0)), "a plain client was up to 25 µs behind the oracle, too"),
        (beside(service_off_us=20, ways_us=(2.0, 25.0)), ""),
        (beside(off_us=15), ""),
        (beside(off_us=15, ways_us=(8.0, 9.0)), "a plain client was up to 8 µs behind the oracle, too"),
        (beside(off_us=30, service_off_us=30, ways_us=(8.0, 25.0)), ""),
    ],
)
def test_what_a_plain_client_sees_is_not_the_instruments(found: Beside, cause: str) -> None:
    """Where the instrument passes beside a plain client's way, and only there, the way is the cause."""
    assert found.busy(found.used[1]) == cause


def test_a_plain_clients_tail_excuses_nothing() -> None:
    """Its way beyond p90 is not set against what the instrument is off before."""
    ways = [25.0 if share > 0.9 else 6.0 for share in QUANTILES]
    found = replace(beside(service_off_us=30), ways_us=(ways, ways))
    assert found.busy(found.used[1]) == ""


def test_the_longest_way_counts() -> None:
    """Of the runs before and after, the longer way at each quantile; there and back is more than back."""
    shorter, longer = (
        Exchanges(
            service_ns=np.array([way, way + 1_000]) * 3,
            taken_ns=np.array([way, way + 1_000]),
            reply_ns=np.array([way, way]),
        )
        for way in (1_000, 4_000)
    )
    replies, wholes = longest_ways_us(shorter, longer)
    assert replies == [4.0] * len(QUANTILES)
    assert (wholes[0], wholes[-1]) == (8.0, 10.0)


def test_a_plain_client_of_an_oracle() -> None:
    """Its exchanges take at least what the oracle took; then the oracle serves the next client from the start."""
    delays = np.full(20, 200_000, np.int64)
    source = probe_source()
    with Oracle(delays, source.command_bytes) as oracle:
        for _ in range(2):
            seen = exchanges(SystemClock(), oracle, bytes(source.command_bytes), 1_000, 20)
            assert seen.service_ns.size == 20
            assert (seen.taken_ns >= 200_000).all()
            assert np.median(seen.service_ns) > np.median(seen.taken_ns)
            assert (seen.reply_ns < seen.service_ns).all()


def test_a_plain_client_of_a_dead_oracle() -> None:
    """An oracle that is gone is an error of the oracle."""
    with Oracle(np.zeros(1, np.int64), 10) as oracle:
        pass
    with pytest.raises(OracleError, match="does not answer a plain client"):
        exchanges(SystemClock(), oracle, bytes(10), 1_000, 1)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system does not tell")
def test_contention_is_seen() -> None:
    """Two programs that want the same core each wait for about half of the time."""
    core = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{core}}}); print(flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", program]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as first,
        subprocess.Popen(command, stdout=subprocess.PIPE) as second,
    ):
        try:
            assert first.stdout is not None
            assert second.stdout is not None
            first.stdout.readline()
            second.stdout.readline()
            meter = ContentionMeter(SystemClock(), first.pid, second.pid)
            until(lambda: (meter.read().waited_share or 0.0) > 0.2, "one that waits")
        finally:
            first.kill()
            second.kill()
