"""The oracle: its notes bracket the truth, its dates are the kernel's, and it does not stay awake for ever."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from harness.host import kernel_dates
from harness.host.clock import SystemClock
from harness.selfcheck.oracle import Notes, Oracle, OracleError
from tests.processes import is_alive
from tests.waiting import until

COMMAND = b"x" * 40
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux dates what is sent")


@contextlib.contextmanager
def client_of(oracle: Oracle) -> Iterator[socket.socket]:
    """A connection to an oracle."""
    with socket.create_connection(("127.0.0.1", oracle.port), 10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client


def exchanged(client: socket.socket, count: int) -> list[tuple[int, int | None, int]]:
    """Of each exchange: when it was sent, the moment of its reply by the kernel, and when it was read."""
    clock = SystemClock()
    moments = []
    for _ in range(count):
        start_ns = clock.now_ns()
        client.sendall(COMMAND)
        reply, ancillary, _, _ = client.recvmsg(64, kernel_dates.ANCILLARY_BYTES)
        read_ns = clock.now_ns()
        assert reply == b"+OK\r\n"
        date_ns = kernel_dates.date_ns(ancillary)
        moments.append((start_ns, None if date_ns is None else kernel_dates.moment_ns(clock, date_ns), read_ns))
    return moments


@pytest.mark.parametrize("delay_us", [0, 20, 50, 100, 500])
def test_notes_bracket_the_truth(delay_us: int) -> None:
    """A reply is dated after the moment before its send, and no answer is sent before the script allows."""
    count = 50
    with (
        Oracle(np.full(count, delay_us * 1_000, np.int64), len(COMMAND)) as oracle,
        client_of(oracle) as client,
    ):
        kernel_dates.ask_for_dates(client)
        moments = exchanged(client, count)
        notes = oracle.notes()
    start, read = (np.array([each[at] for each in moments], np.int64) for at in (0, 2))
    assert (start <= notes.arrived_ns).all()
    assert (notes.released_ns == notes.arrived_ns + delay_us * 1_000).all()
    assert (notes.released_ns <= notes.before_ns).all()
    assert (notes.before_ns <= notes.after_ns).all()
    assert (notes.before_ns <= read).all()
    dated = [(moment, before) for (_, moment, _), before in zip(moments, notes.before_ns, strict=True) if moment]
    # Two clocks are read for a date, one after the other.
    assert all(moment >= before - 1_000 for moment, before in dated)


@linux_only
def test_answers_are_dated_by_the_kernel() -> None:
    """Nearly each answer has a date within the bracket of its send, and that is when it was answered."""
    count = 200
    with Oracle(np.zeros(count, np.int64), len(COMMAND)) as oracle, client_of(oracle) as client:
        exchanged(client, count)
        notes = oracle.notes()
    assert (notes.answered_ns == notes.dated_ns).sum() >= count / 2
    assert ((notes.before_ns <= notes.answered_ns) & (notes.answered_ns <= notes.after_ns)).all()


def test_a_date_that_cannot_be_is_not_believed() -> None:
    """Where there is no date, or one outside of its bracket, the moment before the send stands for it."""
    notes = Notes(
        arrived_ns=np.zeros(4, np.int64),
        released_ns=np.zeros(4, np.int64),
        before_ns=np.array([10, 10, 10, 10]),
        after_ns=np.array([20, 20, 20, 20]),
        dated_ns=np.array([0, 9, 15, 21]),
    )
    assert notes.answered_ns.tolist() == [10, 10, 15, 10]


def test_several_at_once_and_in_pieces() -> None:
    """Commands are told apart by their length, however they are cut, and those beyond the script answered, too."""
    with Oracle(np.zeros(3, np.int64), len(COMMAND)) as oracle, client_of(oracle) as client:
        for piece in (COMMAND[:7], COMMAND[7:] + COMMAND * 3 + COMMAND[:1], COMMAND[1:]):
            client.sendall(piece)
        replies = b""
        while len(replies) < 25:
            replies += client.recv(64)
        notes = oracle.notes()
    assert replies == b"+OK\r\n" * 5
    assert (notes.answered_ns > 0).all()


def test_what_never_came_is_not_noted() -> None:
    """A command of the script that was not sent has no moments."""
    with Oracle(np.zeros(3, np.int64), len(COMMAND)) as oracle, client_of(oracle) as client:
        exchanged(client, 2)
        notes = oracle.notes()
    assert (notes.answered_ns > 0).tolist() == [True, True, False]


def test_it_sleeps_when_nothing_comes() -> None:
    """A client that is silent does not keep it awake: it uses next to no CPU."""
    with Oracle(np.zeros(1, np.int64), len(COMMAND)) as oracle, client_of(oracle) as client:
        exchanged(client, 1)
        oracle.notes()
        process = psutil.Process(oracle.pid)
        before = sum(process.cpu_times()[:2])
        SystemClock().sleep_ns(500_000_000)
        used_s = sum(process.cpu_times()[:2]) - before
    assert used_s < 0.25


def test_it_sleeps_also_when_a_date_came_late() -> None:
    """Replies that leave long after they were sent, for the client did not read, do not keep it awake either."""
    count = 20_000
    with Oracle(np.zeros(count, np.int64), len(COMMAND)) as oracle, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", oracle.port))
        client.sendall(COMMAND * count)
        until(lambda: bool((oracle.notes().answered_ns > 0).all()), "the last answer")
        left = 5 * count
        while left:
            left -= len(client.recv(left))
        process = psutil.Process(oracle.pid)
        before = sum(process.cpu_times()[:2])
        SystemClock().sleep_ns(500_000_000)
        used_s = sum(process.cpu_times()[:2]) - before
    assert used_s < 0.25


def test_it_is_gone_afterwards_also_while_it_stands_still() -> None:
    """An oracle that was stopped ends with its context, and nobody waits for the notes of one that is gone."""
    with Oracle(np.zeros(1, np.int64), len(COMMAND)) as oracle:
        oracle.freeze()
        process = psutil.Process(oracle.pid)
    until(lambda: not is_alive(process), "the end of the oracle")
    with Oracle(np.zeros(1, np.int64), len(COMMAND)) as oracle:
        psutil.Process(oracle.pid).kill()
        with pytest.raises(OracleError, match="has ended"):
            oracle.notes()
