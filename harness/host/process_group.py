"""A program and all that it has started, signalled and ended as one.

A server program may be a wrapper: a shell script, `nice`, a profiler. Who signals only the process that it has
started kills the shell, and the server goes on. So a program gets a session of its own, and what is meant for it
goes to its process group; and since a process may leave its group, whatever works in the program's directory
belongs to it, too. That is how `harness.host.guard` finds it as well.

    sh wrapper            process group, directory    killpg
      nice redis-server   process group, directory    killpg
        redis-server      session of its own          found by its directory

A command of somebody else's works in its user's directory, where others work, too. It gets a mark in its
environment instead, and what it starts inherits that.

A group's number is safe to signal as long as its first process has not been waited for: until then the kernel
gives it to nobody else. Afterwards the directory, or the mark, says what is left; and of a command of somebody
else's, the number of its session, which nobody else gets either as long as anybody is in it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from harness.host.guard import MARK, MOST_SWEEPS, found, sweep
from harness.host.own_python import own_environment, own_module

if TYPE_CHECKING:
    import psutil


class ProcessGroup:
    """A program that is started in a session of its own, with its directory as working directory.

    Args:
        arguments: its command line.
        directory: its own; nothing else works there.
        output: the open file that it writes to; None: nobody reads it.
        environment: of it; None: ours.
        mark: that its environment gets, and that nothing else has; empty: none.
        before: the first processes of groups that had this mark before it.
        works_in: the working directory in the place of its own, where it has a mark.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        directory: Path,
        *,
        output: IO[bytes] | None = None,
        environment: Mapping[str, str] | None = None,
        mark: str = "",
        works_in: Path | None = None,
        before: Sequence[int] = (),
    ) -> None:
        self._directory = directory
        self._mark = mark
        self._before = before
        if mark:
            environment = {**(os.environ if environment is None else environment), MARK: mark}
        written_to = subprocess.DEVNULL if output is None else output
        self._first = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=written_to,
            stderr=written_to,
            # By this, or by its mark, the guard knows it, from its first moment on.
            cwd=works_in if works_in is not None and mark else directory,
            env=environment,
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

    def signal(self, number: signal.Signals) -> list[psutil.Process]:
        """Signal the whole group, and what has left it and is found all the same; answer the latter."""
        if self._first.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._first.pid, number)
        strays = self._strays()
        for process in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        return strays

    def signal_first(self, number: int) -> None:
        """Signal the process that was started, and nothing that it has started."""
        if self._first.poll() is None:
            self._first.send_signal(number)

    def others(self) -> int:
        """How many processes work in its directory, or have its mark, besides the one that was started."""
        there = found(str(self._directory), self._mark)
        return sum(process.pid != self._first.pid for process in there)

    def _strays(self) -> list[psutil.Process]:
        """The processes that have its mark and are in its process group no more, such as a daemon."""
        if not self._mark:
            return []
        group = self._first.pid if self._first.returncode is None else None
        strays = []
        for process in found(str(self._directory), self._mark, self._sessions()):
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(process.pid) != group:
                    strays.append(process)
        return strays

    def _sessions(self) -> list[int]:
        """The sessions that are its own: where a process has the number, that is somebody else by now."""
        import psutil

        if not self._mark:
            return []
        own = [self._first.pid] if self._first.returncode is None else []
        return own + [pid for pid in (self._first.pid, *self._before) if not psutil.pid_exists(pid)]

    def stop(self, timeout_s: float, *, first_only: bool = False) -> int:
        """SIGTERM to all of it, also where it is frozen, and SIGKILL to what is left when the first has ended.

        Answers how many had left the group.

        Args:
            timeout_s: how long that may take.
            first_only: whether SIGTERM is for the process that was started alone, as a supervisor of services
                sends it.
        """
        strays = self.signal(signal.SIGCONT)
        if first_only:
            self.signal_first(signal.SIGTERM)
        else:
            self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._first.wait(timeout_s)
        self.kill()
        return len(strays)

    def kill(self) -> int:
        """SIGKILL to all of it, and wait until nothing of it is left; answer how many had left the group."""
        strays = self.signal(signal.SIGKILL)
        self._first.wait()
        if strays:
            import psutil

            psutil.wait_procs(strays, timeout=5.0)
        for _ in range(MOST_SWEEPS):
            if not sweep(str(self._directory), self._mark, self._sessions()):
                break
        return len(strays)

    def kill_first(self) -> None:
        """SIGKILL to the process that was started, and wait for its end; what it has started goes on."""
        self.signal_first(signal.SIGKILL)
        self._first.wait()


class Guard:
    """Ends what works in a directory, and removes that, if this process dies: a process of `harness.host.guard`.

    Args:
        directory: that belongs to one program, by the name that the kernel tells.
        mark: of what belongs to that program, too; empty: none.
    """

    def __init__(self, directory: Path, mark: str = "") -> None:
        self._process = subprocess.Popen(
            own_module("harness.host.guard", str(directory), *([mark] if mark else [])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=own_environment(),
            start_new_session=True,
        )

    def wait_until_there(self) -> None:
        """Wait for its byte. Python starts for as long as a program does, so both are started at once.

        Raises:
            OSError: it has ended, and nobody would end the program if we were killed.
        """
        if self._process.stdout is not None and not self._process.stdout.read(1):
            self._process.wait()
            raise OSError(f"the guard has ended with {self._process.returncode}")

    def close(self, *, is_dismissed: bool = True) -> None:
        """Let it end, and wait for that.

        Args:
            is_dismissed: it has nothing to do any more; else it ends what it finds.
        """
        if self._process.stdin is not None:
            if is_dismissed:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.write(b".")
                    self._process.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()
