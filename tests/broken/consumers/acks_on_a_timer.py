"""Acknowledges what it has read each 50 ms, by a timer, however far it is: auto-commit.

Shown by `refuse`, and by a `kill` that hits in the middle. Named by `nothing_lost`:
acknowledged without an effect.
"""

from __future__ import annotations

import time

from plain import Consumer, Entry

EACH_S = 0.05


class AcksOnATimer(Consumer):
    """Work and acknowledgement know nothing of each other."""

    in_hand: tuple[str, list[Entry]] = ("", [])
    due = 0.0

    def handle(self, stream: str, entries: list[Entry]) -> None:
        """Read is as good as done."""
        self.in_hand = stream, entries
        super().handle(stream, entries)

    def send(self, stream: str, entries: list[Entry]) -> None:
        """Before each request: is it time?"""
        if time.monotonic() >= self.due:
            self.acknowledge(*self.in_hand)
            self.due = time.monotonic() + EACH_S
        super().send(stream, entries)


if __name__ == "__main__":
    AcksOnATimer().run()
