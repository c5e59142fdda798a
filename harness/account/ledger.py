"""The account of every event: attempted, acknowledged, applied; and what follows from comparing them.

    attempted      an append was sent                      applied     an effect was seen at the end of the
    acknowledged   its ID came back                                    line (a mail), not merely a delivery

What is lost, duplicated, unexpected and recovered is defined at `Account`. `account_of` makes one of sets: those
of a ledger, or those that a run has kept. A ledger notes while events happen. It is five sets of sequence numbers,
each a Roaring bitmap, about a bit an event. Attempts and effects are noted by different threads, so each note is
made under a lock. A sixth set is of those that may go without an effect.

Rejected: a byte of flags an event, noted in less than half the time, but in twice the memory; bits in a NumPy
array, as small and as fast as these, but with all the algebra to write.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence

import msgspec
import numpy as np
from pyroaring import AbstractBitMap, BitMap, FrozenBitMap

from harness.account.event_ids import sequences_of
from harness.arrays import Int64s

# A Roaring bitmap holds numbers of 32 bits.
MAX_CAPACITY = 1 << 32
# Of effects that are nobody's, so many are named, each by so many of its first characters.
EXAMPLES, LONGEST_EXAMPLE = 3, 64
_NONE = FrozenBitMap()


def set_of(sequences: Int64s, capacity: int = MAX_CAPACITY) -> BitMap:
    """Sequence numbers, in any order and with repeats, as a set.

    Raises:
        IndexError: one of them is below 0, or not below the capacity.
    """
    noted = BitMap()
    noted.update(_within(sequences, capacity))
    return noted


def _within(sequences: Int64s, capacity: int) -> array[int]:
    if sequences.size and (sequences.min() < 0 or sequences.max() >= capacity):
        raise IndexError(f"sequence numbers from {sequences.min()} to {sequences.max()}, of {capacity} events")
    return _packed(sequences)


def _packed(sequences: Int64s) -> array[int]:
    # The one form in which a bitmap takes many numbers without asking each of them for its type.
    return array("I", sequences.astype(np.uint32).tobytes())


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events of a run, after the drain.

    Attributes:
        attempted: events whose append was sent, whatever came of it.
        acknowledged: events whose ID came back.
        unknown: events whose append was sent and never answered.
        applied: different events that have had an effect, whoever attempted them.
        lost: acknowledged, no effect, and nothing to be said for it: the store had promised them.
        duplicated: effects beyond an event's first; each of them counts.
        unexpected: applied, though never attempted, or answered with an error, which is to say that it has not
            happened; and every effect of what is no event of this producer's.
        recovered: unknown, yet applied: the answer was lost, the event was not.
    """

    attempted: int
    acknowledged: int
    unknown: int
    applied: int
    lost: int
    duplicated: int
    unexpected: int
    recovered: int


def account_of(
    *,
    attempted: AbstractBitMap = _NONE,
    acknowledged: AbstractBitMap = _NONE,
    unknown: AbstractBitMap = _NONE,
    refused: AbstractBitMap = _NONE,
    applied: AbstractBitMap = _NONE,
    spared: AbstractBitMap = _NONE,
    effects: int = 0,
    foreign: int = 0,
) -> Account:
    """The account of what was noted of the events of one producer.

    Args:
        attempted: whose append was sent; those that are in one of the next three sets need not be in it.
        acknowledged: whose ID came back.
        unknown: whose append was never answered.
        refused: whose append was answered with an error.
        applied: that have had an effect.
        spared: that are not lost, though they may have had no effect.
        effects: how many effects these have had together.
        foreign: how many effects were of no event of this producer's.
    """
    expected = attempted.union(acknowledged, unknown)
    return Account(
        attempted=expected.union_cardinality(refused),
        acknowledged=len(acknowledged),
        unknown=len(unknown),
        applied=len(applied),
        lost=len(acknowledged - applied - spared),
        duplicated=effects - len(applied),
        unexpected=applied.difference_cardinality(expected) + foreign,
        recovered=unknown.intersection_cardinality(applied),
    )


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger has noted by one moment; each is defined at `account_of`.

    Attributes:
        foreign_examples: what the first effects that were no event of this producer's called their events.
    """

    attempted: FrozenBitMap
    acknowledged: FrozenBitMap
    unknown: FrozenBitMap
    refused: FrozenBitMap
    applied: FrozenBitMap
    effects: int
    foreign: int
    foreign_examples: tuple[str, ...] = ()


class Ledger:
    """What is known of each event of one producer, in about half a byte.

    Args:
        producer: the number that its events carry.
        capacity: how many events it may attempt at most.

    Raises:
        ValueError: a capacity that cannot be.
    """

    def __init__(self, producer: int, capacity: int) -> None:
        if not 0 <= capacity <= MAX_CAPACITY:
            raise ValueError(f"a ledger has room for 0 to {MAX_CAPACITY} events, not {capacity}")
        self.producer = producer
        self.capacity = capacity
        # Who was answered, or not, was attempted too, and is noted but once.
        self._attempted = BitMap()
        self._acknowledged = BitMap()
        self._unknown = BitMap()
        self._refused = BitMap()
        self._applied = BitMap()
        self._spared = BitMap()
        self._effects = 0
        self._foreign = 0
        self._foreign_examples: list[str] = []
        self._lock = threading.Lock()

    def _note(self, noted: BitMap, sequences: Int64s) -> None:
        packed = _within(sequences, self.capacity)
        with self._lock:
            noted.update(packed)

    def attempt(self, sequences: Int64s) -> None:
        """Note events whose append was sent.

        Raises:
            IndexError: one of them is beyond the capacity; then none is noted.
        """
        self._note(self._attempted, sequences)

    def acknowledge(self, sequences: Int64s) -> None:
        """Note events whose ID came back.

        Raises:
            IndexError: one of them is beyond the capacity; then none is noted.
        """
        self._note(self._acknowledged, sequences)

    def leave_unknown(self, sequences: Int64s) -> None:
        """Note events whose append was sent and never answered.

        Raises:
            IndexError: one of them is beyond the capacity; then none is noted.
        """
        self._note(self._unknown, sequences)

    def refuse(self, sequences: Int64s) -> None:
        """Note events whose append was sent and answered with an error.

        Raises:
            IndexError: one of them is beyond the capacity; then none is noted.
        """
        self._note(self._refused, sequences)

    def spare(self, sequences: Int64s) -> None:
        """Note events of which it is known why they have had no effect, so that they are not lost without one.

        Raises:
            IndexError: one of them is beyond the capacity; then none is noted.
        """
        self._note(self._spared, sequences)

    def apply(self, event_ids: Sequence[str]) -> Int64s:
        """Note effects, in any order and as often as they happened.

        Returns:
            The sequence numbers of those that are this producer's, in the same order.
        """
        sequences = sequences_of(self.producer, event_ids)
        is_ours = (sequences >= 0) & (sequences < self.capacity)
        ours = sequences[is_ours]
        packed = _packed(ours)
        with self._lock:
            self._effects += ours.size
            self._foreign += sequences.size - ours.size
            if len(self._foreign_examples) < EXAMPLES:
                others = np.flatnonzero(~is_ours)[: EXAMPLES - len(self._foreign_examples)]
                self._foreign_examples += [event_ids[at][:LONGEST_EXAMPLE] for at in others]
            self._applied.update(packed)
        return ours

    @property
    def foreign(self) -> int:
        """How many effects were of no event of this producer's."""
        with self._lock:
            return self._foreign

    @property
    def applied(self) -> int:
        """How many different events have had an effect."""
        with self._lock:
            return len(self._applied)

    def _lost(self) -> BitMap:
        with self._lock:
            return self._acknowledged - self._applied - self._spared

    def lost(self) -> Int64s:
        """The sequence numbers of the events that are lost as it stands, rising."""
        return np.asarray(self._lost().to_array()).astype(np.int64)

    def owed(self) -> Int64s:
        """The sequence numbers of the events that should have an effect, had it or not, rising."""
        with self._lock:
            owed = self._acknowledged - self._spared
        return np.asarray(owed.to_array()).astype(np.int64)

    def noted(self) -> Noted:
        """What is noted at this moment, in packed copies."""
        with self._lock:
            return Noted(
                attempted=FrozenBitMap(self._attempted),
                acknowledged=FrozenBitMap(self._acknowledged),
                unknown=FrozenBitMap(self._unknown),
                refused=FrozenBitMap(self._refused),
                applied=FrozenBitMap(self._applied),
                effects=self._effects,
                foreign=self._foreign,
                foreign_examples=tuple(self._foreign_examples),
            )

    def account(self) -> Account:
        """The account as it stands; only after the drain does it say what is lost."""
        with self._lock:
            return account_of(
                attempted=self._attempted,
                acknowledged=self._acknowledged,
                unknown=self._unknown,
                refused=self._refused,
                applied=self._applied,
                spared=self._spared,
                effects=self._effects,
                foreign=self._foreign,
            )
