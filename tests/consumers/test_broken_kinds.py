"""Consumers that are broken on purpose do their work as long as nothing else is broken; a fault shows them.

What each is caught by is asked of `shopbench run`, in `test_broken_through_the_door.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.server.own import OwnServer
from tests.broken.consumers.kinds import CONTROLS, HERE, KINDS, Kind
from tests.consumer_trials import Trial
from tests.stores import open_own

# They lose events also while nothing is wrong with what they need.
NOT_EVEN_THEN = {"drops", "first_stream_only", "trims"}


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    """A server for all of them."""
    with open_own() as one:
        yield one


def test_each_file_is_in_the_table() -> None:
    """Nothing broken lies about that nobody tries, and nothing is in the table twice."""
    in_table = [kind.file for kind in (*KINDS, *CONTROLS)]
    assert sorted(in_table) == sorted({*in_table})
    shared = {"__init__.py", "kinds.py", "plain.py", "plain.mjs"}
    assert {each.name for each in HERE.iterdir() if each.suffix in {".py", ".mjs"}} - shared == {*in_table}


def test_each_file_says_which_fault_shows_it() -> None:
    """Who reads a file learns the same as who reads the table: the fault and the verdict."""
    for kind in KINDS:
        text = (HERE / kind.file).read_text()
        assert f"`{kind.fault}`" in text, kind.name
        assert f"Named by `{kind.verdicts[0]}`" in text, kind.name


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, *CONTROLS], ids=lambda kind: kind.name)
def test_left_alone_it_does_its_work(tmp_path: Path, server: OwnServer, kind: Kind) -> None:
    """It has a group, reads both streams, has effects and acknowledges; whatever is wrong with it is not that."""
    if shutil.which(kind.arguments[0]) is None:
        pytest.skip(f"no {kind.arguments[0]} here")
    with Trial(tmp_path, server, kind.arguments) as trial:
        trial.begin()
        for _ in range(5):
            trial.publish(30)
            trial.until(lambda: not trial.pending() or kind.name in NOT_EVEN_THEN, "all is acknowledged")
        if kind.name not in NOT_EVEN_THEN:
            trial.wait_for_all()
