"""What is told of a run while it lasts: readings, percentiles, faults and the account, as JSON.

Percentiles are those of our histograms, of all workers, in microseconds; the whole run's, and those of each second
in which operations were due. `None` is what is not known: nothing recorded, or an account that is still open.

A series that brings more points than a chart has room for is thinned, each point being the highest of those that
it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import msgspec
import numpy as np

from harness.account.ledger import Account
from harness.measure.histogram import Histogram
from harness.nemesis.kind import FaultKind

LEVELS = (0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)
HEAL = "start"
# As many as a chart may have pixels.
MOST_POINTS = 1_000

_CURSOR = re.compile(r"(\d{1,9})\.(\d{1,12})\.(\d{1,12})")


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
    """A fault.

    Attributes:
        words: what its target is while it is open, such as "was killed".
        end_s: None while it is open.
    """

    name: str
    target: str
    words: str
    start_s: float
    end_s: float | None


class Button(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be done to a target by hand.

    Attributes:
        action: the name of a fault, or `HEAL`.
        words: on the button; `meaning`: beside it.
        heals: whether it ends what is open there; else it begins something.
    """

    target: str
    action: str
    words: str
    meaning: str
    heals: bool


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A mark of the timeline."""

    name: str
    t_s: float


class Progress(msgspec.Struct, frozen=True, kw_only=True):
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
        can_break: whether faults can be done by hand, at this moment.
        buttons: for these; they stay when that has ended.
        has_drained: None while that is open.
        seconds: percentiles of the seconds that are new, or have changed.
    """

    next: str
    is_whole: bool
    more: bool
    now_s: float | None = None
    can_break: bool = False
    buttons: list[Button] = []
    has_drained: bool | None = None
    series: list[Series] = []
    seconds: list[Percentiles] = []
    percentiles: list[Percentiles] = []
    faults: list[Window] = []
    marks: list[Moment] = []
    counts: Progress | None = None
    account: Standing | None = None


def standing(account: Account, counts: Progress | None, *, has_drained: bool | None) -> Standing:
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


def buttons_of(faults: Mapping[str, Mapping[str, FaultKind]]) -> list[Button]:
    """The buttons for what can be broken, target by target: what each kind of fault says, and one that heals.

    Args:
        faults: the kinds of each target.
    """
    buttons = []
    for target, kinds in faults.items():
        shown = target.upper()
        pressed = [
            Button(
                target=target,
                action=kind.name,
                words=kind.button.format(target=shown),
                meaning=kind.meaning,
                heals=False,
            )
            for kind in kinds.values()
            if kind.button
        ]
        healing = Button(
            target=target,
            action=HEAL,
            words=f"Start {shown}",
            meaning=f"heals the open fault: the {shown} is started again, or goes on",
            heals=True,
        )
        buttons += [*pressed, healing] if pressed else []
    return buttons


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
