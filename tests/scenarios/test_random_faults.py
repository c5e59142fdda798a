"""Random faults: the plan of a seed, and a handful of outages for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError, parameters_of
from harness.load.pacing import constant
from harness.measure.timeline import FaultWindow
from harness.record.run import Status
from ordershop.events import EventId
from ordershop.subscription import Merge, NoEvent, Received
from scenarios.random_faults import (
    GAP_S,
    LEAD_S,
    LONGEST_S,
    NAMES,
    SHORTEST_S,
    RandomFaultsParameters,
    scenario,
    while_down,
)
from tests.lines import stage_in
from tests.verdicts import judged, settled


def parameters(profile: str = "smoke", **given: Any) -> RandomFaultsParameters:
    found = parameters_of(scenario, profile, {name: str(value) for name, value in given.items()})
    assert isinstance(found, RandomFaultsParameters)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_a_hundred_outages_have_room(seed: int) -> None:
    """Of each seed the plan has a hundred faults, each kind on each target, as long and as far apart as said."""
    chosen = parameters("standard")
    plan = chosen.faults(seed)
    assert len(plan) == 100
    assert {(f.target, f.name) for f in plan} == {
        (t, name) for t, names in chosen.targets().items() for name in names
    }
    assert {f.options.get("variant") for f in plan if f.name == "cut"} == {"reset", "half_open"}
    for target in chosen.targets():
        free_ns = 0
        for fault in (f for f in plan if f.target == target):
            assert fault.at_ns >= max(free_ns, int(LEAD_S * 1e9))
            assert SHORTEST_S * 1e9 <= fault.for_ns <= LONGEST_S * 1e9
            free_ns = fault.at_ns + fault.for_ns + int(GAP_S * 1e9)
        assert free_ns <= (LEAD_S + chosen.faults_s + GAP_S) * 1e9


def test_the_plan_does_not_depend_on_the_delivery() -> None:
    """The same faults are played to each policy; another seed has others."""
    ours, tutorials = parameters(outages=20), parameters(outages=20, delivery="from_now", expect="loss")
    assert ours.faults(7) == tutorials.faults(7)
    assert ours.faults(7) != ours.faults(8)


@pytest.mark.parametrize("consumers", [1, 3])
def test_every_consumer_is_a_target(consumers: int) -> None:
    """Each process of the line, and both lines of the first consumer."""
    targets = parameters(consumers=consumers).targets()
    names = ["crm", "crm-2", "crm-3"][:consumers]
    of_process = {name: ["kill", "stop", "freeze"] for name in [*names, "mail"]}
    assert targets == of_process | {"crm-redis": ["cut"], "crm-mail": ["cut"]}


def test_a_plan_without_room_is_refused() -> None:
    """Faults that could not lie one after the other are an error that says what to change."""
    with pytest.raises(ParameterError, match=r"100 faults have no room.*every_s"):
        parameters(outages=100, every_s=0.5).faults(1)


def test_a_command_is_broken_in_more_ways() -> None:
    """It may have processes of its own, and what has its effects can refuse."""
    targets = parameters(consumers=2).targets(has_command=True)
    assert targets["crm"] == targets["crm-2"] == ["kill", "kill_leader", "stop", "freeze"]
    assert targets["mail"] == ["kill", "stop", "freeze", "refuse"]
    plan = parameters("standard").faults(3, has_command=True)
    assert {"kill_leader", "refuse"} <= {fault.name for fault in plan}


PLAN = """[{"name": "refuse", "at_s": 9, "for_s": 4}, {"name": "kill", "at_s": 1, "for_s": 2},
{"name": "cut_half_open", "at_s": 1.5, "for_s": 1, "target": "crm-mail"}, {"name": "redeliver", "at_s": 20}]"""


def test_a_plan_of_ones_own_is_played() -> None:
    """In the order of time, each on its target or on the first that can suffer it; the load goes on after it."""
    chosen = parameters(plan=PLAN)
    plan = chosen.faults(7)
    assert plan == chosen.faults(8)
    assert [(fault.name, fault.target, fault.at_ns / 1e9) for fault in plan] == [
        ("kill", "crm", 1.0),
        ("cut", "crm-mail", 1.5),
        ("refuse", "mail", 9.0),
        ("redeliver", "group", 20.0),
    ]
    assert scenario.scheduled_s(chosen) == 20 + LEAD_S
    with pytest.raises(ParameterError, match=r"no room for a plan of 20 s and 1\.5 s more in 21 s"):
        scenario.lasting(chosen, 21.0, "")  # type: ignore[attr-defined]
    assert scenario.scheduled_s(scenario.lasting(chosen, 40.0, "")) <= 40  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            '[{"name": "kil", "at_s": 1}]',
            r"random_faults: fault 1 \(kil\): there is no such fault; did you mean",
        ),
        (
            '[{"name": "kill", "at_s": 1, "for_s": 2}, {"name": "stop", "at_s": 2}]',
            "random_faults: crm: the fault at 2.0 s begins before the one before it has healed",
        ),
        ("plan.toml", "random_faults: a plan is given as a file, with --plan"),
    ],
)
def test_a_plan_that_cannot_be_played(plan: str, message: str) -> None:
    """One line that names the entry, or the target on which two overlap."""
    with pytest.raises(ParameterError, match=message):
        parameters(plan=plan)


def test_lasting_is_as_many_outages_as_there_is_time_for() -> None:
    """Whoever drives the load says for how long; the shortest time has room for one outage."""
    chosen = parameters(every_s=2)
    assert scenario.lasting(chosen, 23.0, "").outages == 10  # type: ignore[attr-defined]
    with pytest.raises(ParameterError, match="no time for an outage in 4 s"):
        scenario.lasting(chosen, 4.0, "")


def found_by(directory: Path, seed: int, **given: Any) -> tuple[dict[str, Status], dict[str, float | None]]:
    """The verdicts that do not pass, and the figures."""
    findings = Findings(scenario.name)
    directory.mkdir()
    chosen = parameters(send_lag_budget_ms=60_000, **given)
    scenario.run(stage_in(directory, seed), chosen, findings)
    run = judged(scenario, chosen, findings)
    bad = {v.name.removeprefix("random_faults."): v.status for v in settled(run.verdicts) if v.status != "PASS"}
    return bad, {f.name.removeprefix("random_faults."): f.value for f in run.figures}


def test_what_was_lost_while_down() -> None:
    """Events due in the windows of a kill or a stop of the CRM, each once; no other faults, no other targets."""

    def window(name: str, target: str, start_s: float, end_s: float | None) -> FaultWindow:
        end_ns = None if end_s is None else int(end_s * 1e9)
        return FaultWindow(name=name, target=target, start_ns=int(start_s * 1e9), end_ns=end_ns)

    faults = [
        window("kill", "crm", 1, 2),
        window("stop", "crm", 1.5, 2.5),
        window("freeze", "crm", 4, 5),
        window("kill", "mail", 4, 5),
        window("kill", "crm", 6, None),
    ]
    lost = np.array([0, 9, 10, 24, 25, 45, 65])
    assert while_down(faults, constant(10, 8), lost) == (15, 2)
    assert while_down([], constant(10, 8), lost[:0]) == (0, 0)


@pytest.mark.slow
def test_a_handful_of_outages(tmp_path: Path) -> None:
    """Five outages at random: nothing lost, nothing twice, in order; and it is told what was done."""
    bad, figures = found_by(tmp_path / "ours", 5, outages=5, every_s=1.0)
    assert bad == {}
    assert (figures["outages"], figures["lost"], figures["duplicated"]) == (5, 0, 0)
    assert sum(figures[f"outages.{name}"] or 0 for name in NAMES) == 5
    assert (figures["excess_lag_event_s"] or 0) > 0
    assert figures["acknowledged"] == figures["applied"] == 300 * 8


@pytest.mark.slow
def test_a_plan_of_ones_own_stands_in_the_record(tmp_path: Path) -> None:
    """What was planned is done, judged by what was planned, and told as such."""
    kill = '{"name": "kill", "at_s": 1, "for_s": 0.5}'
    slow = '{"name": "slow", "at_s": 1.2, "for_s": 0.5, "options": {"ms": 30}}'
    bad, figures = found_by(tmp_path / "planned", 1, outages=1, plan=f"[{kill}, {slow}]")
    assert bad == {}
    assert (figures["outages"], figures["outages.kill"], figures["outages.slow"]) == (2, 1, 1)
    assert (figures["lost"], figures["duplicated"]) == (0, 0)


@pytest.mark.slow
def test_the_same_outages_in_the_way_of_the_seed(tmp_path: Path) -> None:
    """The tutorials' way loses what was published meanwhile: where that was expected it passes, else it fails."""
    bad, figures = found_by(tmp_path / "tutorials", 8, outages=3, every_s=1.0, delivery="from_now", expect="loss")
    assert bad == {}
    assert (figures["lost"] or 0) > 0
    due, lost = figures["while_down.due"], figures["while_down.lost"]
    assert due is not None
    assert lost is not None
    # What came just as it was killed may have been on its way; what came just before its restart, too.
    assert due - 15 <= lost <= due


def test_what_the_first_hundred_outages_found() -> None:
    """A consumer that comes back to exactly a page of pending events goes on: they stay known, and are given."""

    def entries(stream: str, *seconds: int) -> list[Received]:
        return [NoEvent(EventId(each, 0), stream, b"%d-0" % each) for each in seconds]

    merge = Merge(["a", "b"], page=4)
    merge.add({"a": entries("a", 1, 3, 4, 5), "b": entries("b", 2)}, pending={"a", "b"})
    merge.add({"a": []}, pending={"a"})
    # Enough of it waits that it is not asked for again, so it has to be given now.
    assert merge.hungry == ["b"]
    merge.add({"b": []})
    assert [each.id.seconds for each in merge.take()] == [1, 2, 3, 4, 5]
