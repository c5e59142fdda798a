"""What the terminal is told: lines of a command, warnings beside them, and how far a run is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from harness.host.clock import Clock, SystemClock

out = Console()
err = Console(stderr=True)
# Where progress is not shown on a terminal it is told so often.
TELL_EACH_NS = 5_000_000_000


def say(text: str, to: Console = out) -> None:
    """Print a text as it is: no markup, no colours, no line broken that was none."""
    to.print(text, markup=False, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Say something beside what a command prints."""
    say(text, err)


class Shown:
    """Progress on a terminal as bars; elsewhere a line for each scenario, and one every few seconds.

    Args:
        total: scenarios that there will be.
        clock: that says when a line is due.
        console: where it is shown.
    """

    def __init__(self, total: int, clock: Clock | None = None, console: Console = err) -> None:
        self._clock = clock or SystemClock()
        self._console = console
        self._told_ns = 0
        self._live = console.is_terminal
        self._total = total
        self._begun = 0
        self._progress = Progress(
            TextColumn("{task.fields[name]:<12}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not self._live,
        )
        self._last: Any = None

    def __enter__(self) -> Shown:
        self._progress.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and self._last is not None:
            self._progress.update(self._last, completed=1.0, description="")
        self._progress.stop()

    def begin(self, name: str) -> Callable[[float, str], None]:
        """Begin with a scenario, and answer what is to be told of its progress."""
        self._begun += 1
        if self._last is not None:
            self._progress.update(self._last, completed=1.0, description="")
        if not self._live:
            place = f"{self._begun} of {self._total}" if self._begun <= self._total else "measured once more"
            say(f"{name} ({place})", self._console)
        task = self._progress.add_task("", total=1.0, name=name)
        self._last = task
        self._told_ns = self._clock.now_ns()

        def update(share: float, doing: str) -> None:
            self._progress.update(task, completed=share, description=doing)
            if not self._live and self._clock.now_ns() - self._told_ns >= TELL_EACH_NS:
                self._told_ns = self._clock.now_ns()
                say(f"{name}: {share * 100:.0f} %{f', {doing}' if doing else ''}", self._console)

        return update
