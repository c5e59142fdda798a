"""What the pump sends: commands packed before the run, only their numbers filled in while it lasts.

A `Source` answers the bytes of some commands, by their numbers. `StampedCommand` is the one for load: a command in
RESP, packed once, with slots for what differs from one operation to the next. A thousand of them are a
thousand copies of the template with twelve hexadecimal digits written over each slot, in a few NumPy calls:

    *7 $7 EVALSHA ... $36 pppppppp-pppp-8000-8000-000000000000 ... $36 ...000000000000
                                                  `---- slot ---'          `-- slot --'

A slot is found by its placeholder: the `event_id` of the producer's event number 0, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import hiredis
import numpy as np

from harness.ledger import ID_LENGTH, event_id, hex_digits


class Source(Protocol):
    """Commands by their numbers."""

    @property
    def operation(self) -> str:
        """What they are called in the record."""
        ...

    def pack(self, first: int, count: int) -> bytes:
        """`count` commands from number `first` on, in RESP."""
        ...


class StampedCommand:
    """One command, sent again and again with the event's own ID in it.

    Args:
        operation: its name in the record.
        parts: the command; `placeholder(producer)` stands wherever the event's ID belongs.
        producer: the number that the events carry.

    Raises:
        ValueError: no placeholder in any part.
    """

    def __init__(
        self, operation: str, parts: Sequence[str | int | float | bytes | memoryview], producer: int
    ) -> None:
        self.operation = operation
        packed = hiredis.pack_command(tuple(parts))  # type: ignore[arg-type]  # its stub allows one part only
        self._template = np.frombuffer(packed, np.uint8)
        self._slots = []
        mark = placeholder(producer).encode()
        at = packed.find(mark)
        while at >= 0:
            self._slots.append(at + ID_LENGTH - 12)
            at = packed.find(mark, at + ID_LENGTH)
        if not self._slots:
            raise ValueError("the command has no place for an event's ID")

    @property
    def command_bytes(self) -> int:
        """The length of one command on the wire."""
        return int(self._template.size)

    def pack(self, first: int, count: int) -> bytes:
        """`count` commands from number `first` on, in RESP."""
        commands = np.repeat(self._template[None, :], count, axis=0)
        digits = hex_digits(np.arange(first, first + count, dtype=np.int64))
        for at in self._slots:
            commands[:, at : at + 12] = digits
        return commands.tobytes()


def placeholder(producer: int) -> str:
    """What stands in a command where the event's ID belongs."""
    return event_id(producer, 0)
