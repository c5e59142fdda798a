"""Where each lost event stopped; each question is asked only of what the one before let through.

    acknowledged --> in the stream? --> delivered? --> acknowledged by the consumer? --> without_effect
                        | no               | no            | no
                        not_in_stream      never_delivered pending

A question without evidence ends the classing, and what is left is `unclassed`. A subscriber that has no group,
such as one that starts at `$`, leaves no position behind: of what it lost it can only be said whether it is in the
stream. An event that was trimmed counts as `not_in_stream`, also if it had been delivered before.
"""

from __future__ import annotations

import itertools

import msgspec
from pyroaring import AbstractBitMap

EXAMPLES = 10


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """The lost events that stopped at one place: how many, and the lowest of their sequence numbers."""

    count: int = 0
    examples: tuple[int, ...] = ()


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """The lost events by where they stopped; each of them is in one class.

    Attributes:
        not_in_stream: the acknowledged entry is no longer in the stream, or never was.
        never_delivered: in the stream, behind the group's last-delivered ID.
        pending: delivered, and not acknowledged by the consumer.
        without_effect: delivered and acknowledged by the consumer, and no effect was seen.
        unclassed: there is no evidence of where they stopped.
    """

    not_in_stream: Stopped = Stopped()
    never_delivered: Stopped = Stopped()
    pending: Stopped = Stopped()
    without_effect: Stopped = Stopped()
    unclassed: Stopped = Stopped()

    @property
    def counts(self) -> dict[str, int]:
        """How many stopped at each place, by the name of the class."""
        return {name: getattr(self, name).count for name in self.__struct_fields__}

    @property
    def waiting(self) -> dict[str, int]:
        """How many wait for a consumer, by where: these are stuck, where nothing moves any more."""
        return {"pending": self.pending.count, "never_delivered": self.never_delivered.count}


def classify_losses(
    lost: AbstractBitMap,
    *,
    in_stream: AbstractBitMap | None,
    delivered: AbstractBitMap | None,
    pending: AbstractBitMap | None,
) -> Losses:
    """Where each lost event stopped; the sets may hold other events too.

    Args:
        lost: acknowledged, without an effect.
        in_stream: whose entries are in the stream; None: the stream was not read.
        delivered: whose entries are not behind the group's last-delivered ID; None: no group.
        pending: whose entries were delivered and not acknowledged by the consumer; None: not known. They count as
            delivered, also if they were read after `delivered` was.
    """
    if in_stream is None:
        return Losses(unclassed=_stopped(lost))
    present = lost & in_stream
    not_in_stream = _stopped(lost - in_stream)
    if delivered is None:
        return Losses(not_in_stream=not_in_stream, unclassed=_stopped(present))
    if pending is None:
        handed_over = present & delivered
        parted = {"unclassed": _stopped(handed_over)}
    else:
        handed_over = present & (delivered | pending)
        parted = {"pending": _stopped(present & pending), "without_effect": _stopped(handed_over - pending)}
    return Losses(not_in_stream=not_in_stream, never_delivered=_stopped(present - handed_over), **parted)


def _stopped(sequences: AbstractBitMap) -> Stopped:
    return Stopped(count=len(sequences), examples=tuple(itertools.islice(sequences, EXAMPLES)))
