"""Ends at the first error of the sink, with status 0, and leaves its lock behind: each start finds that, and ends.

Shown by `refuse`, and as well by `kill`. Named by `nothing_lost`: never delivered.
"""

from __future__ import annotations

import logging
import sys

from plain import CONSUMER, Consumer, RefusedError

LOCK = f"lock-of-{CONSUMER}"


class NeverComesBack(Consumer):
    """Only one of this name at a time; who does not give the lock back keeps it."""

    def run(self) -> None:
        """Unless another one of this name runs, or seems to."""
        if not self.client.set(LOCK, "held", nx=True):
            logging.error("it runs already")
            sys.exit(0)
        super().run()

    def after(self, error: Exception) -> None:
        """An error of the sink is none of its business."""
        if isinstance(error, RefusedError):
            sys.exit(0)

    def end(self) -> None:
        """After SIGTERM the lock is given back."""
        self.client.delete(LOCK)


if __name__ == "__main__":
    NeverComesBack().run()
