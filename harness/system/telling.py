"""What consumers at work can tell of themselves beside their effects; most systems need not tell any of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from msgspec import Struct

from harness.system.port import Running
from harness.system.promise import Promise


class Telling(Struct, frozen=True, kw_only=True):
    """What can be told at one moment.

    Attributes:
        promise: of consumers that somebody else has written: by it they are judged, and they may end and come
            back as they like; None: they are judged as OrderShop's are.
        attempts: at effects so far, by outcome: A had, D known before under its key and not had again, R refused
            for now, P refused for ever.
        poisoned: the `event_id` of each event that is refused for ever.
        sees_repeats: whether an effect that was had twice would be told twice; behind a unique key it is not.
        ready_s: how long they took at first to get ready; about as long takes one that comes back.
        facts: the files in which consumers may say what they have done (`harness.account.facts`).
    """

    promise: Promise | None = None
    attempts: Mapping[str, int] = {}
    poisoned: Sequence[str] = ()
    sees_repeats: bool = True
    ready_s: float = 0.0
    facts: Sequence[Path] = ()


@runtime_checkable
class Tells(Protocol):
    """Consumers at work that can tell more than `Running` does."""

    def telling(self) -> Telling:
        """What can be told at this moment; it is asked twice a second while a line drains."""
        ...


def telling_of(running: Running) -> Telling:
    """What consumers at work can tell of themselves; of those that cannot, nothing."""
    return running.telling() if isinstance(running, Tells) else Telling()
