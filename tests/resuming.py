"""Tests that take long by their nature, and how they go on where they were left.

    tox -e long          all that is marked `long` and has not passed yet; Ctrl-C, and later once more

Without `--long` they are left out, with it all others are. What has passed is kept below `.pytest_cache`, a line a
test, under a digest of the code and the tests: where any of it changes, all begins anew.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

PASSED = pytest.StashKey[frozenset[str]]()
SUFFIXES = (".py", ".lua", ".js", ".html", ".css", ".toml", ".txt", ".ini")


def digest_of(root: Path) -> str:
    """A digest of the code and the tests: the same as long as none of them has changed."""
    digest = hashlib.sha256()
    for part in ("ordershop", "harness", "scenarios", "reports", "tests", "constraints.txt", "pyproject.toml"):
        path = root / part
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.suffix in SUFFIXES and each.is_file():
                digest.update(f"{each.relative_to(root)}\0{each.stat().st_size}\0".encode() + each.read_bytes())
    return digest.hexdigest()[:16]


def _file(config: pytest.Config) -> Path:
    """Where it is kept what has passed of this code."""
    assert config.cache is not None
    return Path(config.cache.mkdir("long")) / f"{digest_of(config.rootpath)}.txt"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--long` and `--resume`."""
    group = parser.getgroup("long")
    group.addoption("--long", action="store_true", help="run what is marked `long`, and nothing else")
    group.addoption("--resume", action="store_true", help="of what is marked `long`, leave out what has passed")


def pytest_configure(config: pytest.Config) -> None:
    """Read once what has passed: every worker has to find the same tests."""
    passed: frozenset[str] = frozenset()
    given = getattr(config, "workerinput", None)
    if given is not None:
        passed = frozenset(given["passed"])
    elif config.getoption("resume") and (file := _file(config)).exists():
        passed = frozenset(file.read_text().splitlines())
    config.stash[PASSED] = passed


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist what has passed."""
    node.workerinput["passed"] = sorted(node.config.stash[PASSED])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not asked for, and what has passed."""
    wanted = [
        item
        for item in items
        if (item.get_closest_marker("long") is not None) == config.getoption("long")
        and item.nodeid not in config.stash[PASSED]
    ]
    if len(wanted) < len(items):
        chosen = set(wanted)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = wanted


class Noting:
    """Notes what passes, as it does: whatever ends the tests, it is kept.

    Args:
        file: with a line for each test that has passed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test whose call has passed."""
        if report.when == "call" and report.passed:
            with self._file.open("a") as file:
                file.write(f"{report.nodeid}\n")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Note what passes, in the process that hears of all tests."""
    config = session.config
    if config.getoption("long") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Noting(_file(config)))
