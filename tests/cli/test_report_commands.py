"""`shopbench report`, `compare`, `index`; on what is no run: one clear line, exit code 2, and nothing written.

And what CI asks of the report of a whole run.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import report_runs
from msgspec.structs import replace

from harness.cli.shopbench import main
from harness.record.run import Figure, RunError, load, save
from harness.record.salvage import salvaged
from reports import write_reports
from scenarios.catalog import SCENARIOS

CHECK_REPORT = Path(__file__).parents[2] / ".ci" / "check_report.py"
Shopbench = Callable[..., "Ended"]


class Ended(NamedTuple):
    """A command that has ended."""

    code: object
    out: str
    err: str


@pytest.fixture
def shopbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shopbench:
    """The command line, in this process."""

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["shopbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(ended.value.code, *capsys.readouterr())

    return call


def missing(directory: Path) -> None:
    """No directory at all."""


def empty(directory: Path) -> None:
    directory.mkdir()


def foreign(directory: Path) -> None:
    directory.mkdir()
    (directory / "run.json").write_text('{"name": "somebody else\'s"}')


def a_list(directory: Path) -> None:
    directory.mkdir()
    (directory / "run.json").write_text("[]")


def binary(directory: Path) -> None:
    directory.mkdir()
    (directory / "run.json").write_bytes(bytes(range(256)))


def nested(directory: Path) -> None:
    directory.mkdir()
    (directory / "run.json").write_text("[" * 100_000)


def newer(directory: Path) -> None:
    directory.mkdir()
    (directory / "run.json").write_text('{"schema": 99}')


def cut_record(directory: Path) -> None:
    cut(directory, "run.json")


def cut_latencies(directory: Path) -> None:
    cut(directory, "latency.hlog")


def cut_timeline(directory: Path) -> None:
    cut(directory, "timeline.jsonl")


def lost_member(directory: Path) -> None:
    report_runs.suite_run(directory)
    (directory / "append" / "run.json").unlink()


def cut(directory: Path, name: str) -> None:
    """A run of which a file ends in the middle of a line."""
    report_runs.append_run(directory, 3, 20)
    path = directory / name
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\n", 0, len(content) * 2 // 3) + 9])


RECORDS = (missing, empty, foreign, a_list, binary, nested, newer, cut_record, lost_member)
BROKEN = (*RECORDS, cut_latencies, cut_timeline)


@pytest.mark.parametrize(
    ("command", "make"), [*(("report", make) for make in RECORDS), *(("compare", make) for make in BROKEN)]
)
def test_broken_run_is_one_line(
    tmp_path: Path, shopbench: Shopbench, command: str, make: Callable[[Path], None]
) -> None:
    """A run that is missing, cut off, or none at all is told in one line that names it; nothing is written."""
    make(tmp_path / "broken")
    whole = report_runs.append_run(tmp_path / "whole", 3, 20).directory
    before = set(tmp_path.rglob("*"))
    ended = shopbench(command, *([whole] if command == "compare" else []), tmp_path / "broken")
    lines = ended.err.splitlines()
    assert (ended.code, ended.out, len(lines)) == (2, "", 1)
    assert (lines[0].startswith("shopbench: "), str(tmp_path / "broken") in lines[0]) == (True, True)
    assert set(tmp_path.rglob("*")) == before


def lost_timeline(directory: Path) -> None:
    report_runs.append_run(directory, 3, 20)
    (directory / "timeline.jsonl").unlink()


def binary_latencies(directory: Path) -> None:
    report_runs.append_run(directory, 3, 20)
    (directory / "latency.hlog").write_bytes(bytes(range(256)))


def lost_latencies(directory: Path) -> None:
    report_runs.append_run(directory, 3, 20)
    (directory / "latency.hlog").unlink()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lost_timeline, "timeline.jsonl is not there"),
        (lost_latencies, "latency.hlog is not there"),
        (binary_latencies, r"latency\.hlog, line \d+: not a line of an interval log"),
        (cut_timeline, r"timeline\.jsonl, line \d+: "),
        (cut_latencies, r"latency\.hlog, line \d+: "),
    ],
)
def test_a_report_without_its_evidence_is_unknown(
    tmp_path: Path, shopbench: Shopbench, make: Callable[[Path], None], words: str
) -> None:
    """What verdicts were made of is missing, or cut: the report says UNKNOWN, names the line, shows the rest."""
    make(tmp_path / "append")
    ended = shopbench("report", tmp_path / "append")
    page = (tmp_path / "append" / "report.html").read_text()
    told = " ".join(ended.out.split())
    assert (ended.code, ended.err) == (0, "")
    assert re.search(rf"UNKNOWN append\.evidence {words}", told), told
    assert re.search(words, page)
    kept = load(tmp_path / "append").run.verdicts
    assert not any(verdict.name.endswith("evidence") for verdict in kept)


def test_whole_lines_of_a_cut_log_are_kept(tmp_path: Path) -> None:
    """All but the one that was cut; a record that is whole is itself."""
    record = report_runs.append_run(tmp_path / "whole", 6, 20)
    assert salvaged(record) is record
    cut(tmp_path / "append", "latency.hlog")
    lines = (tmp_path / "append" / "latency.hlog").read_text().splitlines()
    kept = salvaged(load(tmp_path / "append")).latency.intervals
    assert len(kept) == len([line for line in lines if line.startswith("Tag=")]) - 1


def test_a_suite_says_which_member_lacks_something(tmp_path: Path, shopbench: Shopbench) -> None:
    """The others are shown whole."""
    suite = report_runs.suite_run(tmp_path / "suite")
    (suite.directory / "append" / "latency.hlog").unlink()
    ended = shopbench("report", suite.directory)
    assert (ended.code, "append.evidence" in ended.out) == (0, True)


@pytest.mark.parametrize("make", [make for make in RECORDS if make not in {missing, empty}])
def test_broken_run_is_listed(tmp_path: Path, shopbench: Shopbench, make: Callable[[Path], None]) -> None:
    """The index of a directory in which a run is broken is made, and names it."""
    make(tmp_path / "the-broken-one")
    ended = shopbench("index", tmp_path)
    assert (ended.code, "the-broken-one" in (tmp_path / "index.html").read_text()) == (0, True)


@pytest.mark.parametrize("make", [missing, empty])
def test_index_of_nothing_is_one_line(tmp_path: Path, shopbench: Shopbench, make: Callable[[Path], None]) -> None:
    """A directory that is missing, or has no runs, is told in one line, and no page is written."""
    make(tmp_path / "runs")
    ended = shopbench("index", tmp_path / "runs")
    assert (ended.code, ended.out, len(ended.err.splitlines()), list(tmp_path.rglob("*.html"))) == (2, "", 1, [])


def test_index_of_a_file_is_one_line(tmp_path: Path, shopbench: Shopbench) -> None:
    """A file is no directory of runs."""
    (tmp_path / "file").touch()
    ended = shopbench("index", tmp_path / "file")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)


def test_index(tmp_path: Path, shopbench: Shopbench) -> None:
    """The index is written into the directory of runs, and its path is printed."""
    report_runs.append_run(tmp_path / "run", 3, 20)
    ended = shopbench("index", tmp_path)
    assert (ended.code, ended.out.split(), ended.err) == (0, [str(tmp_path / "index.html")], "")


def test_compare(tmp_path: Path, shopbench: Shopbench) -> None:
    """A comparison is printed, and written beside the last run under the names of both."""
    report_runs.append_run(tmp_path / "a", 3, 20)
    report_runs.append_run(tmp_path / "elsewhere" / "b", 3, 20, seed=8)
    ended = shopbench("compare", tmp_path / "a", tmp_path / "elsewhere" / "b")
    path = tmp_path / "elsewhere" / "compare-a-b.html"
    assert (ended.code, ended.out.splitlines()[-1], ended.err) == (0, str(path), "")
    assert ("weakens  seed: 7 | 8" in ended.out, path.exists(), path.with_suffix(".md").exists()) == (
        True,
        True,
        True,
    )


def test_what_cannot_be_compared(tmp_path: Path, shopbench: Shopbench) -> None:
    """Other loads, or scenarios that only one side has, end with 3; the page is there and says why."""
    report_runs.append_run(tmp_path / "a", 3, 20)
    report_runs.append_run(tmp_path / "b", 3, 20, parameters={"rate_per_s": 1})
    ended = shopbench("compare", tmp_path / "a", tmp_path / "b")
    assert (ended.code, "Not comparable" in ended.out, (tmp_path / "compare-a-b.html").exists()) == (3, True, True)
    report_runs.suite_run(tmp_path / "suite")
    report_runs.outage_run(tmp_path / "other")
    (tmp_path / "other").rename(tmp_path / "o")
    save(tmp_path / "o", replace(load(tmp_path / "o").run, scenario="another"))
    assert shopbench("compare", tmp_path / "suite", tmp_path / "o").code == 3


def test_output_of_a_comparison(tmp_path: Path, shopbench: Shopbench) -> None:
    """The page is written where it was asked for."""
    runs = [report_runs.append_run(tmp_path / name, 3, 20).directory for name in "abc"]
    ended = shopbench("compare", *runs, "--output", tmp_path / "page.html")
    assert (ended.code, (tmp_path / "page.html").exists()) == (0, True)


@pytest.mark.parametrize("count", [1, 9])
def test_number_of_runs(tmp_path: Path, shopbench: Shopbench, count: int) -> None:
    """One run, or nine, cannot be compared: one line."""
    run = report_runs.append_run(tmp_path / "a", 3, 20).directory
    ended = shopbench("compare", *[run] * count)
    assert (ended.code, ended.err) == (2, f"shopbench: 2 to 8 run directories can be compared, not {count}\n")


def test_output_that_cannot_be_written(tmp_path: Path, shopbench: Shopbench) -> None:
    """A directory that is not there is told in one line."""
    run = report_runs.append_run(tmp_path / "a", 3, 20).directory
    ended = shopbench("compare", run, run, "--output", tmp_path / "nowhere" / "page.html")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)


def test_half_a_report_is_never_written(tmp_path: Path) -> None:
    """Where one shape of a report cannot be made, the others are not written either."""
    cut_latencies(tmp_path / "broken")
    with pytest.raises(RunError):
        write_reports(load(tmp_path / "broken"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["broken"]


# --- what CI asks of a whole run -------------------------------------------------------------------------


def check_report(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHECK_REPORT, directory], capture_output=True, text=True, timeout=30, check=False
    )


def whole_run(directory: Path, without: str = "", value: float = 1.0) -> Path:
    """A suite of every scenario, each with its key figures, and with something in place of a page."""
    for scenario in SCENARIOS:
        run = report_runs.run_of(scenario)
        names = [key.name.replace("*", word) for key in run.key_figures for word in run.words or ["*"]]
        figures = [Figure(name=name, value=value, unit="1") for name in dict.fromkeys(names) if name != without]
        save(directory / scenario, replace(run, figures=figures))
    asked = {"scenarios": list(SCENARIOS)}
    save(directory, report_runs.run_of("suite", members=list(SCENARIOS), parameters=asked))
    (directory / "report.html").write_text("".join(f"<h2>{scenario}</h2>" for scenario in SCENARIOS))
    return directory


def test_whole_run_is_good(tmp_path: Path) -> None:
    """A run of all scenarios with the figures of each passes the check."""
    ended = check_report(whole_run(tmp_path))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_missing_figure_is_named(tmp_path: Path) -> None:
    """A figure that matters in a scenario and was not recorded fails the check, by its name."""
    ended = check_report(whole_run(tmp_path, without="retention.lost"))
    assert (ended.returncode, ended.stderr) == (1, "retention has no retention.lost\n")


def test_run_that_has_measured_nothing_is_named(tmp_path: Path) -> None:
    """A scenario whose figures are all 0 has measured nothing, and fails the check."""
    ended = check_report(whole_run(tmp_path, value=0.0))
    assert (ended.returncode, "append has measured nothing" in ended.stderr) == (1, True)


def test_missing_scenario_is_named(tmp_path: Path) -> None:
    """A run that has left out a scenario fails the check."""
    directory = whole_run(tmp_path)
    run = load(directory).run
    save(directory, replace(run, members=run.members[:-1]))
    ended = check_report(directory)
    assert (ended.returncode, "are expected" in ended.stderr) == (1, True)
