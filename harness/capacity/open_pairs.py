"""Rounds at a rate: two fresh servers, a pump for each, and short turns of the same load on one after the other.

    round    two fresh servers, two fresh pumps; which side comes first is drawn
    turns    A B B A  B A A B ..., a block of half a second or more each; before each turn the controls, as in a
             round of a gate. Neighbouring turns are a pair
    cores    apart: the pumps, of which one is at work at a time, have a core that is drawn for each round, and
             both servers the others: a pump that waits awake for what is due must not keep a server from its core

What is compared is the response: from when an append was due until its answer had arrived. So what a server lets
wait counts in full, and also in what is due after it.

    p50      of each pair of turns the log ratio, and the median of these
    p99      the mean of them, where a turn has answers enough for a p99; else as p99.9
    p99.9    from all turns of the round together: a turn has too few answers for it

A quantile of which even a round has too few answers is not compared (`harness.measure.sample_size`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np

from harness.capacity.open_side import OpenBlock, OpenTold
from harness.capacity.pairs import SideLoad
from harness.gate.controls import CONTROLS, opened_controls
from harness.gate.rounds import TIMEOUT_S, Round, order_of, turns
from harness.gate.side import SIDES, Side, SideError
from harness.host.child import Child, ChildError
from harness.host.clock import Clock
from harness.host.cores import core_of, kept_on, on_core, others_of
from harness.load.pacing import Pacer, Poisson, constant
from harness.load.settings import SPIN_SHARE, PumpSettings
from harness.load.workload import Source
from harness.measure.histogram import Histogram, highest_at, lowest_at
from harness.measure.sample_size import enough_samples
from harness.server.server import Server

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
# Of the instrument's own lateness: as every load tells it.
LATE = {"p50": 0.5, "p99": 0.99, "max": 1.0}
# So many turns a side has in a round, and how long they are together at least.
BLOCKS, ROUND_S = 8, 4.0
WARM_UP_S = 0.3

Arrivals = Literal["constant", "poisson"]


class Sent(msgspec.Struct, frozen=True):
    """What is sent to a server: commands, and the scripts that they call."""

    source: Source
    scripts: tuple[str, ...] = ()


class OpenSetup(Protocol):
    """A side's server, and what is sent to it."""

    @property
    def rate_per_s(self) -> float:
        """At which it is sent."""
        ...

    @property
    def connections(self) -> int:
        """Over how many connections."""
        ...

    def opened(self, clock: Clock) -> Server:
        """A fresh server.

        Raises:
            ServerError: it cannot be started.
        """
        ...

    def sent(self, server: Server, producer: int) -> Sent:
        """What is sent to it, by a producer that no other side has.

        Raises:
            ServerError: the server does not take what it needs.
        """
        ...


class OpenMeasure(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured, and how.

    Attributes:
        setups: of each side.
        names: of each side, what to call it in an error.
        arrivals: evenly, or independently of one another; the same for both sides of a pair of turns.
        seed: of the coins, and of the arrivals.
        cores: `apart`, or `all` wherever the system puts them.
        block_s: how long a turn is; 0: as long as a round wants.
        spin_share: of a core, that a pump may spend on waiting awake.
    """

    setups: Mapping[Side, OpenSetup]
    names: Mapping[Side, str]
    arrivals: Arrivals = "constant"
    seed: int = 1
    cores: Literal["apart", "all"] = "apart"
    block_s: float = 0.0
    spin_share: float = SPIN_SHARE

    @property
    def turn_s(self) -> float:
        """How long a turn is, of either side."""
        return self.block_s or ROUND_S / BLOCKS

    def pacer(self, side: Side, number: int, block: int) -> Pacer:
        """When a block of a round is due."""
        rate_per_s = self.setups[side].rate_per_s
        if self.arrivals == "constant":
            return constant(rate_per_s, self.turn_s)
        drawn = np.random.SeedSequence([self.seed, number, block]).generate_state(1)
        return Poisson(rate_per_s, self.turn_s, int(drawn[0]))


class _OpenSide:
    """One side of one round: its server, its pump, and what became of its blocks."""

    def __init__(self, child: Child, name: str) -> None:
        self._child = child
        self._name = name
        self._next = 0
        self.told: list[OpenTold] = []

    def block(self, pacer: Pacer) -> OpenTold:
        """Send a block.

        Raises:
            SideError: its pump cannot, or not one was answered.
        """
        try:
            self._child.send(OpenBlock(pacer, self._next))
            if not self._child.has_message(TIMEOUT_S + pacer.duration_ns / 1e9):
                raise SideError(f"{self._name}: its load did not come to its end")
            answer = self._child.receive()
        except ChildError as error:
            raise SideError(f"{self._name}: the pump's process ended") from error
        if not isinstance(answer, OpenTold):
            raise SideError(f"{self._name}: {answer}")
        self._next += answer.due
        if not answer.ok:
            raise SideError(
                f"{self._name}: none of {answer.due:,} was answered well ({answer.error or 'no answer'})"
            )
        return answer


class OpenPair:
    """Measures rounds of a pair at a rate.

    Args:
        measure: what, and how.
        clock: for time, and the waits of servers.
    """

    def __init__(self, measure: OpenMeasure, clock: Clock) -> None:
        self._measure = measure
        self._clock = clock
        self._stack = contextlib.ExitStack()
        try:
            self._controls, self._control_pid = opened_controls(self._stack, "embedded", clock)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> OpenPair:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, number: int) -> tuple[Round, tuple[SideLoad, SideLoad]]:
        """Measure one round, from scratch.

        Raises:
            SideError: a side does not take the load.
            ServerError: a server cannot be started, or does not take what is sent.
        """
        measure = self._measure
        at_s, began_ns = self._clock.epoch_s(), self._clock.now_ns()
        order = order_of(measure.seed, number)
        core = core_of("one" if measure.cores == "apart" else "all", measure.seed, number)
        taken: dict[Side, dict[str, list[float]]] = {side: {} for side in SIDES}
        with self._open(order, core, number) as sides:
            for side in order:
                sides[side].block(constant(measure.setups[side].rate_per_s, WARM_UP_S))
            for at, turn in enumerate(turns(BLOCKS)):
                side = order[turn]
                for name, values in self._controls.measure().items():
                    taken[side].setdefault(name, []).append(float(np.median(values)))
                # Both turns of a pair have the same arrivals.
                sides[side].told.append(sides[side].block(measure.pacer(side, number, at // 2)))
        found = {side: sides[side].told for side in SIDES}
        ratios, values_ns = compared_at_a_rate(found)
        for name in CONTROLS:
            pairs = zip(*(taken[side][name] for side in SIDES), strict=True)
            ratios[name] = float(np.median([math.log(other / first) for first, other in pairs]))
            values_ns[name] = float(np.median(taken["baseline"][name])), float(np.median(taken["candidate"][name]))
        return Round(
            number=number,
            at_s=round(at_s, 3),
            took_s=round((self._clock.now_ns() - began_ns) / 1e9, 3),
            first=order[0],
            ratios=ratios,
            values_ns=values_ns,
        ), (load_of(found["baseline"]), load_of(found["candidate"]))

    @contextlib.contextmanager
    def _open(self, order: Sequence[Side], core: int | None, number: int) -> Iterator[dict[Side, _OpenSide]]:
        measure, others = self._measure, others_of(core)
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(measure.setups[side].opened(self._clock)) for side in order]
            kept_on(others, self._control_pid, *(server.pid for server in servers))
            sides = {}
            for at, (side, server) in enumerate(zip(order, servers, strict=True)):
                setup = measure.setups[side]
                sent = setup.sent(server, 2 * number + at + 1)
                settings = PumpSettings(
                    url=server.url,
                    connections=setup.connections,
                    scripts=sent.scripts,
                    spin_share=measure.spin_share,
                    cores=() if core is None else (core,),
                )
                child = Child("harness.capacity.open_side:main", settings, sent.source)
                sides[side] = _OpenSide(stack.enter_context(contextlib.closing(child)), measure.names[side])
            with on_core(core):
                yield sides


def load_of(blocks: Sequence[OpenTold]) -> SideLoad:
    """What became of a side's load in a round."""
    send_lag, response = Histogram(), Histogram()
    for each in blocks:
        each.send_lag.add_to(send_lag)
        each.response.add_to(response)
    return SideLoad(
        due=sum(each.due for each in blocks),
        ok=sum(each.ok for each in blocks),
        failed=sum(each.failed for each in blocks),
        unknown=sum(each.unknown for each in blocks),
        dropped=sum(each.dropped for each in blocks),
        due_s=round(sum(each.due_s for each in blocks), 3),
        took_s=round(sum(max(each.took_s, each.due_s) for each in blocks), 3),
        send_lag_us={name: round(within(send_lag, q), 1) for name, q in LATE.items()},
        response_us={name: round(within(response, q), 1) for name, q in QUANTILES.items()},
    )


def compared_at_a_rate(
    blocks: Mapping[Side, Sequence[OpenTold]],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """The log ratio of each quantile of the response, and its value on both sides in nanoseconds.

    Args:
        blocks: of each side; those of one place are a pair.
    """
    ratios, values_ns = {}, {}
    by_block = [[each.response.dense() for each in blocks[side]] for side in SIDES]
    wholes = []
    for mine in by_block:
        whole = Histogram()
        for each in mine:
            whole.add(each)
        wholes.append(whole)
    for label, q in QUANTILES.items():
        if not all(enough_samples(q, whole.total) for whole in wholes):
            continue
        first, other = (within(whole, q) for whole in wholes)
        values_ns[f"response.{label}"] = first * 1000, other * 1000
        if all(enough_samples(q, each.total) for mine in by_block for each in mine):
            pairs = [math.log(within(o, q) / within(f, q)) for f, o in zip(*by_block, strict=True)]
            ratios[f"response.{label}"] = float(np.median(pairs) if q == 0.5 else np.mean(pairs))
        else:
            ratios[f"response.{label}"] = math.log(other / first)
    return ratios, values_ns


def within(histogram: Histogram, q: float) -> float:
    """A quantile in microseconds, by its place within the histogram's bucket; at least half a microsecond.

    A bucket is a microsecond wide where responses are short, which is more than what there may be between two
    sides; that many values fall into it, evenly as far as anybody knows, gives the quantile's place in it.

    Args:
        histogram: of values that were rounded to whole microseconds; not an empty one.
        q: 0 to 1.
    """
    counts = histogram.counts
    cumulated = np.cumsum(counts)
    rank = q * int(cumulated[-1])
    at = int(np.searchsorted(cumulated, rank))
    before = int(cumulated[at - 1]) if at else 0
    bucket = np.array([at])
    low, high = float(lowest_at(bucket)[0]) - 0.5, float(highest_at(bucket)[0]) + 0.5
    return max(0.5, low + (high - low) * float(rank - before) / max(1, int(counts[at])))
