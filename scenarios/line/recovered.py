"""What became of the events that waited when a fault had healed: how soon they had had their effect.

    fault ----|healed                                  due    a    b  c | d
              |--- took ---|last of a, b, c           had                  b a   c     d waited for nothing

Where another fault begins before they have had it, it is not known how soon they would have: then that fault's
healing counts, for all that waited by then.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.arrays import Int64s
from harness.check.promises import Recovered
from harness.measure.timeline import FaultWindow

NEVER = -1


def first_effects_ns(seen: Int64s, applied: Sequence[tuple[int, int]], capacity: int) -> Int64s:
    """When each event had had its first effect, by number, shape (capacity,); `NEVER`: it had none that was timed.

    Args:
        seen: the event of each effect in the order in which they were seen, shape (k,).
        applied: (time, how many different events had had an effect by then), both rising.
        capacity: how many events there are at most.
    """
    had = np.full(capacity, NEVER, np.int64)
    events, first = np.unique(seen, return_index=True)
    events = events[np.argsort(first)]
    if applied:
        times, counts = np.array(applied, np.int64).T
        looks = np.searchsorted(counts, np.arange(events.size), "right")
        timed = looks < times.size
        had[events[timed]] = times[looks[timed]]
    return had


def recoveries(faults: Sequence[FaultWindow], *, due_ns: Int64s, had_ns: Int64s, until_ns: int) -> list[Recovered]:
    """What became, fault by fault, of the events that waited when it had healed, as far as each can be told.

    Args:
        faults: of a run.
        due_ns: when each event was due that should have an effect, shape (n,).
        had_ns: when each had had it; `NEVER`: it has not, shape (n,).
        until_ns: when nobody looked for effects any more.
    """
    found = []
    for fault in sorted(faults, key=lambda each: each.end_ns or 0):
        if fault.end_ns is None:
            continue
        healed_ns = fault.end_ns
        waits = (due_ns < healed_ns) & ((had_ns == NEVER) | (had_ns > healed_ns))
        had = had_ns[waits & (had_ns != NEVER)]
        without = int((had_ns[waits] == NEVER).sum())
        last_ns = until_ns if without else int(had.max(initial=healed_ns))
        if any(each.start_ns < last_ns and _ends_after(each, healed_ns) for each in faults if each is not fault):
            continue
        found.append(
            Recovered(
                fault=fault.name,
                target=fault.target,
                healed_ns=healed_ns,
                waiting=int(waits.sum()),
                without_effect=without,
                took_s=(int(had.max(initial=healed_ns)) - healed_ns) / 1e9,
                watched_s=(until_ns - healed_ns) / 1e9,
            )
        )
    return found


def _ends_after(fault: FaultWindow, t_ns: int) -> bool:
    return fault.end_ns is None or fault.end_ns > t_ns
