"""A proxy as a process: `python -m harness.nemesis.proxy SERVER_PORT PORT SERVER_HOST`."""

from __future__ import annotations

import resource
import socket
import sys

import msgspec

from harness.host.clock import SystemClock
from harness.nemesis.proxy.loop import ProxyLoop


def main(server_port: int, port: int, server_host: str) -> None:
    """Run a proxy whose standard input is one end of a pair of sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.socket(fileno=0) as control:
        try:
            loop = ProxyLoop(port, (server_host, server_port), control, SystemClock())
        except OSError as error:
            control.sendall(msgspec.json.encode(f"port {port}: {error.strerror}") + b"\n")
            return
        loop.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
