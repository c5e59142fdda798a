"""What `shopbench run --consumer` says of consumers that are broken on purpose: each is caught, and named rightly.

Two of them are tried with the other slow tests, besides those that are not broken; all with `tox -e long`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.broken.consumers.kinds import CONTROLS, HERE, KINDS, Kind
from tests.forks import shopbench

SOON = {"acks_failures", "forgets_pending.mjs"}
EXAMPLE = HERE.parents[2] / "examples" / "consumers" / "python" / "consumer.py"


class Said(NamedTuple):
    """What was said of a consumer: the verdicts that fail, how many it lost by where, and how many it repeated."""

    failed: set[str]
    lost: dict[str, float]
    repeated: float


def said_of(directory: Path, kind: Kind, arguments: list[str] | None = None) -> Said:
    """Do to a consumer what shows the defect of a kind.

    Args:
        directory: for the run.
        kind: whose fault and promise are taken.
        arguments: the command line; None: the kind's own.
    """
    command = kind.command if arguments is None else " ".join(arguments)
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"no {command.split()[0]} here")
    parameters = [word for name, value in kind.parameters.items() for word in ("-p", f"{name}={value}")]
    options = ["--profile", "smoke", "--runs", str(directory), "--promise", kind.promise, "--consumer", command]
    ended = shopbench("run", "crm_outage", *parameters, *options, cwd=directory, timeout_s=200)
    runs = list(directory.glob("*/run.json"))
    assert runs, ended
    run = json.loads(runs[0].read_text())
    figures = {each["name"].removeprefix("crm_outage."): each["value"] for each in run["figures"]}
    return Said(
        {verdict["name"].partition(".")[2] for verdict in run["verdicts"] if verdict["status"] == "FAIL"},
        {name.removeprefix("lost."): value for name, value in figures.items() if name[:5] == "lost." and value},
        figures["duplicated"],
    )


def _later(kind: Kind) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow if kind.name in SOON else pytest.mark.long]


@pytest.mark.parametrize("kind", [pytest.param(each, marks=_later(each), id=each.name) for each in KINDS])
def test_each_is_caught_and_named(tmp_path: Path, kind: Kind) -> None:
    """Its verdict fails and none that is not its own; what it lost stopped where its defect makes it stop."""
    said = said_of(tmp_path, kind)
    assert kind.verdicts[0] in said.failed
    assert said.failed <= {*kind.verdicts}
    assert {*said.lost} <= {*kind.classes}
    assert bool(said.lost) == bool(kind.classes)
    if kind.verdicts[0] == "nothing_twice":
        assert said.repeated


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS, ids=lambda kind: kind.name)
def test_the_same_without_the_defect_passes(tmp_path: Path, control: Kind) -> None:
    """The loop that all of them have in common is blamed for nothing."""
    assert said_of(tmp_path, control)[:2] == (set(), {})


@pytest.mark.long
@pytest.mark.parametrize("fault", sorted({kind.fault for kind in KINDS} | {"stop", "freeze"}))
def test_no_fault_makes_the_example_lose_anything(tmp_path: Path, fault: str) -> None:
    """The consumer that people copy passes whatever the broken ones are caught by."""
    said = said_of(tmp_path, Kind("healthy.py", fault, (), ()), [sys.executable, str(EXAMPLE)])
    assert said[:2] == (set(), {})
