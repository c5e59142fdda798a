"""What a proxy notes of the groups behind it: what real clients asked and were answered, in RESP2 and RESP3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from harness.account.told_log import Block, Epoch, Noted, epochs
from harness.nemesis.proxy import Proxy
from harness.server.own import OwnServer

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
