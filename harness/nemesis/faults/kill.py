"""kill: SIGKILL, after which a process can finish nothing. It is healed by starting it again."""

from __future__ import annotations

from harness.nemesis.kind import FaultKind

fault = FaultKind(
    name="kill",
    place=10,
    needs=("kill", "start"),
    inject=lambda can, _: can["kill"](),
    heal=lambda can: can["start"](),
    comes_back=True,
    is_drawn=True,
    headline="{target} was killed and away",
    participle="killed",
    open_words="was killed",
    button="Kill {target}",
    meaning="SIGKILL: it cannot finish what it has in hand",
)
