"""Acknowledges what failed, too: it logs the error and goes on, as if that were the same as having been done.

Shown by `refuse`. Named by `nothing_lost`: acknowledged without an effect.
"""

from __future__ import annotations

import logging

from plain import ERRORS, Consumer, Entry


class AcksFailures(Consumer):
    """An error of the sink ends in the log."""

    def send(self, stream: str, entries: list[Entry]) -> None:
        """Whatever comes of it."""
        try:
            super().send(stream, entries)
        except ERRORS:
            logging.exception("not done: %s", [fields["event_id"] for _, fields in entries])


if __name__ == "__main__":
    AcksFailures().run()
