"""How tutorials subscribe, kept so that a report can set its losses beside ours; nothing else uses it.

`FromNowSubscriber` reads each stream from `$` and keeps no position: what is published while it is away, or while
it asks again, is never seen, and an effect that fails is logged and gone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import redis

from ordershop.entities import Topic
from ordershop.events import Action, Keys
from ordershop.server.url import Address
from ordershop.subscription.delivery import AwayError, Delivery, Effect, Stop, received
from ordershop.subscription.link import Link, pages_by_stream
from ordershop.wire import connect, is_unable

log = logging.getLogger(__name__)


class FromNowSubscriber:
    """Reads streams from their end, and forgets where it was.

    Args:
        url: the server's.
        keys: the names of the store's keys.
        sources: what to listen to, as (topic, action).
        block_ms: how long the server waits for new events.
    """

    def __init__(
        self, url: Address | str, keys: Keys, sources: Sequence[tuple[Topic, Action]], block_ms: int = 500
    ) -> None:
        self._link = Link(connect(url, timeout_s=5.0, block_s=block_ms / 1000))
        self._sources = {keys.stream(topic, action): (topic, action) for topic, action in sources}
        self._block_ms = block_ms

    def run(self, effect: Effect, stop: Stop) -> None:
        """Handle what is published while it listens, until `stop` is set."""
        positions: dict[str, bytes] = dict.fromkeys(self._sources, b"$")
        while not stop.is_set():
            asking = ("XREAD", "COUNT", 500, "BLOCK", self._block_ms)
            try:
                pages = self._link.call(self._pages, *asking, "STREAMS", *positions, *positions.values())
            except redis.RedisError as error:
                if not is_unable(error):
                    raise
                stop.wait(0.5)
                continue
            if not pages:
                positions = dict.fromkeys(self._sources, b"$")
            for stream, (last, deliveries) in pages.items():
                positions[stream] = last
                try:
                    effect(deliveries)
                except AwayError as error:
                    log.warning("from_now: %s; %d events are gone", error, len(deliveries))

    def _pages(self, reply: list[Any] | None) -> dict[str, tuple[bytes, list[Delivery]]]:
        """The last ID of each stream that has something, and what it has."""
        pages = {}
        for stream, entries in pages_by_stream(reply, self._sources).items():
            page = received(stream, *self._sources[stream], entries)
            pages[stream] = (page[-1].raw_id, [each for each in page if type(each) is Delivery])
        return pages
