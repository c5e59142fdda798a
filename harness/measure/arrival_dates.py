"""When a reply reached this host: as the kernel dates it where it does, else when it was read.

    send            the reply's last segment arrives                 recvmsg returns
     |---- server -----|------------- reading lag ---------------------|
    start            done (kernel)                                    read (clock)

Linux dates each segment as it comes in, and hands the date of the last byte that was read over, by CLOCK_REALTIME
(`host.kernel_dates`). How late the reader woke up, or how long it collected garbage, is then in no figure. Many
replies in one read all get the date of the last one: late by less than without, never early.

The date is carried over to the monotonic clock by the distance between the two clocks, read right after `recvmsg`:

    done = read - (wall - date)

A wall clock that is set while a reply waits to be read would move it by as much. So the distance is taken before
each wait, too. What a wait finds has arrived after the wait before it, which would have found it; so where the
distance has changed since then by more than clocks drift, the reply counts as done when it was read. And a date is
never before the operation's start nor after its reading, whatever the clocks say.

    wait --- sent --- arrives --- the clock is set --- wait --- read         the last wait alone would not see it

Below TLS the date is that of the segment that completed what was decrypted, or of a later one in the same read
(`server.tls_stream`); decrypting is reading, and so part of the reading lag.

Where there are no dates (unix sockets, systems other than Linux) `done` is when the reply was read.
"""

from __future__ import annotations

from harness.host.clock import Clock
from harness.host.kernel_dates import date_ns

# Two clocks may drift apart by 500 ppm while one of them is slewed; twice that, and what a preempted read adds.
_STEP_NS, _DRIFT_PER = 20_000, 1_000


class ArrivalDates:
    """Carries the kernel's dates over to the monotonic clock.

    Args:
        clock: both clocks.

    Attributes:
        kernel: how many reads were dated by the kernel.
        by_clock: how many were not, and count from when they were read.
        stepped: how many of these because the wall clock was set meanwhile.
        read_ns: when the last read was, where the kernel has dated what it read; else None.
    """

    __slots__ = (
        "_before_ns",
        "_distance_ns",
        "_earlier_distance_ns",
        "_earlier_ns",
        "_now_ns",
        "_wall_ns",
        "by_clock",
        "kernel",
        "read_ns",
        "stepped",
    )

    def __init__(self, clock: Clock) -> None:
        self._now_ns = clock.now_ns
        self._wall_ns = clock.wall_ns
        self.kernel = self.by_clock = self.stepped = 0
        self.read_ns: int | None = None
        self._before_ns = self._now_ns()
        self._distance_ns = self._wall_ns() - self._before_ns
        self.wait()

    def wait(self) -> int:
        """Note how far apart the clocks are, before a wait; answers the monotonic time."""
        self._earlier_ns, self._earlier_distance_ns = self._before_ns, self._distance_ns
        wall_ns = self._wall_ns()
        self._before_ns = now_ns = self._now_ns()
        self._distance_ns = wall_ns - now_ns
        return now_ns

    def done_ns(self, ancillary: list[tuple[int, int, bytes]]) -> int:
        """When what was just read had arrived, monotonic."""
        # In this order: who is interrupted between the two finds the reply too late, and never too early.
        wall_ns = self._wall_ns()
        read_ns = self._now_ns()
        self.read_ns = None
        dated_ns = date_ns(ancillary)
        if dated_ns is None:
            self.by_clock += 1
            return read_ns
        distance_ns = wall_ns - read_ns
        moved_ns = abs(distance_ns - self._distance_ns)
        # Both: a clock that is set, and set back, has moved since one of them.
        moved_ns = max(moved_ns, abs(distance_ns - self._earlier_distance_ns))
        if moved_ns > _STEP_NS + (read_ns - self._earlier_ns) // _DRIFT_PER:
            self.stepped += 1
            self.by_clock += 1
            return read_ns
        self.kernel += 1
        self.read_ns = read_ns
        return min(read_ns - (wall_ns - dated_ns), read_ns)
