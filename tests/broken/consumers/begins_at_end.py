"""Its group begins at `$`: what was published before the group was made is skipped.

Shown by `restart_empty`, after which producers are often there first. Named by `nothing_lost`: skipped by a group
that was made anew.
"""

from __future__ import annotations

from plain import Consumer


class BeginsAtEnd(Consumer):
    """As many tutorials do it."""

    begins_at = "$"


if __name__ == "__main__":
    BeginsAtEnd().run()
