"""Processes of ours are ours, also in a directory that has packages of their names."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from harness.host import own_python
from harness.host.clock import SystemClock
from harness.host.own_python import own_environment, own_path
from harness.record.run import load
from harness.server.open import open_server
from harness.server.server import ServerError
from ordershop import supervisor
from ordershop.supervisor import free_port
from tests.processes import Ended
from tests.verdicts import is_well
from tests.waiting import until

NAMES = ("harness", "ordershop", "reports", "scenarios", "json", "signal", "redis", "msgspec")
TINY = ("--profile", "smoke", "-p", "send_lag_budget_ms=60000")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory with packages of our names, and of some that we import, which end whoever imports them."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('the package {name} is not ours')\n")
    return tmp_path


def shopbench(directory: Path, *arguments: str, **environment: str) -> Ended:
    """The command as it is installed: what is started has its packages, and is started elsewhere."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "harness", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(own_python.ROOT), **environment},
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("append", *TINY, "-p", "durability=none", "-p", "duration_s=0.5"),
        (
            "crm_outage",
            *TINY,
            "-p",
            "before_s=0.3",
            "-p",
            "outage_s=0.7",
            "-p",
            "after_s=0.5",
            "-p",
            "fault=freeze",
        ),
    ],
    ids=["append", "crm_outage"],
)
def test_a_run_among_packages_of_our_names(theirs: Path, arguments: tuple[str, ...]) -> None:
    """Pump, guard, proxy and services are ours: nothing of the working directory is imported.

    That the micro-benchmarks are, too, is seen in test_micro.py.
    """
    ended = shopbench(theirs, "run", *arguments)
    assert "is not ours" not in ended.err
    [directory] = [each for each in (theirs / "runs").iterdir() if each.is_dir()]
    record = load(directory)
    assert record.run.status == "complete"
    assert is_well(ended.code, record), record.run.verdicts


def locust(directory: Path, scenario: str, *arguments: str) -> Ended:
    """Locust as it is installed, on a scenario of ours, started elsewhere."""
    program = shutil.which("locust", path=str(Path(sys.executable).parent))
    assert program is not None
    done = subprocess.run(
        [program, "-f", str(own_python.ROOT / "scenarios" / f"{scenario}.py"), *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(own_python.ROOT)},
    )
    return Ended(done.returncode, done.stdout, done.stderr)


LOCUSTFILES = {
    path.stem: path.read_text()
    for path in sorted((own_python.ROOT / "scenarios").glob("*.py"))
    if "= locustfile(" in path.read_text()
}
FIRST = 'if "." not in __name__:'


@pytest.mark.parametrize("scenario", ["append", "journey"])
def test_a_locustfile_among_packages_of_our_names(theirs: Path, scenario: str) -> None:
    """Locust puts the working directory in front of all; a file of ours is loaded with our packages."""
    ended = locust(theirs, scenario, "--list")
    name = "".join(word.capitalize() for word in scenario.split("_"))
    assert (ended.code, f"{name}User" in ended.out + ended.err) == (0, True), ended.err


def test_locustfiles_begin_alike() -> None:
    """What is true of one is true of all: the same lines find our packages, before any of these is loaded."""
    assert len(LOCUSTFILES) >= 9
    heads, rests = zip(*(text.split(FIRST) for text in LOCUSTFILES.values()), strict=True)
    assert [
        head for head in heads if re.search(f"^(from|import) ({'|'.join(NAMES[:4])})", head, re.MULTILINE)
    ] == []
    assert len({rest.partition("\n\n")[0] for rest in rests}) == 1


@pytest.mark.slow
def test_locust_runs_among_packages_of_our_names(theirs: Path) -> None:
    """A whole run, with its pumps and its report."""
    arguments = ("--headless", "--users", "2", "--run-time", "1s", "--profile", "smoke", "--durability", "none")
    ended = locust(theirs, "append", *arguments)
    assert "is not ours" not in ended.err
    [directory] = [each for each in (theirs / "runs").iterdir() if each.is_dir()]
    assert load(directory).run.status == "complete", ended.err
    assert (directory / "report.html").exists()


@pytest.mark.slow
def test_the_web_ui_among_packages_of_our_names(theirs: Path) -> None:
    """The form is there, served by our packages."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "harness", "web", "append", "--profile", "smoke", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(own_python.ROOT)}
    with (
        (theirs / "log").open("w+") as log,
        subprocess.Popen(command, cwd=theirs, stdout=log, stderr=log, env=environment) as web,
    ):
        try:
            until(lambda: web.poll() is not None or _page(port), "the form", 90)
            assert "shopbench" in _page(port), (theirs / "log").read_text()
        finally:
            web.terminate()


def _page(port: int) -> str:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return str(answer.read().decode())
    return ""


def test_a_path_that_means_the_working_directory_is_left_out() -> None:
    """Of PYTHONPATH stays what is absolute; a leading colon, which means the working directory, does not."""
    given = {"PYTHONPATH": os.pathsep.join(["", ".", "/somewhere", "lib"]), "HOME": "/root"}
    for environment in (own_environment, supervisor.own_environment):
        found = environment(given)
        assert found["PYTHONPATH"].split(os.pathsep) == [str(own_python.ROOT), "/somewhere"]
        assert found["HOME"] == "/root"


def test_a_child_has_the_working_directory_last(tmp_path: Path) -> None:
    """Locust puts the working directory in front of its path; its children have it behind all else."""
    here = str(tmp_path)
    assert own_path([here, "/a", "", "/b"], here) == ["/a", "/b", here]
    assert own_path(["/a", "/b"], here) == ["/a", "/b"]


def test_a_clone_that_is_not_installed_is_ours() -> None:
    """Where the working directory is what we were loaded from, it stays, and comes first."""
    root = str(own_python.ROOT)
    assert own_path(["", "/a"], root) == [root, "/a"]


def test_a_guard_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose guard has died at once is not started for good: nobody would end it after us."""
    dead = tmp_path / "python"
    dead.write_text("#!/bin/sh\nexit 7\n")
    dead.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dead))
    with (
        pytest.raises(ServerError, match=r"^nobody would end the server after us: the guard has ended with 7$"),
        open_server("embedded", SystemClock()),
    ):
        pass
