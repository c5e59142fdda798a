"""The page of a search: the sentence, the curve, and a row for each probe that leads to its run."""

from __future__ import annotations

import json
from pathlib import Path

from harness.record.run import load
from reports import write_reports
from reports.capacity_page import capacity_view
from reports.charts.capacity import capacity_charts
from reports.compare import compare
from reports.render import render
from tests.reports.test_render import Page
from tests.searches import point_at, search_run, searched_of, usual_points


def test_the_page_of_a_search(tmp_path: Path) -> None:
    """The sentence first, then the curve and who was busy, then each probe with a link to its run."""
    record = search_run(tmp_path)
    page = Page(render(record))
    assert page.errors == []
    words = page.words
    assert words.index("27,000 appends a second at p99") < words.index("Latency over the rate")
    assert words.index("Latency over the rate") < words.index("Who was how busy along it")
    assert page.count("a", href="probes/001/report.html") == 1
    assert "Between the two rates the way is smooth" in words
    assert "Yes: the instrument held its schedule" in words


def test_marks_and_lines(tmp_path: Path) -> None:
    """Each probe has a mark for each quantile that is shown; a line has each rate once; the budget is drawn."""
    record = search_run(tmp_path)
    latency, busy = capacity_charts(record)
    rates = [point.rate_per_s for point in usual_points()]
    assert [row["x"] for row in latency.rows if row["s"] == "p99"] == sorted(set(rates))
    layers = json.dumps(latency.spec["layer"])
    assert layers.count('"w": "FAIL"') == 2 * 3 * sum(rate > 28_200 for rate in rates)
    assert '"label": "p99: 5.00 ms"' in layers
    assert {row["s"] for row in busy.rows} == {"server's core", "all cores of this machine", "instrument's core"}


def test_a_search_without_a_probe(tmp_path: Path) -> None:
    """Its page says so, and draws nothing."""
    record = search_run(tmp_path, searched_of(ended=None), status="interrupted", reason="interrupted by SIGINT")
    assert capacity_charts(record) == []
    view = capacity_view(record)
    assert view is not None
    assert view.rows == []
    assert "No evidence: this run recorded no probes" in Page(render(record)).words


def test_a_link_leads_to_a_probe_and_nowhere_else(tmp_path: Path) -> None:
    """A record comes from elsewhere: what is no directory of a probe is no link."""
    record = search_run(tmp_path, searched_of(point_at(8_000, directory="javascript:alert(1)//")))
    assert Page(render(record)).count("a", href="javascript:alert(1)///report.html") == 0
    view = capacity_view(record)
    assert view is not None
    assert [row.link for row in view.rows] == [""]


def test_evidence_that_is_gone(tmp_path: Path) -> None:
    """The page is made all the same."""
    search_run(tmp_path)
    (tmp_path / "evidence.zip").unlink()
    assert capacity_view(load(tmp_path)) is None
    assert write_reports(load(tmp_path), tmp_path).exists()


def test_two_searches_side_by_side(tmp_path: Path) -> None:
    """They are compared by what they have found, and not probe by probe: those were at other rates."""
    first, second = (search_run(tmp_path / name) for name in ("a", "b"))
    [part] = compare([first, second]).parts
    names = [line.name for line in (*part.key, *part.others)]
    assert "capacity.append.passes_per_s" in names
    assert not [name for name in names if ".probe." in name]
