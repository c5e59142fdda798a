"""Rounds of several sides: each of the others is measured beside the first, in a round of a gate's own kind.

    A B         one pair a round: A and B
    A B C       two pairs a round, A and B, A and C, in an order that is drawn

With more sides than two the first is measured in each pair anew, and a ratio is always that of two sides that were
measured beside each other, within seconds. In a round of a pair, `baseline` is the first side, and `candidate`
the other.

Rejected: turns of all sides in one round. The more sides take turns, the further apart are those of two of them,
and the ratio of each pair is then as noisy as the machine is in that time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from harness.gate.looks import is_control
from harness.gate.rounds import Round, Rounds
from harness.gate.side import SIDES
from harness.host.clock import Clock

LETTERS = ("a", "b", "c", "d")


class SideLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the load of a side in a round, where it came at a rate.

    Attributes:
        due: arrivals.
        ok, failed, unknown, dropped: what became of them; their sum.
        due_s: how long arrivals were due.
        took_s: until the last answer.
        send_lag_us: how late the instrument sent, by quantile.
        response_us: its response in this round, by quantile.
    """

    due: int
    ok: int
    failed: int
    unknown: int
    dropped: int
    due_s: float
    took_s: float
    send_lag_us: dict[str, float]
    response_us: dict[str, float]

    @property
    def reached(self) -> float:
        """The rate at which arrivals were answered well, by that at which they were due."""
        return self.ok / self.due * self.due_s / max(self.took_s, self.due_s) if self.due else 0.0


class VersusRound(msgspec.Struct, frozen=True, kw_only=True):
    """What a round has measured, of each pair.

    Attributes:
        number: from 0.
        at_s: when it began, in seconds since 1970.
        took_s: how long it took, with everything.
        pairs: by the letter of the other side.
        loads: by the letter of the other side, of the first and the other, where the load came at a rate.
    """

    number: int
    at_s: float
    took_s: float
    pairs: dict[str, Round]
    loads: dict[str, tuple[SideLoad, SideLoad]] = {}

    @property
    def ratios(self) -> dict[str, float]:
        """Of each metric and control, the log ratio; of several pairs with the other side's letter in front."""
        many = len(self.pairs) > 1
        return {
            named(letter, metric, many=many): ratio
            for letter, found in self.pairs.items()
            for metric, ratio in found.ratios.items()
        }

    def values_ns(self, letter: str, metric: str) -> tuple[float, float]:
        """What the first and the other side took."""
        return self.pairs[letter].values_ns[metric]

    def background(self, letter: str) -> dict[str, float]:
        """The share of the others' time in which each side of a pair was at work, by its letter."""
        shares = self.pairs[letter].background
        letters = (LETTERS[0], letter)
        return {mine: shares[side] for mine, side in zip(letters, SIDES, strict=True) if side in shares}


def named(letter: str, metric: str, *, many: bool) -> str:
    """What a metric of a pair is called, where there are many pairs or one."""
    return f"{letter}.{metric}" if many else metric


def metrics_of(found: VersusRound) -> list[tuple[str, str, str]]:
    """Of each metric and control of a round: its name, the other side's letter, and its name within the pair."""
    many = len(found.pairs) > 1
    return [
        (named(letter, metric, many=many), letter, metric)
        for letter, pair in found.pairs.items()
        for metric in sorted(pair.ratios, key=is_control)
    ]


class PairBench(Protocol):
    """What measures a pair of sides."""

    def measure(self, number: int) -> tuple[Round, tuple[SideLoad, SideLoad] | None]:
        """Measure one round, and the loads of its sides where they came at a rate."""
        ...


class ClosedPair:
    """A pair as a gate measures it: one operation after the other.

    Args:
        rounds: measure it.
    """

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds

    def measure(self, number: int) -> tuple[Round, None]:
        """Measure one round."""
        return self._rounds.measure(number), None


class Pairs:
    """Measures rounds of all pairs.

    Args:
        benches: of each pair, by the letter of its other side.
        server: the first side's, in words.
        seed: of the order of the pairs.
        clock: for time.
    """

    def __init__(
        self, benches: Mapping[str, PairBench], *, server: Mapping[str, Any], seed: int, clock: Clock
    ) -> None:
        self.server = server
        self._benches = benches
        self._seed = seed
        self._clock = clock

    def measure(self, number: int) -> VersusRound:
        """Measure one round of each pair.

        Raises:
            SideError: a side cannot be measured.
            ServerError: a server cannot be started.
        """
        at_s, began_ns = self._clock.epoch_s(), self._clock.now_ns()
        found = {letter: self._benches[letter].measure(number) for letter in self._order(number)}
        return VersusRound(
            number=number,
            at_s=round(at_s, 3),
            took_s=round((self._clock.now_ns() - began_ns) / 1e9, 3),
            pairs={letter: found[letter][0] for letter in self._benches},
            loads={letter: loads for letter in self._benches if (loads := found[letter][1]) is not None},
        )

    def _order(self, number: int) -> Sequence[str]:
        letters = list(self._benches)
        drawn = np.random.default_rng([self._seed, number, 2]).permutation(len(letters))
        return [letters[at] for at in drawn]


def seed_of(seed: int, at: int) -> int:
    """The seed of a pair's coins: no two pairs have theirs in common.

    Args:
        seed: of the whole.
        at: the number of the pair; the first has the seed of the whole.
    """
    return seed if at == 0 else int(np.random.SeedSequence([seed, at]).generate_state(1)[0])
