"""What every event store must keep to, on every server: one suite, run against each implementation.

`AppendContract` is about the one write path and the queries that see what it wrote, `TrimContract` about what may
be removed again. A subclass says how a store is opened; `observer` is a plain `EventStore` on the same keys, which
looks at what is there.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.server.own import OwnServer
from ordershop import entity_cache
from ordershop.codec import PAGE
from ordershop.entities import ENTITIES, Billing, Customer, Entity, Inventory, Order, Product, Topic, topic_of
from ordershop.event_store import (
    EVENT_ONLY,
    EXISTS,
    PROJECT,
    WITH_STOCK,
    EventStore,
    RefusedError,
    StoreError,
    UnavailableError,
)
from ordershop.events import ACTIONS, Action, Event, EventId, Keys
from tests.hostile_server import WRONG, HostileServer, Plan
from tests.simulate import (
    Model,
    billing,
    cached,
    counted,
    created,
    customer,
    everything,
    order,
    pieces,
    product,
    shelf,
    stock,
)
from tests.stores import OpenStore, stores_on
from tests.waiting import flaky_proxy, in_threads, until

# Each example begins in a namespace of its own, so what fixtures give may be shared by all of them.
PROPERTY = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)

HOSTILE = [
    "_:_", "{customer}_entity:c-1", "a:b_c:d", "}{", "nul\0nul", "line\nline\r\n", "naïve ☃ 𝄞 \u202e", "'\"\\",
    "*3\r\n$3\r\nSET\r\n", "0", "null", "true", "-1e5", " ", "%s %d", "[1,2]", "\x7f/</script>",
]  # fmt: skip


class Port(Protocol):
    """What a store under test has."""

    keys: Keys

    def append(self, event: Event, **how: Any) -> EventId: ...

    def append_together(self, events: Sequence[Event], **how: Any) -> list[EventId]: ...

    def find_one(self, topic: Topic, entity_id: str) -> Entity | None: ...

    def find_versioned(self, topic: Topic, entity_id: str) -> tuple[Entity, int] | None: ...

    def find_all(self, topic: Topic) -> Iterator[Entity]: ...

    def trim(self, topic: Topic, action: Action, **how: Any) -> int: ...


OpenPort = Callable[..., Port]


def refusal(port: Port, events: Sequence[Event], **how: Any) -> tuple[str, str]:
    """Why a store refuses some events, appended together."""
    with pytest.raises(RefusedError) as caught:
        port.append_together(events, **how)
    return caught.value.reason, caught.value.detail


def server_now(store: EventStore) -> EventId:
    """The server's clock as an ID."""
    return EventId(*store.client.time())


def next_second(store: EventStore) -> None:
    """Wait until the server's clock is in another second."""
    now = server_now(store).seconds
    until(lambda: server_now(store).seconds > now, "the server's next second")


def amounts_of(store: EventStore) -> dict[str, int]:
    """The amount on each shelf, by the cache."""
    return {one.id: one.amount for one in cached(store, "inventory").values() if isinstance(one, Inventory)}


def counted_customers(store: EventStore) -> list[str]:
    """The ids of the customers that were created, an entry each."""
    return [event.entity.id for event in store.read("customer", "created")]


class Contract:
    """How a contract gets at stores: `port` is under test, `observer` looks at what it has done."""

    @staticmethod
    def opened(url: str, namespace: str, **how: Any) -> Port:
        """A store under test.

        Args:
            how: `timeout_s` and `dedup_window_s`.
        """
        raise NotImplementedError

    @staticmethod
    def closed(port: Port) -> None:
        """Close what `opened` gave."""
        raise NotImplementedError

    @staticmethod
    def queries(port: Port) -> dict[str, Callable[[], object]]:
        """All queries that a store has, by their names."""
        raise NotImplementedError

    @pytest.fixture
    def open_store(self, any_server: OwnServer) -> Iterator[OpenStore]:
        """Makes observers."""
        yield from stores_on(any_server.url)

    @pytest.fixture
    def open_port(self, any_server: OwnServer) -> Iterator[OpenPort]:
        """Makes stores under test, each on the keys of an observer."""
        ports: list[Port] = []

        def open_one(observer: EventStore, at: str = any_server.url, **how: Any) -> Port:
            ports.append(self.opened(at, observer.keys.namespace, **how))
            return ports[-1]

        yield open_one
        for port in ports:
            self.closed(port)  # closing twice does nothing

    @pytest.fixture
    def observer(self, open_store: OpenStore) -> EventStore:
        """A plain event store on the keys of `port`."""
        return open_store()

    @pytest.fixture
    def port(self, open_port: OpenPort, observer: EventStore) -> Port:
        """The store under test."""
        return open_port(observer)


class AppendContract(Contract):
    """Appending, and reading back what was appended."""

    # IDs -----------------------------------------------------------------------------------------------

    def test_an_id_is_the_servers_time(self, port: Port, observer: EventStore) -> None:
        """An ID is the seconds and microseconds of the server's clock at the append."""
        before = server_now(observer)
        event_id = port.append(Event.new("created", customer(1)))
        assert before < event_id < server_now(observer)

    def test_ids_rise_within_a_batch(self, port: Port) -> None:
        """Events appended together have rising IDs in their order, over all streams."""
        events = created(*(make(n) for n in range(20) for make in (customer, product)))
        ids = port.append_together(events)
        assert ids == sorted(set(ids))

    def test_ids_are_unique_under_16_clients(self, open_port: OpenPort, observer: EventStore) -> None:
        """16 clients append to several streams at once: no error, every ID is new, each client sees them rise."""
        answered: list[list[EventId]] = [[] for _ in range(16)]
        ports = [open_port(observer, timeout_s=10) for _ in range(16)]

        def work(me: int) -> None:
            for n in range(24):
                number = 100 * me + n
                answered[me].append(ports[me].append(Event.new("created", (customer, product)[n % 2](number))))

        in_threads(16, work)
        every = [event_id for ids in answered for event_id in ids]
        assert len(set(every)) == len(every) == 384
        assert all(ids == sorted(ids) for ids in answered)
        stored = [e.id for topic in ("customer", "product") for e in observer.read(topic, "created")]
        assert sorted(stored) == sorted(every)

    def test_a_clock_set_back(self, port: Port, observer: EventStore) -> None:
        """With a last ID in the future IDs still rise, and carry from microsecond 999,999 to the next second."""
        port.append(Event.new("created", customer(0)))
        future = server_now(observer).seconds + 3600
        observer.client.hset(observer.keys.namespace + "events:ids", "\0last", f"{future}-999997")
        ids = [port.append(Event.new("created", customer(n))) for n in (1, 2)]
        ids += port.append_together(created(customer(3), product(4)))
        assert ids == [(future, 999_998), (future, 999_999), (future + 1, 0), (future + 1, 1)]

    @pytest.mark.parametrize("lost", ["events:ids", "events:ids:before"])
    def test_a_lost_last_id(self, port: Port, observer: EventStore, lost: str) -> None:
        """When the store's own state is lost, IDs go on behind what the stream has, even in the future."""
        future = server_now(observer).seconds + 3600
        stream = observer.keys.stream("customer", "created")
        first = port.append(Event.new("created", customer(1)))
        observer.client.xadd(stream, {"other": "entry"}, id=f"{future}-5")
        observer.client.delete(observer.keys.namespace + lost)
        ids = [port.append(event) for event in created(customer(2), customer(3), product(4))]
        assert ids[:2] == [(future, 6), (future, 7)]
        assert [first, *ids] == sorted({first, *ids})
        assert counted(observer) == {"events:{customer}_created": 4, "events:{product}_created": 1}

    def test_a_foreign_entry(self, port: Port, observer: EventStore) -> None:
        """Behind somebody's `XADD *` appends work, IDs rise over all streams, and the time stays readable."""
        first = port.append(Event.new("created", customer(1)))
        observer.client.xadd(observer.keys.stream("customer", "created"), {"other": "entry"})
        before = server_now(observer).epoch_s
        ids = [port.append(event) for event in created(customer(2), product(3))]
        ids += port.append_together([*created(customer(4)), Event.new("updated", customer(2, "Bea"))])
        assert [first, *ids] == sorted({first, *ids})
        assert all(before <= event_id.epoch_s <= server_now(observer).epoch_s for event_id in ids)
        expected = {"c-1": customer(1), "c-2": customer(2, "Bea"), "c-4": customer(4)}
        assert observer.replay("customer") == cached(observer, "customer") == expected

    # Idempotency ---------------------------------------------------------------------------------------

    def test_a_repeat_answers_the_first_id(self, port: Port, observer: EventStore) -> None:
        """A repeated event answers the ID that it got first, and writes nothing."""
        event = Event.new("created", customer(1))
        first = port.append(event)
        written = everything(observer)
        assert port.append(event) == first
        assert everything(observer) == written

    def test_a_repeated_batch(self, port: Port, observer: EventStore) -> None:
        """A repeated batch answers its first IDs, and writes nothing."""
        events = created(customer(1), product(2), customer(3))
        first = port.append_together(events)
        written = everything(observer)
        assert port.append_together(events) == first
        assert everything(observer) == written

    def test_a_batch_known_in_part(self, port: Port, observer: EventStore) -> None:
        """Of a batch that is known in part, what is missing is appended, and the rest answers its first ID."""
        events = created(*map(customer, range(5)))
        known = port.append(events[1]), port.append(events[3])
        ids = port.append_together(events)
        assert (ids[1], ids[3]) == known
        assert len(set(ids)) == 5
        assert counted(observer) == {"events:{customer}_created": 5}

    def test_an_event_twice_in_a_batch(self, port: Port, observer: EventStore) -> None:
        """An event that stands twice in a batch is appended once."""
        [event, other] = created(customer(1), customer(2))
        ids = port.append_together([event, other, event])
        assert ids[0] == ids[2] < ids[1]
        assert counted(observer) == {"events:{customer}_created": 2}

    def test_a_repeat_across_the_dedup_windows(self, open_port: OpenPort, observer: EventStore) -> None:
        """An event is still known after its window was rotated, and forgotten after the second rotation."""
        port = open_port(observer, dedup_window_s=1)
        [event, second, third] = created(customer(1), customer(2), customer(3))
        first = port.append(event)
        next_second(observer)
        port.append(second)
        assert port.append(event) == first
        assert port.append_together([event]) == [first]
        next_second(observer)
        port.append(third)
        assert port.append(event) > first
        assert counted(observer) == {"events:{customer}_created": 4}
        known = sum(
            observer.client.hlen(observer.keys.namespace + key) for key in ("events:ids", "events:ids:before")
        )
        assert known <= 3 + 2 * 2

    def test_a_lost_answer(self, open_port: OpenPort, observer: EventStore, any_server: OwnServer) -> None:
        """When the connection breaks after an append and before its answer, the retry appends nothing more."""
        with flaky_proxy(any_server.port) as proxy:
            port = open_port(observer, at=proxy.url)
            port.append(Event.new("created", customer(1)))
            proxy.lose_answer()
            event_id = port.append(Event.new("created", customer(2)))
            assert proxy.losses == 1
            assert [stored.id for stored in observer.read("customer", "created")][1:] == [event_id]
            self.closed(port)

    def test_a_killed_connection(self, port: Port, observer: EventStore) -> None:
        """When the server has closed the connection, the append still happens, once."""
        port.append(Event.new("created", customer(1)))
        observer.client.client_kill_filter(_type="normal", skipme=True)
        port.append(Event.new("created", customer(2)))
        assert counted(observer) == {"events:{customer}_created": 2}

    def test_a_server_that_forgot_its_scripts(self, port: Port, observer: EventStore) -> None:
        """After SCRIPT FLUSH appends and queries work as before."""
        port.append_together(created(customer(0), product(0)))
        observer.client.script_flush()
        port.append(Event.new("created", order(1)))
        observer.client.script_flush()
        assert port.find_one("order", "o-1") == order(1)
        observer.client.script_flush()
        assert list(port.find_all("customer")) == [customer(0)]

    def test_a_server_that_is_away(self, open_port: OpenPort, observer: EventStore) -> None:
        """With nobody listening an append raises UnavailableError within a bounded time."""
        port = open_port(observer, at="redis://127.0.0.1:1", timeout_s=0.2)
        with pytest.raises(UnavailableError):
            port.append(Event.new("created", customer(1)))

    def test_queries_of_a_server_that_is_away(self, open_port: OpenPort, observer: EventStore) -> None:
        """With nobody listening every query, and a trim, raises UnavailableError."""
        port = open_port(observer, at="redis://127.0.0.1:1", timeout_s=0.2)
        for query in (*self.queries(port).values(), lambda: port.trim("customer", "created")):
            with pytest.raises(UnavailableError):
                query()

    def test_queries_of_a_server_that_is_silent(
        self, open_port: OpenPort, observer: EventStore, any_server: OwnServer
    ) -> None:
        """With no answer every query raises UnavailableError, and is answered when the server speaks again."""
        with flaky_proxy(any_server.port) as proxy:
            port = open_port(observer, at=proxy.url, timeout_s=0.05)
            for query in self.queries(port).values():
                proxy.is_silent = True
                with pytest.raises(UnavailableError):
                    query()
                proxy.is_silent = False
            self.closed(port)
            port = open_port(observer, at=proxy.url)
            for query in self.queries(port).values():
                query()
            self.closed(port)

    @pytest.mark.parametrize("reply", WRONG)
    def test_a_reply_of_another_kind(
        self, open_port: OpenPort, observer: EventStore, any_server: OwnServer, reply: bytes
    ) -> None:
        """Whatever kind of reply comes to what it asks, it is no answer; and asked again it is answered."""
        asked = frozenset((b"EVALSHA", b"EVAL", b"HGETALL", b"XRANGE", b"XREVRANGE", b"SSCAN", b"SCARD", b"EXEC"))
        observer.append(Event.new("created", order(1)))
        plan = Plan(0, ("wrong",), 1.0, commands=asked, wrong=(reply,))
        with HostileServer(any_server.port, plan) as hostile:
            port = open_port(observer, at=hostile.url)
            calls: dict[str, Callable[[], object]] = {
                **self.queries(port),
                "append": lambda: port.append(Event.new("created", customer(1))),
                "trim": lambda: port.trim("customer", "created"),
            }
            # No Hash, or no entry of a stream, is what this one says.
            says_nothing = (
                {"find_one", "find_versioned of a customer", "read", "tail"} if reply == b"*0\r\n" else set()
            )
            for name, call in calls.items():
                if name in says_nothing:
                    call()
                    continue
                with pytest.raises(UnavailableError, match=r"is no reply to it$"):
                    call()
            hostile.calm()
            for call in calls.values():
                call()
            self.closed(port)

    def test_queries_of_what_is_no_stream_or_entity(self, port: Port, observer: EventStore) -> None:
        """Where somebody else's value stands at a key a query raises StoreError, and none is the worse for it."""
        keys = observer.keys
        observer.client.mset({
            key: "something else"
            for topic in ENTITIES
            for key in (keys.ids(topic), keys.entity(topic, "1"), keys.updates(topic), *keys.streams(topic))
        })  # fmt: skip
        observer.client.set(keys.unbilled, "something else")
        for query in 2 * list(self.queries(port).values()):
            with pytest.raises(StoreError) as caught:
                query()
            assert not isinstance(caught.value, UnavailableError)

    def test_a_server_that_is_silent(
        self, open_port: OpenPort, observer: EventStore, any_server: OwnServer
    ) -> None:
        """With no answer an append raises UnavailableError; repeated, it turns out to have happened once."""
        event = Event.new("created", customer(1))
        with flaky_proxy(any_server.port) as proxy:
            proxy.is_silent = True
            port = open_port(observer, at=proxy.url, timeout_s=0.1)
            with pytest.raises(UnavailableError):
                port.append(event)
            self.closed(port)
        assert open_port(observer).append(event) == observer.append(event)
        assert counted(observer) == {"events:{customer}_created": 1}

    # Checks --------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("count", [0, 1_001])
    def test_too_few_or_too_many_together(self, port: Port, count: int) -> None:
        """No event at all, or more than one atomic step takes, is an error of the caller."""
        with pytest.raises(ValueError, match=str(count)):
            port.append_together(created(*map(customer, range(count))))

    def test_an_entity_with_its_version(self, port: Port) -> None:
        """What is read is the version that an append has to expect, also of an order with its list."""
        for one in (customer(1), order(1)):
            topic = topic_of(one)
            assert port.find_versioned(topic, one.id) is None
            port.append(Event.new("created", one))
            assert port.find_versioned(topic, one.id) == (one, 1)
            port.append(Event.new("updated", one), expect=1)
            assert port.find_versioned(topic, one.id) == (one, 2)
            assert refusal(port, [Event.new("updated", one)], expect=1) == ("version", "2")

    def test_expected_versions(self, port: Port) -> None:
        """An entity has version 0 before it is created, then 1, and one more with every update."""
        assert refusal(port, [Event.new("updated", customer(1))], expect=1) == ("version", "0")
        port.append(Event.new("created", customer(1)), expect=0)
        assert refusal(port, [Event.new("created", customer(1))], expect=0) == ("version", "1")
        port.append(Event.new("updated", customer(1)), expect=1)
        port.append(Event.new("updated", customer(1)), expect=2)
        assert refusal(port, [Event.new("updated", customer(1))], expect=2) == ("version", "3")
        port.append(Event.new("deleted", customer(1)), expect=3)
        assert refusal(port, [Event.new("deleted", customer(1))], expect=3) == ("version", "0")
        port.append(Event.new("created", customer(1)), expect=0)
        port.append(Event.new("updated", customer(1)), expect=1)

    @pytest.mark.parametrize("entity", [customer(1), order(1)], ids=["customer", "order"])
    def test_created_again_is_another_version(self, port: Port, entity: Entity) -> None:
        """What is created though it is there has another version, so that an update of the old one is refused."""
        port.append_together(created(entity))
        port.append_together(created(entity))
        assert refusal(port, [Event.new("updated", entity)], expect=1) == ("version", "2")
        port.append_together(created(entity, entity))
        port.append(Event.new("deleted", entity), expect=4)
        port.append(Event.new("created", entity), expect=0)
        port.append(Event.new("updated", entity), expect=1)

    def test_expected_to_exist(self, port: Port) -> None:
        """What must exist is refused while it does not."""
        event = Event.new("updated", customer(1))
        assert refusal(port, [event], expect=EXISTS) == ("unknown", "customer c-1")
        port.append(Event.new("created", customer(1)))
        port.append(event, expect=EXISTS)

    def test_an_entity_twice_in_an_append(self, port: Port, observer: EventStore) -> None:
        """What is expected of an entity holds for one event, so a second one in the same append is refused."""
        port.append(Event.new("created", customer(1)))
        events = [Event.new("updated", customer(1, "Bea")), Event.new("deleted", customer(1))]
        assert refusal(port, events, expect=1) == ("version", "twice in one append")
        assert refusal(port, events, expect=EXISTS) == ("version", "twice in one append")
        assert cached(observer, "customer") == {"c-1": customer(1)}

    def test_a_repeat_is_not_checked_again(self, port: Port) -> None:
        """A repeated event answers its first ID though what it expected does not hold any more."""
        event = Event.new("created", customer(1))
        first = port.append(event, expect=0)
        assert port.append(event, expect=0) == first
        assert port.append_together([event], expect=0) == [first]

    def test_references(self, port: Port) -> None:
        """An append is refused while an entity that it refers to does not exist."""
        event = Event.new("created", order(1, 0))
        references = [("customer", "c-0"), ("product", "p-0")]
        assert refusal(port, [event], references=references) == ("unknown", "customer c-0")
        port.append(Event.new("created", customer(0)))
        assert refusal(port, [event], references=references) == ("unknown", "product p-0")
        port.append(Event.new("created", product(0)))
        port.append(event, references=references)

    @pytest.mark.parametrize(
        ("event", "how", "why"),
        [
            (Event("created", customer(1), "x"), {"expect": 0}, ("version", "1")),
            (Event("updated", customer(9), "x"), {"expect": EXISTS}, ("unknown", "customer c-9")),
            (Event("created", customer(9), "x"), {"references": [("order", "o-9")]}, ("unknown", "order o-9")),
            (Event("created", order(9, 1, 1, 1), "x"), {"mode": WITH_STOCK}, ("stock", "p-1")),
            (Event("created", billing(9, 9), "x"), {}, ("unknown", "order o-9")),
            (Event("created", billing(9, 1), "x"), {}, ("billed", "o-1")),
        ],
        ids=["version", "exists", "reference", "stock", "no order", "billed"],
    )
    def test_refused_is_not_written(
        self, port: Port, observer: EventStore, event: Event, how: dict[str, Any], why: tuple[str, str]
    ) -> None:
        """A refused append leaves every key as it was, and so does a batch with one refused event."""
        port.append_together(created(customer(1), product(1), shelf(1, 1, 2), order(1, 1)))
        port.append(Event.new("created", billing(1, 1)))
        before = everything(observer)
        assert refusal(port, [event], **how) == why
        if how.get("expect") != EXISTS:  # what is expected is expected of every event
            other = order(7, 1) if how.get("mode") == WITH_STOCK else customer(7)
            assert refusal(port, [Event.new("created", other), event], **how) == why
        assert everything(observer) == before

    # Failures ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("count", [0, 1_001, 9_000])
    def test_orders_of_too_few_or_too_many_items(self, port: Port, observer: EventStore, count: int) -> None:
        """An order without items, or of more than 1,000, is an error of the caller, and nothing is written."""
        for mode in (PROJECT, WITH_STOCK):
            with pytest.raises(ValueError, match=f"not {count}"):
                port.append(Event.new("created", Order("o-1", ["p-1"] * count, "c-1")), mode=mode)
        port.append(Event.new("created", Order("o-1", ["p-1"] * 1_000, "c-1")))
        assert counted(observer) == {"events:{order}_created": 1}

    def test_a_stream_that_is_none(self, port: Port, observer: EventStore) -> None:
        """When a batch's second stream fails, repeats append what came before it once, and the rest later."""
        other = observer.keys.stream("product", "created")
        observer.client.set(other, "something else")
        events = created(customer(1), customer(2), product(1), customer(3))
        for _ in range(2):
            with pytest.raises(StoreError, match="WRONGTYPE"):
                port.append_together(events)
        assert counted_customers(observer) == ["c-1", "c-2"]
        assert set(observer.client.smembers(observer.keys.ids("customer"))) == {b"c-1", b"c-2"}
        observer.client.delete(other)
        ids = port.append_together(events)
        assert ids == sorted(set(ids))
        assert counted(observer) == {"events:{customer}_created": 3, "events:{product}_created": 1}
        assert observer.replay("customer") == cached(observer, "customer")

    @pytest.mark.parametrize("together", [[], [order(1)]], ids=["plain", "with rules"])
    def test_an_entity_that_is_none(self, port: Port, observer: EventStore, together: list[Entity]) -> None:
        """When an entity cannot be kept its event is appended once, and what is behind it later."""
        observer.client.set(observer.keys.entity("customer", "c-2"), "something else")
        events = created(*together, *map(customer, range(1, 4)))
        with pytest.raises(StoreError, match="WRONGTYPE"):
            port.append_together(events)
        assert counted_customers(observer) == ["c-1", "c-2"]
        observer.client.delete(observer.keys.entity("customer", "c-2"))
        port.append_together(events)
        assert counted_customers(observer) == ["c-1", "c-2", "c-3"]
        assert port.find_one("customer", "c-3") == customer(3)

    def test_shelves_events_that_cannot_be_appended(self, port: Port, observer: EventStore) -> None:
        """When the stream of the shelves fails an order is not placed at all, and can be later."""
        port.append(Event.new("created", shelf(1, 1, 5)))
        observer.client.set(observer.keys.stream("inventory", "updated"), "something else")
        event = Event.new("created", order(1, 1))
        with pytest.raises(StoreError, match="WRONGTYPE"):
            port.append(event, mode=WITH_STOCK)
        assert port.find_one("order", "o-1") is None
        observer.client.delete(observer.keys.stream("inventory", "updated"))
        port.append(event, mode=WITH_STOCK)
        assert amounts_of(observer) == {"s-1": 4}

    def test_stock_of_orders_that_failed(self, port: Port, observer: EventStore) -> None:
        """Of a batch that fails on its way, stock is taken for the orders that are in the stream alone."""
        port.append_together(created(shelf(1, 1, 3), shelf(2, 1, 7)))
        observer.client.set(observer.keys.entity("order", "o-2"), "something else")
        events = created(order(1, 1), order(2, 1, 1), order(3, 1, 1, 1))
        with pytest.raises(StoreError, match="WRONGTYPE"):
            port.append_together(events, mode=WITH_STOCK)
        assert [event.entity for event in observer.read("order", "created")] == [order(1, 1), order(2, 1, 1)]
        assert sum(amounts_of(observer).values()) == 7
        observer.client.delete(observer.keys.entity("order", "o-2"))
        port.append_together(events, mode=WITH_STOCK)
        assert sum(amounts_of(observer).values()) == 4
        assert observer.replay("inventory") == cached(observer, "inventory")

    # Queries -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("topic", ENTITIES)
    def test_a_write_is_read_at_once(self, port: Port, topic: Topic) -> None:
        """What was created, updated or deleted is so in the next query."""
        port.append_together(created(order(1), order(2)))
        first, second = {
            "customer": (customer(8), customer(8, "Bea")),
            "product": (product(8), product(8, 1)),
            "inventory": (shelf(8, 1, 0), shelf(8, 2, 10**9)),
            "order": (order(8, 1, 1, 2), order(8, 3)),
            "billing": (billing(8, 1), billing(8, 2)),
        }[topic]
        assert port.find_one(topic, first.id) is None
        port.append(Event.new("created", first))
        assert port.find_one(topic, first.id) == first
        port.append(Event.new("updated", second))
        assert port.find_one(topic, first.id) == second
        assert second in list(port.find_all(topic))
        port.append(Event.new("deleted", second))
        assert port.find_one(topic, first.id) is None
        assert first.id not in [entity.id for entity in port.find_all(topic)]

    def test_an_event_alone(self, port: Port, observer: EventStore) -> None:
        """Without projection an event is in the stream, and the cache does not know it."""
        port.append(Event.new("created", customer(1)), mode=EVENT_ONLY)
        assert port.find_one("customer", "c-1") is None
        assert observer.replay("customer") == {"c-1": customer(1)}

    def test_numbers_stay_numbers(self, port: Port) -> None:
        """Whole numbers, fractions and text that looks like numbers come back as what they were."""
        things = [
            Product("p-1", "10", 10),
            Product("p-2", "1e5", 9.99),
            Product("p-3", "null", 1e-7),
            Product("0", "0", 0),
            Inventory("s-1", "007", 999_999_999),
            Order("3", ["1", "2", "1"], "-0"),
        ]
        port.append_together(created(*things))
        for thing in things:
            topic = Event.new("created", thing).topic
            found = port.find_one(topic, thing.id)
            assert found == thing
            if isinstance(thing, Product):
                assert isinstance(found, Product)
                assert type(found.price) is type(thing.price)

    def test_hostile_text(self, port: Port, observer: EventStore) -> None:
        """Text with separators, NUL, braces, line ends or protocol in it comes back unchanged from every field."""
        things: list[Entity] = []
        for i, text in enumerate(HOSTILE):
            other = HOSTILE[i - 1]
            things += [
                Customer(text, other, f"{i}_:}}{{%\0☃@x"),
                Product(text, other, 1),
                Inventory(text, other, 5),
                Order(text, [other, text, other], other),
                Billing(text, text, 1.5),
            ]
        # Billings name orders, which must be there before.
        for kind in (Customer, Product, Inventory, Order, Billing):
            port.append_together(created(*(thing for thing in things if isinstance(thing, kind))))
        for thing in things:
            topic = Event.new("created", thing).topic
            assert port.find_one(topic, thing.id) == thing
        for topic, kind in ENTITIES.items():
            expected = {thing.id: thing for thing in things if isinstance(thing, kind)}
            assert {entity.id: entity for entity in port.find_all(topic)} == expected
            assert observer.replay(topic) == expected

    def test_hostile_ids_on_the_shelf(self, port: Port, observer: EventStore) -> None:
        """Stock taken from shelves and products with hostile ids leaves events that replay to the cache."""
        port.append_together(created(*(Inventory(text, text, 5) for text in HOSTILE)))
        port.append(Event.new("created", Order("o-1", HOSTILE, "c-0")), mode=WITH_STOCK)
        assert observer.replay("inventory") == {text: Inventory(text, text, 4) for text in HOSTILE}
        assert observer.replay("inventory") == cached(observer, "inventory")

    def test_many_pages(self, port: Port, observer: EventStore) -> None:
        """More entities than a page holds are all found, each once."""
        count = 2 * entity_cache.PAGE + 1
        observer.append_many(created(*map(order, range(count))))
        found = [entity.id for entity in port.find_all("order")]
        assert Counter(found) == Counter(f"o-{n}" for n in range(count))

    def test_a_list_is_never_half(self, port: Port, open_store: OpenStore, observer: EventStore) -> None:
        """While an order is replaced again and again, whoever reads it finds one whole order or the other."""
        short, long = order(1, 1), order(1, *range(300))
        port.append(Event.new("created", short))
        reading = open_store(like=observer)

        def work(me: int) -> None:
            for n in range(60):
                if me:
                    assert reading.find_one("order", "o-1") in (short, long)
                    assert next(reading.find_all("order")) in (short, long)
                else:
                    port.append(Event.new("updated", (long, short)[n % 2]))

        in_threads(2, work)

    # The cache, replay and a model ---------------------------------------------------------------------

    @PROPERTY
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(ACTIONS), st.sampled_from(["customer", "inventory", "order"]), st.integers(0, 2)
            ),
            max_size=25,
        ),
        st.integers(1, 5),
    )
    def test_replay_is_cache_is_model(
        self, open_port: OpenPort, open_store: OpenStore, steps: list[Any], together: int
    ) -> None:
        """Any interleaving of creates, updates and deletes, alone or together, leaves the same in all three."""
        observer = open_store()
        port, model = open_port(observer), Model()
        events = []
        for n, (action, topic, number) in enumerate(steps):
            entity = {
                "customer": customer(number, f"name {n}"),
                "inventory": shelf(number, n % 2, n),
                "order": order(number, *range(n % 3 + 1)),
            }[topic]
            model.apply(action, entity)
            events.append(Event.new(action, entity))
        for first in range(0, len(events), together):
            port.append_together(events[first : first + together])
        for topic, entities in model.entities.items():
            assert observer.replay(topic) == cached(observer, topic) == entities
            assert {entity.id: entity for entity in port.find_all(topic)} == entities

    # Stock ---------------------------------------------------------------------------------------------

    def test_one_event_per_shelf_that_changed(self, port: Port, observer: EventStore) -> None:
        """An order takes from the first shelves that have some, and leaves one event for each that changed."""
        port.append_together(created(shelf(1, 1, 2), shelf(2, 1, 3), shelf(3, 1, 9), shelf(4, 2, 9)))
        port.append(Event.new("created", order(1, 1, 1, 1, 1)), mode=WITH_STOCK)
        assert [e.entity for e in observer.read("inventory", "updated")] == [shelf(1, 1, 0), shelf(2, 1, 1)]
        assert amounts_of(observer) == {"s-1": 0, "s-2": 1, "s-3": 9, "s-4": 9}

    def test_an_order_that_changes_nothing_on_a_shelf(self, port: Port, observer: EventStore) -> None:
        """An update that keeps a product's pieces leaves no event for its shelf."""
        port.append_together(created(shelf(1, 1, 9), shelf(2, 2, 9)))
        port.append(Event.new("created", order(1, 1, 2)), mode=WITH_STOCK)
        port.append(Event.new("updated", order(1, 2, 2, 1)), mode=WITH_STOCK)
        assert [e.entity for e in observer.read("inventory", "updated")][2:] == [shelf(2, 2, 7)]

    @pytest.mark.parametrize("wanted", [(1, 1, 2), (1, 3), (3,)])
    def test_all_or_nothing(self, port: Port, observer: EventStore, wanted: tuple[int, ...]) -> None:
        """An order of too much, or of a product without inventory, takes nothing of anything."""
        port.append_together(created(shelf(1, 1, 1), shelf(2, 2, 5)))
        before = everything(observer)
        assert refusal(port, [Event.new("created", order(1, *wanted))], mode=WITH_STOCK)[0] == "stock"
        assert everything(observer) == before

    def test_orders_together_share_the_stock(self, port: Port, observer: EventStore) -> None:
        """Orders of one batch are weighed together: all are placed, or none is."""
        port.append(Event.new("created", shelf(1, 1, 5)))
        batch = created(order(1, 1, 1), order(2, 1, 1), order(3, 1, 1))
        assert refusal(port, batch, mode=WITH_STOCK) == ("stock", "p-1")
        port.append_together(batch[:2], mode=WITH_STOCK)
        assert amounts_of(observer) == {"s-1": 1}

    def test_an_order_is_retried(self, port: Port, observer: EventStore) -> None:
        """A repeated order takes no stock a second time, and a repeated deletion gives none back."""
        port.append(Event.new("created", shelf(1, 1, 5)))
        placed, gone = Event.new("created", order(1, 1, 1)), Event.new("deleted", order(1, 1, 1))
        for event, left in [(placed, 3), (placed, 3), (gone, 5), (gone, 5)]:
            port.append(event, mode=WITH_STOCK)
            assert amounts_of(observer) == {"s-1": left}

    def test_what_is_given_back_is_what_was_taken(self, port: Port, observer: EventStore) -> None:
        """Deleting an order gives back what the order had taken, whatever the event says that it was."""
        port.append(Event.new("created", shelf(1, 1, 5)))
        port.append(Event.new("created", order(1, 1, 1, 1)), mode=WITH_STOCK)
        port.append(Event.new("deleted", order(1, 1)), mode=WITH_STOCK)
        assert amounts_of(observer) == {"s-1": 5}

    @pytest.mark.parametrize(
        "action", ["created again", "updated, never created", "deleted, never created", "updated, deleted"]
    )
    def test_an_order_without_expectation_leaks_nothing(
        self, port: Port, observer: EventStore, action: str
    ) -> None:
        """Stock and orders add up even where an order's event does not fit to what is there."""
        port.append(Event.new("created", shelf(1, 1, 5)))
        events = {
            "created again": [Event.new("created", order(1, 1)), Event.new("created", order(1, 1, 1))],
            "updated, never created": [Event.new("updated", order(1, 1))],
            "deleted, never created": [Event.new("deleted", order(1, 1))],
            "updated, deleted": [
                Event.new("created", order(1, 1)),
                Event.new("deleted", order(1, 1)),
                Event.new("updated", order(1, 1)),
            ],
        }[action]
        for event in events:
            port.append(event, mode=WITH_STOCK)
        assert stock(observer)["p-1"] + pieces(observer.find_all("order"))["p-1"] == 5

    def test_an_order_twice_with_stock(self, port: Port, observer: EventStore) -> None:
        """An order that stands twice in one append is refused: it would be weighed as if it were two."""
        port.append_together(created(shelf(1, 1, 5), order(2, 1)))
        for events in (
            created(order(1, 1), order(1, 1, 1)),
            [*created(order(1, 1)), Event.new("deleted", order(1, 1))],
            [Event.new("updated", order(2, 1, 1)), Event.new("deleted", order(2, 1))],
        ):
            assert refusal(port, events, mode=WITH_STOCK) == ("version", "twice in one append")
        [event] = created(order(1, 1))
        port.append_together([event, event], mode=WITH_STOCK)
        assert amounts_of(observer) == {"s-1": 4}

    def test_only_orders_take_stock(self, port: Port, observer: EventStore) -> None:
        """A shelf that is changed in the same step as stock is taken from it is an error of the caller."""
        events = [*created(order(1, 1)), Event.new("updated", shelf(1, 1, 9))]
        with pytest.raises(ValueError, match="inventory"):
            port.append_together(events, mode=WITH_STOCK)
        assert counted(observer) == {}

    def test_more_comes_back_than_may_be_put(self, port: Port, observer: EventStore) -> None:
        """Pieces that come back may lift a shelf above what a client may put on it, and it can still be read."""
        port.append(Event.new("created", shelf(1, 1, 10**9)))
        port.append(Event.new("created", order(1, 1)), mode=WITH_STOCK)
        port.append(Event.new("updated", shelf(1, 1, 10**9)))
        port.append(Event.new("deleted", order(1, 1)), mode=WITH_STOCK)
        assert port.find_one("inventory", "s-1") == shelf(1, 1, 10**9 + 1)
        assert observer.replay("inventory") == cached(observer, "inventory")

    def test_event_ids_of_the_shelves_are_no_others(self, port: Port, observer: EventStore) -> None:
        """Of a batch that is known in part the shelves' events have UUIDs of their own, not those from before."""
        port.append(Event.new("created", shelf(1, 1, 5)))
        events = created(order(1, 1), order(2, 1))
        port.append(events[0], mode=WITH_STOCK)
        port.append_together(events, mode=WITH_STOCK)
        seen = [event.event_id for event in observer.read("inventory", "updated")]
        assert len(set(seen)) == len(seen) == 2

    def test_event_ids_of_the_shelves_are_derived(self, open_port: OpenPort, open_store: OpenStore) -> None:
        """The events that an order leaves on shelves have UUIDs that follow from its own, alike on any try."""
        seen = []
        for _ in range(2):
            observer = open_store()
            port = open_port(observer)
            port.append_together(created(shelf(1, 1, 5), shelf(2, 2, 5)))
            port.append(Event("created", order(1, 1, 2), "the order's"), mode=WITH_STOCK)
            seen.append([event.event_id for event in observer.read("inventory", "updated")])
        assert seen[0] == seen[1]
        assert len({str(uuid.UUID(each)) for each in seen[0]}) == 2

    def test_stock_is_never_sold_twice(self, open_port: OpenPort, observer: EventStore) -> None:
        """Of 120 orders for a stock of 50, placed by 8 clients at once, exactly 50 are accepted."""
        observer.append_together(created(shelf(1, 1, 30), shelf(2, 1, 20)))
        accepted, refused = [], []
        ports = [open_port(observer, timeout_s=10) for _ in range(8)]

        def work(me: int) -> None:
            for n in range(15):
                try:
                    ports[me].append(Event.new("created", order(100 * me + n, 1)), mode=WITH_STOCK)
                    accepted.append(n)
                except RefusedError as error:
                    refused.append(error.reason)

        in_threads(8, work)
        assert (len(accepted), refused) == (50, ["stock"] * 70)
        assert amounts_of(observer) == {"s-1": 0, "s-2": 0}
        assert len(cached(observer, "order")) == 50

    @PROPERTY
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["created", "updated", "deleted", "shelved"]),
                st.integers(0, 3),
                st.lists(st.integers(0, 2), min_size=1, max_size=6),
            ),
            max_size=20,
        )
    )
    def test_stock_and_orders_add_up(self, open_port: OpenPort, open_store: OpenStore, steps: list[Any]) -> None:
        """After any orders, changes, deletions and deliveries: stock ≥ 0, and total = stock + ordered."""
        observer = open_store()
        port = open_port(observer)
        observer.append_together(created(shelf(0, 0, 3), shelf(1, 0, 2), shelf(2, 1, 4)))
        total = Counter({"p-0": 5, "p-1": 4})
        for action, number, wanted in steps:
            amounts = amounts_of(observer)
            events_before = counted(observer).get("events:{inventory}_updated", 0)
            try:
                if action == "shelved":
                    new = shelf(2, 1, len(wanted))
                    total["p-1"] += new.amount - amounts["s-2"]
                    port.append(Event.new("updated", new), expect=EXISTS)
                else:
                    expect = 0 if action == "created" else EXISTS
                    port.append(Event.new(action, order(number, *wanted)), expect=expect, mode=WITH_STOCK)
            except RefusedError:
                assert amounts_of(observer) == amounts
            now = amounts_of(observer)
            if action != "shelved":
                changed = sum(now[row] != amounts[row] for row in now)
                assert counted(observer).get("events:{inventory}_updated", 0) == events_before + changed
            assert stock(observer) + pieces(observer.find_all("order")) == +total
        for topic in ("inventory", "order"):
            assert observer.replay(topic) == cached(observer, topic)

    # Billing -------------------------------------------------------------------------------------------

    def test_an_order_is_billed_once(self, port: Port) -> None:
        """A second billing of an order is refused; its own billing may be changed and names it still."""
        port.append_together(created(order(1), order(2)))
        port.append(Event.new("created", billing(1, 1)))
        assert refusal(port, [Event.new("created", billing(2, 1))]) == ("billed", "o-1")
        port.append(Event.new("updated", billing(1, 1)))
        port.append(Event.new("created", billing(2, 2)))
        assert refusal(port, [Event.new("updated", billing(2, 1))]) == ("billed", "o-1")

    def test_an_order_is_billed_once_in_a_batch(self, port: Port, observer: EventStore) -> None:
        """Two billings of one order in a batch are refused as two in a row are."""
        port.append(Event.new("created", order(1)))
        assert refusal(port, created(billing(1, 1), billing(2, 1))) == ("billed", "o-1")
        assert cached(observer, "billing") == {}

    def test_an_order_that_comes_back_is_billed(self, port: Port, observer: EventStore) -> None:
        """An order that is created again, deleted before or not, is billed while a billing names it."""
        port.append(Event.new("created", order(1)))
        port.append(Event.new("created", billing(1, 1)))
        histories: list[list[Action]] = [["created"], ["deleted", "created"]]
        for history in histories:
            for action in history:
                port.append(Event.new(action, order(1)))
            assert refusal(port, [Event.new("created", billing(2, 1))]) == ("billed", "o-1")
            assert observer.client.smembers(observer.keys.unbilled) == set()
        port.append(Event.new("deleted", billing(1, 1)))
        port.append(Event.new("created", billing(2, 1)))

    @PROPERTY
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["ordered", "order deleted", "created", "updated", "deleted"]),
                st.integers(0, 1),
                st.integers(0, 1),
            ),
            max_size=30,
        )
    )
    def test_unbilled_orders(self, open_port: OpenPort, open_store: OpenStore, steps: list[Any]) -> None:
        """After any steps the unbilled orders are those that no billing names, and none is billed twice."""
        observer = open_store()
        port = open_port(observer)
        orders: set[str] = set()
        bills: dict[str, str] = {}
        for action, which, number in [("ordered", 0, 0), *steps]:
            bill, named = billing(which, number), f"o-{number}"
            if action == "ordered":
                orders.add(named)
                port.append(Event.new("created", order(number)))
            elif action == "order deleted":
                port.append(Event.new("deleted", Order(named, ["p-0"], "c-0")))
                orders.discard(named)
            elif action == "deleted":
                port.append(Event.new("deleted", bill))
                bills.pop(bill.id, None)
            else:
                allowed = named in orders and all(o != named or b == bill.id for b, o in bills.items())
                if not allowed:
                    assert refusal(port, [Event.new(action, bill)])[0] in {"unknown", "billed"}
                else:
                    port.append(Event.new(action, bill))
                    if action == "created" or bill.id in bills:
                        bills[bill.id] = named
            unbilled = {raw.decode() for raw in observer.client.smembers(observer.keys.unbilled)}
            assert unbilled == orders - set(bills.values())


# Trimming ---------------------------------------------------------------------------------------------------


class Reader:
    """Groups on the stream of customers that are created, and what each has been delivered and acknowledged."""

    def __init__(self, observer: EventStore) -> None:
        self.client = observer.client
        self.stream = observer.keys.stream("customer", "created")

    def join(self, group: str, start: str = "0") -> None:
        """Make a group."""
        self.client.xgroup_create(self.stream, group, start, mkstream=True)

    def read(self, group: str, count: int, *, noack: bool = False) -> list[bytes]:
        """Have a group be delivered so many events."""
        answer = self.client.xreadgroup(group, "1", {self.stream: ">"}, count=count, noack=noack)
        return [raw for _, entries in answer for raw, _ in entries]

    def acknowledge(self, group: str, *raw_ids: bytes) -> None:
        """Have a group acknowledge events."""
        self.client.xack(self.stream, group, *raw_ids)

    @property
    def ids(self) -> list[bytes]:
        """What the stream holds."""
        return [raw for raw, _ in self.client.xrange(self.stream)]


class TrimContract(Contract):
    """Trimming removes what every group has acknowledged, and nothing else."""

    @pytest.fixture
    def reader(self, observer: EventStore) -> Reader:
        """Groups on the stream."""
        return Reader(observer)

    @staticmethod
    def fill(observer: EventStore, count: int) -> list[bytes]:
        """Create some customers, and answer the IDs of the events."""
        return [str(each).encode() for each in observer.append_many(created(*map(customer, range(count))))]

    def test_what_all_have_acknowledged_goes(self, port: Port, observer: EventStore, reader: Reader) -> None:
        """Below the last that a group was delivered everything goes, once nothing of it is pending."""
        ids = self.fill(observer, 10)
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", 6))
        assert port.trim("customer", "created") == 5
        assert reader.ids == ids[5:]
        assert port.trim("customer", "created") == 0

    def test_what_is_pending_stays(self, port: Port, observer: EventStore, reader: Reader) -> None:
        """From the smallest pending event on everything stays, also what was acknowledged behind it."""
        ids = self.fill(observer, 10)
        reader.join("crm")
        delivered = reader.read("crm", 8)
        reader.acknowledge("crm", *delivered[:3], *delivered[4:])
        assert port.trim("customer", "created") == 3
        assert reader.ids == ids[3:]

    @pytest.mark.parametrize("slowest", ["billing", "search"])
    def test_the_slowest_group_decides(
        self, port: Port, observer: EventStore, reader: Reader, slowest: str
    ) -> None:
        """What one group has handled stays for another that is away, or has only just been made."""
        ids = self.fill(observer, 10)
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", 10))
        reader.join(slowest)
        assert port.trim("customer", "created") == 0
        reader.acknowledge(slowest, *reader.read(slowest, 4))
        assert port.trim("customer", "created") == 3
        assert reader.ids == ids[3:]

    def test_at_most_once_acknowledges_nothing(self, port: Port, observer: EventStore, reader: Reader) -> None:
        """Of a group that reads without acknowledging, what was delivered may go."""
        ids = self.fill(observer, 6)
        reader.join("crm")
        reader.read("crm", 4, noack=True)
        assert port.trim("customer", "created") == 3
        assert reader.ids == ids[3:]

    def test_a_stream_that_nobody_reads(self, port: Port, observer: EventStore, reader: Reader) -> None:
        """Without a group nothing goes unless told; then all but the last, and IDs still rise behind it."""
        assert port.trim("customer", "created", even_without_group=True) == 0
        ids = self.fill(observer, 10)
        assert port.trim("customer", "created") == 0
        assert port.trim("customer", "created", keep=4, even_without_group=True) == 6
        assert port.trim("customer", "created", even_without_group=True) == 3
        assert reader.ids == ids[9:]
        assert port.append(Event.new("created", customer(11))) > EventId.parse(ids[9])

    @pytest.mark.parametrize("keep", [1, 3, 10, 11])
    def test_the_newest_are_kept(self, port: Port, observer: EventStore, reader: Reader, keep: int) -> None:
        """At least so many stay, though all of them were acknowledged; of fewer than that nothing goes."""
        ids = self.fill(observer, 10)
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", 10))
        assert port.trim("customer", "created", keep=keep) == max(0, 10 - keep)
        assert reader.ids == ids[-keep:]

    def test_the_young_are_kept(self, port: Port, observer: EventStore, reader: Reader) -> None:
        """What was appended in the last so many seconds stays; the rest goes as if nobody had asked for that."""
        stream = observer.keys.stream("customer", "created")
        now = server_now(observer).seconds
        for age_s in (3_000, 2_000, 1_000):
            observer.client.xadd(stream, {"other": "entry"}, id=f"{now - age_s}-5")
        ids = self.fill(observer, 2)
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", 10))
        assert port.trim("customer", "created", keep_s=10**10) == 0
        assert port.trim("customer", "created", keep_s=2_500.5) == 1
        assert port.trim("customer", "created", keep_s=500) == 2
        assert reader.ids == ids

    @pytest.mark.parametrize("keep", [0, 1])
    def test_the_young_behind_a_foreign_entry(
        self, port: Port, observer: EventStore, reader: Reader, keep: int
    ) -> None:
        """Where IDs were counted on behind a foreign `XADD *`, what is old goes, and what is young stays."""
        now = server_now(observer).seconds
        foreign = f"{(now - 2_500) * 1000}"
        old = [f"{now - 3_000}-5", f"{foreign}-0", f"{foreign}-{(now - 2_000) * 10**6}"]
        # This stream came to count on later than another: what is young has IDs of both kinds.
        young = [f"{foreign}-{(now - 1_000) * 10**6}", f"{foreign}-{(now - 900) * 10**6}"]
        for raw in (*old, *young):
            observer.client.xadd(reader.stream, {"other": "entry"}, id=raw)
        observer.client.hset(observer.keys.namespace + "events:ids", "\0last", young[-1])
        [new] = self.fill(observer, 1)
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", 10))
        assert port.trim("customer", "created", keep=keep, keep_s=10_000) == 0
        assert port.trim("customer", "created", keep=keep, keep_s=1_500) == 3
        assert port.trim("customer", "created", keep=keep, keep_s=1_500) == 0
        assert reader.ids == [*(raw.encode() for raw in young), new]
        assert port.trim("customer", "created", keep=keep, keep_s=500) == 2
        assert reader.ids == [new]

    @pytest.mark.parametrize("keep", [0, 1])
    def test_what_is_pending_behind_a_foreign_entry_stays(
        self, port: Port, observer: EventStore, reader: Reader, keep: int
    ) -> None:
        """IDs that lie very far apart are told apart: what is not acknowledged stays, and what may go goes."""
        now = server_now(observer).seconds
        ids = [f"{now}-5", f"{now}000-0", *(f"{now}000-{(now + n) * 10**6}" for n in (1, 10_000, 20_000))]
        for raw in ids:
            observer.client.xadd(reader.stream, {"other": "entry"}, id=raw)
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", 4)[:3])
        assert port.trim("customer", "created", keep=keep) == 3
        assert reader.ids == [raw.encode() for raw in ids[3:]]

    def test_the_young_before_a_foreign_entry(self, port: Port, observer: EventStore, reader: Reader) -> None:
        """What is young stays also in front of a foreign entry, and pages of what is old go in one call."""
        now = server_now(observer).seconds
        with observer.client.pipeline(transaction=False) as entries:
            for n in range(2 * PAGE + 7):
                entries.xadd(reader.stream, {"other": "entry"}, id=f"{now - 3_000}-{n}")
            entries.execute()
        young = self.fill(observer, 3)
        observer.client.xadd(reader.stream, {"other": "entry"})
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", 3 * PAGE))
        assert port.trim("customer", "created", keep_s=1_000) == 2 * PAGE + 7
        assert reader.ids[:3] == young

    @pytest.mark.parametrize("keep", [0, 7])
    def test_more_than_a_page(self, port: Port, observer: EventStore, reader: Reader, keep: int) -> None:
        """What is to go goes in one call, however many pages it has."""
        ids = self.fill(observer, 3 * PAGE + 42)
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", 3 * PAGE + 7))
        assert port.trim("customer", "created", keep=keep) == 3 * PAGE + 6
        assert reader.ids == ids[3 * PAGE + 6 :]

    @pytest.mark.parametrize("delivered", [2, 5])
    def test_ids_beyond_what_a_double_holds(
        self, port: Port, observer: EventStore, reader: Reader, delivered: int
    ) -> None:
        """IDs are compared digit by digit, and 9 is below 10: the largest there are differ in their last digit."""
        largest = (1 << 64) - 1
        ids = [f"{seconds}-{largest - left}".encode() for seconds in (9, 10) for left in (2, 1, 0)]
        for raw in ids:
            observer.client.xadd(reader.stream, {"other": "entry"}, id=raw)
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", delivered))
        assert port.trim("customer", "created") == delivered - 1
        assert reader.ids == ids[delivered - 1 :]

    def test_other_streams_stay(self, port: Port, observer: EventStore, reader: Reader) -> None:
        """One stream is trimmed; the cache, and repeats of what was trimmed, are as before."""
        events = created(*map(customer, range(5)))
        observer.append_together([*events, *created(*map(product, range(5)))])
        reader.join("crm")
        reader.acknowledge("crm", *reader.read("crm", 5))
        assert port.trim("customer", "created") == 4
        assert counted(observer) == {"events:{customer}_created": 1, "events:{product}_created": 5}
        assert set(cached(observer, "customer")) == {f"c-{n}" for n in range(5)}
        port.append(events[0])
        assert counted(observer)["events:{customer}_created"] == 1

    @pytest.mark.parametrize("how", [{"keep": -1}, {"keep_s": -0.1}, {"keep_s": float("nan")}])
    def test_less_than_nothing(self, port: Port, how: dict[str, Any]) -> None:
        """To keep less than nothing is an error of the caller."""
        with pytest.raises(ValueError, match="less than nothing"):
            port.trim("customer", "created", **how)

    @PROPERTY
    @given(
        steps=st.lists(
            st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.sets(st.integers(0, 30)), st.integers(0, 9)),
            max_size=8,
        )
    )
    def test_no_group_misses_anything(
        self, open_port: OpenPort, open_store: OpenStore, steps: list[tuple[str, int, set[int], int]]
    ) -> None:
        """However two groups read and acknowledge, each is delivered every event, and can read what is pending."""
        observer = open_store()
        port, reader = open_port(observer), Reader(observer)
        ids = self.fill(observer, 30)
        delivered: dict[str, list[bytes]] = {"a": [], "b": []}
        acknowledged: dict[str, set[bytes]] = {"a": set(), "b": set()}
        for group in delivered:
            reader.join(group)
        for group, count, chosen, keep in steps:
            delivered[group] += reader.read(group, count) if count else []
            done = [delivered[group][at] for at in chosen if at < len(delivered[group])]
            if done:
                reader.acknowledge(group, *done)
                acknowledged[group].update(done)
            port.trim("customer", "created", keep=keep)
            here = set(reader.ids)
            for each, had in delivered.items():
                assert here.issuperset(set(had) - acknowledged[each])
                assert had == ids[: len(had)]
            assert reader.ids == ids[len(ids) - len(here) :]
            assert len(here) >= keep
        for group, had in delivered.items():
            assert had + reader.read(group, 30) == ids

    def test_beside_readers_and_writers(self, open_port: OpenPort, observer: EventStore, reader: Reader) -> None:
        """While events are appended, read and acknowledged, trimming again and again takes none from a group."""
        reader.join("crm")
        handled: list[bytes] = []
        ports = [open_port(observer, timeout_s=10) for _ in range(2)]

        def work(me: int) -> None:
            for n in range(60):
                if me == 0:
                    ports[0].append_together(created(*(customer(10 * n + k) for k in range(10))))
                elif me == 1:
                    ports[1].trim("customer", "created")
                else:
                    delivered = reader.read("crm", 25)
                    handled.extend(delivered)
                    if delivered:
                        reader.acknowledge("crm", *delivered)

        in_threads(3, work)
        handled += reader.read("crm", 1_000)
        assert len(set(handled)) == len(handled) == 600
