"""How fast is the past read back, and does it stay so as it grows?

A store is filled with customers that are created, updated and deleted, at several sizes. The topic is replayed to
typed entities, three streams merged in the order of events, and must come out as the entity cache has it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from statistics import median
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from harness.conducting import Findings, Stage
from harness.ledger import event_id
from harness.run import Verdict
from harness.servers import Server
from ordershop.entities import Customer
from ordershop.event_store import EventStore
from ordershop.events import Action, Event
from scenarios.shop import producer_of, server_for


class ReplayParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `replay`."""

    events: Annotated[int, Meta(ge=100, le=50_000_000)] = 100_000
    rounds: Annotated[int, Meta(ge=1, le=1_000)] = 3
    deleted_share: Annotated[float, Meta(ge=0, le=1)] = 0.1
    updated_share: Annotated[float, Meta(ge=0, le=1)] = 0.4


class Replay:
    """Replays a topic to its entities, at three sizes."""

    name = "replay"
    summary = "how fast is the past read back, and does it stay so as it grows?"
    parameters = ReplayParameters
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"events": 5_000, "rounds": 1},
        "quick": {},
        "standard": {"events": 1_000_000},
        "full": {"events": 5_000_000, "rounds": 5},
    }

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Fill, replay and compare, at a tenth, a third and all of the events."""
        chosen: ReplayParameters = parameters
        findings.closed_loop()
        sizes = sorted({max(100, chosen.events // 10), max(100, chosen.events // 3), chosen.events})
        rates = {}
        with server_for(stage, "none") as server:
            findings.server = server.describe()
            with contextlib.closing(server.client(timeout_s=60.0)) as client:
                store = EventStore(client, server.namespace)
                stored = 0
                generator = _events(stage, chosen)
                for at, size in enumerate(sizes):
                    stage.progress(at / len(sizes), f"filling up to {size:,} events")
                    store.append_many(event for event, _ in zip(generator, range(size - stored), strict=False))
                    stored = size
                    rates[size] = _measure(stage, store, size, chosen.rounds, at / len(sizes))
                    findings.figure(f"{size}.events_per_s", rates[size], "1/s")
                findings.verdicts.append(_compare(store))
                findings.figure("bytes_per_event", _bytes_per_event(server, stored), "bytes")
        findings.figure("events", float(sizes[-1]), "events")
        findings.figure("events_per_s", rates[sizes[-1]], "1/s")
        findings.figure("rate_of_all_to_a_tenth", rates[sizes[-1]] / rates[sizes[0]], "×")
        findings.headline = (
            f"{sizes[-1]:,} events were replayed to entities at {rates[sizes[-1]]:,.0f} events/s, "
            f"{rates[sizes[-1]] / rates[sizes[0]]:.2f} × the rate of {sizes[0]:,} events."
        )


def _events(stage: Stage, chosen: ReplayParameters) -> Iterator[Event]:
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


def _measure(stage: Stage, store: EventStore, size: int, rounds: int, share: float) -> float:
    """The median rate of some replays, in events per second."""
    rates = []
    for number in range(rounds):
        stage.progress(share, f"replaying {size:,} events, round {number + 1} of {rounds}")
        before_ns = stage.clock.now_ns()
        store.replay("customer")
        rates.append(size / ((stage.clock.now_ns() - before_ns) / 1e9))
    return median(rates)


def _compare(store: EventStore) -> Verdict:
    replayed = store.replay("customer")
    cached = {entity.id: entity for entity in store.find_all("customer")}
    name = "replay.equals_cache"
    if not replayed:
        return Verdict(name=name, status="UNKNOWN", detail="nothing was replayed")
    if replayed == cached:
        return Verdict(
            name=name, status="PASS", detail=f"the replay gives the {len(cached):,} entities of the cache"
        )
    differing = len(replayed.items() ^ cached.items()) if len(replayed) == len(cached) else 0
    return Verdict(
        name=name,
        status="FAIL",
        detail=f"the replay gives {len(replayed):,} entities, the cache has {len(cached):,}; {differing:,} differ",
    )


def _bytes_per_event(server: Server, events: int) -> float:
    with contextlib.closing(server.client()) as client:
        return float(client.info("memory")["used_memory"]) / events


scenario = Replay()
