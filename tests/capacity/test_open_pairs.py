"""Rounds at a rate: quantiles within a bucket, ratios of blocks, and a real round."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from harness.capacity.open_pairs import BLOCKS, OpenMeasure, OpenPair, compared_at_a_rate, load_of, within
from harness.capacity.open_side import OpenTold
from harness.capacity.sides import Side
from harness.capacity.versus_prepare import OpenSetupOf, setup_of
from harness.gate.controls import CONTROLS
from harness.gate.rounds import first_of
from harness.gate.side import Side as Place
from harness.host.clock import SystemClock
from harness.measure.histogram import Histogram, SparseHistogram
from scenarios.versus_load import ShopLoads


def histogram(values_us: np.ndarray) -> Histogram:
    """A histogram of values, rounded to whole microseconds as a recorder does."""
    found = Histogram()
    found.record(np.floor(values_us + 0.5).astype(np.int64))
    return found


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("middle_us", [30.0, 81.4, 700.0, 5_000.0])
def test_a_quantile_within_its_bucket(q: float, middle_us: float) -> None:
    """It is nearer to the true one than a bucket is wide."""
    values = np.random.default_rng(5).lognormal(math.log(middle_us), 0.2, 40_000)
    true = float(np.quantile(values, q))
    assert within(histogram(values), q) == pytest.approx(true, rel=0.004, abs=0.05)


def block(values_us: np.ndarray) -> OpenTold:
    """What a pump tells of a block with these responses."""
    sparse = SparseHistogram(histogram(values_us))
    count = values_us.size
    return OpenTold(
        response=sparse,
        send_lag=sparse,
        due=count,
        ok=count,
        failed=0,
        unknown=0,
        dropped=0,
        due_s=1.0,
        took_s=1.1,
    )


@pytest.mark.parametrize(
    ("count", "known"), [(4_000, {"p50", "p99", "p99.9"}), (500, {"p50", "p99", "p99.9"}), (50, {"p50", "p99"})]
)
def test_ratios_of_blocks(count: int, known: set[str]) -> None:
    """Each quantile that has enough answers is 1.2 times as long; one that has too few is left out."""
    rng = np.random.default_rng(7)
    first = [block(rng.lognormal(5, 0.3, count)) for _ in range(BLOCKS)]
    other = [block(1.2 * rng.lognormal(5, 0.3, count)) for _ in range(BLOCKS)]
    ratios, values = compared_at_a_rate({"baseline": first, "candidate": other})
    assert {name.removeprefix("response.") for name in ratios} == known
    assert set(values) == set(ratios)
    for name, ratio in ratios.items():
        assert math.exp(ratio) == pytest.approx(1.2, rel=0.05 if "p50" in name else 0.25)
    load = load_of(first)
    assert (load.due, load.ok, load.took_s) == (BLOCKS * count, BLOCKS * count, pytest.approx(1.1 * BLOCKS))
    assert load.reached == pytest.approx(1 / 1.1)


@pytest.mark.parametrize("load", [{}, {"path": "xadd"}], ids=["store", "xadd"])
def test_a_round_at_a_rate(load: dict[str, str]) -> None:
    """Two fresh servers, each with all of its load answered; ratios of its quantiles and of the controls."""
    side = Side(load=load)
    setups: dict[Place, OpenSetupOf] = {
        place: OpenSetupOf(
            setup=setup_of(side, ShopLoads()), side=side, loads=ShopLoads(), rate_per_s=500, connections=1, seed=3
        )
        for place in ("baseline", "candidate")
    }
    measure = OpenMeasure(
        setups=setups, names={"baseline": "A", "candidate": "B"}, seed=3, block_s=0.1, arrivals="poisson"
    )
    before = os.sched_getaffinity(0)
    with OpenPair(measure, SystemClock()) as pair:
        found, loads = pair.measure(2)
    assert os.sched_getaffinity(0) == before
    assert found.first == first_of(3, 2)
    assert set(found.ratios) == set(found.values_ns) == {"response.p50", "response.p99", *CONTROLS}
    assert all(value > 0 for pair in found.values_ns.values() for value in pair)
    first, other = loads
    # Both have the same arrivals, which are drawn.
    assert first.due == other.due
    assert 200 < first.due < 700
    assert (first.ok, other.ok) == (first.due, other.due)


def test_a_server_that_goes_away(tmp_path: Path) -> None:
    """The error names the side, in one line."""
    del tmp_path
    from harness.capacity.open_pairs import _OpenSide
    from harness.gate.side import SideError
    from harness.host.child import Child
    from harness.load.pacing import constant
    from harness.load.settings import PumpSettings
    from harness.load.workload import StampedCommand, placeholder
    from harness.server.open import open_server

    with open_server("embedded", SystemClock()) as server:
        settings = PumpSettings(url=server.url)
    source = StampedCommand("append", ["XADD", "s", "*", "event_id", placeholder(1)], 1)
    child = Child("harness.capacity.open_side:main", settings, source)
    try:
        with pytest.raises(SideError, match=r"^Redis 7: no connection to the server: "):
            _OpenSide(child, "Redis 7").block(constant(100, 0.1))
    finally:
        child.close()
