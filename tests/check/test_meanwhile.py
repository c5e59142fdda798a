"""What the server did meanwhile is on the timeline, with its cause; and what it explains is said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import report_runs

from harness.check.judge import judge
from harness.check.meanwhile import nothing_evicted, server_checkers, stalls
from harness.host.clock import SystemClock
from harness.measure.probes import Happening, Sample, Sampler
from harness.measure.server_events import ServerEvents, between, server_probes
from harness.measure.timeline import History, Reading, ServerEvent, SlowMark, read_timeline, write_timeline
from harness.record.run import Record, Verdict, load
from harness.server.own import OwnServer
from tests.forks import shopbench
from tests.stores import PROGRAMS, open_own
from tests.waiting import until

MS = 1_000_000


@pytest.fixture(params=PROGRAMS)
def a_server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """Every server that is found here, in turn, for one test."""
    with open_own(request.param) as one:
        yield one


class Watched:
    """A server's events, looked at when a test says so."""

    def __init__(self, server: OwnServer) -> None:
        self.client = server.client()
        self._probe = ServerEvents(self.client, SystemClock(), lambda: server.end)
        self.events: list[ServerEvent] = []
        self.totals: dict[str, float | None] = {}
        self.look()

    def look(self) -> set[str]:
        """Look once; the names of all events so far."""
        for found in self._probe.read():
            if isinstance(found, Happening):
                self.events.append(found.event)
            elif isinstance(found, Sample):
                self.totals[found.name] = found.value
        return {event.name for event in self.events}


@pytest.fixture
def watched(a_server: OwnServer) -> Iterator[Watched]:
    watching = Watched(a_server)
    with contextlib.closing(watching.client):
        yield watching


def test_a_snapshot_is_seen_with_its_fork(a_server: OwnServer, watched: Watched) -> None:
    """BGSAVE: a fork, with the length that the server itself gives it."""
    with a_server.client() as client:
        client.set("a", 1)
        client.bgsave()
        until(lambda: "fork" in watched.look(), "the fork is seen")
        [fork] = [event for event in watched.events if event.name == "fork"]
        assert fork.lasted_ns == client.info("stats")["latest_fork_usec"] * 1000


def test_evictions_are_counted_from_the_runs_beginning(a_server: OwnServer, watched: Watched) -> None:
    """A full server that evicts: an event, and a count that is what the server says."""
    with a_server.client() as client:
        assert watched.totals["server.evicted_keys"] == 0
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", used + 500_000)
        for i in range(200):
            client.set(f"k{i}", "x" * 10_000)
        # A server that is full evicts for whoever asks it, too.
        before = client.info("stats")["evicted_keys"]
        assert "eviction" in watched.look()
        assert 0 < before <= watched.totals["server.evicted_keys"] <= client.info("stats")["evicted_keys"]


def test_a_restart_is_seen_by_its_run_id(a_server: OwnServer, watched: Watched) -> None:
    """Killed and started: the next look that is answered says so, and counts nothing of the former process."""
    a_server.kill()
    watched.look()
    a_server.start()
    assert "restart" in watched.look()


def test_a_change_of_role_is_seen(a_server: OwnServer, watched: Watched) -> None:
    """A server that is told to follow another one has another role."""
    with a_server.client() as client:
        client.replicaof("127.0.0.1", "1")
        until(lambda: "role" in watched.look(), "the role is seen")
        client.replicaof("NO", "ONE")
    assert next(event for event in watched.events if event.name == "role").detail == "master to slave"


def test_the_end_of_a_server_is_told_once_with_its_log(a_server: OwnServer, watched: Watched) -> None:
    """A server that ends by itself: one event, with its last log lines, before its directory goes."""
    with a_server.client() as client, contextlib.suppress(redis.ConnectionError):
        client.shutdown(nosave=True)
    until(lambda: "end" in watched.look(), "the end is seen")
    watched.look()
    [end] = [event for event in watched.events if event.name == "end"]
    assert "bye bye" in end.detail


def test_a_user_without_info_leaves_a_gap(own_server: OwnServer) -> None:
    """INFO is forbidden: no event, no reading, no failure, and nobody asks again and again."""
    with own_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-info")
    url = str(own_server.url).replace("//", "//app:pw@")
    with redis.Redis.from_url(url) as client:
        probe = ServerEvents(client, SystemClock(), lambda: None)
        assert (probe.read(), probe.read()) == ([], [])
    with own_server.client() as admin:
        assert admin.info("commandstats")["cmdstat_info"]["rejected_calls"] == 4  # one look, of four sections


def test_a_sampler_dates_an_event_on_the_runs_time(own_server: OwnServer, tmp_path: Path) -> None:
    """An event has the run's time, lies between two looks, and is read back from disk as it was."""
    history, clock = History(), SystemClock()
    origin_ns = clock.now_ns()
    errors: list[str] = []
    with own_server.client() as client, own_server.client() as other:
        sampler = Sampler(
            server_probes(own_server, client, clock),
            clock=clock,
            origin_ns=origin_ns,
            history=history,
            on_error=errors.append,
            period_ns=10 * MS,
        )
        with sampler:
            until(lambda: next(history.readings("server.evicted_keys"), None), "the first look")
            asked_ns = clock.now_ns() - origin_ns
            other.bgsave()
            until(lambda: any(event.name == "fork" for event in history.server_events), "the fork is seen")
    fork = next(event for event in history.server_events if event.name == "fork")
    assert fork.t_ns >= asked_ns
    assert fork.t_ns - fork.within_ns <= clock.now_ns() - origin_ns
    assert errors == []
    write_timeline(tmp_path / "timeline.jsonl", history)
    assert read_timeline(tmp_path / "timeline.jsonl").entries == history.entries


@pytest.mark.slow
def test_a_run_on_a_server_that_evicts_fails_by_that_name(own_server: OwnServer, tmp_path: Path) -> None:
    """Streams were evicted under load: exit code 1, the verdict names the policy, and no key of ours stays."""
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 1_500_000)
        command = ["run", "append", "--profile", "smoke", "--server", str(own_server.url)]
        more = ["-p", "payload_bytes=1000", "-p", "rate_per_s=2000", "--runs", str(tmp_path)]
        ended = shopbench(*command, *more)
        assert ended.code == 1, ended
        record = next(load(path.parent) for path in tmp_path.glob("*/run.json"))
        [verdict] = [each for each in record.run.verdicts if each.name == "append.evictions"]
        assert (verdict.status, "allkeys-lru" in verdict.detail) == ("FAIL", True)
        assert any(event.name == "eviction" for event in record.history.server_events)
        assert client.dbsize() == 0


# Pure ------------------------------------------------------------------------------------------------------


def test_nothing_has_happened_between_equal_answers() -> None:
    """The same counters twice: no event."""
    info = {"run_id": "a", "role": "master", "total_forks": 3, "latest_fork_usec": 100, "evicted_keys": 7}
    assert between(info, info) == []


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"total_forks": 1}, {"total_forks": 3, "latest_fork_usec": 9}, [("fork", 2)]),
        ({"latest_fork_usec": 8}, {"latest_fork_usec": 9}, [("fork", 1)]),
        ({"aof_delayed_fsync": 1}, {"aof_delayed_fsync": 3}, [("delayed sync", 2)]),
        ({"rdb_bgsave_in_progress": 0}, {"rdb_bgsave_in_progress": 1}, [("snapshot begun", 1)]),
        ({"aof_rewrite_in_progress": 1}, {"aof_rewrite_in_progress": 0}, [("rewrite of the log done", 1)]),
        ({"rejected_connections": 0}, {"rejected_connections": 2}, [("rejected connections", 2)]),
        ({"run_id": "a", "evicted_keys": 9}, {"run_id": "b", "evicted_keys": 0}, [("restart", 1)]),
    ],
)
def test_each_counter_has_its_event(before: dict, now: dict, expected: list[tuple[str, int]]) -> None:
    """What has grown between two answers is one event, with how often it happened."""
    assert [(event.name, event.count) for event in between(before, now)] == expected


def slow(due_ms: int, response_ms: int) -> SlowMark:
    return SlowMark(operation="append", due_ns=due_ms * MS, response_ns=response_ms * MS)


def test_slow_responses_are_named_by_the_event_beside_them() -> None:
    """Those that overlap an event and took more than 10 ms are its own; others are nobody's."""
    fork = ServerEvent(t_ns=1_040 * MS, within_ns=40 * MS, name="fork", detail="for a snapshot", lasted_ns=38 * MS)
    done = ServerEvent(t_ns=3_000 * MS, within_ns=100 * MS, name="snapshot done")
    marks = [slow(1_000, 40), slow(1_020, 20), slow(2_000, 50), slow(1_010, 9), slow(2_890, 30)]
    told = [str(stall) for stall in stalls(marks, [fork, done])]
    assert told == [
        "2 of the 4 slowest responses (up to 40 ms) waited beside the fork for a snapshot at 1.0 s, "
        "which took 38 ms",
        "1 of the 4 slowest responses (up to 30 ms) waited beside the snapshot done at 3.0 s",
    ]


def evicted(*values: float) -> History:
    readings = [Reading(t_ns=at, name="server.evicted_keys", value=v, unit="keys") for at, v in enumerate(values)]
    return History(readings)


LIMITED = {"maxmemory": "3000000", "maxmemory-policy": "allkeys-lru"}


@pytest.mark.parametrize(
    ("history", "server", "expected"),
    [
        (evicted(0, 5, 9), LIMITED, "FAIL"),
        (evicted(0, 5, 0), {}, "FAIL"),
        (evicted(0), LIMITED, "PASS"),
        (evicted(0), {"maxmemory": "0", "maxmemory-policy": "allkeys-lru"}, None),
        (evicted(0), LIMITED | {"maxmemory-policy": "noeviction"}, None),
        (evicted(), LIMITED, None),
    ],
)
def test_any_eviction_fails(history: History, server: dict[str, str], expected: str | None) -> None:
    """A key that was evicted is a failing verdict with the policy's name; without evidence there is none."""
    verdict = nothing_evicted("x.evictions", history, server)
    assert (verdict.status if verdict else None) == expected


def test_each_server_of_a_run_counts() -> None:
    """Three servers one after the other, with 5, 0 and 2 evictions, are 7."""
    verdict = nothing_evicted("x.evictions", evicted(0, 5, 0, 0, 1, 2), LIMITED)
    assert verdict is not None
    assert "evicted 7 keys with their content (maxmemory-policy allkeys-lru)" in verdict.detail


def test_what_the_server_did_is_a_verdict_of_any_run() -> None:
    """Keys that stay and a server's end fail; a lock that is in doubt leaves it unknown; none is no verdict."""

    def found_in(history: History, server: dict[str, str]) -> list[Verdict]:
        run = report_runs.run_of("x", environment={"host": {}, "server": server})
        return judge(Record(Path("nowhere"), run, history=history), server_checkers("x"))

    history = History([ServerEvent(t_ns=0, within_ns=0, name="end", detail="the server ended by SIGSEGV")])
    found = found_in(history, {"left_behind": "keys", "lock": "the lock was gone for a while"})
    assert [(verdict.name, verdict.status) for verdict in found] == [
        ("x.left_nothing", "FAIL"),
        ("x.alone", "UNKNOWN"),
        ("x.server", "FAIL"),
    ]
    assert found_in(History(), {"lock": "none: this user may not"}) == []
