"""The search of a capacity: near the truth of simulated queues, and bounded whatever a system does."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.capacity.margins import decreasing, root_of
from harness.capacity.search import MOST_PROBES, Bound, Found, Probed, ProbeStatus, Progress, SearchPlan, search

PLAN = SearchPlan(start_per_s=100.0, probe_s=5.0, long_probe_s=16.0, limit_s=180.0)


def said(rate_per_s: float, status: ProbeStatus, margin: float | None = None, bound: Bound = "latency") -> Probed:
    """A probe that says so."""
    return Probed(rate_per_s=rate_per_s, status=status, margin=margin, bound=bound, why="", took_s=5.0)


class Scripted:
    """A system whose p99 reaches its limit at a capacity; what it says can be replaced, probe by probe.

    Args:
        capacity_per_s: the truth.
        slope: by how much the margin's logarithm falls with that of the rate.
        instead: says something else of a probe by its number, from 0, and its rate; None: it does not.
    """

    def __init__(
        self,
        capacity_per_s: float,
        slope: float = 5.0,
        instead: Callable[[int, float], Probed | None] = lambda _number, _rate: None,
    ) -> None:
        self._capacity_per_s = capacity_per_s
        self._slope = slope
        self._instead = instead
        self.asked: list[tuple[float, float]] = []
        self.elapsed_s = 0.0

    def __call__(self, rate_per_s: float, seconds: float) -> Probed:
        self.asked.append((rate_per_s, seconds))
        self.elapsed_s += seconds + 1.0
        other = self._instead(len(self.asked) - 1, rate_per_s)
        if other is not None:
            return other
        margin = self._slope * math.log(self._capacity_per_s / rate_per_s)
        return said(rate_per_s, "PASS" if margin >= 0 else "FAIL", margin)

    def search(self, plan: SearchPlan = PLAN) -> Found:
        """Search it."""
        return search(plan, self, lambda: self.elapsed_s)


@pytest.mark.parametrize(("slope", "edge"), [(3.0, "smooth"), (60.0, "cliff")])
def test_a_cliff_is_told_from_a_slope(slope: float, edge: str) -> None:
    """Where p99 more than doubles within the bracket, that is a cliff."""
    found = Scripted(4_321.0, slope).search()
    assert found.edge == edge
    assert found.passes is not None
    assert found.fails is not None
    assert found.passes <= 4_321.0 < found.fails <= 1.05 * found.passes
    assert (found.ended, found.bound, found.is_replicated) == ("narrow", "latency", True)


def test_the_edge_is_probed_in_turn() -> None:
    """The last probes are of the two rates of the answer, in turn, and long."""
    system = Scripted(4_321.0)
    found = system.search()
    last = found.probes[-4:]
    assert {probe.rate_per_s for probe in last} == {found.passes, found.fails}
    assert all(probe.is_long and probe.took_s == PLAN.long_probe_s for probe in last)
    assert all(a.rate_per_s != b.rate_per_s for a, b in pairwise(last))


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("status", ["PASS", "FAIL", "UNKNOWN"])
def test_one_probe_that_is_wrong_does_not_move_the_answer(number: int, status: ProbeStatus) -> None:
    """Whichever probe it is that something else has disturbed."""
    system = Scripted(
        4_321.0,
        instead=lambda made, rate: (
            said(rate, status, {"PASS": 0.7, "FAIL": -0.7}.get(status), "") if made == number else None
        ),
    )
    found = system.search(SearchPlan(start_per_s=100.0, probe_s=5.0, long_probe_s=16.0, limit_s=600.0))
    assert found.passes is not None
    assert found.fails is not None
    assert 4_321 * 0.93 <= found.passes <= 4_321 * 1.05
    assert found.ended == "narrow"


def test_unknown_is_made_again_once_and_never_counts_as_a_pass() -> None:
    """Above a rate nothing is known: the answer lies below it, and says so."""
    system = Scripted(1e6, instead=lambda _, rate: said(rate, "UNKNOWN", None, "host") if rate > 3_000 else None)
    found = system.search()
    assert found.passes is not None
    assert 2_700 <= found.passes <= 3_000
    assert (found.ended, found.fails, found.is_replicated) == ("unknown", None, True)
    unknown = [probe.rate_per_s for probe in found.probes if probe.status == "UNKNOWN"]
    assert all(unknown.count(rate) == 2 for rate in unknown)


def test_nothing_is_ever_known() -> None:
    """A search of which every probe is UNKNOWN has no answer, and says what it tried."""
    found = Scripted(1.0, instead=lambda _, rate: said(rate, "UNKNOWN")).search(
        SearchPlan(start_per_s=100.0, probe_s=1.0, long_probe_s=1.0, limit_s=600.0)
    )
    assert (found.passes, found.fails, found.ended) == (None, None, "unknown")
    assert [probe.rate_per_s for probe in found.probes] == [100, 100, 50, 50, 25, 25]


def test_what_the_instrument_cannot_make_ends_a_search() -> None:
    """A probe that is limited by the instrument is no statement on the system: the answer is the rate below it."""
    system = Scripted(
        1e6, instead=lambda _, rate: said(rate, "UNKNOWN", None, "instrument") if rate > 20_000 else None
    )
    found = system.search(replace(PLAN, limit_s=600.0))
    assert (found.ended, found.bound, found.fails) == ("instrument", "instrument", None)
    assert found.passes is not None
    assert 18_000 <= found.passes <= 20_000


def test_what_is_known_beforehand_is_not_exceeded() -> None:
    """The most that the instrument can make is the last rate."""
    system = Scripted(1e6)
    found = system.search(SearchPlan(start_per_s=100.0, probe_s=5.0, long_probe_s=16.0, most_per_s=7_000.0))
    assert (found.passes, found.fails, found.ended, found.is_replicated) == (7_000.0, None, "instrument", True)
    assert max(rate for rate, _ in system.asked) == 7_000.0


def test_where_nothing_passes_it_says_what_it_tried() -> None:
    """Down to the floor, which is made twice, long."""
    found = Scripted(0.5).search()
    assert (found.passes, found.fails, found.ended) == (None, 1.0, "floor")
    assert [probe.rate_per_s for probe in found.probes].count(1.0) >= 2
    assert found.probes[0].rate_per_s == 100.0


def test_time_is_kept() -> None:
    """No probe begins that would not be over in time, and what is known by then is the answer."""
    system = Scripted(1e5)
    found = system.search(SearchPlan(start_per_s=100.0, probe_s=5.0, long_probe_s=16.0, limit_s=30.0))
    assert found.ended == "time"
    assert system.elapsed_s <= 30.0
    assert found.passes is not None
    assert not found.is_replicated


def test_a_low_rate_is_probed_for_longer() -> None:
    """So many operations as a quantile wants."""
    system = Scripted(80.0)
    plan = SearchPlan(start_per_s=20.0, probe_s=1.0, long_probe_s=2.0, operations=500, limit_s=1e4)
    system.search(plan)
    assert all(rate * seconds >= 500 - 1e-6 for rate, seconds in system.asked)


def test_progress_shows_the_bracket() -> None:
    """Before each probe what it is, and at the end the whole."""
    system = Scripted(4_321.0)
    shown: list[Progress] = []
    found = search(PLAN, system, lambda: system.elapsed_s, shown.append)
    assert [each.next_per_s for each in shown] == [rate for rate, _ in system.asked] + [None]
    assert [each.next_s for each in shown] == [seconds for _, seconds in system.asked] + [None]
    assert (shown[-1].passes, shown[-1].fails) == (found.passes, found.fails)
    assert [len(each.probes) for each in shown] == list(range(len(found.probes) + 1))
    assert [shown[0].phase, shown[-1].phase] == ["bracket", "edge"]


@given(
    st.lists(st.sampled_from(["PASS", "FAIL", "UNKNOWN"]), min_size=MOST_PROBES, max_size=MOST_PROBES), st.data()
)
@settings(max_examples=60, deadline=None)
def test_it_ends_whatever_a_system_says(statuses: list[ProbeStatus], data: st.DataObject) -> None:
    """With answers that make no sense at all: within its bounds, and with an answer that is in itself."""
    plan = SearchPlan(start_per_s=100.0, probe_s=1.0, long_probe_s=2.0, most_per_s=1e5, limit_s=1e6)

    def nonsense(number: int, rate: float) -> Probed:
        status = statuses[number]
        margin = None if status == "UNKNOWN" else data.draw(st.floats(-3, 3))
        return said(rate, status, margin, data.draw(st.sampled_from(["latency", "instrument", "host"])))

    system = Scripted(1.0, instead=nonsense)
    found = system.search(plan)
    assert len(found.probes) <= MOST_PROBES
    assert all(plan.least_per_s <= rate <= plan.most_per_s for rate, _ in system.asked)
    if found.passes is not None:
        # Near the edge all probes together say it, so that its own may not have been shown to be within.
        assert any(probe.rate_per_s == found.passes and probe.status != "UNKNOWN" for probe in found.probes)
        if found.fails is not None:
            assert found.passes < found.fails


def _naive_decreasing(values: list[float], weights: list[float]) -> list[float]:
    """The largest of the smallest means: the definition of an isotonic fit, without a thought for speed."""

    def mean(first: int, last: int) -> float:
        return float(np.average(values[first : last + 1], weights=weights[first : last + 1]))

    count = len(values)
    return [
        min(max(mean(first, last) for last in range(at, count)) for first in range(at + 1)) for at in range(count)
    ]


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.5, 4)), min_size=1, max_size=8))
def test_an_isotonic_fit_is_what_its_definition_says(points: list[tuple[float, float]]) -> None:
    """Pools of violators are the same as the minimum of the maximal means."""
    values, weights = [value for value, _ in points], [weight for _, weight in points]
    np.testing.assert_allclose(decreasing(values, weights), _naive_decreasing(values, weights), atol=1e-9)


def test_the_root_lies_where_the_margins_cross_zero() -> None:
    """Between the last above zero and the first below it, in the logarithms; nowhere if they do not cross."""
    probes = [said(100, "PASS", 0.9), said(200, "PASS", 0.4), said(400, "FAIL", -0.4), said(800, "FAIL", -5.0)]
    assert root_of(probes) == pytest.approx(math.sqrt(200 * 400))
    assert root_of(probes[:2]) is None
    assert root_of([]) is None
