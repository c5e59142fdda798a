"""TLS as an address says, in one place: bare sockets, asyncio and redis-py's clients all get their context here.

    context = tls_context(url.options)          # of a ServerUrl that begins with rediss://

The names and defaults of options are redis-py's: a certificate that an authority vouches for, and for that host,
unless the URL says otherwise. What cannot be (a file that is not there, a key whose password is wrong) is a
`TlsError` of one line, when a client is made and not at its first command.

redis-py makes a context for each connection by itself. `TlsConnection` gives it ours in place of that: else what a
check had been able to connect to, a pump might refuse, or the other way round. Should a redis-py to come call the
hook by another name, it makes its own again, from the same options; tests hold each option for all ways of
connecting.

One of the files that stand twice: see `url.py` beside it.
"""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.connection import (
    Connection,
    ConnectionPool,
    DefaultParser,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.retry import Retry

from .options import withheld
from .url import ServerUrl

_Read = TypeVar("_Read")


class TlsError(ValueError):
    """TLS that cannot be as its options say; its text is one line, without a secret."""


_REQUIRED = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """The context that options of a URL describe.

    Args:
        options: `ServerUrl.options`; those that do not begin with `ssl_` say nothing here.

    Raises:
        TlsError: a file, a key, a cipher or a combination of them that cannot be used.
    """
    context = ssl.create_default_context()
    required = _REQUIRED[options.get("ssl_cert_reqs", "required")]
    # In this order: a context that checks a name must require a certificate.
    context.check_hostname = required != ssl.CERT_NONE and options.get("ssl_check_hostname", True)
    context.verify_mode = required
    for name in options.get("ssl_include_verify_flags", ()):
        context.verify_flags |= ssl.VerifyFlags[name]
    for name in options.get("ssl_exclude_verify_flags", ()):
        context.verify_flags &= ~ssl.VerifyFlags[name]
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise TlsError("TLS: ssl_keyfile wants ssl_certfile beside it")
    doing = "the client's certificate (ssl_certfile, ssl_keyfile, ssl_password)"
    try:
        if "ssl_certfile" in options:
            # Without a password OpenSSL would ask for one at the terminal, and wait.
            password = options.get("ssl_password", "")
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), lambda: password)
        doing = "the authorities (ssl_ca_certs, ssl_ca_path, ssl_ca_data)"
        places = [options.get(name) for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data")]
        if any(places):
            context.load_verify_locations(*places)
        doing = "ssl_min_version"
        if "ssl_min_version" in options:
            context.minimum_version = ssl.TLSVersion(options["ssl_min_version"])
        doing = "ssl_ciphers"
        if "ssl_ciphers" in options:
            context.set_ciphers(options["ssl_ciphers"])
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise TlsError(f"TLS: {doing} cannot be used ({why})") from None
    return context


class _WithholdingParser(DefaultParser):  # type: ignore[misc, valid-type]
    """redis-py's, whose errors do not name the user: they end in logs, answers and records.

    And they begin with the server's own word for them, such as OOM, which redis-py cuts off those that it knows.
    """

    @classmethod
    def parse_error(cls, response: str) -> Exception:
        """The exception for an error that was answered."""
        said = withheld(response)
        try:
            error: Exception = super().parse_error(said)
        except ValueError:
            # It takes MOVED and ASK apart, and some say no more than the word.
            error = redis.ResponseError(said)
        if not said.startswith("ERR "):
            error.args = (said,)
        return error


# What replies are of whose kind redis-py takes whatever comes.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "EXISTS": (int,),
    "GET": (bytes, type(None)),
    "INFO": (bytes,),
    "SCAN": (list,),
    "SCRIPT LOAD": (bytes,),
    "XADD": (bytes,),
    "XINFO GROUPS": (list,),
    "XLEN": (int,),
    "XPENDING": (list,),
    "XRANGE": (list,),
    "XREVRANGE": (list,),
}


@functools.cache
def _reading(command: str, read: Callable[..., Any] | None) -> Callable[..., Any]:
    """What reads the reply to a command: as redis-py's does, and a reply of another kind is one error, by name."""
    kinds = _KINDS.get(command, (object,))

    def reading(reply: Any, **options: Any) -> Any:
        if not isinstance(reply, kinds):
            raise _no_reply(command)
        return reply if read is None else read_reply(command, read, reply, **options)

    return reading


def _no_reply(command: str) -> redis.exceptions.InvalidResponse:
    return redis.exceptions.InvalidResponse(f"what was answered to {command} is no reply to it")


def read_reply(command: str, read: Callable[..., _Read], reply: Any, **options: Any) -> _Read:
    """What a reply says, read by a function that knows the replies to a command.

    Args:
        command: to which it was answered.
        read: takes it apart; it may take for granted that it is of its kind.
        reply: as the client library answers it.
        options: of `read`.

    Raises:
        redis.exceptions.InvalidResponse: it is of another kind.
    """
    try:
        return read(reply, **options)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise _no_reply(command) from error


class TlsConnection(SSLConnection):
    """redis-py's encrypted connection, on a context of ours.

    Args:
        context: of `tls_context`.
        server_hostname: for whom the certificate must be.
        options: redis-py's.
    """

    def __init__(self, *, context: ssl.SSLContext, server_hostname: str, **options: Any) -> None:
        super().__init__(**options)
        self._context = context
        self._server_hostname = server_hostname

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        return self._context.wrap_socket(sock, server_hostname=self._server_hostname)


def redis_client(url: ServerUrl, *, timeout_s: float, block_s: float = 0.0) -> redis.Redis:
    """A client of redis-py that speaks RESP2, retries nothing by itself, and waits for nothing without a bound.

    Args:
        url: a `ServerUrl`.
        timeout_s: how long connecting, or an answer, may take; what the URL says wins.
        block_s: for how long a command may wait in the server on purpose; that much is added.

    Raises:
        TlsError: as `tls_context`.
    """
    options = url.options
    how: dict[str, Any] = {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": options.get("socket_timeout", timeout_s) + block_s,
        "socket_connect_timeout": options.get("socket_connect_timeout", timeout_s),
        "username": url.username or None,
        "password": url.password or None,
        "db": url.db,
        "client_name": options.get("client_name"),
        "parser_class": _WithholdingParser,
    }
    kind: type[Any] = Connection
    if url.path:
        kind = UnixDomainSocketConnection
        how |= {"path": url.path}
    else:
        how |= {"host": url.host, "port": url.port}
        if "socket_keepalive" in options:
            how |= {"socket_keepalive": options["socket_keepalive"]}
    if url.has_tls:
        kind = TlsConnection
        context = tls_context(options)
        how |= {"context": context, "server_hostname": url.server_hostname}
        # As the connection would be made by redis-py itself, were its hook to move.
        how |= {
            name: [ssl.VerifyFlags[flag] for flag in value] if name.endswith("verify_flags") else value
            for name, value in options.items()
            if name.startswith("ssl_") and name != "ssl_server_hostname"
        }
    client = redis.Redis.from_pool(ConnectionPool(connection_class=kind, **how))
    for command in {*client.response_callbacks, *_KINDS}:
        client.set_response_callback(command, _reading(command, client.response_callbacks.get(command)))
    return client
