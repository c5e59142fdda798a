"""An outage: what each fault needs and does to the line, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from harness.check.faults_done import Parted
from harness.conduct.findings import Findings
from harness.conduct.scenario import ScenarioError, parameters_of
from harness.measure.timeline import FaultWindow, History, Reading
from harness.nemesis.plan import Fault
from harness.record.run import Run, Status
from scenarios.crm_outage import OutageParameters, Way, scenario
from scenarios.operations.shares import claimed_s
from scenarios.outage.done import parted, taken_over
from scenarios.outage.fault import in_hand
from tests.lines import stage_in
from tests.verdicts import judged, settled

S = 1_000_000_000


def parameters(profile: str = "quick", **given: Any) -> OutageParameters:
    found = parameters_of(scenario, profile, {name: str(value) for name, value in given.items()})
    assert isinstance(found, OutageParameters)
    return found


@pytest.mark.parametrize(
    ("given", "name", "target", "options"),
    [
        ({"fault": "kill"}, "kill", "crm", {}),
        ({"fault": "kill_in_batch"}, "kill", "crm", {"within_s": 2.0}),
        ({"fault": "kill_then_quiet"}, "kill", "crm", {"within_s": 2.0}),
        ({"fault": "kill_leader"}, "kill_leader", "crm", {}),
        ({"fault": "one_backlog"}, "stop", "crm", {}),
        ({"fault": "stop_while_away"}, "stop_while_away", "crm", {}),
        ({"fault": "kill_while_away"}, "kill_while_away", "crm", {}),
        ({"fault": "rolling"}, "rolling", "crm", {}),
        ({"fault": "refuse"}, "refuse", "mail", {}),
        ({"fault": "redeliver"}, "redeliver", "group", {}),
        ({"fault": "stop"}, "stop", "crm", {}),
        ({"fault": "freeze"}, "freeze", "crm", {}),
        ({"fault": "cut"}, "cut", "crm-redis", {"variant": "reset"}),
        ({"fault": "cut", "link": "crm-mail"}, "cut", "crm-mail", {"variant": "reset"}),
        ({"fault": "cut_half_open"}, "cut", "crm-redis", {"variant": "half_open"}),
        ({"fault": "delay", "delay_ms": 70}, "delay", "crm-redis", {"latency_ms": 70.0}),
        ({"fault": "slow", "delay_ms": 70}, "slow", "mail", {"ms": 70.0}),
        ({"fault": "poison"}, "poison", "crm", {}),
        ({"fault": "pause"}, "pause", "server", {}),
        ({"fault": "restart_empty"}, "restart_empty", "server", {}),
    ],
)
def test_the_plan(given: dict[str, Any], name: str, target: str, options: dict[str, Any]) -> None:
    """Each fault is done to what it is said to be done to, once, at its time."""
    planned = parameters(before_s=2, outage_s=3, **given).planned()
    assert planned == Fault(name=name, target=target, at_ns=2 * S, for_ns=3 * S, options=options)


@pytest.mark.parametrize("fault", get_args(Way))
def test_the_line_has_what_the_fault_needs(fault: Way) -> None:
    """Links for what is done to links, slow mail for a kill in a batch, an early claim for a freeze; no more."""
    settings = parameters(fault=fault, outage_s=6).settings()
    assert settings.has_links == (fault in {"cut", "cut_half_open", "delay"})
    assert settings.mail_delay_ms == (100 if fault in {"kill_in_batch", "kill_then_quiet"} else 0)
    assert settings.claim_after_ms == (2_000 if fault in {"freeze", "rolling"} else 30_000)
    assert settings.outlasts == (fault == "kill_then_quiet")
    assert (settings.by_stream is not None) == (fault == "one_backlog")


def test_a_kill_of_another_systems_consumer_is_to_hit() -> None:
    """There is no other way to know that it had something in hand than to look; the shop has `kill_in_batch`."""
    chosen = parameters(fault="kill")
    assert chosen.planned(has_command=True).options == {"within_s": 2.0}
    assert (chosen.has_to_hit(has_command=True), chosen.has_to_hit(has_command=False)) == (True, False)
    assert parameters(fault="kill_in_batch").has_to_hit(has_command=False)
    assert not parameters(fault="stop").has_to_hit(has_command=True)


def test_the_load_ends_as_the_fault_begins() -> None:
    """Then nothing is due any more when it is done."""
    chosen = parameters(fault="kill_then_quiet", before_s=2, outage_s=3, rate_per_s=100)
    pacer = chosen.staged().pacer
    assert (pacer.total, pacer.duration_ns) == (200, 2 * S)
    assert pacer.due_ns(199, 1)[0] < chosen.planned().at_ns


def test_one_stream_gets_a_backlog_and_the_others_the_news() -> None:
    """The numbers of the events in the outage, a pause after it, and then the news."""
    chosen = parameters(fault="one_backlog", before_s=2, outage_s=3, after_s=4, rate_per_s=100)
    staged = chosen.staged()
    assert staged.by_stream == (200, 500)
    due_s = staged.pacer.due_ns(0, staged.pacer.total) / 1e9
    assert (due_s[200], due_s[500], staged.pacer.duration_ns / 1e9) == (2.0, 7.0, 9.0)
    assert chosen.settings().by_stream == (200, 500)


def test_what_each_stream_got() -> None:
    """While a consumer was away, and afterwards; what came before counts for nothing."""
    streams = {"a": [0, 2, 4, 5, 6], "b": [1, 3, 7, 8]}
    assert parted(streams, 4, 7) == {"a": Parted(away=3, news=0), "b": Parted(away=0, news=2)}


def test_what_is_given_goes_before_what_the_fault_needs() -> None:
    """Slower mail, or another time until events are claimed, are taken as they are given."""
    assert parameters(fault="kill_in_batch", mail_delay_ms=300).settings().mail_delay_ms == 300
    assert parameters(fault="freeze", claim_after_ms=70).settings().claim_after_ms == 70
    assert not parameters(idempotent="false").settings().is_idempotent


def test_a_server_of_others_is_not_broken(tmp_path: Path) -> None:
    """What is done to the server is done only to one that was started for it."""
    stage = stage_in(tmp_path)
    with pytest.raises(ScenarioError, match="pause is done only to a server that we start"):
        scenario.run(
            type(stage)(
                server="redis://127.0.0.1:1", port=None, profile="smoke", seed=1, directory=tmp_path,
                clock=stage.clock, progress=stage.progress,
            ),
            parameters(fault="pause"),
            Findings("crm_outage"),
        )  # fmt: skip


def pending(*points: tuple[float, float | None], consumer: str = "1") -> list[Reading]:
    """What a consumer had in hand (seconds, events)."""
    return [
        Reading(t_ns=int(at_s * S), name="consumer.pending", value=v, unit="events", labels={"consumer": consumer})
        for at_s, v in points
    ]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        (pending((1, 9), (3.1, 9), (3.3, 7), (4, 7), (6, 5)), 7),
        (pending((3.3, 7), (4, 0)), 7),  # another has claimed them meanwhile
        ([*pending((3.3, 0), (4, 0)), *pending((3.3, 8), (4, 9), consumer="2")], 0),
        (pending((3.3, None)), None),
        (pending((1, 9), (6, 9)), None),
        ([], None),
    ],
)
def test_in_hand_is_what_the_dead_one_had(readings: list[Reading], expected: float | None) -> None:
    """It is read while it is away, and what the others of the group have in hand is not its own."""
    fault = FaultWindow(name="kill", target="crm", start_ns=3 * S, end_ns=5 * S)
    assert expected == in_hand(History(readings), fault)


def test_what_was_taken_over() -> None:
    """From the fault until nothing was pending for those who had been in the group before it."""
    fault = FaultWindow(name="rolling", target="crm", start_ns=3 * S, end_ns=5 * S)
    old = pending((1, 9), (3.5, 7), (4, 7), (5, 0), (6, 0))
    new = pending((3.5, 2), (5, 3), (6, 4), consumer="2")
    assert taken_over(History([*old, *new]), fault) == (2.0, 0)
    assert taken_over(History([*pending((1, 9), (3.5, 7), (6, 5)), *new]), fault) == (None, 5)
    assert taken_over(History(pending((1, 9), (3.5, 0))), fault) == (0.0, 0)
    # Of whom nobody knows that he was there before, nothing is said.
    assert taken_over(History(new), fault) == (None, None)


def outage(directory: Path, **given: Any) -> tuple[Findings, Run]:
    """The findings of a small outage, and the run that they make."""
    findings = Findings("crm_outage")
    chosen = parameters(
        "smoke", durability="none", before_s=1, outage_s=1.5, after_s=1.5, send_lag_budget_ms=60_000, **given
    )
    scenario.run(stage_in(directory), chosen, findings)
    return findings, judged(scenario, chosen, findings)


def said(run: Run) -> tuple[dict[str, Status], dict[str, float | None], str]:
    """The verdicts that do not pass, the figures, and the headline."""
    bad = {v.name.removeprefix("crm_outage."): v.status for v in settled(run.verdicts) if v.status != "PASS"}
    return bad, {f.name.removeprefix("crm_outage."): f.value for f in run.figures}, run.headline


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    """It is seen that the CRM had events in hand; they come again, and their mails are known to have been sent."""
    bad, figures, headline = said(outage(tmp_path, fault="kill_in_batch")[1])
    assert bad == {}
    assert (figures["in_hand_events"] or 0) > 0
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert headline.startswith("The CRM was killed in the middle of a batch and away for 1.5 s; ")
    backlog, excess, detected = (figures[n] for n in ("backlog_events", "excess_lag_event_s", "detected_s"))
    assert backlog is not None
    assert backlog >= 250
    # A triangle of so many events over the outage, at least.
    assert (excess or 0) > 100
    assert 0 < (detected or 0) < 1.5
    assert (figures["predicted_drain_s"] or 0) >= (figures["first_effect_s"] or 0) > 0


@pytest.mark.slow
def test_a_zombie_comes_back(tmp_path: Path) -> None:
    """Frozen for longer than it takes until another claims its events: the other has them while it is frozen."""
    # With 100 ms a request it nearly always has events in hand.
    findings, run = outage(tmp_path, fault="freeze", consumers=2, idempotent="false", mail_delay_ms=100)
    bad, figures, _ = said(run)
    # Who is frozen acknowledges nothing: what it had, another has claimed, half a second later and no earlier.
    [(had, claimed_after_s)] = claimed_s(findings.history)
    assert had > 0
    assert 0.3 < claimed_after_s < 1.5
    # With mail that knows no IDs, what was on its way when the consumer froze is sent by both.
    assert bad.keys() <= {"nothing_twice"}
    assert figures["lost"] == 0
    # At most what was in one request.
    assert (figures["duplicated"] or 0) <= 500


@pytest.mark.slow
def test_poison_is_parked(tmp_path: Path) -> None:
    """An event that always fails is given up, and stops nobody."""
    bad, figures, _ = said(outage(tmp_path, fault="poison")[1])
    assert bad == {}
    assert (figures["parked"], figures["lost"]) == (1, 0)


# Faults that want more than an outage --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "verdict", "words"),
    [
        ({"fault": "kill_then_quiet"}, "went_quiet", "no event was due after the kill"),
        ({"fault": "one_backlog"}, "one_backlog", "the others got 150 events afterwards"),
        ({"fault": "stop_while_away"}, "stopped_while_away", "while what it calls was away, and had ended"),
        ({"fault": "rolling"}, "rolled", "pending for the old"),
    ],
    ids=lambda value: value.get("fault") if isinstance(value, dict) else None,
)
def test_a_fault_was_what_it_says(tmp_path: Path, given: dict[str, str], verdict: str, words: str) -> None:
    """It is seen in the record that it was, and the shop loses nothing by it, and does nothing twice."""
    _, run = outage(tmp_path, **given)
    bad, figures, _ = said(run)
    assert bad == {}
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    found = next(each for each in run.verdicts if each.name == f"crm_outage.{verdict}")
    assert found.status == "PASS"
    assert words in found.detail


@pytest.mark.slow
def test_a_group_that_is_set_back(tmp_path: Path) -> None:
    """What comes again is attempted again: mail that knows no IDs sends it twice."""
    _, run = outage(tmp_path, fault="redeliver", idempotent="false")
    bad, figures, headline = said(run)
    assert bad == {"nothing_twice": "FAIL"}
    assert (figures["set_back"], figures["tried_again"], figures["duplicated"]) == (100, 100, 100)
    assert headline.startswith(
        "The group was set back when all had drained, by 100 events; 100 of them were attempted once more; "
    )


@pytest.mark.slow
def test_what_was_gone_with_an_emptied_server_is_not_the_consumer_s_loss(tmp_path: Path) -> None:
    """A backlog waits when the server comes back empty: nobody could have handled it, and that is told."""
    _, run = outage(tmp_path, fault="restart_empty", mail_delay_ms="100", page="2")
    bad, figures, headline = said(run)
    assert "nothing_lost" not in bad
    assert figures["lost"] == 0
    assert figures["emptied"] > 0
    assert f"{figures['emptied']:,.0f} gone with the server's data" in headline


@pytest.mark.slow
def test_a_fault_that_a_system_cannot_suffer(tmp_path: Path) -> None:
    """It is said which, and why, before there is any load."""
    with pytest.raises(
        ScenarioError,
        match="kill_leader cannot be done to crm, which can suffer stop, stop_while_away, kill, kill_while_away",
    ):
        outage(tmp_path, fault="kill_leader")
