"""The way to the server for blocking callers: clients, connections in hand, and what errors of the library mean.

Whatever the server or the way to it does, what is raised in the end is a `StoreError`: `UnavailableError` for what
passes, and for a reply of another kind, as a proxy gives that mixes them up. Such a connection is not used again.

The client library's own retries are switched off, for they would repeat a timed-out append unseen.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

import redis

from ordershop.events import StoreError
from ordershop.server.tls import read_reply, redis_client
from ordershop.server.url import Address, ServerUrl

_Read = TypeVar("_Read")


class UnavailableError(StoreError):
    """The server did not answer in time, and an append may or may not have happened; or it cannot serve now."""


# No answer came, or bytes that are none: then nothing that follows them on that connection can be read, either.
NO_ANSWER = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.InvalidResponse)
# What a server answers that is there and cannot serve now: restarting, a replica, out of memory, its disk full, a
# script that does not end, no password, a node of a cluster whose slots have moved, one that has just forgotten a
# script. Before Redis 7 it stands behind the place in the script where it happened.
_UNABLE = re.compile(
    "(?:^|: -)(?:LOADING|BUSY|READONLY|MASTERDOWN|CLUSTERDOWN|MOVED|ASK|TRYAGAIN|OOM|MISCONF|NOREPLICAS|NOAUTH"
    "|NOPERM|NOSCRIPT|MAXCLIENTS|ERR max number of clients) "
)
# The same, of those that the client library knows; it cuts their names off their texts.
_UNABLE_KINDS = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)


# What a server answers that is not, or not yet, the one to ask: a replica since a failover, one cut off from its
# primary, one that is still loading, a node of a cluster that has given its slots away. Behind one address there
# may be another by now, for a new connection only.
_ELSEWHERE = re.compile("(?:^|[: ]-?)(?:READONLY|MASTERDOWN|LOADING|MOVED|ASK) ")
_ELSEWHERE_KINDS = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
    redis.exceptions.BusyLoadingError,
)


def says_elsewhere(text: str) -> bool:
    """Whether an error that a server answers says that another one may have to be asked, by a new connection."""
    return bool(_ELSEWHERE.search(text))


def is_elsewhere(error: BaseException) -> bool:
    """The same of an error that the client library has made of it, whose name it cuts off."""
    return isinstance(error, _ELSEWHERE_KINDS) or says_elsewhere(str(error))


def says_unable(text: str) -> bool:
    """Whether an error that a server answers says that it cannot serve now; another moment it may."""
    return bool(_UNABLE.search(text))


def is_unable(error: redis.RedisError) -> bool:
    """Whether a server did not answer, or nothing that can be read, or that it cannot serve now; later it may."""
    if isinstance(error, (*NO_ANSWER, *_UNABLE_KINDS)):
        return True
    return says_unable(str(error))


def store_error(error: redis.RedisError) -> StoreError:
    """What a store raises for an error of the client library."""
    if isinstance(error, redis.exceptions.NoScriptError):
        return UnavailableError(f"the event store has just forgotten the script: {error}")
    if isinstance(error, NO_ANSWER):
        return UnavailableError(f"no answer from the event store: {error}")
    if is_unable(error):
        return UnavailableError(f"the event store cannot serve now: {error}")
    return StoreError(f"the event store refused a command: {error}")


def connect(url: Address | str, *, timeout_s: float = 2.0, block_s: float = 0.0) -> redis.Redis:
    """A client for a `redis://`, `rediss://` or `unix://` URL, as this project needs it.

    RESP2, so that replies have one shape; no retries of the library's own; every wait bounded.

    Args:
        timeout_s: how long a connection or an answer may take; what the URL says of it wins.
        block_s: for how long a reader lets the server wait on purpose, which is added.

    Raises:
        ValueError: it is no such URL (`UrlError`), or its TLS cannot be (`TlsError`).
    """
    return redis_client(ServerUrl(url), timeout_s=timeout_s, block_s=block_s)


class Wire:
    """Connections that a store keeps in hand, taken in turn by its threads.

    The client library's pool looks at the socket each time it hands out a connection, which costs a system call
    and more than the append itself. Here a connection that has died while it lay idle shows when it is used, and
    its command is sent once more on a fresh one: everything that a store sends may be repeated.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._idle: list[Any] = []
        self._pid = os.getpid()

    def call(self, read: Callable[[Any], _Read], *command: Any) -> _Read:
        """Send a command and answer what its reply says.

        Args:
            read: takes the reply, as RESP2 has it, bytes undecoded.
            command: its name and arguments.

        Raises:
            redis.RedisError: as the client library raises it; `InvalidResponse` for a reply of another kind.
            StoreError: what `read` raises of it.
        """
        if self._pid != os.getpid():
            # A forked process must not share sockets with the one that it came from.
            self._idle, self._pid = [], os.getpid()
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._call_on(self._pool.get_connection(), read, command)
        try:
            return self._call_on(connection, read, command)
        except redis.ConnectionError:
            return self._call_on(self._pool.get_connection(), read, command)

    def _call_on(self, connection: Any, read: Callable[[Any], _Read], command: tuple[Any, ...]) -> _Read:
        try:
            connection.send_command(*command)
            said = read_reply(command[0], read, connection.read_response(disable_decoding=True))
        except StoreError:
            self._idle.append(connection)  # it has answered, and its answer is no
            raise
        except redis.ResponseError as error:
            if is_elsewhere(error):
                self._leave(connection)
            else:
                self._idle.append(connection)  # an error that the server has answered leaves it in order
            raise
        except BaseException:
            # An answer may still be on its way; nobody else must read it.
            connection.disconnect()
            self._pool.release(connection)
            raise
        self._idle.append(connection)
        return said

    def _leave(self, connection: Any) -> None:
        """Dial again with the next command, in every thread: where one connection leads, all of them do."""
        connection.disconnect()
        self._pool.release(connection)
        while self._idle:
            other = self._idle.pop()
            other.disconnect()
            self._pool.release(other)

    def close(self) -> None:
        """Give the connections back to the pool."""
        while self._idle:
            self._pool.release(self._idle.pop())


class Pipe:
    """A connection of its own, on which commands are sent ahead of their answers.

    Raises:
        UnavailableError: no answer, also with each of its methods.
        StoreError: an answer that is an error.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._reads: deque[tuple[str, Callable[[Any], Any]]] = deque()
        self._connection: Any = None
        with self._errors_of_a_store():
            self._connection = self._pool.get_connection()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _errors_of_a_store(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            is_lost = is_elsewhere(error) or isinstance(error, redis.exceptions.InvalidResponse)
            if is_lost and self._connection is not None:
                self._connection.disconnect()
            raise store_error(error) from error

    def send(self, read: Callable[[Any], Any], *command: Any) -> None:
        """Send a command.

        Args:
            read: takes the reply, as RESP2 has it, bytes undecoded.
            command: its name and arguments.
        """
        self._reads.append((command[0], read))  # first: one that was sent in part leaves no use for what follows
        with self._errors_of_a_store():
            self._connection.send_command(*command)

    def collect(self, most_in_flight: int = 0) -> Iterator[Any]:
        """What the replies say, the oldest first, until so many are still to come."""
        while len(self._reads) > most_in_flight:
            name, read = self._reads.popleft()
            with self._errors_of_a_store():
                said = read_reply(name, read, self._connection.read_response(disable_decoding=True))
            yield said

    def read(self, name: str, read: Callable[[Any], _Read], reply: Any) -> _Read:
        """What more a reply to a command of that name says."""
        with self._errors_of_a_store():
            return read_reply(name, read, reply)

    def close(self) -> None:
        """Give the connection back; one with an answer still to come cannot be used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._reads:
                connection.disconnect()
            self._pool.release(connection)
