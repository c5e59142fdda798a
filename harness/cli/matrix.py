"""`shopbench matrix`: servers, configurations and loads from a file, each combination measured several times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from harness.check.checkers import EXIT_INVALID, EXIT_PASS, EXIT_USAGE, code_of
from harness.cli.doctor import UnfitError
from harness.cli.list import duration
from harness.cli.options import DryRunOption, RunsOption, UsageError, catalog, taking
from harness.cli.plan import check_server
from harness.cli.recorded import command_line
from harness.cli.shown import Shown, out, say, warn
from harness.conduct.conduct import conduct
from harness.conduct.interrupt import Interrupted, interruptible
from harness.conduct.scenario import Stage, parameters_of
from harness.host.clock import Clock, SystemClock
from harness.record.run import Record, RunError
from harness.server.named import server_named
from harness.server.open import open_server
from harness.server.server import ServerError

if TYPE_CHECKING:
    from harness.capacity.matrix import Cell, Matrix, Measurement


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    file: Annotated[Path, typer.Argument(help="A TOML file of servers, configurations and loads.")]
    repeat: Annotated[
        int | None, typer.Option(min=1, max=100, help="How often each cell is measured, in place of the file's.")
    ] = None
    profile: Annotated[str | None, typer.Option(help="The profile of each run, in place of the file's.")] = None
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the order and of all that is drawn, in place of the file's.")
    ] = None
    runs: RunsOption = Path("runs")
    anew: Annotated[
        bool, typer.Option("--anew", help="Begin again in a new directory, whatever was measured before.")
    ] = False
    dry_run: DryRunOption = False


@taking(Asked)
def matrix_command(asked: Asked) -> int:
    """Measure every combination of servers, configurations and loads, and set them side by side."""
    from harness.capacity.matrix import MatrixError, begin, directory_for, held, to_measure
    from harness.capacity.matrix_entries import Said
    from harness.capacity.matrix_file import matrix_of

    clock = SystemClock()
    try:
        matrix = matrix_of(
            asked.file,
            catalog(),
            Said(repeat=asked.repeat, seed=asked.seed, profile=asked.profile),
        )
        _check_servers(matrix, clock)
        directory, why = directory_for(matrix, asked.runs, anew=asked.anew)
        if why:
            warn(f"{why}; measuring into {directory}")
        if asked.dry_run:
            _show_plan(matrix, directory, clock)
            return EXIT_PASS
        _try_directives(matrix, clock)
        with held(directory):
            matrix = begin(
                msgspec.structs.replace(
                    matrix, command=command_line(), started_at=_moment(clock).isoformat(timespec="seconds")
                ),
                directory,
            )
            say(_time_said(matrix, directory, to_measure(matrix, directory), clock))
            return _carried_out(matrix, directory, clock)
    except MatrixError as error:
        raise UsageError(str(error)) from error


def _check_servers(matrix: Matrix, clock: Clock) -> None:
    """Look whether each cell could have its server, without starting one."""
    by_server: dict[str, list[Cell]] = {}
    for cell in matrix.cells:
        by_server.setdefault(cell.which, []).append(cell)
    for which, cells in by_server.items():
        chosen = [(catalog()[cell.scenario], _parameters(matrix, cell)) for cell in cells]
        check_server(server_named(which, None, {}), chosen, clock)


def _try_directives(matrix: Matrix, clock: Clock) -> None:
    """Start each server with its directives once: what one does not know is found before an hour is spent.

    Raises:
        UnfitError: one does not start.
    """
    for which, config in dict.fromkeys((cell.which, cell.config) for cell in matrix.cells if cell.config):
        try:
            with open_server(which, clock, config=config):
                pass
        except ServerError as error:
            raise UnfitError(f"{which} with {', '.join(config)}: {error}") from error


def _parameters(matrix: Matrix, cell: Cell) -> msgspec.Struct:
    return parameters_of(catalog()[cell.scenario], matrix.profile, cell.parameters)


def _show_plan(matrix: Matrix, directory: Path, clock: Clock) -> None:
    from harness.capacity.matrix import to_measure

    left = to_measure(matrix, directory)
    for cell in matrix.cells:
        given = [f"{name}={value}" for name, value in cell.parameters.items()] + list(cell.config)
        what = cell.scenario if cell.search is None else f"capacity {cell.scenario}"
        say(f"{cell.number}. {cell.name}: {what} {', '.join(given)}".rstrip())
    for repeat in range(1, matrix.repeat + 1):
        order = ", ".join(str(each.cell.number) for each in left if each.repeat == repeat)
        say(f"round {repeat}: cells {order}" if order else f"round {repeat}: all there")
    say(_time_said(matrix, directory, left, clock))
    say("nothing was started: this was a dry run")


def _moment(clock: Clock) -> dt.datetime:
    return dt.datetime.fromtimestamp(clock.epoch_s(), dt.UTC)


def _time_said(matrix: Matrix, directory: Path, left: Sequence[Measurement], clock: Clock) -> str:
    """How much there is to measure, and until when it takes."""
    from harness.capacity.matrix import expected_s

    whole = len(matrix.cells) * matrix.repeat
    runs = f"{len(left)} runs" if len(left) == whole else f"{len(left)} of {whole} runs are left"
    times = "once" if matrix.repeat == 1 else f"{matrix.repeat} times"
    head = f"{len(matrix.cells)} cells, each {times}: {runs}"
    if not left:
        return f"{head}; --anew measures them again"
    seconds = expected_s(matrix, directory, left)
    until = (_moment(clock) + dt.timedelta(seconds=seconds)).astimezone()
    return f"{head}, about {duration(seconds)}, until about {until:%H:%M}, into {directory}"


def _carried_out(matrix: Matrix, directory: Path, clock: Clock) -> int:
    """Measure what is left, write the page after each run, and answer the exit code."""
    from harness.capacity.matrix import conduct_matrix, seed_of, to_measure

    def page() -> Path:
        from harness.capacity.matrix_table import table_of
        from reports.matrix_page import write_matrix

        try:
            return write_matrix(matrix, table_of(matrix, directory), directory)
        except OSError as error:
            raise RunError(f"{directory}: the page cannot be written ({error.strerror})") from error

    def each_done(_: Measurement, record: Record) -> None:
        _report(record)
        page()

    with Shown(len(to_measure(matrix, directory))) as shown:

        def measure(each: Measurement, where: Path) -> tuple[Record, BaseException | None]:
            cell = each.cell
            scenario = catalog()[cell.scenario]
            stage = Stage(
                server=server_named(cell.which, None, {}),
                port=None,
                profile=matrix.profile,
                seed=seed_of(matrix, each.repeat),
                directory=where,
                clock=clock,
                progress=shown.begin(cell.name),
                config=cell.config,
            )
            if cell.search is None:
                return conduct(scenario, _parameters(matrix, cell), stage, command=command_line())
            return _searched(cell, scenario, stage)

        ended = None
        failed: Mapping[str, BaseException] = {}
        try:
            with interruptible():
                failed = conduct_matrix(matrix, directory, measure, each_done=each_done)
        except Interrupted as error:
            ended = error
    return _concluded(matrix, directory, page(), {name: str(each) for name, each in failed.items()}, ended)


def _searched(cell: Cell, scenario: Any, stage: Stage) -> tuple[Record, BaseException | None]:
    """The record of a cell that is a search for capacity, and what ended it early, or None."""
    from harness.capacity.matrix_search import searched
    from harness.cli.capacity import command_of_run, report_probes

    assert cell.search is not None  # noqa: S101 - whoever asks has looked
    record, ended = searched(
        scenario, cell.parameters, cell.search, stage, command=command_line(), command_of=command_of_run
    )
    report_probes(stage.directory)
    return record, ended


def _report(record: Record) -> None:
    from reports import write_reports

    try:
        write_reports(record, record.directory)
    except OSError as error:
        raise RunError(f"{record.directory}: the report cannot be written ({error.strerror})") from error


def _concluded(
    matrix: Matrix, directory: Path, page: Path, failed: dict[str, str], ended: Interrupted | None
) -> int:
    """Say what came out, and answer the exit code."""
    from harness.capacity.matrix_table import table_of
    from reports.index import refresh_index
    from reports.matrix_page import terminal_lines

    table = table_of(matrix, directory)
    for line in terminal_lines(matrix, table, out.width):
        say(line)
    say(str(page))
    refresh_index(directory.parent)
    for name, why in failed.items():
        warn(f"shopbench: {name}: {why}")
    if ended is not None:
        warn(f"shopbench: interrupted by {ended}; the same command goes on where it ended")
        return EXIT_INVALID
    return EXIT_USAGE if failed else code_of(table.status)
