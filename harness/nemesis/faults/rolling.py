"""rolling: a deploy under a new name: a new consumer comes, the old one is stopped, and does not come back.

    old     ----------------- SIGTERM |
    new            |---- in the group -------------------

Where a consumer's name is that of its host, as with containers, each deploy is one of these. What the old one has
left pending is then nobody's until somebody claims it, and the old name stays in the group.
"""

from __future__ import annotations

from harness.nemesis.kind import FaultKind

fault = FaultKind(
    name="rolling",
    place=36,
    needs=("replace",),
    inject=lambda can, _: can["replace"](),
    heal=lambda _: None,
    is_healed=False,
    in_hand="kept",
    headline="{target} was replaced by one of another name",
    participle="replaced",
)
