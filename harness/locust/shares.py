"""What the workers of one load have done, as one result; also where one of them fell silent.

A worker that is silent may have died, or be frozen or cut off while its pump goes on sending. So what is not known
of its share is UNKNOWN, and ends where the schedule was ended. It is a hole, which the record names and no verdict
passes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.load.pacing import Pacer
from harness.load.settings import PumpResult, added, together
from harness.locust.worker import Portion
from harness.measure import failures
from harness.measure.outcomes import NOT_DUE, UNKNOWN, Counts
from harness.measure.recorder import Interval, SlowOperation, merged

_SLOWEST = 100


class Share:
    """What the master knows of one worker's share of a load.

    Args:
        portion: which part of the load it is.

    Attributes:
        progress: how many were due, and what became of them, as far as was told.
        heard_ns: when the worker said something last, by the master's clock.
    """

    def __init__(self, portion: Portion) -> None:
        self.portion = portion
        self.is_ready = False
        self.failed = ""
        self.progress = Counts()
        self.intervals: list[Interval] = []
        self.result: PumpResult | None = None
        self.heard_ns = 0

    @property
    def measured(self) -> list[Interval]:
        """All intervals that have come."""
        return [*self.intervals, *(self.result.intervals if self.result else [])]


def numbers_of(portion: Portion, total: int, users: int | None) -> NDArray[np.int64]:
    """The numbers of a worker's arrivals: every n-th, or those of its users.

    Args:
        total: how many arrivals the load has.
        users: how many users there are, on all workers; None: arrivals are not of users.
    """
    if users is None:
        return np.arange(portion.index, total, portion.of)
    numbers = np.arange(total)
    seats = numbers % users
    mine: NDArray[np.int64] = numbers[(seats >= portion.first_user) & (seats < portion.first_user + portion.users)]
    return mine


def hole(
    share: Share, pacer: Pacer, numbers: NDArray[np.int64], until_ns: int, *, keep_outcomes: bool
) -> PumpResult:
    """What is left of a worker that fell silent: the counts that it had told; the rest is UNKNOWN.

    The rest is what was due of its share until the schedule ended, or was ended. None of it is DROPPED, also
    what was due after the silence began: where the worker is frozen or cut off, its pump goes on sending.

    Args:
        numbers: of the share's arrivals.
        until_ns: when the schedule ended, or was ended, from its origin.
    """
    due = int(np.searchsorted(_due_times(pacer, numbers), until_ns, "left"))
    told = share.progress
    # Without a schedule nothing more was due than was told of.
    arrivals = max(due, told.arrivals, told.ended)
    outcomes = None
    if keep_outcomes:
        # Which of them were answered is not known here: none can be called lost, and each may have happened.
        outcomes = np.full(numbers.size, NOT_DUE, np.uint8)
        outcomes[:arrivals] = UNKNOWN
    return PumpResult(
        arrivals=arrivals,
        ok=told.ok,
        failed=told.failed,
        unknown=arrivals - told.ok - told.failed - told.dropped,
        dropped=told.dropped,
        errors={},
        reconnects=0,
        intervals=[],
        slowest=[],
        outcomes=outcomes,
        cpu_share=0.0,
        wall_ns=max(1, until_ns),
        scheduled_ns=max(1, until_ns),
    )


def _due_times(pacer: Pacer, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    if not numbers.size:
        return np.zeros(0, np.int64)
    first, last = int(numbers[0]), int(numbers[-1])
    mine: NDArray[np.int64] = pacer.due_ns(first, last - first + 1)[numbers - first]
    return mine


def gathered(dealt: Iterable[tuple[Portion, NDArray[np.uint8] | None]], total: int) -> NDArray[np.uint8]:
    """The outcomes of all arrivals, by their numbers, from those of each worker."""
    outcomes = np.full(total, NOT_DUE, np.uint8)
    for portion, mine in dealt:
        if mine is not None:
            outcomes[portion.index :: portion.of][: mine.size] = mine
    return outcomes


def _counted(by_reason: Iterable[dict[str, int]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for errors in by_reason:
        for reason, count in errors.items():
            counts[reason] = counts.get(reason, 0) + count
    return counts


def _latest(moments: Iterable[float | None]) -> float | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _slowest(operations: Iterable[list[SlowOperation]]) -> list[SlowOperation]:
    return sorted(chain.from_iterable(operations), key=lambda each: -each.response_ns)[:_SLOWEST]


def _first(values: Sequence[Any]) -> Any:
    """The first that is told; where none is, what all say in its place."""
    return next(filter(None, values), values[0])


def _last_word(told: Iterable[dict[str, str]]) -> dict[str, str]:
    return {thing: state for each in told for thing, state in each.items()}


# How each field of a result comes from those of several. Outcomes and workers are put together by who they are of.
FOLDS: dict[str, Callable[[list[Any]], Any]] = {
    **dict.fromkeys(("arrivals", "ok", "failed", "unknown", "dropped"), sum),
    "errors": _counted,
    "reconnects": sum,
    "intervals": lambda intervals: merged(chain.from_iterable(intervals)),
    "slowest": _slowest,
    "outcomes": lambda _: None,
    "cpu_share": sum,
    "wall_ns": max,
    "scheduled_ns": max,
    "gc_pauses": sum,
    "gc_pause_max_ns": max,
    "workers": lambda _: [],
    "told": _last_word,
    "failures": lambda each: failures.together(chain.from_iterable(each)),
    "offered_in_s": added,
    "answered_in_s": added,
    "instrument": together,
    "silent_since_s": _latest,
    "away": _first,
    "floor": _first,
    "floor_error": _first,
}


def as_one(results: Sequence[PumpResult]) -> PumpResult:
    """Several results as one, but for outcomes and workers.

    Args:
        results: of parts of one load; 1 or more.
    """
    return PumpResult(**{name: fold([getattr(each, name) for each in results]) for name, fold in FOLDS.items()})
