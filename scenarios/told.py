"""What a headline may be made of: the figures of a record, and a few words that the record keeps beside them.

    record --told_of--> Told --headline(parameters, told)--> a sentence

A headline is a pure function of a run's parameters and of what is told, so that it can be made again from a
record, and no number stands in it that is not one of the record's. The words that all scenarios share are here:

    arrived_said     "20,000/s were due; 6,900/s arrived: the server's core was full"; nothing where all arrived
    lost_said        "none was lost", "2 were lost", "2 are stuck"; where the account is not closed, that this is
                     not known
    twice_said       the same of effects that happened twice
    never_caught_up_said    "it had not caught up when nothing moved any more"
    by_hand_said     "with 1 fault by hand (kill, 3.1 s)"

One account, one word: what a verdict cannot decide, no sentence decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from harness.conduct.findings import Findings
from harness.measure.timeline import FaultWindow
from harness.record.run import Record

_MOST_NAMED = 3


class Told(Struct, frozen=True, kw_only=True):
    """What a headline may be made of.

    Attributes:
        prefix: the scenario's, with which its figures' names begin.
        figures: by name, without that prefix; None where one could not be measured.
        limited_by: what limited a load, in words, by the load's name; of a load that arrived there is none.
        by_hand: the faults that somebody has done by hand.
        server: what the record says of the server.
        system: what was measured; empty: OrderShop.
        has_command: whether its consumer is a command of somebody else's.
    """

    prefix: str
    figures: Mapping[str, float | None]
    limited_by: Mapping[str, str] = {}
    by_hand: tuple[FaultWindow, ...] = ()
    server: Mapping[str, Any] = {}
    system: str = ""
    has_command: bool = False

    @property
    def consumer(self) -> str:
        """What a sentence calls the consumer."""
        if self.has_command:
            return "the consumer"
        return f"the consumer of the {self.system}" if self.system else "the CRM"

    def value(self, name: str) -> float | None:
        """A figure of the scenario; None where it is missing or could not be measured."""
        return self.figures.get(name)


def add_by_hand(findings: Findings) -> None:
    """Add the faults that somebody has done by hand as figures, so that a headline may speak of them."""
    by_hand = [fault for fault in findings.history.faults if fault.by_hand]
    if by_hand:
        findings.figure("by_hand", len(by_hand), "faults")
    for number, fault in enumerate(by_hand[:_MOST_NAMED], 1):
        findings.figure(f"by_hand.{number}.lasted_s", _lasted_s(fault), "s")


def told_of(record: Record) -> Told:
    """What is told of a record.

    Raises:
        RunError: its timeline cannot be read.
    """
    run = record.run
    load = run.environment.get("load")
    system = run.environment.get("system", "")
    limited_by = load.get("limited_by", {}) if isinstance(load, Mapping) else {}
    return Told(
        prefix=run.scenario,
        figures={figure.name.removeprefix(f"{run.scenario}."): figure.value for figure in run.figures},
        limited_by=dict(limited_by),
        by_hand=tuple(fault for fault in record.history.faults if fault.by_hand),
        server=run.environment.get("server") or {},
        system=str(system["name"] if isinstance(system, Mapping) else system),
        has_command=has_command(record),
    )


def has_command(record: Record) -> bool:
    """Whether what was measured is a command of somebody else's."""
    return isinstance(record.run.environment.get("system"), Mapping)


def capital(words: str) -> str:
    """Words as a sentence begins."""
    return f"{words[:1].upper()}{words[1:]}"


def _lasted_s(fault: FaultWindow) -> float | None:
    return None if fault.end_ns is None else (fault.end_ns - fault.start_ns) / 1e9


def limit_said(told: Told, name: str = "", part: str = "") -> str:
    """What was due, what arrived, and what limited it; empty where all of it arrived.

    Args:
        name: of the load, where a run has several.
        part: of the load, whose rates are told.
    """
    words = told.limited_by.get(name)
    if words is None:
        return ""
    dot = ".".join(each for each in (name, part) if each)
    offered, reached = (
        told.value(f"{dot}.{kind}_per_s" if dot else f"{kind}_per_s") for kind in ("offered", "reached")
    )
    due = "More was due than arrived" if offered is None else f"{offered:,.0f}/s were due"
    return f"{due}: {words}" if reached is None or offered is None else f"{due}; {reached:,.0f}/s arrived: {words}"


def has_arrived(told: Told, name: str = "") -> bool | None:
    """Whether a load reached the server; None where nobody saw."""
    short = told.value(f"{name}.short_s" if name else "short_s")
    return None if short is None else not short


def arrived_said(told: Told, name: str = "") -> str:
    """A part of a sentence on a load that did not arrive, with what joins it to the one before; else empty."""
    said = limit_said(told, name)
    return f"; of the load, {said[0].lower()}{said[1:]}" if said else ""


def lost_said(told: Told) -> str:
    """What became of what was acknowledged, as far as the account is closed."""
    acknowledged, lost = told.value("acknowledged"), told.value("lost")
    if not acknowledged:
        return "none was acknowledged"
    if lost is None:
        return "whether any was lost is not known, since not all waiting events were handled"
    stuck = told.value("stuck")
    if not lost or not stuck:
        return (f"{lost:,.0f} were lost" if lost else "none was lost") + _spared_said(told)
    still = f"nothing had moved for {told.value('still_s') or 0:,.0f} s"
    return (
        f"{stuck:,.0f} are stuck: {still}"
        if stuck == lost
        else f"{lost:,.0f} were lost, {stuck:,.0f} of them stuck: {still}"
    )


def _spared_said(told: Told) -> str:
    """A part of a sentence on events that have had no effect and are not lost; empty where there are none."""
    said = {
        "poisoned": "refused for ever",
        "parked": "parked by the consumer",
        "emptied": "gone with the server's data",
    }
    mine = {name: words for name, words in said.items() if told.has_command or name == "emptied"}
    there = [f"{count:,.0f} {words}" for name, words in mine.items() if (count := told.value(name))]
    return f" ({', '.join(there)})" if there else ""


def never_caught_up_said(told: Told) -> str:
    """That a consumer had not caught up when the run ended, and why it did; empty where that is not known."""
    if told.value("lost") is None:
        return "it had not caught up when the run stopped waiting"
    return "it had not caught up when nothing moved any more" if told.value("stuck") else ""


def twice_said(told: Told) -> str:
    """What happened twice, as far as was seen."""
    duplicated = told.value("duplicated")
    if told.has_command and duplicated is None:
        return "whether any had its effect twice was not seen"
    if told.value("lost") is None and not duplicated:
        return "no effect had happened twice until then"
    return f"{duplicated:,.0f} effects happened twice" if duplicated else "none had its effect twice"


def by_hand_said(told: Told) -> str:
    """A part of a sentence on faults that somebody has done by hand; empty where nobody has."""
    count = len(told.by_hand)
    if not count:
        return ""
    named = []
    for number, fault in enumerate(told.by_hand[:_MOST_NAMED], 1):
        lasted_s = told.value(f"by_hand.{number}.lasted_s")
        what = fault.name if fault.target in {"crm", "consumer"} else f"{fault.name} {fault.target}"
        named.append(f"{what}, not healed" if lasted_s is None else f"{what}, {lasted_s:.1f} s")
    if count > _MOST_NAMED:
        named.append("and others")
    return f", with {count:,} {'fault' if count == 1 else 'faults'} by hand ({'; '.join(named)})"
