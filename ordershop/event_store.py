"""The event store: append, read, replay, and the queries of the entity cache.

    store = EventStore(connect("redis://127.0.0.1:6379"))
    customer = Customer("c-1", "Ada", "ada@example.org")
    event_id = store.append(Event.new("created", customer))      # EventId(1764072000, 123456)
    store.find_one("customer", "c-1")                            # the customer, at once
    store.replay("customer", until=event_id)                     # {"c-1": Customer(...)}

`EventStore` is the blocking one: scripts, consumers and benchmarks use it. Services use `async_store.py`. What
both send, and what the answers mean, are the pure functions of `codec.py` and `entity_cache.py`; only the sending
differs (`wire.py`, `resp.py`).

An append without an answer is tried again here, with the same `event_id`, and the script appends a repeated one
only once. Whatever the server or the way to it does, what is raised is a `StoreError`.

Streams grow until somebody trims them: `trim` is one EVALSHA of `trim.lua` a page, and never removes what a group
that is registered has not acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import redis

from ordershop import entity_cache
from ordershop.codec import (
    APPEND_LUA,
    CHUNK,
    DEDUP_WINDOW_S,
    EVENT_ONLY,
    EXISTS,
    FIRST_CHUNK,
    MOST_TRIMS,
    PROJECT,
    TRIM_LUA,
    WITH_STOCK,
    Expect,
    Mode,
    Reference,
    RefusedError,
    append_answer,
    append_arguments,
    events_of,
    may_be_refused,
    nothing_of_name,
    trim_answer,
    trim_arguments,
)
from ordershop.entities import Entity, Topic
from ordershop.events import Action, Event, EventId, Keys, Stored, StoreError
from ordershop.replay import Pages, replayed
from ordershop.wire import NO_ANSWER, Pipe, UnavailableError, Wire, connect, is_elsewhere, store_error

# What those need who use a store.
__all__ = [
    "APPEND_LUA",
    "EVENT_ONLY",
    "EXISTS",
    "PROJECT",
    "WITH_STOCK",
    "EventStore",
    "Expect",
    "Mode",
    "Reference",
    "RefusedError",
    "StoreError",
    "UnavailableError",
    "append_arguments",
    "connect",
]

_Read = TypeVar("_Read")


class EventStore:
    """An event store on one Redis or Valkey server, blocking.

    Args:
        client: made by `connect`.
        namespace: what every key begins with; empty for a database of the shop's own.
        dedup_window_s: for how long at least a repeated `event_id` is recognised.
        retries: how often an append without an answer is tried again, with the same `event_id`.
        sleep: waits some seconds; between two tries.
    """

    def __init__(
        self,
        client: redis.Redis,
        namespace: str = "",
        *,
        dedup_window_s: int = DEDUP_WINDOW_S,
        retries: int = 2,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
        self._wire = Wire(client)
        self.keys = Keys(namespace)
        self._dedup_window_s = dedup_window_s
        self._retries = retries
        self._sleep = sleep
        self._append = client.register_script(APPEND_LUA)
        self._read = client.register_script(entity_cache.READ_LUA)
        self._trim = client.register_script(TRIM_LUA)

    def close(self) -> None:
        """Give all connections back to the client."""
        self._wire.close()

    # Commands ------------------------------------------------------------------------------------------

    def append(
        self,
        event: Event,
        *,
        expect: Expect = None,
        references: Sequence[Reference] = (),
        mode: Mode = PROJECT,
    ) -> EventId:
        """Append one event and answer its ID; a repeated `event_id` answers the first ID, and does nothing.

        Args:
            expect: the version that the entity must have now (0: it must not exist), `EXISTS`, or None.
            references: entities that must exist, as (topic, id).
            mode: `EVENT_ONLY`, `PROJECT` or, for orders, `WITH_STOCK`.

        Raises:
            ValueError: an order has no items, or too many; something else than an order is appended `WITH_STOCK`.
            RefusedError: an expectation does not hold; nothing was written.
            UnavailableError: no answer; it may have happened, and may be repeated with the same event.
            StoreError: the server failed at it, as where somebody else's value stands at a key. It may have
                happened in part; repeated with the same event it is not appended twice.
        """
        return self.append_together([event], expect=expect, references=references, mode=mode)[0]

    def append_together(
        self,
        events: Sequence[Event],
        *,
        expect: Expect = None,
        references: Sequence[Reference] = (),
        mode: Mode = PROJECT,
    ) -> list[EventId]:
        """Append at most `CHUNK` events in one atomic step, all or none; arguments as for `append`.

        Raises:
            ValueError: no event, or more than `CHUNK`; and as for `append`.
            RefusedError, UnavailableError, StoreError: as for `append`.
        """
        if not 0 < len(events) <= CHUNK:
            raise ValueError(f"1 to {CHUNK} events can be appended together, not {len(events)}")
        arguments = self._append_arguments(events, expect=expect, references=references, mode=mode)
        for attempt in range(self._retries + 1):
            try:
                return self._call(append_answer, self._append, arguments)
            except NO_ANSWER as error:
                last: redis.RedisError = error
            except redis.ResponseError as error:
                if not is_elsewhere(error):
                    raise store_error(error) from error
                last = error  # nothing was written; the next attempt dials again
            if attempt < self._retries:
                self._sleep(0.05 * 2**attempt)
        raise store_error(last) from last

    def append_many(self, events: Iterable[Event], *, mode: Mode = PROJECT) -> list[EventId]:
        """Append any number of events in order; each chunk of at most `CHUNK` of them is one atomic step.

        The next chunk is packed and sent while the server works on the one before, unless that may be refused.

        Raises:
            ValueError: as for `append`; the chunks before may have been appended.
            RefusedError: a chunk was refused; those before it were appended, and nothing behind it.
            UnavailableError: no answer. Repeated with the same events it appends only what is missing.
            StoreError: as for `append`.
        """
        ids: list[EventId] = []
        iterator = iter(events)
        # The first chunk is a small one, so that the server soon has something to do.
        chunk = list(islice(iterator, FIRST_CHUNK))
        if not chunk:
            return ids
        with Pipe(self.client) as pipe:
            # The script goes along: a server that does not know it must not answer the second chunk after it has
            # refused the first.
            pipe.send(nothing_of_name, "SCRIPT LOAD", APPEND_LUA)
            while chunk:
                arguments = self._append_arguments(chunk, mode=mode)
                pipe.send(append_answer, "EVALSHA", self._append.sha, 0, *arguments)
                most_in_flight = 0 if may_be_refused(chunk, arguments, mode) else 2
                chunk = list(islice(iterator, CHUNK))
                for each in pipe.collect(most_in_flight):
                    ids += each
            for each in pipe.collect():
                ids += each
        return ids

    def trim(
        self,
        topic: Topic,
        action: Action,
        *,
        keep: int = 0,
        keep_s: float = 0.0,
        even_without_group: bool = False,
    ) -> int:
        """Remove from a stream's front what every group on it has acknowledged; answer how many entries that were.

        A group counts from its creation, also while all its consumers are away; one that is made later begins
        with what is left. What was trimmed is gone for replays: they begin in the middle and add up to less than
        the entity cache, which is left as it is; so are the IDs by which a repeated append is recognised.

        Args:
            keep: at least so many of the newest entries stay.
            keep_s: and those of so many seconds, by the server's clock.
            even_without_group: trim a stream that nobody reads in a group, too; else it stays whole. Without
                `keep` or `keep_s` all but its last entry go.

        Raises:
            ValueError: less than nothing is to be kept.
            StoreError: the server refused it, as one before Redis 6.2 does.
            UnavailableError: no answer; what was acknowledged may be removed in part, or may not.
        """
        arguments = trim_arguments(
            self.keys, topic, action, keep=keep, keep_s=keep_s, even_without_group=even_without_group
        )
        removed = 0
        for _ in range(MOST_TRIMS):
            try:
                count, more = self._call(trim_answer, self._trim, arguments)
            except redis.RedisError as error:
                raise store_error(error) from error
            removed += count
            if not more:
                break
        return removed

    def _append_arguments(self, events: Sequence[Event], **how: Any) -> list[Any]:
        return append_arguments(self.keys, events, dedup_window_s=self._dedup_window_s, **how)

    def _call(self, read: Callable[[Any], _Read], script: Any, arguments: list[Any]) -> _Read:
        try:
            return self._wire.call(read, "EVALSHA", script.sha, 0, *arguments)
        except redis.exceptions.NoScriptError:
            # A restarted server has forgotten its scripts; nothing was executed, so this is no repeat.
            self._wire.call(nothing_of_name, "SCRIPT LOAD", script.script)
            return self._wire.call(read, "EVALSHA", script.sha, 0, *arguments)

    # Queries: each raises `UnavailableError` without an answer, and `StoreError` for one that is an error ------

    def find_one(self, topic: Topic, entity_id: str) -> Entity | None:
        """The entity of that id as it is now, or None; one round trip."""
        try:
            if entity_cache.find_one_is_plain(topic):
                return self._wire.call(
                    lambda flat: entity_cache.entity_from_hash(topic, flat, []),
                    *("HGETALL", self.keys.entity(topic, entity_id)),
                )
            arguments = entity_cache.read_arguments(self.keys, topic, ids=(entity_id,))
            found = self._read_page(topic, arguments)[1]
        except redis.RedisError as error:
            raise store_error(error) from error
        return found[0] if found else None

    def find_versioned(self, topic: Topic, entity_id: str) -> tuple[Entity, int] | None:
        """The entity of that id and its version, for an append that expects it; two round trips.

        The version is read first: should the entity change in between, it is older than the entity, and the
        append is refused.
        """
        key = self.keys.updates(topic)
        try:
            updated = self._wire.call(lambda reply: 0 if reply is None else int(reply), "HGET", key, entity_id)
        except redis.RedisError as error:
            raise store_error(error) from error
        entity = self.find_one(topic, entity_id)
        return None if entity is None else (entity, 1 + updated)

    def _read_page(self, topic: Topic, arguments: list[Any]) -> tuple[bytes, list[Entity]]:
        return self._call(lambda answer: entity_cache.entities_from_read(topic, answer), self._read, arguments)

    def find_all(self, topic: Topic) -> Iterator[Entity]:
        """All entities of a topic, one round trip a page; one that changes meanwhile may come either way."""
        cursor = b"0"
        seen: set[str] = set()
        while True:
            try:
                arguments = entity_cache.read_arguments(self.keys, topic, cursor=cursor)
                cursor, entities = self._read_page(topic, arguments)
            except redis.RedisError as error:
                raise store_error(error) from error
            for entity in entities:
                # SSCAN may give an id twice while the Set is being resized.
                if entity.id not in seen:
                    seen.add(entity.id)
                    yield entity
            if cursor == b"0":
                return

    # Streams -------------------------------------------------------------------------------------------

    def read(
        self, topic: Topic, action: Action, *, after: EventId | None = None, until: EventId | None = None
    ) -> Iterator[Stored]:
        """The events of one stream in their order, those after one ID and up to another; None: no bound."""
        bounds = ("-" if after is None else f"({after}", "+" if until is None else str(until))
        with Pages(self.client, self.keys.stream(topic, action), *bounds) as pages:
            for page in pages:
                yield from pages.read(lambda entries: events_of(topic, action, entries), page)

    def tail(self, topic: Topic, action: Action, *, count: int = 10) -> list[Stored]:
        """The last events of one stream, oldest first."""
        try:
            return self._wire.call(
                lambda entries: events_of(topic, action, reversed(entries)),
                *("XREVRANGE", self.keys.stream(topic, action), "+", "-", "COUNT", count),
            )
        except redis.RedisError as error:
            raise store_error(error) from error

    def replay(
        self,
        topic: Topic,
        *,
        until: EventId | float | None = None,
        after_page: Callable[[], object] = lambda: None,
    ) -> dict[str, Entity]:
        """The entities of a topic as its events add up to, up to and including an ID or a time, or up to now.

        Events that are appended while it reads are not in it.

        Args:
            until: an event ID, seconds since 1970, or None for all events.
            after_page: called when a page has been folded, which is pure computing: others may want their turn.
        """
        return replayed(self.client, self._wire, self.keys, topic, until, after_page)
