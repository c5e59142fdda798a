"""Charts of events, from figures alone: how operations ended, what became of each append, how fast a replay is."""

from __future__ import annotations

import math
import re

import numpy as np

from harness.record.run import Record
from reports.charts import axes
from reports.charts.axes import Part
from reports.charts.view import Chart, Row, Table, bars, flat_spec
from reports.findings import LEDGER, OUTCOMES, groups, printable
from reports.quantities import grouped, quantity


def outcome_chart(record: Record) -> list[Chart]:
    """How operations ended, by kind: OK, FAIL, UNKNOWN, DROPPED."""
    by_prefix = groups(record.run.figures, OUTCOMES)
    words = {"ok": "OK", "failed": "FAIL", "unknown": "UNKNOWN", "dropped": "DROPPED"}
    rows: list[Row] = []
    for prefix, counts in by_prefix.items():
        whole = sum(counts.values())
        for outcome in OUTCOMES:
            if outcome in counts:
                count = counts[outcome]
                share = f" · {quantity(count / whole, 'share')}" if whole else ""
                label = f"{words[outcome]}" + (f" · {printable(prefix)}" if len(by_prefix) > 1 else "")
                rows.append({"v": count, "s": words[outcome], "label": label, "text": grouped(count) + share})
    if not rows:
        return []
    colors = {"OK": "var(--c-3)", "FAIL": "var(--c-2)", "UNKNOWN": "var(--c-4)", "DROPPED": "var(--c-7)"}
    return [
        Chart(
            key="outcomes",
            section="events",
            title="How operations ended",
            caption="UNKNOWN: no answer in time, so it may have happened. DROPPED: due, but never sent. "
            "The axis is a symmetric logarithm, so that one among a million is visible.",
            spec=bars(rows, colors, scale="symlog", title="operations (symmetric log)"),
            hover="item",
            table=Table(["outcome", "operations"], [[row["label"], row["text"]] for row in rows]),
        )
    ]


def ledger_charts(record: Record) -> list[Chart]:
    """What became of every append: attempted, acknowledged, applied; and what does not add up."""
    found: list[Chart] = []
    for prefix, counts in groups(record.run.figures, LEDGER).items():
        stages = [part for part in LEDGER[:3] if part in counts]
        if not stages:
            continue
        rows: list[Row] = []
        before: float | None = None
        for stage in stages:
            count = counts[stage]
            # As many applied may be others: some lost, and as many recovered.
            is_same = stage != "applied" or (counts.get("lost") == 0 and counts.get("recovered") == 0)
            change = "" if before is None else _change(count - before, is_same=is_same)
            rows.append({"v": count, "s": stage, "label": stage, "text": grouped(count) + change})
            before = count
        colors = {"attempted": "var(--c-5)", "acknowledged": "var(--c-1)", "applied": "var(--c-3)"}
        lost = _lost_classes(record, prefix)
        found.append(
            Chart(
                key=f"ledger-{len(found)}",
                section="events",
                title=f"From attempt to effect: {printable(prefix)}",
                caption="From the producer's attempt to the effect at the end of the line, after the drain.",
                spec=bars(rows, colors, scale="linear", title="events"),
                hover="item",
                table=Table(
                    ["stage", "events"],
                    [[part, grouped(counts[part])] for part in LEDGER if part in counts] + lost,
                ),
                tiles=[
                    (part, grouped(counts[part]), _tone(part, counts[part]))
                    for part in LEDGER[3:]
                    if part in counts
                ],
            )
        )
    return found


def _change(difference: float, *, is_same: bool) -> str:
    if not difference:
        return " · all of them" if is_same else " · as many"
    return f" · {grouped(abs(difference))} {'fewer' if difference < 0 else 'more'}"


def _tone(part: str, count: float) -> str:
    if part == "recovered":
        return "plain"
    return "bad" if count and part in {"lost", "unexpected"} else "warn" if count else "good"


def _lost_classes(record: Record, prefix: str) -> list[list[str]]:
    start = f"{prefix}.lost."
    return [
        [f"lost: {printable(f.name.removeprefix(start)).replace('_', ' ')}", quantity(f.value, "1")]
        for f in record.run.figures
        if f.name.startswith(start)
    ]


_REPLAY = re.compile(r"^(?:.+\.)?replay\.(\d{1,15})\.events_per_s$")


def replay_chart(record: Record) -> list[Chart]:
    """Speed of a replay over the number of events replayed."""
    rows: list[Row] = [
        {"x": int(match[1]), "v": figure.value, "s": "speed"}
        for figure in record.run.figures
        if (match := _REPLAY.match(figure.name)) and figure.value is not None and int(match[1])
    ]
    rows.sort(key=lambda row: row["x"])
    if not rows:
        return []
    encoding: Part = {
        "x": axes.amount_axis("events in the streams (log)", "x", "log"),
        "y": axes.amount_axis("events per second (1/s)"),
    }
    line: Part = {
        "mark": {"type": "line", "color": "var(--c-1)", "strokeWidth": 1.8},
        "encoding": encoding,
    }
    points: Part = {
        "mark": {"type": "point", "color": "var(--c-1)", "filled": True, "size": 60, "opacity": 1},
        "encoding": encoding,
    }
    return [
        Chart(
            key="replay",
            section="replay",
            title="Replay speed over the number of events",
            caption=_slope(rows),
            spec=flat_spec([line, points], rows, 240, []),
            unit="events/s",
            along="events",
            series=[],
            table=Table(
                ["events", "speed", "whole replay"],
                [
                    [
                        grouped(r["x"]),
                        quantity(r["v"], "events/s"),
                        quantity(r["x"] / r["v"] if r["v"] else None, "s"),
                    ]
                    for r in rows
                ],
            ),
            size="wide",
        )
    ]


def _slope(rows: list[Row]) -> str:
    """How the speed changes with ten times the events: the least-squares line through the logarithms."""
    usable = [row for row in rows if row["v"] > 0]
    if len(usable) < 2:
        return "One size only: no slope."
    slope = np.polyfit([math.log10(r["x"]) for r in usable], [math.log10(r["v"]) for r in usable], 1)[0]
    change = 10 ** float(slope) - 1
    if abs(change) < 0.02:
        return "A flat line means that the cost of an event does not depend on their number. This line is flat."
    word = "faster" if change > 0 else "slower"
    return f"With ten times the events, a replay is {quantity(abs(change), 'share')} {word} per event."
