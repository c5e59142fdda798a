"""An operator works on a group of consumers: takes each away in turn, removes the last, adds another."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import redis
from msgspec import Struct

from harness.conduct.findings import Findings
from harness.conduct.scenario import ScenarioError
from harness.host.threads import at_work
from harness.measure.probes import InHand
from harness.measure.timeline import Mark
from harness.nemesis.nemesis import FaultError, Nemesis
from harness.nemesis.targets import abilities_of
from harness.record.run import Verdict
from harness.system.port import Growing, NotStartedError, Observed
from scenarios.line.line import Line

POLL_S = 0.02
# Between two looks at who has what in hand.
PERIOD_NS = 50_000_000
# For a consumer to come back, and for the others to claim what one had.
PATIENCE_S = 30.0


class Steps(Struct, frozen=True, kw_only=True):
    """What an operator does, and when.

    Attributes:
        how: a consumer is taken away.
        consumers: that are in the group at first.
        before_s: of load before the first step.
        away_s: that each is away.
        settle_s: from the return of one to the end of the next.
        after_s: of load after the last step.
        has_group: whether consumers share the events, so that others can claim what one had in hand.
    """

    how: str
    consumers: int
    before_s: float
    away_s: float
    settle_s: float
    after_s: float
    has_group: bool


class _StoppedError(Exception):
    """The load has ended before the operator had done."""


class Operator:
    """Works on a group of consumers in a thread, step by step.

    Args:
        steps: what it does.
        line: whose consumers these are.
        findings: whose nemesis takes them away; its history gets a mark for each step.

    Raises:
        ScenarioError: none can be added to these.

    Attributes:
        claimed_s: from the end of the removed consumer until others had claimed what it had in hand; or None.
        deleted_with: how many events were pending for it when it was deleted; None: it was not.
        back_s: of each consumer that was taken away, how long its return took.
        rolled_ns: when the roll was over, on the run's timeline.
        has_done: whether every step was done.
    """

    def __init__(self, steps: Steps, line: Line, findings: Findings) -> None:
        self._steps = steps
        self._line = line
        self._findings = findings
        self._clock = line.stage.clock
        if not isinstance(line.running, Growing):
            raise ScenarioError(f"to {line.system.name} no consumer can be added")
        self._running = line.running
        self._client: Any = line.server.client(timeout_s=1.0)
        self._streams = line.streams.names
        self._stop = threading.Event()
        self._has_group = steps.has_group
        self._numbers = list(range(1, steps.consumers + 1))
        self._group = line.system.group
        self._in_hand = InHand(
            self._client, self._streams, self._group, lambda: [self._called(number) for number in self._numbers]
        )
        self._error = ""
        self.claimed_s: float | None = None
        self.deleted_with: int | None = None
        self.back_s: list[float] = []
        self.rolled_ns: int | None = None
        self.has_done = False

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Work on the group while the line is under load."""
        sampler = self._line.sampling([self._in_hand] if self._has_group else [], period_ns=PERIOD_NS)
        # The client is the work's: it is closed when that has ended.
        with contextlib.closing(self._client), sampler, at_work(self._work, self._stop, "operator"):
            yield

    def conclude(self) -> None:
        """Say what has gone wrong.

        Raises:
            ScenarioError: a step could not be done, or the load ended before the last one.
        """
        if self._error:
            raise ScenarioError(self._error)
        if not self.has_done:
            raise ScenarioError("the load ended before every consumer was restarted, one removed and one added")

    def _work(self) -> None:
        try:
            self._wait_s(self._steps.before_s - self._now_ns() / 1e9)
            for number in list(self._numbers):
                self._take_away(number)
            self.rolled_ns = self._now_ns()
            self._remove(self._numbers[-1])
            self._wait_s(self._steps.settle_s)
            self._add(self._steps.consumers + 1)
            self.has_done = True
            self._wait_s(self._steps.after_s)
            self._line.stop_load()
        except _StoppedError:
            pass  # `conclude` says so
        except (FaultError, NotStartedError, redis.RedisError) as error:
            self._error = f"the operator could not go on: {error}"
            self._line.stop_load()

    # Steps ---------------------------------------------------------------------------------------------

    def _take_away(self, number: int) -> None:
        name, how = self._here(number), self._steps.how
        nemesis = self._nemesis()
        nemesis.inject_now(how, name, by_hand=False)
        self._wait_s(self._steps.away_s)
        before_ns = self._now_ns()
        nemesis.heal_now(name)
        self._until(lambda: self._is_there(number, before_ns), f"{name} is back{self._by_name()}")
        self.back_s.append((self._now_ns() - before_ns) / 1e9)
        self._wait_s(self._steps.settle_s)

    def _remove(self, number: int) -> None:
        name = self._here(number)
        self._mark(f"{name} removed")
        end_ns = self._now_ns()
        can = next(abilities_of(target) for target in self._line.targets if target.name == name)
        can["kill" if self._steps.how == "kill" else "stop"]()
        if self._has_group:
            consumer = self._called(number)
            self._until(
                lambda: not self._in_hand.counts().get(consumer), f"others have claimed the events of {name}"
            )
            self.claimed_s = (self._now_ns() - end_ns) / 1e9
            deleted = [self._client.xgroup_delconsumer(stream, self._group, consumer) for stream in self._streams]
            self.deleted_with = sum(int(count) for count in deleted)
        self._numbers.remove(number)

    def _add(self, number: int) -> None:
        name = self._here(number)
        since_ns = self._now_ns()
        self._running.add_consumer(name)
        self._numbers.append(number)
        self._until(lambda: self._is_there(number, since_ns), f"{name} has joined the group{self._by_name()}")
        self._mark(f"{name} added")

    # Looking and waiting -------------------------------------------------------------------------------

    def _here(self, number: int) -> str:
        """The process of a consumer; a plan calls the first `crm`, the second `crm-2`."""
        return name_of(number, self._running.consumers[0])

    def _by_name(self) -> str:
        """What has to be said of names, where somebody else's consumers say how they are called."""
        return ", by the name that SHOPBENCH_CONSUMER told it" if isinstance(self._running, Observed) else ""

    def _called(self, number: int) -> str:
        """What the group calls it."""
        return self._running.group_names.get(self._here(number), self._here(number))

    def _nemesis(self) -> Nemesis:
        self._until(lambda: self._findings.nemesis is not None, "the load has begun")
        nemesis = self._findings.nemesis
        if nemesis is None:
            raise _StoppedError
        return nemesis

    def _is_there(self, number: int, since_ns: int) -> bool:
        """Whether a consumer has asked for events since a moment of the run."""
        if not self._has_group:
            reading = sum(client["cmd"] == "xread" for client in self._client.client_list())
            return bool(reading >= len(self._numbers))
        since_ms = (self._now_ns() - since_ns) / 1e6
        name = self._called(number).encode()
        known = self._client.xinfo_consumers(self._streams[0], self._group)
        return any(each["name"] == name and each["idle"] < since_ms for each in known)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline_ns = self._clock.now_ns() + int(PATIENCE_S * 1e9)
        while not condition():
            if self._clock.now_ns() > deadline_ns:
                raise FaultError(f"not within {PATIENCE_S:.0f} s: {what}")
            self._wait_s(POLL_S)

    def _wait_s(self, seconds: float) -> None:
        if self._stop.wait(max(0.0, seconds)):
            raise _StoppedError

    def _now_ns(self) -> int:
        return self._clock.now_ns() - self._line.origin_ns

    def _mark(self, name: str) -> None:
        self._findings.history.add(Mark(t_ns=self._now_ns(), name=name))


def name_of(number: int, first: str = "crm") -> str:
    """What a line calls the process of a consumer.

    Args:
        number: of it, from 1.
        first: what the first is called.
    """
    return first if number == 1 else f"{first}-{number}"


class Operated(Struct, frozen=True, kw_only=True):
    """What the operator has done to the group.

    Attributes:
        deleted_with: how many events the removed consumer had in hand; None: none was removed.
    """

    deleted_with: int | None


def removed_clean(name: str, deleted_with: int | None) -> Verdict:
    """Whether a consumer had nothing in hand when it was deleted from its group."""
    if deleted_with is None:
        return Verdict(name=name, status="UNKNOWN", detail="no consumer was deleted from the group")
    if deleted_with:
        detail = f"{deleted_with:,} events were deleted with their consumer: they are pending for nobody"
        return Verdict(name=name, status="FAIL", detail=detail)
    return Verdict(name=name, status="PASS", detail="others had claimed all that the removed consumer had in hand")
