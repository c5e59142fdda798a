"""How a drain ends, by looks that were written by hand: a rule, without a clock and without a server."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from harness.check.checkers import Ending
from scenarios.line.ending import GroupLook, Held, Look, Watched, ending, still_after_ns

S = 1_000_000_000
AFTER_NS = still_after_ns(1_000)
WAITS = GroupLook(
    last_delivered="5-0",
    entries_read=5,
    pending=(("a", 2), ("b", 1)),
    oldest=(Held("3-0", "a", 1), Held("4-0", "a", 1), Held("5-0", "b", 2)),
)
LOOK = Look(effects=2, attempts=3, groups=(WAITS, GroupLook()))


def watched(*looks: Look, every_ns: int = S) -> Watched:
    """What some looks have shown, one after the other."""
    found = Watched.first(looks[0], 0)
    for number, look in enumerate(looks[1:], 1):
        found = found.then(look, number * every_ns)
    return found


def ended(*looks: Look, is_drained: bool = False, deadline_s: int = 60) -> Ending | None:
    return ending(watched(*looks), is_drained=is_drained, after_ns=AFTER_NS, deadline_ns=deadline_s * S)


def test_three_claim_times_and_two_seconds() -> None:
    """A claim time of one second makes five seconds, one of thirty 92."""
    assert (still_after_ns(1_000), still_after_ns(30_000)) == (5 * S, 92 * S)


def test_nothing_moves() -> None:
    """Five looks alike, a second apart, are four seconds; the sixth makes five, and then it is still."""
    assert ended(*[LOOK] * 5) is None
    assert ended(*[LOOK] * 6) == "still"
    assert watched(*[LOOK] * 6).still_ns == AFTER_NS


def group(**changed: object) -> Look:
    return replace(LOOK, groups=(replace(WAITS, **changed), GroupLook()))


MOVED = {
    "an effect": replace(LOOK, effects=3),
    "an attempt that was refused": replace(LOOK, attempts=4),
    "a delivery": group(last_delivered="6-0"),
    "a group set back": group(last_delivered="1-0"),
    "entries read": group(entries_read=6),
    "an acknowledgement": group(pending=(("a", 1), ("b", 1))),
    "a claim": group(pending=(("a", 1), ("b", 2))),
    "a claim from one another": group(oldest=(Held("3-0", "b", 1), Held("4-0", "a", 1), Held("5-0", "a", 2))),
    "a redelivery to the same one": group(oldest=(Held("3-0", "a", 2), *WAITS.oldest[1:])),
    "a group that is gone": replace(LOOK, groups=(GroupLook(), GroupLook())),
}


@pytest.mark.parametrize("moved", MOVED.values(), ids=MOVED)
def test_what_moves(moved: Look) -> None:
    """Each of these is a movement: from there on it is counted anew, though no effect has come."""
    assert ended(*[LOOK] * 5, moved) is None
    assert ended(*[LOOK] * 5, *[moved] * 5) is None
    assert ended(*[LOOK] * 5, *[moved] * 6) == "still"


def test_back_and_forth_moves() -> None:
    """What comes back to where it was has moved all the same."""
    other = group(last_delivered="6-0")
    assert ended(*itertools.islice(itertools.cycle([LOOK, other]), 40)) is None


def test_drained_comes_first() -> None:
    """Where nothing waits it does not matter for how long nothing moved, or whether the time is up."""
    assert ended(LOOK, is_drained=True) == "drained"
    assert ended(*[LOOK] * 9, is_drained=True) == "drained"
    assert ended(LOOK, replace(LOOK, effects=3), is_drained=True, deadline_s=0) == "drained"


def moving(seconds: int) -> list[Look]:
    """Looks of which each has one effect more."""
    return [replace(LOOK, effects=count) for count in range(seconds + 1)]


def test_the_time_is_up_while_things_move() -> None:
    """Effects come all the while: when the time is up, nobody knows what becomes of the rest."""
    assert ended(*moving(9), deadline_s=10) is None
    assert ended(*moving(10), deadline_s=10) == "time_up"


def test_the_time_does_not_cut_stillness_short() -> None:
    """Nothing has moved of late when the time is up: it is watched until it is still, or moves once more."""
    until = moving(8)
    assert ended(*until, *until[-1:] * 2, deadline_s=10) is None
    assert ended(*until, *until[-1:] * 4, deadline_s=10) is None
    assert ended(*until, *until[-1:] * 5, deadline_s=10) == "still"
    assert ended(*until, *until[-1:] * 4, replace(LOOK, effects=99), deadline_s=10) == "time_up"


def test_effects_are_told_from_other_movement() -> None:
    """For how long no effect has come is known, whatever else moved."""
    tried = [replace(LOOK, attempts=count) for count in range(8)]
    found = watched(*tried)
    assert (found.still_ns, found.at_ns - found.had_ns) == (0, 7 * S)
