"""When bytes arrive that are sent now: pure, but for the numbers that it draws.

A `Wire` says when bytes arrive; it is pure. Each direction of each connection has one, with a generator of its
own that follows from the seed, so that the jitter of one connection does not depend on the traffic of another.
TCP keeps bytes in order, and so does a wire: a chunk that has drawn little jitter still waits for the one before.
A wire holds what is in flight and a tenth of a second of its line, at most 4 MiB; then its sender has to wait.
"""

from __future__ import annotations

import random

from harness.nemesis.proxy.messages import Delay

CHUNK_BYTES = 65_536
_WIRE_HOLDS_BYTES = 4 << 20
_LINE_HOLDS_S = 0.1
# Behind a narrow line a chunk is what passes in 5 ms, so that bytes arrive evenly and not in lumps.
_CHUNKS_PER_S = 200


class Wire:
    """When bytes that are sent now arrive, in one direction of one connection.

    Args:
        delay: of this wire; None: it delivers at once.
        key: of this wire among those of the same seed.

    A chunk first passes the line, which takes its size over `bytes_per_s` and one chunk at a time; then it travels
    for its latency; and it never arrives before the one that was sent before it.
    """

    def __init__(self, delay: Delay | None, key: str) -> None:
        self._delay = delay
        self._random = random.Random(f"{delay.seed}/{key}" if delay else key)  # noqa: S311 - jitter, no secret
        self._line_free_ns = 0
        self._last_arrival_ns = 0

    def arrival_ns(self, now_ns: int, size_bytes: int) -> int:
        """When a chunk arrives that is sent now."""
        delay = self._delay
        if delay is None:
            return now_ns
        passed_ns = now_ns
        if delay.bytes_per_s is not None:
            passed_ns = max(now_ns, self._line_free_ns) + round(size_bytes / delay.bytes_per_s * 1e9)
            self._line_free_ns = passed_ns
        latency_ms = self._random.uniform(delay.latency_ms - delay.jitter_ms, delay.latency_ms + delay.jitter_ms)
        self._last_arrival_ns = max(self._last_arrival_ns, passed_ns + round(latency_ms * 1e6))
        return self._last_arrival_ns

    @property
    def chunk_bytes(self) -> int:
        """How much to send at once."""
        if self._delay is None or self._delay.bytes_per_s is None:
            return CHUNK_BYTES
        return max(1, min(CHUNK_BYTES, int(self._delay.bytes_per_s / _CHUNKS_PER_S)))

    @property
    def holds_bytes(self) -> float:
        """How much may be on its way before its sender has to wait: bandwidth times delay, and a bit."""
        delay = self._delay
        if delay is None:
            return 1
        if delay.bytes_per_s is None:
            return _WIRE_HOLDS_BYTES
        travels_s = (delay.latency_ms + delay.jitter_ms) / 1e3
        return min(_WIRE_HOLDS_BYTES, delay.bytes_per_s * (travels_s + _LINE_HOLDS_S))
