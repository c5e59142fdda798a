"""When a reply arrived: between its sending and its reading, whoever sets the wall clock meanwhile."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from harness.host.clock import SystemClock
from harness.host.kernel_dates import ANCILLARY_BYTES, ask_for_dates, date_ns
from harness.measure.arrival_dates import ArrivalDates
from tests.waiting import until

# From <asm-generic/socket.h>.
SO_TIMESTAMPING = 37
MS, S = 1_000_000, 1_000_000_000
# Two clocks are read one after the other, and may drift apart a little while a reply waits.
SLACK_NS = 100_000

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux dates what arrives")

Ancillary = list[tuple[int, int, bytes]]


class SettableClock(SystemClock):
    """The machine's clocks, of which the wall clock can be set."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def wall_ns(self) -> int:
        """By the wall clock as it was set."""
        return super().wall_ns() + self.ahead_ns


def dated_ahead(ancillary: Ancillary, ahead_ns: int) -> Ancillary:
    """Dates as the kernel would have given them, had its clock been so far ahead."""
    moved = []
    for level, kind, data in ancillary:
        seconds, nanoseconds = struct.unpack_from("qq", data)
        date_ns = seconds * S + nanoseconds + ahead_ns
        moved.append((level, kind, struct.pack("qq", date_ns // S, date_ns % S) + data[16:]))
    return moved


class Line:
    """Two ends of a connection over the loopback, and how the one that reads dates what arrives."""

    def __init__(self, here: socket.socket, there: socket.socket) -> None:
        self.here, self.there = here, there
        self.clock = SettableClock()
        self.dates = ArrivalDates(self.clock)

    def send(self) -> int:
        """Send a reply; answers when that began."""
        sent_ns = self.clock.now_ns()
        self.there.sendall(b":1\r\n")
        return sent_ns

    def wait_for(self, duration_ns: int) -> None:
        """Let some time pass in which a reply waits to be read."""
        begun_ns = self.clock.now_ns()
        until(lambda: self.clock.now_ns() - begun_ns >= duration_ns, "some time")

    def read(self, ahead_ns: int = 0) -> tuple[int, int]:
        """Read a reply that arrived when the wall clock was so far ahead; when it counts as arrived, and now."""
        _, ancillary, _, _ = self.here.recvmsg(100, ANCILLARY_BYTES)
        done_ns = self.dates.done_ns(dated_ahead(ancillary, ahead_ns))
        return done_ns, self.clock.now_ns()


@pytest.fixture
def line() -> Iterator[Line]:
    """A TCP connection of which replies are dated."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        here = stack.enter_context(socket.create_connection(listener.getsockname()))
        there = stack.enter_context(listener.accept()[0])
        assert ask_for_dates(here)
        here.settimeout(10)

        def is_dated() -> bool:
            # The kernel begins to date a moment after it was asked to.
            there.sendall(b"x")
            return date_ns(here.recvmsg(100, ANCILLARY_BYTES)[1]) is not None

        until(is_dated, "the kernel dates")
        yield Line(here, there)


@linux
def test_a_reply_arrives_when_it_was_sent_not_when_it_was_read(line: Line) -> None:
    """Read 30 ms late, it still counts as done when it reached this host; how late it was read is known."""
    line.dates.wait()
    sent_ns = line.send()
    line.wait_for(30 * MS)
    done_ns, after_ns = line.read()
    assert sent_ns - SLACK_NS <= done_ns <= after_ns - 20 * MS
    assert (line.dates.kernel, line.dates.by_clock, line.dates.stepped) == (1, 0, 0)
    assert line.dates.read_ns is not None
    assert done_ns <= line.dates.read_ns <= after_ns


@linux
def test_of_several_replies_in_one_read_the_last_one_is_dated(line: Line) -> None:
    """What was sent earlier counts as arrived with what was sent last: late, never early."""
    line.dates.wait()
    line.send()
    line.wait_for(10 * MS)
    last_ns = line.send()
    line.wait_for(20 * MS)
    done_ns, after_ns = line.read()
    assert last_ns - SLACK_NS <= done_ns <= after_ns - 10 * MS


STEPS_S = [1, -1, 3_600, -3_600]
WHEN = ["before it arrives", "before the wait", "after the wait"]


@linux
@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize("when", WHEN)
def test_a_wall_clock_that_is_set_moves_no_date(line: Line, when: str, step_s: int) -> None:
    """Set between two waits, or between a wait and the read: the reply is done when read, and is counted."""
    line.dates.wait()
    at_arrival_ns = 0
    if when == "before it arrives":
        line.clock.ahead_ns = at_arrival_ns = step_s * S
    sent_ns = line.send()
    line.wait_for(5 * MS)
    if when == "before the wait":
        line.clock.ahead_ns = step_s * S
    line.dates.wait()
    if when == "after the wait":
        line.clock.ahead_ns = step_s * S
    before_ns = line.clock.now_ns()
    done_ns, after_ns = line.read(at_arrival_ns)
    assert sent_ns < before_ns <= done_ns <= after_ns
    assert (line.dates.stepped, line.dates.by_clock, line.dates.kernel) == (1, 1, 0)
    assert line.dates.read_ns is None


@linux
@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_clock_that_is_set_and_set_back(line: Line, step_s: int) -> None:
    """Away before the reply arrives and back before it is read: the two steps do not hide one another."""
    line.dates.wait()
    line.clock.ahead_ns = step_s * S
    line.send()
    line.dates.wait()
    line.clock.ahead_ns = 0
    before_ns = line.clock.now_ns()
    done_ns, after_ns = line.read(step_s * S)
    assert before_ns <= done_ns <= after_ns
    assert line.dates.stepped == 1


@linux
@pytest.mark.parametrize("step_s", STEPS_S)
def test_after_a_step_dates_are_dates_again(line: Line, step_s: int) -> None:
    """Two waits after the wall clock was set, replies are dated by the kernel as before."""
    line.clock.ahead_ns = step_s * S
    line.dates.wait()
    line.dates.wait()
    sent_ns = line.send()
    line.wait_for(5 * MS)
    done_ns, after_ns = line.read(step_s * S)
    assert sent_ns - SLACK_NS <= done_ns <= after_ns
    assert (line.dates.stepped, line.dates.kernel) == (0, 1)


def test_a_unix_socket_has_no_dates() -> None:
    """What comes over a unix socket is dated by nobody: it counts as done when it was read."""
    here, there = socket.socketpair()
    with here, there:
        assert not ask_for_dates(here)
        clock = SystemClock()
        dates = ArrivalDates(clock)
        there.sendall(b":1\r\n")
        _, ancillary, _, _ = here.recvmsg(100, ANCILLARY_BYTES)
        before_ns = clock.now_ns()
        done_ns = dates.done_ns(ancillary)
        assert before_ns <= done_ns <= clock.now_ns()
    assert (dates.kernel, dates.by_clock, dates.stepped, dates.read_ns) == (0, 1, 0, None)


def test_what_is_no_date_is_none() -> None:
    """Other messages, cut-off ones, and a date of zeros, which is what the kernel hands over without one."""
    whole = struct.pack("qqqqqq", 5, 7, 0, 0, 0, 0)
    level = socket.SOL_SOCKET
    assert date_ns([]) is None
    assert date_ns([(level, SO_TIMESTAMPING, b"")]) is None
    assert date_ns([(level, SO_TIMESTAMPING + 1, whole), (level + 1, SO_TIMESTAMPING, whole)]) is None
    assert date_ns([(level, SO_TIMESTAMPING, bytes(48))]) is None
    assert date_ns([(level, SO_TIMESTAMPING, whole)]) == 5 * S + 7
