"""The intervals of quantiles in words: behind the number, in brackets, and once on a page what they are.

7.30 ms (6.90 to 8.10 ms)       the true quantile is in there in 95 of 100 cases (`harness.measure.bounds`)
7.30 ms (6.90 ms or more)       no upper end: too few seconds have the slow ones
7.30 ms (of 45 values only: p99 wants 368)
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.measure.bounds import FEWEST_BLOCKS, LEVEL
from harness.measure.sample_size import too_few
from harness.record.run import Figure, Run
from reports.quantities import between, quantity


def interval(figure: Figure) -> str:
    """A quantile's interval in words, and of too few values that; empty of any other figure."""
    if figure.value is None:
        return ""
    few = too_few(figure.name, figure.samples)
    if not figure.bound_by:
        return few
    if figure.low is not None and figure.high is not None:
        return between(figure.low, figure.high, figure.unit)
    if figure.low is not None:
        low = f"{quantity(figure.low, figure.unit)} or more"
        return f"{low}, {few}" if few else low
    if figure.high is not None:
        return f"{quantity(figure.high, figure.unit)} or less"
    return few or "no bounds: too few seconds"


def intervals_said(runs: Sequence[Run]) -> str:
    """What the intervals of quantiles are, and by what they were made; empty where no quantile was given one."""
    given = [f for run in runs for f in run.figures if f.bound_by and f.value is not None]
    if not given:
        return ""
    bounded = [f for f in given if f.low is not None or f.high is not None]
    if not bounded:
        return f"No quantile has an interval here: that takes {FEWEST_BLOCKS} seconds or more."
    by_blocks = sum(f.bound_by == "blocks" for f in bounded)
    made = {
        "from blocks of time, since responses hang together": by_blocks,
        "from the order of the values": len(bounded) - by_blocks,
    }
    ways = ", ".join(f"{count} {way}" for way, count in made.items() if count)
    is_open = any(f.high is None and not too_few(f.name, f.samples) for f in bounded)
    return (
        f"In brackets behind a quantile is the interval that holds the true one in {LEVEL * 100:g} of 100 cases. "
        f"How they were made: {ways}. "
        + ('"Or more": too few seconds have the slow ones for an upper end. ' if is_open else "")
        + "What did not happen in a run is not in its intervals."
    )
