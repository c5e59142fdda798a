"""What one consumer asks of its group on the server: its start, acknowledgements, events that others have in hand.

Position: the group's, kept by the server. Groups begin at the start of a stream, never at its end. Should the
server come back empty, the group is made again at the checkpoint that each consumer saves to a file: the last
ID below which everything was acknowledged. A stream that ends before it is another one, and begins at its start.

What an operator takes from the server, with XGROUP DELCONSUMER say, is still handled by the consumer that has it
in hand; what a dead one had pending is then lost to the group.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import redis

from ordershop.events import EventId
from ordershop.subscription.checkpoint import position_below_all_pending
from ordershop.subscription.delivery import RAW_ID_OF, Delivery, Received
from ordershop.subscription.link import START, Link, pairs

log = logging.getLogger(__name__)

CLAIM_PAGE = 1_000
# More than a consumer can have in hand.
_ALL = 1_000_000_000


class Group:
    """A consumer group, as one of its consumers uses it.

    Args:
        link: to the server.
        streams: that the group reads.
        name: its own.
        consumer: the consumer's.
        parked: the stream of events that are given up.
        has_pending: whether the server keeps what it hands out, until that is acknowledged.
    """

    def __init__(
        self, link: Link, streams: Collection[str], name: str, consumer: str, *, parked: str, has_pending: bool
    ) -> None:
        self.name = name
        self._link = link
        self._streams = streams
        self._consumer = consumer
        self._parked = parked
        self._has_pending = has_pending
        # What had its effect and is not acknowledged yet, by stream.
        self._done: defaultdict[str, list[bytes]] = defaultdict(list)

    def create(self, saved: dict[str, str]) -> None:
        """Make the group where it is missing.

        Args:
            saved: the ID of each stream behind which it has to begin, where it was noted.
        """
        for stream in self._streams:
            start = self._start(stream, saved.get(stream, START))
            try:
                self._link.call(_ok, "XGROUP", "CREATE", stream, self.name, start, "MKSTREAM")
                log.info("%s: listening to %s from %s", self.name, stream, start)
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def _start(self, stream: str, saved: str) -> str:
        """Where a group that is missing has to begin."""
        if saved == START:
            return START
        try:
            last = self._link.call(_last_generated_id, "XINFO", "STREAM", stream)
        except redis.ResponseError as error:
            if not str(error).startswith("no such key"):
                raise
            return START
        # A stream that ends before what was handled is not the one that it was handled of.
        return saved if last >= EventId.parse(saved) else START

    def question(self, positions: dict[str, str], count: int, block_ms: int | None) -> tuple[Any, ...]:
        """The command that asks for events.

        Args:
            positions: the ID of each stream behind which pending events are asked for, or `>` for new ones.
            count: how many at the most, of each stream.
            block_ms: for how long the server waits for new ones; None: not at all.
        """
        blocking = () if block_ms is None else ("BLOCK", block_ms)
        forgetting = () if self._has_pending else ("NOACK",)
        asking = ("XREADGROUP", "GROUP", self.name, self._consumer, "COUNT", count)
        return (*asking, *blocking, *forgetting, "STREAMS", *positions, *positions.values())

    # Acknowledging -------------------------------------------------------------------------------------

    def note_done(self, entries: Sequence[Received]) -> None:
        """Have some entries acknowledged with the next chance."""
        if not self._has_pending or not entries:
            return
        if len(self._streams) == 1:
            self._done[entries[0].stream].extend(map(RAW_ID_OF, entries))
            return
        for each in entries:
            self._done[each.stream].append(each.raw_id)

    def acknowledgements(self) -> list[tuple[Any, ...]]:
        """The commands that acknowledge what was noted as done."""
        return [("XACK", stream, self.name, *raw_ids) for stream, raw_ids in self._done.items()]

    def note_acknowledged(self, counts: list[int]) -> None:
        """What the server has answered to these commands."""
        self._link.read("XACK", sum, counts)
        self._done.clear()

    def acknowledge(self) -> None:
        """Acknowledge what was noted as done."""
        if self._done:
            self.note_acknowledged(self._link.exchange(*self.acknowledgements()))

    # Whose events they are -----------------------------------------------------------------------------

    def take_over(self, stream: str, silent_ms: int) -> list[bytes]:
        """Make the pending events of consumers that fell silent this one's; the IDs of all that are its own now.

        Args:
            silent_ms: for how long nothing was heard of whoever has them.
        """
        cursor, taken = START, []
        while True:
            cursor, raw_ids = self._link.call(
                _autoclaimed,
                *("XAUTOCLAIM", stream, self.name, self._consumer, silent_ms, cursor),
                *("COUNT", CLAIM_PAGE, "JUSTID"),
            )
            taken += raw_ids
            if cursor == START:
                return taken

    def still_ours(self, stream: str, raw_ids: Sequence[bytes], *, may_be_claimed: bool) -> set[bytes]:
        """Those that nobody has taken over; they are held for as long again, without counting as delivered.

        Args:
            raw_ids: in order.
            may_be_claimed: whether they may have been in hand for so long that others claim them.
        """
        me = self._consumer.encode()
        consumers, rows = self._link.exchange(
            ("XINFO", "CONSUMERS", stream, self.name),
            ("XPENDING", stream, self.name, raw_ids[0], raw_ids[-1], _ALL),
        )
        owners = self._link.read("XPENDING", lambda all_of: {row[0]: row[1] for row in all_of}, rows)
        names = self._link.read("XINFO", lambda all_of: [pairs(each)[b"name"] for each in all_of], consumers)
        # What is pending nowhere was acknowledged by somebody who had claimed it; before that is possible, or
        # when this consumer has been deleted, it was given up with the consumer, and nobody else will handle it.
        default = None if me in names and may_be_claimed else me
        ours = {raw for raw in raw_ids if owners.get(raw, default) == me}
        if ours:
            self._link.call(_some, "XCLAIM", stream, self.name, self._consumer, 0, *ours, "JUSTID")
        return ours

    def deliveries_so_far(self, delivery: Delivery) -> int:
        """How often the server has handed an event out, to this consumer or to others before it."""
        return self._link.call(
            lambda pending: int(pending[0][3]) if pending != [] else 1,
            *("XPENDING", delivery.stream, self.name, delivery.raw_id, delivery.raw_id, 1),
        )

    def count_once_more(self, delivery: Delivery) -> None:
        """Have an event count as delivered once more, so that those who come after a crash know."""
        self._link.call(_some, "XCLAIM", delivery.stream, self.name, self._consumer, 0, delivery.raw_id)

    def park(self, delivery: Delivery, deliveries: int, reason: str) -> None:
        """Give an event up: into the stream of parked ones, with the reason."""
        fields = {
            "stream": delivery.stream,
            "id": delivery.raw_id,
            "event_id": delivery.event_id,
            "deliveries": deliveries,
            "reason": reason,
        }
        # Not in a transaction: there the server acknowledges also what it could not park.
        flat = (word for field in fields.items() for word in field)
        self._link.call(bytes.decode, "XADD", self._parked, "*", *flat)
        self._link.call(int, "XACK", delivery.stream, self.name, delivery.raw_id)
        log.error("%s: parked %s after %d deliveries: %s", self.name, delivery.event_id, deliveries, reason)

    # The position --------------------------------------------------------------------------------------

    def positions(self) -> dict[str, str]:
        """The ID of each stream up to which all is acknowledged."""
        questions: list[tuple[str, ...]] = []
        for stream in self._streams:
            # In this order: what is delivered between the two is above the first answer.
            questions += [("XINFO", "GROUPS", stream), ("XPENDING", stream, self.name)]
        answers = self._link.exchange(*questions)
        positions = {}
        for stream, groups, pending in zip(self._streams, answers[::2], answers[1::2], strict=True):
            last_delivered = self._link.read("XINFO", self._last_delivered, groups)
            smallest = self._link.read("XPENDING", _smallest_pending, pending)
            positions[stream] = position_below_all_pending(last_delivered, smallest)
        return positions

    def _last_delivered(self, groups: list[Any]) -> str:
        by_name = {group[b"name"]: group[b"last-delivered-id"] for group in map(pairs, groups)}
        last: bytes = by_name[self.name.encode()]
        return str(EventId.parse(last))


# What replies say; of another kind they raise what `read_reply` knows ---------------------------------------


def _ok(reply: bytes) -> None:
    if reply != b"OK":
        raise ValueError(reply)


def _some(reply: list[Any]) -> None:
    reply.copy()


def _last_generated_id(reply: list[Any]) -> EventId:
    return EventId.parse(pairs(reply)[b"last-generated-id"])


def _autoclaimed(reply: list[Any]) -> tuple[str, list[bytes]]:
    """The cursor to go on from, and the IDs that were claimed."""
    raw_ids: list[bytes] = reply[1].copy()
    return reply[0].decode(), raw_ids


def _smallest_pending(reply: list[Any]) -> str | None:
    return None if reply[1] is None else str(EventId.parse(reply[1]))
