"""kill_leader: SIGKILL to the process that was started, and to nothing that it has started itself.

    sh -c 'node consumer.js'        the shell dies, the consumer goes on
    a master with forked workers    the workers go on, or end by themselves

So does whoever kills "the process", such as the kernel when memory is short. It is healed by ending what is left,
and starting again. Where nothing was left it was a plain kill.
"""

from __future__ import annotations

from typing import Any

from harness.nemesis.faults.kill import in_hand_of
from harness.nemesis.kind import Abilities, FaultKind


def _inject(can: Abilities, _: dict[str, Any]) -> dict[str, float]:
    can["leader_kill"]()
    return {"survivors": float(can["survivors"]()), **in_hand_of(can)}  # type: ignore[arg-type]  # a count


def _heal(can: Abilities) -> dict[str, float]:
    left = float(can["survivors"]())  # type: ignore[arg-type]  # a count
    can["kill"]()
    can["start"]()
    return {"survivors_at_the_end": left}


fault = FaultKind(
    name="kill_leader",
    place=24,
    needs=("leader_kill", "survivors", "kill", "start"),
    inject=_inject,
    heal=_heal,
    comes_back=True,
    is_drawn=True,
    headline="{target} lost its first process, and was left alone",
    participle="killed at its first process",
    open_words="lost its first process",
    button="Kill first process of {target}",
    meaning="SIGKILL to the process that was started; what it has started goes on",
)
