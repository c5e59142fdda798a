"""What is known of a line's events beside what its streams and its ledger say: why some have had no effect.

    poisoned   its effect is refused for ever: that is nobody's loss
    parked     a consumer has put it aside, by its own word (`harness.account.facts`)
    emptied    due before a server came back, and in no stream: what it has not kept, no consumer has lost

These are spared: they are not lost, and each is counted. Of OrderShop, which promises nothing in words, none is
known but what it parks in a stream of its own, and what was gone with a server that was to come back empty; what a
server that was killed has lost is for `redis_crash` to say.

Rejected: to leave such events out of the account as if there were none. What nobody did is to be seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from pyroaring import AbstractBitMap, BitMap, FrozenBitMap

from harness.account.facts import Said, lines_of, read_facts
from harness.account.ledger import set_of
from harness.arrays import Int64s
from harness.check.promises import Recovered
from harness.conduct.findings import Findings
from harness.measure.timeline import FaultWindow
from harness.nemesis.faults import fault_kinds
from harness.record.evidence import Evidence
from harness.record.load_report import section_of
from harness.record.sections import Sections
from harness.system.promise import Promise
from harness.system.telling import telling_of
from scenarios.line.draining import poisoned_of
from scenarios.line.line import Line
from scenarios.line.recovered import first_effects_ns, recoveries

PROMISE = "promise"
# What a server of ours is called in plans of faults.
SERVER_TARGET = "server"
_NONE = FrozenBitMap()
# As the sentence on what is lost has it: "but for those of which 3 ...".
SPARED = {
    "poisoned": "are refused for ever",
    "parked": "were parked, by the consumer's word",
    "emptied": "were gone with the server's data",
}


class Beside(Struct, frozen=True, kw_only=True):
    """What is known of a line's events beside its account.

    Attributes:
        promise: of its consumers; None: they promise nothing in words.
        poisoned, parked, emptied: events, as the head of this module has them.
        said: what consumers have said of themselves; None: they were not asked.
        recoveries: from faults that have healed.
    """

    promise: Promise | None = None
    poisoned: AbstractBitMap = _NONE
    parked: AbstractBitMap = _NONE
    emptied: AbstractBitMap = _NONE
    said: Said | None = None
    recoveries: tuple[Recovered, ...] = ()

    @property
    def spared(self) -> dict[str, AbstractBitMap]:
        """The events that are not lost, each once, by why that is."""
        parked = self.parked - self.poisoned
        emptied = self.emptied - self.poisoned - parked
        return {"poisoned": self.poisoned, "parked": parked, "emptied": emptied}


def beside_of(evidence: Sections | Evidence, line: str = "") -> Beside:
    """What the evidence of a run has of it.

    Args:
        evidence: of the run.
        line: which of several lines; empty: the only one.

    Raises:
        EvidenceError: a section cannot be read.
    """

    def events(name: str) -> AbstractBitMap:
        section = section_of(name, line)
        return evidence.events(section) if evidence.has(section) else _NONE

    promise, said, recovered = (section_of(name, line) for name in (PROMISE, "said", "recoveries"))
    return Beside(
        promise=evidence.value(promise, Promise) if evidence.has(promise) else None,
        poisoned=events("poisoned"),
        parked=events("parked"),
        emptied=events("emptied"),
        said=evidence.value(said, Said) if evidence.has(said) else None,
        recoveries=evidence.value(recovered, tuple[Recovered, ...]) if evidence.has(recovered) else (),
    )


def add_beside(findings: Findings, line: Line) -> None:
    """Put what is known beside the account into the evidence; after what the streams say.

    Args:
        findings: of a run whose drain has ended.
        line: of it.
    """
    sections, ledger, faults = findings.evidence, line.ledger, findings.history.faults
    telling = telling_of(line.running)
    spared: dict[str, AbstractBitMap] = {"poisoned": set_of(poisoned_of(line, telling))}
    if telling.facts:
        said, spared["parked"] = read_facts(
            map(lines_of, telling.facts), producer=line.producer, capacity=ledger.capacity, kills=_kills(faults)
        )
        sections.add_json("said", said)
    # What a server of the shop's that was killed has lost is what `redis_crash` asks.
    spared["emptied"] = _emptied(line, faults, sections, {"kill", "empty"} if sections.has(PROMISE) else {"empty"})
    for name, events in spared.items():
        if events:
            sections.add_set(name, events)
            ledger.spare(np.asarray(events.to_array()).astype(np.int64))
    if sections.has(PROMISE) and sections.value(PROMISE, Promise).order == "stream":
        for number, events in enumerate(line.streams.in_each(), 1):
            sections.add_set(f"in_stream_{number}", events)
    if sections.has(PROMISE) and faults:
        sections.add_json("recoveries", _recoveries(line, faults))


def _kills(faults: Sequence[FaultWindow]) -> int:
    return sum(fault.name.startswith("kill") for fault in faults)


def _emptied(line: Line, faults: Sequence[FaultWindow], sections: Sections, by: set[str]) -> AbstractBitMap:
    """The events that are in no stream, and were due before the server was last away and came back.

    Args:
        by: what was done to it; one that was frozen has lost nothing.
    """
    ended = {name for name, kind in fault_kinds().items() if by.intersection(kind.needs)}
    of_server = [fault for fault in faults if fault.target == SERVER_TARGET and fault.name in ended]
    back_ns = [fault.end_ns for fault in of_server if fault.end_ns is not None]
    if not back_ns:
        return BitMap()
    due_ns = line.pacer.due_ns(0, line.pacer.total)
    before = set_of(np.flatnonzero(due_ns < max(back_ns)).astype(np.int64))
    return before - set_of(sections.order("stored").astype(np.int64)) - sections.events("applied")


def _recoveries(line: Line, faults: Sequence[FaultWindow]) -> list[Recovered]:
    owed: Int64s = line.ledger.owed()
    had_ns = first_effects_ns(line.effects.sequences, line.applied_at, line.ledger.capacity)
    return recoveries(
        faults,
        due_ns=line.pacer.due_ns(0, line.pacer.total)[owed],
        had_ns=had_ns[owed],
        until_ns=line.stage.clock.now_ns() - line.origin_ns,
    )
