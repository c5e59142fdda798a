"""Where a run's processes are: the pump where the plan puts it, a little before others; nobody inherits it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from harness.host.placement import SameCore, placed, usable_cores
from tests.waiting import until

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system lets nobody choose")

OURS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
several = pytest.mark.skipif(len(OURS) < 2, reason="there is one core only")
NICER = "import os; os.setpriority(os.PRIO_PROCESS, 0, -10)"
TINY_OUTAGE = ("crm_outage", "--profile", "smoke", "-p", "before_s=0.5", "-p", "outage_s=0.5", "-p", "after_s=0.5")


# The plan --------------------------------------------------------------------------------------------------


def cores_of_a_child() -> set[int]:
    """The cores of a process that is started now."""
    command = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
    return {int(core) for core in subprocess.check_output(command, text=True).split()}


@contextlib.contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """This thread on some cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def test_all_changes_nothing() -> None:
    """Left to the system: what is started may use what we may use, and so may the pump."""
    with placed("all") as pump:
        assert (pump, cores_of_a_child()) == ((), set(OURS))


def test_one_is_the_last_core_for_all() -> None:
    """All on one core, the pump, too, which gets none of its own; afterwards all is as before."""
    with placed("one") as pump:
        assert (pump, cores_of_a_child(), usable_cores()) == ((), {OURS[-1]}, 1)
    assert os.sched_getaffinity(0) == set(OURS)


@several
def test_apart_gives_the_pump_a_core_of_its_own() -> None:
    """The pump has one core, all else the others."""
    with placed("apart") as pump:
        assert (pump, cores_of_a_child()) == ((OURS[-1],), set(OURS[:-1]))
    assert os.sched_getaffinity(0) == set(OURS)


def test_apart_on_one_core_is_all() -> None:
    """Where there is one core only nobody can be put apart."""
    with on({OURS[0]}), placed("apart") as pump:
        assert (pump, cores_of_a_child()) == ((), {OURS[0]})


@pytest.mark.parametrize("plan", ["one", "apart"])
def test_a_plan_is_undone_whatever_happens(plan: Any) -> None:
    """An error within it leaves this thread where it was."""
    with pytest.raises(ZeroDivisionError), placed(plan):
        _ = 1 / 0
    assert os.sched_getaffinity(0) == set(OURS)


def test_whoever_sends_from_the_same_core_is_seen_to() -> None:
    """With one core for both ends, each look finds them on it; who has not looked knows no share."""
    same = SameCore()
    assert same.share is None
    with (
        placed("one"),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as here,
        listener.accept()[0] as there,
    ):
        there.sendall(b"x")
        assert here.recv(1) == b"x"
        same.look(here)
    assert same.share in {None, 1.0}


# A run -----------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What was seen of a process while it ran: its part in the run, and each niceness, core set and child."""

    part: str
    niceness: set[int]
    cores: set[frozenset[int]]
    children: set[int]


def part_of(command: list[str]) -> str:
    """What a process of a run is, by its command line."""
    line = " ".join(command)
    for part, mark in {
        "pump": "pump_process:pump_main",
        "guard": "harness.host.guard",
        "server": "--port",
    }.items():
        if mark in line:
            return part
    return "service" if "ordershop" in line or "scenarios" in line else "other"


def look_at(run: psutil.Process, seen: dict[int, Seen]) -> None:
    """Note each process that a run has started, with all of its threads."""
    for process in run.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            command = process.cmdline()
            # Between fork and exec it has its parent's.
            if not command or command == run.cmdline():
                continue
            part = part_of(command)
            # All of it first: one that ends meanwhile has not been seen.
            niceness, children = process.nice(), {child.pid for child in process.children()}
            cores = {frozenset(os.sched_getaffinity(thread.id)) for thread in process.threads()}
            found = seen.setdefault(process.pid, Seen(part, set(), set(), set()))
            if found.part != part:
                seen[process.pid] = found = Seen(part, set(), set(), set())
            found.niceness.add(niceness)
            found.cores.update(cores)
            found.children.update(children)


def seen_in_a_run(plan: str, runs: Path) -> tuple[list[Seen], dict[str, Any]]:
    """Each process of a small outage under a plan, and the record's environment."""
    command = [sys.executable, "-m", "harness", "run", *TINY_OUTAGE, "--cores", plan, "--runs", str(runs)]
    command += ["-p", "send_lag_budget_ms=60000"]
    seen: dict[int, Seen] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as started:
        run = psutil.Process(started.pid)

        def has_ended() -> bool:
            with contextlib.suppress(psutil.NoSuchProcess):
                look_at(run, seen)
            return started.poll() is not None

        try:
            until(has_ended, "the end of the run", 90)
        finally:
            started.kill()
        assert started.stdout is not None
        said = started.stdout.read().decode()
    assert started.returncode in {0, 3}, said
    [directory] = runs.iterdir()
    return list(seen.values()), json.loads((directory / "run.json").read_text())["environment"]


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["all", "one", pytest.param("apart", marks=several)])
def test_each_process_of_a_run_is_where_the_plan_says(plan: str, tmp_path: Path) -> None:
    """Server, services and guard have the plan's cores and no niceness; the pump alone has its own of both."""
    may_be_nicer = subprocess.run([sys.executable, "-c", NICER], capture_output=True, check=False).returncode == 0
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    rest = {"all": set(OURS), "one": {OURS[-1]}, "apart": set(OURS[:-1])}[plan]
    own = {OURS[-1]} if plan == "apart" else rest

    seen, environment = seen_in_a_run(plan, tmp_path / "runs")

    assert {"pump", "server", "service", "guard"} <= {each.part for each in seen}
    for each in seen:
        if each.part != "pump":
            assert each.niceness == {mine}, each
            assert each.cores == {frozenset(rest)}, each
    [pump] = [each for each in seen if each.part == "pump"]
    # As it starts, it is as all others.
    niceness = min(mine, -10) if may_be_nicer else mine
    assert niceness in pump.niceness <= {mine, niceness}
    assert frozenset(own) in pump.cores <= {frozenset(rest), frozenset(own)}
    assert pump.children == set(), "a pump that starts a process hands its niceness on"

    assert environment["instrument"]["cores_plan"] == plan
    [recorded] = environment["meanwhile"]["pumps"].values()
    assert (recorded["niceness"], recorded["cores"]) == (niceness, len(own))
