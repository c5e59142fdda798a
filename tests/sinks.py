"""What the tests of the sink share: posting as clients do, and raw bytes."""

from __future__ import annotations

import contextlib
import http.client
import socket
from pathlib import Path
from typing import NamedTuple

from harness.system.sink import Sink


class Said(NamedTuple):
    """An answer of the sink."""

    status: int
    text: str


class Client:
    """Posts on one connection; a new one is opened where there is none, or it was lost in the post before."""

    def __init__(self, sink: Sink, timeout_s: float = 20.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=timeout_s)

    def post(self, body: str | bytes, path: str = "/", method: str = "POST", **headers: str) -> Said:
        """Post a body; the names of headers are written with `_`.

        Raises:
            OSError: no answer.
        """
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body.encode() if isinstance(body, str) else body
        try:
            self._connection.request(method, path, content, given)
            answer = self._connection.getresponse()
            return Said(answer.status, answer.read().decode())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise OSError(str(error)) from error

    def close(self) -> None:
        """Close the connection; the next post opens another."""
        self._connection.close()


def raw(sink: Sink, sent: bytes, *, ends: bool = True) -> bytes:
    """What the sink answers to some bytes until it closes, which it does at our end.

    Args:
        ends: whether to say that no more is sent.
    """
    with socket.create_connection(("127.0.0.1", sink.port), timeout=20) as connection:
        connection.sendall(sent)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while received := connection.recv(65_536):
                answer += received
        return answer


def logged(log: Path) -> list[tuple[str, str]]:
    """Outcome and ID of each line of a log."""
    return [(words[1], words[2]) for words in map(str.split, log.read_text().splitlines())]
