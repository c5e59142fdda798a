"""A connection to a server: dialled, encrypted and greeted as its URL says, and nothing more.

What measures wants a bare socket, not a client library: what it sends is packed already, and when a reply came is
a question to the kernel.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import hiredis
from redis.connection import parse_url


class DialError(Exception):
    """A server that refuses the user, the password or the database, or is none; its text is one clear line."""


class ReplyError(Exception):
    """An error that the server has answered."""


def open_socket(url: str, timeout_s: float = 5.0) -> socket.socket:
    """A connected, authenticated socket for a `redis://`, `rediss://` or `unix://` URL, blocking.

    Raises:
        OSError: no connection.
        DialError: the server refuses the user, the password or the database, or is none.
    """
    options: dict[str, Any] = dict(parse_url(url))
    if "path" in options:
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        address = (options.get("host", "localhost"), int(options.get("port", 6379)))
        raw = socket.create_connection(address, timeout_s)
    try:
        raw.settimeout(timeout_s)
        if "path" in options:
            raw.connect(options["path"])
        else:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.startswith("rediss://"):
            raw = _tls_context(options).wrap_socket(raw, server_hostname=options.get("host", "localhost"))
        _greet(raw, options)
    except BaseException:
        raw.close()
        raise
    return raw


def _tls_context(options: dict[str, Any]) -> ssl.SSLContext:
    """TLS as the URL's options say, by the names that redis-py gives them."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs") in {"none", ssl.CERT_NONE}:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context


def _greet(raw: socket.socket, options: dict[str, Any]) -> None:
    commands: list[tuple[Any, ...]] = []
    if options.get("username") or options.get("password"):
        user = (options["username"],) if options.get("username") else ()
        commands.append(("AUTH", *user, options.get("password", "")))
    if options.get("db"):
        commands.append(("SELECT", int(options["db"])))
    reader = hiredis.Reader(replyError=ReplyError)
    for command in commands:
        raw.sendall(hiredis.pack_command(command))
        try:
            while (reply := reader.gets()) is False:
                chunk = raw.recv(4096)
                if not chunk:
                    raise ConnectionResetError("the server closed the connection")
                reader.feed(chunk)
        except hiredis.ProtocolError as error:
            raise DialError(f"what answers {command[0]} is no Redis server: {error}") from error
        if isinstance(reply, ReplyError):
            raise DialError(f"the server refuses {command[0]}: {reply}")


def packed(*command: str) -> bytes:
    """A command in RESP."""
    parts: tuple[Any, ...] = command
    in_resp: bytes = hiredis.pack_command(parts)
    return in_resp


def takes_writes(connected: socket.socket) -> bool:
    """Whether what answers on a connection is a primary that has loaded its data, as far as the user may know.

    Raises:
        OSError: the connection is lost, or does not answer in the time that the socket has.
    """
    reader = hiredis.Reader(replyError=ReplyError)
    connected.sendall(packed("PING") + packed("ROLE"))
    replies: list[Any] = []
    while len(replies) < 2:
        while (reply := reader.gets()) is False:
            chunk = connected.recv(4096)
            if not chunk:
                raise ConnectionResetError("the server closed the connection")
            reader.feed(chunk)
        replies.append(reply)
    ping, role = replies
    is_loading = isinstance(ping, ReplyError) and str(ping).startswith(("LOADING", "MASTERDOWN"))
    is_replica = isinstance(role, list) and bool(role) and role[0] == b"slave"
    return not (is_loading or is_replica)
