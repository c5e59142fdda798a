"""Plans: what is drawn from a seed keeps to its bounds, and is the same again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.nemesis.faults import fault_kinds
from harness.nemesis.plan import Fault, random_plan

S = 1_000_000_000
HOUR_NS = 3_600 * S

DECK: dict[str, list[str]] = {
    "crm": ["stop", "kill", "freeze"],
    "link": ["cut", "delay"],
    "server": ["pause"],
}
NAMES = tuple(fault_kinds())


@given(
    seed=st.integers(0, 1 << 64),
    targets=st.dictionaries(st.sampled_from("abcd"), st.lists(st.sampled_from(NAMES), max_size=4), min_size=1),
    begin_ns=st.integers(0, 100 * S),
    shortest_ns=st.integers(0, S),
    more_ns=st.integers(0, S),
    gap_ns=st.integers(0, S),
    spare_ns=st.integers(0, 10 * S),
    count=st.integers(0, 30),
)
def test_a_plan_keeps_to_its_bounds(
    seed: int,
    targets: dict[str, list[str]],
    begin_ns: int,
    shortest_ns: int,
    more_ns: int,
    gap_ns: int,
    spare_ns: int,
    count: int,
) -> None:
    """So many faults as asked, all known, within the range, as long as asked, apart; and the same again."""
    able = sum(bool(names) for names in targets.values())
    longest_ns = shortest_ns + more_ns
    count = min(count, 30 * able)
    # The least room in which so many faults can be placed, whatever their lengths, and some more.
    each = -(-count // max(1, able))
    end_ns = begin_ns + max(1, longest_ns + gap_ns) * each + spare_ns

    def drawn() -> list[Fault]:
        return random_plan(
            seed,
            targets,
            count=count,
            within_ns=(begin_ns, end_ns),
            for_ns=(shortest_ns, longest_ns),
            gap_ns=gap_ns,
        )

    plan = drawn()
    assert plan == drawn()
    assert len(plan) == count
    assert plan == sorted(plan, key=lambda fault: fault.at_ns)
    for fault in plan:
        assert fault.name in targets[fault.target]
        assert begin_ns <= fault.at_ns <= fault.at_ns + fault.for_ns <= end_ns
        assert shortest_ns <= fault.for_ns <= longest_ns
    for target in targets:
        mine = [fault for fault in plan if fault.target == target]
        for before, after in itertools.pairwise(mine):
            assert before.at_ns + before.for_ns + gap_ns <= after.at_ns


@given(seed=st.integers(0, 1 << 32), rounds=st.integers(1, 4))
def test_all_faults_come_up(seed: int, rounds: int) -> None:
    """In a plan with as many faults as there are pairs of target and fault, each pair comes up, equally often."""
    pairs = [(target, name) for target, names in DECK.items() for name in names]
    plan = random_plan(seed, DECK, count=len(pairs) * rounds, within_ns=(0, HOUR_NS), for_ns=(0, S))

    assert sorted(pairs * rounds) == sorted((fault.target, fault.name) for fault in plan)


def test_another_seed_is_another_plan() -> None:
    """Of many seeds no two draw the same."""
    plans = [random_plan(seed, DECK, count=6, within_ns=(0, HOUR_NS), for_ns=(S, 9 * S)) for seed in range(50)]
    assert all(one != other for one, other in itertools.combinations(plans, 2))


def test_starts_are_spread_over_the_whole_range() -> None:
    """A single fault begins in each tenth of the range about equally often."""
    starts = [
        random_plan(seed, {"crm": ["kill"]}, count=1, within_ns=(S, 11 * S), for_ns=(0, 0))[0].at_ns
        for seed in range(2_000)
    ]
    tenths = [sum(start // S == i for start in starts) for i in range(1, 11)]
    # 200 each, with a standard deviation of 13.
    assert all(140 <= count <= 260 for count in tenths)


def test_options_are_chosen_from() -> None:
    """Each fault gets one of the options given for its name, and each of those comes up."""
    cuts: list[dict[str, str | float | None]] = [{"variant": "reset"}, {"variant": "half_open"}]
    plan = random_plan(
        1, {"link": ["cut", "delay"]}, count=40, within_ns=(0, HOUR_NS), for_ns=(0, S), options={"cut": cuts}
    )
    assert all(fault.options in cuts for fault in plan if fault.name == "cut")
    assert {str(fault.options) for fault in plan} == {str(cuts[0]), str(cuts[1]), "{}"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": 21}, "21 faults have no room: each of 2 targets has room for 10"),
        ({"count": -1}, "nothing below 0"),
        ({"within_ns": (10, 5)}, "from less to more"),
        ({"for_ns": (10, 5)}, "from less to more"),
        ({"gap_ns": -1}, "nothing below 0"),
        ({"targets": {"a": []}}, "1 faults have no room: each of 0 targets"),
    ],
)
def test_a_plan_that_cannot_be_drawn(changed: Mapping[str, object], message: str) -> None:
    """More faults than there is room for if all were long, or a range that is none."""
    arguments: dict[str, object] = {
        "targets": {"a": ["kill"], "b": ["kill"], "c": []},
        "count": 1,
        "within_ns": (0, 100),
        "for_ns": (0, 10),
    }
    draw: Callable[..., list[Fault]] = random_plan
    with pytest.raises(ValueError, match=message):
        draw(1, **(arguments | changed))
