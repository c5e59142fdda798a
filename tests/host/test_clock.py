"""Clocks: one that moves only when told, and the machine's own, which every process shares."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import harness
from harness.host.clock import SystemClock, VirtualClock


def test_a_virtual_clock_stands_still() -> None:
    """Asking a virtual clock does not move it."""
    clock = VirtualClock(now_ns=7)

    assert [clock.now_ns() for _ in range(3)] == [7, 7, 7]


def test_a_virtual_clock_moves_by_what_is_slept() -> None:
    """Sleeping moves a virtual clock by just that much, and its time of day with it."""
    clock = VirtualClock(now_ns=1_000, epoch_s=1_790_000_000.0)

    clock.sleep_ns(2_500_000_000)

    assert (clock.now_ns(), clock.epoch_s()) == (2_500_001_000, 1_790_000_002.5)


def test_the_wall_clock_goes_with_the_virtual_one() -> None:
    """A virtual clock's nanoseconds since 1970 move by just what is slept, and none is lost to a float."""
    clock = VirtualClock(now_ns=1_000, epoch_s=1_790_000_000.0)

    clock.sleep_ns(7)

    assert clock.wall_ns() == 1_790_000_000_000_000_007


def test_the_systems_wall_clock_is_its_time_of_day() -> None:
    """Nanoseconds and seconds since 1970 are of the same clock."""
    clock = SystemClock()

    assert abs(clock.wall_ns() / 1e9 - clock.epoch_s()) < 60


def test_a_virtual_clock_never_goes_back() -> None:
    """A sleep of less than nothing leaves a virtual clock where it is."""
    clock = VirtualClock(now_ns=5)

    clock.sleep_ns(-3)

    assert clock.now_ns() == 5


def test_the_system_clock_sleeps_at_least_as_long_as_asked() -> None:
    """After a sleep the system clock has gone forward by at least its length."""
    clock = SystemClock()
    before = clock.now_ns()

    clock.sleep_ns(2_000_000)

    assert clock.now_ns() - before >= 2_000_000


def test_the_system_clock_may_be_asked_to_sleep_for_a_time_that_has_passed() -> None:
    """Sleeping for less than nothing is no error: a due time may lie in the past."""
    SystemClock().sleep_ns(-1)


def test_processes_share_the_system_clock() -> None:
    """What another process reads from its clock lies between two readings of ours."""
    program = "from harness.host.clock import SystemClock; print(SystemClock().now_ns())"
    root = Path(harness.__file__).parent.parent
    before = SystemClock().now_ns()
    theirs = int(subprocess.run([sys.executable, "-c", program], cwd=root, stdout=-1, check=True).stdout)

    assert before < theirs < SystemClock().now_ns()


def test_only_the_clock_touches_time() -> None:
    """No other module of the instrument imports `time`."""
    importers = set()
    for path in Path(harness.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if "time" in names or (isinstance(node, ast.ImportFrom) and node.module == "time"):
                importers.add(path.name)

    assert importers == {"clock.py"}
