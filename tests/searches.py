"""Searches of a capacity, made by hand: points on a known curve, and the record that a search would have left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.capacity.budget import QUANTILES, LatencyBudget
from harness.capacity.capacity import Capacity, CapacitySearch, parameters_for, tell
from harness.capacity.point import Point, Quantile, Told
from harness.capacity.probed import Ending
from harness.capacity.searched import SECTION, Searched
from harness.check.load_reached import Surroundings
from harness.conduct.findings import Findings
from harness.conduct.judging import judged_run
from harness.record.run import Record, load, save, sealed
from scenarios.append import scenario as append
from tests.report_runs import run_of

P99_5MS = (LatencyBudget("p99", 5_000.0),)
FULL_PER_S = 30_000.0


def point_at(rate_per_s: float, number: int = 1, *, full_per_s: float = FULL_PER_S, **changed: Any) -> Point:
    """What a probe has shown of a server that is full at a rate: p99 rises as 1 / (1 - utilisation)."""
    busy = min(rate_per_s / full_per_s, 0.999)
    p99 = 300.0 / (1 - busy)
    over = max(0.0, rate_per_s - full_per_s)
    seconds = changed.get("seconds", 5)
    usual: dict[str, Any] = {
        "number": number,
        "directory": f"probes/{number:03}",
        "rate_per_s": rate_per_s,
        "seconds": seconds,
        "took_s": seconds + 3.0,
        "samples": int(rate_per_s * seconds),
        "quantiles": {
            name: Quantile(value_us=value, low_us=0.9 * value, high_us=1.1 * value, by="blocks")
            for name, value in zip(QUANTILES, (p99 / 4, p99 / 2, p99, 3 * p99), strict=True)
        },
        "slowest_us": 8 * p99,
        "send_lag_us": {"p50": 3.0, "p99": 40.0, "max": 900.0},
        "send_lag_budget_us": 10_000.0,
        "offered": int(rate_per_s * seconds),
        "answered": int(min(rate_per_s, full_per_s) * seconds),
        "short_s": seconds if over else 0,
        "open_at": tuple(10 + over * (second + 1) for second in range(seconds)),
        "around": Surroundings(
            send_lag_us=30.0,
            service_us=p99,
            server_core=busy,
            server_wait=0.01,
            host_busy=0.6,
            instrument_core=0.3,
        ),
        "verdicts": [
            Told("load_reached", "FAIL" if over else "PASS", "told so"),
            Told("send_lag", "PASS", "told so"),
            Told("answered", "PASS", "told so"),
        ],
    }
    return Point(**(usual | changed))


def searched_of(*points: Point, ended: Ending | None = "narrow", **changed: Any) -> Searched:
    """A search of append with these probes."""
    usual: dict[str, Any] = {
        "scenario": "append",
        "operations": "appends",
        "conditions": "synced each second",
        "budgets": list(P99_5MS),
        "precision": 0.05,
        "start_per_s": 8_000.0,
        "most_per_s": None,
        "limit_s": 180.0,
        "points": list(points),
        "ended": ended,
    }
    return Searched(**(usual | changed))


def usual_points() -> list[Point]:
    """The probes of a search that has found what there is: p99 is 5 ms at 28,200/s."""
    rates = [(8_000, False), (16_000, False), (32_000, False), (24_000, False), (27_000, True), (28_300, True)]
    rates += [(27_000, True), (28_300, True)]
    return [
        point_at(rate, number, is_long=is_long, seconds=10 if is_long else 5)
        for number, (rate, is_long) in enumerate(rates, 1)
    ]


def search_run(directory: Path, searched: Searched | None = None, **changed: Any) -> Record:
    """The record that such a search leaves, judged."""
    searched = searched or searched_of(*usual_points())
    findings = Findings(Capacity.name)
    findings.evidence.add_json(SECTION, searched)
    tell(searched, findings, 123.4)
    directory.mkdir(parents=True, exist_ok=True)
    findings.evidence.save(directory)
    chosen = parameters_for(searched.scenario, searched.budgets, start_per_s=searched.start_per_s)
    said = CapacitySearch(append, append.parameters(), command_of=lambda *_: [])
    run = run_of(
        Capacity.name,
        figures=findings.figures,
        parameters={
            "profile": "quick",
            "durability": "everysec",
            **{name: getattr(chosen, name) for name in chosen.__struct_fields__},
        },
        key_figures=list(said.key_figures),
        sections=list(said.sections),
        **changed,
    )
    save(directory, sealed(directory, run))
    save(directory, judged_run(Capacity(), load(directory)))
    return load(directory)
