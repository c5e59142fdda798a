"""Reads beside writes on real servers: each kind is answered, misses are found, and Locust can drive it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness.conduct.findings import Findings
from harness.conduct.scenario import parameters_of
from harness.record.run import Run, Status
from harness.server.namespace import NAMESPACE
from harness.server.own import OwnServer
from ordershop.events import Keys
from scenarios.mix import scenario
from scenarios.shop.reads import NAMES
from tests.lines import assert_declared, stage_in
from tests.locusts import Locust
from tests.stores import PROGRAMS
from tests.verdicts import judged, settled

KEYS = Keys(NAMESPACE)


def mixed(
    directory: Path,
    server: Any = "embedded",
    progress: Callable[[float, str], None] = lambda *_: None,
    **given: Any,
) -> Run:
    """A short run."""
    chosen = {"duration_s": 1, "rate_per_s": 600, "entities": 300, **given}
    parameters = parameters_of(scenario, "smoke", {name: str(value) for name, value in chosen.items()})
    findings = Findings("mix")
    scenario.run(replace(stage_in(directory), server=server, progress=progress), parameters, findings)
    run = judged(scenario, parameters, findings)
    assert_declared(scenario, run)
    return run


def bad(run: Run) -> dict[str, Status]:
    return {v.name.removeprefix("mix."): v.status for v in settled(run.verdicts) if v.status != "PASS"}


def figures(run: Run) -> dict[str, float]:
    return {f.name.removeprefix("mix."): f.value for f in run.figures if f.value is not None}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_each_kind_is_answered(tmp_path: Path, program: str) -> None:
    """All kinds in their shares, each with latencies of its own; and every read finds what was there."""
    server = PROGRAMS[program]
    if server is None:
        pytest.skip(f"no {program} here")
    run = mixed(tmp_path, server)
    found = figures(run)
    assert bad(run) == {}
    assert found["ok"] == sum(found[f"{name}.answered"] for name in NAMES) == 600
    assert all(found[f"{name}.response.p99"] > 0 for name in NAMES)
    assert found["read_share"] == pytest.approx(0.8, abs=0.1)
    assert found["misses"] == 0


@pytest.mark.slow
def test_reads_that_find_nothing_are_found(own_server: OwnServer, tmp_path: Path) -> None:
    """Somebody takes the entities and the past away under load: fast answers, and a mix that was none."""
    is_done = []

    def progress(share: float, doing: str) -> None:
        if share > 0.3 and not is_done:
            is_done.append(True)
            with own_server.client() as client:
                entities = list(client.scan_iter(KEYS.entity("customer", "*"), count=1_000))
                client.delete(*entities[: len(entities) // 2], KEYS.stream("customer", "created"))

    run = mixed(tmp_path, own_server.url, progress, duration_s=2)
    assert bad(run) == {"as_asked": "FAIL", "answered": "FAIL"}
    [verdict] = [each for each in run.verdicts if each.name == "mix.as_asked"]
    assert "(entity)" in verdict.detail
    assert "(page)" in verdict.detail
    assert figures(run)["misses"] > 0


@pytest.mark.slow
def test_what_is_updated_is_in_the_stream(own_server: OwnServer, tmp_path: Path) -> None:
    """As many entries as appends were answered, beside those that were there to be found."""
    lengths: list[int] = []

    def progress(share: float, doing: str) -> None:
        with own_server.client() as client:
            lengths.append(int(client.xlen(KEYS.stream("customer", "updated"))))

    run = mixed(tmp_path, own_server.url, progress, connections=1, read_share=0.5)
    # The server is looked at while the load is on; what comes last may not be there yet.
    assert 10 < lengths[-1] <= 10 + figures(run)["append.answered"]
    assert bad(run) == {}


@pytest.mark.slow
def test_a_mix_by_two_workers(tmp_path: Path) -> None:
    """Locust's workers have every second command each, and the whole is the same mix."""
    arguments = ("--headless", "--loglevel", "WARNING", "--only-summary", "--users", "4", "--spawn-rate", "4")
    with Locust(tmp_path, "mix", *arguments, "--profile", "smoke", "-t", "2s", "--processes", "2") as locust:
        assert locust.wait() in {0, 3}, locust.output
    run = locust.record().run
    assert bad(run) == {}
    assert figures(run)["workers"] == 2


def test_what_is_said_of_a_probe() -> None:
    """How much of it reads, and what its writes have been through; of somebody else's server nobody knows."""
    chosen = parameters_of(scenario, "smoke", {"read_share": "0.5", "durability": "always"})
    assert scenario.probed_said(chosen, {"owned": True}) == "50% reads, writes synced before each answer"
    assert scenario.probed_said(chosen, {"owned": False}) == "50% reads, writes as the server is set"
