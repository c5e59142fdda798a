"""What disturbs a measurement is measured: garbage collections, CPU time that was stolen; and a loop is named."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import report_runs

from harness.conduct.findings import Findings
from harness.host.clock import VirtualClock
from harness.host.gc_pauses import GcPauses
from harness.measure.timeline import History, Reading
from harness.record.run import Run
from reports.findings import load, validity


def test_collections_are_counted() -> None:
    """Each collection counts once, and none after the end."""
    with GcPauses(VirtualClock()) as pauses:
        gc.collect()
        gc.collect()
    counted = pauses.count
    gc.collect()
    assert (counted >= 2, pauses.count) == (True, counted)


def test_longest_collection_is_kept() -> None:
    """The longest of some collections is the one that is told."""
    clock = VirtualClock()
    pauses = GcPauses(clock)
    for length_ns in (5_000, 90_000, 20_000):
        pauses._note("start", {})
        clock.sleep_ns(length_ns)
        pauses._note("stop", {})
    assert (pauses.count, pauses.longest_ns) == (3, 90_000)


def steal(*values: float | None) -> float | None:
    """The figure that readings of stolen CPU time add up to."""
    history = History(
        Reading(t_ns=at, name="host.steal_share", value=value, unit="of all cores")
        for at, value in enumerate(values)
    )
    findings = Findings("lag")
    findings.host_steal(history)
    [figure] = findings.figures
    assert (figure.name, figure.unit) == ("lag.host_steal_share", "share")
    return figure.value


def test_stolen_share_is_that_of_the_run() -> None:
    """Readings of equal length are averaged; one without an answer does not count."""
    assert steal(0.0, 0.5, None, 0.1) == pytest.approx(0.2)


def test_no_reading_is_no_zero() -> None:
    """Without readings nobody knows whether CPU time was stolen."""
    assert steal() is None


def described(**found: object) -> Run:
    """A run whose load came in some way."""
    return report_runs.run_of("append", environment={"load": found} if found else {})


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            described(loop="open", connections=1, arrivals="constant"),
            "Open loop: 1 connection, arrivals constant;",
        ),
        (described(loop="open", connections=50, arrivals="poisson"), "Open loop: 50 connections,"),
        (described(loop="closed"), "Closed loop: each call began when the one before had been answered."),
        (described(loop="sideways"), ""),
        (described(), ""),
    ],
)
def test_loop_in_words(run: Run, words: str) -> None:
    """The loop is named in a sentence, and nothing is said of one that the record does not name."""
    assert load(run).startswith(words)
    assert bool(load(run)) == bool(words)


def test_disturbances_are_shown_with_validity(tmp_path: Path) -> None:
    """What says how far a measurement can be trusted includes what has disturbed it."""
    names = ["append.send_lag.p99", "append.dropped", "append.host_steal_share", "append.gc_pause_max"]
    figures = [report_runs.Figure(name=name, value=0, unit="1") for name in [*names, "append.ok"]]
    assert [figure.name for figure in validity(report_runs.run_of("append", figures=figures))[1]] == names
