"""Whether a system was within its budgets: PASS only of what was shown, and held against it only its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from harness.capacity.judging_probe import GROWTH, Held, ProbeSeen, growth_of, judge, open_at_seconds
from harness.capacity.probed import Bound, ProbeStatus
from harness.check.load_reached import Limit

P99 = Held(name="p99", limit_us=5_000.0, seen_us=4_000.0, high_us=4_500.0)
WELL = ProbeSeen(
    rate_per_s=1_000.0,
    took_s=10.0,
    held=(P99,),
    offered=10_000,
    answered=10_000,
    open_at=(3.0, 2.0, 4.0, 1.0, 3.0, 2.0, 5.0, 2.0, 1.0, 3.0),
    send_lag_us=50.0,
    send_lag_budget_us=1_000.0,
    limit=Limit("server", "the server's core was full"),
)
GROWING = tuple(10.0 * second for second in range(10))


def held(name: str = "p99", **others: Any) -> tuple[Held, ...]:
    """P99, and otherwise so."""
    return (replace(P99, name=name, **others),)


def test_what_is_shown_to_be_within_passes() -> None:
    """By its upper bound, which is also what the margin is of."""
    probed = judge(WELL)
    assert (probed.status, probed.bound) == ("PASS", "latency")
    assert probed.margin == pytest.approx(math.log(5_000 / 4_500))
    assert probed.seen_margin == pytest.approx(math.log(5_000 / 4_000))
    assert probed.why == "p99 is 4 ms, at most 4.5 ms; its budget is 5 ms"


@pytest.mark.parametrize(
    ("change", "status", "bound", "why"),
    [
        ({"offered": 0}, "UNKNOWN", "", "nothing was due"),
        ({"held": ()}, "UNKNOWN", "", "nothing has a budget"),
        ({"held": held(seen_us=None, high_us=None)}, "UNKNOWN", "", "nothing was measured of p99"),
        ({"held": held(high_us=None)}, "UNKNOWN", "", "too few to tell p99"),
        ({"held": held(high_us=5_500.0)}, "FAIL", "latency", "not shown to be within"),
        ({"held": held(seen_us=6_000.0, high_us=6_500.0)}, "FAIL", "latency", "p99 is 6 ms"),
        ({"held": held(seen_us=6_000.0, high_us=None)}, "FAIL", "latency", "p99 is 6 ms"),
        ({"held": held("lag", seen_us=6_000.0, high_us=6_000.0, bound="lag")}, "FAIL", "lag", "lag is 6 ms"),
        ({"send_lag_us": None}, "UNKNOWN", "", "nobody saw"),
        ({"send_lag_us": 1_500.0}, "UNKNOWN", "instrument", "1.50 ms late"),
        ({"send_lag_us": 1_500.0, "instrument_core": 0.97}, "UNKNOWN", "instrument", "its core was full"),
        ({"send_lag_us": 1_500.0, "instrument_core": 0.1}, "UNKNOWN", "host", "with its core 10% busy"),
        ({"send_lag_us": 1_500.0, "instrument_wait": 0.3}, "UNKNOWN", "host", "waited for a core for 30%"),
        ({"refused": 300, "answered": 9_700}, "FAIL", "errors", "300 of 10,000 were refused"),
        ({"answered": 9_700}, "FAIL", "backlog", "9,700 of 10,000 were answered"),
        ({"open_at": GROWING}, "FAIL", "backlog", "more were open at the end"),
        ({"answered": 9_700, "limit": Limit("host", "others had it")}, "UNKNOWN", "host", "others had it"),
        ({"answered": 9_700, "limit": Limit("nobody knows", "no idea")}, "UNKNOWN", "", "no idea"),
        ({"refused": 150, "answered": 9_850}, "PASS", "latency", "p99 is 4 ms"),
    ],
)
def test_each_rule(change: dict[str, Any], status: ProbeStatus, bound: Bound, why: str) -> None:
    """One change to a probe that passes, and what is said of it then."""
    probed = judge(replace(WELL, **change))
    assert (probed.status, probed.bound) == (status, bound)
    assert why in probed.why
    if status == "UNKNOWN":
        assert probed.margin is None


def test_the_tightest_of_several_budgets_counts() -> None:
    """Each has to be kept; the margin is of the one with the least room."""
    p50 = Held(name="p50", limit_us=1_000.0, seen_us=900.0, high_us=990.0)
    probed = judge(replace(WELL, held=(P99, p50)))
    assert probed.margin == pytest.approx(math.log(1_000 / 990))
    assert "p50" in probed.why
    beyond = judge(replace(WELL, held=(P99, replace(p50, seen_us=2_000.0, high_us=2_100.0))))
    assert (beyond.status, beyond.margin) == ("FAIL", pytest.approx(math.log(0.5)))


def test_a_full_server_says_how_much_it_has_answered() -> None:
    """Which is a guess at what it can take."""
    assert judge(replace(WELL, answered=5_000)).answered_per_s == 500.0
    assert judge(WELL).answered_per_s is None


def test_a_backlog_that_grows_as_a_random_walk_is_seen() -> None:
    """At exactly its capacity a queue is within a generous budget for some time: mostly it is found, as a queue
    that holds is hardly ever taken for one."""

    def judged(load: float, seed: int) -> ProbeStatus:
        generator = np.random.default_rng(seed)
        rate, seconds = 1_000, 20
        taken_s = np.cumsum(generator.exponential(load / rate, rate * seconds))
        due_s = np.arange(rate * seconds) / rate
        done_s = taken_s + np.maximum.accumulate(due_s - np.concatenate([[0.0], taken_s[:-1]]))
        ends = np.arange(1, seconds + 1)
        is_open = np.searchsorted(due_s, ends) - np.searchsorted(done_s, ends)
        # A budget of a second: nothing is beyond it for long.
        return judge(
            replace(WELL, offered=due_s.size, answered=due_s.size, open_at=tuple(is_open.astype(float)))
        ).status

    assert sum(judged(1.0, seed) == "FAIL" for seed in range(40)) >= 20
    assert sum(judged(1.03, seed) == "FAIL" for seed in range(40)) == 40
    assert sum(judged(0.9, seed) == "FAIL" for seed in range(40)) == 0


def test_growth_is_of_the_least_in_each_part() -> None:
    """A stall that is over at the end of a second fills a queue, and is none."""
    stalled = (*WELL.open_at[:-1], 5_000.0)
    assert growth_of(stalled) <= 2
    assert judge(replace(WELL, open_at=stalled)).status == "PASS"
    assert growth_of(GROWING) == 80.0
    assert growth_of((7.0,)) == 0.0
    assert growth_of((7.0, 9.0)) == 2.0
    assert GROWTH * math.sqrt(WELL.offered) == pytest.approx(20.0)


def test_what_was_open_at_the_end_of_each_second() -> None:
    """What was due until then and not answered until then; seconds after the load do not count."""
    assert open_at_seconds([10, 10, 10], [8, 9, 10, 3]) == (2.0, 3.0, 3.0)
    assert open_at_seconds([10, 10, 10], [8, 9], from_s=1) == (3.0, 13.0)
