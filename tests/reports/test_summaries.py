"""The run as Markdown, JUnit XML and terminal lines; golden files, renewed with SHOPBENCH_UPDATE_GOLDEN=1."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
import report_runs
from rich.console import Console

from harness.record.run import Figure, Record, Verdict, load, save
from reports import junit, markdown, render, terminal
from reports.findings import (
    interruption,
    key_figures,
    moment,
    overall,
    own_verdicts,
    printable,
    sentence,
    spoken,
    told,
)
from reports.findings import load as load_of
from tests.goldens import assert_golden


@pytest.fixture
def suite(tmp_path: Path) -> Record:
    return report_runs.literal_suite(tmp_path / "suite")


@pytest.fixture
def hostile(tmp_path: Path) -> Record:
    return report_runs.hostile_run(tmp_path / "hostile")


def single(directory: Path, **changed: object) -> Record:
    save(directory, report_runs.run_of("append", **changed))
    return load(directory)


def read(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - our own XML


def test_markdown_of_a_suite(suite: Record) -> None:
    """A suite as Markdown reads as it did when somebody last looked at it."""
    assert_golden("suite.md", markdown(suite))


def test_junit_of_a_suite(suite: Record) -> None:
    """A suite as JUnit XML reads as it did when somebody last looked at it."""
    assert_golden("suite.xml", junit(suite))


def test_terminal_summary_of_a_suite(suite: Record) -> None:
    """A suite as lines of a terminal reads as it did when somebody last looked at it."""
    assert_golden("suite.txt", f"{terminal(suite)}\n")


def test_words_of_the_verdict(suite: Record) -> None:
    """Verdict, sentence and key figures of every kind of run are the words that were agreed on."""
    lines = []
    for record in [suite, *suite.members()]:
        run = record.run
        members = [member.run for member in record.members()]
        lines.append(f"{run.scenario}: {overall(run, members)}. {sentence(run)} {interruption(run)}".rstrip())
        lines += [f"  {label}: {told(figure)}" for label, figure in key_figures(run, members)]
    assert_golden("verdict-words.txt", "\n".join(lines) + "\n")


def test_no_verdict_is_unknown() -> None:
    """A run that checked nothing is UNKNOWN, never PASS."""
    assert overall(report_runs.run_of("append")) == "UNKNOWN"


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_unfinished_run_is_never_pass(status: str) -> None:
    """A run that did not come to its end is UNKNOWN, although all of its checks passed."""
    passed = [Verdict(name="a", status="PASS", detail="")]
    assert overall(report_runs.run_of("append", status=status, verdicts=passed)) == "UNKNOWN"


def test_failure_outweighs_unknown() -> None:
    """One FAIL makes the run a FAIL, however much is UNKNOWN."""
    verdicts = [Verdict(name=s, status=s, detail="") for s in ("UNKNOWN", "FAIL", "PASS")]
    assert overall(report_runs.run_of("append", status="interrupted", verdicts=verdicts)) == "FAIL"


def test_suite_is_no_better_than_its_members() -> None:
    """A suite that passed has the verdict of its worst member."""
    passed = [Verdict(name="a", status="PASS", detail="")]
    members = [report_runs.run_of("append", verdicts=passed), report_runs.run_of("lag")]
    assert overall(report_runs.run_of("suite", verdicts=passed), members) == "UNKNOWN"


def held_suite(directory: Path) -> Record:
    """A suite of two runs that pass, and of a budget that one of them has broken."""
    passed = Verdict(name="all", status="PASS", detail="well")
    for name in ("append", "replay"):
        save(directory / name, report_runs.run_of(name, verdicts=[passed]))
    broken = Verdict(
        name="budget.append.response.p99", status="FAIL", detail="7 ms where at most 5 ms are allowed"
    )
    verdicts = [passed, passed, broken]
    save(directory, report_runs.run_of("suite", members=["append", "replay"], verdicts=verdicts))
    return load(directory)


@pytest.mark.parametrize("shape", [render, markdown, junit, lambda record: str(terminal(record))])
def test_broken_budget_of_a_suite_is_named(tmp_path: Path, shape: Callable[[Record], str]) -> None:
    """What a suite as a whole was held to stands in every shape of its report, and once."""
    shown = shape(held_suite(tmp_path))
    assert (shown.count("budget.append.response.p99"), "7 ms where at most 5 ms are allowed" in shown) == (1, True)


def test_broken_budget_of_a_suite_fails_in_ci(tmp_path: Path) -> None:
    """A budget that a suite has broken is a failure of a test suite of its own."""
    root = read(junit(held_suite(tmp_path)))
    told = [(s.get("name"), s.get("tests"), s.get("failures")) for s in root.iter("testsuite")]
    assert told == [("append", "1", "0"), ("replay", "1", "0"), ("suite", "1", "1")]


def test_verdicts_of_a_suite_are_those_beyond_its_members() -> None:
    """What members have is taken away as often as they have it; of a single run nothing is left."""
    twice, once = (Verdict(name=name, status="PASS", detail="") for name in ("twice", "once"))
    suite = report_runs.run_of("suite", verdicts=[twice, once, twice, twice])
    members = [report_runs.run_of("append", verdicts=[twice]), report_runs.run_of("lag", verdicts=[twice])]
    assert (own_verdicts(suite, members), own_verdicts(suite, [])) == ([once, twice], [])


def test_unknown_scenario_shows_its_first_figures(tmp_path: Path) -> None:
    """Key figures that a run lacks make room for the first others that were measured."""
    names = [f.name for _, f in key_figures(report_runs.replay_run(tmp_path).run)]
    assert names == ["replay.events_per_s", "replay.1000.events_per_s", "replay.10000.events_per_s"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"loop": "closed"}, "Closed loop: each call began"),
        ({"loop": "open", "connections": 1, "arrivals": "poisson"}, "Open loop: 1 connection, arrivals poisson; "),
        (
            {"loop": "paced", "users": 20, "arrivals": "steady"},
            "Paced: 20 users who do one thing at a time, arriv",
        ),
        ({"loop": "paced"}, "Paced: users who do one thing at a time; "),
        ({}, ""),
        ("closed", ""),
    ],
)
def test_load_in_words(told: object, words: str) -> None:
    """How the load came is said in a sentence, and nothing where the record does not say."""
    assert load_of(report_runs.run_of("append", environment={"load": told})).startswith(words)


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        ("2026-11-23T14:15:02.123+00:00", "2026-11-23 14:15:02 UTC"),
        ("2026-11-23T14:15:02Z", "2026-11-23 14:15:02 UTC"),
        ("2026-11-23T14:15:02+01:00", "2026-11-23T14:15:02+01:00"),
        ("<b>", "<b>"),
    ],
)
def test_moment(stamp: str, words: str) -> None:
    """When a run began is told to the second, and as it was recorded where that is no such time."""
    assert moment(report_runs.run_of("append", started_at=stamp)) == words


def test_spoken_name_keeps_the_percentile() -> None:
    """The point within a percentile is not a point between words."""
    assert spoken("append.send_lag.p99.9") == "append send lag p99.9"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://shop:hunter2@db:6379/0", "redis://***@db:6379/0"),
        ("redis://:p@ss@db", "redis://***@db"),
        ("http://db/?password=hunter2&x=1", "http://db/?password=***&x=1"),
        ("mail me@example.org", "mail me@example.org"),
        (
            "\x1b[31mred\x00\x07",
            "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}",
        ),
    ],
)
def test_printable(text: str, shown: str) -> None:
    """Credentials of a URL are masked, and control characters replaced, in whatever is shown."""
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x>", "[a](b)", "![a](b)", "`code`", "**bold**", "_emphasis_", "a | b", "~~struck~~",
        "# title", "- item", "1. item", "> quote", "http://evil.example", "www.evil.example", "$x$", "&lt;",
    ],
)  # fmt: skip
def test_markdown_markup_is_text(tmp_path: Path, text: str) -> None:
    """What would be markup, a link or HTML in Markdown does not stand in the summary as it is."""
    record = single(tmp_path, headline=text, verdicts=[Verdict(name=text, status="PASS", detail=text)])
    assert text not in markdown(record)


@pytest.mark.parametrize("text", ["@team", "#17"])
def test_markdown_mentions_nobody(tmp_path: Path, text: str) -> None:
    """GitHub, which looks for mentions in the finished text, finds a space of no width in them."""
    assert f"{text[0]}&#8203;{text[1:]}" in markdown(single(tmp_path, headline=f"see {text}"))


def test_markdown_cell_stays_on_its_line(tmp_path: Path) -> None:
    """A line break in a verdict's detail does not break the table."""
    verdict = Verdict(name="a", status="FAIL", detail="one\n\ntwo\r\nthree")
    assert "| ❌ FAIL | a | one two" in markdown(single(tmp_path, verdicts=[verdict]))


def test_hostile_markdown_has_no_tag_but_ours(hostile: Record) -> None:
    """Hostile text in every field leaves no HTML element that the summary did not write itself."""
    tags = set(re.findall(r"<(/?\w+)", markdown(hostile)))
    assert tags == {"details", "/details", "summary", "/summary", "code", "/code"}


def test_hostile_junit_is_text(hostile: Record) -> None:
    """Hostile text comes back out of the XML as it was, its credentials masked."""
    case = read(junit(hostile)).find(".//testcase")
    assert case is not None
    assert case.get("name") == "instrument " + printable(report_runs.HOSTILE + report_runs.SECRET_URL)


def test_junit_drops_what_xml_cannot_carry(tmp_path: Path) -> None:
    """Control characters of an error message leave the XML readable."""
    verdict = Verdict(name="a\x00b", status="FAIL", detail="\x1b[31mred\x08\ufffe")
    root = read(junit(single(tmp_path, verdicts=[verdict])))
    assert [e.get("name") for e in root.iter("testcase")] == ["a\N{REPLACEMENT CHARACTER}b"]


def test_killed_run_has_no_length(tmp_path: Path) -> None:
    """A run that was killed left the record of its beginning: how long it took is unknown, not 0."""
    record = single(tmp_path, status="running", duration_s=0.0)
    [suite] = read(junit(record)).iter("testsuite")
    assert ("time" in suite.attrib, "length unknown" in render(record)) == (False, True)


def test_junit_of_an_empty_run_is_an_error(tmp_path: Path) -> None:
    """A run that checked nothing has a test case in error: no CI system shows it green."""
    root = read(junit(report_runs.empty_run(tmp_path)))
    assert [(s.get("tests"), s.get("errors")) for s in root.iter("testsuite")] == [("1", "1")]


@pytest.mark.parametrize("shape", [markdown, junit, lambda record: str(terminal(record))])
def test_password_is_in_no_summary(hostile: Record, shape: object) -> None:
    """A password in a URL, in any field, reaches none of the summaries."""
    assert callable(shape)
    assert "hunter2" not in shape(hostile)


def test_terminal_prints_what_str_says(suite: Record) -> None:
    """Rich prints the same words as `str`, without markup, emoji or wrapping of its own."""
    console = Console(file=StringIO(), width=100, no_color=True)
    console.print(terminal(suite))
    assert isinstance(console.file, StringIO)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == str(terminal(suite)).splitlines()


def test_terminal_markup_is_text(tmp_path: Path) -> None:
    """Rich's console markup, emoji codes and escape sequences in a record are shown as text."""
    hostile = "[red]x[/red] :bomb: \x1b[2J"
    record = single(tmp_path, headline=hostile, verdicts=[Verdict(name=hostile, status="PASS", detail=hostile)])
    console = Console(file=StringIO(), width=200, force_terminal=True, color_system=None)
    console.print(terminal(record))
    assert isinstance(console.file, StringIO)
    output = console.file.getvalue()
    assert ("[red]x[/red] :bomb: \N{REPLACEMENT CHARACTER}[2J" in output, "\x1b[2J" in output) == (True, False)


@pytest.mark.parametrize("width", [20, 39, 80])
def test_terminal_fits_its_width(suite: Record, width: int) -> None:
    """No line is wider than the terminal."""
    console = Console(file=StringIO(), width=width)
    console.print(terminal(suite))
    assert isinstance(console.file, StringIO)
    assert max(map(len, console.file.getvalue().splitlines())) <= width


def of_durabilities(scenario: str, part: str, unit: str, **values: float | None) -> list[Figure]:
    """A figure for each durability."""
    return [Figure(name=f"{scenario}.{name}.{part}", value=value, unit=unit) for name, value in values.items()]


def test_the_worst_durability_is_in_front() -> None:
    """Each durability has a tile, the worst first; the slowest response is the slowest of all."""
    figures = [
        *of_durabilities("append", "response.p99", "µs", everysec=5_400.0, always=275_000.0, none=480.0),
        *of_durabilities("append", "response.max", "µs", everysec=7_300.0, always=295_000.0, none=900.0),
        # Measured once more, or not an append: neither is a durability's.
        *of_durabilities("append.always", "response.p99", "µs", first=900_000.0),
        *of_durabilities("append.always", "response.max", "µs", first=900_000.0),
    ]
    shown = key_figures(report_runs.run_of("append", figures=figures))
    assert [(label, told(figure)) for label, figure in shown] == [
        ("Response, p99, synced before each answer", "275 ms"),
        ("Response, p99, synced each second", "5.40 ms"),
        ("Response, p99, kept in memory only", "480 µs"),
        ("Slowest response of all: synced before each answer", "295 ms"),
    ]


def test_no_durability_hides_what_is_gone() -> None:
    """What each durability has lost has a tile, the most first, also where nothing was promised."""
    figures = [
        *of_durabilities("redis_crash", "gone", "events", always=0, everysec=0, none=200),
        *of_durabilities("redis_crash", "restart_s", "s", always=0.2, everysec=None, none=0.4),
    ]
    shown = key_figures(report_runs.run_of("redis_crash", figures=figures))
    assert [(label, told(figure)) for label, figure in shown] == [
        ("Gone, kept in memory only", "200 events"),
        ("Gone, synced before each answer", "0 events"),
        ("Gone, synced each second", "0 events"),
        ("Longest time to be back: kept in memory only", "400 ms"),
    ]


def test_older_record_shows_what_its_figures_names_tell() -> None:
    """A record that does not say which figures matter shows what was lost, how slow it was at worst, how fast."""
    names = ("offered_per_s", "ok", "achieved_per_s", "response.p50", "response.p99", "response.max", "lost")
    figures = [Figure(name=f"trip.{name}", value=1.0, unit="1") for name in names]
    shown = key_figures(report_runs.run_of("trip", figures=figures))
    assert shown == [
        ("trip lost", figures[6]),
        ("trip response p99", figures[4]),
        ("trip response max", figures[5]),
    ]
