"""One core for a round: whoever is named works on it, and the measuring thread is free again afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import psutil
import pytest

from harness.host.cores import core_of, on_core

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system lets nobody choose")

TWO_THREADS = "import sys, threading; threading.Thread(target=sys.stdin.read).start(); print('up', flush=True)"


def test_each_round_draws_a_core_of_ours() -> None:
    """Every core that we may use has its rounds, about equally many; one seed has the same ones again."""
    ours = os.sched_getaffinity(0)
    # So many that half of its share is four standard deviations away from what a core gets.
    rounds = range(60 * len(ours))
    drawn = [core_of("one", 7, number) for number in rounds]
    assert set(drawn) == ours
    assert min(drawn.count(core) for core in ours) > 60 / 2
    assert drawn == [core_of("one", 7, number) for number in rounds]


def test_all_cores_is_none_of_them() -> None:
    """Where all cores may be used nothing is drawn, and nothing changes."""
    before = os.sched_getaffinity(0)
    with on_core(core_of("all", 7, 0), os.getpid()):
        assert os.sched_getaffinity(0) == before


def test_threads_of_a_process_are_on_the_core() -> None:
    """A process that is named goes there with all its threads; so does what this thread starts meanwhile."""
    before = os.sched_getaffinity(0)
    core = max(before)
    with subprocess.Popen(
        [sys.executable, "-c", TWO_THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with on_core(core, process.pid, None):
            threads = [os.sched_getaffinity(thread.id) for thread in psutil.Process(process.pid).threads()]
            assert len(threads) >= 2
            assert [*threads, os.sched_getaffinity(0)] == [{core}] * (len(threads) + 1)
            command = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
            assert subprocess.check_output(command, text=True).strip() == str({core})
        assert os.sched_getaffinity(0) == before
        process.communicate()


def test_a_process_that_has_ended_is_no_error() -> None:
    """Nobody is there to be moved, nor where there is no id; only this thread is moved, no other one of ours."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    before = os.sched_getaffinity(0)
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        with on_core(max(before), ended.pid, None):
            assert len(os.sched_getaffinity(0)) == 1
            assert os.sched_getaffinity(other.native_id or 0) == before
    finally:
        stop.set()
        other.join()
