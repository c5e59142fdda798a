"""What appends and reads have cost beside many groups, beside one, and the one by the other."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from harness.check.ratio import ratios, seconds_of
from harness.conduct.findings import Findings
from harness.measure.curves import SECOND_NS
from harness.measure.recorder import Interval
from harness.measure.timeline import History
from scenarios.many_groups.reading import OPERATIONS, WasRead
from scenarios.many_groups.seen import CALLS, COST
from scenarios.many_groups.turns import KINDS, Turns

# What is added here, for `figure_names`.
COSTS = """
    groups  there read
    bytes   {group,pending}_bytes
    events  pending.least {one,many}.{answered,delivered,acked,claimed}
    operations {one,many}.{read,ack,claim}.count
    1/s     {one,many}.delivered_per_s
    µs      {one,many}.{response,service,read,ack,claim}.{p50,p90,p99,p99.9,max}
    µs      {one,many}.server.{xadd,xreadgroup,xack,xautoclaim}
    ×       ratio.server.{xadd,xreadgroup,xack,xautoclaim}
    ×       ratio.{append,read,ack,claim}.{p50,p99} ratio.{append,read,ack,claim}.{p50,p99}.{low,high}
"""
_RATIOS = {"p50": 0.5, "p99": 0.99}


def add_costs(findings: Findings, turns: Turns, was_read: Sequence[WasRead], commands: Sequence[str]) -> None:
    """Add figures of each kind of turn, and their ratios.

    Args:
        findings: with the intervals of appends and reads.
        turns: of the load.
        was_read: by each reader.
        commands: of which is told what they cost the server.
    """
    for number, kind in enumerate(KINDS):
        for name, what in (("response", "append.response"), ("service", "append.service")):
            seconds = in_turns(findings.intervals, what, turns, number)
            findings.quantiles(f"{kind}.{name}", seconds)
        findings.figure(f"{kind}.answered", _total(seconds), "events")
        for operation in OPERATIONS:
            seconds = in_turns(findings.intervals, f"{operation}.service", turns, number)
            findings.quantiles(f"{kind}.{operation}", seconds)
            findings.figure(f"{kind}.{operation}.count", _total(seconds), "operations")
        for name in ("delivered", "acked", "claimed"):
            findings.figure(f"{kind}.{name}", sum(getattr(each, name)[number] for each in was_read), "events")
        delivered = sum(each.delivered[number] for each in was_read)
        findings.figure(f"{kind}.delivered_per_s", delivered / (turns.turn_s * turns.rounds), "1/s")
    for command in commands:
        costs_us = [
            server_cost_us(findings.history, command, turns.spans_s(number)) for number in range(len(KINDS))
        ]
        for kind, cost_us in zip(KINDS, costs_us, strict=True):
            findings.figure(f"{kind}.server.{command}", cost_us, "µs")
        one_us, many_us = costs_us
        findings.figure(f"ratio.server.{command}", many_us / one_us if one_us and many_us else None, "×")
    for name, tag in (("append", "append.response"), *((each, f"{each}.service") for each in OPERATIONS)):
        sides = [seconds_of(in_turns(findings.intervals, tag, turns, number)) for number in range(len(KINDS))]
        found = ratios(sides[0], sides[1], list(_RATIOS.values()), seed=0)
        for label, ratio in zip(_RATIOS, found, strict=True):
            findings.figure(f"ratio.{name}.{label}", None if ratio is None else ratio.value, "×")
            if ratio is not None and ratio.low is not None:
                findings.figure(f"ratio.{name}.{label}.low", ratio.low, "×")
                findings.figure(f"ratio.{name}.{label}.high", ratio.high, "×")


def in_turns(intervals: Sequence[Interval], tag: str, turns: Turns, kind: int) -> list[Interval]:
    """The seconds of a tag in the turns of a kind, one after the other as if there were no others."""
    found = []
    for turn, (from_s, to_s) in enumerate(turns.spans_s(kind)):
        found += [
            replace(each, start_s=each.start_s - from_s + turn * turns.turn_s)
            for each in intervals
            # A second that begins with a turn may stand a rounding before it.
            if each.tag == tag and from_s <= each.start_s + 1e-3 < to_s
        ]
    return found


def server_cost_us(history: History, command: str, spans_s: Sequence[tuple[int, int]]) -> float | None:
    """What a command has cost a server in spans of time, in the mean, from the first look in each to its last.

    None where it was not looked at, not called, or does not say.
    """
    grown = {CALLS: 0.0, COST: 0.0}
    for reading in grown:
        looks = [(each.t_ns, each.value) for each in history.readings(reading, command=command)]
        for from_s, to_s in spans_s:
            within = [value for t_ns, value in looks if value is not None and from_s <= t_ns / SECOND_NS <= to_s]
            grown[reading] += within[-1] - within[0] if within else 0.0
    return grown[COST] / grown[CALLS] if grown[CALLS] > 0 else None


def _total(seconds: Sequence[Interval]) -> int:
    """How many values there are in some seconds."""
    return sum(each.histogram.total for each in seconds)
