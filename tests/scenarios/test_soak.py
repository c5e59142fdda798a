"""A soak: what grows is found, what does not passes, and what a short run cannot tell is not known.

The soak itself takes hours (`tox -e long`); `SHOPBENCH_SOAK_HOURS` says how many, `SHOPBENCH_SOAK_RUNS` where its
record stays.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError, parameters_of
from harness.record.run import Run, Status, find_runs
from harness.server.own import OwnServer
from scenarios.soak import HeapOf, SoakParameters, scenario
from tests import forks
from tests.lines import assert_declared, stage_in
from tests.verdicts import judged, settled

HOURS = float(os.environ.get("SHOPBENCH_SOAK_HOURS", "2"))


def soaked(directory: Path, **given: str) -> Run:
    """The run of a short soak."""
    findings = Findings("soak")
    parameters = parameters_of(scenario, "smoke", given)
    scenario.run(stage_in(directory), parameters, findings)
    run = judged(scenario, parameters, findings)
    assert_declared(scenario, run)
    return run


def statuses(run: Run) -> dict[str, Status]:
    return {verdict.name.removeprefix("soak."): verdict.status for verdict in run.verdicts}


def test_a_warm_up_that_leaves_nothing() -> None:
    """It is refused, whether it is given or comes of a duration."""
    with pytest.raises(ParameterError, match="a warm-up of 360 s leaves nothing"):
        parameters_of(scenario, "quick", {"duration_s": "360"})
    with pytest.raises(ParameterError, match="does not fit into 100 s"):
        scenario.lasting(SoakParameters(), 100, "embedded")
    assert scenario.lasting(SoakParameters(), 1_000, "embedded").duration_s == 1_000


def test_the_heap_of_a_server(any_server: OwnServer) -> None:
    """What the server has of the machine, and by how much that is more than it uses."""
    with any_server.client() as client:
        resident, fragmentation = HeapOf(client).read()
    assert (resident.name, fragmentation.name) == ("server.resident_bytes", "server.fragmentation")
    assert (resident.value or 0) > 1_000_000
    assert (fragmentation.value or 0) > 0


@pytest.mark.slow
def test_streams_that_nobody_trims_are_found(tmp_path: Path) -> None:
    """Within seconds it is sure that they grow beyond what may be; nothing is lost."""
    found = statuses(soaked(tmp_path, policy="none"))
    assert (found["streams_steady"], found["memory_steady"], found["nothing_lost"]) == ("FAIL", "FAIL", "PASS")


@pytest.mark.slow
def test_streams_that_are_trimmed_are_within_a_wide_bound(tmp_path: Path) -> None:
    """What grows by little in some seconds grows by less than it would untrimmed; the slope has its bounds."""
    # 200 events a second are 720,000 an hour.
    run = soaked(tmp_path, most_events="360000", most_memory="1e9", most_fragmentation="1e9")
    values = {figure.name.removeprefix("soak."): figure.value for figure in run.figures}
    low, slope, high = (values[f"streams.{name}"] for name in ("low_per_h", "per_h", "high_per_h"))
    assert low is not None
    assert slope is not None
    assert high is not None
    assert low <= slope <= high
    assert low < 360_000
    bad = {each.name: each.status for each in settled(run.verdicts) if each.status == "FAIL"}
    assert bad == {}
    assert (values["trimmed"] or 0) > 0


@pytest.mark.long
def test_hours(tmp_path: Path) -> None:
    """Of hours nothing grows by more than it may, and nothing is lost: the record stays where it was asked for."""
    runs = Path(os.environ.get("SHOPBENCH_SOAK_RUNS", str(tmp_path)))
    seconds = HOURS * 3_600
    warm_up_s = min(600.0, seconds / 4)
    arguments = ("-p", f"duration_s={seconds:g}", "-p", f"warm_up_s={warm_up_s:g}", "--runs", str(runs))
    ended = forks.shopbench("run", "soak", *arguments, timeout_s=seconds + 600)
    [record, *_] = find_runs(runs)
    assert record.run.status == "complete", ended.err
    failed = [verdict for verdict in record.run.verdicts if verdict.status == "FAIL"]
    assert failed == []
