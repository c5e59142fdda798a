"""Tries an event that is refused for good again, for ever: it does not get past it.

Shown by `poison`. Named by `nothing_lost`: pending, and never delivered what stands behind.
"""

from __future__ import annotations

import time

from plain import LONGEST_PAUSE_S, Consumer, Entry, RefusedError


class StuckOnPoison(Consumer):
    """It never gives up."""

    def park(self, stream: str, entry: Entry) -> None:
        """There is no such place."""
        while not self.stopping:
            time.sleep(LONGEST_PAUSE_S)
            try:
                self.post([entry[1]["event_id"]])
                return
            except RefusedError:
                pass
        raise RefusedError(422)


if __name__ == "__main__":
    StuckOnPoison().run()
