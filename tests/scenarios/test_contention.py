"""Writers that expect a version: what they were told beside the stream, by hand and on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from pyroaring import BitMap

from harness.account.event_ids import event_id
from harness.conduct.findings import Findings
from harness.conduct.scenario import parameters_of
from harness.load.workload import entity_id
from harness.measure.failures import Failure
from harness.record.load_report import LoadReport
from harness.record.run import Run, Status
from harness.record.sections import Sections
from ordershop.entities import Customer, Product
from ordershop.event_store import EventStore
from ordershop.events import Event
from scenarios.contention import scenario
from scenarios.shop.versions import (
    CONFLICT,
    LEAST_MEETINGS,
    Writers,
    Written,
    add_updates,
    contended,
    each_answered,
    note,
    nothing_lost,
    version_noted,
    without_conflicts,
    word,
    written_by,
)
from tests.lines import assert_declared, stage_in
from tests.locusts import Locust
from tests.stores import PROGRAMS
from tests.verdicts import judged, settled

PRODUCER = 7


def written(*updates: tuple[int, int, int]) -> Written:
    """Updates in a stream: their numbers, entities, and the versions that they are based on."""
    numbers, entities, based_on = np.array(updates, np.int64).reshape(-1, 3).T
    return Written(numbers, entities, based_on)


def writers(**known: Any) -> Writers:
    return Writers(**{"attempts": 4, "conflicts": 1, "retried": 0, "in_doubt": 0, "versions": [3, 2], **known})


RIGHT = written((0, 0, 1), (1, 1, 1), (3, 0, 2))


# On histories by hand ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "known", "told", "status", "says"),
    [
        (RIGHT, {}, {0, 1, 3}, "PASS", "each of 3 updates in the stream has raised the version"),
        (RIGHT, {"in_doubt": 2}, {0, 1}, "PASS", "; 2 had no answer, 1 of them are there"),
        (
            written((0, 0, 1), (1, 1, 1), (3, 0, 1)),
            {},
            {0, 1, 3},
            "FAIL",
            "1 updates were written over a version that their writer had not read",
        ),
        (
            written((0, 0, 1), (1, 1, 1), (3, 0, 0)),
            {},
            {0, 1, 3},
            "FAIL",
            "1 updates were written over a version that their writer had not read",
        ),
        (
            RIGHT,
            {},
            {0, 1, 3, 4},
            "FAIL",
            "1 updates are not in the stream, and their writers were told that they were written",
        ),
        (RIGHT, {}, {0, 1}, "FAIL", "1 updates are in the stream that no writer was told of"),
        (
            written((0, 0, 1), (1, 1, 1), (3, 0, 2), (2, 0, 3)),
            {"versions": [4, 2]},
            {0, 1, 3},
            "FAIL",
            "1 updates are in the stream, and their writers were told of a conflict",
        ),
        (
            written((0, 0, 1), (1, 1, 1), (0, 0, 2)),
            {},
            {0, 1},
            "FAIL",
            "1 updates are in the stream twice",
        ),
        (
            RIGHT,
            {"versions": [3, 4]},
            {0, 1, 3},
            "FAIL",
            "1 of 2 entities have another version than their updates add up to",
        ),
        (written(), {"versions": [1, 1]}, set(), "UNKNOWN", "no update was written"),
        (
            written(),
            {"versions": [1, 1]},
            {0},
            "FAIL",
            "1 updates are not in the stream, and their writers were told that they were written",
        ),
    ],
)
def test_what_became_of_updates(
    stream: Written, known: dict[str, Any], told: set[int], status: Status, says: str
) -> None:
    """An update raises its entity's version by one, knows the version before, and is what its writer was told."""
    found = nothing_lost("x", stream, writers(**known), BitMap(told), BitMap({2}))
    assert (found.status, says in found.detail) == (status, True), found.detail
    # One thing that is wrong is told as one.
    assert status != "FAIL" or found.detail == says


@pytest.mark.parametrize(
    ("attempts", "conflicts", "stale", "status"),
    [
        (100, LEAST_MEETINGS, 0, "PASS"),
        (100, LEAST_MEETINGS - 1, 0, "UNKNOWN"),
        (100, 0, LEAST_MEETINGS, "PASS"),
        (0, 0, 0, "UNKNOWN"),
    ],
)
def test_whether_writers_met(attempts: int, conflicts: int, stale: int, status: Status) -> None:
    """They have met where enough attempts were refused, or written over what somebody else had written."""
    assert contended("x", writers(attempts=attempts, conflicts=conflicts), stale).status == status


def test_a_conflict_is_an_answer() -> None:
    """Of a load's report conflicts count as answers; what else has failed still has."""
    failures = [
        Failure(kind=kind, count=count, text=kind, first_s=0, last_s=1)
        for kind, count in ((CONFLICT, 5), ("OOM", 1))
    ]
    report = without_conflicts(LoadReport(arrivals=10, ok=4, failed=6, unknown=0, dropped=0, failures=failures))
    assert (report.ok, report.failed, [each.kind for each in report.failures]) == (9, 1, ["OOM"])
    whole = LoadReport(arrivals=9, ok=4, failed=5, unknown=0, dropped=0, failures=failures[:1])
    assert each_answered("x", whole).detail == "all 9 operations were answered, 5 of them with a conflict"
    assert each_answered("x", replace(whole, unknown=1, ok=3)).status == "FAIL"


def test_what_an_update_says_of_its_version() -> None:
    """It can be read back; what says nothing of the kind has version 0, which no entity has."""
    assert version_noted(Customer("c", note(17), "ada@example.org")) == 17
    for other in (
        Customer("c", "based on version x", "a@b.c"),
        Customer("c", "18", "a@b.c"),
        Product("p", "p", 1.0),
    ):
        assert version_noted(other) == 0


def test_attempts_are_added_up() -> None:
    """Of an update that was written all attempts but the last were conflicts; of one that was given up, all."""
    told = {"0": word("written", 1), "1": word("written", 3), "2": word("refused", 2)}
    found = add_updates(Sections(), told, written(), in_doubt=0, versions=[])
    assert (found.attempts, found.conflicts, found.retried) == (6, 4, 2)


def test_an_update_that_is_written_over_is_found_in_the_stream(store: EventStore) -> None:
    """Two writers who have read the same version, and expect none: the second one's update is the one."""
    identity = entity_id(PRODUCER, 0)

    def update(number: int, version: int) -> None:
        customer = Customer(identity, note(version), "ada@example.org")
        store.append(Event("updated", customer, event_id(PRODUCER, number)))

    created = store.append(Event("created", Customer(identity, "Ada", "ada@example.org"), identity))
    stranger = Customer("somebody", note(1), "ada@example.org")
    store.append(Event("created", stranger, "a-stranger"))
    store.append(Event("updated", stranger, "a-stranger-s"))
    update(0, 1)
    update(1, 2)
    assert written_by(store, PRODUCER, created).stale() == 0
    update(2, 2)
    found = written_by(store, PRODUCER, created)
    assert (found.numbers.tolist(), found.entities.tolist(), found.stale()) == ([0, 1, 2], [0, 0, 0], 1)


# On real servers --------------------------------------------------------------------------------------------


def met(directory: Path, server: str = "embedded", **given: Any) -> Run:
    """A short run."""
    chosen = {"duration_s": 1, "think_ms": 10, "entities": 4, **given}
    parameters = parameters_of(scenario, "smoke", {name: str(value) for name, value in chosen.items()})
    findings = Findings("contention")
    scenario.run(replace(stage_in(directory), server=server), parameters, findings)
    run = judged(scenario, parameters, findings)
    assert_declared(scenario, run)
    return run


def bad(run: Run) -> dict[str, Status]:
    return {v.name.removeprefix("contention."): v.status for v in settled(run.verdicts) if v.status != "PASS"}


def figures(run: Run) -> dict[str, float]:
    return {f.name.removeprefix("contention."): f.value for f in run.figures if f.value is not None}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_update_is_lost_where_a_version_is_expected(tmp_path: Path, program: str) -> None:
    """Writers meet, those who come late are refused, and each update that was written was based on the last."""
    server = PROGRAMS[program]
    if server is None:
        pytest.skip(f"no {program} here")
    run = met(tmp_path, server)
    found = figures(run)
    assert bad(run) == {}
    assert found["overwritten"] == 0
    assert found["given_up"] == found["conflicts"] >= LEAST_MEETINGS
    assert found["ok"] + found["given_up"] == found["attempts"]
    assert found["update.answered"] == found["ok"]
    assert found["given_up.answered"] == found["given_up"]
    assert found["conflict_share"] == pytest.approx(found["conflicts"] / found["attempts"])


@pytest.mark.slow
def test_updates_are_lost_where_nothing_is_expected(tmp_path: Path) -> None:
    """The same writers without expectation: nobody is refused, and the stream shows what was written over."""
    run = met(tmp_path, expects="nothing")
    found = figures(run)
    assert bad(run) == {"nothing_lost": "FAIL"}
    assert (found["conflicts"], found["ok"]) == (0, found["attempts"])
    assert found["overwritten"] >= LEAST_MEETINGS


@pytest.mark.slow
def test_who_may_try_again_writes_in_the_end(tmp_path: Path) -> None:
    """With retries updates take several attempts and are written; the conflicts are counted all the same."""
    run = met(tmp_path, rate_per_s=200, retries=100)
    found = figures(run)
    assert bad(run) == {}
    assert found["given_up"] == 0
    assert found["retried"] > 0
    assert found["attempts"] == found["ok"] + found["conflicts"]
    assert found["retried.answered"] == found["retried"]


@pytest.mark.slow
def test_writers_who_do_not_meet_prove_nothing(tmp_path: Path) -> None:
    """One writer alone meets nobody: that its updates are all there says nothing of conflicts."""
    assert bad(met(tmp_path, users=1, rate_per_s=50, think_ms=0)) == {"contended": "UNKNOWN"}


@pytest.mark.slow
def test_writers_of_two_processes(tmp_path: Path) -> None:
    """Locust's workers: each update has a number of its own, and what was told at either is in the account."""
    arguments = ("--headless", "--loglevel", "WARNING", "--only-summary", "--users", "16", "--spawn-rate", "16")
    more = ("--profile", "smoke", "--entities", "4", "--think-ms", "10", "-t", "2s", "--processes", "2")
    with Locust(tmp_path, "contention", *arguments, *more) as locust:
        assert locust.wait() in {0, 3}, locust.output
    run = locust.record().run
    assert bad(run) == {}
    assert figures(run)["workers"] == 2
    assert figures(run)["ok"] + figures(run)["given_up"] == figures(run)["attempts"]
