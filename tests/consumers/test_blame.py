"""Whether a check blames rightly, again and again: fifty checks of good consumers, ten runs of each broken one.

These take hours: `tox -e long`, which goes on where it was left. What was found stays below pytest's cache, in
`consumer-blame`: of good ones the `check.json` and the page, of broken ones the whole run.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from harness.consumer_check import result
from harness.consumer_check.rows import rows_of
from harness.record import run
from tests.broken.consumers.kinds import CONTROLS, KINDS, Kind
from tests.consumers import command
from tests.consumers.test_examples import command_of
from tests.forks import shopbench

CHECKS, REPEATS = 50, 10
CHECK_S, RUN_S = 1_200.0, 300.0
GOOD = ("example in Python", "example in Node", "good.py", *(control.file for control in CONTROLS))


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> Path:
    """A directory for what a test finds: empty, and kept afterwards."""
    path = Path(request.config.cache.mkdir("consumer-blame"), request.node.name.replace("/", "-"))
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


def good_command(name: str, request: pytest.FixtureRequest) -> str:
    """The command line of a good consumer; skips the test where it cannot be run here."""
    if name.startswith("example in "):
        which = name.removeprefix("example in ").lower()
        return shlex.join(command_of(which, request.config.cache.mkdir("consumers")))
    if name == "good.py":
        return command("good")
    [control] = [each for each in CONTROLS if each.file == name]
    return runnable(control)


def runnable(kind: Kind) -> str:
    """The command line of a kind; skips the test where it cannot be run here."""
    program = kind.arguments[0]
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here")
    return kind.command


@pytest.mark.long
@pytest.mark.timeout(CHECK_S + 60)
@pytest.mark.parametrize("number", range(CHECKS))
def test_no_good_one_is_blamed(number: int, request: pytest.FixtureRequest, kept: Path) -> None:
    """A whole check of a consumer that loses nothing finds no fault with it, and decides most of its trials."""
    consumer = good_command(GOOD[number % len(GOOD)], request)
    ended = shopbench(
        "consumer", "check", "--consumer", consumer, "--runs", str(kept), cwd=kept, timeout_s=CHECK_S
    )
    made = [path.parent for path in kept.glob(f"*/{result.FILE}")]
    assert made, ended
    rows = rows_of(result.load(made[0]))
    blamed = [row.trial.name for row in rows if row.status == "FAIL"]
    assert blamed == []
    assert sum(row.status == "PASS" for row in rows) >= len(rows) - 3
    shutil.rmtree(made[0] / "trials")


@pytest.mark.long
@pytest.mark.timeout(RUN_S + 60)
@pytest.mark.parametrize("number", range(REPEATS))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_broken_one_is_caught_each_time(kind: Kind, number: int, kept: Path) -> None:
    """Its own verdict fails and no other, and what it lost stopped where its defect has it stop."""
    parameters = [word for name, value in kind.parameters.items() for word in ("-p", f"{name}={value}")]
    options = ["--profile", "smoke", "--runs", str(kept), "--no-repeat", "--promise", kind.promise]
    ended = shopbench(
        "run",
        "crm_outage",
        *parameters,
        *options,
        "--consumer",
        runnable(kind),
        cwd=kept,
        environment={"PYTHONHASHSEED": str(number + 1)},
        timeout_s=RUN_S,
    )
    made = [path.parent for path in kept.glob("*/run.json")]
    assert made, ended
    record = run.load(made[0]).run
    failed = {verdict.name.rpartition(".")[2] for verdict in record.verdicts if verdict.status == "FAIL"}
    assert kind.verdicts[0] in failed
    assert failed <= {*kind.verdicts}
    lost = result.counts_of({each.name: each.value for each in record.figures}, record.scenario).where
    assert {*lost} <= {*kind.classes}
    assert bool(lost) == bool(kind.classes)
