"""A disk that is full, for one process."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def room_for(size: int, pid: int = 0) -> Iterator[None]:
    """No file of a process, by default this one, grows beyond a size: as on a full disk."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("no limit can be set for another process here")
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
