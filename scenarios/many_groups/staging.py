"""The groups before the load: made on their streams, some with entries pending; and counted.

    stream one     one group, nothing pending
    stream many    `groups` groups, each with `pending` entries that somebody was given and never acknowledged

Both streams hold the same entries. What the server's memory has grown by is noted on the way, by its own account:
before the groups, with them, and with what is pending.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import hiredis
from msgspec import Struct

from harness.server.dial import DialError, ReplyError, open_socket, read_replies
from harness.server.server import Server, ServerError
from harness.server.tls_stream import Connection

# Who was given what is pending, and never came back.
AWAY = "away"
_TIMEOUT_S = 60.0
# Commands in one write, and entries in what comes back.
_AT_ONCE, _ENTRIES_AT_ONCE = 256, 20_000


class Staged(Struct, frozen=True, kw_only=True):
    """What is there before the load.

    Attributes:
        bare_bytes, grouped_bytes, pending_bytes: of memory that the server uses: with the entries only, with the
            groups, with what is pending; None: it does not say.
    """

    bare_bytes: int | None = None
    grouped_bytes: int | None = None
    pending_bytes: int | None = None


class Swept(Struct, frozen=True, kw_only=True):
    """What all groups of a stream say of themselves at one moment.

    Attributes:
        groups: that there are.
        positions: the last entry that each was given, by its name.
        least_pending: entries that the group with the fewest has pending; None: there is no group.
    """

    groups: int
    positions: dict[str, str]
    least_pending: int | None


def group_names(count: int) -> list[str]:
    """What so many groups are called."""
    return [f"g{number}" for number in range(count)]


def stage_groups(server: Server, streams: tuple[str, str], groups: int, pending: int) -> Staged:
    """Make the streams and their groups, with entries pending.

    Args:
        server: that gets them.
        streams: with one group, and with many.
        groups: on the second stream.
        pending: entries in each of these.

    Raises:
        ServerError: it does not take them.
    """
    with _asking(server) as ask:
        for stream in streams:
            # A group wants a stream; both have the same entries.
            ask([("XADD", stream, "*", "staged", number) for number in range(max(1, pending))])
        bare_bytes = _used_bytes(ask)
        ask([("XGROUP", "CREATE", streams[0], group_names(1)[0], "$")])
        names = group_names(groups)
        ask([("XGROUP", "CREATE", streams[1], name, "0" if pending else "$") for name in names])
        grouped_bytes = _used_bytes(ask)
        if pending:
            words = "COUNT", pending, "STREAMS", streams[1], ">"
            at_once = max(1, _ENTRIES_AT_ONCE // pending)
            for first in range(0, groups, at_once):
                ask([("XREADGROUP", "GROUP", name, AWAY, *words) for name in names[first : first + at_once]])
        return Staged(bare_bytes=bare_bytes, grouped_bytes=grouped_bytes, pending_bytes=_used_bytes(ask))


def sweep(server: Server, stream: str) -> Swept:
    """Ask all groups of a stream.

    Raises:
        ServerError: the server does not answer, or refuses.
    """
    with _asking(server) as ask:
        [answer] = ask([("XINFO", "GROUPS", stream)])
    rows = [dict(zip(row[::2], row[1::2], strict=False)) for row in answer]
    return Swept(
        groups=len(rows),
        positions={row[b"name"].decode(): row[b"last-delivered-id"].decode() for row in rows},
        least_pending=min((int(row[b"pending"]) for row in rows), default=None),
    )


class _Ask:
    """Commands, some at a time, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, commands: Sequence[tuple[str | int, ...]]) -> list[Any]:
        replies: list[Any] = []
        for first in range(0, len(commands), _AT_ONCE):
            some = commands[first : first + _AT_ONCE]
            self._connection.sendall(b"".join(_packed(command) for command in some))
            found, _ = read_replies(self._connection, len(some))
            for reply in found:
                if isinstance(reply, ReplyError):
                    raise reply
            replies += found
        return replies


def _packed(command: tuple[str | int, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub allows one part only
    return packed


@contextlib.contextmanager
def _asking(server: Server) -> Iterator[_Ask]:
    try:
        with contextlib.closing(open_socket(server.url, _TIMEOUT_S)) as connection:
            yield _Ask(connection)
    except (OSError, DialError, ReplyError, hiredis.ProtocolError) as error:
        why = server.url.masked(" ".join(str(error).split())) or type(error).__name__
        raise ServerError(f"{server.url}: the groups cannot be made or asked: {why}") from error


def _used_bytes(ask: _Ask) -> int | None:
    try:
        [answer] = ask([("INFO", "memory")])
    except ReplyError:
        return None  # who may not run INFO does not know
    found = [line for line in answer.decode("utf-8", "replace").splitlines() if line.startswith("used_memory:")]
    return int(found[0].partition(":")[2]) if found else None
