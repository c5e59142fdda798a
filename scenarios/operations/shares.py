"""Who of a group has handled which events, and what consumers have claimed of what another had in hand."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from pyroaring import BitMap

from harness.account.event_ids import sequences_of
from harness.account.ledger import set_of
from harness.measure.timeline import History
from harness.record.evidence import Evidence
from harness.record.run import Verdict
from harness.record.sections import Sections
from scenarios.line.line import Line
from scenarios.operations.operator import name_of
from scenarios.shop.counting_crm import handled_path


class Shares(Struct, frozen=True, kw_only=True):
    """Who has handled how many of the events that have had an effect.

    Attributes:
        handled: different events, by consumer.
        again: how many more these are than different events in all: what two have handled counts once here.
        unnamed: events that have had an effect, and that nobody says to have handled.
    """

    handled: dict[str, int]
    again: int
    unnamed: int

    def share(self, name: str) -> float | None:
        """The part of all that was handled; None where nothing was."""
        total = sum(self.handled.values())
        return self.handled[name] / total if total else None


def handled_section(name: str) -> str:
    """The section of the evidence with the events that a consumer says to have handled."""
    return f"handled.{name}"


def gather_shares(line: Line, sections: Sections, consumers: int) -> None:
    """Put what each consumer says to have handled into the evidence."""
    for number in range(1, consumers + 1):
        path = handled_path(line.stage.directory, str(number))
        ids = path.read_text(encoding="utf-8").split() if path.exists() else []
        sequences = sequences_of(line.producer, ids)
        sections.add_set(handled_section(name_of(number)), set_of(sequences[sequences >= 0]))


def shares_by(evidence: Sections | Evidence, consumers: int) -> Shares:
    """Who has handled how many, by the evidence."""
    union, handled = BitMap(), {}
    for number in range(1, consumers + 1):
        mine = evidence.events(handled_section(name_of(number)))
        handled[name_of(number)] = len(mine)
        union |= mine
    seen = set_of(evidence.order("effects").astype(np.int64))
    return Shares(
        handled=handled,
        again=sum(handled.values()) - len(union),
        unnamed=len(seen - union),
    )


def claimed_s(history: History) -> list[tuple[int, float]]:
    """Of each fault in which others claimed all that a consumer had in hand: how much it was, and after how long.

    A consumer that came back before has handled it itself, and does not count.
    """
    found = []
    for fault in history.faults:
        if fault.by_hand:
            continue
        # What the group calls it: the CRMs are numbers there.
        consumer = fault.target.removeprefix("crm-") if fault.target != "crm" else "1"
        end_ns = fault.end_ns if fault.end_ns is not None else fault.start_ns
        readings = [
            (reading.t_ns, reading.value)
            for reading in history.readings("consumer.pending", consumer=consumer)
            if fault.start_ns <= reading.t_ns <= end_ns and reading.value is not None
        ]
        had = max((value for _, value in readings), default=0)
        free_ns = next((t_ns for t_ns, value in readings if not value), None)
        if had and readings[0][1] and free_ns is not None:
            found.append((int(had), (free_ns - fault.start_ns) / 1e9))
    return found


def all_worked(name: str, shares: Shares) -> Verdict:
    """Whether each consumer of the group, also the one that was added, has handled events."""
    idle = [each for each, count in shares.handled.items() if not count]
    if not any(shares.handled.values()):
        return Verdict(name=name, status="UNKNOWN", detail="no consumer reports a handled event")
    if idle:
        return Verdict(name=name, status="FAIL", detail=f"{', '.join(idle)} handled no event")
    told = ", ".join(f"{each} {shares.share(each) or 0:.0%}" for each in shares.handled)
    return Verdict(name=name, status="PASS", detail=f"of all that was handled: {told}")
