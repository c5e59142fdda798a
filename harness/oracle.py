"""A server whose every delay is known: what the instrument is measured against.

It speaks enough RESP to answer commands of one length with `+OK`, in order, each at the moment that a script says:

    release(i) = max(release(i - 1), arrival(i) + delay(i))

so that the right answer for any schedule can be calculated before the run (`responses_ns`). It notes when it
really answered (`answered_ns`), because on a busy machine it may itself be late; what the instrument records is
held against both. It runs in a process of its own and can be stopped with SIGSTOP like any server.
"""

from __future__ import annotations

import collections
import ctypes
import multiprocessing
import os
import select
import signal
import socket
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.clock import SystemClock

Int64s = NDArray[np.int64]

# The last fraction of a millisecond before an answer is waited out awake.
_SPIN_NS = 300_000
_REPLY = b"+OK\r\n"


class OracleError(Exception):
    """An oracle that did not start."""


def responses_ns(due_ns: Int64s, delays_ns: Int64s) -> Int64s:
    """The right response of each operation, had the instrument and the network no delay of their own.

    Args:
        due_ns: when each is due, rising.
        delays_ns: what the oracle takes for each, same shape.
    """
    responses: Int64s = np.maximum.accumulate(due_ns + delays_ns) - due_ns
    return responses


class Oracle:
    """A scripted server in a process of its own, while it is entered.

    Args:
        delays_ns: what it takes for the first, second, ... command; after the last it answers at once.
        command_bytes: the length of each command.
    """

    def __init__(self, delays_ns: Int64s, command_bytes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._log = RawArray(ctypes.c_longlong, max(1, delays_ns.size))
        arguments = (theirs, delays_ns, command_bytes, self._log)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._theirs = theirs

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        if not self._connection.poll(30):
            raise OracleError("the oracle does not start")
        self.port: int = self._connection.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw()
        self._process.kill()
        self._process.join()
        self._connection.close()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def answered_ns(self) -> Int64s:
        """When it really answered each command that it has a delay for; monotonic, 0 for one that never came."""
        return np.array(self._log, np.int64)

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self._process.pid or 0, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self._process.pid or 0, signal.SIGCONT)


def _serve(parent: Connection, delays_ns: Int64s, command_bytes: int, log: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        parent.send(listener.getsockname()[1])
        # One client after the other, until the parent is gone.
        sockets: list[socket.socket | Connection] = [listener, parent]
        while parent not in select.select(sockets, [], [])[0]:
            client, _ = listener.accept()
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.setblocking(False)
                _answer(client, parent, delays_ns, command_bytes, log)


def _answer(client: socket.socket, parent: Connection, delays_ns: Int64s, command_bytes: int, log: Any) -> None:
    now_ns = SystemClock().now_ns
    delays: list[int] = delays_ns.tolist()
    releases: collections.deque[int] = collections.deque()
    number = 0
    partial = 0
    release_ns = answered = 0
    sockets: list[socket.socket | Connection] = [client, parent]
    while True:
        wait_ns = releases[0] - now_ns() - _SPIN_NS if releases else 1_000_000_000
        ready = select.select(sockets, [], [], max(0, wait_ns) / 1e9)[0]
        if parent in ready:
            return
        if ready:
            chunk = client.recv(1 << 18)
            arrived_ns = now_ns()
            if not chunk:
                return
            partial += len(chunk)
            commands, partial = divmod(partial, command_bytes)
            for at in range(number, number + commands):
                release_ns = max(release_ns, arrived_ns + (delays[at] if at < len(delays) else 0))
                releases.append(release_ns)
            number += commands
        due = 0
        while releases and releases[0] <= now_ns():
            releases.popleft()
            due += 1
        if due:
            at_ns = now_ns()
            for at in range(answered, min(answered + due, len(log))):
                log[at] = at_ns
            answered += due
            client.setblocking(True)
            client.sendall(_REPLY * due)
            client.setblocking(False)
