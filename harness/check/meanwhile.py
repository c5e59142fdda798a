"""What the server did meanwhile, and what that explains.

    stalls             slow responses that waited beside an event of the server, event by event
    nothing_evicted    a server that removes keys to have room loses events, whatever it has acknowledged
    server_checkers    that, and what the record says of lock and left-overs, as verdicts

A slow response waited beside an event when the two overlap: it was due before the event was over, and answered
after it can have begun. An event was seen between two looks, so for a fork this is wider than the fork itself; the
sentence gives both lengths, of the responses and of the fork: a reader sees whether one explains the other.
That something happened beside a stall is no proof that it caused it; that nothing did rules the server's own
doings out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from harness.check.judge import Checker
from harness.measure.timeline import History, ServerEvent, SlowMark
from harness.record.files import TIMELINE
from harness.record.run import Record, Verdict

# Shorter ones are what a scheduler does to anybody.
STALL_NS = 10_000_000


class Stall(Struct, frozen=True, kw_only=True):
    """Slow responses beside one event.

    Attributes:
        event: of the server.
        count: how many of the slowest responses waited beside it.
        of: how many slow ones there are in all.
        longest_ns: the longest of them.
    """

    event: ServerEvent
    count: int
    of: int
    longest_ns: int

    def __str__(self) -> str:
        event = self.event
        took = f", which took {_ms(event.lasted_ns)}" if event.lasted_ns else ""
        about = f" {event.detail}" if event.name == "fork" and event.detail else ""
        which = "the slowest response" if self.of == 1 else f"{self.count:,} of the {self.of:,} slowest responses"
        return (
            f"{which} (up to {_ms(self.longest_ns)}) waited beside the {event.name}{about} "
            f"at {event.t_ns / 1e9:.1f} s{took}"
        )


def stalls(slowest: Sequence[SlowMark], events: Sequence[ServerEvent], *, floor_ns: int = STALL_NS) -> list[Stall]:
    """The slow responses that events of the server explain, most of them first; each is counted once.

    Args:
        slowest: the slowest operations of a run.
        events: of its server.
        floor_ns: a response that took no longer is none.
    """
    slow = [each for each in slowest if each.response_ns > floor_ns]
    beside: dict[int, list[SlowMark]] = {}
    for each in slow:
        able = [at for at, event in enumerate(events) if _overlap(each, event)]
        if able:
            # Of several at once a fork is what holds everything up; else the longest.
            chosen = max(able, key=lambda at: (events[at].name == "fork", events[at].lasted_ns, -at))
            beside.setdefault(chosen, []).append(each)
    found = [
        Stall(event=events[at], count=len(those), of=len(slow), longest_ns=max(each.response_ns for each in those))
        for at, those in beside.items()
    ]
    return sorted(found, key=lambda stall: (-stall.count, stall.event.t_ns))


def _overlap(slow: SlowMark, event: ServerEvent) -> bool:
    begins_ns, ends_ns = event.t_ns - event.within_ns, event.t_ns
    return slow.due_ns <= ends_ns and slow.due_ns + slow.response_ns >= begins_ns


def nothing_evicted(name: str, history: History, server: Mapping[str, Any]) -> Verdict | None:
    """Whether the server has kept all keys; None where it would never evict any, or does not tell.

    Args:
        name: of the verdict.
        history: of the run, with the server's counters.
        server: what the record says of it.
    """
    counted = [reading.value for reading in history.readings("server.evicted_keys") if reading.value is not None]
    # Each server of a run has a count of its own that grows; where it falls, the next one's has begun.
    lasts = [value for at, value in enumerate(counted) if at + 1 == len(counted) or counted[at + 1] < value]
    evicted = sum(lasts)
    policy = str(server.get("maxmemory-policy", "not recorded"))
    if evicted:
        detail = f"the server has evicted {evicted:,.0f} keys with their content (maxmemory-policy {policy})"
        return Verdict(name=name, status="FAIL", detail=detail)
    may_evict = str(server.get("maxmemory", "0")) not in {"0", ""} and policy not in {"noeviction", "not recorded"}
    if not may_evict or not counted:
        return None
    return Verdict(name=name, status="PASS", detail=f"maxmemory-policy {policy}, and no key was evicted")


def server_checkers(prefix: str) -> list[Checker]:
    """What is to be said of the server of any run, whatever it was to measure.

    Args:
        prefix: the scenario's name.
    """

    def evictions(record: Record) -> Verdict | None:
        return nothing_evicted(f"{prefix}.evictions", record.history, _server(record))

    def left_nothing(record: Record) -> Verdict | None:
        left = _server(record).get("left_behind")
        return None if left is None else Verdict(name=f"{prefix}.left_nothing", status="FAIL", detail=str(left))

    def alone(record: Record) -> Verdict | None:
        lock = str(_server(record).get("lock", "held"))
        if lock == "held" or lock.startswith("none"):
            return None
        return Verdict(name=f"{prefix}.alone", status="UNKNOWN", detail=lock)

    def ended(record: Record) -> Verdict | None:
        ends = [event for event in record.history.server_events if event.name == "end"]
        if not ends:
            return None
        detail = "; ".join(f"{event.detail} (at {event.t_ns / 1e9:.1f} s)" for event in ends)
        return Verdict(name=f"{prefix}.server", status="FAIL", detail=detail)

    return [
        Checker(f"{prefix}.evictions", evictions, reads=(TIMELINE,), part=None),
        Checker(f"{prefix}.left_nothing", left_nothing, part=None),
        Checker(f"{prefix}.alone", alone, part=None),
        Checker(f"{prefix}.server", ended, reads=(TIMELINE,), part=None),
    ]


def _server(record: Record) -> Mapping[str, Any]:
    server = record.run.environment.get("server")
    return server if isinstance(server, Mapping) else {}


def _ms(ns: int) -> str:
    ms = ns / 1e6
    return f"{ms:,.0f} ms" if ms >= 10 else f"{ms:.1f} ms"
