"""The parent's side of a scripted server: it runs in a process of its own, and tells what it has done."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from harness.host.child import Child, ChildError


class ScriptedServer:
    """A server in a process of its own, while it is entered; its process sends its port first.

    Args:
        entry: `module:function` of its process.
        arguments: of that function, after the channel.
        called: what to call it in an error.
        error: the class of its errors.
    """

    def __init__(self, entry: str, arguments: tuple[Any, ...], *, called: str, error: type[Exception]) -> None:
        self._entry, self._arguments = entry, arguments
        self._called, self._error = called, error

    def __enter__(self) -> Self:
        try:
            self._child = Child(self._entry, *self._arguments)
        except ChildError as error:
            raise self._error(f"{self._called} does not start") from error
        try:
            self.port: int = self._receive(30.0)
        except BaseException:
            self._child.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # SIGKILL ends also one that is stopped.
        self._child.close()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def _told(self) -> Any:
        """What it answers to the question what it did."""
        try:
            self._child.send(None)
        except ChildError as error:
            raise self._error(f"{self._called} has ended") from error
        return self._receive(10.0)

    def _receive(self, timeout_s: float) -> Any:
        if not self._child.has_message(timeout_s):
            raise self._error(f"{self._called} does not answer")
        try:
            return self._child.receive()
        except ChildError as error:
            raise self._error(f"{self._called} has ended") from error
