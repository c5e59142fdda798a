"""What can be broken on a line: its processes, a server of ours, and the proxies before them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import hiredis

from harness.conduct.conduct import ScenarioError
from harness.nemesis.faults import RESTARTS, Injection, Part, ServerTarget
from harness.server.dial import DialError, open_socket
from harness.server.servers import OwnServer
from harness.server.url import ServerUrl
from ordershop.event_store import APPEND_LUA
from ordershop.supervisor import Supervisor, SupervisorError
from scenarios.load import load_script


class ServiceProcess:
    """A service, for faults.

    Args:
        supervisor: of it.
        name: of it.
    """

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self._supervisor = supervisor
        self.name = name

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self._supervisor.stop(self.name)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._supervisor.kill(self.name)

    def freeze(self) -> None:
        """SIGSTOP."""
        self._supervisor.freeze(self.name)

    def thaw(self) -> None:
        """SIGCONT."""
        self._supervisor.thaw(self.name)

    def start(self) -> None:
        """Start it again.

        Raises:
            OSError: it does not start.
        """
        try:
            self._supervisor.start_again(self.name)
        except SupervisorError as error:
            raise OSError(str(error)) from error


def server_target(server: OwnServer) -> Part:
    """A server for faults, that gets the append script again whenever it comes back.

    A server that starts has forgotten its scripts. A store would send it again; the pump does not, and what it
    sends in the moments between fails. So the script is offered every millisecond until it is taken, beside the
    wait for the server, which takes longer.
    """
    target = ServerTarget(server)

    def with_script(injection: Injection) -> Injection:
        def heal() -> None:
            with _offering_script(server):
                injection.heal()
            load_script(server)

        return injection._replace(heal=heal)

    faults = {
        name: with_script(injection) if name in RESTARTS else injection
        for name, injection in target.faults.items()
    }
    return Part(target.name, faults)


@contextlib.contextmanager
def _offering_script(server: OwnServer) -> Iterator[None]:
    stop = threading.Event()
    command: tuple[Any, ...] = ("SCRIPT", "LOAD", APPEND_LUA)
    script = hiredis.pack_command(command)

    def offer() -> None:
        while not stop.wait(0.001):
            # Past the client library: whoever waits for the server, too, must not come first.
            with contextlib.suppress(OSError, DialError), open_socket(server.url, 1.0) as connection:
                connection.sendall(script)
                if connection.recv(64).startswith(b"$"):
                    return

    thread = threading.Thread(target=offer, name="offering-script", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def address_behind(url: ServerUrl) -> tuple[str, int]:
    """The address and port that a proxy in front of a server has to dial.

    A server's name may have several addresses, of which it listens on one; so the one that answers is taken.

    Raises:
        ScenarioError: it is behind a Unix socket, or does not answer.
    """
    if url.path:
        raise ScenarioError(
            f"{url}: a fault of the line to Redis goes through a TCP proxy, and this server is at a Unix socket; "
            "give its TCP address"
        )
    try:
        with socket.create_connection((url.host, url.port), timeout=5.0) as probe:
            address: tuple[str, int] = probe.getpeername()[:2]
    except OSError as error:
        raise ScenarioError(f"{url}: does not answer ({error})") from error
    return address
