"""OrderShop as a system under test: customers come and go, and the CRM has a mail sent for each event.

    append.lua --> customer created, deleted --group "crm"--> crm, crm-2 ... --HTTP--> mail
                            server                |    crm-redis  |     crm-mail         |

An effect is a mail that the mail service has accepted. Its outbox is a file, so nothing is missed while it is
away, only seen later.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import redis

from harness.load.workload import Source
from harness.nemesis.proxy import Proxy
from harness.nemesis.targets import Part, Target, line_can, process_can
from harness.server.server import Server
from harness.server.url import ServerUrl
from harness.system.address import address_behind
from harness.system.port import NotStartedError, Place
from harness.system.target import WholeTarget
from ordershop.entities import Customer
from ordershop.event_store import APPEND_LUA, EventStore, StoreError, UnavailableError, connect
from ordershop.events import Event, EventId, Keys
from ordershop.services.crm import SOURCES
from ordershop.supervisor import Service, Supervisor, SupervisorError, free_port
from ordershop.wire import is_unable
from scenarios.gate_target import ordershop
from scenarios.line.targets import ServiceProcess
from scenarios.load import EVENT_BYTES, lifecycle, lifecycle_by_stream
from scenarios.shop.shop import GROUP

CONSUMER = "ordershop.services.crm"
# The mail service refuses this address for good: an event that carries it always fails.
POISONED = "poison@ordershop.example"


class Mails:
    """What the mail service has accepted.

    Args:
        port: of it.
    """

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._decoder = msgspec.json.Decoder(_MailLine)

    def effects(self, after: int) -> list[str]:
        """The `event_id` of each mail that was accepted, but for the first ones.

        Raises:
            OSError: no answer, or one that is no list of mails.
        """
        connection = self._connection
        try:
            connection.request("GET", f"/emails?after={after}")
            response = connection.getresponse()
            lines = response.read()
        except http.client.HTTPException as error:
            connection.close()
            raise OSError(f"its answer is no HTTP ({error})") from error
        except OSError:
            connection.close()
            raise
        if response.status != http.client.OK:
            raise OSError(f"it answered {response.status}")
        try:
            return [mail.event_id for mail in self._decoder.decode_lines(lines)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise OSError(f"its answer is not a list of mails ({error})") from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class _MailLine(msgspec.Struct):
    event_id: str = ""


class RunningShop:
    """The mail service and the consumers as processes, ready for load, while it is entered.

    Args:
        place: where they are started.

    Raises:
        NotStartedError: a part of it does not start.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._wanted = place.wanted
        self._server = place.server
        self._keys = Keys(place.server.namespace)
        self._stack = contextlib.ExitStack()
        self._planted = 0
        self.targets: list[Target] = []
        self.followers: dict[str, Proxy] = {}

    def __enter__(self) -> Self:
        with self._stack:
            enter = self._stack.enter_context
            # redis-py's types allow text where this client answers bytes.
            self._client: Any = enter(contextlib.closing(self._server.client(timeout_s=1.0)))
            self.supervisor = enter(Supervisor(log=self._place.directory / "services.log"))
            try:
                self._start_mail()
                self._start_consumers()
            except SupervisorError as error:
                raise NotStartedError(str(error)) from error
            self._mails = enter(contextlib.closing(Mails(self._mail_port)))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def is_running(self, name: str) -> bool:
        """Whether a consumer's process runs."""
        return self.supervisor.pid(name) is not None

    def listens(self) -> bool:
        """Whether the group has the consumers, or, for `from_now`, they read."""
        if self._wanted.delivery == "from_now":
            reading = sum(client["cmd"] == "xread" for client in self._client.client_list())
            return bool(reading >= self._wanted.consumers)
        stream = self._keys.stream("customer", "created")
        return bool(self._client.exists(stream) and self._client.xinfo_groups(stream))

    def effects(self, after: int) -> list[str]:
        """The `event_id` of each mail that was accepted, but for the first ones.

        Raises:
            OSError: no answer, or one that is no list of mails.
        """
        return self._mails.effects(after)

    def _start_mail(self) -> None:
        self._mail_port = free_port()
        outbox = self._place.directory / "outbox.jsonl"
        # The outbox is a working file of the mail service; what it proves is in the ledger.
        self._stack.callback(outbox.unlink, missing_ok=True)
        arguments = ["--port", str(self._mail_port), "--outbox", str(outbox), "--refuse", POISONED]
        arguments += ["--delay-ms", str(self._wanted.effect_ms)]
        if not self._wanted.is_idempotent:
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
        self._add("crm", *(self._linked() if self._wanted.has_links else ()))
        for number in range(2, self._wanted.consumers + 1):
            self._add(f"crm-{number}")

    def _linked(self) -> tuple[ServerUrl, str]:
        """Where the first consumer finds Redis and the mail service: each behind a proxy.

        The one to Redis notes what the group is told; what it proves is in the run's evidence.
        """
        address, port = address_behind(self._server.url)
        told = self._place.directory / "crm-redis.told"
        self._stack.callback(told.unlink, missing_ok=True)
        self.followers["crm"] = self._link("crm-redis", port, address, told)
        mail = self._link("crm-mail", self._mail_port, "127.0.0.1")
        return self._server.url.through(self.followers["crm"].port), f"http://127.0.0.1:{mail.port}"

    def _link(self, name: str, port: int, host: str, told: Path | None = None) -> Proxy:
        proxy = self._stack.enter_context(Proxy(port, server_host=host, told=told))
        self.targets.append(Part(name, line_can(proxy)))
        return proxy

    def add_consumer(self, name: str) -> None:
        """Start one more consumer of the group, also while the line is under load.

        Args:
            name: of the process.

        Raises:
            NotStartedError: it does not start.
        """
        try:
            self._add(name)
        except SupervisorError as error:
            raise NotStartedError(str(error)) from error

    def _add(self, name: str, server: ServerUrl | None = None, mail: str = "") -> None:
        """Start a consumer that reaches the server and the mail service through some links, if not straight."""
        chosen, number = self._wanted, _number(name)
        arguments = [
            *("--namespace", self._server.namespace),
            *("--mail", mail or f"http://127.0.0.1:{self._mail_port}", "--policy", chosen.delivery),
            *("--state", str(self._place.directory), "--consumer", number),
            *("--page", str(chosen.page), "--claim-after-ms", str(chosen.claim_after_ms)),
        ]
        store = server or self._server.url
        self.supervisor.start(Service(name, chosen.consumer or CONSUMER, tuple(arguments), store=store))
        process = ServiceProcess(self.supervisor, name)
        can = process_can(process)
        if name == "crm":
            can |= {"poison": self._plant}
        self.targets.append(Part(name, can))

    def _plant(self) -> None:
        """Append an event that always fails: the mail service refuses its address."""
        self._planted += 1
        name = f"poison-{self._place.producer:x}-{self._planted}"
        with contextlib.closing(connect(self._server.url, timeout_s=5.0)) as client:
            event = Event("created", Customer(name, "Mallory", POISONED), name)
            EventStore(client, self._server.namespace).append(event)

    @property
    def consumers(self) -> list[str]:
        """The names of the consumers' processes."""
        return [name for name in self.supervisor.names if name.startswith("crm")]

    @functools.cached_property
    def _store(self) -> EventStore:
        client = self._stack.enter_context(contextlib.closing(connect(self._server.url, timeout_s=5.0)))
        return EventStore(client, self._server.namespace)

    @property
    def roles(self) -> Mapping[str, str]:
        """A plan calls all of it as it is called here."""
        return {target.name: target.name for target in self.targets}

    @property
    def group_names(self) -> Mapping[str, str]:
        """In the group they are numbers."""
        return {name: _number(name) for name in self.consumers}

    def trim(self, keep: int) -> int:
        """Remove from each stream's front what every group has acknowledged; answer how many entries.

        Raises:
            OSError: the server is away.
            NotStartedError: it refuses.
        """
        try:
            return sum(self._store.trim(topic, action, keep=keep) for topic, action in SOURCES)
        except UnavailableError as error:
            raise OSError(str(error)) from error
        except redis.RedisError as error:
            raise (OSError if is_unable(error) else NotStartedError)(str(error)) from error
        except StoreError as error:
            raise NotStartedError(str(error)) from error


def _number(name: str) -> str:
    """The number of a consumer, by the name of its process."""
    return name.removeprefix("crm").removeprefix("-") or "1"


class OrderShop:
    """The shop, its streams of customers, and the group of its CRM."""

    name = "ordershop"
    group = GROUP
    scripts = (APPEND_LUA,)
    event_bytes = EVENT_BYTES
    # A customer is created by one event and deleted by the next.
    events_an_entity = 2

    def target(self, url: str) -> WholeTarget:
        """Its event store, as a gate opens it."""
        return ordershop(url)

    def source(self, server: Server, operation: str, producer: int) -> Source:
        """Customers that come and go."""
        return lifecycle(server, operation, producer)

    def sources_by_stream(self, server: Server, operation: str, producer: int) -> list[Source]:
        """Customers that come, and customers that go."""
        return lifecycle_by_stream(server, operation, producer)

    def streams(self, server: Server) -> list[str]:
        """The streams that the CRM reads."""
        return [Keys(server.namespace).stream(topic, action) for topic, action in SOURCES]

    def event_id(self, fields: Mapping[bytes, bytes]) -> str:
        """A field of its own has it."""
        return fields.get(b"event_id", b"").decode("utf-8", "replace")

    def order(self, entry_id: str) -> tuple[int, int]:
        """The store's IDs are of one clock for all streams."""
        at = EventId.parse(entry_id)
        return at.seconds, at.microseconds

    def epoch_s(self, entry_id: str) -> float:
        """The store's IDs say when the server appended."""
        return EventId.parse(entry_id).epoch_s

    def parked(self, server: Server) -> str | None:
        """The stream that the subscription parks events in."""
        return f"{server.namespace}parked:{GROUP}"

    def started(self, place: Place) -> RunningShop:
        """The mail service and the CRM."""
        return RunningShop(place)


ORDERSHOP = OrderShop()
