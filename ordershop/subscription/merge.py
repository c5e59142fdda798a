"""Events of several streams in one order, as far as their pages make it certain.

IDs order events over all streams, but a reply brings at most a page of each stream. Each stream is known up to
some ID: behind a full page more may follow, behind a shorter one nothing did, up to the last ID that was seen
anywhere. Events are handled as far as every stream is known; the rest waits for the next read:

    created   1  3  4  5 | full page: known up to 5
    deleted   2  6  7      known up to 7, the last that was seen; 6 and 7 wait
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Mapping, Sequence
from itertools import chain

from ordershop.events import EventId
from ordershop.subscription.delivery import ID_OF, RAW_ID_OF, Received

NOTHING = EventId(0, 0)


class Merge:
    """Pages of several streams in, events in order of ID out, as far as the order is certain.

    Args:
        streams: their names.
        page: how many entries a full page has.
    """

    def __init__(self, streams: Sequence[str], page: int) -> None:
        self._page = page
        self._waiting: dict[str, list[Received]] = {stream: [] for stream in streams}
        self._known_to: dict[str, EventId] = dict.fromkeys(streams, NOTHING)
        self._last_seen = NOTHING

    @property
    def hungry(self) -> list[str]:
        """The streams of which little waits, so that more of them may be asked for.

        Pages of several streams end at about the same event, and leave a few of each behind. Were those waited
        for, every other read would ask one stream alone, and every other batch be one of a few events.
        """
        return [stream for stream, waiting in self._waiting.items() if 2 * len(waiting) < self._page]

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not any(self._waiting.values())

    def add(
        self, pages: Mapping[str, list[Received]], *, pending: Container[str] = (), waited: bool = False
    ) -> None:
        """Put what one read answered behind what waits.

        Args:
            pages: what came of each stream that was asked; empty where nothing came.
            pending: the streams of which pending events were asked for; new ones follow behind them.
            waited: whether the server may have waited. Older ones then answer the first stream that has
                something, and of the others nothing, though they may have something by then.
        """
        for stream, entries in pages.items():
            self._waiting[stream] = self._waiting[stream] + entries
            if entries:
                self._last_seen = max(self._last_seen, entries[-1].id)
        for stream, entries in pages.items():
            more_may_follow = stream in pending or len(entries) >= self._page or (waited and not entries)
            if not more_may_follow:
                self._known_to[stream] = self._last_seen
            elif entries:
                self._known_to[stream] = entries[-1].id
            # Else nothing was learnt: behind the last full page of pending events there are new ones at the most.

    def take(self) -> list[Received]:
        """The entries up to which the order is certain, in order."""
        safe = min(self._known_to.values())
        taken: list[list[Received]] = []
        for stream, waiting in self._waiting.items():
            if not waiting or waiting[0].id > safe:
                continue
            count = len(waiting) if waiting[-1].id <= safe else bisect_right(waiting, safe, key=ID_OF)
            taken.append(waiting[:count])
            self._waiting[stream] = waiting[count:]
        if len(taken) == 1:
            return taken[0]
        return sorted(chain.from_iterable(taken), key=ID_OF)

    def take_all(self) -> list[Received]:
        """All entries that wait, in order as far as they are known."""
        everything = sorted(chain.from_iterable(self._waiting.values()), key=ID_OF)
        for stream in self._waiting:
            self._waiting[stream] = []
        return everything

    def holds(self, stream: str) -> bool:
        """Whether anything of a stream waits."""
        return bool(self._waiting[stream])

    def raw_ids(self, stream: str) -> list[bytes]:
        """What waits of a stream, in order."""
        return [RAW_ID_OF(entry) for entry in self._waiting[stream]]

    def keep(self, stream: str, raw_ids: Container[bytes]) -> None:
        """Forget what waits of a stream, but for these."""
        self._waiting[stream] = [entry for entry in self._waiting[stream] if entry.raw_id in raw_ids]

    def clear(self) -> None:
        """Forget everything that waits, and how far the streams are known."""
        self._last_seen = NOTHING
        for stream in self._waiting:
            self._waiting[stream] = []
            self._known_to[stream] = NOTHING
