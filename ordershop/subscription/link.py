"""A consumer's one connection to the server, and what replies say that several of its commands have in common."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, TypeVar

import hiredis
import redis

from ordershop.codec import StreamEntry
from ordershop.events import EventId
from ordershop.server.tls import read_reply
from ordershop.wire import is_elsewhere

START = "0-0"
_Read = TypeVar("_Read")


class Link:
    """The one connection of a consumer: commands in one write, their answers in order.

    It is kept in hand, since the client library's pool looks at the socket each time it hands one out.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None

    def send(self, commands: Iterable[tuple[Any, ...]]) -> None:
        """Write some commands in one piece; their replies are to be received.

        Raises:
            redis.RedisError: as the client library raises it.
        """
        connection = self._connection or self._pool.get_connection()
        self._connection = connection
        try:
            # Past the client library's own packing, which looks at each argument twice.
            connection.send_packed_command([b"".join(map(hiredis.pack_command, commands))])
        except BaseException:
            self._lose()
            raise

    def receive(self, count: int) -> list[Any]:
        """The replies to so many commands as RESP2 has them, bytes undecoded.

        Raises:
            redis.RedisError: as the client library raises it; of several answers that are errors, the first.
        """
        refused: redis.ResponseError | None = None
        replies = []
        try:
            for _ in range(count):
                try:
                    replies.append(self._connection.read_response(disable_decoding=True))
                except redis.ResponseError as error:
                    refused = refused or error  # the other answers are still to be read
        except BaseException:
            self._lose()
            raise
        if refused is not None:
            if is_elsewhere(refused):
                self._lose()  # the next one may lead to who can serve
            raise refused
        return replies

    def _lose(self) -> None:
        """Give the connection up: an answer may still be on its way, which nobody must read."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def read(self, command: str, read: Callable[[Any], _Read], reply: Any) -> _Read:
        """What a reply to a command says.

        Raises:
            redis.exceptions.InvalidResponse: it is of another kind; the connection is given up.
        """
        try:
            return read_reply(command, read, reply)
        except redis.exceptions.InvalidResponse:
            self._lose()
            raise

    def exchange(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The replies to some commands; raises as `send` and `receive` do."""
        self.send(commands)
        return self.receive(len(commands))

    def call(self, read: Callable[[Any], _Read], *command: Any) -> _Read:
        """What the reply to one command says; raises as `exchange` and `read` do."""
        return self.read(command[0], read, self.exchange(command)[0])


def pages_by_stream(reply: list[Any] | None, asked: Container[str]) -> dict[str, list[StreamEntry]]:
    """The page of each stream that has some, from a reply to XREAD or XREADGROUP.

    Args:
        asked: the streams that were asked.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: it is no such reply.
    """
    pages: dict[str, list[StreamEntry]] = {}
    # Where nothing came, the server says that with a nil.
    for raw, entries in () if reply is None else reply:
        stream = raw.decode()
        if stream not in asked:
            raise LookupError(stream)
        EventId.parse(entries[-1][0] if entries != [] else START)
        pages[stream] = entries
    return pages


def pairs(flat: Sequence[Any]) -> dict[bytes, Any]:
    """A map as RESP2 has it: key, value, key, value, ..."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
