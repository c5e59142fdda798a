"""A run on disk: one directory, written by the instrument, read by everything downstream.

    runs/20261123-141502-append/
        run.json         schema, scenario, parameters, environment, figures, verdicts
        latency.hlog     HdrHistogram V2 interval log: a tag per operation and kind, 1 s intervals
        append_always.response.hgrm ...    each of these tags as a percentile distribution of the whole run
        timeline.jsonl   readings, fault windows, marks, the slowest operations
        evidence.zip     what was seen of each event (`harness.record.evidence`): what the verdicts rest on
        report.html  summary.md  junit.xml      rendered from the files above, and from nothing else

A run of several scenarios is a *suite*: its `run.json` names its `members`, each a run of its own in a
directory of that name, and repeats their figures and verdicts under their names.

`run.json` is written when a run begins (status "running") and again when it ends, each time as a whole, so
that a run whose process was killed is still there and says so. Records are frozen; a figure that could
not be measured has the value None, and a verdict without evidence is UNKNOWN.
"""

from __future__ import annotations

import copy
import datetime as dt
import os
import re
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from harness.measure.histogram import RecordingError
from harness.measure.hlog import LatencyLog, read_hlog
from harness.measure.timeline import History, HistoryError, read_timeline
from harness.record.evidence import FILE, Evidence
from harness.record.files import LATENCIES, TIMELINE, digest_of
from harness.record.parameters import renamed
from harness.record.sections import Sections

# Schema 1, 2026-11-23: the first. Since then figures have got `samples`, and `low`, `high` and `bound_by`, and
# runs `repeats`; who reads the older ones misses nothing.
# Schema 2, 2026-11-28: `evidence.zip` lies beside it, and verdicts say what they rest on. Runs have what a
# scenario says of its report, `key_figures`, `sections` and `words`; without them it goes by the figures' names.
SCHEMA = 2
# Before it no run kept any.
EVIDENCE_SINCE = 2
# What a consumer check leaves in its directory, where a run has its `run.json`: its own record, and its runs.
CHECK, TRIALS = "check.json", "trials"

Status = Literal["PASS", "UNKNOWN", "FAIL"]
P = TypeVar("P", bound=msgspec.Struct)


class RunError(Exception):
    """A run directory that cannot be read; its text is one clear line."""


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A measured number with a stable name, such as `append.always.response.p99`, and its unit.

    Attributes:
        samples: of how many values a quantile is taken; None where it is none, or nobody has counted.
        low, high: the ends of a quantile's interval (`harness.measure.bounds`), in the same unit; None for an end
            of which there were too few values or seconds.
        bound_by: by what the interval is: "order" of the values, or "blocks" of time; empty where nobody has made
            one.
    """

    name: str
    value: float | None
    unit: str
    samples: int | None = None
    low: float | None = None
    high: float | None = None
    bound_by: Literal["", "order", "blocks"] = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a checker found: PASS, UNKNOWN or FAIL, and why, in a sentence.

    Attributes:
        rests_on: the sections of the evidence, and the files of the run, that it was found in; empty before
            schema 2, and where it follows from `run.json` alone.
    """

    name: str
    status: Status
    detail: str
    rests_on: tuple[str, ...] = ()


class WorkerShare(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's part in a load that several of them make.

    Attributes:
        name: Locust's for the worker.
        arrivals: how many of its share were due, as far as is known.
        connections: how many it had, or users.
        clock_offset_s: its clock's time of day less that of the master's.
        clock_error_s: by how much that estimate may be wrong, half of the quickest round trip.
        unseen: how many arrivals of its share nobody knows about, for it has fallen silent.
        silent_from_s: when in the run it was last heard of, where it has.
    """

    name: str
    arrivals: int
    connections: int
    clock_offset_s: float | None = None
    clock_error_s: float | None = None
    unseen: int = 0
    silent_from_s: float | None = None


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a run that was measured once more, since the instrument had fallen behind.

    Attributes:
        part: what was, as its figures begin: `append.always`, or a scenario's name.
        reason: why.
        again: the directory of the second measurement, below the run's; the first record is in `first`.
        is_judged: whether the second one is judged; then the first one's figures are `<part>.first...`, else the
            first one is judged still, and the second one's figures are `<part>.again...`.
        detail: why the second one is not judged; empty where it is.
        verdicts: of the one that is not judged.
    """

    part: str
    reason: str
    again: str
    is_judged: bool
    detail: str = ""
    verdicts: list[Verdict] = []


class KeyFigure(msgspec.Struct, frozen=True, omit_defaults=True):
    """A figure that a reader in a hurry needs, and what to call it.

    Attributes:
        name: of the figure. A `*` in it stands for each of the run's `words`: `append.*.response.p99`.
        label: in the report.
        is_worst: whether only the highest of them is shown, where a `*` stands for several.
    """

    name: str
    label: str
    is_worst: bool = False


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a run, as it stands in `run.json`.

    Attributes:
        files: a digest of each file that the verdicts rest on, as the run left it.
        key_figures: those that matter, by the scenario; none where it does not say.
        sections: of the report, of which there should be evidence; None where the scenario does not say.
        words: what is measured one after the other, as figures' names have it, and what to call it.
    """

    schema: int
    scenario: str
    status: Literal["running", "complete", "interrupted", "failed"]
    started_at: str
    duration_s: float
    seed: int
    command: list[str]
    parameters: dict[str, Any]
    environment: dict[str, Any]
    figures: list[Figure]
    verdicts: list[Verdict]
    headline: str = ""
    reason: str = ""
    members: list[str] = []
    repeats: list[Repeat] = []
    files: dict[str, str] = {}
    key_figures: list[KeyFigure] = []
    sections: list[str] | None = None
    words: dict[str, str] = {}

    def figure(self, name: str) -> float | None:
        """The value of a figure, or None where it is missing or could not be measured."""
        return next((f.value for f in self.figures if f.name == name), None)


class Record:
    """A run as read from its directory, its parts read when they are first asked for."""

    def __init__(
        self,
        directory: Path,
        run: Run,
        *,
        history: History | None = None,
        latency: LatencyLog | None = None,
        evidence: Sections | Evidence | None = None,
        members: list[Record] | None = None,
    ) -> None:
        self.directory = directory
        self.run = run
        self.evidence = Evidence(directory) if evidence is None else evidence
        self._history = history
        self._latency = latency
        self._members = members
        # The files that were found to be as the run left them.
        self._seen: set[str] = set()

    def parameters(self, kind: type[P]) -> P:
        """The parameters with which the scenario was run, its own only.

        Args:
            kind: the scenario's.

        Raises:
            RunError: they are no such parameters.
        """
        names = {field.encode_name for field in msgspec.structs.fields(kind)}
        given = {
            name: renamed(kind, name, value) if isinstance(value, str) else value
            for name, value in self.run.parameters.items()
            if name in names
        }
        try:
            return msgspec.convert(given, kind)
        except msgspec.ValidationError as error:
            raise RunError(f"{self.directory}: not the parameters of {self.run.scenario} ({error})") from error

    def with_run(self, run: Run, members: list[Record] | None = None) -> Record:
        """The same record, with another `run.json`.

        Args:
            run: that it has.
            members: in the place of its own; None: these stay.
        """
        other = copy.copy(self)
        other.run = run
        if members is not None:
            other._members = members
        return other

    def see(self, name: str) -> None:
        """See whether what a verdict rests on is there as the run left it, and can be read.

        Args:
            name: `latency.hlog`, `timeline.jsonl`, or a section of the evidence.

        Raises:
            RunError: a file is missing, is another, or cannot be read.
            EvidenceError: a section is.
        """
        if name == LATENCIES:
            self._see_file(name, is_held=self._latency is not None)
            _ = self.latency
        elif name == TIMELINE:
            self._see_file(name, is_held=self._history is not None)
            _ = self.history
        else:
            self._see_file(FILE, is_held=True)
            self.evidence.check(name)

    def _see_file(self, name: str, *, is_held: bool) -> None:
        """See whether a file is as the run left it.

        Args:
            is_held: what it says is held here, or is asked for by itself: without a digest it need not be there.

        Raises:
            RunError: it is missing, or another.
        """
        if name in self._seen:
            return
        path, digest = self.directory / name, self.run.files.get(name)
        if not path.exists() and (digest is not None or not is_held):
            raise RunError(f"{name} is missing")
        if digest is not None and digest_of(path) != digest:
            raise RunError(f"{name} is not as the run left it: it was cut or changed, or is another run's")
        self._seen.add(name)

    @property
    def history(self) -> History:
        """The timeline; empty where the run has none.

        Raises:
            RunError: the file is there and cannot be read.
        """
        if self._history is None:
            path = self.directory / TIMELINE
            try:
                self._history = read_timeline(path) if path.exists() else History()
            except HistoryError as error:
                raise RunError(f"{self.directory}: {error}") from error
        return self._history

    @property
    def latency(self) -> LatencyLog:
        """The interval histograms; empty where the run has none.

        Raises:
            RunError: the file is there and cannot be read.
        """
        if self._latency is None:
            path = self.directory / LATENCIES
            try:
                self._latency = read_hlog(path) if path.exists() else LatencyLog()
            except RecordingError as error:
                raise RunError(f"{self.directory}: {error}") from error
        return self._latency

    def members(self) -> list[Record]:
        """The runs of a suite, in the order in which they ran; empty for a single run."""
        if self._members is None:
            return [load(self.directory / name) for name in self.run.members]
        return self._members


def load(directory: Path) -> Record:
    """Read a run directory.

    Raises:
        RunError: no directory, no `run.json`, not a run record, or one of a newer schema.
    """
    path = directory / "run.json"
    try:
        content = path.read_bytes()
    except OSError as error:
        if (directory / CHECK).exists():
            told = f"this is a consumer check: open its report.html, or name one of its runs, below {TRIALS}"
            raise RunError(f"{directory}: {told}") from error
        raise RunError(f"{directory}: no run record there ({error.strerror or error})") from error
    try:
        schema = msgspec.json.decode(content, type=_SchemaOnly).schema
        if schema > SCHEMA:
            raise RunError(
                f"{directory}: written by a newer shopbench (schema {schema}; this one reads up to {SCHEMA})"
            )
        run = msgspec.json.decode(content, type=Run)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"{directory}: run.json is not a run record ({error})") from error
    for member in run.members:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", member) or member in {".", ".."}:
            raise RunError(f"{directory}: run.json names a member outside of the run ({member!r})")
    return Record(directory, run)


class _SchemaOnly(msgspec.Struct):
    schema: int


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file as a whole: a reader sees the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


def save(directory: Path, run: Run) -> None:
    """Write `run.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / "run.json", msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")


def sealed(directory: Path, run: Run) -> Run:
    """A run with the digests of the files that its verdicts rest on, as they are now."""
    names = [name for name in (LATENCIES, TIMELINE, FILE) if (directory / name).exists()]
    return msgspec.structs.replace(run, files={name: digest_of(directory / name) for name in names})


def new_directory(root: Path, scenario: str, now: dt.datetime) -> Path:
    """Make an empty directory for a run below `root`, named by time and scenario.

    Raises:
        RunError: the directory cannot be made.
    """
    stamp = now.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{n}" for n in range(2, 1000))):
        directory = root / f"{stamp}-{scenario}{suffix}"
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(f"{directory}: cannot be made ({error.strerror})") from error
        return directory
    raise RunError(f"{root}: a thousand runs began in this second")


def find_runs(root: Path) -> list[Record]:
    """The readable runs directly below a directory, newest first.

    Raises:
        RunError: the directory cannot be read.
    """
    try:
        directories = sorted((p for p in root.iterdir() if (p / "run.json").exists()), reverse=True)
    except OSError as error:
        raise RunError(f"{root}: {error.strerror}") from error
    records = []
    for directory in directories:
        try:
            records.append(load(directory))
        except RunError:
            # Whoever lists a directory wants what can be read; opening the broken one gives the reason.
            continue
    return sorted(records, key=lambda r: r.run.started_at, reverse=True)
