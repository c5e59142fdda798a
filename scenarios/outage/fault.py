"""The fault that was planned, as it was done, and what the broken consumer had in hand when it came."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis

from harness.check import checkers
from harness.check.judge import Checker
from harness.measure.probes import InHand, Sample
from harness.measure.timeline import FaultWindow, History
from harness.record.files import TIMELINE
from harness.record.run import Record, Verdict
from harness.system.port import Growing
from scenarios.line.line import Line

# The consumer that is broken, whatever it is called in the group.
CONSUMER = "1"
# Longer than a look at what it has in hand takes.
LOOK_NS = 200_000_000


def planned_fault(history: History) -> FaultWindow | None:
    """The fault of the plan, or None where it was not done."""
    return next((fault for fault in history.faults if not fault.by_hand), None)


@contextlib.contextmanager
def watching_in_hand(line: Line) -> Iterator[None]:
    """Sample what the consumer that is broken has in hand."""
    with (
        contextlib.closing(line.server.client(timeout_s=0.5)) as client,
        line.sampling([InHandOfBroken(InHand(client, line.streams.names, line.system.group, list), line)]),
    ):
        yield


class InHandOfBroken:
    """Probes what the consumer that is broken has in hand.

    A consumer may call itself in its group what it wants to; then, where it is the only one, all that is pending
    is its own.

    Args:
        in_hand: of all consumers.
        line: whose first consumer is broken.
    """

    def __init__(self, in_hand: InHand, line: Line) -> None:
        self._in_hand = in_hand
        self._line = line

    def read(self) -> list[Sample]:
        """`consumer.pending` of it; nothing while the server, or the group, is not there."""
        try:
            counts = self._in_hand.counts()
        except redis.RedisError:
            return []
        running = self._line.running
        first = running.consumers[0]
        name = running.group_names.get(first, first) if isinstance(running, Growing) else first
        is_alone = len(running.consumers) == 1
        count = sum(counts.values()) if is_alone and name not in counts else counts.get(name, 0)
        return [Sample("consumer.pending", count, "events", {"consumer": CONSUMER})]


def in_hand_checker() -> Checker:
    """What finds whether the consumer that was killed had events in hand."""
    name = "crm_outage.hit_in_batch"

    def check(record: Record) -> Verdict:
        fault = planned_fault(record.history)
        return checkers.hit_in_batch(name, None if fault is None else in_hand(record.history, fault))

    return Checker(name, check, reads=(TIMELINE,))


def in_hand(history: History, fault: FaultWindow) -> float | None:
    """How many events the consumer had in hand when it was killed; None where nobody looked.

    The dead one gets no more, and others may claim what it had: it is the most that was seen while it was away.
    """
    end_ns = fault.end_ns or fault.start_ns
    pending = [
        r.value
        for r in history.readings("consumer.pending", consumer=CONSUMER)
        # The first look after the fault may have begun before it.
        if r.value is not None and fault.start_ns + LOOK_NS <= r.t_ns <= end_ns
    ]
    return max(pending, default=None)
