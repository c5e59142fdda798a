"""one_backlog: a consumer is stopped while one stream gets events; when it is back only the others get any.

Who asks several streams at once may be given the news of one before the backlog of the other, or may never ask for
that backlog at all. With events in all streams all the time this is not seen.
"""

from __future__ import annotations

from msgspec.structs import replace

from harness.nemesis.faults import stop

fault = replace(
    stop.fault,
    name="one_backlog",
    place=32,
    variant_of="stop",
    in_hand="",
    load="by_stream",
    is_drawn=False,
    headline="{target} was stopped while one stream only got events, and away",
)
