"""Gathers half a second's events into a batch, and forgets that one when its connection to Redis is lost.

They would be delivered again, it takes for granted; but it reads what it has pending at its start only. Shown by
`cut`. Named by `nothing_lost`: pending.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from plain import Consumer, Entry

EACH_S = 0.5


class LosesItsBatch(Consumer):
    """Few large requests instead of many small ones."""

    def __init__(self) -> None:
        super().__init__()
        self.batch: list[tuple[str, list[Entry]]] = []
        self.due = 0.0
        self.has_read_own = False

    def handle(self, stream: str, entries: list[Entry]) -> None:
        """Not yet."""
        self.due = self.due if self.batch else time.monotonic() + EACH_S
        self.batch.append((stream, entries))

    def new(self) -> Iterator[tuple[str, list[Entry]]]:
        """And, when it is time, all that has been gathered."""
        yield from super().new()
        if self.batch and time.monotonic() >= self.due:
            self.end()

    def end(self) -> None:
        """Have the effects of the batch."""
        for stream, entries in self.batch:
            super().handle(stream, entries)
        self.batch.clear()

    def own(self) -> Iterator[tuple[str, list[Entry]]]:
        """At the start, and only there."""
        if not self.has_read_own:
            for stream, entries in super().own():
                super().handle(stream, entries)
        self.has_read_own = True
        return iter(())

    def left(self) -> Iterator[tuple[str, list[Entry]]]:
        """It is the only one, so there is nothing to claim."""
        return iter(())

    def after(self, error: Exception) -> None:
        """Away with the batch."""
        self.batch.clear()


if __name__ == "__main__":
    LosesItsBatch().run()
