"""One connection to Redis that all coroutines of a process share.

    resp = Resp("redis://127.0.0.1:6379", timeout_s=1.0)
    await resp.call("HGETALL", "{customer}_entity:c-1")
    await resp.call_many([("HGET", "a", "x"), ("HGETALL", "b")])     # written in one piece, answered in order

Commands are written as they come, without waiting for answers, and the server answers in the same order. So a
queue of waiting calls is all the bookkeeping there is:

    written     GET a   HGETALL b   EVALSHA ...
    waiting   [   1         2            3      ]  <- each reply belongs to the left end

Every wait is bounded. One timer watches the oldest call alone: when that has no answer in time, the connection
is closed and all that wait on it fail with `LostError`; what became of their commands is not known. There are
no retries here: only the caller knows what may be repeated.

The next call connects again. So it does after `leave`: a server that answers READONLY, behind an address that
leads somewhere else by now, would answer it for ever. What has been written by then is still answered there. After
an attempt that failed, calls fail at once for a moment, so that a thousand queued requests do not wait for a
thousand time-outs one behind the other.

redis-py's asyncio client is not used: it takes a connection, a lock and several tasks' switches for each call,
and cannot share a connection between coroutines.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis

from ordershop.server.options import withheld
from ordershop.server.tls import tls_context
from ordershop.server.url import Address, ServerUrl

log = logging.getLogger(__name__)

_MORE = object()


class LostError(Exception):
    """The connection could not be made, or ended before the answer came."""


class ReplyError(Exception):
    """The server answered with an error; its text does not name the user."""

    def __init__(self, text: str) -> None:
        super().__init__(withheld(text))


class _Call:
    """Commands that were written together, and the replies that have come."""

    __slots__ = ("answered", "expected", "replies", "written_at")

    def __init__(self, answered: asyncio.Future[list[Any]], expected: int, written_at: float) -> None:
        self.answered = answered
        self.expected = expected
        self.replies: list[Any] = []
        self.written_at = written_at


class _Wire(asyncio.Protocol):
    """A connection: the queue of calls that wait, and the timer on the oldest."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader(replyError=ReplyError, notEnoughData=_MORE)
        self._waiting: deque[_Call] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._is_left = False
        self._made_at = loop.time()

    @property
    def is_open(self) -> bool:
        """Whether commands can be written."""
        return self._transport is not None and not self._is_left

    @property
    def age_s(self) -> float:
        """For how long it has been there."""
        return self._loop.time() - self._made_at

    def leave(self) -> None:
        """Write nothing any more, and close it when all that was written is answered."""
        self._is_left = True
        self._close_if_left()

    def _close_if_left(self) -> None:
        if self._is_left and not self._waiting:
            self.close("left for another connection")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"the connection was lost ({exc or 'closed by the server'})")

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        waiting = self._waiting
        try:
            while (reply := self._reader.gets()) is not _MORE:
                if not waiting:
                    self.close("the server said something unasked")
                    return
                call = waiting[0]
                call.replies.append(reply)
                if len(call.replies) == call.expected:
                    waiting.popleft()
                    if not call.answered.done():  # its caller may have been cancelled
                        call.answered.set_result(call.replies)
            self._close_if_left()
        except hiredis.ProtocolError as error:
            self.close(f"the server does not speak RESP ({error})")

    def send(self, commands: Sequence[Sequence[Any]]) -> asyncio.Future[list[Any]]:
        """Write some commands in one piece; the future brings all their replies."""
        if self._transport is None:
            raise LostError("the connection is closed")
        packed = [hiredis.pack_command(tuple(command)) for command in commands]
        answered: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting.append(_Call(answered, len(packed), self._loop.time()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._check_oldest)
        self._transport.write(packed[0] if len(packed) == 1 else b"".join(packed))
        return answered

    def _check_oldest(self) -> None:
        self._timer = None
        if self._waiting:
            left_s = self._waiting[0].written_at + self._timeout_s - self._loop.time()
            if left_s <= 0:
                self.close(f"no answer after {self._timeout_s:g} s")
            else:
                self._timer = self._loop.call_later(left_s, self._check_oldest)

    def close(self, why: str) -> None:
        """Close the connection; all that wait fail with that reason."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        for call in self._waiting:
            if not call.answered.done():
                call.answered.set_exception(LostError(why))
        self._waiting.clear()


class Resp:
    """A shared connection to one server, made when it is needed.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with options as redis-py has them.
        timeout_s: how long an answer may take, and how long it may take to connect. A caller has so long at the
            most, so what the URL says of it does not count.
        pause_s: for how long calls fail at once after a failed attempt to connect, and how long a connection is
            kept at least, however often it is to be left.

    Raises:
        ValueError: the URL is none of these, or its TLS cannot be.
    """

    def __init__(self, url: Address | str, *, timeout_s: float = 1.0, pause_s: float = 0.1) -> None:
        self._url = ServerUrl(url)
        self._tls = tls_context(self._url.options) if self._url.has_tls else None
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None
        self._pause_until = 0.0
        self._why = ""

    async def call(self, *command: Any) -> Any:
        """The reply to one command.

        Raises:
            LostError: no answer; the command may or may not have been executed.
            ReplyError: the server answered with an error.
        """
        reply = (await self._send((command,)))[0]
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def call_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The replies to some commands that are written in one piece, with nothing of others between them.

        Raises:
            LostError: as for `call`.
            ReplyError: the first error that was among the answers.
        """
        replies = await self._send(commands)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        return replies

    def leave(self) -> None:
        """Have the next call make a new connection, unless this one has only just been made."""
        if self._wire is not None and self._wire.is_open and self._wire.age_s >= self._pause_s:
            log.warning("the event store is to be found anew: it cannot serve here")
            self._wire.leave()

    async def _send(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        wire = self._wire
        if wire is None or not wire.is_open:
            wire = await self._connected()
        return await wire.send(commands)

    async def _connected(self) -> _Wire:
        if self._connecting is None:
            if asyncio.get_running_loop().time() < self._pause_until:
                raise LostError(self._why)
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._on_connected)
        # The attempt is everybody's: a caller that is cancelled must not end it.
        return await asyncio.shield(self._connecting)

    def _on_connected(self, task: asyncio.Task[_Wire]) -> None:
        self._connecting = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            if self._why:
                log.warning("the event store is back")
            self._wire, self._why = task.result(), ""
            return
        if not self._why:
            log.warning("the event store is away: %s", error)
        self._why = str(error)
        self._pause_until = asyncio.get_running_loop().time() + self._pause_s

    async def _connect(self) -> _Wire:
        loop = asyncio.get_running_loop()
        wire = _Wire(loop, self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._open(loop, wire)
                greeting = self._url.greeting()
                refused = [r for r in await wire.send(greeting) if isinstance(r, ReplyError)] if greeting else []
        except TimeoutError as error:
            wire.close("not connected")
            raise LostError(f"no connection after {self._timeout_s:g} s") from error
        except OSError as error:
            raise LostError(f"no connection: {error}") from error
        except LostError as error:
            wire.close(str(error))
            raise
        if refused:
            why = self._url.masked(str(refused[0]))
            wire.close(why)
            raise LostError(f"the server refused the connection: {why}")
        return wire

    async def _open(self, loop: asyncio.AbstractEventLoop, wire: _Wire) -> None:
        url = self._url
        if url.path:
            await loop.create_unix_connection(lambda: wire, url.path)
            return
        name = url.server_hostname if self._tls is not None else None
        transport, _ = await loop.create_connection(
            lambda: wire, url.host, url.port, ssl=self._tls, server_hostname=name
        )
        if "socket_keepalive" in url.options:
            wanted = bool(url.options["socket_keepalive"])
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, wanted)

    async def close(self) -> None:
        """Close the connection; what waits fails."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.close("closed")
        await asyncio.sleep(0)  # the transport lets go of its socket in the loop's next turn
