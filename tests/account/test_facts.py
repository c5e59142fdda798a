"""What consumers say of themselves: read line by line, whatever else stands in the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.account.event_ids import event_id
from harness.account.facts import FACTS, LONGEST_BYTES, Said, lines_of, read_facts

PRODUCER, CAPACITY = 7, 100


def line(fact: str, sequence: int = 0, **more: object) -> bytes:
    return json.dumps({"fact": fact, "event_id": event_id(PRODUCER, sequence), **more}).encode() + b"\n"


def read(*files: bytes, kills: int = 0) -> tuple[Said, list[int]]:
    """What some files say, and what was parked."""
    said, parked = read_facts(
        [file.splitlines(keepends=True) for file in files], producer=PRODUCER, capacity=CAPACITY, kills=kills
    )
    return said, list(parked)


def test_each_fact_is_counted() -> None:
    """A line counts by its fact; other members are not read; of parked ones it is known which."""
    first = b"".join(map(line, FACTS)) + line("parked", 5, reason={"status": 422}) + b"\n"
    said, parked = read(first, line("done", 5) + line("parked", 5))
    assert said == Said(counts={"received": 1, "done": 2, "failed": 1, "parked": 3, "rejected": 1})
    assert parked == [0, 5]


def test_no_file_says_nothing(tmp_path: Path) -> None:
    """Who writes no file has said nothing, and that is no fault."""
    assert list(lines_of(tmp_path / "missing.jsonl")) == []
    assert read() == (Said(), [])


def test_events_of_others() -> None:
    """An event that is not the producer's is counted as such, and not parked."""
    other = json.dumps({"fact": "parked", "event_id": "poison-1"}).encode() + b"\n"
    said, parked = read(other + line("parked", CAPACITY) + line("parked", 3))
    assert (said.counts, said.foreign, parked) == ({"parked": 3}, 2, [3])


BAD = {
    "no JSON": b"done 17\n",
    "no object": b'["done"]\n',
    "another fact": b'{"fact": "handled", "event_id": "x"}\n',
    "no event": b'{"fact": "done"}\n',
    "no text": b"\xff\xfe\x00\n",
    "too deep": b"[" * 5_000 + b"\n",
    "half a line": b'{"fact": "done", "even\n',
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_line_is_counted_and_shown(bad: bytes) -> None:
    """It costs no other line, kill or not: what has its line feed was not cut."""
    said, parked = read(line("done", 1) + bad + line("parked", 2), kills=9)
    assert (said.counts, said.bad, said.torn, parked) == ({"done": 1, "parked": 1}, 1, 0, [2])
    [shown] = said.examples
    assert shown.startswith("line 2: ")
    assert len(shown) < 100


def test_only_the_first_bad_lines_are_shown() -> None:
    """A file that is something else fills no report."""
    said, _ = read(b"what\n" * 10_000)
    assert (said.bad, said.examples) == (10_000, ("line 1: what", "line 2: what", "line 3: what"))


TORN = line("parked", 9)[:-20]


def test_half_a_line_is_forgiven_after_a_kill() -> None:
    """At the end of the file, or before what the next process wrote: it is no bad line, if somebody was killed."""
    whole = line("done", 1)
    for file, done in ((whole + TORN, 1), (whole + TORN + line("done", 2), 2), (TORN + line("done", 2), 1)):
        said, parked = read(file, kills=1)
        assert (said.counts, said.torn, said.bad, parked) == ({"done": done}, 1, 0, [])
        said, parked = read(file)
        assert (said.counts, said.torn, said.bad, parked) == ({"done": done}, 0, 1, [])


def test_each_kill_forgives_one() -> None:
    """Three lines are cut, and two processes were killed."""
    said, _ = read((TORN + line("done", 1)) * 2 + TORN, kills=2)
    assert (said.counts, said.torn, said.bad) == ({"done": 2}, 2, 1)


def test_a_whole_line_needs_no_line_feed() -> None:
    """What was written to its last brace is there."""
    said, parked = read(line("parked", 4)[:-1])
    assert (said.counts, said.torn, said.bad, parked) == ({"parked": 1}, 0, 0, [4])


def test_a_line_without_an_end(tmp_path: Path) -> None:
    """It is read in pieces, so that it costs no memory; the lines around it stand."""
    path = tmp_path / "facts.jsonl"
    path.write_bytes(line("done", 1) + b"x" * (3 * LONGEST_BYTES) + b"\n" + line("parked", 2))
    assert max(map(len, lines_of(path))) == LONGEST_BYTES
    said, parked = read_facts([lines_of(path)], producer=PRODUCER, capacity=CAPACITY, kills=0)
    assert (said.counts, list(parked)) == ({"done": 1, "parked": 1}, [2])
    assert said.bad >= 1


@given(st.lists(st.sampled_from([*FACTS, "bad"]), max_size=40), st.integers(1, 3))
def test_pages_do_not_matter(kinds: list[str], page: int) -> None:
    """Whatever stands beside a line, it is counted by what it says."""
    whole = b"".join(b"what\n" if kind == "bad" else line(kind) for kind in kinds)
    said, _ = read(*[whole] * page)
    assert said.bad == page * kinds.count("bad")
    assert said.counts == {fact: page * kinds.count(fact) for fact in FACTS if fact in kinds}
