"""Time is a parameter: every module that waits or measures is given a `Clock`.

`SystemClock` is the machine's monotonic clock; `VirtualClock` moves only when it is told to, so that a
schedule of an hour is tested in a millisecond. No other module of the instrument touches `time`.

Monotonic time has no origin that means anything, but on one machine all processes share it: a due time that
one process computes can be compared with what another one measured. Across hosts only durations count.
"""

from __future__ import annotations

import time
from typing import Protocol

# Up to so long before a moment `wait_until` sleeps, and it has itself woken so long before.
AWAKE_NS, _ASLEEP_UNTIL_NS = 150_000, 120_000


class Clock(Protocol):
    """What the instrument needs to know of time."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds, shared by all processes of this machine."""
        ...

    def sleep_ns(self, duration_ns: int) -> None:
        """Wait; return at once for nothing or less."""
        ...

    def epoch_s(self) -> float:
        """Seconds since 1970, for stamps that people read; never for a duration."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, for what the kernel has dated; it may be set at any time."""
        ...


class SystemClock:
    """The machine's own monotonic clock."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds, shared by all processes of this machine."""
        return time.monotonic_ns()

    def sleep_ns(self, duration_ns: int) -> None:
        """Wait; return at once for nothing or less."""
        if duration_ns > 0:
            time.sleep(duration_ns / 1e9)

    def epoch_s(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, by the clock of the kernel's dates."""
        return time.time_ns()


class VirtualClock:
    """A clock that moves only when somebody sleeps on it or sets it forward.

    Args:
        now_ns: where it stands at first.
        epoch_s: what it answers for the time of day at that moment.
    """

    def __init__(self, now_ns: int = 0, epoch_s: float = 0.0) -> None:
        self._start_ns = now_ns
        self._now_ns = now_ns
        self._epoch_s = epoch_s

    def now_ns(self) -> int:
        """Where the clock stands."""
        return self._now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        """Move forward."""
        self._now_ns += max(0, duration_ns)

    def epoch_s(self) -> float:
        """The time of day that belongs to where the clock stands."""
        return self._epoch_s + (self._now_ns - self._start_ns) / 1e9

    def wall_ns(self) -> int:
        """The time of day that belongs to where the clock stands, in nanoseconds."""
        return round(self._epoch_s * 1e9) + self._now_ns - self._start_ns


def wait_until(clock: Clock, due_ns: int) -> None:
    """Wait for a moment, the last of it awake: a sleeper is woken late.

    Args:
        due_ns: the moment, by the clock.
    """
    while (left_ns := due_ns - clock.now_ns()) > 0:
        if left_ns > AWAKE_NS:
            clock.sleep_ns(left_ns - _ASLEEP_UNTIL_NS)
