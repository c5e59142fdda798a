"""An event store as small as can be, to show how one of your own is gated: a stream and a hash, through redis-py.

    shopbench gate --baseline main --target plain_store:target

is for a repository that this directory was copied to, to its top or to `src`. The target is part of the package
that it opens, so both sides of a gate bring their own, and it leaves nothing out of what can be measured.
`test_plain_store.py` beside it runs the contract that every target must keep.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import redis

STREAM = "events"
STATE = "state"
PAGE = 1_000


class PlainStore:
    """Events in one stream, each a JSON document; and the last one of each entity in a hash.

    Args:
        client: of a server.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def append(self, event: dict[str, Any]) -> bytes:
        """Append one event and answer its ID."""
        return self.append_many([event])[0]

    def append_many(self, events: Sequence[dict[str, Any]]) -> list[bytes]:
        """Append several in one round trip, all or none, and answer their IDs."""
        with self._client.pipeline() as pipeline:
            for event in events:
                document = json.dumps(event)
                pipeline.xadd(STREAM, {"event": document})
                pipeline.hset(STATE, event["id"], document)
            return pipeline.execute()[::2]

    def find(self, entity_id: str) -> dict[str, Any] | None:
        """What an entity is now, or None where there is none."""
        document: Any = self._client.hget(STATE, entity_id)
        return None if document is None else json.loads(document)

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
    """The store with what a gate needs besides: events and entities by their number."""

    def event(self, number: int) -> dict[str, Any]:
        """A customer is created."""
        return {"id": f"c-{number}", "name": "Ada Lovelace", "email": "ada@example.org"}

    def find_one(self, number: int) -> dict[str, Any] | None:
        """The customer that this event has created."""
        return self.find(f"c-{number}")


def target(url: str) -> Target:
    """Open the store on a server for a gate."""
    return Target(redis.Redis.from_url(url, protocol=2))
