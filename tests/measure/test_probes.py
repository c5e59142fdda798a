"""Probes: what they say is what the server has, and where it has nothing they say nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import redis

from harness.host.clock import SystemClock, VirtualClock
from harness.measure.probes import Gauge, GroupLag, HostLoad, InHand, Probe, Sample, Sampler, ServerLoad
from harness.measure.timeline import History
from harness.server.open import open_server
from harness.server.own import OwnServer
from tests.waiting import until

MS = 1_000_000
BASE = 1_700_000_000


@pytest.fixture
def client(own_server: OwnServer) -> Iterator[redis.Redis]:
    with own_server.client() as one:
        yield one


def seconds_of(raw: bytes) -> float:
    """The time in an ID `<seconds>-<microseconds>`."""
    seconds, _, micros = raw.decode().partition("-")
    return int(seconds) + int(micros) / 1e6


def lag_of(client: redis.Redis, *streams: str) -> dict[str, float | None]:
    return {sample.name: sample.value for sample in GroupLag(client, streams, "g", seconds_of).read()}


def ids(entries: list[tuple[str, list[tuple[bytes, object]]]]) -> list[bytes]:
    """The IDs in an answer of XREADGROUP."""
    return [entry for _, found in entries for entry, _ in found]


# Sampler ---------------------------------------------------------------------------------------------------


class Steady:
    """A probe that counts how often it was asked, and takes a while if told to."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.asked = 0
        self._takes_s = takes_s

    def read(self) -> list[Sample]:
        self.asked += 1
        if self._takes_s:
            time.sleep(self._takes_s)
        return [Sample("a", self.asked, "x", {"of": "test"}), Sample("b", None, "y")]


def sampler_of(probes: Sequence[Probe], *, history: History, period_ns: int, origin_ns: int = 0) -> Sampler:
    """A sampler whose probes must not fail."""

    def fail(reason: str) -> None:
        raise AssertionError(reason)

    return Sampler(
        probes,
        clock=SystemClock(),
        origin_ns=origin_ns,
        history=history,
        on_error=fail,
        period_ns=period_ns,
    )


def test_a_sampler_puts_what_it_reads_on_the_timeline() -> None:
    """Each reading keeps name, value, unit and labels, and is stamped with the run's time, in order."""
    clock = SystemClock()
    origin_ns = clock.now_ns() - 5_000 * MS
    history = History()
    with sampler_of([Steady()], history=history, period_ns=5 * MS, origin_ns=origin_ns) as sampler:
        until(lambda: sampler.rounds >= 5, "five rounds")
    after_ns = clock.now_ns() - origin_ns
    readings = list(history.readings("a", of="test"))
    assert [r.value for r in readings] == list(range(1, sampler.rounds + 1))
    assert all(r.unit == "x" for r in readings)
    assert [r.value for r in history.readings("b")] == [None] * sampler.rounds
    stamps = [r.t_ns for r in readings]
    assert stamps == sorted(stamps)
    assert stamps[0] >= 5_000 * MS
    assert stamps[-1] <= after_ns
    assert all(later - earlier >= 4 * MS for earlier, later in pairwise(stamps[:2]))


def test_a_sampler_knows_what_it_costs() -> None:
    """The time that probes take is added up; rounds that were missed meanwhile are not made up for."""
    probe = Steady(takes_s=0.03)
    with sampler_of([probe], history=History(), period_ns=MS) as sampler:
        until(lambda: sampler.rounds >= 3, "three rounds")
    assert sampler.busy_ns >= sampler.rounds * 30 * MS
    assert sampler.rounds == probe.asked


def test_a_sampler_ends_at_once() -> None:
    """Leaving a sampler does not wait for its next round."""
    before = set(threading.enumerate())
    probe = Steady()
    with sampler_of([probe], history=History(), period_ns=3_600_000 * MS):
        until(lambda: probe.asked == 1, "the first round")
    assert set(threading.enumerate()) <= before


class Failing:
    """A probe that fails now and then, each time for a reason of its own."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self) -> list[Sample]:
        self.asked += 1
        if self.asked in {2, 4}:
            raise StopIteration(f"look {self.asked}")
        return [Sample("f", self.asked, "x")]


def test_a_probe_that_fails_stops_no_other() -> None:
    """The others are read in every round, it is asked again, and it is told of once, with its first reason."""
    history, told = History(), list[str]()
    with Sampler(
        [Failing(), Steady()],
        clock=SystemClock(),
        origin_ns=0,
        history=history,
        on_error=told.append,
        period_ns=MS,
    ) as sampler:
        until(lambda: sampler.rounds >= 6, "six rounds")
        assert told == []
    assert told == ["Failing failed 2 times: StopIteration: look 2"]
    assert [r.value for r in history.readings("a")] == list(range(1, sampler.rounds + 1))
    assert [r.value for r in history.readings("f")][:4] == [1, 3, 5, 6]


def test_a_server_that_is_away_is_a_gap(own_server: OwnServer, client: redis.Redis) -> None:
    """While the server is away there is no reading, neither old nor zero; when it is back there are readings."""
    clock = SystemClock()
    history = History()
    client.xadd("s", {"a": 1}, id=f"{BASE}-1")
    client.xgroup_create("s", "g", "0")
    probes = [GroupLag(client, ["s"], "g", seconds_of), ServerLoad(client, lambda: own_server.pid, clock)]
    with sampler_of(probes, history=history, period_ns=5 * MS) as sampler:
        until(lambda: sampler.rounds >= 3, "three rounds")
        own_server.kill()
        away_from_ns, rounds = clock.now_ns(), sampler.rounds
        until(lambda: sampler.rounds >= rounds + 5, "five rounds without a server")
        away_to_ns = clock.now_ns()
        own_server.start()
        client.xadd("s", {"a": 1}, id=f"{BASE}-1")
        client.xgroup_create("s", "g", "0")
        rounds = sampler.rounds
        until(lambda: sampler.rounds >= rounds + 3, "three rounds with it")
    for name in ("lag.undelivered", "lag.pending", "lag.seconds", "server.used_memory_bytes"):
        times = [r.t_ns for r in history.readings(name)]
        assert [t for t in times if t < away_from_ns], name
        assert not [t for t in times if away_from_ns < t < away_to_ns], name
        assert [t for t in times if t > away_to_ns], name
    assert {r.value for r in history.readings("lag.undelivered")} == {1.0}


# Lag -------------------------------------------------------------------------------------------------------


def test_lag_of_a_group_that_has_read_nothing(client: redis.Redis) -> None:
    """All is undelivered, nothing pending, and the age is that of the first entry, by the server's clock."""
    before = client.time()
    for i in range(5):
        client.xadd("s", {"a": i}, id=f"{BASE + i}-0")
    client.xgroup_create("s", "g", "0")
    lag = lag_of(client, "s")
    after = client.time()
    assert (lag["lag.pending"], lag["lag.undelivered"]) == (0, 5)
    assert lag["lag.seconds"] is not None
    assert before[0] - BASE <= lag["lag.seconds"] <= after[0] + 1 - BASE


def test_what_is_delivered_and_not_acknowledged_is_pending(client: redis.Redis) -> None:
    """The age is that of the oldest entry that is not acknowledged, delivered or not."""
    now = client.time()[0]
    for i in range(4):
        client.xadd("s", {"a": i}, id=f"{now - 1_000 + 100 * i}-0")
    client.xgroup_create("s", "g", "0")
    first, second = ids(client.xreadgroup("g", "c", {"s": ">"}, count=2))
    lag = lag_of(client, "s")
    assert (lag["lag.pending"], lag["lag.undelivered"]) == (2, 2)
    assert 1_000 <= (lag["lag.seconds"] or 0) < 1_100
    client.xack("s", "g", first)
    assert 900 <= (lag_of(client, "s")["lag.seconds"] or 0) < 1_000
    client.xack("s", "g", second)
    lag = lag_of(client, "s")
    assert (lag["lag.pending"], lag["lag.undelivered"]) == (0, 2)
    assert 800 <= (lag["lag.seconds"] or 0) < 900


def test_a_group_that_has_handled_all_has_no_lag(client: redis.Redis) -> None:
    """Nothing pending, nothing undelivered, an age of 0."""
    client.xadd("s", {"a": 1}, id=f"{BASE}-0")
    client.xgroup_create("s", "g", "0")
    client.xack("s", "g", *ids(client.xreadgroup("g", "c", {"s": ">"})))
    assert lag_of(client, "s") == {"lag.pending": 0, "lag.undelivered": 0, "lag.seconds": 0.0}


def test_lag_over_several_streams(client: redis.Redis) -> None:
    """Counts are sums; the age is that of the oldest entry of all streams."""
    now = client.time()[0]
    for stream, age_s in (("a", 50), ("b", 500), ("c", 5)):
        client.xadd(stream, {"a": 1}, id=f"{now - age_s}-0")
        client.xadd(stream, {"a": 2}, id=f"{now - age_s}-1")
        client.xgroup_create(stream, "g", "0")
    client.xreadgroup("g", "c", {"c": ">"})
    lag = lag_of(client, "a", "b", "c")
    assert (lag["lag.pending"], lag["lag.undelivered"]) == (2, 4)
    assert 500 <= (lag["lag.seconds"] or 0) < 550


def make_hole(client: redis.Redis) -> None:
    """An entry that is deleted between where the group stands and the end."""
    client.xgroup_create("s", "g", "0")
    client.xreadgroup("g", "c", {"s": ">"}, count=1)
    client.xdel("s", f"{BASE + 2}-0")


def join_in_the_middle(client: redis.Redis) -> None:
    """A group that begins at an ID in the middle."""
    client.xgroup_create("s", "g", f"{BASE + 1}-0")


@pytest.mark.parametrize("spoil", [make_hole, join_in_the_middle])
def test_a_lag_that_the_server_does_not_know_is_none(
    client: redis.Redis, spoil: Callable[[redis.Redis], None]
) -> None:
    """XINFO's lag of NULL is None, never 0; pending and age are known all the same."""
    for i in range(4):
        client.xadd("s", {"a": i}, id=f"{BASE + i}-0")
    spoil(client)
    assert client.xinfo_groups("s")[0]["lag"] is None
    lag = lag_of(client, "s")
    assert lag["lag.undelivered"] is None
    assert lag["lag.pending"] == (1 if spoil is make_hole else 0)
    assert (lag["lag.seconds"] or 0) > 1_000


def test_one_stream_without_a_lag_leaves_the_sum_unknown(client: redis.Redis) -> None:
    """A sum with an unknown part is unknown."""
    for i in range(4):
        client.xadd("s", {"a": i}, id=f"{BASE + i}-0")
    client.xadd("t", {"a": 1}, id=f"{BASE}-0")
    client.xgroup_create("t", "g", "0")
    join_in_the_middle(client)
    assert lag_of(client, "s", "t")["lag.undelivered"] is None
    assert lag_of(client, "t")["lag.undelivered"] == 1


@pytest.mark.parametrize("there", ["nothing", "stream", "another group"])
def test_a_group_that_is_not_there_is_a_gap(client: redis.Redis, there: str) -> None:
    """No stream, no group, or only somebody else's: no reading at all."""
    if there != "nothing":
        client.xadd("s", {"a": 1})
    if there == "another group":
        client.xgroup_create("s", "other", "0")
    assert GroupLag(client, ["s"], "g", seconds_of).read() == []


class MadeInBetween:
    """Answers as a server on which the group is made between the questions for groups and for what is pending."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    @contextlib.contextmanager
    def pipeline(self, *, transaction: bool) -> Iterator[Any]:
        with self._client.pipeline(transaction=transaction) as ask:
            execute = ask.execute
            ask.execute = lambda: [[] if isinstance(answer, list) else answer for answer in execute()]
            yield ask


def test_a_group_that_appears_between_two_questions_is_a_gap(client: redis.Redis) -> None:
    """The server has no such group, and then tells what is pending in it: no reading, and no failure."""
    client.xadd("s", {"a": 1}, id=f"{BASE}-0")
    client.xgroup_create("s", "g", "0")
    between: Any = MadeInBetween(client)
    assert GroupLag(between, ["s"], "g", seconds_of).read() == []


def test_what_each_consumer_has_in_hand(client: redis.Redis) -> None:
    """Summed over the streams, for those that are asked for, 0 included; without a group there is no reading."""
    in_hand = InHand(client, ["s", "t"], "g", lambda: ["1", "3"])
    assert in_hand.read() == []
    for stream in ("s", "t"):
        for i in range(4):
            client.xadd(stream, {"a": i}, id=f"{BASE + i}-0")
        client.xgroup_create(stream, "g", "0")
        client.xreadgroup("g", "1", {stream: ">"}, count=1)
        client.xreadgroup("g", "2", {stream: ">"}, count=2)
    assert [(s.name, s.value, s.labels) for s in in_hand.read()] == [
        ("consumer.pending", 2, {"consumer": "1"}),
        ("consumer.pending", 0, {"consumer": "3"}),
    ]
    assert in_hand.counts() == {"1": 2, "2": 4}


# The rest --------------------------------------------------------------------------------------------------


def test_a_gauge_shows_what_is_kept_elsewhere() -> None:
    """Each time it is asked it answers the number of that moment, None included."""
    values = iter([3.0, None])
    gauge = Gauge("lag.events", "events", lambda: next(values), group="g")
    assert gauge.read() == [Sample("lag.events", 3.0, "events", {"group": "g"})]
    assert gauge.read() == [Sample("lag.events", None, "events", {"group": "g"})]


def test_the_share_of_a_server_is_measured_between_two_looks(own_server: OwnServer, client: redis.Redis) -> None:
    """The first look has no share; then CPU time over the clock's time; after a restart it begins anew."""
    clock = VirtualClock()
    load = ServerLoad(client, lambda: own_server.pid, clock)
    assert [sample.name for sample in load.read()] == ["server.used_memory_bytes"]
    client.eval("local s = redis.call('TIME')[1] + 0; local n = 0; while n < 3e7 do n = n + 1 end; return 1", 0)
    clock.sleep_ns(1_000_000_000)
    share = {sample.name: sample.value for sample in load.read()}["server.cpu_share"]
    assert share is not None
    assert 0.01 <= share < 30
    own_server.kill()
    assert load.read() == []
    own_server.start()
    assert [sample.name for sample in load.read()] == ["server.used_memory_bytes"]


def test_the_memory_of_a_server_is_its_own_figure(own_server: OwnServer, client: redis.Redis) -> None:
    """A megabyte more in the server is a megabyte more in the reading; a server of others has no CPU share."""
    load = ServerLoad(client, lambda: None, VirtualClock())
    [before] = load.read()
    client.set("big", b"x" * 5_000_000)
    [after] = load.read()
    assert (after.value or 0) - (before.value or 0) >= 4_900_000
    assert after.unit == "bytes"


def test_what_waits_for_the_disk_is_read_where_there_is_an_append_only_file() -> None:
    """With an append-only file: the fsyncs that wait, and the writes that waited for one. Without: nothing."""
    for durability, expected in (
        ("everysec", ["server.aof_waiting_fsync", "server.aof_delayed_fsync"]),
        ("none", []),
    ):
        with (
            open_server("embedded", SystemClock(), durability=durability) as server,
            contextlib.closing(server.client()) as client,
        ):
            samples = ServerLoad(client, lambda: None, VirtualClock()).read()
        assert [sample.name for sample in samples if ".aof_" in sample.name] == expected
        assert all((sample.value or 0) >= 0 for sample in samples)


def test_shares_of_the_host_are_shares() -> None:
    """Busy and stolen time are between nothing and all."""
    host = HostLoad()
    seen: dict[str, float | None] = {}

    def reads() -> bool:
        seen.update({sample.name: sample.value for sample in host.read()})
        return bool(seen)

    until(reads, "a reading of the host")
    assert seen.keys() == {"host.cpu_share", "host.steal_share"}
    assert all(value is not None and 0 <= value <= 1 for value in seen.values())
