"""`shopbench gate`: is the work tree slower than a baseline revision?"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import msgspec
import typer

from harness.cli.options import BudgetOption, HistoryOption, RunsOption, UsageError, taking
from harness.cli.recorded import budgets_of, check_history, conclude, conducted, held_to
from harness.cli.shown import Shown, warn
from harness.conduct.interrupt import Interrupted, interruptible
from harness.host.cores import Cores
from harness.server.open import kind_of
from harness.server.server import Durability

if TYPE_CHECKING:
    from harness.gate.side import Side

OUR_TARGET = "scenarios.gate_target:ordershop"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    baseline: Annotated[str, typer.Option(help="The revision to compare with. The candidate is the work tree.")]
    target: Annotated[str, typer.Option(help="The event store to measure, as package.module:factory.")] = (
        OUR_TARGET
    )
    package: Annotated[
        list[str] | None,
        typer.Option(help="A package that comes from each side's source. Default: the target's own."),
    ] = None
    micro: Annotated[Path | None, typer.Option(help="A pytest-benchmark file to gate instead of a target.")] = None
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="Minutes that the gate may take.")] = 5
    relevant: Annotated[
        list[str] | None,
        typer.Option(help="METRIC=SIZE: from which slowdown on a metric fails, such as append.p50=10%."),
    ] = None
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric that counts. May be repeated. Default: all of them.")
    ] = None
    server: Annotated[str, typer.Option(help="embedded, or a server program.")] = "embedded"
    durability: Annotated[str, typer.Option(help="Durability of the servers: none, everysec or always.")] = "none"
    cores: Annotated[
        str,
        typer.Option(
            help="one: each round runs on one core, if the system lets us choose. all: the system decides."
        ),
    ] = "one"
    allow_dirty: Annotated[bool, typer.Option("--allow-dirty", help="Measure uncommitted changes, too.")] = False
    baseline_constraints: Annotated[
        Path | None, typer.Option(help="Constraints on the baseline's libraries, which are installed for it.")
    ] = None
    candidate_constraints: Annotated[
        Path | None,
        typer.Option(help="The same for the candidate. Default, with the other: the versions installed here."),
    ] = None
    environments: Annotated[
        Path | None,
        typer.Option(help="Directory in which such libraries are kept. Default: below the user's cache."),
    ] = None
    allow_same: Annotated[
        bool, typer.Option("--allow-same", help="With constraints: measure even if nothing differs.")
    ] = False
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the coin that decides which side is first. Default: drawn at random."),
    ] = None
    budget: BudgetOption = None
    history: HistoryOption = None
    runs: RunsOption = Path("runs")


@taking(Asked)
def gate_command(asked: Asked) -> int:
    """Compare the work tree with a baseline revision. Fail for a slowdown that is real and relevant."""
    from harness.gate.libraries import default_directory
    from harness.gate.prepare import GateOptions, prepared, sizes

    _check(asked)
    own = ["ordershop"] if asked.target == OUR_TARGET else [asked.target.partition(":")[0].partition(".")[0]]
    options = GateOptions(
        baseline=asked.baseline,
        target=asked.target,
        packages=tuple(asked.package or own),
        micro=asked.micro,
        minutes=asked.minutes,
        relevant=sizes(asked.relevant or []),
        metrics=tuple(asked.metric or ()),
        durability=cast("Durability", asked.durability),
        cores=cast("Cores", asked.cores),
        allow_dirty=asked.allow_dirty,
        constraints=_constraints(asked),
        environments=asked.environments or default_directory(),
        allow_same=asked.allow_same,
    )
    limits = budgets_of(asked.budget)
    check_history(asked.history)
    # A coin that always falls in the same way is none. What was drawn stands in the record.
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    try:
        with (
            Shown(1) as shown,
            interruptible(),
            prepared(options, Path.cwd(), warn) as (
                gate,
                parameters,
            ),
        ):
            record, ended = conducted(gate, parameters, shown, server=asked.server, seed=seed, runs=asked.runs)
    except Interrupted as error:
        raise UsageError(f"the gate was interrupted by {error}") from error
    record = held_to(record, limits)
    code = conclude(record, None if isinstance(ended, Interrupted) else ended, history=asked.history)
    if isinstance(ended, Interrupted):
        raise UsageError(f"the gate was interrupted by {ended}")
    return code


def _constraints(asked: Asked) -> dict[Side, Path]:
    """Of each side that was given one, its file of constraints."""
    given: dict[Side, Path | None] = {
        "baseline": asked.baseline_constraints,
        "candidate": asked.candidate_constraints,
    }
    return {side: path for side, path in given.items() if path is not None}


def _check(asked: Asked) -> None:
    """Refuse what cannot be, before anything is measured."""
    if asked.durability not in {"none", "everysec", "always"}:
        raise UsageError(f"there is no durability {asked.durability!r}; there are none, everysec and always")
    if asked.cores not in {"one", "all"}:
        raise UsageError(f"--cores of a gate is one or all, not {asked.cores!r}")
    if "configure" not in kind_of(asked.server).can:
        raise UsageError("a gate starts a server for each side: give it a server program, not a URL")
    if asked.micro is not None:
        _check_micro(
            asked.micro,
            {
                "--target": asked.target != OUR_TARGET,
                "--server": asked.server != "embedded",
                "--durability": asked.durability != "none",
            },
        )
    if asked.environments is not None and not _constraints(asked):
        raise UsageError("--environments is where libraries are kept: give it with --baseline-constraints")
    if asked.allow_same and not _constraints(asked):
        raise UsageError("--allow-same is for libraries that are the same: give it with --baseline-constraints")
    if not math.isfinite(asked.minutes):
        raise UsageError("--minutes must be a finite number")


def _check_micro(micro: Path, given: Mapping[str, bool]) -> None:
    if not micro.is_file():
        raise UsageError(f"{micro}: there is no such file")
    for option, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{option} does not go with --micro: micro-benchmarks have no target, and start no server of ours"
            )
