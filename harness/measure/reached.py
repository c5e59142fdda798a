"""Probes of what the server has taken, and of the core that it runs on: what the load of a report rests upon.

`Reached` counts the events that a server has taken since it was begun, by the server's own books:

    entries-added   of XINFO STREAM, Redis 7.0 and Valkey: all that a stream was ever given, whatever was trimmed
    XLEN            what it holds, where the server is older; only where nothing trims

A look is one write and one read on a connection of its own, with commands that were packed once: at a thousand
streams it costs the run's own process less than a millisecond. XINFO STREAM answers the first and the last entry
of a stream, too; where there are many streams, or these are large, XLEN is asked, which costs a server 0.2 µs a
stream whatever it holds. Where something trims, XINFO is asked all the same, and no more than `MOST_STREAMS`.
A server that is away, or has no such counter, is a gap and never a zero, and `blind` says why; one that has lost
what it had has a smaller count, and whoever reads the curve sees that.

`CoreOf` looks at the thread that does a server's work, by the kernel's own account of it in nanoseconds
(`/proc/PID/schedstat`): how much of the time it had a core, and how much of it it wanted one and waited. So a
server that is full (it has the core) is told from one that is kept from working (it waits for the core), and from
one that waits for its disk (neither).

Rejected: asking stream by stream in turns, a few at each look. The sum is then of different moments, and a second
that was short could not be told from a stream that was not asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import hiredis

from harness.host.clock import Clock
from harness.host.contention import spent_ns
from harness.measure.probes import Sample
from harness.server.dial import DialError, ReplyError, open_socket, packed, read_replies
from harness.server.tls_stream import Connection
from harness.server.url import ServerUrl

# A look asks no more streams than this, and XINFO of no more than a few, unless something trims them.
MOST_STREAMS = 1_000
_FEW_STREAMS = 16
# For a look; a server that takes longer leaves a gap.
_TIMEOUT_S = 0.5
# What XINFO may answer in one look before XLEN is asked instead.
_LARGE_BYTES = 65_536
_LONGEST_TOLD = 120

Counter = Literal["entries-added", "length"]


class Reached:
    """How many events some streams have been given since `begin`.

    Args:
        url: of the server.
        streams: that the load appends to, at most `MOST_STREAMS`.
        trims: whether something removes events from them meanwhile.
        load: which of several loads they are of; empty: the only one.

    Attributes:
        counter: that is asked.
        blind: why a server that answers has not said how many; empty where it has.

    Raises:
        ValueError: too many streams.
    """

    def __init__(
        self, url: ServerUrl | str, streams: Sequence[str], *, trims: bool = False, load: str = ""
    ) -> None:
        if len(streams) > MOST_STREAMS:
            raise ValueError(f"a look asks at most {MOST_STREAMS} streams, not {len(streams)}")
        self._url = url
        self._streams = list(streams)
        self._trims = trims
        self._labels = {"load": load} if load else {}
        self._socket: Connection | None = None
        self._before: int | None = 0
        self.blind = ""
        self.counter: Counter = "entries-added" if trims or len(streams) <= _FEW_STREAMS else "length"
        self._packed = self._pack()

    def begin(self) -> None:
        """From now on count; what is in the streams already does not."""
        self._before = self._count()

    def read(self) -> list[Sample]:
        """`load.reached`; nothing while the server is away, or has no such counter."""
        count = self._count()
        if count is None or self._before is None:
            return []
        return [Sample("load.reached", float(count - self._before), "events", self._labels)]

    def close(self) -> None:
        """Close its connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _pack(self) -> bytes:
        words = ("XINFO", "STREAM") if self.counter == "entries-added" else ("XLEN",)
        return b"".join(packed(*words, stream) for stream in self._streams)

    def _count(self) -> int | None:
        with contextlib.suppress(OSError, DialError, hiredis.ProtocolError):
            replies, size = self._ask()
            counts = [_counted(reply) for reply in replies]
            if None not in counts:
                if size > _LARGE_BYTES and not self._trims:
                    # Both say the same where nothing is removed; what was counted so far stands.
                    self.counter = "length"
                    self._packed = self._pack()
                return sum(count or 0 for count in counts)
            if self.counter == "entries-added" and not self._trims:
                self.counter = "length"
                self._packed = self._pack()
                replies, _ = self._ask()
                counts = [_counted(reply) for reply in replies]
                if None not in counts:
                    return sum(count or 0 for count in counts)
            self.blind = next(_why_not(reply) for reply in replies if _counted(reply) is None)
            return None
        self.close()
        return None

    def _ask(self) -> tuple[list[Any], int]:
        """The reply for each stream, and how many bytes they were.

        Raises:
            OSError, DialError, hiredis.ProtocolError: there is none.
        """
        if self._socket is None:
            self._socket = open_socket(self._url, _TIMEOUT_S)
        self._socket.sendall(self._packed)
        return read_replies(self._socket, len(self._streams))


def _counted(reply: Any) -> int | None:
    """What a reply says of a stream; one that is not there yet has been given nothing; None: it does not say."""
    if isinstance(reply, int):
        return reply
    if isinstance(reply, ReplyError):
        return 0 if "no such key" in str(reply) else None
    if not isinstance(reply, list):
        return None
    facts = dict(zip(reply[::2], reply[1::2], strict=False))
    added = facts.get(b"entries-added")
    return added if isinstance(added, int) else None


def _why_not(reply: Any) -> str:
    """Why a reply does not say how many."""
    if isinstance(reply, ReplyError):
        return f"the server answers {str(reply)[:_LONGEST_TOLD]}"
    if isinstance(reply, list):
        return (
            "the server does not count `entries-added`, which Redis does from 7.0 on, and its streams are trimmed"
        )
    return "what the server answers says nothing of a stream"


class CoreOf:
    """How much of a core a server's working thread has, and how much more it would have taken.

    Args:
        pid: answers its process id, or None where there is none to see.
        clock: for the shares.
    """

    def __init__(self, pid: Callable[[], int | None], clock: Clock) -> None:
        self._pid = pid
        self._clock = clock
        self._before: tuple[int, int, int, int] | None = None

    def read(self) -> list[Sample]:
        """`server.core_share` and `server.core_wait_share`, of the time since the last look."""
        pid, now_ns = self._pid(), self._clock.now_ns()
        spent = None if pid is None else spent_ns(pid)
        before, self._before = self._before, None if pid is None or spent is None else (pid, now_ns, *spent)
        if before is None or self._before is None or before[0] != pid or now_ns <= before[1]:
            return []
        _, _, had_ns, waited_ns = self._before
        took_ns = now_ns - before[1]
        return [
            Sample("server.core_share", max(0.0, (had_ns - before[2]) / took_ns), "cores"),
            Sample("server.core_wait_share", max(0.0, (waited_ns - before[3]) / took_ns), "cores"),
        ]
