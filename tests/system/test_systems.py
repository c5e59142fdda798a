"""Systems under test: OrderShop and the example keep the contract, and scenarios run on the example."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.record.run import load
from harness.system.command import CommandProcess
from harness.system.contract import SystemContract
from harness.system.named import system_named
from harness.system.port import NotStartedError, SystemUnderTest
from scenarios.ordershop_system import ORDERSHOP
from tests.forks import shopbench
from tests.verdicts import settled
from tests.waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAIN = "plain_store.system:system"


@pytest.mark.slow
class TestOrderShop(SystemContract):
    """The shop."""

    @staticmethod
    def system() -> SystemUnderTest:
        """The shop, through the port."""
        return ORDERSHOP


@pytest.mark.slow
class TestPlainStore(SystemContract):
    """The example."""

    @staticmethod
    def system() -> SystemUnderTest:
        """The example, as somebody names it who works in its directory."""
        here = Path.cwd()
        os.chdir(EXAMPLES)
        try:
            return system_named(PLAIN)
        finally:
            os.chdir(here)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "chosen"),
    [
        ("append", ["-p", "durability=none"]),
        ("replay", ["-p", "events=1000"]),
        ("lag", ["-p", "peak_per_s=400"]),
        ("crm_outage", ["-p", "rate_per_s=100"]),
    ],
)
def test_a_scenario_runs_on_a_system_of_ones_own(tmp_path: Path, scenario: str, chosen: list[str]) -> None:
    """Each of the four: nothing fails, the record names the system, and no sentence speaks of the shop."""
    more = ["--profile", "smoke", "--no-repeat", "--system", PLAIN, "--runs", str(tmp_path)]
    path = {"PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), str(EXAMPLES)])}
    done = shopbench("run", scenario, *chosen, *more, cwd=EXAMPLES, environment=path)
    assert done.code in {0, 3}, done
    [directory] = tmp_path.glob(f"*-{scenario}")
    run = load(directory).run
    assert {verdict.status for verdict in settled(run.verdicts)} == {"PASS"}, run.verdicts
    assert run.environment["system"] == "plain store"
    assert "CRM" not in run.headline
    assert not list(directory.glob("effects*"))


def test_a_system_that_there_is_not(tmp_path: Path) -> None:
    """A module, an attribute, or what is no system: one line, exit code 2."""
    for name, why in (
        ("nowhere", "there is no system 'nowhere'; give the name of one, or module:attribute"),
        ("nowhere:system", "there is no system 'nowhere:system': No module named 'nowhere'"),
        ("json:dumps", "'json:dumps' is no system: it lacks name, group, scripts"),
    ):
        done = shopbench("run", "lag", "--system", name, "--runs", str(tmp_path), cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"shopbench: {why}"), done.err


def test_what_is_the_shops_own_takes_no_other_system(tmp_path: Path) -> None:
    """A scenario that is about the shop says so before anything is started."""
    done = shopbench("run", "journey", "--system", PLAIN, "--runs", str(tmp_path), cwd=tmp_path)
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert done.err.startswith("shopbench: --system is for append, replay, lag, crm_outage, and not for journey")


# Commands -----------------------------------------------------------------------------------------------------


def writer(path: Path) -> list[str]:
    """A command that has a child, and writes its process ids."""
    child = "import time; time.sleep(600)"
    code = (
        "import os, subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}]);"
        f"open({str(path)!r}, 'a').write(f'{{os.getpid()}} {{child.pid}}\\n');"
        "time.sleep(600)"
    )
    return [sys.executable, "-c", code]


def pids_in(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def lives(pid: int) -> bool:
    """Whether a process works; one that has ended, and that nobody has waited for, does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_and_its_children_are_killed_and_started_again(tmp_path: Path) -> None:
    """A kill ends all of it; it starts again as it was; and nothing is left afterwards."""
    pids = tmp_path / "pids"
    with CommandProcess("one", writer(pids), log=tmp_path / "log") as command:
        until(lambda: len(pids_in(pids)) == 2, "it has begun")
        command.kill()
        assert not command.is_running
        assert not any(map(lives, pids_in(pids)))
        command.start()
        until(lambda: len(pids_in(pids)) == 4, "it has begun again")
        command.freeze()
        until(lambda: psutil.Process(pids_in(pids)[2]).status() == psutil.STATUS_STOPPED, "it is frozen")
        command.thaw()
        assert command.is_running
    assert not any(map(lives, pids_in(pids)))


def test_a_program_that_there_is_not(tmp_path: Path) -> None:
    """It is named, and no room is left."""
    with pytest.raises(NotStartedError, match="no-such-program: cannot be run"):
        CommandProcess("one", ["no-such-program"], log=tmp_path / "log").__enter__()


def test_a_command_ends_with_whoever_has_started_it(tmp_path: Path) -> None:
    """Its starter is killed: the guard ends the command and its children."""
    pids = tmp_path / "pids"
    code = (
        "import time; from pathlib import Path; from harness.system.command import CommandProcess;"
        f"CommandProcess('one', {writer(pids)!r}, log=Path({str(tmp_path / 'log')!r})).__enter__();"
        "time.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=EXAMPLES.parent)
    until(lambda: len(pids_in(pids)) == 2, "it has begun")
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    until(lambda: not any(map(lives, pids_in(pids))), "all have ended")
