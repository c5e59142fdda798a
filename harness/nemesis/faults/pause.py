"""pause: a server takes no command for a while, nor the one that would end it; its end is waited for."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from harness.nemesis.kind import FaultKind


class Pause(Struct, frozen=True):
    """How long.

    Args:
        for_ns: as a plan has it; by hand it is said, or 5 s.
    """

    for_ns: Annotated[int, Meta(ge=0)] = 5_000_000_000


fault = FaultKind(
    name="pause",
    place=100,
    needs=("pause", "unpause"),
    options=Pause,
    inject=lambda can, options: can["pause"](options["for_ns"]),
    heal=lambda can: can["unpause"](),
    ends_by_itself=True,
    headline="{target} was paused",
    participle="paused",
    open_words="is paused",
)
