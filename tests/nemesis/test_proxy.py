"""The proxy: unchanged where it passes, broken as asked where it does not, and whole again afterwards."""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence

import psutil
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.host.clock import SystemClock
from harness.nemesis.proxy import Proxy, ProxyError
from harness.nemesis.proxy.messages import Delay, Variant
from harness.nemesis.proxy.wire import Wire
from harness.server.own import OwnServer
from harness.server.server import client_for
from tests.processes import is_alive
from tests.waiting import in_threads, until

MS = 1_000_000
S = 1_000_000_000


@pytest.fixture(scope="module")
def _proxy(server: OwnServer) -> Iterator[Proxy]:
    with Proxy(server.port) as one:
        yield one


@pytest.fixture
def proxy(_proxy: Proxy) -> Iterator[Proxy]:
    """A proxy in front of the session's embedded server, healed before and after."""
    _proxy.pass_through()
    yield _proxy
    _proxy.pass_through()


@contextlib.contextmanager
def through(proxy: Proxy, timeout_s: float = 5.0) -> Iterator[redis.Redis]:
    """A Redis client that goes through a proxy."""
    with client_for(f"redis://127.0.0.1:{proxy.port}", timeout_s=timeout_s) as client:
        yield client


class Listener:
    """A server that plays a script on each connection, in a thread."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._play, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _play(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(15)
            self._script(connection)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(15)


def received(connection: socket.socket) -> bytes:
    """All that comes, until the other side ends."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def send_back(connection: socket.socket) -> None:
    """Wait for the end of what comes, and send it back."""
    connection.sendall(received(connection))


def exchange(port: int, pieces: Sequence[bytes]) -> bytes:
    """Send some pieces, end, and answer what came back until the other side ended."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        return received(connection)


@pytest.fixture(scope="module")
def mirror() -> Iterator[Proxy]:
    """A proxy in front of a server that sends back all it got."""
    with Listener(send_back) as listener, Proxy(listener.port) as proxy:
        yield proxy


# Passing ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(pieces=st.lists(st.binary(max_size=3_000), max_size=6), times=st.integers(1, 200))
def test_any_bytes_pass_unchanged(mirror: Proxy, pieces: list[bytes], times: int) -> None:
    """Whatever is sent, in whatever pieces, comes back the same, and so does the end; every byte is counted."""
    mirror.pass_through()
    before = mirror.counts()
    sent = [piece * times for piece in pieces]

    assert b"".join(sent) == exchange(mirror.port, sent)
    after = mirror.counts()
    size = sum(map(len, sent))
    assert size == after.bytes_to_server - before.bytes_to_server == after.bytes_to_client - before.bytes_to_client
    assert after.bytes_lost == before.bytes_lost
    assert after.connections == before.connections + 1


@settings(deadline=None, max_examples=15)
@given(pieces=st.lists(st.binary(max_size=2_000), max_size=8), seed=st.integers(0, 1 << 62))
def test_a_delay_keeps_bytes_and_their_order(mirror: Proxy, pieces: list[bytes], seed: int) -> None:
    """With jitter as large as the latency, bytes come late, and neither changed nor out of order."""
    mirror.delay(latency_ms=3, jitter_ms=3, seed=seed)

    assert b"".join(pieces) == exchange(mirror.port, pieces)


def test_redis_behind_it(proxy: Proxy, server: OwnServer) -> None:
    """What a client writes through the proxy, another reads beside it, and the other way round."""
    value = bytes(range(256)) * 8_000
    with through(proxy) as client, server.client() as direct:
        client.set("test_proxy", value)
        assert direct.get("test_proxy") == value
        assert client.get("test_proxy") == value
        client.delete("test_proxy")


def test_many_connections(mirror: Proxy) -> None:
    """Hundreds of connections at once each get their own bytes back."""
    mirror.pass_through()
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_connection(("127.0.0.1", mirror.port), timeout=15))
            for _ in range(300)
        ]
        for number, connection in enumerate(made):
            connection.sendall(b"%d" % number)
        until(lambda: mirror.counts().connections_open == 300, "all connections are open")
        for connection in made:
            connection.shutdown(socket.SHUT_WR)
        assert [received(connection) for connection in made] == [b"%d" % number for number in range(300)]
    until(lambda: mirror.counts().connections_open == 0, "all connections have ended")


@pytest.mark.parametrize("is_delayed", [False, True])
def test_a_reader_that_is_slow_loses_nothing(is_delayed: bool) -> None:
    """A server that does not read makes the sender wait; once it reads, everything arrives."""
    reads, sent, got = threading.Event(), threading.Event(), list[bytes]()

    def late(connection: socket.socket) -> None:
        reads.wait(15)
        got.append(received(connection))

    # More than all buffers of the kernel between them hold.
    data = bytes(range(256)) * 200_000

    def send(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
            connection.sendall(data)
            sent.set()

    with Listener(late) as listener, Proxy(listener.port) as proxy:
        if is_delayed:
            proxy.delay(latency_ms=2, jitter_ms=1)
        sender = threading.Thread(target=send, args=(proxy.port,))
        sender.start()
        until(lambda: proxy.counts().bytes_to_server > 0, "the first bytes")
        assert not sent.wait(0.3)
        reads.set()
        assert sent.wait(15)
        sender.join()
        until(lambda: got, "the server has read it all")
    assert got == [data]


def test_a_server_that_is_not_there() -> None:
    """Where nobody listens behind the proxy, a client is reset, and the proxy goes on."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with Proxy(reserved.getsockname()[1]) as proxy:
            for _ in range(3):
                with through(proxy) as client, pytest.raises(redis.ConnectionError):
                    client.ping()
            assert proxy.counts().connections_failed == 3


def test_a_server_that_is_killed_and_comes_back(own_server: OwnServer) -> None:
    """The end of the server reaches the client; after its restart the same proxy leads to it."""
    with Proxy(own_server.port) as proxy, through(proxy) as client:
        assert client.ping()
        own_server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        own_server.start()
        assert client.ping()


# Cut --------------------------------------------------------------------------------------------------------


def test_a_reset_is_told_to_both_sides() -> None:
    """Client and server, both waiting for bytes, get a RST each; a new connection is refused; then it heals."""
    ends = list[str]()

    def note_end(connection: socket.socket) -> None:
        try:
            ends.append(f"ended after {received(connection)!r}")
        except ConnectionResetError:
            ends.append("reset")

    with Listener(note_end) as listener, Proxy(listener.port) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=15) as connection:
            connection.sendall(b"begun")
            until(lambda: proxy.counts().bytes_to_server == 5, "the first bytes have arrived")
            counts = proxy.cut("reset")
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        assert (counts.connections, counts.connections_open, counts.connections_reset) == (1, 0, 1)
        until(lambda: ends == ["reset"], "the server is told")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port))
        proxy.pass_through()
        socket.create_connection(("127.0.0.1", proxy.port)).close()
        until(lambda: ends == ["reset", "ended after b''"], "it is healed")


def test_redis_behind_a_reset(proxy: Proxy) -> None:
    """A client that waits in a blocking read gets a ConnectionError, and works again after healing."""
    with through(proxy) as client:
        cutter = threading.Thread(target=lambda: (until(waits, "it waits"), proxy.cut("reset")))

        def waits() -> bool:
            return proxy.counts().connections_open == 1

        assert client.ping()
        cutter.start()
        with pytest.raises(redis.ConnectionError):
            client.blpop(["test_proxy.none"], 10)
        cutter.join()
        with pytest.raises(redis.ConnectionError, match="refused"):
            client.ping()
        proxy.pass_through()
        assert client.ping()


def test_the_port_is_kept_while_connections_are_refused(proxy: Proxy) -> None:
    """During a cut nobody else gets the proxy's port."""
    proxy.cut("reset")
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", proxy.port))


def test_half_open_is_silence(proxy: Proxy, server: OwnServer) -> None:
    """Old and new connections stay and nothing is answered; healed, the old ones are reset and new ones work."""
    with (
        through(proxy, timeout_s=0.15) as old,
        through(proxy, timeout_s=0.15) as new,
        server.client() as direct,
    ):
        assert old.ping()
        proxy.cut("half_open")
        commands = direct.info("stats")["total_commands_processed"]
        for client in (old, new):
            with pytest.raises(redis.TimeoutError):
                client.ping()
        assert direct.info("stats")["total_commands_processed"] == commands + 1
        assert proxy.counts().bytes_lost > 0
        proxy.pass_through()
        assert old.ping()
        assert new.ping()


def test_after_half_open_both_sides_of_an_old_connection_are_reset() -> None:
    """A connection that has lost bytes does not live on, however long its sides would wait."""
    ends = list[str]()

    def note_end(connection: socket.socket) -> None:
        try:
            received(connection)
        except ConnectionResetError:
            ends.append("reset")

    with (
        Listener(note_end) as listener,
        Proxy(listener.port) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=15) as old,
    ):
        until(lambda: proxy.counts().connections_open == 1, "it is connected")
        proxy.cut("half_open")
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=15) as new:
            for connection in (old, new):
                connection.sendall(b"lost")
            until(lambda: proxy.counts().bytes_lost == 8, "the bytes are lost")
            assert (ends, proxy.counts().bytes_to_server) == ([], 0)
            counts = proxy.pass_through()
            for connection in (old, new):
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
        assert (counts.connections_reset, counts.connections_open) == (2, 0)
        until(lambda: ends == ["reset"], "the server is told")


def test_in_half_open_an_end_is_not_passed_on(own_server: OwnServer) -> None:
    """A client that gives up leaves the server with a connection to nobody, until the cut has healed."""
    with Proxy(own_server.port) as proxy, own_server.client() as direct:
        with through(proxy) as client:
            client.client_setname("gone")
            proxy.cut("half_open")

        def is_known() -> bool:
            return any(each["name"] == "gone" for each in direct.client_list())

        until(lambda: proxy.counts().connections_open == 0, "the proxy has seen the end")
        assert is_known()
        proxy.pass_through()
        until(lambda: not is_known(), "the server is told")


@pytest.mark.parametrize("variant", ["reset", "half_open"])
def test_what_a_delay_holds_is_lost_in_a_cut(variant: Variant) -> None:
    """Bytes that were on their way when the line was cut never arrive, and are counted."""
    got = list[bytes]()

    def note(connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError):
            got.append(connection.recv(100))

    with (
        Listener(note) as listener,
        Proxy(listener.port) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=15) as connection,
    ):
        proxy.delay(latency_ms=600_000)
        connection.sendall(b"late")
        # Until it has been read from the client: it is nowhere else to be seen.
        until(lambda: unread(proxy.port) == 0 and proxy.counts().connections_open == 1, "it is on its way")
        proxy.cut(variant)
        proxy.pass_through()
        counts = proxy.counts()
        assert (counts.bytes_to_server, counts.bytes_lost) == (0, 4)
    assert got == []


def unread(port: int) -> int:
    """How many bytes wait in the kernel for whoever listens on a port, by /proc/net/tcp."""
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123 - a table of the kernel
        rows = [line.split() for line in table]
    return sum(int(row[4].partition(":")[2], 16) for row in rows[1:] if row[1].endswith(f":{port:04X}"))


# Delay ------------------------------------------------------------------------------------------------------


def round_trips_ms(client: redis.Redis, count: int) -> list[float]:
    clock = SystemClock()
    found = []
    for _ in range(count):
        start_ns = clock.now_ns()
        client.ping()
        found.append((clock.now_ns() - start_ns) / MS)
    return found


def test_the_latency_is_added_once_each_way(proxy: Proxy) -> None:
    """No round trip is shorter than twice the latency, and in the middle it is not much longer either."""
    with through(proxy) as client:
        before = statistics.median(round_trips_ms(client, 50))
        proxy.delay(latency_ms=15)
        delayed = round_trips_ms(client, 20)
    assert min(delayed) >= 30
    assert 29.5 <= statistics.median(delayed) - before <= 50


def test_the_jitter_stays_in_its_bounds(proxy: Proxy) -> None:
    """Round trips through jitter are spread around twice the latency, as wide as was asked."""
    with through(proxy) as client:
        assert client.ping()
        proxy.delay(latency_ms=6, jitter_ms=5, seed=7)
        delayed = round_trips_ms(client, 60)
    # The sum of two that are each even over [1, 11] ms: mean 12, standard deviation 5 * sqrt(2/3) = 4.1. A busy
    # machine adds to each, so only the fastest says that it is not more than was asked.
    assert 2 <= min(delayed) <= 12
    assert statistics.mean(delayed) >= 10
    assert statistics.stdev(delayed) >= 2.5


def test_the_line_is_as_narrow_as_asked(mirror: Proxy) -> None:
    """So many bytes take no less time than the line's bandwidth allows, in both directions."""
    clock = SystemClock()
    mirror.delay(bytes_per_s=400_000)
    start_ns = clock.now_ns()
    assert len(exchange(mirror.port, [b"x" * 80_000])) == 80_000
    # There and back, one after the other, because the mirror waits for the end.
    assert clock.now_ns() - start_ns >= 0.4 * S


def test_healing_delivers_at_once_what_was_delayed(mirror: Proxy) -> None:
    """What waits for ten minutes arrives when the delay is healed, in order and with its end."""
    mirror.delay(latency_ms=600_000, jitter_ms=600_000)
    with socket.create_connection(("127.0.0.1", mirror.port), timeout=15) as connection:
        connection.sendall(b"first, ")
        until(lambda: unread(mirror.port) == 0 and mirror.counts().connections_open == 1, "it is on its way")
        connection.sendall(b"second")
        connection.shutdown(socket.SHUT_WR)
        mirror.pass_through()
        assert received(connection) == b"first, second"


@given(
    latency_ms=st.floats(0, 1_000),
    jitter=st.floats(0, 1),
    bytes_per_s=st.none() | st.floats(1, 1e9),
    chunks=st.lists(st.tuples(st.integers(0, S), st.integers(1, 65_536)), min_size=1, max_size=40),
)
def test_a_wire_keeps_order_and_bounds(
    latency_ms: float, jitter: float, bytes_per_s: float | None, chunks: list[tuple[int, int]]
) -> None:
    """Nothing overtakes, arrives before its latency, or passes the line faster than its bandwidth."""
    delay = Delay(latency_ms, latency_ms * jitter, bytes_per_s, seed=1)
    wire = Wire(delay, "0/client")
    lowest_ns = (latency_ms - delay.jitter_ms) * MS - 1
    highest_ns = (latency_ms + delay.jitter_ms) * MS + 1
    now_ns = last_ns = line_free_ns = 0
    for pause_ns, size in chunks:
        now_ns += pause_ns
        arrival_ns = wire.arrival_ns(now_ns, size)
        line_free_ns = max(line_free_ns, now_ns) + (round(size / bytes_per_s * 1e9) if bytes_per_s else 0)
        assert line_free_ns + lowest_ns <= arrival_ns <= max(last_ns, line_free_ns + highest_ns)
        assert arrival_ns >= last_ns
        last_ns = arrival_ns


def test_the_jitter_of_a_wire_is_even() -> None:
    """Chunks that are far apart have latencies that fill the range evenly (a tenth of them in each tenth)."""
    wire = Wire(Delay(latency_ms=20, jitter_ms=10, seed=3), "0/client")
    drawn = [(wire.arrival_ns(n * S, 1) - n * S) / MS for n in range(5_000)]
    tenths = [sum(10 + 2 * i <= each < 12 + 2 * i for each in drawn) for i in range(10)]
    assert sum(tenths) == 5_000
    # 500 each, with a standard deviation of 21.
    assert all(400 <= count <= 600 for count in tenths)


def test_jitter_follows_from_the_seed() -> None:
    """The same seed and wire draw the same, another of either draws otherwise."""

    def drawn(seed: int, key: str) -> list[int]:
        wire = Wire(Delay(latency_ms=20, jitter_ms=10, seed=seed), key)
        return [wire.arrival_ns(n * S, 1) for n in range(20)]

    assert drawn(1, "0/client") == drawn(1, "0/client")
    assert len({tuple(drawn(seed, key)) for seed in (1, 2) for key in ("0/client", "0/server", "1/client")}) == 6


def test_a_narrow_line_takes_small_pieces() -> None:
    """What passes at once takes no longer than some milliseconds, and what may wait in line is bounded, too."""
    assert Wire(None, "").chunk_bytes == 65_536
    assert Wire(Delay(bytes_per_s=1e9), "").chunk_bytes == 65_536
    assert Wire(Delay(bytes_per_s=100_000), "").chunk_bytes == 500
    assert Wire(Delay(bytes_per_s=1), "").chunk_bytes == 1
    assert Wire(Delay(latency_ms=300, bytes_per_s=100_000), "").holds_bytes == pytest.approx(40_000)
    assert Wire(Delay(latency_ms=300), "").holds_bytes == 4 << 20


@pytest.mark.parametrize(
    "break_it",
    [
        lambda proxy: proxy.delay(latency_ms=1, jitter_ms=2),
        lambda proxy: proxy.delay(latency_ms=-1),
        lambda proxy: proxy.delay(latency_ms=float("nan")),
        lambda proxy: proxy.delay(bytes_per_s=0),
        lambda proxy: proxy.delay(bytes_per_s=float("nan")),
        lambda proxy: proxy.cut("softly"),
    ],
)
def test_what_cannot_be_asked(proxy: Proxy, break_it: Callable[[Proxy], object]) -> None:
    """A number out of its range or an unknown variant is the caller's mistake; the proxy goes on passing."""
    with pytest.raises(ValueError, match=r"."):
        break_it(proxy)
    with through(proxy) as client:
        assert client.ping()


# The process ------------------------------------------------------------------------------------------------


def test_faults_follow_one_another(proxy: Proxy) -> None:
    """From any state to any other, and at the end it passes again."""
    faults: list[Callable[[], object]] = [
        lambda: proxy.cut("reset"),
        lambda: proxy.cut("half_open"),
        lambda: proxy.delay(latency_ms=1),
        proxy.pass_through,
    ]
    for before in faults:
        for after in faults:
            with through(proxy, timeout_s=0.05) as client:
                for fault in (before, after):
                    fault()
                    with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
                        client.ping()
    proxy.pass_through()
    with through(proxy) as client:
        assert client.ping()


def test_it_is_asked_from_several_threads(proxy: Proxy) -> None:
    """Each thread gets the answer to its own question."""

    def ask(_: int) -> None:
        for _ in range(50):
            assert proxy.counts().port == proxy.port

    in_threads(6, ask)


def test_close_leaves_nothing(server: OwnServer) -> None:
    """After it is left, its process is gone and nobody listens on its port."""
    with Proxy(server.port) as proxy:
        process = psutil.Process(proxy.pid)
        assert process.is_running()
    assert proxy.pid is None
    assert not process.is_running()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))
    proxy.close()


def test_a_proxy_that_has_ended_is_told(server: OwnServer) -> None:
    """What is asked of a proxy that was killed raises, and does not hang."""
    with Proxy(server.port) as proxy:
        process = psutil.Process(proxy.pid)
        process.kill()
        process.wait()
        for _ in range(2):
            with pytest.raises(ProxyError, match="the proxy has ended"):
                proxy.cut()


def test_a_port_in_use_is_refused(server: OwnServer) -> None:
    """Somebody listens there already, be it another proxy: an error in one line."""
    with Proxy(server.port) as proxy:
        for port in (server.port, proxy.port):
            with pytest.raises(ProxyError, match=f"^port {port}: Address already in use$"):
                Proxy(server.port, port=port)
        port = proxy.port
    with Proxy(server.port, port=port) as again:
        assert again.port == port


STARTER = """
import time
from harness.nemesis.proxy import Proxy

proxy = Proxy(1)
proxy.cut("half_open")
print(proxy.pid, flush=True)
time.sleep(3600)
"""


def test_a_proxy_ends_with_its_starter() -> None:
    """Whoever started a proxy is killed by SIGKILL: the proxy is gone all the same."""
    command = [sys.executable, "-c", textwrap.dedent(STARTER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        process = psutil.Process(int(starter.stdout.readline()))
        assert is_alive(process)
        starter.kill()
        until(lambda: not is_alive(process), "the end of the proxy")
