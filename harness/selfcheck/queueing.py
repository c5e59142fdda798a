"""A server whose capacity is known exactly: queues with service times that were drawn before anybody came.

RESP answers in order, so a connection is a queue, first in, first out. Each has a worker of its own, as long as
there are enough of them; further connections share them, and wait in one queue with those that were there before:

    release(i) = max(release(i - 1), arrival(i)) + service(i)

so that response times at any rate can be calculated over the very services that were drawn, and with them the
highest rate at which their p99 is within a budget (`harness.selfcheck.lindley`).

The server takes a command as arrived when the kernel dates it, and calculates when it is to be answered; so what
it is late itself, on a busy machine, delays that answer and none after it. It sleeps until an answer is nearly
due: with services of some hundred microseconds a core of its own would be a waste.

It is one process for all workers, since they only wait. What is no load (CONFIG, INFO and the like, which clients
ask before they begin) is answered at once, and takes none of the services. Those of a worker are used in turn,
over all connections that it serves one after the other; after the last comes the first again.
"""

from __future__ import annotations

import array
import contextlib
import gc
import os
import select
import socket
from collections.abc import Callable
from typing import Any

import hiredis
import msgspec
import numpy as np

from harness.arrays import Int64s
from harness.host import kernel_dates
from harness.host.child import Channel
from harness.host.clock import Clock, SystemClock
from harness.host.placement import usable_cores
from harness.selfcheck.scripted_server import ScriptedServer

_AWAKE_NS = 60_000
_NICENESS = -10
_REPLY = b"+OK\r\n"
_NO_LOAD = {
    b"CONFIG": b"*0\r\n",
    b"INFO": b"$0\r\n\r\n",
    b"CLIENT": b"+OK\r\n",
    b"HELLO": b"-ERR unknown command\r\n",
    b"COMMAND": b"*0\r\n",
}


class QueueingError(Exception):
    """A server that did not start, or is gone."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker did since it was asked last; nanoseconds, a value for each command.

    Attributes:
        arrived_ns: it was there, by the kernel's date, else when it was read.
        released_ns: its answer was due.
        sent_ns: it was sent; shorter where some answers are still due.
    """

    arrived_ns: Int64s
    released_ns: Int64s
    sent_ns: Int64s

    @property
    def late_ns(self) -> Int64s:
        """By how much each answer was late."""
        return self.sent_ns - self.released_ns[: self.sent_ns.size]


class QueueingServer(ScriptedServer):
    """A server with some workers in a process of its own, while it is entered.

    Args:
        services: shape (workers, count), in nanoseconds; the k-th connection goes to worker k, in turn.

    Raises:
        QueueingError: it does not start.
    """

    def __init__(self, services: Int64s) -> None:
        super().__init__("harness.selfcheck.queueing:serve", (services,), called="the server", error=QueueingError)

    def served(self) -> list[Served]:
        """What each worker did since this was asked last.

        Raises:
            QueueingError: it is gone, or does not answer.
        """
        served: list[Served] = self._told()
        return served


def serve(channel: Channel, services: Int64s) -> None:
    """The server's process, until its parent ends it."""
    gc.disable()
    # As the pump does: where there is more to do than there are cores, both are part of the instrument.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, min(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        listener.setblocking(False)
        channel.send(listener.getsockname()[1])
        _Serving(channel, listener, [_Worker(row.tolist()) for row in services], SystemClock()).run()


class _Worker:
    """Services in turn, and notes of what was done."""

    def __init__(self, services: list[int]) -> None:
        self._services = services
        self._at = 0
        self._free_ns = 0
        self._forget()

    def _forget(self) -> None:
        self.arrived, self.released, self.sent = (array.array("q") for _ in range(3))

    def release_ns(self, arrived_ns: int) -> int:
        """When a command that came at a moment is to be answered."""
        self._free_ns = max(self._free_ns, arrived_ns) + self._services[self._at]
        self._at = (self._at + 1) % len(self._services)
        self.arrived.append(arrived_ns)
        self.released.append(self._free_ns)
        return self._free_ns

    def told(self) -> Served:
        """The notes, which are then forgotten."""
        notes = [np.array(each, np.int64) for each in (self.arrived, self.released, self.sent)]
        self._forget()
        return Served(arrived_ns=notes[0], released_ns=notes[1], sent_ns=notes[2])


class _Client:
    """A connection: what waits for its time, and its worker."""

    def __init__(self, connection: socket.socket, worker: _Worker, clock: Clock) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        kernel_dates.ask_for_dates(connection)
        self.connection = connection
        self._worker = worker
        self._clock = clock
        self._reader = hiredis.Reader()
        # Releases as a list with a mark: what is before it was sent.
        self._due: list[tuple[int, bytes]] = []
        self._mark = 0
        self._last_ns = 0
        self._out = b""

    @property
    def next_ns(self) -> int | None:
        """When its next answer is due; None: nothing is."""
        return self._due[self._mark][0] if self._mark < len(self._due) else None

    def fileno(self) -> int:
        """Of its socket."""
        return self.connection.fileno()

    @property
    def is_blocked(self) -> bool:
        """Whether it does not take what it is sent."""
        return bool(self._out)

    def hear(self) -> bool:
        """Take the commands that are there; whether it is still there itself."""
        try:
            chunk, ancillary, _, _ = self.connection.recvmsg(1 << 18, kernel_dates.ANCILLARY_BYTES)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        arrived_ns = self._clock.now_ns()
        dated_ns = kernel_dates.date_ns(ancillary)
        if dated_ns is not None:
            # A date that is later than the reading is a wall clock that was set.
            arrived_ns = min(arrived_ns, kernel_dates.moment_ns(self._clock, dated_ns))
        self._reader.feed(chunk)
        while (command := self._reader.gets()) is not False:
            reply = _NO_LOAD.get(bytes(command[0]).upper())
            if reply is None:
                self._last_ns = self._worker.release_ns(arrived_ns)
                self._due.append((self._last_ns, b""))
            else:
                self._due.append((max(arrived_ns, self._last_ns), reply))
        return bool(chunk)

    def send(self, now_ns: int) -> None:
        """Send all that is due by now."""
        pieces = []
        while self._mark < len(self._due) and self._due[self._mark][0] <= now_ns:
            reply = self._due[self._mark][1]
            pieces.append(reply or _REPLY)
            if not reply:
                self._worker.sent.append(now_ns)
            self._mark += 1
        if self._mark > 4_096:
            del self._due[: self._mark]
            self._mark = 0
        self._out += b"".join(pieces)
        # Who has gone is seen by whoever reads from it next.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._out = self._out[self.connection.send(self._out) :] if self._out else b""


class _Serving:
    """All workers, and the connections that they serve."""

    def __init__(self, channel: Channel, listener: socket.socket, workers: list[_Worker], clock: Clock) -> None:
        self._channel = channel
        self._listener = listener
        self._workers = workers
        self._clock = clock
        self._now_ns: Callable[[], int] = clock.now_ns
        self._clients: list[_Client] = []
        self._accepted = 0
        self._awake_ns = _AWAKE_NS if usable_cores() > 1 else 0

    def run(self) -> None:
        """Serve, until the parent is gone.

        Raises:
            ChildError: it is.
        """
        while True:
            next_ns = min((due for each in self._clients if (due := each.next_ns) is not None), default=None)
            now_ns = self._now_ns()
            wait_s = 1.0 if next_ns is None else max(0, next_ns - now_ns - self._awake_ns) / 1e9
            blocked = [each for each in self._clients if each.is_blocked]
            sources: list[Any] = [self._listener, self._channel, *self._clients]
            ready = select.select(sources, blocked, [], wait_s)[0]
            if ready:
                self._read(ready)
            elif next_ns is not None:
                while (now_ns := self._now_ns()) < next_ns:
                    pass
            now_ns = self._now_ns()
            for each in self._clients:
                due_ns = each.next_ns
                if each.is_blocked or (due_ns is not None and due_ns <= now_ns):
                    each.send(now_ns)

    def _read(self, ready: list[Any]) -> None:
        for source in ready:
            if source is self._listener:
                self._accept()
            elif source is self._channel:
                self._channel.receive()
                self._channel.send([worker.told() for worker in self._workers])
            elif not source.hear():
                source.connection.close()
                self._clients.remove(source)

    def _accept(self) -> None:
        # Connections that a client opens one after the other all have another worker, if there are enough.
        connection, _ = self._listener.accept()
        worker = self._workers[self._accepted % len(self._workers)]
        self._accepted += 1
        self._clients.append(_Client(connection, worker, self._clock))
