"""The controls of a round: work that is the same for both sides, and whose ratio says what the machine did.

    control.ping      some PINGs to a server of their own
    control.python    a loop in pure Python

Both are done before each turn, by the process that measures, on behalf of the side whose turn it is.
"""

from __future__ import annotations

import contextlib

import hiredis

from harness.host.clock import Clock
from harness.server.dial import open_socket
from harness.server.open import open_server
from harness.server.server import ServerError
from harness.server.url import ServerUrl

CONTROLS = ("control.ping", "control.python")
_PINGS, _LOOPS, _LOOP = 12, 6, 2_000
_PING = hiredis.pack_command(("PING",))


class Controls:
    """Work that neither side's code can influence, done in this process.

    Args:
        url: of a server that only the control uses.
        clock: that times it.

    Raises:
        ServerError: it does not answer.
    """

    def __init__(self, url: ServerUrl | str, clock: Clock) -> None:
        self._now_ns = clock.now_ns
        try:
            self._socket = open_socket(url)
        except OSError as error:
            raise ServerError(f"the control's server does not answer ({error})") from error

    def measure(self) -> dict[str, list[int]]:
        """Nanoseconds of some PINGs and of some loops.

        Raises:
            ServerError: the server does not answer any more.
        """
        try:
            pings = self._pings()
        except OSError as error:
            raise ServerError(f"the control's server does not answer any more ({error})") from error
        # The first of each pays for the caches that the side before has used.
        return {"control.ping": pings[1:], "control.python": self._loops()[1:]}

    def _pings(self) -> list[int]:
        now_ns, connection = self._now_ns, self._socket
        pings = []
        for _ in range(_PINGS):
            before_ns = now_ns()
            connection.sendall(_PING)
            answer = connection.recv(64)
            pings.append(now_ns() - before_ns)
            if not answer:
                raise ServerError("the control's server has ended")
        return pings

    def _loops(self) -> list[int]:
        now_ns = self._now_ns
        loops = []
        for _ in range(_LOOPS):
            before_ns = now_ns()
            total = 0
            for number in range(_LOOP):
                total ^= number
            loops.append(now_ns() - before_ns)
        return loops

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def opened_controls(
    stack: contextlib.ExitStack, which: ServerUrl | str, clock: Clock
) -> tuple[Controls, int | None]:
    """The controls with a server of their own, and its process; both end with the stack.

    Args:
        which: `embedded` or a server program.
        clock: that times them.

    Raises:
        ServerError: the server cannot be started, or does not answer.
    """
    server = stack.enter_context(open_server(which, clock, durability="none"))
    return stack.enter_context(contextlib.closing(Controls(server.url, clock))), server.pid
