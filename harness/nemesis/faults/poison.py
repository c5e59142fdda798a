"""poison: an event that always fails is planted, once. What becomes of it is the consumer's affair."""

from __future__ import annotations

from harness.nemesis.kind import FaultKind

fault = FaultKind(
    name="poison",
    place=90,
    needs=("poison",),
    inject=lambda can, _: can["poison"](),
    heal=lambda _: None,
    headline="An event that always fails was there",
    participle="poisoned",
)
