"""When a reply reached this host: as the kernel dates it where it does, else when it was read.

    send            the reply's last segment arrives                 recvmsg returns
     |---- server -----|------------- reading lag ---------------------|
    start            done (kernel)                                    read (clock)

With SO_TIMESTAMPING Linux dates each segment as it comes in, on the loopback too, and `recvmsg` hands the date of
the last byte over as ancillary data: `struct scm_timestamping`, of whose three timespecs the first is the software
date, by CLOCK_REALTIME. How late the reader woke up, or how long it collected garbage, is then in no figure. Many
replies in one read all get the date of the last one: late by less than without, never early.

The date is carried over to the monotonic clock by the distance between the two clocks, read right after `recvmsg`:

    done = read - (wall - date)

A wall clock that is set while a reply waits to be read would move it by as much. So the distance is taken before
each wait, too. What a wait finds has arrived after the wait before it, which would have found it; so where the
distance has changed since then by more than clocks drift, the reply counts as done when it was read. And a date is
never before the operation's start nor after its reading, whatever the clocks say.

    wait --- sent --- arrives --- the clock is set --- wait --- read         the last wait alone would not see it

Where there are no dates (unix sockets, systems other than Linux) `done` is when the reply was read.

Source: https://docs.kernel.org/networking/timestamping.html
"""

from __future__ import annotations

import socket
import struct
import sys

from harness.clock import Clock

# From <asm-generic/socket.h> and <linux/net_tstamp.h>; Python has no names for them.
SO_TIMESTAMPING = 37
_RX_SOFTWARE, _SOFTWARE = 1 << 3, 1 << 4
_TIMESPEC = struct.Struct("qq")
# What one control message of three timespecs takes; more than that never comes.
ANCILLARY_BYTES = 128
# Two clocks may drift apart by 500 ppm while one of them is slewed; twice that, and what a preempted read adds.
_STEP_NS, _DRIFT_PER = 20_000, 1_000


def date_replies(connection: socket.socket) -> bool:
    """Have the kernel date what arrives on a connection; answers whether it will."""
    if sys.platform != "linux" or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    try:
        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, _RX_SOFTWARE | _SOFTWARE)
    except OSError:
        return False
    return True


def date_in(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The date in what `recvmsg` hands over, nanoseconds since 1970; None without one."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            if seconds or nanoseconds:
                return int(seconds * 1_000_000_000 + nanoseconds)
    return None


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
        date_ns = date_in(ancillary)
        if date_ns is None:
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
        return min(read_ns - (wall_ns - date_ns), read_ns)
