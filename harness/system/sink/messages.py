"""What the harness tells the sink, and what it answers; one JSON line each."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Modes(msgspec.Struct, frozen=True, kw_only=True):
    """How the sink treats what is posted: all of it, so that telling it twice changes nothing.

    Attributes:
        slow_ms: how long each answer takes at least.
        refuse: the status of every answer; 0: it accepts.
        poison: the IDs that are never accepted.
    """

    slow_ms: Annotated[float, Meta(ge=0, le=600_000)] = 0.0
    refuse: Annotated[int, Meta(ge=0, le=599)] = 0
    poison: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if 0 < self.refuse < 400:
            raise ValueError(f"a refusal is a status from 400 to 599, or 0 to accept again, not {self.refuse}")


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What the sink has done since it was started.

    Attributes:
        attempts: that it has logged.
        in_hand: requests that it is taking its time for.
        rejected: requests that it could not read, which are not logged.
        last_rejection: what was wrong with the last of them; empty: there was none.
        is_full: the log has come to its bound, and nothing is accepted any more.
    """

    attempts: int = 0
    in_hand: int = 0
    rejected: int = 0
    last_rejection: str = ""
    is_full: bool = False
