"""The account of every event: attempted, acknowledged, applied; and what follows from comparing them.

    attempted      an append was sent                      applied     an effect was seen at the end of the
    acknowledged   its ID came back                                    line (a mail), not merely a delivery

What is lost, duplicated, unexpected and recovered is defined at `Account`. Every event carries its producer and
its sequence number in its `event_id`, a UUID of version 8 (RFC 9562):

    pppppppp-pppp-8000-8000-ssssssssssss       p: producer, 48 bits     s: sequence number, 48 bits

so that an effect can be set against its attempt without a table of IDs. A ledger is five sets of sequence numbers,
each a Roaring bitmap: about a bit an event while it is noted, a few bytes for each long run of them in a message
to another process. Effects come as text, a batch at a time; a batch is read as one array of rows of 36 bytes and
not ID by ID. Attempts and effects are noted by different threads, so each note is made under a lock.

Several workers of one producer keep a ledger each, and share out its events and the effects among themselves.
Merging them unites the sets and adds up the effects, so the order in which they are merged makes no difference.

Where a lost event stopped (`classify_losses`): each question is asked only of what the one before let through.

    acknowledged --> in the stream? --> delivered? --> acknowledged by the consumer? --> without_effect
                        | no               | no            | no
                        not_in_stream      never_delivered pending

A question without evidence ends the classing, and what is left is `unclassed`. A subscriber that has no group,
such as one that starts at `$`, leaves no position behind: of what it lost it can only be said whether it is in the
stream. An event that was trimmed counts as `not_in_stream`, also if it had been delivered before.

Whether order was kept, entity by entity (`order_of_effects`): an effect is disordered if the effect of a later
event of the same entity was seen before it. Only first effects count; a repeated one is a duplicate, no disorder.

    in the stream   a1 a2 b1 a3        effects seen   a1 a3 b1 a2 a3        a2 is disordered: a3 came before it

Rejected: a byte of flags an event, noted in less than half the time, but in twice the memory, and as long in a
message as it is there; bits in a NumPy array, as small and as fast as these, but with all the algebra to write.
"""

from __future__ import annotations

import itertools
import re
import threading
from array import array
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from pyroaring import AbstractBitMap, BitMap

Bytes = NDArray[np.uint8]
Int64s = NDArray[np.int64]

PRODUCER_BITS = 48
ID_LENGTH = 36
# A Roaring bitmap holds numbers of 32 bits.
MAX_CAPACITY = 1 << 32
EXAMPLES = 10

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_SHIFTS = np.arange(44, -4, -4, dtype=np.int64)
_EVENT_ID = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-8000-8000-([0-9a-f]{12})")

# An `event_id` as bytes: all that is the same for a producer's events, and the sequence number's digits by twos.
_ROW = np.dtype([("prefix", "S24"), ("pairs", "<u2", 6)])
_NO_ID = "-" * ID_LENGTH
# The value of two hexadecimal digits, by the 16 bits of their ASCII; NaN for any other two characters, and so for
# every sum that they are a part of. Doubles are exact below 2 ** 53, and a sequence number has 48 bits.
_PAIR_VALUES = np.full(1 << 16, np.nan)
_PAIR_VALUES[_HEX[:, None] + 256 * _HEX.astype(np.int64)] = np.arange(256).reshape(16, 16)
_PLACE_VALUES = 256.0 ** np.arange(5, -1, -1)


class LedgerError(Exception):
    """Ledgers that cannot be merged, or bytes that are no ledger."""


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


def sequences_of(producer: int, texts: Iterable[str]) -> Int64s:
    """The sequence numbers in many `event_id`s of this producer, shape (n,); -1 for any other text."""
    return np.nan_to_num(_numbers(_prefix(producer), texts), copy=False, nan=-1.0).astype(np.int64)


def _prefix(producer: int) -> bytes:
    return event_id(producer, 0)[: ID_LENGTH - 12].encode()


def _numbers(prefix: bytes, texts: Iterable[str]) -> NDArray[np.float64]:
    """The sequence numbers in `event_id`s with this prefix, shape (n,); NaN for any other text."""
    aligned = "".join([text if len(text) == ID_LENGTH else _NO_ID for text in texts])
    # What is not ASCII becomes one "?" a character, so the rows stay aligned, and is no digit.
    rows = np.frombuffer(aligned.encode("ascii", "replace"), _ROW)
    # Not `@`: it would wake the threads of BLAS, beside what is being measured.
    numbers: NDArray[np.float64] = np.einsum("ij,j->i", _PAIR_VALUES.take(rows["pairs"]), _PLACE_VALUES)
    numbers[rows["prefix"] != prefix] = np.nan
    return numbers


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


def _packed(sequences: NDArray[np.int64] | NDArray[np.float64]) -> array[int]:
    # The one form in which a bitmap takes many numbers without asking each of them for its type.
    return array("I", sequences.astype(np.uint32).tobytes())


def _unpacked(sequences: AbstractBitMap) -> Int64s:
    return np.asarray(sequences.to_array()).astype(np.int64)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events of a run, after the drain.

    Attributes:
        attempted: events whose append was sent, whatever came of it.
        acknowledged: events whose ID came back.
        unknown: events whose append was sent and never answered.
        applied: different events that have had an effect, whoever attempted them.
        lost: acknowledged, and no effect: the store had promised them.
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


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """The lost events that stopped at one place: how many, and the lowest of their sequence numbers."""

    count: int = 0
    examples: tuple[int, ...] = ()


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """The lost events by where they stopped; each of them is in one class.

    Attributes:
        not_in_stream: the acknowledged entry is no longer in the stream, or never was.
        never_delivered: in the stream, behind the group's last-delivered ID.
        pending: delivered, and not acknowledged by the consumer.
        without_effect: delivered and acknowledged by the consumer, and no effect was seen.
        unclassed: there is no evidence of where they stopped.
    """

    not_in_stream: Stopped = Stopped()
    never_delivered: Stopped = Stopped()
    pending: Stopped = Stopped()
    without_effect: Stopped = Stopped()
    unclassed: Stopped = Stopped()

    @property
    def counts(self) -> dict[str, int]:
        """How many stopped at each place, by the name of the class."""
        return {name: getattr(self, name).count for name in self.__struct_fields__}


def classify_losses(
    lost: AbstractBitMap,
    *,
    in_stream: AbstractBitMap | None,
    delivered: AbstractBitMap | None,
    pending: AbstractBitMap | None,
) -> Losses:
    """Where each lost event stopped; the sets may hold other events too.

    Args:
        lost: acknowledged, without an effect.
        in_stream: whose entries are in the stream; None: the stream was not read.
        delivered: whose entries are not behind the group's last-delivered ID; None: no group.
        pending: whose entries were delivered and not acknowledged by the consumer; None: not known. They count as
            delivered, also if they were read after `delivered` was.
    """
    if in_stream is None:
        return Losses(unclassed=_stopped(lost))
    present = lost & in_stream
    not_in_stream = _stopped(lost - in_stream)
    if delivered is None:
        return Losses(not_in_stream=not_in_stream, unclassed=_stopped(present))
    if pending is None:
        handed_over = present & delivered
        parted = {"unclassed": _stopped(handed_over)}
    else:
        handed_over = present & (delivered | pending)
        parted = {"pending": _stopped(present & pending), "without_effect": _stopped(handed_over - pending)}
    return Losses(not_in_stream=not_in_stream, never_delivered=_stopped(present - handed_over), **parted)


def _stopped(sequences: AbstractBitMap) -> Stopped:
    return Stopped(count=len(sequences), examples=tuple(itertools.islice(sequences, EXAMPLES)))


class Overtaken(msgspec.Struct, frozen=True, kw_only=True):
    """An event whose effect was seen after that of a later event of the same entity."""

    sequence: int
    by: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the effects of each entity were seen in the order of its events.

    Attributes:
        entities: how many had an effect that could be judged.
        disordered_entities: how many of them had a disordered effect.
        effects: the first effects of events whose place is known: what could be judged.
        disordered: how many of these were seen after an effect of a later event of the same entity.
        unplaced: the first effects of events whose place is not known.
        examples: the disordered ones that were seen first, each with the latest event that was before it.
    """

    entities: int
    disordered_entities: int
    effects: int
    disordered: int
    unplaced: int
    examples: tuple[Overtaken, ...] = ()


def order_of_effects(seen: Int64s, *, entities: Int64s, places: Int64s) -> Order:
    """Compare the order in which effects were seen with that of the events, entity by entity.

    Effects of different entities, and of events in the same place, have no order among themselves.

    Args:
        seen: the event of each effect in the order in which they were seen, shape (k,); each an index below n.
        entities: the entity of each event, shape (n,).
        places: where each event stands in the stream, rising along it, shape (n,); below 0: not known.

    Raises:
        IndexError: an effect of an event that has no entity.
        ValueError: not a place for each event.
    """
    if entities.shape != places.shape:
        raise ValueError(f"{entities.size} events have an entity, and {places.size} a place")
    if seen.size and (seen.min() < 0 or seen.max() >= entities.size):
        raise IndexError(f"effects of events {seen.min()} to {seen.max()}, of {entities.size} events")
    first = seen[np.sort(np.unique(seen, return_index=True)[1])]
    judged = first[places[first] >= 0]
    # Entity by entity, and within each in the order seen; `at` is the index into `judged`.
    at = np.argsort(entities[judged], kind="stable")
    ordered = judged[at]
    known, entity = np.unique(entities[ordered], return_inverse=True)
    ranks, rank = np.unique(places[ordered], return_inverse=True)
    # Any event of the next entity is beyond every one of this, so that one running maximum serves for all.
    beyond = entity * ranks.size + rank
    late = beyond < np.maximum.accumulate(beyond)
    furthest = np.maximum.accumulate(np.where(late, 0, np.arange(late.size)))
    disordered = np.flatnonzero(late)
    shown = disordered[np.argsort(at[disordered])[:EXAMPLES]]
    return Order(
        entities=known.size,
        disordered_entities=np.unique(entity[disordered]).size,
        effects=judged.size,
        disordered=disordered.size,
        unplaced=first.size - judged.size,
        examples=tuple(
            Overtaken(sequence=event, by=later)
            for event, later in zip(ordered[shown].tolist(), ordered[furthest[shown]].tolist(), strict=True)
        ),
    )


class _Encoded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger on its way; each set in Roaring's portable format."""

    schema: Literal[1] = 1
    producer: Annotated[int, Meta(ge=0, lt=1 << PRODUCER_BITS)]
    capacity: Annotated[int, Meta(ge=0, le=MAX_CAPACITY)]
    attempted: bytes
    acknowledged: bytes
    unknown: bytes
    refused: bytes
    applied: bytes
    effects: Annotated[int, Meta(ge=0)]
    foreign: Annotated[int, Meta(ge=0)]


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
        self._prefix = _prefix(producer)
        # Who was answered, or not, was attempted too, and is noted but once.
        self._attempted = BitMap()
        self._acknowledged = BitMap()
        self._unknown = BitMap()
        self._refused = BitMap()
        self._applied = BitMap()
        self._effects = 0
        self._foreign = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).decode, (self.encode(),)

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

    def apply(self, event_ids: Iterable[str]) -> None:
        """Note effects, in any order and as often as they happened."""
        numbers = _numbers(self._prefix, event_ids)
        # NaN is not below anything.
        ours = numbers[numbers < self.capacity]
        packed = _packed(ours)
        with self._lock:
            self._effects += ours.size
            self._foreign += numbers.size - ours.size
            self._applied.update(packed)

    @property
    def applied(self) -> int:
        """How many different events have had an effect."""
        with self._lock:
            return len(self._applied)

    def _lost(self) -> BitMap:
        with self._lock:
            return self._acknowledged - self._applied

    def lost(self) -> Int64s:
        """The sequence numbers of the events that were acknowledged and have had no effect, rising."""
        return _unpacked(self._lost())

    def losses(
        self,
        *,
        in_stream: AbstractBitMap | None = None,
        delivered: AbstractBitMap | None = None,
        pending: AbstractBitMap | None = None,
    ) -> Losses:
        """Where each lost event stopped; see `classify_losses`."""
        return classify_losses(self._lost(), in_stream=in_stream, delivered=delivered, pending=pending)

    def account(self) -> Account:
        """The account as it stands; only after the drain does it say what is lost."""
        with self._lock:
            expected = self._attempted.union(self._acknowledged, self._unknown)
            applied = self._applied
            return Account(
                attempted=expected.union_cardinality(self._refused),
                acknowledged=len(self._acknowledged),
                unknown=len(self._unknown),
                applied=len(applied),
                lost=self._acknowledged.difference_cardinality(applied),
                duplicated=self._effects - len(applied),
                unexpected=applied.difference_cardinality(expected) + self._foreign,
                recovered=self._unknown.intersection_cardinality(applied),
            )

    def merge(self, other: Ledger) -> None:
        """Add what another worker of the same producer has noted; an effect may be noted by one of them only.

        Raises:
            LedgerError: it is not of the same producer and capacity.
        """
        if (self.producer, self.capacity) != (other.producer, other.capacity):
            raise LedgerError("ledgers can be merged if they are of the same producer and capacity")
        # One lock after the other, and never both: two ledgers may be merged into each other at once.
        part = other._copy()
        with self._lock:
            self._attempted |= part._attempted
            self._acknowledged |= part._acknowledged
            self._unknown |= part._unknown
            self._refused |= part._refused
            self._applied |= part._applied
            self._effects += part._effects
            self._foreign += part._foreign

    def _copy(self) -> Ledger:
        copy = Ledger(self.producer, self.capacity)
        # `BitMap.copy` would pack runs, which are slow to note into, and grow far beyond a bit an event if short.
        with self._lock:
            copy._attempted = BitMap(self._attempted, optimize=False)
            copy._acknowledged = BitMap(self._acknowledged, optimize=False)
            copy._unknown = BitMap(self._unknown, optimize=False)
            copy._refused = BitMap(self._refused, optimize=False)
            copy._applied = BitMap(self._applied, optimize=False)
            copy._effects = self._effects
            copy._foreign = self._foreign
        return copy

    def encode(self) -> bytes:
        """The ledger as MessagePack, each set with its runs packed; the same notes are the same bytes."""
        part = self._copy()
        return msgspec.msgpack.encode(
            _Encoded(
                producer=part.producer,
                capacity=part.capacity,
                attempted=_encoded(part._attempted),
                acknowledged=_encoded(part._acknowledged),
                unknown=_encoded(part._unknown),
                refused=_encoded(part._refused),
                applied=_encoded(part._applied),
                effects=part._effects,
                foreign=part._foreign,
            )
        )

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Read what `encode` has written.

        Raises:
            LedgerError: it is no ledger.
        """
        try:
            encoded = msgspec.msgpack.decode(content, type=_Encoded)
        except msgspec.MsgspecError as error:
            raise LedgerError(f"no ledger: {error}") from error
        ledger = cls(encoded.producer, encoded.capacity)
        ledger._attempted = _decoded(encoded.attempted, encoded.capacity)
        ledger._acknowledged = _decoded(encoded.acknowledged, encoded.capacity)
        ledger._unknown = _decoded(encoded.unknown, encoded.capacity)
        ledger._refused = _decoded(encoded.refused, encoded.capacity)
        ledger._applied = _decoded(encoded.applied, encoded.capacity)
        ledger._effects, ledger._foreign = encoded.effects, encoded.foreign
        if ledger._effects < len(ledger._applied):
            raise LedgerError(f"no ledger: {ledger._effects} effects of {len(ledger._applied)} events")
        return ledger


def _encoded(sequences: BitMap) -> bytes:
    sequences.run_optimize()
    return sequences.serialize()


def _decoded(content: bytes, capacity: int) -> BitMap:
    try:
        sequences = BitMap.deserialize(content)
    except (ValueError, IndexError) as error:  # the latter of no bytes at all
        raise LedgerError(f"no ledger: {error}") from error
    if sequences and sequences.max() >= capacity:
        raise LedgerError(f"no ledger: event {sequences.max()} of {capacity}")
    # Without the runs again; see `_copy`.
    return BitMap(sequences.to_array(), optimize=False)
