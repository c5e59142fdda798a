"""The arrivals of a pacer, taken as they become due: one at a time cheaply, thousands at a time cheaply.

    block   8,192 due times as an array        for turns in which many are due: a binary search, a slice
    soon      some of them as plain numbers    for turns in which few are: comparing two of them costs 30 ns,
                                               what NumPy needs for one call is a hundred times that

Both are views of the same times. Which of them `take` answers with tells the pump which way to go.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from harness.arrays import Int64s
from harness.load.pacing import Pacer

# Up to so many at once are handled one by one.
FEW = 4
# No arrival is due any more.
NEVER = 1 << 62

# After a turn in which many were due the next one is likely to be such a turn, too: then few numbers are made.
_BLOCK, _SOON, _SOON_AFTER_MANY = 8_192, 256, 2 * FEW


class Stop(Protocol):
    """What ends a schedule early."""

    def is_set(self) -> bool:
        """Whether to end."""
        ...


class Schedule:
    """Due times on the clock, in order.

    Args:
        pacer: when arrivals are due, from the schedule's origin.
        origin_ns: when that is.

    Attributes:
        next: the number of the next arrival, and how many were taken.
        next_due_ns: when it is due; `NEVER` after the last one.
        gap_ns: between the last that was taken and the next one.
    """

    __slots__ = ("_at", "_block", "_block_first", "_origin_ns", "_pacer", "_soon", "gap_ns", "next", "next_due_ns")

    def __init__(self, pacer: Pacer, origin_ns: int) -> None:
        self._pacer = pacer
        self._origin_ns = origin_ns
        self._block: Int64s = np.zeros(0, np.int64)
        self._block_first = 0
        self._soon: list[int] = []
        self._at = 0
        self.next = 0
        self.next_due_ns = NEVER
        self.gap_ns = 0
        self._look_ahead(origin_ns, _SOON)

    @property
    def is_over(self) -> bool:
        """Whether all arrivals have been taken."""
        return self.next_due_ns == NEVER

    def take(self, now_ns: int) -> list[int] | Int64s:
        """The due times of the arrivals that are due by now: a list of a few, or an array of many; empty for none.

        Of very many it answers a part; the rest is due at once.
        """
        if self.next_due_ns > now_ns:
            return []
        soon, at = self._soon, self._at
        if self.are_few(now_ns):
            for until in range(at + 1, min(at + FEW + 1, len(soon))):
                if soon[until] > now_ns:
                    few = soon[at:until]
                    self.next += until - at
                    self._at = until
                    self.gap_ns = soon[until] - few[-1]
                    self.next_due_ns = soon[until]
                    return few
        offset = self.next - self._block_first
        until = int(self._block.searchsorted(now_ns, "right"))
        due = self._block[offset:until]
        self.next += until - offset
        self._look_ahead(int(due[-1]), _SOON if until - offset <= FEW else _SOON_AFTER_MANY)
        return due if until - offset > FEW else due.tolist()

    def take_one(self) -> None:
        """Take the next arrival, due or not."""
        due_ns = self.next_due_ns
        self.next += 1
        self._at += 1
        if self._at < len(self._soon):
            self.next_due_ns = self._soon[self._at]
            self.gap_ns = self.next_due_ns - due_ns
        else:
            self._look_ahead(due_ns, _SOON)

    def are_few(self, now_ns: int) -> bool:
        """Whether no more than a few arrivals are due by now, as far as can be told for little."""
        soon, after = self._soon, self._at + FEW
        return after >= len(soon) or soon[after] > now_ns

    def lasted_ns(self, end_ns: int) -> int:
        """How long arrivals were due: all of the schedule, unless it was ended before the last of them.

        Args:
            end_ns: when it was over, or ended.
        """
        duration_ns = self._pacer.duration_ns
        if self.next < self._pacer.total:
            duration_ns = min(duration_ns, end_ns - self._origin_ns)
        return max(1, duration_ns)

    def _look_ahead(self, before_ns: int, count_soon: int) -> None:
        """Have the times after the last that was taken at hand, so many of them as plain numbers."""
        offset = self.next - self._block_first
        if offset >= self._block.size:
            count = min(_BLOCK, self._pacer.total - self.next)
            if not count:
                self._soon, self._at, self.next_due_ns = [], 0, NEVER
                return
            self._block = self._pacer.due_ns(self.next, count) + self._origin_ns
            self._block_first, offset = self.next, 0
        self._soon, self._at = self._block[offset : offset + count_soon].tolist(), 0
        self.next_due_ns = self._soon[0]
        self.gap_ns = self.next_due_ns - before_ns
