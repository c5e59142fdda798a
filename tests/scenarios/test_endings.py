"""How runs of somebody else's consumer end, and by what they are judged: with real ones, on a real server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from harness.account.event_ids import event_id
from harness.check.judge import judge
from harness.conduct.findings import Findings
from harness.load.pacing import constant
from harness.nemesis.plan import Fault
from harness.record.run import Record, Status
from harness.system.running_consumers import RunningConsumers
from scenarios.line.account import Accounted, account_checkers, add_account
from scenarios.line.ending import still_after_ns
from scenarios.line.line import Line
from scenarios.line.settings import LineSettings
from tests.consumers import system
from tests.lines import stage_in
from tests.verdicts import record_of

pytestmark = pytest.mark.slow

MS = 1_000_000
RATE_PER_S, LOAD_S, TOTAL = 200, 0.6, 120
SETTINGS = LineSettings(durability="none", claim_after_ms=200, page=20)
PATIENCE_S = still_after_ns(200) / 1e9
KILL = [Fault(name="kill", target="crm", at_ns=300 * MS, for_ns=100 * MS)]


class Ended(NamedTuple):
    """How a run has ended."""

    found: Accounted
    statuses: dict[str, Status]
    figures: dict[str, float | None]


def ended(
    directory: Path,
    *does: str,
    promise: str = "",
    plan: Sequence[Fault] = (),
    timeout_s: float = 20.0,
    before: Callable[[Line], Any] = lambda _: None,
) -> Ended:
    """Give a consumer that does this a load, wait for its end, and judge it.

    Args:
        promise: of the consumer.
        plan: faults.
        timeout_s: that its drain may take.
        before: is done before the load.
    """
    findings = Findings("line")
    stage = replace(stage_in(directory), system=system("plain", *does, promise=promise))
    with Line(stage, constant(RATE_PER_S, LOAD_S), SETTINGS) as line:
        before(line)
        line.run_load(findings, plan)
        line.wait_until_drained(timeout_s)
        found = add_account(findings, line, timeout_s=timeout_s)
    record = record_of("line", None, findings)
    run = replace(record.run, environment={**record.run.environment, "system": {"name": "plain"}})
    record = Record(record.directory, run, evidence=findings.evidence, history=findings.history)
    verdicts = judge(record, account_checkers("line", record=record, leave_out={"answered"}))
    statuses = {verdict.name.removeprefix("line."): verdict.status for verdict in verdicts}
    return Ended(found, statuses, {each.name.removeprefix("line."): each.value for each in findings.figures})


def bad(run: Ended) -> dict[str, Status]:
    return {name: status for name, status in run.statuses.items() if status != "PASS"}


def poison(line: Line) -> None:
    """Have the tenth event of the run refused for ever."""
    assert isinstance(line.running, RunningConsumers)
    line.running.sink.poison(event_id(line.producer, 10))


def test_what_a_killed_one_had_in_hand_is_stuck(tmp_path: Path) -> None:
    """It comes back, and never asks for it: nothing moves any more, so the account is closed, and it fails."""
    run = ended(tmp_path, "slow", promise="recovers_within=2s", plan=KILL)
    facts = run.found.facts
    assert bad(run) == {"drained": "FAIL", "nothing_lost": "FAIL", "recovered_within": "FAIL"}
    assert (facts.ending, run.found.losses.counts["pending"]) == ("still", run.found.account.lost)
    assert run.figures["stuck"] == run.figures["lost"] == run.found.account.lost > 0
    assert facts.still_s >= PATIENCE_S


def test_who_asks_for_it_has_nothing_stuck(tmp_path: Path) -> None:
    """The same kill, and all is handled; that it took a while to have all is within what it promises."""
    run = ended(tmp_path, "slow", "own", promise="recovers_within=60s", plan=KILL)
    assert bad(run) == {}
    assert run.statuses["recovered_within"] == "PASS"
    assert run.found.facts.ending == "drained"
    assert run.figures["recovered_s.max"] is not None
    assert "stuck" not in run.figures


def test_what_was_gone_with_the_server_is_not_the_consumer_s_loss(tmp_path: Path) -> None:
    """A backlog waits when the server comes back empty: that is told, and lost by nobody; the rest is handled."""
    empty = [Fault(name="restart_empty", target="server", at_ns=300 * MS, for_ns=150 * MS)]
    run = ended(tmp_path, "slow", "own", plan=empty)
    assert run.statuses["nothing_lost"] == "PASS"
    assert (run.figures["lost"], run.found.facts.ending) == (0, "drained")
    assert run.figures["emptied"]


def test_at_most_once_may_lose_and_may_not_repeat(tmp_path: Path) -> None:
    """What is stuck is a figure; that what was in hand came again is a breach."""
    run = ended(tmp_path, "slow", promise="at_most_once", plan=KILL)
    assert bad(run) == {}
    assert run.figures["stuck"]
    run = ended(tmp_path, "twice", promise="at_most_once")
    assert bad(run) == {"nothing_twice": "FAIL"}
    assert (run.figures["duplicated"], run.figures["kept_out"], run.figures["repeated"]) == (0, TOTAL, TOTAL)


def test_effectively_once_is_judged_after_the_key(tmp_path: Path) -> None:
    """Each effect was asked for twice, under a key that the sink knows."""
    run = ended(tmp_path, "twice", promise="effectively_once")
    assert bad(run) == {}
    assert run.figures["kept_out"] == TOTAL


def test_the_time_is_up_while_things_move(tmp_path: Path) -> None:
    """A slow one has not done when the time is up: nothing is known of the rest, and nothing is said."""
    run = ended(tmp_path, "slow", timeout_s=0.3)
    assert run.found.facts.ending == "time_up"
    assert bad(run) == {"drained": "UNKNOWN", "nothing_lost": "UNKNOWN", "nothing_unexpected": "UNKNOWN"}
    assert run.figures["lost"] is None


def test_poison_is_passed_over(tmp_path: Path) -> None:
    """It is claimed, and refused, again and again: that holds up nobody, and is no loss."""
    run = ended(tmp_path, "claim", before=poison)
    assert bad(run) == {}
    assert run.statuses["poison_passed_over"] == "PASS"
    assert (run.found.facts.ending, run.figures["lost"], run.figures["poisoned"]) == ("drained", 0, 1)


def test_poison_that_blocks_the_others(tmp_path: Path) -> None:
    """It is tried for ever, and others wait behind it: what is tried in vain is no movement."""
    run = ended(tmp_path, "block", before=poison)
    assert bad(run) == {"drained": "FAIL", "nothing_lost": "FAIL", "poison_passed_over": "FAIL"}
    assert (run.found.facts.ending, run.figures["poisoned"]) == ("still", 1)
    assert run.figures["stuck"] == run.figures["lost"]


def test_poison_that_takes_its_page_with_it(tmp_path: Path) -> None:
    """The whole page is tried again and again, and so things move; but no effect comes of it."""
    run = ended(tmp_path, "batch", before=poison, timeout_s=PATIENCE_S + 1)
    assert run.found.facts.ending == "time_up"
    assert bad(run) == {
        "drained": "UNKNOWN",
        "nothing_lost": "UNKNOWN",
        "nothing_unexpected": "UNKNOWN",
        "poison_passed_over": "FAIL",
    }


def test_what_is_parked_is_not_lost(tmp_path: Path) -> None:
    """It was put aside, and the consumer has said so; the sink's refusal alone would do, and is told once."""
    run = ended(tmp_path, "park", before=poison)
    assert bad(run) == {}
    assert (run.figures["lost"], run.figures["parked"], run.figures["facts.parked"]) == (0, 1, 1)
    assert list(run.found.spared_said.values()) == [1, 0, 0]


def test_acknowledged_first_and_killed_is_lost_and_not_stuck(tmp_path: Path) -> None:
    """Nothing waits for what was acknowledged: it is drained, and one event is lost."""
    # While the sink is away, it has acknowledged the event that it tries to have the effect of: for certain.
    run = ended(tmp_path, "slow", "own", "first", plan=[replace(KILL[0], name="kill_while_away")])
    assert bad(run) == {"nothing_lost": "FAIL"}
    assert run.found.facts.ending == "drained"
    assert run.found.losses.counts["without_effect"] == run.found.account.lost == 1
