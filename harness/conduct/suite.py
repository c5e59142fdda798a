"""A suite: several scenarios one after the other, and one record of all of them."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from harness.conduct.conduct import conduct
from harness.conduct.interrupt import written
from harness.conduct.scenario import Scenario, Stage
from harness.host.clock import Clock
from harness.record import run
from harness.record.alive import alive
from harness.record.environment import describe_host
from harness.record.run import Record, Run

OnceMore = Callable[[Scenario, msgspec.Struct, Record], tuple[Record, BaseException | None]]


def conduct_suite(
    chosen: Sequence[tuple[Scenario, msgspec.Struct]],
    stage_for: Callable[[Scenario, Path], Stage],
    directory: Path,
    *,
    clock: Clock,
    command: Sequence[str],
    profile: str,
    seed: int,
    once_more: OnceMore | None = None,
) -> tuple[Record, BaseException | None]:
    """Run several scenarios one after the other, each in a directory below the suite's.

    The suite's record is written anew after each, because a later one may fail. It ends with the first that is
    interrupted or cannot be carried out.

    Args:
        once_more: measures again what could not be decided in a member, when all have been; None: nobody does.
    """
    epoch_s, origin_ns = clock.epoch_s(), clock.now_ns()
    suite = Run(
        schema=run.SCHEMA,
        scenario="suite",
        status="running",
        started_at=dt.datetime.fromtimestamp(epoch_s, dt.UTC).isoformat(timespec="milliseconds"),
        duration_s=0.0,
        seed=seed,
        command=list(command),
        parameters={"profile": profile, "scenarios": [scenario.name for scenario, _ in chosen]},
        environment={"host": describe_host(), "server": {}},
        figures=[],
        verdicts=[],
    )
    with alive(directory):
        return _conduct_members(chosen, stage_for, directory, suite, clock, origin_ns, once_more)


def _conduct_members(
    chosen: Sequence[tuple[Scenario, msgspec.Struct]],
    stage_for: Callable[[Scenario, Path], Stage],
    directory: Path,
    suite: Run,
    clock: Clock,
    origin_ns: int,
    once_more: OnceMore | None,
) -> tuple[Record, BaseException | None]:
    run.save(directory, suite)
    ended: BaseException | None = None
    command = suite.command
    for scenario, parameters in chosen:
        stage = stage_for(scenario, directory / scenario.name)
        try:
            _, ended = conduct(scenario, parameters, stage, command=command)
        finally:
            # Also when it has crashed: its record is there, and belongs to the suite.
            member = run.load(directory / scenario.name).run
            suite = msgspec.structs.replace(
                suite,
                status="running" if member.status == "complete" else member.status,
                reason=member.reason,
                duration_s=round((clock.now_ns() - origin_ns) / 1e9, 3),
                figures=[*suite.figures, *member.figures],
                verdicts=[*suite.verdicts, *member.verdicts],
                members=[*suite.members, scenario.name],
                environment={
                    **suite.environment,
                    "server": suite.environment["server"] or member.environment["server"],
                },
            )
            late = written(functools.partial(run.save, directory, suite))
        ended = ended or late
        if ended is not None:
            if suite.status == "running":  # its member is complete: the interrupt came when that was written
                suite = msgspec.structs.replace(suite, status="interrupted", reason=f"interrupted by {ended}")
            break
    else:
        if once_more is not None:
            ended = _all_once_more(chosen, directory, once_more)
            suite = _gathered(suite, [run.load(directory / name).run for name in suite.members])
        duration_s = round((clock.now_ns() - origin_ns) / 1e9, 3)
        suite = msgspec.structs.replace(
            suite, status="complete", duration_s=duration_s, headline=_suite_headline(suite)
        )
    late = written(functools.partial(run.save, directory, suite))
    return run.load(directory), ended or late


def _all_once_more(
    chosen: Sequence[tuple[Scenario, msgspec.Struct]], directory: Path, once_more: OnceMore
) -> BaseException | None:
    for scenario, parameters in chosen:
        _, ended = once_more(scenario, parameters, run.load(directory / scenario.name))
        if ended is not None:
            return ended
    return None


def _gathered(suite: Run, members: Sequence[Run]) -> Run:
    """A suite with the figures and verdicts that its members have by now."""
    return msgspec.structs.replace(
        suite,
        figures=[figure for member in members for figure in member.figures],
        verdicts=[verdict for member in members for verdict in member.verdicts],
        repeats=[repeat for member in members for repeat in member.repeats],
    )


def _suite_headline(suite: Run) -> str:
    passed = sum(verdict.status == "PASS" for verdict in suite.verdicts)
    return f"{passed} of {len(suite.verdicts)} verdicts pass, in {len(suite.members)} scenarios."
