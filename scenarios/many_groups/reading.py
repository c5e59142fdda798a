"""Who reads: processes of ours, each with one connection, that read for many groups.

    crowd     for each of its groups: XREADGROUP, many of them in one write; then XACK of all that came, in another
    witness   one group by itself, one command after the other, each of which is timed:
              XREADGROUP, XACK of what came, XAUTOCLAIM of what others have pending there

A process has turns as the load has, and begins one `every_ms` after the one before; where a round takes longer,
the next begins at once. What the witness waits for is what a consumer of that group would.

Rejected: a process for each group. Five thousand processes would have the machine, not the groups, measured.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import hiredis
from msgspec import Struct

from harness.host.child import Channel, Child, ChildError
from harness.host.clock import Clock, SystemClock
from harness.measure.recorder import Interval, Recorder
from harness.server.dial import DialError, ReplyError, open_socket, read_replies
from harness.server.tls_stream import Connection
from harness.server.url import ServerUrl
from scenarios.many_groups.turns import Turns

# Commands in one write; and entries that XAUTOCLAIM takes over at once.
DEPTH, CLAIMED = 64, 10
OPERATIONS = ("read", "ack", "claim")
_TIMEOUT_S = 30.0


class Reader(Struct, frozen=True, kw_only=True):
    """What a reading process is told.

    Attributes:
        url: of the server.
        turns: of the load.
        streams: of each kind.
        groups: that it reads on each of them.
        consumer: its name in all of these groups.
        page: entries that a group may be given at once.
        every_ms: from one round to the next.
        is_witness: whether it times each command of its one group.
    """

    url: ServerUrl
    turns: Turns
    streams: tuple[str, str]
    groups: tuple[tuple[str, ...], tuple[str, ...]]
    consumer: str
    page: int
    every_ms: float
    is_witness: bool


class WasRead(Struct, frozen=True, kw_only=True):
    """What a reading process has done.

    Attributes:
        delivered: entries that it was given, in the turns of each kind.
        acked: of these, that it has acknowledged.
        claimed: entries that it took over.
        rounds: how often it has gone over its groups, in the turns of each kind.
        intervals: what a witness has timed.
        error: why it ended early; empty: it did not.
    """

    delivered: list[int]
    acked: list[int]
    claimed: list[int]
    rounds: list[int]
    intervals: list[Interval]
    error: str = ""


class Reading:
    """Some reading processes, from their start to what they have done.

    Args:
        readers: what each is told.

    Raises:
        ChildError: one does not start.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._children: list[Child] = []
        try:
            for reader in readers:
                self._children.append(Child("scenarios.many_groups.reading:main", reader))
        except BaseException:
            self.close()
            raise

    def wait_until_ready(self) -> None:
        """Wait until each is connected.

        Raises:
            ChildError: one is not.
        """
        for child in self._children:
            answer = child.receive() if child.has_message(_TIMEOUT_S) else "a reader does not report"
            if answer:
                raise ChildError(answer)

    def begin(self, origin_ns: int) -> None:
        """Start with the load.

        Raises:
            ChildError: one has ended.
        """
        for child in self._children:
            child.send(origin_ns)

    def results(self) -> list[WasRead]:
        """What they have done, when the load is over.

        Raises:
            ChildError: one does not report.
        """
        found = []
        for child in self._children:
            if not child.has_message(_TIMEOUT_S):
                raise ChildError("a reader does not report")
            found.append(child.receive())
        return found

    def close(self) -> None:
        """End them, whatever they do."""
        for child in self._children:
            child.close()


# In the process -------------------------------------------------------------------------------------------------


def main(channel: Channel, reader: Reader) -> None:
    """Read until the load is over."""
    clock = SystemClock()
    try:
        connection = open_socket(reader.url, _TIMEOUT_S)
    except (OSError, DialError) as error:
        channel.send(f"a reader cannot connect: {reader.url.masked(str(error))}")
        return
    with contextlib.closing(connection):
        channel.send("")
        origin_ns = channel.receive()
        channel.send((_Witness if reader.is_witness else _Crowd)(reader, connection, clock, origin_ns).run())


class _Rounds:
    """Rounds over the groups whose turn it is."""

    def __init__(self, reader: Reader, connection: Connection, clock: Clock, origin_ns: int) -> None:
        self.reader = reader
        self.connection = connection
        self.clock = clock
        self.origin_ns = origin_ns
        self.recorder = Recorder(origin_ns)
        self.delivered, self.acked, self.claimed, self.rounds = ([0, 0] for _ in range(4))
        self._reads = [
            [_read_of(group, reader, stream) for group in groups]
            for stream, groups in zip(reader.streams, reader.groups, strict=True)
        ]

    def run(self) -> WasRead:
        """Go on until the load is over."""
        turns, every_ns = self.reader.turns, int(self.reader.every_ms * 1e6)
        error = ""
        due_ns = self.origin_ns
        try:
            while due_ns < self.origin_ns + turns.load_s * 1_000_000_000:
                self.clock.sleep_ns(max(0, due_ns - self.clock.now_ns()))
                kind = turns.kind_at(due_ns - self.origin_ns)
                self.go_over(kind, due_ns)
                self.rounds[kind] += 1
                due_ns = max(due_ns + every_ns, self.clock.now_ns())
        except (OSError, ReplyError, hiredis.ProtocolError) as failed:
            error = self.reader.url.masked(" ".join(str(failed).split())) or type(failed).__name__
        return WasRead(
            delivered=self.delivered,
            acked=self.acked,
            claimed=self.claimed,
            rounds=self.rounds,
            intervals=self.recorder.intervals(),
            error=error,
        )

    def go_over(self, kind: int, due_ns: int) -> None:
        """Read for the groups of a kind once."""
        raise NotImplementedError

    def ask(self, commands: Sequence[bytes]) -> list[Any]:
        """Send commands in one write; their replies.

        Raises:
            OSError, hiredis.ProtocolError: the connection is lost.
            ReplyError: one is refused.
        """
        self.connection.sendall(b"".join(commands))
        replies, _ = read_replies(self.connection, len(commands))
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise reply
        return replies


class _Crowd(_Rounds):
    """Many groups in one write."""

    def go_over(self, kind: int, due_ns: int) -> None:  # noqa: ARG002 - as a witness is told
        reads = self._reads[kind]
        stream, groups = self.reader.streams[kind], self.reader.groups[kind]
        for first in range(0, len(reads), DEPTH):
            replies = self.ask(reads[first : first + DEPTH])
            acks = [
                _packed("XACK", stream, group, *ids)
                for group, reply in zip(groups[first : first + DEPTH], replies, strict=True)
                if (ids := _ids(reply))
            ]
            self.delivered[kind] += sum(len(_ids(reply)) for reply in replies)
            if acks:
                self.acked[kind] += sum(self.ask(acks))


class _Witness(_Rounds):
    """One group, one timed command after the other."""

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self._cursors = [b"0-0", b"0-0"]

    def go_over(self, kind: int, due_ns: int) -> None:
        stream, [group] = self.reader.streams[kind], self.reader.groups[kind]
        ids = _ids(self._timed("read", self._reads[kind][0], due_ns))
        self.delivered[kind] += len(ids)
        if ids:
            self.acked[kind] += self._timed("ack", _packed("XACK", stream, group, *ids))
        # Whatever is pending there counts as left behind: the walk over the list is what is timed.
        claim = _packed(
            *("XAUTOCLAIM", stream, group, self.reader.consumer, "0", self._cursors[kind], "COUNT", CLAIMED)
        )
        answer = self._timed("claim", claim)
        self._cursors[kind] = answer[0]
        self.claimed[kind] += len(answer[1])

    def _timed(self, operation: str, command: bytes, due_ns: int | None = None) -> Any:
        start_ns = self.clock.now_ns()
        [reply] = self.ask([command])
        self.recorder.record_one(operation, start_ns if due_ns is None else due_ns, start_ns, self.clock.now_ns())
        return reply


def _read_of(group: str, reader: Reader, stream: str) -> bytes:
    words = "GROUP", group, reader.consumer, "COUNT", reader.page, "STREAMS", stream, ">"
    return _packed("XREADGROUP", *words)


def _packed(*words: str | int | bytes) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub allows one part only
    return packed


def _ids(reply: Any) -> list[bytes]:
    """The IDs that a reply of XREADGROUP brings; none where there is nothing new."""
    return [entry[0] for entry in reply[0][1]] if reply else []


def readers_of(
    url: ServerUrl,
    turns: Turns,
    streams: tuple[str, str],
    *,
    groups: Sequence[str],
    processes: int,
    page: int,
    every_ms: float,
) -> Iterator[Reader]:
    """Who reads some groups: the witness the first, which is there on both streams; a crowd the others.

    Args:
        groups: that are read on the second stream.
        processes: that the crowd is, at most.
        page, every_ms: as `Reader` has them.
    """
    first, *others = groups

    def reader(consumer: str, one: Sequence[str], many: Sequence[str]) -> Reader:
        return Reader(
            url=url,
            turns=turns,
            streams=streams,
            groups=(tuple(one), tuple(many)),
            consumer=consumer,
            page=page,
            every_ms=every_ms,
            is_witness=bool(one),
        )

    yield reader("witness", [first], [first])
    for number in range(min(processes, len(others))):
        yield reader(f"reader-{number + 1}", [], others[number::processes])
