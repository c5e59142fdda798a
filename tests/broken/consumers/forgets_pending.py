"""Never reads what it had in hand, and nobody claims it: each kill leaves some, for good.

Shown by `kill_in_batch`. Named by `nothing_lost`: pending.
"""

from __future__ import annotations

from collections.abc import Iterator

from plain import Consumer, Entry


class ForgetsPending(Consumer):
    """It reads what is new, and nothing else."""

    def own(self) -> Iterator[tuple[str, list[Entry]]]:
        """Not read."""
        return iter(())

    def left(self) -> Iterator[tuple[str, list[Entry]]]:
        """Not claimed."""
        return iter(())


if __name__ == "__main__":
    ForgetsPending().run()
