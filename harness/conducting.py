"""Conducts a scenario: begins its record, lets it run, and ends the record whatever happens.

A scenario gets a `Stage` (where, with what, how) and puts what it finds into `Findings`, as it finds it. So an
interrupted run keeps what it had: Ctrl-C and SIGTERM become an `Interrupted` in the main thread, the scenario's
context managers end what they have started, and the record says "interrupted".

    stage, findings --> scenario.run --> record on disk        complete
                             |  Interrupted                    interrupted: verdict UNKNOWN
                             |  a server, pump or service error   failed, with its reason
"""

from __future__ import annotations

import contextlib
import datetime as dt
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from harness import checking, run
from harness.clock import Clock
from harness.driving import Driver, OwnProcesses
from harness.environment import describe_host
from harness.faults import Nemesis
from harness.history import History
from harness.ledger import Account
from harness.pump import PumpError, PumpResult
from harness.recording import KINDS, Histogram, Interval, LatencyLog, SlowOperation
from harness.run import Figure, Record, Run, Verdict
from harness.servers import ServerError

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


class ScenarioError(Exception):
    """A scenario that could not be carried out, for a reason outside of what it measures."""


class ParameterError(Exception):
    """A parameter that does not exist or is out of range."""


class Interrupted(KeyboardInterrupt):
    """Somebody asked the run to end: Ctrl-C or SIGTERM."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a scenario runs.

    Attributes:
        server: `embedded`, a program, or a URL.
        port: for a server that we start; None for a free one.
        profile: `smoke`, `quick`, `standard` or `full`.
        seed: of everything that is drawn.
        directory: of the run; logs of services go there.
        clock: the one clock of the run.
        progress: told how far it is, as a share from 0 to 1, and what it is doing.
        driver: makes the load.
    """

    server: str
    port: int | None
    profile: str
    seed: int
    directory: Path
    clock: Clock
    progress: Callable[[float, str], None]
    driver: Driver = OwnProcesses()


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
        # What can be looked at, and done by hand, while the scenario runs; None where it has no such thing.
        self.origin_ns: int | None = None
        self.progress: Callable[[], Any] | None = None
        self.account: Callable[[], Account] | None = None
        self.nemesis: Nemesis | None = None

    def figure(self, name: str, value: float | None, unit: str) -> None:
        """Add a figure; its name gets the scenario's in front."""
        self.figures.append(Figure(name=f"{self.prefix}.{name}", value=value, unit=unit))

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
        self.slowest += [msgspec.structs.replace(slow, due_ns=slow.due_ns + offset_ns) for slow in result.slowest]
        log = LatencyLog(shifted)
        dot = f"{name}." if name else ""
        wall_s = result.wall_ns / 1e9
        self.figure(f"{dot}offered_per_s", result.arrivals / wall_s, "1/s")
        self.figure(f"{dot}achieved_per_s", result.ok / wall_s, "1/s")
        for count in ("ok", "failed", "unknown", "dropped"):
            self.figure(f"{dot}{count}", getattr(result, count), "events")
        for kind in KINDS:
            self._quantiles(f"{dot}{kind}", total_of(log, operation, kind))
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
            self.verdicts.append(checking.workers_reported(f"{self.prefix}.{dot}workers", result.workers))
        for each in operations_below(log, operation):
            part = each.removeprefix(f"{operation}.")
            self.figure(f"{dot}{part}.answered", log.total(f"{each}.response").total, "events")
            for kind in ("response", "service"):
                self._quantiles(f"{dot}{part}.{kind}", log.total(f"{each}.{kind}"))
        return log

    def _quantiles(self, name: str, histogram: Histogram) -> None:
        values = histogram.quantiles_us(list(QUANTILES.values()))
        for label, value in zip(QUANTILES, values, strict=True):
            self.figure(f"{name}.{label}", value, "µs")


def answered(name: str, result: PumpResult) -> Verdict:
    """The verdict on whether every operation of a load got an answer, and a good one."""
    return checking.all_answered(
        name,
        arrivals=result.arrivals,
        ok=result.ok,
        failed=result.failed,
        unknown=result.unknown,
        dropped=result.dropped,
        unseen=result.unseen,
    )


def operations_below(log: LatencyLog, operation: str) -> list[str]:
    """The operations that are part of another, as `journey.browse` is of `journey`."""
    recorded = {tag.rpartition(".")[0] for tag in log.tags}
    return sorted(each for each in recorded if each.startswith(f"{operation}."))


def total_of(log: LatencyLog, operation: str, kind: str) -> Histogram:
    """All values of a kind of an operation and of those below it."""
    whole = Histogram()
    for each in (operation, *operations_below(log, operation)):
        whole.add(log.total(f"{each}.{kind}"))
    return whole


class Scenario(Protocol):
    """Something that can be run and measured."""

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
        """Run and measure; what is found goes into `findings` as soon as it is known."""
        ...


class LoadScenario(Scenario, Protocol):
    """A scenario whose load somebody else may drive, for a time that they choose."""

    def lasting(self, parameters: Any, duration_s: float, server: str) -> msgspec.Struct:
        """The parameters with which its load on a server takes some seconds.

        Raises:
            ParameterError: it cannot last that long.
        """
        ...


def parameters_of(scenario: Scenario, profile: str, given: Mapping[str, str]) -> msgspec.Struct:
    """The parameters of a scenario: its profile's, with those that were given in their place.

    Raises:
        ParameterError: one that does not exist, has the wrong type, or is out of range.
    """
    known = {field.name for field in msgspec.structs.fields(scenario.parameters)}
    for name in given:
        if name not in known:
            raise ParameterError(f"{scenario.name} has no parameter {name!r}; it has {', '.join(sorted(known))}")
    chosen: dict[str, Any] = {**scenario.profiles.get(profile, {}), **given}
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


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into an `Interrupted`, and ignore more of them while that is handled."""

    def interrupt(number: int, _: object) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            # Not SIG_IGN: a service that is started to heal a fault would inherit it, and could not be stopped.
            signal.signal(name, lambda *_: None)
        raise Interrupted(signal.Signals(number).name)

    before = {name: signal.signal(name, interrupt) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def conduct(
    scenario: Scenario,
    parameters: msgspec.Struct,
    stage: Stage,
    *,
    command: Sequence[str],
    findings: Findings | None = None,
) -> tuple[Record, BaseException | None]:
    """Run a scenario and leave its record in the stage's directory.

    Args:
        findings: empty ones, for who wants to look at them meanwhile.

    Returns:
        The record; and what ended the run early, or None.

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
        parameters={"profile": stage.profile, **msgspec.to_builtins(parameters)},
        environment={"host": describe_host(), "server": {}},
        figures=[],
        verdicts=[],
    )
    ended: BaseException | None = None
    status, reason = "failed", ""
    try:
        run.save(stage.directory, begun)
        scenario.run(stage, parameters, findings)
        status = "complete"
    except Interrupted as error:
        ended, status, reason = error, "interrupted", f"interrupted by {error}"
    except (ServerError, PumpError, ScenarioError) as error:
        ended, reason = error, str(error)
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        if status != "complete":
            verdict = Verdict(name=f"{scenario.name}.finished", status="UNKNOWN", detail=reason)
            findings.verdicts.append(verdict)
        finished = msgspec.structs.replace(
            begun,
            status=status,
            duration_s=round((stage.clock.now_ns() - origin_ns) / 1e9, 3),
            environment={**begun.environment, "server": findings.server, "load": findings.load},
            figures=findings.figures,
            verdicts=findings.verdicts,
            headline=findings.headline,
            reason=reason,
        )
        run.save_measurements(
            stage.directory, findings.intervals, findings.history, findings.slowest, started_epoch_s=epoch_s
        )
        run.save(stage.directory, finished)
    return run.load(stage.directory), ended


def conduct_suite(
    chosen: Sequence[tuple[Scenario, msgspec.Struct]],
    stage_for: Callable[[Scenario, Path], Stage],
    directory: Path,
    *,
    clock: Clock,
    command: Sequence[str],
    profile: str,
    seed: int,
) -> tuple[Record, BaseException | None]:
    """Run several scenarios one after the other, each in a directory below the suite's.

    The suite's record is written anew after each, because a later one may fail. It ends with the first that is
    interrupted or cannot be carried out.
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
    run.save(directory, suite)
    ended: BaseException | None = None
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
            run.save(directory, suite)
        if ended is not None:
            break
    else:
        suite = msgspec.structs.replace(suite, status="complete", headline=_suite_headline(suite))
    run.save(directory, suite)
    return run.load(directory), ended


def _suite_headline(suite: Run) -> str:
    passed = sum(verdict.status == "PASS" for verdict in suite.verdicts)
    return f"{passed} of {len(suite.verdicts)} verdicts pass, in {len(suite.members)} scenarios."
