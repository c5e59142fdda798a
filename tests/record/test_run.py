"""Runs on disk: they come back as they were, and what is no run is refused in one clear line."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.recorder import Recorder
from harness.measure.timeline import FaultWindow, History, SlowMark
from harness.record.files import save_measurements
from harness.record.run import (
    SCHEMA,
    Figure,
    Run,
    RunError,
    Verdict,
    find_runs,
    load,
    new_directory,
    save,
    write_atomically,
)

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)

NOON = dt.datetime(2026, 11, 23, 12, 0, 0, tzinfo=dt.UTC)


def run_of(**changed: Any) -> Run:
    usual: dict[str, Any] = {
        "schema": SCHEMA,
        "scenario": "append",
        "status": "complete",
        "started_at": "2026-11-23T12:00:00+00:00",
        "duration_s": 1.5,
        "seed": 7,
        "command": ["shopbench", "run", "append"],
        "parameters": {"rate_per_s": 100},
        "environment": {"host": {}, "server": {}},
        "figures": [Figure(name="append.response.p99", value=812.0, unit="µs")],
        "verdicts": [Verdict(name="append.answered", status="PASS", detail="all of them")],
    }
    return Run(**(usual | changed))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
runs = st.builds(
    run_of,
    status=st.sampled_from(["running", "complete", "interrupted", "failed"]),
    seed=st.integers(0, 2**63 - 1),
    command=st.lists(st.text(max_size=8), max_size=3),
    parameters=st.dictionaries(st.text(max_size=8), values, max_size=3),
    headline=st.text(),
    reason=st.text(),
    figures=st.lists(
        st.builds(Figure, name=st.text(), value=st.none() | st.floats(0, 1e12), unit=st.text()), max_size=3
    ),
    members=st.lists(st.sampled_from(["append", "lag", "crm_outage", "a-b.c"]), max_size=3),
)


@unhurried
@given(runs)
def test_a_run_is_loaded_as_it_was_saved(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    """Every field of a record comes back from disk."""
    directory = tmp_path_factory.getbasetemp() / "round-trip"
    save(directory, run)

    assert run == load(directory).run


def test_a_run_is_readable_by_other_programs(tmp_path: Path) -> None:
    """At the top of `run.json` stand the names on which other programs rely."""
    save(tmp_path, run_of())
    content = msgspec.json.decode((tmp_path / "run.json").read_bytes())

    assert content["schema"] == SCHEMA
    assert content["figures"] == [{"name": "append.response.p99", "value": 812.0, "unit": "µs"}]
    assert content["verdicts"] == [{"name": "append.answered", "status": "PASS", "detail": "all of them"}]
    assert {"scenario", "parameters", "environment"} <= content.keys()


def test_measurements_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    """Histograms, timeline and slowest operations come back with the record, when they are asked for."""
    recorder = Recorder()
    recorder.record("append", np.array([5]), np.array([6]), np.array([70_000]))
    window = FaultWindow(name="kill", target="crm", start_ns=1, end_ns=2)
    save(tmp_path, run_of())
    save_measurements(tmp_path, recorder.intervals(), History([window]), recorder.slowest(), 12.5)
    record = load(tmp_path)

    assert record.history.entries == [window, SlowMark(operation="append", due_ns=5, response_ns=69_995)]
    assert record.latency.total("append.response").quantile_us(1.0) == 70
    assert record.latency.started_epoch_s == 12.5


def test_a_run_may_have_no_measurements(tmp_path: Path) -> None:
    """A run that has only just begun has an empty timeline and no histogram."""
    save(tmp_path, run_of(status="running"))
    record = load(tmp_path)

    assert (record.history.entries, record.latency.intervals) == ([], [])


@pytest.mark.parametrize("name", ["timeline.jsonl", "latency.hlog"])
def test_measurements_that_cannot_be_read_are_a_run_error(tmp_path: Path, name: str) -> None:
    """A broken file beside the record is a `RunError` that names it; the record itself is still there."""
    save(tmp_path, run_of())
    (tmp_path / name).write_bytes(b"\xff nonsense\n")
    record = load(tmp_path)

    assert record.run == run_of()
    with pytest.raises(RunError, match=name):
        _ = record.history.entries, record.latency.intervals


def test_a_figure_is_found_by_its_name() -> None:
    """A figure's value by its name; None where it is missing, as where it could not be measured."""
    run = run_of(figures=[Figure(name="a", value=1.0, unit="s"), Figure(name="b", value=None, unit="s")])

    assert (run.figure("a"), run.figure("b"), run.figure("c")) == (1.0, None, None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "run.json is not a run record (Input data was truncated)"),
        (b'{"schema":1,"scen', "run.json is not a run record (Input data was truncated)"),
        (b"\xff\xfe\x00", "run.json is not a run record (JSON is malformed"),
        (b"\x1f\x8b\x08", "run.json is not a run record (JSON is malformed"),
        (b"[]", "run.json is not a run record (Expected `object`, got `array`)"),
        (b"{}", "run.json is not a run record (Object missing required field `schema`)"),
        (b'{"schema":1}', "run.json is not a run record (Object missing required field `scenario`)"),
        (b'{"schema":"1"}', "run.json is not a run record (Expected `int`, got `str` - at `$.schema`)"),
        (b'{"schema":1,"scenario":"\xff"}', "run.json is not a run record ('utf-8' codec"),
        (b'{"schema":1,"zzz":' + b"[" * 100_000, "run.json is not a run record (maximum recursion depth"),
        (b'{"schema":3}', "written by a newer shopbench (schema 3; this one reads up to 2)"),
        (b'{"name":"somebody-else","version":"1.0"}', "run.json is not a run record (Object missing required"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """A `run.json` that is empty, cut off, foreign or newer is refused in one line with its directory."""
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunError) as refused:
        load(tmp_path)

    assert str(refused.value).startswith(f"{tmp_path}: {reason}")
    assert "\n" not in str(refused.value)


@unhurried
@given(st.data())
def test_a_run_that_is_cut_off_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """No beginning of a `run.json` passes for a run."""
    directory = tmp_path_factory.getbasetemp() / "cut-off"
    save(directory, run_of())
    content = (directory / "run.json").read_bytes().rstrip()
    (directory / "run.json").write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])

    with pytest.raises(RunError):
        load(directory)


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    """A directory without a record, or none at all, is refused in one line."""
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError) as refused:
            load(directory)

        assert str(refused.value) == f"{directory}: no run record there (No such file or directory)"


@pytest.mark.parametrize("member", ["..", ".", "", "../other", "/etc", "a/b", "a\\b", "a\n", "a\0b"])
def test_a_member_outside_of_the_run_is_refused(tmp_path: Path, member: str) -> None:
    """A record that names a member anywhere but directly below itself is refused."""
    save(tmp_path, run_of(members=["append", member]))

    with pytest.raises(RunError, match="names a member outside of the run"):
        load(tmp_path)


def test_members_are_loaded_in_the_order_in_which_they_ran(tmp_path: Path) -> None:
    """A suite gives its members' records in its own order."""
    save(tmp_path, run_of(scenario="suite", members=["lag", "append"]))
    for name in ("append", "lag"):
        save(tmp_path / name, run_of(scenario=name))

    assert [record.run.scenario for record in load(tmp_path).members()] == ["lag", "append"]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    """While a record is written again and again, whoever reads it finds one of them, whole."""
    save(tmp_path, run_of(reason="0"))
    written = threading.Event()

    def write() -> None:
        for number in range(300):
            save(tmp_path, run_of(reason=str(number) * 500))
        written.set()

    thread = threading.Thread(target=write)
    thread.start()
    reads = 0
    while not written.is_set() or not reads:
        assert load(tmp_path).run.status == "complete"
        reads += 1
    thread.join()

    assert load(tmp_path).run.reason == "299" * 500
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """A write that breaks off leaves the old content untouched."""
    path = tmp_path / "run.json"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")  # type: ignore[arg-type]

    assert path.read_bytes() == b"old"


def test_runs_that_begin_in_the_same_second_get_directories_of_their_own(tmp_path: Path) -> None:
    """A directory is named by time and scenario; one that is taken is left alone."""
    names = [new_directory(tmp_path / "runs", "append", NOON).name for _ in range(3)]

    assert names == ["20261123-120000-append", "20261123-120000-append-2", "20261123-120000-append-3"]


def test_processes_never_share_a_directory(tmp_path: Path) -> None:
    """Runs that begin at once, from several threads, each get another directory."""
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda: names.append(new_directory(tmp_path, "lag", NOON).name)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(names) == len(set(names)) == 8


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """Where no directory can be made the reason is said in one line."""
    (tmp_path / "runs").write_text("a file")

    with pytest.raises(RunError, match=r"20261123-120000-append: cannot be made \(Not a directory\)"):
        new_directory(tmp_path / "runs", "append", NOON)


def test_runs_are_found_newest_first(tmp_path: Path) -> None:
    """The readable runs below a directory, newest first; what is no run or broken is passed over."""
    for name, started_at in (
        ("b", "2026-11-23T12:00:01"),
        ("a", "2026-11-23T12:00:03"),
        ("c", "2026-11-23T12:00:02"),
    ):
        save(tmp_path / name, run_of(started_at=started_at))
    save(tmp_path / "a" / "member", run_of())
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")

    assert [record.directory.name for record in find_runs(tmp_path)] == ["a", "c", "b"]


def test_runs_of_the_same_moment_are_found_in_a_fixed_order(tmp_path: Path) -> None:
    """Of runs that began at the same moment the one with the later name is the newer."""
    for name in ("x-2", "x", "x-3"):
        save(tmp_path / name, run_of())

    assert [record.directory.name for record in find_runs(tmp_path)] == ["x-3", "x-2", "x"]


def test_runs_are_not_found_where_there_is_no_directory(tmp_path: Path) -> None:
    """Looking for runs in a directory that is not there is a `RunError`."""
    with pytest.raises(RunError, match="No such file or directory"):
        find_runs(tmp_path / "nowhere")
