"""A scenario: what it says of itself, where and how it runs, and its parameters by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from harness.conduct.findings import Findings
from harness.host.clock import Clock
from harness.load.driver import Driver, OwnProcesses
from harness.load.settings import SPIN_SHARE
from harness.record.parameters import nearest, refused, renamed
from harness.server.url import ServerUrl
from harness.system.port import SystemUnderTest


class ScenarioError(Exception):
    """A scenario that could not be carried out, for a reason outside of what it measures."""


class ParameterError(Exception):
    """A parameter that does not exist or is out of range."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a scenario runs.

    Attributes:
        server: `embedded`, a program, or the address of one that is there.
        port: for a server that we start; None for a free one.
        profile: `smoke`, `quick`, `standard` or `full`.
        seed: of everything that is drawn.
        directory: of the run; logs of services go there.
        clock: the one clock of the run.
        progress: told how far it is, as a share from 0 to 1, and what it is doing.
        driver: makes the load.
        cores: the plan by which processes were put on cores (`harness.host.placement`).
        spin_share: of a core, that the pump may spend on waiting awake.
        system: what is measured; None: OrderShop.
        config: directives that a server of ours is started with besides, as in a `redis.conf`.
    """

    server: ServerUrl | str
    port: int | None
    profile: str
    seed: int
    directory: Path
    clock: Clock
    progress: Callable[[float, str], None]
    driver: Driver = OwnProcesses()
    cores: str = "all"
    spin_share: float = SPIN_SHARE
    system: SystemUnderTest | None = None
    config: tuple[str, ...] = ()


class Scenario(Protocol):
    """Something that can be run and measured.

    It may also say what its report shows, and its record keeps that: `key_figures`, `sections` and `words`, as a
    `Run` has them. Where what is chosen names something that can be wrong by itself, such as a file,
    `look_at(parameters)` looks at it before anything starts, and raises a `ValueError`.
    """

    @property
    def name(self) -> str:
        """Its name on the command line and in the record."""
        ...

    @property
    def summary(self) -> str:
        """What it measures, in one sentence."""
        ...

    @property
    def parameters(self) -> type[msgspec.Struct]:
        """Its parameters, with their types and bounds."""
        ...

    @property
    def profiles(self) -> Mapping[str, Mapping[str, Any]]:
        """The parameters of each profile that differ from their defaults."""
        ...

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Run and measure; what is found goes into `findings` as soon as it is known.

        Verdicts and headline follow from the record when it is over (`harness.conduct.judging.Judged`).
        """
        ...


class LoadScenario(Scenario, Protocol):
    """A scenario whose load somebody else may drive, for a time that they choose."""

    def lasting(self, parameters: Any, duration_s: float, server: str) -> msgspec.Struct:
        """The parameters with which its load on a server takes some seconds.

        Raises:
            ParameterError: it cannot last that long.
        """
        ...


class Probing(msgspec.Struct, frozen=True, kw_only=True):
    """How a scenario is probed for its capacity (`harness.capacity`).

    Attributes:
        rate: the parameter that is the rate of its load.
        operations: what comes at that rate, in the plural.
        chosen: parameters that it is probed with where nobody says otherwise.
        has_lag: whether a lag in seconds is sampled meanwhile.
    """

    rate: str
    operations: str
    chosen: Mapping[str, str] = {}
    has_lag: bool = False


class ProbedScenario(Scenario, Protocol):
    """A scenario whose load can be put at a steady rate, for some seconds."""

    @property
    def probing(self) -> Probing:
        """How it is probed."""
        ...

    def at_rate(self, parameters: Any, rate_per_s: float, duration_s: float) -> msgspec.Struct:
        """The parameters with which its load comes steadily at a rate, for some seconds.

        Raises:
            ParameterError: with these parameters it is no single steady load.
        """
        ...

    def probed_operation(self, parameters: Any, server: ServerUrl | str = "embedded") -> str:
        """The operation of that load, as its latencies are recorded; those below it are parts of it.

        Args:
            parameters: of the load.
            server: that it is put on, as in a `Stage`.
        """
        ...

    def probed_said(self, parameters: Any, server: Mapping[str, Any]) -> str:
        """What a sentence says of the conditions, such as "synced each second"; empty: nothing.

        Args:
            parameters: of the load.
            server: as the record describes it.
        """
        ...


def declared(scenario: object) -> dict[str, Any]:
    """What a scenario says of its report, as fields of its `Run`."""
    sections = getattr(scenario, "sections", None)
    return {
        "key_figures": list(getattr(scenario, "key_figures", ())),
        "sections": None if sections is None else list(sections),
        "words": dict(getattr(scenario, "words", {})),
    }


def described_system(system: SystemUnderTest) -> Any:
    """What a record says of the system that was measured: its name, or more where it has more to say."""
    described = getattr(system, "described", None)
    return system.name if described is None else described()


def parameters_of(scenario: Scenario, profile: str, given: Mapping[str, str]) -> msgspec.Struct:
    """The parameters of a scenario: its profile's, with those that were given in their place.

    Raises:
        ParameterError: one that does not exist, has the wrong type, or is out of range.
    """
    known = {field.name for field in msgspec.structs.fields(scenario.parameters)}
    words = dict(given)
    for name, value in given.items():
        if name not in known:
            near = nearest(name, known)
            meant = f"did you mean {near}? it" if near else "it"
            raise ParameterError(
                f"{scenario.name} has no parameter {name!r}; {meant} has {', '.join(sorted(known))}"
            )
        words[name] = renamed(scenario.parameters, name, value)
        if why := refused(scenario.parameters, name, words[name]):
            raise ParameterError(f"{scenario.name}: {why}")
    chosen: dict[str, Any] = {**scenario.profiles.get(profile, {}), **words}
    try:
        parameters: msgspec.Struct = msgspec.convert(chosen, scenario.parameters, strict=False)
        if (look_at := getattr(scenario, "look_at", None)) is not None:
            look_at(parameters)
    except (msgspec.ValidationError, ValueError) as error:
        raise ParameterError(f"{scenario.name}: {error}") from error
    return parameters


def flags_of(scenario: LoadScenario) -> dict[str, str]:
    """The option of each parameter as Locust gets it: its name without the unit, where that is unambiguous."""
    names = [field.name for field in msgspec.structs.fields(scenario.parameters)]
    short = {name: name.removesuffix("_s").removesuffix("_per") for name in names}
    taken = list(short.values())
    return {
        name: (short[name] if taken.count(short[name]) == 1 else name).replace("_", "-")
        for name in names
        # Locust has options of its own for them: how many users there are, and the host.
        if name not in {"connections", "users", "gateway"}
    }
