"""The line that events take through the shop, under load: from the append to the mail, and what can break on it.

    pump --append.lua--> customer created, deleted --group "crm"--> crm, crm-2 ... --HTTP--> mail
     |                        server                    |    crm-redis  |     crm-mail         |
     +-- attempted, acknowledged ---------------- ledger ---------------- applied -------------+

A `Line` starts all of it as processes, follows the mails as they are accepted, and knows at any moment how many
events are appended and not yet applied. Each customer is created by one event and deleted by the next, so that
there is an order to be kept, entity by entity.

Faults can be done to each consumer, to the mail service, to a server of ours, and, where there are links, to the
lines `crm-redis` and `crm-mail`, which are proxies. After the drain, `evidence` reads from the streams and the
group where each lost event stopped, and whether effects came in the order of their events.
"""

from __future__ import annotations

import bisect
import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
import redis
from msgspec import Meta, Struct

from harness.account.event_ids import sequences_of
from harness.account.ledger import Ledger, set_of
from harness.account.losses import Losses
from harness.account.order import Order, order_of_effects
from harness.arrays import Int32s, Int64s
from harness.conduct.conduct import Findings, ScenarioError, Stage
from harness.load.driver import Drive
from harness.load.pacing import Pacer
from harness.load.settings import PumpResult, PumpSettings
from harness.measure.outcomes import FAIL, OK, UNKNOWN
from harness.measure.probes import Gauge, GroupLag, HostLoad, Probe, Sampler
from harness.measure.server_events import server_probes
from harness.nemesis.nemesis import Nemesis
from harness.nemesis.plan import Fault
from harness.nemesis.proxy import Proxy
from harness.nemesis.targets import Part, Target, line_can, process_can
from harness.record.parameters import formerly
from harness.server.own import OwnServer
from harness.server.server import Durability
from harness.server.url import ServerUrl
from ordershop.entities import Customer
from ordershop.event_store import APPEND_LUA, EventStore, connect
from ordershop.events import Event, EventId, Keys
from ordershop.services.crm import SOURCES
from ordershop.supervisor import Service, Supervisor, SupervisorError, free_port
from scenarios.arrival import Arriving
from scenarios.line.targets import ServiceProcess, server_target
from scenarios.load import EVENT_BYTES, lifecycle
from scenarios.shop.shop import GROUP, LEAD_NS, floor_before, producer_of, run_pump, server_for

Delivery = Annotated[Literal["at_least_once", "at_most_once", "from_now"], formerly(seed="from_now")]
# How often the mail service is asked for what it has accepted, and for how long it may be away.
POLL_S = 0.02
AWAY_NS = 60_000_000_000
# For so long effects are looked for after the last that was waited for.
SETTLE_S = 0.5
PAGE = 2_000
# The mail service refuses this address for good: an event that carries it always fails.
POISONED = "poison@ordershop.example"
# What the probes ask of the server; the shop itself asks few of these. Before Redis 7 XINFO counts as one command.
_ASKED_BY_PROBES = ("info", "time", "xinfo", "xinfo|groups", "xinfo|stream", "xlen", "xpending", "xrange")


class LineSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a line is built.

    Attributes:
        delivery: the consumers' policy, or the tutorials' way.
        durability: of a server that we start.
        connections: of the pump.
        consumers: of the group.
        page: how many events a consumer reads at once.
        claim_after_ms: when the events of a consumer that died are taken by another.
        mail_delay_ms: how long the mail service takes for a request.
        is_idempotent: whether the mail service leaves out what it has sent already.
        has_links: whether the first consumer reaches Redis and the mail service through proxies.
        is_trimmed: whether something removes events from the streams meanwhile.
        consumer: the module that is started as a consumer.
    """

    delivery: Delivery = "at_least_once"
    durability: Durability = "everysec"
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 1
    consumers: Annotated[int, Meta(ge=1, le=64)] = 1
    page: Annotated[int, Meta(ge=1, le=10_000)] = 500
    claim_after_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 30_000
    mail_delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 0
    is_idempotent: bool = True
    has_links: bool = False
    is_trimmed: bool = False
    consumer: str = "ordershop.services.crm"


class Evidence(Struct, frozen=True, kw_only=True):
    """What the streams and the group say after the drain.

    Attributes:
        losses: the lost events, by where they stopped.
        order: whether effects came in the order of their events, entity by entity.
        stored: how many of the producer's events are in the streams.
        parked: how many events were given up, as they failed again and again.
    """

    losses: Losses
    order: Order
    stored: int
    parked: int


class Effects:
    """Follows the mails that the mail service accepts, and notes each in the ledger.

    The mail service may be away: its outbox is a file, so nothing is missed, only seen later. What tells how far
    the line is are first effects: a mail that is sent again is no event more.

    Args:
        port: of the mail service.
        ledger: gets them.
        now_ns: the time.
        seen: told how many different events have had an effect so far, whenever that grows.

    Attributes:
        count: of all effects so far, repeated ones included.
        lost_sight: why nobody looks any more; None: somebody does.
        nothing_new_ns: when the last look began that found nothing new; 0 before the first.
    """

    def __init__(self, port: int, ledger: Ledger, now_ns: Callable[[], int], seen: Callable[[int], None]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._ledger = ledger
        self._now_ns = now_ns
        self._seen = seen
        self._decoder = msgspec.json.Decoder(_MailLine)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="effects", daemon=True)
        self._sequences: list[Int32s] = []
        self._applied = 0
        self.count = 0
        self.lost_sight: str | None = None
        self.nothing_new_ns = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()

    @property
    def sequences(self) -> Int64s:
        """The sequence number of each effect of this run's events, in the order in which they were seen."""
        parts = self._sequences
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)

    def _follow(self) -> None:
        answered_ns = self._now_ns()
        while not self._stop.is_set():
            try:
                # Until nothing new has come, without a pause: a backlog arrives in pages.
                asked_ns = self._now_ns()
                if not self.poll():
                    self.nothing_new_ns = asked_ns
                    self._stop.wait(POLL_S)
                answered_ns = self._now_ns()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if self._now_ns() - answered_ns > AWAY_NS:
                    self.lost_sight = f"the mail service does not answer: {error}"
                    return
                self._stop.wait(POLL_S)

    def poll(self) -> int:
        """Note the mails that were accepted since the last time, and answer how many those are.

        Raises:
            OSError: no answer, or one that is no list of mails.
            http.client.HTTPException: an answer that is no HTTP.
        """
        self._connection.request("GET", f"/emails?after={self.count}")
        response = self._connection.getresponse()
        lines = response.read()
        if response.status != http.client.OK:
            raise OSError(f"it answered {response.status}")
        try:
            ids = [mail.event_id for mail in self._decoder.decode_lines(lines)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise OSError(f"its answer is not a list of mails ({error})") from error
        self.note(ids)
        return len(ids)

    def note(self, ids: Sequence[str]) -> None:
        """Note effects: the `event_id` of each, in the order in which they were seen."""
        if not ids:
            return
        self._ledger.apply(ids)
        sequences = sequences_of(self._ledger.producer, ids)
        ours = (sequences >= 0) & (sequences < self._ledger.capacity)
        self._sequences.append(sequences[ours].astype(np.int32))
        self.count += len(ids)
        applied = self._ledger.applied
        if applied > self._applied:
            self._applied = applied
            self._seen(applied)


class _MailLine(msgspec.Struct):
    event_id: str = ""


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

    @property
    def streams(self) -> list[str]:
        """The streams that the load is appended to, and that the consumers read."""
        return [self.keys.stream(topic, action) for topic, action in SOURCES]

    def counting(self) -> list[Probe]:
        """What to sample of our own counts, whatever the server does."""
        return [
            Gauge("load.applied", "events", lambda: self.ledger.applied),
            Gauge("lag.events", "events", lambda: self.unapplied, group=GROUP),
            Gauge("lag.unanswered", "events", lambda: self.unanswered, group=GROUP),
        ]

    def probes(self) -> list[Probe]:
        """What to sample of the server and the host while the line is under load."""
        streams = self.streams
        client = self._stack.enter_context(contextlib.closing(self.server.client(timeout_s=0.5)))
        probes: list[Probe] = []
        if self.settings.delivery != "from_now":
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
            self.streams,
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
        self.ledger.refuse(np.flatnonzero(outcomes == FAIL).astype(np.int64))

    # Drain ---------------------------------------------------------------------------------------------

    def wait_until_drained(self, timeout_s: float, quiet_s: float = 2.0) -> bool:
        """Wait, after the load, until nothing waits for an effect any more.

        Drained is: everything acknowledged has had its effect, and for `SETTLE_S` there was no other, such as one
        that comes twice; or the group has nothing undelivered and nothing pending (`from_now` has no group,
        and so nothing that waits), and for `quiet_s` no effect has come, nor was there one at a look since then:
        what is acknowledged has had its effect, and whoever looks for effects may be behind.
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
            if not self.ledger.lost().size:
                if quiet_ns > SETTLE_S * 1e9:
                    return True
            elif quiet_ns > quiet_s * 1e9:
                if not self._nothing_waits():
                    idle_since_ns = None
                elif idle_since_ns is None:
                    idle_since_ns = clock.now_ns()
                elif self.effects.nothing_new_ns > idle_since_ns:
                    return True
            self.stage.progress(0.95, f"draining: {self.unapplied:,} events behind")
            clock.sleep_ns(50_000_000)
        return False

    def _nothing_waits(self) -> bool:
        if self.settings.delivery == "from_now":
            return True
        for stream, group in self._groups():
            if group is None or group["pending"]:
                return False
            if self._client.xrange(stream, "(" + group["last-delivered-id"].decode(), "+", count=1):
                return False
        return True

    def _groups(self) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """Each stream that the consumers read, with what the server says of their group on it."""
        for topic, action in SOURCES:
            stream = self.keys.stream(topic, action)
            groups = self._client.xinfo_groups(stream) if self._client.exists(stream) else []
            yield stream, next((g for g in groups if g["name"] == GROUP.encode()), None)

    # Evidence ------------------------------------------------------------------------------------------

    def evidence(self) -> Evidence:
        """What the streams and the group say of this run's events; to be asked after the drain."""
        in_stream, delivered, pending = set_of(_NONE), set_of(_NONE), set_of(_NONE)
        has_group = self.settings.delivery != "from_now"
        placed: list[tuple[EventId, int]] = []
        for stream, group in self._groups():
            waiting = self._pending(stream) if group is not None and group["pending"] else frozenset()
            last = EventId.parse(group["last-delivered-id"].decode()) if group is not None else None
            has_group = has_group and group is not None
            for raw, sequence in self._stored(stream):
                at = EventId.parse(raw.decode())
                placed.append((at, sequence))
                in_stream.add(sequence)
                if last is not None and at <= last:
                    delivered.add(sequence)
                if raw in waiting:
                    pending.add(sequence)
        losses = self.ledger.losses(
            in_stream=in_stream,
            delivered=delivered if has_group else None,
            pending=pending if has_group else None,
        )
        return Evidence(losses=losses, order=self._order(placed), stored=len(in_stream), parked=self._parked())

    def gone(self) -> Int64s:
        """The sequence numbers of the events that were acknowledged and are in no stream any more, rising."""
        outcomes = self.result.outcomes
        if outcomes is None:
            raise ScenarioError("the pump has kept no outcomes")
        return np.setdiff1d(np.flatnonzero(outcomes == OK), self.stored())

    def stored(self) -> Int64s:
        """The sequence numbers of this run's events in the streams, in no order."""
        stored = [sequence for stream, _ in self._groups() for _, sequence in self._stored(stream)]
        return np.array(stored, np.int64)

    def _stored(self, stream: str) -> Iterator[tuple[bytes, int]]:
        """This producer's events in a stream: the entry's ID and the sequence number."""
        start = "-"
        while entries := self._client.xrange(stream, start, "+", count=PAGE):
            sequences = sequences_of(
                self.producer, [fields.get(b"event_id", b"").decode() for _, fields in entries]
            )
            for (raw, _), sequence in zip(entries, sequences.tolist(), strict=True):
                if 0 <= sequence < self.ledger.capacity:
                    yield raw, sequence
            start = "(" + entries[-1][0].decode()

    def _pending(self, stream: str) -> frozenset[bytes]:
        """The IDs of the entries that consumers have and have not acknowledged."""
        found: list[bytes] = []
        start = "-"
        while page := self._client.xpending_range(stream, GROUP, start, "+", PAGE):
            found += [entry["message_id"] for entry in page]
            start = "(" + page[-1]["message_id"].decode()
        return frozenset(found)

    def _order(self, placed: list[tuple[EventId, int]]) -> Order:
        places = np.full(self.ledger.capacity, -1, np.int64)
        for place, (_, sequence) in enumerate(sorted(placed)):
            places[sequence] = place
        entities = np.arange(self.ledger.capacity, dtype=np.int64) // 2
        return order_of_effects(self.effects.sequences, entities=entities, places=places)

    def _parked(self) -> int:
        return int(self._client.xlen(f"{self.keys.namespace}parked:{GROUP}"))


_NONE = np.zeros(0, np.int64)


def asked_us(spent: Mapping[str, Any]) -> float:
    """For how long a server has worked on what probes ask, by its INFO commandstats."""
    return float(sum(spent.get(f"cmdstat_{name}", {}).get("usec", 0) for name in _ASKED_BY_PROBES))


def address_behind(url: ServerUrl) -> tuple[str, int]:
    """The address and port that a proxy in front of a server has to dial.

    A server's name may have several addresses, of which it listens on one; so the one that answers is taken.

    Raises:
        ScenarioError: it is behind a Unix socket, or does not answer.
    """
    if url.path:
        raise ScenarioError(
            f"{url}: a fault of the line to Redis goes through a TCP proxy, and this server is at a Unix socket; "
            "give its TCP address"
        )
    try:
        with socket.create_connection((url.host, url.port), timeout=5.0) as probe:
            address: tuple[str, int] = probe.getpeername()[:2]
    except OSError as error:
        raise ScenarioError(f"{url}: does not answer ({error})") from error
    return address
