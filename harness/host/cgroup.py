"""What a container, or a unit of the system, may use of this machine, and how often it was held back.

    limits()        {"quota_cores": 0.5, "memory_bytes": 1073741824}
    groups()        {"/sys/fs/cgroup/app": Group(quota_cores=0.5, periods=1200, throttled_periods=310, ...), ...}

A quota of half a core is spent in the first half of each period of 100 ms, and then everything in the group stands
still until the next: the instrument, or the server, stalls for tens of milliseconds, and no CPU share shows it.
The kernel counts (`harness.host.throttling` tells what came between two moments):

                      version 1                                       version 2
    quota, period     cpu.cfs_quota_us (-1: none), ..period_us        cpu.max: "50000 100000" or "max 100000"
    cpu.stat          nr_periods, nr_throttled, throttled_time (ns)   the same, but throttled_usec
    memory            memory.limit_in_bytes                           memory.max

A machine may have both versions: version 1 has a hierarchy per controller, version 2 one for all. A process is
held to the limits of its own group and of all above it at once, as far as they can be seen: a container sees the
one that it is in as the root. So the tightest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

_PROC = Path("/proc")
_OF_CPU = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.stat")


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


def limits(pid: int | str = "self", *, proc: Path = _PROC) -> dict[str, Any]:
    """What a process may use: cores of a quota, and memory; what is not limited is left out.

    Args:
        pid: of the process.
        proc: where processes are.
    """
    found: dict[str, Any] = {}
    quotas = [group.quota_cores for group in groups(pid, proc=proc).values() if group.quota_cores is not None]
    if quotas:
        found["quota_cores"] = min(quotas)
    memory = [limit for each in _standing(pid, "memory", proc) if (limit := _memory(each)) is not None]
    if memory:
        found["memory_bytes"] = min(memory)
    return found


def groups(pid: int | str = "self", *, proc: Path = _PROC) -> dict[str, Group]:
    """The groups that limit a process's CPU time, by directory: its own first, then those above it.

    Args:
        pid: of the process.
        proc: where processes are.
    """
    found = {}
    for directory in _standing(pid, "cpu", proc):
        group = read_group({name: _text(directory / name) for name in _OF_CPU})
        if group is not None:
            found[str(directory)] = group
    return found


def _standing(pid: int | str, controller: str, proc: Path) -> list[Path]:
    # What is mounted where is told as this process sees it, who reads the files.
    return directories(
        _text(proc / str(pid) / "cgroup"), _text(proc / "self" / "mountinfo"), controller=controller
    )


def directories(cgroups: str, mounts: str, *, controller: str = "cpu") -> list[Path]:
    """Where the control groups of a process stand that limit something: its own first, then those above it.

    Args:
        cgroups: `/proc/<pid>/cgroup`.
        mounts: `/proc/self/mountinfo`.
        controller: what they limit.
    """
    paths: dict[str, str] = {}
    for line in cgroups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            paths["cgroup"] = path
        elif number == "0" and not controllers:
            paths["cgroup2"] = path
    found: list[Path] = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in paths:
            continue
        if kinds[0] == "cgroup" and controller not in kinds[2].split(","):
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


def _memory(group: Path) -> int | None:
    text = _text(group / "memory.max").strip() or _text(group / "memory.limit_in_bytes").strip()
    # Version 1 writes "no limit" as the largest number of pages.
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None


def _text(path: Path) -> str:
    """What stands in a file of the system; nothing where there is none, or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        # Another system, another version, or a file that a container hides: that nothing is known is a result.
        return ""
