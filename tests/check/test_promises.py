"""What is promised, judged on accounts that were written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from harness.account.ledger import Account
from harness.check.checkers import Ending
from harness.check.promises import (
    Recovered,
    nothing_asked_twice,
    nothing_twice_after_keys,
    poison_passed_over,
    recovered_within,
    still_at_it,
)
from harness.record.run import Status

GOOD = Account(
    attempted=100, acknowledged=100, unknown=0, applied=100, lost=0, duplicated=0, unexpected=0, recovered=0
)


@pytest.mark.parametrize(
    ("changed", "given", "status", "detail"),
    [
        ({}, {}, "PASS", "no event has had its effect twice"),
        # The key has kept it out: that is what effectively once means.
        ({}, {"kept_out": 7}, "PASS", "7 effects were asked for again, and their idempotency key was known"),
        ({"duplicated": 3}, {}, "FAIL", "3 effects were repeated: their events had had an effect before"),
        # What was seen twice was had twice, however it ends, and whatever else could not be seen.
        ({"duplicated": 3}, {"ending": "time_up", "sees_repeats": False}, "FAIL", "3 effects were repeated"),
        ({}, {"ending": "time_up"}, "UNKNOWN", "not drained"),
        ({}, {"ending": "still"}, "PASS", "no event has had its effect twice"),
        (
            {},
            {"sees_repeats": False},
            "UNKNOWN",
            "no effect was seen twice, and none could be: behind a unique key",
        ),
        ({"applied": 0, "lost": 100}, {}, "UNKNOWN", "no event has had an effect"),
    ],
)
def test_effectively_once(changed: dict[str, int], given: dict[str, Any], status: Status, detail: str) -> None:
    """An effect that was had again fails, one that its key kept out does not; what nobody sees is UNKNOWN."""
    ending: Ending = given.get("ending", "drained")
    found = nothing_twice_after_keys(
        "x",
        replace(GOOD, **changed),
        ending=ending,
        kept_out=given.get("kept_out", 0),
        sees_repeats=given.get("sees_repeats", True),
    )
    assert (found.status, detail in found.detail) == (status, True), found.detail


@pytest.mark.parametrize(
    ("duplicated", "kept_out", "status", "detail"),
    [
        (0, 0, "PASS", "no effect was asked for twice"),
        (2, 0, "FAIL", "2 effects were asked for again: "),
        (0, 5, "FAIL", "5 effects were asked for again, and 0 of them had again: "),
        (2, 5, "FAIL", "7 effects were asked for again, and 2 of them had again: "),
    ],
)
def test_at_most_once(duplicated: int, kept_out: int, status: Status, detail: str) -> None:
    """No key excuses that an effect was asked for again; a loss is not looked at."""
    account = replace(GOOD, duplicated=duplicated, lost=30, applied=70)
    found = nothing_asked_twice("x", account, ending="drained", kept_out=kept_out, sees_repeats=True)
    assert (found.status, found.detail.startswith(detail)) == (status, True), found.detail


AFTER = Recovered(
    fault="kill", target="consumer", healed_ns=0, waiting=40, without_effect=0, took_s=2.5, watched_s=20.0
)


@pytest.mark.parametrize(
    ("recoveries", "status", "detail"),
    [
        ([], "UNKNOWN", "no fault has healed"),
        ([replace(AFTER, waiting=0, took_s=0.0)], "UNKNOWN", "nothing waited when a fault had healed"),
        (
            [AFTER, replace(AFTER, took_s=1.0)],
            "PASS",
            "had had its effect 2.50 s later at most; 10 s are promised",
        ),
        (
            [AFTER, replace(AFTER, fault="cut", target="consumer-redis", took_s=10.2)],
            "FAIL",
            "the last of 40 events that waited when cut of consumer-redis had healed had its effect after 10.20 s",
        ),
        (
            [replace(AFTER, without_effect=3)],
            "FAIL",
            "3 of 40 events that waited when kill of consumer had healed have had no effect 20.0 s later",
        ),
        # Nobody has waited for as long as is promised.
        ([replace(AFTER, without_effect=3, watched_s=9.0)], "UNKNOWN", "were waited for 9.0 s only"),
    ],
)
def test_recovered_within(recoveries: list[Recovered], status: Status, detail: str) -> None:
    """The longest recovery decides; what had no effect has not recovered, as soon as the time is over."""
    found = recovered_within("x", recoveries, within_s=10.0, may_lose=False)
    assert (found.status, detail in found.detail) == (status, True), found.detail


def test_who_may_lose_recovers_without_the_lost() -> None:
    """At most once, what was lost is not waited for."""
    found = recovered_within("x", [replace(AFTER, without_effect=3)], within_s=10.0, may_lose=True)
    assert found.status == "PASS"


@pytest.mark.parametrize(
    ("blocked", "ending", "quiet_s", "status", "detail"),
    [
        (0, "drained", 2.0, "PASS", "1 event is refused for ever, and no other waits"),
        (0, "time_up", 0.0, "PASS", "1 event is refused for ever, and no other waits"),
        (
            12,
            "still",
            5.2,
            "FAIL",
            "1 event is refused for ever, 12 others wait, and nothing moves any more",
        ),
        # It is tried again and again, and so things move; but no effect comes of it.
        (
            1,
            "time_up",
            58.0,
            "FAIL",
            "1 event is refused for ever, 1 other waits, and no effect has come for 58 s",
        ),
        (
            12,
            "time_up",
            0.3,
            "UNKNOWN",
            "1 event is refused for ever, and 12 others wait: the time was up while effects still came",
        ),
    ],
)
def test_poison_passed_over(blocked: int, ending: Ending, quiet_s: float, status: Status, detail: str) -> None:
    """What is refused for ever may be tried for ever; it must not keep others from their effect."""
    found = poison_passed_over(
        "x", poisoned=1, tried=3, blocked=blocked, ending=ending, quiet_s=quiet_s, patience_s=5.0
    )
    assert found is not None
    assert (found.status, found.detail) == (status, detail)


def test_without_poison_there_is_nothing_to_say() -> None:
    """Nothing is refused for ever: there is no verdict."""
    assert poison_passed_over("x", poisoned=0, tried=0, blocked=9, ending="still", quiet_s=9, patience_s=5) is None


def test_poison_that_nobody_has_tried_tells_nothing() -> None:
    """An event that is refused and never reached has blocked nobody yet."""
    found = poison_passed_over("x", poisoned=1, tried=0, blocked=0, ending="drained", quiet_s=2, patience_s=5)
    assert found is not None
    assert found.status == "UNKNOWN"


@pytest.mark.parametrize(("quiet_s", "told"), [(1.0, False), (58.0, True)])
def test_still_at_it(quiet_s: float, told: bool) -> None:
    """Whoever still works when the time is up is no failure; that nothing comes of it is told."""
    found = still_at_it("x", waited_s=60.0, quiet_s=quiet_s)
    assert found.status == "UNKNOWN"
    assert ("no effect had come for 58 s" in found.detail) == told
