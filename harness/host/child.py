"""A process of ours that runs one function: the pump's, or the one in which Locust drives users.

    parent                                       child
    Child("harness.load.pump_process:pump_main", settings)    python -c ...  ->  pump_main(Channel, settings)
      numbers  <------ shared memory ------>       channel.numbers      counts that cost nothing to read
      send, receive  <--- a pair of sockets --->   channel.send, channel.receive

The child is a fresh interpreter: it shares no lock, no patched module and no import with its parent. It ends when
its parent does, however that came to its end. It may also be another interpreter than its parent's, with libraries
of its own (`harness.host.own_python.Elsewhere`). So this file imports nothing but Python's own modules; whoever
reads the numbers needs NumPy, and only then.

Rejected: `multiprocessing` with "spawn", because it imports the parent's main module again. Where that is Locust,
the child's sockets, threads and timers would be gevent's, and what it measures, gevent's lateness.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import json
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.host.own_python import Elsewhere, own_path

if TYPE_CHECKING:
    from harness.arrays import Int64s

_NUMBERS = 64
_START = "import json, sys; sys.path{} = json.loads(sys.argv[1]); from harness.host.child import main; main()"


class ChildError(Exception):
    """A child that has ended, or does not report."""


class Channel:
    """One end of the line between a parent and its child."""

    def __init__(self, connection: Connection, memory: mmap.mmap) -> None:
        self._connection = connection
        self._memory = memory

    @functools.cached_property
    def numbers(self) -> Int64s:
        """64 of them in memory that both ends see, all 0 at first. Each is written by one end only."""
        import numpy as np

        return np.frombuffer(self._memory, np.int64)

    def send(self, message: Any) -> None:
        """Send anything that can be pickled.

        Raises:
            ChildError: the other end is gone.
        """
        try:
            self._connection.send(message)
        except OSError as error:
            raise ChildError("the other end has ended") from error

    def has_message(self, timeout_s: float = 0.0) -> bool:
        """Whether something can be received: a message, or that the other end is gone."""
        # Not `Connection.poll`: this one is also a greenlet's wait where gevent has patched `select`.
        return bool(select.select([self._connection.fileno()], [], [], timeout_s)[0])

    def receive(self) -> Any:
        """The next message.

        Raises:
            ChildError: the other end is gone.
        """
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise ChildError("the other end has ended") from error

    def fileno(self) -> int:
        """The descriptor to wait on, where something else is waited for, too."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


class Child(Channel):
    """A child process, from its parent's side.

    Args:
        entry: `module:function`; it is called with a `Channel` and the arguments.
        arguments: anything that can be pickled.
        elsewhere: the interpreter that it runs in; None for its parent's.

    Raises:
        ChildError: it has ended before it took the arguments.
    """

    def __init__(self, entry: str, *arguments: Any, elsewhere: Elsewhere | None = None) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            # Where gevent has patched sockets they are born non-blocking, which the descriptors keep.
            os.set_blocking(end.fileno(), True)
        memory = _shared_memory()
        if elsewhere is None:
            path, how, environment = own_path(sys.path, str(Path.cwd())), "[:]", dict(os.environ)
        else:
            path, how, environment = list(elsewhere.path), "[:0]", elsewhere.environment()
        python = sys.executable if elsewhere is None else elsewhere.python
        command = [python, "-P", "-c", _START.format(how), json.dumps(path), entry]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno()), str(memory)],
                    pass_fds=(theirs.fileno(), memory),
                    stdin=subprocess.DEVNULL,
                    env=environment,
                    # Ctrl-C in a terminal reaches the whole group; the parent decides when its children stop. To
                    # ignore it in the child would be too late by the tenths of a second that it takes to start.
                    start_new_session=True,
                )
            super().__init__(Connection(ours.detach()), _mapped(memory))
        finally:
            ours.close()
            os.close(memory)
        try:
            self.send(arguments)
        except ChildError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """End the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        super().close()


def _shared_memory() -> int:
    """A file of some numbers, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("shopbench")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, _NUMBERS * 8)
    return file


def _mapped(file: int) -> mmap.mmap:
    return mmap.mmap(file, _NUMBERS * 8)


def main() -> None:
    """Run the child: its entry point and its file descriptors stand on the command line."""
    # A terminal's does not reach its session; whoever signals each process of a tree means the parent, too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _tell_kernel(_DIE_WITH_PARENT, signal.SIGKILL)
    _tell_kernel(_TIMER_SLACK, 1_000)
    _, _, entry, connection, memory = sys.argv
    channel = Channel(Connection(int(connection)), _mapped(int(memory)))
    module, _, function = entry.partition(":")
    call = getattr(importlib.import_module(module), function)
    call(channel, *channel.receive())


# prctl(2): the signal that this process gets when its parent dies; and by how many nanoseconds the kernel may
# wake it late on purpose (50 µs unless told otherwise).
_DIE_WITH_PARENT = 1
_TIMER_SLACK = 29


def _tell_kernel(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
