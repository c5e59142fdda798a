"""Tries an event that is refused for good again, for ever: it does not get past it.

Shown by `poison`. Named by `drained`: it is never done, and goes on.
"""

from __future__ import annotations

from plain import Consumer, Entry, RefusedError


class StuckOnPoison(Consumer):
    """It never gives up."""

    def park(self, stream: str, entry: Entry) -> None:
        """There is no such place."""
        raise RefusedError(422)


if __name__ == "__main__":
    StuckOnPoison().run()
