"""The command line: `shopbench run | list | report | compare | index | web | gate | history | selfcheck`.

    shopbench run                        every scenario, on an embedded server, then a report
    shopbench run append --server redis://127.0.0.1:6379/15 --param rate_per_s=5000
    shopbench list                       scenarios, their parameters and their profiles
    shopbench report runs/20261123-141502-append
    shopbench compare runs/20261123-141502-append runs/20261124-090114-append
    shopbench index runs
    shopbench web lag                    server, shop and Locust's web UI: start runs, watch them, kill the CRM
    shopbench gate --baseline main       is the work tree slower than that revision?
    shopbench doctor --server URL        what does that server allow, and what would a run there lack?
    shopbench selfcheck                  does the instrument tell the truth on this machine?
    shopbench history runs.jsonl append  the figures of many runs, as CSV
    shopbench selfcheck --gate           how often is the gate wrong?

Exit codes:

    0   every verdict passes
    1   a verdict fails
    2   usage or infrastructure
    3   the measurement is not valid
"""

from __future__ import annotations

import datetime as dt
import math
import os
import secrets
import socket
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import harness
from harness.check import budgets
from harness.check import checkers as checking
from harness.cli.doctor import UnfitError, before_run, doctor_command
from harness.cli.plan import check_server, plan_of
from harness.conduct.conduct import (
    Interrupted,
    LoadScenario,
    ParameterError,
    Scenario,
    Stage,
    conduct,
    conduct_suite,
    heed_ctrl_c,
    interruptible,
    parameters_of,
)
from harness.conduct.repeating import measured_again
from harness.gate.revisions import WorktreeError
from harness.host.clock import Clock, SystemClock
from harness.host.cores import Cores
from harness.host.own_python import own_environment
from harness.host.placement import PLANS, Plan, placed
from harness.load.driver import OwnProcesses
from harness.load.settings import SPIN_SHARE, SPIN_VARIABLE
from harness.record import run
from harness.record.alive import settled
from harness.record.parameters import nearest
from harness.record.run import Record, RunError
from harness.server.named import VARIABLE, environment_for, is_url, server_named
from harness.server.servers import Durability
from harness.server.url import ServerUrl, UrlError, without_secrets

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
_OUR_TARGET = "scenarios.gate_target:ordershop"
ServerOption = Annotated[
    str | None,
    typer.Option(
        help=f"embedded, a server program, or a redis:// URL. Default: the value of {VARIABLE}, or embedded."
    ),
]
ServerFileOption = Annotated[
    Path | None,
    typer.Option(
        help="A file that holds that URL. Use it for a password, since every user can read a command line."
    ),
]
out = Console()
err = Console(stderr=True)
# Where progress is not shown on a terminal it is told so often.
TELL_EACH_NS = 5_000_000_000
# By its version typer uses click, or brings a copy of it: the base of all that a command line can be wrong in.
_ClickError: type[Any] = typer.BadParameter.__bases__[0].__bases__[0]


class UsageError(Exception):
    """Something on the command line that cannot be; its text is one clear line."""


def _plan_of_cores(name: str) -> Plan:
    for plan in PLANS:
        if plan == name:
            return plan
    raise UsageError(f"there is no plan {name!r} for cores; there are {', '.join(PLANS)}")


def _catalog() -> dict[str, Scenario]:
    from scenarios.catalog import SCENARIOS

    return SCENARIOS


def _chosen(names: Sequence[str]) -> list[Scenario]:
    catalog = _catalog()
    for name in names:
        if name not in catalog:
            raise UsageError(f"there is no scenario {name!r}; {_there_are(name, catalog)}")
    return [catalog[name] for name in dict.fromkeys(names or catalog)]


def _there_are(name: str, names: Collection[str]) -> str:
    """Which there are, the one that was meant in front as far as it can be guessed."""
    near = nearest(name, names)
    return f"{f'did you mean {near}? ' if near else ''}there are {', '.join(names)}"


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        out.print(f"shopbench {harness.__version__}", markup=False, highlight=False)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Measure event stores on Redis Streams: append, replay, lag, recovery; and account for every event."""


def _completed(incomplete: str) -> list[str]:
    """The scenarios that a shell may complete a word to."""
    return [name for name in _catalog() if name.startswith(incomplete)]


def _given(parameters: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in parameters]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise UsageError(f"a parameter is given as NAME=VALUE, not {name!r}")
    return {name: value for name, _, value in pairs}


@app.command("run")
def run_command(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of scenarios. Default: all of them.", autocompletion=_completed),
    ] = None,
    server: ServerOption = None,
    server_file: ServerFileOption = None,
    profile: Annotated[
        str, typer.Option(help="Length and size of the run: smoke, quick, standard or full.")
    ] = "quick",
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="NAME=VALUE: sets a parameter. May be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn at random.")] = 1,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the server that the run starts.")
    ] = None,
    budget: Annotated[Path | None, typer.Option(help="A file of limits, such as slo.toml.")] = None,
    history: Annotated[Path | None, typer.Option(help="Append the figures of the run to this file.")] = None,
    cores: Annotated[
        str, typer.Option(help="Which cores the load, the server and the rest may use: all, one or apart.")
    ] = "all",
    spin: Annotated[
        float,
        typer.Option(
            min=0, max=1, envvar=SPIN_VARIABLE, help="Share of a core that the load may spend on waiting awake."
        ),
    ] = SPIN_SHARE,
    repeat: Annotated[
        bool,
        typer.Option(
            "--repeat/--no-repeat",
            help="If the instrument fell behind in a part, measure that part once more at the end. Both are kept.",
        ),
    ] = True,
    undecided_is_0: Annotated[
        bool,
        typer.Option(
            "--undecided-is-0",
            help="End with 0 instead of 3 if no verdict is FAIL and a verdict is UNKNOWN.",
        ),
    ] = False,
    runs: Annotated[Path, typer.Option(help="Directory in which run directories are made.")] = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, start and write nothing.")
    ] = False,
) -> int:
    """Run scenarios, and write their record and report."""
    from scenarios.catalog import PROFILES

    if profile not in PROFILES:
        raise UsageError(f"there is no profile {profile!r}; {_there_are(profile, PROFILES)}")
    plan = _plan_of_cores(cores)
    scenarios = _chosen(names or [])
    which = server_named(server, server_file, os.environ)
    if not names and is_url(which):
        # They do to a server what nobody does to somebody else's; who names one is told so.
        left_out = [each.name for each in scenarios if getattr(each, "wants_own_server", False)]
        scenarios = [each for each in scenarios if each.name not in left_out]
        out.print(
            f"these scenarios need a server of their own, and do not run at a URL: {', '.join(left_out)}",
            markup=False,
            highlight=False,
        )
    given = _given(param or [])
    if given and len(scenarios) > 1:
        raise UsageError("-p sets a parameter of one scenario: name exactly one scenario")
    chosen = [(scenario, parameters_of(scenario, profile, given)) for scenario in scenarios]
    limits = _budgets(budget)
    _check_history(history)
    clock = SystemClock()
    if isinstance(which, ServerUrl):
        for told in before_run(which, chosen, clock):
            err.print(told, markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        check_server(which, chosen, clock)
        how = {"profile": profile, "seed": str(seed), "server": str(which), "cores": cores, "runs": str(runs)}
        for line in plan_of(chosen, {**how, "budget": str(budget or ""), "history": str(history or "")}):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        return checking.EXIT_PASS
    label = scenarios[0].name if len(scenarios) == 1 else "suite"
    now = dt.datetime.fromtimestamp(clock.epoch_s(), dt.UTC)
    directory = run.new_directory(runs, label, now)
    command = ["shopbench", *(without_secrets(word) for word in sys.argv[1:])]
    with _Shown(len(scenarios)) as shown, interruptible(), placed(plan) as pump_cores:
        driver = OwnProcesses(spin, pump_cores)

        def stage_for(scenario: Scenario, where: Path) -> Stage:
            where.mkdir(parents=True, exist_ok=True)
            return Stage(
                server=which,
                port=port,
                profile=profile,
                seed=seed,
                directory=where,
                clock=clock,
                progress=shown.begin(scenario.name),
                driver=driver,
                cores=cores,
                spin_share=spin,
            )

        def once_more(
            scenario: Scenario, parameters: msgspec.Struct, record: Record
        ) -> tuple[Record, BaseException | None]:
            return measured_again(
                scenario, parameters, record, lambda where: stage_for(scenario, where), command=command
            )

        if len(chosen) == 1:
            scenario, parameters = chosen[0]
            record, ended = conduct(scenario, parameters, stage_for(scenario, directory), command=command)
            if repeat and ended is None:
                record, ended = once_more(scenario, parameters, record)
        else:
            record, ended = conduct_suite(
                chosen,
                stage_for,
                directory,
                clock=clock,
                command=command,
                profile=profile,
                seed=seed,
                once_more=once_more if repeat else None,
            )
    return _conclude(_held_to(record, limits), ended, history=history, undecided_is_0=undecided_is_0)


def _check_history(history: Path | None) -> None:
    """Say what is wrong with a history before anything is measured."""
    from harness.check.trend import read_entries

    if history is not None and history.exists():
        read_entries(history)


def _budgets(path: Path | None) -> list[budgets.Budget] | None:
    return None if path is None else budgets.read_budgets(path, _offers())


def _offers() -> dict[str, budgets.Offer]:
    from harness.gate.loop import Gate, GateParameters

    found = {
        name: budgets.Offer(each.parameters, getattr(each, "figures", ())) for name, each in _catalog().items()
    }
    return {**found, "gate": budgets.Offer(GateParameters, Gate.figures)}


def _held_to(record: Record, limits: list[budgets.Budget] | None) -> Record:
    """A record with the verdicts of its budgets; a suite has them besides its members'."""
    if limits is None:
        return record
    members = record.members()
    found = budgets.budget_verdicts(limits, [each.run for each in members or [record]])
    passed = sum(verdict.status == "PASS" for verdict in found)
    held = msgspec.structs.replace(record.run, verdicts=[*record.run.verdicts, *found])
    if members and held.headline:
        told = f"{held.headline} {passed} of {len(found)} budgets are kept."
        held = msgspec.structs.replace(held, headline=told)
    run.save(record.directory, held)
    return run.load(record.directory)


def _remember(record: Record, history: Path) -> None:
    """Append what has come to its end to the history."""
    from harness.check.trend import append_entry, entry_of
    from reports.differences import question, server_of

    for each in record.members() or [record]:
        if each.run.status == "complete":
            about = entry_of(each.run, question=dict(question(each.run)), server=server_of(each.run))
            append_entry(history, about)


def _conclude(
    record: Record,
    ended: BaseException | None,
    *,
    history: Path | None = None,
    as_json: bool = False,
    undecided_is_0: bool = False,
) -> int:
    from harness.check.trend import read_entries
    from reports.index import refresh_index

    _report(record, as_json=as_json)
    if history is not None:
        _remember(record, history)
    refresh_index(record.directory.parent, read_entries(history) if history and history.exists() else ())
    if ended is None:
        code = checking.exit_code(record.run.verdicts)
        is_undecided = code == checking.EXIT_INVALID and bool(record.run.verdicts)
        return checking.EXIT_PASS if is_undecided and undecided_is_0 else code
    if isinstance(ended, Interrupted):
        return checking.EXIT_INVALID
    err.print(f"shopbench: {ended}", markup=False, highlight=False, soft_wrap=True)
    return checking.EXIT_USAGE


def _report(record: Record, *, as_json: bool = False) -> None:
    from reports import write_reports
    from reports.conclusion import conclusion
    from reports.summaries import terminal

    try:
        for member in record.members():
            write_reports(member, member.directory)
        path = write_reports(record, record.directory)
    except OSError as error:
        raise RunError(f"{record.directory}: the report cannot be written ({error.strerror})") from error
    if as_json:
        sys.stdout.write((record.directory / "run.json").read_text())
        return
    out.print(terminal(record))
    out.print(conclusion(record, path) or str(path), markup=False, highlight=False, soft_wrap=True)


@app.command("history")
def history_command(
    file: Annotated[Path, typer.Argument(help="The file that --history has appended to.")],
    name: Annotated[str, typer.Argument(help="Name of a scenario, or gate.")],
) -> int:
    """Print the history of a scenario as CSV, one row a run, for a spreadsheet or another program."""
    from harness.check.trend import as_csv, read_entries

    sys.stdout.write(as_csv(read_entries(file), name))
    return checking.EXIT_PASS


@app.command("gate")
def gate_command(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    baseline: Annotated[str, typer.Option(help="The revision to compare with. The candidate is the work tree.")],
    target: Annotated[
        str, typer.Option(help="The event store to measure, as package.module:factory.")
    ] = _OUR_TARGET,
    package: Annotated[
        list[str] | None,
        typer.Option(help="A package that comes from each side's source. Default: the target's own."),
    ] = None,
    micro: Annotated[
        Path | None, typer.Option(help="A pytest-benchmark file to gate instead of a target.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="Minutes that the gate may take.")] = 5,
    relevant: Annotated[
        list[str] | None,
        typer.Option(help="METRIC=SIZE: from which slowdown on a metric fails, such as append.p50=10%."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric that counts. May be repeated. Default: all of them.")
    ] = None,
    server: Annotated[str, typer.Option(help="embedded, or a server program.")] = "embedded",
    durability: Annotated[str, typer.Option(help="Durability of the servers: none, everysec or always.")] = "none",
    cores: Annotated[
        str,
        typer.Option(
            help="one: each round runs on one core, if the system lets us choose. all: the system decides."
        ),
    ] = "one",
    allow_dirty: Annotated[bool, typer.Option("--allow-dirty", help="Measure uncommitted changes, too.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the coin that decides which side is first. Default: drawn at random."),
    ] = None,
    budget: Annotated[Path | None, typer.Option(help="A file of limits, such as slo.toml.")] = None,
    history: Annotated[Path | None, typer.Option(help="Append the figures of the run to this file.")] = None,
    runs: Annotated[Path, typer.Option(help="Directory in which run directories are made.")] = Path("runs"),
) -> int:
    """Compare the work tree with a baseline revision. Fail for a slowdown that is real and relevant."""
    from harness.cli.gate import GateOptions, prepared, sizes

    if durability not in {"none", "everysec", "always"}:
        raise UsageError(f"there is no durability {durability!r}; there are none, everysec and always")
    if cores not in {"one", "all"}:
        raise UsageError(f"--cores of a gate is one or all, not {cores!r}")
    if is_url(server):
        raise UsageError("a gate starts a server for each side: give it a server program, not a URL")
    if micro is not None:
        _check_micro(
            micro,
            {
                "--target": target != _OUR_TARGET,
                "--server": server != "embedded",
                "--durability": durability != "none",
            },
        )
    if not math.isfinite(minutes):
        raise UsageError("--minutes must be a finite number")
    own = ["ordershop"] if target == _OUR_TARGET else [target.partition(":")[0].partition(".")[0]]
    options = GateOptions(
        baseline=baseline,
        target=target,
        packages=tuple(package or own),
        micro=micro,
        minutes=minutes,
        relevant=sizes(relevant or []),
        metrics=tuple(metric or ()),
        durability=cast("Durability", durability),
        cores=cast("Cores", cores),
        allow_dirty=allow_dirty,
    )
    limits = _budgets(budget)
    _check_history(history)
    clock = SystemClock()
    try:
        with _Shown(1) as shown, interruptible(), prepared(options, Path.cwd()) as (gate, parameters):
            directory = run.new_directory(runs, gate.name, dt.datetime.fromtimestamp(clock.epoch_s(), dt.UTC))
            stage = Stage(
                server=server,
                port=None,
                profile="quick",
                # A coin that always falls in the same way is none. What was drawn stands in the record.
                seed=secrets.randbits(32) if seed is None else seed,
                directory=directory,
                clock=clock,
                progress=shown.begin(gate.name),
            )
            record, ended = conduct(gate, parameters, stage, command=["shopbench", *sys.argv[1:]])
    except Interrupted as error:
        raise UsageError(f"the gate was interrupted by {error}") from error
    record = _held_to(record, limits)
    code = _conclude(record, None if isinstance(ended, Interrupted) else ended, history=history)
    if isinstance(ended, Interrupted):
        raise UsageError(f"the gate was interrupted by {ended}")
    return code


def _check_micro(micro: Path, given: Mapping[str, bool]) -> None:
    if not micro.is_file():
        raise UsageError(f"{micro}: there is no such file")
    for option, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{option} does not go with --micro: micro-benchmarks have no target, and start no server of ours"
            )


@app.command("selfcheck")
def selfcheck_command(
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON, and nothing else.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the scripted delays.")] = 1,
    runs: Annotated[Path, typer.Option(help="Directory in which run directories are made.")] = Path("runs"),
    gate: Annotated[
        bool, typer.Option("--gate", help="Check the gate instead of the instrument. Takes hours.")
    ] = False,
    rounds: Annotated[
        Path | None, typer.Option(help="With --gate: use the rounds of this file, and measure none.")
    ] = None,
    recording: Annotated[
        Path, typer.Option("--record", help="With --gate: the file to which the rounds are written.")
    ] = Path("gate-rounds.jsonl"),
    gates: Annotated[int, typer.Option(min=1, help="With --gate: the number of real gates of each kind.")] = 20,
    minutes: Annotated[float, typer.Option(min=0.1, help="With --gate: minutes that a gate may take.")] = 5,
    simulated: Annotated[
        int, typer.Option(min=1, help="With --gate: the number of gates made of recorded rounds.")
    ] = 2_000,
    into: Annotated[
        Path | None, typer.Option(help="With --gate: a document with a marked place for the result.")
    ] = None,
) -> int:
    """Check the instrument on this machine, in under a minute. With --gate, check the gate, in hours."""
    if gate:
        return _check_gate(rounds, recording, gates, minutes, simulated, into, seed)
    from harness.selfcheck.checks import selfcheck

    clock = SystemClock()
    directory = run.new_directory(runs, selfcheck.name, dt.datetime.fromtimestamp(clock.epoch_s(), dt.UTC))
    with _Shown(1) as shown, interruptible():
        stage = Stage(
            server="embedded",
            port=None,
            profile="quick",
            seed=seed,
            directory=directory,
            clock=clock,
            progress=shown.begin(selfcheck.name),
        )
        record, ended = conduct(selfcheck, selfcheck.parameters(), stage, command=["shopbench", *sys.argv[1:]])
    return _conclude(record, ended, as_json=json)


def _check_gate(
    rounds: Path | None,
    recorded: Path,
    gates: int,
    minutes: float,
    simulated: int,
    into: Path | None,
    seed: int,
) -> int:
    from harness.gate.error_rates import (
        CURVE_SIMULATED,
        KINDS,
        SelfCheckError,
        check_marks,
        put_into,
        read_lines,
        record,
        told,
    )
    from harness.gate.revisions import repository_of, source_of
    from harness.gate.rounds import Measure, SideError
    from harness.record.environment import describe_host
    from harness.server.servers import ServerError

    try:
        if into is not None:
            check_marks(into)
        if rounds is None:
            clock = SystemClock()
            source = source_of(repository_of(Path.cwd()), ["ordershop"], "the work tree")
            measure = Measure(
                target=_OUR_TARGET,
                packages=("ordershop",),
                sources={"baseline": source, "candidate": source},
                names={"baseline": "the baseline", "candidate": "the candidate"},
                seed=seed,
            )
            with _Shown(1) as shown, interruptible():
                record(
                    recorded,
                    measure,
                    kinds=KINDS,
                    gates=gates,
                    minutes=minutes,
                    clock=clock,
                    host=describe_host(),
                    progress=shown.begin("gate"),
                )
        text = told(
            read_lines(rounds or recorded),
            minutes=minutes,
            simulated_gates=simulated,
            curve_gates=min(simulated, CURVE_SIMULATED),
            seed=seed,
            command=f"shopbench selfcheck --gate --rounds {rounds or recorded} --minutes {minutes:g} "
            f"--simulated {simulated} --seed {seed}",
        )
        sys.stdout.write(text + "\n")
        if into is not None:
            put_into(into, text)
    except (SelfCheckError, SideError, ServerError) as error:
        raise UsageError(str(error)) from error
    return checking.EXIT_PASS


app.command("doctor")(doctor_command)


@app.command("list")
def list_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of scenarios. Default: all of them.", autocompletion=_completed),
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="List the figures of the scenarios, with units, for budgets.")
    ] = False,
) -> int:
    """List the scenarios and their parameters: meaning, unit and choices, and how long each profile takes."""
    from harness.cli.listing import figures_of, overview

    for scenario in _chosen(names or []):
        for line in figures_of(scenario) if figures else overview(scenario):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    return checking.EXIT_PASS


@app.command("report")
def report_command(directory: Annotated[Path, typer.Argument(help="A run directory.")]) -> int:
    """Render the report of a run again, from its record alone. A part that is missing or broken is UNKNOWN."""
    from harness.record.salvage import salvaged

    _report(salvaged(settled(run.load(directory))))
    return checking.EXIT_PASS


@app.command("compare")
def compare_command(
    directories: Annotated[
        list[Path], typer.Argument(help="Two or more run directories. The others are compared with the first.")
    ],
    output: Annotated[Path | None, typer.Option(help="Path of the page. Default: beside the last run.")] = None,
) -> int:
    """Compare runs: first their differences, then their ratios. Ends with 3 if they cannot be compared."""
    from reports.compare import MOST_RUNS, compare
    from reports.side_by_side import comparison_terminal, write_comparison

    if not 2 <= len(directories) <= MOST_RUNS:
        raise UsageError(f"2 to {MOST_RUNS} run directories can be compared, not {len(directories)}")
    comparisons = compare([settled(run.load(directory)) for directory in directories])
    names = [side.name for side in comparisons.sides]
    path = output or directories[-1].resolve().parent / f"compare-{names[0]}-{names[-1]}.html"
    try:
        write_comparison(comparisons, path)
    except OSError as error:
        raise RunError(f"{path}: the comparison cannot be written ({error.strerror})") from error
    out.print(comparison_terminal(comparisons))
    out.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return checking.EXIT_PASS if comparisons.is_comparable else checking.EXIT_INVALID


@app.command("index")
def index_command(
    runs: Annotated[Path, typer.Argument(help="A directory that holds run directories.")] = Path("runs"),
    history: Annotated[
        Path | None, typer.Option(help="The file that --history has appended to. The lines then go back further.")
    ] = None,
) -> int:
    """Make a page of all runs in a directory: newest first, with the main figures over time and their changes."""
    from harness.check.trend import read_entries
    from reports.index import write_index

    for record in run.find_runs(runs):
        settled(record)
    try:
        path = write_index(runs, read_entries(history) if history is not None else ())
    except OSError as error:
        raise RunError(f"{runs}: the index cannot be written ({error.strerror})") from error
    out.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return checking.EXIT_PASS


@app.command("web")
def web_command(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    name: Annotated[str, typer.Argument(help="A scenario.", autocompletion=_completed)],
    server: ServerOption = None,
    server_file: ServerFileOption = None,
    profile: Annotated[
        str, typer.Option(help="Length and size of the run: smoke, quick, standard or full.")
    ] = "quick",
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="NAME=VALUE: sets a parameter. May be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn at random.")] = 1,
    users: Annotated[
        int | None, typer.Option(min=1, help="Number of connections, or of shoppers in journey.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address that the web UI is served on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web UI.")] = 8089,
    runs: Annotated[Path, typer.Option(help="Directory in which run directories are made.")] = Path("runs"),
    start: Annotated[bool, typer.Option("--start", help="Start a run at once, without a press of Start.")] = False,
    also_server: Annotated[
        list[str] | None,
        typer.Option(help="NAME=WHICH: another server that the form may choose. May be repeated."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Another name of the web UI, besides localhost. May be repeated.")
    ] = None,
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(help="A site whose pages may use the web UI, such as http://bench.lan of a proxy."),
    ] = None,
) -> int:
    """Start Locust's web UI for a scenario. Server and shop start with each run."""
    from harness.locust.access import AccessError, access_of
    from harness.locust.form import named_by
    from harness.locust.web_ui import check_server, command_of

    [scenario] = _chosen([name])
    if not hasattr(scenario, "lasting"):
        if name == "replay":
            raise UsageError(
                "Under Locust, replay has another form, with parameters of its own: locust -f scenarios/replay.py"
            )
        able = ", ".join(each.name for each in _catalog().values() if hasattr(each, "lasting"))
        raise UsageError(f"Locust cannot drive {name}; it can drive {able}")
    given = _given(param or [])
    if profile not in scenario.profiles:
        raise UsageError(f"there is no profile {profile!r}; {_there_are(profile, scenario.profiles)}")
    parameters = parameters_of(scenario, profile, given)
    users = users or getattr(parameters, "users", None) or getattr(parameters, "connections", 1)
    lists = {
        "also-server": also_server or [],
        "allowed-host": allowed_host or [],
        "allowed-origin": allowed_origin or [],
    }
    which = server_named(server, server_file, os.environ)
    for each in named_by(which, lists["also-server"], None, str(runs)).servers.values():
        check_server(each)
    try:
        access_of(host, lists["allowed-host"], lists["allowed-origin"])
    except AccessError as error:
        raise UsageError(str(error)) from error
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise UsageError(f"the web UI cannot be served on {host}:{port} ({error.strerror})") from error
    others = {"profile": profile, "seed": str(seed), "runs": str(runs), "users": str(users)}
    command = command_of(cast("LoadScenario", scenario), given, host=host, port=port, others=others, lists=lists)
    url = f"http://{host}:{port}/"
    out.print(f"{url}  {scenario.name}; Ctrl-C ends it", markup=False, highlight=False, soft_wrap=True)
    sys.stdout.flush()
    environment = {**own_environment(), **environment_for(which)}
    command += ["--autostart"] if start else []
    os.execve(command[0], command, environment)  # noqa: S606 - in place of this process


class _Shown:
    """Progress on a terminal as bars; elsewhere a line for each scenario, and one every few seconds.

    Args:
        total: scenarios that there will be.
        clock: that says when a line is due.
    """

    def __init__(self, total: int, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._told_ns = 0
        self._live = err.is_terminal
        self._total = total
        self._begun = 0
        self._progress = Progress(
            TextColumn("{task.fields[name]:<12}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=err,
            disable=not self._live,
        )
        self._last: Any = None

    def __enter__(self) -> _Shown:
        self._progress.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and self._last is not None:
            self._progress.update(self._last, completed=1.0, description="")
        self._progress.stop()

    def begin(self, name: str) -> Any:
        """Begin with a scenario, and answer what is to be told of its progress."""
        self._begun += 1
        if self._last is not None:
            self._progress.update(self._last, completed=1.0, description="")
        if not self._live:
            place = f"{self._begun} of {self._total}" if self._begun <= self._total else "measured once more"
            err.print(f"{name} ({place})", markup=False, highlight=False)
        task = self._progress.add_task("", total=1.0, name=name)
        self._last = task
        self._told_ns = self._clock.now_ns()

        def update(share: float, doing: str) -> None:
            self._progress.update(task, completed=share, description=doing)
            if not self._live and self._clock.now_ns() - self._told_ns >= TELL_EACH_NS:
                self._told_ns = self._clock.now_ns()
                told = f"{name}: {share * 100:.0f} %{f', {doing}' if doing else ''}"
                err.print(told, markup=False, highlight=False, soft_wrap=True)

        return update


def _fail(message: str) -> NoReturn:
    err.print(f"shopbench: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(checking.EXIT_USAGE)


def main() -> None:
    """Run the command line; bad input gets one line and exit code 2."""
    heed_ctrl_c()
    try:
        code = app(standalone_mode=False)
    except _ClickError as error:
        message = " ".join(error.format_message().split())
        if not message:  # no command at all: the help has been shown
            sys.exit(checking.EXIT_USAGE)
        _fail(message)
    except (
        UsageError,
        UnfitError,
        ParameterError,
        RunError,
        WorktreeError,
        UrlError,
        budgets.BudgetError,
    ) as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(checking.EXIT_INVALID)
    except Exception:  # noqa: BLE001 - Python would end with 1, which says that something is slower, or was lost
        traceback.print_exc()
        sys.exit(checking.EXIT_USAGE)
    # Of a Ctrl-C outside of a scenario typer has made the 130 of a shell.
    sys.exit(checking.EXIT_INVALID if code == 130 else code or 0)


if __name__ == "__main__":
    main()
