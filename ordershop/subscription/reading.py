"""Reads pages of several streams: a consumer's own pending events first, then new ones.

A page is read in slices, so that server and consumer work at once; before an effect begins, everything that had
its effect before is acknowledged:

    server     slice 1 | slice 2   | slice 3   | XACK page before |                  | slice 1 ...
    consumer           | decode 1  | decode 2  | decode 3         | effect on 1 to 3 |         ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ordershop.codec import StreamEntry
from ordershop.entities import Topic
from ordershop.events import Action
from ordershop.subscription.delivery import received
from ordershop.subscription.failures import Failures
from ordershop.subscription.group import Group
from ordershop.subscription.link import START, Link, pages_by_stream
from ordershop.subscription.merge import Merge

SLICES = 4
SMALLEST_SLICE = 125


class Reader:
    """Reads for a consumer of a group; what comes waits in `merge`.

    Args:
        link: to the server.
        group: the consumer's.
        sources: topic and action of each stream.
        failures: of the consumer; what comes again need not be waited for.
        page: how many events are asked for at a time, of each stream.
        block_ms: how long the server waits for new events.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        link: Link,
        group: Group,
        sources: Mapping[str, tuple[Topic, Action]],
        failures: Failures,
        *,
        page: int,
        block_ms: int,
        clock: Callable[[], float],
    ) -> None:
        self._link = link
        self._group = group
        self._sources = sources
        self._failures = failures
        # How many slices a page is asked for in, and of how many events each: small pages come in one.
        self._slices = max(1, min(SLICES, page // SMALLEST_SLICE))
        self._slice = page // self._slices
        self._block_ms = block_ms
        self._clock = clock
        self.merge = Merge(list(sources), self._slice)
        # Streams whose own pending events are still being read, with the ID to go on behind.
        self._pending_from: dict[str, str] = {}
        # Whether the last answer was a full one, so that more is there.
        self._is_behind = False
        # When each stream was asked, of which nothing waited: nothing of it has been in hand for longer.
        self._asked_at = dict.fromkeys(sources, 0.0)

    def begin(self, *, with_pending: bool) -> None:
        """Begin anew: forget what waits, and read pending events first where there can be any."""
        self.merge.clear()
        self._is_behind = False
        self._pending_from = dict.fromkeys(self._sources, START) if with_pending else {}

    def read_pending(self, stream: str) -> None:
        """Read the pending events of a stream next, from the first one."""
        self._pending_from[stream] = START

    @property
    def in_hand_since(self) -> float:
        """No event has been in hand for longer than since then."""
        return min(self._asked_at.values())

    def hold_since(self, now: float) -> None:
        """Everything in hand has been taken anew."""
        self._asked_at = dict.fromkeys(self._sources, now)

    def read(self) -> None:
        """Acknowledge, and ask for a page of each stream of which nothing waits.

        The server is kept busy while a slice is decoded: with the next one, or behind the last one with the
        acknowledgements. Where there may be no next page they go in front of the read.
        """
        # Pending events may be read from the start, so that what waits of their stream would come twice.
        hungry = self.merge.hungry
        asked = [each for each in hungry if each not in self._pending_from or not self.merge.holds(each)]
        if not asked:
            self._group.acknowledge()
            return
        waits = self.merge.is_empty and not self._pending_from and not self._is_behind
        reply = self._first_reply(asked, waits=waits)
        for slices_left in reversed(range(self._slices)):
            answered: dict[str, list[StreamEntry]] = {stream: [] for stream in asked}
            answered |= self._link.read("XREADGROUP", partial(pages_by_stream, asked=asked), reply)
            pending = self._advance_in_pending(answered)
            full = [stream for stream, entries in answered.items() if len(entries) == self._slice]
            self._is_behind = bool(full)
            is_last = not full or not slices_left
            then = self._group.acknowledgements() if is_last else [self._question(full)]
            try:
                if then:
                    self._link.send(then)
            finally:  # what has come stays, also when the connection is lost: it may have come for the only time
                pages = {stream: self._received(stream, entries) for stream, entries in answered.items()}
                self.merge.add(pages, pending=pending, waited=waits)
            replies = self._link.receive(len(then))
            if is_last:
                self._group.note_acknowledged(replies)
                return
            reply, asked, waits = replies[0], full, False

    def _first_reply(self, asked: list[str], *, waits: bool) -> Any:
        """Ask for the first slice, and acknowledge in front of that where the server may wait."""
        now = self._clock()
        first = [] if self._is_behind else self._group.acknowledgements()
        block_ms = self._failures.patience_ms(now, self._block_ms) if waits else None
        self._link.send((*first, self._question(asked, block_ms)))
        *acknowledged, reply = self._link.receive(len(first) + 1)
        if first:
            self._group.note_acknowledged(acknowledged)
        self._asked_at.update((stream, now) for stream in asked if not self.merge.holds(stream))
        return reply

    def _question(self, streams: list[str], block_ms: int | None = None) -> tuple[Any, ...]:
        positions = {stream: self._pending_from.get(stream, ">") for stream in streams}
        return self._group.question(positions, self._slice, block_ms)

    def _received(self, stream: str, entries: list[StreamEntry]) -> list[Any]:
        topic, action = self._sources[stream]
        return self._link.read("XREADGROUP", lambda page: received(stream, topic, action, page), entries)

    def _advance_in_pending(self, answered: Mapping[str, list[StreamEntry]]) -> set[str]:
        """Note how far pending events have been read; the streams of which these answers are pending events."""
        pending = set(self._pending_from).intersection(answered)
        for stream in pending:
            entries = answered[stream]
            if len(entries) < self._slice:
                del self._pending_from[stream]
            else:
                self._pending_from[stream] = entries[-1][0].decode()
            raw_ids = self._link.read("XREADGROUP", lambda page: [entry[0] for entry in page], entries)
            self._failures.forget((stream, raw_id) for raw_id in raw_ids)
        return pending
