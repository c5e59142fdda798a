"""`shopbench gate` as its user has it: two commits, an exit code, one clear line, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.__main__ import main
from harness.clock import SystemClock
from harness.gate_micro import MicroRounds
from harness.gate_rounds import CONTROLS, Measure, SideError
from harness.run import load
from harness.worktree import WorktreeError, changes, checked_out, commit_of, repository_of, source_of
from tests.waiting import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
# One metric and few rounds: what is slow here is slow by far.
QUICK = ["--metric", "append.p50", "--minutes", "0.6"]
SLOW_APPEND = """

def _slow(call):
    def append(*arguments, **named):
        began = time.perf_counter_ns()
        answer = call(*arguments, **named)
        until = began + (time.perf_counter_ns() - began) * 8 // 5
        while time.perf_counter_ns() < until:
            pass
        return answer

    return append


EventStore.append = _slow(EventStore.append)
"""


class Ended(NamedTuple):
    """A gate that has ended."""

    code: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        """What it says on its standard error, but for its progress."""
        return [line for line in self.err.splitlines() if not re.fullmatch(r"\w+ \(\d+ of \d+\)", line)]


Gate = Callable[..., Ended]


def git(directory: Path, *arguments: str) -> str:
    """Git, with nothing of its user's configuration."""
    done = subprocess.run(
        ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C", str(directory), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
    )
    return done.stdout.strip()


def commit(directory: Path, message: str) -> str:
    """Commit everything."""
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(directory, "rev-parse", "HEAD")


def gate(directory: Path, *arguments: str, timeout_s: float = 120) -> Ended:
    """Run a gate in a work tree."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", "gate", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def gate_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gate:
    """Runs a gate in this very process, which saves starting one."""

    def run_gate(directory: Path, *arguments: str) -> Ended:
        monkeypatch.chdir(directory)
        monkeypatch.setattr(sys, "argv", ["shopbench", "gate", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return Ended(int(caught.value.code or 0), out, err)

    return run_gate


def is_tidy(directory: Path) -> bool:
    """Whether no work tree is left, known to git or not."""
    return len(git(directory, "worktree", "list").splitlines()) == 1 and not git(
        directory, "worktree", "prune", "--dry-run", "--verbose"
    )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A repository with OrderShop in it."""
    directory = tmp_path / "shop"
    shutil.copytree(ROOT / "ordershop", directory / "ordershop", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / ".gitignore").write_text("__pycache__/\n/runs/\n")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(directory))
    commit(directory, "the shop")
    return directory


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A repository with a package `toy`, without any event store that a gate could measure."""
    directory = tmp_path / "toy"
    (directory / "toy").mkdir(parents=True)
    (directory / "toy" / "__init__.py").write_text("")
    (directory / ".gitignore").write_text("__pycache__/\n/runs/\n")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(directory))
    commit(directory, "a toy")
    return directory


TOY = ["--target", "toy:target"]


# Slower, and as before ---------------------------------------------------------------------------------------


def test_a_slow_commit_is_failed_and_its_undoing_is_not(shop: Path) -> None:
    """The gate fails a commit that makes appends slower by 60 %, and names what, by how much and how sure."""
    store = shop / "ordershop" / "event_store.py"
    text = store.read_text()
    store.write_text(text + SLOW_APPEND)
    commit(shop, "slow")
    failed = gate(shop, "--baseline", "HEAD~1", *QUICK)
    assert failed.code == 1, failed
    [directory] = (shop / "runs").glob("*-gate")
    run = load(directory).run
    [verdict] = [each for each in run.verdicts if each.status == "FAIL"]
    assert verdict.name == "gate.append.p50"
    told = re.search(
        r"append\.p50 takes ([\d.]+) × the baseline \(([\d.]+) to ([\d.]+), \d+ rounds\)", verdict.detail
    )
    assert told
    ratio, low, high = map(float, told.groups())
    assert 1.01 < low < ratio < high
    assert ratio > 1.3
    assert f"append.p50 takes {ratio:.3f} ×" in " ".join(failed.out.split())
    assert run.figure("gate.append.p50.ratio") == pytest.approx(ratio, abs=0.001)
    assert "append.p50 takes" in (directory / "junit.xml").read_text()
    assert "gate.append.p50" in (directory / "summary.md").read_text()
    assert len((directory / "rounds.jsonl").read_text().splitlines()) == run.figure("gate.rounds")
    assert is_tidy(shop)

    store.write_text(text)
    commit(shop, "undone")
    undone = gate(shop, "--baseline", "HEAD~2", *QUICK[:2], "--minutes", "0.1", "--history", "history/gate.jsonl")
    assert undone.code in {0, 3}, undone
    [line] = (shop / "history" / "gate.jsonl").read_text().splitlines()
    assert json.loads(line)["figures"]["gate.append.p50.ratio"] > 0


def test_a_store_of_ones_own(tmp_path: Path) -> None:
    """The example's store keeps the contract, and is gated; a limit on what it takes is checked along with it."""
    directory = tmp_path / "example"
    shutil.copytree(ROOT / "examples", directory / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "slo.toml").write_text('[[budget]]\nfigure = "gate.append.p50.candidate"\nat_most = "10 s"\n')
    (directory / ".gitignore").write_text("__pycache__/\n/runs/\n")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(directory))
    commit(directory, "a store")
    contract = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:locust", "-p", "no:cacheprovider", "test_plain_store.py"],
        cwd=directory / "src",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "5 passed, 1 skipped" in contract.stdout, contract
    ended = gate(
        directory,
        "--baseline",
        "HEAD",
        "--target",
        "plain_store:target",
        "--minutes",
        "0.1",
        "--budget",
        "slo.toml",
    )
    assert ended.code == 3, ended
    [run_directory] = (directory / "runs").glob("*-gate")
    verdicts = {each.name: each.status for each in load(run_directory).run.verdicts}
    assert verdicts["budget.gate.append.p50.candidate"] == "PASS"
    # What the example leaves out is not measured.
    assert "gate.drain.per_event" in verdicts
    assert "gate.find_one.p50" not in verdicts


def test_micro_benchmarks(tmp_path: Path) -> None:
    """A pytest-benchmark file is run on both sides, each with its own package, whatever else is on the path."""
    for side, count in (("baseline", 2_000), ("candidate", 20_000)):
        (tmp_path / side / "toy").mkdir(parents=True)
        (tmp_path / side / "toy" / "__init__.py").write_text(f"COUNT = {count}\n")
    (tmp_path / "toy.py").write_text("COUNT = 1\n")
    file = tmp_path / "bench_toy.py"
    count = "import toy\n\ndef bench_count(benchmark):\n    {}\n    benchmark(sum, range(toy.COUNT))\n"
    file.write_text(count.format("pass"))
    measure = Measure(
        target="",
        packages=("toy",),
        sources={"baseline": tmp_path / "baseline", "candidate": tmp_path / "candidate"},
        names={"baseline": "the baseline", "candidate": "the candidate"},
    )
    with MicroRounds(measure, file, tmp_path, SystemClock()) as rounds:
        found = rounds.measure(0)
        assert set(found.ratios) == {"count", *CONTROLS}
        # Ten times as much to add up, which no neighbour makes up for.
        assert found.ratios["count"] > 1
        file.write_text(count.format("assert toy.COUNT == 2_000"))
        with pytest.raises(SideError, match=r"the candidate failed in bench_toy\.py: assert 20000 == 2000"):
            rounds.measure(1)


# What cannot be gated ----------------------------------------------------------------------------------------


def refused(ended: Ended, words: str) -> None:
    """It ended with 2, and one line that says so."""
    assert ended.code == 2, ended
    [line] = ended.complaints
    assert line.startswith("shopbench: ")
    assert words in line


@pytest.mark.parametrize("revision", ["no-such-branch", "--help-me", "HEAD:toy", "0" * 40, ""])
def test_a_baseline_that_does_not_exist(toy: Path, revision: str, gate_here: Gate) -> None:
    """Neither a made-up name, nor something like an option, nor a file is a commit."""
    refused(gate_here(toy, f"--baseline={revision}", *TOY), f"the baseline {revision!r} does not exist")


def test_a_baseline_beyond_a_shallow_clone(toy: Path, tmp_path: Path, gate_here: Gate) -> None:
    """The line says how to get it."""
    commit(toy, "later")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{toy}", "clone")
    refused(
        gate_here(tmp_path / "clone", "--baseline=HEAD~1", *TOY), "this clone is shallow: fetch the whole history"
    )


def test_a_directory_that_is_no_repository(tmp_path: Path, gate_here: Gate) -> None:
    """There is no other revision to compare with."""
    refused(gate_here(tmp_path, "--baseline=main"), "this is no git work tree")


def test_a_baseline_that_does_not_build(toy: Path, gate_here: Gate) -> None:
    """What its code raises is told; nothing is left behind."""
    (toy / "toy" / "__init__.py").write_text("import nothing_of_this_name\n")
    base = commit(toy, "broken")
    (toy / "toy" / "__init__.py").write_text("target = None\n")
    commit(toy, "mended")
    refused(gate_here(toy, f"--baseline={base}", *TOY), f"the baseline {base} does not build: ModuleNotFoundError")
    assert is_tidy(toy)


def test_a_baseline_with_another_layout(toy: Path) -> None:
    """A revision that has the package under another name cannot be measured."""
    git(toy, "mv", "toy", "toys")
    base = commit(toy, "renamed")
    git(toy, "mv", "toys", "toy")
    commit(toy, "named as before")
    refused(
        gate(toy, f"--baseline={base}", *TOY), f"the baseline {base} has another layout: it has no package toy"
    )
    assert is_tidy(toy)


def test_a_shop_without_an_event_store(shop: Path, gate_here: Gate) -> None:
    """A revision of the shop whose event store stands elsewhere does not build for the gate."""
    store = shop / "ordershop" / "event_store.py"
    store.rename(shop / "ordershop" / "log.py")
    base = commit(shop, "renamed")
    (shop / "ordershop" / "log.py").rename(store)
    commit(shop, "named as before")
    refused(gate_here(shop, f"--baseline={base}"), "No module named 'ordershop.event_store'")
    assert is_tidy(shop)


@pytest.mark.parametrize("name", ["__init__.py", "new.py"])
def test_a_dirty_work_tree(toy: Path, name: str, gate_here: Gate) -> None:
    """Changes that are in no commit, and modules that are in none, are named, and refused."""
    (toy / "toy" / name).write_text("changed = True\n")
    refused(gate_here(toy, "--baseline=HEAD", *TOY), f"changes that are in no commit (toy/{name})")
    assert is_tidy(toy)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--relevant", "append.p50"], "METRIC=SIZE"),
        (["--relevant", "append.p50=ten"], "METRIC=SIZE"),
        (["--relevant", "append.p50=-10%"], "METRIC=SIZE"),
        (["--relevant", "insert.p50=10%"], "there is no metric 'insert.p50'; there are append.p50"),
        (["--durability", "perhaps"], "there is no durability 'perhaps'"),
        (["--cores", "two"], "a round is measured on one or on all cores, not on 'two'"),
        (["--server", "redis://127.0.0.1:6379"], "give it a server program, not a URL"),
        (["--micro", "nowhere.py"], "there is no such file"),
        (["--budget", "nowhere.toml"], "nowhere.toml: No such file"),
        (["--minutes", "0"], "--minutes"),
    ],
)
def test_arguments_that_cannot_be(toy: Path, arguments: list[str], words: str, gate_here: Gate) -> None:
    """One line says what is wrong, before anything is checked out."""
    refused(gate_here(toy, "--baseline=HEAD", *TOY, *arguments), words)


def test_a_metric_that_there_is_not(shop: Path, gate_here: Gate) -> None:
    """It is told which ones there are."""
    refused(
        gate_here(shop, "--baseline=HEAD", "--metric", "append.p51"), "there is no metric 'append.p51'; there are "
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_gate(shop: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with one line; no work tree, process or directory is left, the record is."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "gate", "--baseline=HEAD", "--minutes=5"],
        cwd=shop,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    until(lambda: list(shop.glob("runs/*-gate/rounds.jsonl")), "the first round has begun")
    [tree] = [Path(line.split()[0]) for line in git(shop, "worktree", "list").splitlines()[1:]]
    assert tree.is_dir()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    refused(Ended(process.returncode, out, err), f"the gate was interrupted by {number.name}")
    assert is_tidy(shop)
    assert not tree.parent.exists()
    [directory] = (shop / "runs").glob("*-gate")
    assert load(directory).run.status == "interrupted"


# Work trees ------------------------------------------------------------------------------------------------


def test_a_work_tree_that_breaks_off(toy: Path) -> None:
    """Whatever is raised while it is there, it is gone afterwards."""
    head = commit_of(repository_of(toy), "HEAD")
    seen: list[Path] = []

    def break_off() -> None:
        with checked_out(toy, head) as tree:
            seen.append(tree)
            assert (tree / "toy" / "__init__.py").exists()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert is_tidy(toy)
    assert not seen[0].parent.exists()


def test_a_work_tree_that_somebody_else_removed(toy: Path) -> None:
    """What is gone already is forgotten by git, too."""
    with checked_out(toy, commit_of(toy, "HEAD")) as tree:
        shutil.rmtree(tree)
    assert is_tidy(toy)


def test_a_hook_is_not_run(toy: Path) -> None:
    """Checking out a baseline runs nobody's program."""
    hook = toy / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {toy}/ran\n")
    hook.chmod(0o755)
    with checked_out(toy, commit_of(toy, "HEAD")):
        assert not (toy / "ran").exists()


def test_a_package_below_src(toy: Path) -> None:
    """A package is found at the top or in `src`, wherever it was at that revision."""
    assert source_of(toy, ["toy"], "it") == toy.resolve()
    (toy / "src").mkdir()
    git(toy, "mv", "toy", "src/toy")
    assert source_of(toy, ["toy"], "it") == (toy / "src").resolve()
    with pytest.raises(WorktreeError, match="it has another layout"):
        source_of(toy, ["other"], "it")


def test_only_changes_that_matter_are_counted(toy: Path) -> None:
    """A new file beside the packages is no change of what is measured; a changed one is, wherever it is."""
    (toy / "notes.txt").write_text("to do")
    assert changes(toy, ["toy"]) == []
    (toy / ".gitignore").write_text("runs\n")
    assert changes(toy, ["toy"]) == [".gitignore"]
