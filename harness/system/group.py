"""A consumer group as faults need it: what is in hand, who has it, and the group set back.

    in_hand()        events that were delivered and not acknowledged, whoever has them
    set_back(n)      XGROUP SETID, n entries back on each stream

        entries     a  b  c  d  e  f            last delivered: f
        set_back(2)             |  e  f         last delivered: d; e and f are delivered once more

A consumer names itself, and somebody else's as it likes. So what is in hand is asked of the group; what one of
several consumers has is asked by its name, where the group knows that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from harness.nemesis.targets import Part

# A group that is moved, as a target.
NAME = "group"


class ConsumerGroup:
    """A group on some streams.

    Args:
        client: of the server; it answers bytes.
        streams: that the group reads.
        name: of the group.

    Attributes:
        set_back_to: what is delivered once more: the IDs of entries by stream, those of the last time.
    """

    def __init__(self, client: Any, streams: Sequence[str], name: str) -> None:
        self._client = client
        self._streams = list(streams)
        self._name = name
        self.set_back_to: dict[str, list[bytes]] = {}

    @property
    def target(self) -> Part:
        """The group, for faults."""
        return Part(NAME, {"set_back": self.set_back})

    def in_hand(self, consumer: str = "") -> int | None:
        """How many events have been delivered and not acknowledged; None where nobody can tell.

        Args:
            consumer: whose; empty: of all together.
        """
        try:
            counts = self.counts()
        except redis.RedisError:
            return None
        return counts.get(consumer) if consumer else sum(counts.values())

    def counts(self) -> dict[str, int]:
        """How many events each consumer that the group knows has in hand.

        Raises:
            redis.RedisError: the server does not answer, or there is no such group.
        """
        found: dict[str, int] = {}
        for stream in self._there():
            for each in self._client.xinfo_consumers(stream, self._name):
                name = each["name"].decode("utf-8", "replace")
                found[name] = found.get(name, 0) + int(each["pending"])
        return found

    def set_back(self, entries: int) -> dict[str, float]:
        """Set the group back on each stream, so that what was delivered last is delivered again.

        Args:
            entries: so many of each stream, or as many as there are.

        Returns:
            How many those are.

        Raises:
            redis.RedisError: the server does not do it.
        """
        self.set_back_to = {}
        for stream in self._there():
            groups = {group["name"]: group["last-delivered-id"] for group in self._client.xinfo_groups(stream)}
            last = groups.get(self._name.encode())
            if last is None:
                continue
            found = [entry[0] for entry in self._client.xrevrange(stream, last, "-", count=entries + 1)]
            self._client.xgroup_setid(stream, self._name, found.pop() if len(found) > entries else "0-0")
            self.set_back_to[stream] = found[::-1]
        return {"set_back": float(sum(map(len, self.set_back_to.values())))}

    def _there(self) -> list[str]:
        return [stream for stream in self._streams if self._client.exists(stream)]
