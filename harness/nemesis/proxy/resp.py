"""Commands and replies, found in the bytes of a connection as they come: RESP2, RESP3 and inline commands.

    client --bytes--> Commands --words-->        server --bytes--> Replies --values-->

Chunks may end anywhere. What nobody asks for is stepped over by its length and never copied: of a command whose
name is not wanted the words after it, of a reply all that is deeper than asked for. A word or value that is kept
has at most `LONGEST` bytes; a longer one is stepped over, too, and is None. So the memory that is held between two
chunks is that of one such word, and of what is kept of one command or reply.

Nothing is guessed: what does not follow the protocol raises `LostTrackError`, and nobody should ask again.

It is exact, whatever comes, and takes about a microsecond for a word or value. What comes as a rule is left to
hiredis: `fast`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

LONGEST = 4_096
# Redis takes no longer line, and no more words.
_LONGEST_LINE = 64 << 10
_MOST_ITEMS = 1 << 20
_MOST_BYTES = 1 << 32

_ENTRY = re.compile(rb"\*2\r\n\$(\d{1,2})\r\n(\d{1,20}-\d{1,20})\r\n\*(\d{1,7})\r\n")
_NUMBER = re.compile(rb"-?\d{1,20}")
_BULK, _ARRAY, _PUSH, _ATTRIBUTE = b"$", b"*", b">", b"|"
_LONG = frozenset(b"$=!")
_SHORT = frozenset(b"+-:,(#_")
_MANY = {**dict.fromkeys(b"*~>", 1), **dict.fromkeys(b"%|", 2)}
_APART = object()


class LostTrackError(Exception):
    """A connection whose bytes cannot be told apart any more; its text says why."""


class Status(bytes):
    """A reply of one word that is no value, such as OK."""


class Refusal(bytes):
    """A reply that is an error."""

    @classmethod
    def of_text(cls, text: str) -> Refusal:
        """An error that was read as text."""
        return cls(text.encode())


def _number(text: bytes) -> int:
    if not _NUMBER.fullmatch(text):
        raise LostTrackError("a length is no number")
    return int(text)


class Commands:
    """Finds commands in what a client sends.

    Args:
        wanted: the names of those whose words are kept, as capitals.
        done: gets the words of each command; only the name of one that is not wanted. A word of more than
            `LONGEST` bytes is None.
    """

    def __init__(self, wanted: frozenset[bytes], done: Callable[[list[bytes | None]], None]) -> None:
        self._wanted = wanted
        self._done = done
        self._rest = b""
        self._skip = 0
        self._left = 0
        self._words: list[bytes | None] = []
        self._keeps = True

    def feed(self, data: bytes) -> None:
        """Take what came next.

        Raises:
            LostTrackError: it is no command.
        """
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        at, self._skip = self._skip, 0
        if self._rest:
            # Whatever waits is short, and nothing is stepped over before it is whole.
            data, self._rest = self._rest + data, b""
        size = len(data)
        while at < size:
            if self._left:
                after = self._take_words(data, at)
            elif data[at] == 42:
                after = self._begin(data, at)
            else:
                after = self._take_line(data, at)
            if after < 0:
                self._rest = data[~after:]
                return
            at = after
        self._skip = at - size

    @property
    def is_clean(self) -> bool:
        """Whether it stands between two commands."""
        return not (self._rest or self._skip or self._left)

    def _begin(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at)
        if end < 0:
            return _waiting(data, at)
        count = _number(data[at + 1 : end])
        if count > _MOST_ITEMS:
            raise LostTrackError("a command has too many words")
        self._left, self._words, self._keeps = max(0, count), [], True
        return end + 2

    def _take_words(self, data: bytes, at: int) -> int:
        """Take words while there are any; the place after them, or ~place where more has to come."""
        size = len(data)
        while self._left and at < size:
            end = data.find(b"\r\n", at)
            if end < 0:
                return _waiting(data, at)
            if data[at] != 36:
                raise LostTrackError("a word of a command is no bulk")
            length = _number(data[at + 1 : end])
            if not 0 <= length <= _MOST_BYTES:
                raise LostTrackError("a word has a length that cannot be")
            start, after = end + 2, end + length + 4
            if self._keeps and length <= LONGEST:
                if after > size:
                    return ~at
                self._words.append(data[start : start + length])
            elif self._keeps:
                self._words.append(None)
            at = after
            self._left -= 1
            if len(self._words) == 1 and self._keeps:
                self._keeps = self._named()
        if not self._left:
            self._done(self._words)
        return at

    def _named(self) -> bool:
        name = (self._words[0] or b"").upper()
        self._words[0] = name
        return name in self._wanted

    def _take_line(self, data: bytes, at: int) -> int:
        if data[at] == 0x16:
            raise LostTrackError("it is encrypted")
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - at > _LONGEST_LINE:
                raise LostTrackError("what was sent is no command")
            return ~at
        line = data[at:end]
        words: list[bytes | None] = [*line.split()]
        if words:
            self._words = words
            if not self._named():
                del self._words[1:]
            elif b'"' in line or b"'" in line:
                raise LostTrackError("a line with quotes was sent as a command")
            self._done(self._words)
        return end + 1


class Replies:
    """Finds replies in what a server sends.

    Args:
        begin: asked when a reply begins: how many lists deep an entry of a stream lies in it, such as 1 in a list
            of entries; what is within entries is stepped over. 0: only a value that is no list is kept.
        done: gets each reply: numbers, bytes, `Status`, `Refusal`, None, or a list of these, also for a map. An
            entry is a list that begins with its ID. What is pushed, which is the reply to no command, is left out.
    """

    def __init__(self, begin: Callable[[], int], done: Callable[[Any], None]) -> None:
        self._begin = begin
        self._done = done
        self._rest = b""
        self._skip = 0
        self._level = 0
        self._stack: list[tuple[list[Any], int]] = []
        # So many values are stepped over before `_then` is the next one.
        self._deep = 0
        self._then: Any = None

    def feed(self, data: bytes) -> None:
        """Take what came next.

        Raises:
            LostTrackError: it is no reply.
        """
        if self._skip > len(data):
            self._skip -= len(data)
            return
        at, self._skip = self._skip, 0
        if self._rest:
            data, self._rest = self._rest + data, b""
        size = len(data)
        while True:
            if not self._deep and self._then is not None:
                self._add(self._then)
            if at >= size:
                break
            after = self._step_over(data, at) if self._deep else self._take(data, at)
            if after < 0:
                self._rest = data[~after:]
                return
            at = after
        self._skip = at - size

    @property
    def is_clean(self) -> bool:
        """Whether it stands between two replies."""
        return not (self._rest or self._skip or self._stack or self._deep or self._then is not None)

    def _step_over(self, data: bytes, at: int) -> int:
        """Step over values; the place after them, or ~place where more has to come."""
        deep, size, find = self._deep, len(data), data.find
        while deep and at < size:
            end = find(b"\r\n", at)
            if end < 0:
                self._deep = deep
                return _waiting(data, at)
            kind = data[at]
            deep -= 1
            if kind == 36:
                length = _number(data[at + 1 : end])
                at = end + 2 if length < 0 else end + length + 4
            elif kind in _SHORT:
                at = end + 2
            elif kind in _LONG:
                at = end + _number(data[at + 1 : end]) + 4
            elif kind in _MANY:
                deep += max(0, _number(data[at + 1 : end])) * _MANY[kind] + (kind == 124)
                at = end + 2
            else:
                raise LostTrackError("a reply has a kind that is not known")
        self._deep = deep
        return at

    def _take(self, data: bytes, at: int) -> int:
        """Take one value; the place after it, or ~place where more has to come."""
        stack = self._stack
        if stack and len(stack) == self._level and (entry := _ENTRY.match(data, at)):
            if len(entry[2]) != int(entry[1]):
                raise LostTrackError("an entry's ID has another length than it says")
            self._deep, self._then = int(entry[3]), [entry[2]]
            return entry.end()
        end = data.find(b"\r\n", at)
        if end < 0:
            return _waiting(data, at)
        kind = data[at]
        if kind in _MANY:
            return self._open(kind, _number(data[at + 1 : end]), end + 2)
        if not stack:
            self._level = self._begin()
        if kind in _LONG:
            return self._take_long(data, at, end)
        if kind not in _SHORT:
            raise LostTrackError("a reply has a kind that is not known")
        self._add(_short(kind, data[at + 1 : end]))
        return end + 2

    def _take_long(self, data: bytes, at: int, end: int) -> int:
        length = _number(data[at + 1 : end])
        if length < 0:
            self._add(None)
            return end + 2
        start, after = end + 2, end + length + 4
        if length > LONGEST:
            self._add(None)
            return after
        if after > len(data):
            return ~at
        word = data[start : start + length]
        self._add(Refusal(word) if data[at] == 33 else word)
        return after

    def _open(self, kind: int, count: int, after: int) -> int:
        items = max(0, count) * _MANY[kind]
        stack = self._stack
        if kind == 124 or (kind == 62 and not stack):
            # An attribute stands before the value that it is of; what is pushed is no reply.
            self._deep, self._then = items, _APART
        elif not stack:
            self._level = self._begin()
            # In a map an entry lies less deep by the pair of a stream and its entries.
            self._level -= kind == 37 and self._level > 1
            if not self._level:
                self._deep, self._then = items, []
            else:
                self._nest(count, items)
        elif len(stack) > self._level:
            self._deep, self._then = items, []
        else:
            self._nest(count, items)
        return after

    def _nest(self, count: int, items: int) -> None:
        if items:
            self._stack.append(([], items))
        else:
            self._add(None if count < 0 else [])

    def _add(self, value: Any) -> None:
        self._then = None
        if value is _APART:
            return
        stack = self._stack
        while stack:
            items, left = stack.pop()
            items.append(value)
            if left > 1:
                stack.append((items, left - 1))
                return
            value = items
        self._done(value)


def _short(kind: int, text: bytes) -> Any:
    if kind == 58:
        return _number(text)
    if kind == 95:
        return None
    return Refusal(text) if kind == 45 else Status(text)


def _waiting(data: bytes, at: int) -> int:
    """Wait for the end of a line that began there, ~place; it has at most 64 KiB."""
    if len(data) - at > _LONGEST_LINE:
        raise LostTrackError("a line does not end")
    return ~at
