"""Durabilities side by side: one axis for loads that were measured one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_runs
import vl_convert

from harness.measure.recorder import Interval, Recorder
from harness.measure.timeline import FaultWindow, History
from harness.record.files import save_measurements
from harness.record.run import Record, load, save
from reports.charts import charts
from reports.charts.durabilities import durabilities
from reports.charts.view import Chart
from reports.render import render

LATENCIES = {"append_everysec": 500_000, "append_always": 4_000_000, "append_none": 100_000}


def one_after_the_other(directory: Path, *operations: str, scenario: str = "append", **changed: Any) -> Record:
    """A load of 5 s for each operation, a hundred operations a second, each load 7 s after the one before."""
    intervals: list[Interval] = []
    for at, operation in enumerate(operations):
        recorder = Recorder()
        due = np.arange(500) * 10_000_000 + at * 7_000_000_000 + 400_000_000
        service = LATENCIES.get(operation, 1_000_000) + np.arange(500) * 100
        recorder.record(operation, due, due, due + service)
        intervals += recorder.intervals()
    save(directory, report_runs.run_of(scenario, **changed))
    save_measurements(directory, intervals, History(), [], 1_795_443_302.0)
    return load(directory)


ALL = ("append_everysec", "append_always", "append_none")


def drawn(record: Record) -> dict[str, Chart]:
    return {chart.key: chart for chart in charts(record)}


def test_loads_begin_where_they_begin(tmp_path: Path) -> None:
    """Each load is drawn from its own beginning, so that none is a stub on an axis that is mostly empty."""
    chart = drawn(one_after_the_other(tmp_path, *ALL))["latency-0"]
    by_series: dict[str, list[float]] = {}
    for row in chart.rows:
        if row["k"] == "p99":
            by_series.setdefault(row["s"], []).append(row["x"])
    names = ["synced before each answer", "synced each second", "kept in memory only"]
    assert list(by_series) == names
    assert {tuple(xs[:3]) for xs in by_series.values()} == {(0.5, 1.5, 2.5)}
    assert max(row["x"] for row in chart.rows) < 7


def test_one_chart_has_all_percentiles(tmp_path: Path) -> None:
    """Curves of all durabilities end at the slowest of each, and tiles set them side by side."""
    record = one_after_the_other(tmp_path, *ALL)
    chart = drawn(record)["percentiles-0"]
    for series, operation in zip(chart.series, ("append_always", "append_everysec", "append_none"), strict=True):
        total = record.latency.total(f"{operation}.response")
        last = [row for row in chart.rows if row["s"] == series.name][-1]
        assert (last["x"], last["v"]) == (500, total.max_us)
    assert [label for label, _, _ in chart.tiles] == [
        f"{series.name}: p50, p99, slowest" for series in chart.series
    ]
    assert chart.tiles[0][1].startswith("4.0")


def test_heat_maps_hold_every_operation(tmp_path: Path) -> None:
    """Each durability has a heat map of its own, with all of its operations."""
    found = drawn(one_after_the_other(tmp_path, *ALL))
    for name in ("always", "everysec", "none"):
        assert sum(row["n"] for row in found[f"heat-{name}"].rows) == 500


def test_the_charts_can_be_drawn(tmp_path: Path) -> None:
    """Vega-Lite takes each of them, and the page as a whole has them."""
    record = one_after_the_other(tmp_path, *ALL)
    for key, chart in drawn(record).items():
        assert vl_convert.vegalite_to_svg(chart.spec), key
    assert "Response over time, durabilities side by side" in render(record)


def test_a_single_durability_is_drawn_as_any_load(tmp_path: Path) -> None:
    """Nothing is to be set beside it: the charts are those of an operation."""
    assert {"percentiles-0", "latency-0", "heat-0"} <= set(drawn(one_after_the_other(tmp_path, "append_always")))


@pytest.mark.parametrize(
    ("operations", "asked", "found"),
    [
        (("append", "append_always", "append_none"), "all", []),
        (ALL, "all", ["always", "everysec", "none"]),
        (("append_given", "append_first"), "all", []),
        (("append", "other"), "all", []),
        (("append_always",), "always", []),
    ],
)
def test_durabilities_of_a_record(
    tmp_path: Path, operations: tuple[str, ...], asked: str, found: list[str]
) -> None:
    """They are known by the words that the scenario has told its record, and none is left out."""
    record = one_after_the_other(tmp_path, *operations, parameters={"durability": asked})
    assert list(durabilities(record)) == found


def test_what_was_killed_is_not_drawn_over_another(tmp_path: Path) -> None:
    """A fault has its own timeline, so that the loads stay where they were."""
    record = one_after_the_other(tmp_path, *ALL, scenario="redis_crash")
    killed = FaultWindow(name="kill", target="redis", start_ns=10**9, end_ns=None)
    assert list(durabilities(record)) == ["always", "everysec", "none"]
    assert durabilities(Record(tmp_path, record.run, history=History([killed]), latency=record.latency)) == {}


def test_older_record_draws_each_operation(tmp_path: Path) -> None:
    """A record that has no words for its operations shows each of them by itself."""
    record = one_after_the_other(tmp_path, *ALL, words={})
    assert {"percentiles-0", "percentiles-1", "percentiles-2"} <= set(drawn(record))
