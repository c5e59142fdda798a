"""What the scenarios run on: a server, the shop's processes on it, load into one end, effects out of the other.

    pump --append.lua--> events:{customer}_created --consumer group--> crm --HTTP--> mail
     |                                                                                |
     +-- attempted, acknowledged ------------- ledger ------------- applied ----------+

A `Line` is all of that: it starts the mail service and the CRM as processes, follows the mails as they are
accepted, and knows at any moment how many events are appended and not yet applied.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec
import numpy as np

from harness.conducting import Findings, ScenarioError, Stage
from harness.driving import Drive
from harness.faults import Fault, Nemesis, Target
from harness.ledger import Ledger
from harness.pacing import Pacer
from harness.probes import Gauge, GroupLag, HostLoad, Probe, Sampler, ServerLoad
from harness.pump import OK, UNKNOWN, PumpError, PumpResult, PumpSettings
from harness.servers import Durability, Server, open_server
from ordershop.events import EventId, Keys
from ordershop.services.crm import SOURCES
from ordershop.supervisor import Service, Supervisor, SupervisorError, free_port
from scenarios.load import Load

GROUP = "crm"
# From "everybody is ready" to the first arrival.
LEAD_NS = 200_000_000
POLL_S = 0.02


def producer_of(stage: Stage) -> int:
    """The number that a run's events carry: from its seed and the time, so that runs do not meet."""
    generator = np.random.default_rng([stage.seed, int(stage.clock.epoch_s() * 1000)])
    return int(generator.integers(1, 1 << 48))


def server_for(stage: Stage, durability: Durability) -> Server:
    """The server of a stage; one that we start gets this durability."""
    return open_server(stage.server, stage.clock, durability=durability, port=stage.port)


def run_pump(
    stage: Stage,
    pump: Drive,
    origin_ns: int,
    duration_ns: int,
    show: Callable[[float], None],
    keep: Callable[[PumpResult], None],
) -> PumpResult:
    """Let a pump run its schedule, showing how far it is.

    Args:
        keep: gets the result, also what there is of it when the run is interrupted.

    Raises:
        PumpError: it does not report.
    """
    try:
        pump.begin(origin_ns)
        # Its own bounds are the schedule and its drain; this one is for a pump that hangs.
        deadline_ns = origin_ns + duration_ns + 120_000_000_000
        while not pump.is_done():
            now_ns = stage.clock.now_ns()
            if now_ns > deadline_ns:
                raise PumpError("the pump does not report")
            show(min(1.0, max(0.0, (now_ns - origin_ns) / duration_ns)))
            stage.clock.sleep_ns(50_000_000)
        result = pump.result(5.0)
    except KeyboardInterrupt:
        pump.stop()
        keep(pump.result(40.0))
        raise
    keep(result)
    return result


class CrmTarget:
    """The CRM, for faults."""

    name = "crm"

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self._supervisor.stop("crm")

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._supervisor.kill("crm")

    def freeze(self) -> None:
        """SIGSTOP."""
        self._supervisor.freeze("crm")

    def thaw(self) -> None:
        """SIGCONT."""
        self._supervisor.thaw("crm")

    def start(self) -> None:
        """Start it again.

        Raises:
            OSError: it does not start.
        """
        try:
            self._supervisor.start_again("crm")
        except SupervisorError as error:
            raise OSError(str(error)) from error


class Effects:
    """Follows the mails that the mail service accepts, and notes each in the ledger.

    Args:
        port: of the mail service.
        ledger: gets them.
        seen: told the number of all effects so far, whenever it grows.
    """

    def __init__(self, port: int, ledger: Ledger, seen: Callable[[int], None]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._ledger = ledger
        self._seen = seen
        self._decoder = msgspec.json.Decoder(_MailLine)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="effects", daemon=True)
        self.count = 0
        self.lost_sight: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def _follow(self) -> None:
        try:
            while not self._stop.is_set():
                # Until nothing new has come, without a pause: a backlog arrives in pages.
                if not self.poll():
                    self._stop.wait(POLL_S)
        except (OSError, http.client.HTTPException) as error:
            self.lost_sight = f"the mail service does not answer: {error}"

    def poll(self) -> int:
        """Note the mails that were accepted since the last time, and answer how many those are."""
        self._connection.request("GET", f"/emails?after={self.count}")
        lines = self._connection.getresponse().read()
        mails = self._decoder.decode_lines(lines)
        if mails:
            self._ledger.apply(mail.event_id for mail in mails)
            self.count += len(mails)
            self._seen(self.count)
        return len(mails)


class _MailLine(msgspec.Struct):
    event_id: str = ""


class Line:
    """The line from an append to a mail, under load.

    Args:
        stage: where and how.
        pacer: when events are due.
        delivery: `at_least_once`, `at_most_once` or `seed`.
        durability: of a server that we start.
        connections: of the pump.
    """

    def __init__(
        self, stage: Stage, pacer: Pacer, *, delivery: str, durability: Durability, connections: int = 1
    ) -> None:
        self.stage = stage
        self.pacer = pacer
        self.producer = producer_of(stage)
        self.ledger = Ledger(self.producer, pacer.total)
        self.origin_ns = 0
        self.applied_at: list[tuple[int, int]] = []
        self._delivery = delivery
        self._durability = durability
        self._connections = connections
        self._stack = contextlib.ExitStack()
        self._pump: Drive | None = None
        self.sampler: Sampler | None = None

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        enter = self._stack.enter_context
        self.server = enter(server_for(self.stage, self._durability))
        self.keys = Keys(self.server.namespace)
        self._client = enter(contextlib.closing(self.server.client(timeout_s=1.0)))
        log = self.stage.directory / "services.log"
        self.supervisor = enter(Supervisor(log=log))
        port = free_port()
        outbox = self.stage.directory / "outbox.jsonl"
        # The outbox is a working file of the mail service; what it proves is in the ledger.
        self._stack.callback(outbox.unlink, missing_ok=True)
        mail_arguments = ["--port", str(port), "--outbox", str(outbox)]
        try:
            self.supervisor.start(Service("mail", "ordershop.services.mail", tuple(mail_arguments), port))
            self.supervisor.start(Service("crm", "ordershop.services.crm", tuple(self._crm_arguments(port))))
        except SupervisorError as error:
            raise ScenarioError(str(error)) from error
        self.effects = enter(Effects(port, self.ledger, self._note_applied))
        self._wait_for_crm()
        source = Load().source(self.server, "append", self.producer, self.stage.seed)
        settings = PumpSettings(url=self.server.url, connections=self._connections, keep_outcomes=True)
        self._pump = self.stage.driver.pump(settings, self.pacer, source)
        self._stack.callback(self._pump.close)
        self._pump.wait_until_ready()

    def _crm_arguments(self, mail_port: int) -> list[str]:
        return [
            *("--server", self.server.url, "--namespace", self.server.namespace),
            *("--mail", f"http://127.0.0.1:{mail_port}", "--policy", self._delivery),
            *("--state", str(self.stage.directory)),
        ]

    def _wait_for_crm(self) -> None:
        """Wait until the CRM listens: its group is there, or, for the seed's way, its blocking read."""
        stream = self.keys.stream("customer", "created")
        deadline_ns = self.stage.clock.now_ns() + 20_000_000_000
        while self.stage.clock.now_ns() < deadline_ns:
            if self.supervisor.pid("crm") is None:
                raise ScenarioError("the CRM has ended before the load began; see services.log")
            if self._delivery == "seed":
                if any(client["cmd"] == "xread" for client in self._client.client_list()):
                    return
            elif self._client.exists(stream) and self._client.xinfo_groups(stream):
                return
            self.stage.clock.sleep_ns(20_000_000)
        raise ScenarioError("the CRM does not listen after 20 s; see services.log")

    def _note_applied(self, count: int) -> None:
        self.applied_at.append((self.stage.clock.now_ns() - self.origin_ns, count))

    @property
    def crm(self) -> Target:
        """The CRM, for faults."""
        return CrmTarget(self.supervisor)

    @property
    def appended(self) -> int:
        """How many appends were acknowledged so far."""
        return int(self._pump.progress[1]) if self._pump is not None else 0

    @property
    def unapplied(self) -> int:
        """How many events are appended and have had no effect yet."""
        return max(0, self.appended - self.effects.count)

    def probes(self) -> list[Probe]:
        """What to sample while the line is under load."""
        streams = [self.keys.stream(topic, action) for topic, action in SOURCES]
        client = self._stack.enter_context(contextlib.closing(self.server.client(timeout_s=0.5)))
        probes: list[Probe] = [Gauge("lag.events", "events", lambda: self.unapplied, group=GROUP)]
        if self._delivery != "seed":
            probes.append(GroupLag(client, streams, GROUP, lambda raw: EventId.parse(raw).epoch_s))
        return [*probes, ServerLoad(client, lambda: self.server.pid, self.stage.clock), HostLoad()]

    def run_load(self, findings: Findings, plan: Sequence[Fault] = ()) -> None:
        """Run the schedule to its end, and close the ledger's side of attempts.

        Args:
            findings: gets what the pump has measured, also when the run is interrupted.
            plan: faults that are done to the CRM meanwhile; more can be done by hand, by `findings.nemesis`.

        Raises:
            ScenarioError: a fault of the plan could not be done or healed.
        """
        pump = self._pump
        if pump is None:
            raise ScenarioError("the line has not been started")
        findings.open_loop(connections=self._connections, arrivals="by schedule", producer=self.producer)
        self.origin_ns = self.stage.clock.now_ns() + LEAD_NS
        self.sampler = Sampler(
            self.probes(), clock=self.stage.clock, origin_ns=self.origin_ns, history=findings.history
        )
        self._stack.enter_context(self.sampler)
        errors: list[str] = []
        nemesis = Nemesis(
            self.crm,
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

        findings.origin_ns, findings.progress = self.origin_ns, lambda: pump.progress
        findings.account = self.ledger.account
        with nemesis:
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

    def _close_attempts(self, result: PumpResult) -> None:
        outcomes = result.outcomes
        if outcomes is None:
            raise ScenarioError("the pump has kept no outcomes")
        self.ledger.acknowledge(np.flatnonzero(outcomes == OK).astype(np.int64))
        self.ledger.leave_unknown(np.flatnonzero(outcomes == UNKNOWN).astype(np.int64))

    def wait_until_drained(self, timeout_s: float, quiet_s: float = 2.0) -> bool:
        """Wait, after the load, until nothing waits for an effect any more.

        Drained is: everything acknowledged has had its effect; or the group has nothing undelivered and nothing
        pending (the seed's way has no group, and so nothing that waits), and for `quiet_s` no effect has come.
        """
        clock = self.stage.clock
        deadline_ns = clock.now_ns() + int(timeout_s * 1e9)
        quiet_since_ns, count = clock.now_ns(), self.effects.count
        while clock.now_ns() < deadline_ns:
            if self.effects.lost_sight:
                raise ScenarioError(self.effects.lost_sight)
            if self.supervisor.pid("crm") is None:
                raise ScenarioError("the CRM has ended by itself; see services.log")
            if not self.ledger.lost().size:
                return True
            if self.effects.count != count:
                quiet_since_ns, count = clock.now_ns(), self.effects.count
            elif clock.now_ns() - quiet_since_ns > quiet_s * 1e9 and self._nothing_waits():
                return True
            self.stage.progress(0.95, f"draining: {self.unapplied:,} events behind")
            clock.sleep_ns(50_000_000)
        return False

    def _nothing_waits(self) -> bool:
        if self._delivery == "seed":
            return True
        for topic, action in SOURCES:
            stream = self.keys.stream(topic, action)
            group = next(g for g in self._client.xinfo_groups(stream) if g["name"] == GROUP.encode())
            if group["pending"] or self._client.xrange(
                stream, "(" + group["last-delivered-id"].decode(), "+", count=1
            ):
                return False
        return True
