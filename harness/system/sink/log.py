"""The sink's log: one line an attempt, written before the attempt is answered.

    1732795200123456 A 00000000-0001-8000-8000-000000000007
    1732795200123990 A order-17 key-5                   under an Idempotency-Key, which is quoted as in a URL
    time in us since 1970, outcome, event_id

    A accepted: an effect     D accepted before, under the same Idempotency-Key: no second effect
    R refused, by the mode or as its request was       P poison      F the log is full (at its end, with "-" as ID)

The lines of a request are appended in one write or none. The key stands in the line so that a sink that was killed
knows what it has accepted under which: a file of its own would be behind or ahead of this one.
"""

from __future__ import annotations

import errno
import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path

ACCEPTED, REPEATED, REFUSED, POISON, FULL = "A", "D", "R", "P", "F"

_CHUNK_BYTES = 1 << 20
_KEYED = re.compile(rb"^\d+ A (\S+) (\S+)$", re.MULTILINE)


class Known:
    """IDs that were accepted under keys, in about 9 bytes each.

    Of each there are 64 bits of Python's own hash, which is ten times as fast as one of hashlib, and the same in
    this process only. Among ten million, two are the same in one run of 370,000. They are sorted, in so many parts
    that one more is put in quickly.
    """

    _PARTS = 4096
    _64_BITS = (1 << 64) - 1

    def __init__(self) -> None:
        self._parts = [array("Q") for _ in range(self._PARTS)]

    def add(self, key: str, ids: Iterable[str]) -> list[bool]:
        """Know some more; of each whether it is new."""
        parts, count, bits, begin = self._parts, self._PARTS, self._64_BITS, key + " "
        new: list[bool] = []
        for event_id in ids:
            digest = hash(begin + event_id) & bits
            part = parts[digest % count]
            place = bisect_left(part, digest)
            if place < len(part) and part[place] == digest:
                new.append(False)
            else:
                part.insert(place, digest)
                new.append(True)
        return new

    def forget(self, key: str, ids: Iterable[str]) -> None:
        """Not know these any more."""
        for event_id in ids:
            digest = hash(f"{key} {event_id}") & self._64_BITS
            self._parts[digest % self._PARTS].remove(digest)


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
        self.known = Known()
        self.is_full = False
        self._size_bytes = self._load()

    def _load(self) -> int:
        """Cut off a line without an end, which was never answered; know what was accepted under keys; the size."""
        size = 0
        rest = b""
        while chunk := os.pread(self._file, _CHUNK_BYTES, size + len(rest)):
            rest += chunk
            whole = rest[: rest.rfind(b"\n") + 1]
            # A line without a key has two spaces; where there are no more, nothing is looked for.
            has_keys = whole.count(b" ") > 2 * whole.count(b"\n")
            for event_id, key in _KEYED.findall(whole) if has_keys else ():
                self.known.add(key.decode(), (event_id.decode(),))
            size += len(whole)
            rest = rest[len(whole) :]
        if rest:
            os.ftruncate(self._file, size)
        return size

    def append(self, at_us: int, attempts: Sequence[str]) -> bool:
        """Write attempts, all of them or none; whether there was room.

        Args:
            at_us: now, since 1970.
            attempts: the line of each but for its time, as in "A order-17".

        Raises:
            OSError: the file did not take them; none was written.
        """
        if not attempts:
            return not self.is_full
        before = f"{at_us} "
        lines = (before + f"\n{before}".join(attempts) + "\n").encode()
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
