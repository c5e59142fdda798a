"""The index: newest first, broken runs by name, lines only between runs that ask the same question."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import report_runs

from harness.check.trend import entry_of
from harness.consumer_check import result as checks
from harness.record.run import Figure, RunError, Verdict, load, save
from reports.consumer_words import sentence
from reports.differences import question, server_of
from reports.findings import printable
from reports.index import MARK, Group, entries, groups, refresh_index, render_index, write_index
from tests.consumer_checks import failing_check
from tests.reports.test_render import Page

PASSED = [Verdict(name="a", status="PASS", detail="")]


def put(root: Path, name: str, scenario: str = "append", **changed: Any) -> None:
    """A run of nothing but its `run.json`."""
    save(root / name, report_runs.run_of(scenario, **({"verdicts": PASSED} | changed)))


def p99(value: float | None) -> list[Figure]:
    return [Figure(name="append.response.p99", value=value, unit="µs")]


def at(second: int) -> str:
    return f"2026-11-23T14:15:{second:02}+00:00"


def only_group(root: Path) -> Group:
    [group] = groups(entries(root))
    return group


def test_newest_first(tmp_path: Path) -> None:
    """Runs stand in the order of when they began, whatever their directories are called."""
    for name, second in (("b", 1), ("a", 3), ("c", 2)):
        put(tmp_path, name, started_at=at(second))
    assert [entry.name for entry in entries(tmp_path)] == ["a", "c", "b"]


def test_broken_runs_are_listed(tmp_path: Path) -> None:
    """A cut-off record, an empty run directory and a newer schema stand in the list, by name and with a reason."""
    put(tmp_path, "whole", started_at="2026-01-01T00:00:00+00:00")
    for name, text in (("cut", '{"schema": 1, "scen'), ("newer", '{"schema": 99}'), ("empty", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    (tmp_path / "20261123-141502-lag").mkdir()
    words = Page(render_index(tmp_path)).words
    found = {entry.name: entry.reason for entry in entries(tmp_path)}
    assert list(found) == ["20261123-141502-lag", "whole", "newer", "empty", "cut"]
    assert [name in words and found[name] in words for name in found] == [True] * 5


def test_consumer_checks_are_listed(tmp_path: Path) -> None:
    """A consumer check stands there with its verdict, its sentence and its page; as a run it is refused."""
    directory = tmp_path / "20261128-100000-consumer-check"
    directory.mkdir()
    check = failing_check()
    checks.save(directory, check)
    (directory / "report.html").touch()
    [entry] = entries(tmp_path)
    assert (entry.kind, entry.status, entry.stamp) == ("consumer check", "FAIL", check.started_at)
    assert entry.reason.startswith(f"{check.settings.sides[0].label}: {sentence(check, 0)}")
    page = write_index(tmp_path).read_text()
    assert "broken-run" not in page.partition("<tbody>")[2]
    assert f'href="{directory.name}/report.html"' in page
    with pytest.raises(RunError, match="this is a consumer check"):
        load(directory)


def test_reason_is_without_the_path(tmp_path: Path) -> None:
    """Why a run is broken is told without the directory that the reader is looking at."""
    put(tmp_path, "suite", "suite", members=["append"])
    [entry] = entries(tmp_path)
    assert entry.reason == "append: no run record there (No such file or directory)"


def test_what_is_no_run_is_left_out(tmp_path: Path) -> None:
    """Other directories and files, and hidden ones, are none of the index's business."""
    put(tmp_path, "run")
    put(tmp_path, ".hidden")
    (tmp_path / "notes").mkdir()
    (tmp_path / "compare-a-b.html").touch()
    assert [entry.name for entry in entries(tmp_path)] == ["run"]


@pytest.mark.parametrize("content", [[], ["notes"]])
def test_directory_without_runs(tmp_path: Path, content: list[str]) -> None:
    """A directory in which nothing is a run is an error, not an empty page."""
    for name in content:
        (tmp_path / name).mkdir()
    with pytest.raises(RunError, match="no runs in it"):
        write_index(tmp_path)


def test_missing_directory(tmp_path: Path) -> None:
    """A directory that is not there is an error in one line."""
    with pytest.raises(RunError, match="no directory of runs there"):
        write_index(tmp_path / "nowhere")


def test_run_directory_is_not_an_index(tmp_path: Path) -> None:
    """A run directory itself is told from a directory of runs."""
    put(tmp_path, "run")
    with pytest.raises(RunError, match="is a run itself"):
        write_index(tmp_path / "run")


def test_index_of_somebody_else_is_kept(tmp_path: Path) -> None:
    """An index.html that we have not made is never replaced, neither on demand nor after a run."""
    put(tmp_path, "run")
    (tmp_path / "index.html").write_text("<h1>mine</h1>")
    with pytest.raises(RunError, match="was not made by shopbench"):
        write_index(tmp_path)
    refresh_index(tmp_path)
    assert (tmp_path / "index.html").read_text() == "<h1>mine</h1>"


def test_index_of_ours_is_renewed(tmp_path: Path) -> None:
    """An index that we have made is made anew."""
    put(tmp_path, "first")
    write_index(tmp_path)
    put(tmp_path, "second")
    refresh_index(tmp_path)
    assert (MARK in (tmp_path / "index.html").read_text(), "second" in (tmp_path / "index.html").read_text()) == (
        True,
        True,
    )


def test_links_only_where_a_report_is(tmp_path: Path) -> None:
    """A run links to its report where there is one; the name in the link is quoted."""
    put(tmp_path, "a b#c")
    put(tmp_path, "bare")
    (tmp_path / "a b#c" / "report.html").touch()
    links = {a["href"] for t, a in Page(render_index(tmp_path)).elements if t == "a"}
    assert links == {"#runs", "a%20b%23c/report.html"}


def test_comparisons_are_linked(tmp_path: Path) -> None:
    """Comparisons in the directory are listed."""
    put(tmp_path, "run")
    (tmp_path / "compare-a-b.html").touch()
    links = {a["href"] for t, a in Page(render_index(tmp_path)).elements if t == "a"}
    assert "compare-a-b.html" in links


def test_suite_has_its_members_scenarios(tmp_path: Path) -> None:
    """A suite is found by the scenario of each of its members, and is no better than they are."""
    put(tmp_path / "suite", "append")
    put(tmp_path / "suite", "lag", "lag", verdicts=[])
    put(tmp_path, "suite", "suite", members=["append", "lag"])
    [entry] = entries(tmp_path)
    assert (entry.scenarios, entry.status) == (["append", "lag"], "UNKNOWN")


def test_line_goes_from_oldest_to_newest(tmp_path: Path) -> None:
    """A line has a point for each run, the oldest on the left, each with its value as text."""
    for name, second, value in (("b", 1, 100.0), ("a", 3, 300.0), ("c", 2, 200.0)):
        put(tmp_path, name, started_at=at(second), figures=p99(value))
    [line] = only_group(tmp_path).lines
    assert [point.words for point in line.points] == [
        "b, valkey 8.1.1: 100 µs", "c, valkey 8.1.1: 200 µs", "a, valkey 8.1.1: 300 µs",
    ]  # fmt: skip
    xs, ys = [p.x for p in line.points], [p.y for p in line.points]
    assert (xs == sorted(xs), ys == sorted(ys, reverse=True), line.last) == (True, True, "300 µs")


def test_line_skips_what_was_not_measured(tmp_path: Path) -> None:
    """A figure without a value has no point, and is not a zero."""
    for second, value in enumerate((100.0, None, 300.0)):
        put(tmp_path, f"r{second}", started_at=at(second), figures=p99(value))
    [line] = only_group(tmp_path).lines
    assert [point.x for point in line.points] == [4.0, 176.0]


def test_wobble_is_small(tmp_path: Path) -> None:
    """A change of a percent does not fill the height of its line; one of half does."""
    ys = {}
    for name, values in (("little", (100.0, 101.0)), ("much", (100.0, 150.0))):
        for second, value in enumerate(values):
            put(tmp_path / name, f"r{second}", started_at=at(second), figures=p99(value))
        [line] = only_group(tmp_path / name).lines
        ys[name] = abs(line.points[0].y - line.points[1].y)
    assert (ys["little"] < 4, ys["much"]) == (True, 32.0)


def test_other_questions_have_lines_of_their_own(tmp_path: Path) -> None:
    """Runs at another rate are not connected, and the lines say in what they differ."""
    for n, rate in enumerate((1000, 1000, 5000)):
        parameters = {"profile": "quick", "rate_per_s": rate}
        put(tmp_path, f"r{n}", started_at=at(n), parameters=parameters, figures=p99(1.0))
    assert [(g.count, g.told) for g in groups(entries(tmp_path))] == [
        (1, "profile quick and rate_per_s=5000"),
        (2, "profile quick and rate_per_s=1000"),
    ]


def put_steps(root: Path, values: Sequence[float], first: int = 0) -> None:
    """A run for each value, one a second."""
    for number, value in enumerate(values, first):
        environment = report_runs.ENVIRONMENT | {
            "host": report_runs.ENVIRONMENT["host"] | {"revision": f"v0.1.0-{number}-g57c626012345+"}
        }
        put(root, f"r{number:02}", started_at=at(number), figures=p99(value), environment=environment)


def test_another_level_is_told(tmp_path: Path) -> None:
    """Where a line got another level, the page says since which run and revision, and from what to what."""
    put_steps(tmp_path, [100.0, 101.0, 102.0, 103.0] * 4 + [120.0, 121.0, 122.0] * 2)
    [line] = only_group(tmp_path).lines
    words = "× 1.19 since r16, revision v0.1.0-16-g57c626012345+: 102 µs to 121 µs"
    assert (line.changes, words in Page(render_index(tmp_path)).words) == ([words], True)
    assert [(level.begin, level.end) for level in line.levels] == [
        (line.points[0].x, line.points[15].x),
        (line.points[16].x, line.points[21].x),
    ]
    assert line.levels[0].y > line.levels[1].y


def test_one_level_is_not_talked_about(tmp_path: Path) -> None:
    """A line that has kept its level has no changes and no bars."""
    put_steps(tmp_path, [100.0, 101.0, 102.0, 103.0] * 4 + [140.0])
    [line] = only_group(tmp_path).lines
    assert (line.changes, line.levels) == ([], [])


def test_history_makes_lines_longer(tmp_path: Path) -> None:
    """Runs that are only in the history come before those of the directory; what is in both counts once."""
    everything, here = tmp_path / "all", tmp_path / "here"
    values = [100.0, 101.0, 102.0, 103.0] * 4 + [120.0, 121.0, 122.0] * 2
    put_steps(everything, values)
    runs = [load(path).run for path in sorted(everything.iterdir())]
    history = [entry_of(run, question=dict(question(run)), server=server_of(run)) for run in runs]
    put_steps(here, values[10:], first=10)
    [longer], [whole] = groups(entries(here), history), groups(entries(everything))
    assert (longer.count, whole.count) == (22, 22)
    assert [(p.x, p.y) for p in longer.lines[0].points] == [(p.x, p.y) for p in whole.lines[0].points]
    assert longer.lines[0].changes == whole.lines[0].changes
    assert longer.lines[0].points[0].words == f"{at(0)}, valkey 8.1.1: 100 µs"


def test_history_of_other_questions_is_left_out(tmp_path: Path) -> None:
    """What the history has of another rate, of another scenario, or without a question is on no line."""
    put(tmp_path, "run", figures=p99(1.0))
    [asked] = [dict(question(run)) for entry in entries(tmp_path) for run in entry.runs]
    other_rate = report_runs.run_of("append", started_at=at(1), parameters={"rate_per_s": 1}, figures=p99(9.0))
    other_scenario = report_runs.run_of("lag", started_at=at(2), figures=p99(9.0))
    history = [
        entry_of(other_rate, question=dict(question(other_rate))),
        entry_of(other_scenario, question=asked),
        entry_of(report_runs.run_of("append", started_at=at(3), figures=p99(9.0))),
    ]
    [group] = groups(entries(tmp_path), history)
    assert (group.count, len(group.lines[0].points)) == (1, 1)


def test_unfinished_runs_are_on_no_line(tmp_path: Path) -> None:
    """A run that was interrupted is in the list, and its figures on no line."""
    put(tmp_path, "run", status="interrupted", figures=p99(1.0))
    assert (groups(entries(tmp_path)), len(entries(tmp_path))) == ([], 1)


def test_killed_run_has_no_length(tmp_path: Path) -> None:
    """A run that was killed has an unknown duration, not one of 0 s."""
    put(tmp_path, "run", status="running", duration_s=0.0)
    words = Page(render_index(tmp_path)).words
    assert ("unknown" in words, "0 s" in words) == (True, False)


def test_rows_say_their_scenarios(tmp_path: Path) -> None:
    """Each row carries its scenarios as JSON, for the filter."""
    put(tmp_path, "run", "lag")
    (row,) = (a for t, a in Page(render_index(tmp_path)).elements if t == "tr" and "data-scenarios" in a)
    assert json.loads(row["data-scenarios"] or "") == ["lag"]


def test_hostile_text_is_text(tmp_path: Path) -> None:
    """Hostile text in every field, and in a directory's name, brings no element, and no password."""
    report_runs.hostile_run(tmp_path / "<img src=x onerror=alert(1)>")
    put(
        tmp_path,
        "complete",
        report_runs.HOSTILE,
        figures=[Figure(name=report_runs.HOSTILE, value=1.0, unit="x<b>")],
    )
    (tmp_path / "<script>").mkdir()
    (tmp_path / "<script>" / "run.json").write_text("{")
    html = render_index(tmp_path)
    page = Page(html)
    assert (page.errors, page.count("script"), page.count("img"), "hunter2" in html) == ([], 1, 0, False)
    assert printable(report_runs.HOSTILE) in page.words


def test_same_runs_same_bytes(tmp_path: Path) -> None:
    """The index is a function of the records."""
    put(tmp_path, "run")
    assert render_index(tmp_path) == render_index(tmp_path)
