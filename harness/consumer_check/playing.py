"""Plays trials: each in a process of its own, some at a time; what each has left is read from its record.

    jobs --begin--> a `Child` that is `shopbench run ...`  --ended--> its record --> Played --> check.json

A process for each trial, for three reasons: the command that repeats a row is the very command that played it, two
can be played at a time, and one that hangs is ended without the others. A trial that was killed leaves nothing
behind: its server and its consumers have guards, and it ends with its parent.

A consumer that cannot be started, or does nothing right, would fail in every trial in the same way. So its check
ends early: where the first trial was not carried out, or none of its effects came from an event that was sent; and
where two trials one after the other were not carried out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from harness.consumer_check import result
from harness.consumer_check.commands import text_of, words_of
from harness.consumer_check.result import Check, Played
from harness.consumer_check.trials import Trial
from harness.host.child import Child
from harness.host.clock import Clock
from harness.record import run
from harness.record.alive import settled
from harness.record.run import TRIALS, Record, RunError
from harness.system.logs import HEAD_LINES, LOG_LINES, consumer_log, first_lines, last_lines

LOOK_NS = 50_000_000
# After so long a silence somebody who looks on is told what is at work.
SILENT_NS = 20_000_000_000
# For so long a trial may end what it has begun.
STOP_S = 30.0
LOG = "shopbench.log"


class Job(Struct, frozen=True, kw_only=True):
    """A trial that is to be played: of which consumer, and for which time."""

    trial: Trial
    side: int
    repeat: int

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.trial.name}-{self.repeat}{'-against' if self.side else ''}"


def jobs_of(check: Check) -> list[Job]:
    """What is still to be played, in its order: repeat after repeat, and both consumers side by side."""
    done = {(each.trial, each.side, each.repeat) for each in check.played if each.is_finished}
    return [
        Job(trial=trial, side=side, repeat=repeat)
        for repeat in range(1, check.settings.repeat + 1)
        for trial in check.trials
        for side in range(len(check.settings.sides))
        if (trial.name, side, repeat) not in done
    ]


class Work(Struct, frozen=True, kw_only=True):
    """How trials are played.

    Attributes:
        directory: of the check.
        entry: `module:function` that is `shopbench`, for a `Child`.
        at_once: so many trials at a time.
        most_s: how long a trial may take, in seconds.
        clock: that says so.
        told: is told of the check after each trial, and what has ended.
        waits: is told, when nothing has ended for a while, what is at work and for how many seconds it has been.
    """

    directory: Path
    entry: str
    at_once: int
    most_s: Callable[[Trial], float]
    clock: Clock
    told: Callable[[Check, Played], None]
    waits: Callable[[Sequence[tuple[Job, float]]], None] = lambda _: None


class AtWork:
    """A trial that is being played.

    Args:
        job: what is played.
        check: of which it is a part.
        work: how.
    """

    def __init__(self, job: Job, check: Check, work: Work) -> None:
        self.job = job
        self._root = work.directory
        self._clock = work.clock
        self._begun_ns = work.clock.now_ns()
        self._ends_ns = self._begun_ns + int(work.most_s(job.trial) * 1e9)
        self._directory = work.directory / TRIALS / job.name
        # What an attempt has left that did not come to its end.
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        self._words = words_of(check.settings, job.trial, job.side)
        self._sees_repeats = not check.settings.probe
        self._reason = ""
        self._is_closed = False
        self._child = Child(
            work.entry,
            [*self._words, "--no-repeat", "--runs", str(self._directory)],
            str(self._directory / LOG),
            {"PYTHONHASHSEED": str(job.repeat)},
        )

    @property
    def took_s(self) -> float:
        """For how many seconds it has been played."""
        return (self._clock.now_ns() - self._begun_ns) / 1e9

    def is_over(self) -> bool:
        """Whether it has ended; one whose time is up is ended."""
        if self._is_closed or self._child.has_message():
            return True
        if self._clock.now_ns() < self._ends_ns:
            return False
        took_s = (self._ends_ns - self._begun_ns) / 1e9
        self._reason = f"it was ended after {took_s:.0f} s, in which it had not come to its end"
        self.stop()
        return True

    def stop(self) -> None:
        """Have it end what it has begun, and end it where that takes too long."""
        self.ask_to_end()
        if not self._is_closed:
            self._child.has_message(STOP_S)
        self.close()

    def ask_to_end(self) -> None:
        """Have it end what it has begun, without waiting for that."""
        if not self._is_closed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGTERM)

    def close(self) -> None:
        """End its process, where it has not ended; what it has started it has ended by the time it says so."""
        if not self._is_closed:
            self._is_closed = True
            self._child.close()

    def played(self) -> Played:
        """What has come of it."""
        job, took_s = self.job, self.took_s
        known = Played(
            trial=job.trial.name,
            side=job.side,
            repeat=job.repeat,
            hash_seed=job.repeat,
            command=text_of(self._words, hash_seed=job.repeat),
            duration_s=round(took_s, 3),
        )
        record = record_below(self._directory)
        if record is None:
            return replace(known, reason=self._reason or _why_no_record(self._directory / LOG))
        found = result.seen(record, job.trial, known, sees_repeats=self._sees_repeats)
        return replace(
            found,
            reason=self._reason or found.reason,
            directory=str(record.directory.relative_to(self._root)),
            log=last_lines(consumer_log(record.directory), LOG_LINES),
        )

    def log_head(self) -> list[str]:
        """The first lines that its consumer has written."""
        record = record_below(self._directory)
        return [] if record is None else first_lines(consumer_log(record.directory), HEAD_LINES)


def _why_no_record(log: Path) -> str:
    """Why a trial has left no record, by the last line of its log."""
    said = " ".join(last_lines(log, 1))
    told = said.removeprefix("shopbench: ")
    if told != said:
        return told
    return f"it left no record; its log ends with: {said}" if said else "it left no record, and an empty log"


def record_below(directory: Path) -> Record | None:
    """The record of the run that was made in a directory; None where there is none, or it cannot be read."""
    for path in sorted(directory.glob("*/run.json")):
        with contextlib.suppress(RunError):
            return settled(run.load(path.parent))
    return None


def play(check: Check, work: Work) -> Check:
    """Play what is left of a check; after each trial it is written, and told.

    Returns:
        The check with all of them; its status stays what it was.
    """
    waiting, at_work = jobs_of(check), list[AtWork]()
    told_ns = work.clock.now_ns()
    try:
        while waiting or at_work:
            # The first trials by themselves: what they find may be the end of it.
            alone = any(each.job.trial == check.trials[0] for each in at_work)
            while waiting and len(at_work) < work.at_once and (not alone or waiting[0].trial == check.trials[0]):
                at_work.append(AtWork(waiting.pop(0), check, work))
                alone = at_work[-1].job.trial == check.trials[0]
            for each in [each for each in at_work if each.is_over()]:
                at_work.remove(each)
                each.close()
                check = _with(check, each)
                waiting = [job for job in waiting if job.side not in check.ended_early]
                result.save(work.directory, check)
                work.told(check, check.played[-1])
                told_ns = work.clock.now_ns()
            if at_work and work.clock.now_ns() - told_ns > SILENT_NS:
                told_ns = work.clock.now_ns()
                work.waits([(each.job, each.took_s) for each in at_work])
            work.clock.sleep_ns(LOOK_NS)
    finally:
        _stop_all(at_work)
    return check


def _stop_all(at_work: Sequence[AtWork]) -> None:
    with contextlib.ExitStack() as stack:
        for each in at_work:
            stack.callback(each.stop)
            each.ask_to_end()


def _with(check: Check, ended: AtWork) -> Check:
    """A check with one more trial; perhaps it is the last one of its consumer."""
    played = ended.played()
    others = [
        each
        for each in check.played
        if (each.trial, each.side, each.repeat) != (played.trial, played.side, played.repeat)
    ]
    check = replace(check, played=[*others, played])
    if played.side not in check.log_heads and (head := ended.log_head()):
        check = replace(check, log_heads={**check.log_heads, played.side: head})
    if why := reason_to_end(check, played):
        check = replace(check, ended_early={**check.ended_early, played.side: why})
    return check


def reason_to_end(check: Check, played: Played) -> str:
    """Why there is no use in more trials of a consumer; empty: there is.

    Args:
        check: with all that has been played.
        played: the trial that was the last to end.
    """
    if not _was_carried_out(played):
        last = list(_last_of(check, played.side))[:2]
        is_first = played.trial == check.trials[0].name
        if is_first or (len(last) == 2 and not any(map(_was_carried_out, last))):
            return played.reason or "its trials were not carried out"
        return ""
    return _does_nothing_right(played) if played.trial == check.trials[0].name else ""


def _does_nothing_right(played: Played) -> str:
    """What is so wrong in a first trial that the others would say no more; empty: nothing is."""
    acknowledged = played.counts.acknowledged or 0
    applied, unexpected = (played.figure(name) or 0 for name in ("applied", "unexpected"))
    strange = f"{unexpected:,.0f} effects came from events that nobody sent"
    if acknowledged and not applied:
        none = f"none of {acknowledged:,} events had an effect, though nothing was done to the consumer"
        return f"{none}; {strange}" if unexpected else none
    if unexpected > acknowledged:
        return f"{strange}, and only {acknowledged:,} were sent"
    return ""


def _was_carried_out(played: Played) -> bool:
    return played.status == "complete"


def _last_of(check: Check, side: int) -> Iterator[Played]:
    """What was played of a consumer, the last one first."""
    return (each for each in reversed(check.played) if each.side == side)
