"""A quantile of too few values: said wherever it is shown, and never within a limit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import run_of

from harness.check.budgets import Budget, budget_verdicts
from harness.measure.sample_size import enough_samples, quantile_named, samples_wanted, too_few
from harness.record.run import Figure, load, save
from reports.render import render
from reports.summaries import junit, markdown, terminal


def text_of(page: str) -> str:
    """A page's words and numbers, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(script|style).*?</\1>", " ", page)))


SAID = "of 45 values only: p99 wants 368"


@pytest.mark.parametrize(("q", "wanted"), [(0.5, 6), (0.9, 36), (0.99, 368), (0.999, 3_688), (0.9999, 36_887)])
def test_how_many_a_quantile_wants(q: float, wanted: int) -> None:
    """So many are enough, and one less is not."""
    assert samples_wanted(q) == wanted
    assert (enough_samples(q, wanted), enough_samples(q, wanted - 1)) == (True, False)


@given(st.floats(0.01, 0.9999), st.integers(1, 100_000))
def test_enough_is_what_the_binomial_says(q: float, n: int) -> None:
    """Enough is where all values are below the true quantile in at most one case of forty."""
    chance = q**n
    assert enough_samples(q, n) == (chance <= 0.025) or chance == pytest.approx(0.025, rel=1e-9)


def test_the_highest_of_enough_values_bounds_the_quantile() -> None:
    """In 20,000 draws the highest of 368 values is below the p99 in about one case of forty, of 45 in most."""
    generator = np.random.default_rng(7)
    below = {n: float((generator.random((20_000, n)).max(axis=1) < 0.99).mean()) for n in (45, 368)}
    assert below[368] == pytest.approx(0.99**368, abs=0.005)
    assert below[45] == pytest.approx(0.99**45, abs=0.02)


@pytest.mark.parametrize(
    ("name", "q"),
    [
        ("append.always.response.p99", 0.99),
        ("append.always.response.p99.9", 0.999),
        ("append.always.response.max", None),
        ("lag.events", None),
        ("gate.append.p99.ratio", None),
        ("p50", 0.5),
        ("append.map99", None),
        ("journey.p0", None),
    ],
)
def test_a_figures_name_says_which_quantile_it_is(name: str, q: float | None) -> None:
    """The last part of the name, and nothing that looks like it."""
    assert quantile_named(name) == pytest.approx(q)


def test_nothing_is_said_of_what_nobody_has_counted() -> None:
    """A record of before has no counts, and its quantiles are shown as they were."""
    assert too_few("append.response.p99", None) == ""
    assert too_few("append.response.p99", 368) == ""
    assert too_few("append.response.p99", 1) == "of 1 value only: p99 wants 368"


def test_it_is_said_wherever_a_quantile_is_shown(tmp_path: Path) -> None:
    """Tile and table of the page, Markdown and terminal have it beside the number; the record has the count."""
    figures = [
        Figure(name="append.always.response.p99", value=7_300.0, unit="µs", samples=45),
        Figure(name="append.none.response.p99", value=300.0, unit="µs", samples=368),
    ]
    save(tmp_path, run_of("append", figures=figures))
    record = load(tmp_path)
    page = text_of(render(record))
    assert page.count(f"7.30 ms ({SAID})") == 2
    for text in (markdown(record), str(terminal(record))):
        assert SAID in text
        assert "of 368 values" not in text
    assert record.run.figures == figures
    assert "7300" in junit(record)


@pytest.mark.parametrize(
    ("samples", "limit", "status"),
    [(45, "10 ms", "UNKNOWN"), (45, "5 ms", "FAIL"), (368, "10 ms", "PASS"), (None, "10 ms", "PASS")],
)
def test_too_few_values_keep_no_limit(samples: int | None, limit: str, status: str) -> None:
    """A quantile of too few values is not within an upper limit; beyond it, it is all the same."""
    figure = Figure(name="append.always.response.p99", value=7_300.0, unit="µs", samples=samples)
    budget = Budget(figure=figure.name, at_most=limit)
    [verdict] = budget_verdicts([budget], [run_of("append", figures=[figure])])
    assert verdict.status == status
    assert (SAID in verdict.detail) == (status == "UNKNOWN")
