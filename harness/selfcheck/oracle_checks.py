"""The instrument beside an oracle: are the recorded quantiles those of what the oracle answered?

    scripts        constant, bimodal and heavy-tailed delays from 1 to 100 ms: queues, and values of all sizes
    small delays   0, 20, 50, 100 and 500 µs, a thousand a second: what the instrument itself adds would show here

Two quantities are held against what the oracle noted:

    response = done - due      beside   answered - due         (the instrument's send lag is in both)
    service  = done - start    beside   answered - arrived     (the way of the command is in the first only)

The tolerance is 0.1 % of the value, which is a histogram's resolution, and 10 µs up to p90: a few for the
oracle's note (`harness.selfcheck.oracle`), a few for the way of the reply, one for rounding. The way of the
command, from `start` through the kernel to where it is dated, takes 3 to 9 µs at p50 and 15 at p90 after a
sleep; a recorded service may be longer by `WAY_US`. Beyond p90 the tolerance is 150 µs, and for the response
only: there stand the operations that met somebody else on their core. Replies that are then read together all
have the date of the last of them, and whoever loses the core between `start` and the send has it in the service.

What is off for another reason than the instrument is UNKNOWN, with the cause: our processes waited for a core,
or the host took one, for a fifth of the operations beyond that quantile at least; the oracle did not keep to its
script; this system's kernel dates nothing, and all that was late in reading is in the figures; or a plain client
of thirty lines, right before and after, needed so long for the same way that the instrument passes beside it
(`harness.selfcheck.plain_client`). Its longest way up to p90 counts for each quantile there: an open loop sends
at other moments than a client that waits, to an oracle that is awake or asleep, so that the two do not meet the
same quantile by quantile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np
from msgspec import Struct

from harness.arrays import Int64s
from harness.conduct.findings import Findings
from harness.conduct.scenario import Stage
from harness.host.clock import Clock
from harness.host.contention import Contention, ContentionMeter
from harness.load.pacing import Pacer, constant
from harness.load.pump_process import PumpProcess
from harness.load.settings import PumpResult, PumpSettings
from harness.load.workload import StampedCommand, placeholder
from harness.measure.hlog import LatencyLog
from harness.record.run import Status, Verdict
from harness.selfcheck.oracle import Notes, Oracle, responses_ns
from harness.selfcheck.plain_client import Exchanges, exchanges

LEAD_NS = 200_000_000
PRODUCER = 1
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
RELATIVE, ABSOLUTE_US, TAIL_ABSOLUTE_US, TAIL_FROM = 0.001, 10.0, 150.0, 0.9
TOLERANCE = f"0.1 % + {ABSOLUTE_US:g} µs ({TAIL_ABSOLUTE_US:g} µs beyond p{TAIL_FROM * 100:g})"
WAY_US = 10.0
# Others explain a quantile that is off where they took this share of the operations beyond it (up to p90, of the
# tenth beyond that).
EXPLAINS = 0.2
BUSY_ORACLE_LATE_US = 50.0

SCRIPT_RATE_PER_S, SCRIPT_S = 250, 4.0
SMALL_RATE_PER_S, SMALL_S = 1_000, 2.0
SMALL_DELAYS_US = (0, 20, 50, 100, 500)
# A plain client's share of each run: half of it before, half of it after.
PLAIN_S = 0.6


class Beside(Struct, frozen=True, kw_only=True):
    """What was recorded, beside what the oracle did, in microseconds at each of `QUANTILES`.

    Attributes:
        complete: whether all operations were answered.
        counts: how many were answered, and of how many.
        response, service: pairs of what the oracle answered and what was recorded.
        ways_us: by how much more than the oracle took a plain client needed, at each of `QUANTILES`: until the
            reply was here, and for the whole exchange.
        is_dated: whether this system's kernel dates what was sent.
        oracle_late_us: by how much the oracle missed its script at p90.
        contention: who else wanted the CPU meanwhile.
    """

    complete: bool
    counts: tuple[int, int]
    response: tuple[list[float], list[int | None]]
    service: tuple[list[float], list[int | None]]
    ways_us: tuple[list[float], list[float]]
    is_dated: bool
    oracle_late_us: float
    contention: Contention

    @property
    def used(self) -> tuple[float, float, str]:
        """The largest share of the tolerance that is used, by which quantile, and of what."""
        return max(
            (*tolerance_used(*self.response), "response"),
            (*tolerance_used(*self.service, up_to=TAIL_FROM, ways_us=[WAY_US] * len(QUANTILES)), "service"),
        )

    @property
    def used_beside_plain(self) -> float:
        """The largest share of the tolerance that is used where a plain client's ways may be in the figures."""
        reply, whole = self.longest_ways_us
        return max(
            tolerance_used(*self.response, ways_us=[reply] * len(QUANTILES))[0],
            tolerance_used(*self.service, up_to=TAIL_FROM, ways_us=[max(WAY_US, whole)] * len(QUANTILES))[0],
        )

    @property
    def longest_ways_us(self) -> tuple[float, float]:
        """A plain client's longest ways up to p90: until the reply was here, and for the whole exchange."""
        reply, whole = (
            max(way for share, way in zip(QUANTILES, ways, strict=True) if share <= TAIL_FROM)
            for ways in self.ways_us
        )
        return reply, whole

    def busy(self, share: float) -> str:
        """Why a quantile that is off cannot be held against the instrument, in words; empty where nothing is.

        Args:
            share: the quantile's.
        """
        explains = EXPLAINS * (1 - max(share, TAIL_FROM))
        causes = []
        used, _, of_what = self.used
        if used > 1 >= self.used_beside_plain:
            way = self.longest_ways_us[of_what == "service"]
            causes.append(f"a plain client was up to {way:,.0f} µs behind the oracle, too")
        if not self.is_dated:
            causes.append("this system's kernel does not date replies, so they count from when they were read")
        if (waited := self.contention.waited_share) is not None and waited > explains:
            causes.append(f"our processes waited {waited:.1%} of the time for a core")
        if self.contention.stolen_share > explains:
            causes.append(f"the host took {self.contention.stolen_share:.1%} of the CPU")
        if self.oracle_late_us > BUSY_ORACLE_LATE_US:
            causes.append(f"the oracle missed its own script by {self.oracle_late_us:,.0f} µs at p90")
        return " and ".join(causes)


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


def tolerance_used(
    expected_us: Sequence[float],
    recorded_us: Sequence[float | None],
    *,
    up_to: float = 1.0,
    ways_us: Sequence[float] = (0.0,) * len(QUANTILES),
) -> tuple[float, float]:
    """The largest share of the tolerance that any quantile uses, and which one; infinite without a value.

    Args:
        expected_us, recorded_us: by `QUANTILES`.
        up_to: the last quantile that counts.
        ways_us: by how much more than expected may be recorded, before anything of the tolerance is used.
    """
    used = []
    for share, expected, recorded, way_us in zip(QUANTILES, expected_us, recorded_us, ways_us, strict=True):
        if share <= up_to:
            allowed = expected * RELATIVE + (ABSOLUTE_US if share <= TAIL_FROM else TAIL_ABSOLUTE_US)
            over = math.inf if recorded is None else recorded - expected
            used.append((max(over - way_us, -over, 0.0) / allowed, share))
    return max(used)


def oracle_status(*, complete: bool, used: float, busy: str) -> Status:
    """The verdict on the instrument; UNKNOWN where what is off may be the machine's fault.

    Args:
        complete: whether all operations were answered.
        used: share of the tolerance between what the oracle did and what was recorded.
        busy: why what is off is not the instrument's fault; empty where nothing says so.
    """
    if complete and used <= 1:
        return "PASS"
    return "UNKNOWN" if complete and busy else "FAIL"


def check_scripts(stage: Stage, findings: Findings) -> Iterator[str]:
    """Hold the instrument against each script; names the next one before it begins."""
    for name, delays_ns in scripts(stage.seed).items():
        yield f"oracle: {name} delays"
        pacer = constant(SCRIPT_RATE_PER_S, SCRIPT_S)
        beside = _held_against(stage, delays_ns, pacer)
        label = name.replace(" ", "_")
        scripted = exact_quantiles_us(responses_ns(pacer.due_ns(0, pacer.total), delays_ns), QUANTILES)
        _figures(findings, f"oracle.{label}", beside.response, scripted)
        _figures(findings, f"oracle.{label}.service", beside.service)
        _ways(findings, f"oracle.{label}", beside)
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
        _ways(findings, f"oracle.small.{delay_us}us", beside)
        found[f"{delay_us} µs"] = beside
    findings.verdicts.append(_verdict("selfcheck.oracle.small", found))


def _held_against(stage: Stage, delays_ns: Int64s, pacer: Pacer) -> Beside:
    source = probe_source()
    rate_per_s = pacer.total / (pacer.duration_ns / 1e9)
    count = min(pacer.total, max(1, round(rate_per_s * PLAIN_S / 2)))
    with Oracle(delays_ns, source.command_bytes) as oracle:

        def plain() -> Exchanges:
            # An oracle tells commands apart by their length alone.
            return exchanges(stage.clock, oracle, bytes(source.command_bytes), rate_per_s, count)

        before = plain()
        result, origin_ns, contention = run_beside(stage.clock, oracle, pacer, source)
        notes = oracle.notes()
        ways_us = longest_ways_us(before, plain())
    return _beside(result, notes, origin_ns + pacer.due_ns(0, pacer.total), contention, ways_us)


def longest_ways_us(*runs: Exchanges) -> tuple[list[float], list[float]]:
    """The longest ways of several runs at each of `QUANTILES`, in microseconds: back, and there and back."""
    replies = [exact_quantiles_us(run.reply_ns, QUANTILES) for run in runs]
    wholes = [
        [
            service - taken
            for service, taken in zip(
                exact_quantiles_us(run.service_ns, QUANTILES),
                exact_quantiles_us(run.taken_ns, QUANTILES),
                strict=True,
            )
        ]
        for run in runs
    ]
    return [max(each) for each in zip(*replies, strict=True)], [max(each) for each in zip(*wholes, strict=True)]


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


def _beside(
    result: PumpResult,
    notes: Notes,
    due_ns: Int64s,
    contention: Contention,
    ways_us: tuple[list[float], list[float]],
) -> Beside:
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
        ways_us=ways_us,
        is_dated=bool((notes.dated_ns > 0).any()),
        oracle_late_us=exact_quantiles_us(late_ns, (0.9,))[0] if late_ns.size else float("inf"),
        contention=contention,
    )


def _figures(
    findings: Findings,
    label: str,
    pair: tuple[list[float], list[int | None]],
    scripted_us: Sequence[float] = (),
) -> None:
    for at, (share, answered, recorded) in enumerate(zip(QUANTILES, *pair, strict=True)):
        if scripted_us:
            findings.figure(f"{label}.p{share * 100:g}.scripted", scripted_us[at], "µs")
        findings.figure(f"{label}.p{share * 100:g}.answered", answered, "µs")
        findings.figure(f"{label}.p{share * 100:g}.recorded", recorded, "µs")


def _ways(findings: Findings, label: str, beside: Beside) -> None:
    for share, way_us in zip(QUANTILES, beside.ways_us[1], strict=True):
        if share <= TAIL_FROM:
            findings.figure(f"{label}.plain_way.p{share * 100:g}", way_us, "µs")


_WORST: Mapping[Status, int] = {"PASS": 0, "UNKNOWN": 1, "FAIL": 2}


def _verdict(name: str, found: Mapping[str, Beside]) -> Verdict:
    """One verdict on what was found by each delay: the worst of them, and why."""
    statuses: dict[str, Status] = {}
    details = []
    for delay, beside in found.items():
        used, share, of_what = beside.used
        busy = beside.busy(share)
        statuses[delay] = status = oracle_status(complete=beside.complete, used=used, busy=busy)
        ok, due = beside.counts
        words = f"{delay}: {ok:,} of {due:,} answered, p{share * 100:g} of the {of_what} uses {used:.0%}"
        details.append(f"{words}, but {busy}" if status == "UNKNOWN" else words)
    worst = max(statuses.values(), key=_WORST.__getitem__)
    detail = f"furthest from what the oracle answered, of a tolerance of {TOLERANCE}: {'; '.join(details)}"
    return Verdict(name=name, status=worst, detail=detail)
