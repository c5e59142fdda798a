"""A connection of the pump: what waits to be written, and what waits for its reply.

RESP answers in order, so the head of what is in flight is what a reply belongs to; no table is needed.
"""

from __future__ import annotations

import collections
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from harness.arrays import Int64s
from harness.host.kernel_dates import ANCILLARY_BYTES, ask_for_dates
from harness.measure.arrival_dates import ArrivalDates
from harness.server.dial import DialError, ReplyError, open_socket, packed, takes_writes
from harness.server.tls_stream import Connection
from harness.server.url import ServerUrl

_READ_BYTES = 1 << 18
_RECONNECT_NS = (5_000_000, 250_000_000)
_NOTHING = object()


class Batch:
    """Operations that were started together: numbers, due times, start; `done` of them are answered.

    A few have a list of due times, and are recorded one by one; many have an array. `begun_ns` is when the first
    byte went to the kernel, or was encrypted for it: from then on the server may have them. What the pump asks on
    its own account (`is_own`) has no due time and is counted nowhere.
    """

    __slots__ = ("begun_ns", "count", "done", "due_ns", "first", "is_own", "payload", "start_ns")

    def __init__(self, first: int, due_ns: list[int] | Int64s, payload: bytes, *, own_count: int = 0) -> None:
        self.is_own = own_count > 0
        self.first = first
        self.due_ns = due_ns
        self.count = own_count or len(due_ns)
        self.start_ns = 0
        self.payload: bytes | memoryview = payload
        self.begun_ns: int | None = None
        self.done = 0

    @property
    def open(self) -> int:
        """How many of them are not answered."""
        return self.count - self.done


class Lane:
    """One connection.

    Args:
        url: the server's.
        dates: tells when replies arrived.
        buffer: to read into; lanes of one pump may share it, since they read one after the other.
        scripts: Lua texts that the commands call by their hash.

    Attributes:
        is_dated: whether the kernel dates what arrives, so that it may be read later.
    """

    def __init__(
        self, url: ServerUrl | str, dates: ArrivalDates, buffer: bytearray, scripts: Sequence[str] = ()
    ) -> None:
        self._loading = b"".join(packed("SCRIPT", "LOAD", script) for script in scripts)
        self._scripts = len(scripts)
        self.is_leaving = False
        # Why it could not connect at last.
        self.refusal = ""
        self._url = url
        self._dates = dates
        self._buffer = buffer
        self.is_dated = False
        self.socket: Connection | None = None
        self.reader = self._new_reader()
        self.out: collections.deque[Batch] = collections.deque()
        self.in_flight: collections.deque[Batch] = collections.deque()
        self.reconnects = 0
        self._backoff_ns = _RECONNECT_NS[0]
        self._retry_at_ns = 0
        self._connecting: threading.Thread | None = None
        self._connected: Connection | None = None

    @staticmethod
    def _new_reader() -> Any:
        return hiredis.Reader(replyError=ReplyError, notEnoughData=_NOTHING)

    def connect(self) -> None:
        """Connect, and wait until that is done.

        Raises:
            OSError, DialError: as `open_socket`.
        """
        self._adopt(open_socket(self._url))

    def _adopt(self, connected: Connection) -> None:
        self.socket = connected
        connected.settimeout(0)
        self.is_dated = ask_for_dates(connected)

    def reconnect(self, now_ns: int) -> bool:
        """Go on with a reconnection: in a thread, for TLS and greetings must not hold up the schedule.

        Returns:
            Whether there is a connection again.
        """
        if self._connecting is not None:
            if self._connecting.is_alive():
                return False
            self._connecting = None
            # Also a connection that was made: a server that is full takes it, and closes it at once.
            self._retry_at_ns = now_ns + self._backoff_ns
            self._backoff_ns = min(self._backoff_ns * 2, _RECONNECT_NS[1])
            if self._connected is not None:
                self._adopt(self._connected)
                self._connected = None
                self.reader = self._new_reader()
                self.is_leaving = False
                self.reconnects += 1
                # A server that was started anew, or another one behind the same address, does not know them.
                self.load_scripts()
                return True
        if now_ns >= self._retry_at_ns:
            self._connecting = threading.Thread(target=self._try_to_connect, daemon=True)
            self._connecting.start()
        return False

    def _try_to_connect(self) -> None:
        # A server that is starting refuses for a while; the lane asks again until the run is over.
        try:
            connected = open_socket(self._url, 1.0)
            if self.is_leaving and not takes_writes(connected):
                connected.close()
                self.refusal = "what answers is no primary, or not yet"
                return
            self._connected, self.refusal = connected, ""
        except (OSError, DialError) as error:
            self.refusal = " ".join(str(error).split()) or type(error).__name__

    def load_scripts(self) -> None:
        """Have the server know the scripts before whatever waits to be written."""
        is_asked = any(batch.is_own for batch in (*self.out, *self.in_flight))
        if self._scripts and not is_asked:
            batch = Batch(-1, [], self._loading, own_count=self._scripts)
            # A command that the kernel has a part of goes out whole first.
            begun = bool(self.out) and self.out[0].begun_ns is not None
            self.out.insert(1 if begun else 0, batch)

    def is_well(self) -> None:
        """The server has answered as it should: after a loss, a connection is made again without delay."""
        self._backoff_ns, self._retry_at_ns = _RECONNECT_NS[0], 0

    def close(self) -> None:
        """Close the connection, if there is one."""
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

    def send(self, batch: Batch, now_of: Callable[[], int]) -> bool:
        """Start a batch right now, on a connection on which nothing waits to be written.

        Args:
            now_of: the clock, read immediately before the write.

        Returns:
            Whether the kernel took all of it; what it did not take waits.

        Raises:
            OSError: the connection is lost; none of it was sent.
        """
        connection = self.socket
        batch.start_ns = now_of()
        if connection is None:
            self.out.append(batch)
            return False
        try:
            written = connection.send(batch.payload)
        except BlockingIOError:
            written = 0
        except OSError:
            self.out.append(batch)
            raise
        if written:
            batch.begun_ns = batch.start_ns
            self.in_flight.append(batch)
            if written == len(batch.payload):
                return True
            batch.payload = memoryview(batch.payload)[written:]
        self.out.append(batch)
        return False

    def write(self, now_ns: int) -> None:
        """Write what the kernel takes.

        Raises:
            OSError: the connection is lost.
        """
        while self.out and self.socket is not None:
            batch = self.out[0]
            try:
                written = self.socket.send(batch.payload)
            except BlockingIOError:
                return
            if batch.begun_ns is None:
                batch.begun_ns = now_ns
                self.in_flight.append(batch)
            if written < len(batch.payload):
                batch.payload = memoryview(batch.payload)[written:]
                return
            self.out.popleft()

    def read(self) -> tuple[list[Any], int]:
        """The replies that are there, and when the last of them reached this host.

        Raises:
            OSError: the connection is lost.
            hiredis.ProtocolError: what came is no RESP.
        """
        if self.socket is None:
            return [], 0
        try:
            length, ancillary, _, _ = self.socket.recvmsg_into((self._buffer,), ANCILLARY_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return [], 0
        if not length:
            # No reply, so nothing to be dated either.
            raise ConnectionResetError("the server closed the connection")
        done_ns = self._dates.done_ns(ancillary)
        self.reader.feed(self._buffer, 0, length)
        # Until the reader has no whole reply left.
        return list(iter(self.reader.gets, _NOTHING)), done_ns


def read_buffer() -> bytearray:
    """A buffer for `Lane`."""
    return bytearray(_READ_BYTES)
