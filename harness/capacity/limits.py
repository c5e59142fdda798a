"""What a search must not begin with: a budget below this machine's floor, a rate that the instrument cannot make.

Both are measured, in a second or two, before anything long begins. The floor is the median of a bare PING, one at
a time: no quantile of what does more is below it. A rate counts as made when bare XADDs at that rate are all
answered and, at p99, sent no later than `MOST_LATE_US`.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.capacity.budget import QUANTILES, LatencyBudget, duration_said
from harness.host.clock import Clock
from harness.load.pacing import constant
from harness.load.pump_process import PumpProcess
from harness.load.settings import PumpResult, PumpSettings
from harness.load.workload import StampedCommand, placeholder
from harness.measure.floor import FloorError, measure_floor
from harness.measure.hlog import LatencyLog
from harness.server.open import open_server
from harness.server.server import ServerError
from harness.server.url import ServerUrl

# Up to here an instrument makes any rate that a core of today can (`shopbench selfcheck` says how many it makes).
SURE_PER_S = 50_000.0
MOST_LATE_US = 10_000.0
_FLOOR_PER_S, _FLOOR_BYTES = 1_000.0, 150
_LEAD_NS = 200_000_000
_PRODUCER = 1


class BeyondError(Exception):
    """What cannot be kept, or cannot be made, on this machine; its text is one clear line."""


def check_budgets(budgets: Sequence[LatencyBudget], which: ServerUrl | str, clock: Clock) -> None:
    """See to it that no budget is below what a bare PING takes.

    Args:
        budgets: those on lag have no floor.
        which: the server.

    Raises:
        BeyondError: one is; or the server is not there.
    """
    quantiles = [each for each in budgets if each.statistic in QUANTILES]
    if not quantiles:
        return
    lowest = min(quantiles, key=lambda each: each.limit_us)
    try:
        with open_server(which, clock) as server:
            floor = measure_floor(
                server.url,
                clock=clock,
                rate_per_s=_FLOOR_PER_S,
                payload_bytes=_FLOOR_BYTES,
                key=f"{server.namespace}floor",
            )
    except ServerError as error:
        raise BeyondError(str(error)) from error
    except FloorError:
        return  # one that cannot be measured is beyond nothing
    ping_us = floor.ping.service.p50_ns / 1000
    if lowest.limit_us <= ping_us:
        raise BeyondError(
            f"{lowest}: a bare PING takes {duration_said(float(f'{ping_us:.3g}'))} here, at the median"
        )


def check_rate(rate_per_s: float, clock: Clock) -> None:
    """See to it that the instrument can make a rate, against a bare server.

    Raises:
        BeyondError: it cannot.
    """
    if rate_per_s <= SURE_PER_S:
        return
    command = ["XADD", "stream", "*", "event_id", placeholder(_PRODUCER), "entity", "x" * _FLOOR_BYTES]
    source = StampedCommand("append", command, _PRODUCER)
    try:
        with open_server("embedded", clock) as server:
            result = _pumped(PumpSettings(url=server.url, drain_ns=5_000_000_000), source, rate_per_s, clock)
    except ServerError as error:
        raise BeyondError(str(error)) from error
    late_us = LatencyLog(result.intervals).total("append.send_lag").quantile_us(0.99)
    if late_us is None or late_us > MOST_LATE_US or result.ok < result.arrivals:
        late = "nothing was sent" if late_us is None else f"it sends {duration_said(late_us)} late at p99"
        raise BeyondError(f"{rate_per_s:,.0f}/s is more than the instrument can make here: {late}")


def _pumped(settings: PumpSettings, source: StampedCommand, rate_per_s: float, clock: Clock) -> PumpResult:
    pump = PumpProcess(settings, constant(rate_per_s, 1.0), source)
    try:
        pump.wait_until_ready()
        pump.begin(clock.now_ns() + _LEAD_NS)
        return pump.result(60.0)
    finally:
        pump.close()
