"""The schedule as the pump takes it: each arrival once, in order, when due; few as a list, many as an array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.load.pacing import Pacer, Poisson, constant, shaped
from harness.load.schedule import FEW, NEVER, Schedule

ORIGIN_NS = 7_000_000_123
MS = 1_000_000


class At:
    """A schedule that is given as it is, in nanoseconds."""

    def __init__(self, due_ns: list[int]) -> None:
        self._due_ns = np.array(due_ns, np.int64)
        self.total = len(due_ns)
        self.duration_ns = (due_ns[-1] if due_ns else 0) + 1

    def due_ns(self, first: int, count: int) -> np.ndarray:
        return self._due_ns[first : first + count]


class Naive:
    """What a schedule is to do, from a plain list of all due times."""

    def __init__(self, pacer: Pacer) -> None:
        self.due_ns = [ORIGIN_NS + int(due) for due in pacer.due_ns(0, pacer.total)]
        self.next = 0

    def check(self, schedule: Schedule) -> None:
        """The schedule stands where this one does."""
        is_over = self.next == len(self.due_ns)
        assert schedule.next == self.next
        assert schedule.is_over == is_over
        assert schedule.next_due_ns == (NEVER if is_over else self.due_ns[self.next])
        if not is_over:
            before_ns = self.due_ns[self.next - 1] if self.next else ORIGIN_NS
            assert schedule.gap_ns == self.due_ns[self.next] - before_ns

    def take(self, schedule: Schedule, now_ns: int) -> None:
        """Take once; what comes is the next of those that are due, and something comes if any is."""
        found = schedule.take(now_ns)
        is_any_due = self.next < len(self.due_ns) and self.due_ns[self.next] <= now_ns
        assert (len(found) > 0) == is_any_due
        assert list(found) == self.due_ns[self.next : self.next + len(found)]
        assert all(due <= now_ns for due in found)
        assert isinstance(found, list) == (len(found) <= FEW)
        assert all(type(due) is int for due in found) or not isinstance(found, list)
        self.next += len(found)
        self.check(schedule)

    def take_one(self, schedule: Schedule) -> None:
        """Take the next one, due or not."""
        schedule.take_one()
        self.next += 1
        self.check(schedule)


gaps_ns = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 100 * MS))
pacers = st.one_of(
    st.lists(gaps_ns, max_size=700).map(lambda gaps: At(np.cumsum(np.array(gaps, np.int64)).tolist())),
    st.builds(constant, st.sampled_from([3, 700, 90_000.0]), st.sampled_from([0.2, 0.5])),
    st.builds(Poisson, st.sampled_from([900, 40_000.0]), st.just(0.4), st.integers(0, 99)),
    st.builds(shaped, st.sampled_from(["ramp", "steps", "spike"]), st.just(20_000), st.just(1.0)),
)
# How far the clock goes on before what is due is taken; None: the next one is taken at once.
moves = st.lists(
    st.none() | st.integers(0, 3_000) | st.integers(0, 3 * MS) | st.integers(0, 400 * MS), max_size=60
)


@settings(max_examples=150, deadline=None)
@given(pacer=pacers, moves=moves)
def test_a_schedule_is_its_list_of_due_times(pacer: Pacer, moves: list[int | None]) -> None:
    """Whenever it is asked: each arrival is taken once, in order, never before it is due unless asked for."""
    schedule, naive, now_ns = Schedule(pacer, ORIGIN_NS), Naive(pacer), ORIGIN_NS
    naive.check(schedule)
    for move in moves:
        if move is not None:
            now_ns += move
            naive.take(schedule, now_ns)
        elif not schedule.is_over:
            naive.take_one(schedule)
    while not schedule.is_over:
        naive.take(schedule, ORIGIN_NS + pacer.duration_ns)
    assert list(schedule.take(NEVER - 1)) == []
    assert naive.next == pacer.total


@pytest.mark.parametrize("at_once", [1, FEW, FEW + 1, 8_192, 30_000])
def test_arrivals_that_are_due_together(at_once: int) -> None:
    """So many due at one moment, twice: all of them come, however many a schedule has at hand."""
    pacer = At([5] * at_once + [9] * at_once)
    schedule, naive = Schedule(pacer, ORIGIN_NS), Naive(pacer)
    naive.take(schedule, ORIGIN_NS + 4)
    while schedule.next < at_once:
        naive.take(schedule, ORIGIN_NS + 5)
    assert list(schedule.take(ORIGIN_NS + 8)) == []
    while not schedule.is_over:
        naive.take(schedule, ORIGIN_NS + 9)
    assert naive.next == 2 * at_once


@settings(max_examples=60, deadline=None)
@given(pacer=pacers, now_ns=st.integers(0, 500 * MS))
def test_few_are_few(pacer: Pacer, now_ns: int) -> None:
    """Where it says that many are due, there are more than a few; it may err the other way only."""
    schedule = Schedule(pacer, ORIGIN_NS)
    due = sum(each <= ORIGIN_NS + now_ns for each in Naive(pacer).due_ns)
    assert schedule.are_few(ORIGIN_NS + now_ns) or due > FEW
