"""The floor: what a bare exchange costs, on a real server, over each kind of connection; and kernel dates."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from harness.host import kernel_dates
from harness.host.clock import SystemClock, VirtualClock
from harness.measure.floor import (
    Exchange,
    Floor,
    FloorError,
    Quantiles,
    measure_floor,
    quantiles_of,
)
from harness.server.own import OwnServer
from tests.oracle import Conversation, Oracle

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux dates what comes")


def floor_of(url: str, *, rate_per_s: float = 1_000, payload_bytes: int = 150, seconds: float = 0.1) -> Floor:
    """A floor, measured quickly."""
    return measure_floor(
        url,
        clock=SystemClock(),
        rate_per_s=rate_per_s,
        payload_bytes=payload_bytes,
        key="floor",
        seconds=seconds,
    )


@contextlib.contextmanager
def client_of(server: OwnServer) -> Iterator[redis.Redis]:
    """A client of a server, closed at the end."""
    with contextlib.closing(redis.Redis.from_url(server.url.unmasked)) as client:
        yield client


@linux_only
def test_on_tcp_replies_are_dated_by_the_kernel(own_server: OwnServer) -> None:
    """A reply is here before it is read, and both kinds of command are measured."""
    floor = floor_of(own_server.url)
    assert floor.dated == "kernel"
    for exchange in (floor.ping, floor.xadd):
        assert 1 <= exchange.service.n <= 51
        assert 0 < exchange.service.p50_ns <= exchange.read.p50_ns
        assert exchange.service.max_ns <= exchange.read.max_ns
        assert exchange.send_lag.p50_ns >= 0


def test_nothing_is_left_behind(own_server: OwnServer) -> None:
    """The stream is removed, what stood beside it is not, and nothing is configured."""
    with client_of(own_server) as client:
        client.set("floor", "somebody's")
        before = client.config_get("*")
        floor_of(own_server.url)
        assert client.keys("*") == [b"floor"]
        assert client.config_get("*") == before


def test_the_size_is_the_runs(own_server: OwnServer) -> None:
    """As many bytes go out as the payload has, with each XADD and with nothing else."""
    with client_of(own_server) as client:
        received = [client.info("stats")["total_net_input_bytes"]]
        floor = floor_of(own_server.url, payload_bytes=100_000, rate_per_s=200)
        received.append(client.info("stats")["total_net_input_bytes"])
    sent = received[1] - received[0]
    assert (floor.xadd.service.n + 1) * 100_000 <= sent <= (floor.xadd.service.n + 1) * 100_000 + 100_000


@pytest.mark.parametrize("rate_per_s", [0.01, 1.0, 1e9])
def test_it_ends_at_any_rate(own_server: OwnServer, rate_per_s: float) -> None:
    """A rate of almost nothing is measured once; due times that no exchange can keep up with are left out."""
    floor = floor_of(own_server.url, rate_per_s=rate_per_s, seconds=0.1)
    assert floor.xadd.service.n >= 1
    if rate_per_s <= 1.0:
        assert (floor.xadd.service.n, floor.xadd.skipped) == (1, 0)
    else:
        assert floor.xadd.skipped > 0
        assert floor.xadd.send_lag.n == floor.xadd.service.n


def test_large_payloads_are_few(own_server: OwnServer) -> None:
    """However long it may take, no more than some megabytes are put on somebody's server."""
    floor = floor_of(own_server.url, payload_bytes=40 << 20, rate_per_s=1e6, seconds=20)
    assert floor.xadd.service.n == 1


def test_on_a_unix_socket_the_clock_dates(tmp_path: Path, own_server: OwnServer) -> None:
    """Where the kernel dates nothing, service is as it was read, and the floor says so."""
    with relayed(tmp_path / "socket", own_server.port) as path:
        floor = floor_of(f"unix://{path}")
    assert floor.dated == "clock"
    assert floor.xadd.service == floor.xadd.read
    assert floor.xadd.impossible == 0


@contextlib.contextmanager
def relayed(path: Path, port: int) -> Iterator[Path]:
    """A unix socket in front of a server's port."""
    program = """
import socket, sys, threading
def copy(source, target):
    while chunk := source.recv(1 << 16):
        target.sendall(chunk)
    target.shutdown(socket.SHUT_WR)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print(flush=True)
while True:
    ours, _ = listener.accept()
    theirs = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for pair in ((ours, theirs), (theirs, ours)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""
    command = [sys.executable, "-c", program, str(path), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield path
        finally:
            process.kill()


def scripted(line: Conversation) -> None:
    """Answer as a server would."""
    for command in line.commands():
        line.send({b"PING": b"+PONG\r\n", b"XADD": b"$3\r\n1-1\r\n", b"UNLINK": b":1\r\n"}[command[0].upper()])


@linux_only
def test_below_tls_the_kernel_dates(tmp_path: Path) -> None:
    """`rediss://` is measured as `redis://` is: to the arrival of a reply, not to its decryption."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "1", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Oracle(scripted, tls=context) as oracle:
        floor = floor_of(f"{oracle.url}?ssl_ca_certs={certificate}")
    assert floor.dated == "kernel"
    assert floor.xadd.service.p50_ns < floor.xadd.read.p50_ns


def test_a_server_that_refuses_is_one_clear_line(own_server: OwnServer) -> None:
    """A server that is full does not take an XADD; its own words say why, and nothing is left."""
    with client_of(own_server) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(FloorError, match="OOM command not allowed"):
            floor_of(own_server.url)
        client.config_set("maxmemory", 0)
        assert client.keys("*") == []


def test_a_server_that_hangs_up_is_one_clear_line() -> None:
    """A connection that is closed in the middle is an error, and its stream is removed by another one."""

    def closing(line: Conversation) -> None:
        for command in line.commands():
            if command[0] == b"XADD":
                return
            line.send(b"+PONG\r\n")

    with Oracle([closing, scripted]) as oracle:
        with pytest.raises(FloorError, match="the server closed the connection"):
            floor_of(oracle.url)
        assert [command[0] for command in oracle.commands][-1] == b"UNLINK"


def test_what_is_no_server_is_one_clear_line() -> None:
    """Neither a port where nobody listens nor a server that speaks another language is measured."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FloorError, match="refused"):
        floor_of(f"redis://127.0.0.1:{port}")

    def http(line: Conversation) -> None:
        line.command()
        line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Oracle(http) as oracle, pytest.raises(FloorError, match="cannot be measured: Protocol error"):
        floor_of(oracle.url)


@pytest.mark.parametrize("wrong", [{"rate_per_s": 0.0}, {"rate_per_s": float("nan")}, {"payload_bytes": -1}])
def test_a_floor_that_cannot_be(wrong: dict[str, float]) -> None:
    """A rate of nothing and a size below it are refused before anything is dialled."""
    with pytest.raises(ValueError, match="a floor has"):
        floor_of("redis://127.0.0.1:1", **wrong)  # type: ignore[arg-type]


class SteppingClock(SystemClock):
    """The system's clock, while somebody sets the time of day an hour forward and back again."""

    def __init__(self) -> None:
        self._asked = 0

    def wall_ns(self) -> int:
        """An hour off, every other time that it is asked."""
        self._asked += 1
        return super().wall_ns() + (self._asked % 2) * 3_600_000_000_000


@linux_only
def test_a_wall_clock_that_is_set_moves_no_figure_beyond_the_read(own_server: OwnServer) -> None:
    """What an hour's step would make of a date is counted as impossible, and the read stands for it."""
    floor = measure_floor(
        own_server.url, clock=SteppingClock(), rate_per_s=1_000, payload_bytes=150, key="floor", seconds=0.1
    )
    assert floor.dated == "kernel"
    for exchange in (floor.ping, floor.xadd):
        assert exchange.impossible >= exchange.service.n // 2
        assert 0 < exchange.service.max_ns <= exchange.read.max_ns


def test_a_date_is_a_moment_by_the_distance_of_two_clocks() -> None:
    """What the kernel dated 70 ns ago was 70 ns ago by the monotonic clock."""
    clock = VirtualClock(now_ns=1_000, epoch_s=1_790_000_000.0)
    assert kernel_dates.moment_ns(clock, clock.wall_ns() - 70) == 930


@pytest.mark.parametrize(("moment", "believed"), [(9, None), (10, 10), (15, 15), (20, 20), (21, None)])
def test_a_moment_lies_between_send_and_read(moment: int, believed: int | None) -> None:
    """A date before the send, or after the reading, is not believed."""
    assert kernel_dates.credible(moment, 10, 20) == believed


def test_foreign_ancillary_data_is_no_date() -> None:
    """Only a date's own kind is read, and one of nothing is none."""
    assert kernel_dates.date_ns([]) is None
    assert kernel_dates.date_ns([(socket.SOL_SOCKET, 1, bytes(48)), (0, 37, b"x" * 48)]) is None
    assert kernel_dates.date_ns([(socket.SOL_SOCKET, 37, bytes(48))]) is None


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300))
def test_quantiles_are_values_by_rank(values: list[int]) -> None:
    """At least so many per cent of the values are at or below a quantile, and fewer below it."""
    found = quantiles_of(values)
    assert (found.n, found.max_ns) == (len(values), max(values))
    for percent, quantile in ((50, found.p50_ns), (90, found.p90_ns), (99, found.p99_ns)):
        assert sum(value <= quantile for value in values) * 100 >= percent * len(values)
        assert sum(value < quantile for value in values) * 100 < percent * len(values)


def exchange(service_ns: int, read_ns: int) -> Exchange:
    """An exchange in which all were alike."""
    service, read, lag = (quantiles_of([value]) for value in (service_ns, read_ns, 500))
    return Exchange(send_lag=lag, service=service, read=read, skipped=0, impossible=0)


FLOOR = Floor(
    dated="kernel",
    rate_per_s=1_000,
    payload_bytes=150,
    ping=exchange(20_000, 30_000),
    xadd=exchange(40_000, 60_000),
)


def test_a_floor_is_kept_in_a_record() -> None:
    """It goes into JSON and comes back as it was."""
    assert msgspec.json.decode(msgspec.json.encode(FLOOR), type=Floor) == FLOOR
    assert isinstance(FLOOR.ping.service, Quantiles)
