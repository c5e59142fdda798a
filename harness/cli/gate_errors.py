"""`shopbench gate-errors`: how often is the gate wrong on this machine?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.check.checkers import EXIT_PASS
from harness.cli.gate import OUR_TARGET
from harness.cli.options import UsageError, taking
from harness.cli.shown import Shown
from harness.conduct.interrupt import interruptible
from harness.host.clock import SystemClock


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    rounds: Annotated[Path | None, typer.Option(help="Use the rounds of this file, and measure none.")] = None
    recording: Annotated[Path, typer.Option("--record", help="The file to which the rounds are written.")] = Path(
        "gate-rounds.jsonl"
    )
    gates: Annotated[int, typer.Option(min=1, help="The number of real gates of each kind.")] = 20
    minutes: Annotated[float, typer.Option(min=0.1, help="Minutes that a gate may take.")] = 5
    simulated: Annotated[int, typer.Option(min=1, help="The number of gates made of recorded rounds.")] = 2_000
    versus: Annotated[
        bool, typer.Option("--versus", help="Count the errors of shopbench versus, in place of the gate's.")
    ] = False
    into: Annotated[Path | None, typer.Option(help="A document with a marked place for the result.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn at random.")] = 1


@taking(Asked)
def gate_errors_command(asked: Asked) -> int:
    """Count the gate's false alarms and detections, on known slowdowns. Takes hours, unless given --rounds."""
    from harness.capacity.versus_errors import WORDS, conduct_versus
    from harness.gate.error_rates import CURVE_SIMULATED, Wording, check_marks, put_into, told
    from harness.gate.loop import conduct_rounds
    from harness.gate.side import SideError
    from harness.gate.slowdowns import ErrorRateError, read_lines
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
            command=f"shopbench gate-errors {'--versus ' if asked.versus else ''}"
            f"--rounds {rounds} --minutes {asked.minutes:g} "
            f"--simulated {asked.simulated} --seed {asked.seed}",
            conduct=conduct_versus if asked.versus else conduct_rounds,
            words=WORDS if asked.versus else Wording(),
        )
        sys.stdout.write(text + "\n")
        if asked.into is not None:
            put_into(asked.into, text)
    except (ErrorRateError, SideError, ServerError) as error:
        raise UsageError(str(error)) from error
    return EXIT_PASS


def _record_rounds(asked: Asked) -> None:
    from harness.capacity.versus_errors import VERSUS_KINDS, conduct_versus
    from harness.gate.loop import conduct_rounds
    from harness.gate.revisions import repository_of, source_of
    from harness.gate.rounds import Measure
    from harness.gate.slowdowns import KINDS, Wanted, record
    from harness.record.environment import describe_host

    source = source_of(repository_of(Path.cwd()), ["ordershop"], "the work tree")
    measure = Measure(
        target=OUR_TARGET,
        packages=("ordershop",),
        sources={"baseline": source, "candidate": source},
        names={"baseline": "the baseline", "candidate": "the candidate"},
        seed=asked.seed,
    )
    wanted = Wanted(
        kinds=[kind for kind in KINDS if not asked.versus or kind.name in VERSUS_KINDS],
        gates=asked.gates,
        minutes=asked.minutes,
        conduct=conduct_versus if asked.versus else conduct_rounds,
        by="versus" if asked.versus else "gate",
    )
    with Shown(1) as shown, interruptible():
        record(
            asked.recording,
            measure,
            wanted,
            clock=SystemClock(),
            host=describe_host(),
            progress=shown.begin("versus" if asked.versus else "gate"),
        )
