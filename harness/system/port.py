"""The port for what is measured: an event store, the consumers of its streams, and where their effects are seen.

    SystemUnderTest     commands to append, streams and group, what an entry says of itself
      --started(place)--> Running    consumers, effects in the order in which they were had, what can be broken

The shop of this repository is one, `examples/plain_store` another, on one page. A system is named on the command
line as `--system module:attribute`, or by its entry point (`ordershop_bench.systems`). `Target`, of
`harness.system.target`, is the smaller part of it that a gate needs: append, replay, drain, no processes.

An event is the producer's: its number is in its `event_id` (`harness.account.event_ids`), which the append carries
in its entry, and the effect tells. So what became of each event can be told without knowing what it means.

Rejected: a base class. Whoever writes a system should import nothing of ours but what processes can be made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from msgspec import Struct

from harness.load.workload import Source
from harness.nemesis.targets import Target as Breakable
from harness.server.server import Server
from harness.system.target import WholeTarget


class NotStartedError(Exception):
    """A system that does not start, or has ended by itself; its text is one clear line."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What a scenario wants of a system's consumers; a system does what it can, and refuses the rest.

    Attributes:
        delivery: the promise: `at_least_once`, `at_most_once`, or `from_now`, without a position.
        consumers: of the group.
        page: how many events a consumer reads at once.
        claim_after_ms: when the events of a consumer that died are taken by another.
        effect_ms: how long an effect takes.
        is_idempotent: whether what has had its effect already is left out.
        has_links: whether the first consumer is to reach the server, and its effects, through proxies.
        consumer: what is started as a consumer, in the system's own words; empty: what it always starts.
    """

    delivery: str = "at_least_once"
    consumers: int = 1
    page: int = 500
    claim_after_ms: int = 30_000
    effect_ms: float = 0.0
    is_idempotent: bool = True
    has_links: bool = False
    consumer: str = ""


class Place(Struct, frozen=True, kw_only=True):
    """Where a system's consumers are started.

    Attributes:
        server: that holds the streams.
        directory: of the run; logs and working files go there.
        producer: whose events will come.
        wanted: of the consumers.
    """

    server: Server
    directory: Path
    producer: int
    wanted: Wanted


class Exit(Struct, frozen=True, kw_only=True):
    """An end of a consumer that nobody has asked for.

    Attributes:
        consumer: which.
        at_ns: when it was seen.
        status: its exit code; below 0: the signal that ended it.
    """

    consumer: str
    at_ns: int
    status: int


class ConsumerFacts(Struct, frozen=True, kw_only=True):
    """What was seen of consumers that somebody else has written, beside their effects.

    Attributes:
        ready_s: what the first start took, until an event of each stream had had its effect.
        exits: that nobody had asked for.
        downs: how often faults had all consumers down at once, for long enough to look.
        attempts_while_down: how many effects were tried all the same.
        strays: how many processes of consumers had left their process group when they were ended.
    """

    ready_s: float
    exits: list[Exit]
    downs: int
    attempts_while_down: int
    strays: int


class Running(Protocol):
    """Consumers at work."""

    @property
    def targets(self) -> Sequence[Breakable]:
        """What can be broken; it grows when a consumer is added."""
        ...

    @property
    def consumers(self) -> Sequence[str]:
        """The names of the consumers."""
        ...

    @property
    def roles(self) -> Mapping[str, str]:
        """What is called here what a plan of faults calls `crm`, `crm-2`, `mail`, `crm-redis`, `crm-mail`."""
        ...

    def is_running(self, name: str) -> bool:
        """Whether a consumer's process runs."""
        ...

    def listens(self) -> bool:
        """Whether what is appended from now on will reach the consumers.

        Raises:
            OSError: the server does not answer.
        """
        ...

    def effects(self, after: int) -> list[str]:
        """The `event_id` of each effect but the first ones, in the order in which they were had.

        Args:
            after: how many of the first are known already.

        Raises:
            OSError: nobody can tell at the moment.
        """
        ...


@runtime_checkable
class Growing(Protocol):
    """Running consumers that share the events of a group, to which more can be added; not all can."""

    @property
    def group_names(self) -> Mapping[str, str]:
        """What each consumer is called in its group."""
        ...

    def add_consumer(self, name: str) -> None:
        """Start one more consumer of the group, also while there is a load.

        Args:
            name: of it.

        Raises:
            NotStartedError: it does not start.
        """
        ...


@runtime_checkable
class Trimming(Protocol):
    """Running consumers of streams from which can be removed what every group has acknowledged; not all can."""

    def trim(self, keep: int) -> int:
        """Remove from each stream's front what every group on it has acknowledged; answer how many entries.

        Args:
            keep: so many of the newest entries of each stream stay.

        Raises:
            OSError: the server is away.
            NotStartedError: the server refuses.
        """
        ...


@runtime_checkable
class Observed(Protocol):
    """Running consumers that may end by themselves, and of which more is known than their effects."""

    def facts(self, origin_ns: int) -> ConsumerFacts:
        """What was seen of them so far.

        Args:
            origin_ns: of the run, from which times count.
        """
        ...


class SystemUnderTest(Protocol):
    """An event store and its consumers."""

    @property
    def name(self) -> str:
        """What it is called in records."""
        ...

    @property
    def group(self) -> str:
        """The consumers' group."""
        ...

    @property
    def scripts(self) -> Sequence[str]:
        """The Lua scripts that an append calls; they are loaded again where a server has lost them."""
        ...

    @property
    def event_bytes(self) -> int:
        """How many bytes of content an event has, about."""
        ...

    @property
    def events_an_entity(self) -> int:
        """So many events, one after the other, are about one entity, and in order."""
        ...

    def target(self, url: str) -> WholeTarget:
        """The store as a client opens it, for what has no load: a gate, a replay. All of the server is its own.

        Args:
            url: of the server, with its password.
        """
        ...

    def source(self, server: Server, operation: str, producer: int) -> Source:
        """The commands that append, each one event with its `event_id`.

        Raises:
            ServerError: the server does not take what they need.
        """
        ...

    def streams(self, server: Server) -> list[str]:
        """The streams that are appended to, and that the consumers read."""
        ...

    def event_id(self, fields: Mapping[bytes, bytes]) -> str:
        """The `event_id` in an entry; any other text where it has none."""
        ...

    def order(self, entry_id: str) -> tuple[int, int]:
        """Where an entry stands among those of its stream, and of all streams where IDs tell that."""
        ...

    def epoch_s(self, entry_id: str) -> float:
        """When an entry was appended, in seconds since 1970, by its ID."""
        ...

    def parked(self, server: Server) -> str | None:
        """The stream of events that were given up, as they failed again and again; None: there is none."""
        ...

    def started(self, place: Place) -> AbstractContextManager[Running]:
        """Consumers at work while it is entered; all gone afterwards, whatever happens.

        Raises:
            NotStartedError: they do not start, or cannot do what is wanted.
        """
        ...
