"""Lines for tests: a whole one under a short load, and what its account says afterwards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.check.figures import unit_of
from harness.check.judge import judge
from harness.conduct.findings import Findings
from harness.conduct.scenario import Stage
from harness.host.clock import SystemClock
from harness.load.driver import OwnProcesses
from harness.load.pacing import constant
from harness.nemesis.plan import Fault
from harness.record.run import Run, Status
from scenarios.line.account import account_checkers, add_account
from scenarios.line.line import Line
from scenarios.line.settings import LineSettings
from scenarios.ordershop_system import RunningShop
from tests.verdicts import record_of, settled

ROOT = Path(__file__).parents[1]
# A load that never waits awake: what is asked here is not how late it is by some microseconds.
ASLEEP = OwnProcesses(spin_share=0.0)


def stage_in(directory: Path, seed: int = 1) -> Stage:
    """A stage on an embedded server."""
    return Stage(
        server="embedded",
        port=None,
        profile="smoke",
        seed=seed,
        directory=directory,
        clock=SystemClock(),
        progress=lambda _share, _doing: None,
        driver=ASLEEP,
        spin_share=0.0,
    )


def assert_declared(scenario: Any, run: Run) -> None:
    """Each figure of a run is one that the scenario has said it can make, in the unit that it said."""
    assert [f for f in run.figures if unit_of(scenario.figures, f.name) != f.unit] == []


def find_consumers_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let services that are started find `tests.broken`, wherever the tests were started."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


def shop_of(line: Line) -> RunningShop:
    """The shop whose line it is."""
    assert isinstance(line.running, RunningShop)
    return line.running


class Treated(NamedTuple):
    """What became of a line: its verdicts but for those that pass, and where lost events stopped."""

    bad: dict[str, Status]
    lost: dict[str, int]
    line: Line


def treat(
    directory: Path, settings: LineSettings, *, rate_per_s: float, load_s: float, plan: Sequence[Fault] = ()
) -> Treated:
    """Put a load and faults on a line, drain it, and account."""
    findings = Findings("line")
    with Line(stage_in(directory), constant(rate_per_s, load_s), settings) as line:
        line.run_load(findings, plan)
        line.wait_until_drained(30.0, quiet_s=0.5)
        found = add_account(findings, line, timeout_s=30.0)
    verdicts = judge(record_of("line", None, findings), account_checkers("line"))
    bad = {v.name.removeprefix("line."): v.status for v in settled(verdicts) if v.status != "PASS"}
    lost = {where: count for where, count in found.losses.counts.items() if count}
    return Treated(bad, lost, line)
