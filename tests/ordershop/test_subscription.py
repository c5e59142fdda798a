"""Subscriptions: nothing is lost, nothing is handled out of order, and nothing stands still for ever."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from harness.host.clock import SystemClock
from harness.server.own import OwnServer
from ordershop.entities import Topic
from ordershop.event_store import EventStore
from ordershop.events import Action, Event, EventId, Stored
from ordershop.subscription import (
    AwayError,
    Checkpoint,
    Delivery,
    Effect,
    Merge,
    NoEvent,
    Received,
    Settings,
    Subscription,
    position_below_all_pending,
)
from tests.contracts import PROPERTY
from tests.hostile_server import WRONG, HostileServer, Plan
from tests.simulate import created, customer, order
from tests.stores import PROGRAMS, open_own, store_on
from tests.waiting import until

SOURCES: list[tuple[Topic, Action]] = [("customer", "created"), ("customer", "deleted"), ("order", "created")]
CUSTOMERS: list[tuple[Topic, Action]] = [("customer", "created")]


class Handled:
    """An effect that notes what it is given; `fails` says of which events it says that they failed."""

    def __init__(self, fails: Callable[[Delivery], bool] = lambda _: False) -> None:
        self.batches: list[list[Delivery]] = []
        self._fails = fails

    def __call__(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Note them, and answer those that failed."""
        self.batches.append(list(deliveries))
        return [delivery for delivery in deliveries if self._fails(delivery)]

    @property
    def deliveries(self) -> list[Delivery]:
        """All that was given, in order."""
        return [delivery for batch in self.batches for delivery in batch]

    @property
    def names(self) -> list[str]:
        """The ids of the entities, in order."""
        return [delivery.entity.id for delivery in self.deliveries]


def subscribe(store: EventStore, sources: Sequence[tuple[Topic, Action]] = SOURCES, **how: Any) -> Subscription:
    """A subscription of group `g` that waits for little."""
    pool = store.client.connection_pool.connection_kwargs
    url = f"redis://{pool['host']}:{pool['port']}"
    settings = Settings(**{"block_ms": 40} | {name: how.pop(name) for name in Settings._fields if name in how})
    return Subscription(url, store.keys, sources, **{"group": "g", "settings": settings, **how})


@contextlib.contextmanager
def running(
    subscription: Subscription, effect: Effect, stop: threading.Event | None = None
) -> Iterator[threading.Event]:
    """A subscription that runs in a thread until the end of the block; what it raises there is raised here."""
    ends = stop or threading.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            subscription.run(effect, ends)
        except BaseException as error:  # noqa: BLE001  # raised again below, in the test's own thread
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ends
    finally:
        ends.set()
        thread.join(10)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


def run_until(subscription: Subscription, effect: Effect, condition: Callable[[], object], what: str) -> None:
    """Let a subscription run until a condition holds."""
    with running(subscription, effect):
        until(condition, what)


def pending(store: EventStore, sources: Sequence[tuple[Topic, Action]] = SOURCES) -> int:
    """How many events the group was given and has not acknowledged."""
    return sum(int(store.client.xpending(store.keys.stream(*each), "g")["pending"]) for each in sources)


def hand_out(store: EventStore, consumer: str, count: int = 100) -> None:
    """Let a consumer of the group, which then falls silent, be given events."""
    stream = store.keys.stream("customer", "created")
    with contextlib.suppress(redis.ResponseError):
        store.client.xgroup_create(stream, "g", id="0", mkstream=True)
    store.client.xreadgroup("g", consumer, {stream: ">"}, count=count)


class Killed(BaseException):
    """The end of a process, as far as a thread can have one."""


def crash(_: Sequence[Delivery]) -> list[Delivery]:
    """An effect in which the process ends."""
    raise Killed


def come_and_go(store: EventStore, count: int) -> list[tuple[str, str]]:
    """Customers that are created, order, and are deleted, so many of each; what was published, in order."""
    events = []
    for n in range(count):
        events += created(customer(n), order(n))
        if n >= 3:
            events.append(Event.new("deleted", customer(n - 3)))
    store.append_many(events)
    return [(event.action, event.entity.id) for event in events]


def seen(handled: Handled) -> list[tuple[str, str]]:
    """What was handled, in order."""
    return [(delivery.action, delivery.entity.id) for delivery in handled.deliveries]


class ImpatientStop(threading.Event):
    """A stop that waits hardly at all, and notes how long it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait two milliseconds."""
        if timeout is not None:
            self.waits.append(timeout)
        return super().wait(0.002)


# Delivery ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 2, 7, 500])
@pytest.mark.parametrize("policy", ["at_least_once", "at_most_once"])
def test_all_in_order(store: EventStore, policy: str, page: int) -> None:
    """A backlog of many pages is delivered whole, in the order of events over three streams, each once."""
    expected, handled = come_and_go(store, 40), Handled()
    run_until(
        subscribe(store, policy=policy, page=page), handled, lambda: len(seen(handled)) >= len(expected), "all"
    )
    assert seen(handled) == expected
    assert pending(store) == 0


@pytest.mark.parametrize("page", [2, 50])
def test_all_in_order_while_more_is_published(store: EventStore, page: int) -> None:
    """What is published while a backlog is worked off is delivered in the order of events too."""
    expected, handled = come_and_go(store, 30), Handled()

    def effect(deliveries: Sequence[Delivery]) -> list[Delivery]:
        n = len(handled.batches)
        if n < 40:
            more = [*created(customer(100 + n), order(100 + n)), Event.new("deleted", customer(100 + n))]
            store.append_together(more)
            expected.extend((event.action, event.entity.id) for event in more)
        return handled(deliveries)

    store.append(Event.new("created", customer(99)))
    expected.append(("created", "c-99"))

    def is_done() -> bool:
        # A consumer that hears nothing more publishes nothing more.
        if len(seen(handled)) < len(expected):
            return False
        return pending(store) == 0

    run_until(subscribe(store, page=page), effect, is_done, "all that was published")
    assert seen(handled) == expected


@pytest.mark.parametrize("page", [3, 500])
def test_order_after_a_crash(store: EventStore, page: int) -> None:
    """What a crashed consumer held of one stream is handled in order with what is new in the others."""
    expected, handled = come_and_go(store, 20), Handled()
    with pytest.raises(Killed):
        subscribe(store, page=8).run(crash, threading.Event())
    assert pending(store) == 3 * 8
    run_until(subscribe(store, page=page), handled, lambda: len(seen(handled)) >= len(expected), "all")
    assert seen(handled) == expected


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_step_that_wakes_a_waiting_consumer(name: str) -> None:
    """Events that one step appends to several streams arrive in order at a consumer that waits for them."""
    with open_own(name) as one, store_on(one) as store:
        handled = Handled()
        with running(subscribe(store, block_ms=600), handled):
            until(lambda: store.client.info("clients")["blocked_clients"], "the consumer waits")
            events = [
                *created(customer(1)),
                Event.new("deleted", customer(1)),
                *created(customer(1)),
                Event.new("deleted", customer(1)),
                *created(order(1)),
            ]
            store.append_together(events)
            until(lambda: len(handled.names) >= 5, "five events")
        assert [delivery.event_id for delivery in handled.deliveries] == [event.event_id for event in events]


def test_a_delivery_says_what_was_published(store: EventStore) -> None:
    """A delivery has the event's ID, topic, action, entity and event_id, and where it stands."""
    event = Event.new("deleted", customer(1))
    event_id = store.append(event)
    handled = Handled()
    run_until(subscribe(store), handled, lambda: handled.batches, "a delivery")
    stream = store.keys.stream("customer", "deleted")
    assert handled.deliveries == [
        (event_id, "customer", "deleted", customer(1), event.event_id, stream, str(event_id).encode())
    ]


def test_what_was_published_before_the_group(store: EventStore) -> None:
    """A group begins at the start of its streams, so what was published before its first start is delivered."""
    store.append(Event.new("created", customer(1)))
    handled = Handled()
    run_until(subscribe(store), handled, lambda: handled.names == ["c-1"], "the event from before")


def test_what_is_published_while_it_is_away(store: EventStore) -> None:
    """What is published between two runs is delivered in the second, and nothing a second time."""
    handled = Handled()
    for n in range(3):
        store.append(Event.new("created", customer(n)))
        run_until(
            subscribe(store), handled, lambda n=n: len(handled.names) > n and not pending(store), "the next event"
        )
    assert handled.names == ["c-0", "c-1", "c-2"]


def test_replicas_share_the_events(store: EventStore) -> None:
    """Of two consumers of a group each event reaches one."""
    one, other = Handled(), Handled()
    with (
        running(subscribe(store, CUSTOMERS, consumer="1", page=3), one),
        running(subscribe(store, CUSTOMERS, consumer="2", page=3), other),
    ):
        for n in range(60):
            store.append(Event.new("created", customer(n)))
        until(lambda: len(one.names) + len(other.names) >= 60, "60 events")
    assert sorted(one.names + other.names) == sorted(f"c-{n}" for n in range(60))


def test_acknowledged_after_the_effect(store: EventStore) -> None:
    """At-least-once: during the effect the events are pending, after it they are not."""
    store.append_many(created(customer(1), customer(2)))
    during: list[int] = []

    def effect(_: Sequence[Delivery]) -> list[Delivery]:
        during.append(pending(store, CUSTOMERS))
        return []

    run_until(subscribe(store, CUSTOMERS), effect, lambda: during and not pending(store, CUSTOMERS), "the effect")
    assert during == [2]


def test_at_most_once_forgets_at_once(store: EventStore) -> None:
    """At-most-once: during the effect nothing is pending, and what a crash had in hand never comes again."""
    store.append_many(created(customer(1), customer(2)))
    during: list[int] = []

    def look_and_crash(deliveries: Sequence[Delivery]) -> list[Delivery]:
        during.append(pending(store, CUSTOMERS))
        return crash(deliveries)

    with pytest.raises(Killed):
        subscribe(store, CUSTOMERS, policy="at_most_once").run(look_and_crash, threading.Event())
    store.append(Event.new("created", customer(3)))
    handled = Handled(fails=lambda _: True)
    run_until(subscribe(store, CUSTOMERS, policy="at_most_once"), handled, lambda: handled.batches, "the next")
    assert (during, handled.names) == ([0], ["c-3"])


class StopAfter(threading.Event):
    """A stop that comes during the first effect, or after so many looks that there will be none."""

    def __init__(self, looks: int = 50) -> None:
        super().__init__()
        self._looks_left = looks

    def is_set(self) -> bool:
        """Whether to end."""
        self._looks_left -= 1
        return super().is_set() or self._looks_left < 0

    def during(self, effect: Effect) -> Effect:
        """An effect that sets it."""

        def stopping(deliveries: Sequence[Delivery]) -> Iterable[Delivery]:
            self.set()
            return effect(deliveries)

        return stopping


def test_at_most_once_loses_nothing_at_a_stop(store: EventStore) -> None:
    """At-most-once: what the server has handed out and forgotten has its effect before a stop ends the loop."""
    expected, handled = come_and_go(store, 40), Handled()
    count = -1
    while len(handled.names) > count:
        count, stop = len(handled.names), StopAfter()
        subscribe(store, policy="at_most_once", page=8).run(stop.during(handled), stop)
    assert sorted(seen(handled)) == sorted(expected)
    assert seen(handled)[:8] == expected[:8]


def test_at_most_once_at_a_stop_with_a_raising_effect(store: EventStore) -> None:
    """At-most-once: of what came before a stop only that has no effect whose own effect raises."""
    expected, stop = come_and_go(store, 5), StopAfter()
    handled = Raises(lambda each: each.entity.id == "o-2")
    subscribe(store, policy="at_most_once").run(stop.during(handled), stop)
    assert handled.done == [name for _, name in expected if name != "o-2"]


@pytest.mark.parametrize("page", [8, 500])
def test_at_most_once_loses_nothing_that_came(store: EventStore, page: int) -> None:
    """At-most-once: what had come when the connection is lost has its effect, once, and the rest comes later."""
    expected, handled = come_and_go(store, 200), Handled()

    def effect(deliveries: Sequence[Delivery]) -> Iterable[Delivery]:
        # During an effect nothing is under way.
        store.client.client_kill_filter(_type="normal", skipme=True)
        return handled(deliveries)

    run_until(
        subscribe(store, policy="at_most_once", page=page),
        effect,
        lambda: len(handled.names) >= len(expected),
        "all events",
    )
    assert sorted(seen(handled)) == sorted(expected)


# After a crash -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [3, 500])
def test_own_pending_first(store: EventStore, page: int) -> None:
    """A consumer that crashed in an effect begins with what it had in hand, then takes what is new."""
    store.append_many(created(*map(customer, range(8))))
    with pytest.raises(Killed):
        subscribe(store, CUSTOMERS).run(crash, threading.Event())
    assert pending(store, CUSTOMERS) == 8
    store.append(Event.new("created", customer(8)))
    handled = Handled()
    run_until(subscribe(store, CUSTOMERS, page=page), handled, lambda: len(handled.names) >= 9, "all nine")
    assert handled.names == [f"c-{n}" for n in range(9)]
    assert pending(store, CUSTOMERS) == 0


@pytest.mark.parametrize("page", [2, 500])
def test_a_dead_consumers_events_are_claimed(store: EventStore, page: int) -> None:
    """What a consumer was given that never came back is taken over by another, to the last page, each once."""
    store.append_many(created(*map(customer, range(7))))
    hand_out(store, "dead")
    handled = Handled()
    run_until(
        subscribe(store, CUSTOMERS, claim_after_ms=60, page=page),
        handled,
        lambda: len(handled.names) >= 7 and not pending(store, CUSTOMERS),
        "seven events",
    )
    assert handled.names == [f"c-{n}" for n in range(7)]


def test_a_slow_consumers_events_are_not_claimed(store: EventStore) -> None:
    """What a live consumer still works on, for less than `claim_after_ms`, is not given to another."""
    store.append(Event.new("created", customer(1)))
    slow, quick, go_on = Handled(), Handled(), threading.Event()

    def slowly(deliveries: Sequence[Delivery]) -> list[Delivery]:
        slow(deliveries)
        go_on.wait(10)
        return []

    with running(subscribe(store, CUSTOMERS, consumer="slow"), slowly):
        until(lambda: slow.batches, "the slow consumer has begun")
        with running(subscribe(store, CUSTOMERS, consumer="quick", block_ms=5), quick):
            for n in range(2, 12):
                store.append(Event.new("created", customer(n)))
                until(lambda n=n: len(quick.names) == n - 1, "the quick consumer goes on")
        go_on.set()
    assert (slow.names, quick.names) == (["c-1"], [f"c-{n}" for n in range(2, 12)])
    assert pending(store, CUSTOMERS) == 0


def test_what_waits_is_not_claimed_by_itself(store: EventStore) -> None:
    """Events that wait for their turn longer than `claim_after_ms` are handled once, in order."""
    expected, handled = come_and_go(store, 30), Handled()
    run_until(
        subscribe(store, page=3, claim_after_ms=1), handled, lambda: len(seen(handled)) >= len(expected), "all"
    )
    assert seen(handled) == expected


# Failures ----------------------------------------------------------------------------------------------


def test_a_poison_event_is_parked(store: EventStore) -> None:
    """An event that always fails is parked after `max_deliveries`, while all others are handled, once."""
    handled = Handled(fails=lambda delivery: delivery.entity.id == "c-3")
    store.append_many(created(*map(customer, range(6))))
    subscription = subscribe(store, max_deliveries=3, page=2, block_ms=5)
    with running(subscription, handled):
        until(lambda: store.client.xlen(subscription.parked), "it is parked")
        store.append(Event.new("created", customer(6)))
        until(lambda: "c-6" in handled.names and not pending(store), "the rest")
    assert {name: handled.names.count(name) for name in handled.names} == {
        f"c-{n}": 3 if n == 3 else 1 for n in range(7)
    }
    [(_, parked)] = store.client.xrange(subscription.parked)
    poison = next(delivery for delivery in handled.deliveries if delivery.entity.id == "c-3")
    assert parked == {
        b"stream": poison.stream.encode(),
        b"id": poison.raw_id,
        b"event_id": poison.event_id.encode(),
        b"deliveries": b"3",
        b"reason": b"the effect answered it as failed",
    }


def test_what_cannot_be_parked_is_not_acknowledged(store: EventStore) -> None:
    """Where the server takes no parked event, poison stays pending, and the consumer says what was refused."""
    store.append(Event.new("created", customer(3)))
    subscription = subscribe(store, CUSTOMERS, max_deliveries=2, block_ms=5)
    store.client.set(subscription.parked, "not a stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        subscription.run(Handled(fails=lambda _: True), threading.Event())
    assert pending(store, CUSTOMERS) == 1
    assert store.client.get(subscription.parked) == b"not a stream"


def test_a_failure_that_passes(store: EventStore) -> None:
    """An event that fails twice and then succeeds is acknowledged, and not parked."""
    store.append(Event.new("created", customer(1)))
    handled = Handled(fails=lambda _: len(handled.batches) < 3)
    subscription = subscribe(store, max_deliveries=5, block_ms=5)
    run_until(subscription, handled, lambda: len(handled.batches) == 3 and not pending(store), "the third try")
    assert handled.names == ["c-1"] * 3
    assert store.client.exists(subscription.parked) == 0


def test_an_event_that_was_delivered_very_often(store: EventStore) -> None:
    """An event that thousands of restarts have seen is parked at its next failure, and stops nothing."""
    store.append_many(created(customer(1), customer(2)))
    hand_out(store, "1")
    stream, raw = store.keys.stream("customer", "created"), store.tail("customer", "created")[0].id
    store.client.xclaim(stream, "g", "1", 0, [str(raw)], retrycount=5_000)
    handled = Handled(fails=lambda delivery: delivery.entity.id == "c-1")
    subscription = subscribe(store, CUSTOMERS)
    run_until(subscription, handled, lambda: not pending(store, CUSTOMERS), "all is acknowledged")
    assert handled.names == ["c-1", "c-2"]
    assert store.client.xlen(subscription.parked) == 1


def test_a_failed_event_that_another_has_handled(store: EventStore) -> None:
    """When another consumer has taken over what failed here, this one neither spins nor stops to listen."""
    store.append(Event.new("created", customer(1)))
    stream = store.keys.stream("customer", "created")

    def taken_away(delivery: Delivery) -> bool:
        if delivery.entity.id != "c-1":
            return False
        return bool(store.client.xack(stream, "g", delivery.raw_id))

    handled = Handled(fails=taken_away)
    with running(subscribe(store, CUSTOMERS, block_ms=20), handled):
        until(lambda: handled.batches, "the failure")
        for n in (2, 3):
            store.append(Event.new("created", customer(n)))
            until(lambda n=n: f"c-{n}" in handled.names, "what is new")
        reads = store.client.info("commandstats")["cmdstat_xreadgroup"]["calls"]
        for _ in range(10):  # ten waits of 20 ms by the server's own clock
            assert not store.client.execute_command("XREAD", "BLOCK", 20, "STREAMS", "nothing", "$")
        calls = store.client.info("commandstats")["cmdstat_xreadgroup"]["calls"] - reads
    assert calls < 200


def test_what_is_away_is_waited_for(store: EventStore, caplog: pytest.LogCaptureFixture) -> None:
    """While the effect says that what it needs is away, the same events wait, and nothing counts against them."""
    store.append_many(created(customer(1), customer(2)))
    handled = Handled()

    def effect(deliveries: Sequence[Delivery]) -> list[Delivery]:
        handled(deliveries)
        if len(handled.batches) <= 12:
            raise AwayError("the mail service is out")
        return []

    stop = ImpatientStop()
    subscription = subscribe(store, CUSTOMERS, max_deliveries=2)
    with running(subscription, effect, stop):
        until(lambda: len(handled.batches) > 6, "some tries")
        times = store.client.xpending_range(store.keys.stream("customer", "created"), "g", "-", "+", 10)
        until(lambda: len(handled.batches) == 13 and not pending(store, CUSTOMERS), "success")
    assert all(batch == handled.batches[0] for batch in handled.batches)
    assert {each["times_delivered"] for each in times} <= {1}
    assert store.client.exists(subscription.parked) == 0
    assert stop.waits[:7] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert [record.message for record in caplog.records if "mail service" in record.message] == [
        "g: the mail service is out; waiting"
    ]


def test_a_stop_while_something_is_away(store: EventStore) -> None:
    """Told to stop while it waits for what is away, it ends at once, and the events stay pending."""
    store.append(Event.new("created", customer(1)))
    handled = Handled()

    def effect(deliveries: Sequence[Delivery]) -> list[Delivery]:
        handled(deliveries)
        raise AwayError("out")

    with running(subscribe(store, CUSTOMERS), effect):
        until(lambda: handled.batches, "a try")
    assert pending(store, CUSTOMERS) == 1


def test_entries_that_are_no_events(store: EventStore, caplog: pytest.LogCaptureFixture) -> None:
    """Entries of somebody else are skipped and acknowledged, and what follows them is delivered."""
    stream = store.keys.stream("customer", "created")
    store.append(Event.new("created", customer(1)))
    for fields in ({"other": "entry"}, {"entity": "not json"}, {"entity": b"\xff"}):
        store.client.xadd(stream, fields)
    store.append(Event.new("created", customer(2)))
    handled = Handled()
    run_until(subscribe(store), handled, lambda: len(handled.names) == 2 and not pending(store), "both events")
    assert handled.names == ["c-1", "c-2"]
    assert "g: skipped 3 entries that are no events, or were trimmed" in [r.message for r in caplog.records]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("consumer", ["1", "dead"])
def test_trimmed_pending_entries(name: str, consumer: str) -> None:
    """Events that were trimmed while a consumer had them in hand hold up nobody, and do not stay pending."""
    with open_own(name) as one, store_on(one) as store:
        handled = Handled()
        store.append_many(created(customer(1), customer(2)))
        hand_out(store, consumer)
        store.client.xtrim(store.keys.stream("customer", "created"), maxlen=0, approximate=False)
        store.append(Event.new("created", customer(3)))
        run_until(
            subscribe(store, CUSTOMERS, claim_after_ms=30),
            handled,
            lambda: handled.names and not pending(store, CUSTOMERS),
            "nothing is pending",
        )
        assert handled.names == ["c-3"]


# Effects that raise -------------------------------------------------------------------------------------


class Raises(Handled):
    """An effect that notes what it is given, raises where some of it is poisonous, and else handles it all."""

    def __init__(self, is_poisonous: Callable[[Delivery], bool]) -> None:
        super().__init__()
        self.done: list[str] = []
        self._is_poisonous = is_poisonous

    def __call__(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Note them, and raise or handle them all."""
        super().__call__(deliveries)
        for delivery in deliveries:
            if self._is_poisonous(delivery):
                raise ValueError(f"{delivery.entity.id} is poisonous")
        self.done += [delivery.entity.id for delivery in deliveries]
        return []


@pytest.mark.parametrize("sources", [CUSTOMERS, SOURCES])
def test_an_effect_that_raises(
    store: EventStore, sources: list[tuple[Topic, Action]], caplog: pytest.LogCaptureFixture
) -> None:
    """Of a batch whose effect raises, those it raises for alone are parked, the others are handled, each once."""
    store.append_many(created(*map(customer, range(9))))
    effect = Raises(lambda delivery: delivery.entity.id in {"c-3", "c-7"})
    subscription = subscribe(store, sources, max_deliveries=3)
    with running(subscription, effect):
        until(lambda: store.client.xlen(subscription.parked) == 2, "two are parked")
        store.append(Event.new("created", customer(9)))
        until(lambda: "c-9" in effect.done and not pending(store, sources), "the rest")
    assert effect.done == [f"c-{n}" for n in range(10) if n not in {3, 7}]
    alone = [batch[0].entity.id for batch in effect.batches if len(batch) == 1]
    assert (alone.count("c-3"), alone.count("c-7")) == (3, 3)
    parked = [fields for _, fields in store.client.xrange(subscription.parked)]
    assert [each[b"reason"] for each in parked] == [
        b"ValueError('c-3 is poisonous')",
        b"ValueError('c-7 is poisonous')",
    ]
    poison = {each.event_id for each in effect.deliveries if each.entity.id in {"c-3", "c-7"}}
    said = [record for record in caplog.records if record.exc_info]
    assert sorted(record.message for record in said) == sorted(
        f"g: the effect of {each} raised" for each in poison
    )


def test_an_effect_that_raises_once(store: EventStore) -> None:
    """A batch that raises as a whole and then for none of its events alone leaves nothing behind."""
    store.append_many(created(*map(customer, range(5))))
    effect = Raises(lambda _: len(effect.batches) == 1)
    subscription = subscribe(store, CUSTOMERS)
    run_until(subscription, effect, lambda: len(effect.done) == 5 and not pending(store, CUSTOMERS), "all five")
    assert effect.done == [f"c-{n}" for n in range(5)]
    assert store.client.exists(subscription.parked) == 0


def test_an_effect_that_raises_at_most_once(store: EventStore) -> None:
    """At-most-once: what the effect raises for is gone, and the loop goes on."""
    store.append_many(created(*map(customer, range(4))))
    effect = Raises(lambda delivery: delivery.entity.id == "c-2")
    run_until(
        subscribe(store, CUSTOMERS, policy="at_most_once"), effect, lambda: "c-3" in effect.done, "the one behind"
    )
    assert (effect.done, effect.names.count("c-2")) == (["c-0", "c-1", "c-3"], 2)


def test_an_effect_that_raises_while_something_is_away(store: EventStore) -> None:
    """What is away while events are tried alone is waited for, and none of those that are done is tried again."""
    store.append_many(created(*map(customer, range(4))))
    answers = iter([ValueError("together"), None, AwayError("out"), AwayError("out"), None, None, None])
    tried: list[list[str]] = []

    def effect(deliveries: Sequence[Delivery]) -> list[Delivery]:
        tried.append([delivery.entity.id for delivery in deliveries])
        answer = next(answers)
        if answer is not None:
            raise answer
        return []

    with running(subscribe(store, CUSTOMERS), effect, ImpatientStop()):
        until(lambda: len(tried) == 7 and not pending(store, CUSTOMERS), "all four")
    assert tried == [["c-0", "c-1", "c-2", "c-3"], ["c-0"], ["c-1"], ["c-1"], ["c-1"], ["c-2"], ["c-3"]]


# Others take over --------------------------------------------------------------------------------------


class LeapingTime:
    """Monotonic seconds, of which some pass at once."""

    def __init__(self) -> None:
        self.leapt_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return SystemClock().now_ns() / 1e9 + self.leapt_s


def take_over(store: EventStore, count: int) -> list[bytes]:
    """Let another consumer claim the first pending events of the group."""
    stream = store.keys.stream("customer", "created")
    ids = [each["message_id"] for each in store.client.xpending_range(stream, "g", "-", "+", count)]
    store.client.xclaim(stream, "g", "other", 0, ids)
    return ids


@pytest.mark.parametrize("is_acknowledged", [False, True])
def test_a_zombie(store: EventStore, is_acknowledged: bool) -> None:
    """Who waited for longer than the claim time leaves to others what they took over, and handles the rest."""
    store.append_many(created(*map(customer, range(5))))
    handled, time = Handled(), LeapingTime()
    stream = store.keys.stream("customer", "created")

    def effect(deliveries: Sequence[Delivery]) -> list[Delivery]:
        handled(deliveries)
        if len(handled.batches) == 1:
            ids = take_over(store, 2)
            if is_acknowledged:
                store.client.xack(stream, "g", *ids)
            time.leapt_s += 60.0
            raise AwayError("the mail service is out")
        return []

    with running(subscribe(store, CUSTOMERS, clock=time), effect, ImpatientStop()):
        until(lambda: len(handled.batches) == 2, "the second try")
        until(lambda: pending(store, CUSTOMERS) == (0 if is_acknowledged else 2), "the rest is acknowledged")
    assert [each.entity.id for each in handled.batches[1]] == ["c-2", "c-3", "c-4"]


def test_who_waits_is_not_robbed(store: EventStore) -> None:
    """While what the effect needs is away a live consumer holds on to its events, which count no delivery."""
    store.append_many(created(customer(1), customer(2)))
    away, other = Handled(), Handled()

    def effect(deliveries: Sequence[Delivery]) -> list[Delivery]:
        away(deliveries)
        if not other_has_looked.is_set():
            raise AwayError("out")
        return []

    other_has_looked = threading.Event()
    with running(subscribe(store, CUSTOMERS, claim_after_ms=400), effect, ImpatientStop()):
        until(lambda: away.batches, "it waits")
        with running(subscribe(store, CUSTOMERS, consumer="other", claim_after_ms=400, block_ms=20), other):
            claims = store.client.info("commandstats").get("cmdstat_xautoclaim", {"calls": 0})["calls"]
            until(
                lambda: (
                    store.client.info("commandstats").get("cmdstat_xautoclaim", {"calls": 0})["calls"]
                    >= claims + 5
                ),
                "the other has looked five times",
            )
        [row, _] = store.client.xpending_range(store.keys.stream("customer", "created"), "g", "-", "+", 10)
        other_has_looked.set()
        until(lambda: not pending(store, CUSTOMERS), "the effect")
    assert other.names == []
    assert (row["consumer"], row["times_delivered"]) == (b"1", 1)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_consumer_that_is_deleted(store: EventStore, seconds: float) -> None:
    """What a live consumer has in hand is handled though the consumer is deleted, be it after the claim time."""
    store.append_many(created(*map(customer, range(4))))
    time, stream = LeapingTime(), store.keys.stream("customer", "created")

    def delete(delivery: Delivery) -> bool:
        if len(handled.batches) == 1 and delivery.entity.id == "c-0":
            assert store.client.xgroup_delconsumer(stream, "g", "1") == 4
            time.leapt_s += seconds
            return False
        return delivery.entity.id == "c-2" and handled.names.count("c-2") < 3

    handled = Handled(fails=delete)
    with running(subscribe(store, CUSTOMERS, block_ms=5, clock=time), handled):
        until(lambda: handled.names.count("c-2") == 3, "the third try of what fails")
    assert [handled.names.count(f"c-{n}") for n in range(4)] == [1, 1, 3, 1]


def test_a_lost_acknowledgement(own_server: OwnServer) -> None:
    """When the connection is lost between effect and acknowledgement the effect is not repeated."""
    with store_on(own_server) as store:
        store.append_many(created(*map(customer, range(3))))
        handled = Handled()

        def effect(deliveries: Sequence[Delivery]) -> list[Delivery]:
            for client in store.client.client_list():
                if client["cmd"] == "xreadgroup":
                    store.client.client_kill_filter(_id=client["id"])
            return handled(deliveries)

        with running(subscribe(store, CUSTOMERS), effect, ImpatientStop()):
            until(lambda: handled.names and not pending(store, CUSTOMERS), "it is acknowledged")
            store.append(Event.new("created", customer(3)))
            until(lambda: "c-3" in handled.names, "the next")
    assert handled.names == [f"c-{n}" for n in range(4)]


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 300))])
def test_kills_at_any_moment(store: EventStore, seed: int) -> None:
    """However often consumers are killed in mid batch nothing is lost, and only what was in hand comes twice."""
    chance = random.Random(seed)
    expected = {name for _, name in come_and_go(store, 40)}
    done: list[tuple[str, str]] = []
    excused: set[tuple[str, str]] = set()
    kills_left = 30

    def effect(deliveries: Sequence[Delivery]) -> list[Delivery]:
        nonlocal kills_left
        names = [(delivery.action, delivery.entity.id) for delivery in deliveries]
        if kills_left and chance.random() < 0.5:
            kills_left -= 1
            names = names[: chance.randrange(len(names) + 1)]
            done.extend(names)
            excused.update(names)
            raise Killed
        done.extend(names)
        return []

    def is_drained() -> bool:
        return {name for _, name in done} == expected and not pending(store)

    for life in range(31):  # one more than kills
        page = chance.choice([2, 3, 7, 500])
        subscription = subscribe(store, consumer=str(life % 2), page=page, block_ms=5, claim_after_ms=40)
        stop = StopWhen(is_drained)
        with contextlib.suppress(Killed):
            subscription.run(effect, stop)
    assert is_drained()
    assert sorted(set(done)) == sorted((each.action, each.entity.id) for each in all_events(store))
    assert {each for each in done if done.count(each) > 1} <= excused


class StopWhen(threading.Event):
    """A stop that is set once a condition holds, or after so many looks that it never will."""

    def __init__(self, condition: Callable[[], bool], looks: int = 2_000) -> None:
        super().__init__()
        self._condition = condition
        self._looks_left = looks

    def is_set(self) -> bool:
        """Whether the condition holds."""
        self._looks_left -= 1
        return self._condition() or self._looks_left < 0


def all_events(store: EventStore) -> list[Stored]:
    """All events of the sources."""
    return [event for source in SOURCES for event in store.read(*source)]


# The position ------------------------------------------------------------------------------------------


def test_the_checkpoint_file(store: EventStore, tmp_path: Path) -> None:
    """At the end the file holds the last acknowledged ID of each stream, and nothing else lies beside it."""
    path = tmp_path / "g.json"
    ids = store.append_many([*created(customer(1), customer(2)), Event.new("deleted", customer(1))])
    handled = Handled()
    run_until(subscribe(store, checkpoint=path), handled, lambda: len(handled.names) == 3, "three events")
    assert json.loads(path.read_bytes()) == {
        store.keys.stream("customer", "created"): str(ids[1]),
        store.keys.stream("customer", "deleted"): str(ids[2]),
        store.keys.stream("order", "created"): "0-0",
    }
    assert list(tmp_path.iterdir()) == [path]


def test_the_checkpoint_is_below_what_is_pending(store: EventStore, tmp_path: Path) -> None:
    """What failed and waits to be tried again lies above the saved position."""
    path = tmp_path / "g.json"
    ids = store.append_many(created(*map(customer, range(4))))
    handled = Handled(fails=lambda delivery: delivery.entity.id == "c-2")
    run_until(
        subscribe(store, CUSTOMERS, checkpoint=path, max_deliveries=99), handled, lambda: handled.batches, "a try"
    )
    position = EventId.parse(json.loads(path.read_bytes())[store.keys.stream("customer", "created")])
    assert ids[1] <= position < ids[2]


def test_a_checkpoint_without_a_file(tmp_path: Path) -> None:
    """Without a path, or before the first save, there is no position; a save replaces the one before."""
    Checkpoint(None).save({"a": "1-1"})
    assert Checkpoint(None).load() == {}
    checkpoint = Checkpoint(tmp_path / "x.json")
    assert checkpoint.load() == {}
    for position in ("1-1", "1-2"):
        checkpoint.save({"a": position})
        assert checkpoint.load() == {"a": position}


@pytest.mark.parametrize(
    ("last_delivered", "smallest_pending", "position"),
    [
        ("0-0", None, "0-0"),
        ("5-7", None, "5-7"),
        ("5-7", "5-7", "5-6"),
        ("5-7", "5-0", f"4-{2**64 - 1}"),
        ("5-7", "5-8", "5-7"),
    ],
)
def test_position_below_all_pending(last_delivered: str, smallest_pending: str | None, position: str) -> None:
    """The position is the ID before the smallest pending one, or the last delivered where nothing is."""
    assert position_below_all_pending(last_delivered, smallest_pending) == position


@given(
    st.sets(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1), st.sets(st.integers(0, 15)), st.data()
)
@PROPERTY
def test_the_position_loses_and_repeats_little(
    ids: set[tuple[int, int]], places: set[int], data: st.DataObject
) -> None:
    """All pending events lie above the position, and all that are below the first pending one lie below it."""
    delivered = sorted(EventId(*each) for each in ids)
    waiting = [event_id for place, event_id in enumerate(delivered) if place in places]
    smallest = str(waiting[0]) if waiting else None
    position = EventId.parse(position_below_all_pending(str(delivered[-1]), smallest))
    again = [event_id for event_id in delivered if event_id > position]
    assert set(waiting) <= set(again)
    assert again == (delivered[delivered.index(waiting[0]) :] if waiting else [])


# The server goes and comes -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_server_that_lost_everything(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After FLUSHALL under a waiting consumer the group is made again, and it goes on."""
    with open_own(name) as one, store_on(one) as store:
        handled, path = Handled(), tmp_path / "g.json"
        store.append(Event.new("created", customer(1)))
        run_until(subscribe(store, checkpoint=path), handled, lambda: handled.names, "one")
        with running(subscribe(store, checkpoint=path), handled):
            until(lambda: store.client.info("clients")["blocked_clients"], "the consumer waits")
            store.client.flushall()
            store.append(Event.new("created", customer(2)))
            until(lambda: len(handled.names) == 2, "the event after the loss")
        assert handled.names == ["c-1", "c-2"]
        assert sum("the group is gone" in r.message for r in caplog.records) <= 2


def test_a_server_that_begins_again_with_smaller_ids(own_server: OwnServer, tmp_path: Path) -> None:
    """When a server comes back empty and names its events from before the checkpoint on, none is skipped."""
    with store_on(own_server) as store:
        handled, path, stream = Handled(), tmp_path / "g.json", store.keys.stream("customer", "created")
        # Named by milliseconds, which is a thousand times the store's own seconds; the store goes on behind it.
        store.client.xadd(stream, {"somebody": "else"})
        store.append(Event.new("created", customer(1)))
        with running(subscribe(store, CUSTOMERS, checkpoint=path), handled, ImpatientStop()):
            until(lambda: handled.names == ["c-1"] and not pending(store, CUSTOMERS), "the first")
            until(path.exists, "a checkpoint")
            until(lambda: not json.loads(path.read_bytes())[stream].startswith("0-"), "its position")
            own_server.kill()
            own_server.start()
            store.append(Event.new("created", customer(2)))
            until(lambda: handled.names == ["c-1", "c-2"], "the event with the smaller ID")
        store.append(Event.new("created", customer(3)))
        run_until(
            subscribe(store, CUSTOMERS, checkpoint=path), handled, lambda: "c-3" in handled.names, "the third"
        )
        assert handled.names == ["c-1", "c-2", "c-3"]


def test_a_group_made_again_skips_what_was_handled(
    store: EventStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When only the groups are lost, a new group begins at the checkpoint: nothing is handled twice, or lost."""
    caplog.set_level(logging.INFO, "ordershop")
    store.append_many(created(*map(customer, range(3))))
    handled, path = Handled(), tmp_path / "g.json"
    run_until(
        subscribe(store, checkpoint=path),
        handled,
        lambda: len(handled.names) == 3 and not pending(store),
        "three events",
    )
    store.client.xgroup_destroy(store.keys.stream("customer", "created"), "g")
    store.append(Event.new("created", customer(3)))
    saved = json.loads(path.read_bytes())
    run_until(subscribe(store, checkpoint=path), handled, lambda: "c-3" in handled.names, "the fourth")
    assert handled.names == ["c-0", "c-1", "c-2", "c-3"]
    stream = store.keys.stream("customer", "created")
    assert f"g: listening to {stream} from {saved[stream]}" in [r.message for r in caplog.records]


@pytest.mark.parametrize("policy", ["at_least_once", "at_most_once"])
def test_a_group_that_is_destroyed_while_it_waits(
    store: EventStore, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A group that is destroyed is made again, and said to be gone once."""
    handled = Handled()
    with running(subscribe(store, CUSTOMERS, policy=policy, block_ms=600), handled):
        until(lambda: store.client.info("clients")["blocked_clients"], "the consumer waits")
        store.client.xgroup_destroy(store.keys.stream("customer", "created"), "g")
        store.append(Event.new("created", customer(1)))
        until(lambda: handled.names == ["c-1"], "the event")
    assert sum("the group is gone" in record.message for record in caplog.records) == 1


def test_a_server_that_crashes() -> None:
    """While the server with AOF `always` is killed and started again nothing that was published is lost."""
    with open_own(durability="always") as one, store_on(one) as store:
        handled = Handled()
        with running(subscribe(store, CUSTOMERS, page=3), handled, ImpatientStop()):
            for n in range(3):
                store.append_many(created(*map(customer, range(10 * n, 10 * n + 10))))
                until(lambda n=n: len(handled.names) > 10 * n + 2, "it has begun")
                one.kill()
                one.start()
            until(lambda: len(set(handled.names)) == 30, "all of 30")
            until(lambda: not pending(store, CUSTOMERS), "all is acknowledged")
        firsts = list(dict.fromkeys(handled.names))
        assert firsts == [f"c-{n}" for n in range(30)]


def test_little_is_said_while_the_server_is_away(own_server: OwnServer, caplog: pytest.LogCaptureFixture) -> None:
    """While the server is away the waits double up to a second, and the log has one line, not one for each."""
    with store_on(own_server) as store:
        handled, stop = Handled(), ImpatientStop()
        store.append(Event.new("created", customer(1)))
        with running(subscribe(store, CUSTOMERS), handled, stop):
            until(lambda: handled.names, "it has begun")
            own_server.kill()
            until(lambda: len(stop.waits) > 40, "40 tries")
            records = [record for record in caplog.records if record.name.startswith("ordershop.subscription.")]
            own_server.start()
            store.append(Event.new("created", customer(2)))
            until(lambda: handled.names[-1] == "c-2", "it goes on")
        assert stop.waits[:7] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
        assert len(records) == 1
        assert "the event store is away" in records[0].message
        assert "g: the event store is back" in [record.message for record in caplog.records]


@pytest.mark.parametrize("policy", ["at_least_once", "at_most_once"])
@pytest.mark.parametrize("trouble", ["a replica", "too few replicas", "out of memory"])
def test_a_server_that_cannot_serve(
    own_server: OwnServer, policy: str, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that says that it cannot serve now, as after a failover, is waited for like one that is away."""
    with store_on(own_server) as store:
        handled, stop, client = Handled(), ImpatientStop(), store.client
        store.append(Event.new("created", customer(1)))
        begin, end = {
            "a replica": (lambda: client.replicaof("127.0.0.1", "1"), lambda: client.replicaof("NO", "ONE")),
            "too few replicas": (
                lambda: client.config_set("min-replicas-to-write", 1),
                lambda: client.config_set("min-replicas-to-write", 0),
            ),
            "out of memory": (
                # Reading takes no memory in the server's eyes, making a group does.
                lambda: (
                    client.config_set("maxmemory", 1),
                    client.client_kill_filter(_type="normal", skipme=True),
                ),
                lambda: client.config_set("maxmemory", 0),
            ),
        }[trouble]
        with running(subscribe(store, CUSTOMERS, policy=policy), handled, stop):
            until(lambda: handled.names == ["c-1"], "it has begun")
            begin()
            until(lambda: len(stop.waits) > 5, "it waits")
            end()
            store.append(Event.new("created", customer(2)))
            until(lambda: handled.names[-1] == "c-2", "it goes on")
        assert handled.names == ["c-1", "c-2"]
        assert sum("the event store is away" in record.message for record in caplog.records) == 1


# Each command that a consumer sends, and what has it sent.
ASKED = ("XREADGROUP", "XACK", "XGROUP", "XINFO", "XPENDING", "XAUTOCLAIM", "XCLAIM")
# What is of the kind that it may be.
FITTING = {("XACK", b":0\r\n"), ("XGROUP", b"+OK\r\n"), ("XCLAIM", b"*2\r\n:1\r\n$1\r\nx\r\n")}
BY_A_CLUSTER = (
    b"MOVED 3999 127.0.0.1:6381",
    b"ASK 3999 127.0.0.1:6381",
    b"NOSCRIPT No matching script. Please use EVAL.",
)


@pytest.mark.parametrize("harm", ["wrong", "error"])
@pytest.mark.parametrize("asked", ASKED)
def test_a_reply_that_a_consumer_cannot_use(
    server: OwnServer, store: EventStore, tmp_path: Path, asked: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Replies of every other kind, and those of a node of a cluster: it dials again, and loses nothing."""
    harmed = threading.Event()
    harmed.set()
    # What fails is asked for by more commands than what does not.
    handled, stop = Handled(lambda _: asked != "XACK" and harmed.is_set()), ImpatientStop()
    # A nil is how a read says that nothing has come, and an empty list how the others do.
    says_something = tuple(
        reply
        for reply in WRONG
        if reply not in {b"*-1\r\n", b"$-1\r\n", b"*0\r\n"} and (asked, reply) not in FITTING
    )
    plan = Plan(7, (harm,), 1.0, commands=frozenset((asked.encode(),)), wrong=says_something, errors=BY_A_CLUSTER)
    with HostileServer(server.port, plan) as hostile:
        subscription = Subscription(
            hostile.url,
            store.keys,
            CUSTOMERS,
            group="g",
            settings=Settings(block_ms=20, claim_after_ms=100, max_deliveries=1_000),
            checkpoint=tmp_path / "position",
        )
        Checkpoint(tmp_path / "position").save({store.keys.stream("customer", "created"): "1-1"})
        with running(subscription, handled, stop):
            store.append(Event.new("created", customer(1)))
            until(lambda: sum(hostile.done.values()) > 5, "harm")
            hostile.calm()
            harmed.clear()
            store.append(Event.new("created", customer(2)))
            until(lambda: {"c-1", "c-2"} <= set(handled.names), "it goes on")
            until(lambda: not pending(store, CUSTOMERS), "all is acknowledged")
        assert {command for _, command in hostile.done} == {asked}
    said = [record.message for record in caplog.records if "the event store is away" in record.message]
    assert said
    assert all("is no reply to it" in each for each in said) or harm == "error"


@pytest.mark.parametrize("is_away", [False, True])
def test_a_stop_is_honoured(own_server: OwnServer, is_away: bool) -> None:
    """Told to stop it ends within the time that it waits for new events, also while the server is away."""
    with store_on(own_server) as store:
        handled, ended = Handled(), threading.Event()
        store.append(Event.new("created", customer(1)))

        def run() -> None:
            subscribe(store).run(handled, stop)
            ended.set()

        stop = threading.Event()
        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: handled.names, "it has begun")
        if is_away:
            own_server.kill()
        stop.set()
        assert ended.wait(3)
        thread.join()


class StopThatKills(threading.Event):
    """A stop that comes while something is waited for, and takes the server with it."""

    def __init__(self, server: OwnServer) -> None:
        super().__init__()
        self._server = server

    def wait(self, timeout: float | None = None) -> bool:
        """Kill the server, and be set."""
        self._server.kill()
        self.set()
        return True


def test_a_stop_when_the_server_has_just_gone(
    own_server: OwnServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When the server goes during the last effect the loop ends in order, and says that it saved no position."""

    def out(_: Sequence[Delivery]) -> list[Delivery]:
        raise AwayError("out")

    with store_on(own_server) as store:
        store.append(Event.new("created", customer(1)))
        subscription = subscribe(store, CUSTOMERS, checkpoint=tmp_path / "g.json")
        subscription.run(out, StopThatKills(own_server))
    assert "g: stopped without saving the position" in caplog.records[-1].message


# Merge -------------------------------------------------------------------------------------------------


def entries(of: str, *seconds: int) -> list[Received]:
    """Entries of those seconds, as far as a merge looks at them; `of` is their stream."""
    return [NoEvent(EventId(each, 0), of, b"%d-0" % each) for each in seconds]


def taken(merge: Merge) -> list[tuple[str, int]]:
    """What a merge gives: streams and seconds."""
    return [(each.stream, each.id.seconds) for each in merge.take()]


def test_merge_of_short_pages() -> None:
    """Short pages of one read are whole streams so far: everything is certain."""
    merge = Merge(["a", "b"], page=10)
    merge.add({"a": entries("a", 1, 4), "b": entries("b", 2, 3)})
    assert taken(merge) == [("a", 1), ("b", 2), ("b", 3), ("a", 4)]
    assert (merge.is_empty, merge.hungry) == (True, ["a", "b"])


def test_merge_behind_a_full_page() -> None:
    """Behind the end of a full page nothing is certain until its stream was read again."""
    merge = Merge(["a", "b"], page=4)
    merge.add({"a": entries("a", 1, 3, 4, 5), "b": entries("b", 2, 6, 7)})
    assert taken(merge) == [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("a", 5)]
    assert (merge.hungry, merge.raw_ids("b")) == (["a"], [b"6-0", b"7-0"])
    merge.add({"a": []})
    assert taken(merge) == [("b", 6), ("b", 7)]


def test_merge_of_reads_at_different_times() -> None:
    """What one stream brings later than the last look at another waits for the next look at that."""
    merge = Merge(["a", "b"], page=2)
    merge.add({"a": entries("a", 1, 2), "b": entries("b", 5)})
    assert taken(merge) == [("a", 1), ("a", 2)]
    merge.add({"a": entries("a", 9)})  # by now b may have 6, 7, 8
    assert taken(merge) == [("b", 5)]
    merge.add({"b": entries("b", 7)})
    assert taken(merge) == [("b", 7), ("a", 9)]


def test_merge_of_pending_events() -> None:
    """Behind pending events of a stream its new ones follow, before which nothing later may be given."""
    merge = Merge(["a", "b"], page=4)
    merge.add({"a": entries("a", 1, 2), "b": []}, pending={"a", "b"})
    assert taken(merge) == []
    merge.add({"b": entries("b", 3)})
    assert taken(merge) == [("a", 1), ("a", 2)]
    merge.add({"a": []})
    assert taken(merge) == [("b", 3)]


def test_merge_after_a_wait() -> None:
    """An answer after a wait says nothing of the streams that it leaves out."""
    merge = Merge(["a", "b"], page=4)
    merge.add({"a": [], "b": entries("b", 2, 4)}, waited=True)
    assert taken(merge) == []
    merge.add({"a": entries("a", 1, 3)})
    assert taken(merge) == [("a", 1), ("b", 2), ("a", 3), ("b", 4)]


def test_merge_forgets() -> None:
    """After `clear` nothing waits and nothing is known."""
    merge = Merge(["a", "b"], page=2)
    merge.add({"a": entries("a", 1, 2), "b": entries("b", 5)})
    merge.clear()
    assert (merge.is_empty, taken(merge)) == (True, [])
    merge.add({"a": entries("a", 1), "b": entries("b", 2)})
    assert taken(merge) == [("a", 1), ("b", 2)]


@PROPERTY
@given(
    st.lists(st.sampled_from("abc"), max_size=40),
    st.integers(1, 5),
    st.integers(0, 12),
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=60),
)
def test_merge_gives_all_in_order(
    history: list[str], page: int, in_hand: int, reads: list[tuple[int, bool]]
) -> None:
    """However reads and new events interleave, a merge gives every event once, in the order of events.

    The oracle is the sorted history. Of each stream the first events are pending, as after a crash; events
    become visible in order, some between two reads; a read that waited answers one stream alone.
    """
    streams: dict[str, deque[int]] = {name: deque() for name in "abc"}
    held: dict[str, deque[int]] = {name: deque() for name in "abc"}
    for second, name in enumerate(history[:in_hand], 1):
        held[name].append(second)
    coming = deque(enumerate(history[in_hand:], in_hand + 1))
    merge, given_out = Merge(["a", "b", "c"], page), []
    pending_of = set("abc")
    schedule = deque(reads)
    while coming or any(streams.values()) or any(held.values()) or not merge.is_empty:
        count, may_wait = schedule.popleft() if schedule else (len(coming), False)
        for _ in range(min(count, len(coming))):
            second, name = coming.popleft()
            streams[name].append(second)
        pages: dict[str, list[Received]] = {}
        waited = may_wait and merge.is_empty and not pending_of
        asked_pending = set(pending_of)
        for name in merge.hungry:
            source = held[name] if name in asked_pending else streams[name]
            if waited and any(pages.values()):
                pages[name] = []
                continue
            pages[name] = entries(name, *(source.popleft() for _ in range(min(page, len(source)))))
            if len(pages[name]) < page:
                pending_of.discard(name)
        merge.add(pages, pending=asked_pending, waited=waited)
        given_out += taken(merge)
    assert given_out == [(name, second) for second, name in enumerate(history, 1)]
