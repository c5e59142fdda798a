"""A service listens to streams: consumer groups that lose nothing, or lose by choice.

    subscription = Subscription(url, keys, [("customer", "created"), ("order", "created")], group="crm")
    subscription.run(effect, stop)         # effect([Delivery, ...]) -> the deliveries that failed

`at_least_once`: an event is acknowledged after its effect. A consumer that starts takes its own pending events
first, then new ones, and now and then those of consumers that died. An event that keeps failing is parked
in a stream of its own after `max_deliveries`, so that it does not stop the rest; a service that is away
(`AwayError`) is waited for, however long it takes, and counts against no event.

`at_most_once`: the server forgets an event when it hands it out (NOACK). A crash loses what was in hand.

Order: IDs order events over all streams, but a reply brings at most a page of each stream. Each stream is
known up to some ID: behind a full page more may follow, behind a shorter one nothing did, up to the last ID that
was seen anywhere. Events are handled as far as every stream is known; the rest waits for the next read:

    created   1  3  4  5 | full page: known up to 5
    deleted   2  6  7      known up to 7, the last that was seen; 6 and 7 wait

Position: the group's, kept by the server. Groups begin at the start of a stream, never at its end. Should the
server come back empty, the group is made again at the checkpoint that each consumer saves to a file: the last
ID below which everything was acknowledged.

While the server is away the loop waits, 50 ms at first and 1 s at most, and logs that once.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import redis

from ordershop.entities import Entity, Topic
from ordershop.event_store import Entry, command, connect, stored_event
from ordershop.events import Action, EventId, Keys

log = logging.getLogger(__name__)

Policy = Literal["at_least_once", "at_most_once"]

START = "0-0"
NOTHING = EventId(0, 0)

# What servers answer where a group, or its stream, is gone; Redis 7.0 names those differently that were waiting.
_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED", "no such key")


class Delivery(NamedTuple):
    """An event in the hands of a consumer."""

    id: EventId
    topic: Topic
    action: Action
    entity: Entity
    event_id: str
    stream: str
    raw_id: bytes


# An entry that a consumer was given: its ID, its event (None where it is none), its ID as the server wrote it.
Received = tuple[EventId, Delivery | None, bytes]


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


class Merge:
    """Pages of several streams in, events in order of ID out, as far as the order is certain.

    Args:
        streams: their names.
        page: how many entries a full page has.
    """

    def __init__(self, streams: Sequence[str], page: int) -> None:
        self._page = page
        self._waiting: dict[str, deque[Received]] = {stream: deque() for stream in streams}
        self._known_to: dict[str, EventId] = dict.fromkeys(streams, NOTHING)
        self._last_seen = NOTHING

    @property
    def hungry(self) -> list[str]:
        """The streams of which nothing waits, so that more of them may be asked for."""
        return [stream for stream, waiting in self._waiting.items() if not waiting]

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
            self._waiting[stream].extend(entries)
            if entries:
                self._last_seen = max(self._last_seen, entries[-1][0])
        for stream, entries in pages.items():
            more_may_follow = stream in pending or len(entries) >= self._page or (waited and not entries)
            if not more_may_follow:
                self._known_to[stream] = self._last_seen
            elif entries or stream in pending:
                self._known_to[stream] = entries[-1][0] if entries else NOTHING

    def take(self) -> list[tuple[str, Delivery | None, bytes]]:
        """The entries up to which the order is certain, in order, with their streams."""
        safe = min(self._known_to.values())
        taken: list[tuple[EventId, str, Delivery | None, bytes]] = []
        for stream, waiting in self._waiting.items():
            while waiting and waiting[0][0] <= safe:
                event_id, delivery, raw = waiting.popleft()
                taken.append((event_id, stream, delivery, raw))
        taken.sort(key=lambda item: item[0])
        return [(stream, delivery, raw) for _, stream, delivery, raw in taken]

    def holds(self, stream: str, raw_id: bytes) -> bool:
        """Whether an entry waits here."""
        return any(raw == raw_id for _, _, raw in self._waiting[stream])

    def clear(self) -> None:
        """Forget everything that waits, and how far the streams are known."""
        self._last_seen = NOTHING
        for stream, waiting in self._waiting.items():
            waiting.clear()
            self._known_to[stream] = NOTHING


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
    # Of the wait after a failure: 51 s at most.
    MAX_DOUBLINGS = 10

    def __init__(
        self,
        url: str,
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
        self._policy = policy
        self._page = page
        self._block_ms = block_ms
        self._claim_after_ms = claim_after_ms
        self._max_deliveries = max_deliveries
        self._clock = clock
        self._client = connect(url, timeout_s=block_ms / 1000 + 5)
        self._checkpoint = Checkpoint(checkpoint)
        self._merge = Merge(list(self._sources), page)
        # Streams whose own pending events are still being read, with the ID to go on behind.
        self._pending_from: dict[str, str] = {}
        self._failures: dict[tuple[str, bytes], int] = {}
        self._retry_at = 0.0
        self._claim_at = 0.0
        self._save_at = 0.0

    @property
    def parked(self) -> str:
        """The stream of events that were given up, with the reason."""
        return f"{self.keys.namespace}parked:{self.group}"

    def run(self, effect: Effect, stop: Stop) -> None:
        """Handle events until `stop` is set.

        Args:
            effect: handles deliveries in order, and answers those that failed. It raises `AwayError` where
                what it needs does not answer, and is then called again with the same deliveries.
        """
        backoff = self.BACK_OFF_S[0]
        away = False
        joined = False
        while not stop.is_set():
            try:
                if not joined:
                    self._join()
                    joined = True
                if away:
                    log.warning("%s: the event store is back", self.group)
                    away, backoff = False, self.BACK_OFF_S[0]
                self._once(effect, stop)
            except redis.ResponseError as error:
                if not str(error).startswith(_GROUP_IS_GONE):
                    raise
                log.warning("%s: the group is gone; it is made again at the checkpoint", self.group)
                joined = False
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if not away:
                    log.warning("%s: the event store is away (%s); waiting", self.group, error)
                # Whoever was handed out may be claimed meanwhile; begin again with what is pending.
                away, joined = True, False
                stop.wait(backoff)
                backoff = min(backoff * 2, self.BACK_OFF_S[1])
        if joined:
            try:
                self._save_checkpoint()
            except redis.RedisError as error:
                # The server has the position; the one in the file is older, which loses nothing.
                log.warning("%s: stopped without saving the position (%s)", self.group, error)

    def _join(self) -> None:
        """Make the groups that are missing, and begin with this consumer's own pending events."""
        saved = self._checkpoint.load()
        for stream in self._sources:
            try:
                self._client.xgroup_create(stream, self.group, id=saved.get(stream, START), mkstream=True)
                log.info("%s: listening to %s from %s", self.group, stream, saved.get(stream, START))
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
        self._merge.clear()
        at_least_once = self._policy == "at_least_once"
        self._pending_from = dict.fromkeys(self._sources, START) if at_least_once else {}
        self._claim_at = self._clock() + self._claim_after_ms / 1000

    def _once(self, effect: Effect, stop: Stop) -> None:
        if self._policy == "at_least_once" and self._clock() >= self._claim_at:
            self._claim_at = self._clock() + self._claim_after_ms / 2000
            self._handle(self._claimed(), effect, stop)
        if self._failures and not self._pending_from and self._clock() >= self._retry_at:
            # What failed is still pending: read it again, from the start. Once: it may be gone meanwhile, taken
            # over by another consumer or trimmed; what is not, and fails again, sets the time anew.
            self._pending_from = {stream: START for stream, _ in self._failures}
            self._retry_at = math.inf
        self._read()
        self._handle(self._merge.take(), effect, stop)
        if self._policy == "at_least_once" and self._clock() >= self._save_at:
            self._save_at = self._clock() + self.CHECKPOINT_EVERY_S
            self._save_checkpoint()

    def _read(self) -> None:
        """Ask for a page of each stream of which nothing waits: pending events first, then new ones."""
        asked = self._merge.hungry
        if not asked:
            return
        ids = [self._pending_from.get(stream, ">") for stream in asked]
        parts: list[Any] = ["XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", self._page]
        waits = self._merge.is_empty and not self._pending_from
        if waits:
            parts += ["BLOCK", self._block_ms]
        if self._policy == "at_most_once":
            parts.append("NOACK")
        replies = self._command(*parts, "STREAMS", *asked, *ids) or []
        pages: dict[str, list[Received]] = {stream: [] for stream in asked}
        pending = set(self._pending_from)
        for raw_stream, entries in replies:
            stream = raw_stream.decode()
            pages[stream] = [self._received(stream, entry) for entry in entries]
            if stream in pending:
                if len(entries) < self._page:
                    del self._pending_from[stream]
                else:
                    self._pending_from[stream] = entries[-1][0].decode()
        self._merge.add(pages, pending=pending, waited=waits)

    def _received(self, stream: str, entry: Entry) -> Received:
        topic, action = self._sources[stream]
        event = stored_event(topic, action, entry)
        if event is None:
            return EventId.parse(entry[0]), None, entry[0]
        delivery = Delivery(event.id, topic, action, event.entity, event.event_id, stream, entry[0])
        return event.id, delivery, entry[0]

    def _claimed(self) -> list[tuple[str, Delivery | None, bytes]]:
        """The pending events of consumers that fell silent, now this consumer's; each stream to its end."""
        claimed = []
        for stream in self._sources:
            cursor = START
            while True:
                reply = self._command(
                    "XAUTOCLAIM",
                    stream,
                    self.group,
                    self.consumer,
                    self._claim_after_ms,
                    cursor,
                    "COUNT",
                    self._page,
                )
                cursor = reply[0].decode()
                if None in reply[1]:
                    # Redis 6.2 answers a trimmed entry as nil, and leaves it pending; its ID is to be read there.
                    self._pending_from.setdefault(stream, START)
                received = [
                    self._received(stream, entry)
                    for entry in reply[1]
                    if entry is not None and not self._merge.holds(stream, entry[0])
                ]
                claimed += [(event_id, stream, delivery, raw) for event_id, delivery, raw in received]
                if cursor == START:
                    break
        if claimed:
            log.warning("%s: took over %d pending events of a silent consumer", self.group, len(claimed))
        claimed.sort(key=lambda item: item[0])
        return [(stream, delivery, raw) for _, stream, delivery, raw in claimed]

    def _handle(self, taken: list[tuple[str, Delivery | None, bytes]], effect: Effect, stop: Stop) -> None:
        if not taken:
            return
        deliveries = [delivery for _, delivery, _ in taken if delivery is not None]
        failed = self._try(effect, deliveries, stop) if deliveries else []
        if failed is None or self._policy == "at_most_once":
            return
        failed_ids = {(delivery.stream, delivery.raw_id) for delivery in failed}
        done: dict[str, list[bytes]] = {}
        unreadable = 0
        for stream, delivery, raw in taken:
            unreadable += delivery is None
            if (stream, raw) not in failed_ids:
                done.setdefault(stream, []).append(raw)
                self._failures.pop((stream, raw), None)
        if unreadable:
            log.warning("%s: skipped %d entries that are no events, or were trimmed", self.group, unreadable)
        for delivery in failed:
            self._note_failure(delivery)
        self._acknowledge(done)

    def _try(self, effect: Effect, deliveries: list[Delivery], stop: Stop) -> list[Delivery] | None:
        """The deliveries that failed; None when told to stop before what the effect needs had answered."""
        backoff = self.BACK_OFF_S[0]
        while True:
            try:
                return list(effect(deliveries))
            except AwayError as error:
                if backoff == self.BACK_OFF_S[0]:
                    log.warning("%s: %s; waiting", self.group, error)
            if stop.wait(backoff):
                return None
            backoff = min(backoff * 2, self.BACK_OFF_S[1])

    def _note_failure(self, delivery: Delivery) -> None:
        key = (delivery.stream, delivery.raw_id)
        failures = self._failures.get(key) or self._deliveries_so_far(delivery) - 1
        self._failures[key] = failures + 1
        self._retry_at = self._clock() + self.BACK_OFF_S[0] * 2 ** min(failures, self.MAX_DOUBLINGS)
        if self._failures[key] >= self._max_deliveries:
            del self._failures[key]
            self._park(delivery, failures + 1)

    def _deliveries_so_far(self, delivery: Delivery) -> int:
        """How often the server has handed an event out, to this consumer or to others before it."""
        pending = self._command("XPENDING", delivery.stream, self.group, delivery.raw_id, delivery.raw_id, 1)
        return int(pending[0][3]) if pending else 1

    def _park(self, delivery: Delivery, deliveries: int) -> None:
        log.error("%s: parked %s after %d deliveries", self.group, delivery.event_id, deliveries)
        with self._client.pipeline(transaction=True) as together:
            together.xadd(
                self.parked,
                {
                    "stream": delivery.stream,
                    "id": delivery.raw_id,
                    "event_id": delivery.event_id,
                    "deliveries": deliveries,
                },
            )
            together.xack(delivery.stream, self.group, delivery.raw_id)
            together.execute()

    def _acknowledge(self, done: dict[str, list[bytes]]) -> None:
        for stream, ids in done.items():
            self._command("XACK", stream, self.group, *ids)

    def _save_checkpoint(self) -> None:
        if self._policy == "at_most_once":
            return
        positions = {}
        for stream in self._sources:
            groups = self._client.xinfo_groups(stream)
            mine = next((g for g in groups if g["name"] == self.group.encode()), None)
            if mine is None:
                raise redis.ResponseError(f"NOGROUP {self.group} of {stream}")
            pending = self._command("XPENDING", stream, self.group)
            smallest = pending[1].decode() if pending[1] is not None else None
            positions[stream] = position_below_all_pending(mine["last-delivered-id"].decode(), smallest)
        self._checkpoint.save(positions)

    def _command(self, *parts: Any) -> Any:
        return command(self._client, *parts)
