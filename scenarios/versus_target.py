"""OrderShop's event store as a side of `shopbench versus` opens it, where its load is another than the gate's.

path=xadd            a bare XADD in the place of the shop's write path: nothing is read back, nothing is found
payload_bytes=1000   customers whose JSON has so many bytes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ordershop.entities import Customer
from ordershop.event_store import connect
from ordershop.events import Event, entity_json
from scenarios.gate_target import TIMEOUT_S, OrderShop

_STREAM = "xadd:0"


def _sized(event: Event, payload_bytes: int) -> Event:
    """An event about a customer whose JSON has so many bytes, by a longer name; 0: as it is."""
    customer = event.entity
    if not payload_bytes or not isinstance(customer, Customer):
        return event
    longer = payload_bytes - len(entity_json(customer))
    name = (customer.name + " " + "x" * max(0, longer - 1))[: len(customer.name) + longer]
    return Event(event.action, Customer(customer.id, name, customer.email), event.event_id)


class SizedShop(OrderShop):
    """The gate's target, with customers of another size.

    Args:
        url: the server's.
        payload_bytes: of a customer's JSON; 0: as it comes.
    """

    def __init__(self, url: str, payload_bytes: int) -> None:
        super().__init__(url)
        self._payload_bytes = payload_bytes

    def event(self, number: int) -> Event:
        """A customer is created."""
        return _sized(super().event(number), self._payload_bytes)


class BareXadd:
    """A stream to which bare XADDs go.

    Args:
        url: the server's.
        payload_bytes: of a customer's JSON; 0: as it comes.
    """

    def __init__(self, url: str, payload_bytes: int) -> None:
        self._client = connect(url, timeout_s=TIMEOUT_S)
        self._shop = SizedShop(url, payload_bytes)

    def event(self, number: int) -> dict[str, str]:
        """The fields of an entry."""
        event = self._shop.event(number)
        return {"event_id": event.event_id, "entity": entity_json(event.entity).decode()}

    def append(self, event: dict[str, str]) -> Any:
        """One XADD."""
        return self._client.execute_command("XADD", _STREAM, "*", *self._words(event))

    def append_many(self, events: Sequence[dict[str, str]]) -> Sequence[Any]:
        """All of them in one pipeline."""
        pipeline = self._client.pipeline(transaction=False)
        for event in events:
            pipeline.execute_command("XADD", _STREAM, "*", *self._words(event))
        return pipeline.execute()

    @staticmethod
    def _words(event: dict[str, str]) -> list[str]:
        return [word for pair in event.items() for word in pair]

    def close(self) -> None:
        """Give connections back."""
        self._client.close()
        self._shop.close()


def opened(url: str, path: str = "store", payload_bytes: str = "0") -> SizedShop | BareXadd:
    """Open the target.

    Args:
        url: the server's.
        path: `store` or `xadd`.
        payload_bytes: of a customer's JSON; 0: as it comes.
    """
    return BareXadd(url, int(payload_bytes)) if path == "xadd" else SizedShop(url, int(payload_bytes))
