"""How the drain of a line ends: everything was handled, nothing moves any more, or the time is up.

    drained    nothing waits, and no other effect has come for a while
    still      something waits, and nothing has moved for three claim times and two seconds, and twice the time
               that consumers took to get ready at first: nobody will handle it. This closes the account: what
               waits is stuck, and that is a finding, not a lack of one
    time_up    things still move when the time is up: of what waits nobody knows what will become of it

What moves is seen from outside, in looks at what effects and groups say:

    effects    that were had, repeated ones included; and attempts at one that were refused
    groups     the ID that was delivered last, how many entries were read, how many are pending and whose they
               are, and who has the oldest of those, delivered for how many times

Three claim times, since whoever claims may look but once in a claim time, and then needs another for what it
finds; two seconds, for what is on its way; and the time to get ready, since one that comes back at the end of a
fault is only starting. The time that a drain may take does not cut this short: where nothing
has moved of late when it is up, the line is watched until it is still, or something moves.

    load | drain ....... moved |--- nothing moves ---|still
                      time is up ^

What is refused for ever does not count as a movement, however often it is tried: whoever tries it again and again
is busy, and gets nowhere.
"""

from __future__ import annotations

from msgspec import Struct

from harness.check.checkers import Ending

CLAIM_TIMES = 3
ON_ITS_WAY_NS = 2_000_000_000


def still_after_ns(claim_after_ms: int, ready_s: float = 0.0) -> int:
    """For how long nothing may move before a line is still.

    Args:
        claim_after_ms: after which a consumer takes what another has had in hand.
        ready_s: how long consumers took to get ready at first. One that comes back may take as long, and longer
            on a machine that has more to do then: so it is given twice that.
    """
    return CLAIM_TIMES * claim_after_ms * 1_000_000 + ON_ITS_WAY_NS + 2 * round(ready_s * 1e9)


class Held(Struct, frozen=True):
    """An entry that is pending: its ID, whose it is, and how often it was delivered."""

    entry: str
    owner: str
    deliveries: int


class GroupLook(Struct, frozen=True, kw_only=True):
    """What one look has seen of the group of the consumers on one stream.

    Attributes:
        last_delivered: the ID of the entry that was delivered last; None: there is no group on it.
        entries_read: by the group; None: the server does not say.
        pending: how many entries each consumer has, and has not acknowledged, by its name.
        oldest: of these, a few.
    """

    last_delivered: str | None = None
    entries_read: int | None = None
    pending: tuple[tuple[str, int], ...] = ()
    oldest: tuple[Held, ...] = ()


class Look(Struct, frozen=True, kw_only=True):
    """What one look has seen of all that can move.

    Attributes:
        effects: that were had so far, repeated ones included.
        attempts: at effects so far, but for those at one that is refused for ever.
        groups: stream by stream.
    """

    effects: int = 0
    attempts: int = 0
    groups: tuple[GroupLook, ...] = ()


class Watched(Struct, frozen=True, kw_only=True):
    """What looks at a line have shown so far.

    Attributes:
        look: the last one.
        at_ns: when it was.
        moved_ns: when a look was first like it, and all after that were.
        had_ns: when a look first had so many effects as it.
    """

    look: Look
    at_ns: int
    moved_ns: int
    had_ns: int

    @property
    def still_ns(self) -> int:
        """For how long nothing has moved."""
        return self.at_ns - self.moved_ns

    def then(self, look: Look, at_ns: int) -> Watched:
        """What is known after one more look.

        Args:
            at_ns: when it was.
        """
        return Watched(
            look=look,
            at_ns=at_ns,
            moved_ns=self.moved_ns if look == self.look else at_ns,
            had_ns=self.had_ns if look.effects == self.look.effects else at_ns,
        )

    @staticmethod
    def first(look: Look, at_ns: int) -> Watched:
        """What is known after the first look.

        Args:
            at_ns: when it was.
        """
        return Watched(look=look, at_ns=at_ns, moved_ns=at_ns, had_ns=at_ns)


def ending(watched: Watched, *, is_drained: bool, after_ns: int, deadline_ns: int) -> Ending | None:
    """How a drain has ended; None: it goes on.

    Args:
        watched: up to now.
        is_drained: whether nothing waits any more.
        after_ns: for how long nothing may move.
        deadline_ns: when the time is up for what still moves.
    """
    if is_drained:
        return "drained"
    if watched.still_ns >= after_ns:
        return "still"
    # What has moved since then moves; what has not may be still, and is watched until that is known.
    return "time_up" if watched.moved_ns >= deadline_ns else None
