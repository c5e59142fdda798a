"""A failover behind one address: whoever is connected to the old primary leaves it, and finds the new one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import redis

from harness.server.own import OwnServer
from ordershop.async_store import AsyncEventStore
from ordershop.entities import Customer
from ordershop.event_store import EventStore, UnavailableError, connect
from ordershop.events import Event, Keys
from ordershop.subscription import Delivery, Settings, Subscription
from ordershop.wire import is_elsewhere, says_elsewhere
from tests.oracle import Conversation, Oracle
from tests.stores import open_own
from tests.waiting import FlakyProxy, flaky_proxy, until

# Each waits for a replica to be in step, which takes seconds.
pytestmark = pytest.mark.slow

REFUSALS = [b"READONLY You can't write", b"MASTERDOWN Link with MASTER is down", b"LOADING Redis is loading"]


class Pair(NamedTuple):
    """Two servers, and one address in front of them that leads each new connection to the present primary."""

    one: OwnServer
    other: OwnServer
    proxy: FlakyProxy

    def fail_over(self) -> None:
        """Make the other the primary, as a sentinel would; connections to the first stay open."""
        with self.one.client() as one, self.other.client() as other:
            other.replicaof("NO", "ONE")
            one.replicaof("127.0.0.1", str(self.other.port))
        self.proxy.lead_to(self.other.port)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary, and a replica that has all of it."""
    with open_own() as one, open_own() as other, flaky_proxy(one.port) as proxy:
        with other.client() as replica:
            replica.replicaof("127.0.0.1", str(one.port))
            until(lambda: replica.info("replication")["master_link_status"] == "up", "a replica")
        yield Pair(one, other, proxy)


def event(name: str) -> Event:
    """One that creates a customer of that name."""
    return Event.new("created", Customer(name, name, f"{name}@example.org"))


def created(server: OwnServer) -> list[str]:
    """The customers in the stream of a server."""
    with server.client() as client:
        return [stored.entity.id for stored in EventStore(client).read("customer", "created")]


def test_a_blocking_store_finds_the_new_primary(pair: Pair) -> None:
    """The first append after a failover is made there, once; no connection to the old one is used again."""
    with connect(pair.proxy.url) as client, contextlib.closing(EventStore(client)) as store:
        store.append(event("before"))
        until(lambda: created(pair.other) == ["before"], "the replica has it")
        pair.fail_over()
        store.append(event("after"))
        store.append_many([event("many")])
    assert created(pair.other) == ["before", "after", "many"]


def test_many_appends_find_the_new_primary(pair: Pair) -> None:
    """A batch that the old primary refuses is an outage; the same again is made at the new one."""
    with connect(pair.proxy.url) as client, contextlib.closing(EventStore(client)) as store:
        events = [event("one"), event("two")]
        store.append_many([event("before")])
        until(lambda: created(pair.other) == ["before"], "the replica has it")
        pair.fail_over()
        with pytest.raises(UnavailableError):
            store.append_many(events)
        store.append_many(events)
    assert created(pair.other) == ["before", "one", "two"]


def test_an_asyncio_store_finds_the_new_primary(pair: Pair) -> None:
    """The same of the store that services use, under many appends at once; what was in hand is answered once."""

    async def run() -> None:
        store = AsyncEventStore(pair.proxy.url)
        try:
            await store.append(event("before"))
            await asyncio.to_thread(until, lambda: created(pair.other) == ["before"], "the replica has it")
            await asyncio.sleep(0.15)  # its connection is kept for 0.1 s at least
            pair.fail_over()
            await asyncio.gather(*(store.append(event(f"after-{number}")) for number in range(50)))
        finally:
            await store.close()

    asyncio.run(run())
    assert sorted(created(pair.other)) == sorted(["before", *(f"after-{number}" for number in range(50))])


def test_a_subscription_finds_the_new_primary(pair: Pair) -> None:
    """A consumer that waits at the old primary goes on at the new one, and every event has its effect."""
    seen: list[str] = []

    def effect(deliveries: list[Delivery]) -> list[Delivery]:
        seen.extend(each.entity.id for each in deliveries)
        return []

    stop = threading.Event()
    subscription = Subscription(
        pair.proxy.url, Keys(""), [("customer", "created")], group="g", settings=Settings(block_ms=50)
    )
    consumer = threading.Thread(target=subscription.run, args=(effect, stop))
    consumer.start()
    try:
        with connect(pair.proxy.url) as client, contextlib.closing(EventStore(client)) as store:
            store.append(event("before"))
            until(lambda: seen == ["before"], "the first event")
            with pair.one.client() as one:
                until(lambda: one.execute_command("WAIT", 1, 1000) == 1, "the replica has it")
            pair.fail_over()
            store.append(event("after"))
            until(lambda: "after" in seen, "the event after the failover")
    finally:
        stop.set()
        consumer.join()
    assert set(seen) == {"before", "after"}


# What servers say, word by word


@pytest.fixture(params=REFUSALS, ids=lambda text: text.split()[0].decode())
def moved(request: pytest.FixtureRequest) -> Iterator[Oracle]:
    """A server whose first connection answers everything with one refusal, and whose others answer."""

    def refusing(line: Conversation) -> None:
        for command in line.commands():
            line.send(b"+OK\r\n" if command[0] == b"CLIENT" else b"-" + request.param + b"\r\n")

    def answering(line: Conversation) -> None:
        for command in line.commands():
            line.send(b"+OK\r\n" if command[0] == b"CLIENT" else b"*0\r\n")

    with Oracle([refusing, refusing, answering]) as oracle:
        yield oracle


def test_a_blocking_store_leaves_with_every_such_word(moved: Oracle) -> None:
    """A query that such a server refuses is an outage; the next ones are asked on other connections."""
    with connect(moved.url) as client, contextlib.closing(EventStore(client)) as store:
        refused = 0
        while refused < 10:
            try:
                assert store.find_one("customer", "c") is None
                break
            except UnavailableError:
                refused += 1
    assert 0 < refused <= 2
    assert moved.connections == 3


def test_an_asyncio_store_leaves_with_every_such_word(moved: Oracle) -> None:
    """As the blocking one; but a connection is kept for a moment, so that not all callers dial at once."""

    async def run() -> None:
        store = AsyncEventStore(moved.url)
        try:
            until_s = asyncio.get_running_loop().time() + 10
            while asyncio.get_running_loop().time() < until_s:
                with contextlib.suppress(UnavailableError):
                    assert await store.find_one("customer", "c") is None
                    return
        finally:
            await store.close()
        raise AssertionError("it has not left")

    asyncio.run(run())
    assert moved.connections == 3


def test_a_store_that_is_refused_everywhere_says_so() -> None:
    """With nobody else behind the address an append ends as unavailable, by the server's word."""

    def refusing(line: Conversation) -> None:
        for command in line.commands():
            line.send(b"+OK\r\n" if command[0] == b"CLIENT" else b"-READONLY You can't write\r\n")

    with (
        Oracle(refusing) as oracle,
        connect(oracle.url) as client,
        contextlib.closing(EventStore(client)) as store,
        pytest.raises(UnavailableError, match="cannot serve now"),
    ):
        store.append(event("a"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("READONLY You can't write against a read only replica.", True),
        ("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write", True),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", True),
        ("LOADING Redis is loading the dataset in memory", True),
        ("MOVED 3999 127.0.0.1:6381", True),
        ("ASK 3999 127.0.0.1:6381", True),
        ("OOM command not allowed when used memory > 'maxmemory'.", False),
        ("MISCONF Redis is configured to save RDB snapshots", False),
        ("ERR no READONLY", False),
    ],
)
def test_which_words_say_that_it_is_elsewhere(text: str, expected: bool) -> None:
    """Those of a replica and of a server that is loading, also from within a script; no others."""
    assert says_elsewhere(text) is expected
    assert is_elsewhere(redis.ResponseError(text)) is expected
