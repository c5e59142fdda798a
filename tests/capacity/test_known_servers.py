"""Searches over the wire: our pump, a scripted server, and the capacity that follows from its very services."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from examples.capacity.redis_benchmark_loop import Answer, Run
from examples.capacity.truth import TOLERANCE, WORKERS, Result, drawn, plan_of, table, tried
from harness.capacity.scripted import Budget, ScriptedProbe
from harness.capacity.search import Found, Probed
from harness.host.clock import SystemClock
from harness.selfcheck.lindley import Kind, services_ns
from harness.selfcheck.queueing import QueueingServer

SEARCHES = 20


def kept(result: Result, config: pytest.Config) -> Result:
    """The raw result in a file, a line each, whatever it is."""
    assert config.cache is not None
    path = Path(config.cache.mkdir("capacity")) / "searches.jsonl"
    with path.open("ab") as file:
        file.write(msgspec.json.encode(result) + b"\n")
    return result


def is_the_machine(probed: Probed) -> bool:
    """Whether a probe says that something else had the machine."""
    return probed.status == "UNKNOWN" and probed.bound in {"host", "instrument"}


@pytest.mark.slow
def test_a_probe_of_a_server_with_room_passes_and_of_a_full_one_fails() -> None:
    """Over the wire, by what the pump has measured."""
    services = services_ns("constant", 1_000.0, 2, 10_000, 1)
    with QueueingServer(services) as server:
        probe = ScriptedProbe(server, 2, [Budget(q=0.5, limit_us=50_000.0)], SystemClock(), arrivals="poisson")
        room, full = probe(500.0, 5.0), probe(3_000.0, 5.0)
    # On a machine that has other work nothing may be known; what is said is never the opposite.
    assert room.status == "PASS" or is_the_machine(room), room
    assert full.status == "FAIL" or is_the_machine(full), full
    if full.status == "FAIL":
        assert full.bound == "backlog"
        assert full.answered_per_s == pytest.approx(2_000, rel=0.15)


@pytest.mark.long
def test_a_search_over_the_wire_ends_near_the_truth(pytestconfig: pytest.Config) -> None:
    """One search, in a minute at most; a machine that has other work may leave it with less than it asked for."""
    server = drawn("exponential", 1, int.from_bytes(os.urandom(4)))
    result = kept(tried(server, 0, plan_of(60.0), is_beside_peer=False, is_peer_first=False), pytestconfig)
    assert result.found is not None
    assert result.took_s <= 75
    if result.error is None:
        assert any(map(is_the_machine, result.found.probes)), result
    elif not any(map(is_the_machine, result.found.probes)):
        assert -0.25 <= result.error <= 0.1, result


@pytest.mark.long
@pytest.mark.parametrize("number", range(SEARCHES))
@pytest.mark.parametrize("kind", ["constant", "exponential"])
@pytest.mark.parametrize("workers", WORKERS)
def test_every_search_is_within_five_percent(
    workers: int, kind: Kind, number: int, pytestconfig: pytest.Config
) -> None:
    """Of servers and budgets that are drawn anew each time; one that ends without knowing has failed."""
    server = drawn(kind, workers, int.from_bytes(os.urandom(4)))
    result = kept(tried(server, number, plan_of(180.0), is_beside_peer=False, is_peer_first=False), pytestconfig)
    assert result.found is not None
    assert result.found.ended != "unknown", result
    assert result.error is not None
    assert abs(result.error) <= TOLERANCE, result
    assert result.took_s <= 185


def test_the_table_has_what_was_found() -> None:
    """A row for each kind of server, its errors, and the person's."""
    found = Found(passes=980.0, fails=1_020.0, ended="narrow", edge="smooth", probes=[])
    peer = Answer(1_200.0, [Run(4, None, 1_200.0, 900.0)], "redis-benchmark")
    server = drawn("exponential", 4, 1)
    results = [
        Result(round=0, server=server, truth_per_s=1_000.0, found=found, took_s=60.0, peer=peer),
        Result(round=1, server=server, truth_per_s=900.0, found=found, took_s=62.0),
    ]
    row = table(results).splitlines()[-1]
    assert row == "| 4 × exponential | 2 | 1 | 1 | 0 | -2.0% to +8.9% | 61 | 0 of 1 | +20.0% to +20.0% |"
