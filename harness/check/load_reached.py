"""Did the load that was due reach the server, and if not: what was the limit? Frozen counts in, a verdict out.

A server that is full hides in an open loop as a queue that grows: latencies rise to seconds, and a report that
speaks of the rate that was due speaks of a load that never was. So, second by second:

    due by a second's end  ----------+        all but 2 % of what was due in the second has to be there,
    taken by the server    ----+     |        a little after its end (the allowance)
                               v     v
      D |          . -    short by D(end) - R(end + allowance)      more than 2 %: the second is short
        |      . - _ - R
        |  . _ -

The counts are cumulative, so that an arrival that is due at 0.9999 s and is there in the next second is no fault,
and an overload of a few percent is found once it has added up to more than the allowance holds. The allowance is
the probe's period and what the instrument may be late. Seconds in which a fault of the server lasted are excused,
with a second after it to settle; what is missing by then is not held against those that follow. Of a second in
which a fault begins what was due an allowance and a look before it is judged. Where a
look is missing, a second counts only if the looks around it leave no doubt; if more than one in ten is in doubt,
nothing is decided. A load that is meant to overload is judged up to `until_ns`.

A server whose books nobody could read (before Redis 7.0, where something trims; or a user who may not ask) is
judged by what it has acknowledged, which it has taken: `at_least`. That can show that a load has arrived, never
that it has not, so a second in which too little was acknowledged is one of which nobody can say.

What the limit was (`limit_of`) is asked of the seconds that were short, in this order; whether it was sent late,
of those with which it began, since what was sent late all at once is then answered late, too:

    sent late, rather than answered late?     yes: the instrument, or who kept it from its core       UNKNOWN
    did the server have its core (>= 0.9)?    yes: the server was full                                FAIL
    did it want its core, and wait for it?    yes: the host was the limit                             UNKNOWN
    did the instrument fall behind?           yes: nobody knows, who kept it may have kept the server UNKNOWN
    else                                      the server, waiting for what is no core: its disk       FAIL

The order of the questions is the point: a machine is full whenever a server on it is, so that a full machine alone
proves nothing against the server or for it. Where the kernel does not say who waits for a core, a server whose
core was not full on a machine that was full, or was given to others, was kept from working.

Rejected: rates, second against second. A backlog that drains has more than it should in one second and hides what
was missing in another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from harness.measure.curves import SECOND_NS, Curve, bounds
from harness.record.run import Verdict

LEAST_SHARE = 0.98
# After a fault, until what it has left is not the load's own affair.
SETTLE_NS = SECOND_NS
MOST_UNSEEN_SHARE = 0.1
# The last look before a fault is so old at the most.
_LOOK_NS = SECOND_NS // 10
# A shorter part of a second says nothing.
_LEAST_NS = SECOND_NS // 4
# From these shares on a core is full, a thread was kept from its core, a machine was full, or others' meanwhile.
FULL, KEPT_WAITING, MACHINE_FULL, TAKEN_AWAY = 0.9, 0.1, 0.95, 0.05

Place = Literal["server", "host", "instrument", "nobody knows"]


class LoadCounts(Struct, frozen=True, kw_only=True):
    """What was due, and what the server had taken of it, of one load.

    Attributes:
        offered_in_s: how many were due in each second of the schedule.
        scheduled_ns: the schedule's length.
        reached: looks at how many the server had taken, from the schedule's origin.
        is_final: whether the last look was taken when nothing more could come.
        allowance_ns: how long after the end of a second what was due in it may reach the server.
        excused: from when to when faults of the server lasted.
        until_ns: up to when the load is judged; None: all of it.
        answered_else: how many were answered, though not well, and so do not count as missing.
        at_least: whether `reached` is of what was acknowledged, and so no more than the least that there was.
    """

    offered_in_s: tuple[int, ...]
    scheduled_ns: int
    reached: tuple[tuple[int, float], ...]
    is_final: bool
    allowance_ns: int
    excused: tuple[tuple[int, int], ...] = ()
    until_ns: int | None = None
    answered_else: int = 0
    at_least: bool = False


class Surroundings(Struct, frozen=True, kw_only=True):
    """What was to be seen around a load in some seconds of it; None where nobody looked.

    Attributes:
        send_lag_us, service_us: at p98, of what was due in the seconds in which it began.
        server_core: the share of a core that the server had.
        server_wait: the share of the time for which it wanted a core and had none.
        host_busy, steal: shares of all cores' time, at work and given to others.
        throttled: the share of the time for which a quota kept our processes from working.
        instrument_core: the share of a core that the instrument had.
        instrument_wait: the share of the time for which it wanted one and had none.
        users_busy: the share of the users that were busy, where each does one thing at a time.
        fell_behind: whether the instrument was late by more than its budget, at p99 of all of the load.
    """

    send_lag_us: float | None = None
    service_us: float | None = None
    server_core: float | None = None
    server_wait: float | None = None
    host_busy: float | None = None
    steal: float | None = None
    throttled: float | None = None
    instrument_core: float | None = None
    instrument_wait: float | None = None
    users_busy: float | None = None
    fell_behind: bool = False


class Seconds(Struct, frozen=True, kw_only=True):
    """The seconds of a load, by what became of what was due in them; numbers of seconds from its origin.

    Attributes:
        short: too little of it reached the server in time.
        judged: that count, short ones included.
        unseen: of which nobody can say.
    """

    short: tuple[int, ...]
    judged: int
    unseen: int


class Limit(Struct, frozen=True):
    """What limited a load: where, and in words that follow "arrived:"."""

    place: Place
    words: str


def seconds_of(counts: LoadCounts) -> Seconds:
    """Which seconds of a load were short, by the rule above."""
    short: list[int] = []
    seen = unseen = 0
    forgiven = float(counts.answered_else)
    was_excused = False
    due_before = 0.0
    for second, (end_ns, due_by_end) in enumerate(_due_by(counts.offered_in_s, counts.scheduled_ns)):
        if counts.until_ns is not None and end_ns > counts.until_ns:
            break
        from_ns, due_by_start, due_before = second * SECOND_NS, due_before, due_by_end
        judged = _judged_until(counts, from_ns, end_ns)
        if judged is None:
            was_excused = True
            continue
        judged_ns, looked_ns = judged
        if was_excused:
            was_excused = False
            forgiven = max(forgiven, _missing_at(counts, from_ns, due_by_start))
        mine = (due_by_end - due_by_start) * (judged_ns - from_ns) / max(1, end_ns - from_ns)
        low, high = bounds(counts.reached, looked_ns)
        if high is None and counts.is_final:
            high = low
        if counts.at_least:
            high = None
        # Where few are due, 2 % of them is less than an event.
        may_miss = max(1.0, (1 - LEAST_SHARE) * mine) + forgiven
        if high is not None and due_by_start + mine - high > may_miss:
            short.append(second)
            seen += 1
        elif low is not None and due_by_start + mine - low <= may_miss:
            seen += 1
        else:
            unseen += 1
    return Seconds(short=tuple(short), judged=seen, unseen=unseen)


def _judged_until(counts: LoadCounts, from_ns: int, end_ns: int) -> tuple[int, int] | None:
    """Up to when a second can be judged, and when that is looked at; None: not at all.

    Where a fault begins, what was due an allowance before it is judged; or what was due in the first half of the
    time until then, where the allowance leaves less.
    """
    until_ns, looked_ns = end_ns, end_ns + counts.allowance_ns
    for start_ns, heal_ns in counts.excused:
        if from_ns < heal_ns + SETTLE_NS and end_ns + counts.allowance_ns > start_ns:
            room_ns = start_ns - _LOOK_NS - from_ns
            allowance_ns = min(counts.allowance_ns, room_ns // 2)
            until_ns = min(until_ns, start_ns - _LOOK_NS - allowance_ns)
            looked_ns = min(looked_ns, until_ns + allowance_ns)
    return (until_ns, looked_ns) if until_ns == end_ns or until_ns - from_ns >= _LEAST_NS else None


def _due_by(offered_in_s: Sequence[int], scheduled_ns: int) -> list[tuple[int, int]]:
    """The end of each second of a schedule, and how many were due by then."""
    ends = []
    so_far = 0
    for second, count in enumerate(offered_in_s, 1):
        so_far += count
        ends.append((min(second * SECOND_NS, max(scheduled_ns, (second - 1) * SECOND_NS)), so_far))
    return ends


def _missing_at(counts: LoadCounts, t_ns: int, due_by: float) -> float:
    """How many of those that were due by a moment were not there then."""
    low, _ = bounds(counts.reached, t_ns)
    return max(0.0, due_by - low) if low is not None else 0.0


def limit_of(around: Surroundings, *, refused: bool = False) -> Limit:
    """What the limit was, by what was to be seen in the seconds that were short."""
    # 1. Nothing late about the server: it was asked, and would not.
    if refused:
        return Limit("server", "the server refused the rest")
    lag, service = around.send_lag_us, around.service_us
    # 2. Sent late, rather than answered late.
    if lag is not None and service is not None and lag > service:
        return _limit_of_sending(around)
    if service is None and around.server_core is None:
        return Limit("nobody knows", "what limited it is not known")
    # 3. The server had its core to itself.
    if _share(around.server_core) >= FULL:
        return Limit("server", "the server's core was full")
    # 4. It wanted a core, and waited for it; or who had the machine is all that is known.
    kept = _kept_from_working(around)
    if kept:
        return Limit("host", kept)
    # 5. Who kept the instrument from its core may have kept the server, too: waiting is no evidence against it.
    if around.fell_behind:
        return Limit("nobody knows", "the instrument had fallen behind, so that what limited it is not known")
    if around.server_core is None:
        return Limit("server", "they waited at the server")
    return Limit("server", "they waited at the server, whose core was not full")


def _kept_from_working(around: Surroundings) -> str:
    """What kept a server from its core, in words; empty where nothing did."""
    taken = _taken_away(around)
    if around.server_core is None or around.server_wait is None:
        return taken
    wanted = around.server_core + around.server_wait
    if wanted >= FULL and around.server_wait >= KEPT_WAITING:
        return f"the server waited for a core: {taken or 'all cores of this machine were busy'}"
    # The kernel of a guest does not see all that its host takes from it.
    is_taken = _share(around.throttled) >= TAKEN_AWAY or _share(around.steal) >= 2 * TAKEN_AWAY
    return taken if is_taken else ""


def limit_of_steps(around: Surroundings) -> Limit:
    """What the limit of users was who do one thing at a time: whoever waits for an answer sends nothing."""
    if around.instrument_core is not None and around.instrument_core >= FULL:
        return Limit("instrument", "the instrument's own core was full")
    taken = _taken_away(around)
    if taken:
        return Limit("host", taken)
    if around.users_busy is not None and around.users_busy >= FULL:
        # With more users it would be told whether it is these or the shop.
        return Limit("nobody knows", "each user still waited for an answer when the next step was due")
    return Limit("nobody knows", "what limited it is not known")


def _limit_of_sending(around: Surroundings) -> Limit:
    if around.instrument_core is not None and around.instrument_core >= FULL:
        return Limit("instrument", "the instrument's own core was full")
    taken = _taken_away(around)
    waited = _share(around.instrument_wait) >= KEPT_WAITING
    if waited or (taken and around.instrument_wait is None) or _share(around.throttled) >= TAKEN_AWAY:
        return Limit("host", f"the instrument waited for a core: {taken or 'others had it'}")
    return Limit("instrument", "the instrument could not send it in time")


def _taken_away(around: Surroundings) -> str:
    """What kept processes from working, in words; empty where nothing is known to have."""
    if _share(around.throttled) >= TAKEN_AWAY:
        return "its quota of CPU time was used up"
    if _share(around.steal) >= TAKEN_AWAY:
        return "a part of this machine was given to others (steal)"
    if _share(around.host_busy) >= MACHINE_FULL:
        return "all cores of this machine were busy"
    return ""


def _share(value: float | None) -> float:
    return 0.0 if value is None else value


def load_reached(
    name: str,
    counts: LoadCounts,
    seconds: Seconds,
    limit: Limit,
    *,
    arrived: str = "reached the server",
    blind: str = "",
) -> Verdict:
    """Whether what was due reached the server, second by second.

    Args:
        seconds: as `seconds_of` has found them.
        limit: of the short ones; of no meaning where there are none.
        arrived: what it is called where it is not the server's own count.
        blind: why nobody could read the server's own count.
    """
    due = sum(counts.offered_in_s)
    because = f": {blind}" if blind else ""
    if counts.at_least and seconds.unseen:
        return _too_little_acknowledged(name, counts, seconds, because)
    if not due or not counts.reached or not seconds.judged:
        detail = f"it was not seen how much of the load had {arrived}{because}"
        if not due:
            detail = "nothing was due"
        elif not seconds.unseen:
            detail = "every second had a fault of the server, so there is none to judge by"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    in_all = f"{max(0.0, counts.reached[-1][1]):,.0f} of the {due:,} due operations had {arrived}"
    if counts.answered_else:
        in_all += f", and {counts.answered_else:,} more, though not well"
    if seconds.short:
        detail = (
            f"in {len(seconds.short)} of {seconds.judged} s less than {LEAST_SHARE:.0%} of the due operations "
            f"had {arrived} {counts.allowance_ns / 1e9:.2f} s later: {limit.words}; {in_all} in the end"
        )
        return Verdict(name=name, status="FAIL" if limit.place == "server" else "UNKNOWN", detail=detail)
    if seconds.unseen > MOST_UNSEEN_SHARE * (seconds.judged + seconds.unseen):
        of = seconds.judged + seconds.unseen
        detail = f"in {seconds.unseen} of {of} s nobody saw how much had {arrived}"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    later = f"{counts.allowance_ns / 1e9:.2f} s later"
    if counts.at_least:
        later, in_all = "by its end", f"{in_all}. By what it has acknowledged{because}"
    detail = (
        f"in each of {seconds.judged} s at least {LEAST_SHARE:.0%} of the due operations "
        f"had {arrived} {later}; {in_all}"
    )
    return Verdict(name=name, status="PASS", detail=detail)


def _too_little_acknowledged(name: str, counts: LoadCounts, seconds: Seconds, because: str) -> Verdict:
    """What is not acknowledged may have reached a server or not, and its own count is not there."""
    of, due = seconds.judged + seconds.unseen, sum(counts.offered_in_s)
    detail = (
        f"in {seconds.unseen} of {of} s less than {LEAST_SHARE:.0%} of the due operations "
        f"had been acknowledged by its end; it was not seen how many more had reached the server{because}; "
        f"in the end {counts.reached[-1][1]:,.0f} of the {due:,} due operations were acknowledged"
    )
    return Verdict(name=name, status="UNKNOWN", detail=detail)


def reached_by(curve: Curve, t_ns: int) -> float | None:
    """How many the server had taken by a moment, as far as a look tells; None where none does."""
    low, high = bounds(curve, t_ns)
    return low if low is not None else high
