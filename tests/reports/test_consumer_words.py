"""A consumer check in words: cells, sentences, the table, Markdown, JUnit; golden files as in test_summaries."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from harness.consumer_check.result import Check, Counts
from harness.consumer_check.rows import rows_of
from reports.consumer_examples import examples_of
from reports.consumer_page import check_junit, check_markdown, check_page, write_check
from reports.consumer_words import (
    CheckSummary,
    cells_of,
    counts_said,
    seen_said,
    sentence,
    trial_line,
    verdict_said,
)
from tests.consumer_checks import EXAMPLES, HOSTILE, check_of, failing_check, hostile_check, played, verdict
from tests.goldens import assert_golden


def test_the_table_of_a_check() -> None:
    """It reads as it did when somebody last looked at it."""
    assert_golden("consumer.txt", f"{CheckSummary(failing_check())}\n")


def test_markdown_of_a_check() -> None:
    """As Markdown."""
    assert_golden("consumer.md", check_markdown(failing_check()))


def test_junit_of_a_check() -> None:
    """As JUnit XML."""
    assert_golden("consumer.xml", check_junit(failing_check()))


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_fits_a_terminal(width: int) -> None:
    """A line of the table is a line of the terminal; where there is no room trials are called by their names."""
    check = check_of(played("kill", "FAIL", stuck=32), played("one_backlog"))
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(CheckSummary(check))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    [line] = [line for line in printed.splitlines() if line.strip().endswith("FAIL")]
    assert re.search(r"kill.* 32 ", line)
    assert ("killed with events in hand" in line) == (width > 80)


def test_a_wide_table_fits_a_narrow_terminal() -> None:
    """Of repeats the verdict is shorter there, and no line is broken."""
    both = (played("kill_then_quiet", "FAIL", repeat=n, stuck=stuck) for n, stuck in ((1, 1_200), (2, 1_400)))
    console = Console(file=StringIO(), width=80, force_terminal=False)
    console.print(CheckSummary(check_of(*both)))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    [line] = [line for line in printed.splitlines() if "1,200 to 1,400" in line]
    assert line.endswith("FAIL 2/2")


def test_what_one_repeat_does_not_know_hides_no_other() -> None:
    """The lowest and the highest of those that know, and that there is one that does not."""
    unknown = played("kill", "UNKNOWN", repeat=3, counts=Counts())
    [row] = rows_of(
        check_of(played("kill", "FAIL", stuck=12), played("kill", "FAIL", repeat=2, stuck=14), unknown)
    )
    assert cells_of(row).counts[:2] == ("0, ?", "12 to 14, ?")
    assert counts_said([Counts()])[1] == "?"


def test_cells_of_repeats() -> None:
    """What all have is said once; else the lowest and the highest; and what one does not know is not known."""
    [row] = rows_of(check_of(played("kill", "FAIL", stuck=32), played("kill", "FAIL", repeat=2, stuck=8)))
    assert cells_of(row).counts == ("0", "8 to 32", "0", "0", "not seen")
    assert cells_of(row).verdict == "FAIL 2 of 2"


def test_what_was_not_tried_has_no_numbers() -> None:
    """Neither a zero nor a pass."""
    [row] = rows_of(check_of(played("kill", "UNKNOWN", not_tried="it had nothing in hand")))
    assert set(cells_of(row).counts) == {"–"}
    assert verdict_said(row) == "not tried"
    assert seen_said(row.played[0])[0] == "not tried: it had nothing in hand"


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (check_of(played("kill"), played("stop")), "In 2 of 2 trials the promise at_least_once was kept."),
        (check_of(played("kill")), "In the one trial that was played the promise at_least_once was kept."),
        (
            check_of(played("kill", "FAIL", stuck=32), played("stop")),
            "In 1 of 2 trials the promise at_least_once was not kept: killed with events in hand (32 stuck).",
        ),
        (
            check_of(played("undisturbed", "FAIL", stuck=1), played("kill", "FAIL", stuck=2)),
            "In 2 of 2 trials the promise at_least_once was not kept: nothing was done to it (1 stuck); killed "
            "with events in hand (2 stuck). It was not kept where nothing was done either: what else fails need "
            "not be due to its fault.",
        ),
        (
            check_of(played("kill", "UNKNOWN"), played("stop")),
            "In 1 of 2 trials the promise at_least_once was kept. Not decided: killed with events in hand.",
        ),
        (
            check_of(played("kill", "UNKNOWN", verdicts=[verdict("drained", "UNKNOWN", "its time was up")])),
            "Not decided: killed with events in hand (its time was up).",
        ),
        (
            check_of(played("kill", "UNKNOWN", status="failed", reason="the server is away")),
            "Not decided: killed with events in hand (the server is away).",
        ),
        (
            check_of(
                played("undisturbed", "UNKNOWN", status="failed", reason="no program"),
                ended_early={0: "no program"},
            ),
            "The check ended early: no program. Not decided: nothing was done to it.",
        ),
        (
            check_of(played("kill", figures={"crm_outage.exits": 9.0}, exit_codes=[0, 0])),
            "In the one trial that was played the promise at_least_once was kept. The consumer ended by itself "
            "again and again (code 0), and was started again: if it goes into the background by itself, have it "
            "stay in the foreground, or what it leaves behind is ended with each start.",
        ),
        (
            check_of(played("stop"), played("rolling", "UNKNOWN", not_tried="it left nothing")),
            "In 1 of 2 trials the promise at_least_once was kept. "
            "Not tried: deployed under new names (it left nothing).",
        ),
        (
            check_of(played("undisturbed", "UNKNOWN", status="failed"), ended_early={0: "no such program"}),
            "The check ended early: no such program. Not decided: nothing was done to it.",
        ),
        (check_of(status="interrupted"), "The check did not come to its end."),
    ],
)
def test_the_sentence(check: Check, said: str) -> None:
    """It says what was seen, of how many, and what was not."""
    assert sentence(check, 0) == said


def test_a_trial_that_has_ended_is_told() -> None:
    """How many there are, what was done, and what became of the events; what is not known has a question mark."""
    check = check_of(played("kill", "FAIL", stuck=32))
    said = trial_line(check, check.played[0], 5)
    assert said == "1 of 5, killed with events in hand: FAIL (0 lost, 32 stuck, 0 repeated; 10 s)"
    unknown = played("kill", "UNKNOWN", counts=Counts())
    assert "(? lost, ? stuck, ? repeated;" in trial_line(check, unknown, 5)
    unknown = played("kill", "UNKNOWN", verdicts=[verdict("drained", "UNKNOWN", "its time was up")])
    assert ": UNKNOWN: its time was up (0 lost," in trial_line(check, unknown, 5)
    exited = played("kill", figures={"crm_outage.exits": 2.0}, exit_codes=[3, 3])
    assert trial_line(check, exited, 5).endswith("; 10 s; the consumer ended by itself 2 times (code 3))")
    failed = played("kill", "UNKNOWN", status="failed", reason="it does not listen")
    assert trial_line(check, failed, 5).endswith("UNKNOWN: it does not listen")
    # With it the check ends, and says why.
    ended = check_of(failed, ended_early={0: "it does not listen"})
    assert trial_line(ended, failed, 5).endswith("UNKNOWN: not carried out")


def test_junit_has_a_case_for_each_time() -> None:
    """PASS passes, FAIL is a failure that can be repeated, not tried is an error, left out is skipped."""
    root = ElementTree.fromstring(check_junit(failing_check()))  # noqa: S314 - our own XML
    first, second = root.findall("testsuite")
    assert [first.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["10", "2", "3", "1"]
    assert [second.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["10", "0", "3", "1"]
    failure = first.find("testcase/failure")
    assert failure is not None
    assert "Repeat it: PYTHONHASHSEED=1 shopbench run" in (failure.text or "")


def test_junit_of_a_check_that_did_not_come_to_its_end() -> None:
    """That is an error by itself, so that no CI system shows it green."""
    root = ElementTree.fromstring(check_junit(check_of(status="interrupted")))  # noqa: S314 - our own XML
    [error] = root.findall("testsuite/testcase/error")
    assert error.get("message") == "The check did not come to its end."


def test_hostile_text_stays_text() -> None:
    """In every shape; and passwords of URLs are masked."""
    check = hostile_check()
    page = check_page(check)
    assert "<img" not in page
    assert "</script>" not in page
    assert "{{7*7}}" in page
    ElementTree.fromstring(check_junit(check))  # noqa: S314 - our own XML
    assert "<img" not in check_markdown(check)
    for shape in (page, check_junit(check), check_markdown(check), str(CheckSummary(check))):
        assert "hunter2" not in shape
    assert HOSTILE not in str(CheckSummary(check))


def test_the_page_runs_and_fetches_nothing() -> None:
    """No script, no link to elsewhere, and a policy that forbids both."""
    page = check_page(failing_check())
    assert "<script" not in page
    assert re.findall(r'(?:href|src)="([^"#][^"]*)"', page) == []
    assert "default-src 'none'" in page


def test_the_page_says_what_a_library_s_author_needs() -> None:
    """What was done, what was seen, one event of a class, how to repeat each row, and the versions."""
    page = check_page(failing_check())
    for words in (
        "get SIGKILL",
        "32 of 1,000 appended events were lost: they have had no effect (32 are pending)",
        "1764331200000-3",
        "entry 1764331200000-3 of events:1",
        "shopbench run crm_outage -p fault=kill",
        "shopbench consumer check",
        "my-library 1.2.3",
        "valkey 8.1.1",
        "CPython 3.11.13",
        "read ECONNRESET",
        "sink refused (503)",
        "nothing was delivered again",
    ):
        assert words.replace("'", "&#39;") in page, words


def test_an_example_is_told_in_time() -> None:
    """What the group was told, what became of the entry, and the fault, each where it belongs."""
    [failed] = [each for each in failing_check().played if each.examples]
    [example] = examples_of(failed)
    assert (example.where, example.entry) == ("pending", "entry 1764331200000-3 of events:1")
    assert [line.split("  ")[-1].strip() for line in example.lines] == [
        "XGROUP CREATE events:1 shopbench 0 MKSTREAM: OK",
        "handed out to consumer",
        "kill consumer",
        "kill consumer: over",
        "XGROUP CREATE events:1 shopbench 0: BUSYGROUP",
    ]


@pytest.mark.parametrize(
    ("also", "is_followed", "is_said"),
    [
        ([], True, True),
        ([], False, False),
        (["handed out again to consumer"], True, False),
        (["claimed by consumer-2"], True, False),
        (["XACK, never answered"], True, True),
    ],
)
def test_a_pending_entry_that_nobody_was_given_again(also: list[str], is_followed: bool, is_said: bool) -> None:
    """That is said where all that passed was seen, and nothing else."""
    [told] = EXAMPLES
    entry = [*told["entry"], *({"t_s": 4.0, "what": what} for what in also)]
    check = check_of(played("kill", "FAIL", stuck=1, examples=[{**told, "entry": entry}], is_followed=is_followed))
    assert ("no claim (XAUTOCLAIM, XCLAIM) was answered with it" in check_page(check)) == is_said


def test_a_fault_that_was_another_one_and_fails() -> None:
    """The page does not say that what fails was not tried."""
    lost = verdict("nothing_lost", "FAIL", "1 is stuck")
    said = seen_said(played("kill_leader", "FAIL", not_tried="it was a plain kill", verdicts=[lost]))
    assert said == [
        "it fails, though its fault was not what this trial is meant for: it was a plain kill",
        "1 is stuck",
    ]


def test_what_was_not_measured_is_seen() -> None:
    """What keeps a trial from being decided stands on the page, also where it is not about the consumer."""
    evicted = verdict("evictions", "FAIL", "3 were evicted")
    lost = verdict("nothing_lost", "PASS", "none was lost")
    assert seen_said(played("kill", "UNKNOWN", verdicts=[evicted, lost])) == ["3 were evicted"]


@pytest.mark.parametrize("told", [None, [], "words", {"a": 1}, [1], [{}], [{"entry": 1, "group": [{}]}]])
def test_what_is_no_example_is_not_shown(told: Any) -> None:
    """A record may be of another version, or somebody's: it breaks no page."""
    check = check_of(played("kill", "FAIL", stuck=1, examples=told))
    assert len(examples_of(check.played[0])) == (
        isinstance(told, list) and bool(told) and isinstance(told[0], dict)
    )
    assert "</html>" in check_page(check)


def test_a_loss_is_said_once() -> None:
    """What did not drain is what is stuck: two verdicts, one sentence."""
    lost = verdict("nothing_lost", "FAIL", "32 of 1,000 are stuck")
    drained = verdict("drained", "FAIL", "32 events are stuck")
    assert seen_said(played("kill", "FAIL", verdicts=[drained, lost])) == ["32 of 1,000 are stuck"]
    assert seen_said(played("kill", "FAIL", verdicts=[drained])) == ["32 events are stuck"]


def test_exits_are_told() -> None:
    """A consumer that ended by itself was started again: whoever reads the numbers should know."""
    said = seen_said(played("kill", figures={"crm_outage.exits": 3.0}))
    assert said[-1] == "the consumer ended by itself 3 times"
    said = seen_said(played("kill", figures={"crm_outage.exits": 2.0}, exit_codes=[0, 0]))
    assert said[-1].startswith("the consumer ended by itself 2 times (code 0), and was started again: if it goes")


def test_all_files_of_a_check(tmp_path: Path) -> None:
    """They are written as a whole, and the page last: whoever sees it sees all of them."""
    assert write_check(failing_check(), tmp_path).name == "report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "check.json",
        "junit.xml",
        "report.html",
        "summary.md",
    ]
