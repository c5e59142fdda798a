"""The ledger: each class of an event by its name, and the account against naive sets."""

from __future__ import annotations

import sys
import threading
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.ledger import Account, Ledger, event_id, hex_digits, sequence_of

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


def test_refused_is_not_lost() -> None:
    """An event that was attempted and never acknowledged was not promised, so it is not lost."""
    book = ledger()
    book.attempt(int64s(0))

    assert account(attempted=1) == book.account()


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


def test_an_event_beyond_the_capacity_is_refused() -> None:
    """Attempting more events than the ledger has room for is an error and not silence."""
    with pytest.raises(IndexError):
        ledger().attempt(int64s(CAPACITY))


notes = st.lists(
    st.tuples(
        st.sampled_from(["attempt", "acknowledge", "leave_unknown", "apply", "foreign"]),
        st.lists(st.integers(0, CAPACITY - 1), max_size=6),
    ),
    max_size=12,
)


@unhurried
@given(notes)
def test_the_account_is_that_of_naive_sets(notes: list[tuple[str, list[int]]]) -> None:
    """Whatever is noted, in any order and again, the account is what sets of events say."""
    book = ledger()
    noted: dict[str, set[int]] = {name: set() for name in ("attempt", "acknowledge", "leave_unknown")}
    effects: Counter[int] = Counter()
    foreign = 0
    for name, sequences in notes:
        if name == "apply":
            book.apply(iter(ids(*sequences)))
            effects.update(sequences)
        elif name == "foreign":
            book.apply(event_id(1, sequence) for sequence in sequences)
            foreign += len(sequences)
        else:
            getattr(book, name)(int64s(*sequences))
            noted[name] |= set(sequences)
    attempted = noted["attempt"] | noted["acknowledge"] | noted["leave_unknown"]
    applied = set(effects)

    assert book.account() == Account(
        attempted=len(attempted),
        acknowledged=len(noted["acknowledge"]),
        unknown=len(noted["leave_unknown"]),
        applied=len(applied),
        lost=len(noted["acknowledge"] - applied),
        duplicated=effects.total() - len(applied),
        unexpected=len(applied - attempted) + foreign,
        recovered=len(noted["leave_unknown"] & applied),
    )
    assert set(book.lost().tolist()) == noted["acknowledge"] - applied
    assert book.applied == len(applied)


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


@unhurried
@given(st.lists(numbers, max_size=20))
def test_hex_digits_are_those_of_format(sequences: list[int]) -> None:
    """Twelve hexadecimal digits for each number, as `format` writes them."""
    assert [f"{n:012x}".encode() for n in sequences] == [row.tobytes() for row in hex_digits(int64s(*sequences))]


def test_an_event_takes_one_byte() -> None:
    """A ledger of a million events takes a million bytes, and no table of IDs beside them."""
    tracemalloc.start()
    try:
        book = Ledger(PRODUCER, 1_000_000)
        book.acknowledge(np.arange(1_000_000))
        book.apply(ids(*range(1000)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 1_000_000 <= held < 1_050_000


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
    # Without the lock about one round in three loses a note.
    for _ in range(12):
        book = Ledger(PRODUCER, size)
        at_once(partial(book.acknowledge, everything), partial(book.leave_unknown, everything))

        assert book.account() == account(attempted=size, acknowledged=size, unknown=size, lost=size)
