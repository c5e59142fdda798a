"""The proxy's ends of connections, and how their sockets are set."""

from __future__ import annotations

import collections
import socket

from harness.nemesis.proxy import LOOPBACK
from harness.nemesis.proxy.wire import Wire


class End:
    """The proxy's end of a connection, to a client or to a server, with the bytes that are on their way to it."""

    def __init__(
        self, connection: socket.socket, key: str, *, is_server: bool, is_connecting: bool = False
    ) -> None:
        self.socket = connection
        self.key = key
        self.number = int(key.partition("/")[0])
        self.is_server = is_server
        self.is_connecting = is_connecting
        self.other: End | None = None
        # (arrival in ns, bytes); no bytes: the other side has ended.
        self.queue: collections.deque[tuple[int, bytes]] = collections.deque()
        self.queued_bytes = 0
        self.wire = Wire(None, key)
        self.has_ended = False  # it sends no more
        self.is_shut = False  # it is sent no more
        self.is_blocked = False  # it takes no more at the moment
        self.is_closed = False
        self.mask = 0


def bound(port: int, *, alone: bool = False) -> socket.socket:
    """A socket on a port of this machine; other sockets may be, too, unless it is to be alone."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, not alone)
        made.bind((LOOPBACK, port))
    except OSError:
        made.close()
        raise
    return made


def prepared(connection: socket.socket) -> socket.socket:
    """A connection that nothing waits for, and that sends at once."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
