"""The time series of a run as CSV, in long form: one value a row, for a spreadsheet or a data frame.

    t_s,kind,name,labels,value,unit
    0.1,reading,lag.events,group=crm,812,events
    3,throughput,append,,2000,1/s
    3,latency,append.response.p99,,975,us
    8.25,mark,drained,,,
    4,fault,kill,target=crm,10,s

`t_s` counts from the start of the run; of what is measured by the second it is where the second begins. A
value that could not be measured is empty, never 0. Throughput counts replies, of success or refusal. A fault's
value is how long it lasted. In a suite, each row carries the label `run`. Lines end and cells are quoted as
RFC 4180 has it.

All text came from outside, and a spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula
to carry out. Such a cell of text gets an apostrophe in front (https://owasp.org/www-community/attacks/CSV_Injection);
cells of numbers are ours, and stay numbers. Units are spelled in ASCII (`us`), since Excel takes a file without
a byte order mark for another encoding, and everything but Excel stumbles over the mark.

A column per series was the other shape. It has no place for series that begin late or are read at another
pace, and the long form becomes that one in any spreadsheet's pivot table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from harness.measure.hlog import LatencyLog
from harness.measure.timeline import FaultWindow, Mark, Reading
from harness.record.run import Record
from reports.findings import printable
from reports.quantities import exact

HEADER = ("t_s", "kind", "name", "labels", "value", "unit")
_UNITS = {"µs": "us"}

Row = tuple[str, str, str, str, str, str]


def series_csv(record: Record) -> str:
    """All time series of a run, or of the members of a suite, as CSV.

    Args:
        record: a run or a suite of runs.

    Raises:
        RunError: a part of the record cannot be read.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEADER)
    members = record.members()
    for each in members or [record]:
        label = {"run": each.run.scenario} if members else {}
        writer.writerows(_timeline(each, label))
        writer.writerows(_by_second(each.latency, label))
    return text.getvalue()


def _timeline(record: Record, label: dict[str, str]) -> Iterator[Row]:
    for entry in record.history.entries:
        if isinstance(entry, Reading):
            labels = _labels({**label, **entry.labels})
            yield _row(entry.t_ns / 1e9, "reading", entry.name, labels, entry.value, entry.unit)
        elif isinstance(entry, Mark):
            yield _row(entry.t_ns / 1e9, "mark", entry.name, _labels(label), None, "")
        elif isinstance(entry, FaultWindow):
            labels = _labels({**label, "target": entry.target})
            lasted_s = None if entry.end_ns is None else (entry.end_ns - entry.start_ns) / 1e9
            yield _row(entry.start_ns / 1e9, "fault", entry.name, labels, lasted_s, "s")


def _by_second(log: LatencyLog, label: dict[str, str]) -> Iterator[Row]:
    """Throughput, and p50, p99 and max of each latency, of each interval of the log."""
    labels = _labels(label)
    for interval in log.intervals:
        operation, _, kind = interval.tag.rpartition(".")
        histogram = interval.histogram
        if kind == "response" and interval.length_s > 0:
            per_s = histogram.total / interval.length_s
            yield _row(interval.start_s, "throughput", operation, labels, per_s, "1/s")
        values = [*histogram.quantiles_us([0.5, 0.99]), histogram.max_us]
        for part, value in zip(("p50", "p99", "max"), values, strict=True):
            yield _row(interval.start_s, "latency", f"{interval.tag}.{part}", labels, value, "µs")


def _row(t_s: float, kind: str, name: str, labels: str, value: float | None, unit: str) -> Row:
    told = _UNITS.get(unit, unit)
    return (exact(round(t_s, 6)), kind, _text(name), _text(labels), exact(value), _text(told))


def _labels(labels: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in labels.items())


def _text(text: str) -> str:
    """Text from outside as a cell that no spreadsheet takes for a formula, on one line."""
    shown = " ".join(printable(text).split())
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown
