"""A connection of the pump: what waits to be written, and what waits for its reply.

RESP answers in order, so the head of what is in flight is what a reply belongs to; no table is needed.
"""

from __future__ import annotations

import collections
import contextlib
import socket
import ssl
import threading
from typing import Any

import hiredis
import numpy as np
from numpy.typing import NDArray

from harness.server.dial import DialError, ReplyError, open_socket
from harness.server.url import ServerUrl

Int64s = NDArray[np.int64]

_READ_BYTES = 1 << 18
_TLS_RECORD_BYTES = 1 << 14
_RECONNECT_NS = (5_000_000, 250_000_000)
_NOTHING = object()


class Batch:
    """Operations that were started together: numbers, due times, start; `done` of them are answered.

    `begun_ns` is when the first byte went to the kernel: from then on the server may have them.
    """

    __slots__ = ("begun_ns", "done", "due_ns", "first", "payload", "start_ns")

    def __init__(self, first: int, due_ns: Int64s, start_ns: int, payload: memoryview) -> None:
        self.first = first
        self.due_ns = due_ns
        self.start_ns = start_ns
        self.payload = payload
        self.begun_ns: int | None = None
        self.done = 0

    @property
    def open(self) -> int:
        return self.due_ns.size - self.done


class Lane:
    """One connection: what waits to be written, what waits for its reply."""

    def __init__(self, url: ServerUrl | str) -> None:
        self._url = url
        self.socket: socket.socket | None = None
        self.reader = self._new_reader()
        self.out: collections.deque[Batch] = collections.deque()
        self.in_flight: collections.deque[Batch] = collections.deque()
        self.reconnects = 0
        self._backoff_ns = _RECONNECT_NS[0]
        self._retry_at_ns = 0
        self._connecting: threading.Thread | None = None
        self._connected: socket.socket | None = None

    @staticmethod
    def _new_reader() -> Any:
        return hiredis.Reader(replyError=ReplyError, notEnoughData=_NOTHING)

    def connect(self) -> None:
        self.socket = open_socket(self._url)
        self.socket.setblocking(False)

    def reconnect(self, now_ns: int) -> None:
        """Go on with a reconnection: in a thread, for TLS and greetings must not hold up the schedule."""
        if self._connecting is not None:
            if self._connecting.is_alive():
                return
            self._connecting = None
            if self._connected is not None:
                self.socket, self._connected = self._connected, None
                self.socket.setblocking(False)
                self.reader = self._new_reader()
                self.reconnects += 1
            # Also a connection that was made: a server that is full takes it, and closes it at once.
            self._retry_at_ns = now_ns + self._backoff_ns
            self._backoff_ns = min(self._backoff_ns * 2, _RECONNECT_NS[1])
        if self.socket is None and now_ns >= self._retry_at_ns:
            self._connecting = threading.Thread(target=self._try_to_connect, daemon=True)
            self._connecting.start()

    def _try_to_connect(self) -> None:
        # A server that is starting refuses for a while; the lane asks again until the run is over.
        with contextlib.suppress(OSError, DialError):
            self._connected = open_socket(self._url, 1.0)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def stop_connecting(self) -> None:
        """Wait for a connection that is being made, which takes a second at most, and close it."""
        if self._connecting is not None:
            self._connecting.join()
            self._connecting = None
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    def write(self, now_ns: int) -> None:
        """Write what the kernel takes.

        Raises:
            OSError: the connection is lost.
        """
        while self.out and self.socket is not None:
            batch = self.out[0]
            # OpenSSL reports a write of several records when all of them are out, though the server may have
            # read, and answered, the first ones long before. A part of one record says nothing to it yet.
            piece = batch.payload[:_TLS_RECORD_BYTES] if isinstance(self.socket, ssl.SSLSocket) else batch.payload
            try:
                written = self.socket.send(piece)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            if batch.begun_ns is None:
                batch.begun_ns = now_ns
                self.in_flight.append(batch)
            batch.payload = batch.payload[written:]
            if not batch.payload:
                self.out.popleft()
            elif written < len(piece):
                return

    def read(self) -> list[Any]:
        """The replies that are there.

        Raises:
            OSError: the connection is lost.
            hiredis.ProtocolError: what came is no RESP.
        """
        if self.socket is None:
            return []
        try:
            chunk = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return []
        if not chunk:
            raise ConnectionResetError("the server closed the connection")
        self.reader.feed(chunk)
        replies = []
        gets = self.reader.gets
        while (reply := gets()) is not _NOTHING:
            replies.append(reply)
        if replies:
            self._backoff_ns, self._retry_at_ns = _RECONNECT_NS[0], 0
        return replies
