"""The shape of events: what is appended, in which stream, and how an entry tells its event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hiredis
import pytest

from harness.account.event_ids import event_id, sequences_of
from harness.load.workload import entity_id
from harness.server.server import Server
from harness.system.consumer import ConsumerCommand, ConsumerSystem
from harness.system.shape import EventIdPlace, Latin1, Shape, shape_in

PRODUCER = 9


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "shape.toml"
    path.write_text(text, encoding="utf-8")
    return path


def appended(shape: Shape, first: int, count: int) -> list[list[Any]]:
    """The commands that append some events."""
    source = ConsumerSystem(ConsumerCommand(command="true", shape=shape)).source(_Anywhere(), "append", PRODUCER)
    reader = hiredis.Reader()
    reader.feed(source.pack(first, count))
    return [reader.gets() for _ in range(count)]  # type: ignore[misc]


class _Anywhere(Server):
    """A server of which only the namespace is asked for."""

    namespace = "n:"


def test_by_default_the_id_is_a_field_of_its_own() -> None:
    """Two streams, two events an entity, and one after the other about it in one stream."""
    commands = appended(Shape(), 0, 6)
    assert [command[1] for command in commands] == [b"n:events:1"] * 2 + [b"n:events:2"] * 2 + [b"n:events:1"] * 2
    assert [command[4].decode() for command in commands] == [event_id(PRODUCER, n) for n in range(6)]
    entities = [command[6].decode() for command in commands]
    assert entities == [entity_id(PRODUCER, n // 2) for n in range(6)]


def test_fields_keep_their_order_and_the_id_may_stand_anywhere(tmp_path: Path) -> None:
    """Within JSON, behind bytes that are no text, and twice."""
    shape = shape_in(
        written(
            tmp_path,
            """
            streams = 3
            events_an_entity = 1
            [fields]
            zz = "first"
            data = '{"of": "{entity}", "n": {"id": "{event_id}", "again": "{event_id}"}}'
            raw = { latin1 = "\\u0089BIN {event_id}" }
            """,
        )
    )
    place = EventIdPlace(shape)
    for number, command in enumerate(appended(shape, 5, 4), 5):
        assert command[:3] == [b"XADD", f"n:events:{number % 3 + 1}".encode(), b"*"]
        assert command[3::2] == [b"zz", b"data", b"raw"]
        assert command[8] == b"\x89BIN " + event_id(PRODUCER, number).encode()
        found = place.event_id(dict(zip(command[3::2], command[4::2], strict=True)))
        assert sequences_of(PRODUCER, [found]).tolist() == [number]


@pytest.mark.parametrize("fields", [{}, {b"event_id": b"short"}, {b"event_id": b"x" * 37}, {b"other": b"x" * 36}])
def test_an_entry_of_another_shape_has_no_id(fields: dict[bytes, bytes]) -> None:
    """Whatever else is in a stream is nobody's event."""
    assert EventIdPlace(Shape()).event_id(fields) == ""


def test_an_entity_that_stands_before_the_id_moves_it(tmp_path: Path) -> None:
    """All IDs have the same length, so it is at the same place in each entry."""
    shape = Shape(fields={"all": "{entity}/é/{event_id}!"})
    [command] = appended(shape, 1, 1)
    assert EventIdPlace(shape).event_id({b"all": command[4]}) == event_id(PRODUCER, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[fields]\na = 'x'", "no field has a place for the event's ID: write {event_id} where it belongs"),
        ("streams = 0", "Expected `int` >= 1 - at `$.streams`"),
        ("stream = 2", "a shape has no 'stream'; it has a table [fields], streams and events_an_entity"),
        ("[fields", "Expected ']' at the end of a table declaration"),
        ('[fields]\na = { latin1 = "{event_id}\\u20ac" }', "a: latin1 has characters up to \\u00ff only"),
        ("[fields]\na = 3", "a: a value is a text in quotes, or { latin1 = "),
        ("fields = 'x'", "fields is a table: begin it with [fields]"),
        (
            "[fields]\na = '{event_id} {thing}'",
            "a: nothing is written for {thing}; there are {event_id} and {entity}",
        ),
    ],
)
def test_a_shape_that_cannot_be(tmp_path: Path, text: str, says: str) -> None:
    """It is said in one line, with the file's name."""
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=r"shape\.toml: ") as caught:
        shape_in(path)
    assert str(caught.value).startswith(f"{path}: {says}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(ValueError, match=r"nowhere.toml: cannot be read \(No such file or directory\)"):
        shape_in(tmp_path / "nowhere.toml")


def test_bytes_that_are_no_text() -> None:
    """They count as they are."""
    assert Shape(fields={"a": Latin1("\x89{event_id}")}).entry("i", "e") == [b"a", b"\x89i"]
