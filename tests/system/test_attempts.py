"""The log of attempts as it is read: in pieces, while it grows, and in next to no memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.account.event_ids import event_id
from harness.system.sink.attempts import Attempt, Attempts
from harness.system.sink.log import AttemptLog, Known


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that is not there yet."""
    return tmp_path / "attempts.log"


def test_of_no_log_nothing_is_told(log: Path) -> None:
    """The sink may start later than whoever reads."""
    attempts = Attempts(log)
    assert (attempts.poll(), attempts.effects(0), attempts.attempts_of("a")) == (0, [], [])
    log.write_bytes(b"1 A a\n")
    assert (attempts.poll(), attempts.effects(0)) == (1, ["a"])


def test_what_has_come_since_the_last_time(log: Path) -> None:
    """Each attempt is counted once; each effect is told in its place, however often it is asked for."""
    attempts = Attempts(log)
    log.write_bytes(b"1 A a key%20A\n2 R b\n3 D a\n")
    assert attempts.poll() == 3
    assert attempts.effects(0) == ["a"]
    with log.open("ab") as file:
        file.write(b"4 P p\n5 A b\n6 A c\n")
    assert attempts.effects(1) == ["b", "c"]
    assert attempts.effects(3) == []
    assert attempts.effects(0) == ["a", "b", "c"]
    assert attempts.effects(2) == ["c"]
    assert (attempts.poll(), attempts.poll()) == (3, 0)
    assert attempts.counts == {"A": 3, "D": 1, "R": 1, "P": 1}


def test_a_line_without_an_end_is_not_there(log: Path) -> None:
    """What is being written, or was torn off by a kill, is no attempt until it is whole."""
    attempts = Attempts(log)
    log.write_bytes(b"1 A a\n2 A")
    assert (attempts.poll(), attempts.effects(0)) == (1, ["a"])
    assert (attempts.poll(), attempts.effects(1)) == (0, [])
    with log.open("ab") as file:
        file.write(b" b\n")
    assert (attempts.poll(), attempts.effects(1)) == (1, ["b"])


def test_a_sink_that_starts_cuts_off_what_was_torn(log: Path) -> None:
    """Its next line begins at a line's begin; that no answer went out for the torn one is why it may go."""
    log.write_bytes(b"1 A a\n2 A b")
    attempts = Attempts(log)
    attempts.poll()
    again = AttemptLog(log, 1_000)
    assert again.append(3, ["A c"])
    again.close()
    assert attempts.poll() == 1
    assert attempts.effects(0) == ["a", "c"]


def test_the_attempts_at_one_event(log: Path) -> None:
    """All of them with their times, and none of an event whose ID begins alike, or is a pattern."""
    log.write_bytes(b"1 R a.c\n2 A a.c\n3 A a.cc\n4 A abc\n5 D a.c\n6 A a.c key\n7 P a.c\n8 F -\n")
    expected = [Attempt(1, "R"), Attempt(2, "A"), Attempt(5, "D"), Attempt(6, "A"), Attempt(7, "P")]
    assert Attempts(log).attempts_of("a.c") == expected
    assert Attempts(log).attempts_of("-") == []


def test_the_bound_is_told(log: Path) -> None:
    """A full log says so at its end, and that is no attempt."""
    full = AttemptLog(log, 20)
    assert full.append(1, ["A a"])
    assert not full.append(2, ["A " + "b" * 20])
    assert not full.append(3, ["A c"])
    full.close()
    attempts = Attempts(log)
    assert attempts.poll() == 1
    assert attempts.is_full
    assert log.read_bytes() == b"1 A a\n2 F -\n"


_lines = st.lists(
    st.tuples(st.sampled_from("ADRP"), st.text("abA .-é", min_size=1).map(lambda x: x.replace(" ", "_")))
)


@given(_lines, st.lists(st.integers(0, 40), max_size=5), st.integers(1, 40))
def test_it_agrees_with_a_whole_look(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]], afters: list[int], piece: int
) -> None:
    """However the log grows and whatever was asked before, the answers are those of one who reads all of it."""
    log = tmp_path_factory.mktemp("log") / "attempts.log"
    content = "".join(
        f"{number} {outcome} {event_id}\n" for number, (outcome, event_id) in enumerate(lines)
    ).encode()
    attempts = Attempts(log)
    for end in range(0, len(content) + piece, piece):
        log.write_bytes(content[:end])
        whole = content[:end].decode("utf-8", "ignore").split("\n")[:-1]
        effects = [line.split()[2] for line in whole if line.split()[1] == "A"]
        for after in [*afters, len(effects)]:
            assert attempts.effects(after) == effects[after:]
        attempts.poll()
        assert sum(attempts.counts.values()) == len(whole)
    assert attempts.counts == {name: [line[0] for line in lines].count(name) for name in "ADRP"}


def test_a_million_attempts_take_next_to_no_memory(log: Path) -> None:
    """What is kept after a million attempts are read: well below a byte each, where 40 are allowed."""
    with log.open("w") as file:
        for begin in range(0, 1_000_000, 10_000):
            file.write("".join([f"1 A {event_id(7, begin + number)}\n" for number in range(10_000)]))
    attempts = Attempts(log)
    assert attempts.poll() == 1_000_000
    count = 0
    while page := attempts.effects(count):
        assert page[0] == event_id(7, count)
        assert len(page) < 20_000
        count += len(page)
    assert count == 1_000_000
    assert _bytes_of(vars(attempts).values()) < 10_000


def _bytes_of(values: Iterable[object]) -> int:
    return sum(
        sys.getsizeof(value)
        + (_bytes_of([*value, *value.values()]) if isinstance(value, dict) else 0)
        + (_bytes_of(value) if isinstance(value, list | tuple) else 0)
        for value in values
    )


def test_what_the_sink_knows_of_keys_takes_little_memory() -> None:
    """What was added is known, and what was forgotten is not, in at most 16 bytes each."""
    known = Known()
    ids = [event_id(7, number) for number in range(200_000)]
    assert all(known.add("key", ids))
    assert _bytes_of(vars(known).values()) < 16 * len(ids)
    assert not any(known.add("key", ids[:1_000]))
    known.forget("key", ids[7:8])
    assert known.add("key", [*ids[6:9], *ids[6:9]]) == [False, True, False, False, False, False]
    assert known.add("other", ids[7:8]) == [True]
