"""A server whose every delay is known: what the instrument is measured against.

It speaks enough RESP to answer commands of one length with `+OK`, in order, each at the moment that a script says:

    release(i) = max(release(i - 1), arrival(i) + delay(i))

so that the right answer for any schedule can be calculated before the run (`responses_ns`). Where the kernel
dates what arrives, `arrival` is that date: the oracle's own lateness in reading is then part of the delay, and
not on top of it.

What it really did, it notes, because on a busy machine it may itself be late:

    arrived   released                before   dated   after
       |---- delay ----|-- it was late --|--------|-------|
                                         the send

`before` and `after` are read around the send, and bracket the truth; `dated` is when the segment left, by the
kernel. By how much the date at which the reply arrived at a client's socket was later than each of them (2 cores
with other work on them, 1,000/s, the highest of five delays, µs):

             p50    p90    p99
    before   3.5    6.2   13.8
    dated    1.2    2.0    4.3
    after   -3.2   -2.3   -1.6       (and as early as -15, -13, -3)

so `answered_ns` is `dated`, where there is one and it lies in its bracket, else `before`, which is never too late.
To ask for the date costs 2 µs, after the answer is out.

It waits awake while a command or an answer may be due, for a timer is later than the shortest delays: up to
`_AWAKE_NS` after the last command, and then sleeps until the next one. On a single core it would keep the
instrument from running, and sleeps at once. It runs in a process of its own and can be stopped with SIGSTOP
like any server.
"""

from __future__ import annotations

import collections
import gc
import os
import select
import signal
import socket

import msgspec
import numpy as np

from harness.arrays import Int64s
from harness.host import kernel_dates
from harness.host.child import Channel
from harness.host.clock import Clock, SystemClock
from harness.host.placement import usable_cores
from harness.selfcheck.scripted_server import ScriptedServer

# Before an answer is due the timer is not trusted for the first of these, and the socket not asked for the second.
_SPIN_NS, _CLOCK_ONLY_NS = 300_000, 20_000
_AWAKE_NS = 2_000_000
_REPLY = b"+OK\r\n"


class OracleError(Exception):
    """An oracle that did not start, or does not tell what it did."""


def responses_ns(due_ns: Int64s, delays_ns: Int64s) -> Int64s:
    """The right response of each operation, had the instrument and the network no delay of their own.

    Args:
        due_ns: when each is due, rising.
        delays_ns: what the oracle takes for each, same shape.
    """
    responses: Int64s = np.maximum.accumulate(due_ns + delays_ns) - due_ns
    return responses


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What an oracle did with each command that it has a delay for: monotonic, 0 where it never came.

    Attributes:
        arrived_ns: it was there, by the kernel's date, else when it was read.
        released_ns: its answer was due.
        before_ns, after_ns: read before and after the send of the answer.
        dated_ns: the answer left, by the kernel's date; 0 without one.
    """

    arrived_ns: Int64s
    released_ns: Int64s
    before_ns: Int64s
    after_ns: Int64s
    dated_ns: Int64s

    @property
    def answered_ns(self) -> Int64s:
        """When each was answered: the date where it lies in its bracket, else the moment before the send."""
        credible = (self.before_ns <= self.dated_ns) & (self.dated_ns <= self.after_ns)
        return np.where(credible, self.dated_ns, self.before_ns)


class Oracle(ScriptedServer):
    """A scripted server in a process of its own, while it is entered.

    Args:
        delays_ns: what it takes for the first, second, ... command; after the last it answers at once.
        command_bytes: the length of each command.

    Raises:
        OracleError: it does not start.
    """

    def __init__(self, delays_ns: Int64s, command_bytes: int) -> None:
        arguments = (delays_ns, command_bytes)
        super().__init__("harness.selfcheck.oracle:serve", arguments, called="the oracle", error=OracleError)

    def notes(self) -> Notes:
        """What it has done so far; to be asked when the load is over, for until then it does not listen.

        Raises:
            OracleError: it is gone, or does not answer.
        """
        notes: Notes = self._told()
        return notes

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self._child.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self._child.pid, signal.SIGCONT)


def serve(channel: Channel, delays_ns: Int64s, command_bytes: int) -> None:
    """The oracle's process: one client after the other, until its parent ends it."""
    # It makes no cycles; a collection would be a delay that no script has.
    gc.disable()
    script = _Script(delays_ns, command_bytes, SystemClock(), channel)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        channel.send(listener.getsockname()[1])
        sources: list[socket.socket | Channel] = [listener, channel]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if channel in ready:
                script.tell()
            if listener in ready:
                client, _ = listener.accept()
                with client:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.setblocking(False)
                    script.answer(client)


class _Script:
    """The script, what was noted of it, and the client that is being served."""

    def __init__(self, delays_ns: Int64s, command_bytes: int, clock: Clock, channel: Channel) -> None:
        self._delays: list[int] = delays_ns.tolist()
        self._command_bytes = command_bytes
        self._clock = clock
        self._channel = channel
        self._awake_ns = _AWAKE_NS if usable_cores() > 1 else 0
        self._arrived, self._released, self._before, self._after, self._dated = (
            [0] * len(self._delays) for _ in range(5)
        )

    def tell(self) -> None:
        """Answer the parent, which has asked for the notes.

        Raises:
            ChildError: the parent is gone.
        """
        self._channel.receive()
        self._channel.send(
            Notes(
                arrived_ns=np.array(self._arrived, np.int64),
                released_ns=np.array(self._released, np.int64),
                before_ns=np.array(self._before, np.int64),
                after_ns=np.array(self._after, np.int64),
                dated_ns=np.array(self._dated, np.int64),
            )
        )

    def answer(self, client: socket.socket) -> None:
        """Answer one client's commands until it closes; the script begins anew with each."""
        self._client = client
        self._is_dated = kernel_dates.ask_for_dates(client, also_of_sent=True)
        self._releases: collections.deque[int] = collections.deque()
        self._number = self._answered = self._partial = self._release_ns = 0
        heard_ns = self._clock.now_ns()
        while True:
            now_ns = self._clock.now_ns()
            if self._releases and self._releases[0] - now_ns < _CLOCK_ONLY_NS:
                self._send_what_is_due()
                continue
            try:
                if not self._hear():
                    return
                heard_ns = now_ns
            except BlockingIOError:
                self._rest(now_ns, heard_ns)

    def _hear(self) -> bool:
        """Take the commands that are there; whether the client is.

        Raises:
            BlockingIOError: there is nothing.
        """
        try:
            chunk, ancillary, _, _ = self._client.recvmsg(1 << 18, kernel_dates.ANCILLARY_BYTES)
        except ConnectionResetError:
            return False
        arrived_ns = self._clock.now_ns()
        dated_ns = kernel_dates.date_ns(ancillary)
        if dated_ns is not None:
            # A date that is later than the reading is a wall clock that was set.
            arrived_ns = min(arrived_ns, kernel_dates.moment_ns(self._clock, dated_ns))
        commands, self._partial = divmod(self._partial + len(chunk), self._command_bytes)
        known = len(self._delays)
        for at in range(self._number, self._number + commands):
            self._release_ns = max(self._release_ns, arrived_ns + (self._delays[at] if at < known else 0))
            self._releases.append(self._release_ns)
            if at < known:
                self._arrived[at], self._released[at] = arrived_ns, self._release_ns
        self._number += commands
        return bool(chunk)

    def _rest(self, now_ns: int, heard_ns: int) -> None:
        """Sleep, if nothing is due so soon that waiting awake is better."""
        wait_ns = 1_000_000_000
        if self._releases:
            wait_ns = self._releases[0] - now_ns - _SPIN_NS
        elif now_ns - heard_ns < self._awake_ns:
            return
        if wait_ns <= 0:
            return
        if self._is_dated:
            # A date that came after its send was over would wake this up for ever.
            kernel_dates.sent_date_ns(self._client)
        sources: list[socket.socket | Channel] = [self._client, self._channel]
        if self._channel in select.select(sources, [], [], wait_ns / 1e9)[0]:
            self.tell()

    def _send_what_is_due(self) -> None:
        """Wait awake for the next answer's moment, and send all that are due then."""
        now_ns = self._clock.now_ns
        while (before_ns := now_ns()) < self._releases[0]:
            pass
        due = 0
        while self._releases and self._releases[0] <= before_ns:
            self._releases.popleft()
            due += 1
        replies = memoryview(_REPLY * due)
        before_ns = now_ns()
        while replies:
            try:
                replies = replies[self._client.send(replies) :]
            except BlockingIOError:
                select.select([], [self._client], [])
            except (BrokenPipeError, ConnectionResetError):
                return
        after_ns = now_ns()
        sent_ns = kernel_dates.sent_date_ns(self._client) if self._is_dated else None
        moment_ns = 0 if sent_ns is None else kernel_dates.moment_ns(self._clock, sent_ns)
        for at in range(self._answered, min(self._answered + due, len(self._delays))):
            self._before[at], self._after[at], self._dated[at] = before_ns, after_ns, moment_ns
        self._answered += due
