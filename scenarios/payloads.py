"""Payloads from a file of the user's own: JSON, a line each, appended in their order, and again from the first.

    -p payload_file=events.jsonl        {"order": 7, "pieces": 3}
                                        {"order": 8, "pieces": 1}

The whole file is read, and each line looked at, before anything starts: a line that is no JSON is told by its
number. What stands in the lines stays between the file and the server. A record has the digest of the file, how
many lines there are and how long they are. No error of the server is quoted, for it may quote a command.

Locust's workers are sent the lines by their master, and need no file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from statistics import median_low
from typing import Any

import msgspec

# All of it is in memory, once for each stream.
MOST_BYTES = 64 << 20
MOST_LINES = 100_000
LONGEST_LINE_BYTES = 1 << 20


class PayloadError(ValueError):
    """A file whose lines cannot be payloads."""


class Payloads(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a file.

    Attributes:
        lines: in their order, each the JSON of one event.
        digest: of the file, SHA-256 in hexadecimal digits.
    """

    lines: list[bytes]
    digest: str

    @property
    def middle_bytes(self) -> int:
        """The middle of the lengths of the lines."""
        return median_low(map(len, self.lines))

    def told(self) -> dict[str, Any]:
        """What a record may say of them: nothing that stands in them."""
        lengths = [len(line) for line in self.lines]
        return {
            "sha256": self.digest,
            "lines": len(lengths),
            "bytes": {
                "least": min(lengths),
                "middle": self.middle_bytes,
                "most": max(lengths),
                "sum": sum(lengths),
            },
        }


def payloads_of(path: Path) -> Payloads:
    """Read a file of payloads.

    Raises:
        PayloadError: it cannot be read, has too much in it, or has a line that is no JSON. Nothing that stands in
            the file is quoted.
    """
    try:
        if not path.is_file():
            raise PayloadError(f"payload_file: there is no file {path}")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PayloadError(f"payload_file: {path} cannot be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise PayloadError(f"payload_file: {path} has more than {MOST_BYTES >> 20} MiB")
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise PayloadError(f"payload_file: {path} is empty")
    if len(lines) > MOST_LINES:
        raise PayloadError(f"payload_file: {path} has more than {MOST_LINES:,} lines")
    kept = [line.removesuffix(b"\r") for line in lines]
    for number, line in enumerate(kept, 1):
        if why := _why_not(line):
            raise PayloadError(f"payload_file: line {number:,} of {path} {why}")
    return Payloads(lines=kept, digest=hashlib.sha256(content).hexdigest())


def _why_not(line: bytes) -> str:
    """Why a line is no payload, without a word of what stands in it; empty where it is one."""
    if not line.strip():
        return "is empty"
    if len(line) > LONGEST_LINE_BYTES:
        return f"has more than {LONGEST_LINE_BYTES >> 20} MiB"
    try:
        msgspec.json.decode(line)
    except RecursionError:
        return "is nested too deeply"
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return "is no JSON"
    return ""
