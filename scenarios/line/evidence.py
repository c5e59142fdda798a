"""What the streams and the group say of a run's events after the drain, as sections of the run's evidence.

    attempted acknowledged unknown refused applied     sets of event numbers, as the ledger has noted them
    effects     the event of each effect, in the order in which they were seen
    stored      the events that are in the streams, in the order of their entries' IDs
    in_stream_1 ...   those of them in the first stream and so on             only where their order is promised
    delivered   those of them that are not behind the group's last-delivered ID        only where there is a group
    pending     those of them that a consumer has, and has not acknowledged            only where there is a group
    groupless   those of them whose stream has no group                        only where there should be a group
    acked ...   what the group was told: `scenarios.line.followed`             only where consumers were followed
    poisoned    the events whose effect is refused for ever                            only where there are any
    parked      those that consumers have put aside, by their own word                 only where there are any
    emptied     those that were due before a server came back, and are in no stream    only where it did
    line        a few facts: `LineFacts`
    recoveries  what waited when a fault had healed: `Recovered`, fault by fault       only where there was one
    promise     what the consumers promise                                             only where they do
    plan        the faults that were planned

Where a run has several lines, one after the other, each section has the line's name at its end: `stored.always`.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr, replace
from pyroaring import BitMap

from harness.account.entry_keys import EntryKeys
from harness.account.event_ids import sequences_of
from harness.account.ledger import Noted, set_of
from harness.arrays import Int32s, Int64s
from harness.check.checkers import Ending
from harness.record.sections import Sections
from harness.server.server import Server
from harness.system.port import ConsumerFacts, SystemUnderTest
from scenarios.line.ending import GroupLook, Held

# The section with the faults that were planned; what was done is on the timeline.
PLAN = "plan"
NOTED = ("attempted", "acknowledged", "unknown", "refused", "applied")
PAGE = 2_000
# So many of the oldest entries that are pending are looked at while a line drains.
OLDEST = 10


class Group(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The group of the consumers on one stream.

    Attributes:
        last_delivered: the ID of the entry that was delivered last; None: there is no group on it.
        pending: how many entries consumers have, and have not acknowledged.
    """

    last_delivered: str | None = None
    pending: int = 0


class LineFacts(Struct, frozen=True, kw_only=True):
    """What a judgement needs to know of a line beside its events.

    Attributes:
        capacity: how many events the producer might have attempted; their numbers are below it.
        events_an_entity: so many events, one after the other, are about one entity.
        foreign: effects that came from no event of this producer's.
        foreign_examples: what the first of them called their events.
        consumers: of the group; among several there is no order.
        groups: by stream.
        parked: how many events were given up, as they failed again and again.
        waited_s: for how long the drain might take, while things move.
        ending: of the drain; in older records it follows from `is_drained`.
        still_s: for how long nothing had moved when it ended.
        quiet_s: for how long there had been no effect.
        patience_s: for how long nothing may move before a line is still.
        attempts: at effects, by outcome (`harness.system.telling.Telling`); empty: nobody counts them.
        poisoned: how many events are refused for ever, those that are not the producer's included.
        sees_repeats: whether an effect that was had twice would have been seen twice.
        is_drained: of older records: whether everything that waited was handled.
        consumer: what was seen of consumers that somebody else has written; None: they are ours.
    """

    capacity: int
    events_an_entity: int
    foreign: int
    consumers: int
    groups: dict[str, Group]
    parked: int
    waited_s: float
    ending: Ending = "drained"
    still_s: float = 0.0
    quiet_s: float = 0.0
    patience_s: float = 0.0
    attempts: Mapping[str, int] = {}
    foreign_examples: tuple[str, ...] = ()
    poisoned: int = 0
    sees_repeats: bool = True
    is_drained: bool | None = None
    consumer: ConsumerFacts | None = None

    def __post_init__(self) -> None:
        if self.is_drained is not None:
            force_setattr(self, "ending", "drained" if self.is_drained else "time_up")

    @property
    def is_closed(self) -> bool:
        """Whether the account is closed: nothing more will become of any event."""
        return self.ending != "time_up"


class Placed(Struct, frozen=True):
    """Where events of a run are in one stream.

    Attributes:
        keys: of the entries' IDs, rising, shape (n,).
        sequences: of their events, shape (n,).
    """

    keys: Int64s
    sequences: Int64s


class Streams:
    """The streams of a line, and the group on them, as a server shows them.

    Args:
        client: of the server.
        server: that holds them.
        system: whose they are.
        producer: whose events these are.
        capacity: how many it has at most.
        has_group: whether the consumers are a group.

    Attributes:
        names: of the streams.
        keys: for the entries' IDs.
        placed: where events are, by stream, as `gather` has found them.
    """

    def __init__(
        self,
        client: Any,
        server: Server,
        system: SystemUnderTest,
        producer: int,
        capacity: int,
        *,
        has_group: bool,
    ) -> None:
        self._client = client
        self._system = system
        self._producer = producer
        self._capacity = capacity
        self._parking = system.parked(server)
        self.names = system.streams(server)
        self.has_group = has_group
        self.keys = EntryKeys()
        self.placed: dict[str, Placed] = {}

    def nothing_waits(self) -> bool:
        """Whether the group has nothing undelivered and nothing pending; without a group nothing waits."""
        if not self.has_group:
            return True
        for stream, group in self._groups():
            if group is None or group["pending"]:
                return False
            if self._client.xrange(stream, "(" + group["last-delivered-id"].decode(), "+", count=1):
                return False
        return True

    def numbers_by_stream(self) -> dict[str, list[int]]:
        """The numbers of this producer's events in each stream."""
        return {stream: [number for _, number in self._stored(stream)] for stream in self.names}

    def numbers_of(self, entries: Mapping[str, Collection[bytes]]) -> list[int]:
        """The numbers of this producer's events in some entries, by stream; those of others are left out."""
        wanted = {stream: frozenset(ids) for stream, ids in entries.items()}
        return [number for stream in wanted for raw, number in self._stored(stream) if raw in wanted[stream]]

    def looked(self, poisoned: Collection[str]) -> tuple[GroupLook, ...]:
        """What can be seen to move in the group, stream by stream.

        Args:
            poisoned: the `event_id` of each event that is refused for ever: what is tried of it moves nothing.
        """
        if not self.has_group:
            return ()
        return tuple(self._looked(stream, group, poisoned) for stream, group in self._groups())

    def _looked(self, stream: str, group: Mapping[str, Any] | None, poisoned: Collection[str]) -> GroupLook:
        if group is None:
            return GroupLook()
        last, read = group["last-delivered-id"].decode(), group.get("entries-read")
        if not group["pending"]:
            return GroupLook(last_delivered=last, entries_read=read)
        name = self._system.group
        held = [
            Held(entry["message_id"].decode(), entry["consumer"].decode(), entry["times_delivered"])
            for entry in self._client.xpending_range(stream, name, "-", "+", OLDEST)
        ]
        if poisoned:
            # Who has these changes with each attempt, and says nothing of the others.
            held = [each for each in held if self._event_id(stream, each.entry) not in poisoned]
            pending = [("", group["pending"])]
        else:
            consumers = self._client.xpending(stream, name)["consumers"]
            pending = [(each["name"].decode(), each["pending"]) for each in consumers]
        return GroupLook(
            last_delivered=last, entries_read=read, pending=tuple(sorted(pending)), oldest=tuple(held)
        )

    def _event_id(self, stream: str, entry: str) -> str | None:
        """The `event_id` in an entry; None: it is gone."""
        return next((self._system.event_id(f) for _, f in self._client.xrange(stream, entry, entry)), None)

    def gather(self, sections: Sections, noted: Noted, effects: Sequence[Int32s], facts: LineFacts) -> None:
        """Put what is known of the events into the evidence; to be asked after the drain.

        Args:
            sections: get it.
            noted: by the ledger.
            effects: the event of each, in the order in which they were seen, in parts.
            facts: all of them but for the groups and what was parked.
        """
        for name in NOTED:
            sections.add_set(name, getattr(noted, name))
        sections.add_order("effects", effects)
        delivered, pending, groupless = BitMap(), BitMap(), BitMap()
        groups: dict[str, Group] = {}
        highs, lows, placed = array("Q"), array("Q"), array("i")
        for stream, group in self._groups():
            waiting = self._pending(stream) if group is not None and group["pending"] else frozenset()
            last = group["last-delivered-id"].decode() if group is not None else None
            ahead = None if last is None else self._system.order(last)
            groups[stream] = Group(last_delivered=last, pending=len(waiting))
            keys, begin = [np.zeros(0, np.int64)], len(placed)
            for raw, sequence in self._stored(stream, keys):
                at = self._system.order(raw.decode())
                highs.append(at[0])
                lows.append(at[1])
                placed.append(sequence)
                if ahead is None:
                    groupless.add(sequence)
                elif at <= ahead:
                    delivered.add(sequence)
                if raw in waiting:
                    pending.add(sequence)
            self.placed[stream] = Placed(np.concatenate(keys), np.array(placed[begin:], np.int64))
        events = np.array(placed, np.int32)
        in_order = np.lexsort((events, np.array(lows, np.uint64), np.array(highs, np.uint64)))
        sections.add_order("stored", [events[in_order]])
        if self.has_group:
            sections.add_set("delivered", delivered)
            sections.add_set("pending", pending)
            sections.add_set("groupless", groupless)
        sections.add_json("line", replace(facts, groups=groups, parked=self._parked()))

    def _groups(self) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """Each stream that the consumers read, with what the server says of their group on it."""
        for stream in self.names:
            groups = self._client.xinfo_groups(stream) if self._client.exists(stream) else []
            yield stream, next((g for g in groups if g["name"] == self._system.group.encode()), None)

    def _stored(self, stream: str, keys: list[Int64s] | None = None) -> Iterator[tuple[bytes, int]]:
        """This producer's events in a stream: the entry's ID and the sequence number; keys go into a list."""
        start = "-"
        while entries := self._client.xrange(stream, start, "+", count=PAGE):
            sequences = sequences_of(self._producer, [self._system.event_id(fields) for _, fields in entries])
            ours = [
                (raw, sequence)
                for (raw, _), sequence in zip(entries, sequences.tolist(), strict=True)
                if 0 <= sequence < self._capacity
            ]
            if keys is not None:
                keys.append(self.keys.of_text(b",".join([raw for raw, _ in ours])))
            yield from ours
            start = "(" + entries[-1][0].decode()

    def in_each(self) -> Iterator[BitMap]:
        """This producer's events that are in each stream, as `gather` has found them."""
        for stream in self.names:
            yield set_of(self.placed[stream].sequences)

    def _pending(self, stream: str) -> frozenset[bytes]:
        """The IDs of the entries that consumers have and have not acknowledged."""
        found: list[bytes] = []
        start = "-"
        while page := self._client.xpending_range(stream, self._system.group, start, "+", PAGE):
            found += [entry["message_id"] for entry in page]
            start = "(" + page[-1]["message_id"].decode()
        return frozenset(found)

    def _parked(self) -> int:
        return 0 if self._parking is None else int(self._client.xlen(self._parking))
