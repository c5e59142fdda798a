"""restart_empty: a server is killed and its data removed. It is healed by starting it."""

from __future__ import annotations

from harness.nemesis.kind import FaultKind

fault = FaultKind(
    name="restart_empty",
    place=110,
    needs=("empty", "start"),
    inject=lambda can, _: can["empty"](),
    heal=lambda can: can["start"](),
    comes_back=True,
    loses_data=True,
    headline="{target} was away, and came back empty,",
    participle="emptied",
)
