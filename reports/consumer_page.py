"""A consumer check as files: a page to send to a library's author, Markdown, JUnit XML; and `check.json` itself.

    check.json --rows_of--> rows --consumer_words--> cells, sentences --> report.html, summary.md, junit.xml

The page stands alone: what was done, what was seen, where one event of each class stopped, and for each row the
one command that plays it again. It fetches nothing and runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from msgspec import Struct

from harness.consumer_check import result
from harness.consumer_check.result import Check, Played
from harness.consumer_check.rows import Row, is_tried, rows_of, side_status, status_of
from harness.record.run import write_atomically
from reports.consumer_examples import ExampleView, examples_of
from reports.consumer_words import (
    COLUMNS,
    MEANINGS,
    Cells,
    cells_of,
    counts_said,
    labels_of,
    left_out_said,
    seen_said,
    sentence,
    where_said,
)
from reports.findings import printable
from reports.page import page
from reports.quantities import quantity
from reports.summaries import SIGNS, as_markdown

PAGE, MARKDOWN, JUNIT = "report.html", "summary.md", "junit.xml"


def write_check(check: Check, directory: Path) -> Path:
    """Write a check with its page, Markdown and JUnit XML, each as a whole, and return the page's path.

    Raises:
        OSError: a file cannot be written.
    """
    shapes = {MARKDOWN: check_markdown(check), JUNIT: check_junit(check), PAGE: check_page(check)}
    result.save(directory, check)
    for name, text in shapes.items():
        write_atomically(directory / name, text.encode())
    return directory / PAGE


# The page --------------------------------------------------------------------------------------------------------


class RowView(Struct, frozen=True, kw_only=True):
    """A row as the template prints it.

    Attributes:
        id: of its section.
        side: what the consumer is called; empty where there is one only.
        seen: what was seen, of the repeat that fails or is undecided first; else of the first.
        where: where the events without an effect stopped, of that repeat.
        examples: of that repeat.
        log: the last lines of the consumer's log, where that repeat does not pass.
        repeats: each of them, in cells.
    """

    id: str
    row: Row
    side: str
    cells: Cells
    shown: Played
    seen: list[str]
    where: str
    examples: list[ExampleView]
    log: list[str]
    repeats: list[list[str]]


def check_page(check: Check) -> str:
    """A check as one self-contained HTML page."""
    labels = labels_of(check)
    has_sides = len(labels) > 1
    views = [_view(row, labels[row.side] if has_sides else "") for row in rows_of(check)]
    return page(
        "consumer.html.j2",
        check=check,
        status=status_of(check),
        sides=[
            {
                "label": label,
                "status": side_status(check, side),
                "sentence": sentence(check, side),
                "head": check.log_heads.get(side, []),
            }
            for side, label in enumerate(labels)
        ],
        columns=[(name, MEANINGS[name]) for name in COLUMNS],
        views=views,
        left_out=left_out_said(check),
        versions=versions_of(check),
        day=check.started_at[:10],
        # A URL has been given, or the path of a program that is started.
        has_own_server="://" not in check.settings.server and not check.settings.server_file,
    )


def _view(row: Row, side: str) -> RowView:
    shown = _shown(row)
    return RowView(
        id=f"{row.trial.name}-{row.side}",
        row=row,
        side=side,
        cells=cells_of(row),
        shown=shown,
        seen=seen_said(shown),
        where=where_said(shown),
        examples=examples_of(shown),
        log=shown.log if row.status != "PASS" else [],
        repeats=[_repeat(each) for each in row.played],
    )


def _shown(row: Row) -> Played:
    """The repeat that says most of a row: the first with its status that was tried."""
    return next((each for each in row.tried if each.outcome == row.status), row.played[0])


def _repeat(played: Played) -> list[str]:
    return [
        str(played.repeat),
        str(played.hash_seed),
        played.outcome if is_tried(played) else "not tried",
        "?" if played.counts.acknowledged is None else f"{played.counts.acknowledged:,}",
        *counts_said([played.counts] if is_tried(played) else []),
        quantity(played.duration_s, "s"),
    ]


def versions_of(check: Check) -> list[tuple[str, str]]:
    """What was used, by name: this program, its server, the machine."""
    host = check.host
    server: Mapping[str, Any] = next((each.server for each in check.played if each.server), {})
    found = [
        ("shopbench", " ".join(str(host[key]) for key in ("shopbench", "revision") if host.get(key))),
        ("server", " ".join(str(server[key]) for key in ("name", "version") if server.get(key))),
        ("python", str(host.get("python", ""))),
        ("system", ", ".join(str(host[key]) for key in ("system", "machine", "cpu") if host.get(key))),
        ("cores", str(host.get("cores", ""))),
    ]
    return [(name, value) for name, value in found if value]


# Markdown and JUnit ----------------------------------------------------------------------------------------------


def check_markdown(check: Check) -> str:
    """A check as Markdown, for a pull request."""
    labels = labels_of(check)
    lines: list[str] = []
    for side, label in enumerate(labels):
        status = side_status(check, side)
        lines += [f"## {SIGNS[status]} {status}: consumer check of {as_markdown(label)}", ""]
        lines += [as_markdown(sentence(check, side)), ""]
    has_sides = len(labels) > 1
    lines += [f"| trial | {'consumer | ' if has_sides else ''}{' | '.join(COLUMNS)} | verdict |"]
    lines += [f"|---|{'---|' if has_sides else ''}{'---:|' * len(COLUMNS)}---|"]
    for row in rows_of(check):
        cells = cells_of(row)
        named = [row.trial.title, *([labels[row.side]] if has_sides else [])]
        words = [as_markdown(word) for word in (*named, *cells.counts)]
        lines.append(f"| {' | '.join(words)} | {SIGNS[row.status]} {as_markdown(cells.verdict)} |")
    lines += [line for told in left_out_said(check) for line in ("", as_markdown(told))]
    lines += ["", f"Repeat it: <code>{as_markdown(check.command)}</code>"]
    return "\n".join(lines) + "\n"


def check_junit(check: Check) -> str:
    """A check as JUnit XML: a suite for each consumer, a case for each time that a trial was played."""
    root = ElementTree.Element("testsuites", name="shopbench consumer check")
    for side, label in enumerate(labels_of(check)):
        suite = ElementTree.SubElement(
            root, "testsuite", name=printable(label), timestamp=printable(check.started_at)
        )
        for row in rows_of(check):
            if row.side == side:
                for played in row.played:
                    _case(suite, row, played)
        if check.status != "complete" or side in check.ended_early:
            said = sentence(check, side)
            case = ElementTree.SubElement(suite, "testcase", classname=printable(label), name="check")
            ElementTree.SubElement(case, "error", message=printable(said), type="UNKNOWN").text = printable(said)
        for each in check.left_out:
            case = ElementTree.SubElement(suite, "testcase", classname=printable(label), name=each.trial)
            ElementTree.SubElement(case, "skipped", message=printable(each.why))
        for kind, path in (("tests", "testcase"), ("failures", "testcase/failure"), ("errors", "testcase/error")):
            suite.set(kind, str(len(suite.findall(path))))
        suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, row: Row, played: Played) -> None:
    name = row.trial.name if len(row.played) == 1 else f"{row.trial.name}, time {played.repeat}"
    case = ElementTree.SubElement(
        suite, "testcase", classname=str(suite.get("name")), name=name, time=f"{played.duration_s:.3f}"
    )
    detail = printable("; ".join(seen_said(played)))
    if played.outcome == "PASS":
        ElementTree.SubElement(case, "system-out").text = detail
        return
    if row.does_not_apply:
        ElementTree.SubElement(case, "skipped", message=detail)
        return
    kind = "failure" if played.outcome == "FAIL" else "error"
    body = printable(f"{detail}\nRepeat it: {played.command}")
    ElementTree.SubElement(case, kind, message=detail, type=played.outcome).text = body
