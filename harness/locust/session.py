"""One run of Locust, one record: the master's end.

    locust -f scenarios/append.py
      init            options checked, the web UI gets its tabs
      test_start      the scenario is conducted, in a greenlet, with a `Spread` for its driver
                         Spread.pump ... prepare, ready, begin on every worker that has users
      test_stopping   whoever stops the test ends the schedule; what was due by then is drained and accounted for
      quitting        the record is finished, its report written, the exit code set from its verdicts

Locust decides how many users there are and on which workers. A worker takes part in a load with an equal share of
its arrivals, and with as many connections as it has users. `--run-time` is the length of the schedule; starting
the system before it, and draining after it, are not counted.

A worker that is silent for some seconds is not waited for: what it had reported is in the record, the rest of its
share is a hole, which the record names and no verdict passes over. It may have died, or be frozen or cut off while
its pump goes on sending; so what is not known of its share is UNKNOWN, and ends where the schedule was ended.

Clocks: a worker is told its origin in its own monotonic time. The offset comes from the quickest of some round
trips, as in NTP (RFC 5905, section 8): (their time) - (sent + received) / 2, wrong by half of the trip at most.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import gevent
import msgspec
import numpy as np
from gevent.event import Event
from locust import User, events, log, runners
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from harness.check import checkers as checking
from harness.conduct.conduct import (
    Findings,
    Interrupted,
    LoadScenario,
    ParameterError,
    Stage,
    conduct,
    flags_of,
    parameters_of,
)
from harness.host.clock import Clock, SystemClock
from harness.host.own_python import own_environment, own_module
from harness.load.driver import Drive, Journeys
from harness.load.pacing import Pacer
from harness.load.settings import SPIN_SHARE, SPIN_VARIABLE, PumpError, PumpResult, PumpSettings, added, together
from harness.load.workload import Source
from harness.locust.access import AccessError, access_of, is_loopback
from harness.locust.form import Named, named_by
from harness.locust.live import Measured
from harness.locust.login import PASSWORD, taken_password
from harness.locust.users import ArrivalUser
from harness.locust.worker import (
    BEGIN,
    CLOCK,
    CLOCK_ANSWER,
    DONE,
    FAILED,
    PREPARE,
    READY,
    STOP,
    TICK,
    Portion,
    PumpWork,
    UserWork,
    WorkerEnd,
    decoded,
)
from harness.measure import failures
from harness.measure.outcomes import NOT_DUE, UNKNOWN
from harness.measure.recording import Interval, merged, unpack_intervals
from harness.record import run
from harness.record.parameters import described, nearest, renamed
from harness.record.run import Record, RunError, WorkerShare
from harness.server.named import VARIABLE, server_named
from harness.server.url import ServerUrl, UrlError, without_secrets

READY_S = 60.0
REPORT_S = 120.0
SILENT_NS = 5_000_000_000
REPORTS_NS = 10_000_000_000
# A master answers a heartbeat a second; one that is silent for so long is gone. Locust itself waits for a minute.
MASTER_SILENT_S = 10
_PINGS = 8


class _Part:
    """What the master knows of one worker's part in a load."""

    def __init__(self, portion: Portion) -> None:
        self.portion = portion
        self.is_ready = False
        self.failed = ""
        self.progress = [0] * 5
        self.intervals: list[Interval] = []
        self.result: PumpResult | None = None
        self.heard_ns = 0

    @property
    def measured(self) -> list[Interval]:
        return [*self.intervals, *(self.result.intervals if self.result else [])]


class _Offset:
    """A worker's clock beside the master's, by the quickest round trip so far."""

    def __init__(self) -> None:
        self.trip_ns: int | None = None
        self.monotonic_ns = 0
        self.time_of_day_s = 0.0

    def note(self, sent_ns: int, now_ns: int, their_ns: int, epoch_difference_s: float) -> None:
        trip_ns = now_ns - sent_ns
        if self.trip_ns is None or trip_ns < self.trip_ns:
            self.trip_ns = trip_ns
            self.monotonic_ns = their_ns - (sent_ns + now_ns) // 2
            self.time_of_day_s = epoch_difference_s


class Spread:
    """A driver whose load is made by Locust's workers.

    Args:
        environment: Locust's; its runner is a master or local.
        clock: of this host.

    Attributes:
        spin_share: of a core, that each worker's pump may spend on waiting awake.
    """

    def __init__(self, environment: Environment, clock: Clock) -> None:
        self._runner = environment.runner
        self._clock = clock
        self._loads: dict[int, SpreadLoad] = {}
        self._offsets: dict[str, _Offset] = {}
        self.spawned = Event()
        self.is_cut = False
        self.spin_share = SPIN_SHARE
        for kind, listener in ((CLOCK_ANSWER, self._on_clock), (READY, self._on_ready), (FAILED, self._on_failed)):
            self._runner.register_message(kind, listener)
        self._runner.register_message(TICK, self._on_tick)
        self._runner.register_message(DONE, self._on_done)

    def reset(self) -> None:
        """Forget the test before."""
        self._loads.clear()
        self.spawned.clear()
        self.is_cut = False

    def cut(self) -> None:
        """End every schedule now; a load that has not begun will not."""
        self.is_cut = True
        for load in self._loads.values():
            load.stop()

    @property
    def is_loading(self) -> bool:
        """Whether any load has not ended yet."""
        return any(not load.is_done() for load in self._loads.values())

    def pump(self, settings: PumpSettings, pacer: Pacer, source: Source) -> Drive:
        """Commands on a schedule, from every worker that has users."""
        placed = msgspec.structs.replace(settings, spin_share=self.spin_share)
        return self._load(PumpWork(placed, pacer, source), pacer, settings.keep_outcomes)

    def users(self, journeys: Journeys, pacer: Pacer) -> Drive:
        """Locust's users, on a schedule."""
        return self._load(UserWork(journeys, pacer), pacer, False)

    def _load(self, work: PumpWork | UserWork, pacer: Pacer, keep_outcomes: bool) -> SpreadLoad:
        load = SpreadLoad(self, len(self._loads) + 1, work, pacer, keep_outcomes=keep_outcomes)
        self._loads[load.number] = load
        return load

    @property
    def intervals(self) -> list[Interval]:
        """What was measured so far in this test, half a second ago at the latest; of all workers, as it came."""
        return [i for load in self._loads.values() for part in load.parts.values() for i in part.measured]

    @property
    def measured(self) -> list[Measured]:
        """The same, by load and worker."""
        return [
            Measured((load.number, worker), load.origin_ns, part.measured)
            for load in self._loads.values()
            for worker, part in load.parts.items()
        ]

    @property
    def left_s(self) -> float | None:
        """How long the schedule of the load that is on goes on; None where none is."""
        for load in reversed(self._loads.values()):
            if load.origin_ns and load.until_ns > 0:
                left_ns = load.origin_ns + load.until_ns - self._clock.now_ns()
                return left_ns / 1e9 if left_ns > 0 else None
        return None

    # What workers say. A message of an earlier test finds no load, and is not for us.

    def _part(self, msg: Any) -> _Part | None:
        load = self._loads.get(msg.data["load"])
        part = load.parts.get(msg.data["worker"]) if load is not None else None
        if part is not None:
            part.heard_ns = self._clock.now_ns()
        return part

    def _on_clock(self, msg: Any, **_: Any) -> None:
        now_ns, data = self._clock.now_ns(), msg.data
        offset = self._offsets.setdefault(data["worker"], _Offset())
        # Its time of day was taken in the middle of the trip, as its monotonic time was.
        ours_s = self._clock.epoch_s() - (now_ns - data["sent_ns"]) / 2e9
        offset.note(data["sent_ns"], now_ns, data["now_ns"], data["epoch_s"] - ours_s)

    def _on_ready(self, msg: Any, **_: Any) -> None:
        if part := self._part(msg):
            part.is_ready = True

    def _on_failed(self, msg: Any, **_: Any) -> None:
        if part := self._part(msg):
            part.failed = str(msg.data["reason"])

    def _on_tick(self, msg: Any, **_: Any) -> None:
        if part := self._part(msg):
            part.progress = [int(n) for n in msg.data["progress"]]
            if msg.data["intervals"]:
                part.intervals += unpack_intervals(msg.data["intervals"])

    def _on_done(self, msg: Any, **_: Any) -> None:
        if part := self._part(msg):
            try:
                part.result = decoded(msg.data)
            except PumpError as error:
                part.failed = str(error)

    # What the master says.

    def members(self) -> dict[str, int]:
        """The workers that have users, and how many."""
        if isinstance(self._runner, MasterRunner):
            return {c.id: c.user_count for c in self._runner.clients.all if c.user_count and self._is_there(c)}
        return {self._runner.client_id: self._runner.user_count} if self._runner.user_count else {}

    def wait_for_reports(self) -> None:
        """Wait until workers have told of all users: after a second Locust itself takes them for spawned.

        Whose report does not come within some seconds makes no part of the load.
        """
        deadline_ns = self._clock.now_ns() + REPORTS_NS
        while sum(self.members().values()) < self._runner.target_user_count:
            if self.is_cut or self._clock.now_ns() > deadline_ns:
                return
            gevent.sleep(0.01)

    @staticmethod
    def _is_there(client: Any) -> bool:
        return bool(client.state != STATE_MISSING)

    def is_missing(self, worker: str) -> bool:
        """Whether a worker is gone."""
        if not isinstance(self._runner, MasterRunner):
            return False
        client = self._runner.clients.get(worker)
        return client is None or not self._is_there(client)

    def send(self, kind: str, worker: str, **data: Any) -> None:
        """Send a message to one worker."""
        self._runner.send_message(kind, data, worker)

    def compare_clocks(self, workers: Sequence[str]) -> None:
        """Estimate by how much each worker's clock differs from ours."""
        for _ in range(_PINGS):
            for worker in workers:
                self.send(CLOCK, worker, sent_ns=self._clock.now_ns())
            gevent.sleep(0.005)

    def offset_of(self, worker: str) -> _Offset:
        """What is known of a worker's clock."""
        return self._offsets.get(worker, _Offset())

    @property
    def clock(self) -> Clock:
        """Of this host."""
        return self._clock


class SpreadLoad:
    """A load that is made by several workers."""

    def __init__(
        self, spread: Spread, number: int, work: PumpWork | UserWork, pacer: Pacer, *, keep_outcomes: bool
    ) -> None:
        self.number = number
        self.parts: dict[str, _Part] = {}
        self._spread = spread
        self._work = work
        self._pacer = pacer
        self._keep_outcomes = keep_outcomes
        self._origin_ns = 0
        self._until_ns = pacer.duration_ns
        self._is_stopped = False
        self._users = 0

    @property
    def origin_ns(self) -> int:
        """When its schedule began, by this host's clock; 0 before."""
        return self._origin_ns

    @property
    def until_ns(self) -> int:
        """When its schedule ends, or was ended, from its origin; 0 where it has no end of its own."""
        return self._until_ns

    @property
    def progress(self) -> Sequence[int]:
        """Arrivals, ok, failed, unknown and dropped, as far as was told."""
        return [sum(counts) for counts in zip(*(p.progress for p in self.parts.values()), strict=True)] or [0] * 5

    def wait_until_ready(self) -> None:
        """Wait until every worker with users can begin.

        Raises:
            PumpError: one cannot, or does not say so in time; or no worker has users.
        """
        spread = self._spread
        self._wait(spread.spawned.is_set, "Locust has not spawned its users")
        spread.wait_for_reports()
        members = spread.members()
        if not members:
            raise PumpError("no worker has users: --users is 1 or more")
        spread.compare_clocks(list(members))
        first_user = 0
        for index, (worker, users) in enumerate(members.items()):
            portion = Portion(index=index, of=len(members), first_user=first_user, users=users)
            first_user += users
            self.parts[worker] = _Part(portion)
        work, self._users = self._work, first_user
        if isinstance(work, UserWork):
            work = UserWork(msgspec.structs.replace(work.journeys, users=first_user), work.pacer)
        for worker, part in self.parts.items():
            spread.send(PREPARE, worker, load=self.number, work=pickle.dumps((work, part.portion)))
        self._wait(self._is_prepared, "a worker is not ready")
        for worker, part in self.parts.items():
            if part.failed:
                raise PumpError(f"worker {worker}: {part.failed}" if len(self.parts) > 1 else part.failed)

    def _is_prepared(self) -> bool:
        for worker in self.parts:
            if self._spread.is_missing(worker):
                raise PumpError(f"worker {worker} is gone")
        return all(part.is_ready or part.failed for part in self.parts.values())

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline_ns = self._spread.clock.now_ns() + int(READY_S * 1e9)
        while not condition():
            if self._spread.is_cut:
                raise Interrupted("a stop before the load began")
            if self._spread.clock.now_ns() > deadline_ns:
                raise PumpError(f"{what} after {READY_S:.0f} s")
            gevent.sleep(0.01)

    def begin(self, origin_ns: int) -> None:
        """Start the schedule at a moment of this host's clock, which each worker is told by its own."""
        self._origin_ns = origin_ns
        for worker, part in self.parts.items():
            part.heard_ns = self._spread.clock.now_ns()
            theirs_ns = origin_ns + self._spread.offset_of(worker).monotonic_ns
            self._spread.send(BEGIN, worker, load=self.number, origin_ns=theirs_ns)

    def stop(self) -> None:
        """End the schedule now."""
        if not self._is_stopped:
            self._is_stopped = True
            since_ns = self._spread.clock.now_ns() - self._origin_ns if self._origin_ns else 0
            self._until_ns = max(0, min(self._until_ns, since_ns))
            for worker in self.parts:
                self._spread.send(STOP, worker, load=self.number)

    def is_done(self) -> bool:
        """Whether every worker has reported its result, cannot, or is gone."""
        return all(self._is_closed(worker, part) for worker, part in self.parts.items())

    def _is_closed(self, worker: str, part: _Part) -> bool:
        if part.result is not None or part.failed:
            return True
        silent_ns = self._spread.clock.now_ns() - part.heard_ns
        return silent_ns > SILENT_NS or (silent_ns > SILENT_NS // 2 and self._spread.is_missing(worker))

    def result(self, timeout_s: float) -> PumpResult:
        """What all of them have done and measured, as one; workers that died leave holes.

        Raises:
            PumpError: a worker could not do its part, or all of them are gone.
        """
        deadline_ns = self._spread.clock.now_ns() + int(timeout_s * 1e9)
        while not self.is_done() and self._spread.clock.now_ns() < deadline_ns:
            gevent.sleep(0.01)
        for worker, part in self.parts.items():
            if part.failed:
                raise PumpError(f"worker {worker}: {part.failed}" if len(self.parts) > 1 else part.failed)
        if not any(p.result for p in self.parts.values()):
            raise PumpError("every worker is gone")
        return self._together()

    def _together(self) -> PumpResult:
        results = [part.result or self._hole(part) for part in self.parts.values()]
        outcomes = None
        if self._keep_outcomes:
            outcomes = np.full(self._pacer.total, NOT_DUE, np.uint8)
            for part, result in zip(self.parts.values(), results, strict=True):
                mine = result.outcomes
                if mine is not None:
                    portion = part.portion
                    outcomes[portion.index :: portion.of][: mine.size] = mine
        errors: dict[str, int] = {}
        for result in results:
            for reason, count in result.errors.items():
                errors[reason] = errors.get(reason, 0) + count
        slowest = sorted((s for r in results for s in r.slowest), key=lambda s: -s.response_ns)[:100]
        return PumpResult(
            arrivals=sum(r.arrivals for r in results),
            ok=sum(r.ok for r in results),
            failed=sum(r.failed for r in results),
            unknown=sum(r.unknown for r in results),
            dropped=sum(r.dropped for r in results),
            errors=errors,
            reconnects=sum(r.reconnects for r in results),
            intervals=merged(interval for part in self.parts.values() for interval in part.measured),
            slowest=slowest,
            outcomes=outcomes,
            cpu_share=sum(r.cpu_share for r in results),
            wall_ns=max(r.wall_ns for r in results),
            scheduled_ns=max(r.scheduled_ns for r in results),
            gc_pauses=sum(r.gc_pauses for r in results),
            gc_pause_max_ns=max(r.gc_pause_max_ns for r in results),
            told={thing: state for result in results for thing, state in result.told.items()},
            failures=failures.together(failure for result in results for failure in result.failures),
            offered_in_s=added(result.offered_in_s for result in results),
            answered_in_s=added(result.answered_in_s for result in results),
            silent_since_s=max(
                (result.silent_since_s for result in results if result.silent_since_s is not None), default=None
            ),
            away=next((result.away for result in results if result.away), ""),
            instrument=together([result.instrument for result in results]),
            floor=next((result.floor for result in results if result.floor), None),
            floor_error=next((result.floor_error for result in results if result.floor_error), ""),
            workers=[
                self._share(worker, part, result)
                for (worker, part), result in zip(self.parts.items(), results, strict=True)
            ],
        )

    def _hole(self, part: _Part) -> PumpResult:
        """What is left of a worker that fell silent: the counts that it had told; the rest is UNKNOWN.

        The rest is what was due of its share until the schedule ended, or was ended. None of it is DROPPED, also
        what was due after the silence began: where the worker is frozen or cut off, its pump goes on sending.
        """
        mine = self._numbers_of(part.portion)
        due = int(np.searchsorted(_due_times(self._pacer, mine), self._until_ns, "left"))
        begun, ok, failed, unknown, dropped = part.progress
        # Without a schedule nothing more was due than was told of.
        arrivals = max(due, begun, ok + failed + unknown + dropped)
        outcomes = None
        if self._keep_outcomes:
            # Which of them were answered is not known here: none can be called lost, and each may have happened.
            outcomes = np.full(mine.size, NOT_DUE, np.uint8)
            outcomes[:arrivals] = UNKNOWN
        return PumpResult(
            arrivals=arrivals,
            ok=ok,
            failed=failed,
            unknown=arrivals - ok - failed - dropped,
            dropped=dropped,
            errors={},
            reconnects=0,
            intervals=[],
            slowest=[],
            outcomes=outcomes,
            cpu_share=0.0,
            wall_ns=max(1, self._until_ns),
            scheduled_ns=max(1, self._until_ns),
        )

    def _numbers_of(self, portion: Portion) -> Any:
        """The numbers of a worker's arrivals: every n-th, or those of its users."""
        if not isinstance(self._work, UserWork):
            return np.arange(portion.index, self._pacer.total, portion.of)
        numbers = np.arange(self._pacer.total)
        seats = numbers % self._users
        return numbers[(seats >= portion.first_user) & (seats < portion.first_user + portion.users)]

    def _share(self, worker: str, part: _Part, result: PumpResult) -> WorkerShare:
        offset = self._spread.offset_of(worker)
        silent_s = None if part.result else (part.heard_ns - self._origin_ns) / 1e9
        told = sum(part.progress[1:])
        return WorkerShare(
            name=worker,
            arrivals=result.arrivals,
            connections=part.portion.users,
            clock_offset_s=None if offset.trip_ns is None else offset.time_of_day_s,
            clock_error_s=None if offset.trip_ns is None else offset.trip_ns / 2e9,
            unseen=0 if part.result else result.arrivals - told,
            silent_from_s=silent_s,
        )

    def close(self) -> None:
        """End it on every worker, also on one that was ready when another was not."""
        self.stop()


def _due_times(pacer: Pacer, numbers: Any) -> Any:
    if not numbers.size:
        return np.zeros(0, np.int64)
    return pacer.due_ns(int(numbers[0]), int(numbers[-1] - numbers[0]) + 1)[numbers - numbers[0]]


class Session:
    """What one process of Locust, a master or a single one, measures: a scenario, as often as a test is started.

    Args:
        environment: Locust's, with its runner and its parsed options.
        scenario: that is conducted.
        clock: of this host.
        steps: what the scenario's users do, by name, and the tags of each.

    Attributes:
        named: what the command line has named. From here on Locust's options, which a form may set and workers are
            sent, have names in the place of programs and addresses.
        share: how far the run is, from 0 to 1.

    Raises:
        ParameterError, UrlError: the command line names servers that cannot be.
    """

    def __init__(
        self,
        environment: Environment,
        scenario: LoadScenario,
        clock: Clock,
        steps: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.environment = environment
        self.scenario = scenario
        self._steps = steps or {}
        self.clock = clock
        options = environment.parsed_options
        file = Path(options.server_file) if options.server_file else None
        server = server_named(options.server or None, file, os.environ)
        self.named: Named = named_by(server, options.also_server or [], options.host, options.runs)
        options.server, options.server_file, options.also_server = self.named.default_server, "", None
        # It is shown, and stands in names of files; users get theirs with the load.
        options.host = environment.host = without_secrets(self.named.gateway) or None
        self.share = 0.0
        self.spread = Spread(environment, clock)
        self.findings: Findings | None = None
        self.record: Record | None = None
        self.doing = ""
        self._worst = checking.EXIT_PASS
        self._is_measuring = False
        self._greenlet: gevent.Greenlet | None = None

    @property
    def is_running(self) -> bool:
        """Whether a scenario is being conducted, also where Locust has stopped and it is draining."""
        return self._greenlet is not None and not self._greenlet.dead

    def chosen(self, options: Any) -> tuple[msgspec.Struct, int]:
        """The scenario's parameters and the seed that options ask for.

        Args:
            options: Locust's, or a form's: by attribute.

        Raises:
            ParameterError: something that cannot be.
        """
        if options.profile and options.profile not in self.scenario.profiles:
            there_are = ", ".join(self.scenario.profiles)
            raise ParameterError(f"there is no profile {options.profile!r}; there are {there_are}")
        _check_spawning(options)
        check_tags(self._steps, **tags_of(options))
        fields = [field.name for field in msgspec.structs.fields(self.scenario.parameters)]
        given = {name: str(getattr(options, name)) for name in fields if getattr(options, name, "") != ""}
        for name, value in (("connections", options.num_users), ("users", options.num_users)):
            if name in fields and value:
                given[name] = str(value)
        given.pop("gateway", None)
        if "gateway" in fields and self.named.gateway:
            given["gateway"] = self.named.gateway
        server = self.server_of(options)
        parameters = parameters_of(self.scenario, options.profile or "quick", given)
        if options.run_time:
            parameters = self.scenario.lasting(parameters, float(options.run_time), str(server))
        try:
            seed = int(options.seed)
        except ValueError:
            seed = -1
        if seed < 0:
            raise ParameterError(f"a seed is a whole number of 0 or more, not {options.seed!r}")
        return parameters, seed

    def server_of(self, options: Any) -> ServerUrl | str:
        """The server that options ask for by its name.

        Raises:
            ParameterError: the command line has not named it.
        """
        return self.named.server(options.server or self.named.default_server)

    def begin(self) -> None:
        """Conduct the scenario, as the options now stand."""
        if self.is_running:
            self.finish(0.0)
        options = self.environment.parsed_options
        self.spread.reset()
        self.share, self.doing = 0.0, "starting the system"
        self._greenlet = gevent.spawn(self._conduct, options)

    def _conduct(self, options: Any) -> None:
        try:
            self._conduct_with(options)
        except Exception:
            self._note_code(checking.EXIT_USAGE)
            raise
        finally:
            # Whatever has happened: Locust would wait for ever.
            self._end_test()

    def _conduct_with(self, options: Any) -> None:
        try:
            parameters, seed = self.chosen(options)
            now = dt.datetime.fromtimestamp(self.clock.epoch_s(), dt.UTC)
            directory = run.new_directory(self.named.runs, self.scenario.name, now)
        except (ParameterError, RunError) as error:
            self._refuse(str(error))
        else:
            stage = Stage(
                server=self.server_of(options),
                port=None,
                profile=options.profile or "quick",
                seed=seed,
                directory=directory,
                clock=self.clock,
                progress=self._note_progress,
                driver=self.spread,
                spin_share=options.spin,
            )
            self.spread.spin_share = options.spin
            self._conduct_on(stage, parameters)

    def _conduct_on(self, stage: Stage, parameters: msgspec.Struct) -> None:
        self.findings = Findings(self.scenario.name)
        command = ["locust", *(without_secrets(word) for word in sys.argv[1:])]
        self._is_measuring = True
        try:
            record, ended = conduct(
                self.scenario,
                parameters,
                stage,
                command=command,
                findings=self.findings,
                also=tags_of(self.environment.parsed_options),
            )
        finally:
            self._is_measuring = False
        self.record = record
        if ended is None or isinstance(ended, Interrupted):
            self._note_code(checking.exit_code(record.run.verdicts))
        else:
            self._refuse(str(ended))
        self._report(record)

    def _note_progress(self, share: float, doing: str) -> None:
        self.share, self.doing = share, doing

    def _note_code(self, code: int) -> None:
        # Usage and infrastructure before a failure, a failure before a measurement that is not valid.
        order = (checking.EXIT_PASS, checking.EXIT_INVALID, checking.EXIT_FAIL, checking.EXIT_USAGE)
        self._worst = max(self._worst, code, key=order.index)

    def _refuse(self, reason: str) -> None:
        self._note_code(checking.EXIT_USAGE)
        self.doing = reason
        sys.stderr.write(f"locust: {self.scenario.name}: {reason}\n")

    def _report(self, record: Record) -> None:
        self.doing = "writing the report"
        # In a process of its own: rendering takes a second or two, in which no heartbeat would be answered.
        command = own_module("harness", "report", str(record.directory))
        try:
            rendered = subprocess.run(
                command, env=own_environment(), capture_output=True, text=True, check=False, timeout=REPORT_S
            )
        except subprocess.TimeoutExpired:
            self._refuse(f"the report of {record.directory} is not there after {REPORT_S:.0f} s")
            return
        except Interrupted as error:
            self._refuse(f"the report of {record.directory} was not written: {error}")
            return
        if rendered.returncode != checking.EXIT_PASS:
            said = rendered.stderr.strip().splitlines()[-1:] or [f"exit code {rendered.returncode}"]
            self._refuse(f"the report of {record.directory} was not written: {said[0]}")
            return
        # Where Locust is told `--json`, its output is a document.
        sys.stderr.write(rendered.stdout + rendered.stderr)
        sys.stderr.flush()

    def _end_test(self) -> None:
        runner = self.environment.runner
        if self.environment.parsed_options.headless:
            runner.quit()
        else:
            runner.stop()

    def cut(self) -> None:
        """End the schedule now; what was due until then is drained, accounted for and recorded."""
        if self.is_running:
            self.spread.cut()

    def interrupt(self, by: str) -> bool:
        """End what is being measured now: what is not known by then is UNKNOWN, and the record says "interrupted".

        Returns:
            Whether something was; a record that is complete stays so.
        """
        if not self._is_measuring or self._greenlet is None:
            return False
        self._greenlet.kill(Interrupted(by), block=False)
        return True

    def note_interrupt(self, why: str) -> None:
        """Take note that somebody ends the test: a load that still goes on is cut short by that."""
        if self.is_running and self.findings is not None and self.spread.is_loading:
            self.findings.cut_short = why

    def finish(self, patience_s: float) -> None:
        """See to it that the record is complete: wait for the drain for a while, then interrupt it."""
        greenlet = self._greenlet
        if greenlet is None or greenlet is gevent.getcurrent():
            return
        self.cut()
        greenlet.join(patience_s)
        if not greenlet.dead:
            greenlet.kill(Interrupted("the end of Locust"), timeout=60)

    @property
    def exit_code(self) -> int:
        """The worst of all runs of this process."""
        return self._worst


def tags_of(options: Any) -> dict[str, list[str]]:
    """The tags that Locust's options choose steps by, as they are recorded; empty where none are given."""
    given = {name: sorted(set(getattr(options, name, None) or ())) for name in ("tags", "exclude_tags")}
    return {name: tags for name, tags in given.items() if tags}


def check_tags(
    steps: Mapping[str, frozenset[str]], tags: Sequence[str] = (), exclude_tags: Sequence[str] = ()
) -> None:
    """Refuse tags that no step has, and a choice of steps that is empty.

    Args:
        steps: what users do, by name, and the tags of each.
        tags: a step has one of them, where any are given.
        exclude_tags: and none of these.

    Raises:
        ParameterError: so it is.
    """
    known = sorted(frozenset().union(*steps.values()))
    for tag in (*tags, *exclude_tags):
        if tag not in known:
            near = nearest(tag, known)
            there_are = f"there are {', '.join(known)}" if known else "they have none"
            meant = f"did you mean {near}? " if near else ""
            raise ParameterError(f"no step of these users has the tag {tag!r}; {meant}{there_are}")
    left = [each for each in steps.values() if (not tags or each & set(tags)) and not each & set(exclude_tags)]
    if (tags or exclude_tags) and not left:
        raise ParameterError("these tags leave no step that users could take")


def _check_spawning(options: Any) -> None:
    """Refuse users that come so slowly that the load would not wait for the last of them.

    Raises:
        ParameterError: so it is.
    """
    users, per_s = options.num_users or 1, options.spawn_rate or 1.0
    if users / per_s > READY_S:
        raise ParameterError(
            f"{users:,} users at {per_s:g} a second have not all started within {READY_S:.0f} s: "
            f"give --spawn-rate {math.ceil(users / READY_S)} or more"
        )


PATIENCE_S = 120.0
# Longer than users take for what was due; less than a master waits for its workers to stop.
USERS_PATIENCE_S = 45.0


def add_arguments(parser: LocustArgumentParser, scenario: LoadScenario) -> None:
    """Add a scenario's parameters to Locust's options; they stand in the form of the web UI, too."""
    # Locust's own is every interface. What is given, configured or in the environment goes before a default.
    parser.set_defaults(web_host="127.0.0.1")
    # It does not stand in the form under its own name: Locust would show the address with its password.
    parser.add_argument(
        "--server",
        default="",
        include_in_web_ui=False,
        help=f"embedded, a server program, or a redis:// URL; default: the value of {VARIABLE}, or embedded",
    )
    parser.add_argument(
        "--server-file",
        default="",
        include_in_web_ui=False,
        help="a file that holds that URL; use it for a password, since every user can read a command line",
    )
    parser.add_argument(
        "--also-server",
        action="append",
        metavar="NAME=WHICH",
        include_in_web_ui=False,
        help="another server that the web UI's form may choose by this name; may be repeated",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        metavar="NAME",
        include_in_web_ui=False,
        help="another name of the web UI, besides localhost and --web-host; may be repeated",
    )
    parser.add_argument(
        "--allowed-origin",
        action="append",
        metavar="URL",
        include_in_web_ui=False,
        help="a site whose pages may use the web UI, such as that of a proxy that changes Host; may be repeated",
    )
    parser.add_argument("--seed", default="1", help="seed of everything that is drawn at random")
    parser.add_argument(
        "--runs", default="runs", include_in_web_ui=False, help="directory in which run directories are made"
    )
    parser.add_argument(
        "--spin",
        type=float,
        default=SPIN_SHARE,
        env_var=SPIN_VARIABLE,
        include_in_web_ui=False,
        help="share of a core that the load of each worker may spend on waiting awake",
    )
    defaults = msgspec.to_builtins(parameters_of(scenario, "quick", {}))
    parameters = described(scenario.parameters)
    for name, flag in flags_of(scenario).items():
        parser.add_argument(
            f"--{flag}",
            dest=name,
            default="",
            type=partial(renamed, scenario.parameters, name),
            choices=["", *parameters[name].choices] if parameters[name].kind == "choice" else None,
            help=f"{_unit_of(name)}; quick: {defaults[name]}",
        )


def _unit_of(name: str) -> str:
    words = name.replace("_", " ")
    for suffix, unit in ((" per s", "per second"), (" ms", "in milliseconds"), (" s", "in seconds")):
        if words.endswith(suffix):
            return f"{words.removesuffix(suffix)}, {unit}"
    return words


# Scenarios whose locustfiles this process has loaded: their options have the same names, and Locust runs one test.
_loaded: list[str] = []


def locustfile(
    scenario: LoadScenario,
    user_class: type[User] = ArrivalUser,
    on_web: Callable[[Session, Any], None] | None = None,
) -> type[User]:
    """Make the file that is being loaded a locustfile: `AppendUser = locustfile(scenario)`.

    Args:
        scenario: that Locust is to conduct.
        user_class: of its users, an `ActingUser`; if not given they are connections.
        on_web: adds what is ours to the web UI; None: the tabs of `locust_web`.

    Returns:
        The class that Locust is to find in the file.
    """
    if _loaded:
        _fail(f"one scenario at a time: {_loaded[0]} was given, and {scenario.name}")
    _loaded.append(scenario.name)
    sessions: list[Session] = []
    # Now: Locust takes those away that were not chosen, and does not put them back.
    steps = {
        each.__name__: frozenset(getattr(each, "locust_tag_set", ())) for each in getattr(user_class, "tasks", ())
    }

    @events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
    def _(parser: LocustArgumentParser, **_: Any) -> None:
        add_arguments(parser, scenario)

    @events.init.add_listener  # type: ignore[untyped-decorator]
    def _(environment: Environment, runner: Any, web_ui: Any, **_: Any) -> None:
        _take_ctrl_c(runner, sessions)
        if not isinstance(runner, MasterRunner):
            end = WorkerEnd(environment)
            environment.events.quitting.add_listener(lambda **_: end.end(5.0))
            environment.events.test_stopping.add_listener(lambda **_: end.let_users_finish(USERS_PATIENCE_S))
        if isinstance(runner, WorkerRunner):
            runners.MASTER_HEARTBEAT_TIMEOUT = MASTER_SILENT_S
            return
        try:
            session = Session(environment, scenario, SystemClock(), steps)
        except (ParameterError, UrlError) as error:
            _fail(str(error))
        sessions.append(session)
        _check(session, environment.parsed_options)
        _listen(session)
        if web_ui is not None:
            add_web(session, web_ui)

    def add_web(session: Session, web_ui: Any) -> None:
        _close(web_ui, session.environment.parsed_options)
        if on_web is not None:
            on_web(session, web_ui)
            return
        from harness.locust.web_ui import add_to_web_ui

        add_to_web_ui(session, web_ui)

    name = "".join(word.capitalize() for word in scenario.name.split("_"))
    return type(f"{name}User", (user_class,), {"abstract": False})


def _close(web_ui: Any, options: Any) -> None:
    """Let only those ask a web UI who may: by the host that they name, and by a password where there is one."""
    from harness.locust.access import Guarded
    from harness.locust.login import ask_for_password

    try:
        access = access_of(options.web_host, options.allowed_host or [], options.allowed_origin or [])
    except AccessError as error:
        _fail(str(error))
    web_ui.app.wsgi_app = Guarded(web_ui.app.wsgi_app, access)
    password = taken_password(os.environ)
    if password:
        ask_for_password(web_ui, password)
    elif options.web_login:
        _fail(f"--web-login asks for the password that {PASSWORD} has in the environment: set it")
    elif not is_loopback(options.web_host):
        sys.stderr.write(
            f"locust: anybody who reaches port {options.web_port} can start runs and kill processes here: "
            f"set {PASSWORD} in the environment, and the web UI asks for that password\n"
        )


def _take_ctrl_c(runner: Any, sessions: Sequence[Session]) -> None:
    """Let the first Ctrl-C end the schedule, the second what is measured, only a third one Locust itself.

    Python itself would raise KeyboardInterrupt in whatever runs: a user's step, the scenario, or the very end, in
    which the record is being finished.
    """
    main = gevent.getcurrent()
    asked: list[bool] = []

    def interrupt() -> None:
        asked.append(True)
        if len(asked) == 1:
            for session in sessions:
                session.note_interrupt("interrupted by SIGINT before the end of its schedule")
            gevent.kill(main, KeyboardInterrupt())
        elif len(asked) > 2:
            gevent.kill(main, SystemExit(checking.EXIT_USAGE))
        elif not isinstance(runner, WorkerRunner):
            for session in sessions:
                session.interrupt("a second Ctrl-C")
            sys.stderr.write("locust: the record is being finished; Ctrl-C once more ends without it\n")
            sys.stderr.flush()

    gevent.signal_handler(signal.SIGINT, interrupt)


def _check(session: Session, options: Any) -> None:
    """End Locust with one line where its options cannot be; take the run time as the schedule's length."""
    try:
        session.chosen(options)
    except (ParameterError, UrlError) as error:
        _fail(str(error))
    if options.headless or options.autostart:
        # Locust's own timer knows neither the start of the system nor the drain; the schedule's end ends the run.
        lasting = [options.run_time]
        options.run_time = None

        def restore(**_: Any) -> None:
            # Once: a test after that is started from the form, which has a run time of its own.
            if lasting:
                options.run_time = lasting.pop()

        session.environment.events.test_start.add_listener(restore)


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"locust: {message}\n")
    sys.stderr.flush()
    sys.exit(checking.EXIT_USAGE)


def _listen(session: Session) -> None:
    hooks = session.environment.events
    hooks.test_start.add_listener(lambda **_: session.begin())
    hooks.spawning_complete.add_listener(lambda **_: session.spread.spawned.set())
    hooks.test_stopping.add_listener(lambda **_: session.cut())

    def quitting(environment: Environment, **_: Any) -> None:
        session.finish(PATIENCE_S)
        # Where there is a record its verdicts decide, and not Locust, for which each request that failed is an
        # error: scenarios that break something have their own word on what may fail.
        is_judged = session.record is not None and not log.unhandled_greenlet_exception
        if is_judged or session.exit_code != checking.EXIT_PASS:
            environment.process_exit_code = session.exit_code

    # Added after the runner's own, and so called before it tells the workers to quit.
    hooks.quitting.add_listener(quitting)
