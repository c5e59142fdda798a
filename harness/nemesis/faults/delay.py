"""delay: a line with latency and jitter, or a narrow one. It is healed by passing through."""

from __future__ import annotations

from harness.nemesis.kind import FaultKind
from harness.nemesis.proxy.messages import Delay

fault = FaultKind(
    name="delay",
    place=70,
    needs=("delay", "pass_through"),
    options=Delay,
    ms_option="latency_ms",
    inject=lambda can, options: can["delay"](**options),
    heal=lambda can: can["pass_through"](),
    headline="{target} was delayed by {ms:g} ms",
    participle="delayed",
)
