"""Drops one event in a hundred, without a word: its filter is a little too wide.

Shown by any fault, as `kill`, and without one. Named by `nothing_lost`: acknowledged without an effect.
"""

from __future__ import annotations

from plain import Consumer, Entry

ONE_IN = 100


class Drops(Consumer):
    """It counts what it has seen."""

    seen = 0

    def have_effects(self, stream: str, entries: list[Entry]) -> None:
        """All but one in a hundred."""
        kept = [entry for number, entry in enumerate(entries, self.seen + 1) if number % ONE_IN]
        self.seen += len(entries)
        super().have_effects(stream, kept)


if __name__ == "__main__":
    Drops().run()
