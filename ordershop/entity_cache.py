"""The entity cache: what the events add up to, kept by the same step that appends them.

    ids of a topic     Set   {customer}_ids
    an entity          Hash  {customer}_entity:<id>
    its list field     List  {order}_product_ids:<id>

`append.lua` writes it; this module reads it. Every query is one command to the server, so one round trip, and
no entity is ever seen in part. What to send and what an answer means are pure functions here; the event
stores, one blocking and one for asyncio, do the sending.

An id without an entity reads as None. A Hash that is no valid entity (somebody else wrote it) raises.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec

from ordershop.entities import ENTITIES, LIST_FIELD, Entity, Topic
from ordershop.events import Keys, StoreError

PAGE = 500

READ_LUA = files("ordershop").joinpath("read.lua").read_text(encoding="utf-8")


class CacheError(StoreError):
    """A cache entry that is no entity of its topic."""


def find_one_is_plain(topic: Topic) -> bool:
    """Whether an entity of this topic is all in its Hash, so that a bare HGETALL reads it whole."""
    return topic not in LIST_FIELD


def read_arguments(keys: Keys, topic: Topic, *, cursor: bytes | str = "", ids: tuple[str, ...] = ()) -> list[Any]:
    """The arguments of `read.lua` for a page from a cursor, or for some ids."""
    return [keys.namespace, topic, LIST_FIELD.get(topic, ""), cursor, PAGE, *ids]


def entity_from_hash(topic: Topic, flat: list[bytes], items: list[bytes]) -> Entity | None:
    """An entity from its Hash and its List; None where the Hash is empty.

    Args:
        flat: field, value, field, value, ... as HGETALL answers in RESP2.
        items: the List's items; empty for a topic without a list field.

    Raises:
        CacheError: the Hash is no entity of this topic.
    """
    if flat == []:
        return None
    fields: dict[str, Any] = {
        flat[i].decode("utf-8", "replace"): flat[i + 1].decode("utf-8", "replace") for i in range(0, len(flat), 2)
    }
    if topic in LIST_FIELD:
        fields[LIST_FIELD[topic]] = [item.decode("utf-8", "replace") for item in items]
    try:
        return msgspec.convert(fields, ENTITIES[topic], strict=False)
    except msgspec.ValidationError as error:
        raise CacheError(f"the cache holds a {topic} that is none: {error}") from error


def entities_from_read(topic: Topic, answer: list[Any]) -> tuple[bytes, list[Entity]]:
    """The next cursor (b"0" after the last page) and the entities of an answer of `read.lua`.

    Raises:
        CacheError: a Hash is no entity of this topic.
    """
    entities = []
    for _, flat, items in answer[1:]:
        entity = entity_from_hash(topic, flat, items)
        if entity is not None:
            entities.append(entity)
    return answer[0], entities
