"""What of a machine moves a latency, and stands in no program: the kernel, its settings, and what it runs on.

    kernel              its release; schedulers change between them
    virtualization      the guest's processor is taken away at moments that it does not see
    huge_pages          transparent ones: after a fork each write copies 2 MiB in place of 4 KiB
    overcommit_memory   0 or 2: a fork of a large server may be refused
    cpu_governor        a processor that saves power answers late
    cores_allowed       fewer than there are, where somebody has pinned this process
    limits              what the control group allows (`harness.host.cgroup`)

Each is left out where the system does not tell it.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from harness.host import cgroup

_CHOSEN = re.compile(r"\[([\w-]+)\]")


def describe_machine(root: Path = Path("/")) -> dict[str, Any]:
    """The facts about this machine that a figure depends on.

    Args:
        root: below which `proc` and `sys` are.
    """
    found: dict[str, Any] = {"kernel": platform.release()}
    facts = {
        "virtualization": virtualization(root),
        "huge_pages": _chosen(root / "sys/kernel/mm/transparent_hugepage/enabled"),
        "overcommit_memory": _line(root / "proc/sys/vm/overcommit_memory"),
        "swappiness": _line(root / "proc/sys/vm/swappiness"),
        "cpu_governor": _governors(root),
        "clock_source": _line(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
    }
    found.update({name: value for name, value in facts.items() if value})
    if hasattr(os, "sched_getaffinity"):
        found["cores_allowed"] = sorted(os.sched_getaffinity(0))
    if limits := cgroup.limits():
        found["limits"] = limits
    return found


def virtualization(root: Path = Path("/")) -> str:
    """What this machine runs in: a hypervisor by its maker's name for it, `a container`, both, or neither."""
    parts = []
    product = f"{_line(root / 'sys/class/dmi/id/sys_vendor')} {_line(root / 'sys/class/dmi/id/product_name')}"
    is_guest = "hypervisor" in _flags(root)
    if is_guest:
        parts.append(product.strip() or "a virtual machine")
    inside = [root / ".dockerenv", root / "run/.containerenv"]
    if any(path.exists() for path in inside) or os.environ.get("container"):  # noqa: SIM112 - systemd's name
        parts.append("a container")
    return ", ".join(parts) or ("none seen" if _flags(root) else "")


def _flags(root: Path) -> frozenset[str]:
    for line in _text(root / "proc/cpuinfo").splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _governors(root: Path) -> str:
    cores = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({_line(path) for path in cores} - {""}))


def _chosen(path: Path) -> str:
    """The word in brackets: `always [madvise] never`."""
    match = _CHOSEN.search(_text(path))
    return match[1] if match else ""


def _line(path: Path) -> str:
    return _text(path).strip()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
