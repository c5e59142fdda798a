"""The sink's log: one line an attempt, written before the attempt is answered.

    1732795200123456 A 00000000-0001-8000-8000-000000000007
    1732795200123990 A order-17 5d41402abc4b2a76        under an Idempotency-Key; the last word is a digest of both
    time in us since 1970, outcome, event_id

    A accepted: an effect     D accepted before, under the same Idempotency-Key: no second effect
    R refused, by the mode or as its request was       P poison      F the log is full (at its end, with "-" as ID)

The lines of a request are appended in one write or none. The digest stands in the line so that a sink that was
killed knows what it has accepted: a file of its own would be behind or ahead of this one.
"""

from __future__ import annotations

import errno
import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

ACCEPTED, REPEATED, REFUSED, POISON, FULL = "A", "D", "R", "P", "F"

_CHUNK_BYTES = 1 << 20
_KEYED = re.compile(rb"^\d+ A \S+ ([0-9a-f]{16})$", re.MULTILINE)


def digest_of(key: str, event_id: str) -> int:
    """What stands for an ID under an Idempotency-Key: 64 bits."""
    return int.from_bytes(blake2b(f"{key}\0{event_id}".encode(), digest_size=8).digest())


class Digests:
    """Digests that are known, in about 9 bytes each; sorted, in so many parts that one more is put in quickly."""

    _PARTS = 4096

    def __init__(self) -> None:
        self._parts = [array("Q") for _ in range(self._PARTS)]

    def __contains__(self, digest: int) -> bool:
        part = self._parts[digest % self._PARTS]
        place = bisect_left(part, digest)
        return place < len(part) and part[place] == digest

    def add(self, digest: int) -> None:
        """Know one more."""
        part = self._parts[digest % self._PARTS]
        place = bisect_left(part, digest)
        if place == len(part) or part[place] != digest:
            part.insert(place, digest)


class AttemptLog:
    """The log as the sink writes it.

    Args:
        path: the file; what it holds stays, but for a last line that was torn off.
        most_bytes: how large it may become.

    Raises:
        OSError: the file cannot be read or written.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self.known = Digests()
        self.is_full = False
        self._size_bytes = self._load()

    def _load(self) -> int:
        """Cut off what was never answered, as its line has no end, and know the digests; the size."""
        size = 0
        rest = b""
        while chunk := os.pread(self._file, _CHUNK_BYTES, size + len(rest)):
            rest += chunk
            whole = rest[: rest.rfind(b"\n") + 1]
            for digest in _KEYED.findall(whole):
                self.known.add(int(digest, 16))
            size += len(whole)
            rest = rest[len(whole) :]
        if rest:
            os.ftruncate(self._file, size)
        return size

    def append(self, at_us: int, attempts: Sequence[tuple[str, str]]) -> bool:
        """Write attempts, all of them or none; whether there was room.

        Args:
            at_us: now, since 1970.
            attempts: outcome and ID of each; what follows an ID is written as it is.

        Raises:
            OSError: the file did not take them; none was written.
        """
        lines = "".join([f"{at_us} {outcome} {event_id}\n" for outcome, event_id in attempts]).encode()
        if self.is_full or self._size_bytes + len(lines) > self._most_bytes:
            if not self.is_full:
                self._write(f"{at_us} {FULL} -\n".encode())
                self.is_full = True
            return False
        self._write(lines)
        return True

    def _write(self, lines: bytes) -> None:
        written = os.write(self._file, lines)
        if written < len(lines):
            # A full disk takes what there is room for. The next line must not begin where this one was torn off.
            os.ftruncate(self._file, self._size_bytes)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size_bytes += written

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
