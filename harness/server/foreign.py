"""A server at a URL: somebody else's, used with care.

It is never flushed, never configured, and never shared, not even by two runs of ours (`harness.server.lock`). Our
keys live under a namespace beside a marker that says whose they are. A database that holds any other key is
refused before the first write, and our keys are removed afterwards; what stays all the same is named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import redis

from harness.host.clock import Clock, SystemClock
from harness.server.facts import greeting
from harness.server.lock import HeldError, Lock, NoLockError, is_refused
from harness.server.namespace import LOCK, MARKER, NAMESPACE
from harness.server.server import Durability, Server, ServerError, client_for
from harness.server.url import SCHEMES, ServerUrl, UrlError

# For so long, at the end, a server that is away is dialled again, so that our keys can be removed.
CLOSE_TIMEOUT_NS = 10_000_000_000


class ForeignServer(Server):
    """A server at a URL: somebody else's, used with care.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        clock: for the wait, at the end, for a server that is away.

    Attributes:
        lock_said: `held`, or why there is no lock.

    Raises:
        ServerError: it does not answer, is no single Redis, another run uses its database, or that holds keys that
            are not ours.
    """

    schemes: ClassVar[tuple[str, ...]] = SCHEMES
    namespace = NAMESPACE
    owned = False
    pid = None

    @classmethod
    def opened(
        cls,
        which: ServerUrl | str,
        clock: Clock,
        *,
        durability: Durability = "none",  # noqa: ARG003 - it has one of its own
        port: int | None = None,  # noqa: ARG003 - and a port, too
    ) -> Self:
        """The server at a URL, whose durability and port are its own; see `Server.opened`."""
        return cls(which, clock)

    def __init__(self, url: ServerUrl | str, clock: Clock | None = None) -> None:
        try:
            self.url = ServerUrl(url)
        except UrlError as error:
            raise ServerError(str(error)) from error
        self._clock = clock or SystemClock()
        self._client = client_for(self.url)
        self._lock: Lock | None = Lock(lambda: client_for(self.url), LOCK)
        self._facts: dict[str, Any] = {}
        self.lock_said = "held"
        shown = str(self.url)
        try:
            self._refuse_cluster(shown)
            self._refuse_foreign_keys(shown)
            self._take_lock(shown)
            self._remove_keys(self._client)
            with _unless_refused():
                self._client.set(MARKER, "keys of ordershop-bench; they are removed after each run")
        except redis.exceptions.AuthenticationError as error:
            raise self._given_up(f"{shown}: {self.url.masked(str(error))}") from error
        except redis.exceptions.NoPermissionError as error:
            needs = "shopbench needs it to see that a database holds nobody else's keys, and to remove its own"
            why = " ".join(self.url.masked(str(error)).split())
            raise self._given_up(f"{shown}: {why}; {needs}") from error
        except LockLostError as error:
            raise self._given_up(f"{shown}: {error}") from error
        except (redis.RedisError, OSError) as error:
            why = self.url.masked(str(error))
            raise self._given_up(f"{shown}: does not answer as a Redis server does ({why})") from error

    def _given_up(self, why: str) -> ServerError:
        """Hold nothing of a server that cannot be used; the error to raise."""
        if self._lock is not None:
            with contextlib.suppress(redis.RedisError, OSError, TypeError):
                self._lock.give_back(self._client)
        self._client.close()
        return ServerError(why)

    def _take_lock(self, shown: str) -> None:
        if self._lock is None:
            return
        try:
            self._lock.take()
        except HeldError as error:
            self._client.close()
            raise ServerError(f"{shown}: {error}") from error
        except NoLockError as error:
            self._lock = None
            self.lock_said = f"none: {error}; another run that uses this database would not be noticed"

    def _refuse_cluster(self, shown: str) -> None:
        is_cluster: Any
        try:
            is_cluster = self._client.info("cluster").get("cluster_enabled")
        except redis.ResponseError as error:
            if not is_refused(error):
                raise
            is_cluster = greeting(self._client).get("mode") == "cluster"
        if is_cluster:
            self._client.close()
            raise ServerError(
                f"{shown}: is a node of a Cluster; one atomic step over several streams needs a single server"
            )

    def _refuse_foreign_keys(self, shown: str) -> None:
        marked = self._client.exists(MARKER)
        # Ours are few or none, so the first key that is not ours comes soon.
        for key in self._client.scan_iter(count=1000):
            name = key.decode("utf-8", "replace")
            # Another run of ours may just have begun: its lock comes before its marker, and both after we asked.
            if name.startswith(NAMESPACE) and not marked:
                marked = self._client.exists(MARKER)
            if not (name == LOCK or (marked and name.startswith(NAMESPACE))):
                self._client.close()
                raise ServerError(
                    f"{shown}: the database holds a key that is not ours ({name[:60]!r}); "
                    "give an empty one, such as another database number"
                )

    def _remove_keys(self, client: redis.Redis) -> None:
        """Remove our keys, and none of another run's: the lock is looked at before each few."""
        remove = client.unlink
        for keys in _chunks(key for key in client.scan_iter(match=NAMESPACE + "*", count=1000)):
            ours = [key for key in keys if key != LOCK.encode()]
            if self._lock is not None and not self._lock.renew(client):
                raise LockLostError("another run of shopbench has taken this database")
            if not ours:
                continue
            try:
                remove(*ours)
            except redis.ResponseError as error:
                if remove == client.delete or not is_refused(error):
                    raise
                remove = client.delete
                remove(*ours)

    def _described_by(self, client: redis.Redis) -> dict[str, Any]:
        # Kept: what comes to light at the end, such as keys that stay, is added to what the record has by then.
        self._facts = {**super()._described_by(client), "lock": self.lock_said}
        return self._facts

    def close(self) -> None:
        """Remove our keys, dialling again where the connection is gone; what stays is noted."""
        deadline_ns = self._clock.now_ns() + CLOSE_TIMEOUT_NS
        self._client.close()
        while True:
            try:
                with contextlib.closing(self.client()) as client:
                    self._remove_keys(client)
                    if self._lock is not None:
                        self._lock.give_back(client)
                break
            except LockLostError as error:
                self._note_left(f"{error}, so keys of this run were left to it")
                break
            except redis.ResponseError as error:
                self._note_left(f"keys may stay that begin with {NAMESPACE!r} ({' '.join(str(error).split())})")
                break
            except (redis.RedisError, OSError) as error:
                if self._clock.now_ns() > deadline_ns:
                    self._note_left(f"keys stay that begin with {NAMESPACE!r}: the server is away ({error})")
                    break
                self._clock.sleep_ns(200_000_000)
        if self._lock is not None:
            self._lock.stop()
            self._facts["lock"] = self._lock.doubt or self.lock_said

    def _note_left(self, what: str) -> None:
        self._facts["left_behind"] = f"in {self.url} {what}"


class LockLostError(Exception):
    """Another run holds the database now."""


@contextlib.contextmanager
def _unless_refused() -> Iterator[None]:
    """Do without what this user may not do."""
    try:
        yield
    except redis.ResponseError as error:
        if not is_refused(error):
            raise


def _chunks(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for key in keys:
        chunk.append(key)
        if len(chunk) == 500:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
