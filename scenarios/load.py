"""What `append` sends: through which path, on which entities, how large, into how many streams.

    path   store   `append.lua`, the shop's one write path: ID, idempotency, stream entry, entity cache
           xadd    a bare XADD: what Redis itself can do

    entities 0     each event creates an entity of its own
    entities n     each event updates one of n, which are there before the load begins; some of them hotter than
                   others where there is a skew

    payload_file   lines of JSON of the user's own, bare XADDs (`scenarios/payloads.py`)

An entity is a customer; with two streams of the store, those of odd numbers are products. Its JSON is brought to
its size by a longer name, so that it stays an entity that the shop takes, and replays, like any other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

import redis
from msgspec import Meta, Struct

from harness.load.workload import (
    Cycle,
    Distribution,
    InTurn,
    Mix,
    MixedCommands,
    Source,
    StampedCommand,
    entity_id,
    entity_placeholder,
    payload_sizes,
    placeholder,
)
from harness.server.server import Server, ServerError
from ordershop.entities import Customer, Product, Topic
from ordershop.event_store import APPEND_LUA, PROJECT, EventStore, StoreError, append_arguments, connect
from ordershop.events import Action, Event, Keys, entity_json
from scenarios.payloads import Payloads, payloads_of

Path = Literal["store", "xadd"]
Trim = Literal["none", "maxlen", "maxlen_exact"]
NAME = "Ada Lovelace"
EMAIL = "ada@example.org"
# What the shop allows a name to have, and what its services allow a body to have.
LONGEST_NAME = 1_000
LARGEST_BYTES = 1 << 20


class Load(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be chosen of a load.

    Attributes:
        path: store, the shop's one write path, or xadd, a bare XADD.
        entities (entities): that there are to be updated; 0: each event creates one.
        skew: the exponent of Zipf's law over the entities; 0: all alike.
        payload: how sizes are distributed.
        payload_bytes: the middle of the sizes of an entity's JSON; 0: as long as it comes.
        payload_spread: of that distribution.
        payload_file: a file with a JSON a line, appended in their order in place of what is made up; empty:
            none. It wants the path xadd.
        streams (streams): that the entities are spread over.
        trim: whether each XADD trims its stream: none, it does not; maxlen, to about a length (MAXLEN ~), or
            maxlen_exact, to exactly that (MAXLEN =). It wants the path xadd.
        maxlen (events): that stay in each stream, where it is trimmed.

    Raises:
        ValueError: choices that cannot be had together.
    """

    path: Path = "store"
    entities: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    skew: Annotated[float, Meta(ge=0, le=10)] = 0
    payload: Distribution = "fixed"
    payload_bytes: Annotated[int, Meta(ge=0, le=LARGEST_BYTES)] = 0
    payload_spread: Annotated[float, Meta(ge=0, le=3)] = 0.5
    payload_file: str = ""
    streams: Annotated[int, Meta(ge=1, le=1_000)] = 1
    trim: Trim = "none"
    maxlen: Annotated[int, Meta(ge=1, le=100_000_000)] = 10_000

    def __post_init__(self) -> None:
        if self.skew and not self.entities:
            raise ValueError("`skew` makes some entities hotter than others: it wants `entities` above 0")
        if self.path == "store" and self.streams > 2:
            raise ValueError("path `store` has 1 or 2 streams (customers and products); `xadd` has any number")
        if self.payload != "fixed" and not self.payload_bytes:
            raise ValueError(f"a payload that is {self.payload} wants `payload_bytes`, the middle of its sizes")
        if self.trim != "none" and self.path != "xadd":
            raise ValueError("`trim` is an option of XADD, which `append.lua` does not use: it wants `path=xadd`")
        if self.payload_file:
            self._check_payload_file()
        if self.payload_bytes:
            sizes = payload_sizes(self.payload, self.payload_bytes, self.payload_spread)
            low, high = _payload_bounds(self.path, self.streams)
            if not low <= min(sizes) <= max(sizes) <= high:
                raise ValueError(
                    f"payloads would have {min(sizes)} to {max(sizes)} bytes; "
                    f"path `{self.path}` can have {low} to {high}: change `payload_bytes` or `payload_spread`"
                )

    def _check_payload_file(self) -> None:
        """What cannot be had together with lines of a file.

        Raises:
            ValueError: something of it was chosen.
        """
        if self.path != "xadd":
            raise ValueError("lines of `payload_file` are no entities of the shop: they want `path=xadd`")
        if self.entities or self.payload_bytes:
            raise ValueError(
                "lines of `payload_file` are sent as they are: `entities` and `payload_bytes` have no meaning"
            )

    def payloads(self) -> Payloads | None:
        """The lines of the file; None where none is named.

        Raises:
            PayloadError: it has a line that is none, or cannot be read.
        """
        return payloads_of(FilePath(self.payload_file)) if self.payload_file else None

    @property
    def scripts(self) -> tuple[str, ...]:
        """The scripts that its commands call by their hash."""
        return (APPEND_LUA,) if self.path == "store" else ()

    @property
    def middle_bytes(self) -> int:
        """The middle of the sizes of an entity's JSON."""
        return self.payload_bytes or len(entity_json(_entity(placeholder(0), 0, 0)))

    def source(
        self, server: Server, operation: str, producer: int, seed: int, payloads: Payloads | None = None
    ) -> Source:
        """What the pump sends.

        Args:
            payloads: the lines of the file, where one is named.

        Raises:
            ServerError: the server does not take the script.
        """
        if payloads is not None:
            return self._source_of_lines(server, operation, producer, payloads)
        sizes = [0]
        if self.payload_bytes:
            sizes = payload_sizes(self.payload, self.payload_bytes, self.payload_spread)
        sha = load_script(server) if self.path == "store" else ""
        templates = [
            [self._command(server, producer, stream, size, sha) for size in sizes]
            for stream in range(self.streams)
        ]
        # The script answers the IDs, XADD the one.
        reply = list if self.path == "store" else bytes
        if not self.entities and self.streams == len(sizes) == 1:
            return StampedCommand(operation, templates[0][0], producer, reply=reply)
        mix = Mix(seed=seed, entities=self.entities, skew=self.skew, streams=self.streams, sizes=len(sizes))
        return MixedCommands(operation, templates, producer, mix, reply=reply)

    def _source_of_lines(self, server: Server, operation: str, producer: int, payloads: Payloads) -> Source:
        mark = placeholder(producer)
        templates = [
            [self._xadd(server, stream, mark, line) for line in payloads.lines] for stream in range(self.streams)
        ]
        turns = InTurn(sizes=len(payloads.lines), streams=self.streams)
        return MixedCommands(operation, templates, producer, turns, reply=bytes)

    def _xadd(self, server: Server, stream: int, mark: str, entity: bytes) -> list[Any]:
        """A bare XADD of an event."""
        how = {"none": [], "maxlen": ["MAXLEN", "~", self.maxlen], "maxlen_exact": ["MAXLEN", "=", self.maxlen]}
        key = f"{server.namespace}xadd:{stream}"
        return ["XADD", key, *how[self.trim], "*", "event_id", mark, "entity", entity]

    def _command(self, server: Server, producer: int, stream: int, size: int, sha: str) -> list[Any]:
        mark = placeholder(producer)
        entity = _entity(entity_placeholder(producer) if self.entities else mark, stream, size)
        if self.path == "xadd":
            return self._xadd(server, stream, mark, entity_json(entity))
        action: Action = "updated" if self.entities else "created"
        arguments = append_arguments(Keys(server.namespace), [Event(action, entity, mark)], mode=PROJECT)
        return ["EVALSHA", sha, 0, *arguments]

    def stream_names(self, server: Server) -> list[str]:
        """The streams that the load is appended to."""
        if self.path == "xadd":
            return [f"{server.namespace}xadd:{stream}" for stream in range(self.streams)]
        keys = Keys(server.namespace)
        action: Action = "updated" if self.entities else "created"
        topics: list[Topic] = ["customer", "product"]
        return [keys.stream(topic, action) for topic in topics[: self.streams]]

    def create_entities(self, server: Server, producer: int) -> None:
        """Create the entities that are to be updated.

        Raises:
            ServerError: the server does not take them.
        """
        if not self.entities or self.path == "xadd":
            return
        try:
            with contextlib.closing(connect(server.url, timeout_s=60.0)) as client:
                EventStore(client, server.namespace).append_many(self.creations(producer))
        except StoreError as error:
            raise ServerError(f"the entities cannot be created: {error}") from error

    def creations(self, producer: int) -> Iterator[Event]:
        """The events that create the entities."""
        for number in range(self.entities):
            identity = entity_id(producer, number)
            # Its event is named like it: no event of the load has such a name.
            yield Event("created", _entity(identity, number % self.streams, 0), identity)


def bare_append(key: str, producer: int) -> list[Any]:
    """A bare XADD of the creation of a customer, with placeholders.

    Args:
        key: of the stream.
        producer: the number that the events carry.
    """
    mark = placeholder(producer)
    return ["XADD", key, "*", "event_id", mark, "entity", entity_json(_entity(mark, 0, 0))]


def lifecycle(server: Server, operation: str, producer: int) -> Source:
    """Customers that come and go: event 2 k creates customer k, event 2 k + 1 deletes him.

    Raises:
        ServerError: the server does not take the script.
    """
    templates = _lifecycle(server, producer, entity_placeholder(producer))
    return MixedCommands(operation, [templates], producer, Cycle(sizes=len(templates)), reply=list)


def lifecycle_by_stream(server: Server, operation: str, producer: int) -> list[Source]:
    """The same by stream: customers that come, and customers that go; each event is about a customer of its own.

    Raises:
        ServerError: the server does not take the script.
    """
    templates = _lifecycle(server, producer, placeholder(producer))
    return [StampedCommand(operation, each, producer, reply=list) for each in templates]


def _lifecycle(server: Server, producer: int, customer: str) -> list[list[Any]]:
    """The commands that create a customer and delete him, with placeholders."""
    sha, mark = load_script(server), placeholder(producer)
    entity = _entity(customer, 0, 0)
    actions: tuple[Action, Action] = ("created", "deleted")
    keys = Keys(server.namespace)
    return [
        ["EVALSHA", sha, 0, *append_arguments(keys, [Event(action, entity, mark)], mode=PROJECT)]
        for action in actions
    ]


def _entity(identity: str, stream: int, size: int) -> Customer | Product:
    """A customer or a product whose JSON has that many bytes; 0: as many as it comes to."""
    if stream % 2 == 0:
        plain: Customer | Product = Customer(identity, NAME, EMAIL)
    else:
        plain = Product(identity, NAME, 9.5)
    if not size:
        return plain
    length = size - len(entity_json(plain)) + len(NAME)
    name = (NAME + " " + "x" * max(0, length - len(NAME) - 1))[:length]
    return Customer(identity, name, EMAIL) if stream % 2 == 0 else Product(identity, name, 9.5)


# Of the JSON of an event of `lifecycle`.
EVENT_BYTES = len(entity_json(_entity(placeholder(0), 0, 0)))


def _payload_bounds(path: Path, streams: int) -> tuple[int, int]:
    """The smallest and the largest JSON that every stream of a path can have."""
    mark = placeholder(0)
    around = [len(entity_json(_entity(mark, stream, 0))) - len(NAME) for stream in range(min(streams, 2))]
    return max(around) + 1, min(around) + LONGEST_NAME if path == "store" else LARGEST_BYTES


def load_script(server: Server) -> str:
    """Have the server know the append script, and answer by what name.

    Raises:
        ServerError: the server does not take it.
    """
    try:
        with contextlib.closing(server.client()) as client:
            sha: str = client.script_load(APPEND_LUA)
    except redis.RedisError as error:
        raise ServerError(f"the server does not take the append script: {error}") from error
    return sha
