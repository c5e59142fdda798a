"""What was seen of a fault beside its window, as evidence, and the verdicts on whether it was what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from msgspec.structs import replace
from pyroaring import BitMap

from harness.check import faults_done
from harness.check.faults_done import FaultFacts, Parted
from harness.check.judge import Checker
from harness.conduct.findings import Findings
from harness.measure.outcomes import OK
from harness.measure.timeline import FaultWindow, History
from harness.nemesis.kind import FaultKind
from harness.record.files import TIMELINE
from harness.record.run import Record, Verdict
from harness.system.telling import telling_of
from scenarios.line.line import Line
from scenarios.line.recovery import count_at
from scenarios.outage.fault import LOOK_NS, planned_fault

# The section of the evidence with `FaultFacts`.
FAULT = "fault"
# Those with the events that the group was set back by, and those of them that were attempted once more.
SET_BACK, TRIED_AGAIN = "set_back", "tried_again"

Judgement = Callable[[str, FaultWindow | None, FaultFacts], Verdict]
_DONE: Mapping[str, tuple[str, Judgement]] = {
    "kill_then_quiet": ("went_quiet", lambda name, _, facts: faults_done.went_quiet(name, facts)),
    "one_backlog": ("one_backlog", lambda name, _, facts: faults_done.one_backlog(name, facts)),
    "kill_leader": ("others_lived_on", faults_done.others_lived_on),
    "stop_while_away": (
        "stopped_while_away",
        lambda name, fault, _: faults_done.hit_while_away(name, fault, "was told to stop"),
    ),
    "kill_while_away": (
        "killed_while_away",
        lambda name, fault, _: faults_done.hit_while_away(name, fault, "was killed"),
    ),
    "rolling": ("rolled", faults_done.rolled),
    "refuse": ("was_refused", lambda name, _, facts: faults_done.was_answered(name, "R", facts.attempts)),
    "poison": ("was_poisoned", lambda name, _, facts: faults_done.was_answered(name, "P", facts.attempts)),
}


def done_checkers(kind: FaultKind, *, counts_attempts: bool) -> list[Checker]:
    """What finds whether a fault was what it says, where its name says more than what was done to a process.

    Args:
        kind: of the fault.
        counts_attempts: whether the system counts attempts at effects.
    """
    if kind.name == "redeliver":
        return [Checker("crm_outage.redelivered", _redelivered, reads=(FAULT,))]
    if kind.name not in _DONE or (kind.name in {"refuse", "poison"} and not counts_attempts):
        return []
    called, judgement = _DONE[kind.name]
    name = f"crm_outage.{called}"

    def check(record: Record) -> Verdict:
        return judgement(name, planned_fault(record.history), record.evidence.value(FAULT, FaultFacts))

    return [Checker(name, check, reads=(FAULT, TIMELINE))]


def _redelivered(record: Record) -> Verdict:
    evidence = record.evidence
    set_back, tried_again = (
        evidence.events(name) if evidence.has(name) else None for name in (SET_BACK, TRIED_AGAIN)
    )
    return faults_done.redelivered("crm_outage.redelivered", set_back, tried_again)


def add_done(findings: Findings, line: Line, kind: FaultKind, fault: FaultWindow) -> None:
    """Put what was seen of a fault into the evidence, and what is a number of it among the figures."""
    facts = FaultFacts(attempts=dict(telling_of(line.running).attempts))
    if kind.load == "ends":
        facts = replace(facts, due_after=_due_after(line, fault.start_ns))
    if line.settings.by_stream is not None:
        facts = replace(facts, streams=parted(line.streams.numbers_by_stream(), *line.settings.by_stream))
    if kind.name == "kill_leader":
        end_ns = fault.end_ns or fault.start_ns
        meanwhile = count_at(line.applied_at, end_ns) - count_at(line.applied_at, fault.start_ns + LOOK_NS)
        facts = replace(facts, effects_meanwhile=max(0, meanwhile))
        findings.figure("survivors", fault.seen.get("survivors"), "processes")
        findings.figure("effects_meanwhile", facts.effects_meanwhile, "events")
    if kind.name == "rolling":
        taken_over_s, still_theirs = taken_over(findings.history, fault)
        facts = replace(facts, taken_over_s=taken_over_s, still_theirs=still_theirs)
        findings.figure("left_events", fault.seen.get("left"), "events")
        findings.figure("taken_over_s", taken_over_s, "s")
    findings.evidence.add_json(FAULT, facts)


def _due_after(line: Line, t_ns: int) -> int | None:
    """How many events that were acknowledged were due after a moment; None where nobody knows."""
    outcomes = line.result.outcomes
    if outcomes is None:
        return None
    due_ns = line.pacer.due_ns(0, outcomes.size)
    return int(np.count_nonzero((outcomes == OK) & (due_ns > t_ns)))


def parted(streams: Mapping[str, Sequence[int]], from_number: int, until_number: int) -> dict[str, Parted]:
    """What each stream got while a consumer was away, and after that.

    Args:
        streams: the numbers of the events in each, by its name.
        from_number: the first event that was published while it was away.
        until_number: the first that was published afterwards.
    """
    found = {}
    for name, numbers in streams.items():
        held = np.asarray(numbers, np.int64)
        away = np.count_nonzero((held >= from_number) & (held < until_number))
        found[name] = Parted(away=int(away), news=int(np.count_nonzero(held >= until_number)))
    return found


def taken_over(history: History, fault: FaultWindow) -> tuple[float | None, int | None]:
    """From a fault's beginning until nothing was pending for who had been in the group before, and stayed so.

    Returns:
        The seconds, or None where something was pending until the end; and what was pending for them at the last
        look, or None where nobody looked.
    """
    looks = list(history.readings("consumer.pending"))
    theirs = {r.labels.get("consumer", "") for r in looks if r.t_ns < fault.start_ns}
    pending: dict[int, float] = {}
    for reading in looks:
        if reading.value is not None and reading.t_ns >= fault.start_ns:
            own = reading.value if reading.labels.get("consumer", "") in theirs else 0.0
            pending[reading.t_ns] = pending.get(reading.t_ns, 0.0) + own
    if not theirs or not pending:
        return None, None
    times = sorted(pending)
    held = [t_ns for t_ns in times if pending[t_ns]]
    last = int(pending[times[-1]])
    if not held:
        return 0.0, last
    free_ns = next((t_ns for t_ns in times if t_ns > held[-1]), None)
    return (None if free_ns is None else (free_ns - fault.start_ns) / 1e9), last


def add_redelivered(findings: Findings, set_back: Sequence[int], tried_again: Sequence[int] | None) -> None:
    """Put what came of a group that was set back into the evidence.

    Args:
        set_back: the numbers of the events behind its new position.
        tried_again: of those that were attempted once more; None: attempts were not seen.
    """
    findings.evidence.add_set(SET_BACK, BitMap(set_back))
    findings.figure("set_back", len(set_back), "events")
    findings.figure("tried_again", None if tried_again is None else len(tried_again), "events")
    if tried_again is not None:
        findings.evidence.add_set(TRIED_AGAIN, BitMap(tried_again))
