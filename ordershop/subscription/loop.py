"""A consumer of a group: join, read, have the effect, acknowledge; and begin again after an outage.

    join      groups that are missing are made; this consumer's own pending events come first
    read      `reading.py`: pages in slices, merged into the order of events
    handle    what is still ours has its effect; what fails waits, and is parked in the end
    save      the position, once a second

What has been in hand for half of `claim_after_ms`, since its effect waits or the process was frozen, may soon be,
or is, another consumer's: before its effect the server is asked, the others' is dropped, and ours held on to.

While the server is away, or cannot serve (a replica after a failover, a full disk), the loop waits, 50 ms at first
and 1 s at most, and logs that once. From a replica it goes, and dials the address again each time. What had its
effect by then is acknowledged first when it is back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import redis

from ordershop.entities import Topic
from ordershop.events import Action, Keys
from ordershop.server.url import Address
from ordershop.subscription.checkpoint import Checkpoint
from ordershop.subscription.delivery import AwayError, Delivery, Effect, NoEvent, Received, Stop, key_of
from ordershop.subscription.failures import Failure, Failures
from ordershop.subscription.group import Group
from ordershop.subscription.link import Link
from ordershop.subscription.reading import Reader
from ordershop.wire import connect, is_unable

log = logging.getLogger(__name__)

Policy = Literal["at_least_once", "at_most_once"]

# What servers answer where a group, or its stream, is gone; Redis 7.0 names those differently that were waiting.
_GROUP_IS_GONE = ("NOGROUP", "UNBLOCKED", "no such key")
CHECKPOINT_EVERY_S = 1.0
# Of waiting for what is away: at first, and at most.
_BACK_OFF_S = (0.05, 1.0)


class Settings(NamedTuple):
    """How a consumer takes events.

    Attributes:
        policy: `at_least_once` or `at_most_once`.
        page: how many events are asked for at a time, of each stream.
        block_ms: how long the server waits for new events; also how soon a stop is seen.
        claim_after_ms: pending events of a consumer that has been silent for so long are taken over. It must
            be longer than any effect takes.
        max_deliveries: after so many failed tries an event is parked.
    """

    policy: Policy = "at_least_once"
    page: int = 500
    block_ms: int = 500
    claim_after_ms: int = 30_000
    max_deliveries: int = 5


DEFAULTS = Settings()


class Subscription:
    """A consumer of a group, on some streams of an event store.

    Args:
        url: the server's.
        keys: the names of the store's keys.
        sources: what to listen to, as (topic, action).
        group: the service's name; all its replicas share the group's position.
        consumer: this replica's name, the same at every start.
        settings: how it takes events.
        checkpoint: where the position is saved besides; None to save none.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        url: Address | str,
        keys: Keys,
        sources: Sequence[tuple[Topic, Action]],
        *,
        group: str,
        consumer: str = "1",
        settings: Settings = DEFAULTS,
        checkpoint: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = keys
        self._name = group
        self._sources = {keys.stream(topic, action): (topic, action) for topic, action in sources}
        self._settings = settings
        self._at_least_once = settings.policy == "at_least_once"
        self._clock = clock
        self._link = Link(connect(url, timeout_s=5.0, block_s=settings.block_ms / 1000))
        self._group = Group(
            self._link, self._sources, group, consumer, parked=self.parked, has_pending=self._at_least_once
        )
        self._failures = Failures(clock)
        self._reader = Reader(
            *(self._link, self._group, self._sources, self._failures),
            page=settings.page,
            block_ms=settings.block_ms,
            clock=clock,
        )
        self._checkpoint = Checkpoint(checkpoint)
        # What was taken to be handled.
        self._taken: list[Received] = []
        self._claim_at = 0.0
        self._save_at = 0.0

    @property
    def parked(self) -> str:
        """The stream of events that were given up, with the reason."""
        return f"{self.keys.namespace}parked:{self._name}"

    # The loop ------------------------------------------------------------------------------------------

    def run(self, effect: Effect, stop: Stop) -> None:
        """Handle events until `stop` is set.

        Args:
            effect: handles deliveries in order, and answers those that failed. It raises `AwayError` where
                what it needs does not answer, and is then called again with the same deliveries. When it raises
                another exception it is called again for each delivery alone, and those it raises for have failed.
        """
        backoff = _BACK_OFF_S[0]
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
                    log.warning("%s: the event store is back", self._name)
                    away, backoff = False, _BACK_OFF_S[0]
            except redis.RedisError as error:
                joined = False
                if str(error).startswith(_GROUP_IS_GONE):
                    log.warning("%s: the group is gone; it is made again at the checkpoint", self._name)
                    continue
                if not is_unable(error):
                    raise
                if not away:
                    log.warning("%s: the event store is away (%s); waiting", self._name, error)
                # Whoever was handed out may be claimed meanwhile; begin again with what is pending.
                away = True
                stop.wait(backoff)
                backoff = min(backoff * 2, _BACK_OFF_S[1])
        self._drain(effect, stop)
        if joined:
            self._leave()

    def _join(self) -> None:
        """Make the groups that are missing, and begin with this consumer's own pending events."""
        # What had its effect when the connection was lost must not come again as pending.
        self._group.acknowledge()
        self._group.create(self._checkpoint.load())
        # Whatever is in hand comes again with the pending events, and the server knows how often it came. At most
        # once nothing comes again, and nothing is in hand any more.
        self._taken = []
        self._failures.clear()
        self._reader.begin(with_pending=self._at_least_once)
        self._claim_at = self._clock() + self._settings.claim_after_ms / 1000

    def _once(self, effect: Effect, stop: Stop) -> None:
        if self._at_least_once:
            if self._clock() >= self._claim_at:
                self._claim_at = self._clock() + self._settings.claim_after_ms / 2000
                self._claim()
            if self._failures.are_due:
                self._try_again(effect, stop)
        self._reader.read()
        self._handle(self._reader.merge.take(), effect, stop)
        if self._at_least_once and self._clock() >= self._save_at:
            self._save_at = self._clock() + CHECKPOINT_EVERY_S
            self._group.acknowledge()
            self._save_checkpoint()

    def _leave(self) -> None:
        try:
            self._group.acknowledge()
            self._save_checkpoint()
        except redis.RedisError as error:
            # The server has the position; the one in the file is older, which loses nothing.
            log.warning("%s: stopped without saving the position (%s)", self._name, error)

    def _save_checkpoint(self) -> None:
        if self._at_least_once and self._checkpoint.is_kept:
            self._checkpoint.save(self._group.positions())

    # Whose events they are -----------------------------------------------------------------------------

    def _claim(self) -> None:
        """Make the pending events of consumers that fell silent this one's; they are read like its own."""
        self._group.acknowledge()
        self._hold_on()
        for stream in self._sources:
            in_hand = set(self._reader.merge.raw_ids(stream))
            claimed = self._group.take_over(stream, self._settings.claim_after_ms)
            taken_over = sum(raw not in in_hand and (stream, raw) not in self._failures for raw in claimed)
            if taken_over:
                log.warning("%s: took over %d pending events of a silent consumer", self._name, taken_over)
                self._reader.read_pending(stream)

    def _hold_on(self) -> None:
        """Drop what others have taken over of what is in hand, and renew the rest, if it is held for long."""
        now = self._clock()
        held_s = now - self._reader.in_hand_since
        if not self._at_least_once or held_s < self._settings.claim_after_ms / 2000:
            return
        left = len(self._taken)
        merge = self._reader.merge
        for stream in self._sources:
            raw_ids = [each.raw_id for each in self._taken if each.stream == stream]
            raw_ids += merge.raw_ids(stream)
            if raw_ids:
                ours = self._still_ours(stream, raw_ids, held_s)
                self._taken = [each for each in self._taken if each.stream != stream or each.raw_id in ours]
                merge.keep(stream, ours)
        self._reader.hold_since(now)
        if len(self._taken) < left:
            log.warning("%s: left %d events to who took them over", self._name, left - len(self._taken))

    def _still_ours(self, stream: str, raw_ids: Sequence[bytes], held_s: float) -> set[bytes]:
        """Those of a stream that nobody has taken over while they may have been in hand for some seconds."""
        may_be_claimed = held_s >= self._settings.claim_after_ms / 1000
        return self._group.still_ours(stream, raw_ids, may_be_claimed=may_be_claimed)

    def _held(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Those of the deliveries that are still this consumer's."""
        before = self._taken
        self._hold_on()
        if self._taken is before:
            return deliveries
        held = set(map(key_of, self._taken))
        return [each for each in deliveries if key_of(each) in held]

    # Effects -------------------------------------------------------------------------------------------

    def _drain(self, effect: Effect, stop: Stop) -> None:
        """Have the effect of what the server has forgotten, and would not hand out again."""
        if not self._at_least_once:
            self._handle(self._reader.merge.take_all(), effect, stop)

    def _handle(self, taken: list[Received], effect: Effect, stop: Stop) -> None:
        if not taken:
            return
        self._taken = taken
        self._hold_on()
        deliveries = [each for each in self._taken if type(each) is Delivery]
        if len(deliveries) < len(self._taken):
            no_events = [each for each in self._taken if type(each) is NoEvent]
            log.warning("%s: skipped %d entries that are no events, or were trimmed", self._name, len(no_events))
            self._note_done(no_events)
        self._try(effect, deliveries, stop)
        self._taken = []

    def _try(self, effect: Effect, deliveries: list[Delivery], stop: Stop) -> bool:
        """Have the effect, and note what became of it; False, and nothing, when told to stop while it waits."""
        backoff = _BACK_OFF_S[0]
        while deliveries:
            try:
                failed = list(effect(deliveries))
            except AwayError as error:
                if backoff == _BACK_OFF_S[0]:
                    log.warning("%s: %s; waiting", self._name, error)
            except Exception as error:  # noqa: BLE001  # it is at fault in an event, which must not stop the others
                self._note_raised(effect, deliveries, stop, error)
                return True
            else:
                self._note(deliveries, failed)
                return True
            self._group.acknowledge()  # it may be long
            if stop.wait(backoff):
                return False
            backoff = min(backoff * 2, _BACK_OFF_S[1])
            deliveries = self._held(deliveries)
        return True

    def _note_raised(self, effect: Effect, deliveries: list[Delivery], stop: Stop, error: Exception) -> None:
        """Note the failure of one delivery; of several, try each alone, so that only those at fault fail."""
        if len(deliveries) == 1:
            if key_of(deliveries[0]) not in self._failures:
                log.error("%s: the effect of %s raised", self._name, deliveries[0].event_id, exc_info=error)
            self._note(deliveries, deliveries, error)
            return
        log.warning(
            "%s: the effect of %d events raised %r; each is tried alone", self._name, len(deliveries), error
        )
        for delivery in deliveries:
            if stop.is_set() and self._at_least_once:
                return
            if not self._try(effect, self._held([delivery]), stop):
                return

    def _note(self, tried: list[Delivery], failed: list[Delivery], error: Exception | None = None) -> None:
        if not self._at_least_once:
            return
        at_fault = set(map(key_of, failed))
        self._note_done([each for each in tried if key_of(each) not in at_fault] if failed else tried)
        for delivery in failed:
            self._note_failure(delivery, error)

    def _note_done(self, entries: Sequence[Received]) -> None:
        self._failures.forget(map(key_of, entries))
        self._group.note_done(entries)

    def _note_failure(self, delivery: Delivery, error: Exception | None) -> None:
        known = self._failures.pop(key_of(delivery), None)
        times = (known.times if known else self._group.deliveries_so_far(delivery) - 1) + 1
        if times >= self._settings.max_deliveries:
            self._group.park(delivery, times, repr(error) if error else "the effect answered it as failed")
        else:
            self._failures.add(delivery, times, raised=error is not None)

    def _try_again(self, effect: Effect, stop: Stop) -> None:
        """Try once more what has failed, but for what another consumer has taken over."""
        self._group.acknowledge()
        again = [failure for failure in self._failures.in_order() if self._is_kept(failure)]
        together = [failure.delivery for failure in again if not failure.raised]
        alone = [failure.delivery for failure in again if failure.raised]
        self._taken = [*together, *alone]
        self._try(effect, together, stop)
        for delivery in alone:
            if stop.is_set():
                break
            self._try(effect, self._held([delivery]), stop)
        self._taken = []

    def _is_kept(self, failure: Failure) -> bool:
        """Whether an event that has failed is still ours; then it counts as delivered once more."""
        delivery = failure.delivery
        if not self._still_ours(delivery.stream, [delivery.raw_id], self._clock() - failure.at_s):
            log.warning("%s: event %s has failed here, and is another's now", self._name, delivery.event_id)
            del self._failures[key_of(delivery)]
            return False
        self._group.count_once_more(delivery)
        return True
