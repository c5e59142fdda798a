"""Events, their IDs, and the names of streams and keys.

An event says that an entity was created, updated or deleted, and carries the whole entity as it is from then
on (as it was, for a deletion). It has two names that must not be mixed up:

    event_id   a UUID that the *producer* gives before the first attempt; a retry repeats it, and the
               store appends it once
    EventId    `<seconds>-<microseconds>`, the ID of its stream entry, given by the *server* in the step
               that appends it: unique over all streams, and in the order of events

Should somebody else put an entry into a stream with `XADD *`, Redis names it by milliseconds, a thousand
times our seconds, and refuses everything smaller in that stream from then on. The store then goes on behind
it: `<those milliseconds>-<microseconds since 1970>`. Order and uniqueness hold, and the time stays readable.
"""

from __future__ import annotations

import re
import uuid
from typing import Literal, NamedTuple, Self, get_args

import msgspec

from ordershop.entities import Entity, Topic, topic_of

Action = Literal["created", "updated", "deleted"]
ACTIONS: tuple[Action, ...] = get_args(Action)

_ID = re.compile(r"(\d{1,20})-(\d{1,20})")
# IDs with a first part above this were counted on behind a foreign entry that is named by milliseconds.
_FOREIGN_SECONDS = 100_000_000_000


class StoreError(Exception):
    """Something that an event store could not do."""


class EventId(NamedTuple):
    """The ID of an event's stream entry; IDs compare in the order of events."""

    seconds: int
    microseconds: int

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read `<seconds>-<microseconds>`.

        Raises:
            ValueError: the text has another form.
        """
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        match = _ID.fullmatch(text)
        if not match:
            raise ValueError(f"not an event ID: {text!r}")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def at(cls, epoch_s: float) -> Self:
        """The first ID that an event of that time (seconds since 1970) can have."""
        return cls(*divmod(round(epoch_s * 1_000_000), 1_000_000))

    @property
    def epoch_s(self) -> float:
        """When the server appended the event, in seconds since 1970."""
        if self.seconds > _FOREIGN_SECONDS:
            # The foreign entry itself has a small second part; of ours behind it, that is the time.
            counted_on = self.microseconds > _FOREIGN_SECONDS
            return self.microseconds / 1_000_000 if counted_on else self.seconds / 1_000
        return self.seconds + self.microseconds / 1_000_000

    def __str__(self) -> str:
        return f"{self.seconds}-{self.microseconds}"


class Event(NamedTuple):
    """That something happened to an entity."""

    action: Action
    entity: Entity
    event_id: str

    @property
    def topic(self) -> Topic:
        """The topic of the event's entity."""
        return topic_of(self.entity)

    @classmethod
    def new(cls, action: Action, entity: Entity, event_id: str | None = None) -> Self:
        """An event with an `event_id` of its own, unless one is given."""
        return cls(action, entity, event_id or str(uuid.uuid4()))


class Stored(NamedTuple):
    """An event as it stands in the store, with the ID that it got there."""

    id: EventId
    topic: Topic
    action: Action
    entity: Entity
    event_id: str


class Keys:
    """The names of all keys of a store.

    Args:
        namespace: what every key begins with; empty for a database of the shop's own.
    """

    def __init__(self, namespace: str = "") -> None:
        self.namespace = namespace
        self.unbilled = f"{namespace}{{order}}_unbilled"

    def stream(self, topic: Topic, action: Action) -> str:
        """The stream of the events that an action has left on a topic."""
        return f"{self.namespace}events:{{{topic}}}_{action}"

    def streams(self, topic: Topic) -> list[str]:
        """All streams of a topic, in the order of `ACTIONS`."""
        return [self.stream(topic, action) for action in ACTIONS]

    def ids(self, topic: Topic) -> str:
        """The Set of the ids of a topic."""
        return f"{self.namespace}{{{topic}}}_ids"

    def entity(self, topic: Topic, entity_id: str) -> str:
        """The Hash of an entity's fields."""
        return f"{self.namespace}{{{topic}}}_entity:{entity_id}"

    def updates(self, topic: Topic) -> str:
        """The Hash that counts how often each entity was written again; its version is one more."""
        return f"{self.namespace}{{{topic}}}_updates"


def entity_json(entity: Entity) -> bytes:
    """An entity as it stands in the field `entity` of a stream entry."""
    return _ENCODER.encode(entity)


_ENCODER = msgspec.json.Encoder()
