"""How `ordershop stop orders` in one terminal reaches `ordershop up` in another: a Unix socket.

The running shop listens at `<runtime directory>/<port of its gateway>.sock`, so the port is all that one needs
to know. The directory is the user's alone. A request is one JSON object, and so is the answer. The connection
then stays open until the next request, or until the shop has ended, so that `down` can wait for that.

    {"command": "stop", "name": "orders"}   ->   {"rows": [...]}  or  {"error": "there is no service 'x'"}

Signals and a file of process ids were rejected: a signal carries no name and brings no answer, and a file
outlives the process that it speaks of.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

TIMEOUT_S = 60.0
_LONGEST = 1 << 16


class ControlError(Exception):
    """No shop runs there, or it refused what was asked."""


class Request(msgspec.Struct, frozen=True):
    """What is asked of a running shop: `status`, `start` or `stop` with a name, `down`."""

    command: str
    name: str = ""


class Row(msgspec.Struct, frozen=True):
    """A service of a running shop; `pid` and `url` where it has one."""

    name: str
    state: str
    pid: int | None = None
    url: str | None = None


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer; `server` and `namespace` say where the shop's events are."""

    rows: list[Row] = []
    server: str = ""
    namespace: str = ""
    error: str = ""


def socket_path(port: int) -> Path:
    """Where the shop whose gateway has that port listens, in a directory that is this user's alone."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    directory = (
        Path(runtime) / "ordershop" if runtime else Path(tempfile.gettempdir()) / f"ordershop-{os.getuid()}"
    )
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    if directory.stat().st_uid != os.getuid():
        raise ControlError(f"{directory} belongs to another user")
    return directory / f"{port}.sock"


def ask(port: int, request: Request, *, until_end: bool = False) -> Reply:
    """Ask the shop whose gateway has that port.

    Args:
        until_end: wait until the shop has ended.

    Raises:
        ControlError: none runs, or it refused.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(str(socket_path(port)))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
                if until_end:
                    answers.read()
        except TimeoutError as error:
            raise ControlError(f"the shop on port {port} does not answer") from error
        except OSError as error:
            raise ControlError(f"no shop runs on port {port}") from error
    if not line:
        raise ControlError(f"the shop on port {port} ended")
    reply = msgspec.json.decode(line, type=Reply)
    if reply.error:
        raise ControlError(reply.error)
    return reply


class Control:
    """The listening end, in the running shop.

    Args:
        port: of the gateway.

    Raises:
        ControlError: a shop with that port listens already.
    """

    def __init__(self, port: int) -> None:
        self._path = socket_path(port)
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(self._path))
            raise ControlError(f"a shop runs on port {port} already")
        self._path.unlink(missing_ok=True)  # left by one that was killed
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._answered: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._path.unlink(missing_ok=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._answered is not None:
            self._answered.close()
            self._answered = None

    def serve_one(self, answer: Callable[[Request], Reply], timeout_s: float) -> None:
        """Wait for a request and answer it; or for nothing, and return after some seconds."""
        self._listener.settimeout(timeout_s)
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            return
        self._let_go()
        self._answered = connection
        with contextlib.suppress(OSError):  # whoever asked may have gone
            connection.settimeout(1.0)
            with connection.makefile("rb") as asked:
                line = asked.readline(_LONGEST)
            try:
                request = msgspec.json.decode(line, type=Request)
            except msgspec.MsgspecError as error:
                reply = Reply(error=f"not understood: {error}")
            else:
                reply = answer(request)
            connection.sendall(msgspec.json.encode(reply) + b"\n")
