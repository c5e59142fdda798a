"""Conducts a scenario: begins its record, lets it run, and ends the record whatever happens.

A scenario gets a `Stage` (where, with what, how) and puts what it finds into `Findings`, as it finds it. So an
interrupted run keeps what it had: Ctrl-C, SIGTERM and SIGHUP become an `Interrupted` in the main thread, the
scenario's context managers end what they have started, and the record says "interrupted".

    stage, findings --> scenario.run --> record on disk        complete
                             |  Interrupted                    interrupted: verdict UNKNOWN
                             |  a server, pump or service error   failed, with its reason

Who presses Ctrl-C while the record is being written has asked a moment too late: it is written, and then the
command ends as interrupted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import redis

from harness.account.ledger import Account
from harness.check.judge import CONCLUDED
from harness.conduct.judging import PROBES, judged_run
from harness.host import throttling
from harness.host.clock import Clock
from harness.host.neighbors import Snapshot, neighbors, snapshot
from harness.load.driver import Driver, OwnProcesses
from harness.load.settings import SPIN_SHARE, PumpError, PumpResult
from harness.measure.curves import add_curve, readings_of
from harness.measure.floor import COLUMNS, Floor
from harness.measure.histogram import Histogram
from harness.measure.hlog import LatencyLog
from harness.measure.operations import operations_below, total_of
from harness.measure.outcomes import Counts
from harness.measure.recorder import KINDS, READING_LAG, Interval, SlowOperation
from harness.measure.timeline import History
from harness.nemesis.nemesis import Nemesis
from harness.record import run
from harness.record.alive import alive
from harness.record.environment import describe_host
from harness.record.evidence import Sections
from harness.record.load_report import LoadReport, section_of
from harness.record.parameters import nearest, refused, renamed
from harness.record.run import Figure, Record, Run, Verdict
from harness.server.server import ServerError
from harness.server.url import ServerUrl
from harness.system.port import SystemUnderTest

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
# What `Findings.pumped` and `host_steal` add, for `figure_names`.
PUMPED = """
    1/s     {offered,achieved,reached}_per_s
    events  ok failed unknown dropped unseen reached
    s       short_s by_hand.*.lasted_s
    faults  by_hand
    µs      {response,service,send_lag,reading_lag}.{p50,p90,p99,p99.9,max} gc_pause_max
    µs      floor.{xadd,ping}.{send_lag,service,read}.{p50,p90,p99,max}
    values  out_of_range
    cores   instrument_cpu_share awake_share
    pauses  gc_pauses
    workers workers
    share   host_steal_share
"""
# The same of an operation that is part of another.
PUMPED_PART = """
    events  answered
    µs      {response,service}.{p50,p90,p99,p99.9,max}
"""


class ScenarioError(Exception):
    """A scenario that could not be carried out, for a reason outside of what it measures."""


class ParameterError(Exception):
    """A parameter that does not exist or is out of range."""


class Interrupted(KeyboardInterrupt):
    """Somebody asked the run to end: Ctrl-C, SIGTERM, or SIGHUP."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a scenario runs.

    Attributes:
        server: `embedded`, a program, or the address of one that is there.
        port: for a server that we start; None for a free one.
        profile: `smoke`, `quick`, `standard` or `full`.
        seed: of everything that is drawn.
        directory: of the run; logs of services go there.
        clock: the one clock of the run.
        progress: told how far it is, as a share from 0 to 1, and what it is doing.
        driver: makes the load.
        cores: the plan by which processes were put on cores (`harness.host.placement`).
        spin_share: of a core, that the pump may spend on waiting awake.
        system: what is measured; None: OrderShop.
    """

    server: ServerUrl | str
    port: int | None
    profile: str
    seed: int
    directory: Path
    clock: Clock
    progress: Callable[[float, str], None]
    driver: Driver = OwnProcesses()
    cores: str = "all"
    spin_share: float = SPIN_SHARE
    system: SystemUnderTest | None = None


class Findings:
    """What a scenario has found so far.

    Args:
        prefix: the scenario's name, the first part of its figures' names.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.figures: list[Figure] = []
        self.verdicts: list[Verdict] = []
        self.intervals: list[Interval] = []
        self.slowest: list[SlowOperation] = []
        self.history = History()
        self.headline = ""
        self.server: dict[str, Any] = {}
        self.load: dict[str, Any] = {}
        # What the pumps know of themselves, each by the first part of its figures' names.
        self.pumps: dict[str, Any] = {}
        # What was seen of each event, and whatever else verdicts rest on.
        self.evidence = Sections()
        # Of each load that has been waited for: whether all that waited was handled.
        self.drained: list[bool] = []
        # Why the load was ended before its schedule; empty where it was not. What was measured until then stands.
        self.cut_short = ""
        # What can be looked at, and done by hand, while the scenario runs; None where it has no such thing.
        self._probes_failed: list[str] = []
        self._concluded: list[str] = []
        self.origin_ns: int | None = None
        self.progress: Callable[[], Counts] | None = None
        self.account: Callable[[], Account] | None = None
        self.nemesis: Nemesis | None = None

    def figure(self, name: str, value: float | None, unit: str, *, samples: int | None = None) -> None:
        """Add a figure; its name gets the scenario's in front.

        Args:
            samples: of how many values a quantile is taken.
        """
        self.figures.append(Figure(name=f"{self.prefix}.{name}", value=value, unit=unit, samples=samples))

    def probe_failed(self, reason: str) -> None:
        """Note that a probe has failed: its readings are not all there, so the run is not complete."""
        self._probes_failed.append(reason)
        self.evidence.add_json(PROBES, self._probes_failed)

    def concluded(self, part: str = "") -> None:
        """Note that all is there by which a part of the run is judged.

        Args:
            part: such as one of several loads; empty: all of the run.
        """
        self._concluded.append(part)
        self.evidence.add_json(CONCLUDED, self._concluded)

    def open_loop(self, *, connections: int, arrivals: str, producer: int) -> None:
        """Name how the load comes: open loop, so that whoever quotes a latency knows what was measured.

        Args:
            connections: of the pump; one that is shared costs a server less than many do at the same rate.
            arrivals: by which law.
            producer: that the events carry; given again, it repeats the run event by event.
        """
        self.load = {"loop": "open", "connections": connections, "arrivals": arrivals, "producer": producer}

    def closed_loop(self) -> None:
        """Name how the load comes: closed loop, each call when the one before has been answered."""
        self.load = {"loop": "closed"}

    def paced_users(self, *, users: int, arrivals: str) -> None:
        """Name how the load comes: users that do one thing at a time, each due by a schedule.

        Args:
            users: how many.
            arrivals: by which law.
        """
        self.load = {"loop": "paced", "users": users, "arrivals": arrivals}

    def host_steal(self, history: History, *, name: str = "") -> None:
        """Add the share of CPU time that the host was robbed of over the readings, None where there are none."""
        read = [r.value for r in history.readings("host.steal_share") if r.value is not None]
        share = sum(read) / len(read) if read else None
        self.figure(f"{name}.host_steal_share" if name else "host_steal_share", share, "share")

    def pumped(self, operation: str, result: PumpResult, *, offset_ns: int = 0, name: str = "") -> LatencyLog:
        """Add what a pump has measured, as histograms and as figures.

        Args:
            operation: as the pump recorded it. Those below it, such as `journey.browse` below `journey`, are
                added up, and have figures of their own.
            offset_ns: from the run's origin to the pump's.
            name: the figures' first part; empty for none.

        Returns:
            The pump's intervals, on the run's time.
        """
        shifted = [
            msgspec.structs.replace(interval, start_s=interval.start_s + offset_ns / 1e9)
            for interval in result.intervals
        ]
        self.intervals += shifted
        add_curve(
            self.history,
            "offered",
            list(readings_of(result.offered_in_s, scheduled_ns=result.scheduled_ns or None)),
            offset_ns=offset_ns,
            load=name,
        )
        add_curve(
            self.history, "answered", list(readings_of(result.answered_in_s)), offset_ns=offset_ns, load=name
        )
        self.slowest += [msgspec.structs.replace(slow, due_ns=slow.due_ns + offset_ns) for slow in result.slowest]
        log = LatencyLog(shifted)
        dot = f"{name}." if name else ""
        self.figure(f"{dot}offered_per_s", result.offered_per_s, "1/s")
        self.figure(f"{dot}achieved_per_s", result.achieved_per_s, "1/s")
        for count in ("ok", "failed", "unknown", "dropped"):
            self.figure(f"{dot}{count}", getattr(result, count), "events")
        for kind in KINDS:
            self._quantiles(f"{dot}{kind}", total_of(log, operation, kind))
        if any(tag.endswith(f".{READING_LAG}") for tag in log.tags):
            self._quantiles(f"{dot}{READING_LAG}", total_of(log, operation, READING_LAG))
        self.evidence.add_json(section_of("load", name), LoadReport.of(result))
        self.pumps[name or self.prefix] = {
            **msgspec.to_builtins(result.instrument),
            "dated_by": result.instrument.dated_by,
            "floor_error": result.floor_error,
            "failures": msgspec.to_builtins(result.failures),
            "silent_since_s": result.silent_since_s,
            "away": result.away,
        }
        if result.floor is not None:
            self._floor(f"{dot}floor", result.floor)
        self.figure(f"{dot}awake_share", result.instrument.awake_share, "cores")
        beyond = sum(interval.sparse.out_of_range for interval in shifted)
        self.figure(f"{dot}out_of_range", beyond, "values")
        self.figure(f"{dot}instrument_cpu_share", result.cpu_share, "cores")
        self.figure(f"{dot}gc_pauses", result.gc_pauses, "pauses")
        self.figure(f"{dot}gc_pause_max", result.gc_pause_max_ns / 1000, "µs")
        if result.workers:
            self.load["workers"] = msgspec.to_builtins(result.workers)
            of = "users" if "users" in self.load else "connections"
            self.load[of] = sum(worker.connections for worker in result.workers)
            self.figure(f"{dot}workers", len(result.workers), "workers")
            self.figure(f"{dot}unseen", result.unseen, "events")
        for each in operations_below(log, operation):
            part = each.removeprefix(f"{operation}.")
            self.figure(f"{dot}{part}.answered", log.total(f"{each}.response").total, "events")
            for kind in ("response", "service"):
                self._quantiles(f"{dot}{part}.{kind}", log.total(f"{each}.{kind}"))
        return log

    def _floor(self, name: str, floor: Floor) -> None:
        """Add what a bare exchange has cost, by quantile."""
        for command, exchange in (("xadd", floor.xadd), ("ping", floor.ping)):
            for kind in ("send_lag", "service", "read"):
                for label, value in zip(COLUMNS, getattr(exchange, kind).row_us, strict=True):
                    self.figure(f"{name}.{command}.{kind}.{label}", value, "µs")

    def _quantiles(self, name: str, histogram: Histogram) -> None:
        values = histogram.quantiles_us(list(QUANTILES.values()))
        for label, value in zip(QUANTILES, values, strict=True):
            self.figure(f"{name}.{label}", value, "µs", samples=histogram.total)


class Scenario(Protocol):
    """Something that can be run and measured.

    It may also say what its report shows, and its record keeps that: `key_figures`, `sections` and `words`, as a
    `Run` has them.
    """

    @property
    def name(self) -> str:
        """Its name on the command line and in the record."""
        ...

    @property
    def summary(self) -> str:
        """What it measures, in one sentence."""
        ...

    @property
    def parameters(self) -> type[msgspec.Struct]:
        """Its parameters, with their types and bounds."""
        ...

    @property
    def profiles(self) -> Mapping[str, Mapping[str, Any]]:
        """The parameters of each profile that differ from their defaults."""
        ...

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Run and measure; what is found goes into `findings` as soon as it is known.

        Verdicts and headline follow from the record when it is over (`harness.conduct.judging.Judged`).
        """
        ...


class LoadScenario(Scenario, Protocol):
    """A scenario whose load somebody else may drive, for a time that they choose."""

    def lasting(self, parameters: Any, duration_s: float, server: str) -> msgspec.Struct:
        """The parameters with which its load on a server takes some seconds.

        Raises:
            ParameterError: it cannot last that long.
        """
        ...


def declared(scenario: object) -> dict[str, Any]:
    """What a scenario says of its report, as fields of its `Run`."""
    sections = getattr(scenario, "sections", None)
    return {
        "key_figures": list(getattr(scenario, "key_figures", ())),
        "sections": None if sections is None else list(sections),
        "words": dict(getattr(scenario, "words", {})),
    }


def parameters_of(scenario: Scenario, profile: str, given: Mapping[str, str]) -> msgspec.Struct:
    """The parameters of a scenario: its profile's, with those that were given in their place.

    Raises:
        ParameterError: one that does not exist, has the wrong type, or is out of range.
    """
    known = {field.name for field in msgspec.structs.fields(scenario.parameters)}
    words = dict(given)
    for name, value in given.items():
        if name not in known:
            near = nearest(name, known)
            meant = f"did you mean {near}? it" if near else "it"
            raise ParameterError(
                f"{scenario.name} has no parameter {name!r}; {meant} has {', '.join(sorted(known))}"
            )
        words[name] = renamed(scenario.parameters, name, value)
        if why := refused(scenario.parameters, name, words[name]):
            raise ParameterError(f"{scenario.name}: {why}")
    chosen: dict[str, Any] = {**scenario.profiles.get(profile, {}), **words}
    try:
        return msgspec.convert(chosen, scenario.parameters, strict=False)
    except msgspec.ValidationError as error:
        raise ParameterError(f"{scenario.name}: {error}") from error


def flags_of(scenario: LoadScenario) -> dict[str, str]:
    """The option of each parameter as Locust gets it: its name without the unit, where that is unambiguous."""
    names = [field.name for field in msgspec.structs.fields(scenario.parameters)]
    short = {name: name.removesuffix("_s").removesuffix("_per") for name in names}
    taken = list(short.values())
    return {
        name: (short[name] if taken.count(short[name]) == 1 else name).replace("_", "-")
        for name in names
        # Locust has options of its own for them: how many users there are, and the host.
        if name not in {"connections", "users", "gateway"}
    }


def heed_ctrl_c() -> None:
    """Have SIGINT raise KeyboardInterrupt also where this process was started with it ignored.

    A shell that starts a program in the background of a script has it ignored there, and Python then leaves it so.
    Who sends the signal to a program of ours wants it to end. A handler that somebody has set stays.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into an `Interrupted`, and ignore more while that is handled.

    A SIGHUP comes when the terminal is closed. Who has it ignored, as `nohup` does, wants to go on without one.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def interrupt(number: int, _: object) -> None:
        for name in numbers:
            # Not SIG_IGN: a service that is started to heal a fault would inherit it, and could not be stopped.
            signal.signal(name, lambda *_: None)
        raise Interrupted(signal.Signals(number).name)

    before = {name: signal.signal(name, interrupt) for name in numbers}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP, and deliver them when all is done.

    Only in the main thread, where Python runs its handlers. Under Locust signals are gevent's, and whoever writes
    a file is interrupted by nobody.
    """
    held: list[int] = []
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # None is a handler that is not Python's, which could not be put back; what is ignored stays ignored.
            if signal.getsignal(number) not in {None, signal.SIG_IGN}:
                before[number] = signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in held:
            signal.raise_signal(late)


def _written(write: Callable[[], None]) -> Interrupted | None:
    """Write a record as a whole; what interrupts that is answered when it is done."""
    try:
        with _undisturbed():
            write()
    except Interrupted as error:
        return error
    return None


def conduct(
    scenario: Scenario,
    parameters: msgspec.Struct,
    stage: Stage,
    *,
    command: Sequence[str],
    findings: Findings | None = None,
    also: Mapping[str, Any] | None = None,
) -> tuple[Record, BaseException | None]:
    """Run a scenario and leave its record in the stage's directory.

    Args:
        findings: empty ones, for who wants to look at them meanwhile.
        also: what was chosen besides, which stands among the parameters: another choice is another load.

    Returns:
        The record; and what ended the run early, or an interrupt that came while a complete one was written, or
        None.

    Raises:
        Exception: what neither an interrupt nor the surroundings can explain; the record is there all the same.
    """
    findings = findings or Findings(scenario.name)
    epoch_s = stage.clock.epoch_s()
    origin_ns = stage.clock.now_ns()
    begun = Run(
        schema=run.SCHEMA,
        scenario=scenario.name,
        status="running",
        started_at=dt.datetime.fromtimestamp(epoch_s, dt.UTC).isoformat(timespec="milliseconds"),
        duration_s=0.0,
        seed=stage.seed,
        command=list(command),
        parameters={"profile": stage.profile, **msgspec.to_builtins(parameters), **(also or {})},
        environment={
            "host": describe_host(),
            "server": {},
            "instrument": {"cores_plan": stage.cores, "spin_share": stage.spin_share},
        },
        figures=[],
        verdicts=[],
        **declared(scenario),
    )
    ended: BaseException | None = None
    status, reason = "failed", ""
    before, held_before = snapshot(), throttling.snapshot(stage.clock)
    writing = contextlib.ExitStack()
    try:
        writing.enter_context(alive(stage.directory))
        run.save(stage.directory, begun)
        scenario.run(stage, parameters, findings)
        status = "complete"
        if findings.cut_short:
            # It came to its end, and not to that of its schedule: what it says of the whole is not known.
            status, reason, findings.headline = "interrupted", findings.cut_short, ""
            ended = Interrupted(reason)
    except Interrupted as error:
        ended, status, reason = error, "interrupted", f"interrupted by {error}"
    except (ServerError, PumpError, ScenarioError) as error:
        ended, reason = error, str(error)
    except redis.RedisError as error:
        # Whoever asked the server something had no better word for it: it is away, or refuses to do more.
        reason = f"the server: {' '.join(str(error).split()) or type(error).__name__}"
        ended = ServerError(reason)
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        finished = msgspec.structs.replace(
            begun,
            status=status,
            duration_s=round((stage.clock.now_ns() - origin_ns) / 1e9, 3),
            reason=reason,
        )
        with writing:
            late = _written(
                functools.partial(
                    _save, scenario, stage.directory, finished, findings, epoch_s, before, held_before, stage.clock
                )
            )
    return run.load(stage.directory), ended or late


def _save(
    scenario: Scenario,
    directory: Path,
    finished: Run,
    findings: Findings,
    started_epoch_s: float,
    before: Snapshot,
    held_before: throttling.Snapshot,
    clock: Clock,
) -> None:
    """Write the record of a run that has ended, with what it has found."""
    # Here, where no interrupt comes between the run and its record.
    who = neighbors(before, snapshot())
    held = throttling.throttled(held_before, throttling.snapshot(clock))
    run.save_measurements(
        directory, findings.intervals, findings.history, findings.slowest, started_epoch_s=started_epoch_s
    )
    findings.evidence.save(directory)
    whole = msgspec.structs.replace(
        finished,
        environment={
            **finished.environment,
            "server": findings.server,
            "load": findings.load,
            "instrument": {**finished.environment["instrument"], "dated_by": _dated_by(findings.pumps)},
            "meanwhile": {
                "pumps": findings.pumps,
                "processes": msgspec.to_builtins(who),
                "limits": msgspec.to_builtins(held),
            },
        },
        figures=findings.figures,
        verdicts=findings.verdicts,
        headline=findings.headline,
    )
    # From here on as whoever judges it again: from what is on disk.
    record = Record(directory, whole)
    run.save(directory, judged_run(scenario, record))


def _dated_by(pumps: Mapping[str, Mapping[str, Any]]) -> str:
    """By what answers were dated in all of a run: `kernel`, `clock`, `both`; empty where none came."""
    found = {str(pump["dated_by"]) for pump in pumps.values()} - {""}
    return found.pop() if len(found) == 1 else "both" if found else ""


OnceMore = Callable[[Scenario, msgspec.Struct, Record], tuple[Record, BaseException | None]]


def conduct_suite(
    chosen: Sequence[tuple[Scenario, msgspec.Struct]],
    stage_for: Callable[[Scenario, Path], Stage],
    directory: Path,
    *,
    clock: Clock,
    command: Sequence[str],
    profile: str,
    seed: int,
    once_more: OnceMore | None = None,
) -> tuple[Record, BaseException | None]:
    """Run several scenarios one after the other, each in a directory below the suite's.

    The suite's record is written anew after each, because a later one may fail. It ends with the first that is
    interrupted or cannot be carried out.

    Args:
        once_more: measures again what could not be decided in a member, when all have been; None: nobody does.
    """
    epoch_s, origin_ns = clock.epoch_s(), clock.now_ns()
    suite = Run(
        schema=run.SCHEMA,
        scenario="suite",
        status="running",
        started_at=dt.datetime.fromtimestamp(epoch_s, dt.UTC).isoformat(timespec="milliseconds"),
        duration_s=0.0,
        seed=seed,
        command=list(command),
        parameters={"profile": profile, "scenarios": [scenario.name for scenario, _ in chosen]},
        environment={"host": describe_host(), "server": {}},
        figures=[],
        verdicts=[],
    )
    with alive(directory):
        return _conduct_members(chosen, stage_for, directory, suite, clock, origin_ns, once_more)


def _conduct_members(
    chosen: Sequence[tuple[Scenario, msgspec.Struct]],
    stage_for: Callable[[Scenario, Path], Stage],
    directory: Path,
    suite: Run,
    clock: Clock,
    origin_ns: int,
    once_more: OnceMore | None,
) -> tuple[Record, BaseException | None]:
    run.save(directory, suite)
    ended: BaseException | None = None
    command = suite.command
    for scenario, parameters in chosen:
        stage = stage_for(scenario, directory / scenario.name)
        try:
            _, ended = conduct(scenario, parameters, stage, command=command)
        finally:
            # Also when it has crashed: its record is there, and belongs to the suite.
            member = run.load(directory / scenario.name).run
            suite = msgspec.structs.replace(
                suite,
                status="running" if member.status == "complete" else member.status,
                reason=member.reason,
                duration_s=round((clock.now_ns() - origin_ns) / 1e9, 3),
                figures=[*suite.figures, *member.figures],
                verdicts=[*suite.verdicts, *member.verdicts],
                members=[*suite.members, scenario.name],
                environment={
                    **suite.environment,
                    "server": suite.environment["server"] or member.environment["server"],
                },
            )
            late = _written(functools.partial(run.save, directory, suite))
        ended = ended or late
        if ended is not None:
            if suite.status == "running":  # its member is complete: the interrupt came when that was written
                suite = msgspec.structs.replace(suite, status="interrupted", reason=f"interrupted by {ended}")
            break
    else:
        if once_more is not None:
            ended = _all_once_more(chosen, directory, once_more)
            suite = _gathered(suite, [run.load(directory / name).run for name in suite.members])
        duration_s = round((clock.now_ns() - origin_ns) / 1e9, 3)
        suite = msgspec.structs.replace(
            suite, status="complete", duration_s=duration_s, headline=_suite_headline(suite)
        )
    late = _written(functools.partial(run.save, directory, suite))
    return run.load(directory), ended or late


def _all_once_more(
    chosen: Sequence[tuple[Scenario, msgspec.Struct]], directory: Path, once_more: OnceMore
) -> BaseException | None:
    for scenario, parameters in chosen:
        _, ended = once_more(scenario, parameters, run.load(directory / scenario.name))
        if ended is not None:
            return ended
    return None


def _gathered(suite: Run, members: Sequence[Run]) -> Run:
    """A suite with the figures and verdicts that its members have by now."""
    return msgspec.structs.replace(
        suite,
        figures=[figure for member in members for figure in member.figures],
        verdicts=[verdict for member in members for verdict in member.verdicts],
        repeats=[repeat for member in members for repeat in member.repeats],
    )


def _suite_headline(suite: Run) -> str:
    passed = sum(verdict.status == "PASS" for verdict in suite.verdicts)
    return f"{passed} of {len(suite.verdicts)} verdicts pass, in {len(suite.members)} scenarios."
