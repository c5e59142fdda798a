"""Turns: a load that goes to one stream for some seconds, then to another, and back.

    seconds    0    2    4    6    8          rounds of two turns, of which every second one is the other way about
    goes to    one  many many one             so that what drifts meets both alike

All is one load, with one schedule: what differs between the two is the stream, and who reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from harness.load.workload import Source

KINDS = ("one", "many")


class Turns(Struct, frozen=True, kw_only=True):
    """When the load goes to which of the two streams.

    Attributes:
        rate_per_s: all the time.
        turn_s: of each turn, in whole seconds.
        rounds: of two turns each.
    """

    rate_per_s: float
    turn_s: int
    rounds: int

    @property
    def load_s(self) -> int:
        """How long all of it lasts."""
        return 2 * self.rounds * self.turn_s

    @property
    def order(self) -> tuple[int, ...]:
        """Which of `KINDS` each turn is."""
        return tuple(kind for number in range(self.rounds) for kind in ((0, 1) if number % 2 == 0 else (1, 0)))

    def kind_at(self, t_ns: int) -> int:
        """Which of `KINDS` it is at a time after the load's origin; before and after it the nearest."""
        turn = t_ns // (self.turn_s * 1_000_000_000)
        return self.order[min(max(turn, 0), len(self.order) - 1)]

    def spans_s(self, kind: int) -> list[tuple[int, int]]:
        """From when to when it is a kind's turn, in seconds after the load's origin."""
        turns = [number for number, each in enumerate(self.order) if each == kind]
        return [(number * self.turn_s, (number + 1) * self.turn_s) for number in turns]

    def turn_of(self, number: int) -> int:
        """In which turn an event is due."""
        return min(int(number / (self.rate_per_s * self.turn_s)), len(self.order) - 1)

    def first_of(self, turn: int) -> int:
        """The first event that is due in a turn, or after the last one."""
        least = int(turn * self.rate_per_s * self.turn_s)
        return least if least / (self.rate_per_s * self.turn_s) >= turn else least + 1


class InTurns:
    """Commands by their numbers, each for the stream whose turn it is when it is due.

    Args:
        turns: when that is.
        sources: of the commands for each of `KINDS`; their operation and reply are those of the first.
    """

    def __init__(self, turns: Turns, sources: Sequence[Source]) -> None:
        self._turns = turns
        self._sources = tuple(sources)

    @property
    def operation(self) -> str:
        """What the commands are called in the record."""
        return self._sources[0].operation

    @property
    def reply(self) -> type | None:
        """Of what type a reply to them is that is no error."""
        return self._sources[0].reply

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        """`count` commands from number `first` on, each `step`-th of them, in RESP."""
        pieces = []
        while count > 0:
            turn = self._turns.turn_of(first)
            is_last = turn == len(self._turns.order) - 1
            left = count if is_last else -(-(self._turns.first_of(turn + 1) - first) // step)
            here = min(count, max(1, left))
            pieces.append(self._sources[self._turns.order[turn]].pack(first, here, step))
            first, count = first + here * step, count - here
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
