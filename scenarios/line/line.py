"""The line that events take through the shop, under load: from the append to the mail, and what can break on it.

    pump --append.lua--> customer created, deleted --group "crm"--> crm, crm-2 ... --HTTP--> mail
     |                        server                    |    crm-redis  |     crm-mail         |
     +-- attempted, acknowledged ---------------- ledger ---------------- applied -------------+

A `Line` starts all of it as processes, follows the mails as they are accepted, and knows at any moment how many
events are appended and not yet applied. Each customer is created by one event and deleted by the next, so that
there is an order to be kept, entity by entity.

Faults can be done to each consumer, to the mail service, to a server of ours, and, where there are links, to the
lines `crm-redis` and `crm-mail`, which are proxies. After the drain, `gather` reads from the streams and the
group where each lost event stopped, and whether effects came in the order of their events.
"""

from __future__ import annotations

import bisect
import contextlib
import http.client
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
import redis

from harness.account.ledger import Ledger
from harness.conduct.conduct import Findings, ScenarioError, Stage
from harness.load.driver import Drive
from harness.load.pacing import Pacer
from harness.load.settings import PumpResult, PumpSettings
from harness.measure.outcomes import FAILED, OK, UNKNOWN
from harness.measure.probes import Gauge, GroupLag, HostLoad, Probe, Sampler
from harness.measure.server_events import server_probes
from harness.nemesis.nemesis import Nemesis
from harness.nemesis.plan import Fault
from harness.nemesis.proxy import Proxy
from harness.nemesis.targets import Part, Target, line_can, process_can
from harness.record.evidence import Sections
from harness.server.own import OwnServer
from harness.server.url import ServerUrl
from ordershop.entities import Customer
from ordershop.event_store import APPEND_LUA, EventStore, connect
from ordershop.events import Event, EventId, Keys
from ordershop.supervisor import Service, Supervisor, SupervisorError, free_port
from scenarios.arrival import Arriving
from scenarios.line.effects import Effects
from scenarios.line.evidence import LineFacts, Streams
from scenarios.line.settings import LineSettings
from scenarios.line.targets import ServiceProcess, address_behind, server_target
from scenarios.load import EVENT_BYTES, lifecycle
from scenarios.shop.shop import GROUP, LEAD_NS, floor_before, producer_of, run_pump, server_for

# For so long effects are looked for after the last that was waited for.
SETTLE_S = 0.5
# The mail service refuses this address for good: an event that carries it always fails.
POISONED = "poison@ordershop.example"
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
        self.targets: list[Target] = []
        self.probe_share: float | None = None
        self._stack = contextlib.ExitStack()
        self._pump: Drive | None = None
        self._planted = 0
        self._has_ended = False
        self.has_drained = False
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
            address_behind(self.stage.server)  # before anything is written there
        enter = self._stack.enter_context
        self.server = enter(server_for(self.stage, self.settings.durability))
        self.keys = Keys(self.server.namespace)
        # redis-py's types allow text where this client answers bytes.
        self._client: Any = enter(contextlib.closing(self.server.client(timeout_s=1.0)))
        self.streams = Streams(
            self._client,
            self.keys,
            self.producer,
            self.ledger.capacity,
            has_group=self.settings.delivery != "from_now",
        )
        self.supervisor = enter(Supervisor(log=self.stage.directory / "services.log"))
        try:
            self._start_mail()
            self._start_consumers()
        except SupervisorError as error:
            raise ScenarioError(str(error)) from error
        if isinstance(self.server, OwnServer):
            self.targets.append(server_target(self.server))
        self.effects = enter(Effects(self._mail_port, self.ledger, self.stage.clock.now_ns, self._note_applied))
        self._wait_for_consumers()
        source = lifecycle(self.server, "append", self.producer)
        settings = PumpSettings(
            url=self.server.url,
            connections=self.settings.connections,
            keep_outcomes=True,
            scripts=(APPEND_LUA,),
            floor=floor_before(self.stage, self.server, self.pacer, EVENT_BYTES),
        )
        self._pump = self.stage.driver.pump(settings, self.pacer, source)
        self._stack.callback(self._pump.close)
        self._pump.wait_until_ready()

    def _start_mail(self) -> None:
        self._mail_port = free_port()
        outbox = self.stage.directory / "outbox.jsonl"
        # The outbox is a working file of the mail service; what it proves is in the ledger.
        self._stack.callback(outbox.unlink, missing_ok=True)
        arguments = ["--port", str(self._mail_port), "--outbox", str(outbox), "--refuse", POISONED]
        arguments += ["--delay-ms", str(self.settings.mail_delay_ms)]
        if not self.settings.is_idempotent:
            arguments.append("--no-idempotency")
        self.supervisor.start(Service("mail", "ordershop.services.mail", tuple(arguments), self._mail_port))
        mail = ServiceProcess(self.supervisor, "mail")
        self.targets.append(Part("mail", process_can(mail) | {"slow": self._slow}))

    def _slow(self, ms: float) -> None:
        """Have the mail service take so long for each request."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self._mail_port, timeout=10)
        ) as connection:
            connection.request(
                "PUT", "/delay", msgspec.json.encode({"ms": ms}), {"Content-Type": "application/json"}
            )
            status = connection.getresponse().status
        if status != 200:
            raise OSError(f"the mail service answered {status}")

    def _start_consumers(self) -> None:
        self.add_consumer("crm", 1, *(self._linked() if self.settings.has_links else ()))
        for number in range(2, self.settings.consumers + 1):
            self.add_consumer(f"crm-{number}", number)

    def _linked(self) -> tuple[ServerUrl, str]:
        """Where the first consumer finds Redis and the mail service: each behind a proxy."""
        address, port = address_behind(self.server.url)
        redis_port = self._link("crm-redis", port, address)
        mail_port = self._link("crm-mail", self._mail_port, "127.0.0.1")
        return self.server.url.through(redis_port), f"http://127.0.0.1:{mail_port}"

    def _link(self, name: str, port: int, host: str) -> int:
        proxy = self._stack.enter_context(Proxy(port, server_host=host))
        self.targets.append(Part(name, line_can(proxy)))
        return proxy.port

    def add_consumer(self, name: str, number: int, server: ServerUrl | None = None, mail: str = "") -> None:
        """Start one more consumer of the group, also while the line is under load.

        Args:
            name: of the process.
            number: of the consumer in the group.
            server, mail: through which it reaches both, if not straight.

        Raises:
            SupervisorError: it does not start.
        """
        chosen = self.settings
        arguments = [
            *("--namespace", self.server.namespace),
            *("--mail", mail or f"http://127.0.0.1:{self._mail_port}", "--policy", chosen.delivery),
            *("--state", str(self.stage.directory), "--consumer", str(number)),
            *("--page", str(chosen.page), "--claim-after-ms", str(chosen.claim_after_ms)),
        ]
        store = server or self.server.url
        self.supervisor.start(Service(name, chosen.consumer, tuple(arguments), store=store))
        process = ServiceProcess(self.supervisor, name)
        can = process_can(process)
        if number == 1:
            can |= {"poison": self._plant}
        self.targets.append(Part(name, can))

    def _plant(self) -> None:
        """Append an event that always fails: the mail service refuses its address."""
        self._planted += 1
        name = f"poison-{self.producer:x}-{self._planted}"
        with contextlib.closing(connect(self.server.url, timeout_s=5.0)) as client:
            event = Event("created", Customer(name, "Mallory", POISONED), name)
            EventStore(client, self.server.namespace).append(event)

    @property
    def consumers(self) -> list[str]:
        """The names of the consumers' processes."""
        return [name for name in self.supervisor.names if name.startswith("crm")]

    def _wait_for_consumers(self) -> None:
        """Wait until the consumers listen: the group has them, or, for `from_now`, they read."""
        stream = self.keys.stream("customer", "created")
        deadline_ns = self.stage.clock.now_ns() + 20_000_000_000
        while self.stage.clock.now_ns() < deadline_ns:
            for name in self.consumers:
                if self.supervisor.pid(name) is None:
                    raise ScenarioError(f"{name} has ended before the load began; see services.log")
            if self.settings.delivery == "from_now":
                reading = sum(client["cmd"] == "xread" for client in self._client.client_list())
                if reading >= self.settings.consumers:
                    return
            elif self._client.exists(stream) and self._client.xinfo_groups(stream):
                return
            self.stage.clock.sleep_ns(20_000_000)
        raise ScenarioError("the CRM does not listen after 20 s; see services.log")

    # Load ----------------------------------------------------------------------------------------------

    def _note_applied(self, count: int) -> None:
        self.applied_at.append((self.stage.clock.now_ns() - self.origin_ns, count))

    @property
    def appended(self) -> int:
        """How many appends were acknowledged so far."""
        return int(self._pump.progress[1]) if self._pump is not None else 0

    @property
    def unapplied(self) -> int:
        """How many events are appended and have had no effect yet."""
        return max(0, self.appended - self.ledger.applied)

    @property
    def unanswered(self) -> int:
        """How many events are due and not answered yet: on their way, or waiting for the server or the pump."""
        if self._pump is None:
            return 0
        begun, *ended = (int(count) for count in self._pump.progress)
        # A pump that is kept from its core has not begun all that is due.
        due = begun if self._has_ended else max(begun, self._due_by(self.stage.clock.now_ns() - self.origin_ns))
        return max(0, due - sum(ended))

    def _due_by(self, t_ns: int) -> int:
        """How many arrivals are due by a moment of the run."""
        return bisect.bisect_right(
            range(self.pacer.total), t_ns, key=lambda number: int(self.pacer.due_ns(number, 1)[0])
        )

    def counting(self) -> list[Probe]:
        """What to sample of our own counts, whatever the server does."""
        return [
            Gauge("load.applied", "events", lambda: self.ledger.applied),
            Gauge("lag.events", "events", lambda: self.unapplied, group=GROUP),
            Gauge("lag.unanswered", "events", lambda: self.unanswered, group=GROUP),
        ]

    def probes(self) -> list[Probe]:
        """What to sample of the server and the host while the line is under load."""
        streams = self.streams.names
        client = self._stack.enter_context(contextlib.closing(self.server.client(timeout_s=0.5)))
        probes: list[Probe] = []
        if self.streams.has_group:
            probes.append(GroupLag(client, streams, GROUP, lambda raw: EventId.parse(raw).epoch_s))
        return [*probes, *server_probes(self.server, client, self.stage.clock), HostLoad()]

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
        self.origin_ns = findings.origin_ns = self.stage.clock.now_ns() + LEAD_NS
        self.sampler = Sampler(
            self.probes(),
            clock=self.stage.clock,
            origin_ns=self.origin_ns,
            history=findings.history,
            on_error=findings.probe_failed,
        )
        self.arriving = Arriving(
            self.stage,
            self.server,
            self.streams.names,
            history=findings.history,
            origin_ns=self.origin_ns,
            on_error=findings.probe_failed,
            counting=self.counting(),
            trims=self.settings.is_trimmed,
        )
        self._stack.enter_context(self.arriving)
        self._stack.enter_context(self.sampler)
        errors: list[str] = []
        nemesis = Nemesis(
            self.targets,
            plan,
            clock=self.stage.clock,
            origin_ns=self.origin_ns,
            history=findings.history,
            on_error=errors.append,
        )

        def keep(result: PumpResult) -> None:
            findings.pumped("append", result)
            findings.host_steal(findings.history)
            self._close_attempts(result)

        findings.progress = lambda: pump.progress
        findings.account = self.ledger.account
        asked_us = self._asked_us()
        with nemesis, beside() if beside is not None else contextlib.nullcontext():
            findings.nemesis = nemesis
            try:
                self.result = run_pump(
                    self.stage,
                    pump,
                    self.origin_ns,
                    self.pacer.duration_ns,
                    lambda share: self.stage.progress(share * 0.9, f"{self.unapplied:,} events behind"),
                    keep,
                )
            finally:
                findings.nemesis = None
        if errors:
            raise ScenarioError(errors[0])
        self._note_cost_of_probes(asked_us)

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
        self.ledger.refuse(np.flatnonzero(outcomes == FAILED).astype(np.int64))

    # Drain ---------------------------------------------------------------------------------------------

    def wait_until_drained(self, timeout_s: float, quiet_s: float = 2.0) -> bool:
        """Wait, after the load, until nothing waits for an effect any more.

        Drained is, where everything acknowledged has had its effect: the group has nothing undelivered and nothing
        pending, for whoever has not acknowledged an event may apply it again, and for `SETTLE_S` there was no
        other effect; or for `quiet_s` there was none, whatever the group says. Else: the group has nothing waiting
        (the tutorials' way has no group, and so nothing that waits), and for `quiet_s` no effect has come, nor was
        there one at a look since then: what is acknowledged has had its effect, and whoever looks for effects may
        be behind.
        """
        self.has_drained = self._wait_until_drained(timeout_s, quiet_s)
        return self.has_drained

    def _wait_until_drained(self, timeout_s: float, quiet_s: float) -> bool:
        clock = self.stage.clock
        deadline_ns = clock.now_ns() + int(timeout_s * 1e9)
        quiet_since_ns, count = clock.now_ns(), self.effects.count
        idle_since_ns: int | None = None
        while clock.now_ns() < deadline_ns:
            if self.effects.lost_sight:
                raise ScenarioError(self.effects.lost_sight)
            if all(self.supervisor.pid(name) is None for name in self.consumers):
                raise ScenarioError("the CRM has ended by itself; see services.log")
            if self.effects.count != count:
                quiet_since_ns, count = clock.now_ns(), self.effects.count
            quiet_ns = clock.now_ns() - quiet_since_ns
            is_all_there = not self.ledger.lost().size
            if is_all_there and quiet_ns > quiet_s * 1e9:
                return True
            if quiet_ns > (SETTLE_S if is_all_there else quiet_s) * 1e9:
                if not self.streams.nothing_waits():
                    idle_since_ns = None
                elif idle_since_ns is None:
                    idle_since_ns = clock.now_ns()
                elif self.effects.nothing_new_ns > idle_since_ns:
                    return True
            self.stage.progress(0.95, f"draining: {self.unapplied:,} events behind")
            clock.sleep_ns(50_000_000)
        return False

    # Evidence ------------------------------------------------------------------------------------------

    def gather(self, sections: Sections, *, waited_s: float) -> None:
        """Put what is known of this run's events into the evidence; to be asked after the drain.

        Args:
            sections: get it.
            waited_s: for how long the drain might take.
        """
        noted, effects = self.effects.noted()
        facts = LineFacts(
            capacity=self.ledger.capacity,
            events_an_entity=2,
            foreign=noted.foreign,
            consumers=self.settings.consumers,
            groups={},
            parked=0,
            is_drained=self.has_drained,
            waited_s=waited_s,
        )
        self.streams.gather(sections, noted, effects, facts)


def asked_us(spent: Mapping[str, Any]) -> float:
    """For how long a server has worked on what probes ask, by its INFO commandstats."""
    return float(sum(spent.get(f"cmdstat_{name}", {}).get("usec", 0) for name in _ASKED_BY_PROBES))
