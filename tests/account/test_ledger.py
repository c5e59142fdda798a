"""The ledger: each class of an event by its name; the account against naive sets."""

from __future__ import annotations

import sys
import threading
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyroaring import BitMap

from harness.account.event_ids import event_id
from harness.account.ledger import MAX_CAPACITY, Account, Ledger, account_of, set_of
from harness.account.losses import Losses, Stopped, classify_losses

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)

PRODUCER = 0xC0FFEE_123456
CAPACITY = 12


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


def test_effects_are_answered_by_their_numbers() -> None:
    """Who notes effects learns which events of this producer they are of, in the order in which they were seen."""
    foreign = event_id(PRODUCER + 1, 3)

    assert ledger().apply([*ids(5, 0), foreign, *ids(5, CAPACITY)]).tolist() == [5, 0, 5]


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


def test_an_account_is_made_of_sets_alone() -> None:
    """Without a ledger, sets and counts that were kept say what became of the events."""
    found = account_of(
        acknowledged=BitMap([0, 1, 2]),
        unknown=BitMap([3]),
        refused=BitMap([4]),
        applied=BitMap([0, 3, 4]),
        effects=4,
    )

    assert found == account(
        attempted=5, acknowledged=3, unknown=1, applied=3, lost=2, duplicated=1, unexpected=1, recovered=1
    )


Note = tuple[str, list[int]]

one_note = st.tuples(
    st.sampled_from(["attempt", "acknowledge", "leave_unknown", "refuse", "apply", "foreign"]),
    st.lists(st.integers(0, CAPACITY - 1), max_size=6),
)
notes = st.lists(one_note, max_size=12)


def note(book: Ledger, notes: Iterable[Note]) -> Ledger:
    """The same ledger, with these notes."""
    for name, sequences in notes:
        if name == "apply":
            book.apply(ids(*sequences))
        elif name == "foreign":
            book.apply([event_id(1, sequence) for sequence in sequences])
        else:
            getattr(book, name)(int64s(*sequences))
    return book


def noted(notes: Iterable[Note]) -> Ledger:
    """A ledger with these notes."""
    return note(ledger(), notes)


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
@given(notes, notes)
def test_what_is_noted_by_a_moment_has_the_account_of_it(before: list[Note], later: list[Note]) -> None:
    """The sets of one moment have the account of that moment, whatever is noted later."""
    book = noted(before)
    kept, account = book.noted(), book.account()
    note(book, later)

    of = msgspec.structs.asdict(kept)
    del of["foreign_examples"]
    assert account_of(**of) == account
    assert book.account() == noted([*before, *later]).account()


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
    assert len(bitmaps) == 6
    assert sum(map(sys.getsizeof, bitmaps)) < 0.52 * size
    assert held < 50_000


def test_noting_goes_on_in_as_little_memory() -> None:
    """Noting goes on at random in a ledger of which a copy was made, and an event still takes a bit."""
    book = Ledger(PRODUCER, 65_536)
    book.acknowledge(np.arange(1_000))
    book.noted()
    for some in np.array_split(np.random.default_rng(1).permutation(np.arange(1_000, 65_536, 2)), 100):
        book.acknowledge(some)

    assert sys.getsizeof(book._acknowledged) < 9_000


def test_a_copy_is_packed() -> None:
    """What is noted one by one, at random, takes a few bytes for each long run in a copy."""
    size = 200_000
    book = Ledger(PRODUCER, size)
    for some in np.array_split(np.random.default_rng(1).permutation(size), 500):
        book.acknowledge(some)

    assert len(book.noted().acknowledged.serialize()) < 300


def test_losses_of_a_ledger() -> None:
    """A ledger classes what it has as lost, and nothing else."""
    book = ledger()
    book.acknowledge(int64s(0, 1, 2))
    book.leave_unknown(int64s(3))
    book.apply(ids(1))
    noted, there = book.noted(), set_of(int64s(0, 1, 3))
    found = classify_losses(noted.acknowledged - noted.applied, in_stream=there, delivered=there, pending=BitMap())

    assert (
        Losses(not_in_stream=Stopped(count=1, examples=(2,)), not_pending=Stopped(count=1, examples=(0,))) == found
    )


def test_a_set_holds_numbers_of_32_bits() -> None:
    """A number that a set cannot hold is an error, and not another number."""
    assert list(set_of(int64s(2**32 - 1, 0, 0))) == [0, 2**32 - 1]
    for sequence in (-1, 2**32):
        with pytest.raises(IndexError):
            set_of(int64s(sequence))


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
