"""The position of a group, in a file that survives the server."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ordershop.events import EventId


class Checkpoint:
    """The position of a group in each stream, in a file that survives the server.

    Args:
        path: the file, or None to keep no checkpoint.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def is_kept(self) -> bool:
        """Whether there is a file."""
        return self._path is not None

    def load(self) -> dict[str, str]:
        """The saved ID of each stream; empty at the first start."""
        if self._path is None or not self._path.exists():
            return {}
        return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])

    def save(self, positions: dict[str, str]) -> None:
        """Replace the file as a whole."""
        if self._path is not None:
            partial = self._path.with_suffix(".partial")
            with partial.open("wb") as file:
                file.write(msgspec.json.encode(positions))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)


def position_below_all_pending(last_delivered: str, smallest_pending: str | None) -> str:
    """The ID up to which a group has acknowledged everything.

    Args:
        last_delivered: read first; what is delivered afterwards is above it.
        smallest_pending: read second; None where nothing is pending.
    """
    if smallest_pending is None:
        return last_delivered
    pending = EventId.parse(smallest_pending)
    if pending > EventId.parse(last_delivered):
        return last_delivered
    before = EventId(pending.seconds, pending.microseconds - 1)
    return str(before if pending.microseconds else EventId(pending.seconds - 1, (1 << 64) - 1))
