"""A probe of a server whose capacity is known: what a search finds there can be held against the truth.

The load is our pump's, in a process of its own, over the wire; the server is `harness.selfcheck.queueing`'s, and
each probe meets services that none before it has met. So all that can go wrong with a search on a real server goes
wrong here, but for the server itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from msgspec import Struct

from harness.capacity.judging_probe import Held, ProbeSeen, judge, open_at_seconds
from harness.capacity.probed import Probed
from harness.check.load_reached import LEAST_SHARE, Limit, Surroundings, limit_of
from harness.host.clock import Clock
from harness.host.contention import Contention, ContentionMeter
from harness.load.pacing import Pacer, Poisson, constant
from harness.load.pump_process import PumpProcess
from harness.load.settings import PumpResult, PumpSettings
from harness.load.workload import StampedCommand, placeholder
from harness.measure.bounds import bounds_of
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.selfcheck.lindley import Arrivals
from harness.selfcheck.queueing import QueueingServer

WARM_UP_S = 1
_LEAD_NS = 200_000_000
_PRODUCER = 1
# So much of the budget the instrument may be late, and the scripted server, before neither tells anything.
_LAG_SHARE, _LATE_SHARE = 0.25, 0.15
_LEAST_LAG_US = 500.0
_DRAIN_NS = 3_000_000_000


class Budget(Struct, frozen=True, kw_only=True):
    """What the response may be at most.

    Attributes:
        q: the quantile, from 0 to 1.
        limit_us: in microseconds.
    """

    q: float
    limit_us: float

    @property
    def name(self) -> str:
        """As in `p99`."""
        return f"p{self.q * 100:g}"


class ScriptedProbe:
    """Puts a load on a server of known capacity, and judges what was seen.

    Args:
        server: that is probed; whoever made it ends it.
        workers: connections of the load; as many as the server has workers, each gets its own.
        budgets: for the response.
        clock: of this host.
        arrivals: how they come.
        seed: of arrivals that are drawn; each probe has others.
    """

    def __init__(
        self,
        server: QueueingServer,
        workers: int,
        budgets: Sequence[Budget],
        clock: Clock,
        *,
        arrivals: Arrivals = "constant",
        seed: int = 0,
    ) -> None:
        self._server = server
        self._workers = workers
        self._budgets = tuple(budgets)
        self._clock = clock
        self._arrivals = arrivals
        self._seed = seed
        self._made = 0
        # What was seen at last, for whoever keeps it.
        self.seen: ProbeSeen | None = None

    def __call__(self, rate_per_s: float, seconds: float) -> Probed:
        """Probe a rate for so many seconds, and a second of warm-up before them.

        Raises:
            PumpError: the pump could not begin, or did not report.
        """
        self._made += 1
        pacer = self._pacer(rate_per_s, WARM_UP_S + round(seconds))
        source = StampedCommand("probe", ["ECHO", placeholder(_PRODUCER)], _PRODUCER)
        settings = PumpSettings(
            url=self._server.url, connections=self._workers, drain_ns=_DRAIN_NS, spin_share=0.0
        )
        with closing(PumpProcess(settings, pacer, source)) as pump:
            pump.wait_until_ready()
            origin_ns = self._clock.now_ns() + _LEAD_NS
            pump.begin(origin_ns)
            pump_meter = ContentionMeter(self._clock, pump.pid)
            server_meter = ContentionMeter(self._clock, self._server.pid)
            self._clock.sleep_ns(origin_ns + pacer.duration_ns - self._clock.now_ns())
            waits = pump_meter.read(), server_meter.read()
            result = pump.result(60.0)
        late = [each.late_ns for each in self._server.served()]
        late_us = float(np.quantile(np.concatenate(late), 0.99)) / 1000 if sum(map(len, late)) else 0.0
        self.seen = seen_of(rate_per_s, result, self._budgets, *waits, late_us=late_us)
        return judge(self.seen)

    def _pacer(self, rate_per_s: float, seconds: int) -> Pacer:
        if self._arrivals == "poisson":
            return Poisson(rate_per_s, seconds, self._seed + self._made)
        return constant(rate_per_s, seconds)


def seen_of(
    rate_per_s: float,
    result: PumpResult,
    budgets: Sequence[Budget],
    pump: Contention,
    server: Contention,
    *,
    late_us: float,
) -> ProbeSeen:
    """What a pump's result shows of the seconds after the warm-up.

    Args:
        rate_per_s: that was due.
        result: of the pump.
        budgets: for the response.
        pump, server: who waited for a core meanwhile.
        late_us: by how much the server missed its own script, at p99.
    """
    log = LatencyLog(result.intervals)
    seconds = len(result.offered_in_s)
    blocks = [log.total("probe.response", at, at + 1) for at in range(WARM_UP_S, seconds)]
    send_lag = log.total("probe.send_lag", WARM_UP_S)
    offered = sum(result.offered_in_s[WARM_UP_S:])
    lag_us = send_lag.quantile_us(0.99)
    around = Surroundings(
        send_lag_us=send_lag.quantile_us(LEAST_SHARE),
        service_us=log.total("probe.service", WARM_UP_S).quantile_us(LEAST_SHARE),
        server_core=0.0,
        server_wait=server.waited_share,
        steal=max(pump.stolen_share, server.stolen_share),
        instrument_core=result.cpu_share,
        instrument_wait=pump.waited_share,
    )
    limit = limit_of(around)
    if late_us > _LATE_SHARE * min(budget.limit_us for budget in budgets):
        limit = Limit("host", f"the scripted server missed its script by {late_us / 1000:.2f} ms at p99")
    return ProbeSeen(
        rate_per_s=rate_per_s,
        took_s=float(seconds - WARM_UP_S),
        held=_held(blocks, budgets),
        offered=offered,
        answered=min(offered, sum(result.answered_in_s[WARM_UP_S:seconds]) + _may_be_open(rate_per_s, budgets)),
        refused=result.failed,
        open_at=open_at_seconds(result.offered_in_s, result.answered_in_s, WARM_UP_S),
        send_lag_us=None if lag_us is None else float(lag_us),
        send_lag_budget_us=max(_LEAST_LAG_US, _LAG_SHARE * min(budget.limit_us for budget in budgets)),
        limit=limit,
        instrument_core=result.cpu_share,
        instrument_wait=pump.waited_share,
    )


def _held(blocks: Sequence[Histogram], budgets: Sequence[Budget]) -> tuple[Held, ...]:
    whole = Histogram()
    for each in blocks:
        whole.add(each)
    return tuple(
        Held(
            name=budget.name,
            limit_us=budget.limit_us,
            seen_us=whole.quantile_us(budget.q),
            high_us=bounds_of(blocks, budget.q).high_us,
        )
        for budget in budgets
    )


def _may_be_open(rate_per_s: float, budgets: Sequence[Budget]) -> int:
    """How many may be open at the end of a load that is within its budgets."""
    return round(rate_per_s * max(budget.limit_us for budget in budgets) / 1e6)
