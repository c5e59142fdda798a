"""What can be gated: any event store that a factory opens and that speaks these few methods.

    def target(url: str) -> Target          # given to the gate as --target package.module:target

    event(n)            the n-th event, as the store's own code wants it; made outside of what is timed
    append(event)       store one event and answer its ID, which is not None, when it is stored
    append_many(events) store several, answer their IDs                               may be left out
    replay()            read all of the past back: what it adds up to, sized           may be left out
    drain(group, count) deliver so many events to a new consumer group, and acknowledge
                        them; answers how many                                         may be left out
    find_one(n)         what the n-th event was about, or None if it was not appended  may be left out
    close()             give connections back

What both sides' targets leave out is not measured; what only the candidate's leaves out ends the gate. Event n is
about an entity of its own, so a replay of n events adds up to n. `harness.system.contract` has the tests that a
target must pass before its figures mean anything.

Rejected: a base class to inherit from. The baseline's target is loaded from the baseline's source, which may be
older than this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any, Protocol


class Target(Protocol):
    """An event store under test, open, on a server of its own."""

    def event(self, number: int) -> Any:
        """The event of that number, about an entity that no other number has."""
        ...

    def append(self, event: Any) -> Any:
        """Store one event and answer its ID."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


class WholeTarget(Target, Protocol):
    """A target that leaves nothing out."""

    def append_many(self, events: Sequence[Any]) -> Sequence[Any]:
        """Store several events in their order and answer their IDs."""
        ...

    def replay(self) -> Sized:
        """What all events add up to: as many things as entities were created."""
        ...

    def drain(self, group: str, count: int) -> int:
        """Deliver the first `count` events to a new group, acknowledge them, and answer how many there were."""
        ...

    def find_one(self, number: int) -> Any:
        """What the event of that number was about, or None where it was not appended."""
        ...


OpenTarget = Callable[[str], Target]
