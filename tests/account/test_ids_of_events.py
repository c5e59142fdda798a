"""IDs of events: read as a batch as they are one by one."""

from __future__ import annotations

import re
import uuid

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.account.event_ids import event_id, hex_digits, sequences_of

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)

PRODUCER = 0xC0FFEE_123456
numbers = st.integers(0, 2**48 - 1)


def sequence_of(producer: int, text: str) -> int | None:
    """The sequence number in an `event_id` of this producer, or None for any other text; naively, one by one."""
    match = re.fullmatch(r"([0-9a-f]{8})-([0-9a-f]{4})-8000-8000-([0-9a-f]{12})", text)
    if match is None or int(match[1] + match[2], 16) != producer:
        return None
    return int(match[3], 16)


@unhurried
@given(numbers, numbers)
def test_an_event_id_carries_its_sequence(producer: int, sequence: int) -> None:
    """The sequence number of an event is read back from its ID, by its own producer and nobody else."""
    text = event_id(producer, sequence)

    assert sequences_of(producer, [text]).tolist() == [sequence]
    assert sequences_of(producer ^ 1, [text]).tolist() == [-1]


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
    assert sequences_of(0, [text]).tolist() == [-1]


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
    first, second = (event_id(PRODUCER, sequence) for sequence in (1, 2))

    assert sequences_of(PRODUCER, [first[:-1], "0" + second, first]).tolist() == [-1, -1, 1]


@unhurried
@given(st.lists(numbers, max_size=20))
def test_hex_digits_are_those_of_format(sequences: list[int]) -> None:
    """Twelve hexadecimal digits for each number, as `format` writes them."""
    assert [f"{n:012x}".encode() for n in sequences] == [
        row.tobytes() for row in hex_digits(np.array(sequences, np.int64))
    ]
