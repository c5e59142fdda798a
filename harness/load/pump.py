"""The open-loop engine: what is due goes out, whatever comes back; every answer is counted from its due time.

      pacer ----due times----+                            +---- replies ---- hiredis.Reader
                             v                            v
      source --commands--> lane: out --one write a turn--> server      (lanes, each one connection)

    due      by the schedule
    start    read right before the write. If the server does not read, or is away, bytes wait here from then
             on; that is its lateness, and so part of the service time
    done     the reply reached this host, as the kernel dates it (`arrival_dates`); else when it was read

A turn of the loop, with what it costs at a thousand arrivals a second:

    packed    the next command is made while nothing else is to be done       1 µs
    asleep    until something arrives, which is read, or the next is due soon
    awake     the last moments before it is due (`waking`)                    as long as waking up is late here
    write     start is read, the command is written, and nothing else         1 µs after it was due

Where few are due in a turn all this is plain Python, one by one; where many are due, they are packed, written and
recorded as arrays, with one write for all of them. RESP answers in order, so the head of what is in flight is what
a reply belongs to.

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
import os
import select
import selectors
from collections.abc import Callable
from typing import Any

import hiredis

from harness.host.clock import Clock
from harness.host.contention import ContentionMeter
from harness.host.gc_pauses import GcPauses
from harness.host.placement import SameCore, usable_cores
from harness.host.waking import Waking
from harness.load.account import PumpAccount
from harness.load.connections import Connections
from harness.load.lane import Batch, Lane
from harness.load.pacing import Pacer
from harness.load.schedule import NEVER, Schedule, Stop
from harness.load.settings import Instrument, PumpResult, PumpSettings
from harness.load.workload import Source
from harness.measure.arrival_dates import ArrivalDates
from harness.measure.failures import kind_of
from harness.measure.outcomes import DROPPED, UNKNOWN, Counts
from harness.measure.recorder import Recorder
from harness.server.dial import ReplyError

# Connections are looked after (time-outs, reconnections), and the parent told, so often.
_TEND_NS = 2_000_000
# Nothing is waited for longer, so that a stop is seen; and what is drained is looked at more often.
_LONGEST_NS, _LONGEST_DRAIN_NS = 50_000_000, 10_000_000
# What is due sooner than this is packed with what becomes due meanwhile.
_WORTH_PACKING_NS = 10_000
# What a server says that is no primary any more, or not yet.
_ELSEWHERE = {"READONLY", "MASTERDOWN", "LOADING"}
_NOT_READY = Batch(-1, [], b"")


class Pump:
    """Sends a source's commands when a pacer says they are due, and records what becomes of them.

    Args:
        settings: how.
        pacer: when.
        source: what.
        clock: for due times and dates, and nothing else.
        origin_ns: the clock's time at which the schedule begins.
        stop: ends it early; arrivals that are not due by then do not count.
        progress: an array of five that is kept up to date while it runs: `Counts`.
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
        self._now_ns = clock.now_ns
        self._stop = stop
        self._progress = progress if progress is not None else [0] * 5
        self._ship = ship
        self._dates = ArrivalDates(clock)
        # Whoever has a core for itself alone keeps nobody waiting, however few it may use.
        self._waking = Waking(settings.spin_share, usable_cores() + bool(settings.cores))
        self._connections = Connections(settings, self._dates)
        # The loop asks for these at each turn: without a look-up on the way.
        self._lanes, self._selector = self._connections.lanes, self._connections.selector
        self._blocked, self._away = self._connections.blocked, self._connections.away
        self._same_core = SameCore()
        self._turn = 0
        # The next arrival, packed before it is due.
        self._ready = _NOT_READY
        self._in_flight = 0
        self.set_origin(origin_ns)

    def connect(self) -> None:
        """Open all connections.

        Raises:
            OSError, DialError: as `open_socket`.
        """
        self._connections.connect()

    def set_origin(self, origin_ns: int) -> None:
        """Set the time at which the schedule begins, before it runs."""
        self._origin_ns = origin_ns
        self._schedule = Schedule(self._pacer, origin_ns)
        settings = self._settings
        self._account = PumpAccount(
            self._source,
            self._pacer.total,
            origin_ns,
            keep_outcomes=settings.keep_outcomes,
            quotes=settings.quotes,
        )

    @property
    def recorder(self) -> Recorder:
        """What was measured so far."""
        return self._account.recorder

    def run(self) -> PumpResult:
        """Run the schedule to its end, wait for the last replies, and answer what happened."""
        cpu_before_s, contention = sum(os.times()[:2]), ContentionMeter(self._clock, os.getpid())
        with GcPauses(self._clock) as pauses:
            end_ns = self._send_and_read()
            self._drain(end_ns)
        # Why no answer comes from connections that are away, or silent; None where all are as they should be.
        away = self._connections.last_words() if self._away or self._in_flight else None
        for lane in self._lanes:
            self._give_up(lane)
        self._connections.close()
        self._account.fold()
        self._show_progress()
        run_ns = max(1, self._now_ns() - self._origin_ns)
        return self._account.result(
            scheduled_ns=self._schedule.lasted_ns(end_ns),
            reconnects=sum(lane.reconnects for lane in self._lanes),
            cpu_share=(sum(os.times()[:2]) - cpu_before_s) / (run_ns / 1e9),
            pauses=pauses,
            away=away,
            instrument=Instrument(
                dated_by_kernel=self._dates.kernel,
                dated_by_clock=self._dates.by_clock,
                clock_steps=self._dates.stepped,
                awake_share=self._waking.awake_ns / run_ns,
                awake_window_us=self._waking.estimate_ns / 1000,
                run_queue_wait_share=contention.read().waited_share,
                same_core_share=self._same_core.share,
                niceness=os.getpriority(os.PRIO_PROCESS, 0),
                cores=usable_cores(),
            ),
        )

    # The loop ------------------------------------------------------------------------------------------

    def _send_and_read(self) -> int:
        """Go on until the last arrival is due, or until told to stop; answers when that was."""
        schedule, now_of = self._schedule, self._now_ns
        is_stopped = self._stop.is_set
        tend_ns = 0
        while True:
            now_ns = now_of()
            due_ns = schedule.next_due_ns
            if due_ns - now_ns > _WORTH_PACKING_NS and self._ready.first != schedule.next and due_ns != NEVER:
                self._ready = Batch(schedule.next, [due_ns], self._source.pack(schedule.next, 1))
                now_ns = now_of()
            if due_ns > now_ns:
                window_ns = self._waking.window_ns(schedule.gap_ns, is_idle=not self._in_flight)
                if due_ns - now_ns <= window_ns:
                    now_ns = self._wait_awake(now_ns, due_ns)
            if due_ns <= now_ns:
                self._start_what_is_due(now_ns)
            if schedule.is_over or is_stopped():
                return now_ns
            if now_ns >= tend_ns:
                self._tend(now_ns)
                tend_ns = now_ns + _TEND_NS
            self._wait_and_read(_LONGEST_NS)

    def _drain(self, end_ns: int) -> None:
        """Wait for the last replies, as long as the settings say."""
        while self._in_flight and (now_ns := self._now_ns()) - end_ns <= self._settings.drain_ns:
            self._tend(now_ns)
            self._wait_and_read(_LONGEST_DRAIN_NS)

    def _wait_awake(self, now_ns: int, due_ns: int) -> int:
        """Wait for a due time without sleeping; answers the time at which that was over."""
        now_of, begun_ns = self._now_ns, now_ns
        if self._in_flight and not self._lanes[0].is_dated:
            # What arrives meanwhile counts as done when it is read, and so has to be read at once.
            while now_ns < due_ns:
                if select.select((self._selector,), (), (), 0)[0]:
                    self._read_what_is_there()
                now_ns = now_of()
        while now_ns < due_ns:
            now_ns = now_of()
        self._waking.awake_ns += now_ns - begun_ns
        return now_ns

    def _wait_and_read(self, longest_ns: int) -> None:
        """Sleep until something arrives or it is time to wait awake, at most so long; read what has arrived."""
        now_ns = self._dates.wait()
        until_ns = now_ns + (_TEND_NS if self._away else longest_ns)
        schedule = self._schedule
        wakes_ns = schedule.next_due_ns - self._waking.window_ns(schedule.gap_ns, is_idle=not self._in_flight)
        is_timed = wakes_ns < until_ns
        if is_timed:
            until_ns = wakes_ns
        # Of the selector only its descriptor is waited on: its own timeouts are whole milliseconds.
        if not select.select((self._selector,), (), (), max(0, until_ns - now_ns) / 1e9)[0]:
            if is_timed and until_ns > now_ns:
                self._waking.slept(self._now_ns() - until_ns)
            return
        self._read_what_is_there()

    def _read_what_is_there(self) -> None:
        """Read what has arrived, and write what the kernel takes now of what it did not take before."""
        if len(self._lanes) == 1:
            # Which of them it is need not be asked.
            lane = self._lanes[0]
            if lane in self._blocked:
                self._write(lane)
            if lane.socket is not None:
                self._read(lane)
            return
        for key, events in self._selector.select(0):
            lane = key.data
            if events & selectors.EVENT_WRITE:
                self._write(lane)
            if events & selectors.EVENT_READ and lane.socket is not None:
                self._read(lane)

    def _tend(self, now_ns: int) -> None:
        """Look after what is not urgent: time-outs, reconnections, whoever watches."""
        for lane in self._connections.silent(now_ns, self._settings.timeout_ns):
            self._lose(lane)
        if self._away:
            for lane in self._connections.back(now_ns):
                self._write(lane)
        watched = self._lanes[self._turn].socket
        if watched is not None:
            self._same_core.look(watched)
        self._show_progress()
        if self._ship is not None and now_ns >= self._account.ship_at_ns:
            self._account.ship_at_ns = now_ns + self._settings.ship_ns
            self._account.fold()
            self._ship(self.recorder)

    # Out -----------------------------------------------------------------------------------------------

    def _start_what_is_due(self, now_ns: int) -> None:
        schedule = self._schedule
        lane = self._lanes[self._turn]
        room = self._settings.max_in_flight - self._in_flight
        is_open = lane.socket is not None and not lane.out and not lane.is_leaving
        if is_open and room > 0 and self._ready.first == schedule.next and schedule.are_few(now_ns):
            # It is ready: nothing is left to do but the write. What else is due is packed after that.
            self._send(lane, self._ready)
            schedule.take_one()
            self._account.offered(self._ready.due_ns)
            if schedule.next_due_ns > now_ns:
                return
            lane = self._lanes[self._turn]
            is_open = lane.socket is not None and not lane.out and not lane.is_leaving
            room -= 1
        first = schedule.next
        due_ns = schedule.take(now_ns)
        count = len(due_ns)
        self._account.offered(due_ns)
        if count > room:
            self._account.settle(first + room, count - room, DROPPED)
            due_ns, count = due_ns[:room], room
            if not count:
                return
        batch = Batch(first, due_ns, self._source.pack(first, count))
        if is_open:
            self._send(lane, batch)
        else:
            batch.start_ns = self._now_ns()
            lane.out.append(batch)
            self._in_flight += count
            self._turn = (self._turn + 1) % len(self._lanes)

    def _send(self, lane: Lane, batch: Batch) -> None:
        self._in_flight += batch.count
        self._turn = (self._turn + 1) % len(self._lanes)
        try:
            is_sent = lane.send(batch, self._now_ns)
        except OSError:
            self._lose(lane)
            return
        if not is_sent:
            self._connections.watch(lane)

    def _write(self, lane: Lane) -> None:
        """Write what waits."""
        if lane.is_leaving:
            return
        try:
            lane.write(self._now_ns())
        except OSError:
            self._lose(lane)
            return
        self._connections.watch(lane)

    # In ------------------------------------------------------------------------------------------------

    def _read(self, lane: Lane) -> None:
        try:
            replies, done_ns = lane.read()
        except (OSError, hiredis.ProtocolError):
            self._lose(lane)
            return
        taken = failed = 0
        while taken < len(replies):
            if not lane.in_flight:
                # More replies than commands: whatever this is, it does not speak for our operations.
                self._lose(lane)
                return
            batch = lane.in_flight[0]
            count = min(batch.open, len(replies) - taken)
            if not batch.is_own:
                failed += self._account.answered(
                    batch, replies[taken : taken + count], done_ns, self._dates.read_ns
                )
                self._in_flight -= count
            batch.done += count
            taken += count
            if not batch.open:
                lane.in_flight.popleft()
        if failed:
            self._refused(lane, {kind_of(str(reply)) for reply in replies if type(reply) is ReplyError})
        elif replies:
            lane.is_well()
        if lane.is_leaving and not lane.in_flight:
            self._lose(lane)

    def _refused(self, lane: Lane, kinds: set[str]) -> None:
        """Do what can be done about errors: load a script again, or leave a server that is not the right one."""
        if "NOSCRIPT" in kinds:
            lane.load_scripts()
            self._write(lane)
        if kinds & _ELSEWHERE:
            # Behind the same address there may be another server by now. What is in flight is waited for.
            lane.is_leaving = True
            if lane.out and lane.out[0].begun_ns is not None:
                self._lose(lane)  # the rest of a command would have to go out first

    def _lose(self, lane: Lane) -> None:
        """A connection is lost: what was begun is UNKNOWN, what was not goes out on the next one."""
        self._connections.leave(lane)
        for batch in lane.in_flight:
            if not batch.is_own:
                self._account.settle(batch.first + batch.done, batch.open, UNKNOWN)
                self._in_flight -= batch.open
        lane.in_flight.clear()
        lane.out = collections.deque(batch for batch in lane.out if batch.begun_ns is None and not batch.is_own)

    def _give_up(self, lane: Lane) -> None:
        """The run is over: what was begun is UNKNOWN, what was not begun was never sent."""
        self._lose(lane)
        for batch in lane.out:
            self._account.settle(batch.first, batch.count, DROPPED)
            self._in_flight -= batch.count
        lane.out.clear()

    def _show_progress(self) -> None:
        self._progress[:] = tuple(Counts(self._schedule.next, *self._account.counts))
