"""The load that a fault wants, and when it is done: most are done under a load that goes on; a few want another.

goes_on     ____________________    the fault from before_s on, for outage_s
ends        ______                  the fault as the last event was due; nothing comes any more
by_stream   ______1111    2222      while it lasts the first stream gets events, afterwards only the others; the
                                    pause is for the consumer, which starts meanwhile
is_over     ____________________ *  when all has drained, the fault
"""

from __future__ import annotations

from msgspec import Struct

from harness.load.pacing import Pacer, Silence, Steps, constant
from harness.nemesis.kind import FaultKind

# After a restart until news come, at the most; half of what comes after the outage at the most.
PAUSE_S = 3.0


class Staged(Struct, frozen=True, kw_only=True):
    """The load of an outage.

    Attributes:
        pacer: its schedule.
        by_stream: the first event that is for the first stream only, and the first that is for the others only.
        outlasts: whether the fault goes on when the load is over.
    """

    pacer: Pacer
    by_stream: tuple[int, int] | None = None
    outlasts: bool = False


def staged(
    kind: FaultKind, rate_per_s: float, before_s: float, outage_s: float, after_s: float, *, an_entity: int = 1
) -> Staged:
    """The load that a kind of fault wants.

    Args:
        kind: of the fault.
        rate_per_s: of the load, as long as it lasts.
        before_s: of load before the fault.
        outage_s: that it lasts.
        after_s: of load after it.
        an_entity: so many events are about one entity; each part of a load by streams has whole ones.
    """
    if kind.load == "ends":
        return Staged(pacer=constant(rate_per_s, before_s), outlasts=True)
    if kind.load == "by_stream":
        pause_s = min(PAUSE_S, after_s / 2)
        before, one, news = (
            _whole(rate_per_s, seconds, an_entity) for seconds in (before_s, outage_s, after_s - pause_s)
        )
        return Staged(
            pacer=Steps([before, one, Silence(pause_s), news]),
            by_stream=(before.total, before.total + one.total),
        )
    return Staged(pacer=constant(rate_per_s, before_s + outage_s + after_s))


def _whole(rate_per_s: float, duration_s: float, an_entity: int) -> Pacer:
    """About this rate, so that the events of all entities are within the time."""
    count = max(1, round(rate_per_s * duration_s / an_entity)) * an_entity
    return constant(count / duration_s, duration_s)
