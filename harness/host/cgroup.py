"""What a container, or a unit of the system, may use of this machine, and when it was held back.

    limits()        {"version": 2, "quota_cores": 0.5, "memory_bytes": 1073741824, "cores_allowed": 2}
    throttling()    Throttling(periods=1200, throttled_periods=310, throttled_ns=9_800_000_000)
    throttled(before, after)   what came between the two

A quota of half a core is spent in the first half of each period of 100 ms, and then everything in the group stands
still until the next: the instrument, or the server, stalls for tens of milliseconds, and no CPU share shows it.

Both versions of control groups are read, and a machine may have both: version 1 has a hierarchy per controller,
version 2 one for all. A group's own limits and those of every group above it hold at once, so the tightest counts;
throttling is that of the group itself and of those above it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

ROOT = Path("/sys/fs/cgroup")


class Throttling(Struct, frozen=True, kw_only=True):
    """How often a group with a quota was held back, since it was made, or between two moments.

    Attributes:
        periods: of the quota in which the group wanted to run.
        throttled_periods: those of them in which it had used up its quota.
        throttled_ns: for how long its threads stood still for that, added up over cores.
    """

    periods: int
    throttled_periods: int
    throttled_ns: int


def throttled(before: Throttling | None, after: Throttling | None) -> Throttling | None:
    """What came between two moments; None where it is not known, or the group has changed meanwhile."""
    if before is None or after is None:
        return None
    counts = (
        after.periods - before.periods,
        after.throttled_periods - before.throttled_periods,
        after.throttled_ns - before.throttled_ns,
    )
    if min(counts) < 0:
        return None
    return Throttling(periods=counts[0], throttled_periods=counts[1], throttled_ns=counts[2])


def limits(pid: int | str = "self", *, root: Path = ROOT, proc: Path = Path("/proc")) -> dict[str, Any]:
    """What a process may use: cores of a quota, memory, and on how many cores it may run; what is not limited is
    left out.

    Args:
        pid: of the process.
        root: where control groups are mounted.
        proc: where processes are.
    """
    found: dict[str, Any] = {}
    quotas = [quota for group in _groups(pid, "cpu", root, proc) if (quota := _quota(group)) is not None]
    if quotas:
        found["quota_cores"] = min(quotas)
    memory = [limit for group in _groups(pid, "memory", root, proc) if (limit := _memory(group)) is not None]
    if memory:
        found["memory_bytes"] = min(memory)
    if pid == "self" and hasattr(os, "sched_getaffinity"):
        found["cores_allowed"] = len(os.sched_getaffinity(0))
    return found


def throttling(pid: int | str = "self", *, root: Path = ROOT, proc: Path = Path("/proc")) -> Throttling | None:
    """How a process's groups were held back so far; None where no group of it has a quota."""
    stats = [
        stat
        for group in _groups(pid, "cpu", root, proc)
        if _quota(group) is not None and (stat := _numbers(group / "cpu.stat"))
    ]
    if not stats:
        return None
    return Throttling(
        periods=sum(stat.get("nr_periods", 0) for stat in stats),
        throttled_periods=sum(stat.get("nr_throttled", 0) for stat in stats),
        # Version 1 counts nanoseconds, version 2 microseconds.
        throttled_ns=sum(stat.get("throttled_time", 1000 * stat.get("throttled_usec", 0)) for stat in stats),
    )


def _groups(pid: int | str, controller: str, root: Path, proc: Path) -> Iterator[Path]:
    """The directories of a process's group and of those above it, for a controller, in either version."""
    for line in _text(proc / str(pid) / "cgroup").splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller in controllers.split(","):
            tops = [root / controllers, root / controller]
        elif number == "0" and not controllers:
            tops = [root, root / "unified"]
        else:
            continue
        top = next((each for each in tops if each.is_dir()), None)
        if top is None:
            continue
        group = top / path.lstrip("/")
        # In a container the path may be that of the host, of which only the group itself is seen, as the top.
        group = group if group.is_dir() else top
        while True:
            yield group
            if group == top:
                break
            group = group.parent


def _quota(group: Path) -> float | None:
    """How many cores a group may use; None: all."""
    words = _text(group / "cpu.max").split()
    if len(words) == 2 and words[0] != "max":
        return int(words[0]) / int(words[1])
    quota, period = _text(group / "cpu.cfs_quota_us").strip(), _text(group / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if period and int(quota) > 0 else None


def _memory(group: Path) -> int | None:
    text = _text(group / "memory.max").strip() or _text(group / "memory.limit_in_bytes").strip()
    # Version 1 writes "no limit" as the largest number of pages.
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None


def _numbers(path: Path) -> Mapping[str, int]:
    pairs = [line.split() for line in _text(path).splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _text(path: Path) -> str:
    """What stands in a file of the system; nothing where there is none, or it may not be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
