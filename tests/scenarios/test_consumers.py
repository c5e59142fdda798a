"""A group of consumers is worked on under load: what is lost, who has handled what, what others have claimed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness.conduct.findings import Findings
from harness.conduct.scenario import ParameterError, ScenarioError, parameters_of
from harness.measure.timeline import FaultWindow, History, Reading
from harness.record.run import Run, Status
from scenarios.consumers import ConsumersParameters, scenario
from scenarios.operations.operator import removed_clean
from scenarios.operations.shares import Shares, all_worked, claimed_s
from scenarios.shop.counting_crm import handled_path
from tests.lines import assert_declared, stage_in
from tests.verdicts import judged, settled

S = 1_000_000_000


def worked_on(directory: Path, **given: Any) -> tuple[Findings, Run]:
    """The findings of a small group, and the run that they make."""
    parameters = parameters_of(scenario, "smoke", {name: str(value) for name, value in given.items()})
    findings = Findings("consumers")
    scenario.run(stage_in(directory), parameters, findings)
    run = judged(scenario, parameters, findings)
    assert_declared(scenario, run)
    return findings, run


def figures(run: Run) -> dict[str, float | None]:
    return {figure.name.removeprefix("consumers."): figure.value for figure in run.figures}


def bad(run: Run) -> dict[str, Status]:
    return {v.name.removeprefix("consumers."): v.status for v in settled(run.verdicts) if v.status != "PASS"}


def in_hand(consumer: str, *points: tuple[float, float | None]) -> list[Reading]:
    """Readings (seconds, events) of what a consumer has in hand."""
    labels = {"consumer": consumer}
    return [
        Reading(t_ns=int(t_s * S), name="consumer.pending", value=value, unit="events", labels=labels)
        for t_s, value in points
    ]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.9, 4), (1.1, 4), (1.5, 4), (1.7, 0), (1.8, 0)], [(4, 0.7)]),
        ([(0.9, 4), (1.1, 4), (1.9, 4), (2.1, 0)], []),
        ([(0.9, 4), (1.1, 0), (1.5, 0)], []),
        ([(1.1, 0), (1.5, 3), (1.9, 0)], []),
        ([(1.1, None), (1.5, 3), (1.9, 0)], [(3, 0.9)]),
        ([], []),
    ],
    ids=["claimed", "came back before", "had nothing", "was not away yet", "a gap", "nobody looked"],
)
def test_what_others_have_claimed(points: list[tuple[float, float | None]], expected: list[Any]) -> None:
    """From the fault until the consumer has nothing in hand any more, if that was before it came back."""
    history = History([*in_hand("2", *points), *in_hand("1", (1.1, 9), (1.2, 0))])
    history.add(FaultWindow(name="kill", target="crm-2", start_ns=1 * S, end_ns=2 * S))
    assert claimed_s(history) == [(had, pytest.approx(seconds)) for had, seconds in expected]


@pytest.mark.parametrize(("pending", "status"), [(0, "PASS"), (3, "FAIL"), (None, "UNKNOWN")])
def test_removed_clean(pending: int | None, status: Status) -> None:
    """A consumer that is deleted with events in hand takes them along."""
    assert removed_clean("x", pending).status == status


@pytest.mark.parametrize(
    ("handled", "status"),
    [({"crm": 3, "crm-2": 1}, "PASS"), ({"crm": 4, "crm-2": 0}, "FAIL"), ({"crm": 0}, "UNKNOWN")],
)
def test_all_worked(handled: dict[str, int], status: Status) -> None:
    """Each of a group has something to do; where nobody had, there is no evidence."""
    shares = Shares(handled=handled, again=0, unnamed=0)
    assert all_worked("x", shares).status == status
    assert shares.share("crm") == (handled["crm"] / 4 if handled["crm"] else None)


def test_how_long_it_lasts() -> None:
    """The load lasts as long as somebody wants, if the steps fit."""
    parameters = ConsumersParameters(consumers=2, before_s=1, away_s=1, settle_s=1)
    assert scenario.lasting(parameters, 20, "embedded").at_most_s == 20
    with pytest.raises(ParameterError, match="do not fit into 7 s"):
        scenario.lasting(parameters, 7, "embedded")


# Whole programs ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_group_that_loses_nothing(tmp_path: Path) -> None:
    """Consumers killed one by one, one removed, one added: every event has its effect, once, by a known hand."""
    findings, run = worked_on(tmp_path, mail_delay_ms=60, away_s=1)
    found = figures(run)
    assert bad(run) == {}
    assert (found["lost"], found["duplicated"], found["removed.deleted_with"]) == (0, 0, 0)
    handled = [found[f"{name}.handled"] for name in ("crm", "crm-2", "crm-3")]
    assert sum(each or 0 for each in handled) == (found["applied"] or 0) + (found["handled_again"] or 0) - (
        found["unnamed"] or 0
    )
    assert found["removed.claimed_s"] is not None
    assert [fault.target for fault in findings.history.faults] == ["crm", "crm-2"]
    assert {"crm-2 removed", "crm-3 added"} <= {mark.name for mark in findings.history.marks}
    assert not handled_path(tmp_path, "1").exists()


@pytest.mark.slow
def test_a_group_that_acknowledges_first(tmp_path: Path) -> None:
    """At most once, in a backlog: who is killed takes along what it has not asked for yet, and that is named."""
    _, run = worked_on(
        tmp_path, delivery="at_most_once", rate_per_s=4_000, page=2_000, mail_delay_ms=200, away_s=0.3
    )
    found = figures(run)
    failed = bad(run)
    failed.pop("load_reached", None)  # at this rate it is up to the machine
    assert failed == {"nothing_lost": "FAIL"}
    assert found["lost"] == found["lost.not_pending"]


@pytest.mark.slow
def test_a_load_that_is_too_short(tmp_path: Path) -> None:
    """A load that ends before the operator has done is no evidence, and says so."""
    with pytest.raises(ScenarioError, match="the load ended before every consumer was restarted"):
        worked_on(tmp_path, at_most_s=0.6)


def test_a_group_has_two_at_least() -> None:
    """One consumer is no group."""
    with pytest.raises(ParameterError):
        parameters_of(scenario, "quick", {"consumers": "1"})
    assert replace(ConsumersParameters(), consumers=2).consumers == 2
