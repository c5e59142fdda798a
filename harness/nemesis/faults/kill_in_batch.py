"""kill_in_batch: a kill that hits a process while it has something in hand; a scenario sees to it that it has."""

from __future__ import annotations

from msgspec.structs import replace

from harness.nemesis.faults import kill

fault = replace(
    kill.fault,
    name="kill_in_batch",
    place=20,
    variant_of="kill",
    in_hand="hit",
    is_drawn=False,
    headline="{target} was killed in the middle of a batch and away",
)
