"""Commands by the stream that they go to, and a schedule with a pause in it."""

from __future__ import annotations

import hiredis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.account.event_ids import event_id
from harness.load.by_stream import ByStream
from harness.load.pacing import Silence, Steps, constant
from harness.load.workload import StampedCommand, placeholder


def sources(count: int) -> list[StampedCommand]:
    """The commands of so many streams."""
    return [StampedCommand("append", ["XADD", f"s{at}", "*", "id", placeholder(7)], 7) for at in range(count)]


def told(packed: bytes) -> list[tuple[str, str]]:
    """Stream and event of each command."""
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(packed)
    found = []
    while (command := reader.gets()) is not False:
        found.append((command[1], command[4]))
    return found


@given(
    streams=st.integers(2, 4),
    from_number=st.integers(0, 20),
    more=st.integers(0, 20),
    first=st.integers(0, 30),
    count=st.integers(1, 30),
    step=st.integers(1, 3),
)
def test_each_number_goes_to_its_stream(
    streams: int, from_number: int, more: int, first: int, count: int, step: int
) -> None:
    """In turn at first, then to the first one only, then to the others only; however they are packed."""
    source = ByStream(sources(streams), from_number=from_number, until_number=from_number + more)
    found = told(source.pack(first, count, step))
    numbers = range(first, first + count * step, step)
    assert [identity for _, identity in found] == [event_id(7, number) for number in numbers]
    for number, (stream, _) in zip(numbers, found, strict=True):
        if number < from_number:
            assert stream == f"s{number % streams}"
        else:
            assert (stream == "s0") == (number < from_number + more)
    assert b"".join(source.pack(number, 1) for number in numbers) == source.pack(first, count, step)


def test_one_stream_has_no_others() -> None:
    """Of a single stream no other one can have news."""
    with pytest.raises(ValueError, match="one stream has no others"):
        ByStream(sources(1), from_number=0, until_number=1)


def test_a_schedule_with_a_pause() -> None:
    """What comes after the pause is later by its length; nothing is due in it."""
    whole = Steps([constant(10, 1), Silence(2.5), constant(10, 1)])
    assert (whole.total, whole.duration_ns) == (20, 4_500_000_000)
    due_s = whole.due_ns(0, 20) / 1e9
    expected = [*(i / 10 for i in range(10)), *(3.5 + i / 10 for i in range(10))]
    assert np.allclose(due_s, expected)
    assert np.array_equal(np.concatenate([whole.due_ns(i, 1) for i in range(20)]), whole.due_ns(0, 20))
