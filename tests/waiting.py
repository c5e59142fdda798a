"""How a test waits: for a condition, for threads, and never for mere time.

    until(lambda: len(handled) == 3, "three events are handled")

`FlakyProxy` stands between a client and a server and loses answers, so that "it may have happened" happens.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

DEADLINE_S = 15.0


def until(condition: Callable[[], object], what: str, within_s: float = DEADLINE_S) -> None:
    """Wait until a condition holds; fail with `what` when it does not in time.

    What takes long to look at is looked at less often, so that looking leaves the cores to what is waited for.
    """
    deadline = time.monotonic() + within_s
    before = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(min(max(0.002, 5 * (now - before)), 0.1))
        before = time.monotonic()


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Do some work in threads at once, each given its number; what fails there fails here."""
    failures: list[BaseException] = []
    together = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            together.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001  # raised again below, in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


class FlakyProxy:
    """Passes connections on to a server, and loses answers when told to.

    Args:
        port: the server's, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._bytes_left: int | None = None
        self.is_silent = False
        self.losses = 0
        self._begin(self._accept)

    def lose_answer(self, after_bytes: int = 0) -> None:
        """Break the connection, once, in place of the answer that follows so many bytes of answers."""
        self._bytes_left = after_bytes

    def lead_to(self, port: int) -> None:
        """Have new connections end at another server; those that there are stay where they are."""
        self._server = port

    def _begin(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._server))
                self._open += (client, server)
                self._begin(self._pass_commands, client, server)
                self._begin(self._pass_answers, server, client)

    def _pass_commands(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        _shut(server)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self.is_silent:
                    continue
                if self._bytes_left is not None:
                    if len(data) > self._bytes_left:
                        client.sendall(data[: self._bytes_left])
                        self._bytes_left = None
                        self.losses += 1
                        break
                    self._bytes_left -= len(data)
                client.sendall(data)
        _shut(client)

    def close(self) -> None:
        """Close all connections."""
        _shut(self._listener)
        self._listener.close()
        for one in self._open:
            _shut(one)
        for thread in self._threads:
            thread.join(5)
        for one in self._open:
            one.close()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def flaky_proxy(port: int) -> Iterator[FlakyProxy]:
    """A `FlakyProxy`, closed at the end."""
    with contextlib.closing(FlakyProxy(port)) as proxy:
        yield proxy
