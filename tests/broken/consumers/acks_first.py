"""Acknowledges a page, and then has its effects: what it has in hand when it is killed is gone.

Shown by `refuse`, and by a `kill` that hits in the middle. Named by `nothing_lost`:
acknowledged without an effect.
"""

from __future__ import annotations

from plain import Consumer, Entry


class AcksFirst(Consumer):
    """At most once, though it says at least once."""

    def handle(self, stream: str, entries: list[Entry]) -> None:
        """The two in the wrong order."""
        self.acknowledge(stream, entries)
        self.have_effects(stream, entries)


if __name__ == "__main__":
    AcksFirst().run()
