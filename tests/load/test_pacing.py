"""Pacers: small schedules whole, as literals; and the laws that every schedule obeys, against naive oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.load.pacing import (
    ClosedLoop,
    Pacer,
    PacingError,
    Poisson,
    Ramp,
    Shape,
    Steps,
    Stripe,
    constant,
    shaped,
    steps,
)

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)

MS = 1_000_000
S = 1_000_000_000

rates = st.floats(0.5, 500)
seconds = st.floats(0.01, 5)
simple = st.one_of(
    st.builds(constant, rates, seconds),
    st.builds(Ramp, st.one_of(st.just(0.0), rates), rates, seconds),
    st.builds(Ramp, rates, st.one_of(st.just(0.0), rates), seconds),
    st.builds(Poisson, rates, seconds, st.integers(0, 1000)),
)
shapes = st.sampled_from(["steady", "ramp", "steps", "spike"])
pacers = st.one_of(
    simple,
    st.builds(shaped, shapes, rates, seconds),
    st.builds(steps, st.lists(rates, min_size=1, max_size=4), seconds),
    st.builds(Steps, st.lists(simple, min_size=1, max_size=3)),
)


def whole(pacer: Pacer) -> list[int]:
    """Every due time of a schedule, in nanoseconds."""
    return [int(due) for due in pacer.due_ns(0, pacer.total)]


def test_constant() -> None:
    """A constant rate: arrival i is due at i / rate, and the one that falls on the end is not part of it."""
    assert whole(constant(4, 1)) == [0, 250 * MS, 500 * MS, 750 * MS]


def test_constant_whose_gap_is_no_whole_number() -> None:
    """A gap that is no whole number of nanoseconds is rounded at each arrival, not added up."""
    assert whole(constant(3, 2)) == [0, 333_333_333, 666_666_667, 1_000_000_000, 1_333_333_333, 1_666_666_667]


def test_constant_slower_than_its_duration() -> None:
    """A schedule shorter than its first gap has one arrival, at once."""
    assert whole(constant(0.1, 5)) == [0]


def test_ramp_up() -> None:
    """From 0 to 4 per second in 2 s: n(t) = t², so that arrival i is due at √i."""
    assert whole(Ramp(0, 4, 2)) == [0, 1_000_000_000, 1_414_213_562, 1_732_050_808]


def test_ramp_down() -> None:
    """From 4 to 0 per second in 2 s: the same gaps in the other order, n(t) = 4 - (2 - t)²."""
    assert whole(Ramp(4, 0, 2)) == [0, 267_949_192, 585_786_438, 1_000_000_000]


def test_steps() -> None:
    """One rate after the other; each step begins where the one before it ends."""
    assert whole(steps([2, 4], 1)) == [0, 500 * MS, 1000 * MS, 1250 * MS, 1500 * MS, 1750 * MS]


def in_tenths(shape: Shape) -> list[int]:
    """How many arrivals of a shape of 100 per second at most are due in each second of ten."""
    pacer = shaped(shape, 100, 10)
    return [int(n) for n in np.bincount(pacer.due_ns(0, pacer.total) // S, minlength=10)]


def test_shapes() -> None:
    """The four shapes by what is due in each tenth of their time; the rate that is given is the highest one."""
    assert in_tenths("steady") == [100] * 10
    # The rate in the middle of each second: 10 + 90 (t + 1/2) / 10.
    assert in_tenths("ramp") == [15, 23, 33, 41, 51, 59, 69, 77, 87, 95]
    assert in_tenths("steps") == [20, 20, 40, 40, 60, 60, 80, 80, 100, 100]
    assert in_tenths("spike") == [25, 25, 25, 25, 100, 100, 25, 25, 25, 25]


def test_closed_loop() -> None:
    """A closed loop has a length, and nothing that is due."""
    pacer: Pacer = ClosedLoop(1.5)

    assert (pacer.duration_ns, pacer.total, pacer.due_ns(0, 3).tolist()) == (1500 * MS, 0, [])


@unhurried
@given(shapes, rates, seconds, st.data())
def test_no_shape_passes_its_rate(shape: Shape, rate: float, duration_s: float, data: st.DataObject) -> None:
    """A shape lasts as long as was asked for, and within no time is more due than at the rate that was given."""
    pacer = shaped(shape, rate, duration_s)
    due = whole(pacer)
    first = data.draw(st.integers(0, len(due) - 1))
    last = data.draw(st.integers(first, len(due) - 1))

    assert abs(pacer.duration_ns - duration_s * S) <= 5
    # Each of the four ends of a step may cut a gap short.
    assert last - first <= (due[last] - due[first]) / S * rate + 4 + 1e-6


def test_poisson() -> None:
    """The schedule of a seed, whole: a change here means that recorded runs can no longer be repeated."""
    expected = [176882314, 433183151, 575320315, 799097781, 850730970, 1696640308, 1699078714]

    assert expected == whole(Poisson(4, 2, seed=7))


def test_stripe() -> None:
    """Worker 1 of 3 has the arrivals 1, 4 and 7 of the schedule."""
    assert whole(Stripe(constant(8, 1), 1, 3)) == [125 * MS, 500 * MS, 875 * MS]


def test_a_long_schedule_does_not_drift() -> None:
    """The last arrival of a day at 999.9 per second is due where the closed form says, to the nanosecond."""
    pacer = constant(999.9, 86_400)

    assert [round(86_391_359 / 999.9 * S)] == pacer.due_ns(86_391_359, 1).tolist()
    assert pacer.total == 86_391_360


@unhurried
@given(pacers)
def test_due_times_never_go_back(pacer: Pacer) -> None:
    """No arrival is due before the one before it, nor before the schedule begins."""
    due = whole(pacer)

    assert due == sorted(due)
    assert all(at >= 0 for at in due)


@unhurried
@given(pacers)
def test_total_counts_the_arrivals_before_the_end(pacer: Pacer) -> None:
    """`total` is the number of arrivals whose due time is below the duration; the next ones are at or after it."""
    due = pacer.due_ns(0, pacer.total + 3).tolist()

    assert pacer.total == sum(at < pacer.duration_ns for at in due)


@unhurried
@given(pacers, st.data())
def test_any_slice_can_be_asked_for(pacer: Pacer, data: st.DataObject) -> None:
    """`due_ns(first, count)` is a slice of the whole schedule, whoever asks and in whichever order."""
    first = data.draw(st.integers(0, pacer.total))
    count = data.draw(st.integers(0, pacer.total - first))

    assert whole(pacer)[first : first + count] == pacer.due_ns(first, count).tolist()


@unhurried
@given(st.integers(0, 20_000), st.integers(0, 9_000))
def test_a_slice_may_cross_the_blocks_of_a_poisson_schedule(first: int, count: int) -> None:
    """Arrivals drawn in several blocks are those of the whole schedule."""
    assert LONG_DUE[first : first + count].tolist() == LONG.due_ns(first, count)[: LONG.total - first].tolist()


@unhurried
@given(st.floats(0, 500), st.floats(0, 500).filter(lambda rate: rate > 0.01), st.floats(0.1, 20), st.booleans())
def test_a_ramp_is_the_inverse_of_its_rate_added_up(a: float, b: float, duration_s: float, is_up: bool) -> None:
    """The rate, integrated numerically until arrival i is due, is i."""
    from_per_s, to_per_s = (a, b) if is_up else (b, a)
    pacer = Ramp(from_per_s, to_per_s, duration_s)
    for i in {0, 1, pacer.total // 3, pacer.total // 2, pacer.total - 1} & set(range(pacer.total)):
        width = int(pacer.due_ns(i, 1)[0]) / S / 32
        middles = [(k + 0.5) * width for k in range(32)]
        arrivals = sum((from_per_s + (to_per_s - from_per_s) * t / duration_s) * width for t in middles)

        assert math.isclose(arrivals, i, rel_tol=1e-6, abs_tol=1e-4)


@unhurried
@given(st.integers(0, 2**63))
def test_a_seed_gives_the_same_arrivals_again(seed: int) -> None:
    """Two schedules of one seed are the same; that of the next seed is another."""
    first = Poisson(50, 1, seed).due_ns(0, 20).tolist()

    assert first == Poisson(50, 1, seed).due_ns(0, 20).tolist()
    assert first != Poisson(50, 1, seed + 1).due_ns(0, 20).tolist()


def test_poisson_gaps_are_exponential() -> None:
    """The gaps of a long Poisson schedule follow 1 - exp(-rate t), nowhere off by more than chance allows."""
    gaps = np.sort(np.diff(LONG_DUE)) / S
    expected = 1 - np.exp(-LONG_RATE * gaps)
    farthest = np.abs(expected - np.arange(1, gaps.size + 1) / gaps.size).max()

    # The Kolmogorov-Smirnov bound that chance passes once in a thousand; the seed is fixed.
    assert farthest < 1.95 / math.sqrt(gaps.size)


def test_poisson_gaps_are_independent() -> None:
    """A gap says nothing of the next one: their correlation is that of chance."""
    gaps = np.diff(LONG_DUE).astype(float)

    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 3.3 / math.sqrt(gaps.size)


def test_poisson_has_its_mean_rate() -> None:
    """A Poisson schedule has as many arrivals as its rate says, within three deviations."""
    expected = LONG_RATE * LONG.duration_ns / S

    assert abs(LONG.total - expected) < 3 * math.sqrt(expected)


@unhurried
@given(pacers, st.integers(1, 9))
def test_stripes_are_the_schedule_without_overlap(pacer: Pacer, workers: int) -> None:
    """The shares of all workers, laid side by side, are each arrival of the whole just once."""
    shares = [whole(Stripe(pacer, worker, workers)) for worker in range(workers)]
    woven: list[int] = [share[i] for i in range(len(shares[0])) for share in shares if i < len(share)]

    assert whole(pacer) == woven


@unhurried
@given(pacers, st.integers(1, 5), st.data())
def test_a_slice_of_a_stripe_can_be_asked_for(pacer: Pacer, workers: int, data: st.DataObject) -> None:
    """A worker's `due_ns(first, count)` is a slice of the worker's own share."""
    mine = Stripe(pacer, data.draw(st.integers(0, workers - 1)), workers)
    first = data.draw(st.integers(0, mine.total))
    count = data.draw(st.integers(0, mine.total - first))

    assert whole(mine)[first : first + count] == mine.due_ns(first, count).tolist()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: constant(0, 1), "a schedule needs a rate above 0"),
        (lambda: constant(-1, 1), "a rate is 0 or more per second, not -1"),
        (lambda: constant(math.nan, 1), "a rate is 0 or more per second, not nan"),
        (lambda: constant(math.inf, 1), "a rate is 0 or more per second, not inf"),
        (lambda: constant(1, 0), "a schedule lasts some time, not 0 s"),
        (lambda: constant(1, -2), "a schedule lasts some time, not -2 s"),
        (lambda: constant(1, math.inf), "a schedule lasts some time, not inf s"),
        (lambda: Ramp(1, 2, 1e-10), "a schedule lasts some time, not 1e-10 s"),
        (lambda: Ramp(0, 0, 1), "a schedule needs a rate above 0"),
        (lambda: Ramp(1, -1, 1), "a rate is 0 or more per second, not -1"),
        (lambda: Steps([]), "a schedule of steps has at least one"),
        (lambda: steps([], 1), "a schedule of steps has at least one"),
        (lambda: shaped("steps", 0, 1), "a schedule needs a rate above 0"),
        (lambda: shaped("spike", 1, 0), "a schedule lasts some time, not 0 s"),
        (lambda: ClosedLoop(0), "a schedule lasts some time, not 0 s"),
        (lambda: Poisson(0, 1, 1), "a schedule needs a rate above 0"),
        (lambda: Poisson(1, math.nan, 1), "a schedule lasts some time, not nan s"),
        (lambda: Stripe(constant(1, 1), 2, 2), "worker 2 of 2 cannot be"),
        (lambda: Stripe(constant(1, 1), -1, 2), "worker -1 of 2 cannot be"),
    ],
)
def test_a_schedule_that_cannot_be(make: object, reason: str) -> None:
    """A schedule that cannot be is refused when it is made, with the reason."""
    with pytest.raises(PacingError) as refused:
        make()  # type: ignore[operator]

    assert reason == str(refused.value)


LONG_RATE = 1000.0
LONG = Poisson(LONG_RATE, 20, seed=3)
LONG_DUE = LONG.due_ns(0, LONG.total)
