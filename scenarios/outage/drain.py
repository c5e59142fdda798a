"""The end of an outage: when what waited was drained, and when the rates say that it should have been."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from harness.arrays import Int64s
from harness.conduct.conduct import Findings, ScenarioError
from harness.measure.outcomes import OK, UNKNOWN
from harness.measure.timeline import FaultWindow, Mark
from scenarios.line.account import add_lag
from scenarios.line.line import Line
from scenarios.line.recovery import (
    Recovery,
    band,
    caught_up_ns,
    count_at,
    detected_s,
    excess_lag_event_s,
    highest_lag,
    predicted_drain_s,
    recovery,
)


class Drain(Struct, frozen=True, kw_only=True):
    """The end of an outage as it was, and as the rates predict it; times count from the restart."""

    restart_ns: int
    backlog: float | None
    at_restart: int
    found: Recovery
    caught_up_s: float | None
    predicted_s: float | None

    @property
    def error(self) -> float | None:
        """By what share of the measured time since the first effect the prediction is too long."""
        first_s = self.found.first_effect_s
        if self.predicted_s is None or self.caught_up_s is None or first_s is None or self.caught_up_s <= first_s:
            return None
        return (self.predicted_s - first_s) / (self.caught_up_s - first_s) - 1

    @property
    def draining_s(self) -> float | None:
        """From the first effect until what waited then was applied."""
        if self.found.drained_s is None or self.found.first_effect_s is None:
            return None
        return self.found.drained_s - self.found.first_effect_s


def drain_of(line: Line, findings: Findings, fault: FaultWindow, *, arrival_per_s: float) -> Drain:
    """How what waited in an outage was drained, and what was predicted of it.

    Args:
        fault: that is over.
        arrival_per_s: of events, at the same rate all the time.
    """
    history, restart_ns = findings.history, fault.end_ns or fault.start_ns
    accepted_ns = _accepted_ns(line)

    def accepted_by(t_ns: int) -> int:
        return int(np.searchsorted(accepted_ns, t_ns, "right"))

    found = recovery(line.applied_at, history, restart_ns=restart_ns, backlog_until=accepted_by)
    if line.ledger.account().lost:
        # A count of effects says when a backlog was applied only where nothing of it is missing.
        found = replace(found, back_in_band_s=None, drained_s=None, drain_rate_per_s=None)
    caught_up_s = predicted_s = None
    if found.first_effect_s is not None and found.drain_rate_per_s is not None:
        first_ns = restart_ns + round(found.first_effect_s * 1e9)
        caught_ns = caught_up_ns(line.applied_at, accepted_by, from_ns=first_ns, within=band(history) or 0.0)
        caught_up_s = (caught_ns - restart_ns) / 1e9 if caught_ns is not None else None
        predicted_s = predicted_drain_s(
            # The first look that saw an effect may have seen a whole batch: that waits no more.
            max(0, accepted_by(first_ns) - count_at(line.applied_at, first_ns)),
            drain_per_s=found.drain_rate_per_s,
            arrival_per_s=arrival_per_s,
            arriving_s=line.pacer.duration_ns / 1e9 - first_ns / 1e9,
        )
    return Drain(
        restart_ns=restart_ns,
        backlog=highest_lag(history, fault.start_ns),
        at_restart=max(0, accepted_by(restart_ns) - count_at(line.applied_at, restart_ns)),
        found=found,
        caught_up_s=caught_up_s,
        predicted_s=predicted_s + (found.first_effect_s or 0.0) if predicted_s is not None else None,
    )


def _accepted_ns(line: Line) -> Int64s:
    """When each event was due that was acknowledged, or may have been taken all the same; what was refused waits
    for nobody.
    """
    outcomes = line.result.outcomes
    if outcomes is None:
        raise ScenarioError("the pump has kept no outcomes")
    due_ns = line.pacer.due_ns(0, outcomes.size)
    applied = np.zeros(outcomes.size, bool)
    seen = line.effects.sequences
    applied[seen[seen < outcomes.size]] = True
    accepted_ns: Int64s = due_ns[(outcomes == OK) | ((outcomes == UNKNOWN) & applied)]
    return accepted_ns


def add_recovery(findings: Findings, fault: FaultWindow, drain: Drain) -> None:
    """Mark the stages of an outage on the timeline, and add its figures."""
    history, found = findings.history, drain.found
    detected = detected_s(history)
    if detected is not None:
        history.add(Mark(t_ns=fault.start_ns + int(detected * 1e9), name="detected"))
    if history.mark("restart") is None:
        history.add(Mark(t_ns=drain.restart_ns, name="restart"))
    for name, seconds in (
        ("first effect", found.first_effect_s),
        ("back in band", found.back_in_band_s),
        ("drained", found.drained_s),
    ):
        if seconds is not None:
            history.add(Mark(t_ns=drain.restart_ns + int(seconds * 1e9), name=name))
    findings.figure("outage_s", (drain.restart_ns - fault.start_ns) / 1e9, "s")
    findings.figure("backlog_events", drain.backlog, "events")
    findings.figure("backlog_at_restart_events", drain.at_restart, "events")
    findings.figure("detected_s", detected, "s")
    findings.figure("first_effect_s", found.first_effect_s, "s")
    findings.figure("back_in_band_s", found.back_in_band_s, "s")
    findings.figure("draining_s", drain.draining_s, "s")
    findings.figure("drained_s", found.drained_s, "s")
    findings.figure("drain_rate_per_s", found.drain_rate_per_s, "1/s")
    findings.figure("excess_lag_event_s", excess_lag_event_s(history), "event seconds")
    findings.figure("caught_up_s", drain.caught_up_s, "s")
    findings.figure("predicted_drain_s", drain.predicted_s, "s")
    findings.figure("prediction_error", drain.error, "share")
    add_lag(findings)
