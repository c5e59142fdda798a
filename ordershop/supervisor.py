"""The services as operating-system processes: start, stop, kill, freeze, thaw, status.

    with Supervisor(log=path) as supervisor:
        supervisor.start(Service("mail", "ordershop.services.mail", ("--port", "5008"), port=5008))
        supervisor.kill("mail")                    # SIGKILL, as a crash would
        supervisor.start_again("mail")             # with the same arguments

A service counts as started when it answers `GET /health` (it may answer that it is not well, for what it needs
may start later), or, where it has no port, when it runs.

It ends with its supervisor, whatever becomes of that: its standard input is a pipe that the supervisor holds
open, and a service whose input ends, ends itself. It has a session of its own, so that Ctrl-C in a terminal
reaches the supervisor alone, which then stops the services in order.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, NamedTuple, Self

from ordershop.server.url import Address

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
_ROOT = Path(__file__).resolve().parent.parent

State = Literal["running", "frozen", "stopped", "failed"]


class SupervisorError(Exception):
    """A service that cannot be started, or is not there."""


# Where a service finds the event store, unless its command line says it.
STORE_VARIABLE = "ORDERSHOP_SERVER"


class Service(NamedTuple):
    """What to start: a module, its arguments, the port on which it answers, and the event store that it needs.

    The store's address goes by the environment: everybody on the host can read a command line.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    port: int | None = None
    store: Address | None = None


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> list[int]:
    """So many different TCP ports of 127.0.0.1 that nobody listens on at this moment."""
    with contextlib.ExitStack() as probes:
        found = []
        for _ in range(count):
            probe = probes.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found


def own_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a service: its path has the packages that it is in, and not the working directory.

    With `-P` a service that is started in a directory with an `ordershop` of its own is still ours.
    """
    theirs = [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if Path(each).is_absolute()]
    # Python looks there by itself; before it, libraries would hide modules of Python's own.
    ours = [] if _ROOT.name in {"site-packages", "dist-packages"} else [str(_ROOT)]
    found = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    if path := os.pathsep.join([*ours, *(each for each in theirs if each not in ours)]):
        found["PYTHONPATH"] = path
    return found


def end_with_parent() -> None:
    """End this process when its standard input does: its supervisor is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_TIMEOUT_S)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def answers_health(port: int, timeout_s: float = 1.0) -> bool:
    """Whether a service answers `GET /health` with success."""
    return health_status(port, timeout_s) == 200


def health_status(port: int, timeout_s: float = 1.0) -> int | None:
    """The status with which a service answers `GET /health`; None where it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


# Waits for a byte; where its input ends without one, its starter is dead.
_THAWER = "import os, signal, sys; os.read(0, 1) or os.kill(int(sys.argv[1]), signal.SIGCONT)"


class _Child:
    def __init__(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        self.service = service
        self.process = process
        # Thaws a frozen service whose supervisor is gone; what is stopped cannot notice that by itself.
        self.thawer: subprocess.Popen[bytes] | None = None
        self.told_to_end = False
        self.relay: threading.Thread | None = None


def _relay(child: _Child, on_line: Callable[[str, str], None]) -> None:
    """Hand on what a service writes, until it ends."""
    for line in child.process.stdout or ():
        on_line(child.service.name, line.decode("utf-8", "replace").rstrip())


class Supervisor:
    """Starts services and ends them all when it is left.

    Args:
        log: the file that all services write to; None: they write where the supervisor does.
        on_line: called with a service's name and a line that it wrote, from a thread; in place of `log`.
        clock, sleep: monotonic seconds, and waiting some.
    """

    def __init__(
        self,
        log: Path | None = None,
        *,
        on_line: Callable[[str, str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._log_path = log
        self._log: IO[bytes] | None = log.open("ab") if log else None
        self._on_line = on_line
        self._children: dict[str, _Child] = {}
        self._clock = clock
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def names(self) -> list[str]:
        """The services, in the order of their start."""
        return list(self._children)

    def start(self, service: Service, *, wait: bool = True) -> int:
        """Start a service and answer its process id.

        Args:
            wait: until it answers.

        Raises:
            SupervisorError: it runs already, ended at once, or does not answer in time.
        """
        if self.state(service.name) in {"running", "frozen"}:
            raise SupervisorError(f"{service.name} is running already")
        if service.name in self._children:
            self._reap(self._children[service.name])  # it ended by itself
        told = {STORE_VARIABLE: service.store.unmasked} if service.store is not None else {}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", service.module, "--supervised", *service.arguments],
            stdin=subprocess.PIPE,
            env=own_environment() | told,
            stdout=subprocess.PIPE if self._on_line else self._log,
            stderr=subprocess.STDOUT if self._on_line else self._log,
            start_new_session=True,
        )
        child = _Child(service, process)
        self._children[service.name] = child
        if self._on_line is not None:
            child.relay = threading.Thread(target=_relay, args=(child, self._on_line), daemon=True)
            child.relay.start()
        if wait:
            self.wait_until_ready(service.name)
        return process.pid

    def wait_until_ready(self, name: str) -> None:
        """Wait until a service answers.

        Raises:
            SupervisorError: it ended, or does not answer in time.
        """
        child = self._child(name)
        deadline = self._clock() + START_TIMEOUT_S
        while child.service.port is not None and health_status(child.service.port) is None:
            if child.process.poll() is not None:
                raise SupervisorError(
                    f"{name} ended with exit code {child.process.returncode}{self._last_words()}"
                )
            if self._clock() > deadline:
                raise SupervisorError(f"{name} does not answer after {START_TIMEOUT_S:.0f} s")
            self._sleep(0.02)

    def start_all(self, services: Sequence[Service]) -> None:
        """Start some services at once, and wait until all answer.

        Raises:
            SupervisorError: as for `start`.
        """
        for service in services:
            self.start(service, wait=False)
        for service in services:
            self.wait_until_ready(service.name)

    def start_again(self, name: str, *, wait: bool = True) -> int:
        """Start a stopped service with the arguments it had."""
        return self.start(self._child(name).service, wait=wait)

    def stop(self, name: str) -> None:
        """SIGTERM, and SIGKILL if it does not end in time; nothing for a service that has ended."""
        child = self._child(name)
        if child.process.poll() is None:
            child.told_to_end = True
            self.thaw(name)
            child.process.terminate()
        self._wait_or_kill(child)

    def kill(self, name: str) -> None:
        """SIGKILL: it has no chance to finish anything."""
        child = self._child(name)
        child.told_to_end = True
        child.process.kill()
        self._reap(child)

    def freeze(self, name: str) -> None:
        """SIGSTOP: it holds its connections and does nothing; nothing for a service that has ended."""
        child = self._child(name)
        if child.process.poll() is not None:
            return
        if child.thawer is None:
            child.thawer = subprocess.Popen(
                [sys.executable, "-I", "-c", _THAWER, str(child.process.pid)],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
        child.process.send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        child = self._child(name)
        if child.thawer is not None:
            child.process.send_signal(signal.SIGCONT)
            child.thawer.communicate(b".")
            child.thawer = None

    def pid(self, name: str) -> int | None:
        """The process id of a service that runs, else None."""
        child = self._children.get(name)
        return child.process.pid if child and child.process.poll() is None else None

    def state(self, name: str) -> State:
        """What a service is doing; `failed` where it ended with an error, or by somebody else's signal."""
        child = self._children.get(name)
        if child is None:
            return "stopped"
        code = child.process.poll()
        if code is None:
            return "frozen" if child.thawer is not None else "running"
        return "failed" if code and not child.told_to_end else "stopped"

    def close(self) -> None:
        """Stop all services, the last started first, and close the log."""
        for name in reversed(self._children):
            child = self._children[name]
            if child.process.poll() is None:
                child.told_to_end = True
                self.thaw(name)
                child.process.terminate()
        for child in reversed(self._children.values()):
            self._wait_or_kill(child)
        if self._log is not None:
            self._log.close()

    def _child(self, name: str) -> _Child:
        if name not in self._children:
            raise SupervisorError(f"there is no service {name!r}")
        return self._children[name]

    @classmethod
    def _wait_or_kill(cls, child: _Child) -> None:
        try:
            child.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.process.kill()
        cls._reap(child)

    @staticmethod
    def _reap(child: _Child) -> None:
        if child.thawer is not None:
            # Before its service is waited for: from then on the process id may be somebody else's.
            child.thawer.communicate(b".")
            child.thawer = None
        child.process.wait()
        if child.relay is not None:
            child.relay.join(STOP_TIMEOUT_S)
        for pipe in (child.process.stdin, child.process.stdout):
            if pipe is not None:
                pipe.close()

    def _last_words(self) -> str:
        if self._log_path is None:
            return ""
        lines = self._log_path.read_text(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""
