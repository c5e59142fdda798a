"""The effects of a line, followed while they are had."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from harness.account.ledger import Ledger, Noted
from harness.arrays import Int32s, Int64s

# How often it is asked for new effects, and for how long nobody may tell of any.
POLL_S = 0.02
AWAY_NS = 60_000_000_000


class Effects:
    """Follows the effects of the system under test, and notes each in the ledger.

    Whoever tells of effects may be away for a while. What tells how far the line is are first effects: one that
    comes again is no event more.

    Args:
        effects: tells of each but the first ones: `harness.system.port.Running.effects`.
        ledger: gets them.
        now_ns: the time.
        seen: told how many different events have had an effect so far, whenever that grows.

    Attributes:
        count: of all effects so far, repeated ones included.
        parts: the sequence number of each effect of this run's events as they were seen, a part for each look.
        lost_sight: why nobody looks any more; None: somebody does.
        nothing_new_ns: when the last look began that found nothing new; 0 before the first.
    """

    def __init__(
        self,
        effects: Callable[[int], Sequence[str]],
        ledger: Ledger,
        now_ns: Callable[[], int],
        seen: Callable[[int], None],
    ) -> None:
        self._effects = effects
        self._ledger = ledger
        self._now_ns = now_ns
        self._seen = seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="effects", daemon=True)
        self.parts: list[Int32s] = []
        self._noting = threading.Lock()
        self._applied = 0
        self.count = 0
        self.lost_sight: str | None = None
        self.nothing_new_ns = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def sequences(self) -> Int64s:
        """The sequence number of each effect of this run's events, in the order in which they were seen."""
        return np.concatenate(self.parts).astype(np.int64) if self.parts else np.zeros(0, np.int64)

    @property
    def own(self) -> int:
        """How many effects of this run's events there were so far, repeated ones included."""
        return self.count - self._ledger.foreign

    def noted(self) -> tuple[Noted, list[Int32s]]:
        """What the ledger has noted, and the effects in their order, as `parts`; both at one moment."""
        with self._noting:
            return self._ledger.noted(), list(self.parts)

    def _follow(self) -> None:
        answered_ns = self._now_ns()
        while not self._stop.is_set():
            try:
                # Until nothing new has come, without a pause: a backlog arrives in pages.
                asked_ns = self._now_ns()
                if not self.poll():
                    self.nothing_new_ns = asked_ns
                    self._stop.wait(POLL_S)
                answered_ns = self._now_ns()
            except OSError as error:
                if self._now_ns() - answered_ns > AWAY_NS:
                    self.lost_sight = f"nobody tells of effects any more: {error}"
                    return
                self._stop.wait(POLL_S)

    def poll(self) -> int:
        """Note the effects that were had since the last time, and answer how many those are.

        Raises:
            OSError: nobody can tell at the moment.
        """
        ids = self._effects(self.count)
        self.note(ids)
        return len(ids)

    def note(self, ids: Sequence[str]) -> None:
        """Note effects: the `event_id` of each, in the order in which they were seen."""
        if not ids:
            return
        with self._noting:
            self.parts.append(self._ledger.apply(ids).astype(np.int32))
        self.count += len(ids)
        applied = self._ledger.applied
        if applied > self._applied:
            self._applied = applied
            self._seen(applied)
