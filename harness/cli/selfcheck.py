"""`shopbench selfcheck`: does the instrument tell the truth on this machine?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.cli.options import RunsOption, taking
from harness.cli.recorded import conclude, conducted
from harness.cli.shown import Shown
from harness.conduct.conduct import interruptible


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON, and nothing else.")] = False
    seed: Annotated[int, typer.Option(min=0, help="Seed of the scripted delays.")] = 1
    runs: RunsOption = Path("runs")


@taking(Asked)
def selfcheck_command(asked: Asked) -> int:
    """Check the instrument on this machine, in under a minute."""
    from harness.selfcheck.checks import selfcheck

    with Shown(1) as shown, interruptible():
        record, ended = conducted(
            selfcheck, selfcheck.parameters(), shown, server="embedded", seed=asked.seed, runs=asked.runs
        )
    return conclude(record, ended, as_json=asked.json)
