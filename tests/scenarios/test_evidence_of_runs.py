"""Real runs, judged again from what they have left on disk: the same verdicts, the same headline, little space."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.conduct.conduct import conduct
from harness.conduct.interrupt import Interrupted
from harness.conduct.judging import judged_run
from harness.conduct.scenario import Scenario, parameters_of
from harness.record import evidence, run
from harness.record.run import Record
from scenarios.catalog import SCENARIOS
from tests.lines import stage_in

pytestmark = pytest.mark.slow

# A few files in one: the names of the sections, and where each is, whatever stands in them.
ARCHIVE_BYTES = 2_048
RUNS = {
    "lag": {"base_per_s": "1000", "peak_per_s": "2000"},
    "crm_outage": {},
    "append": {},
    "redis_crash": {"durability": "everysec"},
    "consumers": {},
    "journey": {},
    "contention": {},
    "mix": {},
    "replay": {},
}


@pytest.fixture(scope="module", params=RUNS)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Record]:
    """A scenario, and the record of a small run of it."""
    scenario, directory = SCENARIOS[request.param], tmp_path_factory.mktemp(request.param)
    chosen = parameters_of(scenario, "smoke", RUNS[request.param])
    record, ended = conduct(scenario, chosen, stage_in(directory), command=[])
    assert (ended, record.run.status) == (None, "complete")
    return scenario, record


def test_a_run_is_judged_again(recorded: tuple[Scenario, Record]) -> None:
    """The verdicts and the headline follow from the record, and so are the same whenever it is judged."""
    scenario, record = recorded
    assert record.run.verdicts
    assert record.run.headline
    again = judged_run(scenario, run.load(record.directory))
    assert again.verdicts == record.run.verdicts
    assert again.headline == record.run.headline


def test_evidence_is_small(recorded: tuple[Scenario, Record]) -> None:
    """Where nothing went wrong evidence has at most two bytes an event, beside two kilobytes for any run."""
    scenario, record = recorded
    if scenario.name in {"journey", "contention"}:
        pytest.skip("what customers and writers were told is kept one by one")
    events = sum(figure.value or 0 for figure in record.run.figures if figure.name.endswith((".ok", ".unknown")))
    assert (record.directory / evidence.FILE).stat().st_size <= ARCHIVE_BYTES + 2 * events


def test_a_run_that_was_interrupted_is_judged_again(tmp_path: Path) -> None:
    """What it says before its end is what it says later: that it was interrupted, and nothing of the account."""

    def interrupt(share: float, doing: str) -> None:
        if doing.endswith("events behind") and share > 0.2:
            raise Interrupted("SIGTERM")

    scenario = SCENARIOS["lag"]
    stage = replace(stage_in(tmp_path), progress=interrupt)
    record, ended = conduct(scenario, parameters_of(scenario, "smoke", {}), stage, command=[])
    assert isinstance(ended, Interrupted)
    assert [(v.name, v.status) for v in record.run.verdicts] == [("lag.finished", "UNKNOWN")]
    again = judged_run(scenario, run.load(tmp_path))
    assert (again.verdicts, again.headline) == (record.run.verdicts, "")


def test_of_several_loads_those_that_ended_are_judged(tmp_path: Path) -> None:
    """Interrupted in its second load, a run tells of the first one all that it would have told of it."""

    def interrupt(share: float, doing: str) -> None:
        if doing == "durability always" and share > 0.4:
            raise Interrupted("SIGTERM")

    scenario = SCENARIOS["append"]
    stage = replace(stage_in(tmp_path), progress=interrupt)
    record, ended = conduct(scenario, parameters_of(scenario, "smoke", {}), stage, command=[])
    assert isinstance(ended, Interrupted)
    assert [verdict.name for verdict in record.run.verdicts] == [
        "append.everysec.load_reached",
        "append.everysec.send_lag",
        "append.everysec.answered",
        "append.finished",
    ]
    assert judged_run(scenario, run.load(tmp_path)).verdicts == record.run.verdicts
