"""Did a system stay within its budgets at one rate? A struct of what was seen in, PASS, FAIL or UNKNOWN out.

In this order, so that nothing is held against the system that was the instrument's, and nothing passes unseen:

    nothing was due, or nothing measured                       UNKNOWN
    the instrument did not keep its schedule                   UNKNOWN   instrument, or the host, which kept it
    more than 2 % were refused                                 FAIL      errors
    less than 98 % of what was due was answered                FAIL      backlog *
    what was open grew                                         FAIL      backlog *
    a quantile is beyond its limit                             FAIL      latency *, or lag
    a quantile has too few values for an upper bound           UNKNOWN
    a quantile's upper bound is beyond its limit               FAIL      latency: not shown to be within
    else                                                       PASS

    *   where the server was the limit (`check.load_reached.limit_of`); else UNKNOWN

What was open. At a rate that is exactly what a server can take its backlog does not grow in a straight line, but
as the square root of time, like a random walk; within a short probe the latency is then within a generous budget,
and for ever beyond it later. So growth is held against that root: of n arrivals, a backlog that has grown by more
than `GROWTH` sqrt(n) is none that comes and goes. At a rate 5 % above the capacity it grows by 0.05 n: of ten
thousand by 500, where 20 are allowed; a queue that holds has a few, which come and go.

Rejected: a straight line through the backlog and a test of its slope, which says "fine" at exact capacity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from harness.capacity.budget import duration_said
from harness.capacity.probed import Bound, Probed, ProbeStatus
from harness.check.load_reached import FULL, KEPT_WAITING, LEAST_SHARE, Limit

GROWTH = 0.2
# An instrument that uses less of a core than this could do more.
_IDLE = 0.5
# The first and the last of so many parts of a probe are compared.
_PARTS = 5


class Held(Struct, frozen=True, kw_only=True):
    """A quantity that is held against a limit, in microseconds.

    Attributes:
        name: as in `p99`, `lag`.
        limit_us: the budget.
        seen_us: what was measured; None: nothing.
        high_us: the upper bound of what it is; None: there are too few values for one.
        bound: what a rate is bound by where it is beyond.
    """

    name: str
    limit_us: float
    seen_us: float | None
    high_us: float | None
    bound: Bound = "latency"


class ProbeSeen(Struct, frozen=True, kw_only=True):
    """What was seen of a load at one rate, without its warm-up.

    Attributes:
        rate_per_s: that was due.
        took_s: how long.
        held: what has a budget, at least one.
        offered: how many were due.
        answered: how many of them were answered well, by the end of the load and what may be in flight then.
        refused: how many were answered with an error.
        open_at: how many were open at the end of each second, or of other equal spans, in the order of time.
        send_lag_us: the instrument's own lateness at p99; None: not known, which passes nothing.
        send_lag_budget_us: how late it may be.
        limit: what the limit was, if there was one (`check.load_reached.limit_of`).
        instrument_core, instrument_wait: the share of a core that the instrument had, and of the time for which it
            waited for one; None where nobody looked.
        is_long: whether it was a long one.
    """

    rate_per_s: float
    took_s: float
    held: tuple[Held, ...]
    offered: int
    answered: int
    refused: int = 0
    open_at: tuple[float, ...] = ()
    send_lag_us: float | None
    send_lag_budget_us: float
    limit: Limit
    instrument_core: float | None = None
    instrument_wait: float | None = None
    is_long: bool = False


def open_at_seconds(
    offered_in_s: Sequence[int], answered_in_s: Sequence[int], from_s: int = 0
) -> tuple[float, ...]:
    """How many operations were open at the end of each second of a load.

    Args:
        offered_in_s, answered_in_s: how many were due, and were answered, in each; of those answered the seconds
            after the load do not count.
        from_s: the first second that counts.
    """
    found, is_open = [], 0
    for second, due in enumerate(offered_in_s):
        is_open += due - (answered_in_s[second] if second < len(answered_in_s) else 0)
        if second >= from_s:
            found.append(float(max(0, is_open)))
    return tuple(found)


def growth_of(open_at: Sequence[float]) -> float:
    """By how many operations what is open has grown from the first fifth of a probe to its last; 0: of too few.

    The least of each fifth counts, and of two seconds at least: a stall that is over fills a queue, too.
    """
    part = max(2 if len(open_at) >= 4 else 1, len(open_at) // _PARTS)
    return min(open_at[-part:]) - min(open_at[:part]) if len(open_at) >= 2 else 0.0


def judge(seen: ProbeSeen) -> Probed:
    """What a probe says of its rate."""
    if not seen.offered or not seen.held:
        return _said(seen, "UNKNOWN", None, "", "nothing was due" if seen.held else "nothing has a budget")
    late = _late(seen)
    if late is not None:
        return late
    overloaded = _overloaded(seen)
    if overloaded is not None:
        return overloaded
    return _within(seen)


def _said(
    seen: ProbeSeen, status: ProbeStatus, margin: float | None, bound: Bound, why: str, spread: float = 0.0
) -> Probed:
    answered_per_s = seen.answered / seen.took_s if seen.took_s > 0 else 0.0
    return Probed(
        rate_per_s=seen.rate_per_s,
        status=status,
        margin=margin,
        bound=bound,
        why=why,
        took_s=seen.took_s,
        is_long=seen.is_long,
        spread=spread,
        answered_per_s=answered_per_s if seen.answered < LEAST_SHARE * seen.offered else None,
    )


def _late(seen: ProbeSeen) -> Probed | None:
    """Whether the instrument kept its schedule; None: it did."""
    if seen.send_lag_us is None:
        return _said(seen, "UNKNOWN", None, "", "nobody saw whether the instrument kept its schedule")
    if seen.send_lag_us <= seen.send_lag_budget_us:
        return None
    why = f"the instrument sent {seen.send_lag_us / 1000:,.2f} ms late at p99: its budget is "
    why += f"{seen.send_lag_budget_us / 1000:,.2f} ms"
    if seen.instrument_core is not None and seen.instrument_core >= FULL:
        return _said(seen, "UNKNOWN", None, "instrument", f"{why}; its core was full")
    if seen.instrument_wait is not None and seen.instrument_wait >= KEPT_WAITING:
        why += f"; it waited for a core for {seen.instrument_wait:.0%} of the time"
        return _said(seen, "UNKNOWN", None, "host", why)
    if seen.instrument_core is not None and seen.instrument_core < _IDLE:
        # What has little to do and is late was not woken; at a low rate it hardly waits by the clock.
        why += f", with its core {seen.instrument_core:.0%} busy"
        return _said(seen, "UNKNOWN", None, "host", why)
    return _said(seen, "UNKNOWN", None, "instrument", why)


def _overloaded(seen: ProbeSeen) -> Probed | None:
    """Whether what was due was answered, and what was open stayed so; None: it was, and it did."""
    may_miss = max(1.0, (1 - LEAST_SHARE) * seen.offered)
    if seen.refused > may_miss:
        why = f"{seen.refused:,} of {seen.offered:,} were refused"
        return _said(seen, "FAIL", math.log(may_miss / seen.refused), "errors", why)
    missing = seen.offered - seen.answered - seen.refused
    if missing > may_miss:
        why = f"{seen.answered:,} of {seen.offered:,} were answered by the end"
        return _failed(seen, math.log(may_miss / missing), "backlog", why)
    margin = _margin_of_growth(seen)
    if margin < 0:
        why = f"{growth_of(seen.open_at):,.0f} more were open at the end than at the start, and that is a backlog"
        return _failed(seen, margin, "backlog", why)
    return None


def _margin_of_growth(seen: ProbeSeen) -> float:
    allowed = GROWTH * math.sqrt(seen.offered) + seen.refused
    return math.log(max(1.0, allowed) / max(1.0, growth_of(seen.open_at)))


def _failed(seen: ProbeSeen, margin: float, bound: Bound, why: str, spread: float = 0.0) -> Probed:
    """A FAIL, as far as the system itself was the limit."""
    limit = seen.limit
    if limit.place == "server":
        return _said(seen, "FAIL", margin, bound, f"{why}: {limit.words}", spread)
    blamed: Bound = "" if limit.place == "nobody knows" else limit.place
    return _said(seen, "UNKNOWN", None, blamed, f"{why}: {limit.words}")


def _within(seen: ProbeSeen) -> Probed:
    """Whether all that has a budget is within it."""
    known = [(held, held.seen_us) for held in seen.held if held.seen_us is not None]
    if len(known) < len(seen.held):
        missing = ", ".join(held.name for held in seen.held if held.seen_us is None)
        return _said(seen, "UNKNOWN", None, "", f"nothing was measured of {missing}")
    worst, worst_us = min(known, key=lambda each: _log(each[0].limit_us, each[1]))
    if worst_us > worst.limit_us:
        margin = _log(worst.limit_us, worst_us)
        high_us = max(worst_us, worst.high_us or worst_us)
        return _failed(seen, margin, worst.bound, _in_words(worst), _log(high_us, worst_us))
    unbounded = [held.name for held in seen.held if held.high_us is None]
    if unbounded:
        why = f"{seen.offered:,} operations, as unsteady as they were, are too few to tell {', '.join(unbounded)}"
        return replace(_said(seen, "UNKNOWN", None, "", why), unbounded=_log(worst.limit_us, worst_us))
    highs = [(held, max(seen_us, held.high_us or seen_us), seen_us) for held, seen_us in known]
    tightest, high_us, seen_us = min(highs, key=lambda each: _log(each[0].limit_us, each[1]))
    spread = _log(high_us, seen_us)
    if high_us > tightest.limit_us:
        margin = _log(tightest.limit_us, seen_us)
        return _failed(seen, margin, tightest.bound, f"{_in_words(tightest)}: not shown to be within", spread)
    margin = _log(tightest.limit_us, high_us)
    return _said(seen, "PASS", margin, tightest.bound, _in_words(tightest), spread)


def _log(above: float, below: float) -> float:
    """ln(above / below), where nothing is less than a nanosecond."""
    return math.log(max(above, 1e-3) / max(below, 1e-3))


def _in_words(held: Held) -> str:
    seen_us = held.seen_us or 0.0
    high = f", at most {_said_us(held.high_us)}" if held.high_us is not None and held.high_us > seen_us else ""
    return f"{held.name} is {_said_us(seen_us)}{high}; its budget is {duration_said(held.limit_us)}"


def _said_us(us: float) -> str:
    return duration_said(float(f"{us:.3g}"))
