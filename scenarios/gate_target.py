"""OrderShop's event store as a target of the gate: the protocol of `harness.system.target`, nothing besides.

This file is the candidate's on both sides of a gate; the `ordershop` that it imports is each side's own. So it
keeps to what the store has had from its first release, and does as little as it can around each call: what is
timed as `append` is the store's own method.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from ordershop.entities import Customer, Entity
from ordershop.event_store import EventStore, connect
from ordershop.events import Event, EventId
from ordershop.subscription import Delivery, Subscription

TIMEOUT_S = 60.0


def _identity(number: int) -> str:
    return f"00000000-0001-8000-8000-{number:012x}"


class OrderShop:
    """An `EventStore` on customers.

    Args:
        url: the server's; all of it is this target's.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = connect(url, timeout_s=TIMEOUT_S)
        self._store = EventStore(self._client)
        self.append = self._store.append

    def event(self, number: int) -> Event:
        """A customer is created."""
        identity = _identity(number)
        return Event("created", Customer(identity, "Ada Lovelace", "ada@example.org"), identity)

    def append_many(self, events: Sequence[Event]) -> list[EventId]:
        """Append them in one call."""
        return self._store.append_many(events)

    def replay(self) -> dict[str, Entity]:
        """All customers, from their events."""
        return self._store.replay("customer")

    def drain(self, group: str, count: int) -> int:
        """Deliver to a new group and acknowledge, with an effect that does nothing."""
        subscription = Subscription(self._url, self._store.keys, [("customer", "created")], group=group)
        stop = threading.Event()
        seen = 0

        def effect(deliveries: Sequence[Delivery]) -> Iterable[Delivery]:
            nonlocal seen
            seen += len(deliveries)
            if seen >= count:
                stop.set()
            return ()

        subscription.run(effect, stop)
        return seen

    def find_one(self, number: int) -> Entity | None:
        """A customer, from the entity cache."""
        return self._store.find_one("customer", _identity(number))

    def close(self) -> None:
        """Give connections back."""
        self._client.close()


def ordershop(url: str) -> OrderShop:
    """Open the target."""
    return OrderShop(url)
