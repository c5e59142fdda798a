"""Checkers: each of them at PASS, UNKNOWN and FAIL; without evidence always UNKNOWN."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_runs
from msgspec.structs import replace

from harness.account.ledger import Account
from harness.account.losses import Losses, Stopped
from harness.account.order import Order
from harness.check.checkers import (
    Ending,
    all_answered,
    all_faults_done,
    drained,
    exit_code,
    hit_in_batch,
    in_order,
    instrument_kept_up,
    loss_shown,
    nothing_lost,
    nothing_twice,
    nothing_unexpected,
    producers_unharmed,
    workers_reported,
    worst,
)
from harness.check.judge import Checker, judged
from harness.check.ratio import Ratio
from harness.measure.histogram import Histogram
from harness.record.load_report import LoadReport
from harness.record.run import Record, Status, Verdict, WorkerShare

GOOD = Account(
    attempted=1200,
    acknowledged=1200,
    unknown=0,
    applied=1200,
    lost=0,
    duplicated=0,
    unexpected=0,
    recovered=0,
)
NOTHING = Account(
    attempted=9, acknowledged=0, unknown=9, applied=0, lost=0, duplicated=4, unexpected=5, recovered=0
)


def verdict(status: Status) -> Verdict:
    return Verdict(name="x", status=status, detail="")


def account(**changed: int) -> Account:
    return Account(**({name: getattr(GOOD, name) for name in GOOD.__struct_fields__} | changed))


def histogram(*values_us: int) -> Histogram:
    recorded = Histogram()
    recorded.record(np.array(values_us, np.int64))
    return recorded


@pytest.mark.parametrize(
    ("statuses", "expected", "code"),
    [
        ([], "UNKNOWN", 3),
        (["PASS"], "PASS", 0),
        (["PASS", "PASS"], "PASS", 0),
        (["UNKNOWN"], "UNKNOWN", 3),
        (["PASS", "UNKNOWN"], "UNKNOWN", 3),
        (["FAIL"], "FAIL", 1),
        (["PASS", "FAIL"], "FAIL", 1),
        (["UNKNOWN", "FAIL"], "FAIL", 1),
        (["PASS", "UNKNOWN", "FAIL"], "FAIL", 1),
    ],
)
def test_the_worst_verdict_decides(statuses: list[Status], expected: Status, code: int) -> None:
    """PASS < UNKNOWN < FAIL, in whichever order they come; no verdict at all is UNKNOWN."""
    for order in itertools.permutations(statuses):
        verdicts = [verdict(status) for status in order]

        assert (expected, code) == (worst(verdicts), exit_code(verdicts))


def checked(name: str, check: Callable[[], Verdict]) -> Verdict | None:
    """What a checker finds in a record of which it reads nothing."""
    record = Record(Path("nowhere"), report_runs.run_of("x"))
    return judged(record, Checker(name, lambda _: check()))


def test_a_checker_s_verdict_is_its_own() -> None:
    """A checker that ends is believed."""
    assert verdict("FAIL") == checked("x", lambda: verdict("FAIL"))


def test_a_checker_that_crashes_is_unknown() -> None:
    """A checker that crashes has found nothing: UNKNOWN, and it says how it crashed."""
    expected = Verdict(
        name="y", status="UNKNOWN", detail="the checker crashed: ZeroDivisionError: division by zero"
    )

    assert expected == checked("y", lambda: verdict("PASS" if 1 / 0 else "FAIL"))


def test_an_interrupt_is_no_crash_of_a_checker() -> None:
    """Ctrl-C within a checker ends the run and is no verdict."""

    def interrupted() -> Verdict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked("y", interrupted)


@pytest.mark.parametrize(
    ("send_lag", "status", "detail"),
    [
        (histogram(), "UNKNOWN", "nothing was sent"),
        (
            histogram(*[100] * 99, 900_000),
            "PASS",
            "the instrument held its schedule: send lag at p99 is 0.10 ms, the budget 1.00 ms",
        ),
        (
            histogram(1000),
            "PASS",
            "the instrument held its schedule: send lag at p99 is 1.00 ms, the budget 1.00 ms",
        ),
        (histogram(1001), "UNKNOWN", "the instrument fell behind: send lag at p99 is 1.00 ms, the budget 1.00 ms"),
        (
            histogram(*[100] * 98, 1500, 1500),
            "UNKNOWN",
            "the instrument fell behind: send lag at p99 is 1.50 ms, the budget 1.00 ms",
        ),
    ],
)
def test_instrument_kept_up(send_lag: Histogram, status: Status, detail: str) -> None:
    """Past its budget the instrument was not fit to measure: UNKNOWN, never FAIL, and never PASS unseen."""
    assert Verdict(name="x", status=status, detail=detail) == instrument_kept_up("x", send_lag, 1000)


@pytest.mark.parametrize(
    ("counts", "status", "detail"),
    [
        ((0, 0, 0, 0, 0), "UNKNOWN", "no operation was due"),
        ((1200, 1200, 0, 0, 0), "PASS", "all 1,200 operations were answered"),
        ((9, 8, 1, 0, 0), "FAIL", "of 9 operations 1 failed, 0 got no answer, 0 were dropped"),
        ((9, 8, 0, 1, 0), "FAIL", "of 9 operations 0 failed, 1 got no answer, 0 were dropped"),
        ((9, 8, 0, 0, 1), "FAIL", "of 9 operations 0 failed, 0 got no answer, 1 were dropped"),
        ((9, 8, 0, 0, 0), "FAIL", "of 9 operations 0 failed, 0 got no answer, 0 were dropped"),
    ],
)
def test_all_answered(counts: tuple[int, int, int, int, int], status: Status, detail: str) -> None:
    """Only where each operation that was due got a good answer is it a PASS."""
    arrivals, ok, failed, unknown, dropped = counts
    load = LoadReport(arrivals=arrivals, ok=ok, failed=failed, unknown=unknown, dropped=dropped)
    found = all_answered("x", load)

    assert Verdict(name="x", status=status, detail=detail) == found


@pytest.mark.parametrize(
    ("ending", "stuck", "status", "detail"),
    [
        ("drained", {}, "PASS", "nothing waits for the consumers any more"),
        ("time_up", {}, "FAIL", "consumers had not handled every event that waited for them after 30 s"),
        (
            "still",
            {"pending": 32, "never_delivered": 0},
            "FAIL",
            "32 events are stuck: they are pending, and nothing has moved for 5 s",
        ),
        (
            "still",
            {"never_delivered": 1},
            "FAIL",
            "1 event is stuck: it was never delivered, and nothing has moved for 5 s",
        ),
        (
            "still",
            {"pending": 1_000, "never_delivered": 2},
            "FAIL",
            "1,002 events are stuck: 1,000 are pending, 2 were never delivered, and nothing has moved for 5 s",
        ),
        # What waits is none of the events of which the account is.
        (
            "still",
            {},
            "FAIL",
            "consumers have not handled every event that waited for them, and nothing has moved for 5 s",
        ),
    ],
)
def test_drained(ending: Ending, stuck: dict[str, int], status: Status, detail: str) -> None:
    """Consumers that do not catch up in time fail, and so do those that leave something."""
    found = drained("x", ending=ending, waited_s=30.0, still_s=5.2, stuck=stuck)
    assert Verdict(name="x", status=status, detail=detail) == found


AccountChecker = Callable[..., Verdict]


@pytest.mark.parametrize(
    ("checker", "bad", "good_detail", "bad_detail"),
    [
        (
            nothing_lost,
            {"lost": 1100},
            "each of 1,200 appended events has had its effect",
            "1,100 of 1,200 appended events were lost: they have had no effect",
        ),
        (
            nothing_twice,
            {"duplicated": 3},
            "no event has had its effect twice",
            "3 effects were repeated: their events had had an effect before",
        ),
        (
            nothing_unexpected,
            {"unexpected": 2},
            "every effect comes from an event that was attempted",
            "2 effects came from events that nobody attempted",
        ),
    ],
)
def test_account_checkers(checker: AccountChecker, bad: dict[str, int], good_detail: str, bad_detail: str) -> None:
    """An account passes, fails by its own count alone, and is UNKNOWN before the drain or without evidence."""
    others = {"lost": 7, "duplicated": 7, "unexpected": 7, "recovered": 7, "unknown": 7} | dict.fromkeys(bad, 0)
    found = [
        checker("x", account(**others), ending="drained"),
        checker("x", account(**bad), ending="drained"),
        checker("x", account(**bad), ending="time_up"),
        checker("x", GOOD, ending="time_up"),
        checker("x", NOTHING, ending="drained"),
    ]

    assert [(one.status, one.detail) for one in found] == [
        ("PASS", good_detail),
        ("FAIL", bad_detail),
        ("UNKNOWN", "not drained, so the account is not closed"),
        ("UNKNOWN", "not drained, so the account is not closed"),
        ("UNKNOWN", "no event was acknowledged"),
    ]


def test_what_is_stuck_is_lost_and_called_stuck() -> None:
    """Where nothing moves any more the account is closed: what waits then is lost, beside what waits no more."""
    stuck = Losses(pending=Stopped(count=30), never_delivered=Stopped(count=2))
    found = nothing_lost("x", account(lost=32), ending="still", losses=stuck, still_s=5.2)
    assert (found.status, found.detail) == (
        "FAIL",
        "32 of 1,200 appended events are stuck: they have had no effect (2 were never delivered, 30 are "
        "pending), and nothing has moved for 5 s",
    )
    both = Losses(pending=Stopped(count=30), without_effect=Stopped(count=8))
    found = nothing_lost("x", account(lost=38), ending="still", losses=both, still_s=92.0)
    assert found.detail == (
        "38 of 1,200 appended events have had no effect: 8 were lost, 30 are stuck (30 are pending, 8 were "
        "acknowledged by the consumer without an effect); nothing has moved for 92 s"
    )
    found = nothing_lost("x", account(lost=38), ending="drained", losses=both)
    assert "stuck" not in found.detail


@pytest.mark.parametrize(("lost", "status"), [(0, "PASS"), (3, "FAIL")])
def test_what_is_spared_is_told(lost: int, status: Status) -> None:
    """Events that have had no effect and are not lost are told beside those that are, each with its reason."""
    spared = {"are refused for ever": 1, "were parked": 2, "": 0}
    found = nothing_lost("x", account(lost=lost), ending="drained", spared=spared)
    assert found.status == status
    assert found.detail.endswith("1 are refused for ever, 2 were parked")


def test_where_lost_events_stopped_is_told() -> None:
    """The classes that are not empty, in the order of the line."""
    losses = Losses(pending=Stopped(count=1_000), not_in_stream=Stopped(count=100))
    found = nothing_lost("x", account(lost=1100), ending="drained", losses=losses)
    assert found.detail.endswith("(100 are not in the stream, 1,000 are pending)")


@pytest.mark.parametrize(
    ("counts", "status", "detail"),
    [
        ((0, 0, 0, 0), "UNKNOWN", "no effect of an event whose place is known"),
        ((600, 0, 1200, 0), "PASS", "the effects of each of 600 entities came in the order of its events"),
        (
            (600, 2, 1200, 3),
            "FAIL",
            "3 of 1,200 effects came after that of a later event of the same entity, in 2 of 600 entities",
        ),
    ],
)
def test_in_order(counts: tuple[int, int, int, int], status: Status, detail: str) -> None:
    """One disordered effect is a FAIL; no effect that could be judged is no evidence."""
    entities, disordered_entities, effects, disordered = counts
    order = Order(
        entities=entities,
        disordered_entities=disordered_entities,
        effects=effects,
        disordered=disordered,
        unplaced=0,
    )
    assert Verdict(name="x", status=status, detail=detail) == in_order("x", order)


@pytest.mark.parametrize(
    ("found", "ending", "status"),
    [
        (account(lost=7), "drained", "PASS"),
        (account(lost=7), "still", "PASS"),
        (GOOD, "drained", "FAIL"),
        (account(lost=7), "time_up", "UNKNOWN"),
        (NOTHING, "drained", "UNKNOWN"),
    ],
)
def test_loss_shown(found: Account, ending: Ending, status: Status) -> None:
    """Where a loss is to be shown, none is a FAIL; what is not known stays so."""
    assert status == loss_shown("x", found, ending=ending).status


@pytest.mark.parametrize(
    ("ratios", "status"),
    [
        ({"p50": Ratio(1.0, 0.9, 1.1), "p99": Ratio(1.2, 0.8, 1.9)}, "PASS"),
        ({"p50": Ratio(1.0, 0.9, 1.1), "p99": Ratio(1.9, 0.8, 2.9)}, "PASS"),  # it may reach beyond
        ({"p50": Ratio(1.0, 0.9, 1.1), "p99": Ratio(2.1, 1.9, 2.9)}, "UNKNOWN"),  # it may be chance
        ({"p50": Ratio(1.0, 0.9, 1.1), "p99": Ratio(2.1)}, "UNKNOWN"),  # without an interval anything may be
        ({"p50": Ratio(1.0), "p99": Ratio(1.9)}, "PASS"),
        ({"p50": Ratio(2.5, 2.1, 2.9), "p99": Ratio(1.0, 0.9, 1.1)}, "FAIL"),
        ({"p50": Ratio(9.0), "p99": Ratio(2.5, 2.1, 2.9)}, "FAIL"),
        ({"p50": Ratio(1.0, 0.9, 1.1), "p99": None}, "UNKNOWN"),
        ({"p50": Ratio(9.0, 8.0, 10.0), "p99": None}, "UNKNOWN"),
        ({}, "UNKNOWN"),
    ],
)
def test_producers_unharmed(ratios: dict[str, Ratio | None], status: Status) -> None:
    """FAIL needs an interval beyond the tolerance, PASS every ratio within it; all else is UNKNOWN."""
    assert status == producers_unharmed("x", ratios, within=2.0).status


def test_producers_unharmed_tells_its_figures() -> None:
    """Ratios, their intervals where there are some, and the tolerance stand in the detail."""
    ratios = {"p50": Ratio(1.25, 1.0, 1.5), "p99": Ratio(3.0)}
    assert producers_unharmed("x", ratios, within=3).detail == (
        "responses took p50 1.25 times (1.00 to 1.50), p99 3.00 times (too few seconds for an interval) as long "
        "as before, the tolerance is 3 times"
    )


@pytest.mark.parametrize(("in_hand", "status"), [(None, "UNKNOWN"), (0, "UNKNOWN"), (1200, "PASS")])
def test_hit_in_batch(in_hand: float | None, status: Status) -> None:
    """A kill that met a consumer with nothing in hand, or that nobody saw, has shown nothing."""
    assert status == hit_in_batch("x", in_hand).status


@pytest.mark.parametrize(("planned", "done", "status"), [(0, 0, "UNKNOWN"), (3, 2, "UNKNOWN"), (3, 3, "PASS")])
def test_all_faults_done(planned: int, done: int, status: Status) -> None:
    """What was planned and not done has tested nothing."""
    assert status == all_faults_done("x", planned=planned, done=done).status


def worker(**changed: Any) -> WorkerShare:
    """A worker that has reported its share, changed as the test wants."""
    return WorkerShare(**{"name": "w", "arrivals": 10, "connections": 1, **changed})


def test_a_worker_that_died_makes_the_measurement_invalid() -> None:
    """All have reported: PASS. One is silent: UNKNOWN, by its name and what is not known. None at all: UNKNOWN."""
    passed = workers_reported("x.workers", [worker(), worker()])
    assert (passed.status, passed.detail) == ("PASS", "each of 2 workers has reported its share")
    died = workers_reported("x.workers", [worker(), worker(name="v", unseen=4, silent_from_s=1.5)])
    assert died.status == "UNKNOWN"
    assert "1 of 2 workers died: v was last heard of at 1.5 s, 4 of its operations have no record" in died.detail
    assert workers_reported("x.workers", []).status == "UNKNOWN"


def test_what_went_with_a_worker_is_not_held_against_the_system() -> None:
    """Operations that only a dead worker knew of are no evidence; one that failed besides is a failure."""
    load = LoadReport(arrivals=10, ok=6, failed=0, unknown=3, dropped=1)
    assert all_answered("x", replace(load, unseen=4)).status == "UNKNOWN"
    assert all_answered("x", replace(load, unseen=3)).status == "FAIL"
    assert all_answered("x", replace(load, ok=5, failed=1, unseen=4)).status == "FAIL"
