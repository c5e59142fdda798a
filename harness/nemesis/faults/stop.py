"""stop: SIGTERM, after which a process may finish what it has in hand. It is healed by starting it again."""

from __future__ import annotations

from harness.nemesis.kind import FaultKind

fault = FaultKind(
    name="stop",
    place=30,
    needs=("stop", "start"),
    inject=lambda can, _: can["stop"](),
    heal=lambda can: can["start"](),
    comes_back=True,
    in_hand="finished",
    is_drawn=True,
    headline="{target} was stopped",
    participle="stopped",
    open_words="was stopped",
    button="Stop {target}",
    meaning="SIGTERM: it may finish what it has in hand",
)
