"""`shopbench matrix` as its user has it: real runs, an interrupt, what is refused, and a page in a browser."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.capacity.matrix import read_matrix
from harness.record.run import load
from tests.forks import shopbench
from tests.waiting import until

ROOT = Path(__file__).parents[2]
# Two by two, of a second each.
FILE = """
scenario = "append"
profile = "smoke"
parameters = { duration_s = 1 }
figures = ["append.*.response.p50"]
[[configuration]]
name = "in memory"
parameters = { durability = "none" }
[[configuration]]
name = "each second"
parameters = { durability = "everysec" }
config = ["hz 20"]
[[load]]
parameters = { rate_per_s = 100 }
[[load]]
parameters = { rate_per_s = 300 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of four cells."""
    path = tmp_path / "toy.toml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"none"', '"nun"', "toy.toml, line 6: [[configuration]] 1: append: durability is one of"),
        ("[[load]]", "[[lode]]", "toy.toml: there is no 'lode'"),
        ("[[load]]", "[[load]", "toy.toml: no TOML"),
        (
            "[[load]]",
            "[[server]]\nserver = 'no-such-server'\n[[load]]",
            "no-such-server: neither a server program",
        ),
    ],
)
def test_a_broken_file_starts_nothing(file: Path, old: str, new: str, words: str) -> None:
    """One line, exit code 2, and no directory."""
    file.write_text(FILE.replace(old, new, 1))
    ended = shopbench("matrix", "toy.toml", cwd=file.parent)
    assert ended.code == 2, ended
    [line] = ended.complaints
    assert line.startswith("shopbench: ")
    assert words in line
    assert not (file.parent / "runs").exists()


def test_a_dry_run(file: Path) -> None:
    """It says what would be measured, in what order, and how long it takes; and starts nothing."""
    ended = shopbench("matrix", "toy.toml", "--dry-run", "--repeat", "2", cwd=file.parent)
    assert ended.code == 0, ended
    assert "2. embedded, in memory, rate_per_s=300: append duration_s=1, durability=none, rate_per" in ended.out
    assert "4 cells, each 2 times: 8 runs, about 32 s, until about " in ended.out
    assert "round 2: cells " in ended.out
    assert not (file.parent / "runs").exists()


@pytest.mark.slow
def test_a_directive_that_the_server_does_not_know(file: Path) -> None:
    """The server says so before anything is measured."""
    file.write_text(FILE.replace("hz 20", "no-such-thing 4"))
    ended = shopbench("matrix", "toy.toml", cwd=file.parent)
    assert ended.code == 2, ended
    [line] = ended.complaints
    assert "embedded with no-such-thing 4: " in line
    assert "Bad directive" in line
    assert not (file.parent / "runs").exists()


@pytest.mark.slow
def test_a_search_is_a_cell(file: Path) -> None:
    """It is a record of its own, with a page and one for each probe; the matrix shows the rate that passes."""
    search = "[capacity]\np99 = '1 s'\nminutes = 0.2\n"
    file.write_text("parameters = { durability = 'none' }\n" + search)
    ended = shopbench("matrix", "toy.toml", cwd=file.parent, timeout_s=240)
    directory = file.parent / "runs" / "matrix-toy"
    [record] = directory.glob("cells/*/1/run.json")
    run = load(record.parent).run
    assert (run.scenario, run.status) == ("capacity", "complete"), ended
    assert (record.parent / "report.html").exists()
    assert list(record.parent.glob("probes/*/report.html"))
    assert ended.code in {0, 3}, ended
    assert "Highest rate that passes" in (directory / "summary.md").read_text()


@pytest.mark.slow
def test_two_by_two(file: Path) -> None:
    """Each cell is a run with a page of its own; what is complete is not measured again; Markdown is there."""
    ended = shopbench("matrix", "toy.toml", cwd=file.parent)
    directory = file.parent / "runs" / "matrix-toy"
    runs = [load(path.parent).run for path in sorted(directory.glob("cells/*/1/run.json"))]
    assert [run.parameters["rate_per_s"] for run in runs] == [100.0, 300.0, 100.0, 300.0]
    assert [run.parameters["durability"] for run in runs] == ["none", "none", "everysec", "everysec"]
    assert [run.parameters.get("config") for run in runs] == [None, None, ["hz 20"], ["hz 20"]]
    assert ended.code in {0, 3}, ended
    assert all(run.status == "complete" for run in runs)
    assert len(list(directory.glob("cells/*/1/report.html"))) == 4
    assert "| each second | rate_per_s=300 |" in (directory / "summary.md").read_text()
    page = (directory / "report.html").read_text()
    assert page.count("cells/01-embedded-in-memory-rate-per-s-100/1/report.html") >= 2
    again = shopbench("matrix", "toy.toml", cwd=file.parent)
    assert again.code == ended.code, again
    assert "0 of 4 runs are left; --anew measures them again" in again.out
    assert [load(path.parent).run for path in sorted(directory.glob("cells/*/1/run.json"))] == runs


@pytest.mark.slow
def test_ctrl_c_and_the_same_command_again(file: Path) -> None:
    """After an interrupt the page is there with what was measured, and the same command measures the rest."""
    command = [sys.executable, "-m", "harness", "matrix", str(file), "--runs", str(file.parent / "runs")]
    directory = file.parent / "runs" / "matrix-toy"

    def complete() -> list[Path]:
        found = sorted(directory.glob("cells/*/1/run.json"))
        return [path for path in found if load(path.parent).run.status == "complete"]

    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            until(lambda: len(complete()) >= 1, "a cell is measured", within_s=60)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 3, err
    assert "interrupted by SIGINT; the same command goes on where it ended" in err
    assert "runs are there" in (directory / "report.html").read_text()
    before = {path: path.read_bytes() for path in complete()}
    assert 1 <= len(before) < 4
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode in {0, 3}, again
    assert f"{4 - len(before)} of 4 runs are left" in again.stdout
    assert {path: path.read_bytes() for path in before} == before
    assert len(complete()) == 4
    found = read_matrix(directory)
    assert found is not None
    assert found.command[:2] == ["shopbench", "matrix"]
