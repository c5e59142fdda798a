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
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.host.process_group import Guard, ProcessGroup
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
        self._group: ProcessGroup | None = None

    def __enter__(self) -> Self:
        with self._stack:
            # Not below the run's directory: the guard removes it. Resolved, for so the kernel tells it.
            self._room = Path(tempfile.mkdtemp(prefix="shopbench-command-")).resolve()
            self._stack.callback(shutil.rmtree, self._room, ignore_errors=True)
            guard = Guard(self._room)
            self._stack.callback(guard.close)
            self._stack.callback(self.stop)
            self.start()
            try:
                guard.wait_until_there()
            except OSError as error:
                raise NotStartedError(f"nobody would end {self._arguments[0]} after us: {error}") from error
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def is_running(self) -> bool:
        """Whether the process that was started runs."""
        return self._group is not None and self._group.exit_status is None

    def start(self) -> None:
        """Start it, or start it again as it was started before.

        Raises:
            NotStartedError: there is no such program.
        """
        if self.is_running:
            return
        with self._log.open("ab") as log:
            try:
                self._group = ProcessGroup(self._arguments, self._room, output=log, environment=self._environment)
            except OSError as error:
                raise NotStartedError(f"{self._arguments[0]}: cannot be run ({error.strerror})") from error

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to all of it if it does not end in time."""
        if self._group is not None:
            self._group.stop(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL to all of it, and wait for its end."""
        if self._group is not None:
            self._group.kill()

    def freeze(self) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._group is not None:
            self._group.signal(number)
