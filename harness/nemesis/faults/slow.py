"""slow: a service that takes its time for each answer. It is healed by no delay."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from harness.nemesis.kind import FaultKind


class Slow(Struct, frozen=True):
    """How slow.

    Args:
        ms: that each answer takes.
    """

    ms: Annotated[float, Meta(ge=0, le=600_000)] = 500.0


fault = FaultKind(
    name="slow",
    place=80,
    needs=("slow",),
    options=Slow,
    ms_option="ms",
    inject=lambda can, options: can["slow"](options["ms"]),
    heal=lambda can: can["slow"](0.0),
    headline="{target} took {ms:g} ms for each request",
    participle="slow",
    open_words="is slow",
)
