"""The fault that was planned, as it was done, and what the broken consumer had in hand when it came."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis

from harness.check import checkers
from harness.check.judge import Checker
from harness.measure.probes import InHand
from harness.measure.timeline import FaultWindow, History
from harness.record.files import TIMELINE
from harness.record.run import Record, Verdict
from scenarios.line.line import Line

# In the shop's group, the consumer that is broken; those beside it have others.
CONSUMER = "1"
# Longer than a look at what it has in hand takes.
LOOK_NS = 200_000_000


def planned_fault(history: History) -> FaultWindow | None:
    """The fault of the plan, or None where it was not done."""
    return next((fault for fault in history.faults if not fault.by_hand), None)


@contextlib.contextmanager
def watching_in_hand(line: Line) -> Iterator[None]:
    """Sample what each consumer that the group knows has in hand, by its name there."""

    def names() -> list[str]:
        try:
            return list(line.group.counts())
        except redis.RedisError:
            return []

    with (
        contextlib.closing(line.server.client(timeout_s=0.5)) as client,
        line.sampling([InHand(client, line.streams.names, line.system.group, names)]),
    ):
        yield


def in_hand_checker() -> Checker:
    """What finds whether the consumer that was killed had events in hand."""
    name = "crm_outage.hit_in_batch"

    def check(record: Record) -> Verdict:
        fault = planned_fault(record.history)
        return checkers.hit_in_batch(name, None if fault is None else in_hand(record.history, fault))

    return Checker(name, check, reads=(TIMELINE,))


def in_hand(history: History, fault: FaultWindow) -> float | None:
    """How many events the consumer had in hand when it was killed; None where nobody looked.

    It was looked at when it was dead. In older records, or where the group did not answer, it is the most that was
    seen while it was away: the dead one gets no more, and others may claim what it had.
    """
    if "in_hand" in fault.seen:
        return fault.seen["in_hand"]
    end_ns = fault.end_ns or fault.start_ns
    pending = [
        r.value
        for r in history.readings("consumer.pending", consumer=CONSUMER)
        # The first look after the fault may have begun before it.
        if r.value is not None and fault.start_ns + LOOK_NS <= r.t_ns <= end_ns
    ]
    return max(pending, default=None)
