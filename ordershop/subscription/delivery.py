"""What a consumer has in hand: deliveries, which are events, and entries that are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple, Protocol

import msgspec

from ordershop.codec import DECODERS, StreamEntry, stored_event
from ordershop.entities import Entity, Topic
from ordershop.events import Action, EventId


class Delivery(NamedTuple):
    """An event in the hands of a consumer."""

    id: EventId
    topic: Topic
    action: Action
    entity: Entity
    event_id: str
    stream: str
    raw_id: bytes


class NoEvent(NamedTuple):
    """An entry in the hands of a consumer that is no event: somebody else put it there, or it was trimmed."""

    id: EventId
    stream: str
    raw_id: bytes


Received = Delivery | NoEvent
ID_OF: Callable[[Received], EventId] = itemgetter(0)
RAW_ID_OF: Callable[[Received], bytes] = itemgetter(-1)
# Where an entry stands: its stream, and its ID there.
Key = tuple[str, bytes]
key_of: Callable[[Received], Key] = itemgetter(-2, -1)


class AwayError(Exception):
    """What the effect needs does not answer; the same events are to be tried again later."""


class Stop(Protocol):
    """What tells a loop to end; `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether to end."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait some seconds, or until it is set."""
        ...


Effect = Callable[[Sequence[Delivery]], Iterable[Delivery]]


def received(stream: str, topic: Topic, action: Action, entries: Iterable[StreamEntry]) -> list[Received]:
    """What a page of a stream brings to a consumer."""
    decode = DECODERS[topic].decode
    new = tuple.__new__  # past the named tuples' own constructors, which take as long as all the rest
    page: list[Received] = []
    append = page.append
    last_seconds, seconds = b"", 0
    for entry in entries:
        raw, fields = entry
        raw_seconds, _, microseconds = raw.partition(b"-")
        if raw_seconds != last_seconds:
            last_seconds, seconds = raw_seconds, int(raw_seconds)
        event_id = new(EventId, (seconds, int(microseconds)))
        # Our own entries have two fields in this order; the search is for everybody else's.
        if fields is not None and len(fields) == 4:
            name_of_id, name, name_of_entity, body = fields
            if name_of_id == b"event_id" and name_of_entity == b"entity":
                try:
                    append(new(Delivery, (event_id, topic, action, decode(body), name.decode(), stream, raw)))
                    continue
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    pass  # looked at again below, by what says of any entry whether it is an event
        event = stored_event(topic, action, entry)
        if event is None:
            append(NoEvent(event_id, stream, raw))
        else:
            append(Delivery(event_id, topic, action, event.entity, event.event_id, stream, raw))
    return page
