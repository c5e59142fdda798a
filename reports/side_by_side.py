"""A comparison as a page, as Markdown and as lines of a terminal; its words are those of `reports.compare`.

A page reads from the top: which runs, what differs between them and whether they can be compared at all, the
figures that matter, the curves over one another, all the rest. No ratio stands above what could explain it.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.check.ratio import CONFIDENCE, FEWEST_BEYOND, FEWEST_SECONDS, RESAMPLES
from harness.measure.hlog import LatencyLog
from harness.measure.operations import intervals_of, total_of
from harness.measure.recorder import KINDS
from harness.record.run import write_atomically
from reports.charts import axes
from reports.charts.latency import percentile_rows, percentile_table
from reports.charts.view import Chart, Row, Series, flat_spec, lines
from reports.compare import Comparison, Comparisons, Line, Side, judged, listed, told_ratio, told_value
from reports.differences import server_of
from reports.findings import moment, printable, sentence
from reports.latencies import by_span, holes, quantiles_of
from reports.page import chart_script, drawing, libraries, page
from reports.quantities import grouped
from reports.run_to_run import told
from reports.summaries import STYLES, Console, Options, as_markdown, one_line

_PALETTE = tuple(f"var(--c-{n})" for n in (1, 2, 3, 6, 4, 5, 8, 7))
_MOST_OPERATIONS = 6
_INTERVALS = 300
_PERCENTILES = (0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1.0)
_WORDS = {"PASS": "comparable", "UNKNOWN": "with reservations", "FAIL": "not comparable"}
_SIGNS = {"PASS": "✅", "UNKNOWN": "❔", "FAIL": "❌"}

COVERAGE = (
    f"An interval holds {CONFIDENCE * 100:g} % of the ratios that other seconds of these same runs would have "
    f"given ({RESAMPLES:,} resamples, blocks of seconds). It covers how much a run varies within itself. It does "
    "not cover how much one run differs from the next, with all else the same: that needs several runs a side, "
    "and where there are, what they differ by is said. "
    "In simulations of short runs it held the true ratio in 86 to 94 of 100 cases, where 95 were due. "
    f"Runs of fewer than {FEWEST_SECONDS} seconds, quantiles with fewer than {FEWEST_BEYOND} operations beyond "
    "them, slowest operations, and figures that a run has only one of, have no interval."
)


def write_comparison(comparisons: Comparisons, path: Path) -> Path:
    """Write a comparison as a page, and as Markdown beside it, and return the page's path.

    Args:
        comparisons: what `reports.compare.compare` has found.
        path: of the page; the Markdown has its name, and `.md`.

    Raises:
        RunError: a part of a record cannot be read.
        OSError: a file cannot be written.
    """
    html, text = render_comparison(comparisons, path.parent), comparison_markdown(comparisons)
    write_atomically(path.with_suffix(".md"), text.encode())
    write_atomically(path, html.encode())
    return path


# --- page ------------------------------------------------------------------------------------------------


def render_comparison(comparisons: Comparisons, base: Path) -> str:
    """The comparison as one self-contained HTML page.

    Args:
        comparisons: what was found.
        base: the directory that the page will stand in, for its links to the runs' own reports.

    Raises:
        RunError: a part of a record cannot be read.
    """
    charts = [comparison_charts(part) for part in comparisons.parts]
    return page(
        "compare.html.j2",
        sides=[(side, _link(side, base), server_of(side.run), sentence(side.run)) for side in comparisons.sides],
        title=_title(comparisons),
        parts=list(zip((f"p{n}" for n in range(len(charts))), comparisons.parts, charts, strict=True)),
        alone=comparisons.alone,
        coverage=COVERAGE,
        words=_WORDS,
        listed=listed,
        told_ratio=told_ratio,
        run_to_run=told,
        judged=judged,
        libraries=libraries(),
        script=chart_script(),
        data=drawing({f"p{n}": drawn for n, drawn in enumerate(charts) if drawn}),
    )


def _title(comparisons: Comparisons) -> str:
    letters = " against ".join(side.letter for side in comparisons.sides)
    return f"{comparisons.parts[0].scenario}: {letters}" if len(comparisons.parts) == 1 else letters


def _link(side: Side, base: Path) -> str:
    report = side.record.directory / "report.html"
    if not report.exists():
        return ""
    return quote(os.path.relpath(report.resolve(), base.resolve()))


def comparison_charts(part: Comparison) -> list[Chart]:
    """For each operation that all runs have: its latencies by percentile, and its response over time.

    Args:
        part: the comparison; its runs' latencies are read again.
    """
    series = [
        Series(printable(f"{side.letter} {side.name}"), _PALETTE[at], (5, 3) if at else ())
        for at, side in enumerate(part.sides)
    ]
    logs = [side.record.latency for side in part.sides]
    shown = list(part.latency)[:_MOST_OPERATIONS]
    span = _span(logs, shown)
    found: list[Chart] = []
    for at, operation in enumerate(shown):
        for kind in KINDS:
            found += _overlaid(logs, series, operation, kind, at)
        found += _over_time(logs, series, operation, at, span)
    return found


def _span(logs: Sequence[LatencyLog], shown: Sequence[str]) -> tuple[float, float]:
    """The time that the charts show, in seconds: one for all of them, since they move together."""
    found = [i for log in logs for operation in shown for i in intervals_of(log, operation, "response")]
    return min([0.0, *(i.start_s for i in found)]), max([1.0, *(i.start_s + i.length_s for i in found)])


def _overlaid(logs: Sequence[LatencyLog], series: list[Series], operation: str, kind: str, at: int) -> list[Chart]:
    totals = [total_of(log, operation, kind) for log in logs]
    columns = [quantiles_of(intervals_of(log, operation, kind), _PERCENTILES) for log in logs]
    rows = [
        r for s, total in zip(series, totals, strict=True) if total.total for r in percentile_rows(s.name, total)
    ]
    if not rows:
        return []
    axis = axes.latency_axis(row["v"] for row in rows)
    x = axes.percentile_axis(max(row["x"] for row in rows))
    word = kind.replace("_", " ")
    return [
        Chart(
            key=f"{kind}-{at}",
            section="latency",
            title=f"{word.capitalize()} by percentile: {printable(operation)}",
            caption=" against ".join(f"{grouped(total.total)}" for total in totals) + " operations.",
            spec=flat_spec(
                lines(x, axis, series, rows, step="step-before"),
                rows,
                320 if kind == "response" else 220,
                axes.series_signals(),
            ),
            unit="µs",
            along="percentile",
            series=series,
            table=percentile_table([s.name for s in series], columns),
            size="wide" if kind == "response" else "half",
        )
    ]


def _over_time(
    logs: Sequence[LatencyLog], series: list[Series], operation: str, at: int, span: tuple[float, float]
) -> list[Chart]:
    width_s = max(1, -(-int(span[1] - span[0]) // _INTERVALS))
    rows: list[Row] = []
    for each, log in zip(series, logs, strict=True):
        spans = by_span(intervals_of(log, operation, "response"), width_s)
        for t in sorted([*spans, *holes(spans, width_s)]):
            value = spans[t].quantile_us(0.99) if t in spans else None
            rows.append({"t": t, "v": None if value is None else max(value, 1), "s": each.name})
    axis = axes.latency_axis(row["v"] for row in rows if row["v"] is not None)
    drawn = lines(axes.time_axis(span), axis, series, rows)
    merged = f" Each point is the quantile of {width_s} s." if width_s > 1 else ""
    return [
        Chart(
            key=f"time-{at}",
            section="latency",
            title=f"p99 of the response over time: {printable(operation)}",
            caption=f"Each run from its own start.{merged}",
            spec=flat_spec([*drawn, axes.pointer_layer(span)], rows, 220, axes.time_signals(span)),
            unit="µs",
            series=series,
            timed=True,
            size="wide",
        )
    ]


# --- Markdown --------------------------------------------------------------------------------------------


def comparison_markdown(comparisons: Comparisons) -> str:
    """The comparison as GitHub-flavoured Markdown: the runs, what differs, the main figures."""
    letters = ", ".join(side.letter for side in comparisons.sides)
    out = [f"## Comparison of {letters}", "", "| | run | started | server | verdict |", "|---|---|---|---|---|"]
    for side in comparisons.sides:
        cells = [side.letter, side.name, moment(side.run), server_of(side.run), side.status]
        out.append(_cells(cells))
    if not comparisons.parts:
        out += ["", "No scenario is in all of these runs: there is nothing to compare."]
    for part in comparisons.parts:
        out += ["", f"### {_SIGNS[part.status]} {as_markdown(part.scenario)}", "", as_markdown(part.sentence)]
        letters_of = [side.letter for side in part.sides]
        if part.differences:
            out += ["", _cells(["differs", *letters_of, "weight", "why"]), "|---" * (len(letters_of) + 3) + "|"]
            out += [_cells([d.name, *d.values, d.weight, d.why]) for d in part.differences]
        if part.refused:
            out += ["", _cells(["failed", *letters_of, "example"]), "|---" * (len(letters_of) + 2) + "|"]
            out += [_cells([f"{each.load} {each.kind}", *each.values, each.text]) for each in part.refused]
        out += ["", *_markdown_lines(part, part.key)]
        if part.run_to_run:
            out += ["", "From run to run, among runs that are alike in all that was recorded:", ""]
            out += [f"- {as_markdown(told(each))}" for each in part.run_to_run]
        for operation, found in part.latency.items():
            out += ["", f"<details><summary>Latency of {as_markdown(operation)}</summary>", ""]
            out += [*_markdown_lines(part, found), "", "</details>"]
    if comparisons.alone:
        out += ["", f"Not in all runs: {as_markdown(', '.join(comparisons.alone))}."]
    return "\n".join([*out, "", as_markdown(COVERAGE)]) + "\n"


def _markdown_lines(part: Comparison, found: Sequence[Line]) -> list[str]:
    if not found:
        return ["No evidence: these runs have no figures."]
    others = [side.letter for side in part.sides[1:]]
    head = ["figure", *(side.letter for side in part.sides), *(f"{letter}/A" for letter in others)]
    return [
        _cells(head),
        "|---|" + "---:|" * (len(head) - 1),
        *(
            _cells([line.label, *(told_value(line, at) for at in range(len(line.values))), *_told(part, line)])
            for line in found
        ),
    ]


def _told(part: Comparison, line: Line) -> list[str]:
    return [
        f"{told_ratio(line, at)} {judged(line, at, comparable=not part.invalid)}".strip()
        for at in range(len(line.ratios))
    ]


def _cells(texts: Sequence[str]) -> str:
    return "| " + " | ".join(as_markdown(text) for text in texts) + " |"


# --- terminal --------------------------------------------------------------------------------------------


class TerminalComparison:
    """A comparison that Rich can print, and that `str` turns into plain text."""

    def __init__(self, comparisons: Comparisons) -> None:
        self.comparisons = comparisons

    def __rich_console__(self, console: Console, options: Options) -> Iterator[Any]:
        for style, text in self._lines(options.max_width):
            yield console.render_str(text, style=style, markup=False, emoji=False, highlight=False)

    def __str__(self) -> str:
        return "\n".join(text for _, text in self._lines(100))

    def _lines(self, width: int) -> Iterator[tuple[str, str]]:
        for side in self.comparisons.sides:
            about = f"{side.letter}  {side.name}  {side.status}  {server_of(side.run)}"
            yield from _wrapped("", one_line(about), width)
        for part in self.comparisons.parts:
            yield "", ""
            yield from _wrapped("bold", one_line(part.scenario), width)
            yield from _wrapped(STYLES[part.status], one_line(part.sentence), width)
            for d in part.differences:
                text = f"  {d.weight:9}{one_line(d.name)}: {one_line(' | '.join(d.values))} ({d.why})"
                yield from _wrapped("" if d.weight == "weakens" else STYLES["FAIL"], text, width, 11)
            for each in part.refused:
                counts = " | ".join(each.values)
                text = f"  failed   {one_line(each.load)} {one_line(each.kind)}: {counts} ({one_line(each.text)})"
                yield from _wrapped(STYLES["FAIL"], text, width, 11)
            yield "", ""
            yield from _terminal_lines(part, width)
            for spread in part.run_to_run:
                yield from _wrapped("", f"  from run to run: {one_line(told(spread))}", width, 4)
        if not self.comparisons.parts:
            yield "bold yellow", "no scenario is in all of these runs"
        if self.comparisons.alone:
            yield from _wrapped("yellow", f"not in all runs: {one_line(', '.join(self.comparisons.alone))}", width)
        yield "", ""
        yield from _wrapped("", "Intervals cover variation within these runs, not from run to run.", width)


def comparison_terminal(comparisons: Comparisons) -> TerminalComparison:
    """The comparison as a few lines for a terminal: what differs, and the main figures."""
    return TerminalComparison(comparisons)


def _terminal_lines(part: Comparison, width: int) -> Iterator[tuple[str, str]]:
    if not part.key:
        yield "yellow", "no evidence: these runs have no figures"
        return
    column = min(28, max(len(one_line(line.label)) for line in part.key))
    for line in part.key:
        values = "  ".join(f"{one_line(told_value(line, at)):>14}" for at in range(len(line.values)))
        text = f"  {one_line(line.label):{column}}{values}"
        for letter, ratio in zip((side.letter for side in part.sides[1:]), _told(part, line), strict=True):
            text += f"  {letter}/A {ratio}"
        yield from _wrapped("", text, width, column + 4)


def _wrapped(style: str, text: str, width: int, indent: int = 2) -> Iterator[tuple[str, str]]:
    wide = max(width, 20)
    wrapped = textwrap.wrap(text, wide, subsequent_indent=" " * min(indent, wide // 2))
    yield from ((style, each.rstrip()) for each in wrapped or [""])
