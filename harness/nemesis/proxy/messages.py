"""What the harness and a proxy tell each other, one JSON line each: what becomes of bytes, and the counts."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Variant = Literal["reset", "half_open"]


class Pass(msgspec.Struct, frozen=True, tag="pass"):
    """Pass everything through unchanged."""


class Cut(msgspec.Struct, frozen=True, tag="cut"):
    """Cut the line: both sides are told (`reset`), or nobody is (`half_open`)."""

    variant: Variant = "reset"


class Delay(msgspec.Struct, frozen=True, tag="delay"):
    """Deliver later.

    Args:
        latency_ms: one way.
        jitter_ms: the latency of a chunk is drawn from latency ± jitter, all values alike.
        bytes_per_s: of each direction of each connection; None: as fast as it goes.
        seed: for the jitter.
    """

    latency_ms: Annotated[float, Meta(ge=0, le=600_000)] = 0.0
    jitter_ms: Annotated[float, Meta(ge=0)] = 0.0
    bytes_per_s: Annotated[float, Meta(ge=1)] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.jitter_ms > self.latency_ms:
            raise ValueError("a jitter that is more than the latency would deliver before it was sent")


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Change nothing and answer the counts."""


Mode = Pass | Cut | Delay
Message = Mode | Ask


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy has done so far.

    Attributes:
        port: where it listens.
        connections: accepted.
        connections_open: of those, on the client's side.
        connections_reset: by a cut, or by the healing of one.
        connections_failed: the server could not be reached, or had no room; the client was reset.
        bytes_to_server, bytes_to_client: handed on.
        bytes_lost: read and never handed on.
        untold: why it does not note any more what groups are told; empty: it does, or was not asked to.
    """

    port: int
    connections: int = 0
    connections_open: int = 0
    connections_reset: int = 0
    connections_failed: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    bytes_lost: int = 0
    untold: str = ""
