"""When operations are due: arrivals on an absolute schedule, whatever the system under test does.

A `Pacer` is a pure function from the number of an arrival to its due time, in closed form: it cannot drift,
it does not care when it is asked, and any worker can compute its share of it.

    constant   ____________   due(i) = i / rate
    ramp       __..--''       rate goes from a to b in T;  due(i) solves  a t + (b - a) t² / 2T = i
    steps      __--^^         one rate after the other
    spike      ____|^^|____   a base rate, and a higher one for a while in the middle
    poisson    _ __  _ ___ _  independent arrivals at a mean rate, from a seed

`due_ns(first, count)` gives the due times of `count` arrivals from the `first` on, in nanoseconds since the
start of the schedule; arrivals at or after `duration_ns` are not part of it (`total` counts those that are).

`shaped` gives a scenario its load in one of four shapes. What is given is the highest rate, so that whoever
bears it bears the shape:

    rate  |^^^^^^^^^^      |       _-^      |        ^^      |    ^^
          |                |    _-^         |    ^^^^        |    ||
    1/10  |                |_-^             |^^^^            |^^^^  ^^^^  1/4
          +---- steady     +---- ramp       +---- steps      +---- spike

Rejected: pacing by sleeping between operations (wait times, `constant_throughput`), because whoever sleeps after
an answer has forgotten the arrivals that were due meanwhile.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from harness.arrays import Floats, Int64s

SECOND_NS = 1_000_000_000


class PacingError(ValueError):
    """A schedule that cannot be."""


class Pacer(Protocol):
    """A schedule of arrivals."""

    @property
    def duration_ns(self) -> int:
        """How long the schedule is."""
        ...

    @property
    def total(self) -> int:
        """How many arrivals are due before its end."""
        ...

    def due_ns(self, first: int, count: int) -> Int64s:
        """When arrivals are due: `count` of them from number `first` on, shape (count,), in nanoseconds."""
        ...


def _check(duration_s: float, *rates_per_s: float) -> None:
    if not (math.isfinite(duration_s) and round(duration_s * SECOND_NS) > 0):
        raise PacingError(f"a schedule lasts some time, not {duration_s} s")
    for rate in rates_per_s:
        if not (math.isfinite(rate) and rate >= 0):
            raise PacingError(f"a rate is 0 or more per second, not {rate}")
    if not any(rates_per_s):
        raise PacingError("a schedule needs a rate above 0")


class Ramp:
    """Arrivals whose rate goes in a straight line from one value to another.

    The number of arrivals until t is n(t) = a t + (b - a) t² / 2T; arrival i is due when n(t) = i. With a = b
    it is the constant schedule.

    Args:
        from_per_s, to_per_s: the rate at the start and at the end.
        duration_s: how long it takes.

    Raises:
        PacingError: a duration that is not above 0, a rate below 0, or no rate at all.
    """

    def __init__(self, from_per_s: float, to_per_s: float, duration_s: float) -> None:
        _check(duration_s, from_per_s, to_per_s)
        self._a = from_per_s
        self._b = to_per_s
        self.duration_ns = round(duration_s * SECOND_NS)
        # Arrival 0 is due at 0, so those at 0 ... n are due before the end unless n is exactly the end. What
        # is due there is decided in whole nanoseconds, as it is for everybody who asks.
        estimate = math.ceil((from_per_s + to_per_s) / 2 * duration_s)
        around = np.arange(max(0, estimate - 2), estimate + 3)
        due = self.due_ns(int(around[0]), around.size)
        self.total = int(around[0]) + int(np.count_nonzero(due < self.duration_ns))

    def due_ns(self, first: int, count: int) -> Int64s:
        """When `count` arrivals from number `first` on are due."""
        i = np.arange(first, first + count, dtype=np.float64)
        if self._a == self._b:
            seconds = i / self._a
        else:
            slope = (self._b - self._a) * SECOND_NS / self.duration_ns
            # The root in the form that does not cancel: 2 i / (a + sqrt(a² + 2 slope i)).
            root = np.sqrt(np.maximum(self._a * self._a + 2 * slope * i, 0.0))
            below = self._a + root
            seconds = np.divide(2 * i, below, out=np.zeros_like(i), where=below > 0)
        return np.rint(seconds * SECOND_NS).astype(np.int64)


def constant(rate_per_s: float, duration_s: float) -> Ramp:
    """Arrivals at one rate: arrival i is due at i / rate."""
    return Ramp(rate_per_s, rate_per_s, duration_s)


class Steps:
    """Schedules one after the other.

    Args:
        parts: each begins where the one before it ends.

    Raises:
        PacingError: no part.
    """

    def __init__(self, parts: Sequence[Pacer]) -> None:
        if not parts:
            raise PacingError("a schedule of steps has at least one")
        self._parts = list(parts)
        self._first = [0]
        self._start_ns = [0]
        for part in parts:
            self._first.append(self._first[-1] + part.total)
            self._start_ns.append(self._start_ns[-1] + part.duration_ns)
        self.total = self._first[-1]
        self.duration_ns = self._start_ns[-1]

    def due_ns(self, first: int, count: int) -> Int64s:
        """When `count` arrivals from number `first` on are due."""
        pieces = []
        while count > 0:
            at = min(bisect.bisect_right(self._first, first) - 1, len(self._parts) - 1)
            last_part = at == len(self._parts) - 1
            here = count if last_part else min(count, self._first[at + 1] - first)
            pieces.append(self._parts[at].due_ns(first - self._first[at], here) + self._start_ns[at])
            first += here
            count -= here
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def steps(rates_per_s: Sequence[float], step_s: float) -> Steps:
    """One rate after the other, each for `step_s` seconds."""
    return Steps([constant(rate, step_s) for rate in rates_per_s])


Shape = Literal["steady", "ramp", "steps", "spike"]


def shaped(shape: Shape, rate_per_s: float, duration_s: float) -> Pacer:
    """A schedule of one of the four shapes, drawn above.

    Args:
        shape: steady, at the rate; ramp, from a tenth of it; steps, five of one length, from a fifth of it on;
            spike, a quarter of it, and the whole for the fifth of the time that lies in the middle.
        rate_per_s: the highest rate.
        duration_s: how long.

    Raises:
        PacingError: as for `Ramp`.
    """
    _check(duration_s, rate_per_s)
    if shape == "ramp":
        return Ramp(rate_per_s / 10, rate_per_s, duration_s)
    if shape == "steps":
        return steps([rate_per_s * step / 5 for step in range(1, 6)], duration_s / 5)
    if shape == "spike":
        before = constant(rate_per_s / 4, duration_s * 2 / 5)
        return Steps([before, constant(rate_per_s, duration_s / 5), before])
    return constant(rate_per_s, duration_s)


class Silence:
    """A part of a schedule in which nothing is due.

    Args:
        duration_s: how long.

    Raises:
        PacingError: a duration that is not above 0.
    """

    total = 0

    def __init__(self, duration_s: float) -> None:
        _check(duration_s, 1.0)
        self.duration_ns = round(duration_s * SECOND_NS)

    def due_ns(self, first: int, count: int) -> Int64s:  # noqa: ARG002 - as every pacer has it
        """Nothing is due."""
        return np.zeros(0, np.int64)


class ClosedLoop(Silence):
    """No schedule: whoever is done begins again, until the time is over.

    Args:
        duration_s: how long.

    Raises:
        PacingError: a duration that is not above 0.
    """


class Poisson:
    """Independent arrivals at a mean rate: the gaps are exponential, from a seed.

    The gaps are drawn in blocks, each from a generator of its own, seeded by (seed, block), so that any arrival
    can be computed without those long before it; only the sums of the blocks are kept.

    Args:
        rate_per_s: the mean rate.
        duration_s: how long.
        seed: the same seed gives the same arrivals.

    Raises:
        PacingError: as for `Ramp`.
    """

    BLOCK = 4096

    def __init__(self, rate_per_s: float, duration_s: float, seed: int) -> None:
        _check(duration_s, rate_per_s)
        self._rate = rate_per_s
        self._seed = seed
        self.duration_ns = round(duration_s * SECOND_NS)
        self._starts_s = [0.0]
        block = 0
        while self._starts_s[-1] * SECOND_NS < self.duration_ns:
            self._starts_s.append(self._starts_s[-1] + float(self._gaps(block).sum()))
            block += 1
        last = max(block - 1, 0)
        due = self._due_of(last)
        self.total = last * self.BLOCK + int(np.searchsorted(due, self.duration_ns))

    def _gaps(self, block: int) -> Floats:
        generator = np.random.default_rng([self._seed, block])
        return generator.exponential(1 / self._rate, self.BLOCK)

    def _due_of(self, block: int) -> Int64s:
        while len(self._starts_s) <= block:
            at = len(self._starts_s) - 1
            self._starts_s.append(self._starts_s[at] + float(self._gaps(at).sum()))
        seconds = self._starts_s[block] + np.cumsum(self._gaps(block))
        return np.rint(seconds * SECOND_NS).astype(np.int64)

    def due_ns(self, first: int, count: int) -> Int64s:
        """When `count` arrivals from number `first` on are due."""
        blocks = range(first // self.BLOCK, (first + max(count, 1) - 1) // self.BLOCK + 1)
        due = np.concatenate([self._due_of(block) for block in blocks])
        offset = first - blocks[0] * self.BLOCK
        return due[offset : offset + count]


class Stripe:
    """The share of one of n workers: every n-th arrival, so that together they are the whole schedule.

    Args:
        whole: the schedule.
        worker: this worker's number, from 0.
        workers: how many there are.

    Raises:
        PacingError: a worker's number that is not below their count.
    """

    def __init__(self, whole: Pacer, worker: int, workers: int) -> None:
        if not 0 <= worker < workers:
            raise PacingError(f"worker {worker} of {workers} cannot be")
        self._whole = whole
        self._worker = worker
        self._workers = workers
        self.duration_ns = whole.duration_ns
        self.total = (whole.total - worker + workers - 1) // workers

    def due_ns(self, first: int, count: int) -> Int64s:
        """When `count` of this worker's arrivals from its number `first` on are due."""
        if count <= 0:
            return np.zeros(0, np.int64)
        start = first * self._workers + self._worker
        return self._whole.due_ns(start, (count - 1) * self._workers + 1)[:: self._workers]
