"""`shopbench report RUN`: the report of a run again, from what is on disk."""

from __future__ import annotations

from harness.check.checkers import EXIT_PASS
from harness.check.judge import standing
from harness.cli import recorded
from harness.cli.options import RunArgument
from harness.record import run
from harness.record.alive import settled


def report_command(directory: RunArgument) -> int:
    """Render the report of a run again, from its record alone. A part that is missing or broken is UNKNOWN."""
    from harness.record.salvage import salvaged

    recorded.report(salvaged(standing(settled(run.load(directory)))))
    return EXIT_PASS
