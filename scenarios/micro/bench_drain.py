"""How fast a consumer works off a backlog, beside the plain loop that one would write without a subscription.

    one_stream, three_streams    read by a group, decoded, an effect that does nothing, acknowledged
    mail                         a mail for each event, by the mail service, a process of its own

The peer of the first two is redis-py's `xreadgroup` and `xack`, 500 events at a time: no decoding of what the
events say, no order over streams, no failures. The peer of the third reads alike, and posts one mail at a time, on
one connection that is kept, as the sample does.

Both sides are measured in turn in every round, so that what the machine does besides falls on both alike. Their
figures, `drain.<what>.<side>.p50` and so on, are microseconds for a thousand events.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import redis

from harness.account.event_ids import event_id
from harness.host.clock import SystemClock
from harness.server.server import Server
from ordershop.entities import Customer, Entity, Order, Topic
from ordershop.event_store import EVENT_ONLY, EventStore
from ordershop.events import Action, Event
from ordershop.services.crm import SOURCES, Crm, MailClient
from ordershop.subscription import Delivery, Effect, Subscription
from ordershop.supervisor import Service, Supervisor, free_port
from scenarios.load import EMAIL, NAME
from scenarios.micro.conftest import PROFILE
from scenarios.micro.percentiles import percentiles_us

EVENTS = {"smoke": 20_000, "quick": 60_000}.get(PROFILE, 200_000)
MAILS = {"smoke": 600, "quick": 2_000}.get(PROFILE, 6_000)
ROUNDS = {"smoke": 3, "quick": 5}.get(PROFILE, 7)
PAGE = 500

Source = tuple[Topic, Action]
Drain = Callable[[str], int]
_GROUPS = itertools.count(1)


def happened(sources: Sequence[Source], count: int) -> Iterator[Event]:
    """So many events of some sources in turn, made as `scenarios.load` makes them."""
    for number, (topic, action) in zip(range(count), itertools.cycle(sources), strict=False):
        identity = event_id(1, number)
        entity: Entity = Customer(identity, NAME, EMAIL)
        if topic == "order":
            entity = Order(identity, ["product"], event_id(1, number - number % len(sources)))
        yield Event(action, entity, identity)


def subscribed(server: Server, store: EventStore, sources: Sequence[Source], count: int, effect: Effect) -> Drain:
    """Draining by a subscription."""

    def drain(group: str) -> int:
        stop, handled = threading.Event(), 0

        def counting(deliveries: Sequence[Delivery]) -> list[Delivery]:
            nonlocal handled
            failed = list(effect(deliveries))
            handled += len(deliveries)
            if handled >= count:
                stop.set()
            return failed

        Subscription(server.url, store.keys, sources, group=group).run(counting, stop)
        return handled

    return drain


def plain(
    server: Server,
    store: EventStore,
    sources: Sequence[Source],
    count: int,
    effect: Callable[[bytes, dict[bytes, bytes]], None] | None = None,
) -> Drain:
    """Draining by redis-py, one page after the other; without an effect the events are not looked at."""
    streams = dict.fromkeys((store.keys.stream(*source) for source in sources), ">")

    def drain(group: str) -> int:
        handled = 0
        with server.client(timeout_s=60.0) as client:
            for stream in streams:
                client.xgroup_create(stream, group, id="0")
            while handled < count:
                replies: Any = client.xreadgroup(group, "1", streams, count=PAGE)
                for stream, entries in replies:
                    if effect is not None:
                        for _, fields in entries:
                            effect(stream, fields)
                    client.xack(stream, group, *(entry[0] for entry in entries))
                    handled += len(entries)
        return handled

    return drain


def in_turn(benchmark: Any, what: str, sides: dict[str, Drain], store: EventStore) -> None:
    """Drain by each side in every round, and note what a thousand events took."""
    now_ns = SystemClock().now_ns
    taken_ns: dict[str, list[int]] = {name: [] for name in sides}
    order = list(sides.items())

    def one_round() -> None:
        for name, drain in order:
            group = f"drain-{next(_GROUPS)}"
            before_ns = now_ns()
            count = drain(group)
            taken_ns[name].append((now_ns() - before_ns) * 1_000 // count)
            for source in SOURCES:  # what groups have pending makes a server slow
                with contextlib.suppress(redis.ResponseError):
                    store.client.xgroup_destroy(store.keys.stream(*source), group)
        order.reverse()

    benchmark.pedantic(one_round, rounds=ROUNDS)
    for name, taken in taken_ns.items():
        for quantile, value in percentiles_us(np.array(taken, np.int64)).items():
            benchmark.extra_info[f"drain.{what}.{name}.{quantile}"] = value


@pytest.mark.parametrize(("what", "sources"), [("one_stream", SOURCES[:1]), ("three_streams", SOURCES)])
def bench_drain(benchmark: Any, server: Server, store: EventStore, what: str, sources: Sequence[Source]) -> None:
    """A backlog of one stream, or of three in the order of events, with an effect that does nothing."""
    store.append_many(happened(sources, EVENTS), mode=EVENT_ONLY)
    sides = {
        "subscription": subscribed(server, store, sources, EVENTS, lambda _: ()),
        "plain": plain(server, store, sources, EVENTS),
    }
    in_turn(benchmark, what, sides, store)


@pytest.fixture
def mail_port(tmp_path: Path) -> Iterator[int]:
    """The port of a mail service that sends every mail, however often it is asked to."""
    port = free_port()
    with Supervisor(tmp_path / "services.log") as supervisor:
        arguments = ("--port", str(port), "--outbox", str(tmp_path / "outbox.jsonl"), "--no-idempotency")
        supervisor.start(Service("mail", "ordershop.services.mail", arguments, port))
        yield port


def bench_mails(benchmark: Any, server: Server, store: EventStore, mail_port: int) -> None:
    """A mail over HTTP for each event of the CRM's streams: the CRM's effect, and one mail at a time."""
    # Into the entity cache too, and all customers before the first order, which names one.
    events = sorted(happened(SOURCES, MAILS), key=lambda event: event.topic)
    store.append_many([event for event in events if event.action == "created"])
    store.append_many([event for event in events if event.action == "deleted"], mode=EVENT_ONLY)
    with contextlib.ExitStack() as stack:
        crm = Crm(store, stack.enter_context(contextlib.closing(MailClient(f"http://127.0.0.1:{mail_port}"))))
        connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", mail_port)))
        sides = {
            "crm": subscribed(server, store, SOURCES, MAILS, crm),
            "one_by_one": plain(server, store, SOURCES, MAILS, one_mail(store, connection)),
        }
        in_turn(benchmark, "mail", sides, store)


def one_mail(
    store: EventStore, connection: http.client.HTTPConnection
) -> Callable[[bytes, dict[bytes, bytes]], None]:
    """An effect as the sample has it: one question where one is needed, one mail, and a wait for the answer."""

    sources = {store.keys.stream(*source).encode(): source for source in SOURCES}

    def send(stream: bytes, fields: dict[bytes, bytes]) -> None:
        topic, action = sources[stream]
        entity = msgspec.json.decode(fields[b"entity"])
        message = f"{'Good-bye' if action == 'deleted' else 'Welcome'}, {entity.get('name')}."
        if topic == "order":
            message = f"thank you for order {entity['id']}: {len(entity['product_ids'])} pieces."
            found: Any = store.client.hgetall(store.keys.entity("customer", entity["customer_id"]))
            entity = {"email": found[b"email"].decode()}
        mail = {"to": entity["email"], "msg": message, "event_id": fields[b"event_id"].decode()}
        connection.request("POST", "/email", msgspec.json.encode(mail), {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        assert response.status == 200

    return send
