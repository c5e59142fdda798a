"""What commands on groups say, and what their replies tell: pure, from words and values to what is noted.

XREADGROUP XACK XACKDEL XDEL XCLAIM XAUTOCLAIM     entries that were handed out, acknowledged, deleted
XGROUP                                             a group made, moved or destroyed, a consumer deleted
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from harness.account.told_log import Kind

Words = Sequence[bytes | None]
_ID = re.compile(rb"\d{1,20}(-\d{1,20})?")
# What a word is that was too long to be kept; no stream that anybody asks for is called so.
_TOO_LONG = b"?"


class Told(NamedTuple):
    """What one stream's entries were told by one command.

    Attributes:
        kind: of what was told.
        stream, group, consumer: whose; empty where the command names none.
        ids: of the entries.
        answer: how many of them it was true of, where it is not said of which; 0: it does not matter.
    """

    kind: Kind
    stream: bytes
    group: bytes
    consumer: bytes
    ids: Sequence[bytes]
    answer: int = 0


class Asked:
    """A command that something is told by, while it waits for its reply.

    Args:
        words: of the command, its name first and as capitals.

    Raises:
        IndexError, ValueError: it is not complete; the server will refuse it.

    Attributes:
        level: how many lists deep entries lie in its reply, as `Replies` asks.
        size: how many words it holds.
    """

    level = 1

    def __init__(self, words: Words) -> None:
        self.words = words
        self.size = len(words)

    def told(self, reply: Any) -> Iterator[Told]:
        """What its reply tells; not asked where that is an error."""
        del reply
        return iter(())

    def unanswered(self) -> Iterator[Told]:
        """What is to be noted of it where no reply came."""
        return iter(())


class _Ack(Asked):
    """XACK stream group ID ..."""

    def __init__(self, words: Words) -> None:
        super().__init__(words)
        self._stream, self._group = _name(words[1]), _name(words[2])
        self._ids = [each or b"" for each in words[3:]]

    def told(self, reply: Any) -> Iterator[Told]:
        if isinstance(reply, int):
            kind: Kind = "acked" if reply == len(self._ids) else "ack_part" if reply else "ack_none"
            yield Told(kind, self._stream, self._group, b"", self._ids, reply)

    def unanswered(self) -> Iterator[Told]:
        ids = [each for each in self._ids if _ID.fullmatch(each)]
        yield Told("ack_sent", self._stream, self._group, b"", ids)


class _AckDelete(Asked):
    """XACKDEL stream group [KEEPREF | DELREF | ACKED] IDS count ID ..."""

    def __init__(self, words: Words) -> None:
        super().__init__(words)
        self._stream, self._group = _name(words[1]), _name(words[2])
        self._ids = [each or b"" for each in words[_option(words, b"IDS", 3) + 2 :]]

    def told(self, reply: Any) -> Iterator[Told]:
        if not isinstance(reply, list) or len(reply) != len(self._ids):
            return
        by_answer = {
            answer: [each for each, was in zip(self._ids, reply, strict=True) if was == answer]
            for answer in (-1, 1, 2)
        }
        for kind, ids in (
            ("acked", by_answer[1] + by_answer[2]),
            ("ack_none", by_answer[-1]),
            ("xdel", by_answer[1]),
        ):
            yield Told(kind, self._stream, self._group, b"", ids)  # type: ignore[arg-type]

    def unanswered(self) -> Iterator[Told]:
        ids = [each for each in self._ids if _ID.fullmatch(each)]
        yield Told("ack_sent", self._stream, self._group, b"", ids)


class _Delete(Asked):
    """XDEL stream ID ..."""

    def told(self, reply: Any) -> Iterator[Told]:
        ids = [each or b"" for each in self.words[2:]]
        # Where not all of them were there, nobody knows which.
        if reply == len(ids):
            yield Told("xdel", _name(self.words[1]), b"", b"", ids)


class _Read(Asked):
    """XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] [CLAIM ms] STREAMS stream ... ID ..."""

    level = 3

    def __init__(self, words: Words) -> None:
        super().__init__(words)
        at = _option(words, b"GROUP", 1)
        self._group, self._consumer = _name(words[at + 1]), _name(words[at + 2])
        begin = _option(words, b"STREAMS", at + 3)
        options = [_upper(each) for each in words[at + 3 : begin]]
        self._claims = b"CLAIM" in options
        count = (len(words) - begin - 1) // 2
        ids = words[begin + 1 + count :]
        self._kinds: dict[bytes, Kind] = {
            _name(stream): ("noack" if b"NOACK" in options else "new") if at_id == b">" else "again"
            for stream, at_id in zip(words[begin + 1 : begin + 1 + count], ids, strict=True)
        }

    def told(self, reply: Any) -> Iterator[Told]:
        for stream, entries in _by_stream(reply):
            kind = self._kinds.get(stream, "new")
            if self._claims:
                # An entry that it claimed says for how long it was idle, and how often it was delivered before.
                claimed = [each for each in entries if len(each) > 3 and each[3]]
                yield Told("claimed", stream, self._group, self._consumer, [each[0] for each in claimed])
                fresh = [each for each in entries if len(each) < 4 or not each[3]]
                yield Told(kind, stream, self._group, self._consumer, [each[0] for each in fresh])
            else:
                yield Told(kind, stream, self._group, self._consumer, [each[0] for each in entries])


class _Claim(Asked):
    """XCLAIM stream group consumer idle ID ..."""

    def __init__(self, words: Words) -> None:
        super().__init__(words)
        self._names = _name(words[1]), _name(words[2]), _name(words[3])

    def told(self, reply: Any) -> Iterator[Told]:
        yield Told("claimed", *self._names, _ids_of(reply))


class _AutoClaim(_Claim):
    """XAUTOCLAIM stream group consumer idle start ...; before Redis 7 deleted entries are not named."""

    level = 2

    def told(self, reply: Any) -> Iterator[Told]:
        if isinstance(reply, list) and len(reply) > 1:
            yield Told("claimed", *self._names, _ids_of(reply[1]))
            yield Told("deleted", *self._names, _ids_of(reply[2] if len(reply) > 2 else None))


class OnGroup(Asked):
    """XGROUP and what it does; it is noted as it is."""

    level = 0


_ASKED: dict[bytes, Callable[[Words], Asked]] = {
    b"XACK": _Ack,
    b"XACKDEL": _AckDelete,
    b"XDEL": _Delete,
    b"XREADGROUP": _Read,
    b"XCLAIM": _Claim,
    b"XAUTOCLAIM": _AutoClaim,
    b"XGROUP": OnGroup,
}
ASKED = frozenset(_ASKED)


def asked(words: Words) -> Asked | None:
    """What a command asks; None where it is not complete, and so will be refused."""
    try:
        return _ASKED[words[0] or b""](words)
    except (IndexError, ValueError):
        return None


def _name(word: bytes | None) -> bytes:
    return _TOO_LONG if word is None else word


def _upper(word: bytes | None) -> bytes:
    return (word or b"").upper()


def _option(words: Words, name: bytes, start: int) -> int:
    """Where a word stands.

    Raises:
        ValueError: nowhere.
    """
    for at in range(start, len(words)):
        if _upper(words[at]) == name:
            return at
    raise ValueError(name)


def _by_stream(reply: Any) -> Iterator[tuple[bytes, list[list[Any]]]]:
    """Streams and their entries, as RESP2 (a list of pairs) or RESP3 (a map) has them."""
    if isinstance(reply, dict):
        yield from reply.items()
        return
    if not isinstance(reply, list) or not reply:
        return
    is_map = not isinstance(reply[0], list)
    for stream, entries in zip(reply[::2], reply[1::2], strict=False) if is_map else reply:
        yield stream or _TOO_LONG, entries or []


def _ids_of(reply: Any) -> list[bytes]:
    """The IDs of entries, or IDs alone; what is None was deleted."""
    if not isinstance(reply, list):
        return []
    found = (each[0] if isinstance(each, list) and each else each for each in reply)
    return [each for each in found if isinstance(each, bytes)]
