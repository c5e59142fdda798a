"""One side of a round at a rate: a process with a pump, that sends blocks of the load when it is told to.

    parent                                    child, a fresh one for each side of each round
    PumpSettings, source  ----------------->  goes to its core
    OpenBlock(pacer, first)  -------------->  connects, sends what is due, waits for the last answers
                  <-------------------------  OpenTold, or in words why not

The pump is that of every load at a rate (`harness.load.pump`), new for each block. Blocks continue one another's
numbers: an event that is sent twice would be none the second time.
"""

from __future__ import annotations

import gc

import msgspec

from harness.host.child import Channel, ChildError
from harness.host.clock import SystemClock
from harness.load.pacing import Pacer
from harness.load.pump import Pump
from harness.load.pump_process import take_place
from harness.load.settings import PumpError, PumpResult, PumpSettings
from harness.load.workload import Source
from harness.measure.histogram import Histogram, SparseHistogram
from harness.server.dial import DialError

# Between the word to begin and the first arrival: as long as the pump takes to be ready for it, and more.
_LEAD_NS = 10_000_000


class OpenBlock(msgspec.Struct, frozen=True):
    """A stretch of the load.

    Attributes:
        pacer: when it is due.
        first: the number of its first event.
    """

    pacer: Pacer
    first: int


class OpenTold(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a block; latencies in microseconds."""

    response: SparseHistogram
    send_lag: SparseHistogram
    due: int
    ok: int
    failed: int
    unknown: int
    dropped: int
    due_s: float
    took_s: float
    error: str = ""


class Numbered:
    """A source whose numbers begin elsewhere.

    Args:
        whole: the source.
        first: its number that is 0 here.
    """

    def __init__(self, whole: Source, first: int) -> None:
        self.operation = whole.operation
        self.reply = whole.reply
        self._whole = whole
        self._first = first

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        """`count` commands from number `first` on, each `step`-th of them, in RESP."""
        return self._whole.pack(self._first + first, count, step)


class _Never:
    def is_set(self) -> bool:
        return False


def main(channel: Channel, settings: PumpSettings, source: Source) -> None:
    """Send blocks until the parent ends it."""
    take_place(settings)
    clock = SystemClock()
    try:
        while True:
            block: OpenBlock = channel.receive()
            try:
                answer: OpenTold | str = _done(settings, source, block, clock)
            except (OSError, DialError, PumpError) as error:
                answer = f"no connection to the server: {error}"
            channel.send(answer)
    except ChildError:
        return  # the parent has what it wanted


def _done(settings: PumpSettings, source: Source, block: OpenBlock, clock: SystemClock) -> OpenTold:
    pump = Pump(
        settings,
        block.pacer,
        Numbered(source, block.first),
        clock=clock,
        origin_ns=0,
        stop=_Never(),
        progress=None,
    )
    pump.connect()
    gc.collect()
    gc.disable()
    try:
        pump.set_origin(clock.now_ns() + _LEAD_NS)
        return told(pump.run(), source.operation)
    finally:
        gc.enable()


def told(result: PumpResult, operation: str) -> OpenTold:
    """What a side tells of what its pump has done.

    Args:
        result: of the pump.
        operation: as its source calls it.
    """
    wholes = {kind: Histogram() for kind in ("response", "send_lag")}
    for interval in result.intervals:
        kind = interval.tag.removeprefix(f"{operation}.")
        if kind in wholes:
            interval.sparse.add_to(wholes[kind])
    return OpenTold(
        response=SparseHistogram(wholes["response"]),
        send_lag=SparseHistogram(wholes["send_lag"]),
        due=result.arrivals,
        ok=result.ok,
        failed=result.failed,
        unknown=result.unknown,
        dropped=result.dropped,
        due_s=(result.scheduled_ns or result.wall_ns) / 1e9,
        took_s=result.wall_ns / 1e9,
        error=next(iter(result.errors), ""),
    )
