"""The master's end of a load in shares, without workers; each `..._main` is a child's entry.

It imports Locust, so only processes that tests start may import it.
"""

from __future__ import annotations

from harness.locust.spread import Spread

# isort: split
from types import SimpleNamespace
from typing import Any

import numpy as np
from msgspec.structs import replace

from harness.host.child import Channel
from harness.host.clock import Clock, VirtualClock
from harness.load.pacing import Pacer
from harness.load.settings import PumpError, PumpResult, PumpSettings
from harness.load.workload import StampedCommand, placeholder
from harness.locust.shares import FOLDS, as_one
from harness.locust.worker import DONE, PREPARE, READY, TICK, Portion, encoded, settings_of
from harness.measure.outcomes import OK
from harness.measure.recorder import SlowOperation
from tests.visitors import Leaping

SECOND_NS = 1_000_000_000
PRODUCER = 1
SOURCE = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(PRODUCER)], PRODUCER)
SETTINGS = PumpSettings(url="redis://127.0.0.1:1", keep_outcomes=True)


class Wire(Spread):
    """A master with two workers, `a` and `b`, that say what they are told to say.

    Args:
        clock: the master's.
        ready: the workers that answer a preparation.

    Attributes:
        sent: what the master has said: the message's kind, and to whom.
    """

    def __init__(self, clock: Clock, ready: str) -> None:
        self.sent: list[tuple[str, str]] = []
        self._ready = ready
        runner = SimpleNamespace(register_message=lambda *_: None, target_user_count=2)
        super().__init__(SimpleNamespace(runner=runner), clock)
        self.spawned.set()

    def members(self) -> dict[str, int]:
        return {"a": 1, "b": 1}

    def is_missing(self, worker: str) -> bool:
        return False

    def send(self, kind: str, worker: str, **data: Any) -> None:
        self.sent.append((kind, worker))
        if kind == PREPARE and worker in self._ready:
            self.hear(READY, worker)

    def hear(self, kind: str, worker: str, **data: Any) -> None:
        """Let a worker say something of the first load."""
        hear = {READY: self._on_ready, TICK: self._on_tick, DONE: self._on_done}[kind]
        hear(SimpleNamespace(data={"load": 1, "worker": worker, **data}))


def hole_main(channel: Channel, pacer: Pacer, stop_at_ns: int | None, told: list[int]) -> None:
    """What is made of a load of which one worker has reported all of its share, and the other falls silent.

    Args:
        stop_at_ns: when the schedule is ended; None: never.
        told: the counts that the silent one has told.
    """
    clock = VirtualClock(now_ns=7 * SECOND_NS)
    wire = Wire(clock, "ab")
    load = wire.pump(SETTINGS, pacer, SOURCE)
    load.wait_until_ready()
    load.begin(8 * SECOND_NS)
    wire.hear(TICK, "b", progress=told, intervals=b"")
    clock.sleep_ns(SECOND_NS + (pacer.duration_ns if stop_at_ns is None else stop_at_ns))
    if stop_at_ns is not None:
        load.stop()
    due = int(np.count_nonzero(pacer.due_ns(0, pacer.total)[::2] < (stop_at_ns or pacer.duration_ns)))
    wire.hear(DONE, "a", **encoded(_all_ok(due)))
    clock.sleep_ns(60 * SECOND_NS)
    result = load.result(0.0)
    assert result.outcomes is not None
    counts = [result.arrivals, result.ok, result.failed, result.unknown, result.dropped, result.unseen]
    channel.send((counts, result.outcomes.tolist(), result.scheduled_ns))


def _all_ok(arrivals: int) -> PumpResult:
    return PumpResult(
        arrivals=arrivals,
        ok=arrivals,
        failed=0,
        unknown=0,
        dropped=0,
        errors={},
        reconnects=0,
        intervals=[],
        slowest=[],
        outcomes=np.full(arrivals, OK, np.uint8),
        cpu_share=0.0,
        wall_ns=1,
    )


def folds_main(channel: Channel) -> None:
    """The fields that are put together of several results, and what becomes of three."""
    parts = [
        replace(
            _all_ok(10 * number),
            reconnects=number,
            wall_ns=number,
            errors={"ERR": 1} if number < 3 else {"ERR": 1, "OOM": 1},
            away="LOADING" if number > 1 else "",
            silent_since_s=2.5 if number == 2 else None,
            answered_in_s=[1] * number,
            slowest=[SlowOperation(operation="append", due_ns=0, response_ns=10 * number)],
            told={"order": "paid" if number == 3 else "new"} | ({"cart": "new"} if number == 1 else {}),
        )
        for number in (1, 2, 3)
    ]
    whole = as_one(parts)
    names = ("arrivals", "reconnects", "wall_ns", "errors", "away", "silent_since_s", "answered_in_s", "told")
    found = {name: getattr(whole, name) for name in names}
    channel.send((list(FOLDS), {**found, "slowest": [each.response_ns for each in whole.slowest]}))


def unready_main(channel: Channel, pacer: Pacer) -> None:
    """What workers are told, of which one is ready and the other never says so; and what the scenario is."""
    wire = Wire(Leaping(), "a")
    load = wire.pump(SETTINGS, pacer, SOURCE)
    said = ""
    try:
        load.wait_until_ready()
    except PumpError as error:
        said = str(error)
    load.close()
    load.close()
    channel.send((said, [each for each in wire.sent if each[0].endswith(("prepare", "stop"))]))


def settings_main(channel: Channel, max_in_flight: int, portions: list[tuple[int, int]]) -> None:
    """The connections and the bound of what is in flight, of each worker's pump; or why there is none.

    Args:
        portions: of how many workers each is one, and how many users it has.
    """
    told: list[tuple[int, int] | str] = []
    for of, users in portions:
        portion = Portion(index=0, of=of, first_user=0, users=users)
        try:
            settings = settings_of(PumpSettings(url="", max_in_flight=max_in_flight), portion)
            told.append((settings.connections, settings.max_in_flight))
        except PumpError as error:
            told.append(str(error))
    channel.send(told)
