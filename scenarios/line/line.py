"""The line that events take through the system under test, under load: from the append to the effect.

    pump --append--> streams --group--> consumers --> effects        what can be broken: the system's targets,
     |                                                   |           and a server of ours
     +-- attempted, acknowledged ---- ledger ---- applied -+

A `Line` starts all of it as processes, follows the effects as they are had, and knows at any moment how many
events are appended and not yet applied. After the drain, `gather` reads from the streams and the group where each
lost event stopped, and whether effects came in the order of their events. What the system is, it does not know
(`harness.system.port`): OrderShop, unless the stage names another.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import redis
from msgspec.structs import replace

from harness.account.ledger import Ledger
from harness.conduct.findings import Findings
from harness.conduct.scenario import ScenarioError, Stage
from harness.load.driver import Drive
from harness.load.pacing import Pacer
from harness.load.settings import PumpResult, PumpSettings
from harness.measure.outcomes import FAIL, OK, UNKNOWN
from harness.measure.probes import PERIOD_NS, Gauge, GroupLag, HostLoad, Probe, Sampler
from harness.measure.server_events import server_probes
from harness.nemesis.nemesis import Nemesis
from harness.nemesis.plan import Fault
from harness.nemesis.targets import Target
from harness.record.sections import Sections
from harness.server.own import OwnServer
from harness.server.url import ServerUrl
from harness.system.address import address_behind
from harness.system.group import ConsumerGroup
from harness.system.port import ConsumerFacts, NotStartedError, Observed, Place
from harness.system.telling import telling_of
from scenarios.arrival import Arriving
from scenarios.line.breakable import breakable, check_possible
from scenarios.line.draining import Ended, waited_out
from scenarios.line.effects import Effects
from scenarios.line.evidence import PLAN, LineFacts, Streams
from scenarios.line.settings import LineSettings
from scenarios.line.source import source_of
from scenarios.line.targets import server_target
from scenarios.ordershop_system import ORDERSHOP
from scenarios.shop.shop import floor_before, producer_of, server_for
from scenarios.under_load import UnderLoad

# What the probes ask of the server; the shop itself asks few of these. Before Redis 7 XINFO counts as one command.
_ASKED_BY_PROBES = ("info", "time", "xinfo", "xinfo|groups", "xinfo|stream", "xlen", "xpending", "xrange")


class Line:
    """A server, the mail service, the consumers and a pump, ready for load, while it is entered.

    Args:
        stage: where and how.
        pacer: the schedule of appends.
        settings: how it is built.

    Raises:
        ServerError, PumpError, ScenarioError: a part of it does not start.
    """

    def __init__(self, stage: Stage, pacer: Pacer, settings: LineSettings) -> None:
        self.stage = stage
        self.pacer = pacer
        self.settings = settings
        self.producer = producer_of(stage)
        self.ledger = Ledger(self.producer, pacer.total)
        self.origin_ns = 0
        self.applied_at: list[tuple[int, int]] = []
        self.sampler: Sampler | None = None
        self.system = stage.system or ORDERSHOP
        self._servers: list[Target] = []
        self.probe_share: float | None = None
        self._stack = contextlib.ExitStack()
        self._pump: Drive | None = None
        self._load: UnderLoad | None = None
        self._has_ended = False
        self.ended: Ended | None = None
        # Of what told whether consumers are ready.
        self._attempts_before: Mapping[str, int] = {}
        self.arriving: Arriving | None = None

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # Start ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self.settings.has_links and isinstance(self.stage.server, ServerUrl):
            try:
                address_behind(self.stage.server)  # before anything is written there
            except NotStartedError as error:
                raise ScenarioError(str(error)) from error
        enter = self._stack.enter_context
        self.server = enter(server_for(self.stage, self.settings.durability))
        # redis-py's types allow text where this client answers bytes.
        self._client: Any = enter(contextlib.closing(self.server.client(timeout_s=1.0)))
        self.streams = Streams(
            self._client,
            self.server,
            self.system,
            self.producer,
            self.ledger.capacity,
            has_group=self.settings.delivery != "from_now",
        )
        place = Place(
            server=self.server,
            directory=self.stage.directory,
            producer=self.producer,
            wanted=self.settings.wanted(),
        )
        try:
            self.running = enter(self.system.started(place))
        except NotStartedError as error:
            raise ScenarioError(str(error)) from error
        if isinstance(self.server, OwnServer):
            self._servers.append(server_target(self.server, self.system.scripts))
        self.group = ConsumerGroup(self._client, self.streams.names, self.system.group)
        clock = self.stage.clock
        self.effects = enter(Effects(self.running.effects, self.ledger, clock.now_ns, self._note_applied))
        self._wait_for_consumers()
        source = source_of(self.system, self.server, self.producer, self.settings.by_stream)
        settings = PumpSettings(
            url=self.server.url,
            connections=self.settings.connections,
            keep_outcomes=True,
            scripts=tuple(self.system.scripts),
            floor=floor_before(self.stage, self.server, self.pacer, self.system.event_bytes),
        )
        self._pump = self.stage.driver.pump(settings, self.pacer, source)
        self._stack.callback(self._pump.close)
        self._pump.wait_until_ready()

    def _wait_for_consumers(self) -> None:
        """Wait until what is appended from now on will reach the consumers."""
        running, deadline_ns = self.running, self.stage.clock.now_ns() + 20_000_000_000
        while self.stage.clock.now_ns() < deadline_ns:
            for name in running.consumers:
                if not running.is_running(name) and not isinstance(running, Observed):
                    raise ScenarioError(f"{name} has ended before the load began; see services.log")
            if running.listens():
                return
            self.stage.clock.sleep_ns(20_000_000)
        raise ScenarioError(f"{running.consumers[0]} does not listen after 20 s; see services.log")

    @property
    def targets(self) -> list[Target]:
        """What can be broken: the system's own, and a server of ours."""
        group = self.group if self.streams.has_group else None
        return breakable(self.running, self._servers, group, self.stage.clock)

    # Load ----------------------------------------------------------------------------------------------

    def _note_applied(self, count: int) -> None:
        self.applied_at.append((self.stage.clock.now_ns() - self.origin_ns, count))

    @property
    def appended(self) -> int:
        """How many appends were acknowledged so far."""
        return self._pump.progress.ok if self._pump is not None else 0

    @property
    def unapplied(self) -> int:
        """How many events are appended and have had no effect yet."""
        return max(0, self.appended - self.ledger.applied)

    @property
    def unanswered(self) -> int:
        """How many events are due and not answered yet: on their way, or waiting for the server or the pump."""
        if self._pump is None:
            return 0
        counts = self._pump.progress
        # A pump that is kept from its core has not begun all that is due.
        due = (
            counts.arrivals
            if self._has_ended
            else max(counts.arrivals, self._due_by(self.stage.clock.now_ns() - self.origin_ns))
        )
        return max(0, due - counts.ended)

    def _due_by(self, t_ns: int) -> int:
        """How many arrivals are due by a moment of the run."""
        return bisect.bisect_right(
            range(self.pacer.total), t_ns, key=lambda number: int(self.pacer.due_ns(number, 1)[0])
        )

    def counting(self) -> list[Probe]:
        """What to sample of our own counts, whatever the server does."""
        return [
            Gauge("load.applied", "events", lambda: self.ledger.applied),
            Gauge("lag.events", "events", lambda: self.unapplied, group=self.system.group),
            Gauge("lag.unanswered", "events", lambda: self.unanswered, group=self.system.group),
        ]

    def probes(self) -> list[Probe]:
        """What to sample of the server and the host while the line is under load."""
        streams = self.streams.names
        client = self._stack.enter_context(contextlib.closing(self.server.client(timeout_s=0.5)))
        probes: list[Probe] = []
        if self.streams.has_group:
            probes.append(
                GroupLag(client, streams, self.system.group, lambda raw: self.system.epoch_s(raw.decode()))
            )
        return [*probes, *server_probes(self.server, client, self.stage.clock), HostLoad()]

    def sampling(self, probes: Sequence[Probe], *, period_ns: int = PERIOD_NS) -> Sampler:
        """What samples more probes, so often, while the line is under load and it is entered.

        Raises:
            ScenarioError: the load has not begun.
        """
        if self._load is None:
            raise ScenarioError("the load of the line has not begun")
        return self._load.sampling(probes, period_ns=period_ns)

    def run_load(
        self, findings: Findings, plan: Sequence[Fault] = (), beside: Callable[[], Any] | None = None
    ) -> None:
        """Run the schedule to its end, and close the ledger's side of attempts.

        Args:
            findings: gets what the pump has measured, also when the run is interrupted.
            plan: faults that are done meanwhile; more can be done by hand, by `findings.nemesis`.
            beside: makes a context that is entered for the time of the load, once its origin is known.

        Raises:
            ScenarioError: a fault of the plan could not be done or healed.
        """
        pump = self._pump
        if pump is None:
            raise ScenarioError("the line has not been started")
        findings.open_loop(connections=self.settings.connections, arrivals="by schedule", producer=self.producer)
        load = self._load = UnderLoad(self.stage, findings)
        self.origin_ns = load.origin_ns
        self.arriving = self._stack.enter_context(
            load.arriving(
                self.server, self.streams.names, counting=self.counting(), trims=self.settings.is_trimmed
            )
        )
        self.sampler = self._stack.enter_context(load.sampling(self.probes()))
        findings.evidence.add_json(PLAN, list(plan))
        errors: list[str] = []
        nemesis = Nemesis(
            self.targets,
            [self._here(fault) for fault in plan],
            clock=self.stage.clock,
            origin_ns=self.origin_ns,
            history=findings.history,
            on_error=errors.append,
        )

        findings.account = self.ledger.account
        self._attempts_before = telling_of(self.running).attempts
        asked_us = self._asked_us()
        with nemesis, beside() if beside is not None else contextlib.nullcontext():
            findings.nemesis = nemesis
            try:
                self.result = load.run(
                    pump,
                    self.pacer,
                    "append",
                    lambda share: self.stage.progress(share * 0.9, f"{self.unapplied:,} events behind"),
                    then=self._close_attempts,
                )
                if self.settings.outlasts:
                    nemesis.wait_until_played()
            finally:
                findings.nemesis = None
        if errors:
            raise ScenarioError(errors[0])
        self._note_cost_of_probes(asked_us)

    def check(self, fault: Fault) -> None:
        """See to it that a fault can be done here.

        Raises:
            ScenarioError: it cannot.
        """
        self._here(fault)

    def _here(self, fault: Fault) -> Fault:
        """A fault of a plan on what this system calls its target; the plan calls the first consumer `crm`.

        Raises:
            ScenarioError: there is no such thing here.
        """
        there = replace(fault, target=self.running.roles.get(fault.target, fault.target))
        check_possible(self.targets, there, self.system.name)
        return there

    def stop_load(self) -> None:
        """End the schedule now, from any thread; what was due by then is answered and accounted for."""
        self._has_ended = True
        if self._pump is not None:
            self._pump.stop()

    def _asked_us(self) -> float | None:
        """For how long the server has worked on what probes ask; None where it does not say, or is away."""
        try:
            spent = self._client.info("commandstats")
        except redis.RedisError:
            return None
        return asked_us(spent)

    def _note_cost_of_probes(self, before_us: float | None) -> None:
        after_us = self._asked_us()
        took_us = (self.stage.clock.now_ns() - self.origin_ns) / 1000
        # A server that was restarted has forgotten; then nothing is known.
        if before_us is not None and after_us is not None and after_us >= before_us:
            self.probe_share = (after_us - before_us) / took_us

    def _close_attempts(self, result: PumpResult) -> None:
        self._has_ended = True
        outcomes = result.outcomes
        if outcomes is None:
            raise ScenarioError("the pump has kept no outcomes")
        self.ledger.acknowledge(np.flatnonzero(outcomes == OK).astype(np.int64))
        self.ledger.leave_unknown(np.flatnonzero(outcomes == UNKNOWN).astype(np.int64))
        self.ledger.refuse(np.flatnonzero(outcomes == FAIL).astype(np.int64))

    # Drain ---------------------------------------------------------------------------------------------

    def wait_until_drained(self, timeout_s: float, quiet_s: float | None = None) -> bool:
        """Wait, after the load, until the drain has ended (`scenarios.line.ending`); whether nothing waits then.

        Args:
            timeout_s: that it may take while things move; where nothing does, it is waited on until that is sure.
            quiet_s: for how long no effect may come before what waits for nobody is lost; None: as the system
                needs.

        Raises:
            ScenarioError: nobody can see it any more.
        """
        self.ended = waited_out(self, timeout_s=timeout_s, quiet_s=quiet_s)
        return self.has_drained

    @property
    def has_drained(self) -> bool:
        """Whether nothing waits any more."""
        return self.ended is not None and self.ended.ending == "drained"

    # Evidence ------------------------------------------------------------------------------------------

    def gather(self, sections: Sections, *, waited_s: float) -> None:
        """Put what is known of this run's events into the evidence; to be asked after the drain.

        Args:
            sections: get it.
            waited_s: for how long the drain might take.
        """
        noted, effects = self.effects.noted()
        telling, ended, before = telling_of(self.running), self.ended or Ended(), self._attempts_before
        facts = LineFacts(
            capacity=self.ledger.capacity,
            events_an_entity=self.system.events_an_entity,
            foreign=noted.foreign,
            foreign_examples=noted.foreign_examples,
            consumers=self.settings.consumers,
            groups={},
            parked=0,
            waited_s=waited_s,
            ending=ended.ending,
            still_s=ended.still_s,
            quiet_s=ended.quiet_s,
            patience_s=ended.patience_s,
            attempts={outcome: count - before.get(outcome, 0) for outcome, count in telling.attempts.items()},
            poisoned=len(telling.poisoned),
            sees_repeats=telling.sees_repeats,
            consumer=self.observed(),
        )
        if telling.promise is not None:
            sections.add_json("promise", telling.promise)
        self.streams.gather(sections, noted, effects, facts)

    def observed(self) -> ConsumerFacts | None:
        """What was seen of somebody else's consumers beside their effects; None: these are ours."""
        return self.running.facts(self.origin_ns) if isinstance(self.running, Observed) else None


def asked_us(spent: Mapping[str, Any]) -> float:
    """For how long a server has worked on what probes ask, by its INFO commandstats."""
    return float(sum(spent.get(f"cmdstat_{name}", {}).get("usec", 0) for name in _ASKED_BY_PROBES))
