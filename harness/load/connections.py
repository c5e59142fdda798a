"""The connections of a pump: which are open, which have something to write, which are away and dialled again."""

from __future__ import annotations

import selectors
from collections.abc import Iterator

from harness.load.lane import Lane, read_buffer
from harness.load.settings import PumpSettings
from harness.measure.arrival_dates import ArrivalDates

# Of ten thousand each is looked at ten times a second.
_TENDED_AT_ONCE = 256


class Connections:
    """The lanes of a pump, and what is known of each besides what it carries.

    Args:
        settings: of the pump.
        dates: tells when replies arrived.

    Attributes:
        lanes: all of them.
        selector: of those that are open; nobody else registers with it.
        blocked: those that have something to write that the kernel did not take.
        away: those without a connection.
    """

    def __init__(self, settings: PumpSettings, dates: ArrivalDates) -> None:
        buffer = read_buffer()
        self.lanes = [Lane(settings.url, dates, buffer, settings.scripts) for _ in range(settings.connections)]
        self.selector = selectors.DefaultSelector()
        self.blocked: set[Lane] = set()
        self.away: set[Lane] = set()
        self._tended = 0

    def connect(self) -> None:
        """Open all of them.

        Raises:
            OSError, DialError: as `open_socket`.
        """
        for lane in self.lanes:
            lane.connect()
            self._look_at(lane)

    def _look_at(self, lane: Lane) -> None:
        if lane.socket is not None:
            self.selector.register(lane.socket, selectors.EVENT_READ, lane)

    def watch(self, lane: Lane) -> None:
        """Be told when the kernel takes more, while something waits to be written."""
        if lane.socket is not None and bool(lane.out) != (lane in self.blocked):
            if lane.out:
                self.blocked.add(lane)
            else:
                self.blocked.discard(lane)
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if lane.out else 0)
            self.selector.modify(lane.socket, wanted, lane)

    def leave(self, lane: Lane) -> None:
        """Close one; from now on it is away."""
        if lane.socket is not None:
            self.selector.unregister(lane.socket)
        lane.close()
        self.blocked.discard(lane)
        self.away.add(lane)

    def back(self, now_ns: int) -> Iterator[Lane]:
        """Go on with the reconnection of those that are away; those that have a connection again."""
        for lane in [*self.away]:
            if lane.reconnect(now_ns):
                self.away.discard(lane)
                self._look_at(lane)
                yield lane

    def silent(self, now_ns: int, timeout_ns: int) -> Iterator[Lane]:
        """Those that have owed a reply for too long, of some lanes by turns.

        To look at thousands of them takes longer than a reply does.
        """
        first, after = self._tended, self._tended + _TENDED_AT_ONCE
        self._tended = after if after < len(self.lanes) else 0
        for lane in self.lanes[first:after]:
            # From its first byte on: what has waited for a server that was away gets its full time, too.
            begun_ns = lane.in_flight[0].begun_ns if lane.in_flight else None
            if begun_ns is not None and now_ns - begun_ns > timeout_ns:
                yield lane

    def last_words(self) -> str:
        """What a server has said that one could not connect to at last; empty if nothing."""
        return next((lane.refusal for lane in self.away if lane.refusal), "")

    def close(self) -> None:
        """Wait for connections that are being made, and close what is left."""
        for lane in self.lanes:
            lane.stop_connecting()
        self.selector.close()
