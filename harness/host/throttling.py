"""What keeps this process from a core: a quota of its control group, and the cores that it may not use.

    before = snapshot(clock)   ... the run ...   throttled(before, snapshot(clock))

A control group with a quota may use so many microseconds of CPU in each period; who has used them up is stopped
until the next one. A load that is stopped for 50 ms of each 100 ms looks like a server that takes 50 ms. The
kernel counts:

                      version 1                                       version 2
    quota, period     cpu.cfs_quota_us (-1: none), ..period_us        cpu.max: "50000 100000" or "max 100000"
    cpu.stat          nr_periods, nr_throttled, throttled_time (ns)   the same, but throttled_usec

A process is held to the quotas of its own group and of all above it, as far as they can be seen: a container sees
the one that it is in as the root. The tightest quota is the one that is told, and the longest stop.

The kernel adds up the stops of a group core by core, so that a second in which two cores stood still is two. In
which share of the periods the group was stopped is exact.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.clock import Clock

# To be stopped for less than a hundredth of the time disturbs nobody.
LEAST_SHARE = 0.01
_CGROUPS, _MOUNTS = Path("/proc/self/cgroup"), Path("/proc/self/mountinfo")


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What a control group allows, and how often it has stopped its processes since it was made.

    Attributes:
        quota_cores: CPU time that it may use, as a number of cores; None: as much as there is.
        periods: in which anything of it wanted to run.
        throttled_periods: in which it was stopped.
        throttled_s: for how long, added up core by core.
    """

    quota_cores: float | None = None
    periods: int = 0
    throttled_periods: int = 0
    throttled_s: float = 0.0


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
    found = {}
    for directory in directories(_text(_CGROUPS), _text(_MOUNTS)):
        group = read_group(
            {
                name: _text(directory / name)
                for name in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.stat")
            }
        )
        if group is not None:
            found[str(directory)] = group
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return Snapshot(at_ns=clock.now_ns(), groups=found, usable_cores=usable, cores=cores)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # Another system, another version, or a file that a container hides: that nothing is known is a result.
        return ""


def directories(cgroups: str, mounts: str) -> list[Path]:
    """Where the control groups of this process stand that limit its CPU time: its own first, then those above it.

    Args:
        cgroups: `/proc/self/cgroup`, lines of `hierarchy:controllers:path`.
        mounts: `/proc/self/mountinfo`.
    """
    paths: dict[str, str] = {}
    for line in cgroups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            paths["cgroup"] = path
        elif number == "0" and not controllers:
            paths["cgroup2"] = path
    found: list[Path] = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in paths:
            continue
        if kinds[0] == "cgroup" and "cpu" not in kinds[2].split(","):
            continue
        root, mounted, path = fields[3], Path(fields[4]), paths[kinds[0]]
        # What is mounted may be a part of the hierarchy: the path is then told from that part's root.
        inside = path if root == "/" else path.removeprefix(root)
        own = mounted.joinpath(*[part for part in inside.split("/") if part not in {"", "..", "."}])
        found += [own, *(each for each in own.parents if each == mounted or mounted in each.parents)]
    return list(dict.fromkeys(found))


def read_group(files: Mapping[str, str]) -> Group | None:
    """A control group, from the text of its files by name, of either version; None where it limits no CPU time.

    Args:
        files: `cpu.max` or `cpu.cfs_quota_us` and `cpu.cfs_period_us`, and `cpu.stat`; empty where there is none.
    """
    words = files.get("cpu.max", "").split() or [
        *files.get("cpu.cfs_quota_us", "").split(),
        *files.get("cpu.cfs_period_us", "").split(),
    ]
    stat = {}
    for line in files.get("cpu.stat", "").splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            stat[name] = int(value)
    if len(words) != 2 and "nr_periods" not in stat:
        return None
    quota = None
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
        quota = int(words[0]) / int(words[1])
    throttled_ns = stat.get("throttled_time", 0) or stat.get("throttled_usec", 0) * 1_000
    return Group(
        quota_cores=quota,
        periods=stat.get("nr_periods", 0),
        throttled_periods=stat.get("nr_throttled", 0),
        throttled_s=throttled_ns / 1e9,
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
