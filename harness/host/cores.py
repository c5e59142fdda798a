"""One core for a comparison: everything that is measured takes turns on it.

A client that waits for its server, and the server for it, are at work one at a time. On two cores each of them
wakes the other up across cores, and how long that takes depends on which core it had gone to, on how deep an idle
core was asleep, and in a virtual machine on how soon the host wakes it: on a quiet machine that was half of an
append's time, and nearly all of its spread from round to round. None of it is the code's. On one core the next
process is simply switched to.

The price: work that two processes do at the same time is done one after the other. `--cores all` leaves them where
the system puts them. Which core it is differs from round to round, so that one with much else to do spoils some of
them only. Where a system lets nobody choose (macOS) all cores are used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from typing import Literal

import numpy as np
import psutil

Cores = Literal["one", "all"]


def core_of(cores: Cores, seed: int, number: int) -> int | None:
    """The core of a round, as its coin falls; None where it may use all of them.

    Args:
        cores: what was asked for.
        seed: of the coin.
        number: of the round.
    """
    if cores == "all" or not hasattr(os, "sched_getaffinity"):
        return None
    ours = sorted(os.sched_getaffinity(0))
    # Another draw than the one that decides which side is first: with the same, a side would always have its core.
    return ours[int(np.random.default_rng([seed, number, 1]).integers(len(ours)))]


@contextlib.contextmanager
def on_core(core: int | None, *processes: int | None) -> Iterator[None]:
    """Keep this thread, with what it starts, and processes with all their threads on one core.

    Afterwards the thread may use the cores that it could use before; the processes stay where they are.

    Args:
        core: which; None changes nothing.
        processes: their ids; None for one that is not ours.
    """
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    kept_on((core,), *processes)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def others_of(core: int | None) -> tuple[int, ...]:
    """The cores that are ours besides one; that one where there is no other, and none where nobody chooses."""
    if core is None:
        return ()
    return tuple(sorted(os.sched_getaffinity(0) - {core})) or (core,)


def kept_on(cores: Collection[int], *processes: int | None) -> None:
    """Keep processes with all their threads on some cores from now on.

    Args:
        cores: which; none changes nothing.
        processes: their ids; None for one that is not ours.
    """
    for process in filter(None, processes) if cores else ():
        # Of a process that has ended, whoever talks to it next finds out.
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            for thread in psutil.Process(process).threads():
                os.sched_setaffinity(thread.id, cores)
