"""The sink's log as the harness reads it: a piece at a time, while it grows.

Nothing is kept of an attempt but that it was counted: two places in the file, and a number for each outcome. So
ten million attempts take the memory of one. A question about a single event reads the log again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from harness.system.sink.log import ACCEPTED, FULL, POISON, REFUSED, REPEATED

CHUNK_BYTES = 1 << 18
# How many effects are told at once, about: whoever asks is to go on in between.
PAGE = 10_000
_EFFECT = re.compile(rb"^\d+ A (\S+)", re.MULTILINE)
_ATTEMPT = re.compile(rb"^(\d+) [ADRP] (\S+)", re.MULTILINE)


class Attempt(msgspec.Struct, frozen=True):
    """An attempt to have an effect.

    Attributes:
        at_us: when the sink decided, in microseconds since 1970.
        outcome: A, D, R or P, as `harness.system.sink.log` says.
    """

    at_us: int
    outcome: str


class Attempts:
    """The attempts in a log; it need not be there yet.

    Args:
        log: the sink's file.

    Attributes:
        counts: how many there were of each outcome, as of the last `poll`.
        is_full: the log has come to its bound, and later attempts are not in it; as of the last `poll`.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._polled_bytes = 0
        # So many effects stand before this byte.
        self._effects_until = 0, 0
        self.counts = dict.fromkeys((ACCEPTED, REPEATED, REFUSED, POISON), 0)
        self.is_full = False

    def poll(self) -> int:
        """Count what has come since the last time, and answer how many those are.

        Raises:
            OSError: the log cannot be read.
        """
        before = sum(self.counts.values())
        for lines in self._lines(self._polled_bytes):
            self._polled_bytes += len(lines)
            for outcome in self.counts:
                # No ID has a space in it.
                self.counts[outcome] += lines.count(b" %c " % ord(outcome))
            self.is_full |= b" %c -\n" % ord(FULL) in lines
        return sum(self.counts.values()) - before

    def effects(self, after: int) -> list[str]:
        """The IDs that were accepted, in order, but for the first ones: a page of them, or what there is.

        Args:
            after: how many of the first are known already. Where it goes on from the last answer, only what is new
                is read.

        Raises:
            OSError: the log cannot be read.
        """
        before, at_bytes = self._effects_until if after >= self._effects_until[0] else (0, 0)
        found: list[bytes] = []
        for lines in self._lines(at_bytes):
            ids: list[bytes] = _EFFECT.findall(lines)
            before += len(ids)
            at_bytes += len(lines)
            if before > after:
                found += ids[-(before - after) :]
            if len(found) >= PAGE:
                break
        self._effects_until = before, at_bytes
        return [event_id.decode() for event_id in found]

    def attempts_of(self, event_id: str) -> list[Attempt]:
        """Every attempt at one event, in order; this reads the whole log.

        Raises:
            OSError: the log cannot be read.
        """
        pattern = re.compile(rb"^(\d+) ([ADRP]) %b(?: \S+)?$" % re.escape(event_id.encode()), re.MULTILINE)
        return [
            Attempt(int(at_us), outcome.decode())
            for lines in self._lines(0)
            for at_us, outcome in pattern.findall(lines)
        ]

    def since(self, epoch_s: float, event_ids: Collection[str]) -> dict[str, int]:
        """How many attempts there were at each of some events since a moment; this reads the whole log.

        Args:
            epoch_s: the moment, in seconds since 1970.
            event_ids: of the events; those without an attempt are left out.

        Raises:
            OSError: the log cannot be read.
        """
        wanted, since_us = {each.encode() for each in event_ids}, epoch_s * 1e6
        found: dict[str, int] = {}
        for lines in self._lines(0):
            for at_us, event_id in _ATTEMPT.findall(lines):
                if event_id in wanted and int(at_us) >= since_us:
                    found[event_id.decode()] = found.get(event_id.decode(), 0) + 1
        return found

    def _lines(self, at_bytes: int) -> Iterator[bytes]:
        """The whole lines from a place on, some at a time."""
        try:
            file = self._log.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(at_bytes)
            rest = b""
            while chunk := file.read(CHUNK_BYTES):
                end = chunk.rfind(b"\n") + 1
                if not end:
                    rest += chunk
                    continue
                yield rest + chunk[:end]
                rest = chunk[end:]
