"""A trimmer goes over the streams again and again, while it is sampled how large they are.

Trimmed to a length, a stream loses what its group has not had, and nobody tells the group. So a round of that
policy looks, in the same step on the server, at what it takes (`trim_seen.lua`): these events are in the evidence,
as `trimmed_unread` and `trimmed_in_hand`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Literal

import redis
from msgspec import Struct

from harness.account.event_ids import sequences_of
from harness.account.ledger import set_of
from harness.account.losses import TRIMMED_IN_HAND, TRIMMED_UNREAD
from harness.conduct.scenario import ScenarioError
from harness.host.threads import at_work
from harness.measure.probes import Sample
from harness.record.sections import Sections
from harness.system.port import NotStartedError
from harness.system.port import Trimming as Trims
from ordershop.wire import is_unable
from scenarios.line.line import Line
from scenarios.trimmed import stream_sizes

Policy = Literal["acknowledged", "maxlen", "maxlen_exact", "none"]
SEEN_LUA = files("scenarios.operations").joinpath("trim_seen.lua").read_text(encoding="utf-8")
# Of one round and stream.
_MOST_TOLD = 10_000


class Trimming(Struct, frozen=True, kw_only=True):
    """How streams are trimmed.

    Attributes:
        policy: what is trimmed: what every group has acknowledged, all beyond about a length, all beyond exactly
            that, or nothing.
        every_s: from one round to the next.
        keep: how many events stay in each stream although they are acknowledged.
        maxlen: how many events stay in each stream, for the policies of that name.
    """

    policy: Policy
    every_s: float
    keep: int
    maxlen: int

    @property
    def is_to_a_length(self) -> bool:
        """Whether streams are trimmed to a length, whatever was handled."""
        return self.policy in {"maxlen", "maxlen_exact"}


class StreamSize:
    """Probes how many entries some streams hold, and the bytes that they take on the server.

    Args:
        client: of the server.
        streams: their names.
    """

    def __init__(self, client: Any, streams: list[str]) -> None:
        self._client = client
        self._streams = streams

    def read(self) -> list[Sample]:
        """`stream.length` and `stream.memory_bytes`, of all of them; nothing while the server is away."""
        found = stream_sizes(self._client, self._streams)
        if found is None:
            return []
        lengths, size = found
        return [
            Sample("stream.length", float(sum(lengths)), "events"),
            Sample("stream.memory_bytes", float(size), "bytes"),
        ]


class Trimmer:
    """Trims the streams that the consumer reads, again and again, in a thread.

    Args:
        chosen: how, and how often.
        line: whose streams these are.

    Raises:
        ScenarioError: its system does not know what is acknowledged.

    Attributes:
        removed: how many entries it has removed.
        rounds: how often it has been over all streams.
        longest_ns: the longest of these rounds.
        unread, in_hand: the event IDs of what was trimmed to a length before the group had read it, or while a
            consumer had it.
    """

    def __init__(self, chosen: Trimming, line: Line) -> None:
        self._chosen = chosen
        self._line = line
        self._clock = line.stage.clock
        if not isinstance(line.running, Trims):
            raise ScenarioError(f"of {line.system.name} nobody knows what may be trimmed")
        self._running = line.running
        self._stop = threading.Event()
        self._error = ""
        self.removed = 0
        self.rounds = 0
        self.longest_ns = 0
        self.unread: list[str] = []
        self.in_hand: list[str] = []

    def gather(self, sections: Sections) -> None:
        """Put what was trimmed before it was handled into the evidence, where streams are trimmed to a length."""
        if self._chosen.is_to_a_length:
            for name, event_ids in ((TRIMMED_UNREAD, self.unread), (TRIMMED_IN_HAND, self.in_hand)):
                sequences = sequences_of(self._line.producer, event_ids)
                sections.add_set(name, set_of(sequences[sequences >= 0]))

    @contextlib.contextmanager
    def trimming(self) -> Iterator[None]:
        """Trim, and sample how large the streams are; once more at the end."""
        line = self._line
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(contextlib.closing(line.server.client(timeout_s=5.0)))
            asking = stack.enter_context(contextlib.closing(line.server.client(timeout_s=0.5)))
            size = StreamSize(asking, line.streams.names)
            stack.enter_context(line.sampling([size]))
            stack.enter_context(at_work(lambda: self._work(client), self._stop, "trimmer"))
            yield

    def conclude(self) -> None:
        """Say what has gone wrong.

        Raises:
            ScenarioError: the server has refused to trim.
        """
        if self._error:
            raise ScenarioError(f"the streams could not be trimmed: {self._error}")

    def _work(self, client: Any) -> None:
        try:
            while not self._stop.wait(self._chosen.every_s):
                self._trim(client)
            self._trim(client)
        except (NotStartedError, redis.RedisError) as error:
            self._error = str(error)

    def _trim(self, client: Any) -> None:
        before_ns = self._clock.now_ns()
        try:
            self._go_over(client)
        except OSError:
            return  # the server is away, as somebody at the web UI may have it; the next round comes
        except redis.RedisError as error:
            if is_unable(error):
                return
            raise
        self.rounds += 1
        self.longest_ns = max(self.longest_ns, self._clock.now_ns() - before_ns)

    def _go_over(self, client: Any) -> None:
        if self._chosen.policy == "acknowledged":
            self.removed += self._running.trim(self._chosen.keep)
        elif self._chosen.is_to_a_length:
            for stream in self._line.streams.names:
                self._trim_to_length(client, stream)

    def _trim_to_length(self, client: Any, stream: str) -> None:
        system = self._line.system
        if not client.exists(stream):
            return
        how = "=" if self._chosen.policy == "maxlen_exact" else "~"
        arguments = [stream, system.group, how, self._chosen.maxlen, _MOST_TOLD]
        removed, unread, in_hand = client.register_script(SEEN_LUA)(args=arguments)
        self.removed += removed
        for told, entries in ((self.unread, unread), (self.in_hand, in_hand)):
            told += [system.event_id(dict(zip(flat[::2], flat[1::2], strict=True))) for _, flat in entries]
