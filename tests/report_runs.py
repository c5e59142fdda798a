"""Example runs for the tests of reports: realistic in shape, made by the instrument's own recorder, seeded.

Each function writes a run directory as the instrument does (`save`, `save_measurements`) and reads it back,
so what a test renders is what a real run leaves on disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.conduct.findings import Findings
from harness.conduct.scenario import declared
from harness.gate.loop import Gate
from harness.measure.histogram import Histogram, SparseHistogram
from harness.measure.hlog import LatencyLog
from harness.measure.recorder import Interval, Recorder
from harness.measure.timeline import Entry, FaultWindow, History, Mark, Reading
from harness.record.files import save_measurements
from harness.record.run import SCHEMA, Figure, KeyFigure, Record, Run, Verdict, load, save
from scenarios.catalog import SCENARIOS

HOSTILE = "</script><script>alert(1)</script><!-- <img src=http://evil.example/x onerror=alert(2)> {{7*7}} \"'&"
SECRET_URL = "redis://shop:hunter2@10.0.0.7:6379/0"

ENVIRONMENT: dict[str, Any] = {
    "host": {"cpu": "AMD EPYC 7R13, 4 of 48 cores", "kernel": "6.8.0-1021", "memory_bytes": 16_654_000_128},
    "server": {"name": "valkey", "version": "8.1.1", "appendonly": "no", "save": ""},
    "python": "3.11.13",
    "shopbench": "0.1.0",
}


def run_of(scenario: str, **changed: Any) -> Run:
    """A complete run record with nothing measured and what its scenario says of it, changed as the test wants."""
    usual: dict[str, Any] = {
        "schema": SCHEMA,
        "scenario": scenario,
        "status": "complete",
        "started_at": "2026-11-23T14:15:02+00:00",
        "duration_s": 60.0,
        "seed": 7,
        "command": ["shopbench", "run", scenario, "--seed", "7"],
        "parameters": {"rate_per_s": 2000, "pacing": "poisson"},
        "environment": ENVIRONMENT,
        "figures": [],
        "verdicts": [],
    }
    said = declared(SCENARIOS.get(scenario, Gate if scenario == "gate" else None))
    return Run(**(usual | said | changed))


def recorded(
    rng: np.random.Generator,
    seconds: int,
    per_s: int,
    operations: tuple[str, ...] = ("append",),
    stall: tuple[float, float] | None = None,
) -> Recorder:
    """Log-normal latencies around 400 µs; operations due within a stall wait until its end."""
    recorder = Recorder(0)
    for at, operation in enumerate(operations):
        count = seconds * per_s
        due = np.sort(rng.integers(0, seconds * 1_000_000_000, count))
        start = due + rng.lognormal(9.8, 0.6, count).astype(np.int64)
        service = (rng.lognormal(12.9 + 0.4 * at, 0.35, count)).astype(np.int64)
        service[rng.random(count) < 0.002] *= 12
        if stall:
            caught = (due >= stall[0] * 1e9) & (due < stall[1] * 1e9)
            start[caught] = np.maximum(start[caught], int(stall[1] * 1e9))
        recorder.record(operation, due, start, start + service)
    return recorder


def percentile_figures(recorder: Recorder, operation: str = "append") -> list[Figure]:
    """The figures that a scenario makes of its recorder."""
    log, findings = LatencyLog(recorder.intervals()), Findings(operation)
    for kind in ("response", "service", "send_lag"):
        findings.quantiles(kind, list(log.of(f"{operation}.{kind}")))
    return findings.figures


def gauges(rng: np.random.Generator, seconds: int) -> list[Entry]:
    """What the probes read once a second of server and host."""
    entries: list[Entry] = []
    for second in range(seconds):
        t_ns = second * 1_000_000_000
        entries += [
            Reading(t_ns=t_ns, name="server.used_memory_bytes", value=2.1e7 + 4.1e5 * second, unit="bytes"),
            Reading(t_ns=t_ns, name="server.cpu_share", value=0.4 + 0.05 * rng.random(), unit="cores"),
            Reading(t_ns=t_ns, name="host.cpu_share", value=0.3 + 0.1 * rng.random(), unit="of all cores"),
            Reading(t_ns=t_ns, name="host.steal_share", value=0.004 * rng.random(), unit="of all cores"),
        ]
    return entries


def finished(directory: Path, run: Run, recorder: Recorder, entries: list[Entry]) -> Record:
    """Write a run as the instrument does, and read it back."""
    save(directory, run)
    save_measurements(directory, recorder.intervals(), History(entries), recorder.slowest(), 1_795_443_302.0)
    return load(directory)


def append_run(directory: Path, seconds: int = 60, per_s: int = 500, **changed: Any) -> Record:
    """A plain load of appends, all of it in order."""
    rng = np.random.default_rng(7)
    recorder = recorded(rng, seconds, per_s)
    count = seconds * per_s
    entries = gauges(rng, seconds)
    figures = [
        *percentile_figures(recorder),
        Figure(name="append.offered_per_s", value=float(per_s), unit="1/s"),
        Figure(name="append.achieved_per_s", value=per_s * 0.999, unit="1/s"),
        Figure(name="append.ok", value=count - 3, unit="events"),
        Figure(name="append.failed", value=1, unit="events"),
        Figure(name="append.unknown", value=2, unit="events"),
        Figure(name="append.dropped", value=0, unit="events"),
    ]
    verdicts = [
        Verdict(name="append.response.p99", status="PASS", detail="p99 of the response is 1.02 ms, below 5 ms"),
        Verdict(name="append.outcomes", status="PASS", detail="1 of 30,000 appends failed, 2 had no answer"),
        Verdict(name="instrument.on_schedule", status="PASS", detail="p99 of the send lag is 73.0 µs, below 1 ms"),
        Verdict(name="host.steal", status="PASS", detail="at most 0.4 % of the host's time was stolen"),
    ]
    usual: dict[str, Any] = {
        "duration_s": float(seconds),
        "headline": f"{count:,} appends at {per_s} per second; 99 of 100 were answered within 1.02 ms.",
        "figures": figures,
        "verdicts": verdicts,
    }
    return finished(directory, run_of("append", **(usual | changed)), recorder, entries)


def short_and_long_run(directory: Path) -> Record:
    """Two operations, of which the one that was recorded less often was over after a third of the time."""
    rng = np.random.default_rng(13)
    parts = [recorded(rng, 3, 20, ("short",)), recorded(rng, 9, 50, ("long",))]
    save(directory, run_of("append", duration_s=9.0))
    intervals = [interval for part in parts for interval in part.intervals()]
    save_measurements(directory, intervals, History(), [], 1_795_443_302.0)
    return load(directory)


def outage_lag(rng: np.random.Generator, seconds: int, per_s: int) -> list[Entry]:
    """Lag that grows for 20 s and drains in 6, read four times a second, beside a group without trouble."""
    entries: list[Entry] = []
    for quarter in range(seconds * 4):
        t = quarter / 4
        waiting = 0.0 if t < 20 else per_s * (min(t, 40) - 20) - max(0, t - 40) * per_s * 3.2
        waiting = max(0.0, waiting) + float(rng.integers(0, 6))
        labels = {"group": "crm"}
        t_ns = int(t * 1e9)
        age = max(0.0, min(t, 40) - 20 - max(0, t - 40) * 3.2) if t > 20 else 0.0
        entries += [
            Reading(t_ns=t_ns, name="lag.events", value=waiting, unit="events", labels=labels),
            Reading(t_ns=t_ns, name="lag.pending", value=float(rng.integers(0, 40)), unit="events", labels=labels),
            Reading(
                t_ns=t_ns,
                name="lag.events",
                value=float(rng.integers(0, 9)),
                unit="events",
                labels={"group": "mail"},
            ),
            Reading(t_ns=t_ns, name="lag.seconds", value=round(age + 0.004, 3), unit="s", labels=labels),
        ]
    return entries


def outage_run(directory: Path, seconds: int = 60, per_s: int = 500, **changed: Any) -> Record:
    """CRM is killed after 20 s, back after 40 s, and catches up 6 s later; producers stall for a moment."""
    rng = np.random.default_rng(11)
    recorder = recorded(rng, seconds, per_s, ("append",), stall=(41.0, 41.8))
    entries = gauges(rng, seconds)
    entries += outage_lag(rng, seconds, per_s)
    entries += [
        FaultWindow(name="kill", target="crm", start_ns=20_000_000_000, end_ns=40_000_000_000),
        Mark(t_ns=40_000_000_000, name="restart"),
        Mark(t_ns=40_900_000_000, name="first effect"),
        Mark(t_ns=46_100_000_000, name="back in band"),
        Mark(t_ns=46_300_000_000, name="drained"),
    ]
    attempted = seconds * per_s
    figures = [
        Figure(name=f"crm_outage.{name}", value=value, unit=unit)
        for name, value, unit in (
            ("outage_s", 20.0, "s"), ("backlog_events", 10_012, "events"), ("first_effect_s", 0.9, "s"),
            ("drained_s", 6.3, "s"), ("drain_rate_per_s", 2110.0, "1/s"), ("predicted_drain_s", 7.4, "s"),
            ("attempted", attempted, "events"),
            ("acknowledged", attempted - 3, "events"), ("applied", attempted - 1, "events"), ("lost", 0, "events"),
            ("duplicated", 4, "events"), ("unexpected", 0, "events"), ("recovered", 2, "events"),
        )
    ]  # fmt: skip
    figures += [*percentile_figures(recorder), Figure(name="crm_outage.response.p99", value=12_400, unit="µs")]
    verdicts = [
        Verdict(name="ledger.nothing_lost", status="PASS", detail="every acknowledged event had its effect"),
        Verdict(
            name="ledger.duplicates",
            status="FAIL",
            detail="4 events had more than one effect; at most 0 are allowed",
        ),
        Verdict(name="recovery.drained", status="PASS", detail="drained 6.3 s after the restart, within 30 s"),
        Verdict(
            name="instrument.on_schedule",
            status="UNKNOWN",
            detail="send lag reached 812 ms while the producers stalled",
        ),
    ]
    usual: dict[str, Any] = {
        "duration_s": float(seconds),
        "parameters": {"rate_per_s": per_s, "before_s": 20, "outage_s": 20, "after_s": seconds - 40},
        "headline": "CRM was away for 20 s; 10,012 events waited; none was lost; it caught up in 6.3 s.",
        "figures": figures,
        "verdicts": verdicts,
    }
    return finished(directory, run_of("crm_outage", **(usual | changed)), recorder, entries)


def replay_run(directory: Path) -> Record:
    """Replays of four sizes, and no latencies."""
    sizes = {1_000: 301_000.0, 10_000: 398_000.0, 100_000: 412_000.0, 1_000_000: 405_000.0}
    figures = [Figure(name="replay.events_per_s", value=405_000.0, unit="1/s")]
    figures += [Figure(name=f"replay.{n}.events_per_s", value=v, unit="1/s") for n, v in sizes.items()]
    verdicts = [Verdict(name="replay.linear", status="PASS", detail="the cost of an event does not grow")]
    run = run_of("replay", figures=figures, verdicts=verdicts, headline="A million events replay in 2.47 s.")
    save(directory, run)
    return load(directory)


def micro_run(directory: Path) -> Record:
    """Micro-benchmarks of three functions."""
    figures = []
    for name, p50, p99 in (
        ("append_one", 62.1, 131.0),
        ("append_many_100", 812.0, 1240.0),
        ("event_id", 0.41, 0.62),
    ):
        figures += [
            Figure(
                name=f"micro.{name}.p50",
                value=p50,
                unit="µs",
                samples=1_000,
                low=0.98 * p50,
                high=1.03 * p50,
                bound_by="order",
            ),
            Figure(name=f"micro.{name}.p99", value=p99, unit="µs"),
            Figure(name=f"micro.{name}.per_s", value=1e6 / p50, unit="1/s"),
        ]
    save(directory, run_of("micro", figures=figures, headline="One append takes 62.1 µs, half of the time."))
    return load(directory)


def empty_run(directory: Path) -> Record:
    """A run that came to its end and has nothing to show."""
    save(directory, run_of("append", environment={}, parameters={}, command=[]))
    return load(directory)


def interrupted_run(directory: Path) -> Record:
    """A run that was interrupted after 12 s, all of its checks passed until then."""
    reason = f"SIGINT after 12.0 s; server {SECRET_URL} still up"
    return append_run(directory, seconds=12, status="interrupted", reason=reason)


def suite_run(directory: Path) -> Record:
    """A suite of four scenarios."""
    makers = {"append": append_run, "crm_outage": outage_run, "replay": replay_run, "micro": micro_run}
    members = [make(directory / name) for name, make in makers.items()]
    save(
        directory,
        run_of(
            "suite",
            duration_s=240.0,
            members=list(makers),
            figures=[f for m in members for f in m.run.figures],
            verdicts=[v for m in members for v in m.run.verdicts],
            headline="Four scenarios: nothing was lost, four events were applied twice.",
        ),
    )
    return load(directory)


def literal_suite(directory: Path) -> Record:
    """A suite in which every number is written here, none generated: what golden files are compared with."""
    save(
        directory / "crm_outage",
        run_of(
            "crm_outage",
            headline="CRM was away for 20 s; 10,012 events waited; none was lost; it caught up in 6.3 s.",
            figures=[
                Figure(name="crm_outage.backlog_events", value=10_012, unit="events"),
                Figure(name="crm_outage.lost", value=0, unit="events"),
                Figure(name="crm_outage.drained_s", value=6.3, unit="s"),
                Figure(
                    name="crm_outage.response.p99",
                    value=12_400,
                    unit="µs",
                    samples=100_000,
                    low=9_810,
                    high=17_100,
                    bound_by="blocks",
                ),
                Figure(
                    name="crm_outage.response.p99.9",
                    value=88_000,
                    unit="µs",
                    samples=100_000,
                    low=31_000,
                    bound_by="blocks",
                ),
                Figure(name="append.send_lag.max", value=None, unit="µs"),
            ],
            verdicts=[
                Verdict(
                    name="ledger.nothing_lost", status="PASS", detail="every acknowledged event had its effect"
                ),
                Verdict(name="ledger.duplicates", status="FAIL", detail="4 events had more than one effect"),
                Verdict(name="instrument.on_schedule", status="UNKNOWN", detail="no send lag was recorded"),
            ],
        ),
    )
    replay_run(directory / "replay")
    micro_run(directory / "micro")
    append = run_of(
        "append",
        status="interrupted",
        duration_s=12.0,
        reason=f"SIGINT after 12.0 s; server {SECRET_URL} still up",
    )
    save(directory / "append", append)
    members = ["crm_outage", "replay", "micro", "append"]
    runs = [load(directory / name).run for name in members]
    save(
        directory,
        run_of(
            "suite",
            duration_s=200.0,
            status="interrupted",
            reason="SIGINT",
            members=members,
            figures=[f for r in runs for f in r.figures],
            verdicts=[v for r in runs for v in r.verdicts],
        ),
    )
    return load(directory)


def hour_long_run(directory: Path) -> Record:
    """An hour of intervals at a rate of 20,000 a second, two operations; the log is put in memory only.

    Sixty different seconds take turns, since encoding and decoding ten thousand would take half a minute.
    """
    rng = np.random.default_rng(3)
    seconds = []
    for _ in range(60):
        histogram = Histogram()
        histogram.record(rng.lognormal(6.2 + 0.4 * rng.random(), 0.9, 20_000).astype(np.int64))
        seconds.append(SparseHistogram(histogram))
    intervals = [
        Interval(tag=f"{operation}.{kind}", start_s=float(t), length_s=1.0, sparse=seconds[(t * 7 + k) % 60])
        for t in range(3600)
        for operation in ("append", "read")
        for k, kind in enumerate(("response", "service", "send_lag"))
    ]
    save(directory, run_of("append", duration_s=3600.0, headline="An hour."))
    entries = gauges(rng, 3600)
    for second in range(3600):
        for group in ("billing", "crm", "mail"):
            value = float(rng.integers(0, 5000))
            entries.append(
                Reading(
                    t_ns=second * 10**9, name="lag.events", value=value, unit="events", labels={"group": group}
                )
            )
    save_measurements(directory, [], History(entries), [], 0.0)
    record = load(directory)
    record._latency = LatencyLog(intervals)
    return record


def hostile_run(directory: Path) -> Record:
    """A run in whose every text somebody tries to be markup, and to leak a password."""
    text = HOSTILE + SECRET_URL
    rng = np.random.default_rng(5)
    entries: list[Entry] = [
        FaultWindow(name=text, target=text, start_ns=10**9, end_ns=None),
        Mark(t_ns=2 * 10**9, name=text),
    ]
    for name in ("lag.events", "lag.seconds", "server.cpu_share", text):
        for second in range(4):
            entries.append(
                Reading(
                    t_ns=second * 10**9,
                    name=name,
                    value=1.0 * second,
                    unit=text,
                    labels={"group": text, text: text},
                )
            )
            entries.append(Reading(t_ns=second * 10**9, name=name, value=2.0, unit="s", labels={"group": text}))
    run = run_of(
        text,
        status="failed",
        started_at=text,
        command=["shopbench", "run", text],
        parameters={text: {text: [text]}},
        environment={"server": {"banner": text, "url": SECRET_URL}},
        figures=[
            Figure(name=f"{text}.{part}", value=3, unit=text)
            for part in ("ok", "dropped", "attempted", "acknowledged", "applied", "lost", "lost.x", "send_lag.p99")
        ]
        + [Figure(name=f"micro.{text}.p50", value=3, unit=text)],
        verdicts=[Verdict(name=f"instrument {text}", status="FAIL", detail=text)],
        headline=text,
        reason=text,
        key_figures=[KeyFigure(f"{text}.*", text), KeyFigure(f"{text}.lost", text)],
        sections=[text],
        words={text: text, "lost": text},
    )
    return finished(directory, run, recorded(rng, 4, 200), entries)
