"""The shape of the events that a consumer is given: the fields of their entries, and how many streams there are.

    streams = 2
    events_an_entity = 2

    [fields]
    event_id = "{event_id}"
    data = '{"customer": "{entity}", "name": "Ada Lovelace"}'

An entry has the fields in this order, after `XADD stream *`. Where `{event_id}` stands in a value the event's ID
is written, 36 characters long; it has to stand somewhere, for the effect to tell it, and for an entry to be found
again. Where `{entity}` stands, there is the ID of what the event is about. So many events, one after the other,
are about one entity, and in one stream. A value that is no text is written as what stands for its bytes:

    [fields]
    __data__ = { latin1 = "\\u0089BIN {event_id}" }

Rejected: a template for the whole command. What else than XADD appends, appends to something that a consumer's
group does not read.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from harness.account.event_ids import ID_LENGTH

EVENT_ID, ENTITY = "{event_id}", "{entity}"
# JSON has a quote after its brace, or a space.
_PLACEHOLDER = re.compile(r"\{[A-Za-z_]\w*\}")


class Latin1(Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes, as the text whose characters have their values."""

    latin1: str


def _plain() -> dict[str, str | Latin1]:
    return {
        "event_id": EVENT_ID,
        "entity": ENTITY,
        "payload": '{"name": "Ada Lovelace", "email": "ada@example.org"}',
    }


class Shape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of events.

    Attributes:
        fields: of an entry, in their order.
        streams: how many there are.
        events_an_entity: so many events, one after the other, are about one entity.

    Raises:
        ValueError: no value has a place for the event's ID, or one has a place for something else.
    """

    fields: dict[str, str | Latin1] = msgspec.field(default_factory=_plain)
    streams: Annotated[int, Meta(ge=1, le=1_000)] = 2
    events_an_entity: Annotated[int, Meta(ge=1, le=1_000)] = 2

    def __post_init__(self) -> None:
        if not any(EVENT_ID in _text(value) for value in self.fields.values()):
            raise ValueError(f"no field has a place for the event's ID: write {EVENT_ID} where it belongs")
        for name, value in self.fields.items():
            strange = [each for each in _PLACEHOLDER.findall(_text(value)) if each not in {EVENT_ID, ENTITY}]
            if strange:
                raise ValueError(f"{name}: nothing is written for {strange[0]}; there are {EVENT_ID} and {ENTITY}")
            if isinstance(value, Latin1) and not value.latin1.isascii() and max(map(ord, value.latin1)) > 255:
                raise ValueError(f"{name}: latin1 has characters up to \\u00ff only")

    @property
    def entry_bytes(self) -> int:
        """How many bytes of names and values an entry has."""
        return sum(map(len, self.entry("x" * ID_LENGTH, "x" * ID_LENGTH)))

    def entry(self, event_id: str, entity: str) -> list[bytes]:
        """The fields of an entry, as XADD takes them.

        Args:
            event_id: of the event.
            entity: the ID of what it is about.
        """
        parts: list[bytes] = []
        for name, value in self.fields.items():
            filled = _text(value).replace(EVENT_ID, event_id).replace(ENTITY, entity)
            parts += [name.encode(), filled.encode("latin1" if isinstance(value, Latin1) else "utf-8")]
        return parts

    def described(self) -> dict[str, object]:
        """What a record says of it."""
        return {
            "fields": {name: _text(value) for name, value in self.fields.items()},
            "streams": self.streams,
            "events_an_entity": self.events_an_entity,
        }


class EventIdPlace:
    """Where the event's ID stands in an entry of a shape: in one field, and always at the same place of it.

    Args:
        shape: of the entries.
    """

    def __init__(self, shape: Shape) -> None:
        mark = "\0" * ID_LENGTH
        parts = shape.entry(mark, "x" * ID_LENGTH)
        self._field, value = next(
            pair for pair in zip(parts[::2], parts[1::2], strict=True) if mark.encode() in pair[1]
        )
        self._at, self._length = value.index(mark.encode()), len(value)

    def event_id(self, fields: Mapping[bytes, bytes]) -> str:
        """The ID in an entry; empty where the entry has another shape."""
        value = fields.get(self._field, b"")
        if len(value) != self._length:
            return ""
        return value[self._at : self._at + ID_LENGTH].decode("ascii", "replace")


def shape_in(path: Path) -> Shape:
    """The shape that a TOML file describes.

    Args:
        path: of the file.

    Raises:
        ValueError: it cannot be read, or describes none; its text is one clear line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'it is no UTF-8'})"
        ) from error
    try:
        return msgspec.convert(_of_known_kinds(tomllib.loads(text)), Shape)
    except ValueError as error:  # TOML's and msgspec's, too
        raise ValueError(f"{path}: {error}") from error


def _of_known_kinds(told: dict[str, Any]) -> dict[str, Any]:
    """What a file says.

    Raises:
        ValueError: it has something else than a shape, or a field of another kind.
    """
    for name in told:
        if name not in Shape.__struct_fields__:
            raise ValueError(f"a shape has no {name!r}; it has a table [fields], streams and events_an_entity")
    fields = told.get("fields", {})
    if not isinstance(fields, dict):
        raise ValueError("fields is a table: begin it with [fields]")  # noqa: TRY004 - a file is wrong
    for name, value in fields.items():
        if not isinstance(value, str) and (not isinstance(value, dict) or [*value] != ["latin1"]):
            raise ValueError(f'{name}: a value is a text in quotes, or {{ latin1 = "..." }}')
    return told


def _text(value: str | Latin1) -> str:
    return value.latin1 if isinstance(value, Latin1) else value


def streams_named(namespace: str, count: int) -> Sequence[str]:
    """The names of so many streams."""
    return [f"{namespace}events:{number}" for number in range(1, count + 1)]
