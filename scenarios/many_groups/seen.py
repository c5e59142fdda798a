"""What was seen of the groups while the load lasted, and whether they were as they should be.

    groups.count      XINFO STREAM, ten times a second: how many groups there are
    groups.pending    XPENDING of some groups, ten times a second, others each time: the fewest entries of any
    command.us        what a command has cost the server so far, by INFO commandstats, and how often it was called

The premises: so many groups, throughout (`groups_there`); so many of them read and no others (`groups_read`); so
many entries pending in each, throughout (`pending_full`). Where a reading says otherwise, it fails; where nobody
has looked for a second, or a group was not asked, it is not known.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import redis
from msgspec import Struct

from harness.check.judge import Checker
from harness.measure.curves import SECOND_NS
from harness.measure.probes import Sample
from harness.measure.timeline import History
from harness.record.files import TIMELINE
from harness.record.run import Record, Verdict

SECTION = "groups"
COUNT, PENDING = "groups.count", "groups.pending"
CALLS, COST = "command.calls", "command.us"
# Groups that are asked at one look.
ASKED_AT_ONCE = 16


class GroupsSeen(Struct, frozen=True, kw_only=True):
    """What was there, besides what stands on the timeline.

    Attributes:
        groups, read, pending: that there should be: groups, of these read, and entries pending in each.
        load_ns: how long the load was.
        there: groups at the end; None: nobody could ask.
        moved: groups that were given something between the beginning and the end.
        least_before, least_after: the fewest entries pending in any group before the load and after it.
        trouble: why a reader ended early; empty: none did.
    """

    groups: int
    read: int
    pending: int
    load_ns: int
    there: int | None = None
    moved: int | None = None
    least_before: int | None = None
    least_after: int | None = None
    trouble: str = ""


class GroupsThere:
    """Probes how many groups a stream has, and how much some of them have pending.

    Args:
        client: of the server.
        stream: whose groups they are.
        names: of all groups of which it is asked what they have pending; none: it is not asked.
    """

    def __init__(self, client: Any, stream: str, names: Sequence[str]) -> None:
        self._client = client
        self._stream = stream
        self._names = itertools.cycle(names)
        self._at_once = min(ASKED_AT_ONCE, len(names))

    def read(self) -> list[Sample]:
        """`groups.count` and `groups.pending`; nothing while the server is away."""
        try:
            with self._client.pipeline(transaction=False) as ask:
                ask.xinfo_stream(self._stream)
                for _ in range(self._at_once):
                    ask.xpending(self._stream, next(self._names))
                about, *waiting = ask.execute()
        except redis.RedisError:
            return []
        found = [Sample(COUNT, float(about["groups"]), "groups")]
        if waiting:
            found.append(Sample(PENDING, float(min(each["pending"] for each in waiting)), "events"))
        return found


class CommandCosts:
    """Probes what commands have cost a server so far.

    Args:
        client: of the server.
        commands: their names, as INFO commandstats has them.
    """

    def __init__(self, client: Any, commands: Sequence[str]) -> None:
        self._client = client
        self._commands = list(commands)

    def read(self) -> list[Sample]:
        """`command.calls` and `command.us` of each; nothing where the server does not say."""
        try:
            stats = self._client.info("commandstats")
        except redis.RedisError:
            return []
        found = []
        for command in self._commands:
            stat = stats.get(f"cmdstat_{command}", {})
            labels = {"command": command}
            found.append(Sample(CALLS, float(stat.get("calls", 0)), "calls", labels))
            found.append(Sample(COST, float(stat.get("usec", 0)), "µs", labels))
        return found


# Verdicts ---------------------------------------------------------------------------------------------------


def groups_there(name: str, seen: GroupsSeen, looks: Sequence[tuple[int, float]]) -> Verdict:
    """Whether there were so many groups, from the load's beginning to its end.

    Args:
        looks: when it was asked, from the load's origin in nanoseconds, and how many there were.
    """
    return _throughout(name, looks, seen.load_ns, exactly=seen.groups, what="groups on the stream")


def pending_full(name: str, seen: GroupsSeen, looks: Sequence[tuple[int, float]]) -> Verdict:
    """Whether each group had so many entries pending, before the load, while it lasted, and after it.

    Args:
        looks: as for `groups_there`; the fewest entries of any group that was asked.
    """
    around = {"before the load": seen.least_before, "after it": seen.least_after}
    for when, least in around.items():
        if least is None:
            return Verdict(name=name, status="UNKNOWN", detail=f"what all groups had pending {when} is not known")
        if least < seen.pending:
            detail = f"a group had {least:,} entries pending {when}; {seen.pending:,} should be"
            return Verdict(name=name, status="FAIL", detail=detail)
    return _throughout(
        name, looks, seen.load_ns, at_least=seen.pending, what="entries pending in each group asked"
    )


def _throughout(
    name: str,
    looks: Sequence[tuple[int, float]],
    load_ns: int,
    *,
    what: str,
    exactly: int | None = None,
    at_least: int = 0,
) -> Verdict:
    within = sorted(look for look in looks if 0 <= look[0] <= load_ns)
    values = [value for _, value in within]
    wanted = at_least if exactly is None else exactly
    wrong = [value for value in values if (value < wanted if exactly is None else value != wanted)]
    if wrong:
        detail = f"{len(wrong):,} of {len(values):,} looks saw other than {wanted:,} {what}: {min(wrong):,.0f}"
        return Verdict(name=name, status="FAIL", detail=detail)
    times = [0, *(t_ns for t_ns, _ in within), load_ns]
    gap_ns = max(after - before for before, after in itertools.pairwise(times))
    if not values or gap_ns > SECOND_NS:
        gap_s = gap_ns / 1e9
        return Verdict(
            name=name, status="UNKNOWN", detail=f"nobody saw for {gap_s:.1f} s how many {what} there were"
        )
    detail = f"{len(values):,} looks saw {'' if exactly is not None else 'at least '}{min(values):,.0f} {what}"
    return Verdict(name=name, status="PASS", detail=f"{detail}; {wanted:,} should be")


def groups_read(name: str, seen: GroupsSeen) -> Verdict:
    """Whether so many groups were read, and the others were not."""
    if seen.trouble:
        return Verdict(name=name, status="UNKNOWN", detail=f"a reader ended early: {seen.trouble}")
    if seen.moved is None or seen.there is None:
        return Verdict(name=name, status="UNKNOWN", detail="what each group was given is not known")
    detail = (
        f"{seen.moved:,} of {seen.there:,} groups were given events and {seen.there - seen.moved:,} lagged; "
        f"{seen.read:,} should be read"
    )
    return Verdict(name=name, status="PASS" if seen.moved == seen.read else "FAIL", detail=detail)


def looks_at(history: History, reading: str) -> list[tuple[int, float]]:
    """When a reading was taken, and its value."""
    return [(each.t_ns, each.value) for each in history.readings(reading) if each.value is not None]


def premise_checkers(prefix: str, *, has_pending: bool) -> list[Checker]:
    """What finds whether the groups were as they should be."""
    names = {what: f"{prefix}.{what}" for what in ("groups_there", "groups_read", "pending_full")}

    def there(record: Record) -> Verdict:
        seen = record.evidence.value(SECTION, GroupsSeen)
        return groups_there(names["groups_there"], seen, looks_at(record.history, COUNT))

    def read(record: Record) -> Verdict:
        return groups_read(names["groups_read"], record.evidence.value(SECTION, GroupsSeen))

    def full(record: Record) -> Verdict:
        seen = record.evidence.value(SECTION, GroupsSeen)
        return pending_full(names["pending_full"], seen, looks_at(record.history, PENDING))

    found = [
        Checker(names["groups_there"], there, reads=(SECTION, TIMELINE)),
        Checker(names["groups_read"], read, reads=(SECTION,)),
    ]
    return [*found, Checker(names["pending_full"], full, reads=(SECTION, TIMELINE))] if has_pending else found
