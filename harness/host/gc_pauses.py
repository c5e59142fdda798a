"""How often, and for how long, the interpreter collected garbage: all else stands still meanwhile."""

from __future__ import annotations

import gc
from types import TracebackType
from typing import Self

from harness.host.clock import Clock


class GcPauses:
    """Counts the interpreter's garbage collections while it is entered, and times them: all else stands still.

    Args:
        clock: that times them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun_ns = 0
        self.count = 0
        self.longest_ns = 0

    def __enter__(self) -> Self:
        gc.callbacks.append(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._begun_ns = self._clock.now_ns()
        else:
            self.count += 1
            self.longest_ns = max(self.longest_ns, self._clock.now_ns() - self._begun_ns)
