"""The history of a project's figures: a line of JSON for each run, appended to a plain file.

    {"at": "2026-11-23T14:15:02+00:00", "scenario": "gate", "revision": "57c6260", "host": "...", "status": "PASS",
     "figures": {"gate.append.p50.ratio": 1.003, ...}, "question": {"parameters.minutes": "5", ...}, ...}

The file belongs into a branch or a directory of its owner's; lines are only ever appended, so that two branches of
it merge by taking both sides' lines. `otava` rows are the same figures as a table that Apache Otava reads;
`docs/ci.md` has its configuration, and why it is no dependency.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.check import checkers
from harness.check.figures import is_of_probe
from harness.record.run import Run, RunError, Status


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the history; a figure that could not be measured is not in it.

    Attributes:
        question: what makes it comparable with other runs; empty where the line does not say.
        server: its name and version.
    """

    at: str
    scenario: str
    revision: str | None
    host: str | None
    status: Status
    figures: dict[str, float]
    question: dict[str, str] = {}
    server: str = ""


def entry_of(run: Run, *, question: Mapping[str, str] | None = None, server: str = "") -> Entry:
    """What the history keeps of a run.

    Args:
        run: the run.
        question: what makes it comparable with other runs.
        server: its name and version.
    """
    # A record may come from elsewhere, with anything in its environment.
    host = run.environment.get("host")
    facts = host if isinstance(host, Mapping) else {}
    revision, name = (facts.get(fact) for fact in ("revision", "host"))
    return Entry(
        at=run.started_at,
        scenario=run.scenario,
        revision=revision if isinstance(revision, str) else None,
        host=name if isinstance(name, str) else None,
        status=checkers.worst(run.verdicts),
        figures={
            figure.name: figure.value
            for figure in run.figures
            if figure.value is not None and not is_of_probe(figure.name)
        },
        question=dict(question or {}),
        server=server,
    )


def append_entry(path: Path, entry: Entry) -> None:
    """Append a run to a history; the file is made if there is none.

    Raises:
        RunError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")
    except OSError as error:
        raise RunError(f"{path}: the history cannot be written ({error.strerror})") from error


def read_entries(path: Path) -> list[Entry]:
    """All runs of a history, in the order of their lines; one that is there twice, by a merge, once.

    Raises:
        RunError: it cannot be read, or a line of it is no run.
    """
    entries = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RunError(f"{path}: the history cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, 1):
        try:
            entries.append(msgspec.json.decode(line, type=Entry))
        except msgspec.MsgspecError as error:
            raise RunError(f"{path}: line {number} is no run ({error})") from error
    return list({(entry.at, entry.scenario, entry.host): entry for entry in entries}.values())


def as_csv(entries: Sequence[Entry], scenario: str) -> str:
    """A scenario's history as a table, a row a run: its time, its revision, and a column for each figure.

    Raises:
        RunError: the history has no run of it.
    """
    rows = [entry for entry in entries if entry.scenario == scenario]
    if not rows:
        there = ", ".join(dict.fromkeys(entry.scenario for entry in entries)) or "none at all"
        raise RunError(f"the history has no run of {scenario!r}; it has {there}")
    names = sorted({name for entry in rows for name in entry.figures})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", "revision", *names])
    for entry in rows:
        writer.writerow([entry.at, entry.revision or "", *(entry.figures.get(name, "") for name in names)])
    return text.getvalue()
