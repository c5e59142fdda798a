"""kill_while_away: a consumer is killed while what has its effects is away: nothing in hand can be finished.

    the sink     ------X    away             |------
    consumer     ------------- SIGKILL       |    ---- started

What is on its way to the sink when a consumer is killed still has its effect. So a kill may hit a consumer that
has much in hand, and nothing of it is at risk: all was sent already. Here nothing was: what is in hand has to be
done by whoever comes back, or by another, and who has acknowledged before has lost it.
"""

from __future__ import annotations

from typing import Any

from harness.nemesis.faults import stop_while_away
from harness.nemesis.faults.kill import in_hand_of
from harness.nemesis.kind import Abilities, FaultKind


def _inject(can: Abilities, _: dict[str, Any]) -> dict[str, float]:
    stop_while_away.wait_while_away(can)
    can["kill"]()
    return in_hand_of(can)


fault = FaultKind(
    name="kill_while_away",
    place=21,
    needs=("kill", "start", "sink_away", "sink_back"),
    inject=_inject,
    heal=stop_while_away.fault.heal,
    comes_back=True,
    headline="{target} was killed while what it calls was away, and away",
    participle="killed while what it calls was away",
    open_words="was killed, and what it calls is away",
)
