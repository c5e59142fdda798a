"""What a group was told, read from logs: as it was noted, whole or cut, of one proxy or several, within bounds."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.account.entry_keys import EntryKeys, KeySet, among
from harness.account.told import Told, about, read
from harness.account.told_log import MAGIC, Block, Epoch, Kind, Noted, epochs, packed

S, G = "events", "g"


def block(kind: Kind, told: Sequence[tuple[int, Sequence[str]]], consumer: str = "", base: int = 0) -> Block:
    """Commands by tick and the IDs that each names."""
    ticks = [base, *(tick for tick, _ in told)]
    return Block(
        kind=kind,
        db=0,
        stream=S.encode(),
        group=b"" if kind == "xdel" else G.encode(),
        consumer=consumer.encode(),
        times=array("I", np.diff(ticks).tolist()).tobytes(),
        connections=array("I", [1] * len(told)).tobytes(),
        counts=array("I", [len(ids) for _, ids in told]).tobytes(),
        answers=array("I", [1] * len(told)).tobytes() if kind == "ack_part" else b"",
        ids=",".join(each for _, ids in told for each in ids).encode(),
    )


def xgroup(tick: int, *words: str, reply: int | bytes | None = b"OK") -> Noted:
    what, *more = words
    command = tuple(each.encode() for each in ("XGROUP", what, S, G, *more))
    return Noted(tick=tick, connection=1, db=0, command=command, reply=reply)


def written(path: Path, *found: Epoch) -> Path:
    path.write_bytes(MAGIC + b"".join(map(packed, found)))
    return path


def epoch(end: int, *blocks: Block, noted: Sequence[Noted] = (), base: int = 0, scripts: int = 0) -> Epoch:
    return Epoch(base=base, end=end, wall_ns=end * 100, blocks=blocks, noted=tuple(noted), scripts=scripts)


def keys(told: Told, *ids: str) -> list[int]:
    return sorted(told.keys.of(each.encode()) for each in ids)


ids = st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1)) | st.tuples(
    st.integers(0, 1 << 41), st.integers(0, 1 << 22)
)


@given(st.lists(ids, max_size=30))
def test_keys_are_ids(found: list[tuple[int, int]]) -> None:
    """Each ID has a key of its own, from which it is had again; those that fit are in the order of the IDs."""
    texts = [f"{high}-{low}" for high, low in found]
    made = EntryKeys()
    numbers = made.of_text(",".join(texts).encode()).tolist()
    assert [made.text(number) for number in numbers] == texts
    fitting = sorted(pair for pair, number in zip(found, numbers, strict=True) if number >= 0)
    assert [made.of(f"{high}-{low}".encode()) for high, low in fitting] == sorted(n for n in numbers if n >= 0)


def test_an_id_may_be_a_half() -> None:
    """What is not said of an ID is 0; what is none is refused."""
    made = EntryKeys()
    assert made.of(b"17") == made.of(b"17-0")
    for text in (b"a-b", b"$", b"1-", b"-"):
        with pytest.raises(ValueError, match=r"something else|could not|match"):
            made.of(text)


@given(st.lists(st.lists(st.integers(0, 50), max_size=8), max_size=8), st.lists(st.integers(0, 60), max_size=8))
def test_a_set_of_keys(parts: list[list[int]], asked: list[int]) -> None:
    """It has what was added, once and rising, and says of others whether they are in it."""
    noted = KeySet()
    for part in parts:
        noted.add(np.array(part, np.int64))
    expected = sorted({each for part in parts for each in part})
    assert noted.keys().tolist() == expected
    assert among(np.array(asked, np.int64), noted.keys()).tolist() == [each in expected for each in asked]


def test_a_log_that_was_cut(tmp_path: Path) -> None:
    """What was whole before the cut is read; what is no log at all is said; without a log there is nothing."""
    first = epoch(10, block("new", [(1, ["1-0"])], "c"))
    second = epoch(20, block("new", [(11, ["2-0"])], "c", base=10), base=10)
    path = written(tmp_path / "log", first, second)
    whole = path.read_bytes()
    assert list(epochs(path)) == [first, second]
    for cut in (len(whole) - 1, len(whole) - 20, len(MAGIC) + len(packed(first)) + 3):
        path.write_bytes(whole[:cut])
        assert list(epochs(path)) == [first]
    for cut in (0, 3, len(MAGIC), len(MAGIC) + 5):
        path.write_bytes(whole[:cut])
        assert list(epochs(path)) == []
    path.write_bytes(whole[:-3] + b"xyz")
    assert list(epochs(path)) == [first]
    path.write_bytes(b"what is this?" * 10)
    with pytest.raises(ValueError, match="log is no log"):
        read([path], [S], G)
    assert read([tmp_path / "none"], [S], G).streams[S].handed.keys().size == 0


def test_logs_are_in_one_order(tmp_path: Path) -> None:
    """Handed out by one proxy, claimed through another, deleted through the first: by time, whoever wrote it."""
    one = written(
        tmp_path / "one.log",
        epoch(10, block("new", [(2, ["1-0", "2-0", "3-0"])], "a")),
        epoch(50, noted=[xgroup(30, "DELCONSUMER", "a", reply=2)], base=10),
    )
    two = written(
        tmp_path / "two.log",
        epoch(20, block("claimed", [(15, ["2-0"])], "b")),
        epoch(60, block("acked", [(40, ["2-0"])], base=20), base=20),
    )
    told = read([one, two], [S], G)
    history = told.streams[S]
    assert history.dropped_with_consumer.tolist() == keys(told, "1-0", "3-0")
    assert history.acked.keys().tolist() == keys(told, "2-0")
    assert (history.is_certain, told.is_whole) == (True, True)
    [command] = told.commands
    assert (command.command, command.reply, command.t_ns) == ("XGROUP DELCONSUMER events g a", "2", 3_000)
    assert command.connection == "one 1"
    key = told.keys.of(b"2-0")
    found = about([one, two], S, G, [key], told.keys)[key]
    assert [(each.kind, each.consumer, each.connection, each.t_ns) for each in found] == [
        ("new", "a", "one 1", 200),
        ("claimed", "b", "two 1", 1_500),
        ("acked", "", "two 1", 4_000),
    ]


def test_the_order_within_an_epoch(tmp_path: Path) -> None:
    """Acknowledged, and then handed out again in the same half second: it is pending when its consumer goes."""
    path = written(
        tmp_path / "log",
        epoch(
            100,
            block("new", [(1, ["1-0", "2-0"]), (20, ["1-0"])], "c"),
            block("acked", [(10, ["1-0", "2-0"])]),
            noted=[xgroup(15, "SETID", "0"), xgroup(30, "DELCONSUMER", "c", reply=1)],
        ),
    )
    told = read([path], [S], G)
    assert told.streams[S].dropped_with_consumer.tolist() == keys(told, "1-0")


def test_a_part_of_an_xack(tmp_path: Path) -> None:
    """Of an XACK that was true of some, those that were pending are acknowledged; where that is not so, none."""
    path = written(
        tmp_path / "log",
        epoch(
            100,
            block("new", [(1, ["1-0", "2-0", "3-0"])], "c"),
            block("acked", [(2, ["1-0"])]),
            block("ack_part", [(3, ["1-0", "2-0"]), (4, ["2-0", "9-0"])]),
        ),
    )
    told = read([path], [S], G)
    assert told.streams[S].acked.keys().tolist() == keys(told, "1-0", "2-0")
    assert not told.streams[S].is_certain


def test_others_are_left_out(tmp_path: Path) -> None:
    """Another group, another stream, a refused command and one without an answer say nothing of this group."""
    other = Block("acked", 0, S.encode(), b"other", b"", b"\1\0\0\0", b"\1\0\0\0", b"\1\0\0\0", b"", b"1-0")
    path = written(
        tmp_path / "log",
        epoch(
            100,
            block("new", [(1, ["1-0"])], "c"),
            other,
            noted=[
                Noted(tick=5, connection=1, db=0, command=(b"XGROUP", b"DESTROY", b"else", b"g"), reply=1),
                Noted(
                    tick=6,
                    connection=1,
                    db=0,
                    command=(b"XGROUP", b"CREATE", S.encode(), b"g", b"$"),
                    reply=b"BUSYGROUP",
                    is_error=True,
                ),
                xgroup(7, "DESTROY", reply=None),
                xgroup(8, "DESTROY", reply=0),
            ],
            scripts=2,
        ),
    )
    told = read([path], [S], G)
    history = told.streams[S]
    assert (history.acked.keys().size, history.dropped_with_group.size, history.moves) == (0, 0, [])
    assert [(each.command.split()[1], each.reply) for each in told.commands] == [
        ("CREATE", "BUSYGROUP"),
        ("DESTROY", ""),
        ("DESTROY", "0"),
    ]
    assert (told.scripts, told.is_whole) == (2, False)


def test_events_take_forty_bytes_each(tmp_path: Path) -> None:
    """Each event, handed out and acknowledged by itself, takes at most 20 bytes on disk and 40 in memory."""
    path = tmp_path / "log"
    total, lot = 1_000_000, 4_000
    with path.open("wb") as file:
        file.write(MAGIC)
        handed = np.random.default_rng(1).integers(2, 1_000, lot).astype("<u4")
        acked = handed.copy()
        acked[0] += 1
        ones = array("I", [1] * lot).tobytes()
        for first in range(0, total, lot):
            names = b",".join([b"%d-%d" % (1_790_000_000_000 + n // 5, n % 5) for n in range(first, first + lot)])
            base = first * 1_000
            of: list[Block] = [
                Block("new", 0, S.encode(), b"g", b"c", handed.tobytes(), ones, ones, b"", names),
                Block("acked", 0, S.encode(), b"g", b"", acked.tobytes(), ones, ones, b"", names),
            ]
            file.write(packed(epoch(base + lot * 1_000, *of, base=base)))
    assert path.stat().st_size <= 20 * total
    program = f"""
        import resource
        from pathlib import Path
        from harness.account.told import read
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        told = read([Path({str(path)!r})], [{S!r}], {G!r})
        history = told.streams[{S!r}]
        assert history.handed.keys().size == history.acked.keys().size == {total}
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=300
    )
    assert int(done.stdout) * 1024 <= 40 * total
