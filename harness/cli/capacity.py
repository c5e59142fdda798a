"""`shopbench capacity`: how many operations a second can there be, within budgets?"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from harness.check.checkers import EXIT_PASS
from harness.cli.doctor import before_run
from harness.cli.options import (
    BudgetOption,
    ConsumerOption,
    CoresOption,
    DryRunOption,
    HistoryOption,
    ParamOption,
    ProbeOption,
    PromiseOption,
    RestartOption,
    RunsOption,
    SeedOption,
    ServerFileOption,
    ServerOption,
    ShapeOption,
    SpinOption,
    SystemOption,
    UsageError,
    asked_cores,
    asked_system,
    catalog,
    chosen,
    completed,
    given_parameters,
    taking,
)
from harness.cli.plan import check_server, plan_of
from harness.cli.recorded import budgets_of, check_history, command_line, conclude, held_to, new_directory
from harness.cli.shown import say, warn
from harness.conduct.scenario import ParameterError, ProbedScenario, Scenario, Stage, parameters_of
from harness.host.clock import Clock, SystemClock
from harness.load.settings import SPIN_SHARE
from harness.server.named import server_named
from harness.server.url import ServerUrl, without_secrets
from harness.system.port import SystemUnderTest

# What a search chooses itself, of each scenario: it is named where somebody gives it.
_STEADY = "steady"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    scenario: Annotated[
        str,
        typer.Argument(
            help="What is put at one rate after the other: append, mix, lag or journey.", autocompletion=completed
        ),
    ]
    p50: Annotated[
        str | None, typer.Option("--p50", help="Budget on the median of the response, such as 1ms.")
    ] = None
    p90: Annotated[str | None, typer.Option("--p90", help="Budget on p90 of the response.")] = None
    p99: Annotated[str | None, typer.Option("--p99", help="Budget on p99 of the response, such as 5ms.")] = None
    p99_9: Annotated[str | None, typer.Option("--p99.9", help="Budget on p99.9 of the response.")] = None
    lag: Annotated[
        str | None, typer.Option("--lag", help="Budget on how long an event waits for its effect, such as 1s.")
    ] = None
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="Minutes that the search may take.")] = 3
    precision: Annotated[
        str, typer.Option(help="By how much the lowest rate that fails may be above the highest that passes.")
    ] = "5%"
    seconds: Annotated[
        float,
        typer.Option(
            min=5, max=3600, help="Seconds that a probe is judged for on the way; at the edge twice as many."
        ),
    ] = 5
    param: ParamOption = None
    server: ServerOption = None
    server_file: ServerFileOption = None
    seed: SeedOption = 1
    system: SystemOption = None
    consumer: ConsumerOption = None
    promise: PromiseOption = ""
    shape: ShapeOption = None
    probe: ProbeOption = ""
    restart: RestartOption = ""
    budget: BudgetOption = None
    history: HistoryOption = None
    cores: CoresOption = "all"
    spin: SpinOption = SPIN_SHARE
    runs: RunsOption = Path("runs")
    dry_run: DryRunOption = False


@taking(Asked)
def capacity_command(asked: Asked) -> int:
    """Find the highest rate at which latencies and lag keep to budgets, and the lowest at which they do not."""
    from harness.capacity.capacity import parameters_for
    from harness.capacity.limits import BeyondError, check_budgets, check_rate

    clock = SystemClock()
    scenario = _scenario_of(asked.scenario)
    budgets = _budgets_of(asked, scenario)
    load = _load_of(asked, scenario)
    start_per_s = getattr(load, scenario.probing.rate)
    parameters = parameters_for(
        scenario.name,
        budgets,
        start_per_s=start_per_s,
        limit_s=asked.minutes * 60,
        precision=_share(asked.precision),
        probe_s=asked.seconds,
        long_probe_s=2 * asked.seconds,
    )
    which = server_named(asked.server, asked.server_file, os.environ)
    asked_cores(asked.cores)
    system = asked_system(asked, [scenario])
    limits = budgets_of(asked.budget)
    check_history(asked.history)
    if isinstance(which, ServerUrl):
        for told in before_run(which, [(scenario, load)], clock):
            warn(told)
    if asked.dry_run:
        check_server(which, [(scenario, load)], clock)
        for line in plan_of([(scenario, load)], _how(asked, which, parameters)):
            say(line)
        return EXIT_PASS
    try:
        check_rate(start_per_s, clock)
        if not getattr(load, "gateway", ""):
            check_budgets(budgets, which, clock)
    except BeyondError as error:
        raise UsageError(str(error)) from error
    record, ended = _carried_out(asked, scenario, load, parameters, which, system, clock)
    return conclude(held_to(record, limits), ended, history=asked.history)


# What is asked ---------------------------------------------------------------------------------------------------


def _scenario_of(name: str) -> Any:
    """The scenario of a name, if it can be put at a rate.

    Raises:
        UsageError: there is none, or it cannot.
    """
    [scenario] = chosen([name])
    if not hasattr(scenario, "probing"):
        able = [each.name for each in catalog().values() if hasattr(each, "probing")]
        raise UsageError(f"capacity is for {', '.join(able)}, and not for {name}: it has no one load at one rate")
    return scenario


def _budgets_of(asked: Asked, scenario: ProbedScenario) -> list[Any]:
    """The budgets that have to be kept.

    Raises:
        UsageError: none, one that is no duration, or one on what the scenario does not measure.
    """
    from harness.capacity.budget import LAG
    from harness.capacity.budget import budgets_of as latency_budgets_of

    given = {"p50": asked.p50, "p90": asked.p90, "p99": asked.p99, "p99.9": asked.p99_9, LAG: asked.lag}
    try:
        found = latency_budgets_of(given)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not found:
        raise UsageError("say what has to be kept, such as --p99 5ms: without a budget every rate would do")
    if asked.lag is not None and not scenario.probing.has_lag:
        able = [
            each.name for each in catalog().values() if getattr(getattr(each, "probing", None), "has_lag", False)
        ]
        raise UsageError(f"--lag: {scenario.name} measures no lag; {' and '.join(able)} do")
    return found


def _load_of(asked: Asked, scenario: Any) -> msgspec.Struct:
    """The parameters of the load.

    Raises:
        UsageError: one that the search chooses itself.
        ParameterError: one that cannot be, or a load that is not one steady one.
    """
    from harness.capacity.probing import chosen_by_search

    given = given_parameters(asked.param or [])
    load = parameters_of(scenario, "quick", {**scenario.probing.chosen, **given})
    if given.get("shape", _STEADY) != _STEADY:
        raise ParameterError(f"{scenario.name}: the rate is steady here: `shape` cannot be `{given['shape']}`")
    for name in chosen_by_search(scenario, load):
        if name in given and name not in {scenario.probing.rate, "shape"}:
            raise UsageError(f"{name} is the search's to choose: --seconds says how long a probe is judged for")
    return load


def _share(text: str) -> float:
    """A share such as 5% or 0.05.

    Raises:
        UsageError: it is none, or none that a search can have.
    """
    number = text.strip()
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0.005 <= share <= 0.5:
        raise UsageError(f"--precision is a share from 0.5% to 50%, such as 5%, not {text!r}")
    return share


def _how(asked: Asked, which: ServerUrl | str, parameters: msgspec.Struct) -> dict[str, str]:
    told = {name: f"{value}" for name, value in msgspec.to_builtins(parameters).items() if value is not None}
    return {
        **told,
        "seed": str(asked.seed),
        "server": str(which),
        "consumer": " ".join(map(without_secrets, (asked.consumer or "").split())),
        "cores": asked.cores,
        "runs": str(asked.runs),
        "budget": str(asked.budget or ""),
        "history": str(asked.history or ""),
    }


# What is done ----------------------------------------------------------------------------------------------------


def _carried_out(
    asked: Asked,
    scenario: ProbedScenario,
    load: msgspec.Struct,
    parameters: Any,
    which: ServerUrl | str,
    system: SystemUnderTest | None,
    clock: Clock,
) -> tuple[Any, BaseException | None]:
    """The record of a search, and what ended it before its time."""
    from harness.capacity.capacity import CapacitySearch
    from harness.capacity.probing import probed_parameters
    from harness.cli.curve import Curve
    from harness.conduct.conduct import conduct
    from harness.conduct.interrupt import interruptible
    from harness.host.placement import placed
    from harness.load.driver import OwnProcesses

    directory = new_directory(asked.runs, CapacitySearch.name, clock)
    words = _words(asked)
    curve = Curve(scenario.name, parameters.budgets, parameters.limit_s, clock)
    with curve, interruptible(), placed(asked_cores(asked.cores)) as pump_cores:
        stage = Stage(
            server=which,
            port=None,
            profile="quick",
            seed=asked.seed,
            directory=directory,
            clock=clock,
            progress=curve.probing,
            driver=OwnProcesses(asked.spin, pump_cores),
            cores=asked.cores,
            spin_share=asked.spin,
            system=system,
        )
        search = CapacitySearch(
            scenario,
            load,
            command_of=lambda probed, chosen: [*command_of_run(probed, chosen), *words],
            most_per_s=_most_per_s(scenario),
            show=curve.show,
        )
        record, ended = conduct(
            search, parameters, stage, command=command_line(), also=probed_parameters(scenario, load)
        )
    report_probes(directory)
    return record, ended


def _most_per_s(scenario: ProbedScenario) -> float:
    """The highest rate that the scenario takes."""
    from harness.record.parameters import described

    high = described(scenario.parameters)[scenario.probing.rate].high
    return math.inf if high is None else high


def _words(asked: Asked) -> list[str]:
    """What of this command line a probe by itself would want as well."""
    given = {
        "--server": asked.server,
        "--server-file": asked.server_file,
        "--system": asked.system,
        "--consumer": asked.consumer,
        "--promise": asked.promise,
        "--shape": asked.shape,
        "--probe": asked.probe,
        "--restart": asked.restart,
        "--cores": "" if asked.cores == "all" else asked.cores,
    }
    return [word for name, value in given.items() if value for word in (name, without_secrets(str(value)))]


def command_of_run(scenario: Scenario, parameters: msgspec.Struct) -> Sequence[str]:
    """The command that makes a probe by itself: its parameters, but for those that are the defaults."""
    usual = msgspec.to_builtins(parameters_of(scenario, "quick", {}))
    chosen = msgspec.to_builtins(parameters)
    given = [f"{name}={value}" for name, value in chosen.items() if usual[name] != value]
    return ["shopbench", "run", scenario.name, *(word for each in given for word in ("-p", each))]


def report_probes(directory: Path) -> None:
    """Write the report of each probe, whose page the search's leads to."""
    from harness.capacity.probing import PROBES
    from harness.record.run import load
    from reports import write_reports

    for path in sorted((directory / PROBES).glob("*/run.json")):
        write_reports(load(path.parent), path.parent)
