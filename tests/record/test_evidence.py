"""Evidence on disk: every section comes back as it was, small, and a file that is not whole says so."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from harness.record.evidence import FILE, Evidence, EvidenceError, EvidenceWriter


def written(directory: Path, **sections: Any) -> Evidence:
    """Evidence with these sections: a `BitMap` is a set, a list an order, all else JSON."""
    writer = EvidenceWriter(directory)
    for name, value in sections.items():
        if isinstance(value, BitMap):
            writer.add_set(name, value)
        elif isinstance(value, list):
            writer.add_order(name, [np.array(part, np.int64) for part in value])
        else:
            writer.add_json(name, value)
    writer.close()
    return Evidence(directory)


@given(numbers=st.sets(st.integers(0, 2**32 - 1), max_size=50))
def test_a_set_comes_back(tmp_path_factory: pytest.TempPathFactory, numbers: set[int]) -> None:
    """A set of event numbers is the same set again."""
    evidence = written(tmp_path_factory.mktemp("set"), seen=BitMap(numbers))
    assert set(evidence.events("seen")) == numbers


@given(parts=st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=20), max_size=5))
def test_an_order_comes_back(tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]]) -> None:
    """Event numbers come back in their order, however they came in parts."""
    evidence = written(tmp_path_factory.mktemp("order"), effects=parts)
    assert evidence.order("effects").tolist() == [number for part in parts for number in part]


def test_an_order_of_many_blocks(tmp_path: Path) -> None:
    """Differences go on over the border of a block, and parts need not end with one."""
    numbers = np.random.default_rng(1).integers(0, 2**31, 200_001)
    cuts = [0, 1, 65_535, 65_537, 131_073, 200_001]
    evidence = written(tmp_path, effects=[numbers[a:b] for a, b in itertools.pairwise(cuts)])
    assert (evidence.order("effects") == numbers).all()


def test_a_value_comes_back(tmp_path: Path) -> None:
    """Small things are JSON of a type."""
    assert written(tmp_path, groups={"crm": 3}).value("groups", dict[str, int]) == {"crm": 3}


@pytest.mark.parametrize("number", [-1, 2**31])
def test_what_is_no_event_number_is_refused(tmp_path: Path, number: int) -> None:
    """A number that does not fit is an error, and not another number."""
    writer = EvidenceWriter(tmp_path)
    with pytest.raises(ValueError, match="event numbers from"):
        writer.add_order("effects", [np.array([number])])
    writer.discard()


def test_a_name_is_given_once(tmp_path: Path) -> None:
    """Two sections of one name cannot be told apart."""
    writer = EvidenceWriter(tmp_path)
    writer.add_json("groups", 1)
    with pytest.raises(ValueError, match="'groups' already"):
        writer.add_json("groups", 2)
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_there_before_all_is(tmp_path: Path) -> None:
    """A reader never sees a part."""
    writer = EvidenceWriter(tmp_path)
    writer.add_json("groups", 1)
    assert not Evidence(tmp_path).exists
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_same_evidence_is_the_same_bytes(tmp_path: Path) -> None:
    """No time of day is in the file."""
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, seen=BitMap([1, 2]), effects=[[1, 2]], groups=3)
        contents.append((tmp_path / name / FILE).read_bytes())
    assert contents[0] == contents[1]


def test_a_run_without_trouble_needs_less_than_two_bytes_an_event(tmp_path: Path) -> None:
    """A million events, all acknowledged and applied, by two streams a page each: below 2 bytes an event."""
    count, page = 1_000_000, 500
    whole = BitMap(range(count))
    pages = np.arange(count).reshape(-1, 2 * page)
    effects = np.concatenate([pages[:, 0::2], pages[:, 1::2]], axis=1).ravel()
    written(tmp_path, attempted=whole, acknowledged=whole, applied=whole, stored=[range(count)], effects=[effects])
    assert (tmp_path / FILE).stat().st_size < 2 * count


def test_a_run_of_chance_needs_less_than_eight_bytes_an_event(tmp_path: Path) -> None:
    """Outcomes by chance, and effects in any order: below 8 bytes an event."""
    count = 300_000
    chance = np.random.default_rng(2)
    half = BitMap(np.flatnonzero(chance.random(count) < 0.5).tolist())
    orders = [[chance.permutation(count)] for _ in range(1)]
    written(tmp_path, attempted=half, acknowledged=half, applied=half, effects=orders[0])
    assert (tmp_path / FILE).stat().st_size < 8 * count


def test_no_evidence(tmp_path: Path) -> None:
    """A run without any says so."""
    assert not Evidence(tmp_path).exists
    with pytest.raises(EvidenceError, match=r"evidence\.zip is not there: an older"):
        Evidence(tmp_path).sections()


def test_a_section_that_is_not_there(tmp_path: Path) -> None:
    """What was not kept is named."""
    with pytest.raises(EvidenceError, match="no evidence 'effects'"):
        written(tmp_path, groups=1).order("effects")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_file_that_was_cut(tmp_path: Path, share: float) -> None:
    """A part of a file is no evidence."""
    evidence = written(tmp_path, effects=[list(range(5_000))], groups=1)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(EvidenceError, match="cannot be read"):
        evidence.order("effects")


def test_a_byte_that_was_changed(tmp_path: Path) -> None:
    """A checksum finds it."""
    evidence = written(tmp_path, effects=[np.random.default_rng(3).integers(0, 2**31, 5_000)])
    content = bytearray((tmp_path / FILE).read_bytes())
    content[5_000] ^= 1
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(EvidenceError, match="cannot be read"):
        evidence.order("effects")


def test_a_section_of_another_kind(tmp_path: Path) -> None:
    """Asked for what it is not, a section says what it is."""
    with pytest.raises(EvidenceError, match="groups is a json of version 1, and this shopbench reads a set"):
        written(tmp_path, groups=1).events("groups")


def replaced(directory: Path, name: str, content: bytes) -> None:
    """The same archive with another content of one member."""
    with zipfile.ZipFile(directory / FILE) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(directory / FILE, "w") as archive:
        for each, before in members.items():
            archive.writestr(each, content if each == name else before)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"schema": 2, "sections": {}}, "newer shopbench"),
        ({"schema": 1, "sections": {"groups": {"kind": "json", "version": 2}}}, "groups is a json of version 2"),
        ({"schema": 1, "sections": {"groups": {"kind": "tree", "version": 1}}}, "groups is a tree of version 1"),
        ({"sections": []}, "list of sections cannot be read"),
    ],
)
def test_evidence_of_another_version(tmp_path: Path, sections: dict[str, Any], words: str) -> None:
    """What a later version writes is not guessed at."""
    evidence = written(tmp_path, groups=1)
    replaced(tmp_path, "sections.json", msgspec.json.encode(sections))
    with pytest.raises(EvidenceError, match=words):
        evidence.value("groups", int)


@pytest.mark.parametrize(("name", "content"), [("seen", b"xx"), ("effects", b"xxx"), ("values.json", b"{")])
def test_a_section_that_is_no_such_thing(tmp_path: Path, name: str, content: bytes) -> None:
    """Bytes that are not what their section should be are an error of the evidence."""
    evidence = written(tmp_path, seen=BitMap([1]), effects=[[1]], groups=1)
    replaced(tmp_path, name, content)
    read = {
        "seen": evidence.events,
        "effects": evidence.order,
        "values.json": lambda _: evidence.value("groups", int),
    }
    with pytest.raises(EvidenceError, match="groups" if name == "values.json" else name):
        read[name](name)
