"""A load and what is sampled meanwhile count from one origin; of several loads, from that of the first."""

from __future__ import annotations

from pathlib import Path

from harness.conduct.conduct import Findings
from harness.measure.probes import Gauge
from harness.measure.timeline import History
from scenarios.under_load import UnderLoad
from tests.lines import stage_in
from tests.waiting import until

S = 1_000_000_000


def test_the_only_load_of_a_run_is_its_origin(tmp_path: Path) -> None:
    """Whoever looks at the run sees when its load begins, and its readings are on the run's timeline."""
    findings = Findings("x")
    load = UnderLoad(stage_in(tmp_path), findings)
    with load.sampling([Gauge("a", "events", lambda: 1)]):
        until(lambda: findings.history.entries, "a reading")
    assert (load.origin_ns, 0) == (findings.origin_ns, load.offset_ns)


def test_one_of_several_loads_counts_from_the_first(tmp_path: Path) -> None:
    """A load that begins later than its run has its readings at the run's time, and is not the run's origin."""
    stage, findings, history = stage_in(tmp_path), Findings("x"), History()
    load = UnderLoad(stage, findings, history=history, since_ns=stage.clock.now_ns() - 5 * S)
    with load.sampling([Gauge("a", "events", lambda: 1)]):
        until(lambda: history.entries, "a reading")
    assert load.offset_ns > 5 * S
    assert all(reading.t_ns >= 5 * S for reading in history.readings("a"))
    assert (findings.origin_ns, findings.history.entries) == (None, [])
