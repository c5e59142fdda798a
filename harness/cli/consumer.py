"""`shopbench consumer check`: a consumer is killed, stopped, frozen and cut off in turn; what does it lose?

    shopbench consumer check --consumer 'python consumer.py'
    shopbench consumer check --consumer 'python old.py' --against 'python mended.py' --repeat 3
    shopbench consumer check --resume runs/20261128-120000-consumer-check

Each trial is a run of its own on a server of its own. The list of them is `harness.consumer_check.trials`; what a
trial comes to is `harness.consumer_check.result`; the page is `reports.consumer_page`.
"""

from __future__ import annotations

import datetime as dt
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec.structs import replace

from harness.check.checkers import EXIT_INVALID, EXIT_PASS, EXIT_USAGE, code_of
from harness.cli.options import (
    ProbeOption,
    PromiseOption,
    RestartOption,
    RunsOption,
    ServerFileOption,
    ServerOption,
    ShapeOption,
    UsageError,
    asked_consumer,
    catalog,
    taking,
    there_are,
)
from harness.cli.recorded import new_directory
from harness.cli.shown import out, say, warn
from harness.cli.trial import ENTRY
from harness.conduct.interrupt import Interrupted, interruptible, written
from harness.consumer_check import result
from harness.consumer_check.commands import ORDERSHOP, ORDERSHOP_PROMISE, PROMISE, check_words, text_of
from harness.consumer_check.playing import Work, jobs_of, play
from harness.consumer_check.result import Check, Played, Settings, Side
from harness.consumer_check.rows import status_of
from harness.consumer_check.trials import (
    CLAIM_MS,
    NOT_ASKED,
    TRIALS,
    Chosen,
    LeftOut,
    Trial,
    chosen,
    expected_s,
    most_s,
    whole_s,
)
from harness.host.clock import Clock, SystemClock
from harness.record.environment import describe_host
from harness.record.files import digest_of
from harness.record.run import RunError
from harness.server.named import server_named
from harness.server.open import kind_of
from harness.server.url import ServerUrl

MOST_REPEATS = 1_000
SHOP_LACKS = {
    "refusals": "the mail service of the shop refuses nothing",
    "attempts": "the mail service of the shop tells of mails, and not of attempts",
    "leader": "the CRM of the shop is one process",
}
# In a reason that has the end of the log in it.
LOG_SAID = "its log"
consumer_app = typer.Typer(no_args_is_help=True, help="Check a consumer of Redis Streams, in any language.")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    consumer: Annotated[
        str | None,
        typer.Option(help=f"The command that starts your consumer. {ORDERSHOP}: the CRM of OrderShop."),
    ] = None
    against: Annotated[
        str | None, typer.Option(help="Another command, played beside it: a fixed version beside a broken one.")
    ] = None
    promise: PromiseOption = ""
    shape: ShapeOption = None
    probe: ProbeOption = ""
    restart: RestartOption = ""
    repeat: Annotated[int, typer.Option(min=1, max=MOST_REPEATS, help="How often each trial is played.")] = 1
    claim_ms: Annotated[
        int,
        typer.Option(
            min=CLAIM_MS, max=600_000, help="After so long it claims what others left; some trials: later."
        ),
    ] = CLAIM_MS
    only: Annotated[list[str] | None, typer.Option(help="Only these trials, with commas between them.")] = None
    skip: Annotated[list[str] | None, typer.Option(help="Not these trials.")] = None
    at_once: Annotated[
        int | None, typer.Option(min=1, max=16, help="Trials at a time. Default: 2 where there are two cores.")
    ] = None
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this check: what was played is kept, as is all that was asked.")
    ] = None
    server: ServerOption = None
    server_file: ServerFileOption = None
    undecided_is_0: Annotated[
        bool,
        typer.Option("--undecided-is-0", help="End with 0 instead of 3 if nothing fails."),
    ] = False
    runs: RunsOption = Path("runs")
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, say what would be played, start nothing."),
    ] = False


@consumer_app.callback()
def about_consumers() -> None:
    """Check a consumer of Redis Streams, in any language."""


@taking(Asked)
def check_command(asked: Asked) -> int:
    """Play a list of faults to a consumer, and say after which of them events were lost, stuck or repeated.

    Exit codes: 0 passes, 1 fails, 2 usage or a consumer that cannot be started, 3 undecided.
    """
    clock = SystemClock()
    directory, check = _resumed(asked) if asked.resume is not None else (None, _begun(asked, clock))
    which = server_named(check.settings.server or None, _path(check.settings.server_file), os.environ)
    at_once = _at_once(asked, which, check.settings.probe)
    for line in _plan(check, at_once):
        say(line)
    if asked.dry_run:
        say("nothing was started: this was a dry run")
        return EXIT_PASS
    directory = directory or new_directory(asked.runs, "consumer-check", clock)
    return _played(check, directory, at_once, clock, undecided_is_0=asked.undecided_is_0)


consumer_app.command("check")(check_command)


# What is asked -------------------------------------------------------------------------------------------------


def _begun(asked: Asked, clock: Clock) -> Check:
    """A check that has not played anything yet."""
    if asked.consumer is None:
        raise UsageError("say which consumer is checked: --consumer 'COMMAND'")
    commands = [asked.consumer, *([asked.against] if asked.against is not None else [])]
    settings = Settings(
        sides=tuple(_side(asked, each) for each in commands),
        promise=asked.promise or (PROMISE if asked.consumer != ORDERSHOP else ORDERSHOP_PROMISE),
        shape=str(asked.shape or ""),
        probe=asked.probe,
        restart=asked.restart,
        server=asked.server or "",
        server_file=str(asked.server_file or ""),
        repeat=asked.repeat,
        claim_ms=asked.claim_ms,
        shape_digest=_digest(asked.shape),
    )
    which = server_named(asked.server, asked.server_file, os.environ)
    found = _trials(asked, settings, which)
    return Check(
        status="running",
        started_at=dt.datetime.fromtimestamp(clock.epoch_s(), dt.UTC).isoformat(timespec="milliseconds"),
        settings=settings,
        command=text_of(check_words(settings, _only(found.trials, found.left_out))),
        trials=list(found.trials),
        left_out=list(found.left_out),
        host=describe_host(),
    )


def _side(asked: Asked, command: str) -> Side:
    """A consumer that is checked, once it is sure that a run could have it.

    Raises:
        UsageError: none could.
    """
    asked_consumer(replace(asked, consumer=None if command == ORDERSHOP else command), ())
    return Side(consumer=command, label=command)


def _digest(path: Path | None) -> str:
    """Of the file of a shape, to know it again; empty: there is none."""
    try:
        return "" if path is None else digest_of(path)
    except OSError as error:
        raise UsageError(f"--shape {path}: cannot be read ({error.strerror})") from error


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _trials(asked: Asked, settings: Settings, which: ServerUrl | str) -> Chosen:
    """What is played of all trials that there are.

    Raises:
        UsageError: a name is none of theirs, or nothing is left.
    """
    names = [trial.name for trial in TRIALS]
    only, skip = _words(asked.only), _words(asked.skip)
    for name in (*only, *skip):
        if name not in names:
            raise UsageError(f"there is no trial {name!r}; {there_are(name, names)}")
    lacking = {}
    if "kill" not in kind_of(which).can:
        lacking["own server"] = "it is done only to a server that the check starts"
    if settings.probe:
        lacking["sink"] = "effects are seen by a probe command, and the sink takes none"
    if asked.consumer == ORDERSHOP:
        lacking |= SHOP_LACKS
    found = chosen(catalog(), only=only, skip=skip, lacking=lacking)
    if not found.trials:
        others = [f"{each.trial}: {each.why}" for each in found.left_out if each.why != NOT_ASKED]
        raise UsageError("; ".join(["no trial is left", *others]))
    return replace(found, trials=tuple(trial.claiming_after(asked.claim_ms) for trial in found.trials))


def _words(given: Sequence[str] | None) -> list[str]:
    """Names that were given one by one, or with commas between them."""
    return [word for each in given or () for word in filter(None, map(str.strip, each.split(",")))]


def _resumed(asked: Asked) -> tuple[Path, Check]:
    """The directory of a check that is gone on with, and the check.

    Raises:
        UsageError: it cannot be gone on with as it is asked.
        RunError: there is no check.
    """
    directory: Path = asked.resume or Path()
    check = result.load(directory)
    settings = check.settings
    for option, given, was in (
        ("--consumer", asked.consumer, settings.sides[0].consumer),
        ("--against", asked.against, settings.sides[1].consumer if len(settings.sides) > 1 else None),
    ):
        if given is not None and given != was:
            raise UsageError(f"--resume {directory}: {option} was {was!r} there")
    if _digest(_path(settings.shape)) != settings.shape_digest:
        raise UsageError(f"--resume {directory}: {settings.shape} is not what it was when the check began")
    repeat = max(settings.repeat, asked.repeat)
    settings = replace(settings, repeat=repeat)
    return directory, replace(
        check,
        status="running",
        settings=settings,
        ended_early={},
        command=text_of(check_words(settings, _only(check.trials, check.left_out))),
    )


def _only(trials: Sequence[Trial], left_out: Sequence[LeftOut]) -> list[str]:
    """The names of trials, where somebody has left some out; else none."""
    return [trial.name for trial in trials] if any(each.why == NOT_ASKED for each in left_out) else []


def _at_once(asked: Asked, which: ServerUrl | str, probe: str) -> int:
    """How many trials are played at a time: one, where they share a server, or a database of effects."""
    if isinstance(which, ServerUrl) or probe:
        return 1
    return asked.at_once or min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


# What is said, and done -----------------------------------------------------------------------------------------


def _plan(check: Check, at_once: int) -> list[str]:
    """What is going to be played, and how long it is going to take."""
    jobs = jobs_of(check)
    done = sum(each.is_finished for each in check.played)
    played = f", {done} of {done + len(jobs)} played already" if done else ""
    takes_s = whole_s([expected_s(catalog(), job.trial) for job in jobs], at_once)
    sides = [each.consumer for each in check.settings.sides]
    commands = sides[0] if len(sides) == 1 else f"(a) {sides[0]} against (b) {sides[1]}"
    lines = [
        f"{commands}: {_many(len(check.trials), 'trial')}{_times(check)}, {at_once} at a time{played}",
        f"about {_minutes(takes_s)}; longer where a consumer takes long to start, or stops before all is handled",
    ]
    left_out = [each for each in check.left_out if each.why != NOT_ASKED]
    return [*lines, *(f"not tried: {each.trial} ({each.why})" for each in left_out)]


def _times(check: Check) -> str:
    repeat = check.settings.repeat
    return f", each {repeat} times" if repeat > 1 else ""


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min"


def _played(check: Check, directory: Path, at_once: int, clock: Clock, *, undecided_is_0: bool) -> int:
    """Play a check, and answer the exit code."""
    from reports.consumer_words import trial_line, waiting_line

    begun_ns, before_s = clock.now_ns(), check.duration_s
    total = len(check.played) + len(jobs_of(check))

    def told(found: Check, played: Played) -> None:
        say(trial_line(found, played, total))

    work = Work(
        directory=directory,
        entry=ENTRY,
        at_once=at_once,
        most_s=lambda trial: most_s(catalog(), trial),
        clock=clock,
        told=told,
        waits=lambda at_work: say(waiting_line([(job.trial, took_s) for job, took_s in at_work])),
    )
    result.save(directory, check)
    status = "interrupted"
    try:
        with interruptible():
            check = play(check, work)
            status = "ended early" if len(check.ended_early) == len(check.settings.sides) else "complete"
    except Interrupted:
        check = result.load(directory)
    took_s = before_s + (clock.now_ns() - begun_ns) / 1e9
    check = replace(check, status=status, duration_s=round(took_s, 3))
    written(lambda: _write(directory, check))
    return _concluded(check, directory, undecided_is_0=undecided_is_0)


def _write(directory: Path, check: Check) -> None:
    from reports.consumer_page import write_check

    try:
        write_check(check, directory)
    except OSError as error:
        raise RunError(f"{directory}: the check cannot be written ({error.strerror})") from error


def _concluded(check: Check, directory: Path, *, undecided_is_0: bool) -> int:
    """Say what a check has found, and answer the exit code."""
    from reports.consumer_page import PAGE
    from reports.consumer_words import CheckSummary

    was_carried_out = any(each.status == "complete" for each in check.played)
    if was_carried_out:
        out.print(CheckSummary(check))
    for side, why in check.ended_early.items():
        _say_early(check, side, why)
    say(str(directory / PAGE))
    if check.status == "interrupted":
        say(f"go on with: shopbench consumer check --resume {shlex.quote(str(directory))}")
        return EXIT_INVALID
    if not was_carried_out:
        return EXIT_USAGE
    code = code_of(status_of(check))
    return EXIT_PASS if code == EXIT_INVALID and undecided_is_0 else code


def _say_early(check: Check, side: int, why: str) -> None:
    """Why a consumer's check ended early, in a line, and the end of its log where that does not say it."""
    from reports.summaries import one_line

    label = one_line(check.settings.sides[side].label)
    warn(f"shopbench: {why}" if why.startswith(label) else f"shopbench: {label}: {why}")
    logs = [each.log for each in check.played if each.side == side and each.log]
    if logs and LOG_SAID not in why:
        for line in logs[-1]:
            warn(f"    {one_line(line)}")
