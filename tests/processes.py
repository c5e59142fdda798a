"""What a test asks of processes: of those that are not its own children, and of programs that have ended."""

from __future__ import annotations

import re
from typing import NamedTuple

import psutil


class Ended(NamedTuple):
    """A run of `shopbench` that has ended."""

    code: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        """What it says on its standard error, but for how far it is."""
        progress = r"\w+ \(\d+ of \d+\)|\w+: \d+ %(, .*)?"
        return [line for line in self.err.splitlines() if not re.fullmatch(progress, line)]


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended and that nobody has reaped yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
