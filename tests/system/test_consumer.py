"""A consumer by command: what it is told, how it gets ready, what is done to it, and what is left of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from harness.account.event_ids import event_id
from harness.host.clock import SystemClock
from harness.nemesis.targets import abilities_of
from harness.server.open import open_server
from harness.system import readiness
from harness.system.consumer import ConsumerSystem, consumer_command
from harness.system.contract import SystemContract
from harness.system.outage import GRACE_NS
from harness.system.port import NotStartedError, Place, SystemUnderTest, Wanted
from harness.system.running_consumers import RunningConsumers
from harness.system.shape import streams_named
from tests.consumers import command, system
from tests.processes import is_alive
from tests.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
class TestConsumer(SystemContract):
    """A good one keeps to the contract of all systems."""

    @staticmethod
    def system() -> SystemUnderTest:
        """Its events are counted once, since it says by which key they are the same."""
        return system("good")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An embedded server, empty, and a directory, in which consumers work, too."""
    monkeypatch.chdir(tmp_path)
    with open_server("embedded", SystemClock(), durability="none") as server:
        yield Place(server=server, directory=tmp_path, producer=7, wanted=Wanted(claim_after_ms=300))


@contextlib.contextmanager
def started(place: Place, name: str, *arguments: str, **options: str) -> Iterator[RunningConsumers]:
    """Consumers at work."""
    with system(name, *arguments, **options).started(place) as running:
        assert isinstance(running, RunningConsumers)
        yield running


def append(place: Place, first: int, count: int) -> None:
    """Append some events, half of them to each stream."""
    with place.server.client() as client:
        for number in range(first, first + count):
            stream = streams_named(place.server.namespace, 2)[number % 2]
            client.xadd(stream, {"event_id": event_id(place.producer, number), "entity": "x", "payload": "y"})


def descendants(running: RunningConsumers) -> list[psutil.Process]:
    """The processes of consumers, by the command that they have."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if environment.get("SHOPBENCH_FACTS", "").startswith(str(running.told.parent)):
                found.append(process)
    return found


# Ready --------------------------------------------------------------------------------------------------------


def refused(place: Place, *way: str, ready_s: float = 1.5, **options: str) -> str:
    """What is said of a consumer that does not get ready; nothing of it is left."""
    with (
        pytest.raises(NotStartedError) as caught,
        system("odd", *way, ready_s=ready_s, **options).started(place) as running,
    ):
        raise AssertionError(running)
    assert not list(place.directory.glob("effects-*")), "the log of a sink is left"
    return str(caught.value)


def test_a_command_that_there_is_not(place: Place) -> None:
    """It is named, at once."""
    with (
        pytest.raises(NotStartedError, match=r"^no-such-program: cannot be run \(No such file or directory\)$"),
        ConsumerSystem(consumer_command("no-such-program --fast")).started(place),
    ):
        pass


@pytest.mark.slow
def test_a_command_that_ends_at_once(place: Place) -> None:
    """After three starts nobody waits on; its last lines are told, without the secret in them."""
    said = refused(place, "exits", ready_s=60)
    assert said == (
        "the consumer is not ready: consumer has ended 3 times, the last time with 3; its log ends with: "
        "no such table | connecting to redis://***@localhost:6379/0 | no such table"
    )


def test_a_command_that_ends_and_is_not_started_again(place: Place) -> None:
    """The first end is enough."""
    said = refused(place, "exits", ready_s=60, restart="never")
    assert said.startswith(
        "the consumer is not ready: consumer has ended once, the last time with 3; its log ends"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("idles", "it has had no effect for an event of events:1 and events:2 within 1.5 s; its log is empty"),
        (
            "elsewhere",
            "it has not made the group shopbench on events:1 and events:2 within 1.5 s; its log is empty",
        ),
        ("only_first", "it has not made the group shopbench on events:2 within 1.5 s; its log is empty"),
        (
            "makes_up",
            "it has had no effect for an event of events:1 and events:2 within 1.5 s; it had an effect for "
            "'made-up', which nobody has sent; its log is empty",
        ),
    ],
)
def test_a_command_that_does_not_do_its_work(place: Place, way: str, says: str) -> None:
    """What was seen of it is said, in one line."""
    assert refused(place, way) == f"the consumer is not ready: {says}"


def test_what_is_said_of_a_promise_is_not_said_by_parameters(place: Place) -> None:
    """How it subscribes, and whether its effects are idempotent, is its own affair."""
    for wanted, says in (
        (Wanted(delivery="from_now"), "how a consumer subscribes is its own affair"),
        (Wanted(is_idempotent=False), "whether effects are idempotent is the consumer's own affair"),
    ):
        other = replace(place, wanted=wanted)
        with pytest.raises(NotStartedError, match=says), system("good").started(other):
            pass


# At work ------------------------------------------------------------------------------------------------------


def test_the_events_that_tell_that_it_is_ready_are_nobodys_effects(place: Place) -> None:
    """Neither at first nor between others, however often one asks."""
    with started(place, "good") as running:
        assert running.effects(0) == []
        append(place, 0, 6)
        until(lambda: len(running.effects(0)) == 6, "each has its effect")
        assert sorted(running.effects(0)) == [event_id(7, number) for number in range(6)]
        assert running.effects(4) == running.effects(0)[4:]
        assert running.facts(0).ready_s > 0


@pytest.mark.slow
def test_a_stray_is_frozen_and_killed_with_its_consumer(place: Place) -> None:
    """A daemon that has left the session, and kept its environment, is part of the consumer; and is told of."""
    with started(place, "odd", "forks") as running:
        can = abilities_of(running.targets[0])
        everybody = descendants(running)
        assert len(everybody) == 2
        can["freeze"]()
        until(lambda: all(p.status() == psutil.STATUS_STOPPED for p in everybody), "both are frozen")
        can["thaw"]()
        can["kill"]()
        assert not any(map(is_alive, everybody))
        can["start"]()
        append(place, 0, 2)
        until(lambda: len(running.effects(0)) == 2, "it works again")
        everybody = descendants(running)
    assert not any(map(is_alive, everybody))
    assert running.facts(0).strays >= 1


@pytest.mark.slow
def test_what_hides_is_seen_by_its_effects(place: Place) -> None:
    """A daemon without our mark cannot be found; that it works while its consumer is down is told."""
    hidden = 0
    try:
        with started(place, "odd", "hides") as running:
            hidden = int((place.directory / "hidden.pid").read_text())
            can = abilities_of(running.targets[0])
            can["kill"]()
            for number in range(300):
                append(place, number, 1)
                SystemClock().sleep_ns(4_000_000)
            can["start"]()
            facts = running.facts(0)
        assert (facts.downs, facts.attempts_while_down > 0) == (1, True)
    finally:
        os.kill(hidden, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(hidden) or not is_alive(psutil.Process(hidden)), "it has ended")


@pytest.mark.slow
def test_what_is_left_behind_is_in_a_session_of_before(place: Place) -> None:
    """A child without our mark, whose parent has ended, ends before the next one starts, and at the end."""
    path = place.directory / "hidden.pid"
    with started(place, "odd", "hides_here") as running:
        first = psutil.Process(int(path.read_text()))
        until(lambda: int(path.read_text() or first.pid) != first.pid, "it was started again")
        assert not is_alive(first)
        assert running.facts(0).exits[0].status == 5
    until(lambda: not psutil.pid_exists(int(path.read_text())), "nothing is left")


@pytest.mark.slow
def test_of_a_consumer_that_is_down_nobody_hears(place: Place) -> None:
    """Killed, with events in hand or without: no attempt while it is away."""
    with started(place, "good") as running:
        can = abilities_of(running.targets[0])
        append(place, 0, 10)
        can["kill"]()
        append(place, 10, 10)
        # For as long as nobody looks, as attempts may be on their way, and for some looks.
        SystemClock().sleep_ns(GRACE_NS + 200_000_000)
        can["start"]()
        until(lambda: len(running.effects(0)) == 20, "each has its effect")
        facts = running.facts(0)
    assert (facts.downs, facts.attempts_while_down) == (1, 0)


def test_the_leader_alone_is_killed(place: Place) -> None:
    """What it has started goes on, and works on beside the new one until that is killed as well."""
    with started(place, "odd", "wraps") as running:
        can = abilities_of(running.targets[0])
        leader, child = sorted(descendants(running), key=lambda process: process.create_time())
        can["leader_kill"]()
        assert (is_alive(leader), is_alive(child)) == (False, True)
        can["start"]()
        assert len(descendants(running)) >= 2
        can["kill"]()
        assert not is_alive(child)
        can["start"]()


@pytest.mark.slow
def test_a_consumer_that_ends_by_itself_is_started_again(place: Place) -> None:
    """That is no error; when it was, and with what, is told."""
    with started(place, "odd", "tires") as running:
        (place.directory / "tired").touch()
        until(lambda: len(running.facts(0).exits) >= 1, "it has ended")
        append(place, 0, 4)
        until(lambda: len(running.effects(0)) == 4, "it is back")
        exits = running.facts(0).exits
    assert {(each.consumer, each.status) for each in exits} == {("consumer", 4)}
    assert running.is_running("consumer")


@pytest.mark.slow
def test_a_consumer_that_ends_and_stays_away(place: Place) -> None:
    """It is not running, and that is told as well."""
    with started(place, "odd", "tires", restart="never") as running:
        (place.directory / "tired").touch()
        until(lambda: not running.is_running("consumer"), "it has ended")
        until(lambda: len(running.facts(0).exits) == 1, "it is noted")


def test_a_probe_that_there_is_not(place: Place) -> None:
    """Nothing is waited for."""
    said = refused(place, "idles", probe="no-such-probe", ready_s=60)
    assert said == "the probe no-such-probe cannot be run (No such file or directory)"


def test_what_is_printed_is_in_the_log_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a consumer in Python that does not flush, and never ends by itself."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    assert refused(place, "prints").endswith("; its log ends with: 7.1 of my library")


def test_an_entry_s_id_that_is_posted_is_known(place: Place) -> None:
    """It is a common mistake, and what has to be posted is said."""
    assert "'1795871390717-0', which nobody has sent: that is the ID of an entry; post the event's" in refused(
        place, "makes_up", "1795871390717-0"
    )


@pytest.mark.slow
def test_a_command_that_goes_into_the_background(place: Place) -> None:
    """It ends with 0 again and again; what to do is said."""
    said = refused(place, "leaves", ready_s=60)
    assert (
        "the last time with 0 (if it goes into the background by itself, have it stay in the foreground)" in said
    )


@pytest.mark.slow
def test_a_probe_that_fails(place: Place) -> None:
    """Where nobody can tell of effects, that is said, and why."""
    said = refused(place, "idles", probe="false")
    assert said.endswith(
        "; nobody can tell of effects: the probe false has ended with 1: it has written no error; its log is empty"
    )


def test_a_probe_that_only_fails_is_not_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that fails at each look, of a consumer that has its groups: the minute is not used up."""
    monkeypatch.setattr(readiness, "BLIND_NS", 1_500_000_000)
    said = refused(place, "idles", probe="false", ready_s=60)
    assert "its groups are there; nobody can tell of effects: the probe false has ended with 1" in said


@pytest.mark.slow
def test_a_probe_tells_of_effects(place: Place) -> None:
    """Rows in a database of the consumer's own; that they are not repeated says nothing, and nobody looks whether
    it is away.
    """
    with started(place, "stores", probe=command("stores", "print")) as running:
        append(place, 0, 4)
        abilities_of(running.targets[0])["kill"]()
        SystemClock().sleep_ns(GRACE_NS + 100_000_000)
        abilities_of(running.targets[0])["start"]()
        until(lambda: len(running.effects(0)) == 4, "each has its effect")
        assert not running.telling().sees_repeats
        assert running.facts(0).downs == 0


@pytest.mark.slow
def test_a_group_at_the_end_gets_another_event(place: Place) -> None:
    """A group that is made at `$` after the first event is ready as soon as it has had one."""
    with started(place, "odd", "from_now") as running:
        assert running.effects(0) == []


@pytest.mark.slow
def test_several_consumers_share_the_links(place: Place) -> None:
    """Each has a name in the group; one that is added gets the next; and a cut of the link reaches all."""
    two = replace(place, wanted=Wanted(consumers=2, claim_after_ms=300))
    with started(two, "good") as running:
        assert running.consumers == ["consumer", "consumer-2"]
        running.add_consumer("consumer-3")
        with place.server.client() as client:
            until(lambda: len(client.xinfo_consumers("events:1", "shopbench")) == 3, "it has joined")
            names = {each["name"].decode() for each in client.xinfo_consumers("events:1", "shopbench")}
        assert names == set(running.group_names.values())
        link = next(abilities_of(each) for each in running.targets if each.name == "consumer-redis")
        link["cut"]()
        append(place, 0, 4)
        logs = [place.directory / f"{name}.log" for name in running.consumers]
        until(lambda: all(log.stat().st_size for log in logs), "all of them complain")
        assert running.effects(0) == []
        link["pass_through"]()
        until(lambda: len(running.effects(0)) == 4, "all of them are back")


def test_what_a_plan_calls_crm_is_the_consumer(place: Place) -> None:
    """So the plans of all scenarios mean something here."""
    with started(place, "good") as running:
        assert running.roles == {
            "crm": "consumer",
            "mail": "effects",
            "crm-redis": "consumer-redis",
            "crm-mail": "consumer-effects",
        }
        assert set(running.roles.values()) == {each.name for each in running.targets}


@pytest.mark.slow
def test_only_what_all_have_acknowledged_is_trimmed(place: Place) -> None:
    """What a group has in hand, or has not been given, stays; and as much as is wanted."""
    with started(place, "good") as running, place.server.client() as client:
        append(place, 0, 20)
        until(lambda: len(running.effects(0)) == 20, "each has its effect")
        until(lambda: not client.xpending("events:1", "shopbench")["pending"], "and is acknowledged")
        client.xgroup_create("events:1", "other", id="0")
        # Of ten, and the one that told that the consumer is ready; of the other stream all is needed.
        assert running.trim(3) == 8
        assert client.xlen("events:2") == 3
        client.xreadgroup("other", "one", {"events:1": ">"}, count=5)
        assert running.trim(0) == 3
        client.xack("events:1", "other", client.xrange("events:1", count=1)[0][0])
        assert running.trim(0) == 1


@pytest.mark.slow
def test_all_of_it_ends_with_whoever_has_started_it(place: Place) -> None:
    """The harness is killed: its consumers, what has left their session, the sink and the links end."""
    code = f"""
import time
from pathlib import Path

from harness.host.clock import SystemClock
from harness.server.open import open_server
from harness.system.port import Place, Wanted
from tests.consumers import system

with open_server("embedded", SystemClock()) as server:
    place = Place(server=server, directory=Path({str(place.directory)!r}), producer=3, wanted=Wanted())
    with system("odd", "forks").started(place):
        Path("ready").touch()
        time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=place.directory, env=environment)
    try:
        until((place.directory / "ready").exists, "the consumers are ready")
        family = psutil.Process(starter.pid).children(recursive=True)
        assert len(family) >= 5
    finally:
        starter.kill()
        starter.wait()
    until(lambda: not any(map(is_alive, family)), "all have ended")


@pytest.mark.slow
def test_the_directory_is_the_users_own(place: Place) -> None:
    """So the words of its command may be paths as a shell has them; the record knows what these files were."""
    (place.directory / "mine.py").write_text(Path(command("good").split()[1]).read_text(encoding="utf-8"))
    mine = ConsumerSystem(consumer_command(f"{command('good').split()[0]} mine.py"))
    with mine.started(place) as running:
        assert running.effects(0) == []
    described = mine.described()
    assert len(described["files"]["mine.py"]) == 12
