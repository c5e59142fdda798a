"""Commands and replies by hiredis, which is 25 times as fast as `resp`, as long as it can be trusted with them.

    bytes --> hiredis --values-->                   as a rule: 0.7 µs for an entry of six fields
         `--> `resp`, from the last clean place     lines, what is long, what hiredis refuses or cannot tell apart

hiredis holds a whole reply before it gives it, makes objects of all that is in it, reads no lines as commands,
takes what is said about a value for a value, and does not say where in the bytes it stands. So the bytes since the
last clean place, one where nothing was half read, are kept, at most `HOLDS_BYTES`. What is longer, or looks like
any of these, is read again from there by `resp`, without what was given already, until that is at a clean place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import hiredis

from harness.nemesis.proxy.resp import LONGEST, Commands, Refusal, Replies

HOLDS_BYTES = 1 << 20
_MORE = object()
# hiredis makes whatever it is told to, though its types say an exception.
_REFUSAL: Any = Refusal.of_text


class _Exact(Protocol):
    """A reader of `resp`."""

    @property
    def is_clean(self) -> bool: ...

    def feed(self, data: bytes) -> None: ...


class _Fast:
    """What both directions have in common.

    Args:
        give: gets each value that hiredis has found.
        exactly: makes the reader that is asked where hiredis cannot be.
        looks_odd: whether hiredis would misread what came; None: it never does.
        is_odd: whether hiredis has misread a value; None: it never does.
    """

    def __init__(
        self,
        give: Callable[[Any], None],
        exactly: Callable[[], _Exact],
        *,
        looks_odd: Callable[[bytes], bool] | None = None,
        is_odd: Callable[[Any], bool] | None = None,
    ) -> None:
        self._give = give
        self._exactly = exactly
        self._looks_odd = looks_odd
        self._is_odd = is_odd
        self._reader = self._new()
        self._exact: _Exact | None = None
        # Since the last clean place: what came, how much of it, and how many values were given.
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._given = 0
        # So many values are found again, and were given already.
        self.again = 0

    @staticmethod
    def _new() -> Any:
        return hiredis.Reader(notEnoughData=_MORE, replyError=_REFUSAL)

    def feed(self, data: bytes) -> None:
        """Take what came next.

        Raises:
            LostTrackError: it cannot be told apart any more.
        """
        if self._exact is not None:
            self._feed_exact(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        is_odd = self._looks_odd is not None and self._looks_odd(data)
        if self._held_bytes > HOLDS_BYTES or is_odd or not self._read(data):
            held, self.again = self._held, self._given
            self._held, self._held_bytes, self._given = [], 0, 0
            self._exact = self._exactly()
            self._feed_exact(b"".join(held))

    def _feed_exact(self, data: bytes) -> None:
        exact = self._exact
        if exact is not None:
            exact.feed(data)
            if exact.is_clean:
                self._exact, self._reader = None, self._new()

    def _read(self, data: bytes) -> bool:
        """Have hiredis read; whether it could."""
        reader = self._reader
        reader.feed(data)
        while True:
            try:
                value = reader.gets()
            except (hiredis.HiredisError, TypeError):
                return False
            if value is _MORE:
                return True
            if self._is_odd is not None and self._is_odd(value):
                return False
            self._given += 1
            self._give(value)
            if not reader.has_data():
                self._held, self._held_bytes, self._given = [], 0, 0
                return True


class FastCommands(_Fast):
    """Finds commands in what a client sends.

    Args:
        wanted: the names of those whose words are kept, as capitals; `Commands` has more on it.
        done: gets the words of each command; only the name of one that is not wanted.
    """

    def __init__(self, wanted: frozenset[bytes], done: Callable[[list[bytes | None]], None]) -> None:
        super().__init__(
            self._named, lambda: Commands(wanted, self._done_again), is_odd=lambda value: not _is_command(value)
        )
        self._wanted = wanted
        self._done = done

    def _named(self, words: list[bytes]) -> None:
        name = words[0].upper()
        if name in self._wanted:
            self._done([name, *[each if len(each) <= LONGEST else None for each in words[1:]]])
        else:
            self._done([name])

    def _done_again(self, words: list[bytes | None]) -> None:
        if self.again:
            self.again -= 1
        else:
            self._done(words)


class FastReplies(_Fast):
    """Finds replies in what a server sends.

    Args:
        begin: asked how deep entries lie in a reply, by `Replies`, which has more on it.
        done: gets each reply, what is pushed left out. A map is a dictionary, or a list of its keys and values.
    """

    def __init__(self, begin: Callable[[], int], done: Callable[[Any], None]) -> None:
        super().__init__(
            self._not_pushed,
            lambda: Replies(lambda: 0 if self.again else begin(), self._done_again),
            # What is said about a value: hiredis takes it for one.
            looks_odd=lambda data: data[:1] == b"|" or b"\n|" in data,
        )
        self._done = done

    def _not_pushed(self, value: Any) -> None:
        if type(value) is hiredis.PushNotification:
            self._given -= 1
        else:
            self._done(value)

    def _done_again(self, value: Any) -> None:
        if self.again:
            self.again -= 1
        else:
            self._done(value)


def _is_command(value: Any) -> bool:
    return type(value) is list and bool(value) and all(type(word) is bytes for word in value)
