"""Tests that take long: left out unless asked for, and gone on with where they were left."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import resuming

TESTS = """
import pathlib, pytest

def test_short():
    pass

@pytest.mark.long
@pytest.mark.parametrize("number", range(4))
def test_long(number):
    assert number != 2 or pathlib.Path("mended").exists()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a short test and four long ones, of which one fails until there is a file `mended`."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["long"]\n')
    (tmp_path / "constraints.txt").write_text("")
    shutil.copy(resuming.__file__, tmp_path / "conftest.py")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(TESTS)
    return tmp_path


def ran(project: Path, *options: str) -> str:
    """What pytest says in its last line of the tests of a project."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:schemathesis", "-p", "no:locust", *options]
    # Under tox pytest keeps its cache in the environment's directory, which projects would share.
    own = {name: value for name, value in os.environ.items() if name != "TOX_ENV_DIR"}
    done = subprocess.run(command, cwd=project, env=own, capture_output=True, text=True, check=False, timeout=60)
    return re.sub(r" in .*", "", done.stdout.splitlines()[-1])


def test_what_takes_long_is_asked_for(project: Path) -> None:
    """Without `--long` it is left out, with it all else is."""
    assert ran(project) == "1 passed, 4 deselected"
    assert ran(project, "--long") == "1 failed, 3 passed, 1 deselected"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_it_goes_on_where_it_was_left(project: Path, workers: tuple[str, ...]) -> None:
    """What has passed is not run again, what has failed is; until the code changes."""
    assert ran(project, "--long", "--resume", *workers).startswith("1 failed, 3 passed")
    (project / "mended").touch()
    assert ran(project, "--long", "--resume", *workers).startswith("1 passed")
    assert ran(project, "--long", "--resume").startswith("5 deselected")
    (project / "tests" / "test_it.py").write_text(f"{TESTS}\n# changed\n")
    assert ran(project, "--long", "--resume", *workers).startswith("4 passed")


def test_what_was_left_in_the_middle_is_kept(project: Path) -> None:
    """A pytest that stops at the first failure has noted what had passed before it."""
    assert ran(project, "--long", "--resume", "-x") == "1 failed, 2 passed, 1 deselected"
    (project / "mended").touch()
    assert ran(project, "--long", "--resume") == "2 passed, 3 deselected"
