"""`shopbench history FILE NAME`: the figures of many runs, as CSV."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.check.checkers import EXIT_PASS


def history_command(
    file: Annotated[Path, typer.Argument(help="The file that --history has appended to.")],
    name: Annotated[str, typer.Argument(help="Name of a scenario, or gate.")],
) -> int:
    """Print the history of a scenario as CSV, one row a run, for a spreadsheet or another program."""
    from harness.check.trend import as_csv, read_entries

    sys.stdout.write(as_csv(read_entries(file), name))
    return EXIT_PASS
