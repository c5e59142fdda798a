"""What a line owes at its end: the account of every event, where the lost ones stopped, and what it all cost."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from msgspec import Struct
from pyroaring import AbstractBitMap, BitMap, FrozenBitMap

from harness.account.examples import SECTION as EXAMPLES
from harness.account.ledger import Account, account_of, set_of
from harness.account.losses import TRIMMED_IN_HAND, TRIMMED_UNREAD, Losses, Trimmed, classify_losses
from harness.account.order import Order, order_of_effects
from harness.arrays import Int64s
from harness.check.arrival import ArrivalRule, arrival_checker
from harness.check.judge import Checker
from harness.check.load_reached import Seconds
from harness.check.loads import answered_checker, named, send_lag_checker
from harness.conduct.findings import Findings
from harness.measure.outcomes import OK
from harness.measure.timeline import History
from harness.record.evidence import FILE, Evidence, EvidenceError
from harness.record.load_report import section_of
from harness.record.run import Record, Verdict
from harness.record.sections import Sections
from harness.system.promise import Promise
from scenarios.arrival import add_arrival
from scenarios.line import judgements
from scenarios.line.beside import SPARED, Beside, add_beside, beside_of
from scenarios.line.evidence import NOTED, LineFacts
from scenarios.line.figures import OF_OTHERS_FIGURES, add_observed, add_promised
from scenarios.line.followed import FollowsGroups, GroupTold, seen_in
from scenarios.line.line import Line
from scenarios.told import has_command


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
        # Else what has had no effect waits, and be it for ever.
        waited = np.intersect1d(waited, line.effects.sequences)
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


_NONE = FrozenBitMap()

# What `add_lag` and `add_account` add, for `figure_names`.
ACCOUNT = """
    events  events.max attempted acknowledged applied lost duplicated unexpected recovered
    events  lost.* stuck stored parked disordered
    s       seconds.max still_s
    cores   probes.core_share
    share   probes.server_share
"""
ACCOUNT += OF_OTHERS_FIGURES


def add_line_arrival(findings: Findings, line: Line, *, budget_ms: float, until_ns: int | None = None) -> Seconds:
    """The figures on whether the load of a line reached its server.

    Args:
        budget_ms: what the instrument may be late.
        until_ns: up to when the load is judged; None: all of it.
    """
    if line.arriving is not None:
        line.arriving.end()
    blind = line.arriving.blind if line.arriving is not None else ""
    rule = ArrivalRule(budget_ms=budget_ms, until_ns=until_ns, blind=blind)
    return add_arrival(findings, findings.history, line.result.report(), rule)


class Accounted(Struct, frozen=True, kw_only=True):
    """What became of the events of a line, by the evidence.

    Attributes:
        account: of every event.
        losses: the lost ones, by where they stopped.
        order: whether effects came in the order of their events, entity by entity.
        stored: how many different events are in the streams.
        gone: those that were acknowledged and are in no stream.
        unknown_stored: how many without an answer are in the streams all the same.
        facts: of the line.
        without_effect: those that were acknowledged and have had none, lost or not.
        beside: what is known beside it: the promise, and why events have had no effect.
    """

    account: Account
    losses: Losses
    order: Order
    stored: int
    gone: AbstractBitMap
    unknown_stored: int
    facts: LineFacts
    without_effect: AbstractBitMap = _NONE
    beside: Beside = Beside()

    @property
    def promise(self) -> Promise | None:
        """Of consumers that somebody else has written; None: they are ours."""
        return self.beside.promise

    @property
    def spared_said(self) -> dict[str, int]:
        """How many acknowledged events have had no effect and are not lost, by the reason, in words."""
        return {SPARED[name]: len(events & self.without_effect) for name, events in self.beside.spared.items()}

    @property
    def stuck(self) -> int:
        """How many of the lost ones wait for a consumer, and nothing moves any more."""
        return sum(self.losses.waiting.values()) if self.facts.ending == "still" else 0


def accounted(evidence: Sections | Evidence, line: str = "") -> Accounted:
    """What became of the events of a line.

    Args:
        evidence: of the run.
        line: which of several lines; empty: the only one.

    Raises:
        EvidenceError: a section is not there, cannot be read, or contradicts another.
    """
    noted = {name: evidence.events(section_of(name, line)) for name in NOTED}
    facts = evidence.value(section_of("line", line), LineFacts)
    stored, seen = (evidence.order(section_of(name, line)) for name in ("stored", "effects"))
    for name, numbers in (("stored", stored), ("effects", seen)):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < facts.capacity:
            raise EvidenceError(f"{FILE}: {section_of(name, line)} has events that there cannot be")
    in_stream = set_of(stored.astype(np.int64))
    delivered, pending, groupless = (section_of(name, line) for name in ("delivered", "pending", "groupless"))
    has_group = evidence.has(delivered)
    if set_of(seen.astype(np.int64)) != noted["applied"]:
        raise EvidenceError(f"{FILE}: {section_of('effects', line)} and applied contradict each other")
    places = np.full(facts.capacity, -1, np.int64)
    places[stored] = np.arange(stored.size)
    beside, without_effect = beside_of(evidence, line), noted["acknowledged"] - noted["applied"]
    spared = BitMap.union(*beside.spared.values())
    return Accounted(
        account=account_of(**noted, spared=spared, effects=seen.size, foreign=facts.foreign),
        losses=classify_losses(
            without_effect - spared,
            in_stream=in_stream,
            delivered=evidence.events(delivered) if has_group else None,
            pending=evidence.events(pending) if has_group else None,
            groupless=evidence.events(groupless) if evidence.has(groupless) else BitMap(),
            seen=seen_in(evidence, line),
            trimmed=_trimmed_in(evidence, line),
        ),
        order=order_of_effects(
            seen.astype(np.int64),
            entities=_ordered_by(evidence, line, facts, beside.promise),
            places=places,
        ),
        stored=len(in_stream),
        without_effect=without_effect,
        gone=noted["acknowledged"] - in_stream,
        unknown_stored=noted["unknown"].intersection_cardinality(in_stream),
        facts=facts,
        beside=beside,
    )


def _trimmed_in(evidence: Sections | Evidence, line: str) -> Trimmed | None:
    """What was seen to be trimmed before it was handled; None: nobody looked."""
    unread, in_hand = (section_of(name, line) for name in (TRIMMED_UNREAD, TRIMMED_IN_HAND))
    if not evidence.has(unread):
        return None
    return Trimmed(unread=evidence.events(unread), in_hand=evidence.events(in_hand))


def _ordered_by(evidence: Sections | Evidence, line: str, facts: LineFacts, promise: Promise | None) -> Int64s:
    """Of what each event has an order with others: its entity, or, where that is promised, its stream."""
    if promise is None or promise.order != "stream":
        return np.arange(facts.capacity, dtype=np.int64) // facts.events_an_entity
    streams = np.full(facts.capacity, -1, np.int64)
    for number in range(1, len(facts.groups) + 1):
        streams[evidence.events(section_of(f"in_stream_{number}", line)).to_array()] = number
    return streams


def add_account(findings: Findings, line: Line, *, timeout_s: float) -> Accounted:
    """The evidence and the figures that every line owes: the account of every event, and what looking has cost.

    Args:
        timeout_s: for how long the drain might take; where it took longer, the account is not closed.
    """
    line.gather(findings.evidence, waited_s=timeout_s)
    add_beside(findings, line)
    told = group_told(line)
    if told is not None:
        told.gather(findings.evidence, lost_in(findings.evidence))
    found = accounted(findings.evidence)
    is_closed = found.facts.is_closed
    findings.closed.append(is_closed)
    if told is not None and is_closed:
        findings.evidence.add_json(EXAMPLES, told.examples(found.losses, line.producer))
    for name in ("attempted", "acknowledged", "applied", "lost", "duplicated", "unexpected", "recovered"):
        # What waits is not lost: as long as things move, nobody knows.
        is_known = is_closed or not name.startswith("lost")
        if name == "duplicated":
            # Behind a unique key none is seen twice, though it may have been.
            is_known = found.facts.sees_repeats or found.account.duplicated > 0
        findings.figure(name, getattr(found.account, name) if is_known else None, "events")
    for where, count in found.losses.counts.items():
        findings.figure(f"lost.{where}", count if is_closed else None, "events")
    if found.facts.ending == "still":
        findings.figure("stuck", found.stuck, "events")
        findings.figure("still_s", found.facts.still_s, "s")
    findings.figure("stored", found.stored, "events")
    findings.figure("parked", found.facts.parked + len(found.beside.parked), "events")
    findings.figure("disordered", found.order.disordered, "events")
    add_observed(findings, found.facts.consumer)
    add_promised(findings, found)
    _add_cost_of_probes(findings, line)
    findings.concluded()
    return found


def lost_in(evidence: Sections | Evidence, line: str = "") -> AbstractBitMap:
    """The events that were acknowledged, have had no effect, and are not spared.

    Raises:
        EvidenceError: a section is not there, or cannot be read.
    """
    without = evidence.events(section_of("acknowledged", line)) - evidence.events(section_of("applied", line))
    return without - BitMap.union(*beside_of(evidence, line).spared.values())


def group_told(line: Line) -> GroupTold | None:
    """What the group of a line was told, after its evidence was gathered; None where no consumer is followed.

    Raises:
        OSError: a log of it cannot be read.
    """
    running = line.running
    if not isinstance(running, FollowsGroups) or not running.followers:
        return None
    return GroupTold(running.followers, running.consumers, line.streams, line.system, line.origin_ns)


# Verdicts ---------------------------------------------------------------------------------------------------

Judgement = Callable[[str, Accounted], Verdict | None]


JUDGEMENTS: Mapping[str, Judgement] = {
    "drained": judgements.drained,
    "nothing_lost": judgements.nothing_lost,
    "nothing_twice": judgements.nothing_twice,
    "nothing_unexpected": judgements.nothing_unexpected,
    "in_order": judgements.in_order,
}
# Of consumers that somebody else has written.
OF_OTHERS: Mapping[str, Judgement] = {
    "outage_happened": judgements.outage_happened,
    "recovered_within": judgements.recovered_within,
    "poison_passed_over": judgements.poison_passed_over,
}


def account_checkers(
    prefix: str,
    line: str = "",
    *,
    record: Record | None = None,
    leave_out: Collection[str] = (),
    also: Mapping[str, Judgement] | None = None,
) -> list[Checker]:
    """What finds the verdicts that every line owes: answers, drain, and the account of every event.

    Args:
        prefix: the scenario's name.
        line: which of several lines; empty: the only one.
        record: of the run; None: the consumers are ours.
        leave_out: verdicts that what was done to the line makes no sense of, such as `answered` of a server that
            was killed.
        also: more that is found in the account, by name.
    """
    # All of them look at one account, which takes a while to make.
    found = functools.lru_cache(maxsize=1)(lambda record: accounted(record.evidence, line))
    reads = tuple(section_of(name, line) for name in (*NOTED, "effects", "stored", "line"))

    def checker(what: str, judgement: Judgement) -> Checker:
        name = named(prefix, line, what)
        return Checker(name, lambda record: judgement(name, found(record)), reads=reads, part=line)

    owed = JUDGEMENTS if record is None or not has_command(record) else {**JUDGEMENTS, **OF_OTHERS}
    of_account = {what: judgement for what, judgement in owed.items() if what not in leave_out}
    first = [answered_checker(prefix, line)] if "answered" not in leave_out else []
    return [*first, *(checker(what, each) for what, each in {**of_account, **(also or {})}.items())]


def line_checkers(
    prefix: str,
    line: str = "",
    *,
    record: Record | None = None,
    between: Sequence[Checker] = (),
    leave_out: Collection[str] = (),
    also: Mapping[str, Judgement] | None = None,
) -> list[Checker]:
    """What finds the verdicts of a line under load: send lag, arrival, and its account.

    Args:
        prefix: the scenario's name.
        line: which of several lines; empty: the only one.
        between: what is judged after the load, and before the account.
        record, leave_out, also: as for `account_checkers`.
    """
    operation = f"append_{line}" if line else "append"
    return [
        send_lag_checker(prefix, operation, line),
        arrival_checker(prefix, line),
        *between,
        *account_checkers(prefix, line, record=record, leave_out=leave_out, also=also),
    ]


def _add_cost_of_probes(findings: Findings, line: Line) -> None:
    """What looking has cost: the sampler's share of a core, and the server's of its time."""
    sampler = line.sampler
    if sampler is not None and sampler.rounds:
        took_ns = line.stage.clock.now_ns() - line.origin_ns
        findings.figure("probes.core_share", sampler.busy_ns / took_ns, "cores")
    findings.figure("probes.server_share", line.probe_share, "share")
