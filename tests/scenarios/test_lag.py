"""Lag: the three shapes of its load, and what is read from a ramp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.conduct.conduct import Findings, parameters_of
from harness.measure.timeline import History, Reading
from harness.record.run import Status
from scenarios.lag import LagParameters, ramped, scenario
from tests.lines import stage_in
from tests.verdicts import judged, settled

S = 1_000_000_000


def parameters(**given: Any) -> LagParameters:
    given = {"peak_per_s": 12_000} | given
    found = parameters_of(scenario, "quick", {name: str(value) for name, value in given.items()})
    assert isinstance(found, LagParameters)
    return found


@pytest.mark.parametrize(
    ("shape", "total", "peak_ns"),
    [("burst", 60_000, (4 * S, 8 * S)), ("steady", 16_000, (0, 16 * S)), ("ramp", 104_000, (0, 16 * S))],
)
def test_shapes(shape: str, total: int, peak_ns: tuple[int, int]) -> None:
    """A burst is in the middle; a ramp rises to the peak, and a steady load stays at the base, all the time."""
    chosen = parameters(shape=shape)
    pacer = chosen.pacer()
    assert (pacer.total, pacer.duration_ns, chosen.peak_ns) == (total, 16 * S, peak_ns)
    first, last = (np.diff(pacer.due_ns(at, 11))[-1] for at in (0, pacer.total - 12))
    ends = {"burst": (1_000, 1_000), "steady": (1_000, 1_000), "ramp": (1_000, 12_000)}[shape]
    assert (S / first, S / last) == pytest.approx(ends, rel=0.02)


def rising(chosen: LagParameters, *, consumer_per_s: float, producers_per_s: float) -> tuple[History, Any]:
    """Readings of lag and looks at effects, of a ramp in which neither side does more than so much."""
    history, applied = History(), []
    due = appended = done = 0.0
    rise = (chosen.peak_per_s - chosen.base_per_s) / chosen.load_s
    for step in range(round(chosen.load_s * 100)):
        due += (chosen.base_per_s + rise * step / 100) / 100
        appended = min(due, appended + producers_per_s / 100)
        done = min(appended, done + consumer_per_s / 100)
        t_ns = step * S // 100
        applied.append((t_ns, int(done)))
        if step % 10 == 0:
            history.add(Reading(t_ns=t_ns, name="lag.events", value=int(appended) - int(done), unit="events"))
    return history, applied


def test_what_a_ramp_has_shown() -> None:
    """The capacity of the consumer where the load exceeded it, and nothing but a lower bound where it did not."""
    chosen = parameters(shape="ramp")
    found = ramped(chosen, *rising(chosen, consumer_per_s=7_000, producers_per_s=1e9))
    assert found.capacity_per_s == pytest.approx(7_000, rel=0.02)
    assert found.highest_per_s == pytest.approx(12_000, rel=0.02)
    found = ramped(chosen, *rising(chosen, consumer_per_s=13_000, producers_per_s=1e9))
    assert found.capacity_per_s is None
    assert found.highest_per_s == pytest.approx(12_000, rel=0.02)


def test_producers_that_fell_behind_are_no_load() -> None:
    """A ramp that producers could not follow ends where they could not; beyond it nothing is said."""
    chosen = parameters(shape="ramp")
    found = ramped(chosen, *rising(chosen, consumer_per_s=9_000, producers_per_s=6_000))
    assert found.capacity_per_s is None
    # Beyond 6,000 they fall behind by (rate - 6,000)² / (2 * 687.5), which is a tenth of a second at about 7,000.
    assert 6_000 < found.highest_per_s < 7_200
    found = ramped(chosen, *rising(chosen, consumer_per_s=4_000, producers_per_s=8_000))
    assert found.capacity_per_s == pytest.approx(4_000, rel=0.05)


def test_without_readings_nothing_was_shown() -> None:
    """No reading is no load that anybody has seen."""
    found = ramped(parameters(shape="ramp"), History(), [])
    assert (found.capacity_per_s, found.highest_per_s) == (None, 1_000)


def found_by(directory: Path, **given: Any) -> tuple[dict[str, Status], dict[str, float | None], str]:
    findings = Findings(scenario.name)
    chosen = parameters(durability="none", before_s=1, peak_s=1, after_s=1, send_lag_budget_ms=60_000, **given)
    scenario.run(stage_in(directory), chosen, findings)
    run = judged(scenario, chosen, findings)
    bad = {v.name: v.status for v in settled(run.verdicts) if v.status != "PASS"}
    return bad, {f.name.removeprefix("lag."): f.value for f in run.figures}, run.headline


@pytest.mark.slow
def test_a_ramp_finds_a_capacity(tmp_path: Path) -> None:
    """Ten events a stream, and 50 ms for their mails, are 400 a second at the most; a ramp goes beyond it."""
    bad, figures, headline = found_by(
        tmp_path, shape="ramp", base_per_s=100, peak_per_s=2_000, page=10, mail_delay_ms=50
    )
    assert bad == {}
    capacity = figures["capacity_per_s"]
    assert capacity is not None
    # No more than that, and on a machine that is busy less.
    assert 100 <= capacity <= 500
    assert headline.startswith(f"The CRM can handle {capacity:,.0f} events a second")


@pytest.mark.slow
def test_a_steady_load_beyond_the_capacity(tmp_path: Path) -> None:
    """Twice what two consumers can handle: lag grows, by at least half of the rest, and all is drained later."""
    bad, figures, headline = found_by(
        tmp_path, shape="steady", base_per_s=1_600, page=10, mail_delay_ms=50, consumers=2
    )
    assert bad == {}
    assert (figures["growth_per_s"] or 0) > 400
    assert "At 1,600/s lag grew by " in headline
    assert (figures["drain_s"] or 0) > 0
    assert figures["applied"] == 4_800
