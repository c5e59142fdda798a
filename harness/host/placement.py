"""Which cores a run's processes may use: it decides more about a short latency than most code does.

    all      wherever the system puts them. At low rates it often lets a client and its server share a core, where
             they wake each other for little; sometimes not, and then each wakes an idle core
    one      all on one core: nobody is woken across cores; what would go on at the same time does not
    apart    the pump on a core of its own, all else on the others: nobody takes the pump's core, and each
             answer wakes a core that may be asleep

A plan is set before anything is started, so that whatever is started inherits it; the pump then takes its own. It
stands in the record, with the share of answers that came from the core that the pump was on, and runs of
different plans are not called alike.

The gate has `cores.on_core` for its rounds, each of which takes one core, drawn anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Literal, Protocol, get_args

Plan = Literal["all", "one", "apart"]
PLANS: tuple[Plan, ...] = get_args(Plan)

# From <asm-generic/socket.h>: the core on which the kernel handled what arrived last. On the loopback it is the
# sender's.
_SO_INCOMING_CPU = 49


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def placed(plan: Plan) -> Iterator[tuple[int, ...]]:
    """Carry out a plan for this thread and whatever it starts, and undo it afterwards.

    Answers the cores of the pump; none where they are those of all others, or where nobody may choose. With one
    core `apart` is `all`.
    """
    if plan == "all" or not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    before = os.sched_getaffinity(0)
    # The first core is the one that most interrupts go to.
    ours = sorted(before, reverse=True)
    pump: tuple[int, ...] = ()
    if plan == "one":
        os.sched_setaffinity(0, ours[:1])
    elif len(ours) > 1:
        pump = (ours[0],)
        os.sched_setaffinity(0, ours[1:])
    try:
        yield pump
    finally:
        os.sched_setaffinity(0, before)


class HasOptions(Protocol):
    """A socket, or what stands for one."""

    def getsockopt(self, level: int, option: int, /) -> int:
        """An option of the socket."""
        ...


class SameCore:
    """How often what arrives was sent from the core that its reader is on, as far as looked at.

    Attributes:
        looked: how often somebody looked.
        same: how often it was the same.
    """

    def __init__(self) -> None:
        self.looked = self.same = 0
        self._here = _core_asker()

    def look(self, connection: HasOptions) -> None:
        """Compare the core that sent last on a connection with the one that this thread is on."""
        if self._here is None:
            return
        try:
            sender = connection.getsockopt(socket.SOL_SOCKET, _SO_INCOMING_CPU)
        except OSError:
            return
        if sender >= 0:
            self.looked += 1
            self.same += sender == self._here()

    @property
    def share(self) -> float | None:
        """The share of looks at which it was the same core; None where nobody could look."""
        return self.same / self.looked if self.looked else None


def _core_asker() -> Callable[[], int] | None:
    """What answers the core that this thread is on, where the C library has that."""
    if sys.platform != "linux":
        return None
    try:
        asker: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
    except AttributeError:
        return None
    return asker
