"""Reads what it had in hand itself, and never claims: what a consumer of another name had in hand stays there.

It knows nothing of SIGTERM either, which ends it in the middle; and it reads a page ahead, so that something is in
hand at every moment. Shown by `rolling`, where each start has a new name. Named by `nothing_lost`: pending.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from plain import Consumer, Entry


class NeverClaims(Consumer):
    """It relies on its name, which changes with each deployment."""

    def stop(self) -> None:
        """As if there were no handler."""
        os._exit(143)

    def pages(self) -> Iterator[tuple[str, list[Entry]]]:
        """Its own pending entries, then what is new, a page ahead; what others left is not claimed."""
        yield from self.own()
        ahead: list[tuple[str, list[Entry]]] = []
        while not self.stopping:
            now, ahead = ahead, list(self.new())
            yield from now


if __name__ == "__main__":
    NeverClaims().run()
