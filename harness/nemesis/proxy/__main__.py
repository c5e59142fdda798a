"""A proxy as a process: `python -m harness.nemesis.proxy SERVER_PORT PORT SERVER_HOST [LOG]`."""

from __future__ import annotations

import resource
import socket
import sys
from pathlib import Path

import msgspec

from harness.host.clock import SystemClock
from harness.nemesis.proxy.follower import Follower
from harness.nemesis.proxy.loop import ProxyLoop
from harness.nemesis.proxy.noting import ToldWriter


def main(server_port: int, port: int, server_host: str, log: Path | None) -> None:
    """Run a proxy whose standard input is one end of a pair of sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.socket(fileno=0) as control:
        clock = SystemClock()
        what = f"port {port}" if log is None else str(log)
        try:
            follower = Follower(ToldWriter(log, clock), clock) if log is not None else None
            what = f"port {port}"
            loop = ProxyLoop(port, (server_host, server_port), control, clock, follower)
        except OSError as error:
            control.sendall(msgspec.json.encode(f"{what}: {error.strerror}") + b"\n")
            return
        loop.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]) if sys.argv[4:] else None)
