"""Counts that only grow, over time, and what came of them in each second in which it happened.

    offered     due by the schedule          reached     taken by the server, by its own counters
    answered    acknowledged to the producer applied     seen at the end of the line

Each is a curve: readings of (nanoseconds since the load's origin, how many so far), rising in both. Between two
readings a curve is known only as far as it lies between them (`bounds`): a probe looks ten times a second, and
what came between two looks came at some moment of that time. A count that has become smaller is that of a server
that has lost what it had; nothing is said of the time around that.

The curves of a load stand on the timeline as readings `load.offered`, `load.reached`, `load.answered` and
`load.applied`; a run of several loads tells them apart by the label `load`.

Rejected: rates as readings. Of two looks that were late a rate says nothing, and it cannot be added up again.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence

from harness.measure.timeline import History, Reading

SECOND_NS = 1_000_000_000
KINDS = ("offered", "reached", "answered", "applied")

Curve = Sequence[tuple[int, float]]


def readings_of(counts: Sequence[int], *, scheduled_ns: int | None = None) -> Iterator[tuple[int, int]]:
    """A curve of counts by second, at the end of each.

    Args:
        counts: in each second from the load's origin on.
        scheduled_ns: when the last second ends, where that is not a whole one.
    """
    yield 0, 0
    so_far = 0
    for second, count in enumerate(counts, 1):
        so_far += count
        end_ns = second * SECOND_NS
        # What is due last may be due in the moment in which the schedule ends.
        yield (end_ns if scheduled_ns is None or second < len(counts) else min(end_ns, scheduled_ns)), so_far


def add_curve(history: History, kind: str, curve: Curve, *, offset_ns: int = 0, load: str = "") -> None:
    """Put a curve on a timeline.

    Args:
        kind: of `KINDS`.
        offset_ns: from the run's origin to the load's.
        load: which of several loads; empty: the only one.
    """
    labels = {"load": load} if load else {}
    for t_ns, count in curve:
        history.add(
            Reading(
                t_ns=t_ns + offset_ns, name=f"load.{kind}", value=float(count), unit="events", labels=dict(labels)
            )
        )


def curve_of(history: History, kind: str, *, load: str = "", offset_ns: int = 0) -> list[tuple[int, float]]:
    """A curve as it stands on a timeline, from the load's origin; a look without an answer is left out."""
    return sorted(
        (reading.t_ns - offset_ns, reading.value)
        for reading in history.readings(f"load.{kind}")
        if reading.value is not None and reading.labels.get("load", "") == load
    )


def bounds(curve: Curve, t_ns: int) -> tuple[float | None, float | None]:
    """Between which two numbers a curve was at a moment; None where nothing is known on that side."""
    if not curve:
        return None, None
    after = bisect.bisect_left(curve, t_ns, key=lambda look: look[0])
    if after == len(curve):
        return curve[-1][1], None
    if curve[after][0] == t_ns:
        return curve[after][1], curve[after][1]
    high = curve[after][1]
    if not after:
        return None, high
    low = curve[after - 1][1]
    return (low, high) if low <= high else (None, None)


def interpolated(curve: Curve, t_ns: int, *, within_ns: int) -> float | None:
    """A curve at a moment, on the straight line between two looks; None where these are too far apart.

    Args:
        within_ns: how far apart they may be.
    """
    after = bisect.bisect_left(curve, t_ns, key=lambda look: look[0])
    if after < len(curve) and curve[after][0] == t_ns:
        return curve[after][1]
    if after in {0, len(curve)}:
        return None
    (from_ns, low), (to_ns, high) = curve[after - 1], curve[after]
    if to_ns - from_ns > within_ns or high < low:
        return None
    return low + (high - low) * (t_ns - from_ns) / (to_ns - from_ns)


def per_second(
    curve: Curve, *, width_s: float = 1.0, within_ns: int = SECOND_NS
) -> list[tuple[float, float | None]]:
    """How many came a second, span by span: (its start in seconds, the rate); None where that is not known.

    Args:
        width_s: of a span.
        within_ns: two looks that are farther apart than this, and than a span, say nothing of the time between.
    """
    if len(curve) < 2:
        return []
    first, last = curve[0][0], curve[-1][0]
    width_ns = round(width_s * SECOND_NS)
    within_ns = max(within_ns, width_ns)
    found: list[tuple[float, float | None]] = []
    for span in range(math.floor(first / width_ns), math.ceil(last / width_ns)):
        from_ns, to_ns = max(first, span * width_ns), min(last, (span + 1) * width_ns)
        low = interpolated(curve, from_ns, within_ns=within_ns)
        high = interpolated(curve, to_ns, within_ns=within_ns)
        # A piece at the end that is shorter than this is no rate of anything.
        if to_ns - from_ns < width_ns / 10:
            continue
        rate = None if low is None or high is None or high < low else (high - low) * SECOND_NS / (to_ns - from_ns)
        found.append((span * width_s, rate))
    return found
