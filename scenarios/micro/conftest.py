"""The server, the store and the counts for micro-benchmarks; and percentiles into their JSON."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from harness.host.clock import SystemClock
from harness.server.open import open_server
from harness.server.server import Server
from ordershop.entities import Customer
from ordershop.event_store import EventStore, connect
from ordershop.events import Event
from scenarios.micro.percentiles import bounds_us, percentiles_us

_DESCRIBED: dict[str, Any] = {}

ROUNDS = int(os.environ.get("SHOPBENCH_MICRO_ROUNDS", "1000"))
PROFILE = os.environ.get("SHOPBENCH_MICRO_PROFILE", "quick")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server that `SHOPBENCH_SERVER` names; the embedded one without it."""
    with open_server(os.environ.get("SHOPBENCH_SERVER", "embedded"), SystemClock()) as opened:
        # The JSON is written after the server has gone.
        _DESCRIBED.update(opened.describe())
        yield opened


@pytest.fixture
def store(server: Server) -> Iterator[EventStore]:
    """An event store under a namespace of its own."""
    client = connect(server.url, timeout_s=60.0)
    yield EventStore(client, f"{server.namespace}{uuid.uuid4().hex[:8]}:")
    client.close()


@pytest.fixture
def rounds() -> int:
    """How many single calls are measured."""
    return ROUNDS


@pytest.fixture
def few_rounds() -> int:
    """How many calls are measured of what handles a thousand events at once."""
    return max(3, ROUNDS // 50)


def new_events(count: int) -> list[Event]:
    """Events of new customers."""
    return [
        Event.new("created", Customer(str(uuid.uuid4()), "Ada Lovelace", "ada@example.org")) for _ in range(count)
    ]


@pytest.fixture
def customers() -> Callable[[int], list[Event]]:
    """Makes events of new customers."""
    return new_events


def pytest_benchmark_update_json(config: Any, benchmarks: list[Any], output_json: dict[str, Any]) -> None:  # noqa: ARG001
    """Add p50 to p99.9 in microseconds to the extra_info of each benchmark."""
    for benchmark, entry in zip(benchmarks, output_json["benchmarks"], strict=True):
        taken_ns = np.rint(np.array(benchmark.stats.data) * 1e9).astype(np.int64)
        entry["extra_info"] |= {
            **percentiles_us(taken_ns),
            "count": int(taken_ns.size),
            "bounds": bounds_us(taken_ns),
        }


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:  # noqa: ARG001
    """Add the server's version and configuration to what pytest-benchmark knows of the machine."""
    machine_info["server"] = dict(_DESCRIBED)
