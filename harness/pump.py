"""The open-loop engine: what is due goes out, whatever comes back; every answer is counted from its due time.

      pacer ----due times----+                            +---- replies ---- hiredis.Reader
                             v                            v
      source --commands--> lane: out --one write a tick--> server      (a few lanes, each one connection)

Each turn of the loop takes the arrivals that are due, packs them in one piece, writes, and drains replies. RESP
answers in order, so the head of what is in flight is what a reply belongs to; no table is needed.

    due      by the schedule
    start    handed to a connection: what the instrument itself was late by is start - due. If the server
             does not read, or is away, bytes wait here; that is its lateness, and so part of the service time
    done     the reply was read

In flight means: started and not done. It is bounded. An arrival that is due while the bound is reached is
counted as DROPPED, at once: never skipped unseen, never sent later. A connection that is lost, or silent for
`timeout_ns`, leaves what it had begun to send UNKNOWN; what it had not begun goes out on the next one. So always

    arrivals = ok + failed + unknown + dropped

The pump runs in a process of its own (`PumpProcess`), since in a process with a progress bar and probes it
would measure the interpreter's lock. It does not collect garbage while it runs, for it makes no cycles.

Rejected: one client a user, each waiting for its answer; a stall then stops the clock of the measurement too.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import select
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

import hiredis
import msgspec
import numpy as np
import psutil
from numpy.typing import NDArray
from redis.connection import parse_url

from harness.child import Channel, Child, ChildError
from harness.clock import Clock, SystemClock
from harness.pacing import Pacer
from harness.recording import Interval, Recorder, SlowOperation, merged
from harness.run import WorkerShare
from harness.workload import Source

Int64s = NDArray[np.int64]

OK, FAILED, UNKNOWN, DROPPED, NOT_DUE = range(5)

_BLOCK = 8192
_RECORD_EVERY = 4096
_READ_BYTES = 1 << 18
_TLS_RECORD_BYTES = 1 << 14
_RECONNECT_NS = (5_000_000, 250_000_000)
_NOTHING = object()

# What select(2) can watch are 1,024 files; some of them are the pump's own.
MOST_CONNECTIONS = 1_000

# Of the numbers that a pump's process shares with its parent: first its progress, then these.
_STOP, _TAKEN = 5, 6


class PumpError(Exception):
    """A pump that could not begin, or did not report."""


class PumpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a pump is to run.

    Attributes:
        url: the server's, with user and password if it wants them.
        connections: how many lanes, at most `MOST_CONNECTIONS`; arrivals take turns on them.
        max_in_flight: over all lanes.
        timeout_ns: how long a reply may take before its connection counts as lost.
        drain_ns: how long to wait for the last replies after the schedule's end.
        keep_outcomes: whether to remember the outcome of each operation, one byte each.
        spin_ns: how long before an arrival is due the pump stops sleeping; it costs that much CPU each time.
        ship_ns: how often what was measured is handed on while the pump runs; 0: only with the result.
    """

    url: str
    connections: int = 1
    max_in_flight: int = 100_000
    timeout_ns: int = 30_000_000_000
    drain_ns: int = 30_000_000_000
    keep_outcomes: bool = False
    spin_ns: int = 60_000
    ship_ns: int = 0

    def check(self) -> None:
        """See to it that a pump can run so.

        Raises:
            PumpError: it cannot.
        """
        if not 1 <= self.connections <= MOST_CONNECTIONS:
            raise PumpError(f"a pump has 1 to {MOST_CONNECTIONS:,} connections, not {self.connections:,}")


class PumpResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a pump has done and measured.

    Attributes:
        arrivals: how many were due; ok + failed + unknown + dropped.
        errors: the failed ones by the first word of the error.
        reconnects: how often a connection was lost and made again.
        outcomes: a byte an arrival, where they were kept.
        cpu_share: of one core, used by the pump's process.
        wall_ns: from the schedule's start to the last reply; without one, to the schedule's end.
        scheduled_ns: how long arrivals were due: the schedule's length, or less where it was ended early; 0: as
            long as `wall_ns`.
        gc_pauses: how often the interpreter collected garbage meanwhile.
        gc_pause_max_ns: the longest of these.
        workers: whose shares make it up, where there are several.
        told: what users were told of the things they have handled, the last word on each.
    """

    arrivals: int
    ok: int
    failed: int
    unknown: int
    dropped: int
    errors: dict[str, int]
    reconnects: int
    intervals: list[Interval]
    slowest: list[SlowOperation]
    outcomes: NDArray[np.uint8] | None
    cpu_share: float
    wall_ns: int
    scheduled_ns: int = 0
    gc_pauses: int = 0
    gc_pause_max_ns: int = 0
    workers: list[WorkerShare] = []
    told: dict[str, str] = {}

    @property
    def offered_per_s(self) -> float:
        """The rate at which arrivals were due, while any were."""
        return self.arrivals / ((self.scheduled_ns or self.wall_ns) / 1e9)

    @property
    def achieved_per_s(self) -> float:
        """The rate at which arrivals were answered well, until the last reply or, if later, until none was due."""
        return self.ok / (max(self.wall_ns, self.scheduled_ns) / 1e9)

    @property
    def unseen(self) -> int:
        """How many operations were the share of a worker that died, and so have no record."""
        return sum(worker.unseen for worker in self.workers)


class Stop(Protocol):
    """What ends a pump early."""

    def is_set(self) -> bool:
        """Whether to end."""
        ...


class _SharedStop:
    """A flag in shared memory: reading it costs the loop nothing, where an Event of a process takes a lock."""

    def __init__(self, numbers: Int64s) -> None:
        self._numbers = numbers

    def is_set(self) -> bool:
        return bool(self._numbers[_STOP])


class _ReplyError(Exception):
    """An error that the server has answered."""


def open_socket(url: str, timeout_s: float = 5.0) -> socket.socket:
    """A connected, authenticated socket for a `redis://`, `rediss://` or `unix://` URL, blocking.

    Raises:
        OSError: no connection.
        PumpError: the server refuses the user, the password or the database, or is none.
    """
    options: dict[str, Any] = dict(parse_url(url))
    if "path" in options:
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        address = (options.get("host", "localhost"), int(options.get("port", 6379)))
        raw = socket.create_connection(address, timeout_s)
    try:
        raw.settimeout(timeout_s)
        if "path" in options:
            raw.connect(options["path"])
        else:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.startswith("rediss://"):
            raw = _tls_context(options).wrap_socket(raw, server_hostname=options.get("host", "localhost"))
        _greet(raw, options)
    except BaseException:
        raw.close()
        raise
    return raw


def _tls_context(options: dict[str, Any]) -> ssl.SSLContext:
    """TLS as the URL's options say, by the names that redis-py gives them."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs") in {"none", ssl.CERT_NONE}:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context


def _greet(raw: socket.socket, options: dict[str, Any]) -> None:
    commands: list[tuple[Any, ...]] = []
    if options.get("username") or options.get("password"):
        user = (options["username"],) if options.get("username") else ()
        commands.append(("AUTH", *user, options.get("password", "")))
    if options.get("db"):
        commands.append(("SELECT", int(options["db"])))
    reader = hiredis.Reader(replyError=_ReplyError)
    for command in commands:
        raw.sendall(hiredis.pack_command(command))
        try:
            while (reply := reader.gets()) is False:
                chunk = raw.recv(4096)
                if not chunk:
                    raise ConnectionResetError("the server closed the connection")
                reader.feed(chunk)
        except hiredis.ProtocolError as error:
            raise PumpError(f"what answers {command[0]} is no Redis server: {error}") from error
        if isinstance(reply, _ReplyError):
            raise PumpError(f"the server refuses {command[0]}: {reply}")


class _Batch:
    """Operations that were started together: numbers, due times, start; `done` of them are answered.

    `begun_ns` is when the first byte went to the kernel: from then on the server may have them.
    """

    __slots__ = ("begun_ns", "done", "due_ns", "first", "payload", "start_ns")

    def __init__(self, first: int, due_ns: Int64s, start_ns: int, payload: memoryview) -> None:
        self.first = first
        self.due_ns = due_ns
        self.start_ns = start_ns
        self.payload = payload
        self.begun_ns: int | None = None
        self.done = 0

    @property
    def open(self) -> int:
        return self.due_ns.size - self.done


class _Lane:
    """One connection: what waits to be written, what waits for its reply."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.socket: socket.socket | None = None
        self.reader = self._new_reader()
        self.out: collections.deque[_Batch] = collections.deque()
        self.in_flight: collections.deque[_Batch] = collections.deque()
        self.reconnects = 0
        self._backoff_ns = _RECONNECT_NS[0]
        self._retry_at_ns = 0
        self._connecting: threading.Thread | None = None
        self._connected: socket.socket | None = None

    @staticmethod
    def _new_reader() -> Any:
        return hiredis.Reader(replyError=_ReplyError, notEnoughData=_NOTHING)

    def connect(self) -> None:
        self.socket = open_socket(self._url)
        self.socket.setblocking(False)

    def reconnect(self, now_ns: int) -> None:
        """Go on with a reconnection: in a thread, for TLS and greetings must not hold up the schedule."""
        if self._connecting is not None:
            if self._connecting.is_alive():
                return
            self._connecting = None
            if self._connected is not None:
                self.socket, self._connected = self._connected, None
                self.socket.setblocking(False)
                self.reader = self._new_reader()
                self.reconnects += 1
            # Also a connection that was made: a server that is full takes it, and closes it at once.
            self._retry_at_ns = now_ns + self._backoff_ns
            self._backoff_ns = min(self._backoff_ns * 2, _RECONNECT_NS[1])
        if self.socket is None and now_ns >= self._retry_at_ns:
            self._connecting = threading.Thread(target=self._try_to_connect, daemon=True)
            self._connecting.start()

    def _try_to_connect(self) -> None:
        # A server that is starting refuses for a while; the lane asks again until the run is over.
        with contextlib.suppress(OSError, PumpError):
            self._connected = open_socket(self._url, 1.0)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def stop_connecting(self) -> None:
        """Wait for a connection that is being made, which takes a second at most, and close it."""
        if self._connecting is not None:
            self._connecting.join()
            self._connecting = None
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    def write(self, now_ns: int) -> None:
        """Write what the kernel takes.

        Raises:
            OSError: the connection is lost.
        """
        while self.out and self.socket is not None:
            batch = self.out[0]
            # OpenSSL reports a write of several records when all of them are out, though the server may have
            # read, and answered, the first ones long before. A part of one record says nothing to it yet.
            piece = batch.payload[:_TLS_RECORD_BYTES] if isinstance(self.socket, ssl.SSLSocket) else batch.payload
            try:
                written = self.socket.send(piece)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            if batch.begun_ns is None:
                batch.begun_ns = now_ns
                self.in_flight.append(batch)
            batch.payload = batch.payload[written:]
            if not batch.payload:
                self.out.popleft()
            elif written < len(piece):
                return

    def read(self) -> list[Any]:
        """The replies that are there.

        Raises:
            OSError: the connection is lost.
            hiredis.ProtocolError: what came is no RESP.
        """
        if self.socket is None:
            return []
        try:
            chunk = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return []
        if not chunk:
            raise ConnectionResetError("the server closed the connection")
        self.reader.feed(chunk)
        replies = []
        gets = self.reader.gets
        while (reply := gets()) is not _NOTHING:
            replies.append(reply)
        if replies:
            self._backoff_ns, self._retry_at_ns = _RECONNECT_NS[0], 0
        return replies


class GcPauses:
    """Counts the interpreter's garbage collections while it is entered, and times them: all else stands still.

    Args:
        clock: that times them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun_ns = 0
        self.count = 0
        self.longest_ns = 0

    def __enter__(self) -> Self:
        gc.callbacks.append(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._begun_ns = self._clock.now_ns()
        else:
            self.count += 1
            self.longest_ns = max(self.longest_ns, self._clock.now_ns() - self._begun_ns)


class Pump:
    """Sends a source's commands when a pacer says they are due, and records what becomes of them.

    Args:
        settings: how.
        pacer: when.
        source: what.
        clock: for due times, and nothing else.
        origin_ns: the clock's time at which the schedule begins.
        stop: ends it early; arrivals that are not due by then do not count.
        progress: an array that is kept up to date while it runs: arrivals, ok, failed, unknown, dropped.
        ship: gets the recorder each `ship_ns` of the settings, and may take from it what was measured so far.

    Raises:
        PumpError: too many connections, or none.
    """

    def __init__(
        self,
        settings: PumpSettings,
        pacer: Pacer,
        source: Source,
        *,
        clock: Clock,
        origin_ns: int,
        stop: Stop,
        progress: Any = None,
        ship: Callable[[Recorder], None] | None = None,
    ) -> None:
        settings.check()
        self._settings = settings
        self._pacer = pacer
        self._source = source
        self._clock = clock
        self._origin_ns = origin_ns
        self._stop = stop
        self._progress = progress if progress is not None else [0] * 5
        self._ship = ship
        self._ship_at_ns = 0
        self.recorder = Recorder(origin_ns)
        self._lanes = [_Lane(settings.url) for _ in range(settings.connections)]
        self._turn = 0
        self._next = 0
        self._block = np.zeros(0, np.int64)
        self._block_first = 0
        self._in_flight = 0
        self._ok = self._failed = self._unknown = self._dropped = 0
        self._errors: collections.Counter[str] = collections.Counter()
        self._answered: list[tuple[Int64s, int, int]] = []
        self._answered_count = 0
        self._last_reply_ns: int | None = None
        self._outcomes = np.full(pacer.total, NOT_DUE, np.uint8) if settings.keep_outcomes else None

    def connect(self) -> None:
        """Open all connections.

        Raises:
            OSError, PumpError: as `open_socket`.
        """
        for lane in self._lanes:
            lane.connect()

    def set_origin(self, origin_ns: int) -> None:
        """Set the time at which the schedule begins, before it runs."""
        self._origin_ns = origin_ns
        self.recorder = Recorder(origin_ns)

    def run(self) -> PumpResult:
        """Run the schedule to its end, wait for the last replies, and answer what happened."""
        with GcPauses(self._clock) as pauses:
            return self._run(pauses)

    def _run(self, pauses: GcPauses) -> PumpResult:
        process = psutil.Process()
        cpu_before = sum(process.cpu_times()[:2])
        end_ns: int | None = None
        while True:
            now_ns = self._clock.now_ns()
            if end_ns is None:
                self._start_what_is_due(now_ns)
                if self._next >= self._pacer.total or self._stop.is_set():
                    end_ns = now_ns
            elif not self._in_flight or now_ns - end_ns > self._settings.drain_ns:
                break
            self._write(now_ns)
            self._wait_and_read(now_ns, draining=end_ns is not None)
            if self._ship is not None and now_ns >= self._ship_at_ns:
                self._ship_at_ns = now_ns + self._settings.ship_ns
                self._record()
                self._ship(self.recorder)
        for lane in self._lanes:
            self._give_up(lane)
            lane.stop_connecting()
        self._record()
        self._show_progress()
        run_ns = max(1, self._clock.now_ns() - self._origin_ns)
        cpu = sum(process.cpu_times()[:2]) - cpu_before
        scheduled_ns = self._scheduled_ns(end_ns)
        replied_ns = self._last_reply_ns
        return PumpResult(
            arrivals=self._next,
            ok=self._ok,
            failed=self._failed,
            unknown=self._unknown,
            dropped=self._dropped,
            errors=dict(self._errors),
            reconnects=sum(lane.reconnects for lane in self._lanes),
            intervals=self.recorder.intervals(),
            slowest=self.recorder.slowest(),
            outcomes=self._outcomes[: self._next] if self._outcomes is not None else None,
            cpu_share=cpu / (run_ns / 1e9),
            wall_ns=scheduled_ns if replied_ns is None else max(1, replied_ns - self._origin_ns),
            scheduled_ns=scheduled_ns,
            gc_pauses=pauses.count,
            gc_pause_max_ns=pauses.longest_ns,
        )

    def _scheduled_ns(self, end_ns: int) -> int:
        """How long arrivals were due: all of the schedule, unless it was ended before the last of them."""
        duration_ns = self._pacer.duration_ns
        if self._next < self._pacer.total:
            duration_ns = min(duration_ns, end_ns - self._origin_ns)
        return max(1, duration_ns)

    # Out -----------------------------------------------------------------------------------------------

    def _due_block(self) -> Int64s:
        """The due times from the next arrival on; some thousands of them, or what is left."""
        offset = self._next - self._block_first
        if offset >= self._block.size:
            count = min(_BLOCK, self._pacer.total - self._next)
            self._block = self._pacer.due_ns(self._next, count) + self._origin_ns
            self._block_first = self._next
            offset = 0
        return self._block[offset:]

    def _start_what_is_due(self, now_ns: int) -> None:
        while self._next < self._pacer.total:
            block = self._due_block()
            due = int(np.searchsorted(block, now_ns, "right"))
            if not due:
                return
            room = max(0, self._settings.max_in_flight - self._in_flight)
            started = min(due, room)
            if started:
                self._start(self._next, block[:started])
            if started < due:
                self._settle(self._next + started, due - started, DROPPED)
            self._next += due
            if due < block.size:
                return

    def _start(self, first: int, due_ns: Int64s) -> None:
        payload = memoryview(self._source.pack(first, due_ns.size))
        lane = self._lanes[self._turn]
        self._turn = (self._turn + 1) % len(self._lanes)
        lane.out.append(_Batch(first, due_ns, self._clock.now_ns(), payload))
        self._in_flight += due_ns.size

    def _write(self, now_ns: int) -> None:
        for lane in self._lanes:
            if lane.socket is None:
                lane.reconnect(now_ns)
            if lane.out and lane.socket is not None:
                try:
                    lane.write(now_ns)
                except OSError:
                    self._lose(lane)

    # In ------------------------------------------------------------------------------------------------

    def _wait_and_read(self, now_ns: int, *, draining: bool) -> None:
        sockets = {lane.socket: lane for lane in self._lanes if lane.socket is not None}
        blocked = [s for s, lane in sockets.items() if lane.out]
        readable, _, _ = select.select(list(sockets), blocked, [], self._patience_s(draining=draining))
        for ready in readable:
            lane = sockets[ready]
            try:
                replies = lane.read()
            except (OSError, hiredis.ProtocolError):
                self._lose(lane)
                continue
            if replies:
                self._take_replies(lane, replies, self._clock.now_ns())
        for lane in self._lanes:
            # From its first byte on: what has waited for a server that was away gets its full time, too.
            begun_ns = lane.in_flight[0].begun_ns if lane.in_flight else None
            if begun_ns is not None and now_ns - begun_ns > self._settings.timeout_ns:
                self._lose(lane)
        self._show_progress()

    def _patience_s(self, *, draining: bool) -> float:
        """How long to wait for replies: until the next arrival is due, and never for long."""
        if draining or self._next >= self._pacer.total:
            return 0.01
        until_due_ns = int(self._due_block()[0]) - self._clock.now_ns()
        # A lane that connects is looked after every few milliseconds.
        longest = 5_000_000 if any(lane.socket is None for lane in self._lanes) else 50_000_000
        # The last moments are waited out awake: a timer may be as late as what is measured.
        return min(max(until_due_ns - self._settings.spin_ns, 0), longest) / 1e9

    def _take_replies(self, lane: _Lane, replies: list[Any], now_ns: int) -> None:
        failures = [(i, reply) for i, reply in enumerate(replies) if type(reply) is _ReplyError]
        taken = 0
        while taken < len(replies):
            if not lane.in_flight:
                # More replies than commands: whatever this is, it does not speak for our operations.
                self._lose(lane)
                return
            batch = lane.in_flight[0]
            count = min(batch.open, len(replies) - taken)
            due = batch.due_ns[batch.done : batch.done + count]
            self._answered.append((due, batch.start_ns, now_ns))
            self._answered_count += count
            self._last_reply_ns = now_ns
            self._settle(batch.first + batch.done, count, OK)
            for i, reply in failures:
                if taken <= i < taken + count:
                    self._note_failure(batch.first + batch.done + i - taken, reply)
            batch.done += count
            taken += count
            self._in_flight -= count
            if not batch.open:
                lane.in_flight.popleft()
        if self._answered_count >= _RECORD_EVERY:
            self._record()

    def _note_failure(self, number: int, reply: _ReplyError) -> None:
        self._errors[str(reply).split(" ", 1)[0][:40]] += 1
        self._ok -= 1
        self._settle(number, 1, FAILED)

    def _lose(self, lane: _Lane) -> None:
        """A connection is lost: what was begun is UNKNOWN, what was not goes out on the next one."""
        lane.close()
        for batch in lane.in_flight:
            self._settle(batch.first + batch.done, batch.open, UNKNOWN)
            self._in_flight -= batch.open
        lane.in_flight.clear()
        while lane.out and lane.out[0].begun_ns is not None:
            lane.out.popleft()

    def _give_up(self, lane: _Lane) -> None:
        """The run is over: what was begun is UNKNOWN, what was not begun was never sent."""
        self._lose(lane)
        for batch in lane.out:
            self._settle(batch.first, batch.due_ns.size, DROPPED)
            self._in_flight -= batch.due_ns.size
        lane.out.clear()

    # Account -------------------------------------------------------------------------------------------

    def _settle(self, first: int, count: int, outcome: int) -> None:
        if outcome == OK:
            self._ok += count
        elif outcome == FAILED:
            self._failed += count
        elif outcome == UNKNOWN:
            self._unknown += count
        else:
            self._dropped += count
        if self._outcomes is not None:
            self._outcomes[first : first + count] = outcome

    def _record(self) -> None:
        if not self._answered:
            return
        counts = [due.size for due, _, _ in self._answered]
        due_ns = np.concatenate([due for due, _, _ in self._answered])
        start_ns = np.repeat(np.array([start for _, start, _ in self._answered], np.int64), counts)
        done_ns = np.repeat(np.array([done for _, _, done in self._answered], np.int64), counts)
        self.recorder.record(self._source.operation, due_ns, start_ns, done_ns)
        self._answered.clear()
        self._answered_count = 0

    def _show_progress(self) -> None:
        progress = self._progress
        progress[0], progress[1], progress[2] = self._next, self._ok, self._failed
        progress[3], progress[4] = self._unknown, self._dropped


class PumpProcess:
    """A pump in a process of its own.

    Args:
        settings, pacer, source: as for `Pump`; all of them can be pickled.

    Use `begin(origin_ns)` after the process has said that it is ready; due times are monotonic, so that parent
    and pump mean the same moment.

    Raises:
        PumpError: too many connections, or none.
    """

    def __init__(self, settings: PumpSettings, pacer: Pacer, source: Source) -> None:
        # Here, and not only in its process, where an error that nobody expects is no answer.
        settings.check()
        self._child = Child("harness.pump:pump_main", settings, pacer, source)
        self._taken: list[Interval] = []
        self._answer: PumpResult | None = None
        self.progress = self._child.numbers[:5]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    def wait_until_ready(self) -> None:
        """Wait until it has connected.

        Raises:
            PumpError: it could not connect.
        """
        self._receive(60.0)

    def begin(self, origin_ns: int) -> None:
        """Start the schedule at a moment of the monotonic clock, a little in the future.

        Raises:
            PumpError: its process has ended.
        """
        try:
            self._child.send(origin_ns)
        except ChildError as error:
            raise PumpError("the pump's process has ended before it began") from error

    def take(self) -> list[Interval]:
        """What was measured since it was asked last, where `ship_ns` is set; what is taken is not in the result.

        Raises:
            PumpError: it has ended without a result.
        """
        while self._answer is None and self._child.has_message():
            self._receive(0.0)
        taken, self._taken = self._taken, []
        return taken

    def is_done(self) -> bool:
        """Whether its result is there, or will not come."""
        while self._answer is None and self._child.has_message():
            try:
                self._receive(0.0)
            except PumpError:
                return True
        return self._answer is not None

    def stop(self) -> None:
        """End the schedule now; the result counts what was due until then."""
        self._child.numbers[_STOP] = 1

    def result(self, timeout_s: float) -> PumpResult:
        """What it has done and measured.

        Raises:
            PumpError: it has ended without a result, or does not answer in time.
        """
        while self._answer is None:
            self._receive(timeout_s)
        taken, self._taken = self._taken, []
        return msgspec.structs.replace(self._answer, intervals=merged([*taken, *self._answer.intervals]))

    def _receive(self, timeout_s: float) -> None:
        if not self._child.has_message(timeout_s):
            raise PumpError("the pump does not report")
        try:
            answer = self._child.receive()
        except ChildError as error:
            raise PumpError("the pump's process has ended without a result") from error
        if isinstance(answer, str):
            raise PumpError(answer)
        if isinstance(answer, PumpResult):
            self._answer = answer
        elif answer is not None:
            self._taken += answer
            self._child.numbers[_TAKEN] += 1

    def close(self) -> None:
        """End the process if it still runs."""
        self._child.close()


def pump_main(channel: Channel, settings: PumpSettings, pacer: Pacer, source: Source) -> None:
    """The pump's process: connect, say so, wait for the origin, run, answer."""
    numbers = channel.numbers
    shipping = _Shipping(channel)
    # Connections are made, and NumPy is warm, before the schedule begins.
    pump = Pump(
        settings,
        pacer,
        source,
        clock=SystemClock(),
        origin_ns=0,
        stop=_SharedStop(numbers),
        progress=numbers[:5],
        ship=shipping.ship if settings.ship_ns else None,
    )
    try:
        pump.connect()
    except (OSError, PumpError) as error:
        channel.send(f"no connection to the server: {error}")
        return
    source.pack(0, 64)
    pump.recorder.record("warm-up", *(np.zeros(64, np.int64) for _ in range(3)))
    channel.send(None)
    pump.set_origin(channel.receive())
    gc.collect()
    gc.disable()
    result = pump.run()
    channel.send(msgspec.structs.replace(result, intervals=[*shipping.kept, *result.intervals]))


class _Shipping:
    """Hands on what was measured while the pump runs, without ever waiting for whoever takes it.

    A piece goes only when the one before it was taken, and a piece is small enough for the socket's buffer.
    """

    PIECE = 6

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sent = 0
        self.kept: list[Interval] = []

    def ship(self, recorder: Recorder) -> None:
        if self._channel.numbers[_TAKEN] != self._sent:
            return
        self.kept = merged([*self.kept, *recorder.take()])
        if self.kept:
            self._channel.send(self.kept[: self.PIECE])
            del self.kept[: self.PIECE]
            self._sent += 1
