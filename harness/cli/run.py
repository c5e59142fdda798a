"""`shopbench run`: scenarios, their records and their reports."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

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
    NamesArgument,
    ParamOption,
    PlanOption,
    ProbeOption,
    ProfileOption,
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
    check_profile,
    chosen,
    given_parameters,
    taking,
    with_plan,
)
from harness.cli.plan import check_server, plan_of
from harness.cli.recorded import budgets_of, check_history, command_line, conclude, held_to, new_directory
from harness.cli.shown import Shown, say, warn
from harness.conduct.conduct import conduct
from harness.conduct.interrupt import interruptible
from harness.conduct.repeating import measured_again
from harness.conduct.scenario import Scenario, Stage, parameters_of
from harness.conduct.suite import conduct_suite
from harness.host.clock import Clock, SystemClock
from harness.host.placement import Plan, placed
from harness.load.driver import OwnProcesses
from harness.load.settings import SPIN_SHARE
from harness.record.run import Record
from harness.server.named import server_named
from harness.server.open import kind_of
from harness.server.url import ServerUrl, without_secrets
from harness.system.port import SystemUnderTest

Chosen = tuple[Scenario, msgspec.Struct]
Ended = tuple[Record, BaseException | None]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    names: NamesArgument = None
    server: ServerOption = None
    server_file: ServerFileOption = None
    profile: ProfileOption = "quick"
    param: ParamOption = None
    plan: PlanOption = None
    seed: SeedOption = 1
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the server that the run starts.")] = (
        None
    )
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
    repeat: Annotated[
        bool,
        typer.Option(
            "--repeat/--no-repeat",
            help="If the instrument fell behind in a part, measure that part once more at the end. Both are kept.",
        ),
    ] = True
    undecided_is_0: Annotated[
        bool,
        typer.Option(
            "--undecided-is-0",
            help="End with 0 instead of 3 if no verdict is FAIL and a verdict is UNKNOWN.",
        ),
    ] = False
    runs: RunsOption = Path("runs")
    dry_run: DryRunOption = False


@taking(Asked)
def run_command(asked: Asked) -> int:
    """Run scenarios, and write their record and report."""
    plan = asked_cores(asked.cores)
    scenarios = chosen(asked.names or [])
    check_profile(asked.profile, scenarios)
    which = server_named(asked.server, asked.server_file, os.environ)
    if not asked.names and "kill" not in kind_of(which).can:
        scenarios = _without_own_server(scenarios)
    given = with_plan(given_parameters(asked.param or []), asked.plan, scenarios)
    if given and len(scenarios) > 1:
        raise UsageError("-p sets a parameter of one scenario: name exactly one scenario")
    with_parameters = [(scenario, parameters_of(scenario, asked.profile, given)) for scenario in scenarios]
    system = asked_system(asked, scenarios)
    limits = budgets_of(asked.budget)
    check_history(asked.history)
    clock = SystemClock()
    if isinstance(which, ServerUrl):
        for told in before_run(which, with_parameters, clock):
            warn(told)
    if asked.dry_run:
        check_server(which, with_parameters, clock)
        for line in plan_of(with_parameters, _how(asked, which)):
            say(line)
        return EXIT_PASS
    record, ended = _carried_out(asked, with_parameters, which, system, plan, clock)
    return conclude(held_to(record, limits), ended, history=asked.history, undecided_is_0=asked.undecided_is_0)


def _without_own_server(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Those that run at a URL: the others do to a server what nobody does to somebody else's, and are named."""
    left_out = [each.name for each in scenarios if getattr(each, "wants_own_server", False)]
    say(f"these scenarios need a server of their own, and do not run at a URL: {', '.join(left_out)}")
    return [each for each in scenarios if each.name not in left_out]


def _how(asked: Asked, which: ServerUrl | str) -> dict[str, str]:
    return {
        "profile": asked.profile,
        "seed": str(asked.seed),
        "server": str(which),
        "consumer": " ".join(map(without_secrets, (asked.consumer or "").split())),
        "cores": asked.cores,
        "runs": str(asked.runs),
        "budget": str(asked.budget or ""),
        "history": str(asked.history or ""),
    }


def _carried_out(
    asked: Asked,
    scenarios: Sequence[Chosen],
    which: ServerUrl | str,
    system: SystemUnderTest | None,
    plan: Plan,
    clock: Clock,
) -> Ended:
    """The record of one scenario, or of all as a suite, and what ended it before its time."""
    label = scenarios[0][0].name if len(scenarios) == 1 else "suite"
    directory = new_directory(asked.runs, label, clock)
    command = command_line()
    with Shown(len(scenarios)) as shown, interruptible(), placed(plan) as pump_cores:
        driver = OwnProcesses(asked.spin, pump_cores)

        def stage_for(scenario: Scenario, where: Path) -> Stage:
            where.mkdir(parents=True, exist_ok=True)
            return Stage(
                server=which,
                port=asked.port,
                profile=asked.profile,
                seed=asked.seed,
                directory=where,
                clock=clock,
                progress=shown.begin(scenario.name),
                driver=driver,
                cores=asked.cores,
                spin_share=asked.spin,
                system=system,
            )

        def once_more(scenario: Scenario, parameters: msgspec.Struct, record: Record) -> Ended:
            return measured_again(
                scenario, parameters, record, lambda where: stage_for(scenario, where), command=command
            )

        if len(scenarios) > 1:
            return conduct_suite(
                scenarios,
                stage_for,
                directory,
                clock=clock,
                command=command,
                profile=asked.profile,
                seed=asked.seed,
                once_more=once_more if asked.repeat else None,
            )
        [(scenario, parameters)] = scenarios
        record, ended = conduct(scenario, parameters, stage_for(scenario, directory), command=command)
        if asked.repeat and ended is None:
            return once_more(scenario, parameters, record)
        return record, ended
