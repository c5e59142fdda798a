"""Commands that go to one stream for a while, and afterwards to the others.

    number        0 ...         from ...       until ...
    goes to       each in turn  the first      the others in turn          events of one entity to one stream

With a pacer, numbers are times: so one stream gets a backlog, and the news come in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from harness.load.workload import Source
from harness.server.server import Server


@runtime_checkable
class HasStreams(Protocol):
    """A system whose appends can be told apart by the stream that they go to; what cannot need not have it."""

    def sources_by_stream(self, server: Server, operation: str, producer: int) -> Sequence[Source]:
        """The commands that append to each stream, two at least, in the order of the system's streams.

        Args:
            server: that holds them.
            operation: what they are called in the record.
            producer: the number that events carry.

        Raises:
            ServerError: the server does not take what they need.
        """
        ...


class ByStream:
    """Commands by their numbers, each for one of several streams.

    Args:
        sources: for each stream, its commands; their operation and reply are those of the first.
        from_number: the first command that is for the first stream, as are all until `until_number`.
        until_number: the first that is for another one, as are all after it.
        an_entity: so many commands, one after the other, are about one entity; both numbers are multiples of it.

    Raises:
        ValueError: there are not two streams at least.
    """

    def __init__(
        self, sources: Sequence[Source], *, from_number: int, until_number: int, an_entity: int = 1
    ) -> None:
        if len(sources) < 2:
            raise ValueError("one stream has no others")
        self._sources = list(sources)
        self._from, self._until = from_number, until_number
        self._an_entity = an_entity

    @property
    def operation(self) -> str:
        """What the commands are called in the record."""
        return self._sources[0].operation

    @property
    def reply(self) -> type | None:
        """Of what type a reply to them is that is no error."""
        return self._sources[0].reply

    def stream_of(self, number: int) -> int:
        """Which of the streams a command is for, from 0."""
        entity = number // self._an_entity
        if number < self._from:
            return entity % len(self._sources)
        return 0 if number < self._until else 1 + entity % (len(self._sources) - 1)

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        """`count` commands from number `first` on, each `step`-th of them, in RESP."""
        numbers = range(first, first + count * step, step)
        return b"".join(self._sources[self.stream_of(number)].pack(number, 1) for number in numbers)
