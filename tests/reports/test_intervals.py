"""Intervals of quantiles in reports: beside every number, in a few words, and what is missing is said."""

from __future__ import annotations

import html
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_runs import append_run, run_of

from harness.record.run import Figure, Record, load, save
from reports.compare import compare
from reports.findings import told
from reports.intervals import interval, intervals_said
from reports.quantities import between
from reports.render import render
from reports.side_by_side import comparison_markdown, comparison_terminal, render_comparison
from reports.summaries import junit, markdown, terminal


def text_of(page: str) -> str:
    """A page's words and numbers, without its tags."""
    bare = re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(script|style).*?</\1>", " ", page))
    return html.unescape(re.sub(r"\s+", " ", bare))


def p99(low: float | None, high: float | None, by: str = "blocks", samples: int | None = 20_000) -> Figure:
    """A p99 of 7.3 ms with an interval."""
    return Figure(
        name="append.always.response.p99",
        value=7_300,
        unit="µs",
        samples=samples,
        low=low,
        high=high,
        bound_by=by,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (p99(6_900, 8_100), "7.30 ms (6.90 to 8.10 ms)"),
        (p99(900, 8_100), "7.30 ms (900 µs to 8.10 ms)"),
        (p99(6_900, None), "7.30 ms (6.90 ms or more)"),
        (p99(6_900, None, "order", 45), "7.30 ms (6.90 ms or more, of 45 values only: p99 wants 368)"),
        (p99(None, 8_100), "7.30 ms (8.10 ms or less)"),
        (p99(None, None), "7.30 ms (no bounds: too few seconds)"),
        (p99(None, None, samples=45), "7.30 ms (of 45 values only: p99 wants 368)"),
        (p99(None, None, ""), "7.30 ms"),
        (Figure(name="append.response.p99", value=None, unit="µs", samples=0, bound_by="order"), "not measured"),
        (Figure(name="append.response.max", value=7_300, unit="µs", samples=9), "7.30 ms"),
    ],
)
def test_a_quantile_in_words(figure: Figure, words: str) -> None:
    """The interval in brackets, its unit once; where an end is missing, why."""
    assert told(figure) == words


def test_two_ends_in_words() -> None:
    """The unit is said once where it is the same."""
    assert between(2.0, 3.0, "events") == "2 to 3 events"
    assert between(150e6, 210e6, "µs") == "2 min 30 s to 3 min 30 s"


def test_what_intervals_are_is_said_once(tmp_path: Path) -> None:
    """How many are from blocks and how many from the order of values; nothing of a record of before."""
    some = run_of("append", figures=[p99(1, 2), p99(1, 2), p99(1, None, "order")])
    assert (
        "How they were made: 2 from blocks of time, since responses hang together, 1 from the order"
        in intervals_said([some])
    )
    assert intervals_said([run_of("append", figures=[p99(None, None)])]).startswith("No quantile has an interval")
    assert intervals_said([run_of("append", figures=[p99(None, None, "")])]) == ""
    said = intervals_said([some])
    save(tmp_path, some)
    record = load(tmp_path)
    for text in (text_of(render(record)), " ".join(str(terminal(record)).split()), markdown(record)):
        assert text.count(said) == 1


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A run of appends as the instrument records it."""
    return append_run(tmp_path_factory.mktemp("append"), seconds=20, per_s=300)


def test_every_quantile_of_a_run_has_its_interval(record: Record) -> None:
    """In the record, and on the page beside tile, trust and figure."""
    quantiles = [f for f in record.run.figures if re.search(r"\.p[\d.]+$", f.name)]
    assert len(quantiles) == 12
    page = text_of(render(record))
    for figure in quantiles:
        assert figure.bound_by
        assert figure.low is not None
        assert figure.high is not None or figure.name.endswith(".p99.9")
        assert told(figure) in page
    assert told(quantiles[2]) in text_of(markdown(record))


def test_junit_has_the_ends_as_numbers(record: Record) -> None:
    """Whoever reads the properties need not take a sentence apart."""
    figure = next(f for f in record.run.figures if f.name == "append.response.p99")
    root = ElementTree.fromstring(junit(record))  # noqa: S314 - our own XML
    found = {each.attrib["name"]: each.attrib["value"] for each in root.iter("property")}
    assert found["append.response.p99.low"] == f"{figure.low:.0f} µs"
    assert found["append.response.p99.high"] == f"{figure.high:.0f} µs"
    assert "append.response.max.low" not in found


def test_a_comparison_has_them_on_each_side(record: Record, tmp_path: Path) -> None:
    """Beside each value, of the histograms and of the figures, on the page, in Markdown and on the terminal."""
    figure = next(f for f in record.run.figures if f.name == "append.response.p99")
    found = compare([record, record])
    assert text_of(render_comparison(found, tmp_path)).count(told(figure)) >= 2
    assert comparison_markdown(found).count(f"({interval(figure)})") >= 2
    figures = [f for f in record.run.figures if f.name == "append.response.p99"]
    save(tmp_path, run_of("append", figures=figures))
    plain = load(tmp_path)
    assert f"({interval(figure)})" in " ".join(str(comparison_terminal(compare([plain, plain]))).split())
