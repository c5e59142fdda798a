"""What a capacity is searched for: budgets on latencies and on lag, such as p99 <= 5 ms.

    --p99 5ms --p99.9 20ms --lag 1s       each has to be kept: the tightest is the one that counts

A budget is on a quantile of the response, or on the lag in seconds. One on what a scenario does not measure could
never be kept, so it is refused before anything is measured; so is one that a bare PING on this machine is beyond.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

# What a budget can be on; each quantile by its name.
QUANTILES: dict[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
LAG = "lag"
STATISTICS = (*QUANTILES, LAG)

_UNITS_US = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6, "min": 60e6}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-zµμ]+)\s*")


class LatencyBudget(Struct, frozen=True):
    """What a statistic may be at most.

    Attributes:
        statistic: one of `STATISTICS`.
        limit_us: in microseconds, also of the lag.
    """

    statistic: str
    limit_us: float

    def __str__(self) -> str:
        return f"{self.statistic} <= {duration_said(self.limit_us)}"


def duration_us(text: str) -> float:
    """A duration such as `5ms`, `300 us` or `1.5 s`, in microseconds.

    Raises:
        ValueError: it is none; the text is one clear line.
    """
    match = _DURATION.fullmatch(text)
    if match is None or match[2] not in _UNITS_US:
        raise ValueError(f"{text!r} is no duration, such as 5ms, 300us or 1s")
    found = float(match[1]) * _UNITS_US[match[2]]
    if not found > 0:
        raise ValueError(f"{text!r}: a budget is more than 0")
    return found


def duration_said(us: float) -> str:
    """A duration in words, in the unit that fits: 300 µs, 5 ms, 1.5 s."""
    if us < 1e3:
        return f"{us:.4g} µs"
    return f"{us / 1e3:.4g} ms" if us < 1e6 else f"{us / 1e6:.4g} s"


def budgets_said(budgets: Sequence[LatencyBudget]) -> str:
    """Budgets as a part of a sentence: "p99 <= 5 ms and lag <= 1 s"."""
    return " and ".join(map(str, budgets))


def budgets_of(given: Mapping[str, str | None]) -> list[LatencyBudget]:
    """Budgets by their statistics, in the order of `STATISTICS`.

    Args:
        given: a duration in words for each statistic that has a budget.

    Raises:
        ValueError: one is no duration.
    """
    found = []
    for statistic in STATISTICS:
        text = given.get(statistic)
        if text is None:
            continue
        try:
            found.append(LatencyBudget(statistic, duration_us(text)))
        except ValueError as error:
            raise ValueError(f"--{statistic}: {error}") from error
    return found
