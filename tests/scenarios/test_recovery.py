"""Recovery: figures of an outage from hand-written histories."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.timeline import FaultWindow, History, Reading
from scenarios.line.recovery import (
    Recovery,
    back_after_s,
    band,
    caught_up_ns,
    count_at,
    detected_s,
    excess_lag_event_s,
    highest_rate_per_s,
    predicted_drain_s,
    recovery,
    slope_per_s,
    takeoff_s,
)

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
    return recovery([], history, restart_ns=5 * S, backlog_until=lambda _: 1).back_in_band_s


@pytest.mark.parametrize(("at_ns", "count"), [(0, 0), (S - 1, 0), (S, 100), (5 * S, 300), (99 * S, 900)])
def test_count_at(at_ns: int, count: int) -> None:
    """The effects so far are those of the last look at or before a time; before the first look there are none."""
    assert count == count_at(APPLIED, at_ns)


def test_an_outage_whole() -> None:
    """First effect, backlog applied and its rate, and lag back where it was: each from the restart."""
    history = lag((1, 4), (2, 6), (4, 150), (5, 240), (6, 180), (7, 90), (8, 6), (9, 3))
    expected = Recovery(first_effect_s=1.0, back_in_band_s=3.0, drained_s=3.0, drain_rate_per_s=100.0)

    assert expected == recovery(APPLIED, history, restart_ns=5 * S, backlog_until=lambda _: 500)


def test_it_never_came_back() -> None:
    """Without an effect after the restart nothing of it is known; none of it is 0."""
    history = lag((1, 4), (4, 150), (6, 300))
    expected = Recovery(first_effect_s=None, back_in_band_s=None, drained_s=None, drain_rate_per_s=None)

    assert expected == recovery(APPLIED[:3], history, restart_ns=5 * S, backlog_until=lambda _: 500)


def test_an_unchanged_count_is_no_effect() -> None:
    """A look after the restart that finds what there was before is no first effect."""
    applied = [(3 * S, 300), (6 * S, 300), (7 * S, 301)]

    assert recovery(applied, History(), restart_ns=5 * S, backlog_until=lambda _: 999).first_effect_s == 2.0


def test_it_came_back_and_did_not_catch_up() -> None:
    """A backlog that was not applied to its end has no time and no rate."""
    found = recovery(APPLIED, History(), restart_ns=5 * S, backlog_until=lambda _: 901)

    assert (found.first_effect_s, found.drained_s, found.drain_rate_per_s) == (1.0, None, None)


def test_what_one_look_has_seen_at_once_has_no_rate() -> None:
    """Where the first look after the restart finds the whole backlog applied there is a time and no rate."""
    found = recovery([(3 * S, 300), (6 * S, 700)], History(), restart_ns=5 * S, backlog_until=lambda _: 500)

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


# An outage and its area ------------------------------------------------------------------------------------


def test_band_is_the_highest_lag_before_the_first_fault() -> None:
    """What lag was before the fault, at its highest; without a fault, or a look before it, there is no band."""
    assert band(lag((1, 4), (2, 6), (4, 150))) == 6
    assert band(lag((1, 4), (2, 6), fault_s=None)) is None
    assert band(lag((4, 150))) is None
    assert band(lag((1, None), (4, 150))) is None


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (lag((1, 9), (3.1, 9), (3.2, 10), (4, 99)), pytest.approx(0.2)),
        (lag((1, 9), (3.0, 10)), 0.0),
        (lag((1, 9), (2, 12), (4, 12)), None),  # never above what it was before
        (lag((4, 99)), None),
        (lag((1, 9), (4, 99), fault_s=None), None),
    ],
)
def test_detected(history: History, expected: float | None) -> None:
    """An outage is detected by the first reading of lag above its band, from the fault on."""
    assert expected == detected_s(history)


def test_excess_lag_is_the_area_above_the_band() -> None:
    """Two trapezoids and a triangle, by hand; below the band nothing is made good."""
    history = lag((1, 10), (3, 10), (4, 110), (6, 110), (7, 10), (8, 0))
    assert excess_lag_event_s(history) == 50 + 200 + 50
    assert excess_lag_event_s(lag((1, 10), (3, 4), (9, 4))) == 0
    assert excess_lag_event_s(lag((4, 4))) is None


lags = st.lists(st.floats(0, 1e4), min_size=2, max_size=30)


@unhurried
@given(lags, st.floats(0, 1e4))
def test_excess_lag_is_that_of_a_naive_sum(values: list[float], highest: float) -> None:
    """The area is that of a thousand thin strips between each two readings, and never below 0."""
    history = lag((1, highest), *((4 + at, value) for at, value in enumerate(values)))
    total = 0.0
    for left, right in pairwise(max(0.0, value - highest) for value in values):
        strips = [left + (right - left) * (at + 0.5) / 1_000 for at in range(1_000)]
        total += sum(strips) / 1_000
    assert excess_lag_event_s(history) == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (lag((1, 9), (4, 99), (6, 50), (7, 9)), 2.0),
        (lag((1, 9), (4, 99), (6, 5), (7, 99)), 1.0),  # the first time: another fault may follow
        (lag((1, 9), (4, 99), (6, 50)), None),
        (lag((4, 99), (6, 5)), None),
    ],
)
def test_back_after_a_fault(history: History, expected: float | None) -> None:
    """Lag is back when it is in its band for the first time after the fault has healed."""
    [fault] = history.faults
    assert expected == back_after_s(history, fault)


def test_a_fault_that_has_not_healed_has_no_recovery() -> None:
    """What never healed is never back."""
    fault = FaultWindow(name="kill", target="crm", start_ns=3 * S, end_ns=None)
    assert back_after_s(lag((1, 9), (6, 5)), fault) is None


def test_caught_up() -> None:
    """Effects have caught up at the first look that finds as many as were due by then, but for the band."""

    def due_at(t_ns: int) -> int:
        return t_ns // (10 * MS)

    assert caught_up_ns(APPLIED, due_at, from_ns=5 * S, within=0) == 9 * S
    assert caught_up_ns(APPLIED, due_at, from_ns=5 * S, within=250) == 6 * S
    assert caught_up_ns(APPLIED, due_at, from_ns=0, within=0) == 1 * S
    assert caught_up_ns(APPLIED[:-1], due_at, from_ns=5 * S, within=0) is None


# Prediction ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waiting", "drain", "arrival", "arriving_s", "expected"),
    [
        (1_000, 300, 100, 60, 5.0),  # 1,000 / (300 - 100)
        (1_000, 300, 0, 60, 1_000 / 300),
        (0, 300, 100, 60, 0.0),
        (1_000, 300, 100, 2, 2 + 600 / 300),  # arrivals end before it is drained
        (1_000, 300, 300, 2, 2 + 1_000 / 300),  # as much comes as goes, for 2 s
        (1_000, 100, 300, 2, 2 + 1_400 / 100),  # more comes than goes, for 2 s
        (1_000, 300, 100, -1, 1_000 / 300),  # arrivals had ended before
        (1_000, 0, 100, 60, None),
    ],
)
def test_predicted_drain(
    waiting: float, drain: float, arrival: float, arriving_s: float, expected: float | None
) -> None:
    """What waits, by drain rate less arrival rate; where arrivals end first, the rest by the drain rate."""
    found = predicted_drain_s(waiting, drain_per_s=drain, arrival_per_s=arrival, arriving_s=arriving_s)
    assert found == (None if expected is None else pytest.approx(expected))


@unhurried
@given(st.integers(0, 5_000), st.integers(50, 2_000), st.integers(0, 2_000), st.floats(0, 5))
def test_prediction_is_that_of_a_simulated_queue(
    waiting: int, drain: int, arrival: int, arriving_s: float
) -> None:
    """A queue of so many events, simulated millisecond by millisecond, is empty when the prediction says."""
    left, now_s = float(waiting), 0.0
    while left > 1e-9:
        left += (arrival if now_s < arriving_s else 0) / 1_000 - drain / 1_000
        now_s += 0.001
    found = predicted_drain_s(waiting, drain_per_s=drain, arrival_per_s=arrival, arriving_s=arriving_s)
    # A step of the simulation too much or too little at the end of the arrivals is that many events.
    assert found == pytest.approx(now_s, abs=0.005 + 0.002 * max(1, arrival) / drain)


# Capacity --------------------------------------------------------------------------------------------------


LOAD_S, TOP_PER_S = 16.0, 4_000.0


def ramped(
    capacity_per_s: float, *, noise: float, seed: int, stalls_per_s: float = 0.0
) -> tuple[list[tuple[float, float]], float]:
    """Lag, read each 100 ms, of a simulated queue under arrivals that rise from 0 to the top.

    Returns:
        The readings, and the capacity that is left to a consumer that stalls now and then, for 50 to 300 ms.
    """
    rng = np.random.default_rng(seed)
    points, waiting, step_s = [], 0.0, 0.01
    stalled_until_s, stalled_s = 0.0, 0.0
    for step in range(round(LOAD_S / step_s)):
        now_s = step * step_s
        arrival_per_s = TOP_PER_S * now_s / LOAD_S
        if rng.random() < stalls_per_s * step_s:
            stalled_until_s = now_s + rng.uniform(0.05, 0.3)
        is_stalled = now_s < stalled_until_s
        stalled_s += step_s * is_stalled
        waiting = max(0.0, waiting + (arrival_per_s - (0.0 if is_stalled else capacity_per_s)) * step_s)
        if step % 10 == 0:
            # What is in hand: about 20 ms of arrivals.
            points.append((now_s, max(0.0, waiting + 0.02 * arrival_per_s + rng.normal(0, noise))))
    return points, capacity_per_s * (1 - stalled_s / LOAD_S)


def found_per_s(points: list[tuple[float, float]]) -> float | None:
    at_s = takeoff_s(points, rise_per_s2=TOP_PER_S / LOAD_S, least_growth_per_s=TOP_PER_S / 20)
    return None if at_s is None else at_s / LOAD_S * TOP_PER_S


@pytest.mark.parametrize("capacity_per_s", [500, 1_000, 2_000, 3_000])
@pytest.mark.parametrize(("noise", "stalls_per_s"), [(0.0, 0.0), (20.0, 0.0), (100.0, 0.0), (20.0, 0.2)])
def test_capacity_of_a_simulated_queue_is_found(capacity_per_s: float, noise: float, stalls_per_s: float) -> None:
    """The takeoff is where arrivals reach the known capacity: within 40 a second, or 15 % with stalls."""
    for seed in range(8):
        points, expected = ramped(capacity_per_s, noise=noise, seed=seed, stalls_per_s=stalls_per_s)
        allowed = max(40, 0.15 * capacity_per_s) if stalls_per_s else 40 + noise
        assert found_per_s(points) == pytest.approx(expected, abs=allowed), seed


@pytest.mark.parametrize(
    ("capacity_per_s", "noise", "stalls_per_s"),
    [(4_000, 0.0, 0.0), (4_100, 20.0, 0.0), (6_000, 20.0, 0.2), (6_000, 100.0, 0.2), (20_000, 1.0, 0.5)],
)
def test_a_capacity_that_was_not_reached_is_not_found(
    capacity_per_s: float, noise: float, stalls_per_s: float
) -> None:
    """A ramp that ends at the capacity, or below, has no takeoff, whatever the noise and the stalls."""
    for seed in range(20):
        points, _ = ramped(capacity_per_s, noise=noise, seed=seed, stalls_per_s=stalls_per_s)
        assert found_per_s(points) is None, seed


def naive_takeoff_s(points: list[tuple[float, float]], rise: float, least_growth_per_s: float) -> float | None:
    """Each moment by itself: what piles up is taken away, and NumPy fits a line to the rest."""
    at, value = np.array(points).T
    line = np.stack([np.ones_like(at), at], axis=1)

    def error(rest: Any) -> float:
        factors = np.linalg.lstsq(line, rest, rcond=None)[0]
        return float(((rest - line @ factors) ** 2).sum())

    moments = np.linspace(at[0], at[-1], 202)[1:-1]
    errors = [error(value - rise / 2 * np.maximum(0.0, at - moment) ** 2) for moment in moments]
    best = int(np.argmin(errors))
    if rise * (at[-1] - moments[best]) < least_growth_per_s or errors[best] > error(value) / 2:
        return None
    return float(moments[best])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(300, 6_000), st.floats(1, 200), st.floats(0, 1))
def test_takeoff_is_that_of_a_naive_search(
    seed: int, capacity_per_s: float, noise: float, stalls_per_s: float
) -> None:
    """The moment is the one of a search that fits each candidate by itself."""
    points, _ = ramped(capacity_per_s, noise=noise, seed=seed, stalls_per_s=stalls_per_s)
    found = takeoff_s(points, rise_per_s2=250, least_growth_per_s=200)
    assert found == naive_takeoff_s(points, 250, 200)


def test_without_evidence_there_is_no_takeoff() -> None:
    """Of less than two seconds nothing is said, nor of a load that does not rise, or a lag that does not."""
    points, _ = ramped(500, noise=0.0, seed=1)
    assert takeoff_s(points[:19], rise_per_s2=250, least_growth_per_s=0) is None
    assert takeoff_s([], rise_per_s2=250, least_growth_per_s=0) is None
    assert takeoff_s(points, rise_per_s2=0, least_growth_per_s=0) is None
    assert takeoff_s([(at / 10, 7.0) for at in range(100)], rise_per_s2=250, least_growth_per_s=200) is None


@unhurried
@given(st.floats(-1e3, 1e3), st.floats(-1e4, 1e4), st.integers(2, 40))
def test_slope_of_a_line_is_its_own(slope: float, start: float, count: int) -> None:
    """Of points on a line the slope is the line's."""
    points = [(at / 10, start + slope * at / 10) for at in range(count)]
    assert slope_per_s(points) == pytest.approx(slope, abs=1e-6)


@unhurried
@given(st.lists(st.tuples(st.integers(0, 100), st.floats(-1e3, 1e3)), min_size=2, max_size=20))
def test_slope_is_that_of_numpy(points: list[tuple[float, float]]) -> None:
    """The slope is the one that NumPy's polynomial fit finds; of one moment there is none."""
    if len({at for at, _ in points}) < 2:
        assert slope_per_s(points) is None
    else:
        expected = np.polynomial.Polynomial.fit(*np.array(points).T, deg=1).convert(domain=[-1, 1]).coef
        assert slope_per_s(points) == pytest.approx(expected[1] if expected.size > 1 else 0.0, abs=1e-6)


def test_no_slope_without_points() -> None:
    """Nothing, or one point, has no slope."""
    assert slope_per_s([]) is None
    assert slope_per_s([(1.0, 2.0)]) is None
