"""A consumer of a group: join, read, have the effect, acknowledge, and begin again after an outage."""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import hiredis
import msgspec
import redis

from ordershop.entities import ENTITIES, Entity, Topic
from ordershop.event_store import Entry, connect, is_elsewhere, is_unable, stored_event
from ordershop.events import Action, EventId, Keys
from ordershop.server.tls import read_reply
from ordershop.server.url import Address

log = logging.getLogger(__name__)

Policy = Literal["at_least_once", "at_most_once"]

START = "0-0"
NOTHING = EventId(0, 0)

# What servers answer where a group, or its stream, is gone; Redis 7.0 names those differently that were waiting.
_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED", "no such key")
# More than a consumer can have in hand.
_ALL = 1_000_000_000


class Delivery(NamedTuple):
    """An event in the hands of a consumer."""

    id: EventId
    topic: Topic
    action: Action
    entity: Entity
    event_id: str
    stream: str
    raw_id: bytes


class NoEvent(NamedTuple):
    """An entry in the hands of a consumer that is no event: somebody else put it there, or it was trimmed."""

    id: EventId
    stream: str
    raw_id: bytes


Received = Delivery | NoEvent
_Read = TypeVar("_Read")
_ID_OF: Callable[[Received], EventId] = itemgetter(0)
_RAW_ID_OF: Callable[[Received], bytes] = itemgetter(-1)


class AwayError(Exception):
    """What the effect needs does not answer; the same events are to be tried again later."""


class Stop(Protocol):
    """What tells a loop to end; `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether to end."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait some seconds, or until it is set."""
        ...


Effect = Callable[[Sequence[Delivery]], Iterable[Delivery]]


class Checkpoint:
    """The position of a group in each stream, in a file that survives the server.

    Args:
        path: the file, or None to keep no checkpoint.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def is_kept(self) -> bool:
        """Whether there is a file."""
        return self._path is not None

    def load(self) -> dict[str, str]:
        """The saved ID of each stream; empty at the first start."""
        if self._path is None or not self._path.exists():
            return {}
        return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])

    def save(self, positions: dict[str, str]) -> None:
        """Replace the file as a whole."""
        if self._path is not None:
            partial = self._path.with_suffix(".partial")
            with partial.open("wb") as file:
                file.write(msgspec.json.encode(positions))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)


def position_below_all_pending(last_delivered: str, smallest_pending: str | None) -> str:
    """The ID up to which a group has acknowledged everything.

    Args:
        last_delivered: read first; what is delivered afterwards is above it.
        smallest_pending: read second; None where nothing is pending.
    """
    if smallest_pending is None:
        return last_delivered
    pending = EventId.parse(smallest_pending)
    if pending > EventId.parse(last_delivered):
        return last_delivered
    before = EventId(pending.seconds, pending.microseconds - 1)
    return str(before if pending.microseconds else EventId(pending.seconds - 1, (1 << 64) - 1))


_DECODERS: dict[Topic, msgspec.json.Decoder[Any]] = {
    topic: msgspec.json.Decoder(kind) for topic, kind in ENTITIES.items()
}


def received(stream: str, topic: Topic, action: Action, entries: Iterable[Entry]) -> list[Received]:
    """What a page of a stream brings to a consumer."""
    decode = _DECODERS[topic].decode
    new = tuple.__new__  # past the named tuples' own constructors, which take as long as all the rest
    page: list[Received] = []
    append = page.append
    last_seconds, seconds = b"", 0
    for entry in entries:
        raw, fields = entry
        raw_seconds, _, microseconds = raw.partition(b"-")
        if raw_seconds != last_seconds:
            last_seconds, seconds = raw_seconds, int(raw_seconds)
        event_id = new(EventId, (seconds, int(microseconds)))
        # Our own entries have two fields in this order; the search is for everybody else's.
        if fields is not None and len(fields) == 4:
            name_of_id, name, name_of_entity, body = fields
            if name_of_id == b"event_id" and name_of_entity == b"entity":
                try:
                    append(new(Delivery, (event_id, topic, action, decode(body), name.decode(), stream, raw)))
                    continue
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    pass  # looked at again below, by what says of any entry whether it is an event
        event = stored_event(topic, action, entry)
        if event is None:
            append(NoEvent(event_id, stream, raw))
        else:
            append(Delivery(event_id, topic, action, event.entity, event.event_id, stream, raw))
    return page


class Merge:
    """Pages of several streams in, events in order of ID out, as far as the order is certain.

    Args:
        streams: their names.
        page: how many entries a full page has.
    """

    def __init__(self, streams: Sequence[str], page: int) -> None:
        self._page = page
        self._waiting: dict[str, list[Received]] = {stream: [] for stream in streams}
        self._known_to: dict[str, EventId] = dict.fromkeys(streams, NOTHING)
        self._last_seen = NOTHING

    @property
    def hungry(self) -> list[str]:
        """The streams of which little waits, so that more of them may be asked for.

        Pages of several streams end at about the same event, and leave a few of each behind. Were those waited
        for, every other read would ask one stream alone, and every other batch be one of a few events.
        """
        return [stream for stream, waiting in self._waiting.items() if 2 * len(waiting) < self._page]

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not any(self._waiting.values())

    def add(
        self, pages: Mapping[str, list[Received]], *, pending: Container[str] = (), waited: bool = False
    ) -> None:
        """Put what one read answered behind what waits.

        Args:
            pages: what came of each stream that was asked; empty where nothing came.
            pending: the streams of which pending events were asked for; new ones follow behind them.
            waited: whether the server may have waited. Older ones then answer the first stream that has
                something, and of the others nothing, though they may have something by then.
        """
        for stream, entries in pages.items():
            self._waiting[stream] = self._waiting[stream] + entries
            if entries:
                self._last_seen = max(self._last_seen, entries[-1].id)
        for stream, entries in pages.items():
            more_may_follow = stream in pending or len(entries) >= self._page or (waited and not entries)
            if not more_may_follow:
                self._known_to[stream] = self._last_seen
            elif entries:
                self._known_to[stream] = entries[-1].id
            # Else nothing was learnt: behind the last full page of pending events there are new ones at the most.

    def take(self) -> list[Received]:
        """The entries up to which the order is certain, in order."""
        safe = min(self._known_to.values())
        parts = []
        for stream, waiting in self._waiting.items():
            if not waiting or waiting[0].id > safe:
                continue
            count = len(waiting) if waiting[-1].id <= safe else bisect_right(waiting, safe, key=_ID_OF)
            parts.append(waiting[:count])
            self._waiting[stream] = waiting[count:]
        if len(parts) == 1:
            return parts[0]
        return sorted(chain.from_iterable(parts), key=_ID_OF)

    def take_all(self) -> list[Received]:
        """All entries that wait, in order as far as they are known."""
        everything = sorted(chain.from_iterable(self._waiting.values()), key=_ID_OF)
        for stream in self._waiting:
            self._waiting[stream] = []
        return everything

    def holds(self, stream: str) -> bool:
        """Whether anything of a stream waits."""
        return bool(self._waiting[stream])

    def raw_ids(self, stream: str) -> list[bytes]:
        """What waits of a stream, in order."""
        return [_RAW_ID_OF(entry) for entry in self._waiting[stream]]

    def keep(self, stream: str, raw_ids: Container[bytes]) -> None:
        """Forget what waits of a stream, but for these."""
        self._waiting[stream] = [entry for entry in self._waiting[stream] if entry.raw_id in raw_ids]

    def clear(self) -> None:
        """Forget everything that waits, and how far the streams are known."""
        self._last_seen = NOTHING
        for stream in self._waiting:
            self._waiting[stream] = []
            self._known_to[stream] = NOTHING


class _Link:
    """The one connection of a consumer: commands in one write, their answers in order.

    It is kept in hand, since the client library's pool looks at the socket each time it hands one out.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None

    def send(self, commands: Iterable[tuple[Any, ...]]) -> None:
        """Write some commands in one piece; their replies are to be received.

        Raises:
            redis.RedisError: as the client library raises it.
        """
        connection = self._connection or self._pool.get_connection()
        self._connection = connection
        try:
            # Past the client library's own packing, which looks at each argument twice.
            connection.send_packed_command([b"".join(map(hiredis.pack_command, commands))])
        except BaseException:
            self._lose()
            raise

    def receive(self, count: int) -> list[Any]:
        """The replies to so many commands as RESP2 has them, bytes undecoded.

        Raises:
            redis.RedisError: as the client library raises it; of several answers that are errors, the first.
        """
        refused: redis.ResponseError | None = None
        replies = []
        try:
            for _ in range(count):
                try:
                    replies.append(self._connection.read_response(disable_decoding=True))
                except redis.ResponseError as error:
                    refused = refused or error  # the other answers are still to be read
        except BaseException:
            self._lose()
            raise
        if refused is not None:
            if is_elsewhere(refused):
                self._lose()  # the next one may lead to who can serve
            raise refused
        return replies

    def _lose(self) -> None:
        """Give the connection up: an answer may still be on its way, which nobody must read."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def read(self, command: str, read: Callable[[Any], _Read], reply: Any) -> _Read:
        """What a reply to a command says.

        Raises:
            redis.exceptions.InvalidResponse: it is of another kind; the connection is given up.
        """
        try:
            return read_reply(command, read, reply)
        except redis.exceptions.InvalidResponse:
            self._lose()
            raise

    def exchange(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The replies to some commands; raises as `send` and `receive` do."""
        self.send(commands)
        return self.receive(len(commands))

    def call(self, read: Callable[[Any], _Read], *command: Any) -> _Read:
        """What the reply to one command says; raises as `exchange` and `read` do."""
        return self.read(command[0], read, self.exchange(command)[0])


class _Failure(NamedTuple):
    """An event whose effect has failed, and which waits to be tried again.

    Attributes:
        times: how often, other consumers and earlier lives of this one included.
        raised: whether the effect raised, so that it is tried alone.
        at_s: when, on the subscription's clock.
    """

    delivery: Delivery
    times: int
    raised: bool
    at_s: float


_Key = tuple[str, bytes]


class Subscription:
    """A consumer of a group, on some streams of an event store.

    Args:
        url: the server's.
        keys: the names of the store's keys.
        sources: what to listen to, as (topic, action).
        group: the service's name; all its replicas share the group's position.
        consumer: this replica's name, the same at every start.
        policy: `at_least_once` or `at_most_once`.
        checkpoint: where the position is saved besides; None to save none.
        page: how many events are asked for at a time, of each stream.
        block_ms: how long the server waits for new events; also how soon `stop` is seen.
        claim_after_ms: pending events of a consumer that has been silent for so long are taken over. It must
            be longer than any effect takes.
        max_deliveries: after so many failed tries an event is parked.
        clock: monotonic seconds.
    """

    CHECKPOINT_EVERY_S = 1.0
    BACK_OFF_S = (0.05, 1.0)
    PARTS = 4
    SMALLEST_PART = 125
    CLAIM_PAGE = 1_000
    # Of the wait after a failure: 51 s at most.
    MAX_DOUBLINGS = 10

    def __init__(
        self,
        url: Address | str,
        keys: Keys,
        sources: Sequence[tuple[Topic, Action]],
        *,
        group: str,
        consumer: str = "1",
        policy: Policy = "at_least_once",
        checkpoint: Path | None = None,
        page: int = 500,
        block_ms: int = 500,
        claim_after_ms: int = 30_000,
        max_deliveries: int = 5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = keys
        self.group = group
        self.consumer = consumer
        self._sources = {keys.stream(topic, action): (topic, action) for topic, action in sources}
        self._at_least_once = policy == "at_least_once"
        # How many parts a page is asked for in, and of how many events each: small pages come in one.
        self._parts = max(1, min(self.PARTS, page // self.SMALLEST_PART))
        self._part = page // self._parts
        self._block_ms = block_ms
        self._claim_after_ms = claim_after_ms
        self._max_deliveries = max_deliveries
        self._clock = clock
        self._link = _Link(connect(url, timeout_s=5.0, block_s=block_ms / 1000))
        self._checkpoint = Checkpoint(checkpoint)
        self._merge = Merge(list(self._sources), self._part)
        # Streams whose own pending events are still being read, with the ID to go on behind.
        self._pending_from: dict[str, str] = {}
        # What was taken to be handled, and what of it had its effect and is not acknowledged yet, by stream.
        self._taken: list[Received] = []
        self._done: defaultdict[str, list[bytes]] = defaultdict(list)
        # Whether the last answer was a full one, so that more is there.
        self._is_behind = False
        # When each stream was asked, of which nothing waited: nothing of it has been in hand for longer.
        self._asked_at = dict.fromkeys(self._sources, 0.0)
        self._failures: dict[_Key, _Failure] = {}
        self._retry_at = 0.0
        self._claim_at = 0.0
        self._save_at = 0.0

    @property
    def parked(self) -> str:
        """The stream of events that were given up, with the reason."""
        return f"{self.keys.namespace}parked:{self.group}"

    # The loop ------------------------------------------------------------------------------------------

    def run(self, effect: Effect, stop: Stop) -> None:
        """Handle events until `stop` is set.

        Args:
            effect: handles deliveries in order, and answers those that failed. It raises `AwayError` where
                what it needs does not answer, and is then called again with the same deliveries. When it raises
                another exception it is called again for each delivery alone, and those it raises for have failed.
        """
        backoff = self.BACK_OFF_S[0]
        away = False
        joined = False
        while not stop.is_set():
            try:
                if not joined:
                    self._drain(effect, stop)
                    self._join()
                    joined = True
                self._once(effect, stop)
                if away:
                    log.warning("%s: the event store is back", self.group)
                    away, backoff = False, self.BACK_OFF_S[0]
            except redis.RedisError as error:
                if str(error).startswith(_GROUP_IS_GONE):
                    log.warning("%s: the group is gone; it is made again at the checkpoint", self.group)
                    joined = False
                    continue
                if not is_unable(error):
                    raise
                if not away:
                    log.warning("%s: the event store is away (%s); waiting", self.group, error)
                # Whoever was handed out may be claimed meanwhile; begin again with what is pending.
                away, joined = True, False
                stop.wait(backoff)
                backoff = min(backoff * 2, self.BACK_OFF_S[1])
        self._drain(effect, stop)
        if joined:
            try:
                self._acknowledge()
                self._save_checkpoint()
            except redis.RedisError as error:
                # The server has the position; the one in the file is older, which loses nothing.
                log.warning("%s: stopped without saving the position (%s)", self.group, error)

    def _join(self) -> None:
        """Make the groups that are missing, and begin with this consumer's own pending events."""
        # What had its effect when the connection was lost must not come again as pending.
        self._acknowledge()
        saved = self._checkpoint.load()
        for stream in self._sources:
            start = self._start_of_group(stream, saved.get(stream, START))
            try:
                self._link.call(_done, "XGROUP", "CREATE", stream, self.group, start, "MKSTREAM")
                log.info("%s: listening to %s from %s", self.group, stream, start)
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
        # Whatever is in hand comes again with the pending events, and the server knows how often it came. At most
        # once nothing comes again, and nothing is in hand any more.
        self._merge.clear()
        self._taken = []
        self._is_behind = False
        self._failures.clear()
        self._pending_from = dict.fromkeys(self._sources, START) if self._at_least_once else {}
        self._claim_at = self._clock() + self._claim_after_ms / 1000

    def _start_of_group(self, stream: str, saved: str) -> str:
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

    def _once(self, effect: Effect, stop: Stop) -> None:
        if self._at_least_once:
            if self._clock() >= self._claim_at:
                self._claim_at = self._clock() + self._claim_after_ms / 2000
                self._claim()
            if self._failures and self._clock() >= self._retry_at:
                self._try_again(effect, stop)
        self._read()
        self._handle(self._merge.take(), effect, stop)
        if self._at_least_once and self._clock() >= self._save_at:
            self._save_at = self._clock() + self.CHECKPOINT_EVERY_S
            self._acknowledge()
            self._save_checkpoint()

    # Reading -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Acknowledge, and ask for a page of each stream of which nothing waits: pending events, then new ones.

        A page comes in parts, and the server is kept busy while one is decoded: with the next part, or behind
        the last one with the acknowledgements. Where there may be no next page they go in front of the read.
        """
        # Pending events may be read from the start, so that what waits of their stream would come twice.
        asked = [
            each for each in self._merge.hungry if each not in self._pending_from or not self._merge.holds(each)
        ]
        if not asked:
            self._acknowledge()
            return
        now = self._clock()
        waits = self._merge.is_empty and not self._pending_from and not self._is_behind
        first = [] if self._is_behind else self._acknowledgements()
        self._link.send((*first, self._question(asked, self._patience_ms(now) if waits else None)))
        *acknowledged, reply = self._link.receive(len(first) + 1)
        if first:
            self._note_acknowledged(acknowledged)
        self._asked_at.update((stream, now) for stream in asked if not self._merge.holds(stream))
        for parts_left in reversed(range(self._parts)):
            answered: dict[str, list[Entry]] = {stream: [] for stream in asked}
            answered |= self._link.read("XREADGROUP", partial(pages_by_stream, asked=asked), reply)
            pending = self._advance_in_pending(answered)
            full = [stream for stream, entries in answered.items() if len(entries) == self._part]
            self._is_behind = bool(full)
            is_last = not full or not parts_left
            then = self._acknowledgements() if is_last else [self._question(full, None)]
            try:
                if then:
                    self._link.send(then)
            finally:  # what has come stays, also when the connection is lost: it may have come for the only time
                pages = {name: self._received(name, entries) for name, entries in answered.items()}
                self._merge.add(pages, pending=pending, waited=waits)
            replies = self._link.receive(len(then))
            if is_last:
                self._note_acknowledged(replies)
                return
            reply, asked, waits = replies[0], full, False

    def _received(self, stream: str, entries: list[Entry]) -> list[Received]:
        topic, action = self._sources[stream]
        return self._link.read("XREADGROUP", lambda page: received(stream, topic, action, page), entries)

    def _question(self, streams: Sequence[str], block_ms: int | None) -> tuple[Any, ...]:
        ids = [self._pending_from.get(stream, ">") for stream in streams]
        parts: list[Any] = ["XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", self._part]
        if block_ms is not None:
            parts += ["BLOCK", block_ms]
        if not self._at_least_once:
            parts.append("NOACK")
        return (*parts, "STREAMS", *streams, *ids)

    def _patience_ms(self, now: float) -> int:
        """How long the server may wait for new events: no longer than until something is to be tried again."""
        if not self._failures:
            return self._block_ms
        return max(1, min(self._block_ms, int((self._retry_at - now) * 1000)))

    def _advance_in_pending(self, answered: Mapping[str, list[Entry]]) -> set[str]:
        """Note how far pending events have been read; the streams of which these answers are pending events."""
        pending = set(self._pending_from).intersection(answered)
        for stream in pending:
            entries = answered[stream]
            if len(entries) < self._part:
                del self._pending_from[stream]
            else:
                self._pending_from[stream] = entries[-1][0].decode()
            if self._failures:
                # What comes again need not be waited for.
                for raw in self._link.read("XREADGROUP", lambda page: [entry[0] for entry in page], entries):
                    self._failures.pop((stream, raw), None)
        return pending

    def _acknowledgements(self) -> list[tuple[Any, ...]]:
        return [("XACK", stream, self.group, *raw_ids) for stream, raw_ids in self._done.items()]

    def _acknowledge(self) -> None:
        if self._done:
            self._note_acknowledged(self._link.exchange(*self._acknowledgements()))

    def _note_acknowledged(self, counts: list[int]) -> None:
        self._link.read("XACK", sum, counts)
        self._done.clear()

    def _claim(self) -> None:
        """Make the pending events of consumers that fell silent this one's; they are read like its own."""
        self._acknowledge()
        self._hold_on()
        for stream in self._sources:
            in_hand = set(self._merge.raw_ids(stream))
            cursor, taken_over = START, 0
            while True:
                cursor, raw_ids = self._link.call(
                    _autoclaimed,
                    *("XAUTOCLAIM", stream, self.group, self.consumer, self._claim_after_ms, cursor),
                    *("COUNT", self.CLAIM_PAGE, "JUSTID"),
                )
                claimed = [raw for raw in raw_ids if raw not in in_hand and (stream, raw) not in self._failures]
                taken_over += len(claimed)
                if cursor == START:
                    break
            if taken_over:
                log.warning("%s: took over %d pending events of a silent consumer", self.group, taken_over)
                self._pending_from[stream] = START

    def _hold_on(self) -> None:
        """Drop what others have taken over of what is in hand, and renew the rest, if it is held for long."""
        now = self._clock()
        held_s = now - min(self._asked_at.values())
        if not self._at_least_once or held_s < self._claim_after_ms / 2000:
            return
        left = len(self._taken)
        for stream in self._sources:
            raw_ids = [each.raw_id for each in self._taken if each.stream == stream]
            raw_ids += self._merge.raw_ids(stream)
            if raw_ids:
                ours = self._still_ours(stream, raw_ids, held_s)
                self._taken = [each for each in self._taken if each.stream != stream or each.raw_id in ours]
                self._merge.keep(stream, ours)
        self._asked_at = dict.fromkeys(self._sources, now)
        if len(self._taken) < left:
            log.warning("%s: left %d events to who took them over", self.group, left - len(self._taken))

    def _still_ours(self, stream: str, raw_ids: Sequence[bytes], held_s: float) -> set[bytes]:
        """Those that nobody has taken over; they are held for as long again, without counting as delivered.

        Args:
            raw_ids: in order.
            held_s: for how long they may have been in hand.
        """
        me = self.consumer.encode()
        consumers, rows = self._link.exchange(
            ("XINFO", "CONSUMERS", stream, self.group),
            ("XPENDING", stream, self.group, raw_ids[0], raw_ids[-1], _ALL),
        )
        owners = self._link.read("XPENDING", lambda all_of: {row[0]: row[1] for row in all_of}, rows)
        names = self._link.read("XINFO", lambda all_of: [_pairs(each)[b"name"] for each in all_of], consumers)
        # What is pending nowhere was acknowledged by somebody who had claimed it; before that is possible, or
        # when this consumer has been deleted, it was given up with the consumer, and nobody else will handle it.
        default = None if me in names and held_s >= self._claim_after_ms / 1000 else me
        ours = {raw for raw in raw_ids if owners.get(raw, default) == me}
        if ours:
            self._link.call(_some, "XCLAIM", stream, self.group, self.consumer, 0, *ours, "JUSTID")
        return ours

    # Effects -------------------------------------------------------------------------------------------

    def _drain(self, effect: Effect, stop: Stop) -> None:
        """Have the effect of what the server has forgotten, and would not hand out again."""
        if not self._at_least_once:
            self._handle(self._merge.take_all(), effect, stop)

    def _handle(self, taken: list[Received], effect: Effect, stop: Stop) -> None:
        if not taken:
            return
        self._taken = taken
        self._hold_on()
        deliveries = [each for each in self._taken if type(each) is Delivery]
        if len(deliveries) < len(self._taken):
            no_events = [each for each in self._taken if type(each) is NoEvent]
            log.warning("%s: skipped %d entries that are no events, or were trimmed", self.group, len(no_events))
            self._note_done(no_events)
        self._try(effect, deliveries, stop)
        self._taken = []

    def _try(self, effect: Effect, deliveries: list[Delivery], stop: Stop) -> bool:
        """Have the effect, and note what became of it; False, and nothing, when told to stop while it waits."""
        backoff = self.BACK_OFF_S[0]
        while deliveries:
            try:
                failed = list(effect(deliveries))
            except AwayError as error:
                if backoff == self.BACK_OFF_S[0]:
                    log.warning("%s: %s; waiting", self.group, error)
            except Exception as error:  # noqa: BLE001  # it is at fault in an event, which must not stop the others
                self._note_raised(effect, deliveries, stop, error)
                return True
            else:
                self._note(deliveries, failed)
                return True
            self._acknowledge()  # it may be long
            if stop.wait(backoff):
                return False
            backoff = min(backoff * 2, self.BACK_OFF_S[1])
            deliveries = self._held(deliveries)
        return True

    def _held(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Those of the deliveries that are still this consumer's."""
        before = self._taken
        self._hold_on()
        if self._taken is before:
            return deliveries
        held = {(each.stream, each.raw_id) for each in self._taken}
        return [each for each in deliveries if (each.stream, each.raw_id) in held]

    def _note_raised(self, effect: Effect, deliveries: list[Delivery], stop: Stop, error: Exception) -> None:
        """Note the failure of one delivery; of several, try each alone, so that only those at fault fail."""
        if len(deliveries) == 1:
            if (deliveries[0].stream, deliveries[0].raw_id) not in self._failures:
                log.error("%s: the effect of %s raised", self.group, deliveries[0].event_id, exc_info=error)
            self._note(deliveries, deliveries, error)
            return
        log.warning(
            "%s: the effect of %d events raised %r; each is tried alone", self.group, len(deliveries), error
        )
        for delivery in deliveries:
            if stop.is_set() and self._at_least_once:
                return
            if not self._try(effect, self._held([delivery]), stop):
                return

    def _note(self, tried: list[Delivery], failed: list[Delivery], error: Exception | None = None) -> None:
        if not self._at_least_once:
            return
        failed_ids = {(each.stream, each.raw_id) for each in failed}
        self._note_done([e for e in tried if (e.stream, e.raw_id) not in failed_ids] if failed else tried)
        for delivery in failed:
            self._note_failure(delivery, error)

    def _note_done(self, entries: Sequence[Received]) -> None:
        if not self._at_least_once or not entries:
            return
        if self._failures:
            for each in entries:
                self._failures.pop((each.stream, each.raw_id), None)
        if len(self._sources) == 1:
            self._done[entries[0].stream].extend(map(_RAW_ID_OF, entries))
            return
        for each in entries:
            self._done[each.stream].append(each.raw_id)

    # Failures ------------------------------------------------------------------------------------------

    def _note_failure(self, delivery: Delivery, error: Exception | None) -> None:
        key = (delivery.stream, delivery.raw_id)
        known = self._failures.pop(key, None)
        times = (known.times if known else self._deliveries_so_far(delivery) - 1) + 1
        if times >= self._max_deliveries:
            self._park(delivery, times, repr(error) if error else "the effect answered it as failed")
            return
        now = self._clock()
        self._failures[key] = _Failure(delivery, times, error is not None, now)
        self._retry_at = now + self.BACK_OFF_S[0] * 2 ** min(times - 1, self.MAX_DOUBLINGS)

    def _deliveries_so_far(self, delivery: Delivery) -> int:
        """How often the server has handed an event out, to this consumer or to others before it."""
        return self._link.call(
            lambda pending: int(pending[0][3]) if pending != [] else 1,
            *("XPENDING", delivery.stream, self.group, delivery.raw_id, delivery.raw_id, 1),
        )

    def _try_again(self, effect: Effect, stop: Stop) -> None:
        """Try once more what has failed, but for what another consumer has taken over."""
        self._acknowledge()
        together: list[Delivery] = []
        alone: list[Delivery] = []
        for key, failure in sorted(self._failures.items(), key=lambda item: item[1].delivery.id):
            delivery = failure.delivery
            if not self._still_ours(delivery.stream, [delivery.raw_id], self._clock() - failure.at_s):
                log.warning("%s: event %s has failed here, and is another's now", self.group, delivery.event_id)
                del self._failures[key]
                continue
            # It counts as delivered once more, so that those who come after a crash know.
            self._link.call(_some, "XCLAIM", delivery.stream, self.group, self.consumer, 0, delivery.raw_id)
            (alone if failure.raised else together).append(delivery)
        self._taken = [*together, *alone]
        self._try(effect, together, stop)
        for delivery in alone:
            if stop.is_set():
                break
            self._try(effect, self._held([delivery]), stop)
        self._taken = []

    def _park(self, delivery: Delivery, deliveries: int, reason: str) -> None:
        fields = {
            "stream": delivery.stream,
            "id": delivery.raw_id,
            "event_id": delivery.event_id,
            "deliveries": deliveries,
            "reason": reason,
        }
        # Not in a transaction: there the server acknowledges also what it could not park.
        parked = ("XADD", self.parked, "*", *(part for field in fields.items() for part in field))
        self._link.call(bytes.decode, *parked)
        self._link.call(int, "XACK", delivery.stream, self.group, delivery.raw_id)
        log.error("%s: parked %s after %d deliveries: %s", self.group, delivery.event_id, deliveries, reason)

    # The position --------------------------------------------------------------------------------------

    def _save_checkpoint(self) -> None:
        if not self._at_least_once or not self._checkpoint.is_kept:
            return
        questions: list[tuple[str, ...]] = []
        for stream in self._sources:
            # In this order: what is delivered between the two is above the first answer.
            questions += [("XINFO", "GROUPS", stream), ("XPENDING", stream, self.group)]
        answers = self._link.exchange(*questions)
        positions = {}
        for stream, groups, pending in zip(self._sources, answers[::2], answers[1::2], strict=True):
            last_delivered = self._link.read("XINFO", self._last_delivered, groups)
            smallest = self._link.read("XPENDING", _smallest_pending, pending)
            positions[stream] = position_below_all_pending(last_delivered, smallest)
        self._checkpoint.save(positions)

    def _last_delivered(self, groups: list[Any]) -> str:
        by_name = {group[b"name"]: group[b"last-delivered-id"] for group in map(_pairs, groups)}
        last: bytes = by_name[self.group.encode()]
        return str(EventId.parse(last))


# What replies say; of another kind they raise what `read_reply` knows ---------------------------------------


def _done(reply: bytes) -> None:
    if reply != b"OK":
        raise ValueError(reply)


def _some(reply: list[Any]) -> None:
    reply.copy()


def _last_generated_id(reply: list[Any]) -> EventId:
    return EventId.parse(_pairs(reply)[b"last-generated-id"])


def pages_by_stream(reply: list[Any] | None, asked: Container[str]) -> dict[str, list[Entry]]:
    """The page of each stream that has some, from a reply to XREAD or XREADGROUP.

    Args:
        asked: the streams that were asked.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: it is no such reply.
    """
    pages: dict[str, list[Entry]] = {}
    # Where nothing came, the server says that with a nil.
    for raw, entries in () if reply is None else reply:
        stream = raw.decode()
        if stream not in asked:
            raise LookupError(stream)
        EventId.parse(entries[-1][0] if entries != [] else START)
        pages[stream] = entries
    return pages


def _autoclaimed(reply: list[Any]) -> tuple[str, list[bytes]]:
    """The cursor to go on from, and the IDs that were claimed."""
    raw_ids: list[bytes] = reply[1].copy()
    return reply[0].decode(), raw_ids


def _smallest_pending(reply: list[Any]) -> str | None:
    return None if reply[1] is None else str(EventId.parse(reply[1]))


def _pairs(flat: Sequence[Any]) -> dict[bytes, Any]:
    """A map as RESP2 has it: key, value, key, value, ..."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
