"""The entity cache: what its answers mean, and how few round trips a query takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ordershop.entities import ENTITIES, Billing, Customer, Entity, Inventory, Order, Product, Topic
from ordershop.entity_cache import (
    PAGE,
    CacheError,
    entities_from_read,
    entity_from_hash,
    find_one_is_plain,
    read_arguments,
)
from ordershop.event_store import EventStore
from ordershop.events import Event, Keys
from tests.simulate import created, customer, order


@pytest.mark.parametrize(
    ("topic", "flat", "items", "entity"),
    [
        ("customer", [b"id", b"1", b"name", b"2", b"email", b"3@4"], [], Customer("1", "2", "3@4")),
        ("customer", [b"email", b"a@b", b"name", b"true", b"id", b"null"], [], Customer("null", "true", "a@b")),
        ("product", [b"id", b"p", b"name", b"n", b"price", b"9.99"], [], Product("p", "n", 9.99)),
        ("product", [b"id", b"p", b"name", b"n", b"price", b"10"], [], Product("p", "n", 10)),
        ("product", [b"id", b"p", b"name", b"n", b"price", b"1e-07"], [], Product("p", "n", 1e-7)),
        ("inventory", [b"id", b"s", b"product_id", b"0", b"amount", b"0"], [], Inventory("s", "0", 0)),
        ("order", [b"id", b"o", b"customer_id", b"c"], [b"2", b"1", b"2"], Order("o", ["2", "1", "2"], "c")),
        ("billing", [b"id", b"b", b"order_id", b"o", b"done", b"1.5"], [], Billing("b", "o", 1.5)),
    ],
)
def test_an_entity_from_its_hash(topic: Topic, flat: list[bytes], items: list[bytes], entity: Entity) -> None:
    """A Hash and its List are an entity with numbers as numbers and text as text, in any order of fields."""
    found = entity_from_hash(topic, flat, items)
    assert found == entity
    if isinstance(entity, Product):
        assert isinstance(found, Product)
        assert type(found.price) is type(entity.price)


@pytest.mark.parametrize("topic", ENTITIES)
def test_an_empty_hash(topic: Topic) -> None:
    """Where there is no Hash there is no entity."""
    assert entity_from_hash(topic, [], []) is None


@pytest.mark.parametrize(
    ("topic", "flat"),
    [
        ("customer", [b"id", b"1"]),
        ("product", [b"id", b"p", b"name", b"n", b"price", b"dear"]),
        ("inventory", [b"id", b"s", b"product_id", b"p", b"amount", b"-1"]),
        ("inventory", [b"id", b"s", b"product_id", b"p", b"amount", b"1.5"]),
        ("order", [b"id", b"o", b"customer_id", b"c"]),
    ],
    ids=["missing", "no number", "negative", "fraction", "no items"],
)
def test_a_hash_that_is_no_entity(topic: Topic, flat: list[bytes]) -> None:
    """A Hash that somebody else wrote raises, and says of which topic."""
    with pytest.raises(CacheError, match=topic):
        entity_from_hash(topic, flat, [])


def test_the_answer_of_a_page() -> None:
    """An answer is the next cursor and entities; an id without an entity is left out."""
    ada = [b"id", b"c-1", b"name", b"Ada", b"email", b"a@b"]
    answer = [b"17", [b"c-1", ada, []], [b"c-2", [], []]]
    assert entities_from_read("customer", answer) == (b"17", [Customer("c-1", "Ada", "a@b")])
    assert entities_from_read("customer", [b"0"]) == (b"0", [])


def test_what_to_ask_for() -> None:
    """A page is asked for by cursor, entities by their ids."""
    keys = Keys("n:")
    assert read_arguments(keys, "order", cursor=b"0") == ["n:", "order", "product_ids", b"0", PAGE]
    assert read_arguments(keys, "customer", ids=("1", "2")) == ["n:", "customer", "", "", PAGE, "1", "2"]
    assert [topic for topic in ENTITIES if not find_one_is_plain(topic)] == ["order"]


def commands_for(store: EventStore, query: Callable[[], object]) -> int:
    """How many commands clients have sent for a query."""
    query()  # connections and scripts are there afterwards
    with store.client.monitor() as monitor:
        store.client.echo("begin")
        query()
        store.client.echo("end")
        count = -1
        for each in monitor.listen():
            if each["command"] == "ECHO end":
                return count
            if count >= 0 or each["command"] == "ECHO begin":
                count += each["client_type"] != "lua"
    raise AssertionError("unreachable")


def test_round_trips(store: EventStore) -> None:
    """One entity is one round trip; all are one a page, whatever the topic, however many there are."""
    few = PAGE // 2
    store.append_many(created(*map(order, range(few)), *map(customer, range(few))))
    assert commands_for(store, lambda: store.find_one("customer", "c-1")) == 1
    assert commands_for(store, lambda: store.find_one("order", "o-1")) == 1
    assert commands_for(store, lambda: list(store.find_all("order"))) == 1
    store.append_many(created(*map(order, range(few, 4 * PAGE))))
    assert commands_for(store, lambda: store.find_one("order", "o-1")) == 1
    assert commands_for(store, lambda: list(store.find_all("order"))) <= 6


def test_a_foreign_hash_in_the_cache(store: EventStore) -> None:
    """A Hash of somebody else under an entity's name raises when it is asked for."""
    store.client.hset(store.keys.entity("customer", "c-1"), "other", "field")
    with pytest.raises(CacheError):
        store.find_one("customer", "c-1")


def test_an_id_without_an_entity(store: EventStore) -> None:
    """An id whose Hash is gone is passed over."""
    store.append_many(created(customer(1), customer(2)))
    store.client.delete(store.keys.entity("customer", "c-1"))
    assert list(store.find_all("customer")) == [customer(2)]
    assert store.find_one("customer", "c-1") is None
    store.append(Event.new("updated", customer(1)))
    assert store.find_one("customer", "c-1") == customer(1)
