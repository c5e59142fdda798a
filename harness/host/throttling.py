"""What keeps this process from a core: a quota of its control group, and the cores that it may not use.

    before = snapshot(clock)   ... the run ...   throttled(before, snapshot(clock))

A control group with a quota may use so many microseconds of CPU in each period; who has used them up is stopped
until the next one. A load that is stopped for 50 ms of each 100 ms looks like a server that takes 50 ms. What the
kernel counts of that is read in `harness.host.cgroup`.

Of the groups that a process is in the tightest quota is the one that is told, and the longest stop. The kernel
adds up the stops of a group core by core, so that a second in which two cores stood still is two. In which share
of the periods the group was stopped is exact.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from harness.host import cgroup
from harness.host.cgroup import Group
from harness.host.clock import Clock
from harness.host.placement import usable_cores

# To be stopped for less than a hundredth of the time disturbs nobody.
LEAST_SHARE = 0.01


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What holds this process at a moment.

    Attributes:
        at_ns: the moment, monotonic.
        groups: by directory, its own first, then those above it; empty where there are none.
        usable_cores: that it may run on.
        cores: of the machine.
    """

    at_ns: int
    groups: dict[str, Group]
    usable_cores: int
    cores: int


class Throttled(msgspec.Struct, frozen=True, kw_only=True):
    """What held this process between two moments.

    Attributes:
        quota_cores: the tightest quota; None: none.
        periods, throttled_periods, throttled_s: of the group that was stopped for longest.
        wall_s: how long it was looked at.
        usable_cores: that it might run on.
        cores: of the machine.
    """

    quota_cores: float | None
    periods: int
    throttled_periods: int
    throttled_s: float
    wall_s: float
    usable_cores: int
    cores: int

    @property
    def was_stopped(self) -> bool:
        """Whether it was stopped for long enough to matter."""
        return self.wall_s > 0 and self.throttled_s / self.wall_s >= LEAST_SHARE


def snapshot(clock: Clock) -> Snapshot:
    """What holds this process at this moment; nothing where the kernel does not say."""
    return Snapshot(
        at_ns=clock.now_ns(), groups=cgroup.groups(), usable_cores=usable_cores(), cores=os.cpu_count() or 1
    )


def throttled(before: Snapshot, after: Snapshot) -> Throttled:
    """What held this process between two moments."""
    grown = [
        (
            group.throttled_s - was.throttled_s,
            group.throttled_periods - was.throttled_periods,
            group.periods - was.periods,
        )
        for name, group in after.groups.items()
        if (was := before.groups.get(name)) is not None
    ]
    stopped_s, stopped, periods = max(grown, default=(0.0, 0, 0))
    quotas = [each.quota_cores for each in after.groups.values() if each.quota_cores is not None]
    return Throttled(
        quota_cores=min(quotas, default=None),
        periods=periods,
        throttled_periods=stopped,
        throttled_s=round(stopped_s, 3),
        wall_s=round((after.at_ns - before.at_ns) / 1e9, 3),
        usable_cores=min(before.usable_cores, after.usable_cores),
        cores=after.cores,
    )


def in_words(found: Throttled | None) -> Sequence[str]:
    """What held this process, as parts of a sentence; empty where nothing did."""
    if found is None:
        return ()
    told = []
    if found.was_stopped:
        stopped_s = min(found.throttled_s, found.wall_s)
        may = "" if found.quota_cores is None else f"may use {_cores(found.quota_cores)}, and "
        told.append(
            f"this process {may}was stopped for {stopped_s:.1f} s of {found.wall_s:.1f} s, "
            f"in {found.throttled_periods:,} of {found.periods:,} periods"
        )
    if found.usable_cores < found.cores:
        told.append(f"this process may run on {found.usable_cores} of {found.cores} cores")
    return told


def _cores(count: float) -> str:
    if count == 0.5:
        return "half a core"
    return f"{count:.2g} of a core" if count < 1 else "1 core" if count == 1 else f"{count:.3g} cores"
