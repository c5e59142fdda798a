"""Which process it is, so that another one can tell whether it still lives.

A process id alone says little: it is given again, each container has its own, and another host has the same. Five
facts together name one process for good:

    host         its name
    boot         of the kernel's start: a machine that was started again has none of its former processes
    namespace    of process ids: two containers on one kernel may share everything else
    pid          in that namespace
    started      when, in ticks since the start of the kernel: what takes the same id later has another

`is_provably_dead` answers True only where all that would have to be seen can be seen from here. In doubt it
answers False: whoever asks wants to take something away from a dead process.
"""

from __future__ import annotations

import platform
from pathlib import Path

import psutil
from msgspec import Struct


class ProcessIdentity(Struct, frozen=True, kw_only=True):
    """A process, told apart from every other one there is or was; an empty field is one that is not known here."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str


def this_process() -> ProcessIdentity:
    """The process that asks."""
    pid = psutil.Process().pid
    return ProcessIdentity(
        host=platform.node(), boot=_boot(), namespace=_namespace(), pid=pid, started=_started(pid) or ""
    )


def is_provably_dead(process: ProcessIdentity) -> bool:
    """Whether a process ran here and does so no more; False also where that cannot be told from here."""
    if not process.host or process.host != platform.node() or not process.boot or not process.started:
        return False
    if process.boot != _boot() or process.namespace != _namespace():
        return False  # what runs on another kernel, or in another container, is not seen from here
    return _started(process.pid) != process.started


def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    try:
        return path.read_text().strip()
    except OSError:
        return str(round(psutil.boot_time()))


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process was started; None where there is none, or one that has ended and is not yet waited for."""
    try:
        # The name in the second field may hold spaces and brackets; after its last bracket comes the third.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    else:
        return None if fields[0] in {"Z", "X"} else fields[19]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
