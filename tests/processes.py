"""What a test asks of processes that are not its own children."""

from __future__ import annotations

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended and that nobody has reaped yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
