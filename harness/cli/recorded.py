"""What becomes of a record that a command makes: its directory, budgets, report, history, index and exit code."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import msgspec

from harness.check import budgets, checkers
from harness.cli.options import catalog
from harness.cli.shown import Shown, out, say, warn
from harness.conduct.conduct import conduct
from harness.conduct.interrupt import Interrupted
from harness.conduct.scenario import Stage
from harness.host.clock import Clock, SystemClock
from harness.record import run
from harness.record.run import Record, RunError
from harness.server.url import without_secrets


def command_line() -> list[str]:
    """This command as a record keeps it, without passwords."""
    return ["shopbench", *(without_secrets(word) for word in sys.argv[1:])]


def new_directory(runs: Path, name: str, clock: Clock) -> Path:
    """A directory for a record that begins now."""
    return run.new_directory(runs, name, dt.datetime.fromtimestamp(clock.epoch_s(), dt.UTC))


def conducted(
    scenario: Any,
    parameters: msgspec.Struct,
    shown: Shown,
    *,
    server: str,
    seed: int,
    runs: Path,
    cores: str = "all",
) -> tuple[Record, BaseException | None]:
    """The record of what is no load of its own (a gate, a self-check), and what ended it.

    Args:
        scenario: or what is conducted like one.
        server: `embedded`, or the path of a server program.
        runs: where its directory is made.
        cores: the plan by which it puts processes on cores, as the record names it.
    """
    clock = SystemClock()
    stage = Stage(
        server=server,
        port=None,
        profile="quick",
        seed=seed,
        directory=new_directory(runs, scenario.name, clock),
        clock=clock,
        progress=shown.begin(scenario.name),
        cores=cores,
    )
    return conduct(scenario, parameters, stage, command=command_line())


def check_history(history: Path | None) -> None:
    """Say what is wrong with a history before anything is measured."""
    from harness.check.trend import read_entries

    if history is not None and history.exists():
        read_entries(history)


def budgets_of(path: Path | None) -> list[budgets.Budget] | None:
    """The budgets in a file, checked against what there is to be limited; None without a file."""
    return None if path is None else budgets.read_budgets(path, offers())


def offers() -> dict[str, budgets.Offer]:
    """What budgets may limit, by scenario; the gate, a search of a capacity and a comparison are among them."""
    from harness.capacity.capacity import Capacity
    from harness.capacity.versus import Versus
    from harness.gate.loop import Gate, GateParameters

    found = {
        name: budgets.Offer(each.parameters, getattr(each, "figures", ())) for name, each in catalog().items()
    }
    found["gate"] = budgets.Offer(GateParameters, Gate.figures)
    found["capacity"] = budgets.Offer(_searched_parameters(Capacity.parameters), Capacity.figures)
    found["versus"] = budgets.Offer(Versus.parameters, Versus.figures)
    return found


def _searched_parameters(own: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """What a budget on a search may be meant for: what was chosen for it, and for the load that was probed."""
    fields = {field.name: field.type for field in msgspec.structs.fields(own)}
    for each in catalog().values():
        if hasattr(each, "probing"):
            for field in msgspec.structs.fields(each.parameters):
                fields.setdefault(field.name, field.type)
    return msgspec.defstruct("SearchedParameters", list(fields.items()), kw_only=True)


def held_to(record: Record, limits: list[budgets.Budget] | None) -> Record:
    """A record with the verdicts of its budgets; a suite has them besides its members'."""
    if limits is None:
        return record
    members = record.members()
    found = budgets.budget_verdicts(limits, [each.run for each in members or [record]])
    passed = sum(verdict.status == "PASS" for verdict in found)
    held = msgspec.structs.replace(record.run, verdicts=[*record.run.verdicts, *found])
    if members and held.headline:
        told = f"{held.headline} {passed} of {len(found)} budgets are kept."
        held = msgspec.structs.replace(held, headline=told)
    run.save(record.directory, held)
    return run.load(record.directory)


def remember(record: Record, history: Path) -> None:
    """Append what has come to its end to the history."""
    from harness.check.trend import append_entry, entry_of
    from reports.differences import question, server_of

    for each in record.members() or [record]:
        if each.run.status == "complete":
            about = entry_of(each.run, question=dict(question(each.run)), server=server_of(each.run))
            append_entry(history, about)


def conclude(
    record: Record,
    ended: BaseException | None,
    *,
    history: Path | None = None,
    as_json: bool = False,
    undecided_is_0: bool = False,
) -> int:
    """Report a record, remember it, put it into the index beside it, and answer the exit code.

    Args:
        ended: what ended the run before its time; None: nothing did.
        history: the file that its figures are appended to.
        as_json: print the record, and nothing else.
        undecided_is_0: where no verdict is FAIL and one is UNKNOWN.
    """
    from harness.check.trend import read_entries
    from reports.index import refresh_index

    report(record, as_json=as_json)
    if history is not None:
        remember(record, history)
    refresh_index(record.directory.parent, read_entries(history) if history and history.exists() else ())
    if ended is None:
        code = checkers.exit_code(record.run.verdicts)
        is_undecided = code == checkers.EXIT_INVALID and bool(record.run.verdicts)
        return checkers.EXIT_PASS if is_undecided and undecided_is_0 else code
    if isinstance(ended, Interrupted):
        return checkers.EXIT_INVALID
    warn(f"shopbench: {ended}")
    return checkers.EXIT_USAGE


def report(record: Record, *, as_json: bool = False) -> None:
    """Write the reports of a record, and print its summary.

    Raises:
        RunError: a report cannot be written.
    """
    from reports import write_reports
    from reports.conclusion import conclusion
    from reports.summaries import terminal

    try:
        for member in record.members():
            write_reports(member, member.directory)
        path = write_reports(record, record.directory)
    except OSError as error:
        raise RunError(f"{record.directory}: the report cannot be written ({error.strerror})") from error
    if as_json:
        sys.stdout.write((record.directory / "run.json").read_text())
        return
    out.print(terminal(record))
    say(conclusion(record, path) or str(path))
