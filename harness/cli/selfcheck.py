"""`shopbench selfcheck`: does the instrument tell the truth on this machine? With `--gate`: does the gate?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.check.checkers import EXIT_PASS
from harness.cli.gate import OUR_TARGET
from harness.cli.options import RunsOption, UsageError, taking
from harness.cli.recorded import conclude, conducted
from harness.cli.shown import Shown
from harness.conduct.conduct import interruptible
from harness.host.clock import SystemClock


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON, and nothing else.")] = False
    seed: Annotated[int, typer.Option(min=0, help="Seed of the scripted delays.")] = 1
    runs: RunsOption = Path("runs")
    gate: Annotated[
        bool, typer.Option("--gate", help="Check the gate instead of the instrument. Takes hours.")
    ] = False
    rounds: Annotated[
        Path | None, typer.Option(help="With --gate: use the rounds of this file, and measure none.")
    ] = None
    recording: Annotated[
        Path, typer.Option("--record", help="With --gate: the file to which the rounds are written.")
    ] = Path("gate-rounds.jsonl")
    gates: Annotated[int, typer.Option(min=1, help="With --gate: the number of real gates of each kind.")] = 20
    minutes: Annotated[float, typer.Option(min=0.1, help="With --gate: minutes that a gate may take.")] = 5
    simulated: Annotated[
        int, typer.Option(min=1, help="With --gate: the number of gates made of recorded rounds.")
    ] = 2_000
    into: Annotated[
        Path | None, typer.Option(help="With --gate: a document with a marked place for the result.")
    ] = None


@taking(Asked)
def selfcheck_command(asked: Asked) -> int:
    """Check the instrument on this machine, in under a minute. With --gate, check the gate, in hours."""
    if asked.gate:
        return _check_gate(asked)
    from harness.selfcheck.checks import selfcheck

    with Shown(1) as shown, interruptible():
        record, ended = conducted(
            selfcheck, selfcheck.parameters(), shown, server="embedded", seed=asked.seed, runs=asked.runs
        )
    return conclude(record, ended, as_json=asked.json)


def _check_gate(asked: Asked) -> int:
    from harness.gate.error_rates import CURVE_SIMULATED, SelfCheckError, check_marks, put_into, read_lines, told
    from harness.gate.rounds import SideError
    from harness.server.server import ServerError

    rounds = asked.rounds or asked.recording
    try:
        if asked.into is not None:
            check_marks(asked.into)
        if asked.rounds is None:
            _record_rounds(asked)
        text = told(
            read_lines(rounds),
            minutes=asked.minutes,
            simulated_gates=asked.simulated,
            curve_gates=min(asked.simulated, CURVE_SIMULATED),
            seed=asked.seed,
            command=f"shopbench selfcheck --gate --rounds {rounds} --minutes {asked.minutes:g} "
            f"--simulated {asked.simulated} --seed {asked.seed}",
        )
        sys.stdout.write(text + "\n")
        if asked.into is not None:
            put_into(asked.into, text)
    except (SelfCheckError, SideError, ServerError) as error:
        raise UsageError(str(error)) from error
    return EXIT_PASS


def _record_rounds(asked: Asked) -> None:
    from harness.gate.error_rates import KINDS, record
    from harness.gate.revisions import repository_of, source_of
    from harness.gate.rounds import Measure
    from harness.record.environment import describe_host

    source = source_of(repository_of(Path.cwd()), ["ordershop"], "the work tree")
    measure = Measure(
        target=OUR_TARGET,
        packages=("ordershop",),
        sources={"baseline": source, "candidate": source},
        names={"baseline": "the baseline", "candidate": "the candidate"},
        seed=asked.seed,
    )
    with Shown(1) as shown, interruptible():
        record(
            asked.recording,
            measure,
            kinds=KINDS,
            gates=asked.gates,
            minutes=asked.minutes,
            clock=SystemClock(),
            host=describe_host(),
            progress=shown.begin("gate"),
        )
