"""What became of an operation that was due.

OK        answered
FAIL      answered with an error
UNKNOWN   sent, and never answered: it may have happened
DROPPED   due, and never sent
NOT_DUE   the run ended before it was due
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

import msgspec

OK, FAIL, UNKNOWN, DROPPED, NOT_DUE = range(5)


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """How many operations were due, and how many of them came to each outcome; as a list, in this order.

    While a load is made, those that are due and have no outcome yet are in flight.
    """

    arrivals: int = 0
    ok: int = 0
    failed: int = 0
    unknown: int = 0
    dropped: int = 0

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Self:
        """Read the five numbers of a list or an array."""
        return cls(*map(int, numbers))

    def __iter__(self) -> Iterator[int]:
        return iter(msgspec.structs.astuple(self))

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(a - b for a, b in zip(self, other, strict=True)))

    @property
    def ended(self) -> int:
        """How many have an outcome."""
        return self.ok + self.failed + self.unknown + self.dropped

    @property
    def unanswered(self) -> int:
        """How many have none yet; never below 0, also where they were read one by one while they grew."""
        return max(0, self.arrivals - self.ended)
