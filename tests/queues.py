"""Simulated systems whose capacity is known: what a probe of a queue would see, calculated at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from harness.arrays import Int64s
from harness.capacity.judging_probe import Held, ProbeSeen, judge
from harness.capacity.probed import Probed
from harness.check.load_reached import Limit
from harness.measure.bounds import bounds_of
from harness.measure.histogram import Histogram
from harness.selfcheck.lindley import Arrivals, Kind, responses_ns, services_ns, true_capacity

SECOND_NS = 1_000_000_000
# What a probe takes besides its load.
OVERHEAD_S = 2.0


class Queues:
    """Queues with a worker each, and a virtual clock.

    Args:
        kind, mean_us, workers: as `services_ns`.
        limit_us: the budget of the response at p99.
        seed: of all that is drawn; each probe draws anew.
        wobble: the standard deviation of the logarithm of how fast the machine is, drawn for each probe.
        unknown: in so many of a hundred probes the instrument had no core.
    """

    def __init__(
        self,
        kind: Kind,
        mean_us: float,
        workers: int,
        limit_us: float,
        seed: int,
        *,
        arrivals: Arrivals = "constant",
        wobble: float = 0.0,
        unknown: int = 0,
    ) -> None:
        self.kind, self.mean_us, self.workers, self.limit_us = kind, mean_us, workers, limit_us
        self.arrivals = arrivals
        self.generator = np.random.default_rng(seed)
        self.wobble, self.unknown = wobble, unknown
        self.elapsed_s = 0.0
        self.seed = seed

    def truth(self, count: int = 200_000) -> float:
        """The capacity over a long schedule."""
        services = services_ns(self.kind, self.mean_us, self.workers, count // self.workers, self.seed + 1)
        return true_capacity(services, 0.99, self.limit_us, arrivals=self.arrivals, seed=self.seed)

    def now_s(self) -> float:
        """The virtual time."""
        return self.elapsed_s

    def probe(self, rate_per_s: float, seconds: float) -> Probed:
        """What a load of so many whole seconds would show, after a second of warm-up."""
        whole = 1 + round(seconds)
        self.elapsed_s += whole + OVERHEAD_S
        due_ns = self._due(rate_per_s, whole)
        done_ns = due_ns + self._responses(due_ns)
        is_late = self.generator.integers(100) < self.unknown
        return judge(self._seen(rate_per_s, due_ns, done_ns, whole, is_late=bool(is_late)))

    def _due(self, rate_per_s: float, seconds: int) -> Int64s:
        count = int(rate_per_s * seconds)
        if self.arrivals == "constant":
            return np.rint(np.arange(count) * (SECOND_NS / rate_per_s)).astype(np.int64)
        return np.rint(np.cumsum(self.generator.exponential(SECOND_NS / rate_per_s, count))).astype(np.int64)

    def _responses(self, due_ns: Int64s) -> Int64s:
        per_worker = -(-due_ns.size // self.workers)
        mean_us = self.mean_us * float(np.exp(self.generator.normal(0.0, self.wobble)))
        services = services_ns(self.kind, mean_us, self.workers, per_worker, int(self.generator.integers(1 << 40)))
        found = np.zeros(due_ns.size, np.int64)
        for worker in range(self.workers):
            mine = due_ns[worker :: self.workers]
            found[worker :: self.workers] = responses_ns(mine, services[worker, : mine.size])
        return found

    def _seen(
        self, rate_per_s: float, due_ns: Int64s, done_ns: Int64s, seconds: int, *, is_late: bool
    ) -> ProbeSeen:
        blocks = _blocks(due_ns, done_ns, seconds)
        whole = Histogram()
        for each in blocks:
            whole.add(each)
        counted = due_ns >= SECOND_NS
        ends = np.arange(1, seconds + 1) * SECOND_NS
        done_by = np.searchsorted(np.sort(done_ns), ends)
        open_at = np.searchsorted(due_ns, ends) - done_by
        may_be_open = rate_per_s * self.limit_us / 1e6
        return ProbeSeen(
            rate_per_s=rate_per_s,
            took_s=float(seconds - 1),
            held=(
                Held(
                    name="p99",
                    limit_us=self.limit_us,
                    seen_us=whole.quantile_us(0.99),
                    high_us=bounds_of(blocks, 0.99).high_us,
                ),
            ),
            offered=int(counted.sum()),
            answered=min(int(counted.sum()), int(done_by[-1] - done_by[0] + may_be_open)),
            open_at=tuple(float(each) for each in open_at[1:]),
            send_lag_us=20_000.0 if is_late else 20.0,
            send_lag_budget_us=1_000.0,
            limit=Limit("server", "the server's core was full"),
            instrument_wait=0.5 if is_late else 0.0,
        )


def _blocks(due_ns: Int64s, done_ns: Int64s, seconds: int) -> Sequence[Histogram]:
    ends = np.searchsorted(due_ns, np.arange(1, seconds + 1) * SECOND_NS)
    found = []
    for first, after in pairwise(ends.tolist()):
        histogram = Histogram()
        histogram.record((done_ns[first:after] - due_ns[first:after] + 500) // 1000)
        found.append(histogram)
    return found
