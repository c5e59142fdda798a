"""The proxy itself: one thread that waits for sockets, for due bytes and for messages."""

from __future__ import annotations

import collections
import contextlib
import errno
import heapq
import itertools
import select
import selectors
import socket
import struct

import msgspec

from harness.host.clock import Clock
from harness.nemesis.proxy.end import End, bound, prepared
from harness.nemesis.proxy.follower import Follower
from harness.nemesis.proxy.messages import Ask, Counts, Cut, Delay, Message, Mode, Pass
from harness.nemesis.proxy.wire import CHUNK_BYTES, Wire

_ACCEPT_AT_ONCE = 128
# SO_LINGER for no time at all: closing sends a RST in place of a FIN.
_RESET = struct.pack("ii", 1, 0)


class ProxyLoop:
    """The proxy itself: one thread that waits for sockets, for due bytes and for messages.

    Args:
        listen_port: 0 for a free one.
        server: where to connect to: the address, as a number, and the port.
        control: messages come in and counts go out; the loop ends when its other end does.
        clock: for delays.
        follower: hears what passes; None: nobody does.

    Raises:
        OSError: the port is in use.
    """

    def __init__(
        self,
        listen_port: int,
        server: tuple[str, int],
        control: socket.socket,
        clock: Clock,
        follower: Follower | None = None,
    ) -> None:
        self._server = server
        self._family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self._control = control
        self._clock = clock
        self._follower = follower
        self._selector = selectors.DefaultSelector()
        if listen_port:
            bound(listen_port, alone=True).close()
        # Bound, and never listening: while a cut refuses connections, nobody else gets the port.
        self._keeper = bound(listen_port)
        self._port = int(self._keeper.getsockname()[1])
        self._listener: socket.socket | None = None
        self._mode: Mode = Pass()
        self._ends: set[End] = set()
        self._due: list[tuple[int, int, End]] = []  # a heap
        self._tickets = itertools.count()
        self._received = b""
        self._connections = self._reset_count = self._failed = 0
        self._handed_on = {True: 0, False: 0}  # to servers, to clients
        self._lost_bytes = 0

    def run(self) -> None:
        """Pass bytes until the harness is gone."""
        self._control.setblocking(False)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._listen()
        is_controlled = True
        while is_controlled:
            for key, mask in self._wait():
                if key.fileobj is self._control:
                    is_controlled = self._hear()
                elif key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.data, End):
                    self._serve(key.data, mask)
            self._deliver_due()
        if self._follower is not None:
            self._follower.close()

    def _wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        if self._follower is not None:
            self._follower.work_while(self._is_idle)
        if not self._due:
            return self._selector.select(self._follower.writes_within_s if self._follower is not None else None)
        left_ns = self._due[0][0] - self._clock.now_ns()
        if left_ns > 0:
            # epoll counts in whole milliseconds; select, which can wait for epoll itself, in microseconds.
            select.select([self._selector.fileno()], [], [], left_ns / 1e9)
        return self._selector.select(0)

    def _is_idle(self) -> bool:
        return not (self._due and self._due[0][0] <= self._clock.now_ns()) and not self._selector.select(0)

    # Messages -------------------------------------------------------------------------------------------

    def _hear(self) -> bool:
        """Do what the harness asks for; whether it is still there."""
        try:
            received = self._control.recv(CHUNK_BYTES)
        except OSError:
            return False
        *lines, self._received = (self._received + received).split(b"\n")
        for line in lines:
            message = msgspec.json.decode(line, type=Message)
            if not isinstance(message, Ask):
                self._change(message)
            if self._follower is not None:
                self._follower.catch_up()
            # Answers are short and each is waited for, so there is room for it.
            with contextlib.suppress(BrokenPipeError):
                self._control.send(msgspec.json.encode(self._counts()) + b"\n")
        return bool(received)

    def _counts(self) -> Counts:
        return Counts(
            port=self._port,
            connections=self._connections,
            connections_open=sum(not end.is_server for end in self._ends),
            connections_reset=self._reset_count,
            connections_failed=self._failed,
            bytes_to_server=self._handed_on[True],
            bytes_to_client=self._handed_on[False],
            bytes_lost=self._lost_bytes,
            untold=self._follower.untold if self._follower is not None else "",
        )

    def _change(self, mode: Mode) -> None:
        was_silent = _is_half_open(self._mode)
        self._mode = mode
        # Whatever was to wait does not any more: it is lost below, or delivered at once.
        self._due.clear()
        if isinstance(mode, Cut) and mode.variant == "reset":
            self._stop_listening()
            self._reset_all()
            return
        if _is_half_open(mode):
            self._lose_what_is_queued()
        elif was_silent:
            self._reset_all()
        self._listen()
        for end in list(self._ends):
            self._rewire(end)

    def _rewire(self, end: End) -> None:
        """Give an end the wire of this mode; what an old delay still holds is delivered at once."""
        end.wire = Wire(self._mode if isinstance(self._mode, Delay) else None, end.key)
        if end.queue:
            end.queue = collections.deque((0, data) for _, data in end.queue)
            self._flush(end, self._clock.now_ns())

    def _lose_what_is_queued(self) -> None:
        for end in self._ends:
            self._lost_bytes += end.queued_bytes
            end.queued_bytes = 0
            end.queue.clear()
            end.is_blocked = False
        for end in list(self._ends):
            self._watch(end)

    def _reset_all(self) -> None:
        # A connection counts once, whether both of its ends are still there or one.
        self._reset_count += len({end.key.partition("/")[0] for end in self._ends})
        for end in list(self._ends):
            self._close(end, reset=True)

    # Connections ----------------------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = bound(self._port)
            self._listener.listen(1024)
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            if self._listener is None:
                return
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    # No room for another; those that knock are refused until some connection has ended.
                    self._stop_listening()
                return
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        number = self._connections
        self._connections += 1
        client = End(prepared(connection), f"{number}/client", is_server=False)
        self._ends.add(client)
        if _is_half_open(self._mode):
            self._watch(client)
            return
        server = self._connect(f"{number}/server")
        if server is None:
            self._failed += 1
            self._close(client, reset=True)
            return
        self._ends.add(server)
        client.other, server.other = server, client
        for end in (client, server):
            end.wire = Wire(self._mode if isinstance(self._mode, Delay) else None, end.key)
            self._watch(end)

    def _connect(self, key: str) -> End | None:
        try:
            connection = prepared(socket.socket(self._family))
        except OSError:
            return None
        if connection.connect_ex(self._server) not in {0, errno.EINPROGRESS}:
            connection.close()
            return None
        return End(connection, key, is_server=True, is_connecting=True)

    def _close(self, end: End, *, reset: bool) -> None:
        """Close one end, with a RST or in order; what was on its way to it is lost."""
        if end.is_closed:
            return
        end.is_closed = True
        self._lost_bytes += end.queued_bytes
        end.queued_bytes = 0
        end.queue.clear()
        if end.mask:
            self._selector.unregister(end.socket)
        if self._follower is not None and end.is_server:
            self._follower.hear(end.number, None, is_reply=True)
        if reset:
            with contextlib.suppress(OSError):
                end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.socket.close()
        self._ends.discard(end)
        if self._listener is None and not (isinstance(self._mode, Cut) and self._mode.variant == "reset"):
            self._listen()

    def _lose(self, end: End) -> None:
        """An end was reset from outside; the other side is told, unless nobody is told anything."""
        if _is_half_open(self._mode):
            self._close(end, reset=False)
        else:
            self._close_both(end, reset=True)

    def _close_both(self, end: End, *, reset: bool) -> None:
        self._close(end, reset=reset)
        if end.other is not None:
            self._close(end.other, reset=reset)

    # Bytes ----------------------------------------------------------------------------------------------

    def _serve(self, end: End, mask: int) -> None:
        if end.is_closed:
            return  # by what happened before it in the same turn
        if end.is_connecting and mask & selectors.EVENT_WRITE:
            if end.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._failed += 1
                self._lose(end)
                return
            end.is_connecting = False
            self._flush(end, self._clock.now_ns())
        elif mask & selectors.EVENT_WRITE:
            end.is_blocked = False
            self._flush(end, self._clock.now_ns())
        if mask & selectors.EVENT_READ and not end.is_closed:
            self._read(end)

    def _read(self, end: End) -> None:
        other = end.other
        try:
            data = end.socket.recv(other.wire.chunk_bytes if other else CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._lose(end)
            return
        is_lost = _is_half_open(self._mode) or other is None or other.is_closed
        if self._follower is not None and (end.is_server or not is_lost):
            self._follower.hear(end.number, data, is_reply=end.is_server)
        if is_lost or other is None:
            self._lost_bytes += len(data)
            if not data:
                # Its end is not passed on either: the other side keeps a connection to nobody.
                self._close(end, reset=False)
            return
        if not data:
            end.has_ended = True
            self._watch(end)
        self._send(other, data)

    def _send(self, end: End, data: bytes) -> None:
        if isinstance(self._mode, Delay):
            arrival_ns = end.wire.arrival_ns(self._clock.now_ns(), len(data))
            heapq.heappush(self._due, (arrival_ns, next(self._tickets), end))
            self._queue(end, arrival_ns, data)
            return
        if not data or end.queue or end.is_connecting:
            self._queue(end, 0, data)
            self._flush(end, 0)
            return
        # The common case: nothing waits, and the bytes go straight through.
        try:
            sent = end.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost_bytes += len(data)
            self._close_both(end, reset=True)
            return
        self._handed_on[end.is_server] += sent
        if sent < len(data):
            end.is_blocked = True
            self._queue(end, 0, data[sent:])

    def _queue(self, end: End, arrival_ns: int, data: bytes) -> None:
        end.queue.append((arrival_ns, data))
        end.queued_bytes += len(data)
        self._watch(end)
        if end.other is not None:
            self._watch(end.other)

    def _deliver_due(self) -> None:
        if not self._due:
            return
        now_ns = self._clock.now_ns()
        while self._due and self._due[0][0] <= now_ns:
            _, _, end = heapq.heappop(self._due)
            if not end.is_closed and not end.is_blocked:
                self._flush(end, now_ns)

    def _flush(self, end: End, now_ns: int) -> None:
        """Hand on what is due to an end, as far as it takes it."""
        while end.queue and end.queue[0][0] <= now_ns and not end.is_connecting and not end.is_blocked:
            arrival_ns, data = end.queue.popleft()
            try:
                sent = end.socket.send(data) if data else self._shut(end)
            except BlockingIOError:
                sent = 0
            except OSError:
                end.queue.appendleft((arrival_ns, data))
                self._close_both(end, reset=True)
                return
            end.queued_bytes -= sent
            self._handed_on[end.is_server] += sent
            if sent < len(data):
                end.queue.appendleft((arrival_ns, data[sent:]))
                end.is_blocked = True
        other = end.other
        if other is not None and end.is_shut and other.is_shut:
            self._close_both(end, reset=False)
            return
        self._watch(end)
        if other is not None:
            self._watch(other)

    @staticmethod
    def _shut(end: End) -> int:
        end.socket.shutdown(socket.SHUT_WR)
        end.is_shut = True
        return 0

    def _watch(self, end: End) -> None:
        """Wait for what an end can do next: send to us where there is room for it, take what is blocked."""
        if end.is_closed:
            return
        mask = 0
        room = end.other is None or end.other.queued_bytes < end.other.wire.holds_bytes
        if room and not end.has_ended and not end.is_connecting:
            mask |= selectors.EVENT_READ
        if end.is_connecting or end.is_blocked:
            mask |= selectors.EVENT_WRITE
        if mask == end.mask:
            return
        if not mask:
            self._selector.unregister(end.socket)
        elif not end.mask:
            self._selector.register(end.socket, mask, end)
        else:
            self._selector.modify(end.socket, mask, end)
        end.mask = mask


def _is_half_open(mode: Mode) -> bool:
    return isinstance(mode, Cut) and mode.variant == "half_open"
