"""Reads with NOACK, which is faster: what it has in hand when it is killed nobody knows of.

Shown by `refuse`, and by a `kill` that hits in the middle. Named by `nothing_lost`:
read without being kept.
"""

from __future__ import annotations

from typing import Any

from plain import BLOCK_MS, CONSUMER, GROUP, PAGE, Consumer


class NoAck(Consumer):
    """Delivered is as good as done."""

    def read(self, streams: dict[str, str]) -> list[Any]:
        """And forgotten by the server."""
        return self.client.xreadgroup(GROUP, CONSUMER, streams, PAGE, BLOCK_MS, noack=True) or []


if __name__ == "__main__":
    NoAck().run()
