"""The event store: both implementations keep the contract on every server; streams, replay, and hard times."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.server.own import OwnServer
from ordershop.async_store import AsyncEventStore
from ordershop.codec import CHUNK, PAGE
from ordershop.entities import Customer, Entity, Order, Topic
from ordershop.event_store import (
    FIRST_CHUNK,
    WITH_STOCK,
    EventStore,
    RefusedError,
    StoreError,
    UnavailableError,
    connect,
)
from ordershop.events import ACTIONS, Action, Event, EventId
from ordershop.wire import says_unable
from tests.contracts import PROPERTY, AppendContract, Contract, Port, TrimContract, server_now
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
    product,
    shelf,
    streams_in_order,
)
from tests.stores import OpenStore, open_own, store_on
from tests.waiting import flaky_proxy


class TestEventStore(AppendContract, TrimContract):
    """The blocking store keeps the contract."""

    @staticmethod
    def opened(url: str, namespace: str, *, timeout_s: float = 2.0, **how: Any) -> Port:
        """A blocking store."""
        return EventStore(connect(url, timeout_s=timeout_s), namespace, **how)

    @staticmethod
    def closed(port: Port) -> None:
        """Close its connections."""
        assert isinstance(port, EventStore)
        port.client.close()

    @staticmethod
    def queries(port: Port) -> dict[str, Callable[[], object]]:
        """The blocking ones."""
        assert isinstance(port, EventStore)
        return {
            "find_one": lambda: port.find_one("customer", "1"),
            "find_one of an order": lambda: port.find_one("order", "1"),
            "find_versioned of a customer": lambda: port.find_versioned("customer", "1"),
            "find_versioned of an order": lambda: port.find_versioned("order", "1"),
            "find_all": lambda: list(port.find_all("order")),
            "read": lambda: list(port.read("order", "created")),
            "tail": lambda: port.tail("order", "created"),
            "replay": lambda: port.replay("order"),
        }


class _InALoop:
    """The asyncio store, in an event loop of its own, with a call for each coroutine."""

    def __init__(self, url: str, namespace: str, how: dict[str, Any]) -> None:
        self._is_open = True
        self._runner = asyncio.Runner()
        self._store = AsyncEventStore(url, namespace, **how)
        self.keys = self._store.keys

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(coroutine)

    def queries(self) -> dict[str, Callable[[], object]]:
        store = self._store
        return {
            "find_one": lambda: self._run(store.find_one("customer", "1")),
            "find_one of an order": lambda: self._run(store.find_one("order", "1")),
            "find_versioned": lambda: self._run(store.find_versioned("order", "1")),
            "find_all": lambda: self._run(store.find_all("order")),
            "unbilled": lambda: self._run(store.unbilled()),
            "find_everything": lambda: self._run(store.find_everything()),
        }

    def append(self, event: Event, **how: Any) -> EventId:
        found: EventId = self._run(self._store.append(event, **how))
        return found

    def append_together(self, events: Sequence[Event], **how: Any) -> list[EventId]:
        found: list[EventId] = self._run(self._store.append_together(events, **how))
        return found

    def find_one(self, topic: Topic, entity_id: str) -> Entity | None:
        found: Entity | None = self._run(self._store.find_one(topic, entity_id))
        return found

    def find_versioned(self, topic: Topic, entity_id: str) -> tuple[Entity, int] | None:
        found: tuple[Entity, int] | None = self._run(self._store.find_versioned(topic, entity_id))
        return found

    def find_all(self, topic: Topic) -> Iterator[Entity]:
        return iter(self._run(self._store.find_all(topic)))

    def trim(self, topic: Topic, action: Action, **how: Any) -> int:
        removed: int = self._run(self._store.trim(topic, action, **how))
        return removed

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._run(self._store.close())
            self._runner.close()


class TestAsyncEventStore(AppendContract, TrimContract):
    """The asyncio store keeps the contract."""

    @staticmethod
    def opened(url: str, namespace: str, **how: Any) -> Port:
        """An asyncio store."""
        return _InALoop(url, namespace, how)

    @staticmethod
    def closed(port: Port) -> None:
        """Close its connection and its loop."""
        assert isinstance(port, _InALoop)
        port.close()

    @staticmethod
    def queries(port: Port) -> dict[str, Callable[[], object]]:
        """Those of asyncio."""
        assert isinstance(port, _InALoop)
        return port.queries()


def public(owner: type) -> set[str]:
    """The methods that a class offers."""
    return {name for name, value in vars(owner).items() if inspect.isfunction(value) and not name.startswith("_")}


def test_both_stores_agree() -> None:
    """What both offer takes the same arguments and answers the same kind; all of it is in the contract above."""
    both = public(EventStore) & public(AsyncEventStore)
    assert both == public(Port) | {"close"}
    for name in both:
        blocking, other = (inspect.signature(getattr(each, name)) for each in (EventStore, AsyncEventStore))
        assert list(blocking.parameters.values()) == list(other.parameters.values())
        assert blocking.return_annotation.replace("Iterator[", "list[") == other.return_annotation


@pytest.mark.parametrize("reply", WRONG)
def test_a_reply_of_another_kind_to_many(store: EventStore, server: OwnServer, reply: bytes) -> None:
    """Many that are appended have IDs, or there was no answer: none is left out because its reply said nothing."""
    events = [Event.new("created", customer(number)) for number in range(700)]
    plan = Plan(0, ("wrong",), 1.0, after=2, commands=frozenset((b"EVALSHA",)), wrong=(reply,))
    with HostileServer(server.port, plan) as hostile, connect(hostile.url) as client:
        asked = EventStore(client, store.keys.namespace)
        with pytest.raises(UnavailableError, match=r"is no reply to it$"):
            asked.append_many(events)
        hostile.calm()
        ids = asked.append_many(events)
    assert ids == [event.id for event in store.read("customer", "created")]
    assert len(ids) == len(events)


class TestStreams(Contract):
    """Reading, replaying and mass appending keep to the order of events, on every server."""

    @pytest.fixture
    def store(self, observer: EventStore) -> EventStore:
        """The store under test."""
        return observer

    # append_many ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 4 * CHUNK + 7])
    def test_append_many(self, store: EventStore, count: int) -> None:
        """Any number of events is appended in order, and each is answered with its ID."""
        events = created(*map(customer, range(count)))
        ids = store.append_many(iter(events))
        stored = list(store.read("customer", "created"))
        assert [(event.id, event.event_id) for event in stored] == list(
            zip(ids, [event.event_id for event in events], strict=True)
        )
        assert ids == sorted(set(ids))
        assert len(cached(store, "customer")) == count

    def test_append_many_after_a_lost_connection(
        self, store: EventStore, open_store: OpenStore, any_server: OwnServer
    ) -> None:
        """When the connection breaks on the way, the same call again appends only what is missing."""
        events = created(*map(customer, range(4 * CHUNK)))
        with flaky_proxy(any_server.port) as proxy:
            far = open_store(like=store, at=proxy.url)
            proxy.lose_answer(after_bytes=40 * CHUNK)
            with pytest.raises(UnavailableError):
                far.append_many(events)
            assert proxy.losses == 1
            far.client.close()
        ids = store.append_many(events)
        assert [event.event_id for event in store.read("customer", "created")] == [e.event_id for e in events]
        assert ids == sorted(set(ids))

    def test_append_many_after_script_flush(self, store: EventStore) -> None:
        """A server that has forgotten the script gets it with the first chunk."""
        store.client.script_flush()
        assert len(store.append_many(created(*map(customer, range(CHUNK + 1))))) == CHUNK + 1

    def test_append_many_refused(self, store: EventStore) -> None:
        """A chunk that is refused is said to be, and the store can be used as before."""
        with pytest.raises(RefusedError, match="o-7"):
            store.append_many(created(billing(1, 7)))
        store.append(Event.new("created", customer(1)))
        assert cached(store, "customer") == {"c-1": customer(1)}

    @pytest.mark.parametrize("wrong", [10, FIRST_CHUNK + 10, 2 * CHUNK])
    def test_append_many_behind_a_refusal(self, store: EventStore, wrong: int) -> None:
        """Chunks before one that is refused are appended, and nothing of it or behind it."""
        store.append_many(created(*map(order, range(FIRST_CHUNK + 2 * CHUNK))))
        bills = [billing(n, n if n != wrong else 9_999) for n in range(FIRST_CHUNK + 2 * CHUNK)]
        with pytest.raises(RefusedError, match="o-9999"):
            store.append_many(created(*bills))
        before = 0 if wrong < FIRST_CHUNK else FIRST_CHUNK + (wrong - FIRST_CHUNK) // CHUNK * CHUNK
        assert [event.entity for event in store.read("billing", "created")] == bills[:before]

    def test_append_many_with_stock_behind_a_refusal(self, store: EventStore) -> None:
        """Orders behind those for which there was too little are not placed, though for them there is enough."""
        store.append_together(created(shelf(1, 1, 0), shelf(2, 2, 9_999)))
        with pytest.raises(RefusedError, match="p-1"):
            store.append_many(created(order(0, 1), *(order(n, 2) for n in range(1, 2 * CHUNK))), mode=WITH_STOCK)
        assert cached(store, "order") == {}

    # read and tail -------------------------------------------------------------------------------------

    def test_read_between_ids(self, store: EventStore) -> None:
        """A read begins after one ID and ends with another."""
        ids = store.append_many(created(*map(customer, range(6))))
        read = [event.id for event in store.read("customer", "created", after=ids[1], until=ids[4])]
        assert read == ids[2:5]

    def test_an_event_is_read_as_it_was_written(self, store: EventStore) -> None:
        """An event that is read has its ID, topic, action, entity and event_id."""
        event = Event.new("deleted", order(1, 2, 2))
        event_id = store.append(event)
        assert list(store.read("order", "deleted")) == [
            (event_id, "order", "deleted", order(1, 2, 2), event.event_id)
        ]

    def test_tail(self, store: EventStore) -> None:
        """The tail is the last events, the oldest first; an empty stream has none."""
        store.append_many(created(*map(customer, range(6))))
        assert [event.entity for event in store.tail("customer", "created", count=2)] == [customer(4), customer(5)]
        assert store.tail("customer", "deleted") == []

    def test_a_read_that_is_left(self, store: EventStore) -> None:
        """A read that is left in the middle disturbs no later one."""
        store.append_many(created(*map(customer, range(2 * PAGE + 1))))
        for _ in range(3):
            reading = store.read("customer", "created")
            assert next(reading).entity == customer(0)
            reading.close()  # type: ignore[attr-defined]
        assert sum(1 for _ in store.read("customer", "created")) == 2 * PAGE + 1

    # replay --------------------------------------------------------------------------------------------

    def test_replay_over_many_pages(self, store: EventStore) -> None:
        """A replay merges three streams of several pages each, of uneven length, in the order of events."""
        model, events = Model(), []
        for n in range(3_500):
            action: Action = "created" if n < 1_600 else ACTIONS[n * 7 % 3]
            entity = customer(n if n < 1_600 else n * 31 % 1_600, f"name {n}")
            model.apply(action, entity)
            events.append(Event.new(action, entity))
        store.append_many(events)
        assert min(counted(store).values()) < PAGE < max(counted(store).values())
        assert streams_in_order(store, "customer") == [(event.action, event.entity) for event in events]
        assert store.replay("customer") == cached(store, "customer") == model.entities["customer"]

    @pytest.mark.parametrize("until", [None, EventId(1 << 40, 0), 1e12])
    def test_replay_is_of_one_moment(self, store: EventStore, until: EventId | float | None) -> None:
        """A replay during which a token is passed on, again and again in one step each, finds one holder."""
        holder = 0

        def pass_on(times: int = 2) -> None:
            nonlocal holder
            for _ in range(times):
                store.append_together([Event.new("deleted", customer(holder)), *created(customer(holder + 1))])
                holder += 1

        bystanders = [customer(-n) for n in range(1, 2 * PAGE)]
        store.append_many(created(*bystanders, customer(0)))
        pass_on(10)
        held = customer(holder)
        # Deletions are soon at their end, creations go on for pages.
        found = store.replay("customer", until=until, after_page=pass_on)
        assert found == {each.id: each for each in (*bystanders, held)}
        assert holder > 10

    def test_replay_of_nothing(self, store: EventStore) -> None:
        """Without any event there is no entity, and an ID before the first event has none."""
        assert store.replay("order") == {}
        store.append(Event.new("created", order(1)))
        assert store.replay("order", until=EventId(1, 1)) == {}

    def test_replay_to_any_point(self, store: EventStore) -> None:
        """A replay until an ID, or until a time, is the state after that event."""
        model = Model()
        steps: list[tuple[Action, Entity]] = [
            ("created", customer(1)),
            ("created", customer(2)),
            ("updated", customer(1, "Bea")),
            ("deleted", customer(1)),
            ("updated", customer(1, "Cleo")),
            ("created", customer(1, "Dora")),
            ("deleted", customer(2)),
        ]
        states = []
        for action, entity in steps:
            event_id = store.append(Event.new(action, entity))
            model.apply(action, entity)
            states.append((event_id, model.copy("customer")))
        for event_id, state in states:
            assert store.replay("customer", until=event_id) == state
            assert store.replay("customer", until=event_id.epoch_s) == state
        assert store.replay("customer", until=states[0][0].epoch_s - 1) == {}
        assert store.replay("customer", until=server_now(store).epoch_s) == states[-1][1]

    def test_an_update_after_a_delete(self, store: EventStore) -> None:
        """An update does not bring back what was deleted, neither in the cache nor in a replay."""
        for action in ("created", "deleted", "updated"):
            store.append(Event.new(action, customer(1)))
        assert store.replay("customer") == cached(store, "customer") == {}
        assert store.find_one("customer", "c-1") is None

    def test_foreign_entries_in_the_middle(self, store: EventStore) -> None:
        """Events before and after a foreign `XADD *` replay in their order; an update after it is not lost."""
        store.append(Event.new("created", customer(1)))
        store.client.xadd(store.keys.stream("customer", "updated"), {"other": "entry"})
        store.append(Event.new("updated", customer(1, "Bea")))
        at_bea = store.append(Event.new("created", customer(2)))
        store.client.xadd(store.keys.stream("customer", "created"), {"other": "entry"})
        store.append(Event.new("deleted", customer(2)))
        last = store.append(Event.new("updated", customer(1, "Cleo")))
        assert store.replay("customer") == cached(store, "customer") == {"c-1": customer(1, "Cleo")}
        expected = {"c-1": customer(1, "Bea"), "c-2": customer(2)}
        assert store.replay("customer", until=at_bea) == expected
        assert store.replay("customer", until=at_bea.epoch_s) == expected
        assert store.replay("customer", until=last.epoch_s) == {"c-1": customer(1, "Cleo")}

    @pytest.mark.parametrize(
        "garbage",
        [
            {"other": "entry"},
            {"entity": "not json"},
            {"entity": b"\xff\xfe", "event_id": b"\xff"},
            {"entity": '{"id": 5}'},
            {"event_id": "x", "entity": "[]"},
            {"a": "1", "b": "2", "c": "3"},
        ],
        ids=["no entity", "no json", "no utf-8", "wrong type", "list", "three fields"],
    )
    @pytest.mark.parametrize("action", ACTIONS)
    def test_garbage_is_skipped(self, store: EventStore, action: Action, garbage: dict[Any, Any]) -> None:
        """What somebody else has put into a stream is skipped by reads, tails and replays."""
        store.append(Event.new(action, customer(1)))
        store.client.xadd(store.keys.stream("customer", action), garbage)
        store.append(Event.new(action, customer(2)))
        assert [event.entity for event in store.read("customer", action)] == [customer(1), customer(2)]
        assert [event.entity for event in store.tail("customer", action)] == [customer(1), customer(2)]
        expected = {"c-1": customer(1), "c-2": customer(2)} if action == "created" else {}
        assert store.replay("customer") == expected

    def test_fields_in_another_order(self, store: EventStore) -> None:
        """An event that somebody else has written, with more fields in another order, counts as one."""
        body = '{"email":"a@b","name":"Ada","id":"c-1"}'
        store.client.xadd(
            store.keys.stream("customer", "created"), {"entity": body, "by": "hand", "event_id": "e"}
        )
        assert [(e.entity, e.event_id) for e in store.read("customer", "created")] == [
            (Customer("c-1", "Ada", "a@b"), "e")
        ]
        assert store.replay("customer") == {"c-1": Customer("c-1", "Ada", "a@b")}

    @PROPERTY
    @given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2)), min_size=1, max_size=25), st.data())
    def test_any_point_of_any_history(
        self, open_store: OpenStore, steps: list[tuple[Action, int]], data: st.DataObject
    ) -> None:
        """Any history replays, at any of its points, to what a naive model holds there."""
        store, model, events, states = open_store(), Model(), [], []
        for n, (action, number) in enumerate(steps):
            entity = order(number, *range(n % 4 + 1))
            model.apply(action, entity)
            events.append(Event.new(action, entity))
            states.append(model.copy("order"))
        ids = store.append_many(events)
        at = data.draw(st.integers(0, len(steps) - 1))
        assert store.replay("order", until=ids[at]) == states[at]
        assert store.replay("order", until=ids[at].epoch_s) == states[at]
        assert store.replay("order") == cached(store, "order") == states[-1]


# Hard times --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "append",
    [
        lambda store: store.append(Event.new("created", customer(2))),
        lambda store: store.append_together([*created(order(2)), Event.new("deleted", customer(1))]),
        lambda store: store.append_together([Event.new("deleted", customer(1)), *created(order(2))]),
        lambda store: store.append_many(created(*map(customer, range(2, 2 * CHUNK)))),
        lambda store: store.append(Event.new("created", order(2, 1)), mode=WITH_STOCK),
    ],
    ids=["one", "together", "deletion first", "many", "with stock"],
)
def test_out_of_memory(own_server: OwnServer, append: Callable[[EventStore], object]) -> None:
    """When the server has no memory left an append raises UnavailableError, and has written nothing."""
    with store_on(own_server) as store:
        store.append_together(created(customer(1), product(1), shelf(1, 1, 5), order(1, 1)))
        before = everything(store)
        store.client.config_set("maxmemory-policy", "noeviction")
        store.client.config_set("maxmemory", 1)
        with pytest.raises(UnavailableError, match="cannot serve now"):
            append(store)
        store.client.config_set("maxmemory", 0)
        assert everything(store) == before
        store.append(Event.new("created", customer(2)))


@pytest.mark.parametrize(
    "settings",
    [
        {"maxmemory-policy": "noeviction", "maxmemory": 1},
        {"min-replicas-to-write": 1},
        {"replicaof": "127.0.0.1 1"},
    ],
    ids=["out of memory", "too few replicas", "a replica"],
)
@pytest.mark.parametrize("contract", [TestEventStore, TestAsyncEventStore])
def test_a_server_that_cannot_write(
    own_server: OwnServer, contract: type[AppendContract], settings: dict[str, Any]
) -> None:
    """A server that is there and cannot write now is unavailable to an append; queries are answered."""
    with store_on(own_server) as store:
        store.append(Event.new("created", customer(1)))
        _set(store, settings)
        port = contract.opened(own_server.url, store.keys.namespace)
        for _ in range(2):
            with pytest.raises(UnavailableError, match="cannot serve now"):
                port.append(Event.new("created", customer(2)))
        for query in contract.queries(port).values():
            query()
        contract.closed(port)


@pytest.mark.parametrize("contract", [TestEventStore, TestAsyncEventStore])
def test_a_server_that_cannot_read(own_server: OwnServer, contract: type[AppendContract]) -> None:
    """A replica that has lost its master, and may not answer without, is unavailable to every query."""
    with store_on(own_server) as store:
        _set(store, {"replica-serve-stale-data": "no", "replicaof": "127.0.0.1 1"})
        port = contract.opened(own_server.url, store.keys.namespace)
        for query in contract.queries(port).values():
            with pytest.raises(UnavailableError, match="cannot serve now"):
                query()
        contract.closed(port)


def _set(store: EventStore, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if name == "replicaof":
            store.client.replicaof(*value.split())
        else:
            store.client.config_set(name, value)


@pytest.mark.parametrize(
    ("text", "is_unable"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", True),
        ("READONLY You can't write against a read only replica.", True),
        ("MISCONF Redis is configured to save RDB snapshots", True),
        ("BUSY Redis is busy running a script.", True),
        ("ERR max number of clients reached", True),
        # As Redis 6.2 says it.
        (
            "ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -OOM command not allowed",
            True,
        ),
        ("Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY You can't write", True),
        ("BUSYGROUP Consumer Group name already exists", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
        ("ERR syntax error", False),
        ("OOMPH", False),
    ],
)
def test_what_says_unable(text: str, is_unable: bool) -> None:
    """What passes is told from what does not by its first word, also where a script's place stands before it."""
    assert says_unable(text) is is_unable


def test_failed_reads_keep_no_connection(own_server: OwnServer) -> None:
    """Reads and replays that fail give their connections back."""
    with (
        store_on(own_server) as store,
        contextlib.closing(connect(f"{own_server.url}?max_connections=4")) as client,
    ):
        reader = EventStore(client, store.keys.namespace)
        stream = store.keys.stream("customer", "updated")
        store.append(Event.new("created", customer(1)))
        for _ in range(6):
            store.client.set(stream, "something else")
            for query in (lambda: list(reader.read("customer", "updated")), lambda: reader.replay("customer")):
                with pytest.raises(StoreError, match="WRONGTYPE"):
                    query()
            store.client.delete(stream)
            assert reader.replay("customer") == {"c-1": customer(1)}


def test_a_server_that_is_frozen(own_server: OwnServer) -> None:
    """While the server is frozen an append raises UnavailableError; when it goes on, a repeat appends once."""
    with store_on(own_server) as store, contextlib.closing(connect(own_server.url, timeout_s=0.1)) as hasty:
        event, cold = Event.new("created", customer(1)), EventStore(hasty, store.keys.namespace)
        own_server.freeze()
        with pytest.raises(UnavailableError):
            cold.append(event)
        with pytest.raises(UnavailableError):
            cold.append_many([event])
        own_server.thaw()
        assert store.append_many([event]) == [store.append(event)]
        assert counted(store) == {"events:{customer}_created": 1}


def test_a_server_that_is_killed() -> None:
    """What was answered is there after a crash of a server with AOF `always`, cache and all."""
    with open_own(durability="always") as own_server, store_on(own_server) as store:
        store.append(Event.new("created", shelf(1, 1, 5)))
        event = Event.new("created", order(1, 1, 1))
        event_id = store.append(event, mode=WITH_STOCK)
        own_server.kill()
        with pytest.raises(UnavailableError):
            store.append(Event.new("created", order(2, 1)), mode=WITH_STOCK)
        own_server.start()
        assert cached(store, "inventory") == store.replay("inventory") == {"s-1": shelf(1, 1, 3)}
        assert store.append(event, mode=WITH_STOCK) == event_id
        assert store.append(Event.new("created", order(2, 1)), mode=WITH_STOCK) > event_id
        assert cached(store, "inventory") == {"s-1": shelf(1, 1, 2)}


def test_how_long_an_append_waits(store: EventStore) -> None:
    """Without an answer an append is tried again after 50 and 100 ms, then given up."""
    waits: list[float] = []
    away = EventStore(connect("redis://127.0.0.1:1", timeout_s=0.2), store.keys.namespace, sleep=waits.append)
    with pytest.raises(UnavailableError):
        away.append(Event.new("created", customer(1)))
    assert waits == [0.05, 0.1]


def test_the_cache_does_not_hold_the_shops_order_of_fields(store: EventStore) -> None:
    """An order in the cache is a Hash without its list, and a List beside it, as other clients expect."""
    store.append(Event.new("created", Order("o-1", ["p-2", "p-1"], "c-1")))
    assert store.client.hgetall(store.keys.entity("order", "o-1")) == {b"id": b"o-1", b"customer_id": b"c-1"}
    assert store.client.lrange(f"{store.keys.namespace}{{order}}_product_ids:o-1", 0, -1) == [b"p-2", b"p-1"]
    assert store.client.smembers(store.keys.ids("order")) == {b"o-1"}
