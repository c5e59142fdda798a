"""A search while it goes on: its bracket, and the curve of what has been seen, as they come.

    append at p99 <= 5 ms     24,000/s passes, 26,000/s fails     1 min 12 s of 3 min
      8,000/s   p50 120 µs   p99 1.24 ms   ━━━━━━━│        PASS
     16,000/s   p50 140 µs   p99 1.90 ms   ━━━━━━━━━│      PASS
     32,000/s   p50 310 ms   p99 1.20 s    ━━━━━━━━━━━━━━  FAIL   p99 is 1,200 ms; its budget is 5 ms: ...
    now 25,200/s for 10 s ...

On a terminal all of it, again and again; elsewhere a line for each probe when it is over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.capacity.budget import LatencyBudget, budgets_said, duration_said
from harness.capacity.judging import statistic_us
from harness.capacity.point import Point
from harness.capacity.probed import Probed, Progress
from harness.capacity.searched import Searched, outcome, probed_of, rate_said
from harness.cli.shown import err, say
from harness.host.clock import Clock

_BAR = 24
# A bar is of a logarithm: so many tens below its budget it begins, and it ends so many above.
_BELOW, _ABOVE = 1.5, 1.5
_STYLES = {"PASS": "green", "FAIL": "red", "UNKNOWN": "yellow"}


class Curve:
    """Shows a search while it is entered.

    Args:
        name: of the scenario.
        budgets: that have to be kept.
        limit_s: that the search may take.
        clock: says how much of that is over.
        console: where it is shown.
    """

    def __init__(
        self, name: str, budgets: Sequence[LatencyBudget], limit_s: float, clock: Clock, console: Console = err
    ) -> None:
        self._name, self._budgets, self._limit_s = name, list(budgets), limit_s
        self._clock, self._console = clock, console
        self._began_ns = clock.now_ns()
        self._searched: Searched | None = None
        self._progress: Progress | None = None
        self._doing, self._share = "", 0.0
        self._told = 0
        self._live = Live(
            get_renderable=self.drawn, console=console, refresh_per_second=2, transient=True, auto_refresh=True
        )

    def __enter__(self) -> Curve:
        if self._console.is_terminal:
            self._live.start()
        else:
            say(f"{self._name} at {budgets_said(self._budgets)}, for {self._limit_s:.0f} s", self._console)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, searched: Searched, progress: Progress) -> None:
        """Be told where the search stands: before each probe, and at the end."""
        self._searched, self._progress = searched, progress
        self._share = 0.0
        if self._console.is_terminal:
            return
        for point, probed in list(zip(searched.points, probed_of(searched), strict=True))[self._told :]:
            say(self._line(point, probed), self._console)
        self._told = len(searched.points)

    def probing(self, share: float, doing: str) -> None:
        """Be told how far a probe is."""
        self._share, self._doing = share, doing

    @property
    def _elapsed_s(self) -> float:
        return (self._clock.now_ns() - self._began_ns) / 1e9

    def _line(self, point: Point, probed: Probed) -> str:
        told = ", ".join(
            f"{each.statistic} {duration_said(_digits(seen_us))}"
            for each in self._budgets
            if (seen_us := statistic_us(point, each.statistic)[0]) is not None
        )
        why = f": {probed.why}" if probed.status != "PASS" else ""
        bracket = "" if self._searched is None else f"; {bracket_said(self._searched)}"
        at = f"{self._elapsed_s:.0f} s"
        return f"{at}: {rate_said(point.rate_per_s)}/s {probed.status} {told}{why}{bracket}"

    def drawn(self) -> Group:
        """All that is to be seen now."""
        searched, progress = self._searched, self._progress
        elapsed = f"{min(self._elapsed_s, self._limit_s):.0f} of {self._limit_s:.0f} s"
        head = f"{self._name} at {budgets_said(self._budgets)}"
        parts: list[Text | Table] = [Text(f"{head}   {bracket_said(searched)}   {elapsed}", style="bold")]
        if searched is not None and searched.points:
            parts.append(self._table(searched))
        if progress is not None and progress.next_per_s is not None:
            filled = round(self._share * _BAR)
            bar = "━" * filled + "╌" * (_BAR - filled)
            parts.append(Text(f"now {rate_said(progress.next_per_s)}/s for {progress.next_s or 0:.0f} s  {bar}"))
        return Group(*parts)

    def _table(self, searched: Searched) -> Table:
        table = Table(box=None, pad_edge=False, show_edge=False, expand=True)
        table.add_column("rate", justify="right", no_wrap=True, min_width=9)
        for budget in self._budgets:
            table.add_column(budget.statistic, justify="right", no_wrap=True, min_width=8)
        table.add_column("beside its budget", no_wrap=True, min_width=_BAR)
        table.add_column("", no_wrap=True, min_width=7)
        table.add_column("", overflow="ellipsis", no_wrap=True, ratio=1)
        both = zip(searched.points, probed_of(searched), strict=True)
        for point, probed in sorted(both, key=lambda each: each[0].rate_per_s):
            seen = [statistic_us(point, each.statistic)[0] for each in self._budgets]
            told = ["" if us is None else duration_said(_digits(us)) for us in seen]
            why = "" if probed.status == "PASS" else probed.why
            bar = _bar(self._budgets, seen)
            status = Text(probed.status, style=_STYLES[probed.status])
            table.add_row(f"{rate_said(point.rate_per_s)}/s", *told, bar, status, Text(why))
        return table


def bracket_said(searched: Searched | None) -> str:
    """What is known of a search so far, in words: as its sentence will say it."""
    found = None if searched is None else outcome(searched)
    if found is None or (found.passes is None and found.fails is None):
        return "nothing is known yet"
    passes = "nothing passes yet" if found.passes is None else f"{rate_said(found.passes)}/s passes"
    fails = "nothing fails yet" if found.fails is None else f"{rate_said(found.fails)}/s fails"
    return f"{passes}, {fails}"


def _digits(us: float) -> float:
    return float(f"{us:.3g}")


def _bar(budgets: Sequence[LatencyBudget], seen: Sequence[float | None]) -> str:
    """What was seen of the budget that is kept least, as a bar of its logarithm; where its budget is, a mark."""
    tens = [
        math.log10(max(us, 1e-3) / budget.limit_us)
        for budget, us in zip(budgets, seen, strict=True)
        if us is not None
    ]
    if not tens:
        return ""
    mark = round(_BAR * _BELOW / (_BELOW + _ABOVE))
    share = (max(tens) + _BELOW) / (_BELOW + _ABOVE)
    length = max(1, min(_BAR, round(share * _BAR)))
    cells = ["━" if at < length else " " for at in range(_BAR)]
    cells[mark] = "╋" if length > mark else "│"
    return "".join(cells).rstrip()
