"""Where each lost event stopped; each question is asked only of what the one before let through.

    acknowledged --> in the stream? --> pending? --> XACK seen? --> a group? --> behind its position? --> how?
                       | no               | yes        | yes          | no         | no                    |
                       not_in_stream      pending      without_effect group_gone   never_delivered         |
         who trimmed it has seen: trimmed_unread  trimmed_in_hand                                          |
                                                                                                           |
              what the group was told says:  unkept  dropped_with_consumer  dropped_with_group  skipped_by_group
              it says nothing:               not_pending

A question without evidence ends the classing, and what is left is `unclassed`. A subscriber that has no group,
such as one that starts at `$`, leaves no position behind: of what it lost it can only be said whether it is in the
stream. An event that was trimmed counts as `not_in_stream`, also if it had been delivered before, unless who
trimmed it has looked: then it is known whether the group had read it.

That a consumer has acknowledged an event is said only where its XACK was seen, with the reply. A server keeps no
trace of it: what is not pending any more may have been acknowledged by anybody, dropped, or skipped.
"""

from __future__ import annotations

import itertools

import msgspec
from pyroaring import AbstractBitMap, FrozenBitMap

EXAMPLES = 10
_NONE = FrozenBitMap()
# The sections of the evidence with what was seen to be trimmed.
TRIMMED_UNREAD, TRIMMED_IN_HAND = "trimmed_unread", "trimmed_in_hand"


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """The lost events that stopped at one place: how many, and the lowest of their sequence numbers."""

    count: int = 0
    examples: tuple[int, ...] = ()


class Losses(msgspec.Struct, frozen=True, kw_only=True):
    """The lost events by where they stopped; each of them is in one class.

    Attributes:
        trimmed_unread: removed to keep the stream short, before the group had read it.
        trimmed_in_hand: removed likewise, while a consumer had it and had not acknowledged it.
        not_in_stream: the acknowledged entry is no longer in the stream, or never was.
        never_delivered: in the stream, behind the group's last-delivered ID.
        pending: delivered, and not acknowledged by the consumer.
        without_effect: an XACK of it was seen, and no effect.
        dropped_with_consumer: it was pending of a consumer that was deleted, which the server answered to.
        dropped_with_group: it was pending in a group that was destroyed.
        skipped_by_group: never handed out, as the group was made, or set, beyond it.
        unkept: it was read with NOACK, and so never pending.
        group_gone: its stream has no group at the end.
        not_pending: the group's position is beyond it, and it is not pending; nobody saw why.
        unclassed: there is no evidence of where they stopped, or what there is contradicts itself.
    """

    trimmed_unread: Stopped = Stopped()
    trimmed_in_hand: Stopped = Stopped()
    not_in_stream: Stopped = Stopped()
    never_delivered: Stopped = Stopped()
    pending: Stopped = Stopped()
    without_effect: Stopped = Stopped()
    dropped_with_consumer: Stopped = Stopped()
    dropped_with_group: Stopped = Stopped()
    skipped_by_group: Stopped = Stopped()
    unkept: Stopped = Stopped()
    group_gone: Stopped = Stopped()
    not_pending: Stopped = Stopped()
    unclassed: Stopped = Stopped()

    @property
    def counts(self) -> dict[str, int]:
        """How many stopped at each place, by the name of the class."""
        return {name: getattr(self, name).count for name in self.__struct_fields__}

    @property
    def waiting(self) -> dict[str, int]:
        """How many wait for a consumer, by where: these are stuck, where nothing moves any more."""
        return {"pending": self.pending.count, "never_delivered": self.never_delivered.count}


class Trimmed(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen to be trimmed before it was handled; where nobody looked, nothing.

    Attributes:
        unread: before the group had read it.
        in_hand: while a consumer had it.
    """

    unread: AbstractBitMap = _NONE
    in_hand: AbstractBitMap = _NONE


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of events by following the group's consumers; where nobody followed them, nothing.

    Attributes:
        handed: that a consumer got.
        acked: of which an XACK was answered as done.
        dropped_with_consumer, dropped_with_group, skipped_by_group, unkept: as `Losses` has them.
    """

    handed: AbstractBitMap = _NONE
    acked: AbstractBitMap = _NONE
    dropped_with_consumer: AbstractBitMap = _NONE
    dropped_with_group: AbstractBitMap = _NONE
    skipped_by_group: AbstractBitMap = _NONE
    unkept: AbstractBitMap = _NONE


def classify_losses(
    lost: AbstractBitMap,
    *,
    in_stream: AbstractBitMap | None,
    delivered: AbstractBitMap | None,
    pending: AbstractBitMap | None,
    groupless: AbstractBitMap = _NONE,
    seen: Seen | None = None,
    trimmed: Trimmed | None = None,
) -> Losses:
    """Where each lost event stopped; the sets may hold other events too.

    Args:
        lost: acknowledged, without an effect.
        in_stream: whose entries are in the stream; None: the stream was not read.
        delivered: whose entries are not behind the group's last-delivered ID; None: no group.
        pending: whose entries were delivered and not acknowledged by the consumer; None: not known. They count as
            delivered, also if they were read after `delivered` was.
        groupless: whose stream has no group, though one was to be there.
        seen: by following the consumers; None: nobody followed them.
        trimmed: what who trims has seen; None: nobody looked.
    """
    if in_stream is None:
        return Losses(unclassed=_stopped(lost))
    seen, trimmed = seen or Seen(), trimmed or Trimmed()
    classed: dict[str, AbstractBitMap] = {}

    def take(name: str, chosen: AbstractBitMap, left: AbstractBitMap) -> AbstractBitMap:
        classed[name] = left & chosen
        return left - chosen

    left = take("trimmed_unread", trimmed.unread - in_stream, lost)
    left = take("trimmed_in_hand", trimmed.in_hand - in_stream, left)
    left = take("not_in_stream", left - in_stream, left)
    if pending is not None:
        left = take("pending", pending, left)
    left = take("without_effect", seen.acked, left)
    left = take("group_gone", groupless, left)
    if delivered is None:
        return _losses({**classed, "unclassed": left})
    # What was seen to be handed out was delivered, whatever the group's position says now.
    left = take("never_delivered", left - delivered - seen.handed, left)
    contradictory, left = left - delivered, left & delivered
    for name in ("unkept", "dropped_with_consumer", "dropped_with_group", "skipped_by_group"):
        left = take(name, getattr(seen, name), left)
    if pending is not None:
        left = take("not_pending", left, left)
    return _losses({**classed, "unclassed": left | contradictory})


def _losses(classed: dict[str, AbstractBitMap]) -> Losses:
    return Losses(**{name: _stopped(events) for name, events in classed.items()})


def _stopped(sequences: AbstractBitMap) -> Stopped:
    return Stopped(count=len(sequences), examples=tuple(itertools.islice(sequences, EXAMPLES)))
