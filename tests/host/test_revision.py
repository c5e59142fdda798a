"""The revision in a record is that of the code that ran, wherever somebody works."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host.own_python import ROOT
from harness.host.revision import own_revision, revision_of
from harness.record.environment import describe_host
from tests.gate.test_gate_cli import commit, git


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Somebody's repository."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(tmp_path))
    commit(tmp_path, "theirs")
    return tmp_path


def test_the_working_directory_is_named_apart(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run inside another repository, a record has our revision, and beside it that one's."""
    monkeypatch.chdir(theirs)
    host = describe_host()
    assert host["directory_revision"] == git(theirs, "describe", "--always", "--abbrev=12")
    assert host["revision"] == revision_of(ROOT) != host["directory_revision"]


def test_an_installation_has_what_its_build_has_written(theirs: Path) -> None:
    """Also where site-packages lie in a repository; one that nothing was written into is of no known revision."""
    packages = theirs / "venv" / "site-packages"
    (packages / "harness").mkdir(parents=True)
    assert own_revision(packages) is None
    (packages / "harness" / "revision.txt").write_text("v1-3-gabc+\n")
    assert own_revision(packages) == "v1-3-gabc+"


def test_a_checkout_is_asked_each_time(theirs: Path) -> None:
    """Its changes are told by a plus."""
    (theirs / "file").write_text("1")
    clean = commit(theirs, "one")[:12]
    assert own_revision(theirs) == clean
    (theirs / "file").write_text("2")
    assert own_revision(theirs) == f"{clean}+"
