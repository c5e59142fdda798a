"""Reads beside writes: what the shop reads of its events and entities, as commands of one schedule.

    append    `append.lua`     an update of an entity, by the shop's one write path
    entity    HGETALL          an entity from the cache, as `EventStore.find_one` has it
    page      XRANGE COUNT     a page of the past, of which a replay reads many (`replay.py`)
    tail      XREVRANGE COUNT  the newest events, as `EventStore.tail` has them

What there is to find is there before the load begins, so that each reply can be looked at: an entity has its ID, a
page begins with the event that was asked for and is full, a tail is full. What is not so is a miss. It fails, and
is counted by its kind: a mix whose reads find nothing is fast, and no mix.

Which command has which number follows from the seed and the number alone, as for `workload.Mix`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import hiredis
import msgspec
import numpy as np

from harness.load.workload import Source, entity_id
from ordershop.entities import Topic
from ordershop.events import Keys

NAMES = ("append", "entity", "page", "tail")
APPEND, ENTITY, PAGE, TAIL = range(4)
MISS = "a miss of"

_TOPIC: Topic = "customer"


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of each kind, as shares of all commands, 0 to 1; they add up to 1."""

    append: float
    entity: float
    page: float
    tail: float

    @property
    def all(self) -> tuple[float, ...]:
        """In the order of `NAMES`."""
        return self.append, self.entity, self.page, self.tail


class ReadMix(msgspec.Struct, frozen=True, kw_only=True):
    """Which command has which number, and what it is about; all of it follows from the seed.

    Attributes:
        seed: of everything that is drawn.
        shares: of each kind.
        entities: how many there are to be read.
        pages: at how many events a page may begin.
    """

    seed: int
    shares: Shares
    entities: int
    pages: int

    BLOCK: ClassVar[int] = 1024
    # Of these generators, so that they do not repeat what others draw from the same seed.
    TAG: ClassVar[int] = 0x72656164

    def draw(self, block: int) -> tuple[list[int], list[int]]:
        """The kind of each command of a block, and the number of the entity or event that it is about."""
        generator = np.random.default_rng([self.seed, block, self.TAG])
        chance, about = generator.random(self.BLOCK), generator.random(self.BLOCK)
        # The sums of shares may be a rounding away from 1.
        kinds = np.minimum(np.searchsorted(np.cumsum(self.shares.all), chance, "right"), TAIL)
        of = np.where(kinds == PAGE, self.pages, self.entities)
        return kinds.tolist(), (about * of).astype(np.int64).tolist()


# What is packed is some blocks ahead of what is answered, at the most: a few are kept.
_drawn = functools.lru_cache(maxsize=64)(ReadMix.draw)


def due_of(mix: ReadMix, count: int) -> dict[str, int]:
    """How many of the first `count` commands are of each kind, by its name."""
    counts = np.zeros(len(NAMES), np.int64)
    for first in range(0, count, ReadMix.BLOCK):
        kinds = mix.draw(first // ReadMix.BLOCK)[0][: count - first]
        counts += np.bincount(np.array(kinds, np.int64), minlength=len(NAMES))
    return dict(zip(NAMES, counts.tolist(), strict=True))


class Readable(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to read.

    Attributes:
        namespace: what every key begins with.
        producer: whose entities they are.
        event_ids: in the stream of created customers, of the events at which a page may begin.
        page_events, tail_events: of a page, and of a tail.
    """

    namespace: str
    producer: int
    event_ids: list[str]
    page_events: int
    tail_events: int


class MixedReads:
    """Appends and reads, as the commands of one schedule.

    Args:
        appends: what is appended.
        mix: which command has which number.
        readable: what there is to read.
    """

    def __init__(self, appends: Source, mix: ReadMix, readable: Readable) -> None:
        self.operation = appends.operation
        # An array each: IDs of events, fields of a Hash, entries of a stream.
        self.reply = list
        self._appends = appends
        self._mix = mix
        self._readable = readable
        keys = Keys(readable.namespace)
        # All IDs of entities have the same length, and so have the commands that name one.
        mark = entity_id(readable.producer, 0)
        before, after = _packed("HGETALL", keys.entity(_TOPIC, mark)).split(mark.encode())
        self._id_prefix = mark[:-12].encode()
        self._entity = before.replace(b"%", b"%%") + self._id_prefix + b"%012x" + after
        self._page_from = keys.stream(_TOPIC, "created")
        self._tail = _packed(
            *("XREVRANGE", keys.stream(_TOPIC, "updated"), "+", "-", "COUNT", readable.tail_events)
        )

    @property
    def kinds(self) -> MixedReads:
        """It knows itself of which kind its commands are."""
        return self

    @property
    def names(self) -> Sequence[str]:
        """What the kinds are called."""
        return NAMES

    def of(self, first: int, count: int, step: int = 1) -> Sequence[int]:
        """The kind of each command."""
        return [self._drawn(number)[0] for number in range(first, first + count * step, step)]

    def _drawn(self, number: int) -> tuple[int, int]:
        block, at = divmod(number, ReadMix.BLOCK)
        kinds, about = _drawn(self._mix, block)
        return kinds[at], about[at]

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        """`count` commands from number `first` on, each `step`-th of them, in RESP."""
        if count == 1:
            return self._pack_one(first)
        return b"".join(map(self._pack_one, itertools.islice(itertools.count(first, step), count)))

    def _pack_one(self, number: int) -> bytes:
        kind, about = self._drawn(number)
        if kind == APPEND:
            return self._appends.pack(number, 1)
        if kind == ENTITY:
            return self._entity % about
        if kind == TAIL:
            return self._tail
        start, count = self._readable.event_ids[about], self._readable.page_events
        return _packed("XRANGE", self._page_from, start, "+", "COUNT", count)

    def fault(self, number: int, kind: int, reply: Any) -> str:
        """What is wrong with a reply: that a read has not found what is there, or that an append was refused."""
        if kind == APPEND:
            is_right = bool(reply and reply[0])
        elif kind == ENTITY:
            is_right = self._id_prefix + b"%012x" % self._drawn(number)[1] in reply
        elif kind == TAIL:
            is_right = len(reply) == self._readable.tail_events
        else:
            start = self._readable.event_ids[self._drawn(number)[1]].encode()
            is_right = len(reply) == self._readable.page_events and _id_of(reply[0]) == start
        return "" if is_right else f"{MISS} {NAMES[kind]}"


def _id_of(entry: Any) -> Any:
    return entry[0] if isinstance(entry, list) and entry else None


def _packed(*parts: str | int) -> bytes:
    packed: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]  # its stub allows one part only
    return packed
