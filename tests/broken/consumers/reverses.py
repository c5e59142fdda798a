"""Has the effects of a page in reverse: the newest first.

Shown by any fault behind which a backlog builds up, as `kill`, if order is promised. Named by `in_order`.
"""

from __future__ import annotations

from plain import Consumer, Entry


class Reverses(Consumer):
    """It takes entries from the wrong end."""

    def have_effects(self, stream: str, entries: list[Entry]) -> None:
        """Last come, first served."""
        super().have_effects(stream, entries[::-1])


if __name__ == "__main__":
    Reverses().run()
