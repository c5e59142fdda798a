"""What every scenario that loads the shop needs: a server, a producer's number, a drive that runs its schedule."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from harness.conduct.conduct import ScenarioError, Stage
from harness.load.driver import Drive
from harness.load.pacing import Pacer
from harness.load.settings import PumpError, PumpResult
from harness.measure.floor import FloorRequest
from harness.server.open import open_server
from harness.server.server import Durability, Server
from ordershop.event_store import StoreError

GROUP = "crm"
# From "everybody is ready" to the first arrival.
LEAD_NS = 200_000_000
DURABILITY_IN_WORDS: dict[Durability, str] = {
    "everysec": "synced each second",
    "always": "synced before each answer",
    "none": "kept in memory only",
}


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
    return DURABILITY_IN_WORDS[durability]


def producer_of(stage: Stage) -> int:
    """The number that a run's events carry: from its seed and the time, so that runs do not meet."""
    generator = np.random.default_rng([stage.seed, int(stage.clock.epoch_s() * 1000)])
    return int(generator.integers(1, 1 << 48))


def server_for(stage: Stage, durability: Durability) -> Server:
    """The server of a stage; one that we start gets this durability."""
    return open_server(stage.server, stage.clock, durability=durability, port=stage.port)


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


def run_pump(
    stage: Stage,
    pump: Drive,
    origin_ns: int,
    duration_ns: int,
    show: Callable[[float], None],
    keep: Callable[[PumpResult], None],
) -> PumpResult:
    """Let a pump run its schedule, showing how far it is.

    Args:
        keep: gets the result, also what there is of it when the run is interrupted.

    Raises:
        PumpError: it does not report.
    """
    try:
        pump.begin(origin_ns)
        # Its own bounds are the schedule and its drain; this one is for a pump that hangs.
        deadline_ns = origin_ns + duration_ns + 120_000_000_000
        while not pump.is_done():
            now_ns = stage.clock.now_ns()
            if now_ns > deadline_ns:
                raise PumpError("the pump does not report")
            show(min(1.0, max(0.0, (now_ns - origin_ns) / duration_ns)))
            stage.clock.sleep_ns(50_000_000)
        result = pump.result(5.0)
    except KeyboardInterrupt:
        pump.stop()
        keep(pump.result(40.0))
        raise
    keep(result)
    return result
