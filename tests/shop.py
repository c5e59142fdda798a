"""A whole shop for tests: an embedded Redis, and every service as a process.

    from tests.shop import Client, RunningShop, client, shop        # the fixtures must be imported where used

    def test_it(shop: RunningShop, client: Client) -> None:
        [customer_id] = client.post("/customer", {"name": "Ada", "email": "ada@example.org"}).ok()

All modules of a session share one shop. Each test finds it empty, with all services running, and may stop or
kill what it likes.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ordershop.embedded import redis_service, wait_for_redis
from ordershop.entities import ENTITIES, Entity, Order, Topic
from ordershop.event_store import EventStore, connect
from ordershop.shop import SERVICES, shop_ports, shop_services, url_of
from ordershop.supervisor import Supervisor, free_port


class Reply(NamedTuple):
    """An HTTP answer: its status and what its JSON says."""

    status: int
    json: Any

    def ok(self) -> Any:
        """What it says, after a check that it is a success."""
        assert self.status == 200, self
        return self.json

    @property
    def error(self) -> str:
        """The reason that it gives for an error."""
        assert isinstance(self.json, dict), self
        assert list(self.json) == ["error"], self
        return str(self.json["error"])


class Client:
    """An HTTP client on one connection that is kept; for one thread."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Send bytes as they are; raises OSError or HTTPException where no answer comes."""
        try:
            self._connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        return Reply(response.status, json.loads(content) if content else None)

    def get(self, path: str) -> Reply:
        """GET."""
        return self.send("GET", path)

    def post(self, path: str, content: Any, **headers: str) -> Reply:
        """POST some JSON."""
        return self.send("POST", path, json.dumps(content).encode(), **headers)

    def put(self, path: str, content: Any, **headers: str) -> Reply:
        """PUT some JSON."""
        return self.send("PUT", path, json.dumps(content).encode(), **headers)

    def delete(self, path: str, **headers: str) -> Reply:
        """DELETE."""
        return self.send("DELETE", path, **headers)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class RunningShop:
    """A shop that runs.

    Attributes:
        redis: the supervisor of the service `redis`.
        services: the supervisor of all others.
        ports: of the services.
        server: the URL of Redis.
        store: a blocking event store on it.
    """

    def __init__(self, redis: Supervisor, services: Supervisor, ports: dict[str, int], server: str) -> None:
        self.redis = redis
        self.services = services
        self.ports = ports
        self.server = server
        self.store = EventStore(connect(server))

    def client(self, service: str = "gateway") -> Client:
        """A new client of a service."""
        return Client(self.ports[service])

    def start_redis(self) -> None:
        """Start Redis again, empty."""
        self.redis.start_again("redis", wait=False)
        wait_for_redis(self.redis, self.ports["redis"])

    def make_whole(self) -> None:
        """Start what does not run."""
        if self.redis.state("redis") != "running":
            self.start_redis()
        for name in SERVICES:
            self.services.thaw(name)
            if self.services.state(name) != "running":
                self.services.start_again(name)

    def cached(self, topic: Topic) -> dict[str, Entity]:
        """What the entity cache holds of a topic, by id."""
        return {entity.id: entity for entity in self.store.find_all(topic)}

    def check_cache_is_replay(self) -> None:
        """Every topic of the cache is what its events add up to."""
        for topic in ENTITIES:
            assert self.cached(topic) == self.store.replay(topic), topic

    def ordered_pieces(self) -> dict[str, int]:
        """How many pieces of each product the orders in the cache hold."""
        pieces: dict[str, int] = {}
        for order in self.cached("order").values():
            assert isinstance(order, Order)
            for product_id in order.product_ids:
                pieces[product_id] = pieces.get(product_id, 0) + 1
        return pieces

    def mails(self) -> list[dict[str, Any]]:
        """All mails that were sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["mail"], timeout=5)
        try:
            connection.request("GET", "/emails")
            return [json.loads(line) for line in connection.getresponse().read().splitlines()]
        finally:
            connection.close()


@contextlib.contextmanager
def start_shop() -> Iterator[RunningShop]:
    """A shop of one's own, ended at the end."""
    with tempfile.TemporaryDirectory(prefix="shop-") as name, contextlib.ExitStack() as stack:
        state = Path(name)
        redis = stack.enter_context(Supervisor(state / "redis.log"))
        services = stack.enter_context(Supervisor(state / "services.log"))
        ports = shop_ports() | {"redis": free_port()}
        redis.start(redis_service(ports["redis"], state), wait=False)
        server = wait_for_redis(redis, ports["redis"])
        services.start_all(shop_services(server, ports, state=state))
        shop = RunningShop(redis, services, ports, server)
        stack.callback(shop.store.client.close)
        stack.callback(shop.store.close)
        yield shop


_SHARED = pytest.StashKey[RunningShop]()


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> RunningShop:
    """The session's shop: empty, and whole."""
    config = request.config
    if _SHARED not in config.stash:
        running = contextlib.ExitStack()
        config.stash[_SHARED] = running.enter_context(start_shop())
        config.add_cleanup(running.close)
    shared = config.stash[_SHARED]
    shared.make_whole()
    shared.store.client.flushall()
    return shared


@pytest.fixture
def client(shop: RunningShop) -> Iterator[Client]:
    """A client of the shop's gateway."""
    with contextlib.closing(shop.client()) as one:
        yield one


class Stocked(NamedTuple):
    """Ids of what a test needs to order something."""

    customer: str
    products: list[str]
    shelves: list[str]


def stock_up(client: Client, products: int = 1, amount: int = 100) -> Stocked:
    """A customer, some products, and an inventory of each."""
    [customer] = client.post("/customer", {"name": "Ada", "email": "ada@example.org"}).ok()
    ids = client.post("/products", [{"name": f"p{i}", "price": i + 0.5} for i in range(products)]).ok()
    shelves = client.post("/inventory", [{"product_id": each, "amount": amount} for each in ids]).ok()
    return Stocked(customer, ids, shelves)


def in_threads(shop: RunningShop, clients: int, work: Callable[[int, Client], None]) -> None:
    """Let some clients, each with a connection of its own, do some work at once; what fails there fails here."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        with contextlib.closing(shop.client()) as one:
            try:
                work(number, one)
            except BaseException as error:  # noqa: BLE001  # raised again below, in the test's own thread
                failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


__all__ = [
    "Client", "Reply", "RunningShop", "Stocked", "client", "in_threads", "shop", "start_shop",
    "stock_up", "url_of",
]  # fmt: skip
