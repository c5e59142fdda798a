"""Follows what clients ask of Redis, and what they are answered, from the bytes that a proxy has passed.

    bytes, as they pass --hear--> waiting --work--> commands --asked--> queue --\\
                                                    replies --- values --------- matched in order --> log

Passing comes first: `hear` keeps a reference to a chunk and its time. They are read in lots, when nothing waits to
be passed: looking for that between any two chunks would take longer than reading them. Replies come in the order
of their commands, connection by connection, so the first that was asked is the first that is answered. In a
transaction the answers to its commands come with that of EXEC.

A connection is followed as long as that is certain. From then on it is noted as not followed, with the reason:
it is encrypted, breaks the protocol, asks for no replies, listens to channels and then asks for something else, or
has more under way than is kept. What a script does is not seen; that scripts were called is counted.

Of what is not about groups nothing is kept, and of AUTH and HELLO not a word but the name. What the proxy has lost
in a half-open cut was not asked, as the server has never heard it; what the server has answered counts as told,
also if the client never heard that.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from harness.account.told_log import Noted
from harness.host.clock import Clock
from harness.nemesis.proxy.fast import FastCommands, FastReplies
from harness.nemesis.proxy.noting import WRITES_NS, ToldWriter
from harness.nemesis.proxy.resp import LostTrackError, Refusal
from harness.nemesis.proxy.words import ASKED, Asked, OnGroup, Words, asked

# What passed is read in lots: so old or so large. More is not kept unread.
_LOT_NS, _LOT_BYTES = 20_000_000, 256 << 10
HOLDS_BYTES = 4 << 20
# Who reads looks after so long whether something waits to be passed.
_SLICE_NS = 200_000
# Of one connection no more commands are under way, and no more of their words are kept.
_MOST_ASKED = 1 << 20

_SCRIPTS = frozenset({b"EVAL", b"EVALSHA", b"FCALL"})
_LISTENS = frozenset({b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE"})
_WHILE_IT_LISTENS = _LISTENS | {b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE", b"PING", b"QUIT"}
_NO_REPLIES = frozenset({b"MONITOR", b"SYNC", b"PSYNC"})
_STATES = frozenset({b"MULTI", b"EXEC", b"DISCARD", b"RESET", b"SELECT"})
_WANTED = ASKED | {b"SELECT", b"CLIENT"}


class _State(Asked):
    """A command that changes how the connection is read: MULTI, EXEC, DISCARD, RESET, SELECT."""

    level = 0


class _Connection:
    """One connection, followed."""

    def __init__(self, number: int, writer: ToldWriter) -> None:
        self._number = number
        self._writer = writer
        self._commands = FastCommands(_WANTED, self._asks)
        self._replies = FastReplies(self._level_of_next, self._answers)
        # None: a command that tells nothing.
        self._asked: collections.deque[Asked | None] = collections.deque()
        self._words = 0
        # What EXEC will answer; None: there is no transaction.
        self._queued: list[Asked | None] | None = None
        self._db = 0
        self._t_ns = 0
        self._listens = False
        self._is_lost = False

    def take(self, data: bytes, t_ns: int, *, is_reply: bool) -> None:
        """Read what has passed."""
        if self._is_lost or (is_reply and self._listens):
            return
        self._t_ns = t_ns
        try:
            (self._replies if is_reply else self._commands).feed(data)
        except LostTrackError as error:
            self._lose(str(error))

    def end(self, t_ns: int) -> None:
        """It was closed: what waits for a reply will have none."""
        self._t_ns = t_ns
        self._leave_unanswered()

    def _lose(self, why: str) -> None:
        self._is_lost = True
        self._leave_unanswered()
        number, db = self._number, self._db
        self._writer.note(lambda tick: Noted(tick=tick, connection=number, db=db, gap=why), self._t_ns)

    def _leave_unanswered(self) -> None:
        for each in (*(self._queued or ()), *self._asked):
            if isinstance(each, OnGroup):
                self._note(each.words, None)
            elif each is not None:
                for told in each.unanswered():
                    self._writer.add(told, t_ns=self._t_ns, connection=self._number, db=self._db)
        self._asked.clear()
        self._queued = None
        self._words = 0

    # Commands -------------------------------------------------------------------------------------------

    def _asks(self, words: list[bytes | None]) -> None:
        name = words[0] or b""
        if self._listens and name not in _WHILE_IT_LISTENS:
            raise LostTrackError("it asks for something else while it listens to channels")
        if name in ASKED:
            self._put(asked(words))
        elif name in _STATES:
            self._put(_State(words))
        elif name in _LISTENS:
            self._leave_unanswered()
            self._listens = True
        elif name in _NO_REPLIES or (name == b"CLIENT" and _word(words, 1) == b"REPLY"):
            raise LostTrackError("replies do not follow commands any more")
        else:
            if name in _SCRIPTS:
                self._writer.add_script()
            self._put(None)

    def _put(self, asks: Asked | None) -> None:
        self._asked.append(asks)
        self._words += 1 if asks is None else asks.size
        if self._words > _MOST_ASKED:
            raise LostTrackError("more is under way than is kept")

    # Replies --------------------------------------------------------------------------------------------

    def _level_of_next(self) -> int:
        if not self._asked:
            raise LostTrackError("a reply came to no command")
        first = self._asked[0]
        if first is None:
            return 0
        if isinstance(first, _State) and first.words[0] == b"EXEC" and self._queued:
            return 1 + max((each.level for each in self._queued if each is not None), default=0)
        return first.level

    def _answers(self, reply: Any) -> None:
        first = self._asked.popleft()
        self._words -= 1 if first is None else first.size
        if isinstance(first, _State):
            self._change(first, reply)
        elif self._queued is not None and reply == b"QUEUED":
            self._queued.append(first)
        elif first is not None:
            self._tell(first, reply)

    def _change(self, state: _State, reply: Any) -> None:
        if isinstance(reply, Refusal):
            if state.words[0] == b"EXEC":
                self._queued = None
            return
        name = state.words[0]
        if name == b"SELECT" and self._queued is not None:
            self._queued.append(state)
        elif name == b"SELECT":
            self._select(state.words)
        elif name == b"MULTI":
            self._queued = []
        else:
            queued, self._queued = self._queued, None
            if name == b"EXEC" and isinstance(reply, list):
                self._execute(queued or (), reply)
            elif name == b"RESET":
                self._db = 0

    def _execute(self, queued: Sequence[Asked | None], replies: list[Any]) -> None:
        if len(queued) != len(replies):
            raise LostTrackError("a transaction has other replies than commands")
        for each, reply in zip(queued, replies, strict=True):
            if isinstance(each, _State):
                self._select(each.words)
            elif each is not None:
                self._tell(each, reply)

    def _select(self, words: Words) -> None:
        with contextlib.suppress(ValueError, IndexError):
            self._db = int(words[1] or b"")

    def _tell(self, asks: Asked, reply: Any) -> None:
        if isinstance(asks, OnGroup):
            self._note(asks.words, reply)
        elif not isinstance(reply, Refusal):
            for told in asks.told(reply):
                self._writer.add(told, t_ns=self._t_ns, connection=self._number, db=self._db)

    def _note(self, words: Words, reply: Any) -> None:
        command = tuple(each if each is not None else b"?" for each in words[:16])
        said = reply if isinstance(reply, int | bytes) else None
        number, db = self._number, self._db
        self._writer.note(
            lambda tick: Noted(
                tick=tick,
                connection=number,
                db=db,
                command=command,
                reply=bytes(said) if isinstance(said, bytes) else said,
                is_error=isinstance(reply, Refusal),
            ),
            self._t_ns,
        )


def _word(words: Words, at: int) -> bytes:
    return (words[at] or b"").upper() if at < len(words) else b""


class Follower:
    """Follows the connections of a proxy, and writes down what groups were told.

    Args:
        writer: of the log.
        clock: for times.
    """

    def __init__(self, writer: ToldWriter, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._connections: dict[int, _Connection] = {}
        # (connection, whether it is a reply, time, bytes); None: it was closed.
        self._waiting: collections.deque[tuple[int, bool, int, bytes | None]] = collections.deque()
        self._waiting_bytes = 0

    @property
    def untold(self) -> str:
        """Why nothing is written any more; empty: it is."""
        return self._writer.untold

    @property
    def writes_within_s(self) -> float | None:
        """When it wants to be asked to work, at the latest, in seconds; None: when something has passed."""
        if self._waiting:
            return _LOT_NS / 1e9
        return WRITES_NS / 1e9 if self._writer.holds else None

    def hear(self, connection: int, data: bytes | None, *, is_reply: bool) -> None:
        """Take what passes, and read it later.

        Args:
            connection: its number.
            data: None: the connection was closed.
            is_reply: whether the server sends it.
        """
        self._waiting.append((connection, is_reply, self._clock.now_ns(), data))
        self._waiting_bytes += len(data or b"")

    def work_while(self, is_idle: Callable[[], bool]) -> None:
        """Read what waits, and write from time to time.

        Args:
            is_idle: whether nothing waits to be passed; asked every `_SLICE_NS`, as long as not too much waits.
        """
        now_ns = self._clock.now_ns()
        if self._waiting and (self._waiting_bytes > _LOT_BYTES or now_ns - self._waiting[0][2] > _LOT_NS):
            while self._waiting and (self._waiting_bytes > HOLDS_BYTES or is_idle()):
                self._work_until(self._clock.now_ns() + _SLICE_NS)
        if self._writer.is_due(now_ns):
            self._writer.write()

    def _work_until(self, end_ns: int) -> None:
        while self._waiting:
            self._work()
            if self._clock.now_ns() > end_ns:
                return

    def _work(self) -> None:
        number, is_reply, t_ns, data = self._waiting.popleft()
        self._waiting_bytes -= len(data or b"")
        if data is None:
            ended = self._connections.pop(number, None)
            if ended is not None:
                ended.end(t_ns)
            return
        connection = self._connections.get(number)
        if connection is None:
            connection = self._connections[number] = _Connection(number, self._writer)
        connection.take(data, t_ns, is_reply=is_reply)

    def catch_up(self) -> None:
        """Read all that waits, and write it."""
        while self._waiting:
            self._work()
        self._writer.write()

    def close(self) -> None:
        """Read and write all that there is, and close the log."""
        while self._waiting:
            self._work()
        for each in self._connections.values():
            each.end(self._clock.now_ns())
        self._writer.close()
