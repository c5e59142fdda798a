"""The floor: what a bare exchange with this server costs, before any load, beside which a run's figures are read.

One blocking socket, one command at a time, each due by a schedule: PING, then an XADD of the run's size at the
run's rate. Nothing is configured, so that an XADD pays for the server's durability as it is.

    due        start                                 date             read
     |-- send lag --|---------- service ---------------|-- reading lag --|
                    |---------------- as read ---------------------------|

The last moments before a command is due are waited out awake. The date is the kernel's, of the reply's arrival
(`harness.host.kernel_dates`), below TLS, too; where it dates nothing (unix sockets, other systems), service is as
it was read, and `dated` says so. A date that cannot be is counted, and the moment of the reading stands for it:
late, never early.

One exchange at a time cannot keep up with any rate. A due time that passes while an exchange is open is left
out and counted in `skipped`; what is measured is an exchange, not a load, so a queue of its own would only blur
it.

`side_by_side` sets a run's quantities and the floor beside each other, quantile by quantile. Nothing is
subtracted: a median of sums is not the sum of medians.

    quantity             p50     p90     p99     max
    response              ..      ..      ..      ..
    floor: XADD           ..      ..      ..      ..

Rejected: the same through the pump. What the pump adds would then be in the floor, too.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Any, Literal

import hiredis
import msgspec

from harness.host import kernel_dates
from harness.host.clock import AWAKE_NS, Clock, wait_until
from harness.server.dial import DialError, ReplyError, open_socket, packed, read_replies
from harness.server.tls_stream import Connection
from harness.server.url import ServerUrl

Dated = Literal["kernel", "clock"]

# Of the quantiles in a row of the report.
COLUMNS = ("p50", "p90", "p99", "max")

_WARM_UP, _DATED_WITHIN_NS = 16, 200_000_000
_MOST_EXCHANGES, _MOST_BYTES = 20_000, 64 << 20
_TIMEOUT_S = 5
_READ_BYTES = 1 << 16


class FloorError(Exception):
    """A floor that could not be measured; its text is one clear line."""


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Of `n` values, in nanoseconds; each is one of the values."""

    n: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    max_ns: int

    @property
    def row_us(self) -> tuple[float, ...]:
        """The values of `COLUMNS`, in microseconds."""
        return tuple(value / 1000 for value in (self.p50_ns, self.p90_ns, self.p99_ns, self.max_ns))


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of command costs.

    Attributes:
        send_lag: from when it was due until it was sent.
        service: from then until its reply was here, as `Floor.dated` says.
        read: from then until the reply was read.
        skipped: due times that passed while an exchange was open.
        impossible: replies whose date lay before their send or after the reading.
    """

    send_lag: Quantiles
    service: Quantiles
    read: Quantiles
    skipped: int
    impossible: int


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """What a bare exchange costs.

    Attributes:
        dated: by what the arrival of a reply is dated.
        rate_per_s: at which commands were due.
        payload_bytes: of an XADD's largest value.
        ping: a PING.
        xadd: an XADD.
    """

    dated: Dated
    rate_per_s: float
    payload_bytes: int
    ping: Exchange
    xadd: Exchange


class FloorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A floor to be measured by whoever makes the load, in its place and just before it.

    Attributes:
        rate_per_s, payload_bytes, key, seconds: as for `measure_floor`.
    """

    rate_per_s: float
    payload_bytes: int
    key: str
    seconds: float = 0.5


def measure_floor(
    url: ServerUrl | str, *, clock: Clock, rate_per_s: float, payload_bytes: int, key: str, seconds: float = 0.5
) -> Floor:
    """Measure what a bare exchange with a server costs, and leave nothing there.

    Args:
        url: the server's, as for `open_socket`.
        clock: that times it.
        rate_per_s: at which commands are due, above 0.
        payload_bytes: of an XADD's largest value, 0 or more.
        key: what the name of the stream begins with, in the server's namespace; it ends in random digits, so that
            it is nobody else's, and is removed at the end.
        seconds: how long in all; the half of it for each kind of command. At least one of each is sent.

    Raises:
        FloorError: no connection, or the server refuses a command.
        ValueError: a rate or a size that cannot be.
    """
    if not (math.isfinite(rate_per_s) and rate_per_s > 0 and payload_bytes >= 0 and seconds >= 0):
        raise ValueError(f"a floor has a rate above 0 and a size and a time of 0 or more, not {rate_per_s}")
    own = f"{key}:{secrets.token_hex(8)}"
    xadd = packed("XADD", own, "*", "event_id", "0" * 36, "entity", "x" * payload_bytes)
    try:
        with contextlib.closing(open_socket(url, _TIMEOUT_S)) as connection:
            line = _Line(connection, clock)
            schedule = _Schedule(clock, rate_per_s, seconds / 2)
            most = min(_MOST_EXCHANGES, max(1, _MOST_BYTES // len(xadd)))
            ping = schedule.run(line, packed("PING"), _MOST_EXCHANGES)
            try:
                of_xadd = schedule.run(line, xadd, most)
            finally:
                _remove(url, own)
            dated: Dated = "kernel" if line.is_dated else "clock"
    except (OSError, DialError, ReplyError, hiredis.ProtocolError) as error:
        raise FloorError(f"the floor cannot be measured: {error or type(error).__name__}") from error
    return Floor(dated=dated, rate_per_s=rate_per_s, payload_bytes=payload_bytes, ping=ping, xadd=of_xadd)


def quantiles_of(values_ns: Sequence[int]) -> Quantiles:
    """Quantiles of at least one value, each by rank rounded up."""
    ordered = sorted(values_ns)
    n = len(ordered)
    # In whole numbers: 0.99 times 100 is a little more than 99.
    p50, p90, p99 = (ordered[(percent * n + 99) // 100 - 1] for percent in (50, 90, 99))
    return Quantiles(n=n, p50_ns=p50, p90_ns=p90, p99_ns=p99, max_ns=ordered[-1])


class _Line:
    """One blocking connection, and the exchanges on it."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._buffer = bytearray(_READ_BYTES)
        self.impossible = 0
        # Python waits for a socket with a timeout by a call of its own, which would be in each figure.
        connection.settimeout(None)
        patience = struct.pack("@ll", _TIMEOUT_S, 0)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, patience)
        may_be_dated = kernel_dates.ask_for_dates(connection)
        # Whether dates really come shows now; the kernel begins to make them a moment after it was asked.
        until_ns = clock.now_ns() + _DATED_WITHIN_NS
        dates = [self._date_of_a_ping() for _ in range(_WARM_UP)]
        while may_be_dated and dates[-1] is None and clock.now_ns() < until_ns:
            dates.append(self._date_of_a_ping())
        self.is_dated = dates[-1] is not None

    def _date_of_a_ping(self) -> int | None:
        self._connection.sendall(packed("PING"))
        return self._read_reply()[0]

    def exchange(self, command: bytes) -> tuple[int, int, int]:
        """Send a command and wait for its reply: when it was sent, its reply was here, and was read.

        Raises:
            OSError: the connection is lost, or silent for too long.
            ReplyError: the server refuses it.
            hiredis.ProtocolError: what answers is no Redis server.
        """
        start_ns = self._clock.now_ns()
        self._connection.sendall(command)
        date_ns, moment_ns, read_ns = self._read_reply()
        if not self.is_dated:
            return start_ns, read_ns, read_ns
        done_ns = None if date_ns is None else kernel_dates.credible(moment_ns, start_ns, read_ns)
        if done_ns is None:
            self.impossible += 1
            done_ns = read_ns
        return start_ns, done_ns, read_ns

    def _read_reply(self) -> tuple[int | None, int, int]:
        """Read one reply: its date, this as a moment, and when it was read."""
        reader = hiredis.Reader(replyError=ReplyError)
        while True:
            chunk, ancillary = self._read()
            read_ns = self._clock.now_ns()
            date_ns = kernel_dates.date_ns(ancillary)
            moment_ns = read_ns if date_ns is None else kernel_dates.moment_ns(self._clock, date_ns)
            if not chunk:
                raise ConnectionResetError("the server closed the connection")
            reader.feed(chunk)
            if (reply := reader.gets()) is not False:
                break
        if isinstance(reply, ReplyError):
            raise reply
        return date_ns, moment_ns, read_ns

    def _read(self) -> tuple[bytes, list[Any]]:
        while True:
            try:
                length, ancillary, _, _ = self._connection.recvmsg_into(
                    (self._buffer,), kernel_dates.ANCILLARY_BYTES
                )
                return bytes(memoryview(self._buffer)[:length]), ancillary
            except ssl.SSLWantReadError:
                continue  # a part of a record
            except BlockingIOError as error:
                raise TimeoutError(f"no reply within {_TIMEOUT_S} s") from error


class _Schedule:
    """When commands are due: at a rate, for some time."""

    def __init__(self, clock: Clock, rate_per_s: float, seconds: float) -> None:
        self._clock = clock
        self._step_ns = max(1, round(1e9 / rate_per_s))
        self._duration_ns = round(seconds * 1e9)

    def run(self, line: _Line, command: bytes, most: int) -> Exchange:
        """Exchange a command at each due time, at least once and at most `most` times.

        Raises:
            OSError, ReplyError, hiredis.ProtocolError: as `_Line.exchange`.
        """
        # The first one pays for what is made only once, such as a stream; it is not measured.
        line.exchange(command)
        before = line.impossible
        lags: list[int] = []
        services: list[int] = []
        reads: list[int] = []
        skipped = 0
        due_ns = self._clock.now_ns() + AWAKE_NS
        end_ns = due_ns + self._duration_ns
        while not lags or (due_ns < end_ns and len(lags) < most):
            wait_until(self._clock, due_ns)
            start_ns, done_ns, read_ns = line.exchange(command)
            lags.append(start_ns - due_ns)
            services.append(done_ns - start_ns)
            reads.append(read_ns - start_ns)
            passed = (read_ns - due_ns) // self._step_ns
            skipped += passed
            due_ns += (passed + 1) * self._step_ns
        return Exchange(
            send_lag=quantiles_of(lags),
            service=quantiles_of(services),
            read=quantiles_of(reads),
            skipped=skipped,
            impossible=line.impossible - before,
        )


def _remove(url: ServerUrl | str, key: str) -> None:
    """Remove the stream, on a connection of its own: the other one may be lost, or have a reply to come."""
    with contextlib.closing(open_socket(url, _TIMEOUT_S)) as connection:
        connection.sendall(packed("UNLINK", key))
        [reply], _ = read_replies(connection, 1)
    if isinstance(reply, ReplyError):
        raise reply
