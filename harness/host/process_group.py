"""A program and all that it has started, signalled and ended as one.

A server program may be a wrapper: a shell script, `nice`, a profiler. Who signals only the process that it has
started kills the shell, and the server goes on. So a program gets a session of its own, and what is meant for it
goes to its process group; and since a process may leave its group, whatever works in the program's directory
belongs to it, too. That is how `harness.host.guard` finds it as well.

    sh wrapper            process group, directory    killpg
      nice redis-server   process group, directory    killpg
        redis-server      session of its own          found by its directory

A group's number is safe to signal as long as its first process has not been waited for: until then the kernel
gives it to nobody else. Afterwards the directory alone says what is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.host.guard import MOST_SWEEPS, sweep


class ProcessGroup:
    """A program that is started in a session of its own, with its directory as working directory.

    Args:
        arguments: its command line.
        directory: its own; nothing else works there.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, arguments: Sequence[str], directory: Path) -> None:
        self._directory = directory
        self._first = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=directory,  # by this the guard knows it, from its first moment on
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Of the process that was started, which may be a wrapper's."""
        return self._first.pid

    @property
    def exit_status(self) -> int | None:
        """How the process that was started has ended; None: it runs."""
        return self._first.poll()

    def has(self, pid: int) -> bool:
        """Whether a process belongs to it."""
        # Not imported above: `psutil` takes longer to load than all that most users of this module want.
        import psutil

        try:
            return os.getpgid(pid) == self._first.pid or psutil.Process(pid).cwd() == str(self._directory)
        except (ProcessLookupError, psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def signal(self, number: signal.Signals) -> None:
        """Signal the whole group."""
        if self._first.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._first.pid, number)

    def kill(self) -> None:
        """SIGKILL to all of it, and wait until nothing of it is left."""
        self.signal(signal.SIGKILL)
        self._first.wait()
        for _ in range(MOST_SWEEPS):
            if not sweep(str(self._directory)):
                break
