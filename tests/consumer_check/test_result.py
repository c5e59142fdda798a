"""What a trial and a row come to, by hand-made verdicts and figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.conduct.findings import Findings
from harness.consumer_check.result import FILE, SCHEMA, Check, counts_of, judged, load, save, seen, undecided_by
from harness.consumer_check.rows import row_status, rows_of, side_status, status_of
from harness.measure.timeline import Mark
from harness.record.run import Record, RunError, Status, Verdict
from harness.record.sections import Sections
from scenarios.line.followed import Followed
from tests.consumer_checks import check_of, failing_check, played, trial, verdict
from tests.verdicts import record_of

FINE = [
    verdict("send_lag", "PASS", "in time"),
    verdict("answered", "PASS", "all"),
    verdict("drained", "PASS", "all"),
    verdict("nothing_lost", "PASS", "none"),
]


def judge(*changed: Verdict, happened: tuple[str, ...] = (), is_complete: bool = True) -> tuple[Status, str]:
    """What a fine trial comes to with these verdicts in the place of its own."""
    by_name = {each.name: each for each in [*FINE, *changed]}
    return judged(list(by_name.values()), happened, is_complete=is_complete)


def test_a_fine_trial_passes() -> None:
    """Everything was seen, and nothing was lost."""
    assert judge() == ("PASS", "")


@pytest.mark.parametrize("name", ["nothing_lost", "nothing_twice", "in_order", "recovered_within", "anything_new"])
def test_what_is_about_the_consumer_fails_it(name: str) -> None:
    """A verdict that nobody has put elsewhere is about the consumer."""
    assert judge(verdict(name, "FAIL", "seen")) == ("FAIL", "")
    assert judge(verdict(name, "UNKNOWN", "not seen")) == ("UNKNOWN", "")


@pytest.mark.parametrize("name", ["send_lag", "load_reached", "producers_unharmed_away", "probes"])
def test_a_late_instrument_decides_nothing(name: str) -> None:
    """Neither does what producers noticed: the account of the events is closed all the same."""
    assert judge(verdict(name, "UNKNOWN", "late")) == ("PASS", "")
    assert judge(verdict(name, "FAIL", "late")) == ("PASS", "")


@pytest.mark.parametrize("name", ["answered", "evictions", "ended"])
def test_a_server_that_did_not_stand_blames_nobody(name: str) -> None:
    """What was not appended, or was evicted, is no fault of the consumer's; and no pass either."""
    assert judge(verdict(name, "FAIL", "the server")) == ("UNKNOWN", "")


@pytest.mark.parametrize("name", ["hit_in_batch", "outage_happened", "redelivered", "rolled"])
def test_what_did_not_happen_is_not_tried(name: str) -> None:
    """A fault that did not happen makes no PASS, and says why; a loss that was seen stays one."""
    not_done = verdict(name, "UNKNOWN", "it had nothing in hand")
    assert judge(not_done) == ("UNKNOWN", "it had nothing in hand")
    lost = verdict("nothing_lost", "FAIL", "32 were lost")
    assert judge(not_done, lost) == ("FAIL", "it had nothing in hand")
    assert judge(verdict(name, "PASS", "done")) == ("PASS", "")


def test_a_proof_that_is_missing_is_none() -> None:
    """A trial that needs to have been done is not tried where its run does not say whether it was."""
    outcome, why = judge(happened=("hit_in_batch",))
    assert outcome == "UNKNOWN"
    assert "hit_in_batch" in why


def test_no_evidence_is_unknown() -> None:
    """No verdict at all, none on losses, or a run that did not come to its end."""
    assert judged([], (), is_complete=True) == ("UNKNOWN", "")
    assert judged(FINE[:-1], (), is_complete=True) == ("UNKNOWN", "")
    assert judge(is_complete=False) == ("UNKNOWN", "")


def test_why_nothing_is_decided() -> None:
    """What was measured first, then what is about the consumer; lateness, and what passes, are no reasons."""
    verdicts = [
        *FINE[:2],
        verdict("nothing_lost", "UNKNOWN", "the account is open"),
        verdict("send_lag", "UNKNOWN", "late"),
        verdict("evictions", "FAIL", "3 were evicted"),
    ]
    undecided = played("kill", "UNKNOWN", verdicts=verdicts)
    assert [each.detail for each in undecided_by(undecided)] == ["3 were evicted", "the account is open"]
    assert undecided_by(played("kill", "FAIL", verdicts=verdicts)) == []


@pytest.mark.parametrize(
    ("told", "is_followed"),
    [
        (Followed(consumers=["consumer"]), True),
        (Followed(consumers=[]), False),
        (Followed(consumers=["consumer"], gaps=["connection 3 is followed no more"]), False),
        (Followed(consumers=["consumer"], scripts=1), False),
        (Followed(consumers=["consumer"], others=["consumer-2"]), False),
        (Followed(consumers=["consumer"], is_certain=False), False),
        (None, False),
    ],
)
def test_what_the_record_has_beside_its_verdicts(told: Followed | None, is_followed: bool) -> None:
    """With which codes the consumer has ended, and whether all was seen that its group was told."""
    record = record_of("crm_outage", None, Findings("crm_outage"))
    sections, history = Sections(), record.history
    if told is not None:
        sections.add_json("followed", told)
    history.add(Mark(t_ns=1, name="consumer exited with -9"))
    history.add(Mark(t_ns=2, name="crm ready"))
    history.add(Mark(t_ns=3, name="consumer exited with 0"))
    record = Record(record.directory, record.run, history=history, evidence=sections)
    found = seen(record, trial("kill"), played("kill"), sees_repeats=True)
    assert (found.exit_codes, found.is_followed) == ([-9, 0], is_followed)


def test_stuck_is_what_the_group_could_still_hand_over() -> None:
    """Pending and never delivered are stuck; all else without an effect is lost."""
    figures = {
        "crm_outage.acknowledged": 1000.0,
        "crm_outage.lost": 45.0,
        "crm_outage.lost.pending": 32.0,
        "crm_outage.lost.never_delivered": 8.0,
        "crm_outage.lost.without_effect": 5.0,
        "crm_outage.lost.unclassed": 0.0,
        "crm_outage.duplicated": 7.0,
        "crm_outage.drained_s": 2.5,
    }
    found = counts_of(figures, "crm_outage")
    assert (found.lost, found.stuck, found.repeated, found.recovered_s) == (5, 40, 7, None)
    assert found.where == {"pending": 32, "never_delivered": 8, "without_effect": 5}


@pytest.mark.parametrize(
    ("measured", "recovered_s"),
    [
        ({"recovered_s.max": 1.5, "caught_up_s": 2.0}, 1.5),
        ({"recovered_s.max": None, "caught_up_s": None, "drained_s": 2.5}, 2.5),
        ({}, None),
    ],
)
def test_recovered_is_what_was_measured(measured: dict[str, float | None], recovered_s: float | None) -> None:
    """The first of its figures that has a value."""
    figures = {f"crm_outage.{name}": value for name, value in {**measured, "lost": 0.0}.items()}
    assert counts_of(figures, "crm_outage").recovered_s == recovered_s


def test_an_account_that_is_not_closed_has_no_numbers() -> None:
    """What is not known is None, and not 0."""
    found = counts_of({"crm_outage.lost": None, "crm_outage.lost.pending": None}, "crm_outage")
    assert (found.lost, found.stuck, found.where, found.recovered_s) == (None, None, {}, None)


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        (["PASS", "PASS"], "PASS"),
        (["PASS", "not tried"], "PASS"),
        (["not tried", "not tried"], "UNKNOWN"),
        (["PASS", "UNKNOWN"], "UNKNOWN"),
        (["PASS", "UNKNOWN", "FAIL"], "FAIL"),
    ],
)
def test_the_status_of_a_row(outcomes: list[str], status: str) -> None:
    """One that fails makes it fail; a pass needs one that was tried, and no other that is undecided."""
    made = [
        played("kill", "UNKNOWN", not_tried="nothing in hand") if each == "not tried" else played("kill", each)
        for each in outcomes
    ]
    assert row_status(made) == status


def test_rows_stand_side_by_side() -> None:
    """A trial's rows follow one another, the consumers in their order; each has all of its repeats."""
    rows = rows_of(failing_check())
    assert [(row.trial.name, row.side, row.status, row.count) for row in rows] == [
        ("stop", 0, "PASS", 3),
        ("stop", 1, "PASS", 3),
        ("kill", 0, "FAIL", 2),
        ("kill", 1, "PASS", 3),
        ("redeliver", 0, "UNKNOWN", 0),
        ("redeliver", 1, "UNKNOWN", 0),
    ]


def test_the_first_consumer_is_asked_about() -> None:
    """The one beside it has a status of its own, which decides nothing."""
    check = failing_check()
    assert (status_of(check), side_status(check, 1)) == ("FAIL", "UNKNOWN")


@pytest.mark.parametrize(
    "changed", [{"status": "interrupted"}, {"status": "running"}, {"ended_early": {0: "it does not start"}}]
)
def test_what_did_not_come_to_its_end_does_not_pass(changed: dict[str, object]) -> None:
    """Though all that was played passes."""
    assert status_of(check_of(played("kill"))) == "PASS"
    assert status_of(check_of(played("kill"), **changed)) == "UNKNOWN"
    assert status_of(check_of(played("kill", "FAIL", stuck=1), **changed)) == "FAIL"


def test_what_need_not_apply_decides_nothing() -> None:
    """A consumer of one process has no others that live on; but a check is not made of such trials alone."""
    not_done = played("kill_leader", "UNKNOWN", not_tried="nothing was left")
    assert status_of(check_of(played("stop"), not_done)) == "PASS"
    assert status_of(check_of(not_done)) == "UNKNOWN"
    assert status_of(check_of(played("stop"), played("kill_leader", "UNKNOWN"))) == "UNKNOWN"
    assert status_of(check_of(played("stop"), played("kill", "UNKNOWN", not_tried="nothing in hand"))) == "UNKNOWN"


def test_nothing_played_is_unknown() -> None:
    """A check without trials says nothing."""
    assert status_of(check_of()) == "UNKNOWN"


def test_a_check_is_read_as_it_was_written(tmp_path: Path) -> None:
    """All of it, examples and repeats included."""
    check = failing_check()
    save(tmp_path, check)
    assert load(tmp_path) == check


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no consumer check there"), (b"{", "not a consumer check"), (b"\xff", "not a consumer check")],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, said: str) -> None:
    """In one line, with the path."""
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RunError, match=said):
        load(tmp_path)


def test_a_newer_check_is_not_guessed_at(tmp_path: Path) -> None:
    """Its schema is told."""
    newer: Check = check_of(played("kill"), schema=SCHEMA + 1)
    save(tmp_path, newer)
    with pytest.raises(RunError, match="newer shopbench"):
        load(tmp_path)
