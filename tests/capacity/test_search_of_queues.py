"""The search of a capacity beside simulated queues, whose capacity is calculated."""

from __future__ import annotations

import numpy as np
import pytest

from harness.capacity.search import SearchPlan, search
from harness.selfcheck.lindley import Kind
from tests.queues import Queues

PLAN = SearchPlan(start_per_s=500.0, probe_s=5.0, long_probe_s=16.0, limit_s=180.0)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("kind", "limit"), [("constant", 10.0), ("exponential", 15.0)])
def test_it_finds_what_queues_can_take(kind: Kind, limit: float, workers: int) -> None:
    """Within 5 %, and each time it knows: with a machine that is not always as fast, nor always free."""
    for seed in range(3):
        mean_us = 160.0 * workers
        queues = Queues(kind, mean_us, workers, mean_us * limit, seed, wobble=0.003, unknown=3)
        found = search(PLAN, queues.probe, queues.now_s)
        assert found.passes is not None
        assert found.fails is not None
        assert 0.95 <= found.passes / queues.truth() <= 1.05, (seed, found)
        assert queues.elapsed_s <= PLAN.limit_s
        assert found.ended in {"narrow", "time"}


def test_a_cliff_before_a_server_is_full_is_never_overrated() -> None:
    """Where pauses meet a hundredth of all commands p99 jumps; how near it comes is a matter of its bound."""
    queues = Queues("pauses", 50.0, 1, 1_000.0, 5)
    found = search(PLAN, queues.probe, queues.now_s)
    assert found.passes is not None
    assert 0.5 <= found.passes / queues.truth() <= 1.05


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["constant", "exponential"])
@pytest.mark.parametrize("workers", [1, 4])
def test_every_search_of_a_queue_is_within_five_percent(workers: int, kind: Kind, seed: int) -> None:
    """Of queues and budgets that are drawn: in the time of a search by default, and each time it knows."""
    generator = np.random.default_rng([seed, workers])
    mean_us = workers * 1e6 / float(np.exp(generator.uniform(*np.log([4_000.0, 8_000.0]))))
    limit_us = mean_us * float(generator.uniform(10, 20))
    queues = Queues(kind, mean_us, workers, limit_us, seed, wobble=0.003, unknown=2)
    found = search(PLAN, queues.probe, queues.now_s)
    assert found.passes is not None
    assert found.ended != "unknown"
    assert abs(found.passes / queues.truth(1_000_000) - 1) <= 0.05, found
