"""The event store for services: what `EventStore` does, for many coroutines on one shared connection.

    store = AsyncEventStore("redis://127.0.0.1:6379")
    await store.append(Event.new("created", customer))
    await store.find_one("customer", "c-1")

Every call ends, whatever the server does: an answer may take `timeout_s`, and a call without one is repeated once,
and so is one that a replica or a loading server has refused, on a new connection. All that it takes, connecting
and loading a forgotten script included, ends after twice `timeout_s` and the pause between: then, by default
before two seconds have gone by, it raises. A query of many pages has `PAGE_S` more for each page that came. An
append is repeated with the same `event_id`, so it happens once; what a query repeats changes nothing.

Commands and answers are the pure functions of `codec.py` and `entity_cache.py`; only the sending differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from redis.exceptions import InvalidResponse

from ordershop import entity_cache
from ordershop.codec import (
    APPEND_LUA,
    DEDUP_WINDOW_S,
    MOST_TRIMS,
    PROJECT,
    TRIM_LUA,
    Expect,
    Mode,
    Reference,
    append_answer,
    append_arguments,
    trim_answer,
    trim_arguments,
)
from ordershop.entities import ENTITIES, Customer, Entity, Order, Topic
from ordershop.events import Action, Event, EventId, Keys, StoreError
from ordershop.resp import LostError, ReplyError, Resp
from ordershop.server.tls import read_reply
from ordershop.server.url import Address
from ordershop.wire import UnavailableError, says_elsewhere, says_unable

_Read = TypeVar("_Read")

# One script call must not hold the server for long: so many events take it some milliseconds.
TOGETHER = 1_000
# A snapshot of so many entities holds the server for some 50 ms; more are read page by page.
SNAPSHOT = 20_000

TIMEOUT_S = 0.9
BACK_OFF_S = 0.05
PAGE_S = 0.1

# A version that no entity has.
_NEVER = -1


class _Script:
    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_APPEND = _Script(APPEND_LUA)
_READ = _Script(entity_cache.READ_LUA)
_TRIM = _Script(TRIM_LUA)


class AsyncEventStore:
    """An event store on one Redis or Valkey server, for asyncio.

    Args:
        url: the server's.
        namespace: what every key begins with; empty for a database of the shop's own.
        dedup_window_s: for how long at least a repeated `event_id` is recognised.
        timeout_s: how long one answer may take.
    """

    def __init__(
        self,
        url: Address | str,
        namespace: str = "",
        *,
        dedup_window_s: int = DEDUP_WINDOW_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.keys = Keys(namespace)
        self._resp = Resp(url, timeout_s=timeout_s)
        self._dedup_window_s = dedup_window_s
        self._longest_s = 2 * timeout_s + BACK_OFF_S

    async def close(self) -> None:
        """Close the connection."""
        await self._resp.close()

    async def ping(self) -> None:
        """Ask whether the server answers.

        Raises:
            UnavailableError: it does not.
        """
        await self._commands([("PING",)])

    # Commands ------------------------------------------------------------------------------------------

    async def append(
        self,
        event: Event,
        *,
        expect: Expect = None,
        references: Sequence[Reference] = (),
        mode: Mode = PROJECT,
    ) -> EventId:
        """Append one event and answer its ID; arguments and errors as for `EventStore.append`."""
        return (await self.append_together([event], expect=expect, references=references, mode=mode))[0]

    async def append_together(
        self,
        events: Sequence[Event],
        *,
        expect: Expect = None,
        references: Sequence[Reference] = (),
        mode: Mode = PROJECT,
    ) -> list[EventId]:
        """Append at most `TOGETHER` events in one atomic step, all or none; arguments as for `append`.

        Raises:
            ValueError: no event, or more than `TOGETHER`; and as for `append_arguments`.
            RefusedError: an expectation does not hold; nothing was written.
            UnavailableError: no answer; it may have happened, and may be repeated with the same events.
        """
        if not 0 < len(events) <= TOGETHER:
            raise ValueError(f"1 to {TOGETHER} events can be appended together, not {len(events)}")
        arguments = append_arguments(
            self.keys,
            events,
            expect=expect,
            references=references,
            mode=mode,
            dedup_window_s=self._dedup_window_s,
        )
        return await self._run(_APPEND, arguments, append_answer)

    async def trim(
        self,
        topic: Topic,
        action: Action,
        *,
        keep: int = 0,
        keep_s: float = 0.0,
        even_without_group: bool = False,
    ) -> int:
        """Remove what every group on a stream has acknowledged; as `EventStore.trim`, one round trip a page."""
        arguments = trim_arguments(
            self.keys, topic, action, keep=keep, keep_s=keep_s, even_without_group=even_without_group
        )
        removed = 0
        for _ in range(MOST_TRIMS):
            count, more = await self._run(_TRIM, arguments, trim_answer)
            removed += count
            if not more:
                break
        return removed

    async def was_appended(self, event_id: str) -> bool:
        """Whether an event was appended lately, so that repeating it would do nothing."""
        # The script looks for a known event first; what is unknown is then refused by its version.
        probe = Event("deleted", Customer("", "", ""), event_id)
        arguments = append_arguments(self.keys, [probe], expect=_NEVER, dedup_window_s=self._dedup_window_s)
        return await self._run(_APPEND, arguments, _is_known)

    # Queries -------------------------------------------------------------------------------------------

    async def find_one(self, topic: Topic, entity_id: str) -> Entity | None:
        """The entity of that id as it is now, or None; one round trip."""
        if entity_cache.find_one_is_plain(topic):
            flat = (await self._commands([("HGETALL", self.keys.entity(topic, entity_id))]))[0]
            return self._read("HGETALL", lambda reply: entity_cache.entity_from_hash(topic, reply, []), flat)
        arguments = entity_cache.read_arguments(self.keys, topic, ids=(entity_id,))
        found = (await self._read_page(topic, arguments))[1]
        return found[0] if found else None

    async def find_versioned(self, topic: Topic, entity_id: str) -> tuple[Entity, int] | None:
        """The entity of that id and its version, for an append that expects it; one round trip.

        The version is read first: should the entity change in between, it is older than the entity, and the
        append is refused.
        """
        updates = ("HGET", self.keys.updates(topic), entity_id)
        arguments = entity_cache.read_arguments(self.keys, topic, ids=(entity_id,))
        count, answer = await self._with_script(_READ, [updates, ("EVALSHA", _READ.sha, 0, *arguments)])
        found = self._read_entities(topic, answer)[1]
        updated = self._read("HGET", lambda reply: 0 if reply is None else int(reply), count)
        return (found[0], 1 + updated) if found else None

    async def find_all(self, topic: Topic) -> list[Entity]:
        """All entities of a topic, one round trip a page; one that changes meanwhile may come either way."""
        async with self._in_time() as time_left:
            return await self._find_all(topic, time_left)

    async def _find_all(self, topic: Topic, time_left: asyncio.Timeout) -> list[Entity]:
        cursor = b"0"
        found: dict[str, Entity] = {}  # SSCAN may give an id twice while the Set is being resized
        while True:
            arguments = entity_cache.read_arguments(self.keys, topic, cursor=cursor)
            cursor, entities = await self._read_page(topic, arguments)
            found.update((entity.id, entity) for entity in entities)
            if cursor == b"0":
                return list(found.values())
            _extend(time_left)

    async def unbilled(self) -> list[Order]:
        """The orders that no billing names, two round trips a page."""
        async with self._in_time() as time_left:
            return await self._unbilled(time_left)

    async def _unbilled(self, time_left: asyncio.Timeout) -> list[Order]:
        cursor = b"0"
        found: dict[str, Order] = {}
        while True:
            scan = ("SSCAN", self.keys.unbilled, cursor, "COUNT", entity_cache.PAGE)
            cursor, ids = self._read("SSCAN", _ids_of_scan, (await self._commands([scan]))[0])
            if ids:
                arguments = entity_cache.read_arguments(self.keys, "order", ids=ids)
                for order in (await self._read_page("order", arguments))[1]:
                    if isinstance(order, Order):
                        found[order.id] = order
            if cursor == b"0":
                return list(found.values())
            _extend(time_left)

    async def find_everything(self) -> dict[Topic, list[Entity]]:
        """All entities of all topics, as they stood at one moment.

        Of more than `SNAPSHOT` entities the topics are read one after the other: reading them in one step
        would hold up everybody else.
        """
        async with self._in_time() as time_left:
            counts = await self._commands([("SCARD", self.keys.ids(topic)) for topic in ENTITIES])
            if self._read("SCARD", sum, counts) > SNAPSHOT:
                return {topic: await self._find_all(topic, time_left) for topic in ENTITIES}
            return await self._snapshot()

    async def _snapshot(self) -> dict[Topic, list[Entity]]:
        reads = []
        for topic in ENTITIES:
            arguments = entity_cache.read_arguments(self.keys, topic, cursor="0")
            arguments[4] = 10 * SNAPSHOT  # a page that has room for all
            reads.append(("EVALSHA", _READ.sha, 0, *arguments))
        # What is missing inside a transaction shows too late, so the script goes along.
        answers = (await self._commands([("SCRIPT", "LOAD", _READ.text), ("MULTI",), *reads, ("EXEC",)]))[-1]
        pages: list[tuple[Topic, Any]] = self._read("EXEC", _by_topic, answers)
        for _, answer in pages:
            if isinstance(answer, ReplyError):
                raise _store_error(answer)
        return {topic: self._read_entities(topic, answer)[1] for topic, answer in pages}

    # Sending -------------------------------------------------------------------------------------------

    async def _run(self, script: _Script, arguments: list[Any], read: Callable[[Any], _Read]) -> _Read:
        answer = (await self._with_script(script, [("EVALSHA", script.sha, 0, *arguments)]))[0]
        return self._read("EVALSHA", read, answer)

    async def _read_page(self, topic: Topic, arguments: list[Any]) -> tuple[bytes, list[Entity]]:
        return await self._run(_READ, arguments, lambda reply: entity_cache.entities_from_read(topic, reply))

    def _read_entities(self, topic: Topic, answer: Any) -> tuple[bytes, list[Entity]]:
        return self._read("EVALSHA", lambda reply: entity_cache.entities_from_read(topic, reply), answer)

    def _read(self, command: str, read: Callable[[Any], _Read], reply: Any) -> _Read:
        try:
            return read_reply(command, read, reply)
        except InvalidResponse as error:
            self._resp.leave()  # what comes next on this connection may be for somebody else
            raise UnavailableError(f"no answer from the event store: {error}") from error

    async def _with_script(self, script: _Script, commands: list[tuple[Any, ...]]) -> list[Any]:
        until_s = asyncio.get_running_loop().time() + self._longest_s
        try:
            return await self._commands(commands, until_s)
        except _NoScriptError:
            # A restarted server has forgotten its scripts; nothing was executed, so this is no repeat.
            async with self._in_time(until_s):
                return (await self._commands([("SCRIPT", "LOAD", script.text), *commands], until_s))[1:]

    async def _commands(self, commands: list[tuple[Any, ...]], until_s: float | None = None) -> list[Any]:
        if until_s is None:
            until_s = asyncio.get_running_loop().time() + self._longest_s
        try:
            # Connecting may take `timeout_s`, and the answer as long: no longer than all may take, so that the
            # usual call needs no timer of its own.
            return await self._resp.call_many(commands)
        except LostError:
            pass
        except ReplyError as error:
            if not self._must_leave(error):
                raise _store_error(error) from error
        try:
            async with self._in_time(until_s):
                await asyncio.sleep(BACK_OFF_S)
                return await self._resp.call_many(commands)
        except LostError as error:
            raise UnavailableError(f"no answer from the event store: {error}") from error
        except ReplyError as error:
            self._must_leave(error)
            raise _store_error(error) from error

    def _must_leave(self, error: ReplyError) -> bool:
        """Whether a server has said that another one is to be asked; its connection is left then."""
        if not says_elsewhere(str(error)):
            return False
        self._resp.leave()
        return True

    @contextlib.asynccontextmanager
    async def _in_time(self, until_s: float | None = None) -> AsyncIterator[asyncio.Timeout]:
        """Raises `UnavailableError` when what is done in it takes too long.

        Args:
            until_s: by the loop's clock; None for as long as one call may take, from now on.
        """
        if until_s is None:
            until_s = asyncio.get_running_loop().time() + self._longest_s
        try:
            async with asyncio.timeout_at(until_s) as time_left:
                yield time_left
        except TimeoutError as error:
            raise UnavailableError("no answer from the event store in time") from error


def _extend(time_left: asyncio.Timeout) -> None:
    """Give a query that has brought a page a little more time."""
    until_s = time_left.when()
    if until_s is not None and not time_left.expired():
        time_left.reschedule(until_s + PAGE_S)


def _is_known(answer: list[bytes]) -> bool:
    """Whether `append.lua` has answered the ID of an event that it knew: a refusal begins with nothing."""
    return bool(answer[0].decode())


def _ids_of_scan(answer: list[Any]) -> tuple[bytes, tuple[str, ...]]:
    """The next cursor and the ids of an answer to SSCAN."""
    cursor, raw_ids = answer
    return cursor, tuple(raw_id.decode() for raw_id in raw_ids)


def _by_topic(answers: list[Any]) -> list[tuple[Topic, Any]]:
    """The answers of a transaction, one for each topic."""
    return list(zip(ENTITIES, answers, strict=True))


class _NoScriptError(UnavailableError):
    """The server does not know a script."""


def _store_error(error: ReplyError) -> StoreError:
    text = str(error)
    if text.startswith("NOSCRIPT"):
        return _NoScriptError(text)
    if says_unable(text):
        return UnavailableError(f"the event store cannot serve now: {text}")
    return StoreError(f"the event store refused a command: {text}")
