"""Rounds until a look decides: when to look at them is planned before the first one, as shares of the time.

    measure(0), (1), ...  --ratios-->  judge at planned shares of the time  --> it can tell: the end
                                                                            --> it cannot: more rounds

What decides when a look comes is the clock, and never a ratio: to go on until something shows would find something
in sides that are the same sooner or later. Each look has its part of the error (`harness.gate.decision`).

What is asked of the rounds is up to whoever judges: a gate asks whether the candidate is slower, `shopbench
versus` whether one side is faster, slower, or the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from harness.gate.controls import CONTROLS
from harness.gate.decision import ALPHA, Spending, is_look
from harness.gate.side import SideError
from harness.host.clock import Clock


class Measured(Protocol):
    """A round that has been measured."""

    @property
    def number(self) -> int:
        """From 0."""
        ...

    @property
    def took_s(self) -> float:
        """How long it took, with everything."""
        ...

    @property
    def ratios(self) -> Mapping[str, float]:
        """Of each metric and control, the log ratio."""
        ...


class Judgement(Protocol):
    """What a look has found."""

    @property
    def is_final(self) -> bool:
        """Whether more rounds are not wanted."""
        ...


R = TypeVar("R", bound=Measured)
R_co = TypeVar("R_co", bound=Measured, covariant=True)
J = TypeVar("J", bound=Judgement)


class BenchOf(Protocol[R_co]):
    """What measures rounds."""

    @property
    def server(self) -> Mapping[str, Any]:
        """A server that they were measured on; empty where there is none, or none yet."""
        ...

    def measure(self, number: int) -> R_co:
        """Measure one round."""
        ...


class Looked(NamedTuple, Generic[R, J]):
    """How it came out.

    Attributes:
        judgement: of the last look.
        rounds: all of them.
        looks: at which numbers of rounds was looked.
        spent: at each look, the share of the errors that it might spend.
    """

    judgement: J
    rounds: list[R]
    looks: list[int]
    spent: list[float]


class Asked(NamedTuple):
    """What is asked of the rounds.

    Attributes:
        metrics: those that count; all that were measured where empty.
        named: others that somebody has named, and that have to be measured, too.
        questions: that are asked of each metric: whether it is slower, or also whether it is faster.
    """

    metrics: Sequence[str] = ()
    named: Collection[str] = ()
    questions: int = 1


def look(
    bench: BenchOf[R],
    judge: Callable[[Sequence[R], Sequence[str], Spending], J],
    asked: Asked,
    *,
    clock: Clock,
    limit_s: float,
    keep: Callable[[R], None] = lambda _: None,
    progress: Callable[[float, str], None] = lambda *_: None,
) -> Looked[R, J]:
    """Measure rounds until a look decides, or the time is over.

    Args:
        bench: measures them.
        judge: says what rounds say of metrics, with what it may spend.
        asked: of which metrics, and how much of each.
        limit_s: the time for all of it, in seconds.
        keep: gets each round as soon as it is there.
        progress: told how far it is.

    Raises:
        SideError: the code of a side cannot be measured, a metric was named that was not measured, or not every
            round has measured the same ones.
    """
    began_ns = clock.now_ns()
    rounds: list[R] = []
    looks: list[int] = []
    spent: list[float] = []
    counted: list[str] = []
    looked_at = 0.0
    while True:
        found = bench.measure(len(rounds))
        rounds.append(found)
        keep(found)
        counted = counted_in(found, asked.metrics, asked.named, counted)
        elapsed_s = (clock.now_ns() - began_ns) / 1e9
        is_last = elapsed_s + max(each.took_s for each in rounds[-3:]) > limit_s
        share = 1.0 if is_last else min(elapsed_s / limit_s, 1.0)
        progress(min(share, 1.0), f"round {len(rounds)}")
        if not is_last and not _is_worth_a_look(len(rounds), share, looked_at, len(counted) * asked.questions):
            continue
        looks.append(len(rounds))
        spent.append(share - looked_at)
        judgement = judge(rounds, counted, Spending(share=spent[-1]))
        looked_at = share
        if is_last or judgement.is_final:
            return Looked(judgement, rounds, looks, spent)


def _is_worth_a_look(rounds: int, share: float, looked_at: float, questions: int) -> bool:
    """Whether to look now: a look is due that could tell something, and leaves enough for the last one to do so.

    Where rounds are few, one that comes late would spend what the last one needs, and that could tell nothing.
    """
    is_last_able = 2.0**-rounds <= ALPHA * (1.0 - share) / max(1, questions)
    return is_last_able and is_look(rounds, share, looked_at, questions)


def is_control(metric: str) -> bool:
    """Whether a ratio is that of a control, also of one of several pairs of sides: `c.control.ping`."""
    return metric.endswith(CONTROLS)


def counted_in(
    found: Measured, metrics: Sequence[str], named: Collection[str], before: Collection[str]
) -> list[str]:
    """The metrics of a round that count, which are those of the rounds before, if there were any.

    Raises:
        SideError: as for `look`.
    """
    measured = [name for name in found.ratios if not is_control(name)]
    if not measured:
        raise SideError("the two sides have no metric in common, so there is nothing to compare")
    for metric in (*metrics, *named):
        if metric not in measured:
            raise SideError(f"there is no metric {metric!r}; there are {', '.join(measured)}")
    counted = list(dict.fromkeys(metrics)) or measured
    # What one round leaves out would drop out of the comparison, and the rest would pass without it.
    if before and (differing := set(counted) ^ set(before)):
        raise SideError(
            f"round {found.number + 1} has not measured what those before it have: "
            f"{', '.join(sorted(differing))} in one of them only"
        )
    return counted
