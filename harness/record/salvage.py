"""A record of which something is missing or broken, read for what is whole in it.

Its verdicts were made when all was there. So a report of what is left has a verdict more, `append.evidence`, that
is UNKNOWN and names the file and the line; each verdict that rests on what is broken is UNKNOWN, too, and says
what it was. What is whole of the others is shown.

    timeline.jsonl is not there            UNKNOWN: timeline.jsonl is not there
    latency.hlog ends within line 17       UNKNOWN: latency.hlog, line 17: not an HdrHistogram (Incorrect padding)
    evidence.zip was cut                   UNKNOWN: evidence.zip: cannot be read (File is not a zip file)

Who compares runs does without: two sides of which one is half are not comparable, and the plain record says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.measure.histogram import RecordingError
from harness.measure.hlog import LatencyLog, read_hlog
from harness.measure.timeline import History, HistoryError, read_timeline
from harness.record.evidence import EvidenceError
from harness.record.files import LATENCIES, TIMELINE
from harness.record.run import Record, RunError, Verdict

_Read = TypeVar("_Read")


def salvaged(record: Record) -> Record:
    """The record with what is whole of its evidence, and a verdict on what is not; itself where all of it is.

    A run that is still at work, or was killed, has no evidence yet, and a suite has that of its members.
    """
    if record.run.members:
        return _of_members(record)
    if record.run.status == "running":
        return record
    broken: list[str] = []
    timeline, hlog = record.directory / TIMELINE, record.directory / LATENCIES
    history = _read(timeline, lambda on_broken: read_timeline(timeline, on_broken), History(), broken)
    latency = _read(hlog, lambda on_broken: read_hlog(hlog, on_broken), LatencyLog(), broken)
    broken += _broken_evidence(record)
    if not broken:
        return record
    verdict = Verdict(name=f"{record.run.scenario}.evidence", status="UNKNOWN", detail="; ".join(broken))
    run = msgspec.structs.replace(record.run, verdicts=[verdict, *record.run.verdicts])
    return Record(record.directory, run, history=history, latency=latency, evidence=record.evidence)


def _broken_evidence(record: Record) -> list[str]:
    """What is wrong with the evidence that verdicts rest on; nothing where none does, as before there was any."""
    names = dict.fromkeys(name for verdict in record.run.verdicts for name in verdict.rests_on)
    try:
        for name in names.keys() - {TIMELINE, LATENCIES}:
            record.see(name)
    except (EvidenceError, RunError) as error:
        return [str(error)]
    return []


def _of_members(record: Record) -> Record:
    members = [salvaged(member) for member in record.members()]
    known = {verdict.name for verdict in record.run.verdicts}
    found = [v for member in members for v in member.run.verdicts if v.name.endswith(".evidence")]
    found = [verdict for verdict in found if verdict.name not in known]
    run = msgspec.structs.replace(record.run, verdicts=[*found, *record.run.verdicts])
    return Record(record.directory, run, members=members)


def _read(path: Path, read: Callable[[Callable[[str], None]], _Read], nothing: _Read, broken: list[str]) -> _Read:
    if not path.exists():
        broken.append(f"{path.name} is not there")
        return nothing
    lines: list[str] = []
    try:
        found = read(lines.append)
    except (HistoryError, RecordingError) as error:
        broken.append(str(error))
        return nothing
    if lines:
        more = f", and {len(lines) - 1} lines more" if len(lines) > 1 else ""
        broken.append(f"{lines[0]}{more}; what is whole is shown")
    return found
