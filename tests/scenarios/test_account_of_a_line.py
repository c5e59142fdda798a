"""The account of a line, judged on small histories that were written by hand."""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyroaring import BitMap

from harness.check.judge import judge
from harness.conduct.findings import Findings
from harness.record.evidence import FILE, Evidence
from harness.record.run import Record, Status, Verdict
from harness.record.sections import Sections
from scenarios.line.account import account_checkers, accounted
from scenarios.line.evidence import NOTED, LineFacts
from tests.histories import add_events, add_load
from tests.verdicts import record_of

OF_ACCOUNT = ("drained", "nothing_lost", "nothing_twice", "nothing_unexpected", "in_order")
READ = (*NOTED, "effects", "stored", "line")


def record_with(evidence: Sections | Evidence) -> Record:
    """A complete run that has left this evidence."""
    record = record_of("line", None, Findings("line"))
    return Record(record.directory, record.run, evidence=evidence)


def verdicts(evidence: Sections | Evidence, line: str = "") -> dict[str, Verdict]:
    """What is found in the account, by name, but for the answers of the load."""
    found = judge(record_with(evidence), account_checkers("line", line, leave_out={"answered"}))
    return {verdict.name.removeprefix("line."): verdict for verdict in found}


def bad(evidence: Sections | Evidence) -> dict[str, Status]:
    """Those that do not pass."""
    return {name: verdict.status for name, verdict in verdicts(evidence).items() if verdict.status != "PASS"}


def events(**given: Any) -> Sections:
    return add_events(Sections(), **given)


def test_all_is_well() -> None:
    """Each event has its effect, once and in order: every verdict passes, in the order in which they are told."""
    found = verdicts(events())
    assert tuple(found) == OF_ACCOUNT
    assert {verdict.status for verdict in found.values()} == {"PASS"}
    assert found["nothing_lost"].detail == "each of 6 appended events has had its effect"
    assert found["in_order"].detail == "the effects of each of 3 entities came in the order of its events"


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"stored": [0, 1, 2, 3, 4]}, "not_in_stream"),
        ({"stored": [0, 1, 2, 3, 4], "trimmed": ([5], [])}, "trimmed_unread"),
        ({"stored": [0, 1, 2, 3, 4], "trimmed": ([], [4, 5])}, "trimmed_in_hand"),
        ({"delivered": range(5)}, "never_delivered"),
        ({"pending": [5]}, "pending"),
        # Delivered after `delivered` was read: pending all the same.
        ({"delivered": range(5), "pending": [5]}, "pending"),
        ({}, "not_pending"),
        ({"seen": {"acked": [5]}}, "without_effect"),
        ({"seen": {"dropped_with_consumer": [5]}}, "dropped_with_consumer"),
        ({"seen": {"dropped_with_group": [5]}}, "dropped_with_group"),
        ({"seen": {"skipped_by_group": [5]}}, "skipped_by_group"),
        ({"seen": {"unkept": [5]}}, "unkept"),
        ({"groupless": [5], "delivered": range(5)}, "group_gone"),
        ({"delivered": None}, "unclassed"),
    ],
)
def test_a_lost_event_is_lost_somewhere(given: dict[str, Any], where: str) -> None:
    """One of six has had no effect: it is in the class that streams and group say, and in no other."""
    evidence = events(effects=[0, 1, 2, 3, 4], **given)
    told = {
        "trimmed_unread": "were trimmed before they were read",
        "trimmed_in_hand": "were trimmed while a consumer had them in hand",
        "not_in_stream": "are not in the stream",
        "never_delivered": "were never delivered",
        "pending": "are pending",
        "without_effect": "were acknowledged by the consumer without an effect",
        "dropped_with_consumer": "were pending of a consumer when it was deleted from the group",
        "dropped_with_group": "were pending when the group was destroyed",
        "skipped_by_group": (
            "were skipped by the group, which was made anew or set beyond them, and never delivered"
        ),
        "unkept": "were read with NOACK and had no effect",
        "group_gone": "are in a stream that has no group any more",
        "not_pending": (
            "were passed by the group, are not pending, and had no effect: who acknowledged or skipped them "
            "was not seen"
        ),
        "unclassed": "stopped nobody knows where",
    }
    detail = f"1 of 6 appended events were lost: they have had no effect (1 {told[where]})"
    assert bad(evidence) == {"nothing_lost": "FAIL"}
    assert verdicts(evidence)["nothing_lost"].detail == detail
    assert accounted(evidence).losses.counts == {name: int(name == where) for name in told}


@pytest.mark.parametrize(
    ("given", "name", "detail"),
    [
        ({"effects": [0, 1, 2, 2, 3, 4, 5, 0]}, "nothing_twice", "2 effects were repeated"),
        ({"effects": [0, 1, 2, 3, 4, 5, 9]}, "nothing_unexpected", "1 effects came from events that nobody"),
        ({"foreign": 3}, "nothing_unexpected", "3 effects came from events that nobody attempted"),
        (
            {"effects": [1, 0, 2, 3, 4, 5]},
            "in_order",
            "1 of 6 effects came after that of a later event of the same entity, in 1 of 3 entities",
        ),
    ],
)  # fmt: skip
def test_what_should_not_be(given: dict[str, Any], name: str, detail: str) -> None:
    """An effect that came twice, from nowhere, or too late fails its verdict and no other."""
    found = verdicts(events(**given))
    assert {each: verdict.status for each, verdict in found.items() if verdict.status != "PASS"} == {name: "FAIL"}
    assert found[name].detail.startswith(detail)


@pytest.mark.parametrize(
    "given",
    [
        # An append without an answer that was taken, and one that was not.
        {"unknown": [6, 7], "effects": [0, 1, 2, 3, 4, 5, 6], "stored": [0, 1, 2, 3, 4, 5, 6]},
        {"refused": [6, 7]},
        {"attempted": [6], "effects": [0, 1, 2, 3, 4, 5, 6]},
        # The order is that of the streams, not of the numbers.
        {"effects": [1, 0, 2, 3, 4, 5], "stored": [1, 0, 2, 3, 4, 5]},
        # The first effect counts; and among entities there is no order.
        {"effects": [4, 5, 2, 3, 0, 1]},
    ],
)
def test_what_may_be(given: dict[str, Any]) -> None:
    """What was answered with an error or not at all may have its effect or not; nothing of it is wrong."""
    assert bad(events(**given)) == {}


def test_what_is_recovered_is_counted() -> None:
    """An append without an answer that has had its effect is recovered; one that is stored is told, too."""
    found = accounted(events(unknown=[6, 7], effects=[0, 1, 2, 3, 4, 5, 6], stored=[0, 1, 2, 3, 4, 6, 7]))
    assert (found.account.recovered, found.unknown_stored, found.stored) == (1, 2, 7)
    assert found.gone == BitMap([5])


def test_what_waits_is_not_lost() -> None:
    """Before everything was handled nobody knows what is lost, comes twice, or is unexpected."""
    found = verdicts(events(effects=[0, 1, 1], ending="time_up"))
    assert {name: verdict.status for name, verdict in found.items()} == {
        "drained": "FAIL",
        "nothing_lost": "UNKNOWN",
        "nothing_twice": "UNKNOWN",
        "nothing_unexpected": "UNKNOWN",
        "in_order": "PASS",
    }
    assert found["drained"].detail.endswith("after 60 s")


@pytest.mark.parametrize(
    ("given", "where"),
    [({"pending": [4, 5]}, "they are pending"), ({"delivered": range(4)}, "they were never delivered")],
)
def test_what_is_stuck_is_lost(given: dict[str, Any], where: str) -> None:
    """Where nothing moves any more the account is closed: what waits is lost, and of the rest all is known."""
    evidence = events(effects=[0, 1, 2, 3], ending="still", still_s=5.2, **given)
    found = verdicts(evidence)
    assert bad(evidence) == {"drained": "FAIL", "nothing_lost": "FAIL"}
    assert found["drained"].detail == f"2 events are stuck: {where}, and nothing has moved for 5 s"
    assert found["nothing_lost"].detail.startswith("2 of 6 appended events are stuck: they have had no effect (2 ")
    assert accounted(evidence).stuck == 2


def test_what_waits_for_nobody_is_not_stuck() -> None:
    """Acknowledged without an effect is lost, and not stuck; so is what waits where things have ended well."""
    assert accounted(events(effects=[0, 1, 2, 3], pending=[5], ending="still")).stuck == 1
    assert accounted(events(effects=[0, 1, 2, 3], pending=[5])).stuck == 0


@pytest.mark.parametrize(("is_drained", "ending"), [(True, "drained"), (False, "time_up")])
def test_older_records_have_an_ending(is_drained: bool, ending: str) -> None:
    """Records that know only whether all was handled are read: what was not, was on its way."""
    facts = {"capacity": 6, "events_an_entity": 2, "foreign": 0, "consumers": 1, "groups": {}, "parked": 0}
    read = msgspec.convert({**facts, "is_drained": is_drained, "waited_s": 60.0}, LineFacts)
    assert (read.ending, read.is_closed) == (ending, is_drained)


def test_nothing_acknowledged_is_no_evidence() -> None:
    """Without an event there is nothing of which anything could be said."""
    found = bad(events(acknowledged=(), delivered=()))
    assert found == dict.fromkeys(["nothing_lost", "nothing_twice", "nothing_unexpected", "in_order"], "UNKNOWN")


def test_several_consumers_have_no_order() -> None:
    """Consumers that share a group's events promise no order: there is no verdict on it."""
    assert tuple(verdicts(events(effects=[5, 4, 3, 2, 1, 0], consumers=2))) == OF_ACCOUNT[:-1]


def test_lines_of_one_run_have_accounts_of_their_own() -> None:
    """What was lost of one line is no loss of the other."""
    sections = add_events(add_events(Sections(), "always"), "none", effects=[0, 1, 2])
    found = {line: verdicts(sections, line)[f"{line}.nothing_lost"].status for line in ("always", "none")}
    assert found == {"always": "PASS", "none": "FAIL"}


def without(name: str) -> Sections:
    """The evidence of a line on which all is well, but for one section."""
    kept = Sections()
    kept.add_all(events(), lambda each: None if each == name else each)
    return kept


@pytest.mark.parametrize("name", READ)
def test_a_section_that_is_missing(name: str) -> None:
    """Without one of the sections nothing is known, and it is said which is missing."""
    found = verdicts(without(name))
    assert tuple(found) == OF_ACCOUNT
    assert {(each.status, each.detail) for each in found.values()} == {
        ("UNKNOWN", f"this run has no evidence {name!r}")
    }


@pytest.mark.parametrize("name", [*READ[:-1], "delivered", "pending", "values.json"])
def test_a_section_that_is_cut(tmp_path: Path, name: str) -> None:
    """A section whose bytes are not those that were written is no evidence, and it is said which it is."""
    events().save(tmp_path)
    path = tmp_path / FILE
    with zipfile.ZipFile(path) as archive:
        header = archive.getinfo(name).header_offset
    content = bytearray(path.read_bytes())
    # A header of 30 bytes says how long the name is, and the field after it.
    at = header + 30 + sum(struct.unpack_from("<HH", content, header + 26))
    content[at : at + 2] = bytes(255 - each for each in content[at : at + 2])
    path.write_bytes(content)
    found = verdicts(Evidence(tmp_path))
    assert tuple(found) == OF_ACCOUNT
    assert {each.status for each in found.values()} == {"UNKNOWN"}
    assert all(each.detail.startswith(f"{FILE}: {name} cannot be read") for each in found.values()), found


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut(tmp_path: Path, share: float) -> None:
    """Of a file that is not whole nothing is believed."""
    events().save(tmp_path)
    path = tmp_path / FILE
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found = verdicts(Evidence(tmp_path))
    assert tuple(found) == OF_ACCOUNT
    assert {each.status for each in found.values()} == {"UNKNOWN"}
    assert all(re.match(rf"{FILE}: \S+ cannot be read", each.detail) for each in found.values()), found


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """A run without evidence says so."""
    found = verdicts(Evidence(tmp_path))
    assert {each.status for each in found.values()} == {"UNKNOWN"}
    assert all(each.detail.startswith("evidence.zip is not there") for each in found.values())


def test_what_is_saved_is_judged_alike(tmp_path: Path) -> None:
    """Evidence that was written and read again gives the same verdicts."""
    gathered = events(effects=[1, 0, 2, 3, 3], pending=[5], foreign=1)
    gathered.save(tmp_path)
    assert verdicts(gathered) == verdicts(Evidence(tmp_path))
    assert {"nothing_lost", "nothing_twice", "nothing_unexpected", "in_order"} == set(bad(gathered))


def test_answers_are_judged_beside_the_account() -> None:
    """Where appends were refused, that is the first verdict; who leaves it out does not have it."""
    findings = Findings("line")
    add_events(findings.evidence)
    add_load(findings.evidence, findings.history)
    record = record_of("line", None, findings)
    [answered, *others] = judge(record, account_checkers("line"))
    assert (answered.name, answered.status) == ("line.answered", "FAIL")
    assert others == judge(record, account_checkers("line", leave_out={"answered"}))
