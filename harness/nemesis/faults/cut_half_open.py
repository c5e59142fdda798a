"""cut_half_open: a cut that nobody is told of. Bytes vanish, and connections stay."""

from __future__ import annotations

from msgspec.structs import replace

from harness.nemesis.faults import cut

fault = replace(
    cut.fault,
    name="cut_half_open",
    place=60,
    variant_of="cut",
    preset={"variant": "half_open"},
    headline="{target} was silent",
    participle="silent",
)
