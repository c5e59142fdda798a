"""What queues can take, calculated: service times that are drawn, Lindley's recursion, and the rate at a budget.

    release(i) = max(release(i - 1), arrival(i)) + service(i)            (Lindley, 1952)

over the very services that were drawn. There is no need of a formula: that of Pollaczek and Khinchine gives the
mean of a response, and a budget is on its tail.

    constant services       flat up to 1 / service, and no further        a cliff
    exponential             p99 rises over the whole way                  smooth
    pauses                  each n-th takes much longer: beyond the rate  a cliff, long before the server is full
                            at which pauses meet a hundredth of all
                            commands p99 is that of a pause
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from harness.arrays import Floats, Int64s

Kind = Literal["constant", "exponential", "pauses"]
Arrivals = Literal["constant", "poisson"]
# One in so many is a pause, and takes so many times as long as the others.
PAUSE_EVERY, PAUSE_LASTS = 1_000, 50


def services_ns(kind: Kind, mean_us: float, workers: int, count: int, seed: int) -> Int64s:
    """The times that each worker takes for its first, second, ... command.

    Args:
        kind: how they are distributed.
        mean_us: their mean, in microseconds.
        workers: how many.
        count: for each.
        seed: the same seed gives the same times.

    Returns:
        Nanoseconds, shape (workers, count).
    """
    generator = np.random.default_rng(seed)
    if kind == "exponential":
        drawn = generator.exponential(mean_us, (workers, count))
    else:
        drawn = np.full((workers, count), mean_us)
        if kind == "pauses":
            drawn *= PAUSE_EVERY / (PAUSE_EVERY - 1 + PAUSE_LASTS)
            # Not all workers pause at once.
            firsts = np.arange(workers) * PAUSE_EVERY // workers
            for row, first in zip(drawn, firsts.tolist(), strict=True):
                row[first::PAUSE_EVERY] *= PAUSE_LASTS
    return np.maximum(1, np.rint(drawn * 1000)).astype(np.int64)


def responses_ns(due_ns: Int64s, services: Int64s) -> Int64s:
    """The response of each command of one queue: Lindley's recursion, without a loop.

    With S(i) the sum of the services up to i: release(i) = S(i) + max over j <= i of (due(j) - S(j - 1)).

    Args:
        due_ns: when each arrives, rising.
        services: of each, same shape.
    """
    summed = np.cumsum(services)
    released: Int64s = summed + np.maximum.accumulate(due_ns - (summed - services))
    return released - due_ns


def response_quantile_us(
    rate_per_s: float, services: Int64s, q: float, *, unit_gaps: Floats | None = None
) -> float:
    """A quantile of the response over a whole schedule of services, in microseconds.

    Args:
        rate_per_s: of all workers together, who take turns.
        services: shape (workers, count).
        q: from 0 to 1.
        unit_gaps: the gaps between arrivals, with a mean of 1, shape (workers * count,); None: all alike.
    """
    workers, count = services.shape
    places = np.arange(workers * count, dtype=np.float64) if unit_gaps is None else np.cumsum(unit_gaps)
    due_ns = np.rint(places * (1e9 / rate_per_s)).astype(np.int64).reshape(count, workers).T
    every = [responses_ns(due, row) for due, row in zip(due_ns, services, strict=True)]
    responses: Int64s = np.concatenate(every)
    rank = max(0, min(responses.size - 1, int(np.ceil(q * responses.size)) - 1))
    partitioned: Int64s = np.partition(responses, rank)
    return int(partitioned[rank]) / 1000


def true_capacity(
    services: Int64s,
    q: float,
    limit_us: float,
    *,
    arrivals: Arrivals = "constant",
    seed: int = 0,
    precision: float = 1e-4,
) -> float:
    """The highest rate at which a quantile of the response, over the whole schedule, is within a limit.

    Args:
        services: shape (workers, count); the longer, the nearer to what a run without end would see.
        q: the quantile, from 0 to 1.
        limit_us: in microseconds.
        arrivals: as a pump makes them: at constant intervals, or independent of each other.
        seed: of arrivals that are drawn.
        precision: how near, as a share of the rate.

    Raises:
        ValueError: even a single command takes longer than the limit.
    """
    workers, count = services.shape
    gaps = None
    if arrivals == "poisson":
        gaps = np.random.default_rng(seed).exponential(1.0, workers * count)
    high = workers * 1e9 / float(services.mean())
    low = high / 1e4
    if response_quantile_us(low, services, q, unit_gaps=gaps) > limit_us:
        raise ValueError(f"a command alone takes longer than {limit_us:g} µs")
    while response_quantile_us(high, services, q, unit_gaps=gaps) <= limit_us:
        low, high = high, high * 1.05
    while high / low > 1 + precision:
        middle = float(np.sqrt(low * high))
        if response_quantile_us(middle, services, q, unit_gaps=gaps) <= limit_us:
            low = middle
        else:
            high = middle
    return float(low)
