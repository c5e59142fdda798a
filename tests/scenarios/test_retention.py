"""Streams are trimmed under load: never what a consumer has not had, unless somebody trims them blindly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError, parameters_of
from harness.record.run import Run, Status
from scenarios.retention import RetentionParameters, bounded, scenario
from tests.lines import assert_declared, stage_in
from tests.stores import PROGRAMS
from tests.verdicts import judged, settled


def trimmed(directory: Path, **given: Any) -> tuple[Findings, Run]:
    """The findings of small streams, and the run that they make."""
    parameters = parameters_of(scenario, "smoke", {name: str(value) for name, value in given.items()})
    findings = Findings("retention")
    scenario.run(stage_in(directory), parameters, findings)
    run = judged(scenario, parameters, findings)
    assert_declared(scenario, run)
    return findings, run


def figures(run: Run) -> dict[str, float]:
    return {
        figure.name.removeprefix("retention."): figure.value for figure in run.figures if figure.value is not None
    }


def bad(run: Run) -> dict[str, Status]:
    return {v.name.removeprefix("retention."): v.status for v in settled(run.verdicts) if v.status != "PASS"}


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ([10.0], [20.0], "PASS"),
        ([10.0], [20.5, 1.0], "FAIL"),
        ([20.5], [], "FAIL"),
        ([10.0], [], "UNKNOWN"),
        ([], [10.0], "UNKNOWN"),
        ([], [], "UNKNOWN"),
    ],
)
def test_bounded(before: list[float], after: list[float], status: Status) -> None:
    """Every reading is within the bound, before the outage and after; without readings of both it is not known."""
    assert bounded("x", {"before": before, "after": after}, 20).status == status


def test_the_bound() -> None:
    """It is what comes in four rounds of the trimmer, and what is kept of each of three streams."""
    parameters = RetentionParameters(rate_per_s=100, trim_every_s=0.5, keep=10)
    assert parameters.bound_events(3) == 200 + 30
    assert RetentionParameters(rate_per_s=100, trim_every_s=0.5, policy="maxlen", maxlen=50).bound_events(3) == 650
    exact = RetentionParameters(rate_per_s=100, trim_every_s=0.5, policy="maxlen_exact", maxlen=50)
    assert exact.bound_events(3) == 350


def test_how_long_it_lasts() -> None:
    """What is longer or shorter is the time after the consumer came back."""
    parameters = RetentionParameters(before_s=2, away_s=3)
    assert scenario.lasting(parameters, 9, "embedded").after_s == pytest.approx(4.0)
    with pytest.raises(ParameterError, match="do not fit into 5 s"):
        scenario.lasting(parameters, 5, "embedded")


# Whole programs ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_consumer_has_not_had_stays(tmp_path: Path) -> None:
    """Short streams while the consumer is there, longer ones while it is away, and nothing is lost."""
    findings, run = trimmed(tmp_path)
    found = figures(run)
    assert bad(run) == {}
    [verdict] = [each for each in run.verdicts if each.name == "retention.load_reached"]
    assert "By what it has acknowledged" not in verdict.detail
    assert found["lost"] == 0
    # One entry of each of two streams stays, for it was delivered last.
    assert found["trimmed"] == found["acknowledged"] - 2
    assert found["stored"] == 2
    assert found["before.length.max"] <= found["bound"] < found["away.length.max"]
    assert {"stream.length", "stream.memory_bytes"} <= set(findings.history.reading_names)


@pytest.mark.slow
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "embedded"])
def test_on_each_server_the_load_is_judged(tmp_path: Path, program: str) -> None:
    """Also on one that does not count what it was given, of which trimming leaves no trace: by its answers.

    On the embedded one it is above.
    """
    server = PROGRAMS[program]
    if server is None:
        pytest.skip(f"no {program} here")
    parameters = parameters_of(scenario, "smoke", {})
    findings = Findings("retention")
    scenario.run(replace(stage_in(tmp_path), server=server), parameters, findings)
    run = judged(scenario, parameters, findings)
    [verdict] = [each for each in run.verdicts if each.name == "retention.load_reached"]
    assert verdict.status == "PASS", verdict.detail
    major = int(str(findings.server["version"]).split(".")[0])
    assert ("By what it has acknowledged: the server does not count" in verdict.detail) == (major < 7)


@pytest.mark.slow
def test_a_blind_trim_is_caught(tmp_path: Path) -> None:
    """Trimmed to a length, the streams lose what the consumer that was away for longer has not had."""
    _, run = trimmed(tmp_path, policy="maxlen", after_s=1)
    found = figures(run)
    assert bad(run) == {"nothing_lost": "FAIL"}
    assert found["lost"] == found["lost.trimmed_unread"] + found["lost.trimmed_in_hand"] > 0
    assert found["lost.not_in_stream"] == 0
    # Of what was in hand the consumer may have handled some before it was killed.
    assert found["trimmed_unread"] == found["lost.trimmed_unread"] > 0
    assert found["trimmed_in_hand"] >= found["lost.trimmed_in_hand"]
    [lost] = [each for each in run.verdicts if each.name == "retention.nothing_lost"]
    assert f"{found['lost.trimmed_unread']:,.0f} were trimmed before they were read" in lost.detail
    assert f"{found['lost.trimmed_unread']:,.0f} before they were read" in run.headline


@pytest.mark.slow
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "embedded"])
def test_an_exact_trim_on_each_server(tmp_path: Path, program: str) -> None:
    """To an exact length not an entry more stays; and what was lost by it is known event by event."""
    server = PROGRAMS[program]
    if server is None:
        pytest.skip(f"no {program} here")
    parameters = parameters_of(scenario, "smoke", {"policy": "maxlen_exact", "after_s": "1"})
    findings = Findings("retention")
    scenario.run(replace(stage_in(tmp_path), server=server), parameters, findings)
    run = judged(scenario, parameters, findings)
    assert_declared(scenario, run)
    found = figures(run)
    assert bad(run) == {"nothing_lost": "FAIL"}
    assert found["lost"] == found["lost.trimmed_unread"] + found["lost.trimmed_in_hand"] > 0
    assert found["stored"] <= 2 * parameters.maxlen


@pytest.mark.slow
def test_streams_that_nobody_trims_are_caught(tmp_path: Path) -> None:
    """Without trimming nothing is lost, and the streams outgrow the bound."""
    _, run = trimmed(tmp_path, policy="none", away_s=0.5)
    assert bad(run) == {"bounded": "FAIL"}
    assert figures(run)["trimmed"] == 0
