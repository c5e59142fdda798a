"""Delivering to a consumer group and acknowledging, with an effect that does nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from harness.server.server import Server
from ordershop.event_store import EventStore
from ordershop.events import Event
from ordershop.subscription import Delivery, Subscription

MANY = 5_000


def bench_deliver_and_acknowledge_5000(
    benchmark: Any, server: Server, store: EventStore, customers: Callable[[int], list[Event]], few_rounds: int
) -> None:
    """Five thousand events: read by a group, decoded, acknowledged."""
    store.append_many(customers(MANY))
    benchmark.extra_info["events"] = MANY
    groups = iter(range(1_000_000))

    def consume(subscription: Subscription) -> int:
        stop = threading.Event()
        seen = 0

        def effect(deliveries: Sequence[Delivery]) -> Iterable[Delivery]:
            nonlocal seen
            seen += len(deliveries)
            if seen >= MANY:
                stop.set()
            return ()

        subscription.run(effect, stop)
        return seen

    def new_group() -> tuple[tuple[Subscription], dict[str, Any]]:
        group = f"bench-{next(groups)}"
        return (Subscription(server.url, store.keys, [("customer", "created")], group=group),), {}

    assert benchmark.pedantic(consume, setup=new_group, rounds=few_rounds) == MANY
