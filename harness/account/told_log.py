"""The log of what consumer groups were told: what a proxy notes of commands and their replies, and its format.

    magic | frame | frame | ...          frame: length, CRC-32 (each 4 bytes), then an `Epoch`, deflated

An `Epoch` is what was noted between two times of writing, at most a second apart. Commands that name entries are
kept by the kind of what was told, stream, group and consumer, in columns: times, connections, how many IDs each
command has, and the IDs one after the other. So a command of one ID costs 5 to 9 bytes, one of hundreds far less.
Commands on groups themselves are rare, and are kept one by one.

    kind        entries whose IDs                        kind        entries whose IDs
    new         a XREADGROUP with > was answered         acked       an XACK named, and all of them were pending
    noack       the same, with NOACK: never pending      ack_none    an XACK named, and none of them was pending
    again       a XREADGROUP of pending ones answered    ack_part    an XACK named, and some of them were pending
    claimed     a XCLAIM or XAUTOCLAIM was answered      ack_sent    an XACK named that was never answered
    deleted     a XAUTOCLAIM found to be deleted         xdel        an XDEL named, and all of them were there

A frame that was cut ends the log: what comes after it was never whole. Times are of the machine's monotonic clock,
in units of 100 ns; no two commands of one log have the same, so that they have an order.

Rejected: one record a command. Reading ten million of them one by one takes a minute.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

Kind = Literal["new", "noack", "again", "claimed", "deleted", "acked", "ack_none", "ack_part", "ack_sent", "xdel"]

MAGIC = b"shopbench told 1\n"
# Of all times in the log.
TICK_NS = 100
_FRAME = struct.Struct("<II")
# Fast, and half the size of what it would be without.
_LEVEL = 1


class Block(msgspec.Struct, frozen=True, array_like=True):
    """What was told of entries by commands that differ in nothing but time, connection and entries.

    Attributes:
        kind: of what was told.
        db: in which database.
        stream, group, consumer: whose; empty where a command names none.
        times: the ticks from one command to the next, the first from the epoch's `base`: unsigned, 4 bytes each.
        connections: the number of each command's, 4 bytes each.
        counts: how many IDs each command has, 4 bytes each.
        answers: the replies to them, 4 bytes each; only of `ack_part`.
        ids: as the server writes them, with commas between them.
    """

    kind: Kind
    db: int
    stream: bytes
    group: bytes
    consumer: bytes
    times: bytes
    connections: bytes
    counts: bytes
    answers: bytes
    ids: bytes


class Noted(msgspec.Struct, frozen=True, array_like=True):
    """One command on a group, or one thing that happened to a connection.

    Attributes:
        tick: when it was answered.
        connection: its number.
        db: in which database.
        command: its words, such as XGROUP, CREATE, the stream and so on; the name of a script's command alone.
        reply: a number, or text; None: it was never answered.
        is_error: whether the reply is an error.
        gap: why the connection is not followed from now on; empty: this is a command.
    """

    tick: int
    connection: int
    db: int
    command: tuple[bytes, ...] = ()
    reply: int | bytes | None = None
    is_error: bool = False
    gap: str = ""


class Epoch(msgspec.Struct, frozen=True, array_like=True):
    """All that was noted between two times of writing.

    Attributes:
        base, end: the first and the last tick that anything in it may have.
        wall_ns: nanoseconds since 1970 at `end`.
        blocks: of entries.
        noted: of groups and connections.
        scripts: how many scripts were called; what a script does is not seen.
    """

    base: int
    end: int
    wall_ns: int
    blocks: tuple[Block, ...] = ()
    noted: tuple[Noted, ...] = ()
    scripts: int = 0


def packed(epoch: Epoch) -> bytes:
    """An epoch as a frame."""
    content = zlib.compress(msgspec.msgpack.encode(epoch), _LEVEL)
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


def epochs(path: Path) -> Iterator[Epoch]:
    """The epochs of a log, up to one that was cut; none where there is no log.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such log.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC[: len(magic)]:
            raise ValueError(f"{path.name} is no log of what groups were told")
        while len(head := file.read(_FRAME.size)) == _FRAME.size:
            size, checksum = _FRAME.unpack(head)
            content = file.read(size)
            if len(content) < size or zlib.crc32(content) != checksum:
                return
            yield msgspec.msgpack.decode(zlib.decompress(content), type=Epoch)
