"""An event store as small as can be, to show how one of your own is gated: XADD through redis-py, nothing besides.

    shopbench gate --baseline main --target plain_store:target

The target is part of the package that it opens, so both sides of a gate bring their own. `test_plain_store.py`
beside it runs the contract that every target must keep.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import redis

STREAM = "events"
PAGE = 1_000


class PlainStore:
    """Events in one stream, each a JSON document.

    Args:
        client: of a server.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def append(self, event: dict[str, Any]) -> bytes:
        """Append one event and answer its ID."""
        return self._client.xadd(STREAM, {"event": json.dumps(event)})  # type: ignore[return-value]

    def append_many(self, events: Sequence[dict[str, Any]]) -> list[bytes]:
        """Append several in one round trip and answer their IDs."""
        with self._client.pipeline(transaction=False) as pipeline:
            for event in events:
                pipeline.xadd(STREAM, {"event": json.dumps(event)})
            return pipeline.execute()

    def replay(self) -> dict[str, dict[str, Any]]:
        """What each entity is after all events."""
        state: dict[str, dict[str, Any]] = {}
        start = "-"
        while entries := self._client.xrange(STREAM, start, "+", count=PAGE):
            for _, fields in entries:  # type: ignore[union-attr]
                event = json.loads(fields[b"event"])
                state[event["id"]] = event
            start = f"({entries[-1][0].decode()}"  # type: ignore[index]
        return state

    def drain(self, group: str, count: int) -> int:
        """Deliver the first events to a new group and acknowledge them."""
        self._client.xgroup_create(STREAM, group, id="0")
        seen = 0
        while seen < count:
            answer: Any = self._client.xreadgroup(group, "consumer", {STREAM: ">"}, count=min(PAGE, count - seen))
            if not answer:
                break
            entries = answer[0][1]
            for _, fields in entries:
                json.loads(fields[b"event"])
            self._client.xack(STREAM, group, *(entry_id for entry_id, _ in entries))
            seen += len(entries)
        return seen

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class Target(PlainStore):
    """The store with what a gate needs besides: events by their number."""

    def event(self, number: int) -> dict[str, Any]:
        """A customer is created."""
        return {"id": f"c-{number}", "name": "Ada Lovelace", "email": "ada@example.org"}


def target(url: str) -> Target:
    """Open the store on a server for a gate."""
    return Target(redis.Redis.from_url(url, protocol=2))
