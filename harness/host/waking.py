"""How late this machine wakes a sleeper, as seen while it sleeps; and so how long to stay awake before a due time.

    sleep until   due - window      the kernel wakes us late: 5 µs on one machine, 100 µs on another
    wait awake    window            nothing is between us and the due time but reading the clock
    due

The window follows the lateness that is seen: it is an estimate of its p99, made anew with each sleep. Each later
sleep moves the estimate up by a tenth, each other one down by a hundredth of that, so that it rests where one
sleep in a hundred is later (a stochastic approximation of a quantile; Robbins and Monro, 1951).

Waiting awake costs CPU. The window is therefore at most a share of the gap between two due times, so that of any
stretch of a schedule no more than that share is waited out awake. Where there is one core only, nobody may wait
awake for as long as somebody else has work to do: `window_ns` is then 0 while replies are outstanding.

Rejected: a fixed window. It is too long where waking is quick, and too short where a virtual core has to be woken
by its host; on one machine it is both, by the hour.
"""

from __future__ import annotations

_FIRST_NS = 100_000
_LEAST_NS, _MOST_NS = 10_000, 2_000_000
_UP, _DOWN = 1.0 + 0.99 * 0.1, 1.0 - 0.01 * 0.1
# On one core whoever waits awake keeps all others waiting.
_MOST_ON_ONE_CORE_NS = 60_000


class Waking:
    """The window before a due time that is waited out awake.

    Args:
        share: of a core that may be spent on it, 0 to 1; 0: nothing is waited out awake.
        cores: that this process may use.
    """

    __slots__ = ("_most_ns", "_others_can_run", "_share", "awake_ns", "estimate_ns", "sleeps")

    def __init__(self, share: float, cores: int) -> None:
        self._share = share
        self._others_can_run = cores > 1
        self._most_ns = _MOST_NS if cores > 1 else _MOST_ON_ONE_CORE_NS
        self.estimate_ns = float(_FIRST_NS)
        self.sleeps = 0
        self.awake_ns = 0

    def slept(self, late_ns: int) -> None:
        """Take note of a sleep that ended by its time, so many nanoseconds after it."""
        self.sleeps += 1
        if late_ns > self.estimate_ns:
            self.estimate_ns = min(self.estimate_ns * _UP, _MOST_NS)
        else:
            self.estimate_ns = max(self.estimate_ns * _DOWN, _LEAST_NS)

    def window_ns(self, gap_ns: int, *, is_idle: bool) -> int:
        """How long before a due time to stay awake.

        Args:
            gap_ns: between that due time and the one before it.
            is_idle: whether no reply is outstanding.
        """
        if not (self._others_can_run or is_idle):
            return 0
        return int(min(self.estimate_ns, self._most_ns, self._share * gap_ns))
