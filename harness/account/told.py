"""What a consumer group was told, read from the logs of the proxies that its consumers go through.

    logs --epochs, in the order of time--> one `GroupHistory` a stream --> `Told`

A log has columns of entries (`harness.account.told_log`), and is read as such: in about 0.8 s of CPU time for a
million that were handed out and acknowledged one by one. What is kept is 8 bytes for an entry that was handed out,
and 8 for one that was acknowledged; together with what reading takes, 20. One that stays pending takes 80 more.

What no proxy has passed was not seen: other clients, and what scripts do. So `Told` says where it has gaps, and
only without any can it be said that something has not happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from harness.account.entry_keys import EntryKeys, among
from harness.account.group_history import CODE, GroupHistory, Moved
from harness.account.group_history import Told as Rows
from harness.account.told_log import TICK_NS, Block, Epoch, Kind, Noted, epochs
from harness.arrays import Int64s

# More commands on groups are read, and not told.
MOST_COMMANDS = 1_000


class GroupCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command on a group, and what was answered.

    Attributes:
        t_ns: when it was answered, by the machine's monotonic clock.
        connection: its number; of several logs the log's name before it.
        command: its words, with spaces between them.
        reply: as text; empty: it was never answered.
    """

    t_ns: int
    connection: str
    command: str
    reply: str


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """From when on something was not followed.

    Attributes:
        t_ns: when, by the machine's monotonic clock.
        connection: its number; of several logs the log's name before it.
        why: in words.
    """

    t_ns: int
    connection: str
    why: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a group was told.

    Attributes:
        streams: the group's history on each stream.
        keys: for the IDs of entries.
        commands: on the group, in the order of time, the first `MOST_COMMANDS`; other groups' are left out.
        gaps: what was not followed.
        scripts: how many scripts were called; what they did is not seen.
    """

    streams: Mapping[str, GroupHistory]
    keys: EntryKeys
    commands: Sequence[GroupCommand] = ()
    gaps: Sequence[Gap] = ()
    scripts: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all is seen that passed: what was not told of an entry did not pass."""
        return not self.gaps and not self.scripts and not self.keys.is_full


class About(msgspec.Struct, frozen=True, kw_only=True):
    """One command that named an entry, or handed it out.

    Attributes:
        t_ns: when it was answered, by the machine's monotonic clock.
        connection: its number; of several logs the log's name before it.
        kind: of what was told.
        consumer: who got it; empty where the command names none.
    """

    t_ns: int
    connection: str
    kind: Kind
    consumer: str


class _Reader:
    """Plays logs into histories."""

    def __init__(self, streams: Sequence[str], group: str, keys: EntryKeys) -> None:
        self._group = group.encode()
        self.keys = keys
        self.histories = {stream: GroupHistory() for stream in streams}
        self._consumers: dict[bytes, int] = {}
        self.commands: list[GroupCommand] = []
        self.gaps: list[Gap] = []

    def is_asked(self, block: Block, stream: str) -> bool:
        return block.stream == stream.encode() and block.group in {self._group, b""}

    def play(self, parts: Sequence[tuple[str, Epoch]], until: int, after: int) -> None:
        """Go on with what some logs have between two ticks.

        Args:
            parts: the name of each log, and an epoch of it.
            until: the last tick.
            after: the last tick before.
        """
        noted = sorted(
            ((each, name, epoch) for name, epoch in parts for each in epoch.noted if after < each.tick <= until),
            key=lambda each: each[0].tick,
        )
        for each, name, _ in noted:
            self._note(each, name)
        for stream, history in self.histories.items():
            self._play_stream(stream, history, parts, noted, (after, until))

    def _play_stream(
        self,
        stream: str,
        history: GroupHistory,
        parts: Sequence[tuple[str, Epoch]],
        noted: Sequence[tuple[Noted, str, Epoch]],
        span: tuple[int, int],
    ) -> None:
        after, until = span
        blocks = [(block, epoch) for _, epoch in parts for block in epoch.blocks if self.is_asked(block, stream)]
        rows, some = self._rows(blocks, after, until)
        turns: list[tuple[int, Callable[[], None]]] = [
            (tick, partial(history.acknowledge_some, keys, count)) for tick, keys, count in some
        ]
        turns += [
            (each.tick, partial(self._act, history, each, epoch))
            for each, _, epoch in noted
            if self._is_on(each, stream)
        ]
        for tick, act in sorted(turns, key=lambda turn: turn[0]):
            is_before = rows.ticks < tick
            history.play(rows.where(is_before))
            rows = rows.where(~is_before)
            act()
        history.play(rows)

    def _rows(
        self, blocks: Sequence[tuple[Block, Epoch]], after: int, until: int
    ) -> tuple[Rows, list[tuple[int, list[int], int]]]:
        """The rows of blocks between two ticks, and the XACKs that were true of a part of their entries."""
        found: list[tuple[Int64s, Int64s, Int64s, Int64s]] = []
        some: list[tuple[int, list[int], int]] = []
        for block, epoch in blocks:
            ticks, counts = ticks_of(block, epoch), np.frombuffer(block.counts, "<u4")
            keys = self.keys.of_text(block.ids)
            if block.kind == "ack_part":
                ends = np.cumsum(counts)
                answers = np.frombuffer(block.answers, "<u4")
                some += [
                    (int(tick), keys[end - count : end].tolist(), int(answer))
                    for tick, count, end, answer in zip(ticks, counts, ends, answers, strict=True)
                    if after < tick <= until
                ]
                continue
            each = np.repeat(ticks, counts)
            chosen = (each > after) & (each <= until)
            size = int(np.count_nonzero(chosen))
            consumer = self._consumers.setdefault(block.consumer, len(self._consumers))
            found.append(
                (
                    keys[chosen],
                    each[chosen],
                    np.full(size, CODE[block.kind], np.int64),
                    np.full(size, consumer, np.int64),
                )
            )
        if not found:
            return Rows(*(np.zeros(0, np.int64) for _ in range(4))), some
        return Rows(*(np.concatenate(column) for column in zip(*found, strict=True))), some

    def _is_on(self, noted: Noted, stream: str) -> bool:
        return noted.command[2:4] == (stream.encode(), self._group)

    def _note(self, noted: Noted, log: str) -> None:
        connection = f"{log}{noted.connection}"
        if noted.gap:
            of = connection if noted.connection >= 0 else ""
            self.gaps.append(Gap(t_ns=noted.tick * TICK_NS, connection=of, why=noted.gap))
        elif any(self._is_on(noted, stream) for stream in self.histories) and len(self.commands) < MOST_COMMANDS:
            self.commands.append(
                GroupCommand(
                    t_ns=noted.tick * TICK_NS,
                    connection=connection,
                    command=b" ".join(noted.command).decode("utf-8", "replace"),
                    reply=_text(noted.reply),
                )
            )

    def _act(self, history: GroupHistory, noted: Noted, epoch: Epoch) -> None:
        if noted.is_error or noted.reply is None:
            return
        what = noted.command[1].upper()
        if what == b"DELCONSUMER" and isinstance(noted.reply, int):
            name = noted.command[4]
            history.delete_consumer(self._consumers.setdefault(name, len(self._consumers)), noted.reply)
        elif what == b"DESTROY" and noted.reply:
            history.destroy()
        elif what in {b"CREATE", b"SETID"}:
            place = noted.command[4]
            wall_ns = epoch.wall_ns - (epoch.end - noted.tick) * TICK_NS
            to = None if place == b"$" else self.keys.of(place)
            history.move(Moved(tick=noted.tick, wall_ns=wall_ns, to=to), is_new=what == b"CREATE")


def read(paths: Sequence[Path], streams: Sequence[str], group: str, keys: EntryKeys | None = None) -> Told:
    """What a group was told, as logs have it; a log that is not there has nothing.

    Args:
        paths: of the logs, each of other connections.
        streams: that the group is on.
        group: its name.
        keys: for the IDs of entries; None: new ones.

    Raises:
        OSError: a log cannot be read.
        ValueError: a file is no such log.
    """
    reader = _Reader(streams, group, keys or EntryKeys())
    scripts = 0
    going = {_label(path, paths): epochs(path) for path in paths}
    loaded: dict[str, Epoch] = {}
    after = 0
    while True:
        for name in [name for name in going if name not in loaded]:
            epoch = next(going[name], None)
            if epoch is None:
                del going[name]
            else:
                loaded[name] = epoch
                scripts += epoch.scripts
        if not loaded:
            break
        # Up to there all logs are known; what the others have beyond waits.
        until = min(epoch.end for epoch in loaded.values())
        reader.play(list(loaded.items()), until, after)
        loaded = {name: epoch for name, epoch in loaded.items() if epoch.end > until}
        after = until
    return Told(
        streams=reader.histories,
        keys=reader.keys,
        commands=reader.commands,
        gaps=reader.gaps,
        scripts=scripts,
    )


def about(
    paths: Sequence[Path], stream: str, group: str, wanted: Sequence[int], keys: EntryKeys
) -> dict[int, list[About]]:
    """What was told of some entries, each in the order of time.

    Args:
        paths: of the logs.
        stream: whose entries they are.
        group: its name.
        wanted: their keys.
        keys: that made these.

    Raises:
        OSError: a log cannot be read.
        ValueError: a file is no such log.
    """
    found: dict[int, list[About]] = {key: [] for key in wanted}
    rising = np.array(sorted(found), np.int64)
    reader = _Reader([stream], group, keys)
    for path, epoch, block in _blocks(paths):
        if not reader.is_asked(block, stream):
            continue
        of_block = keys.of_text(block.ids)
        hits = np.flatnonzero(among(of_block, rising))
        if not hits.size:
            continue
        record = np.repeat(np.arange(len(block.counts) // 4), np.frombuffer(block.counts, "<u4"))
        ticks, connections = ticks_of(block, epoch), np.frombuffer(block.connections, "<u4")
        for hit in hits.tolist():
            found[int(of_block[hit])].append(
                About(
                    t_ns=int(ticks[record[hit]]) * TICK_NS,
                    connection=f"{_label(path, paths)}{connections[record[hit]]}",
                    kind=block.kind,
                    consumer=block.consumer.decode("utf-8", "replace"),
                )
            )
    return {key: sorted(each, key=lambda one: one.t_ns) for key, each in found.items()}


def _label(path: Path, paths: Sequence[Path]) -> str:
    return f"{path.stem} " if len(paths) > 1 else ""


def ticks_of(block: Block, epoch: Epoch) -> Int64s:
    """When each command of a block was answered, shape (n,)."""
    ticks: Int64s = epoch.base + np.cumsum(np.frombuffer(block.times, "<u4"), dtype=np.int64)
    return ticks


def _blocks(paths: Sequence[Path]) -> Iterator[tuple[Path, Epoch, Block]]:
    for path in paths:
        for epoch in epochs(path):
            for block in epoch.blocks:
                yield path, epoch, block


def _text(reply: int | bytes | None) -> str:
    if reply is None:
        return ""
    return str(reply) if isinstance(reply, int) else reply.decode("utf-8", "replace")
