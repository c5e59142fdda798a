"""The probe that counts what a server has taken: on each real server, trimmed, restarted, and away."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from harness.host.clock import SystemClock
from harness.measure.reached import MOST_STREAMS, CoreOf, Reached
from harness.server.own import OwnServer
from tests.stores import new_namespace


@contextlib.contextmanager
def reaching(server: OwnServer, *streams: str, trims: bool = False) -> Iterator[Reached]:
    probe = Reached(server.url, streams, trims=trims)
    try:
        yield probe
    finally:
        probe.close()


def count_of(probe: Reached) -> float | None:
    samples = probe.read()
    return samples[0].value if samples else None


def test_what_comes_after_the_beginning_counts(any_server: OwnServer) -> None:
    """Of all streams together, those included that are not there yet; what was there before does not count."""
    here, there = (new_namespace() + "s" for _ in range(2))
    with any_server.client() as client, reaching(any_server, here, there) as probe:
        client.xadd(here, {"n": 0})
        probe.begin()
        assert count_of(probe) == 0
        for n in range(3):
            client.xadd(here, {"n": n})
        client.xadd(there, {"n": 0})
        assert count_of(probe) == 4


def test_what_was_trimmed_has_reached_the_server(server: OwnServer) -> None:
    """A stream that is cut has been given what it has lost, by the server's own count."""
    stream = new_namespace() + "s"
    with server.client() as client, reaching(server, stream, trims=True) as probe:
        probe.begin()
        for n in range(300):
            client.xadd(stream, {"n": n})
        client.xtrim(stream, maxlen=0, approximate=False)
        assert count_of(probe) == 300


def test_a_server_without_the_counter(any_server: OwnServer) -> None:
    """Before 7.0 a stream's length is the count where nothing trims; where something does, there is no reading."""
    stream = new_namespace() + "s"
    with any_server.client() as client, reaching(any_server, stream, trims=True) as probe:
        client.xadd(stream, {"n": 0})
        probe.begin()
        is_new = "entries-added" in str(client.execute_command("XINFO", "STREAM", stream))
        client.xadd(stream, {"n": 1})
        assert count_of(probe) == (1 if is_new else None)
        assert ("`entries-added`, which Redis does from 7.0 on" in probe.blind) == (not is_new)


def test_who_may_not_ask_is_told_so(own_server: OwnServer) -> None:
    """A user who may look at no stream has no reading, and the server's words for it."""
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-xinfo", "-xlen")
    probe = Reached(f"redis://app:pw@127.0.0.1:{own_server.port}/0", ["s"])
    with contextlib.closing(probe):
        assert count_of(probe) is None
    assert probe.blind.startswith("the server answers NOPERM ")


def test_large_entries_are_not_asked_for_again(server: OwnServer) -> None:
    """XINFO answers whole entries: where these are large the length is asked for from then on, and goes on."""
    stream = new_namespace() + "s"
    with server.client() as client, reaching(server, stream) as probe:
        probe.begin()
        client.xadd(stream, {"n": b"x" * 100_000})
        assert (count_of(probe), probe.counter) == (1, "length")
        client.xadd(stream, {"n": b"x"})
        assert count_of(probe) == 2


def test_a_thousand_streams_are_one_look(server: OwnServer) -> None:
    """As many streams as a load may have are asked at once; more are refused."""
    prefix = new_namespace()
    streams = [f"{prefix}{n}" for n in range(MOST_STREAMS)]
    with server.client() as client, reaching(server, *streams) as probe:
        probe.begin()
        for stream in streams:
            client.xadd(stream, {"n": 0})
        assert count_of(probe) == MOST_STREAMS
        client.delete(*streams)
    with pytest.raises(ValueError, match="at most"):
        Reached(server.url, [*streams, "one more"])


def test_a_server_that_is_away_is_a_gap(own_server: OwnServer) -> None:
    """No reading while it is away, never a zero; afterwards there is one, of what it has then."""
    with own_server.client() as client, reaching(own_server, "s") as probe:
        probe.begin()
        client.xadd("s", {"n": 0})
        assert count_of(probe) == 1
        own_server.kill()
        assert count_of(probe) is None
        own_server.start()
        assert count_of(probe) == 0


def test_a_core_had_and_waited_for() -> None:
    """The first look has nothing to compare with; then there are shares; without a process there is nothing."""
    clock = SystemClock()
    probe = CoreOf(os.getpid, clock)
    assert probe.read() == []
    clock.sleep_ns(1_000_000)
    names = [sample.name for sample in probe.read()]
    assert names in ([], ["server.core_share", "server.core_wait_share"])
    assert CoreOf(lambda: None, clock).read() == []
