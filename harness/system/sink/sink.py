"""The sink from the harness's side: start it, tell it its modes, do to it what can be done to a process."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from harness.host.own_python import own_environment, own_module
from harness.nemesis.proxy import LOOPBACK
from harness.nemesis.proxy.end import bound
from harness.system.sink.body import UnreadableError, ids_in
from harness.system.sink.messages import Counts, Modes

if TYPE_CHECKING:
    from harness.nemesis.targets import Part

ANSWER_TIMEOUT_S = 10.0
# To know what a long log has accepted takes a while.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
# About 35 million attempts.
MOST_BYTES = 2 << 30
# Where its input ends without a byte, the harness is dead; what is stopped cannot notice that by itself.
_THAWER = 'read byte || kill -CONT "$0"'


class SinkError(Exception):
    """A sink that could not be started, has ended by itself, or does not answer."""


class Sink:
    """Takes effects by HTTP and logs every attempt; runs from its making until it is left.

    Args:
        log: the file; what it holds already stays, and counts as accepted.
        most_bytes: how large it may become. Then nothing more is accepted.

    Raises:
        SinkError: it could not be started.

    All methods may be called from any thread. Each returns when what it asks for is in force; of a sink that is
    away or frozen, that is when it is back.
    """

    name = "effects"

    def __init__(self, log: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._log = log
        self._most_bytes = most_bytes
        self._lock = threading.RLock()
        self._modes = Modes()
        self._process: subprocess.Popen[bytes] | None = None
        self._thawer: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._received, self._awaited = b"", 0
        # Bound, and never listening: while the sink is away, nobody else gets its port.
        self._keeper = bound(0)
        self.port = int(self._keeper.getsockname()[1])
        self.url = f"http://{LOOPBACK}:{self.port}/"
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def target(self) -> Part:
        """What can be broken."""
        from harness.nemesis.targets import Part, process_can

        return Part(self.name, process_can(self) | {"slow": self.slow, "refuse": self.refuse})

    # What it is told --------------------------------------------------------------------------------------

    def slow(self, ms: float) -> None:
        """Have each answer take so long; what is accepted is accepted at the end of it.

        Args:
            ms: at least; 0: as fast as it goes.

        Raises:
            SinkError: it has ended by itself, or does not answer.
            ValueError: a number out of its range.
        """
        self._change(slow_ms=ms)

    def refuse(self, status: int = 503) -> None:
        """Answer everything with a status, and accept nothing.

        Args:
            status: from 400 to 599; 0: accept again.

        Raises:
            SinkError: it has ended by itself, or does not answer.
            ValueError: no such status.
        """
        self._change(refuse=status)

    def poison(self, event_id: str) -> None:
        """Answer each request with this ID with 422 from now on, and accept nothing of it.

        Raises:
            SinkError: it has ended by itself, or does not answer.
            ValueError: this can be no ID.
        """
        try:
            ids_in(msgspec.json.encode([event_id]))
        except UnreadableError as error:
            raise ValueError(str(error)) from error
        with self._lock:
            self._change(poison=(*self._modes.poison, event_id))

    @property
    def poisoned(self) -> tuple[str, ...]:
        """The IDs that are refused for ever."""
        return self._modes.poison

    def counts(self) -> Counts:
        """What it has done since it was started.

        Raises:
            SinkError: it is away, frozen, or does not answer.
        """
        with self._lock:
            if not self.is_running or self._thawer:
                raise SinkError("the sink is away or frozen")
            return self._tell(ANSWER_TIMEOUT_S)

    def _change(self, **changes: object) -> None:
        with self._lock:
            modes = msgspec.structs.replace(self._modes, **changes)
            # Structs check their fields only when decoded; a mistake is the caller's and must not end the sink.
            self._modes = msgspec.convert(msgspec.to_builtins(modes), Modes)
            if self.is_running and not self._thawer:
                self._tell(ANSWER_TIMEOUT_S)

    def _tell(self, timeout_s: float) -> Counts:
        if self._line is None:
            raise SinkError("the sink has ended")
        try:
            self._line.settimeout(timeout_s)
            self._line.sendall(msgspec.json.encode(self._modes) + b"\n")
            self._awaited += 1
            # An answer that came too late comes before this one's.
            while self._awaited:
                answer = self._answer(self._line)
                self._awaited -= 1
        except TimeoutError as error:
            raise SinkError(f"the sink does not answer within {timeout_s:.0f} s") from error
        except OSError as error:
            raise SinkError(f"the sink has ended: {error}") from error
        counts = msgspec.json.decode(answer, type=Counts | str)
        if isinstance(counts, str):
            raise SinkError(f"the sink does not start: {counts}")
        return counts

    def _answer(self, line: socket.socket) -> bytes:
        while b"\n" not in self._received:
            received = line.recv(65_536)
            if not received:
                raise SinkError("the sink has ended")
            self._received += received
        answer, _, self._received = self._received.partition(b"\n")
        return answer

    # The process ------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether its process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self._process is not None and self.is_running else None

    def start(self) -> None:
        """Start it, on the same port and with the same log and modes; nothing while it runs.

        Raises:
            SinkError: it does not start.
        """
        with self._lock:
            if self.is_running:
                return
            self._let_go()
            self._line, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    own_module("harness.system.sink", str(self._log), str(self.port), str(self._most_bytes)),
                    env=own_environment(),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            self._tell(START_TIMEOUT_S)

    def stop(self) -> None:
        """SIGTERM: it takes nothing more, answers what it has in hand, and ends; SIGKILL where that takes long."""
        with self._lock:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            if self._process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT_S)
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        with self._lock:
            self._signal(signal.SIGKILL)
            if self._process is not None:
                self._process.wait()
            self._let_go()

    def freeze(self) -> None:
        """SIGSTOP: it holds its connections and does nothing; nothing for one that is away."""
        with self._lock:
            if self._process is None or not self.is_running or self._thawer:
                return
            # Before it is stopped: who is killed between the two must not leave it behind.
            self._thawer = subprocess.Popen(
                ["/bin/sh", "-c", _THAWER, str(self._process.pid)], stdin=subprocess.PIPE, start_new_session=True
            )
            self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT; nothing for one that is not frozen.

        Raises:
            SinkError: it has ended by itself, or does not answer.
        """
        with self._lock:
            if not self._thawer:
                return
            self._signal(signal.SIGCONT)
            self._dismiss_thawer()
            if self.is_running:
                self._tell(ANSWER_TIMEOUT_S)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _dismiss_thawer(self) -> None:
        if self._thawer is not None:
            with contextlib.suppress(BrokenPipeError):
                self._thawer.communicate(b"\n")
            self._thawer = None

    def _let_go(self) -> None:
        """Of what belongs to a process that has ended."""
        self._dismiss_thawer()
        if self._line is not None:
            self._line.close()
            self._line = None
        self._received, self._awaited = b"", 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; the log stays."""
        self.kill()
        self._keeper.close()
