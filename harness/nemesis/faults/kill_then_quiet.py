"""kill_then_quiet: killed with something in hand as the load ends, and started again when nothing comes any more.

Some consumers look for what others, or they themselves, have left pending only when something new arrives. As long
as events come nobody notices; at night, what was in hand waits until the morning.
"""

from __future__ import annotations

from msgspec.structs import replace

from harness.nemesis.faults import kill_in_batch

fault = replace(
    kill_in_batch.fault,
    name="kill_then_quiet",
    place=22,
    load="ends",
    headline="{target} was killed in the middle of a batch, and nothing came any more while it was away",
)
