"""The wait for the end of a drain: looks at what waits and at what moves, until `ending` says how it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis
from msgspec import Struct

from harness.account.event_ids import sequences_of
from harness.check.checkers import Ending
from harness.conduct.scenario import ScenarioError
from harness.system.telling import Telling, telling_of
from scenarios.line.ending import Look, Watched, ending, still_after_ns

if TYPE_CHECKING:
    from harness.arrays import Int64s
    from scenarios.line.line import Line

# For so long effects are looked for after the last that was waited for.
SETTLE_S = 0.5
# For so long no effect may come before what was acknowledged, and waits for nobody, counts as lost. Somebody
# else's consumer may acknowledge an event first, and have its effect on the way.
QUIET_S, QUIET_OF_OTHERS_S = 2.0, 5.0
ROUND_NS = 50_000_000
# A look at groups costs the server some commands; what is left still for seconds is seen soon enough by it.
LOOK_NS = 500_000_000
# From then on it is told that nothing moves.
TOLD_FROM_NS = 3_000_000_000


class Ended(Struct, frozen=True, kw_only=True):
    """How a drain has ended; before it has, the time is up for who does not wait.

    Attributes:
        ending: of it.
        still_s: for how long nothing had moved then.
        quiet_s: for how long there had been no effect.
        patience_s: for how long nothing may move before it is still.
    """

    ending: Ending = "time_up"
    still_s: float = 0.0
    quiet_s: float = 0.0
    patience_s: float = 0.0


def waited_out(line: Line, *, timeout_s: float, quiet_s: float | None) -> Ended:
    """Wait until a drain has ended, and say how.

    Args:
        line: whose load is over.
        timeout_s: that it may take while things move.
        quiet_s: for how long no effect may come before what waits for nobody is lost; None: as the system needs.

    Raises:
        ScenarioError: nobody can see it any more.
    """
    clock = line.stage.clock
    now_ns = clock.now_ns()
    deadline_ns = now_ns + int(timeout_s * 1e9)
    telling = telling_of(line.running)
    after_ns = still_after_ns(line.settings.claim_after_ms, telling.ready_s)
    is_of_others = telling.promise is not None
    quiet = _Quiet(line, quiet_s or (QUIET_OF_OTHERS_S if is_of_others else QUIET_S))
    watched = Watched.first(looked(line, Look()), now_ns)
    while True:
        if line.effects.lost_sight:
            raise ScenarioError(line.effects.lost_sight)
        consumers = line.running.consumers
        if not is_of_others and not any(map(line.running.is_running, consumers)):
            raise ScenarioError(f"{consumers[0]} has ended by itself; see services.log")
        now_ns = clock.now_ns()
        if now_ns - watched.at_ns >= LOOK_NS:
            watched = watched.then(looked(line, watched.look), now_ns)
        is_drained = quiet.has_come() or (watched.still_ns >= after_ns and quiet.is_nothing_left())
        how = ending(watched, is_drained=is_drained, after_ns=after_ns, deadline_ns=deadline_ns)
        if how is not None:
            return Ended(
                ending=how,
                still_s=watched.still_ns / 1e9,
                quiet_s=(watched.at_ns - watched.had_ns) / 1e9,
                patience_s=after_ns / 1e9,
            )
        line.stage.progress(0.95, f"draining: {line.unapplied:,} events behind{_said(watched, after_ns)}")
        clock.sleep_ns(ROUND_NS)


def _said(watched: Watched, after_ns: int) -> str:
    if watched.still_ns < TOLD_FROM_NS:
        return ""
    return f"; nothing has moved for {watched.still_ns / 1e9:.0f} s of {after_ns / 1e9:.0f} s"


class _Quiet:
    """Whether nothing waits any more, as one looks again and again.

    Nothing waits, where everything acknowledged has had its effect: the group has nothing undelivered and nothing
    pending, for whoever has not acknowledged an event may apply it again, and for `SETTLE_S` there was no other
    effect; or for `quiet_s` there was none, whatever the group says. Else: the group has nothing waiting (the
    tutorials' way has no group, and so nothing that waits), and for `quiet_s` no effect has come, nor was there
    one at a look since then: what is acknowledged has had its effect, and whoever looks for effects may be
    behind.
    """

    def __init__(self, line: Line, quiet_s: float) -> None:
        self._line = line
        self._quiet_s = quiet_s
        self._since_ns, self._count = line.stage.clock.now_ns(), line.effects.own
        self._idle_since_ns: int | None = None

    def has_come(self) -> bool:
        """Whether nothing waits, as far as is seen now."""
        line, now_ns = self._line, self._line.stage.clock.now_ns()
        if line.effects.own != self._count:
            self._since_ns, self._count = now_ns, line.effects.own
        quiet_ns = now_ns - self._since_ns
        is_all_there = not line.ledger.lost().size
        if is_all_there and quiet_ns > self._quiet_s * 1e9:
            return True
        if quiet_ns > (SETTLE_S if is_all_there else self._quiet_s) * 1e9:
            if not line.streams.nothing_waits():
                self._idle_since_ns = None
            elif self._idle_since_ns is None:
                self._idle_since_ns = now_ns
            else:
                return line.effects.nothing_new_ns > self._idle_since_ns
        return False

    def is_nothing_left(self) -> bool:
        """Whether nobody waits for an effect, or the group for nothing: where nothing moves, that is as good."""
        return not self._line.ledger.lost().size or self._line.streams.nothing_waits()


def looked(line: Line, before: Look) -> Look:
    """A look at all that can move on a line; what is refused for ever is no more waited for.

    Args:
        before: the look before; groups that cannot be seen now are as they were.
    """
    telling = telling_of(line.running)
    line.ledger.spare(poisoned_of(line, telling))
    try:
        groups = line.streams.looked(telling.poisoned)
    except redis.RedisError:
        groups = before.groups
    return Look(
        # Effects of what nobody has appended tell nothing of what waits; nor do they count among attempts.
        effects=line.effects.own,
        attempts=sum(count for outcome, count in telling.attempts.items() if outcome not in {"A", "P"}),
        groups=groups,
    )


def poisoned_of(line: Line, telling: Telling) -> Int64s:
    """The events of a line that are refused for ever, by number."""
    sequences = sequences_of(line.producer, telling.poisoned)
    return sequences[(sequences >= 0) & (sequences < line.ledger.capacity)]
