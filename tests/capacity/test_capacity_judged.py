"""What probes say, one by one and together: never more than was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness.capacity.budget import LatencyBudget
from harness.capacity.judging import judged
from harness.capacity.point import Point, Quantile, Told
from harness.capacity.searched import Searched, outcome, sentence, verdicts
from harness.check.budgets import Budget, budget_verdicts
from harness.check.load_reached import Surroundings
from tests.searches import P99_5MS, point_at, search_run, searched_of, usual_points

LAG_1S = (LatencyBudget("lag", 1e6),)


def told(what: str, status: Any, detail: str = "told so") -> list[Told]:
    """The verdicts of a record of which one is so."""
    every = {"load_reached": "PASS", "send_lag": "PASS", "answered": "PASS", what: status}
    return [Told(name, found, detail) for name, found in every.items()]  # type: ignore[arg-type]


WAITS = {"lag_s": 0.2, "waiting": (40.0, 38.0, 41.0, 40.0, 39.0)}


@pytest.mark.parametrize(
    ("point", "budgets", "status", "bound"),
    [
        (point_at(8_000), P99_5MS, "PASS", "latency"),
        (point_at(29_000), P99_5MS, "FAIL", "latency"),
        (point_at(33_000), P99_5MS, "FAIL", "backlog"),
        (point_at(8_000, failed="no server"), P99_5MS, "UNKNOWN", ""),
        (point_at(8_000, send_lag_us={"p99": 50_000.0}), P99_5MS, "UNKNOWN", "host"),
        (point_at(8_000, send_lag_us={}), P99_5MS, "UNKNOWN", ""),
        # Late beside a quick answer: the response is longer for it, and within its budget all the same.
        (point_at(8_000, verdicts=told("send_lag", "UNKNOWN")), P99_5MS, "PASS", "latency"),
        (
            point_at(8_000, verdicts=told("load_reached", "UNKNOWN"), short_s=None),
            P99_5MS,
            "UNKNOWN",
            "instrument",
        ),
        (point_at(8_000, verdicts=told("load_reached", "FAIL"), short_s=2), P99_5MS, "FAIL", "backlog"),
        # What was short was the warm-up, and that is not judged.
        (point_at(8_000, verdicts=told("load_reached", "FAIL"), short_s=0), P99_5MS, "PASS", "latency"),
        (point_at(8_000, verdicts=told("nothing_lost", "FAIL")), P99_5MS, "FAIL", "errors"),
        (point_at(8_000, verdicts=told("nothing_lost", "UNKNOWN")), P99_5MS, "UNKNOWN", ""),
        (point_at(8_000, refused=2_000), P99_5MS, "FAIL", "errors"),
        (point_at(8_000, quantiles={"p99": Quantile(value_us=400.0)}), P99_5MS, "UNKNOWN", ""),
        (point_at(8_000, quantiles={}), P99_5MS, "UNKNOWN", ""),
        (point_at(8_000), LAG_1S, "UNKNOWN", ""),
        (point_at(8_000, **WAITS), LAG_1S, "PASS", "lag"),
        (point_at(8_000, **WAITS | {"lag_s": 1.2}), LAG_1S, "FAIL", "lag"),
        (
            point_at(8_000, **WAITS | {"waiting": (100.0, 900.0, 1_700.0, 2_500.0, 3_300.0)}),
            LAG_1S,
            "FAIL",
            "backlog",
        ),
        # Without a budget on lag as well: what waits for ever is not taken.
        (
            point_at(8_000, **WAITS | {"waiting": (100.0, 900.0, 1_700.0, 2_500.0, 3_300.0)}),
            P99_5MS,
            "FAIL",
            "backlog",
        ),
        (point_at(29_000, **WAITS), (*P99_5MS, *LAG_1S), "FAIL", "latency"),
    ],
)
def test_what_a_probe_says(point: Point, budgets: tuple[LatencyBudget, ...], status: str, bound: str) -> None:
    """PASS only where all was seen, FAIL only where the system itself was the limit."""
    found = judged(point, budgets)
    assert (found.status, found.bound) == (status, bound), found.why


def test_whose_fault_it_is() -> None:
    """A server that waited for its core is not known to be full; consumers are said to be the limit."""
    waited = Surroundings(send_lag_us=30.0, service_us=9_000.0, server_core=0.6, server_wait=0.35, host_busy=1.0)
    found = judged(point_at(29_000, around=waited), P99_5MS)
    assert (found.status, found.bound) == ("UNKNOWN", "host")
    behind = judged(point_at(8_000, **WAITS | {"lag_s": 1.2, "around": replace(waited, server_wait=0.0)}), LAG_1S)
    assert behind.why == (
        "lag is 1.2 s; its budget is 1 s: the consumers were the limit, with all cores of this machine busy"
    )


def told_of(searched: Searched) -> tuple[str, str]:
    """The status and the sentence of a search."""
    found = outcome(searched)
    return verdicts(searched, found, "capacity.append")[0].status, sentence(searched, found)


def test_a_search_that_has_found_it() -> None:
    """Two rates, each seen twice, as near as asked; and what there is beyond."""
    status, said = told_of(searched_of(*usual_points()))
    assert status == "PASS"
    assert said == (
        "27,000 appends a second at p99 <= 5 ms, synced each second; "
        "at 28,300 p99 is 5.29 ms: the server's core was full."
    )


@pytest.mark.parametrize(
    ("searched", "begins"),
    [
        (searched_of(ended=None), "No appends were tried at p99 <= 5 ms"),
        (searched_of(point_at(8_000), ended="time"), "At least 8,000 appends a second at p99 <= 5 ms"),
        (searched_of(point_at(8_000), ended=None), "At least 8,000 appends a second at p99 <= 5 ms"),
        (searched_of(point_at(33_000), ended="time"), "No rate was found at which appends keep to p99 <= 5 ms"),
        (
            searched_of(point_at(33_000), point_at(16_000, failed="away"), ended="time"),
            "No rate was found at which appends keep to p99 <= 5 ms, synced each second: at 33,000 150,000 of "
            "165,000 were answered by the end: the server's core was full; of lower rates nothing could be told: "
            "tried 16,000.",
        ),
        (
            searched_of(point_at(8_000, failed="away"), ended="unknown"),
            "It is not known how many appends a second",
        ),
        (
            searched_of(point_at(8_000), point_at(16_000, send_lag_us={"p99": 9e4}), ended="instrument"),
            "At least 8,000 appends a second at p99 <= 5 ms, synced each second; the instrument makes no more: at",
        ),
    ],
)
def test_a_search_that_has_not(searched: Searched, begins: str) -> None:
    """What is known is said, and no more; the verdict is UNKNOWN."""
    status, said = told_of(searched)
    assert status == "UNKNOWN"
    assert said.startswith(begins), said


def test_what_was_seen_once_is_not_found() -> None:
    """Two rates as near as asked, each seen once: not found yet."""
    status, said = told_of(searched_of(*usual_points()[:6]))
    assert (status, said.startswith("At least 27,000 appends")) == ("UNKNOWN", True)


@pytest.mark.parametrize(
    ("at_least", "status"),
    [(26_000, "PASS"), (27_000, "PASS"), (27_500, "UNKNOWN"), (28_300, "FAIL"), (40_000, "FAIL")],
)
def test_a_budget_on_a_capacity(at_least: float, status: str, tmp_path: Path) -> None:
    """It lies between two rates: at least the one was seen, of what lies between nobody knows."""
    run = search_run(tmp_path).run
    [verdict] = budget_verdicts([Budget(figure="capacity.append.passes_per_s", at_least=at_least)], [run])
    assert verdict.status == status, verdict


def test_a_budget_on_a_capacity_that_was_not_found(tmp_path: Path) -> None:
    """Where no rate is known to fail, a higher one may pass."""
    run = search_run(tmp_path, searched_of(point_at(8_000), ended="instrument")).run
    [verdict] = budget_verdicts([Budget(figure="capacity.append.passes_per_s", at_least=9_000)], [run])
    assert (verdict.status, "no rate is known to fail" in verdict.detail) == ("UNKNOWN", True)
