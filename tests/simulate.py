"""What events add up to, in plain Python without a thought for speed: the oracle of the property tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ordershop.entities import ENTITIES, Billing, Customer, Entity, Inventory, Order, Product, Topic, topic_of
from ordershop.event_store import EventStore
from ordershop.events import ACTIONS, Action, Event


class Model:
    """The entities that events leave, by topic and id."""

    def __init__(self) -> None:
        self.entities: dict[Topic, dict[str, Entity]] = {topic: {} for topic in ENTITIES}

    def apply(self, action: Action, entity: Entity) -> None:
        """Created puts it in; updated replaces it where it is; deleted takes it out."""
        here = self.entities[topic_of(entity)]
        if action == "deleted":
            here.pop(entity.id, None)
        elif action == "created" or entity.id in here:
            here[entity.id] = entity

    def copy(self, topic: Topic) -> dict[str, Entity]:
        """The entities of a topic as they are now."""
        return dict(self.entities[topic])


def customer(number: int, text: str = "Ada") -> Customer:
    """A customer of that number."""
    return Customer(f"c-{number}", text, f"ada-{number}@example.org")


def product(number: int, price: float = 9.99) -> Product:
    """A product of that number."""
    return Product(f"p-{number}", f"product {number}", price)


def shelf(number: int, product_number: int, amount: int) -> Inventory:
    """An inventory of that number, of the product of another."""
    return Inventory(f"s-{number}", f"p-{product_number}", amount)


def order(number: int, *product_numbers: int) -> Order:
    """An order of that number, of products."""
    return Order(f"o-{number}", [f"p-{each}" for each in product_numbers or (0,)], "c-0")


def billing(number: int, order_number: int) -> Billing:
    """A billing of that number, of the order of another."""
    return Billing(f"b-{number}", f"o-{order_number}", 1_764_072_000.25)


def created(*entities: Entity) -> list[Event]:
    """An event for each entity that is created."""
    return [Event.new("created", entity) for entity in entities]


def cached(store: EventStore, topic: Topic) -> dict[str, Entity]:
    """What the entity cache holds of a topic, after a check that it names nothing twice."""
    found = list(store.find_all(topic))
    by_id = {entity.id: entity for entity in found}
    assert len(by_id) == len(found)
    return by_id


def counted(store: EventStore) -> dict[str, int]:
    """How many entries each stream has that has any."""
    names = [store.keys.stream(topic, action) for topic in ENTITIES for action in ACTIONS]
    lengths = {name.removeprefix(store.keys.namespace): int(store.client.xlen(name)) for name in names}
    return {name: length for name, length in lengths.items() if length}


def everything(store: EventStore) -> dict[str, Any]:
    """All keys of a store's namespace with what they hold, to see that nothing was written."""
    client = store.client
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"stream": client.xrange,
    }
    keys = client.scan_iter(match=store.keys.namespace + "*", count=1000)
    return {key.decode(): read[client.type(key)](key) for key in keys}


def stock(store: EventStore) -> Counter[str]:
    """How many pieces of each product lie on the shelves, by the cache; no shelf has less than none."""
    amounts: Counter[str] = Counter()
    for entity in cached(store, "inventory").values():
        assert isinstance(entity, Inventory)
        assert entity.amount >= 0
        amounts[entity.product_id] += entity.amount
    return amounts


def pieces(orders: Iterable[Entity]) -> Counter[str]:
    """How many pieces of each product some orders hold."""
    return Counter(each for one in orders if isinstance(one, Order) for each in one.product_ids)


def streams_in_order(store: EventStore, topic: Topic) -> Sequence[tuple[Action, Entity]]:
    """The events of a topic, sorted by ID."""
    found = [event for action in ACTIONS for event in store.read(topic, action)]
    return [(event.action, event.entity) for event in sorted(found, key=lambda event: event.id)]
