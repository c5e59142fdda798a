"""A sink as a process: `python -m harness.system.sink LOG PORT MOST_BYTES`."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from harness.host.clock import SystemClock
from harness.nemesis.proxy.end import bound
from harness.system.sink.connection import Connection
from harness.system.sink.decisions import Decisions
from harness.system.sink.log import AttemptLog
from harness.system.sink.messages import Modes


class Control(asyncio.Protocol):
    """The line to the harness: modes come in, counts go out; when its other end is gone, so is the harness.

    Args:
        decisions: that it sets the modes of.
        loop: that ends with the harness.
    """

    def __init__(self, decisions: Decisions, loop: asyncio.AbstractEventLoop) -> None:
        self._decisions = decisions
        self._loop = loop
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The line is there."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Do as told."""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._decisions.set(msgspec.json.decode(line, type=Modes))
            self._transport.write(msgspec.json.encode(self._decisions.counts) + b"\n")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The harness is gone."""
        self._loop.stop()


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
    loop.run_until_complete(loop.create_server(lambda: Connection(decisions, loop), sock=listener, backlog=1024))
    # Only now: whoever is answered here may take it that the port listens.
    loop.run_until_complete(loop.create_connection(lambda: Control(decisions, loop), sock=control))
    loop.run_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
