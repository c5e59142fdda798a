"""What can be seen of a run while it lasts: readings, percentiles, faults and the account, as they stand.

    findings  --absorb-->            --snapshot(since)-->  what is new since then, as JSON
    intervals --absorb-->    View

A `View` follows one run. Whoever looks at it asks with the cursor that the answer before has given, and gets what
has been added since; what changes as a whole (the percentiles of the run so far, the account) comes each time.

The process that is asked also answers heartbeats and steers the load. So an answer costs a bounded amount of
work, however long the run and the pause since the last question: what is too much for one is left for the next,
and the answer says `more`. A series that brings more points than a chart has room for is thinned, each point
being the highest of those that it stands for.

Percentiles are those of our histograms, of all workers, in microseconds; the whole run's, and those of each second
in which operations were due. `None` is what is not known: nothing recorded, or an account that is still open.

Rejected: pushing events to the page. A page that is hidden, slow or closed would have to be noticed here.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import NamedTuple, Self

import msgspec
import numpy as np

from harness.account.ledger import Account
from harness.conduct.conduct import Findings
from harness.measure.recording import KINDS, Histogram, Interval, SparseHistogram
from harness.measure.timeline import FaultWindow, Mark, Reading

LEVELS = (0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)
# Of all readings; the server's and the host's are for the report.
SHOWN = "lag."
# For one answer.
MOST_ENTRIES = 2_000
MOST_INTERVALS = 200
MOST_SECONDS = 60
# As many as a chart may have pixels.
MOST_POINTS = 1_000

_CURSOR = re.compile(r"(\d{1,9})\.(\d{1,12})\.(\d{1,12})")


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


class Cursor(NamedTuple):
    """Up to where somebody has seen a run: `run.entries.changes`."""

    run: int = 0
    entries: int = 0
    changes: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` makes of one; no text is the beginning.

        Raises:
            ValueError: it is none.
        """
        if not text:
            return cls()
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:40]!r} is no cursor; take `next` of the answer before, or none")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.run}.{self.entries}.{self.changes}"


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """New readings of one name and group; times in seconds after the run's origin."""

    name: str
    group: str
    unit: str
    t_s: list[float]
    values: list[float | None]


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of one kind of latency of one operation in microseconds.

    Attributes:
        t_s: the second's beginning after the run's origin; None: of the run so far.
    """

    operation: str
    kind: str
    t_s: float | None
    count: int
    p50_us: int | None
    p90_us: int | None
    p99_us: int | None
    p99_9_us: int | None
    p99_99_us: int | None
    max_us: int | None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A fault; `end_s` is None while it is open."""

    name: str
    target: str
    start_s: float
    end_s: float | None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A mark of the timeline."""

    name: str
    t_s: float


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How the operations that were due so far ended.

    Attributes:
        unanswered: those that have not ended: on their way, or waiting for the system.
    """

    arrivals: int
    ok: int
    failed: int
    unknown: int
    dropped: int
    unanswered: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The account as it stands: due = acknowledged + failed + unknown + dropped + unanswered.

    Attributes:
        due: arrivals so far; the next five, what became of them. None where nobody counts them.
        unanswered: on their way, or waiting for the server or the instrument.
        waiting: acknowledged, and no effect yet.
        unexpected: None until the load has ended, for before it is not told which events were attempted.
        lost: None until everything has drained: what waits is not lost.
    """

    attempted: int
    acknowledged: int
    applied: int
    waiting: int
    due: int | None = None
    failed: int | None = None
    unknown: int | None = None
    dropped: int | None = None
    unanswered: int | None = None
    duplicated: int
    unexpected: int | None
    lost: int | None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to see.

    Attributes:
        next: the cursor for the next question.
        is_whole: forget what you have: this begins from the beginning.
        more: there is more already; ask again.
        now_s: after the run's origin; None before there is one.
        can_break: whether faults can be done by hand.
        has_drained: None while that is open.
        seconds: percentiles of the seconds that are new, or have changed.
    """

    next: str
    is_whole: bool
    more: bool
    now_s: float | None = None
    can_break: bool = False
    has_drained: bool | None = None
    series: list[Series] = []
    seconds: list[Percentiles] = []
    percentiles: list[Percentiles] = []
    faults: list[Window] = []
    marks: list[Moment] = []
    counts: Counts | None = None
    account: Standing | None = None


def standing(account: Account, counts: Counts | None, *, has_drained: bool | None) -> Standing:
    """The account as it may be shown.

    Args:
        account: of the ledger, which hears of attempts and answers only when the load has ended.
        counts: so far.
        has_drained: None while it is not known.
    """
    is_closed = bool(account.attempted or account.acknowledged)
    attempted, acknowledged = account.attempted, account.acknowledged
    if not is_closed and counts is not None:
        attempted, acknowledged = counts.arrivals - counts.dropped, counts.ok
    return Standing(
        attempted=attempted,
        acknowledged=acknowledged,
        applied=account.applied,
        # Effects are seen more often than counts are told.
        waiting=account.lost if is_closed else max(0, acknowledged - account.applied),
        duplicated=account.duplicated,
        unexpected=account.unexpected if is_closed else None,
        lost=account.lost if is_closed and has_drained else None,
        due=None if counts is None else counts.arrivals,
        failed=None if counts is None else counts.failed,
        unknown=None if counts is None else counts.unknown,
        dropped=None if counts is None else counts.dropped,
        unanswered=None if counts is None else counts.unanswered,
    )


def percentiles(operation: str, kind: str, t_s: float | None, histogram: Histogram) -> Percentiles:
    """The percentiles of a histogram."""
    p50, p90, p99, p99_9, p99_99, highest = histogram.quantiles_us(LEVELS)
    return Percentiles(
        operation=operation,
        kind=kind,
        t_s=t_s,
        count=histogram.total,
        p50_us=p50,
        p90_us=p90,
        p99_us=p99,
        p99_9_us=p99_9,
        p99_99_us=p99_99,
        max_us=highest,
    )


def thinned(
    t_s: Sequence[float], values: Sequence[float | None], most: int = MOST_POINTS
) -> tuple[list[float], list[float | None]]:
    """At most so many points, each the highest of as many neighbours as it stands for; a gap counts as lowest."""
    width = -(-len(t_s) // most)
    if width <= 1:
        return list(t_s), list(values)
    # None becomes NaN, and NaN lower than anything; the last row is filled up with the same.
    known = np.nan_to_num(np.array(values, np.float64), nan=-np.inf)
    rows = np.pad(known, (0, -len(values) % width), constant_values=-np.inf).reshape(-1, width)
    highest = (np.argmax(rows, axis=1) + np.arange(0, len(values), width)).tolist()
    return [t_s[i] for i in highest], [values[i] for i in highest]


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
            arrivals, ok, failed, unknown, dropped = (int(count) for count in findings.progress())
            counts = Counts(
                arrivals=arrivals,
                ok=ok,
                failed=failed,
                unknown=unknown,
                dropped=dropped,
                # The counts are read one by one while they grow.
                unanswered=max(0, arrivals - ok - failed - unknown - dropped),
            )
        has_drained = self._has_drained()
        account = None
        if findings.account is not None:
            account = standing(findings.account(), counts, has_drained=has_drained)
        nemesis = findings.nemesis
        opened = []
        if nemesis is not None:
            # Of one load of several it counts from that load's origin.
            offset_ns = nemesis.origin_ns - (origin_ns if origin_ns is not None else nemesis.origin_ns)
            opened = [_window(window, offset_ns) for window in nemesis.open_faults]
        return Snapshot(
            next=str(Cursor(self.number, self._entries, changes)),
            is_whole=is_whole,
            more=self._is_behind or changes < self._changes or self._entries < len(findings.history.entries),
            now_s=None if origin_ns is None else (now_ns - origin_ns) / 1e9,
            can_break=nemesis is not None,
            has_drained=has_drained,
            series=self._series_since(since.entries),
            seconds=seconds,
            percentiles=self.total_percentiles(),
            faults=sorted([*self._faults, *opened], key=lambda window: window.start_s),
            marks=self._marks,
            counts=counts,
            account=account,
        )

    def _has_drained(self) -> bool | None:
        """What the scenario has concluded of the last load, whose account is shown; None while it has not."""
        drained = self.findings.drained
        loads = {load for load, _ in self._taken}
        return None if len(drained) < max(1, len(loads)) else drained[-1]

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
    return Window(
        name=window.name,
        target=window.target,
        start_s=(window.start_ns + offset_ns) / 1e9,
        end_s=None if window.end_ns is None else (window.end_ns + offset_ns) / 1e9,
    )
