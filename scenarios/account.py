"""What a line owes at its end: the account of every event, where the lost ones stopped, and what it all cost."""

from __future__ import annotations

from harness import checking
from harness.conducting import Findings
from harness.history import History
from scenarios.line import Evidence, Line


def largest(history: History, name: str) -> float | None:
    """The largest reading of a name, or None where there is none."""
    return max((r.value for r in history.readings(name) if r.value is not None), default=None)


def add_lag(findings: Findings) -> None:
    """The largest lag, in events and in seconds."""
    for name, unit in (("lag.events", "events"), ("lag.seconds", "s")):
        findings.figure(f"{name.removeprefix('lag.')}.max", largest(findings.history, name), unit)


def add_account(findings: Findings, line: Line, *, is_drained: bool, timeout_s: float) -> Evidence:
    """The figures and verdicts that every line owes: answers, drain, and the account of every event.

    Args:
        is_drained: whether everything was handled in time; if not, the account is not closed.
        timeout_s: for how long that was waited for.
    """
    account, result = line.ledger.account(), line.result
    evidence = line.evidence()
    for name in ("attempted", "acknowledged", "applied", "lost", "duplicated", "unexpected", "recovered"):
        findings.figure(name, getattr(account, name), "events")
    for where, count in evidence.losses.counts.items():
        findings.figure(f"lost.{where}", count, "events")
    findings.figure("stored", evidence.stored, "events")
    findings.figure("parked", evidence.parked, "events")
    findings.figure("disordered", evidence.order.disordered, "events")
    _add_cost_of_probes(findings, line)
    prefix = findings.prefix
    verdicts = {
        "answered": lambda name: checking.all_answered(
            name,
            arrivals=result.arrivals,
            ok=result.ok,
            failed=result.failed,
            unknown=result.unknown,
            dropped=result.dropped,
            unseen=result.unseen,
        ),
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
