"""Recovery: figures of an outage from hand-written histories."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history import FaultWindow, History, Reading
from scenarios.recovery import Recovery, count_at, highest_rate_per_s, recovery

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)

MS = 1_000_000
S = 1_000_000_000

# Killed at 3 s, asked to come back at 5 s; 100 events per second arrive, so 500 are due by then.
APPLIED = [(1 * S, 100), (2 * S, 200), (3 * S, 300), (6 * S, 350), (7 * S, 450), (8 * S, 550), (9 * S, 900)]


def lag(*points: tuple[float, float | None], fault_s: float | None = 3.0) -> History:
    """A history of lag (seconds, events), with a fault where one is wanted."""
    history = History(
        Reading(t_ns=int(at_s * S), name="lag.events", value=value, unit="events") for at_s, value in points
    )
    if fault_s is not None:
        history.add(FaultWindow(name="kill", target="crm", start_ns=int(fault_s * S), end_ns=5 * S))
    return history


def back_in_band_s(history: History) -> float | None:
    return recovery([], history, restart_ns=5 * S, backlog_until=1).back_in_band_s


@pytest.mark.parametrize(("at_ns", "count"), [(0, 0), (S - 1, 0), (S, 100), (5 * S, 300), (99 * S, 900)])
def test_count_at(at_ns: int, count: int) -> None:
    """The effects so far are those of the last look at or before a time; before the first look there are none."""
    assert count == count_at(APPLIED, at_ns)


def test_an_outage_whole() -> None:
    """First effect, backlog applied and its rate, and lag back where it was: each from the restart."""
    history = lag((1, 4), (2, 6), (4, 150), (5, 240), (6, 180), (7, 90), (8, 6), (9, 3))
    expected = Recovery(first_effect_s=1.0, back_in_band_s=3.0, drained_s=3.0, drain_rate_per_s=100.0)

    assert expected == recovery(APPLIED, history, restart_ns=5 * S, backlog_until=500)


def test_it_never_came_back() -> None:
    """Without an effect after the restart nothing of it is known; none of it is 0."""
    history = lag((1, 4), (4, 150), (6, 300))
    expected = Recovery(first_effect_s=None, back_in_band_s=None, drained_s=None, drain_rate_per_s=None)

    assert expected == recovery(APPLIED[:3], history, restart_ns=5 * S, backlog_until=500)


def test_an_unchanged_count_is_no_effect() -> None:
    """A look after the restart that finds what there was before is no first effect."""
    applied = [(3 * S, 300), (6 * S, 300), (7 * S, 301)]

    assert recovery(applied, History(), restart_ns=5 * S, backlog_until=999).first_effect_s == 2.0


def test_it_came_back_and_did_not_catch_up() -> None:
    """A backlog that was not applied to its end has no time and no rate."""
    found = recovery(APPLIED, History(), restart_ns=5 * S, backlog_until=901)

    assert (found.first_effect_s, found.drained_s, found.drain_rate_per_s) == (1.0, None, None)


def test_what_one_look_has_seen_at_once_has_no_rate() -> None:
    """Where the first look after the restart finds the whole backlog applied there is a time and no rate."""
    found = recovery([(3 * S, 300), (6 * S, 700)], History(), restart_ns=5 * S, backlog_until=500)

    assert (found.first_effect_s, found.drained_s, found.drain_rate_per_s) == (1.0, 1.0, None)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (lag((1, 9), (4, 99), (6, 50), (7, 9)), 2.0),  # its band reaches to the highest value before the fault
        (lag((1, 9), (4, 99), (6, 10), (7, 9)), 2.0),
        (lag((1, 9), (4, 99), (6, 5), (7, 10), (8, 5)), 3.0),  # it has to stay there
        (lag((1, 9), (4, 99), (6, 5), (7, 10)), None),
        (lag((1, 9), (4, 99), (5.5, 2)), 0.5),  # there at the first look
        (lag((1, 9), (4, 99)), None),  # no look after the restart
        (lag((4, 9), (6, 5)), None),  # no look before the fault
        (lag((1, None), (6, 5)), None),  # a probe without an answer is no look
        (lag((1, 9), (6, None), (7, 3)), 2.0),
        (lag((1, 9), (6, 5), fault_s=None), 1.0),  # without a fault the band is that before the restart
        (lag(), None),
    ],
)
def test_back_in_band(history: History, expected: float | None) -> None:
    """Lag is back when it is no higher than ever before the fault, and stays so; without evidence it is not."""
    assert expected == back_in_band_s(history)


def naive_highest_rate(applied: Sequence[tuple[int, int]], over_ns: int, from_ns: int, to_ns: int) -> float | None:
    """From each look within the time to the first one that is at least so much later."""
    points = [point for point in applied if from_ns <= point[0] <= to_ns]
    rates = []
    for at, (start_ns, start) in enumerate(points):
        ends = [(end_ns, end) for end_ns, end in points[at:] if end_ns - start_ns >= over_ns]
        if ends:
            rates.append((ends[0][1] - start) / ((ends[0][0] - start_ns) / 1e9))
    return max(rates, default=None)


looks = st.lists(st.tuples(st.integers(1, 800 * MS), st.integers(0, 90)), max_size=30)


@unhurried
@given(looks, st.integers(1, 2 * S), st.integers(0, 5 * S), st.integers(0, 12 * S))
def test_highest_rate_is_that_of_a_naive_search(
    steps: list[tuple[int, int]], over_ns: int, from_ns: int, to_ns: int
) -> None:
    """The highest rate is the highest of the spans from each look to the first one far enough from it."""
    applied = [(0, 0)]
    for later_ns, more in steps:
        applied.append((applied[-1][0] + later_ns, applied[-1][1] + more))
    found = highest_rate_per_s(applied, over_ns=over_ns, from_ns=from_ns, to_ns=to_ns)

    assert naive_highest_rate(applied, over_ns, from_ns, to_ns) == found


def test_highest_rate() -> None:
    """Of looks a second apart, the second with the most effects; a span of just that length is one."""
    assert highest_rate_per_s(APPLIED, over_ns=S, from_ns=0, to_ns=9 * S) == 350.0


def test_without_such_a_span_there_is_no_rate() -> None:
    """Looks that lie closer together than the span say nothing about it."""
    assert highest_rate_per_s(APPLIED, over_ns=S, from_ns=6 * S, to_ns=6 * S + 1) is None
    assert highest_rate_per_s([], over_ns=S, from_ns=0, to_ns=9 * S) is None
