"""What a proxy notes of the groups behind it: what real clients asked and were answered, in RESP2 and RESP3."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis
import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.account.told_log import Block, Epoch, Noted, epochs
from harness.nemesis.proxy import Proxy, ProxyError
from harness.server.own import OwnServer
from tests.waiting import until

STREAM = "follower:events"


class Log:
    """A proxy that notes, and what it has noted."""

    def __init__(self, proxy: Proxy, path: Path) -> None:
        self.proxy = proxy
        self._path = path

    def epochs(self) -> list[Epoch]:
        """All that was noted so far."""
        self.proxy.counts()
        return list(epochs(self._path))

    def noted(self) -> list[Noted]:
        """Commands on groups, and what happened to connections."""
        return [each for epoch in self.epochs() for each in epoch.noted]

    def blocks(self) -> list[Block]:
        """What entries were told."""
        return [each for epoch in self.epochs() for each in epoch.blocks]

    def told(self) -> dict[tuple[str, str], list[str]]:
        """The IDs by kind and consumer, in the order in which they were told."""
        found: dict[tuple[str, str], list[str]] = {}
        for each in self.blocks():
            found.setdefault((each.kind, each.consumer.decode()), []).extend(each.ids.decode().split(","))
        return found

    def gaps(self) -> list[str]:
        """Why connections are not followed any more."""
        return [each.gap for each in self.noted() if each.gap]

    @contextlib.contextmanager
    def client(self, protocol: int = 2, **more: Any) -> Iterator[Any]:
        """A client that goes through the proxy."""
        with redis.Redis(port=self.proxy.port, protocol=protocol, **more) as client:
            yield client


@pytest.fixture
def log(own_server: OwnServer, tmp_path: Path) -> Iterator[Log]:
    """A proxy that notes, in front of a server of one's own."""
    path = tmp_path / "told.bin"
    with Proxy(own_server.port, told=path) as proxy:
        yield Log(proxy, path)


def filled(server: OwnServer, count: int, stream: str = STREAM, **fields: Any) -> list[str]:
    """A stream with so many entries, and their IDs."""
    with server.client() as client:
        return [client.xadd(stream, {"event_id": "x", "body": "y" * 50, **fields}).decode() for _ in range(count)]


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_life_of_entries(own_server: OwnServer, log: Log, protocol: int) -> None:
    """Read, read again, claimed, found deleted, acknowledged wholly, in part and not at all: each with its IDs."""
    ids = filled(own_server, 6)
    with log.client(protocol) as client:
        client.xgroup_create(STREAM, "g", "0")
        client.xreadgroup("g", "a", {STREAM: ">"}, count=4)
        client.xreadgroup("g", "a", {STREAM: "0"}, count=2)
        client.xack(STREAM, "g", ids[0], ids[1])
        client.xack(STREAM, "g", ids[1], ids[2])
        client.xack(STREAM, "g", ids[2])
        client.xdel(STREAM, ids[3])
        client.xautoclaim(STREAM, "g", "b", 0)
        client.xreadgroup("g", "b", {STREAM: ">"}, count=1, noack=True)
        client.xreadgroup("g", "b", {STREAM: ">"}, count=1)
        client.xclaim(STREAM, "g", "a", 0, [ids[5]])
        client.xgroup_delconsumer(STREAM, "g", "a")
    assert log.told() == {
        ("new", "a"): ids[:4],
        ("again", "a"): ids[:2],
        ("acked", ""): ids[:2],
        ("ack_part", ""): ids[1:3],
        ("ack_none", ""): [ids[2]],
        ("xdel", ""): [ids[3]],
        ("deleted", "b"): [ids[3]],
        ("noack", "b"): [ids[4]],
        ("new", "b"): [ids[5]],
        ("claimed", "a"): [ids[5]],
    }
    [part] = [each for each in log.blocks() if each.kind == "ack_part"]
    assert np.frombuffer(part.answers, np.uint32).tolist() == [1]
    stream = STREAM.encode()
    assert [(each.command[1:], each.reply) for each in log.noted()] == [
        ((b"CREATE", stream, b"g", b"0"), b"OK"),
        ((b"DELCONSUMER", stream, b"g", b"a"), 1),
    ]


def raw(log: Log, *sent: bytes, replies: int) -> list[Any]:
    """Send bytes through the proxy, piece by piece, and wait for so many replies."""
    reader = hiredis.Reader()
    found: list[Any] = []
    with socket.create_connection(("127.0.0.1", log.proxy.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in sent:
            connection.sendall(piece)
        while len(found) < replies:
            reader.feed(connection.recv(1 << 16))
            while (reply := reader.gets()) is not False:
                found.append(reply)
    return found


def packed(*words: str | bytes) -> bytes:
    return b"".join(
        [
            b"*%d\r\n" % len(words),
            *(b"$%d\r\n%b\r\n" % (len(w), w.encode() if isinstance(w, str) else w) for w in words),
        ]
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(cuts=st.lists(st.integers(0, 1 << 16), max_size=10), protocol=st.sampled_from(["2", "3"]))
def test_a_pipeline_in_any_pieces(own_server: OwnServer, log: Log, cuts: list[int], protocol: str) -> None:
    """Commands sent at once, in pieces that end anywhere, are told as they are answered, errors left out."""
    with own_server.client() as client:
        client.flushall()
    ids = filled(own_server, 3)
    before = len(log.blocks())
    data = b"".join(
        [
            packed("HELLO", protocol),
            packed("XGROUP", "CREATE", STREAM, "g", "0"),
            packed("SET", "k", "v" * 100),
            b"ping\r\n",
            packed("XREADGROUP", "GROUP", "g", "c", "STREAMS", STREAM, ">"),
            packed("XREADGROUP", "GROUP", "none", "c", "STREAMS", STREAM, ">"),
            packed("XACK", STREAM, "g", *ids[:2]),
            packed("XACK", "k", "g", ids[2]),
            packed("XACK", STREAM, "g", ids[2]),
        ]
    )
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    raw(log, *(data[a:b] for a, b in itertools.pairwise(places)), replies=9)
    found = [(each.kind, each.ids.decode().split(",")) for each in log.blocks()[before:]]
    assert found == [("new", ids), ("acked", ids)]
    assert log.gaps() == []


def test_a_transaction(own_server: OwnServer, log: Log) -> None:
    """What EXEC answers is told of its commands; what was discarded, or not executed, is not told."""
    ids = filled(own_server, 4)
    with log.client() as client:
        client.xgroup_create(STREAM, "g", "0")
        client.xreadgroup("g", "c", {STREAM: ">"}, count=3)
        with client.pipeline(transaction=True) as pipe:
            pipe.xack(STREAM, "g", ids[0]).set("k", 1).xreadgroup("g", "c", {STREAM: ">"}).xack(
                STREAM, "g", ids[3]
            )
            pipe.xgroup_delconsumer(STREAM, "g", "d").execute()
        client.execute_command("MULTI")
        client.execute_command("XACK", STREAM, "g", ids[1])
        client.execute_command("DISCARD")
        client.execute_command("MULTI")
        with contextlib.suppress(redis.ResponseError):
            client.execute_command("NOSUCH")
        client.execute_command("XACK", STREAM, "g", ids[1])
        with contextlib.suppress(redis.ResponseError):
            client.execute_command("EXEC")
        client.xack(STREAM, "g", ids[2])
    assert log.told() == {("new", "c"): ids, ("acked", ""): [ids[0], ids[3], ids[2]]}
    assert [each.command[1] for each in log.noted()] == [b"CREATE", b"DELCONSUMER"]
    assert log.gaps() == []


def test_no_secret_is_noted(own_server: OwnServer, log: Log, tmp_path: Path) -> None:
    """A password is in no byte of the log, whoever sends it, and nothing else of what is not about groups."""
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "ada", "on", ">s3cret", "~*", "+@all")
    filled(own_server, 1)
    with log.client(username="ada", password="s3cret") as client:
        client.xgroup_create(STREAM, "g", "0")
    with log.client(3, username="ada", password="s3cret") as client:
        client.set("secret-key", "secret-value")
        client.xreadgroup("g", "c", {STREAM: ">"})
        client.execute_command("AUTH", "ada", "s3cret")
    noted = repr(log.epochs())
    assert "CREATE" in noted
    assert [word for word in ("s3cret", "ada", "secret", "event_id", "yyy") if word in noted] == []


def test_databases(own_server: OwnServer, log: Log) -> None:
    """Of each thing told it is known in which database; what SELECT refuses changes nothing."""
    filled(own_server, 1)
    with log.client(db=3) as client:
        client.xgroup_create(STREAM, "g", "0", mkstream=True)
    with log.client() as client:
        with contextlib.suppress(redis.ResponseError):
            client.execute_command("SELECT", "99999")
        client.xgroup_create(STREAM, "g", "0")
        client.xreadgroup("g", "c", {STREAM: ">"})
    assert [each.db for each in log.noted()] == [3, 0]
    assert [each.db for each in log.blocks()] == [0]


def test_a_read_that_waits(own_server: OwnServer, log: Log) -> None:
    """A read that waits, and ends with nothing, or with what came meanwhile, is told when it is answered."""
    with log.client() as client:
        client.xgroup_create(STREAM, "g", "0", mkstream=True)
        assert client.xreadgroup("g", "c", {STREAM: ">"}, block=1) in ([], {}, None)
        reading = threading.Thread(
            target=client.xreadgroup, args=("g", "c", {STREAM: ">"}), kwargs={"block": 9_000}
        )
        reading.start()
        with own_server.client() as direct:
            until(lambda: direct.info("clients")["blocked_clients"] == 1, "it waits")
        ids = filled(own_server, 1)
        reading.join()
    assert log.told() == {("new", "c"): ids}


@pytest.mark.parametrize("variant", ["reset", "half_open"])
def test_what_was_cut_off_is_unanswered(own_server: OwnServer, log: Log, variant: Any) -> None:
    """An XACK that a server never answered is told as sent; what a half-open cut has lost was never asked."""
    ids = filled(own_server, 2)
    with log.client() as client:
        client.xgroup_create(STREAM, "g", "0")
        client.xreadgroup("g", "c", {STREAM: ">"})
    with socket.create_connection(("127.0.0.1", log.proxy.port), timeout=10) as connection:
        own_server.freeze()
        before = log.proxy.counts().bytes_to_server
        connection.sendall(packed("XACK", STREAM, "g", ids[0]))
        until(lambda: log.proxy.counts().bytes_to_server > before, "it has passed")
        log.proxy.cut(variant)
        with contextlib.suppress(OSError):
            connection.sendall(packed("XACK", STREAM, "g", ids[1]))
        log.proxy.pass_through()
        own_server.thaw()
        until(lambda: ("ack_sent", "") in log.told(), "it is known that no answer comes")
    assert log.told() == {("new", "c"): ids, ("ack_sent", ""): [ids[0]]}
    assert log.gaps() == []


def test_who_listens_to_channels(own_server: OwnServer, log: Log) -> None:
    """A connection that listens is followed, until it asks for something else; others are not touched by that."""
    with log.client() as client, client.pubsub() as channels:
        channels.subscribe("news")
        assert channels.get_message(timeout=5)["type"] == "subscribe"
        client.publish("news", "a")
        client.xgroup_create(STREAM, "g", "0", mkstream=True)
        assert channels.get_message(timeout=5)["data"] == b"a"
        assert log.gaps() == []
        channels.unsubscribe()
        until(lambda: channels.get_message(timeout=0.1) is None, "it has left")
        channels.execute_command("XACK", STREAM, "g", "1-1")
        assert log.gaps() == ["it asks for something else while it listens to channels"]
        client.xgroup_destroy(STREAM, "g")
    assert [each.command[1] for each in log.noted() if not each.gap] == [b"CREATE", b"DESTROY"]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (packed("CLIENT", "REPLY", "OFF"), "replies do not follow commands any more"),
        (packed("MONITOR"), "replies do not follow commands any more"),
        (b"\x16\x03\x01\x02\x00\x01\x00\n", "it is encrypted"),
        (b"*1\r\n:1\r\n", "a word of a command is no bulk"),
    ],
)
def test_what_cannot_be_followed(log: Log, sent: bytes, why: str) -> None:
    """From there on the connection is not followed, and it is noted why; the bytes pass all the same."""
    with socket.create_connection(("127.0.0.1", log.proxy.port), timeout=10) as connection:
        connection.sendall(packed("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM"))
        assert connection.recv(100) == b"+OK\r\n"
        connection.sendall(sent + packed("XGROUP", "DESTROY", "s", "g"))
        until(lambda: log.gaps() != [], "that it cannot be followed is noted")
    assert log.gaps() == [why]
    assert [each.command[1] for each in log.noted() if not each.gap] == [b"CREATE"]


def test_more_under_way_than_is_kept(log: Log) -> None:
    """A client that asks for ever and waits for nothing is not followed to the end of our memory."""
    command = packed("XACK", "s", "g", *["1-1"] * 50_000)
    with log.client() as client, socket.create_connection(("127.0.0.1", log.proxy.port)) as connection:
        client.client_pause(5_000, all=True)
        sending = threading.Thread(target=lambda: [connection.sendall(command) for _ in range(22)])
        sending.start()
        until(lambda: log.gaps() == ["more is under way than is kept"], "it is given up")
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sending.join()


def test_a_log_that_cannot_be_written(own_server: OwnServer, tmp_path: Path) -> None:
    """A disk that is full ends the log and not the proxy; a place that cannot be written ends its start."""
    with pytest.raises(ProxyError, match="No such file"):
        Proxy(own_server.port, told=tmp_path / "none" / "log")
    with Proxy(own_server.port, told=Path("/dev/full")) as proxy, redis.Redis(port=proxy.port) as client:
        client.xgroup_create(STREAM, "g", "0", mkstream=True)
        assert proxy.counts().untold == "No space left on device"
        assert client.ping()
