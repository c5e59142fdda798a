"""Somebody else's consumer as a system under test: a command, in whatever language.

    shopbench run crm_outage --consumer 'node app.js' --promise at_least_once --shape shape.toml

    XADD --> events:1, events:2 --group "shopbench"--> consumer, consumer-2 ... --POST--> effects
                server               |  consumer-redis                   consumer-effects    |

What a consumer is told, it is told by its environment:

    SHOPBENCH_REDIS_URL   where Redis is for it: a proxy of ours
    SHOPBENCH_STREAMS     the names of the streams, with a space between them
    SHOPBENCH_GROUP       the group that it makes on each, from the beginning: with MKSTREAM, and at 0
    SHOPBENCH_CONSUMER    its name in the group; the same when it is started again
    SHOPBENCH_CLAIM_MS    when what a consumer that died has in hand is to be taken by another
    SHOPBENCH_PAGE        how many events it should read at once
    SHOPBENCH_EFFECTS     where it posts the ID of each event that it has handled
    SHOPBENCH_FACTS       a file for lines of its own, if it wants to say more (`harness.account.facts`)

It works in the directory that the run was started in. Nothing is asked of it but that it does its work: what it
writes to its output is its log, and its exit is not the run's.

Rejected: a client library for each language, with callbacks. Then it is the library's loop that is measured.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec
from msgspec import Struct

from harness.load.workload import Cycle, MixedCommands, Source, entity_placeholder, placeholder
from harness.server.server import Server
from harness.server.url import without_secrets
from harness.system.port import NotStartedError, Place, Running
from harness.system.promise import Promise, parse_promise
from harness.system.running_consumers import GROUP, RunningConsumers
from harness.system.shape import EventIdPlace, Shape, shape_in, streams_named

READY_S = 60.0

Restart = Literal["always", "never"]


class ConsumerCommand(Struct, frozen=True, kw_only=True):
    """What somebody wants to have tested.

    Attributes:
        command: that starts a consumer, as a shell splits it into words; no shell takes part.
        promise: by which it is judged.
        shape: of the events that it is given.
        probe: a command that prints the ID of each event that has had its effect, one a line; empty: the consumer
            posts them.
        restart: what becomes of one that ends by itself.

    Raises:
        ValueError: a command that has no words.
    """

    command: str
    promise: Promise = Promise()
    shape: Shape = msgspec.field(default_factory=Shape)
    probe: str = ""
    restart: Restart = "always"

    def __post_init__(self) -> None:
        if not _words(self.command):
            raise ValueError("--consumer wants a command")
        _words(self.probe)

    @property
    def arguments(self) -> list[str]:
        """The words of its command line."""
        return _words(self.command)

    @property
    def probe_arguments(self) -> list[str]:
        """The words of the probe's; none where there is no probe."""
        return _words(self.probe)


def consumer_command(
    command: str, *, promise: str = "", shape: str = "", probe: str = "", restart: str = ""
) -> ConsumerCommand:
    """What options say; an empty one is as by default.

    Args:
        command: of the consumer.
        promise: as `parse_promise` takes it.
        shape: the path of a TOML file.
        probe: a command.
        restart: always or never.

    Raises:
        ValueError: something that cannot be; its text is one clear line.
    """
    if restart not in {"", "always", "never"}:
        raise ValueError(f"--restart is always or never, not {restart!r}")
    return ConsumerCommand(
        command=command,
        promise=parse_promise(promise),
        shape=shape_in(Path(shape)) if shape else Shape(),
        probe=probe,
        restart="never" if restart == "never" else "always",
    )


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ValueError(f"{command!r} cannot be split into words: {error}") from error


class ConsumerSystem:
    """A consumer by command, and the streams that it is given.

    Args:
        chosen: what is tested.
        ready_s: within which its consumers have to be ready.
    """

    group = GROUP
    scripts = ()

    def __init__(self, chosen: ConsumerCommand, *, ready_s: float = READY_S) -> None:
        self.chosen = chosen
        self._ready_s = ready_s
        self.name = " ".join(map(without_secrets, chosen.arguments))
        self.event_bytes = chosen.shape.entry_bytes
        self.events_an_entity = chosen.shape.events_an_entity
        self._place = EventIdPlace(chosen.shape)

    def described(self) -> dict[str, Any]:
        """What a record says of it: the command, and what can be known of what that is."""
        chosen = self.chosen
        return {
            "name": self.name,
            "command": self.name,
            "files": {word: digest for word in chosen.arguments if (digest := _digest_of(Path(word)))},
            "promise": msgspec.to_builtins(chosen.promise),
            "shape": chosen.shape.described(),
            "probe": " ".join(map(without_secrets, chosen.probe_arguments)),
            "restart": chosen.restart,
        }

    def target(self, url: str) -> NoReturn:  # noqa: ARG002 - as another system takes it
        """A consumer is no store, so there is none to open.

        Raises:
            NotStartedError: always.
        """
        raise NotStartedError("a consumer is no event store: there is nothing to gate or to replay")

    def source(self, server: Server, operation: str, producer: int) -> Source:
        """XADD of entries of the shape, entity by entity, stream by stream."""
        return self._appends(self.streams(server), operation, producer)

    def sources_by_stream(self, server: Server, operation: str, producer: int) -> list[Source]:
        """The same for each stream by itself."""
        return [self._appends([stream], operation, producer) for stream in self.streams(server)]

    def _appends(self, streams: Sequence[str], operation: str, producer: int) -> Source:
        shape = self.chosen.shape
        entry = shape.entry(placeholder(producer), entity_placeholder(producer))
        return MixedCommands(
            operation,
            [[["XADD", stream, "*", *entry]] * shape.events_an_entity for stream in streams],
            producer,
            Cycle(sizes=shape.events_an_entity, streams=len(streams)),
            reply=bytes,
        )

    def streams(self, server: Server) -> list[str]:
        """As many as the shape wants."""
        return list(streams_named(server.namespace, self.chosen.shape.streams))

    def event_id(self, fields: Mapping[bytes, bytes]) -> str:
        """It stands where the shape has it."""
        return self._place.event_id(fields)

    def order(self, entry_id: str) -> tuple[int, int]:
        """The server's own IDs: milliseconds, and a number; of two streams nothing is known within one."""
        milliseconds, _, number = entry_id.partition("-")
        return int(milliseconds), int(number)

    def epoch_s(self, entry_id: str) -> float:
        """Of these the milliseconds are the server's time."""
        return self.order(entry_id)[0] / 1000

    def parked(self, server: Server) -> str | None:  # noqa: ARG002 - another system has a stream there
        """Where a consumer puts what it gives up is not known."""
        return None

    @contextlib.contextmanager
    def _started(self, place: Place) -> Any:
        wanted = place.wanted
        if wanted.delivery != "at_least_once":
            raise NotStartedError("how a consumer subscribes is its own affair: --promise says what it is held to")
        if not wanted.is_idempotent:
            raise NotStartedError(
                "whether effects are idempotent is the consumer's own affair, by Idempotency-Key"
            )
        with RunningConsumers(place, self.chosen, self.streams(place.server), ready_s=self._ready_s) as running:
            yield running

    def started(self, place: Place) -> AbstractContextManager[Running]:
        """The sink, the links, and as many consumers as are wanted."""
        started: AbstractContextManager[Running] = self._started(place)
        return started


def _digest_of(path: Path) -> str:
    """What a file that a command names was, in twelve digits; empty where it is none, or a large one."""
    try:
        if path.is_file() and path.stat().st_size < 1 << 20:
            return sha256(path.read_bytes()).hexdigest()[:12]
    except OSError:
        pass
    return ""
