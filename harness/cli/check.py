"""`shopbench check RUN`: a run is judged again, from its record alone, by the same call that has ended it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from harness.check import budgets, checkers
from harness.check.judge import Difference, differences
from harness.cli.options import RunArgument, UsageError, catalog, taking, there_are
from harness.cli.shown import say
from harness.conduct.judging import Judged, judged_run
from harness.record import run
from harness.record.alive import settled
from harness.record.run import Record, RunError, Verdict


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    directory: RunArgument
    checker: Annotated[
        list[str] | None,
        typer.Option(help="Judge by this checker only, such as nothing_lost. May be repeated."),
    ] = None


@taking(Asked)
def check_command(asked: Asked) -> int:
    """Judge a run again, without a server, and say what differs from the verdicts that were stored.

    The exit codes are those of `run`.
    """
    record = settled(run.load(asked.directory))
    stored, found = _of_all(record)
    if asked.checker:
        known = [verdict.name for verdict in [*found, *stored]]
        wanted = set(_named(asked.checker, list(dict.fromkeys(known))))
        stored, found = ([v for v in verdicts if v.name in wanted] for verdicts in (stored, found))
    for verdict in found:
        say(f"{verdict.status:8}{verdict.name}  {verdict.detail}")
    for line in _told(differences(stored, found), len(found)):
        say(line)
    return checkers.exit_code(found)


def _of_all(record: Record) -> tuple[list[Verdict], list[Verdict]]:
    """The verdicts of a run, or of all members of a suite: as they were stored, and as they are found now."""
    members = record.members()
    pairs = [_of_all(settled(member)) for member in members] if members else [_of_one(record)]
    stored, found = ([verdict for each in side for verdict in each] for side in zip(*pairs, strict=True))
    kept = _of_budgets(record) if members else []
    return [*stored, *kept], [*found, *kept]


def _of_one(record: Record) -> tuple[list[Verdict], list[Verdict]]:
    scenario = _judging(record.run.scenario)
    if not isinstance(scenario, Judged):
        raise RunError(f"{record.directory}: this shopbench has no checkers for {record.run.scenario!r}")
    if record.run.status == "running":
        raise RunError(f"{record.directory}: the run has not come to its end yet")
    return record.run.verdicts, [*judged_run(scenario, record).verdicts, *_of_budgets(record)]


def _judging(name: str) -> object:
    """What finds the verdicts of a scenario, or of what is conducted like one; None: nothing does."""
    from harness.capacity.capacity import Capacity
    from harness.capacity.versus import Versus

    others: dict[str, object] = {Capacity.name: Capacity(), Versus.name: Versus()}
    return catalog().get(name, others.get(name))


def _of_budgets(record: Record) -> list[Verdict]:
    """The verdicts on limits, as they are: limits come from a file, and what they rest on are figures."""
    return [verdict for verdict in record.run.verdicts if verdict.name.startswith(budgets.VERDICTS)]


def _named(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The verdicts that are meant by names, each a verdict's or its last parts.

    Raises:
        UsageError: none is.
    """
    meant = []
    for name in names:
        matching = [each for each in known if each == name or each.endswith(f".{name}")]
        if not matching:
            short = list(dict.fromkeys(each.partition(".")[2] for each in known))
            raise UsageError(f"this run has no checker {name!r}; {there_are(name, short)}")
        meant += matching
    return meant


def _told(found: Sequence[Difference], count: int) -> list[str]:
    """What differs from what was stored, a line each; else that nothing does."""
    if not found:
        return [f"{count} {'verdict' if count == 1 else 'verdicts'}, each as it was stored"]
    return [_line(each) for each in found]


def _line(each: Difference) -> str:
    if each.before is None:
        return f"new: {each.name}"
    was = f"{each.name} was {each.before.status} ({each.before.detail})"
    if each.now is None:
        return f"gone: {was}"
    is_now = each.now.status if each.now.status != each.before.status else f"{each.now.status} ({each.now.detail})"
    return f"different: {was}, and is {is_now}"
