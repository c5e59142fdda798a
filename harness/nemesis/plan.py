"""The plan: which fault is done when, for how long, and to what; given, or drawn from a seed.

    consumer ------[ kill ]-----------------[ freeze ]----    on one target, faults do not overlap;
    link     -----------[ cut          ]------------------    on different ones they may

Rejected: a nemesis that draws its next fault while it plays. `random_plan` draws all of them before the run, by a
pure function of a seed, so that the plan stands in the record and can be played again.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from harness.nemesis.kind import Option


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a plan.

    Args:
        name: what is done.
        at_ns: when, after the run's origin.
        for_ns: for how long.
        target: the name of the target; may be left out where there is one only.
        options: how, such as `{"variant": "half_open"}`; what there is depends on target and name.

    Raises:
        ValueError: a time below 0.
    """

    name: str
    at_ns: int
    for_ns: int
    target: str = ""
    options: dict[str, Option] = {}

    def __post_init__(self) -> None:
        if self.at_ns < 0 or self.for_ns < 0:
            raise ValueError(f"{self.name}: a fault neither begins before the run nor lasts less than nothing")


def refuse_overlap(plan: Sequence[Fault]) -> None:
    """Refuse a plan for one target in which a fault begins before the one before it has healed.

    Raises:
        ValueError: there is one.
    """
    for before, after in itertools.pairwise(plan):
        if before.at_ns + before.for_ns > after.at_ns:
            raise ValueError(f"the fault at {after.at_ns / 1e9:.1f} s begins before the one before it has healed")


def random_plan(
    seed: int,
    targets: Mapping[str, Sequence[str]],
    *,
    count: int,
    within_ns: tuple[int, int],
    for_ns: tuple[int, int],
    gap_ns: int = 0,
    options: Mapping[str, Sequence[dict[str, Option]]] | None = None,
) -> list[Fault]:
    """Draw a plan: the same for the same arguments.

    Faults are dealt from a shuffled deck of all pairs of target and fault, and from another when it is used up; so
    in a plan with as many faults as there are pairs each comes up, where its target has room. On a target,
    durations are drawn first, and what is left of the time is parted at random between the faults.

    Args:
        seed: of the generator.
        targets: the faults to draw from, by the name of the target.
        count: of faults, over all targets.
        within_ns: all faults begin and heal in this range, after the run's origin.
        for_ns: the shortest and the longest fault.
        gap_ns: between two faults on the same target, at least.
        options: to choose from, by the name of the fault; none: the fault's own defaults.

    Returns:
        The faults in the order of their start.

    Raises:
        ValueError: a range that is none, or so many faults could be so long that they have no room.
    """
    (begin_ns, end_ns), (shortest_ns, longest_ns) = within_ns, for_ns
    if not 0 <= begin_ns <= end_ns or not 0 <= shortest_ns <= longest_ns or gap_ns < 0 or count < 0:
        raise ValueError("a plan needs ranges from less to more, and nothing below 0")
    room = (end_ns - begin_ns + gap_ns) // max(1, longest_ns + gap_ns)
    able = [target for target, names in targets.items() if names]
    if count > room * len(able):
        raise ValueError(f"{count} faults have no room: each of {len(able)} targets has room for {room}")
    generator = np.random.default_rng(seed)
    drawn: list[Fault] = []
    for target, names in _deal(generator, {target: targets[target] for target in able}, count, room).items():
        durations = generator.integers(shortest_ns, longest_ns, size=len(names), endpoint=True)
        spare_ns = end_ns - begin_ns - int(durations.sum()) - gap_ns * (len(names) - 1)
        at_ns = begin_ns + np.sort(generator.integers(0, spare_ns, size=len(names), endpoint=True))
        at_ns[1:] += np.cumsum(durations[:-1] + gap_ns)
        for name, start_ns, duration_ns in zip(names, at_ns, durations, strict=True):
            choices = (options or {}).get(name, ())
            chosen = choices[int(generator.integers(len(choices)))] if choices else {}
            drawn.append(
                Fault(name=name, at_ns=int(start_ns), for_ns=int(duration_ns), target=target, options=chosen)
            )
    return sorted(drawn, key=lambda fault: fault.at_ns)


def _deal(
    generator: np.random.Generator, targets: Mapping[str, Sequence[str]], count: int, room: int
) -> dict[str, list[str]]:
    """So many faults for each target, in the order in which they come up; no target gets more than it has room."""
    deck = [(target, name) for target, names in targets.items() for name in names]
    hands: dict[str, list[str]] = {}
    left = count
    while left:
        # A round deals at least one, since there is room for all that is left.
        for card in generator.permutation(len(deck)):
            target, name = deck[card]
            if left and len(hands.setdefault(target, [])) < room:
                hands[target].append(name)
                left -= 1
    return {target: names for target, names in hands.items() if names}
