"""Events whose effect has failed: how often, and when they are tried again.

Each failure puts off the next try of all of them: by 50 ms after an event's first one, then by twice as long as
before, and by 51 s at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ordershop.subscription.delivery import Delivery, Key, key_of

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


class Failures(dict[Key, Failure]):
    """The events that wait to be tried again.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._retry_at = 0.0

    @property
    def are_due(self) -> bool:
        """Whether there are some, and it is time to try them again."""
        return bool(self) and self._clock() >= self._retry_at

    def patience_ms(self, now: float, most: int) -> int:
        """How long may be waited for something else: no longer than until they are due."""
        return max(1, min(most, int((self._retry_at - now) * 1000))) if self else most

    def add(self, delivery: Delivery, times: int, *, raised: bool) -> None:
        """Note that the effect of an event has failed, for the so many-th time."""
        now = self._clock()
        self[key_of(delivery)] = Failure(delivery, times, raised, now)
        self._retry_at = now + _FIRST_WAIT_S * 2 ** min(times - 1, _MAX_DOUBLINGS)

    def forget(self, keys: Iterable[Key]) -> None:
        """Forget some events: they had their effect, or come again."""
        if self:
            for key in keys:
                self.pop(key, None)

    def in_order(self) -> list[Failure]:
        """All of them, in the order of events."""
        return sorted(self.values(), key=lambda failure: failure.delivery.id)
