"""refuse: a service answers each request that it cannot do it now. It is healed by accepting again."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from harness.nemesis.kind import FaultKind


class Refuse(Struct, frozen=True):
    """With what.

    Args:
        status: of the answer, in HTTP.
    """

    status: Annotated[int, Meta(ge=400, le=599)] = 503


fault = FaultKind(
    name="refuse",
    place=85,
    needs=("refuse",),
    options=Refuse,
    inject=lambda can, options: can["refuse"](options["status"]),
    heal=lambda can: can["refuse"](0),
    is_drawn=True,
    headline="{target} refused each request",
    participle="refusing",
    open_words="refuses",
    button="Let {target} refuse",
    meaning="it answers each request with 503",
)
