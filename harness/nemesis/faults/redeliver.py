"""redeliver: the group is set back by some entries on each stream, so that they are delivered once more.

XGROUP SETID does what a restored backup, a group made anew or an operator does, and what a lucky kill does: events
that have had their effect come again. It needs no luck, and nothing is away, so there is nothing to heal. It tests
what a consumer does with an event that it has had before. It does not test claiming: nothing of what comes again
is pending for anybody.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from harness.nemesis.kind import FaultKind


class Redeliver(Struct, frozen=True):
    """How much.

    Args:
        entries: of each stream.
    """

    entries: Annotated[int, Meta(ge=1, le=1_000_000)] = 50


fault = FaultKind(
    name="redeliver",
    place=95,
    needs=("set_back",),
    options=Redeliver,
    inject=lambda can, options: can["set_back"](options["entries"]),
    heal=lambda _: None,
    is_healed=False,
    load="is_over",
    headline="The group was set back when all had drained",
    participle="set back",
)
