"""A consumer that is a command, in whatever language: started, stopped, killed, frozen, started again.

    with CommandProcess("consumer", ["node", "consumer.js"], log=directory / "consumer.log") as consumer:
        Part("consumer", process_can(consumer))        what faults are done to

The command gets a session and a working directory of its own, which begins empty: what it starts is signalled with
it, and ended with it. If this process is killed, a guard (`harness.host.guard`) ends the command.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.host.guard import sweep
from harness.host.own_python import own_module
from harness.system.port import NotStartedError

STOP_TIMEOUT_S = 10.0


class CommandProcess:
    """A command as a process that faults can be done to, while it is entered.

    Args:
        name: on the timeline.
        arguments: its command line.
        log: the file that it writes to.
        environment: variables that it has besides ours.

    Raises:
        NotStartedError: there is no such program.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # Not below the run's directory: the guard removes it.
        self._room = os.path.realpath(tempfile.mkdtemp(prefix="shopbench-command-"))
        with self._stack:
            self._stack.callback(shutil.rmtree, self._room, ignore_errors=True)
            guard = subprocess.Popen(
                own_module("harness.host.guard", self._room), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._stack.callback(guard.communicate, b".")
            self._stack.callback(self.kill)
            self.start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running:
            self.stop()
        self._stack.close()

    @property
    def is_running(self) -> bool:
        """Whether the process that was started runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, or start it again as it was started before.

        Raises:
            NotStartedError: there is no such program.
        """
        if self.is_running:
            return
        with self._log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self._arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._room,
                    env=self._environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise NotStartedError(f"{self._arguments[0]}: cannot be run ({error.strerror})") from error

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to all of it if it does not end in time."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to all of it, and wait for its end."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            sweep(self._room)

    def freeze(self) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # Until it has been waited for, its number is nobody else's.
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
