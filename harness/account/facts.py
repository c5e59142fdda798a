"""What consumers say of themselves: a file of JSON lines, that they may write and need not.

    {"fact": "received", "event_id": "0c8e...-000000000007"}
    {"fact": "parked", "event_id": "0c8e...-000000000007", "reason": "refused ten times"}

A line is one object, written with one write and its line feed; other members are not read. The facts are:

    received   it has the event           done       the effect was had
    failed     it was not, this time      parked     the event was put aside, where somebody can look at it
    rejected   it will not be handled, and was put nowhere

Nothing of this is evidence for a consumer: what was done is seen by its effect. Parked events alone are looked up
here, since an event that was put aside is not lost, and no effect tells of it.

A process that is killed may leave half a line, and the one after it goes on in the same line; so, for each kill,
one such line is forgiven. Every other line that is none of these is bad: it is counted, and the first are shown.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np
from pyroaring import AbstractBitMap, BitMap

from harness.account.event_ids import sequences_of

Fact = Literal["received", "done", "failed", "parked", "rejected"]
FACTS: tuple[str, ...] = get_args(Fact)

# What of a bad line is shown, and of how many; a line that is longer than the last is bad.
SHOWN_CHARACTERS, SHOWN_LINES, LONGEST_BYTES = 80, 3, 65_536
# So many lines are read at once.
_PAGE = 4_096


class _Line(msgspec.Struct):
    fact: Fact
    event_id: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What consumers have said of themselves.

    Attributes:
        counts: how many lines there are of each fact.
        foreign: how many of these are of no event of the producer's.
        torn: lines that a kill has cut, and that are forgiven.
        bad: lines that are none.
        examples: the first of these, each with its number.
    """

    counts: Mapping[str, int] = {}
    foreign: int = 0
    torn: int = 0
    bad: int = 0
    examples: tuple[str, ...] = ()


def read_facts(
    files: Iterable[Iterable[bytes]], *, producer: int, capacity: int, kills: int
) -> tuple[Said, AbstractBitMap]:
    """What consumers have said of themselves, and the numbers of the events that they have parked.

    Args:
        files: the lines of each, with their line feeds.
        producer: whose events are meant.
        capacity: how many it has at most.
        kills: how many processes were killed: as many lines may be cut.
    """
    reading = _Reading(producer, capacity, kills)
    for lines in files:
        reading.read(lines)
    counts = {fact: reading.counts[fact] for fact in FACTS if reading.counts[fact]}
    said = Said(
        counts=counts,
        foreign=reading.foreign,
        torn=reading.torn,
        bad=reading.bad,
        examples=tuple(reading.examples),
    )
    return said, reading.parked


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, the longest of them in pieces; none where there is no file.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(LONGEST_BYTES), b"")
    except FileNotFoundError:
        return


class _Reading:
    def __init__(self, producer: int, capacity: int, kills: int) -> None:
        self._producer = producer
        self._capacity = capacity
        self._kills = kills
        self._decoder = msgspec.json.Decoder(_Line)
        self.counts: Counter[str] = Counter()
        self.parked = BitMap()
        self.examples: list[str] = []
        self.foreign = self.torn = self.bad = 0

    def read(self, lines: Iterable[bytes]) -> None:
        """Read a file."""
        number = 1
        pages = iter(lines)
        while page := list(itertools.islice(pages, _PAGE)):
            try:
                # A line without its end would be joined to the next, and be no line all the same.
                self._note(self._decoder.decode_lines(b"".join(page)))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                found = (self._line(line, at) for at, line in enumerate(page, number) if line.strip())
                self._note([line for line in found if line is not None])
            number += len(page)

    def _line(self, line: bytes, number: int) -> _Line | None:
        if (whole := self._decoded(line)) is not None:
            return whole
        # What a killed process had begun stands before what the next one wrote, or at the end.
        rest = next((found for at in _starts(line) if (found := self._decoded(line[at:])) is not None), None)
        is_cut = rest is not None or not line.endswith(b"\n")
        if is_cut and self.torn < self._kills:
            self.torn += 1
            return rest
        self.bad += 1
        if len(self.examples) < SHOWN_LINES:
            text = line.decode("utf-8", "replace").strip()[:SHOWN_CHARACTERS]
            self.examples.append(f"line {number}: {text}")
        return rest

    def _decoded(self, line: bytes) -> _Line | None:
        try:
            return self._decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def _note(self, lines: list[_Line]) -> None:
        sequences = sequences_of(self._producer, [line.event_id for line in lines])
        is_ours = (sequences >= 0) & (sequences < self._capacity)
        self.counts.update(line.fact for line in lines)
        self.foreign += int((~is_ours).sum())
        parked = np.array([line.fact == "parked" for line in lines], bool)
        self.parked.update(sequences[is_ours & parked].tolist())


def _starts(line: bytes) -> Iterator[int]:
    """Where objects may begin in a line, but for its beginning; the last first, since what is cut is before it."""
    at = line.rfind(b"{", 1)
    while at > 0:
        yield at
        at = line.rfind(b"{", 1, at)
