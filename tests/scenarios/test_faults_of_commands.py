"""Faults of consumers that are commands: each was what it says, and finds a flaw that a plain kill does not show.

The programs are `tests/consumers/flawed.py`, with one flaw each.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from harness.conduct.conduct import conduct
from harness.conduct.scenario import parameters_of
from harness.record.run import Status
from scenarios.crm_outage import scenario
from tests.consumers import system
from tests.lines import stage_in
from tests.verdicts import settled

pytestmark = pytest.mark.slow

SHORT = {
    "before_s": "1",
    "outage_s": "1.5",
    "after_s": "2",
    "durability": "none",
    "send_lag_budget_ms": "60000",
    "claim_after_ms": "500",
    "drain_timeout_s": "20",
}


class Outcome(NamedTuple):
    """What came of a fault: the verdicts that do not pass, the figures, and what each verdict says."""

    bad: dict[str, Status]
    figures: dict[str, float | None]
    said: dict[str, str]
    headline: str


def outage(directory: Path, flaw: str, fault: str, promise: str = "at_least_once", **given: str) -> Outcome:
    """A small outage of a consumer with a flaw."""
    stage = msgspec.structs.replace(stage_in(directory), system=system("flawed", flaw, promise=promise))
    chosen = parameters_of(scenario, "smoke", {**SHORT, "fault": fault, **given})
    record, ended = conduct(scenario, chosen, stage, command=["test"])
    assert ended is None, ended
    verdicts = [(each.name.removeprefix("crm_outage."), each) for each in settled(record.run.verdicts)]
    return Outcome(
        bad={name: each.status for name, each in verdicts if each.status != "PASS"},
        figures={figure.name.removeprefix("crm_outage."): figure.value for figure in record.run.figures},
        said={name: each.detail for name, each in verdicts},
        headline=record.run.headline,
    )


@pytest.mark.parametrize(
    ("fault", "verdict", "words"),
    [
        ("kill", "hit_in_batch", "it was killed with "),
        ("kill_in_batch", "hit_in_batch", "it was killed with "),
        ("kill_then_quiet", "went_quiet", "no event was due after the kill"),
        ("one_backlog", "one_backlog", "and none while it was away"),
        ("stop_while_away", "stopped_while_away", "events in hand, while what it calls was away"),
        ("kill_while_away", "killed_while_away", "events in hand, while what it calls was away"),
        ("rolling", "rolled", "for the old"),
        ("refuse", "was_refused", "attempts were refused for now"),
        ("redeliver", "redelivered", "100 events was attempted once more; this does not test claiming"),
    ],
)
def test_a_good_one_passes_and_the_fault_was_what_it_says(
    tmp_path: Path, fault: str, verdict: str, words: str
) -> None:
    """Nothing is lost, and it is seen that the fault has hit."""
    found = outage(tmp_path, "none", fault)
    assert found.bad == {}
    assert words in found.said[verdict]
    assert found.figures["lost"] == 0


def test_who_looks_for_what_is_pending_only_with_news(tmp_path: Path) -> None:
    """It passes as long as events come; killed before a silence, what it had in hand is stuck."""
    assert outage(tmp_path / "kill", "claims_with_news", "kill").bad == {}
    found = outage(tmp_path / "quiet", "claims_with_news", "kill_then_quiet")
    assert found.bad == {"drained": "FAIL", "nothing_lost": "FAIL"}
    assert "pending" in found.said["nothing_lost"]


def test_who_acknowledges_what_it_cannot_finish(tmp_path: Path) -> None:
    """Told to stop while the sink is away it throws away what it has in hand; that is lost, every time."""
    found = outage(tmp_path, "acks_on_stop", "stop_while_away")
    assert found.bad["nothing_lost"] == "FAIL"
    assert found.said["stopped_while_away"].startswith("it was told to stop with ")


def test_who_forgets_the_backlog_of_one_stream(tmp_path: Path) -> None:
    """What one stream got while it was away is never delivered; the news of the other are."""
    found = outage(tmp_path, "forgets_backlog", "one_backlog")
    assert found.bad["nothing_lost"] == "FAIL"
    # What came in the moment before it had ended it may have had.
    assert 250 <= (found.figures["lost"] or 0) <= 300


def test_who_never_claims_leaves_what_the_old_one_had(tmp_path: Path) -> None:
    """A deploy under a new name while the sink is slow: what the old one had in hand is nobody's."""
    found = outage(tmp_path, "never_claims", "rolling", mail_delay_ms="300")
    assert "were pending for the old consumer when it had ended" in found.said["rolled"]
    assert "still were in the end" in found.said["rolled"]
    assert found.headline.startswith("The consumer was replaced by one of another name; ")


def test_a_deploy_that_changes_no_name(tmp_path: Path) -> None:
    """All call themselves alike: then it was no deploy under a new name, and that is said."""
    found = outage(tmp_path, "same_name", "rolling")
    assert found.bad["rolled"] == "UNKNOWN"
    assert "the group has no new name" in found.said["rolled"]


def test_what_lives_on_without_its_leader(tmp_path: Path) -> None:
    """Its child does the work while it is away, and is seen to; all of it is ended before it comes back."""
    found = outage(tmp_path, "forks", "kill_leader")
    assert found.bad == {}
    assert found.figures["survivors"] == 1
    assert (found.figures["effects_meanwhile"] or 0) > 100
    assert found.said["others_lived_on"].startswith("1 process was left when the first one was killed; ")


def test_a_leader_that_was_alone(tmp_path: Path) -> None:
    """Of who has no other process, the kill of the leader was a plain kill; that is said, and no more."""
    found = outage(tmp_path, "none", "kill_leader")
    assert found.bad == {"others_lived_on": "UNKNOWN"}
    assert found.figures["survivors"] == 0


def test_what_is_delivered_again_has_its_effect_twice(tmp_path: Path) -> None:
    """Where effectively once is promised: it fails without a key, and passes with one, both seen to be tried."""
    found = outage(tmp_path / "without", "none", "redeliver", promise="effectively_once")
    assert found.bad == {"nothing_twice": "FAIL"}
    found = outage(tmp_path / "with", "one_effect_a_key", "redeliver", promise="effectively_once")
    assert found.bad == {}
    assert (found.figures["tried_again"], found.figures["duplicated"]) == (100, 0)


def test_who_waits_for_ever_is_woken(tmp_path: Path) -> None:
    """A group that is set back wakes nobody; an event that is nobody's account does."""
    found = outage(tmp_path, "waits_for_ever", "redeliver")
    assert found.bad == {}
    assert found.figures["tried_again"] == 100


def test_one_poisoned_event_stops_who_does_not_park_it(tmp_path: Path) -> None:
    """It is tried again and again; how often is seen."""
    found = outage(tmp_path, "none", "poison")
    assert "attempts at the poisoned event were refused" in found.said["was_poisoned"]
    assert found.bad.keys() >= {"nothing_lost"}


def test_a_cut_and_a_silent_line(tmp_path: Path) -> None:
    """Both are lines of the consumer's own; it goes on when they heal."""
    assert outage(tmp_path / "reset", "none", "cut").bad == {}
    assert outage(tmp_path / "silent", "none", "cut_half_open").bad == {}
    assert outage(tmp_path / "sink", "none", "cut", link="crm-mail").bad == {}


def test_frozen_beyond_the_claim(tmp_path: Path) -> None:
    """Nothing is lost where another claims what it has, and none where it is alone."""
    assert outage(tmp_path, "none", "freeze", consumers="2").bad == {}


def test_of_an_emptied_server_only_what_came_after_it_is_owed(tmp_path: Path) -> None:
    """What was in it is gone with it, and no consumer has lost that; the account says so."""
    found = outage(tmp_path, "none", "restart_empty", mail_delay_ms="50")
    assert found.bad == {}
