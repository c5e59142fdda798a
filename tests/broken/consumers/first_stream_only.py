"""Handles the first stream of a reply and throws the others away: they stay pending, and it never looks there.

Shown by any fault behind which both streams have something, as `kill`. Named by `nothing_lost`: pending.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plain import Consumer, Entry


class FirstStreamOnly(Consumer):
    """`reply[0]`."""

    def read(self, streams: dict[str, str]) -> list[Any]:
        """As long as there is only one stream nobody notices."""
        return super().read(streams)[:1]

    def left(self) -> Iterator[tuple[str, list[Entry]]]:
        """Not claimed, or it would be seen late instead of never."""
        return iter(())


if __name__ == "__main__":
    FirstStreamOnly().run()
