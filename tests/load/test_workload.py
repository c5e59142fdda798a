"""Stamped commands: what is stamped in bulk is what would be packed one by one."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.account.event_ids import event_id
from harness.load.striped import StripedSource
from harness.load.workload import StampedCommand, placeholder

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)

PRODUCER = 0xABCDEF_012345

# Parts of a command; None stands for the event's ID, a pair for a payload around it.
parts_of = st.lists(
    st.one_of(
        st.none(),
        st.tuples(st.text(max_size=8), st.text(max_size=8)),
        st.text(max_size=12),
        st.binary(max_size=12),
        st.integers(-5, 10**9),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=6,
)


def filled(parts: list[object], stamp: str) -> list[object]:
    """The parts of a command with a stamp where the event's ID belongs."""
    values: list[object] = ["XADD"]
    for part in parts:
        if part is None:
            values.append(stamp)
        elif isinstance(part, tuple):
            values.append(f"{part[0]}{stamp}{part[1]}")
        else:
            values.append(part)
    return [*values, stamp]


@unhurried
@given(parts_of, st.integers(0, 2**48 - 20), st.integers(0, 12))
def test_stamped_commands_are_packed_commands(parts: list[object], first: int, count: int) -> None:
    """Command number n is what hiredis packs with the ID of event n at each place, byte by byte."""
    command = StampedCommand("append", filled(parts, placeholder(PRODUCER)), PRODUCER)  # type: ignore[arg-type]
    one_by_one = [
        hiredis.pack_command(tuple(filled(parts, event_id(PRODUCER, n)))) for n in range(first, first + count)
    ]

    assert b"".join(one_by_one) == command.pack(first, count)


@unhurried
@given(parts_of, st.integers(0, 2**48 - 200), st.integers(1, 12), st.integers(1, 4), st.data())
def test_one_command_is_that_of_many(
    parts: list[object], first: int, count: int, workers: int, data: st.DataObject
) -> None:
    """Packed alone, which takes another way, a command is what it is among others; a worker's share, too."""
    command = StampedCommand("append", filled(parts, placeholder(PRODUCER)), PRODUCER)  # type: ignore[arg-type]
    each = command.command_bytes
    whole = command.pack(first, count * workers)
    alone = [command.pack(first + at, 1) for at in range(count * workers)]
    assert alone == [whole[at * each : (at + 1) * each] for at in range(count * workers)]

    start, worker = data.draw(st.integers(0, 1_000)), data.draw(st.integers(0, workers - 1))
    striped = StripedSource(command, worker, workers)
    expected = [command.pack((start + at) * workers + worker, 1) for at in range(count)]
    assert [striped.pack(start + at, 1) for at in range(count)] == expected
    assert striped.pack(start, count) == b"".join(expected)


def test_a_stamped_command_whole() -> None:
    """Two commands on the wire: both places of each are filled in, and nothing else is touched."""
    other = event_id(PRODUCER + 1, 0)
    command = StampedCommand(
        "append", ["SET", placeholder(PRODUCER), f"<{placeholder(PRODUCER)}>{other}"], PRODUCER
    )

    assert command.pack(255, 2) == (
        b"*3\r\n$3\r\nSET\r\n$36\r\nabcdef01-2345-8000-8000-0000000000ff\r\n"
        b"$74\r\n<abcdef01-2345-8000-8000-0000000000ff>abcdef01-2346-8000-8000-000000000000\r\n"
        b"*3\r\n$3\r\nSET\r\n$36\r\nabcdef01-2345-8000-8000-000000000100\r\n"
        b"$74\r\n<abcdef01-2345-8000-8000-000000000100>abcdef01-2346-8000-8000-000000000000\r\n"
    )


def test_command_bytes_is_the_length_on_the_wire() -> None:
    """The length of one command is that of what is sent for it, whichever its number."""
    command = StampedCommand("append", ["SET", placeholder(PRODUCER), "x" * 200], PRODUCER)

    assert [command.command_bytes] * 2 == [len(command.pack(n, 1)) for n in (0, 2**48 - 1)]


@pytest.mark.parametrize(
    "parts", [["PING"], ["SET", event_id(PRODUCER, 1), "x"], ["SET", event_id(PRODUCER + 1, 0), "x"]]
)
def test_a_command_without_a_place_for_the_id_is_refused(parts: list[str]) -> None:
    """A command that would be the same each time is refused: its effects could not be told apart."""
    with pytest.raises(ValueError, match="the command has no place for an event's ID"):
        StampedCommand("append", parts, PRODUCER)
