"""Whether consumers are ready, seen from outside: each stream has the group, and an event of it had its effect.

    ready-<producer>-0    the first stream's    appended when the group is there, or when nobody has made it after
    ready-<producer>-1    the second stream's   5 s: some consumers wait for a stream before they make one
    ready-<producer>-2    the first's again     where the one before has had no effect for 5 s: a group that was
                                                made at `$` after it never gets it

These events are in the streams, and are nobody's account: their IDs are of no producer. What is told of a consumer
that does not get ready is what was seen: no group, no effect, effects of what nobody sent, exits.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import redis

from harness.host.clock import Clock
from harness.server.server import Server
from harness.system.port import NotStartedError
from harness.system.shape import Shape

AGAIN_NS = 5_000_000_000
POLL_NS = 20_000_000
# Where effects cannot be told of for so long, each look having failed, they will not be later.
BLIND_NS = 15_000_000_000
# A consumer that has ended so often before it was ready will not be.
MOST_EXITS = 3
_ENTRY_ID = re.compile(r"\d{1,20}-\d{1,20}")


def ready_prefix(producer: int) -> str:
    """How the IDs of the events begin that are appended to see whether consumers are ready."""
    return f"ready-{producer:x}-"


class Readiness:
    """Appends the events that tell whether consumers are ready, and looks for their effects.

    Args:
        server: that holds the streams.
        streams: their names.
        group: that the consumers are to make.
        shape: of the events.
        producer: whose load will come.

    Attributes:
        strange: an effect of an event that nobody has sent; empty: there was none.
    """

    def __init__(self, server: Server, streams: Sequence[str], group: str, shape: Shape, producer: int) -> None:
        self._server = server
        self._streams = list(streams)
        self._group = group
        self._shape = shape
        self._prefix = ready_prefix(producer)
        self._sent: dict[str, str] = {}
        self._waiting = set(self._streams)
        self._seen = 0
        self._blind = ""
        self._blind_since_ns = -1
        self.strange = ""

    def wait(
        self,
        clock: Clock,
        effects: Callable[[int], Sequence[str]],
        refuse_ended: Callable[[], None],
        *,
        within_s: float,
    ) -> None:
        """Wait until they are ready.

        Args:
            clock: for the time.
            effects: all effects but the first ones, those of these events included.
            refuse_ended: raises NotStartedError where consumers have ended, and would not get ready.
            within_s: how long it may take.

        Raises:
            NotStartedError: it takes longer, or nobody can tell of effects.
        """
        begun_ns = asked_ns = clock.now_ns()
        has_groups = False
        with contextlib.closing(self._server.client(timeout_s=5.0)) as client:
            while self._waiting:
                refuse_ended()
                now_ns = clock.now_ns()
                if now_ns - begun_ns > within_s * 1e9:
                    raise NotStartedError(
                        f"{self._lacking(client)} within {within_s:g} s{self._told_of_effects()}"
                    )
                if not has_groups and not self._without_group(client):
                    has_groups, asked_ns = True, now_ns - AGAIN_NS
                if now_ns - asked_ns >= AGAIN_NS:
                    asked_ns = now_ns
                    self._send(client)
                self._look(effects)
                self._refuse_blind(now_ns)
                if self._waiting:
                    clock.sleep_ns(POLL_NS)

    def _without_group(self, client: Any) -> list[str]:
        return [stream for stream in self._streams if not self._has_group(client, stream)]

    def _has_group(self, client: Any, stream: str) -> bool:
        try:
            groups = client.xinfo_groups(stream)
        except redis.ResponseError:
            return False  # there is no such stream
        except redis.RedisError as error:
            raise NotStartedError(f"{self._server.url}: {error}") from error
        return any(each["name"] == self._group.encode() for each in groups)

    def _send(self, client: Any) -> None:
        """Append one more event to each stream of which none has had its effect."""
        for stream in self._streams:
            if stream in self._waiting:
                event_id = f"{self._prefix}{len(self._sent)}"
                self._sent[event_id] = stream
                client.execute_command("XADD", stream, "*", *self._shape.entry(event_id, event_id))

    def _look(self, effects: Callable[[int], Sequence[str]]) -> None:
        try:
            found = effects(self._seen)
        except OSError as error:
            self._blind = f"; nobody can tell of effects: {error}"
            return
        self._blind = ""
        self._seen += len(found)
        for event_id in found:
            if event_id in self._sent:
                self._waiting.discard(self._sent[event_id])
            elif not self.strange:
                self.strange = event_id

    def _refuse_blind(self, now_ns: int) -> None:
        """Refuse what has failed at each look for so long; a consumer that gets ready late is waited for."""
        if not self._blind:
            self._blind_since_ns = -1
        elif self._blind_since_ns < 0:
            self._blind_since_ns = now_ns
        elif self._sent and now_ns - self._blind_since_ns >= BLIND_NS:
            raise NotStartedError(f"its groups are there{self._blind}, for {BLIND_NS / 1e9:g} s")

    def _lacking(self, client: Any) -> str:
        if lacking := self._without_group(client):
            return f"it has not made the group {self._group} on {' and '.join(lacking)}"
        without = " and ".join(stream for stream in self._streams if stream in self._waiting)
        return f"it has had no effect for an event of {without}"

    def _told_of_effects(self) -> str:
        said = f"; it had an effect for {self.strange[:60]!r}, which nobody has sent" if self.strange else ""
        if _ENTRY_ID.fullmatch(self.strange):
            said += ": that is the ID of an entry; post the event's, by default its field event_id"
        return f"{said}{self._blind}"
