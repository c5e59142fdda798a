"""Commands and replies are found in bytes, wherever these are cut; what is long or not wanted is stepped over."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.nemesis.proxy.fast import HOLDS_BYTES, FastCommands, FastReplies
from harness.nemesis.proxy.resp import LONGEST, Commands, LostTrackError, Refusal, Replies, Status

WANTED = frozenset({b"XACK", b"XREADGROUP"})


def pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    """Bytes, cut at some places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return (data[a:b] for a, b in itertools.pairwise(places))


def commands(data: bytes, cuts: Sequence[int] = ()) -> list[list[bytes | None]]:
    """What is found by the exact reader, and by the fast one."""
    found: list[list[bytes | None]] = []
    fast: list[list[bytes | None]] = []
    for reader in (Commands(WANTED, found.append), FastCommands(WANTED, fast.append)):
        for piece in pieces(data, cuts):
            reader.feed(piece)
    assert fast == found
    return found


def replies(data: bytes, cuts: Sequence[int] = (), level: int = 99) -> list[Any]:
    """What is found by the exact reader."""
    found: list[Any] = []
    reader = Replies(lambda: level, found.append)
    for piece in pieces(data, cuts):
        reader.feed(piece)
    return found


def fast_replies(data: bytes, cuts: Sequence[int] = (), level: int = 99) -> list[Any]:
    """What is found by the fast reader; maps as lists of their keys and values."""
    found: list[Any] = []
    reader = FastReplies(lambda: level, found.append)
    for piece in pieces(data, cuts):
        reader.feed(piece)
    return [[part for pair in each.items() for part in pair] if isinstance(each, dict) else each for each in found]


cuts = st.lists(st.integers(0, 1 << 20), max_size=12)
words = st.lists(st.binary(max_size=12), max_size=4)


def packed(command: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in command)


@given(st.lists(st.tuples(st.sampled_from([b"XACK", b"xack", b"SET", b"AUTH"]), words), max_size=6), cuts)
def test_commands_wherever_they_are_cut(sent: list[tuple[bytes, list[bytes]]], cuts: list[int]) -> None:
    """Each is found, in order: with all of its words where they are wanted, else with its name alone."""
    data = b"".join(packed([name, *more]) for name, more in sent)
    expected = [[name.upper(), *(more if name.upper() in WANTED else [])] for name, more in sent]
    assert expected == commands(data, cuts)


@given(cuts)
def test_lines_are_commands(cuts: list[int]) -> None:
    """What is typed by hand is a command, too, and an empty one is none; the two kinds may follow each other."""
    data = b"ping\r\n\r\nxack s g 1-1  2-2\n" + packed([b"XACK", b"s"]) + b"set a b\r\n*0\r\n*-1\r\nPING\r\n"
    found = [[b"PING"], [b"XACK", b"s", b"g", b"1-1", b"2-2"], [b"XACK", b"s"], [b"SET"], [b"PING"]]
    assert found == commands(data, cuts)


@given(cuts)
def test_a_long_word_is_stepped_over(cuts: list[int]) -> None:
    """A word that is longer than any name is None where words are wanted, and what follows it is found."""
    long = b"\r\n*1\r\n$4\r\nPING\r\n" * 400
    assert len(long) > LONGEST
    data = packed([b"SET", b"k", long]) + packed([b"XACK", long, b"g", b"1-1"]) + packed([b"PING"])
    assert commands(data, cuts) == [[b"SET"], [b"XACK", None, b"g", b"1-1"], [b"PING"]]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\n",
        b"*x\r\n",
        b"*1\r\n+OK\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$ 3\r\nabc\r\n",
        b"*1\r\n$1_0\r\n",
        b"*9999999\r\n",
        b"a" * 70_000,
        b"*" + b"1" * 70_000,
        b'xack s g "1-1"\r\n',
    ],
)
def test_what_is_no_command(data: bytes) -> None:
    """Encrypted, broken or endless: it is not guessed what it may have been."""
    with pytest.raises(LostTrackError):
        Commands(WANTED, lambda _: None).feed(data)
    # hiredis lets some of these wait, or pass, until the server ends the connection.
    fast = FastCommands(WANTED, lambda _: None)
    with pytest.raises(LostTrackError):
        fast.feed(data + bytes(HOLDS_BYTES) + b"\r\n" if data[:1] == b"*" else data)


leaves = st.one_of(
    st.none(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.binary(max_size=20),
    st.sampled_from([Status(b"OK"), Refusal(b"ERR no"), Status(b"")]),
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def encoded(value: Any) -> bytes:
    """A value as RESP2 has it."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, Status):
        return b"+%b\r\n" % value
    if isinstance(value, Refusal):
        return b"-%b\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))


@given(st.lists(values, max_size=5), cuts)
def test_replies_wherever_they_are_cut(sent: list[Any], cuts: list[int]) -> None:
    """Each is found whole and in order, as hiredis finds it."""
    data = b"".join(map(encoded, sent))
    assert sent == replies(data, cuts) == fast_replies(data, cuts)
    oracle = hiredis.Reader(replyError=lambda text: Refusal(text.encode()))
    oracle.feed(data)
    assert sent == [oracle.gets() for _ in sent]


@given(st.lists(values, max_size=5), cuts)
def test_what_is_not_asked_for_is_stepped_over(sent: list[Any], cuts: list[int]) -> None:
    """At level 0 a list is nothing but a list, and whatever follows it is found."""
    expected = [[] if isinstance(each, list) else each for each in sent]
    assert expected == replies(b"".join(map(encoded, sent)), cuts, level=0)


entries = st.lists(
    st.tuples(
        st.integers(0, (1 << 64) - 1), st.integers(0, 1 << 20), st.lists(st.binary(max_size=30), max_size=4)
    ),
    max_size=6,
)


@given(
    st.dictionaries(st.binary(min_size=1, max_size=8) | st.just(b"1-2"), entries, max_size=3), cuts, st.booleans()
)
def test_entries_of_streams(sent: dict[bytes, Any], cuts: list[int], is_map: bool) -> None:
    """A page of entries, as RESP2 or RESP3 has it, gives streams and IDs, whatever is in the fields."""
    pages = {
        stream: [[b"%d-%d" % (high, low), fields] for high, low, fields in found] for stream, found in sent.items()
    }
    if is_map:
        flat = [each for pair in pages.items() for each in pair]
        data = b"%%%d\r\n" % len(pages) + b"".join(map(encoded, flat))
    else:
        data = encoded([[stream, found] for stream, found in pages.items()])
    for read in (replies, fast_replies):
        [found, after] = read(data + b"+OK\r\n", cuts, level=3)
        pairs = zip(found[::2], found[1::2], strict=True) if is_map else found
        assert {stream: [each[0] for each in page] for stream, page in pairs} == {
            stream: [each[0] for each in page] for stream, page in pages.items()
        }
        assert after == Status(b"OK")


@given(cuts)
def test_all_kinds_of_resp3(cuts: list[int]) -> None:
    """Each kind has its end; what is pushed and what is said about a value are no replies."""
    kinds = [
        b"%2\r\n+a\r\n:1\r\n$1\r\nb\r\n~2\r\n#t\r\n,1.5\r\n",
        b">3\r\n+message\r\n$1\r\nc\r\n*1\r\n:1\r\n",
        b"|1\r\n+ttl\r\n:3\r\n*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n:1\r\n_\r\n",
        b"=15\r\ntxt:Some string\r\n",
        b"(3492890328409238509324850943850943825024385\r\n",
        b"!5\r\nERR x\r\n",
        b"*0\r\n*-1\r\n%0\r\n",
    ]
    found = replies(b"".join(kinds), cuts)
    assert found[:4] == [[b"a", 1, b"b", [b"t", b"1.5"]], [1, None], b"txt:Some string", found[3]]
    assert found[4:] == [b"ERR x", [], None, []]
    assert isinstance(found[4], Refusal)


@given(
    cuts,
    st.integers(0, 3),
    st.sampled_from(["+OK", "|1\r\n+a\r\n:1\r\n:7", "%1\r\n*1\r\n:1\r\n:2", "!3\r\nERR", "long"]),
)
def test_what_is_left_to_the_exact_reader(cuts: list[int], before: int, odd: str) -> None:
    """What hiredis does not read, or is long, is given once and in its place, whatever comes before and after."""
    text = b"$%d\r\n%b" % (HOLDS_BYTES + 9, bytes(HOLDS_BYTES + 9)) if odd == "long" else odd.encode()
    data = b":5\r\n$1\r\nx\r\n>1\r\n:0\r\n" * before + text + b"\r\n" + b":6\r\n*1\r\n:1\r\n" * 2
    expected = {"+OK": Status(b"OK"), "|1\r\n+a\r\n:1\r\n:7": 7, "!3\r\nERR": Refusal(b"ERR"), "long": None}
    found = fast_replies(data, cuts)
    assert found == [*[5, b"x"] * before, expected.get(odd, [[1], 2]), *[6, [1]] * 2]


def test_a_large_value_is_not_held() -> None:
    """Of a value of 64 MiB that comes in pieces nothing is kept between two of them, and the next is found."""
    found: list[Any] = []
    reader = Replies(lambda: 3, found.append)
    size = 64 << 20
    reader.feed(b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$%d\r\n" % size)
    piece = bytes(1 << 16)
    for _ in range(size // len(piece)):
        reader.feed(piece)
        assert len(reader._rest) == 0
    reader.feed(b"\r\n:7\r\n")
    assert found == [[[b"s", [[b"1-1"]]]], 7]


@pytest.mark.parametrize(
    "data", [b"\x15\x03\x03", b"?1\r\n" + b"x" * 9, b"$?\r\n", b"*?\r\n", b"$" + b"1" * 70_000]
)
def test_what_is_no_reply(data: bytes) -> None:
    """Encrypted, broken or endless: it is not guessed what it may have been."""
    for read in (replies, fast_replies):
        with pytest.raises(LostTrackError):
            read(data + b"\r\n")
