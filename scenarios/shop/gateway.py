"""A shop behind its gateway: a whole one of ours, opened and closed, or one that runs elsewhere."""

from __future__ import annotations

import contextlib
import http.client
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from harness.conduct.conduct import ScenarioError, Stage
from harness.measure.probes import GroupLag, HostLoad, Probe
from harness.measure.server_events import server_probes
from harness.server.server import Durability
from ordershop.event_store import EventStore, connect
from ordershop.events import EventId, Keys
from ordershop.services.crm import SOURCES
from ordershop.shop import shop_ports, shop_services, url_of
from ordershop.supervisor import Supervisor, SupervisorError
from scenarios.shop.books import Held, held_by_report, held_in
from scenarios.shop.shop import GROUP, as_scenario_errors, server_for

# As many as the services take in one request.
_CHUNK = 1_000
_TIMEOUT_S = 60.0


class Gateway:
    """A shop's gateway, for what is asked before and after the load.

    Args:
        url: `http://host:port`.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._where = parts.netloc
        self._below = parts.path

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """What the answer's JSON says.

        Raises:
            ScenarioError: no answer, or none that is a success.
        """
        body = None if content is None else msgspec.json.encode(content)
        with contextlib.closing(self._kind(self._where, timeout=_TIMEOUT_S)) as connection:
            try:
                connection.request(method, self._below + path, body)
                response = connection.getresponse()
                answer = response.read()
                if response.status != 200:
                    said = answer[:200].decode("utf-8", "replace")
                    raise ScenarioError(f"{self.url}: {method} {path} is answered {response.status}: {said}")
                return msgspec.json.decode(answer)
            except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
                raise ScenarioError(f"{self.url}: {method} {path} is not answered: {error}") from error


class Stocked(Struct, frozen=True):
    """Ids of what a shop was given."""

    customers: list[str]
    products: list[str]


class Shop(Protocol):
    """A shop that is open while its context lasts."""

    gateway: Gateway

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def describe(self) -> dict[str, Any]:
        """What a record must know of it."""
        ...

    def probes(self, stage: Stage) -> list[Probe]:
        """What to sample under load."""
        ...

    def close_and_look(self, stocked: Stocked, told: Collection[str]) -> Held:
        """What it holds at the end."""
        ...


class OwnShop:
    """A whole shop of ours, services as processes, on a stage's server.

    Args:
        stage: where it is.
        durability: of a server that we start.

    Raises:
        ScenarioError: a service does not start.
    """

    def __init__(self, stage: Stage, durability: Durability) -> None:
        self._stage = stage
        self._durability: Durability = durability
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        stage = self._stage
        with self._stack:
            enter = self._stack.enter_context
            self._server = enter(server_for(stage, self._durability))
            # What the mail service and the CRM keep proves nothing here, and is not kept.
            state = Path(enter(tempfile.TemporaryDirectory(prefix="shopbench-")))
            self._services = enter(Supervisor(log=stage.directory / "services.log"))
            stage.progress(0.0, "opening the shop")
            ports = shop_ports()
            namespace = self._server.namespace
            try:
                self._services.start_all(shop_services(self._server.url, ports, namespace=namespace, state=state))
            except SupervisorError as error:
                raise ScenarioError(f"{error}; see services.log") from error
            self.gateway = Gateway(url_of(ports["gateway"]))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def describe(self) -> dict[str, Any]:
        """The server."""
        return self._server.describe()

    def probes(self, stage: Stage) -> list[Probe]:
        """The server, the host, and how far the CRM is behind."""
        client = self._stack.enter_context(contextlib.closing(self._server.client(timeout_s=0.5)))
        keys = Keys(self._server.namespace)
        streams = [keys.stream(topic, action) for topic, action in SOURCES]
        lag = GroupLag(client, streams, GROUP, lambda raw: EventId.parse(raw).epoch_s)
        return [lag, *server_probes(self._server, client, stage.clock), HostLoad()]

    def close_and_look(self, stocked: Stocked, told: Collection[str]) -> Held:  # noqa: ARG002 - it is all theirs
        """Stop every service, so that nobody writes any more, and read the events."""
        self._services.close()
        with (
            as_scenario_errors(),
            contextlib.closing(connect(self._server.url, timeout_s=_TIMEOUT_S)) as client,
        ):
            return held_in(EventStore(client, self._server.namespace))


class ShopElsewhere:
    """A shop that runs already, at a gateway; its server is out of reach."""

    def __init__(self, url: str) -> None:
        self.gateway = Gateway(url)

    def __enter__(self) -> Self:
        self.gateway.ask("GET", "/health")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        """Where it is."""
        return {"name": "a shop", "url": self.gateway.url, "owned": False}

    def probes(self, stage: Stage) -> list[Probe]:  # noqa: ARG002 - as for a shop of ours
        """This host, where the shoppers are."""
        return [HostLoad()]

    def close_and_look(self, stocked: Stocked, told: Collection[str]) -> Held:
        """What its report says of this run's customers and products, at one moment."""
        try:
            report = self.gateway.ask("GET", "/report")
            return held_by_report(report, set(stocked.customers), set(stocked.products), told)
        except msgspec.ValidationError as error:
            raise ScenarioError(f"{self.gateway.url}: GET /report is not a shop's report: {error}") from error


def shop_at(url: str, stage: Stage, durability: Durability) -> Shop:
    """The shop at a gateway's URL; where there is none, one of ours on a stage's server."""
    return ShopElsewhere(url) if url else OwnShop(stage, durability)


def stock_up(gateway: Gateway, *, customers: int, products: int, stock: int) -> Stocked:
    """Give a shop customers and products, and a shelf full of each product.

    Args:
        stock: how many pieces of each product.

    Raises:
        ScenarioError: it does not take them.
    """

    def create(path: str, drafts: Sequence[dict[str, Any]]) -> list[str]:
        created: list[str] = []
        for first in range(0, len(drafts), _CHUNK):
            created += gateway.ask("POST", path, drafts[first : first + _CHUNK])
        return created

    stocked = Stocked(
        create(
            "/customers",
            [{"name": f"Customer {n}", "email": f"customer-{n}@example.org"} for n in range(customers)],
        ),
        create("/products", [{"name": f"Product {n}", "price": n + 0.5} for n in range(products)]),
    )
    create("/inventory", [{"product_id": product, "amount": stock} for product in stocked.products])
    return stocked


def unbilled_by(gateway: Gateway) -> list[str] | None:
    """The orders that a shop lists as unbilled; None where it does not answer any more."""
    try:
        return [order["id"] for order in gateway.ask("GET", "/orders/unbilled")]
    except ScenarioError:
        return None
