"""Latencies of loads whose true quantiles can be had: independent ones, and ones that hang together.

Each load is a function of a generator, a number of seconds and a rate, and returns an array of microseconds, a row
a second. The true quantile is that of a very long one.

    exponential     independent, mean 1 ms
    lognormal       independent, 10 times as slow at p99 as at p50
    bimodal         independent, 2 of 100 come from a mode that is 50 times as slow
    level 0.5 s     a level that wanders, and is another one after 0.5 s (log of it: AR(1) by 0.1 s)
    level 2 s       likewise, after 2 s
    queue           Poisson arrivals at one server that is busy for 0.8 of the time (M/M/1, by Lindley's recursion)
    fsync           each second a sync, in which nobody is answered: 20 ms at the median, and much more at times
    stalls          of 50 to 300 ms, a second apart in the mean: who is due in one waits for its end
    long stalls     of 100 to 400 ms, ten seconds apart in the mean
    weather         five times as slow for three seconds in the mean, then as before for ten
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Load = Callable[[np.random.Generator, int, int], Values]

STEP_S = 0.1


def exponential(rng: np.random.Generator, seconds: int, rate: int) -> Values:
    """Independent, mean 1 ms."""
    return rng.exponential(1_000, (seconds, rate))


def lognormal(rng: np.random.Generator, seconds: int, rate: int) -> Values:
    """Independent, with a long tail."""
    return rng.lognormal(6, 1, (seconds, rate))


def bimodal(rng: np.random.Generator, seconds: int, rate: int) -> Values:
    """Independent, of two modes."""
    shape = (seconds, rate)
    return np.where(rng.random(shape) < 0.02, rng.lognormal(9.2, 0.3, shape), rng.lognormal(5.3, 0.3, shape))


def level(tau_s: float) -> Load:
    """One whose level wanders, with a time of correlation."""

    def values(rng: np.random.Generator, seconds: int, rate: int) -> Values:
        steps = round(seconds / STEP_S)
        kept = float(np.exp(-STEP_S / tau_s))
        pushes = rng.standard_normal(steps) * np.sqrt(1 - kept**2)
        pushes[0] = rng.standard_normal()
        found = np.empty(steps)
        before = 0.0
        for at, push in enumerate(pushes):
            before = kept * before + push
            found[at] = before
        wandering = np.repeat(found, round(rate * STEP_S)).reshape(seconds, rate)
        return np.exp(6 + 0.5 * wandering + 0.4 * rng.standard_normal((seconds, rate)))

    return values


def queue(busy: float) -> Load:
    """One server that is busy for a share of the time."""

    def values(rng: np.random.Generator, seconds: int, rate: int) -> Values:
        # Until it no longer matters that the queue was empty at first.
        before = round(200 / (1 - busy) ** 2)
        number = seconds * rate + before
        served = rng.exponential(busy / rate, number)
        between = rng.exponential(1 / rate, number)
        sums = np.concatenate([[0.0], np.cumsum(served[:-1] - between[1:])])
        waited = sums - np.minimum.accumulate(sums)
        found: Values = (1e6 * (waited + served))[before:].reshape(seconds, rate)
        return found

    return values


def _stalled(rng: np.random.Generator, seconds: int, rate: int, stalls: Sequence[tuple[float, float]]) -> Values:
    """Who is due in a stall waits for its end; each is given by its begin and its length in seconds."""
    due = np.arange(seconds * rate) / rate
    waits = np.zeros(due.size)
    for begin, length in stalls:
        first, last = np.searchsorted(due, [begin, begin + length])
        waits[first:last] = np.maximum(waits[first:last], 1e6 * (begin + length - due[first:last]))
    shape = (seconds, rate)
    return waits.reshape(shape) + rng.lognormal(5.3, 0.4, shape)


def fsync(rng: np.random.Generator, seconds: int, rate: int) -> Values:
    """A sync each second."""
    begins = np.arange(-1, seconds + 1) + rng.random() + rng.normal(0, 0.02, seconds + 2)
    lengths = 0.02 * np.exp(0.7 * rng.standard_normal(seconds + 2))
    return _stalled(rng, seconds, rate, list(zip(begins.tolist(), lengths.tolist(), strict=True)))


def stalls(gap_s: float, shortest_s: float, longest_s: float) -> Load:
    """Stalls of a length, so far apart in the mean."""

    def drawn(rng: np.random.Generator, seconds: int) -> Iterator[tuple[float, float]]:
        at = -20 * (gap_s + longest_s)
        while at < seconds:
            at += rng.exponential(gap_s)
            length = rng.uniform(shortest_s, longest_s)
            yield at, length
            at += length

    return lambda rng, seconds, rate: _stalled(rng, seconds, rate, list(drawn(rng, seconds)))


def weather(good_s: float, bad_s: float) -> Load:
    """Five times as slow for some seconds, then as before."""

    def values(rng: np.random.Generator, seconds: int, rate: int) -> Values:
        slow = np.zeros(round(seconds / STEP_S))
        is_bad, at = bool(rng.random() < bad_s / (good_s + bad_s)), 0.0
        while at < seconds:
            lasts = rng.exponential(bad_s if is_bad else good_s)
            if is_bad:
                slow[round(at / STEP_S) : round((at + lasts) / STEP_S)] = np.log(5)
            at, is_bad = at + lasts, not is_bad
        slowed = np.repeat(slow, round(rate * STEP_S)).reshape(seconds, rate)
        return np.exp(6 + slowed + 0.5 * rng.standard_normal((seconds, rate)))

    return values


LOADS: dict[str, Load] = {
    "exponential": exponential,
    "lognormal": lognormal,
    "bimodal": bimodal,
    "level 0.5 s": level(0.5),
    "level 2 s": level(2.0),
    "queue": queue(0.8),
    "fsync": fsync,
    "stalls": stalls(1.0, 0.05, 0.3),
    "long stalls": stalls(10.0, 0.1, 0.4),
    "weather": weather(10.0, 3.0),
}
# How often in a second that happens which the slow ones come from, where it is an event of its own.
EVENTS_PER_S = {"fsync": 1.0, "stalls": 1 / 1.175, "long stalls": 1 / 10.25, "weather": 1 / 13}
