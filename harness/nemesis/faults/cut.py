"""cut: a line that both sides are told of (reset), or nobody (half_open). It is healed by passing through."""

from __future__ import annotations

from harness.nemesis.kind import FaultKind
from harness.nemesis.proxy.messages import Cut

fault = FaultKind(
    name="cut",
    place=50,
    needs=("cut", "pass_through"),
    options=Cut,
    preset={"variant": "reset"},
    inject=lambda can, options: can["cut"](**options),
    heal=lambda can: can["pass_through"](),
    is_drawn=True,
    headline="{target} was cut",
    participle="cut",
    open_words="is cut off",
)
