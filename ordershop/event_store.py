"""The event store: append, read, replay, and the queries of the entity cache.

    store = EventStore(connect("redis://127.0.0.1:6379"))
    customer = Customer("c-1", "Ada", "ada@example.org")
    event_id = store.append(Event.new("created", customer))      # EventId(1764072000, 123456)
    store.find_one("customer", "c-1")                            # the customer, at once
    store.replay("customer", until=event_id)                     # {"c-1": Customer(...)}

Appending is one EVALSHA of `append.lua`: version check, idempotency, ID, stream entry and entity cache in one
step. The client library's own retries are switched off, for they would repeat a timed-out append unseen.
This module retries itself, with the same `event_id`, and the script appends a repeated one only once.

What to send and what an answer means are pure functions (`append_arguments`, `append_answer`, ...), shared
with the asyncio store. `EventStore` is the blocking one: scripts, consumers and benchmarks use it.

A replay merges the created, updated and deleted streams of a topic in the order of event IDs, a page of each
at a time, and asks for the next page before it folds the one it has: memory is that of the entities. It ends
where all streams ended at one moment, which is asked for first: were each read to its own end, one of them would
end earlier than another, and what one step has written to both be half there.

Whatever the server or the way to it does, a store raises a `StoreError`: `UnavailableError` for what passes, and
for a reply of another kind, as a proxy gives that mixes them up. Such a connection is not used again.

Streams grow until somebody trims them: `trim` is one EVALSHA of `trim.lua` a page, and never removes what a group
that is registered has not acknowledged.
"""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import chain, islice, repeat
from operator import itemgetter
from typing import Any, Literal, TypeVar

import msgspec
import redis

from ordershop import entity_cache
from ordershop.entities import ENTITIES, LIST_FIELD, Entity, Topic, topic_of
from ordershop.events import ACTIONS, Action, Event, EventId, Keys, Stored, entity_json
from ordershop.events import StoreError as StoreError  # noqa: PLC0414  # of the family below; caches raise it, too
from ordershop.server.tls import read_reply, redis_client
from ordershop.server.url import Address, ServerUrl

APPEND_LUA = files("ordershop").joinpath("append.lua").read_text(encoding="utf-8")
TRIM_LUA = files("ordershop").joinpath("trim.lua").read_text(encoding="utf-8")

# The ID of the last entry of each stream, or nothing of an empty one: all of one moment.
LAST_LUA = """\
local last = {}
for i, stream in ipairs(ARGV) do
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  last[i] = entry and entry[1] or ''
end
return last
"""

DEDUP_WINDOW_S = 120
# One script call must not hold the server for long: this many events take it a millisecond or two.
CHUNK = 250
FIRST_CHUNK = 50
PAGE = 1_000
# Of one order, as the entity has it; Lua can take so many apart.
MOST_ITEMS = 1_000
# Of a page each; what a trim has left by then goes with the next.
MOST_TRIMS = 10_000

EXISTS: Literal["E"] = "E"
Expect = int | Literal["E"] | None
# What an append touches: the stream alone, the entity cache too, or also the stock that an order takes.
Mode = Literal["0", "1", "S"]
EVENT_ONLY: Mode = "0"
PROJECT: Mode = "1"
WITH_STOCK: Mode = "S"

Reference = tuple[Topic, str]
_Read = TypeVar("_Read")


class RefusedError(StoreError):
    """The store refused an append, and wrote nothing.

    `reason` is one of `unknown` (an entity does not exist), `version` (another one than expected), `stock`
    (not enough of a product) and `billed` (the order has a bill); `detail` says which.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class UnavailableError(StoreError):
    """The server did not answer in time, and an append may or may not have happened; or it cannot serve now."""


# No answer came, or bytes that are none: then nothing that follows them on that connection can be read, either.
_NO_ANSWER = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.InvalidResponse)
# What a server answers that is there and cannot serve now: restarting, a replica, out of memory, its disk full, a
# script that does not end, no password, a node of a cluster whose slots have moved, one that has just forgotten a
# script. Before Redis 7 it stands behind the place in the script where it happened.
_UNABLE = re.compile(
    "(?:^|: -)(?:LOADING|BUSY|READONLY|MASTERDOWN|CLUSTERDOWN|MOVED|ASK|TRYAGAIN|OOM|MISCONF|NOREPLICAS|NOAUTH"
    "|NOPERM|NOSCRIPT|MAXCLIENTS|ERR max number of clients) "
)
# The same, of those that the client library knows; it cuts their names off their texts.
_UNABLE_KINDS = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)


# What a server answers that is not, or not yet, the one to ask: a replica since a failover, one cut off from its
# primary, one that is still loading, a node of a cluster that has given its slots away. Behind one address there
# may be another by now, for a new connection only.
_ELSEWHERE = re.compile("(?:^|[: ]-?)(?:READONLY|MASTERDOWN|LOADING|MOVED|ASK) ")
_ELSEWHERE_KINDS = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
    redis.exceptions.BusyLoadingError,
)


def says_elsewhere(text: str) -> bool:
    """Whether an error that a server answers says that another one may have to be asked, by a new connection."""
    return bool(_ELSEWHERE.search(text))


def is_elsewhere(error: BaseException) -> bool:
    """The same of an error that the client library has made of it, whose name it cuts off."""
    return isinstance(error, _ELSEWHERE_KINDS) or says_elsewhere(str(error))


def says_unable(text: str) -> bool:
    """Whether an error that a server answers says that it cannot serve now; another moment it may."""
    return bool(_UNABLE.search(text))


def is_unable(error: redis.RedisError) -> bool:
    """Whether a server did not answer, or nothing that can be read, or that it cannot serve now; later it may."""
    if isinstance(error, (*_NO_ANSWER, *_UNABLE_KINDS)):
        return True
    return says_unable(str(error))


def _ours(error: redis.RedisError) -> StoreError:
    """What a store raises for an error of the client library."""
    if isinstance(error, _NO_ANSWER):
        return UnavailableError(f"no answer from the event store: {error}")
    if is_unable(error):
        return UnavailableError(f"the event store cannot serve now: {error}")
    return StoreError(f"the event store refused a command: {error}")


def connect(url: Address | str, *, timeout_s: float = 2.0, block_s: float = 0.0) -> redis.Redis:
    """A client for a `redis://`, `rediss://` or `unix://` URL, as this project needs it.

    RESP2, so that replies have one shape; no retries of the library's own; every wait bounded.

    Args:
        timeout_s: how long a connection or an answer may take; what the URL says of it wins.
        block_s: for how long a reader lets the server wait on purpose, which is added.

    Raises:
        ValueError: it is no such URL (`UrlError`), or its TLS cannot be (`TlsError`).
    """
    return redis_client(ServerUrl(url), timeout_s=timeout_s, block_s=block_s)


def command(client: redis.Redis, *parts: Any) -> Any:
    """Send one command on a pooled connection and answer its reply as RESP2 has it, bytes undecoded.

    It goes past the layers of a general client (callbacks, retries, metrics), which cost more than the append.

    Raises:
        redis.RedisError: as the client library raises it.
    """
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*parts)
        return connection.read_response(disable_decoding=True)
    except redis.ResponseError as error:
        # An error that the server has answered leaves the connection in order; it may lead to the wrong server.
        if is_elsewhere(error):
            connection.disconnect()
        raise
    except BaseException:
        # An answer may still be on its way; the next user of the connection must not read it.
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)


class _Wire:
    """Connections that a store keeps in hand, taken in turn by its threads.

    The client library's pool looks at the socket each time it hands out a connection, which costs a system call
    and more than the append itself. Here a connection that has died while it lay idle shows when it is used, and
    its command is sent once more on a fresh one: everything that a store sends may be repeated.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._idle: list[Any] = []
        self._pid = os.getpid()

    def call(self, read: Callable[[Any], _Read], *parts: Any) -> _Read:
        """Send a command and answer what its reply says.

        Args:
            read: takes the reply, as RESP2 has it, bytes undecoded.
            parts: of the command.

        Raises:
            redis.RedisError: as the client library raises it; `InvalidResponse` for a reply of another kind.
            StoreError: what `read` raises of it.
        """
        if self._pid != os.getpid():
            # A forked process must not share sockets with the one that it came from.
            self._idle, self._pid = [], os.getpid()
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._call_on(self._pool.get_connection(), read, parts)
        try:
            return self._call_on(connection, read, parts)
        except redis.ConnectionError:
            return self._call_on(self._pool.get_connection(), read, parts)

    def _call_on(self, connection: Any, read: Callable[[Any], _Read], parts: tuple[Any, ...]) -> _Read:
        try:
            connection.send_command(*parts)
            said = read_reply(parts[0], read, connection.read_response(disable_decoding=True))
        except StoreError:
            self._idle.append(connection)  # it has answered, and its answer is no
            raise
        except redis.ResponseError as error:
            if is_elsewhere(error):
                self._leave(connection)
            else:
                self._idle.append(connection)  # an error that the server has answered leaves it in order
            raise
        except BaseException:
            # An answer may still be on its way; nobody else must read it.
            connection.disconnect()
            self._pool.release(connection)
            raise
        self._idle.append(connection)
        return said

    def _leave(self, connection: Any) -> None:
        """Dial again with the next command, in every thread: where one connection leads, all of them do."""
        connection.disconnect()
        self._pool.release(connection)
        while self._idle:
            other = self._idle.pop()
            other.disconnect()
            self._pool.release(other)

    def close(self) -> None:
        """Give the connections back to the pool."""
        while self._idle:
            self._pool.release(self._idle.pop())


def _field_names(kind: type[Entity]) -> tuple[tuple[int, str], ...]:
    lists = set(LIST_FIELD.values())
    return tuple((i, f.name) for i, f in enumerate(msgspec.structs.fields(kind)) if f.name not in lists)


_FIELDS = {kind: _field_names(kind) for kind in ENTITIES.values()}


# Where the number of groups stands among them.
_GROUPS_AT = 3


def append_arguments(
    keys: Keys,
    events: Sequence[Event],
    *,
    expect: Expect = None,
    references: Sequence[Reference] = (),
    mode: Mode = PROJECT,
    dedup_window_s: int = DEDUP_WINDOW_S,
) -> list[Any]:
    """The arguments of `append.lua` for one atomic append of some events.

    Raises:
        ValueError: an order without 1 to `MOST_ITEMS` items, or something else than orders `WITH_STOCK`.
    """
    arguments: list[Any] = [keys.namespace, dedup_window_s, len(references), 0]
    for reference in references:
        arguments += reference
    expected = "" if expect is None else expect
    group: tuple[Action, type[Entity]] | None = None
    groups, count_at = 0, 0
    for action, entity, event_id in events:
        kind = type(entity)
        if group != (action, kind):
            # Events of one kind share what they have in common: fewer arguments, less for the server to read.
            group = (action, kind)
            groups += 1
            if mode == WITH_STOCK and kind is not ENTITIES["order"]:
                raise ValueError(f"only orders are appended with stock, not a {topic_of(entity)}")
            names = () if mode == EVENT_ONLY or action == "deleted" else _FIELDS[kind]
            has_items = bool(names) and kind is ENTITIES["order"]
            arguments += (topic_of(entity), action, expected, mode, len(names), *(name for _, name in names), 0)
            count_at = len(arguments) - 1
        arguments[count_at] += 1
        if not names:
            arguments += (entity.id, event_id, entity_json(entity))
            continue
        values = msgspec.structs.astuple(entity)
        arguments += (entity.id, event_id, entity_json(entity), *(values[i] for i, _ in names))
        if has_items:
            items = getattr(entity, LIST_FIELD["order"])
            if not 0 < len(items) <= MOST_ITEMS:
                raise ValueError(f"an order has 1 to {MOST_ITEMS} items, not {len(items)}")
            arguments.append(len(items))
            arguments += items
    arguments[_GROUPS_AT] = groups
    return arguments


def append_answer(answer: list[bytes]) -> list[EventId]:
    """The IDs from an answer of `append.lua`.

    Raises:
        RefusedError: the append was refused.
    """
    if not answer[0]:
        raise RefusedError(answer[1].decode(), answer[2].decode("utf-8", "replace"))
    return [_event_id(raw) for raw in answer]


def trim_answer(answer: list[int]) -> tuple[int, bool]:
    """How many entries an answer of `trim.lua` says were removed, and whether more may be."""
    removed, more = answer.copy()
    return removed + 0, more + 0 > 0


def trim_arguments(
    keys: Keys, topic: Topic, action: Action, *, keep: int, keep_s: float, even_without_group: bool
) -> list[Any]:
    """The arguments of `trim.lua` for a page of one stream.

    Raises:
        ValueError: fewer entries than none are to be kept, or for less than no time.
    """
    if keep < 0 or not keep_s >= 0:
        raise ValueError(f"what is to be kept of a stream cannot be less than nothing: {keep} entries, {keep_s} s")
    return [keys.stream(topic, action), keep, int(keep_s * 1e6), int(even_without_group), PAGE]


def _event_id(raw: bytes) -> EventId:
    seconds, _, microseconds = raw.partition(b"-")
    # Past the named tuple's own constructor, which takes as long as all the rest.
    return tuple.__new__(EventId, (int(seconds), int(microseconds)))


def _events(topic: Topic, action: Action, entries: Iterable[Entry]) -> list[Stored]:
    """The events of some stream entries, without the entries that are none."""
    found = (stored_event(topic, action, entry) for entry in entries)
    return [event for event in found if event is not None]


class _IdOnly(msgspec.Struct, gc=False):
    id: str


_DECODERS: dict[tuple[Topic, Action], msgspec.json.Decoder[Any]] = {
    (topic, action): msgspec.json.Decoder(kind) for topic, kind in ENTITIES.items() for action in ACTIONS
}
_ID_DECODER = msgspec.json.Decoder(_IdOnly)

# A stream entry as the server answers it: [id, [field, value, ...]].
Entry = list[Any]


def _value_of(fields: list[bytes], name: bytes) -> bytes | None:
    return next((fields[i + 1] for i in range(0, len(fields) - 1, 2) if fields[i] == name), None)


def stored_event(topic: Topic, action: Action, entry: Entry) -> Stored | None:
    """The event of a stream entry, or None for an entry that is no event (somebody else put it there)."""
    fields = entry[1]
    body = _value_of(fields, b"entity") if fields else None
    if body is None:
        return None
    try:
        entity = _DECODERS[topic, action].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    event_id = (_value_of(fields, b"event_id") or b"").decode("utf-8", "replace")
    return Stored(_event_id(entry[0]), topic, action, entity, event_id)


def _nothing_of_name(answer: bytes) -> list[EventId]:
    """The IDs from an answer that is the name of a script which was loaded."""
    answer.decode()
    return []


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
        self._pool = client.connection_pool
        self._wire = _Wire(client)
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
            except _NO_ANSWER as error:
                last: redis.RedisError = error
            except redis.ResponseError as error:
                if not is_elsewhere(error):
                    raise _ours(error) from error
                last = error  # nothing was written; the next attempt dials again
            if attempt < self._retries:
                self._sleep(0.05 * 2**attempt)
        raise _ours(last) from last

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
        try:
            connection = self._pool.get_connection()
        except redis.RedisError as error:
            raise _ours(error) from error
        in_flight = 0
        # The script goes along: a server that does not know it must not answer the second chunk after it has
        # refused the first.
        reads: Iterator[Callable[[Any], list[EventId]]] = chain((_nothing_of_name,), repeat(append_answer))

        def collect() -> None:
            answer = connection.read_response(disable_decoding=True)
            ids.extend(read_reply("EVALSHA", next(reads), answer))

        try:
            iterator = iter(events)
            # The first chunk is a small one, so that the server soon has something to do.
            chunk = list(islice(iterator, FIRST_CHUNK))
            if chunk:
                connection.send_command("SCRIPT LOAD", APPEND_LUA)
                in_flight = 1
            while chunk:
                arguments = self._append_arguments(chunk, mode=mode)
                connection.send_command("EVALSHA", self._append.sha, 0, *arguments)
                in_flight += 1
                # Of one group, which most chunks are, all events are like the first.
                kinds = chunk[:1] if arguments[_GROUPS_AT] == 1 else chunk
                most_in_flight = 0 if _may_be_refused(kinds, mode) else 2
                chunk = list(islice(iterator, CHUNK))
                while in_flight > most_in_flight:
                    in_flight -= 1
                    collect()
            while in_flight:
                in_flight -= 1
                collect()
        except redis.exceptions.NoScriptError as error:
            raise UnavailableError(f"the event store has just forgotten the script: {error}") from error
        except redis.RedisError as error:
            if is_elsewhere(error) or isinstance(error, redis.exceptions.InvalidResponse):
                connection.disconnect()
            raise _ours(error) from error
        finally:
            if in_flight:
                connection.disconnect()
            self._pool.release(connection)
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
                raise _ours(error) from error
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
            self._wire.call(_nothing_of_name, "SCRIPT LOAD", script.script)
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
            raise _ours(error) from error
        return found[0] if found else None

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
                raise _ours(error) from error
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
        with _Pages(self.client, self.keys.stream(topic, action), *bounds) as pages:
            for page in pages:
                yield from pages.read(lambda entries: _events(topic, action, entries), page)

    def tail(self, topic: Topic, action: Action, *, count: int = 10) -> list[Stored]:
        """The last events of one stream, oldest first."""
        try:
            return self._wire.call(
                lambda entries: _events(topic, action, reversed(entries)),
                *("XREVRANGE", self.keys.stream(topic, action), "+", "-", "COUNT", count),
            )
        except redis.RedisError as error:
            raise _ours(error) from error

    def replay(self, topic: Topic, *, until: EventId | float | None = None) -> dict[str, Entity]:
        """The entities of a topic as its events add up to, up to and including an ID or a time, or up to now.

        Events that are appended while it reads are not in it.

        Args:
            until: an event ID, seconds since 1970, or None for all events.
        """
        state: dict[str, Entity] = {}
        for batch in self._merged(topic, until):
            try:
                read_reply("XRANGE", lambda keyed: _fold(topic, state, keyed), batch)
            except redis.RedisError as error:
                raise _ours(error) from error
        return state

    def _merged(self, topic: Topic, until: EventId | float | None) -> Iterator[list[_Keyed]]:
        try:
            ends = self._wire.call(_ends, "EVAL", LAST_LUA, 0, *self.keys.streams(topic))
        except redis.RedisError as error:
            raise _ours(error) from error
        open_streams: list[_Cursor] = []
        try:
            for action, end in zip(ACTIONS, ends, strict=True):
                # Not in one expression: what was opened before an error is closed below.
                if end is not None:
                    bound = min(end, until) if isinstance(until, EventId) else end
                    pages = _Pages(self.client, self.keys.stream(topic, action), "-", str(bound))
                    open_streams.append(_Cursor(action, pages))
            while True:
                open_streams = [cursor for cursor in open_streams if cursor.has_entries()]
                if not open_streams:
                    return
                # Up to the smallest of the pages' ends no stream can still bring something earlier.
                safe = min(cursor.last_key for cursor in open_streams)
                batch: list[_Keyed] = []
                for cursor in open_streams:
                    batch += cursor.take(safe)
                if len(open_streams) > 1:
                    batch.sort(key=itemgetter(0))
                if until is not None and not isinstance(until, EventId):
                    batch = [keyed for keyed in batch if _event_id(keyed[2][0]).epoch_s <= until]
                yield batch
        finally:
            for cursor in open_streams:
                cursor.pages.close()


def _ends(answer: list[bytes]) -> list[EventId | None]:
    """The last ID of each action's stream, None of an empty one, from an answer of `LAST_LUA`."""
    return [_event_id(end) if end else None for _, end in zip(ACTIONS, answer, strict=True)]


def _may_be_refused(events: Sequence[Event], mode: Mode) -> bool:
    """Whether an append of these that expects nothing can be refused: for the stock, or for a billing's order."""
    if mode == EVENT_ONLY:
        return False
    return mode == WITH_STOCK or ENTITIES["billing"] in set(map(type, map(itemgetter(1), events)))


# (sort key, action, entry)
_Keyed = tuple[int, Action, Entry]
_SHIFT = 1 << 64


def _sort_key(raw: bytes) -> int:
    seconds, _, microseconds = raw.partition(b"-")
    return int(seconds) * _SHIFT + int(microseconds)


def _fold(topic: Topic, state: dict[str, Entity], batch: list[_Keyed]) -> None:
    decode = _DECODERS[topic, "created"].decode
    for _, action, entry in batch:
        fields = entry[1]
        # Our own entries have two fields in this order; the search is for everybody else's.
        if len(fields) == 4 and fields[2] == b"entity":
            body = fields[3]
        else:
            body = _value_of(fields, b"entity")
            if body is None:
                continue
        try:
            if action == "deleted":
                state.pop(_ID_DECODER.decode(body).id, None)
                continue
            entity = decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if action == "created" or entity.id in state:
            state[entity.id] = entity


def _last_id(entries: list[Entry]) -> str:
    last: bytes = entries[-1][0] if entries != [] else b""
    return last.decode("ascii")


class _Pages:
    """XRANGE by pages on a connection of its own, the next page asked for before this one is handed out.

    Args:
        start: an ID, `(` before it to begin behind it, or `-`.
        end: an ID, or `+`.

    Raises:
        UnavailableError: no answer, also while the pages are read.
        StoreError: an answer that is an error.
    """

    def __init__(self, client: redis.Redis, stream: str, start: str, end: str, page: int = PAGE) -> None:
        self._pool = client.connection_pool
        self._stream = stream
        self._end = end
        self._page = page
        self._asked = False
        self._connection: Any = None
        try:
            self._connection = self._pool.get_connection()
            self._ask(start)
        except redis.RedisError as error:
            self.close()
            raise _ours(error) from error

    def __enter__(self) -> _Pages:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, start: str) -> None:
        self._asked = True  # first: a command that was sent in part leaves the connection of no use, too
        self._connection.send_command("XRANGE", self._stream, start, self._end, "COUNT", self._page)

    def __iter__(self) -> Iterator[list[Entry]]:
        while self._asked:
            entries = self._next_page()
            if entries:
                yield entries
        self.close()

    def _next_page(self) -> list[Entry]:
        try:
            entries: list[Entry] = self._connection.read_response(disable_decoding=True)
            last_id = read_reply("XRANGE", _last_id, entries)
            self._asked = False
            if len(entries) == self._page:
                self._ask("(" + last_id)
        except redis.RedisError as error:
            raise _ours(error) from error
        return entries

    def read(self, read: Callable[[list[Entry]], _Read], page: list[Entry]) -> _Read:
        """What one of its pages says.

        Raises:
            UnavailableError: it is no page.
        """
        try:
            return read_reply("XRANGE", read, page)
        except redis.RedisError as error:
            self._asked = True  # what comes next on this connection may be for somebody else
            raise _ours(error) from error

    def close(self) -> None:
        """Give the connection back; one with an answer still to come cannot be used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._asked:
                connection.disconnect()
            self._pool.release(connection)


class _Cursor:
    """Where a merge stands in one stream: a page, the sort keys of its entries, and a position."""

    def __init__(self, action: Action, pages: _Pages) -> None:
        self.pages = pages
        self._action = action
        self._iterator = iter(pages)
        self._entries: list[_Keyed] = []
        self._keys: list[int] = []
        self._at = 0

    def has_entries(self) -> bool:
        """Whether entries are left, after the next page has been fetched where needed."""
        if self._at < len(self._entries):
            return True
        page = next(self._iterator, None)
        if page is None:
            return False
        action = self._action
        self._keys = self.pages.read(lambda entries: [_sort_key(entry[0]) for entry in entries], page)
        self._entries = [(key, action, entry) for key, entry in zip(self._keys, page, strict=True)]
        self._at = 0
        return True

    @property
    def last_key(self) -> int:
        """The sort key of the page's last entry."""
        return self._keys[-1]

    def take(self, safe: int) -> list[_Keyed]:
        """The entries up to and including a sort key."""
        start = self._at
        self._at = bisect_right(self._keys, safe, start)
        return self._entries[start : self._at]
