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

The pump runs in a process of its own (`pump_process`), since in a process with a progress bar and probes it
would measure the interpreter's lock. It does not collect garbage while it runs, for it makes no cycles.

Rejected: one client a user, each waiting for its answer; a stall then stops the clock of the measurement too.
"""

from __future__ import annotations

import collections
import select
from collections.abc import Callable
from typing import Any, Protocol

import hiredis
import numpy as np
import psutil
from numpy.typing import NDArray

from harness.clock import Clock
from harness.host.gc_pauses import GcPauses
from harness.load.lane import Batch, Lane
from harness.load.settings import PumpResult, PumpSettings
from harness.measure.outcomes import DROPPED, FAILED, NOT_DUE, OK, UNKNOWN
from harness.pacing import Pacer
from harness.recording import Recorder
from harness.server.dial import ReplyError
from harness.workload import Source

Int64s = NDArray[np.int64]

_BLOCK = 8192
_RECORD_EVERY = 4096


class Stop(Protocol):
    """What ends a pump early."""

    def is_set(self) -> bool:
        """Whether to end."""
        ...


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
        self._lanes = [Lane(settings.url) for _ in range(settings.connections)]
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
            OSError, DialError: as `open_socket`.
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
        lane.out.append(Batch(first, due_ns, self._clock.now_ns(), payload))
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

    def _take_replies(self, lane: Lane, replies: list[Any], now_ns: int) -> None:
        failures = [(i, reply) for i, reply in enumerate(replies) if type(reply) is ReplyError]
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

    def _note_failure(self, number: int, reply: ReplyError) -> None:
        self._errors[str(reply).split(" ", 1)[0][:40]] += 1
        self._ok -= 1
        self._settle(number, 1, FAILED)

    def _lose(self, lane: Lane) -> None:
        """A connection is lost: what was begun is UNKNOWN, what was not goes out on the next one."""
        lane.close()
        for batch in lane.in_flight:
            self._settle(batch.first + batch.done, batch.open, UNKNOWN)
            self._in_flight -= batch.open
        lane.in_flight.clear()
        while lane.out and lane.out[0].begun_ns is not None:
            lane.out.popleft()

    def _give_up(self, lane: Lane) -> None:
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
