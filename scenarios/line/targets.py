"""What can be broken on a line: its consumers, the mail service, the connections between them, and the server.

server  <-- crm-redis --  crm, crm-2 ...  -- crm-mail -->  mail
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from msgspec import Struct

from harness.host.threads import at_work
from harness.nemesis.kind import FaultKind
from harness.nemesis.targets import LINE, PROCESS, SERVER, Part, ServerTarget
from harness.server.dial import DialError, open_socket
from harness.server.own import OwnServer
from harness.system.group import NAME as GROUP_TARGET
from ordershop.supervisor import Supervisor, SupervisorError


class Known(Struct, frozen=True, kw_only=True):
    """A target that every line has, or has where it is wanted.

    Attributes:
        said: how a sentence begins that tells what was done to it.
        of_command: the same, where the consumer is a command of somebody else's.
        can: what can be done to it.
        is_link: whether it is there only where a line has links.
    """

    said: str
    of_command: str
    can: tuple[str, ...]
    is_link: bool = False


# What a system may be able to do to a consumer besides what can be done to any process.
OF_CONSUMERS = ("leader_kill", "survivors", "sink_away", "sink_back", "replace", "in_hand")

# A fault is done to the first of these that can suffer it. Of several consumers only the first gets poison.
TARGETS = {
    "crm": Known(said="The CRM", of_command="The consumer", can=(*PROCESS, "poison", *OF_CONSUMERS)),
    "crm-redis": Known(
        said="The connection crm-redis", of_command="The connection consumer-redis", can=LINE, is_link=True
    ),
    "crm-mail": Known(
        said="The connection crm-mail", of_command="The connection consumer-effects", can=LINE, is_link=True
    ),
    "mail": Known(said="The mail service", of_command="The receiver of effects", can=(*PROCESS, "slow", "refuse")),
    "server": Known(said="Redis", of_command="Redis", can=SERVER),
    GROUP_TARGET: Known(said="The group", of_command="The group", can=("set_back",)),
}


def target_of(kind: FaultKind, link: str = "crm-redis") -> str | None:
    """The target on which a kind of fault is done; None where a line has none that can suffer it.

    Args:
        link: the one that is taken of the links.
    """
    able = (name for name, known in TARGETS.items() if not known.is_link or name == link)
    return next((name for name in able if kind.is_possible(TARGETS[name].can)), None)


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


def server_target(server: OwnServer, scripts: Sequence[str]) -> Part:
    """A server for faults, that gets the scripts of appends again whenever it comes back.

    A server that starts has forgotten its scripts. A store would send them again; the pump does not, and what it
    sends in the moments between fails. So they are offered every millisecond until they are taken, beside the wait
    for the server, which takes longer.
    """
    target = ServerTarget(server)

    def with_script(come_back: Callable[..., object]) -> Callable[[], None]:
        def heal() -> None:
            with _offering_scripts(server, scripts):
                come_back()
            with contextlib.closing(server.client()) as client:
                for script in scripts:
                    client.script_load(script)

        return heal

    return Part(target.name, {**target.can, **{name: with_script(target.can[name]) for name in ("start", "thaw")}})


def _offering_scripts(server: OwnServer, scripts: Sequence[str]) -> contextlib.AbstractContextManager[None]:
    stop = threading.Event()
    commands: list[tuple[Any, ...]] = [("SCRIPT", "LOAD", script) for script in scripts]
    packed = b"".join(map(hiredis.pack_command, commands))

    def offer() -> None:
        while not stop.wait(0.001):
            # Past the client library: whoever waits for the server, too, must not come first.
            with contextlib.suppress(OSError, DialError), open_socket(server.url, 1.0) as connection:
                connection.sendall(packed)
                if connection.recv(64).startswith(b"$"):
                    return

    return at_work(offer, stop, "offering-scripts")
