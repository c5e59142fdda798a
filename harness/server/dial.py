"""A connection to a server: dialled, encrypted and greeted as its address says, and nothing more.

What measures wants a bare socket, not a client library: what it sends is packed already, and when a reply came is
a question to the kernel.
"""

from __future__ import annotations

import socket
from typing import Any

import hiredis

from harness.server.options import withheld
from harness.server.tls import TlsError, tls_context
from harness.server.tls_stream import Connection, TlsStream
from harness.server.url import ServerUrl, UrlError

_READ_BYTES = 1 << 18


class DialError(Exception):
    """A server that refuses the user, the password or the database, or is none; its text is one clear line."""


class ReplyError(Exception):
    """An error that the server has answered; its text does not name the user."""

    def __init__(self, text: str) -> None:
        super().__init__(withheld(text))


def open_socket(url: ServerUrl | str, timeout_s: float = 5.0) -> Connection:
    """A connected, authenticated connection for a `redis://`, `rediss://` or `unix://` URL, whose calls wait.

    Args:
        timeout_s: for connecting, and then for each answer; `socket_connect_timeout` of the URL wins.

    Raises:
        OSError: no connection.
        DialError: the server refuses the user, the password or the database, or is none; the URL is none, or its
            TLS cannot be.
    """
    try:
        address = ServerUrl(url)
        context = tls_context(address.options) if address.has_tls else None
    except (UrlError, TlsError) as error:
        raise DialError(str(error)) from error
    timeout_s = address.options.get("socket_connect_timeout", timeout_s)
    if address.path:
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        raw = socket.create_connection((address.host, address.port), timeout_s)
    try:
        raw.settimeout(timeout_s)
        if address.path:
            raw.connect(address.path)
        else:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, address.options.get("socket_keepalive", False))
        opened: Connection = raw if context is None else TlsStream(raw, context, address.server_hostname)
        _greet(opened, address)
    except BaseException:
        raw.close()
        raise
    return opened


def _greet(raw: Connection, address: ServerUrl) -> None:
    for command in address.greeting():
        raw.sendall(packed(*command))
        try:
            [reply], _ = read_replies(raw, 1)
        except hiredis.ProtocolError as error:
            raise DialError(f"what answers {command[0]} is no Redis server: {error}") from error
        if isinstance(reply, ReplyError):
            raise DialError(f"the server refuses {command[0]}: {address.masked(str(reply))}")


def read_replies(connection: Connection, count: int) -> tuple[list[Any], int]:
    """Wait for so many replies; answers them, and how many bytes they were. An error is a `ReplyError` among them.

    Raises:
        OSError: the connection is lost, or does not answer in the time that it has.
        hiredis.ProtocolError: what came is no RESP.
    """
    reader = hiredis.Reader(replyError=ReplyError)
    replies: list[Any] = []
    size = 0
    while len(replies) < count:
        reply = reader.gets()
        if reply is not False:
            replies.append(reply)
            continue
        chunk = connection.recv(_READ_BYTES)
        if not chunk:
            raise ConnectionResetError("the server closed the connection")
        size += len(chunk)
        reader.feed(chunk)
    return replies, size


def packed(*command: str) -> bytes:
    """A command in RESP."""
    parts: tuple[Any, ...] = command
    in_resp: bytes = hiredis.pack_command(parts)
    return in_resp


def takes_writes(connected: Connection) -> bool:
    """Whether what answers on a connection is a primary that has loaded its data, as far as the user may know.

    Raises:
        OSError: the connection is lost, or does not answer in the time that the socket has.
    """
    connected.sendall(packed("PING") + packed("ROLE"))
    (ping, role), _ = read_replies(connected, 2)
    is_loading = isinstance(ping, ReplyError) and str(ping).startswith(("LOADING", "MASTERDOWN"))
    is_replica = isinstance(role, list) and bool(role) and role[0] == b"slave"
    return not (is_loading or is_replica)
