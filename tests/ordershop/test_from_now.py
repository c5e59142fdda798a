"""The subscriber of tutorials, whose losses the reports show: it must have exactly those."""

from __future__ import annotations

from collections.abc import Sequence

from ordershop.event_store import EventStore
from ordershop.events import Event
from ordershop.subscription import AwayError, Delivery, FromNowSubscriber
from tests.ordershop.test_subscription import CUSTOMERS, Handled, running, subscribe
from tests.simulate import created, customer
from tests.waiting import until


def from_now(store: EventStore) -> FromNowSubscriber:
    """A subscriber that waits long enough for a test to publish what it is to see."""
    pool = store.client.connection_pool.connection_kwargs
    return FromNowSubscriber(f"redis://{pool['host']}:{pool['port']}", store.keys, CUSTOMERS, block_ms=400)


def it_listens(store: EventStore) -> bool:
    """Whether somebody waits for new events."""
    return bool(store.client.info("clients")["blocked_clients"])


def test_it_sees_what_is_published_while_it_listens(store: EventStore) -> None:
    """While it listens it handles what is published, in order."""
    handled = Handled()
    with running(from_now(store), handled):
        until(lambda: it_listens(store), "it listens")
        store.append_many(created(*map(customer, range(3))))
        until(lambda: len(handled.names) == 3, "three events")
    assert handled.names == ["c-0", "c-1", "c-2"]


def test_it_loses_what_is_published_while_it_is_away(store: EventStore) -> None:
    """What was published while it was away it never sees, and the subscription that replaces it sees all."""
    handled, ours = Handled(), Handled()
    store.append_many(created(*map(customer, range(5))))
    with running(from_now(store), handled):
        until(lambda: it_listens(store), "it listens")
        store.append(Event.new("created", customer(5)))
        until(lambda: handled.names, "what is published now")
    store.append(Event.new("created", customer(6)))
    with running(subscribe(store), ours):
        until(lambda: len(ours.names) == 7, "all seven")
    assert (handled.names, ours.names) == (["c-5"], [f"c-{n}" for n in range(7)])


def test_it_loses_what_fails(store: EventStore) -> None:
    """When what it needs is away, its events are gone; it goes on with the next."""
    tried = Handled()

    def effect(deliveries: Sequence[Delivery]) -> list[Delivery]:
        tried(deliveries)
        raise AwayError("out")

    with running(from_now(store), effect):
        for n in (1, 2):
            until(lambda: it_listens(store), "it listens")
            store.append(Event.new("created", customer(n)))
            until(lambda n=n: len(tried.batches) == n, "the event")
    assert tried.names == ["c-1", "c-2"]


def test_it_skips_what_is_no_event(store: EventStore) -> None:
    """Entries of somebody else do not disturb it."""
    handled = Handled()
    with running(from_now(store), handled):
        until(lambda: it_listens(store), "it listens")
        store.client.xadd(store.keys.stream("customer", "created"), {"other": "entry"})
        until(lambda: it_listens(store), "it listens again")
        store.append(Event.new("created", customer(1)))
        until(lambda: handled.names, "the event")
    assert handled.names == ["c-1"]
