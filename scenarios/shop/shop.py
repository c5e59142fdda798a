"""What every scenario that loads the shop needs: a server, a producer's number, the floor before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from harness.conduct.scenario import ScenarioError, Stage
from harness.load.pacing import Pacer
from harness.measure.floor import FloorRequest
from harness.server.open import open_server
from harness.server.server import Durability, Server
from ordershop.event_store import StoreError

GROUP = "crm"
# What each promises; a server at a URL has one of its own.
DURABILITY_LABELS = {
    "always": "synced before each answer",
    "everysec": "synced each second",
    "none": "kept in memory only",
    "given": "as the server is set",
}


def durability_in_words(durability: Durability, server: Mapping[str, Any]) -> str:
    """What a durability means on a server, by what the record says of it: in memory nothing is synced."""
    directory = server.get("data_directory")
    if durability != "none" and isinstance(directory, Mapping) and directory.get("is_synced") is False:
        return f"with appendfsync {durability} on {directory['file_system']}, where nothing is synced,"
    return DURABILITY_LABELS[durability]


def producer_of(stage: Stage) -> int:
    """The number that a run's events carry: from its seed and the time, so that runs do not meet."""
    generator = np.random.default_rng([stage.seed, int(stage.clock.epoch_s() * 1000)])
    return int(generator.integers(1, 1 << 48))


def server_for(stage: Stage, durability: Durability) -> Server:
    """The server of a stage; one that we start gets this durability, and the stage's directives."""
    return open_server(stage.server, stage.clock, durability=durability, port=stage.port, config=stage.config)


def floor_before(stage: Stage, server: Server, pacer: Pacer, payload_bytes: int) -> FloorRequest:
    """What a bare exchange costs is measured before a load: at its rate, with its size.

    Args:
        pacer: of the load.
        payload_bytes: of an event's largest value.
    """
    # Half a second, as little as gives a p99; where all is to be over in seconds, half of that.
    seconds = 0.25 if stage.profile == "smoke" else 0.5
    rate_per_s = pacer.total / (pacer.duration_ns / 1e9)
    return FloorRequest(
        rate_per_s=rate_per_s, payload_bytes=payload_bytes, key=f"{server.namespace}floor", seconds=seconds
    )


@contextlib.contextmanager
def as_scenario_errors() -> Iterator[None]:
    """Tell of what an event store cannot do (its server is away, or full) as of what a scenario cannot do."""
    try:
        yield
    except StoreError as error:
        raise ScenarioError(" ".join(str(error).split())) from error
