"""A server that answers by a script: whatever a real one could do to a client, and what none would.

    def slow(line: Conversation) -> None:            # one thread and one call a connection
        for command in line.commands():              # [b"ECHO", b"0"], until the client closes
            time.sleep(0.005)
            line.send(b":1\\r\\n")

    with Oracle(slow) as oracle:
        ...  oracle.url, oracle.commands, oracle.connections

It reads commands with a parser of its own (arrays of bulk strings, nothing else), so that what a client has really
put on the wire stands in `oracle.commands`, in the order of arrival. A script that returns closes its connection.
`Oracle([first, second])` plays another script on each connection, and the last one on all that follow.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

Command = list[bytes]


def shut_down(sockets: Iterable[socket.socket], threads: Iterable[threading.Thread]) -> None:
    """Wake the threads that wait on some sockets, and wait for their end.

    A blocked accept or recv wakes up by a shutdown, not by a close in another thread; past ssl's own shutdown,
    after which a socket goes on in plain text.
    """
    for each in sockets:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(each, socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)


class Conversation:
    """One connection, as its script sees it.

    Attributes:
        ended: set when the oracle ends; a script that waits should wait on this.
    """

    def __init__(self, connection: socket.socket, noted: list[Command], ended: threading.Event) -> None:
        self._connection = connection
        self._noted = noted
        self._buffer = b""
        self.ended = ended

    def command(self) -> Command | None:
        """The next command, or None where the client has closed."""
        while (parsed := parse_command(self._buffer)) is None:
            try:
                chunk = self._connection.recv(1 << 20)
            except OSError:
                return None
            if not chunk:
                return None
            self._buffer += chunk
        command, self._buffer = parsed
        self._noted.append(command)
        return command

    def begin(self) -> None:
        """Wait for the first bytes of a command, which `command` then reads on from."""
        with contextlib.suppress(OSError):
            self._buffer += self._connection.recv(16)

    def commands(self) -> Iterator[Command]:
        """The commands, until the client closes."""
        while (command := self.command()) is not None:
            yield command

    def send(self, reply: bytes) -> None:
        """Send some bytes; whether the client still wants them is its own affair."""
        with contextlib.suppress(OSError):
            self._connection.sendall(reply)


Script = Callable[[Conversation], None]


class Oracle:
    """A scripted server on a socket of 127.0.0.1, while it is entered.

    Args:
        scripts: one for all connections, or one for each, the last of which serves all that follow.
        tls: a server-side context; the connection is wrapped in it.

    Attributes:
        commands: all that were read, over all connections.
        connections: how many there were.
    """

    def __init__(self, scripts: Script | Sequence[Script], *, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = list(scripts) if isinstance(scripts, Sequence) else [scripts]
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="oracle", daemon=True)]
        self.commands: list[Command] = []
        self.connections = 0
        scheme = "rediss" if tls else "redis"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        shut_down((self._listener, *self._sockets), self._threads)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(connection)
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._converse, args=(connection, script), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _converse(self, connection: socket.socket, script: Script) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._sockets.append(connection)
            with connection:
                script(Conversation(connection, self.commands, self._ended))
        except OSError:
            connection.close()  # a handshake that the client has broken off


def parse_command(buffer: bytes) -> tuple[Command, bytes] | None:
    """The first command of a buffer, and what comes after it; None where it is not complete.

    Raises:
        ValueError: what begins there is no command.
    """
    head, separator, rest = buffer.partition(b"\r\n")
    if not separator:
        return None
    if head[:1] != b"*":
        raise ValueError(f"not a command: {head[:40]!r}")
    parts = []
    for _ in range(int(head[1:])):
        length, separator, rest = rest.partition(b"\r\n")
        if not separator:
            return None
        size = int(length[1:])
        if len(rest) < size + 2:
            return None
        parts.append(rest[:size])
        rest = rest[size + 2 :]
    return parts, rest


def silent(line: Conversation) -> None:
    """Read everything and answer nothing."""
    for _ in line.commands():
        pass


def answering(line: Conversation) -> None:
    """Answer each command as XADD would."""
    for _ in line.commands():
        line.send(b"$3\r\n1-1\r\n")
