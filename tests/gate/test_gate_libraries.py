"""`shopbench gate` on libraries: the same code, two versions of a library that it uses, each side with its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.gate.libraries import LibrariesError, environment
from harness.record.run import load
from reports.render import render
from tests.forks import shopbench
from tests.gate.test_gate_cli import QUICK, ROOT, STORE, commit, git
from tests.processes import Ended
from tests.wheels import installed_wheels, wheel

pytestmark = pytest.mark.slow

# A store that takes as long as a library of somebody else lets it.
PACED = "import pace\n" + STORE.format(steps="pace.STEPS")
TOY = ["--target", "toy:target", *QUICK]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two versions of a library, the second of which makes its users slower by 60 %."""
    directory = tmp_path_factory.mktemp("wheels")
    for version, steps in (("1.0", 1_000), ("2.0", 1_600)):
        wheel(directory, "pace", version, {"pace.py": f"STEPS = {steps}\n"})
    return directory


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the environments of these tests are kept."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
def paced(tmp_path: Path) -> Path:
    """A repository whose store uses that library, and the constraints of old and new."""
    directory = tmp_path / "paced"
    (directory / "toy").mkdir(parents=True)
    (directory / "toy" / "__init__.py").write_text(PACED)
    (directory / "pyproject.toml").write_text('[project]\nname = "toy"\nversion = "1"\ndependencies = ["pace"]\n')
    (directory / ".gitignore").write_text("__pycache__/\n/runs/\n")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(directory))
    for name, version in (("old", "1.0"), ("new", "2.0"), ("none", "3.0")):
        (tmp_path / f"{name}.txt").write_text(f"pace=={version}\n")
    commit(directory, "a store")
    return directory


def gate(directory: Path, wheels: Path, environments: Path, *arguments: str, **more: str) -> Ended:
    """Gate the last commit against itself, with libraries of that directory of wheels alone."""
    variables: Mapping[str, str] = {
        "PYTHONPATH": str(ROOT),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": "/dev/null",
        **more,
    }
    return shopbench(
        "gate",
        *("--baseline", "HEAD", "--environments", str(environments)),
        *arguments,
        cwd=directory,
        environment=variables,
        timeout_s=240,
    )


def of(baseline: str, candidate: str) -> list[str]:
    """The options with two files of constraints."""
    return ["--baseline-constraints", f"../{baseline}.txt", "--candidate-constraints", f"../{candidate}.txt"]


def test_a_slower_library_is_failed(paced: Path, wheels: Path, environments: Path) -> None:
    """The same commit on both sides: what is slower is the library, which record, sentence and page name."""
    failed = gate(paced, wheels, environments, *TOY, *of("old", "new"))
    assert failed.code == 1, failed
    assert "(pace 2.0 against 1.0): append.p50 takes" in " ".join(failed.out.split())
    [directory] = (paced / "runs").glob("*-gate")
    record = load(directory)
    assert record.run.parameters["libraries"] == [{"library": "pace", "baseline": "1.0", "candidate": "2.0"}]
    assert (record.run.figure("gate.append.p50.ratio") or 0) > 1.3
    assert "Libraries that differ" in render(record)
    assert "pace==1.0" in (directory / "baseline-libraries.txt").read_text().splitlines()
    assert "pace==2.0" in (directory / "candidate-libraries.txt").read_text().splitlines()


def test_the_same_libraries(paced: Path, wheels: Path, environments: Path) -> None:
    """Where nothing differs nothing is measured, unless it is asked for; and nothing is installed twice."""
    refused = gate(paced, wheels, environments, *TOY, *of("old", "old"))
    assert refused.code == 2, refused
    assert "nothing differs: both sides are" in refused.complaints[-1]
    again = gate(paced, wheels, environments, *TOY, *of("old", "old"), "--allow-same")
    assert again.code in {0, 3}, again
    assert "installing" not in again.err
    [directory] = (paced / "runs").glob("*-gate")
    run = load(directory).run
    assert "(the same libraries)" in run.headline
    assert 0.8 < (run.figure("gate.append.p50.ratio") or 0) < 1.25


def test_a_library_that_there_is_not(paced: Path, wheels: Path, environments: Path) -> None:
    """Pip says so, in one line, under the name of the file that was given; no run is left."""
    refused = gate(paced, wheels, environments, *TOY, *of("none", "new"))
    assert refused.code == 2, refused
    told = refused.complaints[-1]
    assert "the libraries of the baseline HEAD cannot be installed: " in told
    assert "The user requested (constraint) pace==3.0 (more in " in told
    assert not (paced / "runs").exists()


def test_a_side_has_no_libraries_but_its_own(paced: Path, wheels: Path, environments: Path) -> None:
    """What is installed beside the instrument is not there for a side that does not ask for it."""
    (paced / "toy" / "__init__.py").write_text(f"import msgspec\n{PACED}")
    commit(paced, "a store that needs more than it says")
    refused = gate(paced, wheels, environments, *TOY, *of("old", "new"))
    assert refused.code == 2, refused
    assert "does not build: ModuleNotFoundError: No module named 'msgspec'" in refused.complaints[-1]


def test_micro_benchmarks_with_libraries_of_their_own(paced: Path, wheels: Path, environments: Path) -> None:
    """Each side's pytest runs among that side's libraries."""
    installed_wheels(wheels, "pytest-benchmark")
    (paced / "bench_toy.py").write_text(
        "import pace\n\ndef bench_sum(benchmark):\n    benchmark(sum, range(20 * pace.STEPS))\n"
    )
    commit(paced, "a benchmark")
    chosen = ["--micro", "bench_toy.py", "--package", "toy", "--minutes", "0.6", "--relevant", "sum=25%"]
    failed = gate(paced, wheels, environments, *chosen, *of("old", "new"))
    assert failed.code in {1, 3}, failed
    [directory] = (paced / "runs").glob("*-gate")
    assert (load(directory).run.figure("gate.sum.ratio") or 0) > 1.3


def test_an_environment_that_was_not_finished(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made anew."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    (tmp_path / "old.txt").write_text("pace==1.0\n")
    told: list[str] = []

    def made() -> dict[str, str]:
        return environment(
            tmp_path / "kept", ["pace"], tmp_path / "old.txt", "the side", tree=tmp_path, tell=told.append
        ).versions

    assert made()["pace"] == made()["pace"] == "1.0"
    assert len(told) == 1
    [listed] = (tmp_path / "kept").glob("*/packages.json")
    listed.unlink()
    assert made()["pace"] == "1.0"
    assert len(told) == 2
    listed.write_text("{")
    with pytest.raises(LibrariesError, match=r"packages\.json: .*; remove"):
        made()
