"""Claims only after it has read something new, and never reads its own: in silence nobody takes what is left.

Shown by `kill_then_quiet`. Named by `nothing_lost`: pending.
"""

from __future__ import annotations

from collections.abc import Iterator

from plain import Consumer, Entry


class ClaimsWithTraffic(Consumer):
    """As a library does it."""

    def pages(self) -> Iterator[tuple[str, list[Entry]]]:
        """What is new, and then what others left."""
        while not self.stopping:
            is_quiet = True
            for page in self.new():
                is_quiet = False
                yield page
            if not is_quiet:
                yield from self.left()


if __name__ == "__main__":
    ClaimsWithTraffic().run()
