"""Trims the stream to a tenth of a page after each page, to save memory: what waits behind it is cut off unread.

Shown by any fault behind which more than that waits, as `kill`. Named by `nothing_lost`: not in the stream.
"""

from __future__ import annotations

from plain import PAGE, Consumer, Entry


class Trims(Consumer):
    """Nothing that it has done is needed any more."""

    def acknowledge(self, stream: str, entries: list[Entry]) -> None:
        """And away with what is old."""
        super().acknowledge(stream, entries)
        self.client.xtrim(stream, maxlen=PAGE // 10, approximate=False)


if __name__ == "__main__":
    Trims().run()
