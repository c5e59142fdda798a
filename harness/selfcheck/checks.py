"""The instrument measures itself, here and now: `shopbench selfcheck`.

    oracle       a server with scripted delays (constant, bimodal, heavy tail; 0 to 500 µs): are the recorded
                 quantiles those of its answers? (`harness.selfcheck.oracle_checks`)
    freeze       a server that stands still for S of T seconds: of all arrivals S/T must be late, evenly over
                 0 to S. A closed-loop client is run beside it: it sees one late answer
    rate         the highest rate that is held on this machine, each response from its due time
    floor        what a bare exchange with a server costs here, by the kernel's dates
    timer        how late this machine wakes a sleeper
    overhead     what an operation costs the instrument, and a value the recorder
    round trip   every recorded value survives the way through the log file

The freeze is Gil Tene's test for coordinated omission ("How NOT to Measure Latency"). It is a scenario like the
others: its figures and verdicts make a record and a report.
"""

from __future__ import annotations

import select
import socket
import threading
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from harness.arrays import Int64s
from harness.conduct.findings import Findings
from harness.conduct.scenario import Stage
from harness.host import throttling
from harness.host.clock import Clock
from harness.load.pacing import Pacer, constant
from harness.load.pump_process import PumpProcess
from harness.load.settings import PumpResult, PumpSettings
from harness.load.workload import StampedCommand, placeholder
from harness.measure.floor import measure_floor
from harness.measure.histogram import Histogram, SparseHistogram
from harness.measure.hlog import LatencyLog, read_hlog, write_hlog
from harness.measure.recorder import Interval
from harness.record.run import Verdict
from harness.selfcheck.oracle import Oracle
from harness.selfcheck.oracle_checks import (
    LEAD_NS,
    PRODUCER,
    check_scripts,
    check_small_delays,
    exact_quantiles_us,
    oracle_status,
    probe_source,
)
from harness.server.open import open_server
from harness.server.url import ServerUrl

# For the shape of a freeze.
FREEZE_TOLERANCE = 0.02
RATES = (25_000, 50_000, 100_000, 200_000, 300_000, 400_000, 600_000)
# A rate is held when nothing is missing and the instrument was no more than this late at p99.
HELD_SEND_LAG_US = 10_000


class SelfCheckParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be chosen: what is checked is what is used."""


class SelfCheck:
    """The instrument against a server whose delays are known."""

    name = "selfcheck"
    summary = "does the instrument tell the truth on this machine?"
    parameters = SelfCheckParameters
    profiles: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:  # noqa: ARG002
        """Run all checks, one after the other."""
        held_before = throttling.snapshot(stage.clock)
        steps = chain(check_scripts(stage, findings), check_small_delays(stage, findings))
        for at, step in enumerate(steps):
            stage.progress(0.06 * at, step)
        stage.progress(0.5, "freeze")
        _check_freeze(stage, findings)
        stage.progress(0.75, "rate held")
        _check_rate(stage, findings)
        stage.progress(0.9, "floor, timer, overhead, round trip")
        _check_floor(stage, findings)
        _check_timer(stage.clock, findings)
        _check_recording(stage.clock, findings, stage.seed)
        held = throttling.throttled(held_before, throttling.snapshot(stage.clock))
        findings.verdicts.append(limits("selfcheck.limits", held))
        passed = sum(verdict.status == "PASS" for verdict in findings.verdicts)
        checks = len(findings.verdicts)
        findings.headline = f"All {checks} checks pass: what the instrument says here can be believed."
        if passed < checks:
            findings.headline = f"{checks - passed} of {checks} checks do not pass on this machine."


def limits(name: str, held: throttling.Throttled) -> Verdict:
    """Whether a quota has stopped the instrument; what it says then is the quota's."""
    of_it = "no quota" if held.quota_cores is None else f"a quota of {held.quota_cores:.3g} cores"
    detail = f"it may run on {held.usable_cores} of {held.cores} cores, with {of_it}, and was not stopped"
    if held.was_stopped:
        detail = ", ".join(throttling.in_words(held))
    return Verdict(name=name, status="UNKNOWN" if held.was_stopped else "PASS", detail=detail)


def _pump(stage: Stage, url: ServerUrl | str, pacer: Pacer, source: StampedCommand) -> tuple[PumpResult, int]:
    """Let a pump run a schedule, and answer its result and the schedule's origin."""
    pump = PumpProcess(PumpSettings(url=url, drain_ns=10_000_000_000), pacer, source)
    try:
        pump.wait_until_ready()
        origin_ns = stage.clock.now_ns() + LEAD_NS
        pump.begin(origin_ns)
        return pump.result(pacer.duration_ns / 1e9 + 60), origin_ns
    finally:
        pump.close()


FREEZE_RATE_PER_S, FREEZE_T_S, FREEZE_AT_S, FREEZE_S = 1_000, 10.0, 4.0, 1.0
_LATE_QUANTILES = (0.5, 0.9, 0.99)


def lateness(responses_us: NDArray[Any], late_from_us: float) -> list[float]:
    """The share of responses that are late, and of these p50, p90 and p99 in microseconds; 0 where none is.

    Args:
        responses_us: of all operations, shape (n,).
        late_from_us: what counts as late.
    """
    late = responses_us[responses_us > late_from_us]
    quantiles = np.quantile(late, _LATE_QUANTILES, method="inverted_cdf") if late.size else np.zeros(3)
    return [late.size / max(1, responses_us.size), *map(float, quantiles)]


def _check_freeze(stage: Stage, findings: Findings) -> None:
    pacer = constant(FREEZE_RATE_PER_S, FREEZE_T_S)
    source = probe_source()
    frozen_ns: list[int] = []
    # No delay, but a note of each answer's moment.
    with Oracle(np.zeros(pacer.total, np.int64), source.command_bytes) as oracle:
        pump = PumpProcess(PumpSettings(url=oracle.url), pacer, source)
        try:
            pump.wait_until_ready()
            origin_ns = stage.clock.now_ns() + LEAD_NS
            pump.begin(origin_ns)
            frozen_ns = _freeze(stage.clock, oracle, origin_ns + int(FREEZE_AT_S * 1e9))
            result = pump.result(FREEZE_T_S + 60)
        finally:
            pump.close()
        answered_ns = oracle.notes().answered_ns
    with Oracle(np.zeros(0, np.int64), source.command_bytes) as oracle:
        closed = _closed_loop(stage.clock, oracle, source)
    stopped_s = (frozen_ns[1] - frozen_ns[0]) / 1e9
    recorded = LatencyLog(result.intervals).total("probe.response")
    # Late is what no healthy answer of this server takes; the analytic share leaves those out, too.
    late_from_us = 0.02 * stopped_s * 1e6
    expected = [(stopped_s - late_from_us / 1e6) / FREEZE_T_S]
    expected += [late_from_us + quantile * (stopped_s * 1e6 - late_from_us) for quantile in _LATE_QUANTILES]
    measured = lateness(np.repeat(*recorded.distribution()), late_from_us)
    served = lateness((answered_ns - origin_ns - pacer.due_ns(0, pacer.total)) / 1000, late_from_us)
    off, oracle_off = (
        max(abs(found / right - 1) for found, right in zip(each, expected, strict=True))
        for each in (measured, served)
    )
    for at, name in enumerate(["share_late", *(f"late.p{quantile * 100:g}" for quantile in _LATE_QUANTILES)]):
        unit = "µs" if at else "of all"
        findings.figure(f"freeze.{name}.analytic", expected[at], unit)
        findings.figure(f"freeze.{name}.recorded", measured[at], unit)
    closed_late = int(np.count_nonzero(closed > late_from_us * 1000))
    findings.figure("freeze.closed_loop.late", closed_late, "operations")
    findings.figure("freeze.closed_loop.p99", exact_quantiles_us(closed, (0.99,))[0], "µs")
    findings.figure("freeze.open_loop.p99", recorded.quantile_us(0.99), "µs")
    findings.verdicts.append(
        Verdict(
            name="selfcheck.freeze",
            status=oracle_status(
                complete=result.ok == pacer.total,
                used=off / FREEZE_TOLERANCE,
                busy=f"the oracle itself is off by {oracle_off:.2%}" if oracle_off > FREEZE_TOLERANCE else "",
            ),
            detail=(
                f"a freeze of {stopped_s:.2f} s in {FREEZE_T_S:.0f} s: {measured[0]:.2%} of arrivals were late, "
                f"the analytic answer is {expected[0]:.2%}; share, p50, p90 and p99 are within {off:.2%} (the "
                f"oracle itself: {oracle_off:.2%}). A closed-loop client reports {closed_late} late answer(s) of "
                f"{closed.size:,}"
            ),
        )
    )


def _freeze(clock: Clock, oracle: Oracle, at_ns: int) -> list[int]:
    """Stop the oracle at a moment, for a while; answers when it really was stopped and let go."""
    clock.sleep_ns(at_ns - clock.now_ns())
    stopped_ns = clock.now_ns()
    oracle.freeze()
    clock.sleep_ns(stopped_ns + int(FREEZE_S * 1e9) - clock.now_ns())
    oracle.thaw()
    return [stopped_ns, clock.now_ns()]


def _closed_loop(clock: Clock, oracle: Oracle, source: StampedCommand) -> Int64s:
    """What a client sees that waits for each answer before it sends the next command, at the same pace."""
    pace_ns = 1_000_000_000 // FREEZE_RATE_PER_S
    latencies: list[int] = []
    with socket.create_connection(("127.0.0.1", oracle.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin_ns = clock.now_ns()
        freezer = threading.Thread(target=_freeze, args=(clock, oracle, begin_ns + 1_000_000_000))
        freezer.start()
        while clock.now_ns() - begin_ns < 4_000_000_000:
            start_ns = clock.now_ns()
            client.sendall(source.pack(len(latencies), 1))
            client.recv(64)
            latencies.append(clock.now_ns() - start_ns)
            clock.sleep_ns(start_ns + pace_ns - clock.now_ns())
        freezer.join()
    return np.array(latencies, np.int64)


def _check_rate(stage: Stage, findings: Findings) -> None:
    held, overhead_us, is_complete = 0, None, True
    with open_server("embedded", stage.clock) as server:
        source = StampedCommand(
            "append", ["XADD", "stream", "*", "event_id", placeholder(PRODUCER), "entity", "x" * 150], PRODUCER
        )
        for rate in RATES:
            result, _ = _pump(stage, server.url, constant(rate, 1.0), source)
            log = LatencyLog(result.intervals)
            lag_us = log.total("append.send_lag").quantile_us(0.99)
            is_complete = result.ok == result.arrivals and lag_us is not None
            if not is_complete or (lag_us or 0) > HELD_SEND_LAG_US:
                break
            held = rate
            overhead_us = result.cpu_share * result.wall_ns / 1000 / result.arrivals
    findings.figure("rate_held_per_s", held, "1/s")
    findings.figure("overhead_per_operation", overhead_us, "µs")
    findings.verdicts.append(
        Verdict(
            name="selfcheck.rate",
            # Where all is answered, and only late, this machine has no time for the lowest rate.
            status="PASS" if held else "UNKNOWN" if is_complete else "FAIL",
            detail=(
                f"{held:,} XADD/s were held for a second, each response counted from its due time, send lag "
                f"at p99 within {HELD_SEND_LAG_US / 1000:.0f} ms"
            ),
        )
    )


def _check_floor(stage: Stage, findings: Findings) -> None:
    with open_server("embedded", stage.clock) as server:
        floor = measure_floor(
            server.url,
            clock=stage.clock,
            rate_per_s=FREEZE_RATE_PER_S,
            payload_bytes=150,
            key=f"{server.namespace}floor",
        )
    for command, exchange in (("ping", floor.ping), ("xadd", floor.xadd)):
        for name, quantiles in (("service", exchange.service), ("read", exchange.read)):
            findings.figure(f"floor.{command}.{name}.p50", quantiles.p50_ns / 1000, "µs")
            findings.figure(f"floor.{command}.{name}.p99", quantiles.p99_ns / 1000, "µs")


def _check_timer(clock: Clock, findings: Findings) -> None:
    ticks = [clock.now_ns() for _ in range(10_000)]
    steps = np.diff(np.array(ticks, np.int64))
    findings.figure("clock_step", float(steps[steps > 0].min()) / 1000 if (steps > 0).any() else None, "µs")
    late = []
    for _ in range(500):
        before_ns = clock.now_ns()
        select.select([], [], [], 0.0005)
        late.append(clock.now_ns() - before_ns - 500_000)
    lateness = np.array(late, np.int64)
    for share in (0.5, 0.99):
        findings.figure(f"wake_up_late.p{share * 100:g}", exact_quantiles_us(lateness, (share,))[0], "µs")


def _check_recording(clock: Clock, findings: Findings, seed: int) -> None:
    values = (10 ** np.random.default_rng(seed).uniform(0, 9.5, 200_000)).astype(np.int64)
    histogram = Histogram()
    before_ns = clock.now_ns()
    for first in range(0, values.size, 4_096):
        histogram.record(values[first : first + 4_096])
    findings.figure("recording_per_value", (clock.now_ns() - before_ns) / values.size, "ns")
    with TemporaryDirectory() as directory:
        path = Path(directory) / "latency.hlog"
        sparse = SparseHistogram(histogram)
        write_hlog(path, [Interval(tag="probe.response", start_s=0.0, length_s=1.0, sparse=sparse)], 0.0)
        back = read_hlog(path).total("probe.response")
    same = bool((back.counts == histogram.counts).all()) and back.total == values.size
    findings.verdicts.append(
        Verdict(
            name="selfcheck.round_trip",
            status="PASS" if same else "FAIL",
            detail=f"{back.total:,} of {values.size:,} values came back from the log, bucket by bucket",
        )
    )


selfcheck = SelfCheck()
