"""Faults of consumers: each does what it says, to abilities, to a command, to a group and to the sink."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.host.clock import SystemClock
from harness.measure.timeline import History
from harness.nemesis.faults import fault_kinds
from harness.nemesis.nemesis import Nemesis
from harness.nemesis.plan import Fault
from harness.nemesis.targets import Part, Target, process_can
from harness.server.own import OwnServer
from harness.system.command import CommandProcess
from harness.system.group import ConsumerGroup
from harness.system.sink import Attempts, Sink
from tests.sinks import Client
from tests.waiting import until

MS = 1_000_000


@contextlib.contextmanager
def playing(target: Target, *plan: Fault) -> Iterator[tuple[Nemesis, History]]:
    """A nemesis on one target, whose errors fail the test."""
    history, errors = History(), list[str]()
    clock = SystemClock()
    nemesis = Nemesis(target, plan, clock=clock, origin_ns=clock.now_ns(), history=history, on_error=errors.append)
    with nemesis:
        yield nemesis, history
    assert errors == []


class Busy:
    """A target that has something in hand now and then, and notes what is done to it."""

    def __init__(self, *in_hand: int | None) -> None:
        self._in_hand = list(in_hand)
        self.done: list[str] = []
        names = ("kill", "stop", "start", "freeze", "thaw", "sink_away", "sink_back", "leader_kill")
        self.can: dict[str, Any] = {name: lambda name=name: self.done.append(name) for name in names}
        self.can |= {"in_hand": self._look, "survivors": lambda: 2}

    def _look(self) -> int | None:
        return self._in_hand.pop(0) if len(self._in_hand) > 1 else self._in_hand[0]

    def suffer(self, name: str) -> object:
        """Do a fault to it with its own options, heal it, and answer what was seen as it was done."""
        kind = fault_kinds()[name]
        seen = kind.inject(self.can, kind.arguments(kind.preset))
        kind.heal(self.can)
        return seen


def test_a_kill_waits_until_something_is_in_hand() -> None:
    """It stops who seems to have something, lets go who has finished meanwhile, and kills who still has it."""
    busy = Busy(0, 0, 3, 0, 0, 5, 4)
    assert busy.suffer("kill_in_batch") == {"in_hand": 4}
    assert busy.done == ["freeze", "thaw", "freeze", "kill", "start"]


def test_a_kill_by_itself_waits_for_nothing() -> None:
    """What was in hand is seen all the same; where nobody can tell, nothing is said of it."""
    assert Busy(0).suffer("kill") == {"in_hand": 0}
    assert Busy(None).suffer("kill") == {}


def test_a_kill_that_finds_nothing_in_hand_is_done_all_the_same() -> None:
    """When its time is up, and no earlier."""
    busy = Busy(0)
    kill = fault_kinds()["kill"]
    before_s = time.monotonic()
    assert kill.inject(busy.can, {"within_s": 0.05}) == {"in_hand": 0}
    assert busy.done == ["kill"]
    assert time.monotonic() - before_s >= 0.05


def test_a_stop_while_the_sink_is_away() -> None:
    """First the sink goes, then the consumer is told to stop; the sink is back first."""
    busy = Busy(0, 7)
    seen = busy.suffer("stop_while_away")
    assert busy.done == ["sink_away", "stop", "sink_back", "start"]
    assert isinstance(seen, dict)
    assert seen["in_hand"] == 7
    assert seen["stop_took_s"] >= 0


def test_a_kill_while_the_sink_is_away() -> None:
    """The same with SIGKILL, once something is in hand."""
    busy = Busy(0, 7)
    assert busy.suffer("kill_while_away") == {"in_hand": 7}
    assert busy.done == ["sink_away", "kill", "sink_back", "start"]


def test_what_is_left_of_a_consumer_without_its_leader_is_ended() -> None:
    """Before it is started again, and it is said how much that was."""
    busy = Busy(1)
    assert busy.suffer("kill_leader") == {"survivors": 2, "in_hand": 1}
    assert busy.done == ["leader_kill", "kill", "start"]


def test_what_was_seen_stands_on_the_timeline() -> None:
    """Beside the window of the fault, from its injection and from its healing."""
    with playing(Part("consumer", Busy(1).can)) as (nemesis, history):
        nemesis.inject_now("kill_leader", by_hand=False)
        nemesis.heal_now()
    [window] = history.faults
    assert window.seen == {"survivors": 2, "in_hand": 1, "survivors_at_the_end": 2}


def test_a_plan_is_waited_for() -> None:
    """Until the last of its faults has healed; one without faults has been played at once."""
    busy = Busy(1)
    plan = [Fault(name="kill", at_ns=number * 20 * MS, for_ns=10 * MS) for number in range(3)]
    with playing(Part("consumer", busy.can), *plan) as (nemesis, _):
        nemesis.wait_until_played()
        assert busy.done == ["kill", "start"] * 3
    with playing(Part("consumer", busy.can)) as (nemesis, _):
        nemesis.wait_until_played()


# The sink ---------------------------------------------------------------------------------------------------


def test_a_sink_that_refuses(tmp_path: Path) -> None:
    """While the fault is open each attempt is refused and logged as such; afterwards it is accepted."""
    log = tmp_path / "attempts.log"
    with Sink(log) as sink, playing(sink.target) as (nemesis, _):
        client = Client(sink)
        nemesis.inject_now("refuse", status=503)
        assert client.post("one").status == 503
        nemesis.heal_now()
        assert client.post("one").status == 200
        nemesis.inject_now("slow", ms=60.0)
        before_s = time.monotonic()
        assert client.post("two").status == 200
        assert time.monotonic() - before_s >= 0.06
        client.close()
    attempts = Attempts(log)
    attempts.poll()
    assert attempts.counts == {"A": 2, "D": 0, "R": 1, "P": 0}


def test_attempts_since_a_moment(tmp_path: Path) -> None:
    """Only those at the events that are asked for, and none from before."""
    with Sink(tmp_path / "attempts.log") as sink:
        client = Client(sink)
        client.post('["a", "b"]')
        until(lambda: Attempts(tmp_path / "attempts.log").attempts_of("b"), "it is logged")
        since_s = SystemClock().epoch_s()
        client.post('["b", "c"]')
        client.post("b")
        client.close()
    assert Attempts(tmp_path / "attempts.log").since(since_s, ["a", "b"]) == {"b": 2}


# The group ----------------------------------------------------------------------------------------------------


@pytest.fixture
def group(server: OwnServer) -> Iterator[tuple[ConsumerGroup, Any, list[str]]]:
    """A group on two streams of ten entries each, all of which are delivered; three are acknowledged."""
    streams = ["faults:a", "faults:b"]
    with contextlib.closing(server.client()) as client:
        ids = {}
        for stream in streams:
            client.delete(stream)
            client.xgroup_create(stream, "g", "0", mkstream=True)
            ids[stream] = [client.xadd(stream, {"n": n}) for n in range(10)]
        client.xreadgroup("g", "one", {"faults:a": ">"})
        client.xreadgroup("g", "two", {"faults:b": ">"})
        client.xack("faults:a", "g", *ids["faults:a"][:3])
        yield ConsumerGroup(client, [*streams, "faults:none"], "g"), client, streams
        client.delete(*streams)


def test_what_is_in_hand_is_asked_of_the_group(group: tuple[ConsumerGroup, Any, list[str]]) -> None:
    """Of all of it, or of one consumer by its name there; of a name that it does not know nobody can tell."""
    it, client, _ = group
    assert (it.in_hand(), it.in_hand("one"), it.in_hand("two"), it.in_hand("three")) == (17, 7, 10, None)
    client.xgroup_destroy("faults:a", "g")
    assert it.in_hand() is None


def test_a_group_that_is_set_back_delivers_again(group: tuple[ConsumerGroup, Any, list[str]]) -> None:
    """So many entries of each stream, the last ones, in their order; more than there are is all of them."""
    it, client, streams = group
    with playing(it.target) as (nemesis, history):
        nemesis.inject_now("redeliver", by_hand=False, entries=4)
    assert history.faults[0].seen == {"set_back": 8}
    again = dict(client.xreadgroup("g", "one", dict.fromkeys(streams, ">")))
    assert {name.decode(): [entry[0] for entry in entries] for name, entries in again.items()} == it.set_back_to
    assert all(len(entries) == 4 for entries in it.set_back_to.values())
    assert it.set_back(50) == {"set_back": 20}


# A command ------------------------------------------------------------------------------------------------


WORKING = """
import subprocess, sys, time
from pathlib import Path
beats = Path(sys.argv[1])
def beat():
    while True:
        with beats.open("a") as file:
            file.write(f"{sys.argv[2]}\\n")
        time.sleep(0.02)
if sys.argv[2] == "first":
    subprocess.Popen([sys.executable, __file__, str(beats), "child"])
beat()
"""


def test_only_the_first_process_of_a_command_is_killed(tmp_path: Path) -> None:
    """Its child works on while it is away; then all of it is ended, and it is started again."""
    program, beats = tmp_path / "working.py", tmp_path / "beats"
    program.write_text(WORKING)
    command = CommandProcess("it", [sys.executable, str(program), str(beats), "first"], log=tmp_path / "log")

    def counts() -> tuple[int, int]:
        lines = beats.read_text().splitlines() if beats.exists() else []
        return lines.count("first"), lines.count("child")

    with command:
        until(lambda: all(counts()), "both work")
        target = Part(
            "it",
            {**process_can(command), "leader_kill": command.kill_first, "survivors": lambda: command.others},
        )
        with playing(target) as (nemesis, history):
            nemesis.inject_now("kill_leader", by_hand=False)
            first, child = counts()
            until(lambda: counts()[1] > child + 5, "the child works on")
            assert counts()[0] == first
            nemesis.heal_now()
            until(lambda: counts()[0] > first, "it has been started again")
        assert history.faults[0].seen == {"survivors": 1, "survivors_at_the_end": 1}
        assert command.others == 1
