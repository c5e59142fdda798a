"""What a consumer has written: the first lines of its log, which often have versions, and the last; no secrets."""

from __future__ import annotations

import re
from pathlib import Path

from harness.server.url import without_secrets

HEAD_LINES, LOG_LINES = 12, 12
# Of the beginning, or the end, of a log: a consumer may write without end.
MOST_BYTES = 1 << 14
LONGEST_LINE = 300


def consumer_log(directory: Path) -> Path:
    """The log of the first consumer of a run; it need not be there."""
    found = sorted(directory.glob("consumer*.log"))
    return found[0] if found else directory / "services.log"


def first_lines(path: Path, count: int) -> list[str]:
    """The first lines of a file; none where it cannot be read."""
    return _lines(path, 0)[:count]


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file; none where it cannot be read."""
    return _lines(path, -MOST_BYTES)[-count:]


def _lines(path: Path, at: int) -> list[str]:
    try:
        with path.open("rb") as file:
            if at < 0:
                file.seek(max(0, path.stat().st_size + at))
            raw = file.read(MOST_BYTES)
    except OSError:
        return []
    lines = raw.decode("utf-8", "replace").splitlines()
    # It was told where Redis is, and may have printed that.
    masked = (re.sub(r"\S+", lambda word: without_secrets(word[0]), line.rstrip()) for line in lines)
    return [line[:LONGEST_LINE] for line in masked if line]
