"""What to send to the server for an append or a trim, and what its answers and its stream entries mean.

Pure functions, which the blocking store, the one for asyncio and the consumers share. Appending is one EVALSHA of
`append.lua`: version check, idempotency, ID, stream entry and entity cache in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from operator import itemgetter
from typing import Any, Literal

import msgspec

from ordershop.entities import ENTITIES, LIST_FIELD, Entity, Topic, topic_of
from ordershop.events import Action, Event, EventId, Keys, Stored, StoreError, entity_json

APPEND_LUA = files("ordershop").joinpath("append.lua").read_text(encoding="utf-8")
TRIM_LUA = files("ordershop").joinpath("trim.lua").read_text(encoding="utf-8")

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


class RefusedError(StoreError):
    """The store refused an append, and wrote nothing.

    `reason` is one of `unknown` (an entity does not exist), `version` (another one than expected), `stock`
    (not enough of a product) and `billed` (the order has a bill); `detail` says which.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


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
    return [event_id_of(raw) for raw in answer]


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


def event_id_of(raw: bytes) -> EventId:
    """The ID that the server gives as bytes."""
    seconds, _, microseconds = raw.partition(b"-")
    # Past the named tuple's own constructor, which takes as long as all the rest.
    return tuple.__new__(EventId, (int(seconds), int(microseconds)))


def events_of(topic: Topic, action: Action, entries: Iterable[StreamEntry]) -> list[Stored]:
    """The events of some stream entries, without the entries that are none."""
    found = (stored_event(topic, action, entry) for entry in entries)
    return [event for event in found if event is not None]


class _IdOnly(msgspec.Struct, gc=False):
    id: str


# Of the field `entity`: the whole of one, or its id alone.
DECODERS: dict[Topic, msgspec.json.Decoder[Any]] = {
    topic: msgspec.json.Decoder(kind) for topic, kind in ENTITIES.items()
}
ID_DECODER = msgspec.json.Decoder(_IdOnly)

# As the server answers it: [id, [field, value, ...]].
StreamEntry = list[Any]


def value_of(fields: list[bytes], name: bytes) -> bytes | None:
    """The value of a field of a stream entry; None where it has none."""
    return next((fields[i + 1] for i in range(0, len(fields) - 1, 2) if fields[i] == name), None)


def stored_event(topic: Topic, action: Action, entry: StreamEntry) -> Stored | None:
    """The event of a stream entry, or None for an entry that is no event (somebody else put it there)."""
    fields = entry[1]
    body = value_of(fields, b"entity") if fields else None
    if body is None:
        return None
    try:
        entity = DECODERS[topic].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    event_id = (value_of(fields, b"event_id") or b"").decode("utf-8", "replace")
    return Stored(event_id_of(entry[0]), topic, action, entity, event_id)


def nothing_of_name(answer: bytes) -> list[EventId]:
    """The IDs from an answer that is the name of a script which was loaded."""
    answer.decode()
    return []


def may_be_refused(events: Sequence[Event], arguments: Sequence[Any], mode: Mode) -> bool:
    """Whether an append that expects nothing can be refused: for the stock, or for a billing's order.

    Args:
        arguments: of that append.
    """
    if mode == EVENT_ONLY:
        return False
    # Of one group, which most appends are, all events are like the first.
    kinds = events[:1] if arguments[_GROUPS_AT] == 1 else events
    return mode == WITH_STOCK or ENTITIES["billing"] in set(map(type, map(itemgetter(1), kinds)))
