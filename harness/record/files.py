"""The files of a run beside `run.json` that its verdicts rest on, and how a file is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from harness.measure.hlog import LatencyLog, write_hgrm, write_hlog
from harness.measure.recorder import Interval, SlowOperation
from harness.measure.timeline import History, SlowMark, write_timeline

LATENCIES, TIMELINE = "latency.hlog", "timeline.jsonl"


def save_measurements(
    directory: Path,
    intervals: Iterable[Interval],
    history: History,
    slowest: Iterable[SlowOperation],
    started_epoch_s: float,
) -> None:
    """Write `latency.hlog`, an `.hgrm` for each of its tags, and `timeline.jsonl`."""
    log = LatencyLog(intervals)
    write_hlog(directory / LATENCIES, log.intervals, started_epoch_s)
    for tag in log.tags:
        write_hgrm(directory / f"{tag}.hgrm", log.total(tag))
    slow = [SlowMark(operation=s.operation, due_ns=s.due_ns, response_ns=s.response_ns) for s in slowest]
    write_timeline(directory / TIMELINE, History([*history.entries, *slow]))


def digest_of(path: Path) -> str:
    """A digest of a file: another content has another one."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
