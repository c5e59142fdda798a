"""A group that is set back when all has drained: what is delivered once more, and whether it is attempted again.

Where a system counts attempts at effects, each event is asked for. Of a system that does not, only effects can be
seen: an event whose effect comes twice was attempted again, and of the others nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from harness.account.event_ids import event_id
from harness.conduct.findings import Findings
from harness.conduct.scenario import ScenarioError
from harness.nemesis.nemesis import FaultError, Nemesis
from harness.nemesis.plan import Fault
from scenarios.line.evidence import PLAN
from scenarios.line.line import Line
from scenarios.outage.done import add_redelivered

# For what was set back to be delivered; consumers ask again after seconds, if nothing wakes them.
DELIVERY_NS = 15_000_000_000
NUDGE_NS = 6_000_000_000
LOOK_NS = 50_000_000


@runtime_checkable
class CountsAttempts(Protocol):
    """Consumers at work whose attempts at effects are counted event by event."""

    def attempts_since(self, epoch_s: float, event_ids: Sequence[str]) -> dict[str, int] | None:
        """How many attempts there were at the effect of some events, whatever came of them; None: it is not known.

        Args:
            epoch_s: since then, in seconds since 1970.
            event_ids: of the events; one that was not attempted may be missing in the answer.

        Raises:
            OSError: nobody can tell at the moment.
        """
        ...


@runtime_checkable
class Nudged(Protocol):
    """Consumers at work that can be given an event that is nobody's account."""

    def nudge(self) -> None:
        """Append one to each stream.

        Raises:
            OSError: the server is away.
        """
        ...


def redeliver(line: Line, findings: Findings, fault: Fault, timeout_s: float) -> None:
    """Set the group of a line back, wait until it has drained again, and put what came of it into the evidence.

    Args:
        line: that has drained.
        findings: get it.
        fault: as it is planned.
        timeout_s: that the drain may take.

    Raises:
        ScenarioError: it could not be set back.
    """
    findings.evidence.add_json(PLAN, [fault])
    errors: list[str] = []
    had = line.effects.sequences.size
    since_s = line.stage.clock.epoch_s()
    nemesis = Nemesis(
        line.targets,
        clock=line.stage.clock,
        origin_ns=line.origin_ns,
        history=findings.history,
        on_error=errors.append,
    )
    with nemesis:
        try:
            nemesis.inject_now(fault.name, fault.target, by_hand=False, **fault.options)
        except FaultError as error:
            raise ScenarioError(str(error)) from error
    _wait_until_delivered(line)
    line.wait_until_drained(timeout_s)
    numbers = line.streams.numbers_of(line.group.set_back_to)
    again = _attempted_since(line, numbers, since_s)
    if again is None:
        had_since = set(line.effects.sequences[had:].tolist())
        again = [number for number in numbers if number in had_since] or None
    add_redelivered(findings, numbers, again)


def _attempted_since(line: Line, numbers: Sequence[int], since_s: float) -> list[int] | None:
    """Which of some events were attempted since a moment; None where attempts are not counted."""
    if not isinstance(line.running, CountsAttempts):
        return None
    ids = {event_id(line.producer, number): number for number in numbers}
    counts = line.running.attempts_since(since_s, list(ids))
    return None if counts is None else [ids[each] for each, count in counts.items() if count]


def _wait_until_delivered(line: Line) -> None:
    """Wait until the group has nothing before it any more, or for as long as that may take.

    Who waits for something to come, without an end, is not woken by a group that is set back.
    """
    clock = line.stage.clock
    begun_ns, was_nudged = clock.now_ns(), False
    while not line.streams.nothing_waits() and clock.now_ns() - begun_ns < DELIVERY_NS:
        line.stage.progress(0.95, "waiting until what was set back is delivered")
        if not was_nudged and clock.now_ns() - begun_ns > NUDGE_NS and isinstance(line.running, Nudged):
            line.running.nudge()
            was_nudged = True
        clock.sleep_ns(LOOK_NS)
