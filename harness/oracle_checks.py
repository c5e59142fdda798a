"""The instrument beside an oracle: are the recorded quantiles those of what the oracle answered?

    scripts        constant, bimodal and heavy-tailed delays from 1 to 100 ms: queues, and values of all sizes
    small delays   0, 20, 50, 100 and 500 µs, a thousand a second: what the instrument itself adds would show here

Two quantities are held against what the oracle noted:

    response = done - due      beside   answered - due         (the instrument's send lag is in both)
    service  = done - start    beside   answered - arrived     (the way of the command to the oracle is not)

The tolerance is 0.1 % of the value, which is a histogram's resolution, and 10 µs up to p90: a few for the oracle's note
(`harness.oracle`), a few for the way through the kernel, one for rounding. Beyond p90 it is 150 µs: there stand the
operations that met somebody else on their core. Replies that are read together have the date of the last of them, and
where the kernel dates nothing, all that the instrument was late in reading.

What is off while the machine was busy is UNKNOWN, with the cause, and no fault of the instrument: its processes waited
for a core, the host took some, or the oracle itself did not keep to its script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from harness.clock import Clock
from harness.conducting import Findings, Stage
from harness.host.contention import Contention, ContentionMeter
from harness.load.pump_process import PumpProcess
from harness.load.settings import PumpResult, PumpSettings
from harness.oracle import Notes, Oracle, responses_ns
from harness.pacing import Pacer, constant
from harness.recording import LatencyLog
from harness.run import Status, Verdict
from harness.workload import StampedCommand, placeholder

Int64s = NDArray[np.int64]

LEAD_NS = 200_000_000
PRODUCER = 1
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
RELATIVE, ABSOLUTE_US, TAIL_ABSOLUTE_US, TAIL_FROM = 0.001, 10.0, 150.0, 0.9
TOLERANCE = f"0.1 % + {ABSOLUTE_US:g} µs up to p{TAIL_FROM * 100:g}, + {TAIL_ABSOLUTE_US:g} µs beyond"
# What is off by less cannot come from others: up to p90 a tenth of the operations would have had to meet them.
BUSY_WAITED_SHARE, BUSY_STOLEN_SHARE, BUSY_ORACLE_LATE_US = 0.02, 0.01, 50.0

SCRIPT_RATE_PER_S, SCRIPT_S = 250, 4.0
SMALL_RATE_PER_S, SMALL_S = 1_000, 2.0
SMALL_DELAYS_US = (0, 20, 50, 100, 500)


class Beside(Struct, frozen=True, kw_only=True):
    """What was recorded, beside what the oracle did, in microseconds at each of `QUANTILES`.

    Attributes:
        complete: whether all operations were answered.
        counts: how many were answered, and of how many.
        response, service: pairs of what the oracle answered and what was recorded.
        oracle_late_us: by how much the oracle missed its script at p90.
        contention: who else wanted the CPU meanwhile.
    """

    complete: bool
    counts: tuple[int, int]
    response: tuple[list[float], list[int | None]]
    service: tuple[list[float], list[int | None]]
    oracle_late_us: float
    contention: Contention

    @property
    def used(self) -> tuple[float, str]:
        """The largest share of the tolerance that is used, and by which quantile of what."""
        named: Mapping[str, tuple[list[float], list[int | None]]] = {
            "response": self.response,
            "service": self.service,
        }
        worst = {name: tolerance_used(*pair) for name, pair in named.items()}
        name = max(worst, key=lambda each: worst[each][0])
        return worst[name][0], f"p{worst[name][1] * 100:g} of the {name}"


def scripts(seed: int) -> dict[str, Int64s]:
    """The oracle's delays in nanoseconds, 1 to 100 ms, from a seed."""
    generator = np.random.default_rng(seed)
    count = int(SCRIPT_RATE_PER_S * SCRIPT_S)
    heavy = np.minimum(1.0 + generator.pareto(1.5, count), 100.0)
    return {
        "constant": np.full(count, 5_000_000, np.int64),
        "bimodal": np.where(generator.random(count) < 0.9, 1_000_000, 40_000_000).astype(np.int64),
        "heavy tail": (heavy * 1e6).astype(np.int64),
    }


def probe_source() -> StampedCommand:
    """The command that an oracle is sent."""
    return StampedCommand("probe", ["ECHO", placeholder(PRODUCER)], PRODUCER)


def exact_quantiles_us(values_ns: Int64s, shares: tuple[float, ...]) -> list[float]:
    """Quantiles in microseconds, exact, by the rank that `Histogram.quantiles_us` takes.

    Args:
        values_ns: at least one.
        shares: from 0 to 1.
    """
    ordered = np.sort(values_ns)
    wanted = [min(share, 1.0) * ordered.size for share in shares]
    ranks = [max(1, math.ceil(rank - math.ulp(rank))) for rank in wanted]
    return [float(ordered[rank - 1]) / 1000 for rank in ranks]


def tolerance_used(expected_us: Sequence[float], recorded_us: Sequence[float | None]) -> tuple[float, float]:
    """The largest share of the tolerance that any quantile uses, and which one; infinite without a value."""
    used = [
        float("inf")
        if recorded is None
        else abs(recorded - expected)
        / (expected * RELATIVE + (ABSOLUTE_US if share <= TAIL_FROM else TAIL_ABSOLUTE_US))
        for share, expected, recorded in zip(QUANTILES, expected_us, recorded_us, strict=True)
    ]
    return max(zip(used, QUANTILES, strict=True))


def oracle_status(*, complete: bool, used: float, busy: str) -> Status:
    """The verdict on the instrument; UNKNOWN where what is off may be the machine's fault.

    Args:
        complete: whether all operations were answered.
        used: share of the tolerance between what the oracle did and what was recorded.
        busy: what else the machine did; empty where it was quiet.
    """
    if complete and used <= 1:
        return "PASS"
    return "UNKNOWN" if complete and busy else "FAIL"


def busy_with(contention: Contention, oracle_late_us: float) -> str:
    """Why nothing can be held against the instrument, in words; empty on a quiet machine.

    Args:
        contention: who else wanted the CPU.
        oracle_late_us: by how much the oracle missed its script at p90.
    """
    causes = []
    if (waited := contention.waited_share) is not None and waited > BUSY_WAITED_SHARE:
        causes.append(f"our processes waited {waited:.0%} of the time for a core")
    if contention.stolen_share > BUSY_STOLEN_SHARE:
        causes.append(f"the host took {contention.stolen_share:.0%} of the CPU")
    if oracle_late_us > BUSY_ORACLE_LATE_US:
        causes.append(f"the oracle missed its own script by {oracle_late_us:,.0f} µs at p90")
    return " and ".join(causes)


def check_scripts(stage: Stage, findings: Findings) -> Iterator[str]:
    """Hold the instrument against each script; names the next one before it begins."""
    for name, delays_ns in scripts(stage.seed).items():
        yield f"oracle: {name} delays"
        pacer = constant(SCRIPT_RATE_PER_S, SCRIPT_S)
        beside = _held_against(stage, delays_ns, pacer)
        label = name.replace(" ", "_")
        scripted = exact_quantiles_us(responses_ns(pacer.due_ns(0, pacer.total), delays_ns), QUANTILES)
        for share, of_script in zip(QUANTILES, scripted, strict=True):
            findings.figure(f"oracle.{label}.p{share * 100:g}.scripted", of_script, "µs")
        _figures(findings, f"oracle.{label}", beside.response)
        _figures(findings, f"oracle.{label}.service", beside.service)
        findings.verdicts.append(_verdict(f"selfcheck.oracle.{label}", {f"{name} delays": beside}))


def check_small_delays(stage: Stage, findings: Findings) -> Iterator[str]:
    """Hold the instrument against delays that are shorter than its own could be; names the next one."""
    pacer = constant(SMALL_RATE_PER_S, SMALL_S)
    found = {}
    for delay_us in SMALL_DELAYS_US:
        yield f"oracle: {delay_us} µs"
        beside = _held_against(stage, np.full(pacer.total, delay_us * 1_000, np.int64), pacer)
        _figures(findings, f"oracle.small.{delay_us}us.response", beside.response)
        _figures(findings, f"oracle.small.{delay_us}us.service", beside.service)
        found[f"{delay_us} µs"] = beside
    findings.verdicts.append(_verdict("selfcheck.oracle.small", found))


def _held_against(stage: Stage, delays_ns: Int64s, pacer: Pacer) -> Beside:
    source = probe_source()
    with Oracle(delays_ns, source.command_bytes) as oracle:
        result, origin_ns, contention = run_beside(stage.clock, oracle, pacer, source)
        notes = oracle.notes()
    return _beside(result, notes, origin_ns + pacer.due_ns(0, pacer.total), contention)


def run_beside(
    clock: Clock, oracle: Oracle, pacer: Pacer, source: StampedCommand
) -> tuple[PumpResult, int, Contention]:
    """Let a pump run a schedule against an oracle: its result, the schedule's origin, and who else was there."""
    with closing(PumpProcess(PumpSettings(url=oracle.url, drain_ns=10_000_000_000), pacer, source)) as pump:
        pump.wait_until_ready()
        origin_ns = clock.now_ns() + LEAD_NS
        pump.begin(origin_ns)
        meter = ContentionMeter(clock, pump.pid, oracle.pid)
        # Its process ends with the result: the last reading is from shortly before.
        clock.sleep_ns(origin_ns + pacer.duration_ns - clock.now_ns())
        contention = meter.read()
        return pump.result(60), origin_ns, contention


def _beside(result: PumpResult, notes: Notes, due_ns: Int64s, contention: Contention) -> Beside:
    answered_ns = notes.answered_ns
    log = LatencyLog(result.intervals)
    late_ns = (notes.before_ns - notes.released_ns)[answered_ns > 0]
    return Beside(
        complete=result.ok == due_ns.size,
        counts=(result.ok, due_ns.size),
        response=(
            exact_quantiles_us(answered_ns - due_ns, QUANTILES),
            log.total("probe.response").quantiles_us(QUANTILES),
        ),
        service=(
            exact_quantiles_us(answered_ns - notes.arrived_ns, QUANTILES),
            log.total("probe.service").quantiles_us(QUANTILES),
        ),
        oracle_late_us=exact_quantiles_us(late_ns, (0.9,))[0] if late_ns.size else float("inf"),
        contention=contention,
    )


def _figures(findings: Findings, label: str, pair: tuple[list[float], list[int | None]]) -> None:
    for share, answered, recorded in zip(QUANTILES, *pair, strict=True):
        findings.figure(f"{label}.p{share * 100:g}.answered", answered, "µs")
        findings.figure(f"{label}.p{share * 100:g}.recorded", recorded, "µs")


_WORST: Mapping[Status, int] = {"PASS": 0, "UNKNOWN": 1, "FAIL": 2}


def _verdict(name: str, found: Mapping[str, Beside]) -> Verdict:
    """One verdict on what was found by each delay: the worst of them, and why."""
    statuses: dict[str, Status] = {}
    details = []
    for delay, beside in found.items():
        used, furthest = beside.used
        busy = busy_with(beside.contention, beside.oracle_late_us)
        statuses[delay] = oracle_status(complete=beside.complete, used=used, busy=busy)
        ok, due = beside.counts
        words = f"{delay}: {ok:,} of {due:,} answered; {furthest} uses {used:.0%} of the tolerance"
        details.append(f"{words}; the machine was busy: {busy}" if busy else words)
    worst = max(statuses.values(), key=_WORST.__getitem__)
    detail = f"{'; '.join(details)} ({TOLERANCE}), held against when the oracle answered"
    return Verdict(name=name, status=worst, detail=detail)
