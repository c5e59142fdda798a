"""kill_in_batch: a kill that waits until a process has something in hand, for 2 s at the most.

A scenario sees to it that it nearly always has, and a verdict says whether it had.
"""

from __future__ import annotations

from msgspec.structs import replace

from harness.nemesis.faults import kill

WITHIN_S = 2.0

fault = replace(
    kill.fault,
    name="kill_in_batch",
    place=20,
    variant_of="kill",
    preset={"within_s": WITHIN_S},
    in_hand="hit",
    is_drawn=False,
    headline="{target} was killed in the middle of a batch and away",
)
