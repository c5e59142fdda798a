"""The last line of a run that was not decided: how many verdicts pass, what was in the way, what to do.

    73 pass, none fails, 1 could not be decided: this machine was too busy for `append` (python used 0.93 of a
    core); repeat it with `shopbench run append`; report: runs/20261123-141502-suite/report.html

A run that is decided needs no such line: it passes, or its verdicts say what fails.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.check.instrument import fell_behind, without_cause
from harness.record.run import Record, Run, Verdict
from reports.findings import command, own_verdicts

_MOST_NAMED = 3


def conclusion(record: Record, report: Path) -> str:
    """What to say last of a run that came to its end and was not decided; empty where it was.

    Args:
        report: where its page is.

    Raises:
        RunError: a member cannot be read.
    """
    run = record.run
    undecided = [verdict for verdict in run.verdicts if verdict.status == "UNKNOWN"]
    failed = sum(verdict.status == "FAIL" for verdict in run.verdicts)
    if run.status != "complete" or not undecided:
        return ""
    passed = sum(verdict.status == "PASS" for verdict in run.verdicts)
    fails = "fails" if failed < 2 else "fail"
    counts = f"{passed} pass, {failed or 'none'} {fails}, {len(undecided)} could not be decided"
    members = [member.run for member in record.members()] or [run]
    own = own_verdicts(run, members) if run.members else []
    why = "; ".join(filter(None, [_too_busy(members), _others(members, own)]))
    again = [member.scenario for member in members if any(v.status == "UNKNOWN" for v in member.verdicts)]
    how = f"repeat {'it' if len(undecided) == 1 else 'them'} with `{_command(run, again)}`"
    return f"{counts}: {why}; {how}; report: {report}"


def _command(run: Run, scenarios: Sequence[str]) -> str:
    """The command that measures only these scenarios again: the run's own, with their names."""
    if not run.members:
        return command(run)
    kept = [word for word in run.command[2:] if word not in {*run.members, "--undecided-is-0"}]
    return shlex.join(["shopbench", "run", *scenarios, *kept])


def _too_busy(members: Sequence[Run]) -> str:
    """For what the machine was too busy, and who had it; where nobody was seen, that the instrument was late."""
    busy, late = [], []
    for member in members:
        behind = [verdict for verdict in member.verdicts if fell_behind(verdict, member)]
        causes = next(filter(None, (without_cause(verdict.detail)[1] for verdict in behind)), "")
        if causes:
            busy.append(f"`{member.scenario}` ({causes})")
        elif behind:
            late.append(f"`{member.scenario}`")
    told = [f"this machine was too busy for {', '.join(busy)}"] if busy else []
    told += (
        [f"the instrument fell behind in {', '.join(late)}, and what disturbed it is not known"] if late else []
    )
    return "; ".join(told)


def _others(members: Sequence[Run], own: Sequence[Verdict]) -> str:
    """What else could not be decided, by name, with why; also of a suite itself."""
    told = [f"{verdict.name} ({verdict.detail})" for verdict in own if verdict.status == "UNKNOWN"]
    for member in members:
        told += [
            f"{verdict.name} ({verdict.detail})"
            for verdict in member.verdicts
            if verdict.status == "UNKNOWN" and not fell_behind(verdict, member)
        ]
    more = [f"{len(told) - _MOST_NAMED} more"] if len(told) > _MOST_NAMED else []
    return ", ".join([*told[:_MOST_NAMED], *more])
