"""What a check has found: every trial as it was played, and the file that holds all of it.

    check.json      written after each trial: who stops a check keeps what was played, and can go on from there

A trial is judged by the verdicts of its run, and by nothing else:

    happened     hit_in_batch, outage_happened, went_quiet ...: where one does not pass, the thing was not done,
                 and the trial says "not tried"; a loss that was seen all the same stays a FAIL
    measured     whether events were appended and the server stood: where one does not pass, nothing is decided
    instrument   lateness, and what producers noticed: kept, and not asked here
    the rest     is about the consumer: the worst of them is the trial's
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from harness.account.examples import SECTION as EXAMPLES
from harness.account.followed import SECTION as FOLLOWED
from harness.account.followed import Followed
from harness.account.losses import Losses
from harness.check.checkers import worst
from harness.consumer_check.trials import CLAIM_MS, TRIALS, LeftOut, Trial
from harness.record.evidence import EvidenceError
from harness.record.run import CHECK, Record, RunError, Status, Verdict, write_atomically

# Schema 1, 2026-11-28: the first.
SCHEMA = 1
FILE = CHECK

HAPPENED = frozenset({"outage_happened", *(name for trial in TRIALS for name in trial.happened)})
MEASURED = frozenset({"answered", "evictions", "left_nothing", "alone", "ended", "finished", "evidence"})
INSTRUMENT = frozenset({"send_lag", "load_reached", "probes", "workers"})
_PRODUCERS = "producers_unharmed"
# One of these has every run of which an account was made; who promises at most once may lose.
NEEDED = frozenset({"nothing_lost", "nothing_twice"})
_RECOVERED = ("recovered_s.max", "caught_up_s", "drained_s")
# The mark of a consumer's end (`scenarios.line.figures`).
EXITED = re.compile(r" exited with (-?\d+)$")


class Side(Struct, frozen=True, kw_only=True):
    """A consumer that is checked.

    Attributes:
        consumer: its command; `ordershop`: the CRM of the shop of this repository.
        label: what tables call it.
    """

    consumer: str
    label: str


class Settings(Struct, frozen=True, kw_only=True):
    """How a check is made, as its command line says.

    Attributes:
        sides: the consumer, and perhaps another one that it is set against.
        promise, shape, probe, restart, server, server_file: as `shopbench run` takes them; empty: not given.
        repeat: how often each trial is played.
        claim_ms: after which the consumer is told to claim, in milliseconds.
        shape_digest: of the file of the shape, as it was when the check began.
    """

    sides: tuple[Side, ...]
    promise: str = "at_least_once"
    shape: str = ""
    probe: str = ""
    restart: str = ""
    server: str = ""
    server_file: str = ""
    repeat: int = 1
    claim_ms: int = CLAIM_MS
    shape_digest: str = ""


class Counts(Struct, frozen=True, kw_only=True):
    """What became of the events of a trial; None where it is not known.

    Attributes:
        acknowledged: how many were appended for sure.
        lost: how many of them have had no effect, and the group has no more to hand over.
        stuck: how many have had no effect, and are pending, or were never delivered.
        where: those of both by the place where they stopped.
        repeated: effects beyond the first of an event.
        disordered: effects that came after that of a later event of their entity.
        recovered_s: from the end of the fault until all that had waited was handled.
    """

    acknowledged: int | None = None
    lost: int | None = None
    stuck: int | None = None
    where: dict[str, int] = {}
    repeated: int | None = None
    disordered: int | None = None
    recovered_s: float | None = None


class Done(Struct, frozen=True, kw_only=True):
    """A fault as it was done; times are in seconds since the load began.

    Attributes:
        name: of its kind.
        target: that it was done to.
        start_s: when.
        end_s: when it had healed; None: it had not.
    """

    name: str
    target: str
    start_s: float
    end_s: float | None


class Played(Struct, frozen=True, kw_only=True):
    """A trial as it was played once.

    Attributes:
        trial: its name.
        side: which of the consumers.
        repeat: from 1 on.
        hash_seed: PYTHONHASHSEED of the consumer.
        directory: of the run, below that of the check; empty: there is no record.
        command: that plays it again.
        duration_s: of it all.
        status: of the run; `none` where there is no record of one.
        outcome: PASS, FAIL or UNKNOWN.
        not_tried: why the thing was not done to the consumer; empty: it was.
        reason: why the run did not come to its end; empty: it did.
        counts: of its events.
        verdicts: of its run, all of them.
        figures: of its run, by name.
        exit_codes: with which the consumer ended by itself, in their order; of very many the first.
        is_followed: whether all was seen that the group was told.
        examples: what the run says of one lost event of each class.
        faults: that were done.
        server: what the record says of the server.
        log: the last lines of the consumer's log.
    """

    trial: str
    side: int
    repeat: int
    hash_seed: int
    command: str
    directory: str = ""
    duration_s: float = 0.0
    status: Literal["complete", "interrupted", "failed", "running", "none"] = "none"
    outcome: Status = "UNKNOWN"
    not_tried: str = ""
    reason: str = ""
    counts: Counts = Counts()
    verdicts: list[Verdict] = []
    figures: dict[str, float | None] = {}
    exit_codes: list[int] = []
    is_followed: bool = False
    examples: Any = None
    faults: list[Done] = []
    server: dict[str, Any] = {}
    log: list[str] = []

    def figure(self, name: str) -> float | None:
        """A figure by the end of its name; None where it is missing, or could not be measured."""
        return next((value for each, value in self.figures.items() if each.partition(".")[2] == name), None)

    @property
    def is_finished(self) -> bool:
        """Whether it need not be played again when a check is resumed."""
        return self.status == "complete"


class Check(Struct, frozen=True, kw_only=True):
    """A check: what was asked, what was played, and what was not.

    Attributes:
        status: `running` until it has come to its end.
        started_at: in ISO 8601.
        settings: as asked.
        command: that makes it again.
        trials: in their order, as they were defined.
        left_out: what was not tried, and why.
        played: every trial that has ended, in the order in which they did.
        ended_early: why a consumer's other trials were not played; by side.
        host: machine, interpreter and versions.
        log_heads: the first lines that each consumer has written; by side.
    """

    schema: int = SCHEMA
    status: Literal["running", "complete", "interrupted", "ended early"]
    started_at: str
    duration_s: float = 0.0
    settings: Settings
    command: str
    trials: list[Trial]
    left_out: list[LeftOut] = []
    played: list[Played] = []
    ended_early: dict[int, str] = {}
    host: dict[str, Any] = {}
    log_heads: dict[int, list[str]] = {}


def save(directory: Path, check: Check) -> None:
    """Write `check.json` as a whole."""
    content = msgspec.json.format(msgspec.json.encode(check), indent=2)
    write_atomically(directory / FILE, content + b"\n")


def load(directory: Path) -> Check:
    """Read a check.

    Raises:
        RunError: there is none, it cannot be read, or is of a newer schema.
    """
    path = directory / FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{directory}: no consumer check there ({error.strerror or error})") from error
    try:
        check = msgspec.json.decode(content, type=Check)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"{path}: not a consumer check ({error})") from error
    if check.schema > SCHEMA:
        raise RunError(f"{path}: written by a newer shopbench (schema {check.schema}; this one reads {SCHEMA})")
    return check


# One trial ---------------------------------------------------------------------------------------------------


def seen(record: Record, trial: Trial, played: Played, *, sees_repeats: bool) -> Played:
    """A trial with what the record of its run says.

    Args:
        record: of the run.
        played: what is known without it.
        sees_repeats: whether an effect that was had twice would have been seen twice.
    """
    run = record.run
    counts = counts_of({figure.name: figure.value for figure in run.figures}, run.scenario)
    if not sees_repeats and not counts.repeated:
        counts = msgspec.structs.replace(counts, repeated=None)
    outcome, not_tried = judged(run.verdicts, trial.happened, is_complete=run.status == "complete")
    return msgspec.structs.replace(
        played,
        status=run.status,
        outcome=outcome,
        not_tried=not_tried,
        reason=run.reason,
        counts=counts,
        verdicts=list(run.verdicts),
        figures={figure.name: figure.value for figure in run.figures},
        exit_codes=_exit_codes(record),
        is_followed=_is_followed(record),
        examples=_examples(record),
        faults=_done(record),
        server=dict(run.environment.get("server") or {}),
    )


def _examples(record: Record) -> Any:
    """The examples of lost events as they are; None where there are none, or they cannot be read."""
    try:
        return record.evidence.value(EXAMPLES, object) if record.evidence.has(EXAMPLES) else None
    except EvidenceError:
        return None


def _is_followed(record: Record) -> bool:
    """Whether each connection was followed, without a gap, so that what was not seen has not happened."""
    try:
        told = record.evidence.value(FOLLOWED, Followed) if record.evidence.has(FOLLOWED) else None
    except EvidenceError:
        return False
    return told is not None and bool(told.consumers) and told.is_whole


def _exit_codes(record: Record) -> list[int]:
    """With which the consumer has ended by itself; none where the timeline cannot be read."""
    try:
        marks = record.history.marks
    except RunError:
        return []
    found = (EXITED.search(mark.name) for mark in marks)
    return [int(each[1]) for each in found if each]


def _done(record: Record) -> list[Done]:
    """The faults that were done; none where the timeline cannot be read."""
    try:
        windows = record.history.faults
    except RunError:
        return []
    return [
        Done(
            name=each.name,
            target=each.target,
            start_s=each.start_ns / 1e9,
            end_s=None if each.end_ns is None else each.end_ns / 1e9,
        )
        for each in windows
    ]


def judged(verdicts: Sequence[Verdict], happened: Sequence[str], *, is_complete: bool) -> tuple[Status, str]:
    """What a trial comes to, and why it was not tried.

    Args:
        verdicts: of its run.
        happened: those, by their last names, that have to pass.
        is_complete: whether the run came to its end.
    """
    by_name = {verdict.name.rpartition(".")[2]: verdict for verdict in verdicts}
    about = [v for name, v in by_name.items() if _is_about_the_consumer(name)]
    status = worst(about)
    not_tried = _not_tried(by_name, happened) if is_complete else ""
    if status == "FAIL":
        return status, not_tried
    is_measured = all(v.status == "PASS" for name, v in by_name.items() if name in MEASURED)
    if not_tried or not is_complete or not is_measured or not NEEDED & by_name.keys():
        return "UNKNOWN", not_tried
    return status, ""


def _not_tried(by_name: Mapping[str, Verdict], happened: Sequence[str]) -> str:
    for name in happened:
        if name not in by_name:
            return f"whether it was done was not seen ({name})"
    for name, verdict in by_name.items():
        if name in HAPPENED and verdict.status != "PASS":
            return verdict.detail
    return ""


def told_verdicts(played: Played) -> list[Verdict]:
    """The verdicts of a trial that are about the consumer."""
    return [v for v in played.verdicts if _is_about_the_consumer(v.name.rpartition(".")[2])]


def undecided_by(played: Played) -> list[Verdict]:
    """The verdicts because of which a trial decides nothing: on what was measured, then on the consumer."""
    if played.outcome != "UNKNOWN":
        return []
    named = [(v.name.rpartition(".")[2], v) for v in played.verdicts if v.status != "PASS"]
    measured = [v for name, v in named if name in MEASURED]
    return [*measured, *(v for name, v in named if _is_about_the_consumer(name))]


def _is_about_the_consumer(name: str) -> bool:
    return name not in HAPPENED | MEASURED | INSTRUMENT and not name.startswith(_PRODUCERS)


def counts_of(figures: Mapping[str, float | None], prefix: str) -> Counts:
    """What became of the events, by the figures of a run.

    Args:
        figures: by name.
        prefix: the scenario's.
    """

    def value(name: str) -> float | None:
        return figures.get(f"{prefix}.{name}")

    def count(name: str) -> int | None:
        found = value(name)
        return None if found is None else int(found)

    start = f"{prefix}.lost."
    where = {name.removeprefix(start): int(n) for name, n in figures.items() if name.startswith(start) and n}
    without_effect = count("lost")
    stuck = sum(where.get(name, 0) for name in Losses().waiting)
    return Counts(
        acknowledged=count("acknowledged"),
        lost=None if without_effect is None else without_effect - stuck,
        stuck=None if without_effect is None else stuck,
        where=where,
        repeated=count("duplicated"),
        disordered=count("disordered"),
        # By the first that was measured. While an event that should have one has had no effect, none is true.
        recovered_s=None if without_effect else next(filter(None, map(value, _RECOVERED)), None),
    )
