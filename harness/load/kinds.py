"""Commands of several kinds in one schedule: each recorded as an operation of its own, and its replies looked at.

    number       0        1       2       3       4             what is sent follows from the number
    kind         entity   append  entity  tail    entity        so does its kind, and what a right reply is
    recorded as  mix.entity ...   mix.append ...  mix.tail      below one operation, of which they are parts

A reply may be of the right type and still not be what was asked for: a read that found nothing. Who knows what it
had to find says so (`fault`), and the pump counts it as a failure, by that kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


class Kinds(Protocol):
    """Of which kind commands are, by their numbers, and whether a reply is what was asked for."""

    @property
    def names(self) -> Sequence[str]:
        """What the kinds are called, each the last part of an operation's name."""
        ...

    def of(self, first: int, count: int, step: int = 1) -> Sequence[int]:
        """The kind of `count` commands from number `first` on, each `step`-th of them, as places in `names`."""
        ...

    def fault(self, number: int, kind: int, reply: Any) -> str:
        """What is wrong with a reply that is no error, in a few words; empty where nothing is.

        Args:
            number: of the command.
            kind: of it.
            reply: as hiredis reads it.
        """
        ...


@runtime_checkable
class HasKinds(Protocol):
    """A source whose commands are of several kinds; one whose commands are all alike need not have it."""

    @property
    def kinds(self) -> Kinds | None:
        """Which there are; None: its commands are all alike."""
        ...


def kinds_of(source: object) -> Kinds | None:
    """The kinds of a source's commands; None where they are all alike."""
    return source.kinds if isinstance(source, HasKinds) else None
