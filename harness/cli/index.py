"""`shopbench index`: one page about all runs in a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.check.checkers import EXIT_PASS
from harness.cli.shown import say
from harness.record import run
from harness.record.alive import settled
from harness.record.run import RunError


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
    say(str(path))
    return EXIT_PASS
