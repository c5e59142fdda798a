"""Whether an outage took place: who is down has no effects.

    fault --> all consumers down ----- 0.25 s --|-- looks at the attempts --|--> one is back

A consumer that was killed, and still tries to have effects, was not killed: something that it had started lives on
and does its work. What was on its way when it was killed comes late, by as much as the sink takes, and all at
once. So attempts count as a sign of life only where they come at moments further apart than that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

GRACE_NS = 250_000_000


class Outages:
    """Looks for attempts while all consumers are down.

    Args:
        attempts: how many there were so far; OSError where nobody can tell.
        now_ns: the time.
        late_ns: how long an attempt takes that is on its way.

    Attributes:
        count: of the outages that were long enough to look.
        attempts: that came while they lasted, of those in which somebody was seen to live.
    """

    def __init__(self, attempts: Callable[[], int], now_ns: Callable[[], int], *, late_ns: int = 0) -> None:
        self._attempts = attempts
        self._now_ns = now_ns
        self._grace_ns = GRACE_NS + late_ns
        self._lock = threading.Lock()
        self._since_ns: int | None = None
        self._before: int | None = None
        self._last = 0
        self._first_sign_ns: int | None = None
        self._has_lived = False
        self.count = 0
        self.attempts = 0

    def look(self, *, is_all_down: bool) -> None:
        """Look once; to be asked again and again.

        Args:
            is_all_down: whether every consumer is.
        """
        with self._lock:
            if not is_all_down:
                self._forget()
                return
            now_ns = self._now_ns()
            if self._since_ns is None:
                self._since_ns = now_ns
            elif now_ns - self._since_ns >= self._grace_ns:
                self._count(now_ns)

    def end(self) -> None:
        """One of them is about to come back."""
        with self._lock:
            if self._before is not None:
                self._count(self._now_ns())
                self.count += 1
                self.attempts += self._last - self._before if self._has_lived else 0
            self._forget()

    def _forget(self) -> None:
        self._since_ns = self._before = self._first_sign_ns = None
        self._has_lived = False

    def _count(self, now_ns: int) -> None:
        try:
            count = self._attempts()
        except OSError:
            return
        if self._before is None:
            self._before = self._last = count
        if count > self._last:
            self._last = count
            if self._first_sign_ns is None:
                self._first_sign_ns = now_ns
            elif now_ns - self._first_sign_ns > self._grace_ns:
                self._has_lived = True
