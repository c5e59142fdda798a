"""kill: SIGKILL, after which a process can finish nothing. It is healed by starting it again.

A kill tests most where it hits a consumer with something in hand: delivered to it, and not acknowledged. So it may
be told to wait for that, for a while. Between a look at the group and a kill a consumer may have finished; so it
is stopped first, where that is possible, and looked at once more:

    look ... something is in hand -> SIGSTOP -> still so?   yes: SIGKILL    no: SIGCONT, and look again

Where nothing is in hand when the time is up, it is killed all the same, and what it had is kept beside the fault.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from harness.host.clock import SystemClock
from harness.nemesis.kind import Abilities, FaultKind

# Between two looks at what its target has in hand.
LOOK_NS = 2_000_000


class Kill(Struct, frozen=True):
    """When it hits.

    Args:
        within_s: that it waits until its target has something in hand; 0: it does not wait.
    """

    within_s: Annotated[float, Meta(ge=0, le=60)] = 0.0


def hit(can: Abilities, options: dict[str, Any]) -> dict[str, float]:
    """Kill a target, with something in hand if it has it in time; what it had is read when it is dead."""
    if within_s := options.get("within_s"):
        wait_until_in_hand(can, within_s, is_held="freeze" in can and "thaw" in can)
    can["kill"]()
    return in_hand_of(can)


def in_hand_of(can: Abilities) -> dict[str, float]:
    """What a target has in hand, as what is kept beside a fault; nothing where that cannot be seen."""
    found = can["in_hand"]() if "in_hand" in can else None
    return {"in_hand": found} if isinstance(found, int | float) else {}


def wait_until_in_hand(can: Abilities, within_s: float, *, is_held: bool) -> None:
    """Wait until a target has something in hand, for so long at the most; not where that cannot be seen.

    Args:
        is_held: whether it is left stopped, so that it keeps what it has.
    """
    if "in_hand" not in can:
        return
    clock = SystemClock()
    deadline_ns = clock.now_ns() + int(within_s * 1e9)
    while clock.now_ns() < deadline_ns:
        if can["in_hand"]():
            if not is_held:
                return
            can["freeze"]()
            if can["in_hand"]():
                return
            can["thaw"]()
        clock.sleep_ns(LOOK_NS)


fault = FaultKind(
    name="kill",
    place=10,
    needs=("kill", "start"),
    options=Kill,
    inject=hit,
    heal=lambda can: can["start"](),
    comes_back=True,
    is_drawn=True,
    headline="{target} was killed and away",
    participle="killed",
    open_words="was killed",
    button="Kill {target}",
    meaning="SIGKILL: it cannot finish what it has in hand",
)
