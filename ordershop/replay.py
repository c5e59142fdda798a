"""Replays: the created, updated and deleted streams of a topic, merged in the order of event IDs, and folded.

A page of each stream is read at a time, and the next one is asked for before the last is folded: memory is that of
the entities. A replay ends where all streams ended at one moment, which is asked for first: were each read to its
own end, one of them would end earlier than another, and what one step has written to both be half there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Self, TypeVar

import msgspec
import redis

from ordershop.codec import DECODERS, ID_DECODER, PAGE, StreamEntry, event_id_of, value_of
from ordershop.entities import Entity, Topic
from ordershop.events import ACTIONS, Action, EventId, Keys, StoreError
from ordershop.server.tls import read_reply
from ordershop.wire import Pipe, Wire, store_error

# The ID of the last entry of each stream, or nothing of an empty one: all of one moment.
LAST_LUA = """\
local last = {}
for i, stream in ipairs(ARGV) do
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  last[i] = entry and entry[1] or ''
end
return last
"""

_Read = TypeVar("_Read")
# (sort key, action, entry)
_Keyed = tuple[int, Action, StreamEntry]
_SHIFT = 1 << 64


def replayed(
    client: redis.Redis,
    wire: Wire,
    keys: Keys,
    topic: Topic,
    until: EventId | float | None,
    after_page: Callable[[], object],
) -> dict[str, Entity]:
    """The entities of a topic as its events add up to.

    Args:
        client: of whose pool each stream gets a connection.
        wire: asks for the ends of the streams.
        until: the last event's ID or time, in seconds since 1970; None for all events.
        after_page: called when a page has been folded.

    Raises:
        UnavailableError, StoreError: as for `Pages`.
    """
    state: dict[str, Entity] = {}
    for batch in _merged(client, wire, keys, topic, until):
        try:
            read_reply("XRANGE", lambda keyed: _fold(topic, state, keyed), batch)
        except redis.RedisError as error:
            raise store_error(error) from error
        after_page()
    return state


def _merged(
    client: redis.Redis, wire: Wire, keys: Keys, topic: Topic, until: EventId | float | None
) -> Iterator[list[_Keyed]]:
    try:
        ends = wire.call(_ends, "EVAL", LAST_LUA, 0, *keys.streams(topic))
    except redis.RedisError as error:
        raise store_error(error) from error
    open_streams: list[_Cursor] = []
    try:
        for action, end in zip(ACTIONS, ends, strict=True):
            # Not in one expression: what was opened before an error is closed below.
            if end is not None:
                bound = min(end, until) if isinstance(until, EventId) else end
                pages = Pages(client, keys.stream(topic, action), "-", str(bound))
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
                batch = [keyed for keyed in batch if event_id_of(keyed[2][0]).epoch_s <= until]
            yield batch
    finally:
        for cursor in open_streams:
            cursor.pages.close()


def _ends(answer: list[bytes]) -> list[EventId | None]:
    """The last ID of each action's stream, None of an empty one, from an answer of `LAST_LUA`."""
    return [event_id_of(end) if end else None for _, end in zip(ACTIONS, answer, strict=True)]


def _sort_key(raw: bytes) -> int:
    seconds, _, microseconds = raw.partition(b"-")
    return int(seconds) * _SHIFT + int(microseconds)


def _fold(topic: Topic, state: dict[str, Entity], batch: list[_Keyed]) -> None:
    decode = DECODERS[topic].decode
    for _, action, entry in batch:
        fields = entry[1]
        # Our own entries have two fields in this order; the search is for everybody else's.
        if len(fields) == 4 and fields[2] == b"entity":
            body = fields[3]
        else:
            body = value_of(fields, b"entity")
            if body is None:
                continue
        try:
            if action == "deleted":
                state.pop(ID_DECODER.decode(body).id, None)
                continue
            entity = decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if action == "created" or entity.id in state:
            state[entity.id] = entity


def _page(entries: list[StreamEntry]) -> tuple[list[StreamEntry], str]:
    """A page of a stream, and the ID of its last entry."""
    last: bytes = entries[-1][0] if entries != [] else b""
    return entries, last.decode("ascii")


class Pages:
    """XRANGE by pages on a connection of its own, the next page asked for before this one is handed out.

    Args:
        start: an ID, `(` before it to begin behind it, or `-`.
        end: an ID, or `+`.

    Raises:
        UnavailableError: no answer, also while the pages are read.
        StoreError: an answer that is an error.
    """

    def __init__(self, client: redis.Redis, stream: str, start: str, end: str) -> None:
        self._stream = stream
        self._end = end
        self._pipe = Pipe(client)
        try:
            self._ask(start)
        except StoreError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, start: str) -> None:
        self._pipe.send(_page, "XRANGE", self._stream, start, self._end, "COUNT", PAGE)

    def __iter__(self) -> Iterator[list[StreamEntry]]:
        for entries, last_id in self._pipe.collect():
            if len(entries) == PAGE:
                self._ask("(" + last_id)
            if entries:
                yield entries
        self.close()

    def read(self, read: Callable[[list[StreamEntry]], _Read], page: list[StreamEntry]) -> _Read:
        """What one of its pages says.

        Raises:
            UnavailableError: it is no page.
        """
        return self._pipe.read("XRANGE", read, page)

    def close(self) -> None:
        """Give the connection back."""
        self._pipe.close()


class _Cursor:
    """Where a merge stands in one stream: a page, the sort keys of its entries, and a position."""

    def __init__(self, action: Action, pages: Pages) -> None:
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
