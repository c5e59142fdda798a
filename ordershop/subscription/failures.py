"""Events whose effect has failed: how often, and when they are tried again.

Each failure puts off the next try of all of them: by 50 ms after an event's first one, then by twice as long as
before, and by 51 s at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ordershop.subscription.delivery import Delivery, Received

_FIRST_WAIT_S = 0.05
_MAX_DOUBLINGS = 10


class Failure(NamedTuple):
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


class Failures:
    """The events that wait to be tried again.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[tuple[str, bytes], Failure] = {}
        self._retry_at = 0.0

    def __contains__(self, each: Received) -> bool:
        return (each.stream, each.raw_id) in self._waiting

    def has(self, stream: str, raw_id: bytes) -> bool:
        """Whether an event waits to be tried again."""
        return (stream, raw_id) in self._waiting

    @property
    def are_due(self) -> bool:
        """Whether there are some, and it is time to try them again."""
        return bool(self._waiting) and self._clock() >= self._retry_at

    def patience_ms(self, now: float, most: int) -> int:
        """How long may be waited for something else: no longer than until they are due."""
        if not self._waiting:
            return most
        return max(1, min(most, int((self._retry_at - now) * 1000)))

    def add(self, delivery: Delivery, times: int, *, raised: bool) -> None:
        """Note that the effect of an event has failed, for the so many-th time."""
        now = self._clock()
        self._waiting[delivery.stream, delivery.raw_id] = Failure(delivery, times, raised, now)
        self._retry_at = now + _FIRST_WAIT_S * 2 ** min(times - 1, _MAX_DOUBLINGS)

    def pop(self, each: Received) -> Failure | None:
        """Forget an event, and answer what was known of it."""
        return self._waiting.pop((each.stream, each.raw_id), None)

    def forget(self, events: Iterable[Received]) -> None:
        """Forget some events: they had their effect."""
        if self._waiting:
            for each in events:
                self.pop(each)

    def forget_ids(self, stream: str, raw_ids: Iterable[bytes]) -> None:
        """Forget some events of a stream: they come again."""
        for raw_id in raw_ids:
            self._waiting.pop((stream, raw_id), None)

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()

    def in_order(self) -> list[Failure]:
        """All of them, in the order of events."""
        return sorted(self._waiting.values(), key=lambda failure: failure.delivery.id)
