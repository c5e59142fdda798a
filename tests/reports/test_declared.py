"""What a scenario says of its report: it says so itself, its record keeps it, and the report shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import report_runs

from harness.check.figures import FigureName
from harness.conduct.conduct import Findings, Stage, conduct
from harness.gate.loop import Gate
from harness.host.clock import VirtualClock
from harness.record.run import Figure, KeyFigure, Record, load, save
from reports import render
from reports.charts.view import Section
from scenarios.catalog import SCENARIOS
from tests.reports.test_render import Page


class Brewing:
    """A scenario that the house does not know."""

    name = "brewing"
    summary = "how long does tea take?"
    parameters = msgspec.defstruct("Nothing", [])
    profiles: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
    key_figures = (KeyFigure("brewing.*.minutes", "Time"), KeyFigure("brewing.cups", "Cups"))
    sections = ("lag",)
    words = {"green": "green tea", "black": "black tea"}  # noqa: RUF012 - the same

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Three figures that matter, and one that does not."""
        findings.figure("spoons", 1, "spoons")
        findings.figure("green.minutes", 2, "min")
        findings.figure("black.minutes", 4, "min")
        findings.figure("cups", 6, "cups")


@pytest.fixture
def brewed(tmp_path: Path) -> Record:
    stage = Stage(
        server="embedded",
        port=None,
        profile="smoke",
        seed=7,
        directory=tmp_path,
        clock=VirtualClock(),
        progress=lambda *_: None,
    )
    conduct(Brewing(), Brewing.parameters(), stage, command=["shopbench", "run", "brewing"])
    return load(tmp_path)


def test_record_keeps_what_the_scenario_says(brewed: Record) -> None:
    """`run.json` has the key figures, the sections and the words of its scenario."""
    run = brewed.run
    assert (run.key_figures, run.sections, run.words) == (
        list(Brewing.key_figures),
        list(Brewing.sections),
        Brewing.words,
    )


def test_report_shows_what_the_scenario_says(brewed: Record) -> None:
    """The highest of several is in front, each by its word; a section without evidence says so in its place."""
    words = Page(render(brewed)).words
    assert (
        words.index("Time, black tea4.00 min") < words.index("Time, green tea2.00 min") < words.index("Cups6.00")
    )
    assert "this run recorded no consumer lag" in words


@pytest.mark.parametrize("scenario", [*SCENARIOS.values(), Gate], ids=lambda scenario: scenario.name)
def test_key_figures_are_made(scenario: Any) -> None:
    """What a scenario calls a key figure is a figure that it makes; and its sections are a report's."""
    made: tuple[FigureName, ...] = scenario.figures
    for key in scenario.key_figures:
        names = [key.name.replace("*", word) for word in getattr(scenario, "words", ["*"])]
        assert any(each.is_of(name) for each in made for name in names), key
    assert set(getattr(scenario, "sections", ())) <= set(get_args(Section))


def test_older_record_renders(tmp_path: Path) -> None:
    """A record of before scenarios said anything is read and shown; nobody knows what it lacks."""
    directory = report_runs.append_run(tmp_path, 3, 20).directory
    kept = json.loads((directory / "run.json").read_text())
    for name in ("key_figures", "sections", "words"):
        del kept[name]
    (directory / "run.json").write_text(json.dumps(kept))
    words = Page(render(load(directory))).words
    assert ("append response p99" in words, "this run recorded no" in words) == (True, False)


def test_older_record_misses_what_its_figures_are_of(tmp_path: Path) -> None:
    """Responses among the figures of an older record, and none in its log: that is said."""
    figures = [Figure(name="trip.response.p99", value=1.0, unit="µs")]
    save(tmp_path, report_runs.run_of("trip", figures=figures))
    words = Page(render(load(tmp_path))).words
    assert ("this run recorded no latency" in words, "this run recorded no consumer lag" in words) == (True, False)
