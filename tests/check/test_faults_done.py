"""Whether a fault was what it says: what was seen of it, and the verdict."""

from __future__ import annotations

import pytest
from pyroaring import BitMap

from harness.check.faults_done import (
    FaultFacts,
    Parted,
    hit_while_away,
    one_backlog,
    others_lived_on,
    redelivered,
    rolled,
    was_answered,
    went_quiet,
)
from harness.measure.timeline import FaultWindow
from harness.record.run import Verdict


def window(**seen: float) -> FaultWindow:
    """A fault of which something was seen."""
    return FaultWindow(name="it", target="consumer", start_ns=1, end_ns=2, seen=seen)


def told(verdict: Verdict) -> str:
    """A verdict, as it is told."""
    assert verdict.name == "it"
    return f"{verdict.status}: {verdict.detail}"


@pytest.mark.parametrize(
    ("due_after", "expected"),
    [
        (None, "UNKNOWN: it was not seen whether events were due after the kill"),
        (3, "UNKNOWN: 3 events were due after the kill, so it was not quiet"),
        (0, "PASS: no event was due after the kill"),
    ],
)
def test_quiet(due_after: int | None, expected: str) -> None:
    """Nothing was published any more."""
    assert told(went_quiet("it", FaultFacts(due_after=due_after))) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (
            (9, 0),
            (0, 5),
            "PASS: a got 9 events while the consumer was away, and none afterwards; "
            "the others got 5 events afterwards, and none while it was away",
        ),
        ((9, 1), (0, 5), "UNKNOWN: not one backlog, and news elsewhere: a got 9 events while"),
        ((9, 0), (1, 5), "UNKNOWN: not one backlog"),
        ((9, 0), (0, 0), "UNKNOWN: not one backlog"),
        ((0, 0), (0, 5), "UNKNOWN: not one backlog"),
    ],
)
def test_one_backlog(a: tuple[int, int], b: tuple[int, int], expected: str) -> None:
    """One stream got events while a consumer was away, and only the other one afterwards."""
    streams = {name: Parted(away=away, news=news) for name, (away, news) in (("a", a), ("b", b))}
    assert told(one_backlog("it", FaultFacts(streams=streams))).startswith(expected)


def test_one_backlog_that_nobody_saw() -> None:
    """Of one stream, or of none, nothing can be said."""
    expected = "UNKNOWN: it was not seen which stream got which events"
    assert told(one_backlog("it", FaultFacts())) == expected


@pytest.mark.parametrize(
    ("fault", "meanwhile", "expected"),
    [
        (None, 3, "UNKNOWN: it was not seen what was left when the first process was killed"),
        (window(), 3, "UNKNOWN: it was not seen what was left when the first process was killed"),
        (
            window(survivors=0),
            3,
            "UNKNOWN: nothing was left when the first process was killed: it was a plain kill",
        ),
        (
            window(survivors=1),
            3,
            "PASS: 1 process was left when the first one was killed; 3 effects were seen meanwhile",
        ),
        (
            window(survivors=2),
            None,
            "PASS: 2 processes were left when the first one was killed; "
            "it was not seen how many effects came meanwhile",
        ),
    ],
)
def test_others_lived_on(fault: FaultWindow | None, meanwhile: int | None, expected: str) -> None:
    """Something of a consumer was left when its first process had been killed."""
    assert told(others_lived_on("it", fault, FaultFacts(effects_meanwhile=meanwhile))) == expected


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (None, "UNKNOWN: the number of events in hand when it was told to stop was not seen"),
        (window(stop_took_s=1), "UNKNOWN: the number of events in hand when it was told to stop was not seen"),
        (window(in_hand=0), "UNKNOWN: it had nothing in hand when it was told to stop"),
        (
            window(in_hand=7, stop_took_s=10.02),
            "PASS: it was told to stop with 7 events in hand, while what it calls was away, "
            "and had ended 10.0 s later",
        ),
    ],
)
def test_stopped_while_away(fault: FaultWindow | None, expected: str) -> None:
    """It had something in hand that it could not finish."""
    assert told(hit_while_away("it", fault, "was told to stop")) == expected


def test_killed_while_away() -> None:
    """The same of a kill, in its own words."""
    assert told(hit_while_away("it", window(in_hand=7), "was killed")) == (
        "PASS: it was killed with 7 events in hand, while what it calls was away"
    )
    assert told(hit_while_away("it", None, "was killed")) == (
        "UNKNOWN: the number of events in hand when it was killed was not seen"
    )


@pytest.mark.parametrize(
    ("fault", "facts", "expected"),
    [
        (None, FaultFacts(), "UNKNOWN: it was not seen that another consumer took the place"),
        (window(left=3, new_names=0), FaultFacts(), "UNKNOWN: the group has no new name"),
        (window(left=0, new_names=1), FaultFacts(), "PASS: a consumer of another name came; nothing was pending"),
        (
            window(left=3, new_names=1),
            FaultFacts(taken_over_s=1.25, still_theirs=0),
            "PASS: 3 events were pending for the old consumer when it had ended; "
            "1.2 s after the new one was started none was pending for the old name any more",
        ),
        (
            window(left=3, new_names=1),
            FaultFacts(still_theirs=3),
            "PASS: 3 events were pending for the old consumer when it had ended; 3 still were in the end",
        ),
        (
            window(left=3, new_names=1),
            FaultFacts(),
            "PASS: 3 events were pending for the old consumer when it had ended; "
            "what became of them in the group was not seen",
        ),
    ],
)
def test_rolled(fault: FaultWindow | None, facts: FaultFacts, expected: str) -> None:
    """Another came, and the old one ended; what became of what that left is said."""
    assert told(rolled("it", fault, facts)).startswith(expected)


def test_refusals_that_met_somebody() -> None:
    """Attempts that were refused are counted; without any nothing was tested."""
    assert told(was_answered("it", "R", {"A": 5, "R": 2})) == "PASS: 2 attempts were refused for now"
    assert told(was_answered("it", "R", {"A": 5})) == "UNKNOWN: no attempts were refused for now"
    assert told(was_answered("it", "P", {"P": 1200})) == "PASS: 1,200 attempts at the poisoned event were refused"
    assert told(was_answered("it", "P", {})) == "UNKNOWN: attempts at effects were not counted"


@pytest.mark.parametrize(
    ("set_back", "again", "expected"),
    [
        (None, None, "UNKNOWN: the group was not set back by any event of this run"),
        ([], [], "UNKNOWN: the group was not set back by any event of this run"),
        ([1, 2], None, "UNKNOWN: the group was set back by 2 events; attempts at effects were not seen"),
        (
            [1, 2],
            [1, 9],
            "UNKNOWN: of 2 events that the group was set back by, 1 were not attempted once more",
        ),
        (
            [1, 2],
            [1, 2, 9],
            "PASS: the effect of each of 2 events was attempted once more; this does not test claiming",
        ),
    ],
)
def test_redelivered(set_back: list[int] | None, again: list[int] | None, expected: str) -> None:
    """Each event that the group was set back by has had one more attempt."""
    sets = [None if numbers is None else BitMap(numbers) for numbers in (set_back, again)]
    assert told(redelivered("it", *sets)) == expected
