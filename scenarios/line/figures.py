"""The figures of consumers that somebody else has written: what was seen of them, promised or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.account.facts import FACTS
from harness.conduct.findings import Findings
from harness.measure.timeline import Mark
from harness.system.port import ConsumerFacts

if TYPE_CHECKING:
    from scenarios.line.account import Accounted

# Of a consumer that ends again and again the first exits are marked, and all are counted.
MOST_MARKS = 100

# What is added here, for `figure_names`.
OF_OTHERS_FIGURES = """
    exits   exits
    outages outages_seen
    s       ready_s recovered_s.max
    events  attempts_while_down repeated kept_out refused poisoned emptied
    events  facts.{received,done,failed,parked,rejected}
    lines   facts.bad_lines
    processes left_session
"""


def add_observed(findings: Findings, seen: ConsumerFacts | None) -> None:
    """What was seen of consumers that somebody else has written: figures, and a mark for each exit."""
    if seen is None:
        return
    for each in seen.exits[:MOST_MARKS]:
        findings.history.add(Mark(t_ns=each.at_ns, name=f"{each.consumer} exited with {each.status}"))
    findings.figure("ready_s", seen.ready_s, "s")
    findings.figure("exits", len(seen.exits), "exits")
    findings.figure("outages_seen", seen.downs, "outages")
    findings.figure("attempts_while_down", seen.attempts_while_down if seen.downs else None, "events")
    findings.figure("left_session", seen.strays, "processes")


def add_promised(findings: Findings, found: Accounted) -> None:
    """What of consumers that somebody else has written is a figure, whether it is promised or not."""
    if found.promise is None:
        if emptied := found.beside.spared["emptied"]:
            findings.figure("emptied", len(emptied & found.without_effect), "events")
        return
    kept_out = found.facts.attempts.get("D", 0)
    seen = found.facts.sees_repeats
    findings.figure("repeated", found.account.duplicated + kept_out if seen else None, "events")
    findings.figure("kept_out", kept_out if seen else None, "events")
    findings.figure("refused", found.facts.attempts.get("R", 0) if seen else None, "events")
    for name, events in found.beside.spared.items():
        if name != "parked" and events:
            findings.figure(name, len(events & found.without_effect), "events")
    recovered = [each for each in found.beside.recoveries if not each.without_effect]
    if found.beside.recoveries:
        longest = max((each.took_s for each in recovered), default=None)
        is_whole = len(recovered) == len(found.beside.recoveries)
        findings.figure("recovered_s.max", longest if is_whole else None, "s")
    said = found.beside.said
    if said is not None and (said.counts or said.bad):
        for fact in FACTS:
            findings.figure(f"facts.{fact}", said.counts.get(fact, 0), "events")
        findings.figure("facts.bad_lines", said.bad, "lines")
