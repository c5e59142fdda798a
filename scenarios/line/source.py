"""What a line is loaded with: the system's own commands, or these by the stream that they go to."""

from __future__ import annotations

from harness.conduct.scenario import ScenarioError
from harness.load.by_stream import ByStream, HasStreams
from harness.load.workload import Source
from harness.server.server import Server
from harness.system.port import SystemUnderTest


def source_of(system: SystemUnderTest, server: Server, producer: int, by_stream: tuple[int, int] | None) -> Source:
    """The commands of a system.

    Args:
        system: whose they are.
        server: that takes them.
        producer: the number that events carry.
        by_stream: from the first of these numbers on events go to the first stream only, from the second on to the
            others only; None: as the system has them.

    Raises:
        ScenarioError: the system does not tell its streams apart.
        ServerError: the server does not take what they need.
    """
    if by_stream is None:
        return system.source(server, "append", producer)
    if not isinstance(system, HasStreams):
        raise ScenarioError(f"what {system.name} appends cannot be told apart by stream")
    first, then = by_stream
    sources = system.sources_by_stream(server, "append", producer)
    return ByStream(sources, from_number=first, until_number=then, an_entity=system.events_an_entity)
