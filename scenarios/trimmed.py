"""Streams that each XADD trims to a length: what is gone, and whether they stayed as short as was said.

    XADD stream MAXLEN ~ 10000 * ...        whole nodes go, and up to one more stays     `trim=maxlen`
    XADD stream MAXLEN = 10000 * ...        entries go one by one                        `trim=maxlen_exact`

    entries-added   all that a stream was ever given, by its own books; before Redis 7.0 what was acknowledged
    length          what it holds
    trimmed         the difference

That a load was trimmed is a premise of whatever is said of its latencies, and so it is a verdict: something was
trimmed, no look at the streams found them longer than they may be, and once all of them were full they took no
more memory in the second half of the time than in the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from msgspec import Struct

from harness.check.judge import Checker
from harness.check.loads import named
from harness.conduct.findings import Findings
from harness.measure.probes import Sample
from harness.measure.timeline import History
from harness.record.files import TIMELINE
from harness.record.load_report import section_of
from harness.record.run import Record, Verdict
from scenarios.load import Load

# A stream drops whole nodes where it is told `~`, and has so many entries in one at most, as Redis is set.
NODE_ENTRIES = 100
# So many streams are looked at; the others are trimmed likewise.
MOST_LOOKED_AT = 16
# From one half of the time to the other, memory may differ by as much as nodes that are half full make of it.
MOST_GROWTH = 1.25
# So many looks at full streams are too few to say anything of their memory.
_LEAST_LOOKS = 4
# The section of the evidence.
TRIMMED = "trimmed"

# Values, each with the time of a look.
Looks = Sequence[tuple[int, float]]


class Trimmed(Struct, frozen=True, kw_only=True):
    """What became of the entries of a load whose streams were trimmed.

    Attributes:
        added: by the streams' own books; None: the server does not keep them.
        acknowledged: appends that were answered.
        length: of all streams at the end.
        longest: of the streams at the end, the longest.
        maxlen: to which they were trimmed.
        may_have: how many entries a stream may have.
        streams: how many there are.
    """

    added: int | None
    acknowledged: int
    length: int
    longest: int
    maxlen: int
    may_have: int
    streams: int

    @property
    def removed(self) -> int:
        """How many entries are gone; at least, where only what was acknowledged is known."""
        return max(0, (self.acknowledged if self.added is None else self.added) - self.length)


def stream_sizes(client: Any, streams: Sequence[str]) -> tuple[list[int], int] | None:
    """How many entries each of some streams holds, and the bytes of all; None while the server is away."""
    try:
        with client.pipeline(transaction=False) as ask:
            for stream in streams:
                ask.xlen(stream)
                ask.memory_usage(stream)
            answers = ask.execute()
    except redis.RedisError:
        return None
    return answers[::2], sum(size or 0 for size in answers[1::2])


class StreamSizes:
    """Probes how many entries streams hold, and the bytes that they take on the server.

    Args:
        client: of the server.
        streams: their names.
        load: which of several loads they are of.
    """

    def __init__(self, client: Any, streams: Sequence[str], load: str) -> None:
        self._client = client
        self._streams = list(streams)[:MOST_LOOKED_AT]
        self._labels = {"load": load} if load else {}

    def read(self) -> list[Sample]:
        """The length of the shortest and the longest, and the bytes of all; nothing of a server that is away."""
        found = stream_sizes(self._client, self._streams)
        if found is None:
            return []
        lengths, size = found
        return [
            Sample("stream.length.min", float(min(lengths)), "events", self._labels),
            Sample("stream.length.max", float(max(lengths)), "events", self._labels),
            Sample("stream.memory_bytes", float(size), "bytes", self._labels),
        ]


def may_have(chosen: Load) -> int:
    """How many entries each stream of a load may have."""
    return chosen.maxlen + (NODE_ENTRIES if chosen.trim == "maxlen" else 0)


def trimmed_of(client: Any, streams: Sequence[str], chosen: Load, acknowledged: int) -> Trimmed:
    """What became of the entries of a load, by its streams at the end.

    Args:
        client: of the server.
        streams: of the load, which were empty before it.
        chosen: how they were trimmed.
        acknowledged: appends that were answered.

    Raises:
        redis.RedisError: the server does not answer.
    """
    there = [stream for stream in streams if client.exists(stream)]
    facts = [client.xinfo_stream(stream) for stream in there]
    lengths = [int(each["length"]) for each in facts]
    books = [each.get("entries-added") for each in facts]
    return Trimmed(
        added=None if None in books else sum(books),
        acknowledged=acknowledged,
        length=sum(lengths),
        longest=max(lengths, default=0),
        maxlen=chosen.maxlen,
        may_have=may_have(chosen),
        streams=len(streams),
    )


# What `add_trimmed` adds, for `figure_names`.
TRIMMED_FIGURES = """
    events  trimmed stream_length.max
    bytes   stream_memory_bytes.max
"""


def add_trimmed(findings: Findings, history: History, found: Trimmed, load: str) -> None:
    """Add what was trimmed, as evidence and figures.

    Args:
        history: with the looks at the streams.
        found: at the end.
        load: which of several loads.
    """
    findings.evidence.add_json(section_of(TRIMMED, load), found)
    dot = f"{load}." if load else ""
    findings.figure(f"{dot}trimmed", found.removed, "events")
    longest, sizes = (_looks(history, what, load) for what in ("length.max", "memory_bytes"))
    findings.figure(f"{dot}stream_length.max", max((v for _, v in longest), default=None), "events")
    findings.figure(f"{dot}stream_memory_bytes.max", max((v for _, v in sizes), default=None), "bytes")


def trimmed_checker(prefix: str, load: str) -> Checker:
    """What finds whether a load's streams were trimmed, and stayed short: `<prefix>.<load>.trimmed`."""
    name, section = named(prefix, load, "trimmed"), section_of(TRIMMED, load)

    def check(record: Record) -> Verdict:
        found = record.evidence.value(section, Trimmed)
        looks = {what: _looks(record.history, what, load) for what in ("length.min", "length.max", "memory_bytes")}
        return trimmed(name, found, *looks.values())

    return Checker(name, check, reads=(section, TIMELINE), part=load)


def _looks(history: History, what: str, load: str) -> Looks:
    readings = history.readings(f"stream.{what}", **({"load": load} if load else {}))
    return [(reading.t_ns, reading.value) for reading in readings if reading.value is not None]


def trimmed(name: str, found: Trimmed, shortest: Looks, longest: Looks, sizes: Looks) -> Verdict:
    """Whether something was trimmed, streams stayed as short as was said, and took no more memory as time went by.

    Args:
        found: at the end.
        shortest, longest: how many entries such a stream had, with the time of each look.
        sizes: bytes that the streams took, likewise.
    """
    given = found.acknowledged if found.added is None else found.added
    by = "" if found.added is not None else ", by what was acknowledged"
    most = max([found.longest, *(int(length) for _, length in longest)])
    detail = (
        f"of {given:,} entries that were added{by}, {found.removed:,} are gone; a stream had at most {most:,}, "
        f"{found.may_have:,} may be"
    )
    if most > found.may_have:
        return Verdict(name=name, status="FAIL", detail=detail)
    if not found.removed:
        more = "nothing was trimmed: have a smaller `maxlen`, or append for longer"
        return Verdict(name=name, status="UNKNOWN", detail=f"{detail}; {more}")
    full_ns = next((t_ns for t_ns, length in shortest if length >= found.maxlen), None)
    memory = [size for t_ns, size in sizes if full_ns is not None and t_ns >= full_ns]
    if len(memory) < _LEAST_LOOKS:
        detail = f"{detail}; the memory of streams that were all full was seen {len(memory)} times, too few"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    first, second = max(memory[: len(memory) // 2]), max(memory[len(memory) // 2 :])
    detail = (
        f"{detail}; full, they took {first:,.0f} bytes at most, and {second:,.0f} in the second half of that time"
    )
    return Verdict(name=name, status="FAIL" if second > MOST_GROWTH * first else "PASS", detail=detail)
