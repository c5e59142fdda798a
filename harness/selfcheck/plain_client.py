"""A plain client of the oracle: what the way to it and back costs on this machine, without our instrument.

One blocking socket, one command at a time, each due at a rate. The way is what its service has on top of what the
oracle took, quantile by quantile:

    way(q) = quantile(done - start, q) - quantile(answered - arrived, q)

On a slow or busy machine, or with a cold cache, a system call and the kernel's way through loopback take longer
than the tolerance of the instrument. A client of thirty lines then sees the same, and the check can tell nothing
about the instrument.
"""

from __future__ import annotations

import contextlib
import socket

import numpy as np
from msgspec import Struct

from harness.arrays import Int64s
from harness.host import kernel_dates
from harness.host.clock import Clock, wait_until
from harness.selfcheck.oracle import Oracle, OracleError

_TIMEOUT_S = 5.0


class Exchanges(Struct, frozen=True, kw_only=True):
    """What a plain client saw of its exchanges, beside what the oracle noted of them; in nanoseconds, shape (n,).

    Attributes:
        service_ns: from just before the send until the reply was here, by the kernel's date where there is one.
        taken_ns: from when the command was at the oracle until it answered.
        reply_ns: from when the oracle answered until the reply was here.
    """

    service_ns: Int64s
    taken_ns: Int64s
    reply_ns: Int64s


def exchanges(clock: Clock, oracle: Oracle, command: bytes, rate_per_s: float, count: int) -> Exchanges:
    """Exchange the first `count` commands of an oracle's script with it, one at a time.

    An exchange that is due while another one is open follows at once.

    Args:
        clock: of this host.
        oracle: one that serves nobody now.
        command: as it goes over the wire, of the length that the oracle was told.
        rate_per_s: how many are due in a second.
        count: no more than the script has delays.

    Raises:
        OracleError: it does not answer.
    """
    starts, dones = [], []
    step_ns = round(1e9 / rate_per_s)
    try:
        with contextlib.closing(socket.create_connection(("127.0.0.1", oracle.port), _TIMEOUT_S)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            kernel_dates.ask_for_dates(connection)
            due_ns = clock.now_ns() + step_ns
            for _ in range(count):
                wait_until(clock, due_ns)
                start_ns = clock.now_ns()
                connection.sendall(command)
                starts.append(start_ns)
                dones.append(_reply_ns(clock, connection, start_ns))
                due_ns += step_ns
    except OSError as error:
        raise OracleError(f"the oracle does not answer a plain client: {error}") from error
    notes = oracle.notes()
    arrived_ns, answered_ns = notes.arrived_ns[:count], notes.answered_ns[:count]
    done_ns = np.array(dones, np.int64)
    return Exchanges(
        service_ns=done_ns - np.array(starts, np.int64),
        taken_ns=answered_ns - arrived_ns,
        reply_ns=done_ns - answered_ns,
    )


def _reply_ns(clock: Clock, connection: socket.socket, start_ns: int) -> int:
    """When the reply was here: by the kernel's date, or by the reading where there is no credible one."""
    chunk, ancillary, _, _ = connection.recvmsg(64, kernel_dates.ANCILLARY_BYTES)
    read_ns = clock.now_ns()
    if not chunk.endswith(b"\n"):
        raise ConnectionResetError("no whole reply came")
    date_ns = kernel_dates.date_ns(ancillary)
    if date_ns is None:
        return read_ns
    moment_ns = kernel_dates.credible(kernel_dates.moment_ns(clock, date_ns), start_ns, read_ns)
    return read_ns if moment_ns is None else moment_ns
