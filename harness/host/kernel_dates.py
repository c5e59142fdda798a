"""When bytes reached this host, or left it, as the kernel dates them, however late somebody reads them.

Linux dates each segment in software, on loopback too (SO_TIMESTAMPING), and hands the date of the last byte
that was read over as ancillary data of `recvmsg`: three `timespec` of CLOCK_REALTIME, the first of which is the
software's. The dates of what was sent come back by the socket's error queue, at once where the segment did not
have to wait.

    moment = now - (wall - date)       both clocks read right after the date was handed over

so that a wall clock that is set does harm only where it is set between the date and the reading. The wall clock
is read first: whoever loses the CPU between the two readings finds a moment that is too late by as much, never
too early. A moment that cannot be (before the send, after the read) is not believed (`credible`).

There are none on other systems, on unix sockets, and below TLS where Python's `SSLSocket` reads by itself
(`server.tls_stream` does not let it). Source: the kernel's Documentation/networking/timestamping.rst.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable
from typing import Protocol

from harness.host.clock import Clock

# Python has no names for these. Room for the ancillary data: a date, and an error's address and cause.
_SO_TIMESTAMPING = 37
_TX_SOFTWARE, _RX_SOFTWARE, _SOFTWARE, _ONLY_DATES = 1 << 1, 1 << 3, 1 << 4, 1 << 11
_TIMESPEC = struct.Struct("@ll")
ANCILLARY_BYTES = 512


class HasOptions(Protocol):
    """A socket, or what stands for one."""

    @property
    def family(self) -> int:
        """The family of its address."""
        ...

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option of the socket."""
        ...


def ask_for_dates(connection: HasOptions, *, also_of_sent: bool = False) -> bool:
    """Ask the kernel for dates of what comes; whether it is a kernel that takes such a request.

    Args:
        connection: a socket; whether dates come on it shows with the first bytes.
        also_of_sent: of what leaves, too; each send's date must be taken by `sent_date_ns`.
    """
    if sys.platform != "linux" or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    flags = _RX_SOFTWARE | _SOFTWARE | (_TX_SOFTWARE | _ONLY_DATES if also_of_sent else 0)
    try:
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, flags)
    except OSError:
        return False
    return True


def date_ns(ancillary: Iterable[tuple[int, int, bytes]]) -> int | None:
    """The date in what `recvmsg` answers: nanoseconds since 1970, or None."""
    for level, kind, data in ancillary:
        if kind == _SO_TIMESTAMPING and level == socket.SOL_SOCKET and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            if seconds:
                return int(seconds * 1_000_000_000 + nanoseconds)
    return None


def sent_date_ns(connection: socket.socket) -> int | None:
    """The date of what was sent last: nanoseconds since 1970, or None where it has not left yet."""
    if sys.platform != "linux":
        return None
    found = None
    while True:
        try:
            _, ancillary, _, _ = connection.recvmsg(0, ANCILLARY_BYTES, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return found
        found = date_ns(ancillary) or found


def moment_ns(clock: Clock, dated_ns: int) -> int:
    """A date, handed over just now, as a moment of the monotonic clock."""
    wall_ns = clock.wall_ns()
    return clock.now_ns() - (wall_ns - dated_ns)


def credible(moment: int, start_ns: int, read_ns: int) -> int | None:
    """The moment where it can be, which is between a send and the reading of its reply; else None."""
    return moment if start_ns <= moment <= read_ns else None
