"""Writes down what groups were told, in the format of `harness.account.told_log`."""

from __future__ import annotations

import itertools
import operator
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.account.told_log import MAGIC, TICK_NS, Block, Epoch, Kind, Noted, packed
from harness.host.clock import Clock
from harness.nemesis.proxy.words import Told

# It is written at the latest when it holds so much, and so often while something comes.
_HOLDS_IDS = 8_000
WRITES_NS = 500_000_000
# A disk is no endless thing, and neither is what a broken consumer may say of groups.
_LOG_BYTES = 4 << 30
_MOST_NOTED = 200_000


class _Column:
    """What one kind of command has told of one stream since the last time of writing."""

    __slots__ = ("answers", "connections", "counts", "ids", "ticks")

    def __init__(self) -> None:
        self.ticks = array("Q")
        self.connections = array("I")
        self.counts = array("I")
        self.answers = array("I")
        self.ids: list[bytes] = []


class ToldWriter:
    """Writes the log of what groups were told.

    Args:
        path: of the log.
        clock: for times.

    Raises:
        OSError: it cannot be made.

    Attributes:
        untold: why it is not written any more; empty: it is.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._file = path.open("wb", buffering=0)
        self._size = 0
        self._tick = self._base = clock.now_ns() // TICK_NS
        self._columns: dict[tuple[Kind, int, bytes, bytes, bytes], _Column] = {}
        self._held = 0
        self._noted: list[Noted] = []
        self._count_noted = 0
        self._scripts = 0
        self._is_full = False
        self.untold = ""

    @property
    def holds(self) -> bool:
        """Whether there is something that was not written yet."""
        return bool(self._held or self._noted or self._scripts)

    def is_due(self, now_ns: int) -> bool:
        """Whether what it holds is to be written now."""
        return self._held > _HOLDS_IDS or (self.holds and now_ns - self._base * TICK_NS > WRITES_NS)

    def _next_tick(self, t_ns: int) -> int:
        self._tick = max(self._tick + 1, t_ns // TICK_NS)
        return self._tick

    def add(self, told: Told, *, t_ns: int, connection: int, db: int) -> None:
        """Note what entries were told.

        Args:
            told: of at least one entry, or nothing is noted.
            t_ns: when, by the clock.
            connection: its number.
            db: in which database.
        """
        if not told.ids or self._is_full:
            return
        key = told.kind, db, told.stream, told.group, told.consumer
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = _Column()
        column.ticks.append(self._next_tick(t_ns))
        column.connections.append(connection)
        column.counts.append(len(told.ids))
        if told.kind == "ack_part":
            column.answers.append(told.answer)
        column.ids += told.ids
        self._held += len(told.ids) + 1

    def note(self, make: Callable[[int], Noted], t_ns: int) -> None:
        """Note a command on a group, or that a connection is not followed any more.

        Args:
            make: it, from its tick.
            t_ns: when, by the clock.
        """
        if self._is_full:
            return
        self._count_noted += 1
        noted = make(self._next_tick(t_ns))
        self._noted.append(noted)
        if self._count_noted >= _MOST_NOTED:
            self._fill_up("more commands on groups came than are kept")

    def add_script(self) -> None:
        """Note that a script was called."""
        self._scripts += 1

    def _fill_up(self, why: str) -> None:
        self._noted.append(Noted(tick=self._tick + 1, connection=-1, db=0, gap=why))
        self._is_full = True

    def write(self) -> None:
        """Write all that it holds; where that fails, `untold` says why, and nothing is written any more."""
        if not self.holds:
            return
        now = self._next_tick(self._clock.now_ns())
        epoch = Epoch(
            base=self._base,
            end=now,
            wall_ns=self._clock.wall_ns(),
            blocks=tuple(_block(key, column, self._base) for key, column in self._columns.items()),
            noted=tuple(self._noted),
            scripts=self._scripts,
        )
        self._columns.clear()
        self._noted.clear()
        self._held = self._scripts = 0
        self._base = now
        self._append(packed(epoch))
        if self._size > _LOG_BYTES and not self._is_full:
            self._fill_up("the log is full")

    def _append(self, frame: bytes) -> None:
        if self.untold:
            return
        try:
            self._file.write(frame if self._size else MAGIC + frame)
            self._size += len(frame)
        except OSError as error:
            self._is_full, self.untold = True, error.strerror or "it cannot be written"

    def close(self) -> None:
        """Write what it holds, and close the file."""
        self.write()
        self._file.close()


def _block(key: tuple[Kind, int, bytes, bytes, bytes], column: _Column, base: int) -> Block:
    kind, db, stream, group, consumer = key
    ticks = column.ticks
    return Block(
        kind=kind,
        db=db,
        stream=stream,
        group=group,
        consumer=consumer,
        times=array("I", map(operator.sub, ticks, itertools.chain([base], ticks))).tobytes(),
        connections=column.connections.tobytes(),
        counts=column.counts.tobytes(),
        answers=column.answers.tobytes(),
        ids=_joined(column.ids),
    )


def _joined(ids: Sequence[bytes]) -> bytes:
    joined = b",".join(ids)
    # Who acknowledges may leave out the second half of an ID, which is 0 then.
    if joined.count(b"-") == len(ids):
        return joined
    return b",".join([each if b"-" in each else each + b"-0" for each in ids])
