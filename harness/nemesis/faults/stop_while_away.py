"""stop_while_away: a consumer is told to stop while what has its effects is away; that comes back first.

    the sink     ------X    away                    |------
    consumer     -------- SIGTERM ... end |             |---- started

A graceful stop waits for what is in hand, and here that cannot be finished: it is thrown away, acknowledged all
the same, or the stop takes until somebody loses patience. Each deploy in the middle of an outage is such a stop.
"""

from __future__ import annotations

from typing import Any

from harness.host.clock import SystemClock
from harness.nemesis.faults.kill import in_hand_of, wait_until_in_hand
from harness.nemesis.kind import Abilities, FaultKind

# It has that long to read events that it cannot finish, and longer where it has none by then.
AWAY_NS, WITHIN_S = 500_000_000, 2.0


def wait_while_away(can: Abilities) -> None:
    """Take away what a consumer calls, and wait until it has something in hand, for a while."""
    can["sink_away"]()
    SystemClock().sleep_ns(AWAY_NS)
    wait_until_in_hand(can, WITHIN_S, is_held=False)


def _inject(can: Abilities, _: dict[str, Any]) -> dict[str, float]:
    clock = SystemClock()
    wait_while_away(can)
    found = in_hand_of(can)
    before_ns = clock.now_ns()
    can["stop"]()
    return {**found, "stop_took_s": (clock.now_ns() - before_ns) / 1e9}


def _heal(can: Abilities) -> None:
    can["sink_back"]()
    can["start"]()


fault = FaultKind(
    name="stop_while_away",
    place=34,
    needs=("stop", "start", "sink_away", "sink_back"),
    inject=_inject,
    heal=_heal,
    comes_back=True,
    headline="{target} was stopped while what it calls was away, and away",
    participle="stopped while what it calls was away",
    open_words="was stopped, and what it calls is away",
)
