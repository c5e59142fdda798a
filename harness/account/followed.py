"""What was followed of a group's consumers, and what was not: on it rests what may be said of the unseen."""

from __future__ import annotations

import msgspec

# The section of a run's evidence.
SECTION = "followed"


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What was followed of a line's consumers, and what was not.

    Attributes:
        consumers: that were followed.
        others: that were not.
        gaps: what else was not seen, in words.
        scripts: how many scripts were called; what they did is not seen.
        is_certain: whether each of the server's own numbers was what was expected.
    """

    consumers: list[str]
    others: list[str] = []
    gaps: list[str] = []
    scripts: int = 0
    is_certain: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether what was not seen has not happened."""
        return not self.others and not self.gaps and not self.scripts and self.is_certain
