"""What can be seen of a run while it lasts, as it stands.

    findings  --absorb-->            --snapshot(since)-->  what is new since then (harness/locust/snapshot.py)
    intervals --absorb-->    View

A `View` follows one run. Whoever looks at it asks with the cursor that the answer before has given, and gets what
has been added since; what changes as a whole (the percentiles of the run so far, the account) comes each time.

The process that is asked also answers heartbeats and steers the load. So an answer costs a bounded amount of
work, however long the run and the pause since the last question: what is too much for one is left for the next,
and the answer says `more`.

Rejected: pushing events to the page. A page that is hidden, slow or closed would have to be noticed here.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harness.conduct.findings import Findings
from harness.locust.snapshot import (
    Button,
    Cursor,
    Moment,
    Percentiles,
    Progress,
    Series,
    Snapshot,
    Window,
    buttons_of,
    percentiles,
    standing,
    thinned,
)
from harness.measure.histogram import Histogram, SparseHistogram
from harness.measure.recorder import KINDS, Interval
from harness.measure.timeline import FaultWindow, Mark, Reading
from harness.nemesis.faults import fault_kinds

# Of all readings; the server's and the host's are for the report.
SHOWN = "lag."
# For one answer.
MOST_ENTRIES = 2_000
MOST_INTERVALS = 200
MOST_SECONDS = 60


class Measured(NamedTuple):
    """What one worker has measured of one load.

    Args:
        key: of load and worker.
        origin_ns: of the load, from which its intervals count.
        intervals: as they came; there are only ever more of them.
    """

    key: tuple[int, str]
    origin_ns: int
    intervals: Sequence[Interval]


class _Line:
    """The readings of one name and group."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.entry: list[int] = []
        self.t_s: list[float] = []
        self.values: list[float | None] = []

    def add(self, entry: int, reading: Reading) -> None:
        self.entry.append(entry)
        self.t_s.append(round(reading.t_ns / 1e9, 3))
        self.values.append(reading.value)

    def since(self, entry: int) -> tuple[list[float], list[float | None]]:
        first = bisect.bisect_left(self.entry, entry)
        return thinned(self.t_s[first:], self.values[first:])


class _Second:
    """One second's latencies of one kind; each change has a number, and the row is made when it is asked for."""

    def __init__(self) -> None:
        self.parts: list[SparseHistogram] = []
        self.change = 0
        self.row: Percentiles | None = None

    def add(self, part: SparseHistogram, change: int) -> None:
        self.parts.append(part)
        self.change = change
        self.row = None

    def histogram(self) -> Histogram:
        # No longer than the largest value needs: most of a whole one would be zeros, and summed up all the same.
        longest = max((int(part.index[-1]) + 1 for part in self.parts if part.index.size), default=1)
        whole = Histogram(np.zeros(longest, np.int64))
        for part in self.parts:
            part.add_to(whole)
        return whole


class View:
    """Follows one run.

    Args:
        findings: of the run.
        number: of the run, other than that of any before it; below 1e9.
    """

    def __init__(self, findings: Findings, number: int) -> None:
        self.findings = findings
        self.number = number
        self._entries = 0
        self._changes = 0
        self._is_behind = False
        self._origin_ns: int | None = None
        self._lines: dict[tuple[str, str], _Line] = {}
        self._faults: list[Window] = []
        self._marks: list[Moment] = []
        self._buttons: list[Button] = []
        self._taken: dict[tuple[int, str], int] = {}
        self._seconds: dict[tuple[str, str, float], _Second] = {}
        self._totals: dict[tuple[str, str], Histogram] = {}
        self._rows: dict[tuple[str, str], Percentiles] = {}

    def absorb(self, measured: Sequence[Measured]) -> None:
        """Take what has been found and measured since the last time, as far as it is not too much at once."""
        entries = self.findings.history.entries[self._entries : self._entries + MOST_ENTRIES]
        for at, entry in enumerate(entries, self._entries):
            if isinstance(entry, Reading):
                if not entry.name.startswith(SHOWN):
                    continue
                key = (entry.name, entry.labels.get("group", ""))
                line = self._lines.get(key)
                if line is None:
                    line = self._lines[key] = _Line(entry.unit)
                line.add(at, entry)
            elif isinstance(entry, FaultWindow):
                self._faults.append(_window(entry))
            elif isinstance(entry, Mark):
                self._marks.append(Moment(name=entry.name, t_s=entry.t_ns / 1e9))
        self._entries += len(entries)
        room = MOST_INTERVALS
        for part in measured:
            taken = self._taken.get(part.key, 0)
            fresh = part.intervals[taken : taken + room]
            for interval in fresh:
                self._add(part.origin_ns, interval)
            self._taken[part.key] = taken + len(fresh)
            room -= len(fresh)
        self._is_behind = any(self._taken[part.key] < len(part.intervals) for part in measured)

    def _add(self, load_origin_ns: int, interval: Interval) -> None:
        operation, _, kind = interval.tag.rpartition(".")
        if self._origin_ns is None:
            # A scenario of several loads without a common origin: the first one's is as good as any.
            self._origin_ns = self.findings.origin_ns or load_origin_ns
        t_s = round(interval.start_s + (load_origin_ns - self._origin_ns) / 1e9, 3)
        self._changes += 1
        self._seconds.setdefault((operation, kind, t_s), _Second()).add(interval.sparse, self._changes)
        total = self._totals.setdefault((operation, kind), Histogram())
        interval.sparse.add_to(total)
        self._rows.pop((operation, kind), None)

    def snapshot(self, since: Cursor, now_ns: int) -> Snapshot:
        """What there is to see, of series and seconds only what is new.

        Args:
            since: the cursor of the answer before.
            now_ns: of the clock by which the findings' origin is told.
        """
        is_whole = since.run != self.number or since.entries > self._entries or since.changes > self._changes
        if is_whole:
            since = Cursor(self.number)
        seconds, changes = self._changed_since(since.changes)
        findings = self.findings
        origin_ns = findings.origin_ns if findings.origin_ns is not None else self._origin_ns
        counts = None
        if findings.progress is not None:
            told = findings.progress()
            counts = Progress(
                arrivals=told.arrivals,
                ok=told.ok,
                failed=told.failed,
                unknown=told.unknown,
                dropped=told.dropped,
                unanswered=told.unanswered,
            )
        has_drained = self._has_drained()
        account = None
        if findings.account is not None:
            account = standing(findings.account(), counts, has_drained=has_drained)
        opened = self._open_faults(origin_ns)
        return Snapshot(
            next=str(Cursor(self.number, self._entries, changes)),
            is_whole=is_whole,
            more=self._is_behind or changes < self._changes or self._entries < len(findings.history.entries),
            now_s=None if origin_ns is None else (now_ns - origin_ns) / 1e9,
            can_break=findings.nemesis is not None,
            buttons=self._buttons,
            has_drained=has_drained,
            series=self._series_since(since.entries),
            seconds=seconds,
            percentiles=self.total_percentiles(),
            faults=sorted([*self._faults, *opened], key=lambda window: window.start_s),
            marks=self._marks,
            counts=counts,
            account=account,
        )

    def _open_faults(self, origin_ns: int | None) -> list[Window]:
        nemesis = self.findings.nemesis
        if nemesis is None:
            return []
        self._buttons = buttons_of(nemesis.faults)
        # Of one load of several it counts from that load's origin.
        offset_ns = nemesis.origin_ns - (origin_ns if origin_ns is not None else nemesis.origin_ns)
        return [_window(window, offset_ns) for window in nemesis.open_faults]

    def _has_drained(self) -> bool | None:
        """Whether the account of the last load, which is shown, is closed; None while it is waited for."""
        closed = self.findings.closed
        loads = {load for load, _ in self._taken}
        return None if len(closed) < max(1, len(loads)) else closed[-1]

    def _series_since(self, entry: int) -> list[Series]:
        series = []
        for (name, group), line in self._lines.items():
            t_s, values = line.since(entry)
            if t_s:
                series.append(Series(name=name, group=group, unit=line.unit, t_s=t_s, values=values))
        return series

    def _changed_since(self, change: int) -> tuple[list[Percentiles], int]:
        changed = [(key, second) for key, second in self._seconds.items() if second.change > change]
        changed.sort(key=lambda item: item[1].change)
        rows = []
        for (operation, kind, t_s), second in changed[:MOST_SECONDS]:
            if second.row is None:
                second.row = percentiles(operation, kind, t_s, second.histogram())
            rows.append(second.row)
        if len(changed) > MOST_SECONDS:
            return rows, changed[MOST_SECONDS - 1][1].change
        return rows, self._changes

    def total_percentiles(self) -> list[Percentiles]:
        """Those of the run so far: operation by operation, response before service before send lag."""
        for key, histogram in self._totals.items():
            if key not in self._rows:
                self._rows[key] = percentiles(*key, None, histogram)
        order = {kind: at for at, kind in enumerate(KINDS)}
        return sorted(self._rows.values(), key=lambda row: (row.operation, order.get(row.kind, len(order))))


def _window(window: FaultWindow, offset_ns: int = 0) -> Window:
    kind = fault_kinds().get(window.name)
    return Window(
        name=window.name,
        target=window.target,
        words=(kind and kind.open_words) or window.name,
        start_s=(window.start_ns + offset_ns) / 1e9,
        end_s=None if window.end_ns is None else (window.end_ns + offset_ns) / 1e9,
    )
