"""The Redis or Valkey under test: what every kind of it says and does.

A kind of server is a class, and says by which schemes it is named and what it `can`:

    kill         it can be ended as by a crash, frozen, and started again
    pause        it can be told to hold back every command
    configure    it is started as its user wants it, such as with another durability
    fail_over    another node can take over
    lose_disk    what it has on disk can be taken from it

Who wants to break something asks for that, and not for the kind. The kinds are found in `harness.server.open`.
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import redis

from harness.host.clock import Clock, SystemClock
from harness.server.facts import describe_server
from harness.server.tls import TlsError, redis_client
from harness.server.url import ServerUrl, UrlError

Durability = Literal["none", "everysec", "always"]
Ability = Literal["kill", "pause", "configure", "fail_over", "lose_disk"]


class ServerError(Exception):
    """A server that cannot be used; its text is one clear line."""


def client_for(url: ServerUrl | str, *, timeout_s: float = 2.0) -> redis.Redis:
    """A client that speaks RESP2, retries nothing by itself, and waits for nothing without a bound.

    Raises:
        ServerError: not a URL of a Redis server, or one whose TLS cannot be.
    """
    try:
        address = ServerUrl(url)
    except UrlError as error:
        raise ServerError(str(error)) from error
    try:
        return redis_client(address, timeout_s=timeout_s)
    except TlsError as error:
        raise ServerError(f"{address}: {error}") from error


class Server:
    """A server under test.

    Attributes:
        url: where it answers; as text it is masked.
        namespace: what every key of ours begins with; empty where the whole server is ours.
        owned: whether we have started it, and it ends with us.
        schemes: what stands before the `://` of an address that names one of this kind.
        can: what may be done to one of this kind.
        end: how it has ended by itself; None: it runs, or whether it does is not ours to see.
    """

    schemes: ClassVar[tuple[str, ...]] = ()
    can: ClassVar[frozenset[Ability]] = frozenset()
    url: ServerUrl
    namespace: str
    owned: bool
    pid: int | None = None
    end: str | None = None

    @classmethod
    def opened(
        cls, which: ServerUrl | str, clock: Clock, *, durability: Durability = "none", port: int | None = None
    ) -> Self:
        """The server of this kind that `--server` names.

        Args:
            which: `embedded`, the path of a server program, or an address.
            clock: for what has to be waited for.
            durability: of a server that we start; another has its own.
            port: for a server that we start; None for a free one.

        Raises:
            ServerError: there is no such server, or it cannot be used.
        """
        raise NotImplementedError

    def client(self, *, timeout_s: float = 2.0) -> redis.Redis:
        """A client of this server."""
        return client_for(self.url, timeout_s=timeout_s)

    def describe(self) -> dict[str, Any]:
        """What a record must know of a server: program, version, configuration that matters.

        Raises:
            ServerError: it does not answer.
        """
        try:
            with contextlib.closing(self.client()) as client:
                return self._described_by(client)
        except redis.RedisError as error:
            raise ServerError(f"{self.url}: {self.url.masked(str(error))}") from error

    def _described_by(self, client: redis.Redis) -> dict[str, Any]:
        facts = describe_server(client, self.url, SystemClock(), pid=self.pid)
        return {**facts, "url": str(self.url), "owned": self.owned}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave nothing behind."""
