"""`shopbench gate` as its user has it: two commits, an exit code, one clear line, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from harness.cli.shopbench import main
from harness.conduct.conduct import Interrupted, interruptible
from harness.gate.controls import CONTROLS
from harness.gate.decision import ALPHA
from harness.gate.micro import MicroRounds
from harness.gate.prepare import GateOptions, Sides, both_sides, top_level
from harness.gate.revisions import RevisionError, changes, checked_out, commit_of, repository_of, room, source_of
from harness.gate.rounds import Measure, overlay
from harness.gate.side import SIDES, SideError
from harness.host.clock import SystemClock
from harness.record.run import load
from tests.forks import shopbench
from tests.processes import Ended, is_alive
from tests.waiting import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# One metric and few rounds: what is slow here is slow by far, and what is not is told from it at the first look.
QUICK = ["--metric", "append.p50", "--relevant", "append.p50=25%", "--minutes", "0.6"]
# A store in a package `toy` that does nothing but append, and needs no server for it: a round takes half a second.
STORE = """
STEPS = {steps}


class Store:
    def event(self, number):
        return number

    def append(self, event):
        return sum(range(STEPS))

    def close(self):
        pass


def target(url):
    return Store()
"""


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
    return shopbench("gate", *arguments, cwd=directory, environment={"PYTHONPATH": str(ROOT)}, timeout_s=timeout_s)


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


def is_tidy(directory: Path, foreign: int = 0) -> bool:
    """Whether git knows of no other work tree, but for so many of somebody else's, seen or not."""
    listed = list((directory / ".git" / "worktrees").glob("*"))
    return len(git(directory, "worktree", "list").splitlines()) - 1 == len(listed) == foreign


def head_of(directory: Path) -> str:
    """The commit that is checked out."""
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories go, here and in processes that are started: to be looked at afterwards."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return directory


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
OURS = ("harness", "ordershop", "reports", "scenarios")


# Slower, and as before ---------------------------------------------------------------------------------------


def test_a_slow_commit_is_failed(toy: Path) -> None:
    """The gate fails a commit that makes appends slower by 60 %, and names what, by how much and how sure."""
    for steps in (1_000, 1_600):
        (toy / "toy" / "__init__.py").write_text(STORE.format(steps=steps))
        commit(toy, f"{steps} steps")
    failed = gate(toy, "--baseline", "HEAD~1", *TOY, *QUICK)
    assert failed.code == 1, failed
    [directory] = (toy / "runs").glob("*-gate")
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
    # So many that it could fail: of fewer not even rounds that all say slower are evidence enough.
    assert 2.0 ** -(run.figure("gate.rounds") or 0) <= ALPHA
    assert is_tidy(toy)


def test_a_store_of_ones_own(tmp_path: Path) -> None:
    """The example's store keeps the contract, and is gated, with a limit on what it takes and a history.

    Its repository has packages that are called like ours, and the gate is started as it is installed: each
    revision is measured with its own.
    """
    contract = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:locust", "-p", "no:cacheprovider", "test_plain_store.py"],
        cwd=ROOT / "examples",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "7 passed" in contract.stdout, contract
    directory = tmp_path / "example"
    for name in OURS:
        (directory / name).mkdir(parents=True)
        (directory / name / "__init__.py").write_text("MARK = 'theirs'\n")
    shutil.copy(ROOT / "examples" / "plain_store" / "__init__.py", directory / "harness" / "store.py")
    (directory / "slo.toml").write_text('[[budget]]\nfigure = "gate.append.p50.candidate"\nat_most = "10 s"\n')
    (directory / ".gitignore").write_text("__pycache__/\n/runs/\n")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(directory))
    commit(directory, "a store")
    chosen = ["--target", "harness.store:target", *(word for name in OURS for word in ("--package", name))]
    chosen += ["--minutes", "0.1", "--budget", "slo.toml", "--history", "history/gate.jsonl"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "harness", "gate", "--baseline", "HEAD", *chosen],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    # Too few rounds to tell, and above all: nothing is failed that has not changed.
    assert done.returncode == 3, done
    [run_directory] = (directory / "runs").glob("*-gate")
    run = load(run_directory).run
    verdicts = {each.name: each.status for each in run.verdicts}
    assert verdicts["budget.gate.append.p50.candidate"] == "PASS"
    assert {"gate.drain.per_event.ratio", "gate.find_one.p50.ratio"} <= {each.name for each in run.figures}
    [line] = (directory / "history" / "gate.jsonl").read_text().splitlines()
    assert json.loads(line)["figures"]["gate.append.p50.ratio"] > 0


def test_micro_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pytest-benchmark file is run on both sides, each with its own package, whatever else is on the path."""
    # The other plugins of this environment would take a second of each start.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_benchmark.plugin")
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
    refused(gate_here(toy, f"--baseline={revision}", *TOY), f"the baseline {revision!r} does not exist (git: ")


def test_a_baseline_beyond_a_shallow_clone(toy: Path, tmp_path: Path, gate_here: Gate) -> None:
    """The line says how to get it."""
    commit(toy, "later")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{toy}", "clone")
    refused(
        gate_here(tmp_path / "clone", "--baseline=HEAD~1", *TOY), "this clone is shallow: fetch the whole history"
    )


def test_a_directory_that_is_no_repository(tmp_path: Path, gate_here: Gate) -> None:
    """There is no other revision to compare with."""
    refused(gate_here(tmp_path, "--baseline=main"), "git finds no work tree here: not a git repository")


def test_a_machine_without_git(toy: Path, gate_here: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the directory's fault."""
    monkeypatch.setenv("PATH", str(toy))
    refused(gate_here(toy, "--baseline=main", *TOY), "git cannot be run (No such file or directory)")


def test_a_repository_of_somebody_else(toy: Path, gate_here: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git says of it is told; a directory that the environment calls safe is."""
    for name, value in (
        ("TEST_ASSUME_DIFFERENT_OWNER", "1"),
        ("CONFIG_GLOBAL", os.devnull),
        ("CONFIG_NOSYSTEM", "1"),
    ):
        monkeypatch.setenv(f"GIT_{name}", value)
    refused(gate_here(toy, "--baseline=main", *TOY), "git finds no work tree here: detected dubious ownership")
    for name, value in (("COUNT", "1"), ("KEY_0", "safe.directory"), ("VALUE_0", "*")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert toy.resolve() == repository_of(toy)


def test_a_newcomer(toy: Path, gate_here: Gate) -> None:
    """Who names no package of theirs is told how, before anything is checked out."""
    words = "there is no package ordershop here; name yours with --target or --package"
    refused(gate_here(toy, "--baseline=main"), words)


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


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"__init__.py", "__init__.py"), (b"new.py", "new.py"), (b"\xe9\n\x1b.txt", r"\udce9\n\x1b.txt")],
)
def test_a_dirty_work_tree(toy: Path, name: bytes, shown: str, gate_here: Gate) -> None:
    """Changes that are in no commit, and files that are in none, are named, in whatever encoding, and refused."""
    (toy / "toy" / os.fsdecode(name)).write_text("changed = True\n")
    refused(gate_here(toy, "--baseline=HEAD", *TOY), f"changes that are in no commit (toy/{shown})")
    assert is_tidy(toy)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--relevant", "append.p50"], "METRIC=SIZE"),
        (["--relevant", "append.p50=ten"], "METRIC=SIZE"),
        (["--relevant", "append.p50=-10%"], "METRIC=SIZE"),
        (["--relevant", "append.p50=10"], "10 is 1000 %; did you mean 10%?"),
        (["--relevant", "append.p50=1"], "1 is 100 %; did you mean 1%?"),
        (["--relevant", "append.p50=inf"], "METRIC=SIZE"),
        (["--package", "."], "a package is given by its name, such as mystore, not '.'"),
        (["--package", ""], "a package is given by its name, such as mystore, not ''"),
        (["--package", "src/toy"], "a package is given by its name, such as mystore, not 'src/toy'"),
        (["--package", "/toy/"], "a package is given by its name, such as mystore, not '/toy'"),
        (
            ["--package", "toy.inner"],
            "toy.inner is a part of a package, and a side has the whole of one: name toy",
        ),
        (["--target", ":target"], "a target is named package.module:factory, not ':target'"),
        (["--target", "./toy:target"], "a target is named package.module:factory, not './toy:target'"),
        (["--target", "toy"], "a target is named package.module:factory, not 'toy'"),
        (["--relevant", "insert.p50=10%"], "there is no metric 'insert.p50'; there are append.p50"),
        (["--durability", "perhaps"], "there is no durability 'perhaps'"),
        (["--cores", "two"], "--cores of a gate is one or all, not 'two'"),
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


def test_an_interrupted_gate(shop: Path, temporary: Path) -> None:
    """Ctrl-C ends it with one line; nothing is left behind but the record."""
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "gate", "--baseline=HEAD", "--minutes=5"],
        cwd=shop,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    until(lambda: list(shop.glob("runs/*-gate/rounds.jsonl")), "the first round has begun")
    [room] = temporary.glob("shopbench-gate-*")
    assert [(room / tree).is_dir() for tree in ("base", "head")] == [True, True]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    refused(Ended(process.returncode, out, err), "the gate was interrupted by SIGINT")
    assert is_tidy(shop)
    assert list(temporary.iterdir()) == []
    [directory] = (shop / "runs").glob("*-gate")
    assert load(directory).run.status == "interrupted"


# Both sides -------------------------------------------------------------------------------------------------


def options(**chosen: Any) -> GateOptions:
    """A gate of a toy."""
    given = GateOptions(
        baseline="HEAD~1",
        target="toy:target",
        packages=("toy",),
        micro=None,
        minutes=0.1,
        relevant={},
        metrics=(),
        durability="none",
        cores="one",
        allow_dirty=False,
    )
    return msgspec.structs.replace(given, **chosen)


@pytest.fixture
def twice(toy: Path) -> Path:
    """A repository with two commits: in the package a version, beside it a module and a link."""
    (toy / "toy" / "version.py").write_text("VERSION = 1\n")
    (toy / "data").mkdir()
    (toy / "data" / "names.txt").write_text("Ada\n")
    (toy / "toy" / "data").symlink_to("../data")
    (toy / "gating.py").write_text("from toy.version import VERSION\n")
    commit(toy, "first")
    (toy / "toy" / "version.py").write_text("VERSION = 2\n")
    commit(toy, "second")
    return toy


def versions(sides: Sides) -> list[str]:
    """What the version of each side is."""
    return [(sides.sources[side] / "toy" / "version.py").read_text() for side in ("baseline", "candidate")]


def test_sides_are_held_still(twice: Path, temporary: Path) -> None:
    """Who edits a file or commits while a gate is at work does not change what it measures."""
    head = head_of(twice)
    with both_sides(options(), twice) as sides:
        (twice / "toy" / "version.py").write_text("VERSION = 3\n")
        commit(twice, "third")
        assert versions(sides) == ["VERSION = 1\n", "VERSION = 2\n"]
        assert sides.candidate == head
        assert len({len(str(source)) for source in sides.sources.values()}) == 1
        assert all(source.is_relative_to(temporary) for source in sides.sources.values())
    assert is_tidy(twice)
    assert list(temporary.iterdir()) == []


def test_changes_are_held_still(twice: Path, temporary: Path) -> None:
    """Of a candidate with changes is measured what would be committed of it: no less, and no more."""
    (twice / "toy" / "version.py").write_text("VERSION = 3\n")
    (twice / "toy" / os.fsdecode(b"n\xe9w.py")).write_text("")
    (twice / "toy" / "__init__.py").unlink()
    (twice / "toy" / "__pycache__").mkdir()
    (twice / "toy" / "__pycache__" / "old.pyc").write_text("")
    (twice / "notes.txt").write_text("to do")
    head = head_of(twice)
    with both_sides(options(allow_dirty=True), twice) as sides:
        (twice / "toy" / "version.py").write_text("VERSION = 4\n")
        assert versions(sides) == ["VERSION = 1\n", "VERSION = 3\n"]
        assert sides.candidate == f"{head}+"
        copy = sides.sources["candidate"]
        assert {os.fsencode(path.name) for path in copy.iterdir()} == {
            b".gitignore",
            b"data",
            b"gating.py",
            b"toy",
        }
        assert {os.fsencode(path.name) for path in (copy / "toy").iterdir()} == {
            b"data",
            b"version.py",
            b"n\xe9w.py",
        }
        assert (copy / "toy" / "data").is_symlink()
        assert (copy / "toy" / "data" / "names.txt").read_text() == "Ada\n"
    assert is_tidy(twice)
    assert list(temporary.iterdir()) == []


def test_what_lies_behind_a_link_is_not_copied(twice: Path, tmp_path: Path) -> None:
    """A package that has become a link to somewhere else is copied as that; nothing is written through it."""
    (twice / "toy").rename(tmp_path / "elsewhere")
    (twice / "toy").symlink_to(tmp_path / "elsewhere")
    with both_sides(options(allow_dirty=True), twice) as sides:
        assert (sides.sources["candidate"] / "toy").is_symlink()
        assert versions(sides) == ["VERSION = 1\n", "VERSION = 2\n"]
    assert (tmp_path / "elsewhere" / "version.py").exists()


@pytest.mark.parametrize("module", ["gating", "benchmarks.gating"])
def test_a_target_beside_the_package(twice: Path, module: str) -> None:
    """Both sides have the candidate's, wherever the gate is started; the package that it opens is each side's."""
    file = (twice / module.replace(".", "/")).with_suffix(".py")
    file.parent.mkdir(exist_ok=True)
    for text in ("raise SystemExit\n", "from toy.version import VERSION\n"):
        file.write_text(text)
        commit(twice, "a target")
    found = {}
    with (
        both_sides(options(target=f"{module}:target", baseline="HEAD~3"), twice) as sides,
        contextlib.ExitStack() as stack,
    ):
        file.write_text("raise SystemExit\n")
        for side in SIDES:
            measure = Measure(
                target=f"{module}:target",
                packages=("toy",),
                sources=sides.sources,
                names=sides.names,
                adapter=sides.adapter,
                scratch=sides.room,
            )
            program = f"import sys; sys.path.insert(0, sys.argv[1]); from {module} import VERSION; print(VERSION)"
            path = overlay(stack, measure, side)
            found[side] = subprocess.check_output([sys.executable, "-P", "-c", program, path], text=True).strip()
    assert found == {"baseline": "1", "candidate": "2"}


def test_a_new_target_is_a_change(twice: Path) -> None:
    """A target that is in no commit would not be found in one."""
    (twice / "target.py").write_text("")
    with (
        pytest.raises(RevisionError, match=r"in no commit \(target\.py\)"),
        both_sides(options(target="target:target"), twice),
    ):
        pass


def test_packages_are_named_once_and_without_a_slash() -> None:
    """A shell completes the name of a directory with one."""
    assert top_level(["toy/", "toy", "other"]) == ("toy", "other")


# Work trees ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def base_of(directory: Path, commit: str = "HEAD", **how: float) -> Iterator[Path]:
    """A work tree of a commit, in a room of its own."""
    with room() as path:
        yield checked_out(directory, commit_of(directory, commit, "it"), path / "base", **how)


def test_a_work_tree_that_breaks_off(toy: Path, temporary: Path) -> None:
    """Whatever is raised while it is there, it is gone afterwards."""

    def break_off() -> None:
        with base_of(repository_of(toy)) as tree:
            assert (tree / "toy" / "__init__.py").exists()
            assert tree.is_relative_to(temporary)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert is_tidy(toy)
    assert list(temporary.iterdir()) == []


def test_a_work_tree_that_somebody_else_removed(toy: Path) -> None:
    """What is gone already need not be removed."""
    with base_of(toy) as tree:
        shutil.rmtree(tree.parent)
    assert is_tidy(toy)


def test_work_trees_of_others_are_left_alone(toy: Path, tmp_path: Path) -> None:
    """A work tree on a disk that is not mounted at the moment stays in git's list, and works again afterwards."""
    disk, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    git(toy, "worktree", "add", "--quiet", "--detach", str(disk / "theirs"))
    disk.rename(elsewhere)
    with base_of(toy) as tree:
        shutil.rmtree(tree)
    assert is_tidy(toy, foreign=1)
    elsewhere.rename(disk)
    assert git(disk / "theirs", "status", "--porcelain") == ""


@pytest.fixture
def stuck(toy: Path, tmp_path: Path) -> Path:
    """A checkout of the toy does not end: it waits for a filter, which has its process id in this file."""
    file = tmp_path / "stuck"
    (toy / ".gitattributes").write_text("*.txt filter=stuck\n")
    (toy / "notes.txt").write_text("to do\n")
    commit(toy, "a filter")
    git(toy, "config", "filter.stuck.smudge", f"echo $$ > {file}.new; mv {file}.new {file}; exec sleep 600")
    return file


def is_over(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return not is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


# What a gate does first, in a process of its own.
IN_A_PROCESS = """
import sys
from pathlib import Path
from harness.conduct.conduct import interruptible
from harness.gate.revisions import checked_out, room

with interruptible(), room() as path:
    checked_out(Path(sys.argv[1]), "HEAD", path / "base")
    print("checked out", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def in_a_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that checks a repository out and waits for the end of its input."""
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_PROCESS, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        yield process


def test_git_is_interrupted(toy: Path, stuck: Path, temporary: Path) -> None:
    """Who interrupts a checkout has no work tree, locked for good or not, no directory, and no git at work."""
    with in_a_process(toy) as process:
        until(stuck.exists, "git hangs")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert "harness.conduct.conduct.Interrupted: SIGTERM" in err
    assert is_tidy(toy)
    assert list(temporary.iterdir()) == []
    until(lambda: is_over(int(stuck.read_text())), "the filter has ended, too")


def test_git_takes_too_long(toy: Path, stuck: Path, temporary: Path) -> None:
    """It is ended, said in a line, and has left nothing."""
    with pytest.raises(RevisionError, match="git read-tree took longer than 1 s"), base_of(toy, timeout_s=1.0):
        pass
    until(lambda: is_over(int(stuck.read_text())), "the filter has ended, too")
    assert is_tidy(toy)
    assert list(temporary.iterdir()) == []


def test_git_is_killed(toy: Path, stuck: Path, temporary: Path) -> None:
    """What git has left behind half made is removed."""
    with in_a_process(toy) as process:
        until(stuck.exists, "git hangs")
        for each in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        _, err = process.communicate(timeout=30)
    assert "git read-tree has ended with -9" in err
    assert is_tidy(toy)
    assert list(temporary.iterdir()) == []


def test_an_interrupt_while_tidying_up(toy: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come when files are being removed, and ends that: all else is done the same."""
    remove, begun = shutil.rmtree, []

    def interrupted(path: Path, **how: bool) -> None:
        begun.append(path)
        if len(begun) == 1:
            raise Interrupted("SIGINT")
        remove(path, **how)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(Interrupted, match="SIGINT"), base_of(toy):
        assert list(temporary.iterdir())
    assert is_tidy(toy)
    assert list(temporary.iterdir()) == []


def test_a_gate_that_was_killed(toy: Path, temporary: Path) -> None:
    """What it has left the next gate removes; of one that is at work it touches nothing."""
    with in_a_process(toy) as at_work, in_a_process(toy) as killed:
        for each in (at_work, killed):
            assert each.stdout
            assert each.stdout.readline() == "checked out\n"
        killed.kill()
        killed.wait()
        assert len(list(temporary.iterdir())) == 2
        with base_of(toy) as tree:
            assert len(list(temporary.iterdir())) == 2
            assert tree.exists()
        [left] = temporary.iterdir()
        assert (left / "base" / "toy" / "__init__.py").exists()
        at_work.communicate("", timeout=30)
    assert is_tidy(toy)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_interrupts(number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal do, each under its name."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(Interrupted, match=number.name), interruptible():
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_who_ignores_a_closed_terminal_goes_on_without_one() -> None:
    """Under `nohup` a SIGHUP interrupts nothing; otherwise it does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, ours := lambda *_: None)
        with pytest.raises(Interrupted, match="SIGHUP"), interruptible():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is ours
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_revision_is_checked_out_whole(toy: Path) -> None:
    """With what a release leaves out, and what a sparse work tree does; its own attributes make its line ends."""
    (toy / ".gitattributes").write_text("*.txt export-ignore eol=crlf\n")
    (toy / "toy" / "notes.txt").write_bytes(b"to do\n")
    commit(toy, "notes")
    (toy / ".gitattributes").write_text("*.txt eol=lf\n")
    git(toy, "sparse-checkout", "set", "elsewhere")
    assert not (toy / "toy").exists()
    with base_of(toy) as tree:
        assert (tree / "toy" / "notes.txt").read_bytes() == b"to do\r\n"
        assert (tree / "toy" / "__init__.py").exists()


def test_a_repository_stays_as_it_is(toy: Path) -> None:
    """Nothing in it is written to check a revision out: neither an index, nor a list."""

    def noted() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (toy / ".git").rglob("*")}

    before = noted()
    with base_of(toy):
        assert noted() == before
    assert noted() == before


def test_a_hook_is_not_run(toy: Path) -> None:
    """Checking out a baseline runs nobody's program."""
    for name in ("post-checkout", "post-index-change"):
        hook = toy / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {toy}/ran\n")
        hook.chmod(0o755)
    with base_of(toy):
        assert not (toy / "ran").exists()


def test_a_gate_in_a_hook(toy: Path, tmp_path: Path) -> None:
    """A hook of git's has its repository and index in its environment; neither is touched."""
    (toy / "toy" / "more.py").write_text("")
    commit(toy, "more")
    script = tmp_path / "in_a_hook.py"
    script.write_text(IN_A_PROCESS.replace('"HEAD"', '"HEAD~1"'))
    hook = toy / ".git" / "hooks" / "pre-commit"
    hook.write_text(f"#!/bin/sh\nexec env PYTHONPATH={ROOT} {sys.executable} {script} {toy} </dev/null >&2\n")
    hook.chmod(0o755)
    (toy / "toy" / "again.py").write_text("")
    commit(toy, "again")
    assert git(toy, "show", "--name-status", "--format=") == "A\ttoy/again.py"
    assert git(toy, "status", "--porcelain") == ""
    assert is_tidy(toy)


def test_a_package_below_src(toy: Path) -> None:
    """A package is found at the top or in `src`, wherever it was at that revision."""
    assert source_of(toy, ["toy"], "it") == toy.resolve()
    (toy / "src").mkdir()
    git(toy, "mv", "toy", "src/toy")
    assert source_of(toy, ["toy"], "it") == (toy / "src").resolve()
    with pytest.raises(RevisionError, match="it has another layout: it has no package other"):
        source_of(toy, ["other"], "it")
    (toy / "other").mkdir()
    with pytest.raises(RevisionError, match="it has another layout: toy, other are not in one directory"):
        source_of(toy, ["toy", "other"], "it")


def test_only_changes_that_matter_are_counted(toy: Path) -> None:
    """A new file beside the packages is no change of what is measured; a changed one is, wherever it is."""
    head = head_of(toy)
    (toy / "notes.txt").write_text("to do")
    (toy / "gating.py").write_text("target = None")
    assert changes(toy, head, ["toy"]) == []
    assert changes(toy, head, ["toy"], "gating") == ["gating.py"]
    (toy / ".gitignore").write_text("runs\n")
    assert changes(toy, head, ["toy"]) == [".gitignore"]
