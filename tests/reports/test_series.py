"""The time series as CSV: every value is there, in RFC 4180, and no cell of text is a formula."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import report_runs
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.timeline import FaultWindow, History, Mark, Reading
from harness.record.files import save_measurements
from harness.record.run import Record, load, save
from reports.series import HEADER, series_csv

Rows = list[dict[str, str]]


def rows_of(record: Record) -> Rows:
    return list(csv.DictReader(io.StringIO(series_csv(record), newline="")))


def run_with(directory: Path, *entries: Reading | FaultWindow | Mark) -> Record:
    save(directory, report_runs.run_of("lag"))
    save_measurements(directory, [], History(entries), [], 0.0)
    return load(directory)


def reading(name: str = "lag.events", value: float | None = 1.0, unit: str = "events", **labels: str) -> Reading:
    return Reading(t_ns=1_500_000_000, name=name, value=value, unit=unit, labels=labels)


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return report_runs.outage_run(tmp_path_factory.mktemp("outage"), seconds=50, per_s=20)


def test_header(outage: Record) -> None:
    """The first line names the columns, and lines end as RFC 4180 has it."""
    assert series_csv(outage).startswith(",".join(HEADER) + "\r\n")


def test_row_of_a_reading(tmp_path: Path) -> None:
    """A reading is a row, its labels as pairs."""
    text = series_csv(run_with(tmp_path, reading(group="crm", host="a b")))
    assert text.splitlines()[1] == "1.5,reading,lag.events,group=crm host=a b,1,events"


def test_what_was_not_measured_is_empty(tmp_path: Path) -> None:
    """A reading without an answer has an empty value, not a zero."""
    assert [row["value"] for row in rows_of(run_with(tmp_path, reading(value=None)))] == [""]


def test_every_reading_is_there(outage: Record) -> None:
    """Each reading of the timeline is a row, with its value."""
    expected = [r.value for r in outage.history.readings("lag.events")]
    assert [float(r["value"]) for r in rows_of(outage) if r["name"] == "lag.events"] == expected


def test_throughput_adds_up(outage: Record) -> None:
    """Throughput over all seconds is the number of operations that were recorded."""
    answered = sum(float(r["value"]) for r in rows_of(outage) if r["kind"] == "throughput")
    assert answered == outage.latency.total("append.response").total


def test_latency_of_each_second(outage: Record) -> None:
    """p50, p99 and max of a second are those of its histogram."""
    interval = next(i for i in outage.latency.of("append.service") if i.start_s == 3)
    mine = {r["name"]: r for r in rows_of(outage) if r["kind"] == "latency" and r["t_s"] == "3"}
    histogram = interval.histogram
    expected = [*histogram.quantiles_us([0.5, 0.99]), histogram.max_us]
    assert [int(mine[f"append.service.{part}"]["value"]) for part in ("p50", "p99", "max")] == expected


def test_units_are_ascii(outage: Record) -> None:
    """Microseconds are spelled so that no program needs to guess the encoding."""
    assert {r["unit"] for r in rows_of(outage) if r["kind"] == "latency"} == {"us"}


def test_marks_and_faults_are_rows(outage: Record) -> None:
    """Faults stand at their start with their length, marks at their moment."""
    found = [tuple(r.values()) for r in rows_of(outage) if r["kind"] in {"fault", "mark"}]
    assert found == [
        ("20", "fault", "kill", "target=crm", "20", "s"),
        ("40", "mark", "restart", "", "", ""),
        ("40.9", "mark", "first effect", "", "", ""),
        ("46.1", "mark", "back in band", "", "", ""),
        ("46.3", "mark", "drained", "", "", ""),
    ]


def test_suite_says_which_run(tmp_path: Path) -> None:
    """Rows of a suite carry the scenario of their run as a label."""
    report_runs.outage_run(tmp_path / "crm_outage", seconds=45, per_s=5)
    report_runs.append_run(tmp_path / "append", seconds=3, per_s=5)
    save(tmp_path, report_runs.run_of("suite", members=["append", "crm_outage"]))
    told = {(r["name"], r["labels"]) for r in rows_of(load(tmp_path))}
    assert {("drained", "run=crm_outage"), ("lag.events", "run=crm_outage group=crm")} <= told


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\n=cmd|' /C calc'!A0"])
def test_text_is_no_formula(tmp_path: Path, text: str) -> None:
    """A cell of text that a spreadsheet would carry out gets an apostrophe in front."""
    (row,) = rows_of(run_with(tmp_path, reading(name=text, unit=text, **{text: text})))
    assert [row[column][0] for column in ("name", "labels", "unit")] == ["'", "'", "'"]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    """A negative value is a number, not text that is made harmless."""
    assert [row["value"] for row in rows_of(run_with(tmp_path, reading(value=-1.5)))] == ["-1.5"]


@given(text=st.text(max_size=30))
def test_any_text_reads_back_as_one_cell(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever text stands in a name, the row has six cells, and none of text begins a formula."""
    record = Record(tmp_path_factory.getbasetemp(), report_runs.run_of("lag"))
    record._history = History([reading(name=text, group=text)])
    _, row = csv.reader(io.StringIO(series_csv(record), newline=""), strict=True)
    assert (len(row), row[2][:1] in {"=", "+", "-", "@"}, "\n" in "".join(row)) == (6, False, False)


def test_hostile_record(tmp_path: Path) -> None:
    """Hostile text is shown as text, and no password is in it."""
    text = series_csv(report_runs.hostile_run(tmp_path))
    assert ("<img src=http" in text, "hunter2" in text) == (True, False)
