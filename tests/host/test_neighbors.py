"""Who else had the machine: by name and share, ours apart from others'; and a verdict that says so."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import msgspec
import psutil
import pytest

from harness.check.instrument import with_cause
from harness.host.neighbors import Neighbor, Neighbors, Snapshot, Usage, in_words, neighbors, snapshot
from harness.record.run import Verdict
from tests.waiting import until

# A name of its own, so that no other Python here is taken for it.
BUSY = """
import ctypes
ctypes.CDLL(None).prctl(15, b"busy-neighbor", 0, 0, 0)
print("up", flush=True)
while True: pass
"""
LOOKING = textwrap.dedent("""
    import sys, msgspec
    from harness.host.neighbors import neighbors, snapshot
    before = snapshot()
    print("looking", flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(neighbors(before, snapshot())).decode(), flush=True)
""")


def others(name: str, cpu_s: float) -> Usage:
    return Usage(name=name, cpu_s=cpu_s, is_ours=False)


def ours(name: str, cpu_s: float) -> Usage:
    return Usage(name=name, cpu_s=cpu_s, is_ours=True)


# Ten seconds of two cores.
BEFORE = Snapshot(
    uptime_s=1_000.0,
    busy_s=200.0,
    steal_s=3.0,
    cores=2,
    ended_s=1.0,
    processes={
        (10, 1.0): ours("python", 4.0),
        (20, 1.0): others("make", 50.0),
        (21, 1.0): others("cc", 7.0),
        (22, 1.0): others("cc", 1.0),
        (23, 1.0): others("idle", 9.0),
        (24, 1.0): others("gone", 9.0),
    },
)
AFTER = Snapshot(
    uptime_s=1_020.0,
    busy_s=214.0,
    steal_s=5.0,
    cores=2,
    ended_s=1.5,
    processes={
        (10, 1.0): ours("python", 6.0),
        (11, 5.0): ours("valkey-server", 3.0),
        (20, 1.0): others("make", 51.0),
        (21, 1.0): others("cc", 8.0),
        (22, 1.0): others("cc", 4.0),
        (23, 1.0): others("idle", 9.05),
        # Another process that got the number of the one that is gone, and one that has begun meanwhile.
        (24, 8.0): others("new", 2.0),
    },
)


def test_who_had_the_machine() -> None:
    """Of 1.4 cores' work: ours by name, also what has begun or ended; others that were there; and the rest."""
    expected = Neighbors(
        others=[Neighbor(name="cc", cores=0.4), Neighbor(name="make", cores=0.1)],
        ours=[
            Neighbor(name="valkey-server", cores=0.3),
            Neighbor(name="python", cores=0.2),
            Neighbor(name="processes that have ended", cores=0.05),
        ],
        # 1.4 less 0.5 less 0.55, and less what `idle` used, which is too little to be named.
        unseen=0.345,
        steal_share=0.1,
        cores=2,
    )
    assert neighbors(BEFORE, AFTER) == expected


def test_between_a_moment_and_itself_nobody_had_anything() -> None:
    """No time has passed: nothing is known, and nothing is said."""
    assert neighbors(BEFORE, BEFORE) is None
    assert in_words(None) == ""


def test_all_work_is_accounted_for() -> None:
    """What is named and what is unseen add up to the machine's work, but for shares too small to be named."""
    found = neighbors(BEFORE, AFTER)
    assert found is not None
    named = sum(each.cores for each in (*found.others, *found.ours))
    assert named + found.unseen == pytest.approx(1.4, abs=0.01)


def test_who_took_the_machine_in_words() -> None:
    """Others from a twentieth of a core on, stolen time likewise; ours take nothing away."""
    found = neighbors(BEFORE, AFTER)
    assert found is not None
    sentence = "cc used 0.40 of a core, make used 0.10 of a core, 10% of the machine was given to others"
    assert in_words(msgspec.structs.replace(found, unseen=0.0)) == sentence
    assert in_words(msgspec.structs.replace(found, others=[], steal_share=0.0, unseen=0.0)) == ""


def test_many_that_came_and_went_are_told_together() -> None:
    """A compiler is never there at both moments, and a thousand of them are a neighbor, too."""
    found = Neighbors(others=[], ours=[], unseen=1.3, steal_share=0.0, cores=2)
    assert in_words(found) == "processes that came and went, and the kernel, used 1.30 of a core"


LATE = Verdict(name="append.send_lag", status="UNKNOWN", detail="p99 of the send lag is 80 ms, above 10 ms")
DISTURBED = Neighbors(others=[Neighbor(name="cc", cores=0.4)], ours=[], unseen=0.0, steal_share=0.0, cores=2)
QUIET = Neighbors(others=[], ours=[Neighbor(name="python", cores=1.0)], unseen=0.0, steal_share=0.0, cores=2)


def test_a_late_instrument_names_who_had_the_machine() -> None:
    """An UNKNOWN verdict on the send lag says who used the machine meanwhile."""
    expected = "p99 of the send lag is 80 ms, above 10 ms; meanwhile cc used 0.40 of a core"
    assert with_cause(LATE, DISTURBED, None) == msgspec.structs.replace(LATE, detail=expected)


@pytest.mark.parametrize("who", [None, QUIET], ids=["not known", "only ours"])
def test_without_anybody_else_no_cause_is_made_up(who: Neighbors | None) -> None:
    """Where nobody else is known to have worked the verdict is left as it is."""
    assert with_cause(LATE, who, None) == LATE


@pytest.mark.parametrize(
    "verdict",
    [
        msgspec.structs.replace(LATE, status="PASS"),
        Verdict(name="append.answered", status="UNKNOWN", detail="no arrivals"),
        Verdict(name="crm_outage.lost", status="FAIL", detail="3 events"),
    ],
    ids=["in time", "another doubt", "a failure"],
)
def test_neighbors_explain_nothing_else(verdict: Verdict) -> None:
    """A verdict that is not about a late instrument gets no excuse."""
    assert with_cause(verdict, DISTURBED, None) == verdict


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process name itself")
def test_a_busy_process_is_named_with_its_share() -> None:
    """A loop that somebody else runs is named, with the CPU time that the kernel accounts to it."""
    busy_command, looking_command = ([sys.executable, "-c", code] for code in (BUSY, LOOKING))
    with (
        subprocess.Popen(busy_command, stdout=subprocess.PIPE, text=True) as busy,
        subprocess.Popen(looking_command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as looking,
    ):
        try:
            assert busy.stdout is not None
            assert looking.stdout is not None
            assert looking.stdin is not None
            assert busy.stdout.readline() == "up\n"
            assert looking.stdout.readline() == "looking\n"
            known = psutil.Process(busy.pid)
            before, cpu_before_s = psutil.cpu_times(), sum(known.cpu_times()[:2])
            until(lambda: sum(known.cpu_times()[:2]) - cpu_before_s >= 1.0, "a second of work", 60)
            answer, _ = looking.communicate("now\n", timeout=30)
            used_s = sum(known.cpu_times()[:2]) - cpu_before_s
            wall_s = (sum(psutil.cpu_times()[:8]) - sum(before[:8])) / (psutil.cpu_count() or 1)
        finally:
            busy.kill()
            looking.kill()
    found = msgspec.json.decode(answer, type=Neighbors)
    [mine] = [each for each in found.others if each.name == "busy-neighbor"]
    # The two looked one after the other, a few hundredths of a second apart, or more where the machine is full.
    assert mine.cores == pytest.approx(used_s / wall_s, rel=0.35, abs=0.05)
    assert "busy-neighbor used" in in_words(found)
    assert "busy-neighbor" not in [each.name for each in found.ours]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process name itself")
def test_a_busy_process_that_is_ours_is_no_neighbor() -> None:
    """What this process has started is ours, and is not told as somebody who took the machine."""
    before = snapshot()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as busy:
        try:
            assert busy.stdout is not None
            busy.stdout.readline()
            known = psutil.Process(busy.pid)
            until(lambda: sum(known.cpu_times()[:2]) >= 0.3, "some work", 60)
            found = neighbors(before, snapshot())
        finally:
            busy.kill()
    assert found is not None
    assert "busy-neighbor" in [each.name for each in found.ours]
    assert "busy-neighbor" not in in_words(found)
