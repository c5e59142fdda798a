"""What is done in a round: the parts, one operation after the other, each in turns of some ten milliseconds."""

from __future__ import annotations

import msgspec

from harness.gate.side import Operation

# As few appends as a p99 can be taken of.
LEAST_APPENDS = 100


class Part(msgspec.Struct, frozen=True):
    """A part of a round.

    Attributes:
        operation: what is done.
        count: as in `harness.gate.side.Block`.
        blocks: of each side.
    """

    operation: Operation
    count: int
    blocks: int


WARM_UP = (Part("append", 300, 1), Part("append_many", 500, 1))
PARTS = (
    Part("append", 250, 16),
    Part("find_one", 125, 8),
    Part("replay", 1, 8),
    Part("append_many", 500, 8),
    Part("drain", 1_000, 8),
)


def parts_of(append_ns: float, turn_s: float) -> list[Part]:
    """What is done in a round where appends may be slow.

    Args:
        append_ns: what an append takes on the slower side.
        turn_s: how long a turn of appends may be; one that would take longer has fewer of them, down to
            `LEAST_APPENDS`, on both sides alike.
    """
    most = max(LEAST_APPENDS, int(min(turn_s / max(1.0, append_ns) * 1e9, 1e9)))
    return [
        msgspec.structs.replace(part, count=min(part.count, most)) if part.operation == "append" else part
        for part in PARTS
    ]
