"""What a line owes at its end: the account of every event, where the lost ones stopped, and what it all cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from harness.arrays import Int64s
from harness.check import checkers as checking
from harness.check.load_reached import Seconds
from harness.conduct.conduct import Findings, answered
from harness.measure.outcomes import OK
from harness.measure.timeline import History
from scenarios.arrival import Judged, add_arrival
from scenarios.line.line import Evidence, Line


def largest(history: History, name: str) -> float | None:
    """The largest reading of a name, or None where there is none."""
    return max((r.value for r in history.readings(name) if r.value is not None), default=None)


def add_lag(findings: Findings) -> None:
    """The largest lag, in events and in seconds."""
    for name, unit in (("lag.events", "events"), ("lag.seconds", "s")):
        findings.figure(f"{name.removeprefix('lag.')}.max", largest(findings.history, name), unit)


def caught_up_ns(line: Line, until_ns: int) -> int | None:
    """When all that was due before a moment of the run, and is not lost, had had its effect; None: not yet."""
    outcomes = line.result.outcomes
    if outcomes is None:
        return None
    due_ns = line.pacer.due_ns(0, outcomes.size)
    waited = np.flatnonzero((outcomes == OK) & (due_ns < until_ns))
    if line.has_drained:
        # Before that, what has had no effect is not lost: it waits.
        waited = np.setdiff1d(waited, line.ledger.lost())
    return applied_at_ns(line.effects.sequences, line.applied_at, waited)


def applied_at_ns(seen: Int64s, applied: Sequence[tuple[int, int]], events: Int64s) -> int | None:
    """When the last of some events had had its first effect; None where one has had none, or there is no event.

    Args:
        seen: the event of each effect in the order in which they were seen, shape (k,).
        applied: (time, how many different events had had an effect by then), both rising.
        events: shape (n,).
    """
    known, first = np.unique(seen, return_index=True)
    at = np.searchsorted(known, events)
    if not events.size or not known.size or (known[np.minimum(at, known.size - 1)] != events).any():
        return None
    # A look is told by first effects; so is the place of an event among those that were seen.
    last = int(np.searchsorted(np.sort(first), first[at].max()))
    return next((t_ns for t_ns, count in applied if count > last), None)


# What `add_lag` and `add_account` add, for `figure_names`.
ACCOUNT = """
    events  events.max attempted acknowledged applied lost duplicated unexpected recovered
    events  lost.* stored parked disordered
    s       seconds.max
    cores   probes.core_share
    share   probes.server_share
"""


def add_line_arrival(findings: Findings, line: Line, *, budget_ms: float, until_ns: int | None = None) -> Seconds:
    """The figures and the verdict on whether the load of a line reached its server.

    Args:
        budget_ms: what the instrument may be late.
        until_ns: up to when the load is judged; None: all of it.
    """
    if line.arriving is not None:
        line.arriving.end()
    blind = line.arriving.blind if line.arriving is not None else ""
    how = Judged(budget_ms=budget_ms, until_ns=until_ns, blind=blind)
    return add_arrival(findings, findings.history, line.result, how)


def add_account(
    findings: Findings, line: Line, *, is_drained: bool, timeout_s: float, leave_out: Collection[str] = ()
) -> Evidence:
    """The figures and verdicts that every line owes: answers, drain, and the account of every event.

    Args:
        is_drained: whether everything was handled in time; if not, the account is not closed.
        timeout_s: for how long that was waited for.
        leave_out: verdicts that what was done to the line makes no sense of, such as `answered` of a server that
            was killed.
    """
    account, result = line.ledger.account(), line.result
    evidence = line.evidence()
    for name in ("attempted", "acknowledged", "applied", "lost", "duplicated", "unexpected", "recovered"):
        # What waits is not lost: before all that waited was handled, nobody knows.
        is_known = is_drained or not name.startswith("lost")
        findings.figure(name, getattr(account, name) if is_known else None, "events")
    for where, count in evidence.losses.counts.items():
        findings.figure(f"lost.{where}", count if is_drained else None, "events")
    findings.figure("stored", evidence.stored, "events")
    findings.figure("parked", evidence.parked, "events")
    findings.figure("disordered", evidence.order.disordered, "events")
    _add_cost_of_probes(findings, line)
    prefix = findings.prefix
    verdicts = {
        "answered": lambda name: answered(name, result),
        "drained": lambda name: checking.drained(name, is_drained=is_drained, waited_s=timeout_s),
        "nothing_lost": lambda name: checking.nothing_lost(
            name, account, is_drained=is_drained, losses=evidence.losses
        ),
        "nothing_twice": lambda name: checking.nothing_twice(name, account, is_drained=is_drained),
        "nothing_unexpected": lambda name: checking.nothing_unexpected(name, account, is_drained=is_drained),
    }
    if line.settings.consumers == 1:
        # Several consumers share a group's events, and promise no order among them.
        verdicts["in_order"] = lambda name: checking.in_order(name, evidence.order)
    for what, check in verdicts.items():
        if what in leave_out:
            continue
        name = f"{prefix}.{what}"
        findings.verdicts.append(checking.checked(name, lambda check=check, name=name: check(name)))  # type: ignore[misc]
    return evidence


def _add_cost_of_probes(findings: Findings, line: Line) -> None:
    """What looking has cost: the sampler's share of a core, and the server's of its time."""
    sampler = line.sampler
    if sampler is not None and sampler.rounds:
        took_ns = line.stage.clock.now_ns() - line.origin_ns
        findings.figure("probes.core_share", sampler.busy_ns / took_ns, "cores")
    findings.figure("probes.server_share", line.probe_share, "share")
