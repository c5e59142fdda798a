"""The same result in other shapes: Markdown for a pull request, JUnit XML for CI, lines for a terminal.

Each target has a syntax in which hostile text could become something else, and here is what is done about it:

    Markdown   every character that could begin markup, a link or HTML is written as a character reference;
               mentions and issue numbers, which GitHub looks for in the finished text, get a space of no
               width. `[x](http://…)`, `@team`, `#1` and `<img>` are shown as they are
    JUnit      ElementTree escapes; characters that XML 1.0 cannot carry are replaced
    terminal   Rich is handed plain text, never console markup; escape sequences are replaced

Verdicts map to JUnit so that every CI system shows them: PASS is a passed test case, FAIL a failure, and
UNKNOWN an error, since an error is what JUnit calls a test that came to no result. A run that did not come to
its end, or that checked nothing, has an error of its own, so no CI system shows it green.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from xml.etree import ElementTree

from harness.record.run import Record, Run, Status, Verdict
from reports import findings
from reports.findings import printable
from reports.intervals import intervals_said
from reports.quantities import NOT_MEASURED, exact

SIGNS: dict[Status, str] = {"PASS": "✅", "UNKNOWN": "❔", "FAIL": "❌"}
STYLES: dict[Status, str] = {"PASS": "bold green", "UNKNOWN": "bold yellow", "FAIL": "bold red"}
# What begins markup anywhere, within words (`_` does not there), and at the start of a line.
_MARKUP = re.compile(r"[\\`*\[\]<>|~&$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|:(?=//)|(?<=www)\.|^[-+=#]")
# A pull request's comment shows tables of a hundred rows badly; the whole list is in run.json.
_MOST_FIGURES = 40


def markdown(record: Record) -> str:
    """The run as GitHub-flavoured Markdown: verdict, key figures, a table of verdicts, the main figures.

    Args:
        record: a run or a suite; the members of a suite follow one another.

    Raises:
        RunError: a member cannot be read.
    """
    members = record.members()
    runs = [member.run for member in members]
    lines = _markdown_head(record.run, "##", runs)
    if own := findings.own_verdicts(record.run, runs):
        lines += _markdown_verdicts(own)
    for member in members:
        lines += ["", *_markdown_head(member.run, "###"), *_markdown_tables(member.run)]
    if not members:
        lines += _markdown_tables(record.run)
    if record.run.command:
        lines += ["", f"Repeat it: <code>{as_markdown(findings.command(record.run))}</code>"]
    return "\n".join(lines) + "\n"


def _markdown_head(run: Run, level: str, members: Sequence[Run] = ()) -> list[str]:
    status = findings.overall(run, members)
    lines = [
        f"{level} {SIGNS[status]} {status}: {as_markdown(run.scenario)}",
        "",
        as_markdown(findings.sentence(run)),
    ]
    if load := findings.load(run):
        lines += ["", as_markdown(load)]
    lines += [line for told in _repeats(run, members) for line in ("", as_markdown(told))]
    if interruption := findings.interruption(run):
        reason = f" {as_markdown(run.reason)}" if run.reason else ""
        lines += ["", f"> **{run.status.upper()}** {as_markdown(interruption)}{reason}"]
    if said := findings.without_evidence(run):
        lines += ["", as_markdown(said)]
    if key := findings.key_figures(run, members):
        lines += [
            "",
            *(f"- {as_markdown(label)}: **{as_markdown(findings.told(figure))}**" for label, figure in key),
        ]
    else:
        lines += ["", "No evidence: this run has no figures."]
    if level == "##" and (said := intervals_said(members or [run])):
        lines += ["", as_markdown(said)]
    return lines


def _repeats(run: Run, members: Sequence[Run]) -> list[str]:
    """What was measured once more; of a suite its members tell."""
    return [] if members else findings.repeats(run)


def _markdown_verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    return ["", "| verdict | check | why |", "|---|---|---|"] + [
        f"| {SIGNS[v.status]} {v.status} | {as_markdown(v.name)} | {as_markdown(v.detail)} |" for v in verdicts
    ]


def _markdown_tables(run: Run) -> list[str]:
    lines = _markdown_verdicts(run.verdicts) if run.verdicts else ["", "No evidence: nothing was checked."]
    if run.figures:
        lines += ["", f"<details><summary>{len(run.figures)} figures</summary>", ""]
        lines += ["| figure | value |", "|---|---:|"]
        lines += [
            f"| {as_markdown(f.name)} | {as_markdown(findings.told(f))} |" for f in run.figures[:_MOST_FIGURES]
        ]
        if len(run.figures) > _MOST_FIGURES:
            lines += [f"| and {len(run.figures) - _MOST_FIGURES} more | |"]
        lines += ["", "</details>"]
    return lines


def as_markdown(text: str) -> str:
    """Text as Markdown that shows exactly that text, on one line."""
    one_line = " ".join(printable(text).split())
    escaped = _MARKUP.sub(lambda match: f"&#{ord(match[0])};", one_line)
    escaped = re.sub(r"^(\d{1,9})([.)])(?=\s|$)", lambda match: f"{match[1]}&#{ord(match[2])};", escaped)
    # Not within the references that were just made: those have no @, and their # follows an ampersand.
    return re.sub(r"@|(?<!&)#(?=\d)", lambda match: f"{match[0]}&#8203;", escaped)


def junit(record: Record) -> str:
    """The verdicts as JUnit XML: a test suite per run and for what is a suite's own, a test case per verdict.

    Args:
        record: a run or a suite of runs.

    Raises:
        RunError: a member cannot be read.
    """
    root = ElementTree.Element("testsuites", name="ordershop-bench")
    members = record.members()
    for each in members or [record]:
        _junit_suite(root, each.run)
    own = findings.own_verdicts(record.run, [member.run for member in members])
    if record.run.members and record.run.status != "complete":
        own.append(_unfinished(record.run))
    if own:
        suite = ElementTree.SubElement(root, "testsuite", name=printable(record.run.scenario))
        for verdict in own:
            _junit_case(suite, record.run, verdict)
        _count(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _junit_suite(root: ElementTree.Element, run: Run) -> None:
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=printable(run.scenario),
        timestamp=printable(run.started_at),
    )
    if run.status != "running":
        suite.set("time", f"{run.duration_s:.3f}")
    verdicts = list(run.verdicts)
    if run.status != "complete":
        verdicts.append(_unfinished(run))
    elif not verdicts:
        verdicts.append(Verdict(name="evidence", status="UNKNOWN", detail=findings.UNCHECKED))
    properties = ElementTree.SubElement(suite, "properties")
    for figure in run.figures:
        value = NOT_MEASURED if figure.value is None else f"{exact(figure.value)} {printable(figure.unit)}"
        ElementTree.SubElement(properties, "property", name=printable(figure.name), value=value)
        for end, bound in (("low", figure.low), ("high", figure.high)):
            if bound is not None:
                named = {
                    "name": printable(f"{figure.name}.{end}"),
                    "value": f"{exact(bound)} {printable(figure.unit)}",
                }
                ElementTree.SubElement(properties, "property", named)
    for verdict in verdicts:
        _junit_case(suite, run, verdict)
    _count(suite)


def _unfinished(run: Run) -> Verdict:
    detail = f"{findings.interruption(run)} {run.reason}".strip()
    return Verdict(name=f"run {run.status}", status="UNKNOWN", detail=detail)


def _junit_case(suite: ElementTree.Element, run: Run, verdict: Verdict) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=printable(run.scenario), name=printable(verdict.name)
    )
    detail = printable(verdict.detail)
    if verdict.status == "PASS":
        ElementTree.SubElement(case, "system-out").text = detail
    else:
        kind = "failure" if verdict.status == "FAIL" else "error"
        ElementTree.SubElement(case, kind, message=detail, type=verdict.status).text = detail


def _count(suite: ElementTree.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))


class Options(Protocol):
    """What Rich knows of a terminal, as far as it is needed here."""

    max_width: int


class Console(Protocol):
    """Rich's console, as far as it is needed here."""

    def render_str(self, text: str, **how: Any) -> Any:
        """Text with a style, as Rich prints it."""
        ...


class TerminalSummary:
    """A summary that Rich can print, and that `str` turns into plain text.

    It follows Rich's console protocol and asks the console for its text, so nothing here imports Rich: what
    reports say must not depend on what prints them.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    def __rich_console__(self, console: Console, options: Options) -> Iterator[Any]:
        for style, text in self._lines(options.max_width):
            yield console.render_str(text, style=style, markup=False, emoji=False, highlight=False)

    def __str__(self) -> str:
        return "\n".join(text for _, text in self._lines(100))

    def _lines(self, width: int) -> Iterator[tuple[str, str]]:
        members = self.record.members()
        runs = [member.run for member in members]
        yield from _terminal_head(self.record.run, width, runs)
        if own := findings.own_verdicts(self.record.run, runs):
            yield from _terminal_verdicts(own, width)
        for each in members or [self.record]:
            if members:
                yield "", ""
                yield from _terminal_head(each.run, width)
            yield from _terminal_verdicts(each.run.verdicts, width)
            yield from _terminal_figures(each.run, width)
        if said := intervals_said(runs or [self.record.run]):
            yield "", ""
            yield from (("", text) for text in textwrap.wrap(said, width))


def terminal(record: Record) -> TerminalSummary:
    """The run as a few lines for a terminal: the verdicts and the main figures.

    Args:
        record: a run or a suite of runs.

    Returns:
        What `rich.console.Console.print` takes; `str` of it is the same without colours.
    """
    return TerminalSummary(record)


def _terminal_head(run: Run, width: int, members: Sequence[Run] = ()) -> Iterator[tuple[str, str]]:
    status = findings.overall(run, members)
    yield STYLES[status], f"{status}  {one_line(run.scenario)}  {one_line(run.started_at)}"
    for text in textwrap.wrap(one_line(findings.sentence(run)), width):
        yield "", text
    for text in textwrap.wrap(one_line(findings.load(run)), width):
        yield "", text
    for told in _repeats(run, members):
        for text in textwrap.wrap(one_line(told), width):
            yield "", text
    if interruption := findings.interruption(run):
        words = f"{run.status.upper()}: {interruption} {one_line(run.reason)}".strip()
        for text in textwrap.wrap(words, width):
            yield "bold yellow", text


def _terminal_verdicts(verdicts: Sequence[Verdict], width: int) -> Iterator[tuple[str, str]]:
    if not verdicts:
        yield "yellow", "no evidence: nothing was checked"
        return
    yield "", ""
    column = min(32, max(len(one_line(v.name)) for v in verdicts))
    for verdict in verdicts:
        first = f"  {verdict.status:8}{one_line(verdict.name):{column}}  "
        text = first + one_line(verdict.detail)
        wrapped = textwrap.wrap(text, max(width, 20), subsequent_indent=" " * min(len(first), width // 2))
        # One verdict, one style: PASS stays quiet, so that what did not pass is seen.
        style = "" if verdict.status == "PASS" else STYLES[verdict.status]
        yield from ((style, line.rstrip()) for line in wrapped or [text])


def _terminal_figures(run: Run, width: int) -> Iterator[tuple[str, str]]:
    shown = findings.key_figures(run)
    if not shown:
        yield "yellow", "no evidence: this run has no figures"
        return
    yield "", ""
    column = max(len(one_line(label)) for label, _ in shown)
    for label, figure in shown:
        text = f"  {one_line(label):{column}}  {one_line(findings.told(figure))}"
        yield "bold", text if len(text) <= width else text[: max(width - 1, 1)] + "…"


def one_line(text: str) -> str:
    """Text as a terminal may show it: printable, on one line."""
    return " ".join(printable(text).split())
