"""`shopbench compare RUN RUN ...`: what differs between runs, then the ratios of their figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.check.checkers import EXIT_INVALID, EXIT_PASS
from harness.cli.options import UsageError
from harness.cli.shown import out, say
from harness.record import run
from harness.record.alive import settled
from harness.record.run import RunError


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
    say(str(path))
    return EXIT_PASS if comparisons.is_comparable else EXIT_INVALID
