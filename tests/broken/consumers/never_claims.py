"""Reads what it had in hand itself, and never claims: what a consumer of another name had in hand stays there.

It knows nothing of SIGTERM either, which ends it in the middle. Shown by `rolling`, where each start has a new
name, if it hits in the middle. Named by `nothing_lost`: pending.
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

    def left(self) -> Iterator[tuple[str, list[Entry]]]:
        """Not claimed."""
        return iter(())


if __name__ == "__main__":
    NeverClaims().run()
