"""The plain store as a system under test: `shopbench run lag --system plain_store.system:system`.

    EVALSHA append.lua --> stream "events" --group "plain"--> consumer.py --> effects.txt
                       +-> hash "state"

An effect is a line in a file, the `event_id` of the event. The consumer is a program of its own (`consumer.py`);
it could be in any language.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import redis

from harness.load.workload import Cycle, MixedCommands, Source, entity_placeholder, placeholder
from harness.nemesis.targets import Part, process_can
from harness.server.server import Server
from harness.system.command import CommandProcess
from harness.system.port import NotStartedError, Place
from plain_store import Target, target

STREAM, STATE, GROUP = "events", "state", "plain"
# One step, so that an event and what follows from it are there together.
APPEND = """
local id = redis.call('XADD', KEYS[1], '*', 'event', ARGV[2], 'event_id', ARGV[1])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[2])
return id
"""


class Running:
    """The consumer at work.

    Args:
        place: where it is started.
        consumer: its process.
        effects: the file of its effects.
    """

    def __init__(self, place: Place, consumer: CommandProcess, effects: Path) -> None:
        self._server = place.server
        self._consumer = consumer
        self._effects = effects
        self._lines: list[str] = []
        self._read = 0
        self.consumers = [consumer.name]
        # What a plan of faults calls it.
        self.roles = {"crm": consumer.name}
        self.targets = [Part(consumer.name, process_can(consumer))]

    def is_running(self, name: str) -> bool:
        """Whether the consumer's process runs."""
        return name == self._consumer.name and self._consumer.is_running

    def listens(self) -> bool:
        """The group is there as soon as the consumer has made it."""
        stream = f"{self._server.namespace}{STREAM}"
        try:
            with contextlib.closing(self._server.client(timeout_s=1.0)) as client:
                return bool(client.exists(stream)) and bool(client.xinfo_groups(stream))
        except redis.RedisError as error:
            raise OSError(str(error)) from error

    def effects(self, after: int) -> list[str]:
        """The lines of the file, but for the first ones and one that is being written."""
        if self._effects.exists():
            with self._effects.open("rb") as file:
                file.seek(self._read)
                whole, newline, _ = file.read().rpartition(b"\n")
            self._read += len(whole) + len(newline)
            self._lines += whole.decode().splitlines()
        return self._lines[after:]


class PlainSystem:
    """Customers that come and change, in one stream."""

    name = "plain store"
    group = GROUP
    scripts = (APPEND,)
    event_bytes = 120
    events_an_entity = 1

    def target(self, url: str) -> Target:
        """The store, as a gate opens it."""
        return target(url)

    def source(self, server: Server, operation: str, producer: int) -> Source:
        """One customer an event."""
        with contextlib.closing(server.client()) as client:
            sha: Any = client.script_load(APPEND)
        mark, entity = placeholder(producer), entity_placeholder(producer)
        event = json.dumps({"id": entity, "name": "Ada Lovelace", "email": "ada@example.org"})
        keys = [f"{server.namespace}{STREAM}", f"{server.namespace}{STATE}"]
        command = ["EVALSHA", sha, 2, *keys, mark, event, entity]
        return MixedCommands(operation, [[command]], producer, Cycle(sizes=1), reply=bytes)

    def streams(self, server: Server) -> list[str]:
        """There is one."""
        return [f"{server.namespace}{STREAM}"]

    def event_id(self, fields: Mapping[bytes, bytes]) -> str:
        """A field of its own has it."""
        return fields.get(b"event_id", b"").decode("utf-8", "replace")

    def order(self, entry_id: str) -> tuple[int, int]:
        """The server's own IDs: milliseconds, and a number."""
        milliseconds, _, number = entry_id.partition("-")
        return int(milliseconds), int(number)

    def epoch_s(self, entry_id: str) -> float:
        """Of these the milliseconds are the server's time."""
        return self.order(entry_id)[0] / 1000

    def parked(self, server: Server) -> str | None:  # noqa: ARG002 - another system may have a stream there
        """What fails is not given up."""
        return None

    @contextlib.contextmanager
    def _started(self, place: Place) -> Iterator[Running]:
        wanted = place.wanted
        if wanted.has_links or wanted.consumers != 1 or wanted.delivery != "at_least_once" or wanted.consumer:
            raise NotStartedError("the plain store has one consumer, at least once, and no links")
        effects = place.directory / "effects.txt"
        program = str(Path(__file__).with_name("consumer.py"))
        with CommandProcess(
            "consumer",
            [sys.executable, program, f"{place.server.namespace}{STREAM}", GROUP, str(effects), str(wanted.page)],
            log=place.directory / "consumer.log",
            # Not on its command line, which every user can read.
            environment={"STORE_URL": place.server.url.unmasked, "EFFECT_MS": str(wanted.effect_ms)},
        ) as consumer:
            try:
                yield Running(place, consumer, effects)
            finally:
                consumer.stop()
                effects.unlink(missing_ok=True)

    def started(self, place: Place) -> AbstractContextManager[Running]:
        """One consumer."""
        return self._started(place)


system = PlainSystem()
