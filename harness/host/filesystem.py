"""Where a directory is: on which file system, on which device, and whether a sync there reaches anything.

    describe_directory(Path("/var/lib/redis"))
        {"path": "/var/lib/redis", "file_system": "ext4", "device": "/dev/vda", "options": "rw"}

A server that promises to sync before each answer keeps that promise on `tmpfs` at once: there is nothing to sync
to. A figure from there says what a sync costs that does not happen. Other file systems decide, too, what a sync
costs, so they stand in the record.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct

# File systems that are memory and nothing else.
IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(Struct, frozen=True):
    """A place where a file system is mounted."""

    point: str
    file_system: str
    device: str
    options: str


def describe_directory(path: Path) -> dict[str, Any]:
    """On what a directory is; `is_synced` is False where that is memory, and left out elsewhere."""
    resolved = path.resolve()
    mount = mount_of(resolved, _mounts())
    if mount is None:
        return {"path": str(resolved)}
    return {
        "path": str(resolved),
        "file_system": mount.file_system,
        "device": mount.device,
        "options": mount.options,
        **({"is_synced": False} if mount.file_system in IN_MEMORY else {}),
    }


def mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    """The mount that a path is on: the one with the longest point above it, and of several there the last."""
    above = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(enumerate(above), key=lambda each: (len(Path(each[1].point).parts), each[0]))[1] if above else None


def read_mounts(text: str) -> list[Mount]:
    """The mounts in the words of `/proc/self/mountinfo` (proc(5)).

    A line is `27 1 254:0 / /var rw,noatime shared:1 - ext4 /dev/vda rw`; the fields before the `-` vary in number.
    """
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, more = before.split(), after.split()
        if dash and len(fields) >= 6 and len(more) >= 2:
            point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
            found.append(Mount(point, more[0], more[1], fields[5]))
    return found


def _mounts() -> list[Mount]:
    try:
        return read_mounts(Path("/proc/self/mountinfo").read_text())
    except OSError:
        parts = psutil.disk_partitions(all=True)
        return [Mount(part.mountpoint, part.fstype, part.device, part.opts) for part in parts]


def data_directory_of(pid: int) -> Path | None:
    """The working directory of a process of this host; None where there is none to be seen."""
    try:
        return Path(psutil.Process(pid).cwd())
    except (psutil.Error, OSError):
        return None
