"""Whatever a server answers, a run ends in time, with an account that adds up, a sentence, and an exit code.

Each seed is a plan of what is done to the replies of a real server (`tests.hostile_server`), and a scenario. More of
them by hand: SHOPBENCH_HOSTILE_SEEDS=0-99 python -m pytest tests/test_hostile_server.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import run
from harness.servers import NAMESPACE, OwnServer
from tests.hostile_server import HostileServer, Plan
from tests.processes import Ended, is_alive

# What runs at a URL, as short as it can be.
TINY = {
    "append": ("rate_per_s=200", "duration_s=1"),
    "lag": ("base_per_s=100", "peak_per_s=300", "before_s=0.5", "peak_s=0.5", "after_s=0.5", "drain_timeout_s=5"),
    "crm_outage": ("rate_per_s=100", "before_s=0.5", "outage_s=0.5", "after_s=0.5", "drain_timeout_s=5"),
    "consumers": (
        *("rate_per_s=100", "before_s=0.3", "away_s=0.2", "after_s=0.3", "at_most_s=6", "drain_timeout_s=5"),
    ),
    "retention": ("rate_per_s=100", "before_s=0.5", "away_s=0.3", "after_s=0.5", "drain_timeout_s=5"),
    "replay": ("events=300",),
    "journey": ("rate_per_s=20", "duration_s=1", "users=5", "products=10", "customers=10"),
}
# What starts, drains and waits for a server that is away takes at most, on a busy machine.
ENDS_WITHIN_S = 120


def shopbench(name: str, url: str, runs: Path) -> Ended:
    """Run a scenario, tiny, at a URL."""
    chosen = [word for parameter in TINY[name] for word in ("-p", parameter)]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", name, "--profile", "smoke", *chosen]
        + ["--server", url, "--runs", str(runs)],
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def audit(ended: Ended, runs: Path) -> list[str]:
    """All that is wrong with how a run has ended, in a sentence each."""
    wrong = []
    if ended.code not in {0, 1, 2, 3}:
        wrong.append(f"exit code {ended.code}")
    if "Traceback" in ended.out + ended.err:
        wrong.append("a traceback")
    told = [line for line in ended.complaints if line.startswith("shopbench: ")]
    if ended.code == 2 and len(told) != 1:
        wrong.append(f"exit code 2 with {len(told)} sentences")
    if any(not 20 < len(line) < 600 or not line.isprintable() for line in told):
        wrong.append(f"no clear sentence: {told!r}")
    records = [run.load(path.parent) for path in sorted(runs.glob("*/run.json"))]
    if not records and ended.code != 2:
        wrong.append(f"exit code {ended.code} without a record")
    for record in records:
        wrong += _audit_record(ended, record)
    return wrong


def _audit_record(ended: Ended, record: run.Record) -> Iterator[str]:
    one = record.run
    if (one.status == "complete") != (ended.code != 2):
        yield f"{one.status}, and exit code {ended.code}"
    if one.status == "complete" and not one.headline:
        yield "no headline"
    if one.status == "failed" and not one.reason:
        yield "failed without a reason"
    bad = [verdict for verdict in one.verdicts if verdict.status != "PASS"]
    if bool(bad) != bool(ended.code):
        yield f"exit code {ended.code} with {[verdict.name for verdict in bad]}"
    for verdict in one.verdicts:
        if not verdict.detail.strip() or "checker crashed" in verdict.detail:
            yield f"{verdict.name}: {verdict.detail!r}"
    values = {figure.name: figure.value for figure in one.figures}
    for name, pump in one.environment["meanwhile"]["pumps"].items():
        yield from _audit_pump(f"{one.scenario}." if name in {"append", one.scenario} else f"{name}.", values, pump, one)


def _audit_pump(prefix: str, values: dict[str, float | None], pump: Any, one: run.Run) -> Iterator[str]:
    ok, failed, unknown, dropped = (int(values[f"{prefix}{name}"] or 0) for name in ("ok", "failed", "unknown", "dropped"))
    if sum(each["count"] for each in pump["failures"]) != failed:
        yield f"{failed} failed, by kind {pump['failures']}"
    arrivals = ok + failed + unknown + dropped
    attempted = values.get(f"{prefix}attempted")
    if attempted is not None and attempted != arrivals - dropped and attempted != arrivals:
        yield f"{attempted} attempted, and {ok} + {failed} + {unknown} + {dropped}"
    account = {name: values.get(f"{prefix}{name}") for name in ("acknowledged", "applied", "lost", "recovered", "unexpected")}
    if None not in account.values():
        counted = {name: int(value or 0) for name, value in account.items()}
        if counted["acknowledged"] != ok:
            yield f"{counted['acknowledged']} acknowledged, {ok} ok"
        if counted["acknowledged"] - counted["lost"] != counted["applied"] - counted["recovered"] - counted["unexpected"]:
            yield f"the account does not add up: {counted}"
    hurt = failed + unknown + dropped
    said = [verdict for verdict in one.verdicts if verdict.name.endswith("answered")]
    if one.status == "complete" and hurt and not any(verdict.status != "PASS" for verdict in said):
        yield f"{hurt} operations were not answered well, and {said}"
    for each in pump["failures"]:
        if one.status == "complete" and each["kind"] and not any(each["kind"] in v.detail or "more kinds" in v.detail for v in said):
            yield f"{each['kind']!r} is in no verdict"
