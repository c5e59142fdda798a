"""The effects sink: what is answered 200 is in its log, and it breaks only as it is told to."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.nemesis.targets import abilities_of
from harness.system.sink import Attempts, Sink, SinkError
from tests.full_disk import room_for
from tests.processes import is_alive
from tests.sinks import Client, Said, logged
from tests.waiting import in_threads, until


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the sink logs."""
    return tmp_path / "attempts.log"


@pytest.fixture
def sink(log: Path) -> Iterator[Sink]:
    """A sink of its own."""
    with Sink(log) as one:
        yield one


@pytest.fixture
def client(sink: Sink) -> Iterator[Client]:
    """Somebody who posts."""
    with contextlib.closing(Client(sink)) as one:
        yield one


def test_what_is_accepted_is_an_effect(client: Client, log: Path) -> None:
    """IDs are logged as they come, with the time, and told as effects in their order."""
    before_us = time.time_ns() // 1000
    assert client.post('["a", "b"]') == Said(200, "accepted 2\n")
    assert client.post("c") == Said(200, "accepted 1\n")
    assert Attempts(log).effects(0) == ["a", "b", "c"]
    assert Attempts(log).effects(2) == ["c"]
    times_us = [int(line.split()[0]) for line in log.read_text().splitlines()]
    assert before_us <= times_us[0] == times_us[1] <= times_us[2] <= time.time_ns() // 1000


def test_a_repeat_under_the_same_key_is_no_second_effect(client: Client, log: Path) -> None:
    """An ID has one effect under one Idempotency-Key; without a key, and under another, each attempt has one."""
    client.post('["a", "b", "a"]', Idempotency_Key="k")
    assert client.post('["b", "c"]', Idempotency_Key="k") == Said(200, "accepted 1, repeated 1\n")
    client.post("a", Idempotency_Key="other")
    client.post("a")
    expected = [("A", "a"), ("A", "b"), ("D", "a"), ("D", "b"), ("A", "c"), ("A", "a"), ("A", "a")]
    assert logged(log) == expected


def test_a_key_is_any_header(sink: Sink, client: Client, log: Path) -> None:
    """Whatever is in it, it stands in the log as one word, and is known after a restart."""
    key = "a key / \xe9%20"
    client.post('["a", "b"]', Idempotency_Key=key)
    sink.kill()
    sink.start()
    client.close()
    assert client.post('["b", "c"]', Idempotency_Key=key) == Said(200, "accepted 1, repeated 1\n")
    assert client.post("b", Idempotency_Key="a").text == "accepted 1, repeated 0\n"
    assert (
        client.post("b", Idempotency_Key="k" * 257).text == "the Idempotency-Key is longer than 256 characters\n"
    )
    assert [len(line.split()) for line in log.read_text().splitlines()] == [4, 4, 3, 4, 4]


def test_a_full_disk(sink: Sink, client: Client, log: Path) -> None:
    """What there is no room for is not accepted, and leaves nothing behind; it is when there is room."""
    client.post("a")
    before = log.read_bytes()
    batch = "\n".join(f"id-{number}" for number in range(1_000))
    with room_for(len(before) + 10_000, sink.pid or 0):
        answer = client.post(batch, Idempotency_Key="k")
        assert (answer.status, answer.text.startswith("the log cannot be written: ")) == (507, True)
        assert log.read_bytes() == before
        assert client.post("b", Idempotency_Key="k").status == 200
    assert client.post(batch, Idempotency_Key="k") == Said(200, "accepted 1000, repeated 0\n")
    assert len(logged(log)) == 1_002


def test_a_refusing_sink_accepts_nothing(sink: Sink, client: Client, log: Path) -> None:
    """It answers the status that it was told, and logs what it has refused."""
    sink.refuse()
    assert client.post("a").status == 503
    sink.refuse(429)
    assert client.post("a").status == 429
    sink.refuse(0)
    assert client.post("a").status == 200
    assert logged(log) == [("R", "a"), ("R", "a"), ("A", "a")]


def test_poison_is_refused_for_ever(sink: Sink, client: Client, log: Path) -> None:
    """An ID that is poison is answered 422, also after a restart, and takes with it what it came with."""
    sink.poison("p")
    sink.kill()
    sink.start()
    assert client.post('["a", "p"]') == Said(422, "poison: p; nothing of this request was accepted\n")
    assert client.post('["a"]').status == 200
    assert logged(log) == [("R", "a"), ("P", "p"), ("A", "a")]


def test_a_slow_sink_takes_its_time(sink: Sink, client: Client, log: Path) -> None:
    """Each answer takes as long as it was told, at least, and others go on meanwhile."""
    sink.slow(200)
    began = time.monotonic()
    in_threads(8, lambda number: _posted(sink, f"{number}"))
    took_s = time.monotonic() - began
    assert took_s >= 0.2
    sink.slow(0)
    assert client.post("a").status == 200
    assert len(logged(log)) == 9


def _posted(sink: Sink, event_id: str) -> None:
    with contextlib.closing(Client(sink)) as client:
        assert client.post(event_id).status == 200


@pytest.mark.parametrize("is_reset", [False, True])
def test_what_a_slow_sink_has_taken_is_done_though_its_client_is_gone(
    sink: Sink, log: Path, is_reset: bool
) -> None:
    """A service does what it was asked; a consumer that is killed meanwhile does not know of it."""
    sink.slow(300)
    with socket.create_connection(("127.0.0.1", sink.port)) as consumer:
        consumer.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
        until(lambda: sink.counts().in_hand == 1, "it has it in hand")
        if is_reset:
            consumer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: logged(log) == [("A", "a")], "it is done")


@pytest.mark.parametrize(("told", "expected"), [("refuse", 200), ("refuse", 600), ("slow", -1), ("slow", 1e9)])
def test_a_mode_out_of_its_range(sink: Sink, client: Client, told: str, expected: float) -> None:
    """What is no mode is the caller's mistake, and changes nothing."""
    with pytest.raises(ValueError, match=r"status|slow_ms|refuse"):
        getattr(sink, told)(expected)
    with pytest.raises(ValueError, match="whitespace"):
        sink.poison("a b")
    assert client.post("a").status == 200


def test_away_and_back_on_its_port(sink: Sink, client: Client, log: Path) -> None:
    """Killed or stopped it refuses connections; back, it has its port, its log, its modes and what it knows."""
    client.post("a", Idempotency_Key="k")
    sink.refuse()
    sink.kill()
    assert not sink.is_running
    with pytest.raises(OSError, match=r"refused|reset|Broken|closed|Remote"):
        client.post("a")
    with pytest.raises(OSError, match="refused"):
        client.post("a")
    sink.start()
    assert client.post("a").status == 503
    sink.stop()
    assert not sink.is_running
    sink.refuse(0)  # while it is away
    sink.start()
    assert sink.is_running
    client.close()
    assert client.post("a", Idempotency_Key="k") == Said(200, "accepted 0, repeated 1\n")
    assert logged(log) == [("A", "a"), ("R", "a"), ("D", "a")]


def test_a_stopped_sink_finishes_what_it_has_in_hand(sink: Sink, log: Path) -> None:
    """It answers what was asked before, says that it closes, and ends; a killed one does not answer."""
    sink.slow(500)
    answers: list[str] = []

    def ask(event_id: str) -> None:
        with socket.create_connection(("127.0.0.1", sink.port), timeout=20) as connection:
            connection.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{event_id}".encode())
            with contextlib.suppress(ConnectionResetError):
                while received := connection.recv(65_536):
                    answers.append(received.decode())

    for event_id, end in (("a", sink.stop), ("b", sink.kill)):
        with socket.create_connection(("127.0.0.1", sink.port)):  # an idle one
            asking = threading.Thread(target=ask, args=(event_id,))
            asking.start()
            until(lambda: sink.counts().in_hand == 1, "it has it in hand")
            end()
            asking.join()
            sink.start()
    assert len(answers) == 1
    assert "Connection: close\r\n" in answers[0]
    assert logged(log) == [("A", "a")]


def test_a_frozen_sink_answers_when_it_is_thawed(sink: Sink, log: Path) -> None:
    """It keeps what is sent to it; what it is told meanwhile holds when it is back."""
    sink.freeze()
    sink.freeze()
    with contextlib.closing(Client(sink, timeout_s=0.1)) as one, pytest.raises(OSError, match="timed out"):
        one.post("a")
    assert logged(log) == []
    sink.slow(1)
    assert sink.is_running
    sink.thaw()
    until(lambda: logged(log) == [("A", "a")], "it goes on")


def test_a_frozen_sink_can_be_killed_and_stopped(sink: Sink, client: Client) -> None:
    """As its whole process is frozen, both end it, and it comes back."""
    for end in (sink.kill, sink.stop):
        sink.freeze()
        end()
        assert not sink.is_running
        sink.start()
        client.close()
        assert client.post("a").status == 200


def test_its_target_can_what_the_faults_ask_for(sink: Sink) -> None:
    """A target with the abilities of a process and of a service."""
    target = sink.target
    assert target.name == "effects"
    assert {"kill", "stop", "freeze", "thaw", "start", "slow", "refuse"} <= set(abilities_of(target))
    abilities_of(target)["kill"]()
    assert not sink.is_running


def test_every_200_is_in_the_log_of_a_sink_that_was_killed(sink: Sink, log: Path) -> None:
    """Kills under load, at any moment: what was answered 200 was logged before."""
    answered: list[list[str]] = [[] for _ in range(3)]
    is_over = threading.Event()

    def post(number: int) -> None:
        count = 0
        with contextlib.closing(Client(sink)) as client:
            while not is_over.is_set():
                count += 1
                event_id = f"{number}-{count}"
                with contextlib.suppress(OSError):
                    if client.post(f'["{event_id}", "{event_id}b"]').status == 200:
                        answered[number] += (event_id, f"{event_id}b")

    def kill(_: int) -> None:
        try:
            for _ in range(8):
                known = sum(map(len, answered))
                until(lambda known=known: sum(map(len, answered)) > known + 200, "they post")  # type: ignore[misc]
                sink.kill()
                sink.start()
        finally:
            is_over.set()

    in_threads(4, lambda number: kill(number) if number == 3 else post(number))
    effects = _all_effects(log)
    assert len(effects) == len(set(effects))
    assert set().union(*answered) <= set(effects)
    for each in answered:
        of_one = set(each)
        assert [event_id for event_id in effects if event_id in of_one] == each


def _all_effects(log: Path) -> list[str]:
    attempts = Attempts(log)
    found: list[str] = []
    while page := attempts.effects(len(found)):
        found += page
    return found


def test_a_flood_ends_at_a_bound(log: Path) -> None:
    """The log does not grow beyond its bound; then 507, and it is told, also after a restart."""
    with Sink(log, most_bytes=20_000) as sink, contextlib.closing(Client(sink)) as client:
        answers = [client.post('["nobody-has-sent-this"]') for _ in range(600)]
        accepted = [answer.status for answer in answers].count(200)
        assert {answer.status for answer in answers[accepted:]} == {507}
        assert answers[-1].text == "the log is full: nothing more is accepted in this run\n"
        assert 18_000 < log.stat().st_size < 20_100
        attempts = Attempts(log)
        assert attempts.poll() == accepted
        assert attempts.is_full
        assert sink.counts().is_full
        sink.stop()
        sink.start()
        client.close()
        assert client.post("x").status == 507


def test_requests_that_cannot_be_read_are_counted(sink: Sink, client: Client, log: Path) -> None:
    """They are no attempts; whoever looks for what is wrong is told of the last."""
    assert client.post("[1]").status == 400
    counts = sink.counts()
    assert (counts.attempts, counts.rejected) == (0, 1)
    assert counts.last_rejection == "400: item 1 is the number 1, neither an ID, which is a text, nor an object"
    assert logged(log) == []


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """One line says why it does not start."""
    with pytest.raises(SinkError, match=r"the sink does not start: .*No such file or directory"):
        Sink(tmp_path / "nowhere" / "attempts.log")


@pytest.mark.parametrize("is_frozen", [False, True])
def test_it_ends_with_the_harness(tmp_path: Path, is_frozen: bool) -> None:
    """A harness that is killed leaves no sink behind, frozen or not, and nothing that was to thaw it."""
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from harness.system.sink import Sink
        sink = Sink(Path(sys.argv[1]))
        if sys.argv[2] == "True":
            sink.freeze()
        print(sink.pid, flush=True)
        time.sleep(60)
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path / "attempts.log"), str(is_frozen)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        sink = psutil.Process(int(harness.stdout.readline()))
        children = psutil.Process(harness.pid).children()
        assert len(children) == 1 + is_frozen
        assert is_alive(sink)
        harness.send_signal(signal.SIGKILL)
    until(lambda: not any(map(is_alive, children)), "they have ended")
