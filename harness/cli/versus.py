"""`shopbench versus A B`: which of two servers, configurations, durabilities, loads or systems takes less time?"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer

from harness.cli.options import BudgetOption, HistoryOption, RunsOption, UsageError, given_parameters, taking
from harness.cli.recorded import budgets_of, check_history, conclude, conducted, held_to
from harness.cli.shown import Shown
from harness.conduct.interrupt import Interrupted, interruptible
from harness.server.server import Durability, ServerError

DURABILITIES = ("none", "everysec", "always")

ConfigOption = Annotated[
    list[str] | None, typer.Option(help="A directive that this side's server is started with. May be repeated.")
]
DurabilityOption = Annotated[str | None, typer.Option(help="Durability of this side's server.")]
SideParamOption = Annotated[
    list[str] | None, typer.Option(help="NAME=VALUE: what this side is sent. May be repeated.")
]
SideSystemOption = Annotated[str | None, typer.Option(help="Whose store this side is: module:attribute.")]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    servers: Annotated[
        list[str],
        typer.Argument(
            help="A server program for each side: embedded, a path, or an installed wheel with one. "
            "One alone is that of all sides, which then differ by their options."
        ),
    ]
    config: Annotated[
        list[str] | None,
        typer.Option(help="A directive for the servers of all sides, such as 'io-threads 4'. May be repeated."),
    ] = None
    durability: Annotated[str, typer.Option(help="Durability of all servers: none, everysec or always.")] = "none"
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="NAME=VALUE: what all sides are sent. May be repeated."),
    ] = None
    system: Annotated[
        str, typer.Option(help="Whose store all sides are: module:attribute. Default: OrderShop's.")
    ] = ""
    a_config: ConfigOption = None
    a_durability: DurabilityOption = None
    a_param: SideParamOption = None
    a_system: SideSystemOption = None
    b_config: ConfigOption = None
    b_durability: DurabilityOption = None
    b_param: SideParamOption = None
    b_system: SideSystemOption = None
    c_config: ConfigOption = None
    c_durability: DurabilityOption = None
    c_param: SideParamOption = None
    c_system: SideSystemOption = None
    d_config: ConfigOption = None
    d_durability: DurabilityOption = None
    d_param: SideParamOption = None
    d_system: SideSystemOption = None
    rate: Annotated[
        float,
        typer.Option(help="Appends a second, open loop. Default: one operation after the other, closed loop."),
    ] = 0
    arrivals: Annotated[str, typer.Option(help="How they come at a rate: constant, or poisson.")] = "constant"
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="Minutes that it may take.")] = 5
    relevant: Annotated[
        list[str] | None,
        typer.Option(help="METRIC=SIZE: from which difference on a metric matters, such as append.p50=10%."),
    ] = None
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric that counts. May be repeated. Default: all of them.")
    ] = None
    cores: Annotated[
        str | None,
        typer.Option(
            help="one: each round on one core. apart: the pump has a core of its own, at a rate. all: the system "
            "decides. Default: one, or apart at a rate, or all where a side has io-threads."
        ),
    ] = None
    aa: Annotated[
        bool, typer.Option("--aa", help="Two sides are alike on purpose: how often is that called a difference?")
    ] = False
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the coins, and of the load. Default: drawn at random.")
    ] = None
    budget: BudgetOption = None
    history: HistoryOption = None
    runs: RunsOption = Path("runs")


@taking(Asked)
def versus_command(asked: Asked) -> int:
    """Compare servers, configurations, durabilities, loads or systems, side by side: which takes less time?"""
    from harness.capacity.versus_prepare import prepared
    from harness.host.clock import SystemClock

    _check(asked)
    limits = budgets_of(asked.budget)
    check_history(asked.history)
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    try:
        with Shown(1) as shown, interruptible():
            versus, parameters = prepared(_options(asked), _loads(), SystemClock())
            record, ended = conducted(
                versus,
                parameters,
                shown,
                server=parameters.sides[0].server,
                seed=seed,
                runs=asked.runs,
                cores=parameters.cores,
            )
    except Interrupted as error:
        raise UsageError(f"the comparison was interrupted by {error}") from error
    except ServerError as error:
        raise UsageError(str(error)) from error
    record = held_to(record, limits)
    code = conclude(record, None if isinstance(ended, Interrupted) else ended, history=asked.history)
    if isinstance(ended, Interrupted):
        raise UsageError(f"the comparison was interrupted by {ended}")
    return code


def _loads() -> Any:
    from scenarios.versus_load import ShopLoads

    return ShopLoads()


def _check(asked: Asked) -> None:
    """Refuse what cannot be, before anything is started."""
    from harness.capacity.pairs import LETTERS
    from harness.server.open import kind_of
    from harness.server.own import OwnServer

    if len(asked.servers) > len(LETTERS):
        raise UsageError(f"versus compares 2 to {len(LETTERS)} sides, not {len(asked.servers)}")
    for server in asked.servers:
        if kind_of(server) is not OwnServer:
            raise UsageError(
                "versus starts a fresh server for each side of each round: give it server programs, and no URL"
            )
    if asked.arrivals not in {"constant", "poisson"}:
        raise UsageError(f"--arrivals is constant or poisson, not {asked.arrivals!r}")
    if not math.isfinite(asked.minutes):
        raise UsageError("--minutes must be a finite number")
    if not 0 <= asked.rate <= 1_000_000:
        raise UsageError(f"--rate is a number of appends a second, up to 1,000,000, not {asked.rate:g}")
    possible = ("apart", "all") if asked.rate else ("one", "all")
    if asked.cores is not None and asked.cores not in possible:
        how = "at a rate" if asked.rate else "without --rate"
        raise UsageError(f"--cores {how} is {' or '.join(possible)}, not {asked.cores!r}")


def _options(asked: Asked) -> Any:
    """What was asked for, as a comparison takes it.

    Raises:
        UsageError, ParameterError: what cannot be.
    """
    from harness.capacity.pairs import LETTERS
    from harness.capacity.sides import side_of
    from harness.capacity.versus_prepare import VersusOptions
    from harness.gate.prepare import sizes
    from harness.server.directives import DirectiveError

    own = {letter: _own(asked, letter) for letter in LETTERS}
    count = _sides(asked.servers, [letter for letter in LETTERS if any(own[letter].values())])
    servers = asked.servers * count if len(asked.servers) == 1 else asked.servers
    loads, sides = _loads(), []
    for letter, server in zip(LETTERS, servers, strict=False):
        mine = own[letter]
        durability = str(mine["durability"] or asked.durability)
        if durability not in DURABILITIES:
            raise UsageError(f"there is no durability {durability!r}; there are {', '.join(DURABILITIES)}")
        system = str(mine["system"] or asked.system)
        given = given_parameters([*(asked.param or []), *(mine["param"] or [])])
        _check_system(system, given)
        try:
            side = side_of(
                server,
                durability=cast("Durability", durability),
                config=[*(asked.config or []), *(mine["config"] or [])],
                load=loads.parsed(given, has_rate=bool(asked.rate)),
                system=system,
            )
        except DirectiveError as error:
            raise UsageError(str(error)) from error
        sides.append(side)
    return VersusOptions(
        sides=tuple(sides),
        minutes=asked.minutes,
        relevant=sizes(asked.relevant or []),
        metrics=tuple(asked.metric or ()),
        rate_per_s=asked.rate,
        arrivals=cast("Any", asked.arrivals),
        cores=cast("Any", asked.cores),
        aa=asked.aa,
    )


def _own(asked: Asked, letter: str) -> Mapping[str, Any]:
    """What was asked for of one side only."""
    return {name: getattr(asked, f"{letter}_{name}") for name in ("config", "durability", "param", "system")}


def _sides(servers: Sequence[str], named: Sequence[str]) -> int:
    """How many sides there are: as many as servers, or, with one server, up to the last that has an option.

    Raises:
        UsageError: an option of a side that there is not.
    """
    from harness.capacity.pairs import LETTERS

    last = max((LETTERS.index(letter) + 1 for letter in named), default=0)
    if len(servers) == 1:
        return max(2, last)
    if last > len(servers):
        letter = LETTERS[last - 1]
        raise UsageError(
            f"--{letter}-... is of a side {letter.upper()}, and only {len(servers)} servers are named"
        )
    return len(servers)


def _check_system(system: str, given: Mapping[str, str]) -> None:
    from harness.system.named import system_named
    from harness.system.port import NotStartedError

    if not system:
        return
    theirs = [name for name in given if name not in {"rate_per_s", "connections"}]
    if theirs:
        raise UsageError(f"{', '.join(theirs)}: what OrderShop is sent, and not {system}")
    try:
        system_named(system)
    except NotStartedError as error:
        raise UsageError(str(error)) from error
