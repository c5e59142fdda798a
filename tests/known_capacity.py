"""A server program whose capacity is known: it takes one XADD after the other, each for the same time.

    program_of(directory, service_us=1_000)                     1,000 XADDs a second, and no more
    program_of(directory, service_us=1_000, is_working=True)    the same, and its core is busy with each

It is started as `redis-server` is (`--port N`), and answers what the instrument asks besides. An XADD that came
while others waited is done when they are; how late the process itself is woken makes no difference to that, so
that its capacity is what it says on a busy machine, too. One that works counts, as many steps as took it so long
when it began: without its core it takes longer.
"""

from __future__ import annotations

import collections
import contextlib
import selectors
import socket
import sys
from pathlib import Path
from typing import Any

import hiredis

from harness.host.clock import SystemClock

ROOT = Path(__file__).parents[1]
_INFO = b"redis_version:7.0.0\r\nredis_mode:standalone\r\nused_memory:1000000\r\naof_enabled:0\r\n"


def program_of(
    directory: Path,
    *,
    service_us: float,
    is_working: bool = False,
    core: int | None = None,
    is_silent: bool = False,
) -> str:
    """A program to be started as a server; with a core, that one only.

    Args:
        is_silent: it says nothing of how many it has taken.
    """
    path = directory / "known-capacity"
    pinned = "" if core is None else f"import os\nos.sched_setaffinity(0, {{{core}}})\n"
    path.write_text(
        f"#!{sys.executable}\n{pinned}import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"from tests.known_capacity import serve\nserve(sys.argv, {service_us!r}, {is_working!r}, {is_silent!r})\n"
    )
    path.chmod(0o755)
    return str(path)


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.reader = hiredis.Reader()
        self.out = bytearray()


def serve(arguments: list[str], service_us: float, is_working: bool, is_silent: bool) -> None:
    """Answer until the process is killed."""
    port = int(arguments[arguments.index("--port") + 1])
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        _Serving(selector, listener, round(service_us * 1000), is_working=is_working, is_silent=is_silent).run()


def _count_to(steps: int) -> None:
    for _ in range(steps):
        pass


def _steps_in(service_ns: int) -> int:
    """How many steps take so long, at the best of a few times."""
    now_ns = SystemClock().now_ns
    best_ns = 1 << 62
    for _ in range(20):
        before_ns = now_ns()
        _count_to(20_000)
        best_ns = min(best_ns, now_ns() - before_ns)
    return max(1, 20_000 * service_ns // best_ns)


class _Serving:
    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        service_ns: int,
        *,
        is_working: bool,
        is_silent: bool,
    ) -> None:
        self._is_silent = is_silent
        self._selector = selector
        self._listener = listener
        self._service_ns = service_ns
        self._now_ns = SystemClock().now_ns
        self._queue: collections.deque[tuple[int, _Client]] = collections.deque()
        self._release_ns = 0
        self._woken_ns = self._now_ns()
        self._added = 0
        self._steps = _steps_in(service_ns) if is_working else 0

    def run(self) -> None:
        while True:
            wait_s = 1.0 if not self._queue else max(0.0, (self._queue[0][0] - self._now_ns()) / 1e9)
            for key, _ in self._selector.select(0 if self._steps and self._queue else wait_s):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.data)
            self._woken_ns = self._now_ns()
            self._answer()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, _Client(connection))

    def _read(self, client: _Client) -> None:
        try:
            chunk = client.connection.recv(1 << 16)
        except ConnectionError:
            chunk = b""
        if not chunk:
            self._selector.unregister(client.connection)
            client.connection.close()
            return
        client.reader.feed(chunk)
        while (command := client.reader.gets()) is not False:
            if command[0].upper() == b"XADD":
                # It may have come while this process was not woken.
                self._release_ns = max(self._release_ns, self._woken_ns) + self._service_ns
                self._queue.append((self._release_ns, client))
            else:
                client.out += self._said(command)
                self._send(client)

    def _answer(self) -> None:
        done: list[_Client] = []
        if self._steps and self._queue:
            _, client = self._queue.popleft()
            _count_to(self._steps)
            self._added += 1
            client.out += b"$3\r\n1-1\r\n"
            self._send(client)
            return
        while self._queue and self._queue[0][0] <= self._woken_ns:
            _, client = self._queue.popleft()
            self._added += 1
            client.out += b"$3\r\n1-1\r\n"
            done.append(client)
        for client in dict.fromkeys(done):
            self._send(client)

    def _send(self, client: _Client) -> None:
        with contextlib.suppress(OSError):  # it has gone; what reads it next sees that
            client.connection.sendall(client.out)
        client.out.clear()

    def _said(self, command: list[Any]) -> bytes:
        name = command[0].upper()
        if name == b"PING":
            return b"+PONG\r\n"
        if name == b"INFO":
            return b"$%d\r\n%s\r\n" % (len(_INFO), _INFO)
        if name == b"CONFIG":
            return b"*0\r\n"
        if name == b"XLEN" and not self._is_silent:
            return b":%d\r\n" % self._added
        if name == b"XINFO" and not self._is_silent:
            return b"*4\r\n$6\r\nlength\r\n:%d\r\n$13\r\nentries-added\r\n:%d\r\n" % (self._added, self._added)
        if name in {b"CLIENT", b"SELECT"}:
            return b"+OK\r\n"
        return b"-ERR unknown command\r\n"
