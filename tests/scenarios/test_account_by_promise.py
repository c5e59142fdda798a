"""The account of consumers that promise something, judged by that on small histories that were written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from harness.account.facts import Said
from harness.check.judge import judge
from harness.check.promises import Recovered
from harness.conduct.findings import Findings
from harness.record.run import Record, Status, Verdict
from harness.record.sections import Sections
from harness.system.promise import Promise, parse_promise
from scenarios.line.account import account_checkers, accounted
from scenarios.line.beside import beside_of
from tests.histories import add_events
from tests.verdicts import record_of

LEAST, EFFECTIVELY, MOST = (
    Promise(delivery=each) for each in ("at_least_once", "effectively_once", "at_most_once")
)


def events(promise: Promise | str = LEAST, **given: Any) -> Sections:
    """What is known of a line whose consumers promise this."""
    given["promise"] = parse_promise(promise) if isinstance(promise, str) else promise
    return add_events(Sections(), **given)


def verdicts(evidence: Sections) -> dict[str, Verdict]:
    """What is found in the account of a command of somebody else's, by name, but for the answers of the load."""
    record = record_of("line", None, Findings("line"))
    run = replace(record.run, environment={**record.run.environment, "system": {"name": "node app.js"}})
    record = Record(record.directory, run, evidence=evidence)
    found = judge(record, account_checkers("line", record=record, leave_out={"answered"}))
    return {verdict.name.removeprefix("line."): verdict for verdict in found}


def statuses(evidence: Sections) -> dict[str, Status]:
    return {name: verdict.status for name, verdict in verdicts(evidence).items()}


WELL: dict[str, Status] = {"drained": "PASS", "nothing_lost": "PASS", "nothing_unexpected": "PASS"}
REPEATED = [0, 1, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("promise", "expected"),
    [
        (LEAST, WELL),
        (EFFECTIVELY, WELL | {"nothing_twice": "PASS"}),
        (MOST, {"drained": "PASS", "nothing_twice": "PASS", "nothing_unexpected": "PASS"}),
        ("order=entity", WELL | {"in_order": "PASS"}),
    ],
)
def test_what_is_promised_is_judged(promise: Promise | str, expected: dict[str, Status]) -> None:
    """All is well: each promise has its verdicts, and what is not promised has none."""
    assert statuses(events(promise)) == expected


@pytest.mark.parametrize(
    ("promise", "given", "bad"),
    [
        # A repeat is a figure, a breach after the key, or a breach whatever the key does.
        (LEAST, {"effects": REPEATED}, {}),
        (EFFECTIVELY, {"effects": REPEATED}, {"nothing_twice": "FAIL"}),
        (MOST, {"effects": REPEATED}, {"nothing_twice": "FAIL"}),
        (EFFECTIVELY, {"attempts": {"A": 6, "D": 2}}, {}),
        (MOST, {"attempts": {"A": 6, "D": 2}}, {"nothing_twice": "FAIL"}),
        # Behind a unique key nobody sees it.
        (LEAST, {"sees_repeats": False}, {}),
        (EFFECTIVELY, {"sees_repeats": False}, {"nothing_twice": "UNKNOWN"}),
        (MOST, {"sees_repeats": False}, {"nothing_twice": "UNKNOWN"}),
        # A loss, and what is stuck.
        (LEAST, {"effects": [0, 1, 2]}, {"nothing_lost": "FAIL"}),
        (EFFECTIVELY, {"effects": [0, 1, 2]}, {"nothing_lost": "FAIL"}),
        (MOST, {"effects": [0, 1, 2]}, {}),
        (
            LEAST,
            {"effects": [0, 1, 2], "pending": [3, 4, 5], "ending": "still"},
            {"drained": "FAIL", "nothing_lost": "FAIL"},
        ),
        (MOST, {"effects": [0, 1, 2], "pending": [3, 4, 5], "ending": "still"}, {}),
        # The time is up.
        (
            LEAST,
            {"effects": [0, 1, 2], "ending": "time_up"},
            {"drained": "UNKNOWN", "nothing_lost": "UNKNOWN", "nothing_unexpected": "UNKNOWN"},
        ),
        (
            EFFECTIVELY,
            {"effects": [0, 1, 1], "ending": "time_up"},
            {
                "drained": "UNKNOWN",
                "nothing_lost": "UNKNOWN",
                "nothing_twice": "FAIL",
                "nothing_unexpected": "UNKNOWN",
            },
        ),
        # Nobody may do what nobody has asked for.
        (MOST, {"foreign": 1}, {"nothing_unexpected": "FAIL"}),
        # Order, where it is asked for.
        (LEAST, {"effects": [1, 0, 2, 3, 4, 5]}, {}),
        ("order=entity", {"effects": [1, 0, 2, 3, 4, 5]}, {"in_order": "FAIL"}),
        ("order=entity", {"effects": [1, 0, 2, 3, 4, 5], "consumers": 3}, {"in_order": "FAIL"}),
        ("order=entity", {"effects": [2, 3, 0, 1, 4, 5]}, {}),
    ],
)  # fmt: skip
def test_what_is_not_kept(promise: Promise | str, given: dict[str, Any], bad: dict[str, Status]) -> None:
    """A breach fails by its verdict and no other; what is not promised is no breach."""
    found = statuses(events(promise, **given))
    assert {name: status for name, status in found.items() if status != "PASS"} == bad


STREAMS = ([0, 1, 4, 5], [2, 3])


@pytest.mark.parametrize(
    ("effects", "consumers", "status"),
    [
        ([0, 1, 2, 3, 4, 5], 1, "PASS"),
        # Among streams there is no order.
        ([2, 3, 0, 1, 4, 5], 1, "PASS"),
        # Each entity's is kept, and the stream's is not.
        ([4, 5, 0, 1, 2, 3], 1, "FAIL"),
        ([4, 5, 0, 1, 2, 3], 2, "UNKNOWN"),
    ],
)
def test_the_order_of_a_stream(effects: list[int], consumers: int, status: Status) -> None:
    """Whoever promises it keeps it stream by stream; several consumers cannot."""
    found = verdicts(events("order=stream", effects=effects, consumers=consumers, in_stream=STREAMS))["in_order"]
    assert found.status == status
    if status == "PASS":
        assert found.detail == "the effects of each of 2 streams came in the order of its events"


RECOVERED = Recovered(
    fault="kill", target="consumer", healed_ns=0, waiting=4, without_effect=0, took_s=3.0, watched_s=9.0
)


def test_recovery_is_judged_where_a_time_is_promised() -> None:
    """Three seconds are within five and not within two; without a promise they are a figure."""
    for promise, status in (("recovers_within=5s", "PASS"), ("recovers_within=2s", "FAIL"), ("", None)):
        found = verdicts(events(promise, recoveries=[RECOVERED])).get("recovered_within")
        assert (found and found.status) == status


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("poisoned", "1 are refused for ever"),
        ("parked", "1 were parked, by the consumer's word"),
        ("emptied", "1 were gone with the server's data"),
    ],
)
def test_what_is_spared_is_not_lost(name: str, said: str) -> None:
    """Of an event without an effect it is known why: it is not lost, and it is told; another one still is."""
    evidence = events(effects=[0, 1, 2, 3, 4], spared={name: [5]})
    found = verdicts(evidence)["nothing_lost"]
    assert (found.status, accounted(evidence).account.lost) == ("PASS", 0)
    assert found.detail == f"each of 6 appended events has had its effect, but for those of which {said}"
    # One that had its effect after all is nothing to tell of.
    evidence = events(effects=[0, 1, 2, 3, 4, 5], spared={name: [5]})
    assert verdicts(evidence)["nothing_lost"].detail == "each of 6 appended events has had its effect"
    evidence = events(effects=[0, 1, 2, 3], spared={name: [5]})
    assert verdicts(evidence)["nothing_lost"].status == "FAIL"
    assert accounted(evidence).losses.counts["not_pending"] == 1


def test_an_event_is_spared_once() -> None:
    """Refused for ever, and therefore parked: that is one event."""
    found = accounted(events(effects=[0, 1, 2, 3], spared={"poisoned": [4], "parked": [4, 5], "emptied": [5]}))
    assert list(found.spared_said.values()) == [1, 1, 0]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"effects": [0, 1, 2, 3, 4]}, "PASS"),
        ({"effects": [0, 1, 2, 3], "pending": [4, 5], "ending": "still"}, "FAIL"),
        (
            {"effects": [0, 1, 2, 3], "pending": [4, 5], "ending": "time_up", "quiet_s": 58.0, "patience_s": 5.0},
            "FAIL",
        ),
        ({"effects": [0, 1, 2, 3], "pending": [4, 5], "ending": "time_up", "patience_s": 5.0}, "UNKNOWN"),
        ({"effects": [0, 1, 2, 3, 4], "attempts": {"A": 5}}, "UNKNOWN"),
    ],
)
def test_poison(given: dict[str, Any], status: Status) -> None:
    """The last event is refused for ever: whether another one waits behind it is the verdict."""
    given = {"attempts": {"A": 5, "P": 3}} | given
    found = verdicts(events(poisoned=1, spared={"poisoned": [5]}, **given))
    assert found["poison_passed_over"].status == status


def test_lines_of_one_run_promise_for_themselves() -> None:
    """Where a run has several lines, each has the sections of its own, the promise among them."""
    sections = add_events(add_events(Sections(), "always", promise=MOST), "none", promise=LEAST)
    assert [accounted(sections, line).promise for line in ("always", "none")] == [MOST, LEAST]


def test_what_consumers_say_is_kept() -> None:
    """It is read as it was written; where nothing was said, there is nothing."""
    evidence = events()
    assert beside_of(evidence).said is None
    said = Said(counts={"parked": 2}, bad=1, examples=("line 3: what",))
    evidence.add_json("said", said)
    assert beside_of(evidence).said == said
