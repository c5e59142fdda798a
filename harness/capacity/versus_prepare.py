"""From what was asked for to a comparison that can be conducted: sides, their servers, their loads, their names.

Whatever is wrong is said in one line before anything is measured: each side's server is started once, and asked
what it is. So what a server says of a directive that it does not know is said then, in its own words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from harness.capacity.open_pairs import Arrivals, OpenMeasure, OpenPair, Sent
from harness.capacity.pairs import LETTERS, ClosedPair, PairBench, Pairs, VersusRound, seed_of
from harness.capacity.sides import Known, Side, is_same, known, names_of
from harness.capacity.versus import Versus
from harness.capacity.versus_judged import SideParameters, VersusParameters, size_for
from harness.conduct.scenario import ParameterError, Stage
from harness.gate.looks import BenchOf
from harness.gate.metrics import METRICS
from harness.gate.rounds import Measure, Rounds
from harness.gate.setup import Setup
from harness.gate.side import SIDES
from harness.gate.side import Side as Place
from harness.host.clock import Clock
from harness.server.server import Server
from harness.system.named import system_named

OPEN_METRICS = ("response.p50", "response.p99", "response.p99.9")
# Of appends, each of which may be synced to a disk: rounds of half a minute would be too few.
TURN_S = 0.1
VersusCores = Literal["one", "apart", "all"]


class Loads(Protocol):
    """What can be sent to a side that is no system of somebody's own: OrderShop's appends."""

    def parsed(self, given: Mapping[str, str], *, has_rate: bool) -> dict[str, str]:
        """Parameters of a load as they are told: without those that are as they would be anyway.

        Raises:
            ParameterError: one that there is not, that cannot be, or that cannot be varied so.
        """
        ...

    def target(self, load: Mapping[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What a side opens for one operation after the other: `module:factory`, and what that is given."""
        ...

    def sent(self, load: Mapping[str, str], server: Server, producer: int, seed: int) -> Sent:
        """What is sent at a rate.

        Raises:
            ServerError: the server does not take what it needs.
        """
        ...


class VersusOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says.

    Attributes:
        sides: two or more.
        minutes, relevant, metrics, arrivals, aa: as in `VersusParameters`.
        rate_per_s: of the load; 0: one operation after the other.
        cores: None: what suits.
    """

    sides: tuple[Side, ...]
    minutes: float
    relevant: Mapping[str, float]
    metrics: tuple[str, ...]
    rate_per_s: float = 0.0
    arrivals: Arrivals = "constant"
    cores: VersusCores | None = None
    aa: bool = False


class OpenSetupOf(msgspec.Struct, frozen=True, kw_only=True):
    """A side's server, and what is sent to it at a rate."""

    setup: Setup
    side: Side
    loads: Loads
    rate_per_s: float
    connections: int
    seed: int

    def opened(self, clock: Clock) -> Server:
        """A fresh server."""
        return self.setup.opened(clock)

    def sent(self, server: Server, producer: int) -> Sent:
        """What is sent to it."""
        if not self.side.system:
            return self.loads.sent(self.side.load, server, producer, self.seed)
        system = system_named(self.side.system)
        return Sent(system.source(server, "append", producer), tuple(system.scripts))


def checked(options: VersusOptions) -> None:
    """See to it that there is something to compare.

    Raises:
        ParameterError: a metric that there is not, or two sides that are one.
        ServerError: no such program.
    """
    possible = OPEN_METRICS if options.rate_per_s else tuple(METRICS)
    for metric in (*options.metrics, *options.relevant):
        if metric not in possible:
            raise ParameterError(f"there is no metric {metric!r}; there are {', '.join(possible)}")
    for metric in options.relevant:
        size_for(metric, options.relevant)
    for at, side in enumerate(options.sides):
        for before, other in zip(LETTERS, options.sides[:at], strict=False):
            if is_same(side, other) and not options.aa:
                raise ParameterError(
                    f"{before.upper()} and {LETTERS[at].upper()} are one and the same side; "
                    "to measure how often that is called a difference, give --aa"
                )


def cores_of(options: VersusOptions) -> VersusCores:
    """Where rounds take place: as it was asked for, or as suits what is compared."""
    if options.cores is not None:
        return options.cores
    if options.rate_per_s:
        return "apart"
    # On one core threads of a server have nothing to share out.
    has_threads = any(text.startswith("io-threads ") for side in options.sides for text in side.config)
    return "all" if has_threads else "one"


def prepared(options: VersusOptions, loads: Loads, clock: Clock) -> tuple[Versus, VersusParameters]:
    """A comparison, and its parameters.

    Raises:
        ParameterError, ServerError: what is wrong with it, in one line.
    """
    checked(options)
    sides = [known(side, clock) for side in options.sides]
    names = names_of(sides)
    cores = cores_of(options)
    parameters = VersusParameters(
        sides=[
            SideParameters(
                name=name,
                server=each.side.server,
                durability=each.side.durability,
                config=list(each.side.directives),
                load=each.side.load,
                system=each.side.system,
            )
            for name, each in zip(names, sides, strict=True)
        ],
        minutes=options.minutes,
        cores=cores,
        relevant=dict(options.relevant),
        metrics=list(options.metrics),
        rate_per_s=options.rate_per_s,
        arrivals=options.arrivals,
        aa=options.aa,
    )

    @contextlib.contextmanager
    def opened(stage: Stage) -> Iterator[BenchOf[VersusRound]]:
        with contextlib.ExitStack() as stack:
            benches = {
                letter: _pair(
                    options,
                    loads,
                    cores,
                    (sides[0], each),
                    (names[0], name),
                    seed_of(stage.seed, at),
                    stack,
                    stage.clock,
                )
                for at, (letter, each, name) in enumerate(zip(LETTERS[1:], sides[1:], names[1:], strict=False))
            }
            yield Pairs(benches, server=described(sides), seed=stage.seed, clock=stage.clock)

    return Versus(opened), parameters


def described(sides: Sequence[Known]) -> dict[str, object]:
    """What a record says of the servers: of the first as of any, and of the others what they have otherwise."""
    first = sides[0].facts
    others = {
        letter: {name: value for name, value in each.facts.items() if first.get(name) != value}
        for letter, each in zip(LETTERS[1:], sides[1:], strict=False)
    }
    return {**first, **{f"of_{letter}": differing for letter, differing in others.items() if differing}}


def setup_of(side: Side, loads: Loads) -> Setup:
    """A side's server, and what is opened on it."""
    target, opened_with = loads.target(side.load)
    if side.system:
        target, opened_with = "harness.capacity.targets:of_system", (("name", side.system),)
    return Setup(
        target=target,
        options=opened_with,
        server=side.server,
        durability=side.durability,
        config=side.directives,
    )


def _pair(
    options: VersusOptions,
    loads: Loads,
    cores: VersusCores,
    pair: tuple[Known, Known],
    names: tuple[str, str],
    seed: int,
    stack: contextlib.ExitStack,
    clock: Clock,
) -> PairBench:
    """What measures a pair of sides, for as long as the stack is open."""
    setups: dict[Place, Setup] = {
        place: setup_of(each.side, loads) for place, each in zip(SIDES, pair, strict=True)
    }
    called: dict[Place, str] = dict(zip(SIDES, names, strict=True))
    if not options.rate_per_s:
        measure = Measure(
            target=setups["baseline"].target,
            packages=(),
            sources={},
            names=called,
            setups=setups,
            only_common=True,
            turn_s=TURN_S,
            seed=seed,
            cores="one" if cores == "one" else "all",
            metrics=options.metrics,
        )
        return ClosedPair(stack.enter_context(Rounds(measure, clock)))
    open_setups = {
        place: OpenSetupOf(
            setup=setups[place],
            side=each.side,
            loads=loads,
            rate_per_s=float(each.side.load.get("rate_per_s", options.rate_per_s)),
            connections=int(each.side.load.get("connections", "1")),
            seed=seed,
        )
        for place, each in zip(SIDES, pair, strict=True)
    }
    at_rate = OpenMeasure(
        setups=open_setups,
        names=called,
        arrivals=options.arrivals,
        seed=seed,
        cores="all" if cores == "all" else "apart",
    )
    return stack.enter_context(OpenPair(at_rate, clock))
