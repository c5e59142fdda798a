"""What became of the events of a line, written by hand: as evidence, beside a load's report and latencies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from pyroaring import BitMap

from harness.account.losses import TRIMMED_IN_HAND, TRIMMED_UNREAD, Seen
from harness.check.arrival import ArrivalRule
from harness.check.checkers import Ending
from harness.check.promises import Recovered
from harness.measure.curves import add_curve
from harness.measure.recorder import Interval, Recorder
from harness.measure.timeline import History
from harness.record.load_report import LoadReport, section_of
from harness.record.sections import Sections
from harness.system.promise import Promise
from scenarios.line.evidence import Group, LineFacts
from scenarios.line.followed import FOLLOWED, Followed

MS, S = 1_000_000, 1_000_000_000


def add_events(
    sections: Sections,
    line: str = "",
    *,
    acknowledged: Collection[int] = range(6),
    effects: Sequence[int] | None = None,
    stored: Sequence[int] | None = None,
    delivered: Collection[int] | None = range(6),
    pending: Collection[int] = (),
    attempted: Collection[int] = (),
    unknown: Collection[int] = (),
    refused: Collection[int] = (),
    groupless: Collection[int] | None = None,
    foreign: int = 0,
    consumers: int = 1,
    ending: Ending = "drained",
    promise: Promise | None = None,
    spared: Mapping[str, Collection[int]] | None = None,
    recoveries: Sequence[Recovered] = (),
    in_stream: Sequence[Collection[int]] = (),
    seen: Mapping[str, Collection[int]] | None = None,
    trimmed: tuple[Collection[int], Collection[int]] | None = None,
    **facts: Any,
) -> Sections:
    """Add what is known of twelve events at most, each two of which are about one entity.

    Args:
        sections: get it.
        line: which of several.
        effects: in their order; None: of each acknowledged one, once.
        stored: in the order of the streams; None: each acknowledged one.
        delivered: None: there is no group, and nothing is pending.
        groupless: None: an older shopbench, which did not say of which streams there is no group.
        seen: by following the consumers, as `Seen` has it; None: nobody followed them.
        trimmed: before it was read, and while a consumer had it, as who trims has seen; None: nobody looked.
        ending: of the drain.
        promise: of the consumers; None: they are ours.
        spared: poisoned, parked, emptied.
        recoveries: from faults.
        in_stream: the events of each stream.
        facts: more of them.
    """
    effects = sorted(acknowledged) if effects is None else effects
    stored = sorted(acknowledged) if stored is None else stored
    sets = {"attempted": attempted, "acknowledged": acknowledged, "unknown": unknown, "refused": refused}
    for name, events in {**sets, "applied": effects}.items():
        sections.add_set(section_of(name, line), BitMap(events))
    for name, events in {"effects": effects, "stored": stored}.items():
        sections.add_order(section_of(name, line), [np.array(events, np.int32)])
    if delivered is not None:
        sections.add_set(section_of("delivered", line), BitMap(delivered))
        sections.add_set(section_of("pending", line), BitMap(pending))
    of_streams = {f"in_stream_{number}": events for number, events in enumerate(in_stream, 1)}
    of_trimmer = dict(zip((TRIMMED_UNREAD, TRIMMED_IN_HAND), trimmed or (), strict=False))
    for name, events in {**of_streams, **of_trimmer, **(spared or {})}.items():
        sections.add_set(section_of(name, line), BitMap(events))
    given = {section_of("promise", line): promise, section_of("recoveries", line): recoveries or None}
    for name, value in given.items():
        if value is not None:
            sections.add_json(name, value)
    if groupless is not None:
        sections.add_set(section_of("groupless", line), BitMap(groupless))
    if seen:
        for name in Seen.__struct_fields__:
            sections.add_set(section_of(name, line), BitMap(seen.get(name, ())))
        sections.add_json(section_of(FOLLOWED, line), Followed(consumers=["crm"]))
    line_facts = LineFacts(
        capacity=12,
        events_an_entity=2,
        foreign=foreign,
        consumers=consumers,
        groups={f"events:{number}": Group() for number in range(1, len(in_stream) + 1)},
        parked=0,
        waited_s=60.0,
        ending=ending,
        **facts,
    )
    sections.add_json(section_of("line", line), line_facts)
    return sections


def add_load(
    sections: Sections, history: History, load: str = "", *, rule: ArrivalRule | None = None, refused: int = 100
) -> None:
    """Add a load of two seconds of which the server has taken half; the rest was refused, or had no answer."""
    report = LoadReport(
        arrivals=200,
        ok=100,
        failed=refused,
        unknown=100 - refused,
        dropped=0,
        offered_in_s=[100, 100],
        answered_in_s=[50, 50],
        scheduled_ns=2 * S,
        wall_ns=2 * S,
    )
    sections.add_json(section_of("load", load), report)
    sections.add_json(section_of("arrival", load), rule or ArrivalRule(budget_ms=20, name=load))
    for kind in ("reached", "answered"):
        add_curve(history, kind, [*((at * S // 10, 5 * at) for at in range(21)), (3 * S, 100)], load=load)


def latencies(operation: str, seconds: Sequence[tuple[float, float]]) -> list[Interval]:
    """A hundred operations in each second.

    Args:
        operation: as a pump records it.
        seconds: of each, how late its operations were sent, and how long an answer took from then; milliseconds.
    """
    recorder = Recorder()
    for second, (late_ms, took_ms) in enumerate(seconds):
        due = second * S + np.arange(100, dtype=np.int64) * (S // 100)
        start = due + round(late_ms * MS)
        recorder.record(operation, due, start, start + round(took_ms * MS))
    return recorder.intervals()
