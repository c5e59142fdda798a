"""The account of every event: attempted, acknowledged, applied; and what follows from comparing them.

    attempted      an append was sent                      applied     an effect was seen at the end of the
    acknowledged   its ID came back                                    line (a mail), not merely a delivery

After the drain:

    lost        acknowledged - applied       the store had promised it
    duplicated  effects beyond the first     each of them counts
    unexpected  applied, never attempted     somebody else's, or invented
    recovered   UNKNOWN, yet applied         the answer was lost, the event was not

Every event carries its producer and its sequence number in its `event_id`, a UUID of version 8 (RFC 9562):

    pppppppp-pppp-8000-8000-ssssssssssss       p: producer, 48 bits     s: sequence number, 48 bits

so that an effect can be set against its attempt without a table of IDs: one byte an event is enough. Attempts
and effects are noted by different threads, so each note is made under a lock.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Int64s = NDArray[np.int64]

PRODUCER_BITS = 48
ID_LENGTH = 36

_ATTEMPTED = np.uint8(1)
_ACKNOWLEDGED = np.uint8(2)
_UNKNOWN = np.uint8(4)
_APPLIED = np.uint8(8)

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_SHIFTS = np.arange(44, -4, -4, dtype=np.int64)
_EVENT_ID = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-8000-8000-([0-9a-f]{12})")


def event_id(producer: int, sequence: int) -> str:
    """The `event_id` of one event."""
    p = f"{producer:012x}"
    return f"{p[:8]}-{p[8:]}-8000-8000-{sequence:012x}"


def hex_digits(sequences: Int64s) -> Bytes:
    """Sequence numbers as 12 hexadecimal digits each, shape (n, 12), ASCII."""
    digits: Bytes = _HEX[(sequences[:, None] >> _SHIFTS) & 15]
    return digits


def sequence_of(producer: int, text: str) -> int | None:
    """The sequence number in an `event_id` of this producer, or None for any other text."""
    match = _EVENT_ID.fullmatch(text)
    if match is None or int(match[1] + match[2], 16) != producer:
        return None
    return int(match[3], 16)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events of a run, after the drain."""

    attempted: int
    acknowledged: int
    unknown: int
    applied: int
    lost: int
    duplicated: int
    unexpected: int
    recovered: int


class Ledger:
    """What is known of each event of one producer; one byte an event.

    Args:
        producer: the number that its events carry.
        capacity: how many events it may attempt at most.
    """

    def __init__(self, producer: int, capacity: int) -> None:
        self.producer = producer
        self._state: Bytes = np.zeros(capacity, np.uint8)
        self._effects = 0
        self._foreign = 0
        self._lock = threading.Lock()

    def _note(self, sequences: Int64s, what: np.uint8) -> None:
        with self._lock:
            self._state[sequences] |= what

    def attempt(self, sequences: Int64s) -> None:
        """Note events whose append was sent."""
        self._note(sequences, _ATTEMPTED)

    def acknowledge(self, sequences: Int64s) -> None:
        """Note events whose ID came back."""
        self._note(sequences, _ATTEMPTED | _ACKNOWLEDGED)

    def leave_unknown(self, sequences: Int64s) -> None:
        """Note events whose append was sent and never answered."""
        self._note(sequences, _ATTEMPTED | _UNKNOWN)

    def apply(self, event_ids: Iterable[str]) -> None:
        """Note effects, in any order and as often as they happened."""
        sequences = []
        foreign = 0
        for text in event_ids:
            sequence = sequence_of(self.producer, text)
            if sequence is None or sequence >= self._state.size:
                foreign += 1
            else:
                sequences.append(sequence)
        with self._lock:
            self._effects += len(sequences)
            self._foreign += foreign
            self._state[np.array(sequences, np.int64)] |= _APPLIED

    @property
    def applied(self) -> int:
        """How many different events have had an effect."""
        return int(np.count_nonzero(self._state & _APPLIED))

    def lost(self) -> Int64s:
        """The sequence numbers of the events that were acknowledged and have had no effect."""
        return np.flatnonzero((self._state & (_ACKNOWLEDGED | _APPLIED)) == _ACKNOWLEDGED).astype(np.int64)

    def account(self) -> Account:
        """The account as it stands; only after the drain does it say what is lost."""
        state = self._state
        applied = (state & _APPLIED) != 0
        attempted = (state & _ATTEMPTED) != 0
        distinct = int(np.count_nonzero(applied))
        return Account(
            attempted=int(np.count_nonzero(attempted)),
            acknowledged=int(np.count_nonzero(state & _ACKNOWLEDGED)),
            unknown=int(np.count_nonzero(state & _UNKNOWN)),
            applied=distinct,
            lost=int(self.lost().size),
            duplicated=self._effects - distinct,
            unexpected=int(np.count_nonzero(applied & ~attempted)) + self._foreign,
            recovered=int(np.count_nonzero(applied & ((state & _UNKNOWN) != 0))),
        )
