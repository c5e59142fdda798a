"""A consumer that is a command, in whatever language: started, stopped, killed, frozen, started again.

    with CommandProcess("consumer", ["node", "consumer.js"], log=directory / "consumer.log") as consumer:
        Part("consumer", process_can(consumer))        what faults are done to

The command gets a session of its own, and a working directory of its own, which begins empty, or the one that it
is given. What it starts is signalled with it and ended with it, also what has left its session, as far as that has
kept the mark that the command has in its environment. If this process is killed, a guard (`harness.host.guard`)
ends the command.

SIGTERM is for the process that was started alone, as Docker, Kubernetes and systemd's `KillMode=mixed` send it: a
shell that does not pass it on costs its child the time to finish, there as here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import uuid
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
        directory: where it works; None: in one of its own.

    Attributes:
        strays: how many processes it had started that had left its process group when they were ended.

    Raises:
        NotStartedError: there is no such program.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.strays = 0
        self._arguments = list(arguments)
        self._environment = {**os.environ, **(environment or {})}
        self._directory = directory
        self._mark = uuid.uuid4().hex
        # Of all that were started: what one has left behind is in its session.
        self._pids: list[int] = []
        self._stack = contextlib.ExitStack()
        self._group: ProcessGroup | None = None

    def __enter__(self) -> Self:
        with self._stack:
            # Not below the run's directory: the guard removes it. Resolved, for so the kernel tells it.
            self._room = Path(tempfile.mkdtemp(prefix="shopbench-command-")).resolve()
            self._stack.callback(shutil.rmtree, self._room, ignore_errors=True)
            guard = Guard(self._room, self._mark)
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

    @property
    def exit_status(self) -> int | None:
        """How the process that was started last has ended, below 0 by a signal; None: it runs, or never did."""
        return None if self._group is None else self._group.exit_status

    @property
    def others(self) -> int:
        """How many processes of it there are besides the one that was started."""
        return 0 if self._group is None else self._group.others()

    def start(self) -> None:
        """Start it, or start it again as it was started before.

        Raises:
            NotStartedError: there is no such program.
        """
        if self.is_running:
            return
        with self.log.open("ab") as log:
            try:
                self._group = ProcessGroup(
                    self._arguments,
                    self._room,
                    output=log,
                    environment=self._environment,
                    mark=self._mark,
                    works_in=self._directory,
                    before=tuple(self._pids),
                )
                self._pids.append(self._group.pid)
            except OSError as error:
                raise NotStartedError(f"{self._arguments[0]}: cannot be run ({error.strerror})") from error

    def stop(self) -> None:
        """SIGTERM to the process that was started; SIGKILL to what is left when it has ended, or time is up."""
        if self._group is not None:
            # Of one that has ended already nobody knows who had left its group.
            is_running = self.is_running
            self.strays += self._group.stop(STOP_TIMEOUT_S, first_only=True) * is_running

    def kill(self) -> None:
        """SIGKILL to all of it, and wait for its end."""
        if self._group is not None:
            is_running = self.is_running
            self.strays += self._group.kill() * is_running

    def kill_first(self) -> None:
        """SIGKILL to the process that was started, and wait for its end; what that has started goes on."""
        if self._group is not None:
            self._group.kill_first()

    def freeze(self) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._group is not None:
            self._group.signal(number)
