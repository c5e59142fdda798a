"""The ledger: each class of an event by its name; account, merging and order against naive oracles."""

from __future__ import annotations

import itertools
import pickle
import sys
import threading
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyroaring import BitMap

from harness.account.ledger import (
    EXAMPLES,
    MAX_CAPACITY,
    Account,
    Ledger,
    LedgerError,
    Losses,
    Order,
    Overtaken,
    Stopped,
    classify_losses,
    event_id,
    hex_digits,
    order_of_effects,
    sequence_of,
    sequences_of,
    set_of,
)

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)

PRODUCER = 0xC0FFEE_123456
CAPACITY = 12
numbers = st.integers(0, 2**48 - 1)


def int64s(*sequences: int) -> NDArray[np.int64]:
    return np.array(sequences, np.int64)


def ids(*sequences: int) -> list[str]:
    return [event_id(PRODUCER, sequence) for sequence in sequences]


def ledger() -> Ledger:
    return Ledger(PRODUCER, CAPACITY)


def account(**changed: int) -> Account:
    """An account of nothing, changed as the test wants."""
    names = ("attempted", "acknowledged", "unknown", "applied", "lost", "duplicated", "unexpected", "recovered")
    return Account(**(dict.fromkeys(names, 0) | changed))


def test_nothing_happened() -> None:
    """The account of no event is all zeros."""
    assert account() == ledger().account()


def test_applied() -> None:
    """An event that was acknowledged and had its effect is neither lost nor anything else."""
    book = ledger()
    book.attempt(int64s(0))
    book.acknowledge(int64s(0))
    book.apply(ids(0))

    assert account(attempted=1, acknowledged=1, applied=1) == book.account()


def test_lost() -> None:
    """Acknowledged without an effect is lost, and the ledger says which."""
    book = ledger()
    book.acknowledge(int64s(3, 4, 5))
    book.apply(ids(4))

    assert account(attempted=3, acknowledged=3, applied=1, lost=2) == book.account()
    assert book.lost().tolist() == [3, 5]


@pytest.mark.parametrize("note", ["attempt", "refuse"])
def test_refused_is_not_lost(note: str) -> None:
    """An event that was attempted and never acknowledged was not promised, so it is not lost."""
    book = ledger()
    getattr(book, note)(int64s(0))

    assert account(attempted=1) == book.account()


def test_an_effect_of_what_was_refused_is_unexpected() -> None:
    """An error is the word that an append has not happened: an effect of it is unexpected, though it was sent."""
    book = ledger()
    book.refuse(int64s(0, 1))
    book.apply(ids(1))

    assert account(attempted=2, applied=1, unexpected=1) == book.account()


def test_unknown_is_not_lost() -> None:
    """An append without an answer and without an effect was not promised, so it is not lost."""
    book = ledger()
    book.leave_unknown(int64s(0))

    assert account(attempted=1, unknown=1) == book.account()


def test_recovered() -> None:
    """An append without an answer whose effect was seen is recovered."""
    book = ledger()
    book.leave_unknown(int64s(2))
    book.apply(ids(2))

    assert account(attempted=1, unknown=1, applied=1, recovered=1) == book.account()


def test_duplicated() -> None:
    """Each effect beyond the first is a duplicate, in one batch or in several."""
    book = ledger()
    book.acknowledge(int64s(0, 1))
    book.apply(ids(0, 0, 1))
    book.apply(ids(0))

    assert account(attempted=2, acknowledged=2, applied=2, duplicated=2) == book.account()


def test_unexpected() -> None:
    """An effect of an event that was never attempted is unexpected."""
    book = ledger()
    book.apply(ids(7))

    assert account(applied=1, unexpected=1) == book.account()


@pytest.mark.parametrize(
    "text",
    [
        event_id(PRODUCER + 1, 0),
        event_id(PRODUCER, CAPACITY),
        event_id(PRODUCER, 0).upper(),
        str(uuid.UUID(int=5)),
        "",
        "nonsense",
        event_id(PRODUCER, 0)[:-1],
        event_id(PRODUCER, 0) + "0",
        event_id(PRODUCER, 0)[:-1] + "٣",
        event_id(PRODUCER, 0)[:-1] + "\x00",
        event_id(PRODUCER, 0).replace("-8000-", "-4000-", 1),
    ],
)
def test_foreign(text: str) -> None:
    """An effect of somebody else's event is unexpected, and counts as no effect of ours."""
    book = ledger()
    book.apply([text, text])

    assert account(unexpected=2) == book.account()


def test_effect_seen_before_its_acknowledgement() -> None:
    """An effect may be seen before the answer to its append: the order of notes says nothing."""
    book = ledger()
    book.apply(ids(0))
    book.acknowledge(int64s(0))

    assert account(attempted=1, acknowledged=1, applied=1) == book.account()


@pytest.mark.parametrize("sequence", [CAPACITY, -1, 2**32, 2**40])
@pytest.mark.parametrize("note", ["attempt", "acknowledge", "leave_unknown", "refuse"])
def test_an_event_beyond_the_capacity_is_refused(note: str, sequence: int) -> None:
    """Attempting more events than the ledger has room for is an error and not silence, and nothing is noted."""
    book = ledger()
    with pytest.raises(IndexError):
        getattr(book, note)(int64s(0, sequence))

    assert account() == book.account()


@pytest.mark.parametrize("capacity", [-1, MAX_CAPACITY + 1])
def test_a_capacity_that_cannot_be_is_refused(capacity: int) -> None:
    """A ledger has room for what a bitmap of 32 bits can hold, and not for fewer than no events."""
    with pytest.raises(ValueError, match="room for"):
        Ledger(PRODUCER, capacity)


Note = tuple[str, list[int]]

one_note = st.tuples(
    st.sampled_from(["attempt", "acknowledge", "leave_unknown", "refuse", "apply", "foreign"]),
    st.lists(st.integers(0, CAPACITY - 1), max_size=6),
)
notes = st.lists(one_note, max_size=12)


def noted(notes: Iterable[Note]) -> Ledger:
    """A ledger with these notes."""
    book = ledger()
    for name, sequences in notes:
        if name == "apply":
            book.apply(iter(ids(*sequences)))
        elif name == "foreign":
            book.apply(event_id(1, sequence) for sequence in sequences)
        else:
            getattr(book, name)(int64s(*sequences))
    return book


@unhurried
@given(notes)
def test_the_account_is_that_of_naive_sets(notes: list[Note]) -> None:
    """Whatever is noted, in any order and again, the account is what sets of events say."""
    book = noted(notes)
    of: dict[str, list[int]] = {
        name: [] for name in ("attempt", "acknowledge", "leave_unknown", "refuse", "apply", "foreign")
    }
    for name, sequences in notes:
        of[name] += sequences
    acknowledged, unknown, effects = set(of["acknowledge"]), set(of["leave_unknown"]), Counter(of["apply"])
    expected, applied = acknowledged | unknown | set(of["attempt"]), set(effects)

    assert book.account() == Account(
        attempted=len(expected | set(of["refuse"])),
        acknowledged=len(acknowledged),
        unknown=len(unknown),
        applied=len(applied),
        lost=len(acknowledged - applied),
        duplicated=effects.total() - len(applied),
        unexpected=len(applied - expected) + len(of["foreign"]),
        recovered=len(unknown & applied),
    )
    assert book.lost().tolist() == sorted(acknowledged - applied)
    assert book.applied == len(applied)


@unhurried
@given(st.lists(notes, max_size=4))
def test_the_ledger_of_all_is_the_merge_of_its_parts(parts: list[list[Note]]) -> None:
    """What several workers note, merged, is what one would have noted that does the work of all."""
    whole = ledger()
    for part in parts:
        whole.merge(noted(part))

    assert whole.encode() == noted(itertools.chain(*parts)).encode()


def merged(a: Ledger, b: Ledger) -> Ledger:
    """A new ledger of two, which stay as they are."""
    whole: Ledger = pickle.loads(pickle.dumps(a))  # noqa: S301 - our own bytes
    whole.merge(b)
    return whole


@unhurried
@given(notes, notes, notes)
@example([("attempt", [8])], [("attempt", [0, 2, 3, 4])], [("attempt", [1, 6])])  # as long in runs as one by one
def test_merging_is_commutative_and_associative(a: list[Note], b: list[Note], c: list[Note]) -> None:
    """In whatever order, and grouped however, the parts are merged: the whole is the same."""
    x, y, z = noted(a), noted(b), noted(c)
    encoded = merged(merged(x, y), z).encode()

    assert merged(x, merged(y, z)).encode() == encoded
    assert all(reduce(merged, order).encode() == encoded for order in itertools.permutations([x, y, z]))


def test_merging_leaves_the_other_as_it_was() -> None:
    """Only the ledger that takes another in is changed, and it stays its own from then on."""
    whole, part = ledger(), noted([("acknowledge", [1])])
    whole.merge(part)
    whole.acknowledge(int64s(2))

    assert part.lost().tolist() == [1]
    assert whole.lost().tolist() == [1, 2]


def test_an_effect_in_two_parts_is_a_duplicate() -> None:
    """Two workers that saw an effect of the same event each saw another effect."""
    parts = [noted([("acknowledge", [0]), ("apply", [0])]), noted([("apply", [0])])]

    assert account(attempted=1, acknowledged=1, applied=1, duplicated=1) == merged(*parts).account()


@pytest.mark.parametrize("other", [Ledger(PRODUCER + 1, CAPACITY), Ledger(PRODUCER, CAPACITY + 1)])
def test_ledgers_of_different_events_are_not_merged(other: Ledger) -> None:
    """What is foreign to one would be the other's own, so their sum would mean nothing."""
    with pytest.raises(LedgerError):
        ledger().merge(other)


@unhurried
@given(notes, notes)
def test_a_ledger_is_read_back(notes: list[Note], later: list[Note]) -> None:
    """A ledger that has travelled as bytes is the same, and takes notes as before."""
    book = Ledger.decode(noted(notes).encode())

    assert noted(notes).account() == book.account()
    book.merge(noted(later))
    assert noted([*notes, *later]).encode() == book.encode()


def test_the_same_notes_are_the_same_bytes() -> None:
    """How a set came about, one by one at random or in one piece, does not show in a message."""
    size = 200_000
    at_once, one_by_one = Ledger(PRODUCER, size), Ledger(PRODUCER, size)
    at_once.acknowledge(np.arange(size))
    for some in np.array_split(np.random.default_rng(1).permutation(size), 500):
        one_by_one.acknowledge(some)

    assert at_once.encode() == one_by_one.encode()
    assert len(at_once.encode()) < 300


def changed(**fields: object) -> bytes:
    """A ledger's bytes in which some fields are others."""
    content: dict[str, object] = msgspec.msgpack.decode(noted([("apply", [3, 3])]).encode())
    return msgspec.msgpack.encode(content | fields)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        changed(schema=2),
        changed(producer=-1),
        changed(capacity=3),
        changed(capacity=MAX_CAPACITY + 1),
        changed(effects=0),
        changed(foreign=-1),
        changed(acknowledged=b""),
        changed(acknowledged=b"nonsense"),
        changed(more=1),
    ],
)
def test_other_bytes_are_no_ledger(content: bytes) -> None:
    """Bytes that no ledger has written are refused, whatever is wrong with them."""
    with pytest.raises(LedgerError):
        Ledger.decode(content)


@unhurried
@given(numbers, numbers)
def test_an_event_id_carries_its_sequence(producer: int, sequence: int) -> None:
    """The sequence number of an event is read back from its ID, by its own producer and nobody else."""
    text = event_id(producer, sequence)

    assert sequence_of(producer, text) == sequence
    assert sequence_of(producer ^ 1, text) is None


@unhurried
@given(numbers, numbers)
def test_an_event_id_is_a_uuid_of_version_8(producer: int, sequence: int) -> None:
    """An event's ID is a UUID of version 8 and the RFC's variant, in its canonical text."""
    text = event_id(producer, sequence)
    parsed = uuid.UUID(text)

    assert (text, uuid.RFC_4122, 8) == (str(parsed), parsed.variant, parsed.version)


@unhurried
@given(st.text(max_size=40))
def test_other_text_is_no_event_id(text: str) -> None:
    """Text that is no event's ID has no sequence number."""
    assert sequence_of(0, text) is None


def nearly(producer: int) -> st.SearchStrategy[str]:
    """IDs of a producer, and what differs from one in a few characters, or is shorter, or longer."""

    def spoil(sequence: int, at: int, new: str, cut: int) -> str:
        text = event_id(producer, sequence)
        return text[:at] + new + text[at + cut :]

    return st.one_of(
        st.builds(event_id, st.just(producer), numbers),
        st.builds(spoil, numbers, st.integers(0, 35), st.text(max_size=3), st.integers(0, 3)),
        st.builds(spoil, numbers, st.integers(0, 35), st.sampled_from("0f-gF\x00\né\ud800😀"), st.just(1)),
        st.builds(event_id, st.sampled_from([producer ^ 1, 0]), numbers),
        st.text(max_size=40),
    )


@unhurried
@given(numbers.flatmap(lambda producer: st.tuples(st.just(producer), st.lists(nearly(producer), max_size=20))))
def test_a_batch_is_read_as_its_texts_are(case: tuple[int, list[str]]) -> None:
    """Reading many IDs as one array says of each text what reading it alone says."""
    producer, texts = case
    alone = [sequence_of(producer, text) for text in texts]

    assert [-1 if sequence is None else sequence for sequence in alone] == sequences_of(producer, texts).tolist()


def test_texts_of_the_right_length_only_together_are_no_ids() -> None:
    """One character short beside one too long: the rows of the array do not shift."""
    first, second = ids(1, 2)

    assert sequences_of(PRODUCER, [first[:-1], "0" + second, first]).tolist() == [-1, -1, 1]


@unhurried
@given(st.lists(numbers, max_size=20))
def test_hex_digits_are_those_of_format(sequences: list[int]) -> None:
    """Twelve hexadecimal digits for each number, as `format` writes them."""
    assert [f"{n:012x}".encode() for n in sequences] == [row.tobytes() for row in hex_digits(int64s(*sequences))]


def test_an_event_takes_half_a_byte() -> None:
    """A ledger of a million events takes half a million bytes at most, and no table of IDs beside them."""
    size = 1_000_000
    shuffled = np.random.default_rng(1).permutation(size)
    tracemalloc.start()
    try:
        book = Ledger(PRODUCER, size)
        for note in (book.attempt, book.acknowledge, book.leave_unknown):
            note(np.arange(size))
        for some in np.array_split(shuffled[: size // 20], 200):
            book.apply(ids(*some.tolist()))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # A bitmap's memory is not Python's own.
    bitmaps = [value for value in vars(book).values() if isinstance(value, BitMap)]
    assert len(bitmaps) == 5
    assert sum(map(sys.getsizeof, bitmaps)) < 0.52 * size
    assert held < 50_000


def read_back(book: Ledger) -> Ledger:
    """A ledger that has travelled."""
    return Ledger.decode(book.encode())


def merged_into_nothing(book: Ledger) -> Ledger:
    """A ledger of which all has come from another."""
    whole = Ledger(book.producer, book.capacity)
    whole.merge(book)
    return whole


def encoded(book: Ledger) -> Ledger:
    """A ledger of which a copy has travelled."""
    book.encode()
    return book


@pytest.mark.parametrize("way", [read_back, merged_into_nothing, encoded])
def test_noting_goes_on_in_as_little_memory(way: Callable[[Ledger], Ledger]) -> None:
    """Noting goes on at random in a ledger that came from another, or was sent, and an event still takes a bit."""
    book = Ledger(PRODUCER, 65_536)
    book.acknowledge(np.arange(1_000))
    book = way(book)
    for some in np.array_split(np.random.default_rng(1).permutation(np.arange(1_000, 65_536, 2)), 100):
        book.acknowledge(some)

    assert sys.getsizeof(book._acknowledged) < 9_000


def stopped(*sequences: int) -> Stopped:
    return Stopped(count=len(sequences), examples=sequences)


def classified(lost: set[int], **evidence: set[int] | None) -> Losses:
    """What is said of lost events, of which there is the evidence that they are in the stream and so on."""
    whole = dict.fromkeys(("in_stream", "delivered", "pending")) | evidence
    return classify_losses(BitMap(lost), **{k: None if v is None else BitMap(v) for k, v in whole.items()})


def test_not_in_stream() -> None:
    """A lost event whose entry is not in the stream stopped there, whatever else is said of it."""
    found = classified({1, 2}, in_stream={1, 7}, delivered={1, 2, 7}, pending={2})

    assert Losses(not_in_stream=stopped(2), without_effect=stopped(1)) == found


def test_never_delivered() -> None:
    """A lost event that is in the stream beyond the group's last-delivered ID was never delivered."""
    found = classified({1, 2}, in_stream={1, 2}, delivered={0}, pending=set())

    assert Losses(never_delivered=stopped(1, 2)) == found


def test_pending() -> None:
    """A lost event that was delivered and that the consumer has not acknowledged is pending."""
    found = classified({1}, in_stream={1, 2}, delivered={1, 2}, pending={1, 2})

    assert Losses(pending=stopped(1)) == found


def test_without_effect() -> None:
    """A lost event that the consumer has acknowledged stopped at the last step, or its effect was not seen."""
    found = classified({1}, in_stream={1}, delivered={1}, pending=set())

    assert Losses(without_effect=stopped(1)) == found


def test_pending_is_delivered() -> None:
    """What was delivered between two readings of the group is pending, and not never delivered."""
    found = classified({5}, in_stream={5}, delivered=set(), pending={5})

    assert Losses(pending=stopped(5)) == found


def test_without_a_group() -> None:
    """Where there is no group, it is known what is not in the stream, and nothing of the rest."""
    found = classified({1, 2}, in_stream={1})

    assert Losses(not_in_stream=stopped(2), unclassed=stopped(1)) == found


def test_without_pending_entries() -> None:
    """Where pending entries are not known, what was delivered is unclassed."""
    found = classified({1, 2}, in_stream={1, 2}, delivered={1})

    assert Losses(never_delivered=stopped(2), unclassed=stopped(1)) == found


def test_without_any_evidence() -> None:
    """Where nothing is known of the stream either, every loss is unclassed."""
    assert Losses(unclassed=stopped(1, 2)) == classified({1, 2}, delivered={1}, pending=set())


def test_nothing_lost_is_nothing_classed() -> None:
    """Without a loss each class is empty, and each is counted."""
    counts = classified(set(), in_stream={1}, delivered={1}, pending={1}).counts

    assert dict.fromkeys(Losses.__struct_fields__, 0) == counts


def test_examples_are_the_lowest() -> None:
    """However many were lost in one place, the lowest few stand for them."""
    found = classified(set(range(100, 200))).unclassed

    assert Stopped(count=100, examples=tuple(range(100, 100 + EXAMPLES))) == found


def test_losses_of_a_ledger() -> None:
    """A ledger classes what it has as lost, and nothing else."""
    book = ledger()
    book.acknowledge(int64s(0, 1, 2))
    book.leave_unknown(int64s(3))
    book.apply(ids(1))
    found = book.losses(in_stream=set_of(int64s(0, 1, 3)), delivered=set_of(int64s(0, 1, 3)), pending=BitMap())

    assert Losses(not_in_stream=stopped(2), without_effect=stopped(0)) == found


def test_a_set_holds_numbers_of_32_bits() -> None:
    """A number that a set cannot hold is an error, and not another number."""
    assert list(set_of(int64s(2**32 - 1, 0, 0))) == [0, 2**32 - 1]
    for sequence in (-1, 2**32):
        with pytest.raises(IndexError):
            set_of(int64s(sequence))


some_events = st.sets(st.integers(0, 40))


@unhurried
@given(some_events, st.none() | some_events, st.none() | some_events, st.none() | some_events)
def test_each_loss_is_in_the_class_that_naive_questions_say(
    lost: set[int], in_stream: set[int] | None, delivered: set[int] | None, pending: set[int] | None
) -> None:
    """Whatever the evidence, each loss is in exactly one class: that of the first question it fails."""

    def stops_at(event: int) -> str:
        if in_stream is None:
            return "unclassed"
        if event not in in_stream:
            return "not_in_stream"
        if delivered is None:
            return "unclassed"
        if event not in delivered and (pending is None or event not in pending):
            return "never_delivered"
        if pending is None:
            return "unclassed"
        return "pending" if event in pending else "without_effect"

    found = classified(lost, in_stream=in_stream, delivered=delivered, pending=pending)
    for name in Losses.__struct_fields__:
        events = sorted(event for event in lost if stops_at(event) == name)
        assert Stopped(count=len(events), examples=tuple(events[:EXAMPLES])) == getattr(found, name)
    assert len(lost) == sum(found.counts.values())


def order(seen: list[int], entities: str, places: list[int] | None = None) -> Order:
    """The order of effects of events whose entities are letters; without places, they stand as numbered."""
    entity_numbers = np.frombuffer(entities.encode(), np.uint8).astype(np.int64)
    stands = np.arange(len(entities)) if places is None else int64s(*places)
    return order_of_effects(int64s(*seen), entities=entity_numbers, places=stands)


def test_in_order() -> None:
    """Effects in the order of the stream are in the order of each entity."""
    expected = Order(entities=2, disordered_entities=0, effects=4, disordered=0, unplaced=0)
    assert expected == order([0, 1, 2, 3], "aaba")


def test_entities_have_no_order_among_themselves() -> None:
    """An effect after that of a later event of another entity is no disorder."""
    expected = Order(entities=2, disordered_entities=0, effects=3, disordered=0, unplaced=0)
    assert expected == order([2, 0, 1], "aab")


def test_overtaken() -> None:
    """An effect seen after that of a later event of its entity is disordered, and it is said which came first."""
    overtaken = Overtaken(sequence=1, by=3)
    expected = Order(entities=2, disordered_entities=1, effects=4, disordered=1, unplaced=0, examples=(overtaken,))
    assert expected == order([0, 3, 2, 1], "aaba")


def test_a_repeated_effect_is_no_disorder() -> None:
    """An effect that is seen again after a later event's is a duplicate, and the order was kept."""
    expected = Order(entities=1, disordered_entities=0, effects=2, disordered=0, unplaced=0)
    assert expected == order([0, 1, 0], "aa")


def test_the_stream_and_not_the_number_is_the_order() -> None:
    """An event with a higher number may stand before another in the stream, and its effect comes first then."""
    expected = Order(entities=1, disordered_entities=0, effects=2, disordered=0, unplaced=0)
    assert expected == order([1, 0], "aa", places=[9, 3])


def test_an_event_without_a_place_is_not_judged() -> None:
    """Of an event whose place is not known nobody can say whether its effect came in order."""
    expected = Order(entities=1, disordered_entities=0, effects=1, disordered=0, unplaced=1)
    assert expected == order([1, 0], "aa", places=[0, -1])


def test_no_effects_have_no_disorder() -> None:
    """Where no effect was seen nothing is counted."""
    assert Order(entities=0, disordered_entities=0, effects=0, disordered=0, unplaced=0) == order([], "ab")


def test_examples_of_disorder_are_the_first_seen() -> None:
    """Of many disordered effects, those that were seen first are shown, whatever their entities."""
    # a: 0, 2, 4 ... and b: 1, 3, 5 ...; the last of each first, then all others.
    found = order([26, 27, *range(26)], "ab" * 14)

    assert found.disordered == 26
    assert tuple(Overtaken(sequence=n, by=27 if n % 2 else 26) for n in range(EXAMPLES)) == found.examples


@pytest.mark.parametrize("event", [-1, 2])
def test_an_effect_of_an_event_without_an_entity_is_refused(event: int) -> None:
    """An effect of an event that nothing is known of is an error of the caller."""
    with pytest.raises(IndexError):
        order([event], "ab")


def test_an_event_has_an_entity_and_a_place() -> None:
    """Entities and places are of the same events."""
    with pytest.raises(ValueError, match="2 events have an entity, and 1 a place"):
        order([0], "ab", places=[0])


def naive_order(seen: list[int], entities: list[int], places: list[int]) -> Order:
    """Each first effect set against every one before it."""
    judged = [event for event in dict.fromkeys(seen) if places[event] >= 0]
    overtaken = []
    for at, event in enumerate(judged):
        later = [e for e in judged[:at] if entities[e] == entities[event] and places[e] > places[event]]
        if later:
            # The latest of them; where several stand in one place, the one that was seen last.
            furthest = max(places[e] for e in later)
            overtaken.append(Overtaken(sequence=event, by=[e for e in later if places[e] == furthest][-1]))
    return Order(
        entities=len({entities[event] for event in judged}),
        disordered_entities=len({entities[each.sequence] for each in overtaken}),
        effects=len(judged),
        disordered=len(overtaken),
        unplaced=len(set(seen)) - len(judged),
        examples=tuple(overtaken[:EXAMPLES]),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """Effects seen, and for each event its entity and its place."""
    size = draw(st.integers(1, 30))
    entities = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    places = draw(st.lists(st.integers(-2, 40), min_size=size, max_size=size))
    return draw(st.lists(st.integers(0, size - 1), max_size=60)), entities, places


@unhurried
@given(histories())
def test_order_is_that_of_the_naive_oracle(history: tuple[list[int], list[int], list[int]]) -> None:
    """Whatever was seen, the counts and examples are those of comparing each effect with all before it."""
    seen, entities, places = history
    found = order_of_effects(int64s(*seen), entities=int64s(*entities), places=int64s(*places))

    assert naive_order(seen, entities, places) == found


@pytest.fixture
def hasty_switching() -> Iterator[None]:
    """Threads that take turns as often as the interpreter allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(*jobs: Callable[[], None]) -> None:
    """Do some jobs, each in a thread of its own, all beginning at the same moment."""
    together = threading.Barrier(len(jobs))

    def begin(job: Callable[[], None]) -> None:
        together.wait()
        job()

    threads = [threading.Thread(target=begin, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("hasty_switching")
def test_notes_of_two_threads_on_the_same_events_are_all_kept() -> None:
    """Two threads that note different things of the same events at once: neither note is lost."""
    size = 400_000
    everything = np.arange(size)
    for _ in range(12):
        book = Ledger(PRODUCER, size)
        at_once(partial(book.acknowledge, everything), partial(book.leave_unknown, everything))

        assert book.account() == account(attempted=size, acknowledged=size, unknown=size, lost=size)


@pytest.mark.usefixtures("hasty_switching")
def test_an_account_is_of_one_moment() -> None:
    """An account that is made while notes are made shows no effect whose event was not attempted before."""
    size = 20_000
    book = Ledger(PRODUCER, size)
    batches = np.arange(size).reshape(-1, 10)
    seen: list[Account] = []

    def follow() -> None:
        # Bounded: as many accounts as batches.
        seen.extend(book.account() for _ in batches)

    def note() -> None:
        for batch in batches:
            book.acknowledge(batch)
            book.apply(ids(*batch.tolist()))

    at_once(note, follow)

    assert {(0, 0)} == {(each.unexpected, each.duplicated) for each in seen}
    assert account(attempted=size, acknowledged=size, applied=size) == book.account()
