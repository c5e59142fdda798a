"""Appending, finding and replaying, each beside the bare command."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from ordershop.event_store import EVENT_ONLY, PROJECT, EventStore, Mode
from ordershop.events import Event, entity_json

MANY = 1_000

Customers = Callable[[int], list[Event]]


def _append_one(benchmark: Any, store: EventStore, events: list[Event], mode: Mode) -> None:
    left = iter(events)
    benchmark.pedantic(
        lambda event: store.append(event, mode=mode), setup=lambda: ((next(left),), {}), rounds=len(events) - 1
    )


def bench_bare_xadd(benchmark: Any, store: EventStore, customers: Customers, rounds: int) -> None:
    """An XADD as a client library sends it: what an append cannot do without."""
    fields = {"event_id": str(uuid.uuid4()), "entity": entity_json(customers(1)[0].entity)}
    stream = store.keys.stream("customer", "created")
    benchmark.pedantic(store.client.xadd, args=(stream, fields), rounds=rounds)


def bench_append_one(benchmark: Any, store: EventStore, customers: Customers, rounds: int) -> None:
    """One append: idempotent, ordered, and in the entity cache."""
    _append_one(benchmark, store, customers(rounds + 1), PROJECT)
    assert store.tail("customer", "created", count=1)


def bench_append_one_event_only(benchmark: Any, store: EventStore, customers: Customers, rounds: int) -> None:
    """One append without the entity cache."""
    _append_one(benchmark, store, customers(rounds + 1), EVENT_ONLY)
    assert store.tail("customer", "created", count=1)


def bench_bare_pipeline_1000(benchmark: Any, store: EventStore, customers: Customers, few_rounds: int) -> None:
    """A pipeline of a thousand XADDs."""
    stream = store.keys.stream("customer", "created")

    def append(events: list[Event]) -> None:
        with store.client.pipeline(transaction=False) as pipeline:
            for event in events:
                pipeline.xadd(stream, {"event_id": event.event_id, "entity": entity_json(event.entity)})
            pipeline.execute()

    benchmark.extra_info["events"] = MANY
    benchmark.pedantic(append, setup=lambda: ((customers(MANY),), {}), rounds=few_rounds)


def _append_many(benchmark: Any, store: EventStore, customers: Customers, rounds: int, mode: Mode) -> None:
    benchmark.extra_info["events"] = MANY
    benchmark.pedantic(
        lambda events: store.append_many(events, mode=mode), setup=lambda: ((customers(MANY),), {}), rounds=rounds
    )


def bench_append_many_1000(benchmark: Any, store: EventStore, customers: Customers, few_rounds: int) -> None:
    """A thousand appends in one call, into stream and entity cache."""
    _append_many(benchmark, store, customers, few_rounds, PROJECT)


def bench_append_many_1000_event_only(
    benchmark: Any, store: EventStore, customers: Customers, few_rounds: int
) -> None:
    """A thousand appends in one call, without the entity cache."""
    _append_many(benchmark, store, customers, few_rounds, EVENT_ONLY)


def bench_bare_hgetall(benchmark: Any, store: EventStore, customers: Customers, rounds: int) -> None:
    """An HGETALL as a client library sends it."""
    event = customers(1)[0]
    store.append(event)
    key = store.keys.entity("customer", event.entity.id)
    assert benchmark.pedantic(store.client.hgetall, args=(key,), rounds=rounds)


def bench_find_one(benchmark: Any, store: EventStore, customers: Customers, rounds: int) -> None:
    """One entity, typed, from the cache."""
    event = customers(1)[0]
    store.append(event)
    found = benchmark.pedantic(store.find_one, args=("customer", event.entity.id), rounds=rounds)
    assert found == event.entity


def bench_replay_10000(benchmark: Any, store: EventStore, customers: Customers, few_rounds: int) -> None:
    """Ten thousand events to entities."""
    events = customers(10_000)
    store.append_many(events)
    benchmark.extra_info["events"] = len(events)
    replayed = benchmark.pedantic(store.replay, args=("customer",), rounds=few_rounds)
    assert len(replayed) == len(events)
