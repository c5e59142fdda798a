"""The asyncio event store says and does what the blocking one does, and always answers in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ordershop import async_store, entity_cache
from ordershop.async_store import AsyncEventStore
from ordershop.embedded import redis_service, wait_for_redis
from ordershop.entities import Billing, Customer, Inventory, Order, Product
from ordershop.event_store import WITH_STOCK, EventStore, RefusedError, StoreError, UnavailableError, connect
from ordershop.events import Event
from ordershop.supervisor import Supervisor, free_port

Work = Callable[[AsyncEventStore], Awaitable[None]]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Supervisor, str]]:
    """A Redis, and its URL."""
    port = free_port()
    with Supervisor() as supervisor:
        supervisor.start(redis_service(port, tmp_path_factory.mktemp("redis")), wait=False)
        yield supervisor, wait_for_redis(supervisor, port)


@pytest.fixture
def blocking(redis: tuple[Supervisor, str]) -> Iterator[EventStore]:
    """The blocking store on the same, empty server."""
    with connect(redis[1]) as client:
        client.flushall()
        yield EventStore(client)


def _with(url: str, work: Work, timeout_s: float = 5.0) -> None:
    async def run() -> None:
        store = AsyncEventStore(url, timeout_s=timeout_s)
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


def test_both_stores_see_the_same(redis: tuple[Supervisor, str], blocking: EventStore) -> None:
    """What one appends the other finds, by id, in lists, and in a replay."""

    async def work(store: AsyncEventStore) -> None:
        await store.append(Event.new("created", Customer("c", "Ada", "a@b")))
        await store.append(Event.new("created", Product("p", "thing", 1.5)))
        await store.append(Event.new("created", Inventory("i", "p", 5)), references=[("product", "p")])
        orders = [Order(f"o{i}", ["p", "p"], "c") for i in range(2)]
        ids = await store.append_together([Event.new("created", o) for o in orders], mode=WITH_STOCK)
        assert ids == sorted(ids)
        await store.append(Event.new("created", Billing("b", "o0", 1.0)))
        assert await store.find_one("order", "o1") == orders[1] == blocking.find_one("order", "o1")
        assert await store.find_one("customer", "x") is None
        assert await store.unbilled() == [orders[1]]
        everything = await store.find_everything()
        for topic, entities in everything.items():
            assert {e.id: e for e in entities} == blocking.replay(topic)
            assert sorted(e.id for e in await store.find_all(topic)) == sorted(e.id for e in entities)
        assert everything["inventory"] == [Inventory("i", "p", 1)]

    _with(redis[1], work)


def test_more_than_a_page(redis: tuple[Supervisor, str], blocking: EventStore) -> None:
    """Lists of several pages are whole; so is everything, where there is too much for one step."""
    blocking.append_many(Event.new("created", Customer(f"{i}", "n", "a@b")) for i in range(25_000))

    async def work(store: AsyncEventStore) -> None:
        assert len({e.id for e in await store.find_all("customer")}) == 25_000
        assert len((await store.find_everything())["customer"]) == 25_000

    assert async_store.SNAPSHOT < 25_000
    _with(redis[1], work)


def test_refusals_and_bounds(redis: tuple[Supervisor, str], blocking: EventStore) -> None:
    """A refusal is raised with its reason; no event, or too many, are an error before anything is sent."""

    async def work(store: AsyncEventStore) -> None:
        with pytest.raises(RefusedError, match="version"):
            await store.append(Event.new("created", Customer("c", "n", "a@b")), expect=3)
        for count in (0, async_store.TOGETHER + 1):
            with pytest.raises(ValueError, match=f"not {count}"):
                await store.append_together([Event.new("created", Customer("c", "n", "a@b"))] * count)
        assert await store.find_all("customer") == []

    _with(redis[1], work)


def test_versions_and_known_events(redis: tuple[Supervisor, str], blocking: EventStore) -> None:
    """An entity's version counts its updates; an event that was appended is known, another is not."""

    async def work(store: AsyncEventStore) -> None:
        first = Event.new("created", Order("o", ["p"], "c"))
        await store.append(first)
        await store.append(Event.new("updated", Order("o", ["q"], "c")))
        assert await store.find_versioned("order", "o") == (Order("o", ["q"], "c"), 2)
        assert await store.find_versioned("order", "x") is None
        assert await store.was_appended(first.event_id)
        assert not await store.was_appended("another")
        assert len(blocking.tail("customer", "deleted")) == 0

    _with(redis[1], work)


def test_a_server_that_forgot_its_scripts(redis: tuple[Supervisor, str], blocking: EventStore) -> None:
    """They are loaded again, for commands, queries and the report."""

    async def work(store: AsyncEventStore) -> None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.append(Event.new("created", Order("o", ["p"], "c"))),
            lambda: store.find_one("order", "o"),
            lambda: store.find_versioned("order", "o"),
            store.unbilled,
            store.find_everything,
        ]
        for call in calls:
            blocking.client.script_flush()
            assert await call()

    _with(redis[1], work)


def test_a_lost_answer_is_no_second_event(redis: tuple[Supervisor, str], blocking: EventStore) -> None:
    """A connection that is cut while appends wait: all are appended once."""

    async def work(store: AsyncEventStore) -> None:
        await store.ping()
        events = [Event.new("created", Customer(f"c{i}", "n", "a@b")) for i in range(200)]
        appends = [asyncio.create_task(store.append(event)) for event in events]
        await asyncio.sleep(0)
        blocking.client.client_kill_filter(_type="normal", skipme=True)
        ids = await asyncio.gather(*appends)
        assert len(set(ids)) == len(blocking.tail("customer", "created", count=1_000)) == 200

    _with(redis[1], work)


def test_a_server_that_cannot_serve(redis: tuple[Supervisor, str], blocking: EventStore) -> None:
    """Out of memory is `UnavailableError`, for it passes; a command that fails by itself is `StoreError`."""

    async def work(store: AsyncEventStore) -> None:
        blocking.client.config_set("maxmemory", 1)
        with pytest.raises(UnavailableError, match="OOM"):
            await store.append(Event.new("created", Customer("c", "n", "a@b")))
        blocking.client.config_set("maxmemory", 0)
        blocking.client.set(store.keys.unbilled, "no set")
        with pytest.raises(StoreError, match="WRONGTYPE"):
            await store.unbilled()

    _with(redis[1], work)


def test_a_frozen_server(redis: tuple[Supervisor, str], blocking: EventStore) -> None:
    """Commands and queries end with `UnavailableError`; what was sent in time may still happen, once."""
    supervisor, url = redis
    event = Event.new("created", Customer("c", "n", "a@b"))

    async def work(store: AsyncEventStore) -> None:
        await store.ping()
        supervisor.freeze("redis")
        for call in (store.append(event), store.find_one("customer", "c")):
            with pytest.raises(UnavailableError, match="no answer"):
                await call
        supervisor.thaw("redis")
        await store.append(event)
        assert len(blocking.tail("customer", "created")) == 1

    _with(url, work, timeout_s=0.3)


class _Slow:
    """Passes connections on to a server, and its answers on after a while.

    Args:
        url: the server's.
        wait_s: how long an answer waits.
    """

    def __init__(self, url: str, wait_s: float) -> None:
        self._port = int(url.rpartition(":")[2])
        self._wait_s = wait_s
        self._writers: list[asyncio.StreamWriter] = []
        self._passing: list[asyncio.Task[None] | None] = []
        self.url = ""

    async def __aenter__(self) -> _Slow:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*filter(None, self._passing), return_exceptions=True)
        for writer in self._writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._passing.append(asyncio.current_task())
        to_server = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += (writer, to_server[1])

        async def passed(source: asyncio.StreamReader, sink: asyncio.StreamWriter, wait_s: float) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1 << 20):
                    await asyncio.sleep(wait_s)
                    sink.write(data)
            sink.close()

        await asyncio.gather(passed(reader, to_server[1], 0), passed(to_server[0], writer, self._wait_s))


def test_a_server_that_is_slow(redis: tuple[Supervisor, str], blocking: EventStore) -> None:
    """A query of many pages ends in time, though each page comes as soon as an answer must."""
    blocking.append_many(Event.new("created", Order(f"{i}", ["p"], "c")) for i in range(20 * entity_cache.PAGE))
    timeout_s = 0.6

    async def run() -> None:
        async with _Slow(redis[1], 0.4) as slow:
            store = AsyncEventStore(slow.url, timeout_s=timeout_s)
            await store.find_one("customer", "c")
            for query in (lambda: store.find_all("order"), store.unbilled):
                began_s = asyncio.get_running_loop().time()
                with pytest.raises(UnavailableError):
                    await query()
                took_s = asyncio.get_running_loop().time() - began_s
                assert took_s < 5 * timeout_s  # twenty pages take eight seconds
            await store.close()

    asyncio.run(run())


def test_a_server_that_forgets_its_scripts_and_is_slow(
    redis: tuple[Supervisor, str], blocking: EventStore
) -> None:
    """Loading a script again, and connecting again, take no longer than a call may take."""

    async def run() -> None:
        async with _Slow(redis[1], 0.25) as slow:
            store = AsyncEventStore(slow.url, timeout_s=0.5)
            await store.find_one("customer", "c")
            blocking.client.script_flush()
            began_s = asyncio.get_running_loop().time()
            assert await store.find_all("order") == []
            deaf = AsyncEventStore(slow.url.replace("://", "://:password@"), timeout_s=0.2)
            with pytest.raises(UnavailableError):
                await deaf.find_one("order", "o")
            assert asyncio.get_running_loop().time() - began_s < 2
            await deaf.close()
            await store.close()

    asyncio.run(run())


def test_nobody_listens(tmp_path: Path) -> None:
    """A server that is not there is said not to be."""

    async def work(store: AsyncEventStore) -> None:
        with pytest.raises(UnavailableError, match="no connection"):
            await store.ping()

    _with(f"redis://127.0.0.1:{free_port()}", work)
    _with(f"unix://{tmp_path}/none", work)
