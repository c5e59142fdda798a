"""A sink as a process: `python -m harness.system.sink LOG PORT MOST_BYTES`."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from harness.host.clock import SystemClock
from harness.nemesis.proxy.end import bound
from harness.system.sink.connection import Connection, Connections
from harness.system.sink.decisions import Decisions
from harness.system.sink.log import AttemptLog
from harness.system.sink.messages import Modes


class Control(asyncio.Protocol):
    """The line to the harness: modes come in, counts go out; when its other end is gone, so is the harness.

    Args:
        connections: that it sets the modes of, and that end with the harness.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is there."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Do as told."""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            decisions = self._connections.decisions
            decisions.set(msgspec.json.decode(line, type=Modes))
            counts = msgspec.structs.replace(decisions.counts, in_hand=self._connections.in_hand)
            self._transport.write(msgspec.json.encode(counts) + b"\n")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The harness is gone."""
        if not self._connections.finished.done():
            self._connections.finished.set_result(None)


def main(log: Path, port: int, most_bytes: int) -> None:
    """Run a sink whose standard input is one end of a pair of sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    control = socket.socket(fileno=0)
    try:
        listener = bound(port)
        attempts = AttemptLog(log, most_bytes)
    except OSError as error:
        control.sendall(msgspec.json.encode(str(error)) + b"\n")
        control.close()
        return
    decisions = Decisions(attempts, SystemClock())
    loop = uvloop.new_event_loop()
    connections = Connections(decisions, loop)
    making = loop.create_server(lambda: Connection(connections), sock=listener, backlog=1024)
    server = loop.run_until_complete(making)

    def end() -> None:
        server.close()
        connections.finish()

    loop.add_signal_handler(signal.SIGTERM, end)
    # Only now: whoever is answered here may take it that the port listens.
    loop.run_until_complete(loop.create_connection(lambda: Control(connections), sock=control))
    loop.run_until_complete(connections.finished)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
