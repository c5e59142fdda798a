"""What `replay` replays: events that grow in number, of OrderShop or of another system."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sized
from typing import Annotated, Literal, Protocol

import numpy as np
from msgspec import Meta, Struct

from harness.account.event_ids import event_id
from harness.conduct.conduct import ScenarioError, Stage
from harness.server.server import Server
from harness.system.target import WholeTarget
from ordershop.entities import Customer, Topic
from ordershop.event_store import EventStore
from ordershop.events import Action, Event
from scenarios.shop.shop import producer_of

TOPIC: Topic = "customer"
_CHUNK = 1_000


class Past(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen of what there is to replay.

    Attributes:
        events (events): that are replayed, at the largest of three sizes.
        deleted_share: the share, 0 to 1, of the entities that are deleted in the end.
        updated_share: the share, 0 to 1, of the events that are updates.
    """

    events: Annotated[int, Meta(ge=100, le=50_000_000)] = 100_000
    deleted_share: Annotated[float, Meta(ge=0, le=1)] = 0.1
    updated_share: Annotated[float, Meta(ge=0, le=1)] = 0.4


def events(stage: Stage, chosen: Past) -> Iterator[Event]:
    """Customers that come, change and go, each event possible when it happens; endless, from the seed."""
    generator = np.random.default_rng(stage.seed)
    producer = producer_of(stage)
    alive: list[str] = []
    number = 0
    while True:
        for draw, pick in zip(generator.random(4096), generator.random(4096), strict=True):
            number += 1
            identity = event_id(producer, number)
            action: Action = "created"
            customer_id = identity
            if alive and draw < chosen.deleted_share + chosen.updated_share:
                at = int(pick * len(alive))
                customer_id = alive[at]
                action = "updated"
                if draw < chosen.deleted_share:
                    action = "deleted"
                    alive[at] = alive[-1]
                    alive.pop()
            if action == "created":
                alive.append(customer_id)
            yield Event(action, Customer(customer_id, f"Customer {number}", "ada@example.org"), identity)


class Growing(Protocol):
    """Events that grow in number, and their replay."""

    def grow(self, size: int) -> None:
        """Append until there are so many."""
        ...

    def replay(self) -> Sized:
        """What all events add up to."""
        ...

    def compare(self) -> Compared:
        """What a replay gives, beside what there should be."""
        ...


class ShopsPast:
    """Customers of the shop."""

    def __init__(self, store: EventStore, events: Iterator[Event]) -> None:
        self._store = store
        self._events = events
        self._stored = 0

    def grow(self, size: int) -> None:
        """Append until there are so many."""
        self._store.append_many(itertools.islice(self._events, size - self._stored))
        self._stored = size

    def replay(self) -> Sized:
        """What all events add up to."""
        return self._store.replay(TOPIC)

    def compare(self) -> Compared:
        """What a replay gives, beside what there should be."""
        return compared(self._store)


class OthersPast:
    """Events of another system, each about an entity of its own."""

    def __init__(self, target: WholeTarget) -> None:
        self._target = target
        self._stored = 0

    def grow(self, size: int) -> None:
        """Append until there are so many."""
        for first in range(self._stored, size, _CHUNK):
            self._target.append_many([self._target.event(n) for n in range(first, min(first + _CHUNK, size))])
        self._stored = size

    def replay(self) -> Sized:
        """What all events add up to."""
        return self._target.replay()

    def compare(self) -> Compared:
        """What a replay gives, beside what there should be."""
        replayed = len(self.replay())
        return Compared(
            replayed=replayed, cached=self._stored, differing=abs(replayed - self._stored), beside="events"
        )


@contextlib.contextmanager
def past_of(stage: Stage, chosen: Past, server: Server) -> Iterator[Growing]:
    """The past of the system that is measured.

    Raises:
        ScenarioError: another system's wants a whole server.
    """
    if stage.system is None:
        with contextlib.closing(server.client(timeout_s=60.0)) as client:
            yield ShopsPast(EventStore(client, server.namespace), events(stage, chosen))
    elif server.namespace:
        raise ScenarioError("replay of a system other than OrderShop wants a server that the run starts")
    else:
        with contextlib.closing(stage.system.target(server.url.unmasked)) as target:
            yield OthersPast(target)


class Compared(Struct, frozen=True, kw_only=True):
    """What a replay gave, beside the entity cache.

    Attributes:
        replayed, cached: how many entities each has.
        differing: how many entities of either are not the same in the other.
        beside: what is set beside the replay: the `cache`, or the `events` that were appended, each about an
            entity of its own.
    """

    replayed: int
    cached: int
    differing: int
    beside: Literal["cache", "events"] = "cache"


def compared(store: EventStore) -> Compared:
    """What a replay of the shop gives, beside the entity cache."""
    replayed = store.replay(TOPIC)
    cached = {entity.id: entity for entity in store.find_all(TOPIC)}
    differing = sum(replayed.get(i) != cached.get(i) for i in replayed.keys() | cached.keys())
    return Compared(replayed=len(replayed), cached=len(cached), differing=differing)
