"""What several commands ask for: their common options, each with its help, and scenarios and parameters by name.

A command is given one struct, whose fields are its arguments and options as typer knows them:

    class Asked(msgspec.Struct, frozen=True, kw_only=True):
        name: ScenarioArgument
        seed: SeedOption = 1

    @taking(Asked)
    def some_command(asked: Asked) -> int: ...

So what was asked for can be handed on whole. Typer by itself wants a parameter for each: fifteen for `run`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from harness.conduct.plan_file import PlanError, plan_text
from harness.conduct.scenario import Scenario
from harness.host.placement import PLANS, Plan
from harness.load.settings import SPIN_VARIABLE
from harness.record.parameters import nearest
from harness.server.named import VARIABLE
from harness.system.named import system_named
from harness.system.port import NotStartedError, SystemUnderTest

A = TypeVar("A", bound=msgspec.Struct)


class UsageError(Exception):
    """Something on the command line that cannot be; its text is one clear line."""


def taking(asked: type[A]) -> Callable[[Callable[[A], int]], Callable[..., int]]:
    """Make a command of a function: typer asks for each field of a struct, the function is given the struct."""
    fields = msgspec.structs.fields(asked)

    def command_of(function: Callable[[A], int]) -> Callable[..., int]:
        def command(**given: Any) -> int:
            return function(asked(**given))

        command.__doc__ = function.__doc__
        command.__annotations__ = {field.name: field.type for field in fields}
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if field.required else field.default,
                    annotation=field.type,
                )
                for field in fields
            ]
        )
        return command

    return command_of


def catalog() -> dict[str, Scenario]:
    """All scenarios, by name."""
    from scenarios.catalog import SCENARIOS

    return SCENARIOS


def completed(incomplete: str) -> list[str]:
    """The scenarios that a shell may complete a word to."""
    return [name for name in catalog() if name.startswith(incomplete)]


def chosen(names: Sequence[str]) -> list[Scenario]:
    """Scenarios by their names, each once; where none is named, all but those that have to be (`only_by_name`).

    Raises:
        UsageError: there is none of such a name.
    """
    known = catalog()
    for name in names:
        if name not in known:
            raise UsageError(f"there is no scenario {name!r}; {there_are(name, known)}")
    all_of_them = (name for name, each in known.items() if not getattr(each, "only_by_name", False))
    return [known[name] for name in dict.fromkeys(names or all_of_them)]


def check_profile(profile: str, scenarios: Sequence[Scenario]) -> None:
    """See to it that a profile is one of these scenarios'.

    Raises:
        UsageError: none of them has it.
    """
    known = dict.fromkeys(name for scenario in scenarios for name in scenario.profiles)
    if profile not in known:
        raise UsageError(f"there is no profile {profile!r}; {there_are(profile, known)}")


def there_are(name: str, names: Collection[str]) -> str:
    """Which there are, the one that was meant in front as far as it can be guessed."""
    near = nearest(name, names)
    return f"{f'did you mean {near}? ' if near else ''}there are {', '.join(names)}"


def asked_consumer(asked: Any, scenarios: Sequence[Scenario]) -> SystemUnderTest | None:
    """The consumer that a command line asks to have measured; None: it names none.

    Args:
        asked: with `consumer`, `promise`, `shape`, `probe` and `restart`.
        scenarios: in which.

    Raises:
        UsageError: a scenario that is not for consumers, or an option that cannot be.
    """
    given = {name: str(getattr(asked, name) or "") for name in ("promise", "shape", "probe", "restart")}
    if asked.consumer is None:
        if said := [name for name, value in given.items() if value]:
            raise UsageError(f"--{said[0]} says something of a consumer: give it with --consumer")
        return None
    able = [each.name for each in catalog().values() if getattr(each, "takes_consumers", False)]
    unable = [each.name for each in scenarios if each.name not in able]
    if unable:
        raise UsageError(f"--consumer is for {', '.join(able)}, and not for {', '.join(unable)}")
    # What most commands do not need.
    from harness.system.consumer import ConsumerSystem, consumer_command

    try:
        return ConsumerSystem(consumer_command(asked.consumer, **given))
    except ValueError as error:
        raise UsageError(str(error)) from error


def asked_cores(name: str) -> Plan:
    """The plan for cores of that name.

    Raises:
        UsageError: there is none.
    """
    for plan in PLANS:
        if plan == name:
            return plan
    raise UsageError(f"there is no plan {name!r} for cores; there are {', '.join(PLANS)}")


def asked_system(asked: Any, scenarios: Sequence[Scenario]) -> SystemUnderTest | None:
    """The system, or the consumer, that a command line asks to have measured; None: OrderShop.

    Args:
        asked: with `system`, and what `asked_consumer` wants.
        scenarios: in which.

    Raises:
        UsageError: a scenario that is not for systems, or one that cannot be had.
    """
    name = asked.system
    if asked.consumer is not None and name is not None:
        raise UsageError("--consumer and --system name two things to measure: give one of them")
    consumer = asked_consumer(asked, scenarios)
    if name is None:
        return consumer
    able = [each.name for each in catalog().values() if getattr(each, "takes_systems", False)]
    unable = [each.name for each in scenarios if each.name not in able]
    if unable:
        raise UsageError(f"--system is for {', '.join(able)}, and not for {', '.join(unable)}")
    try:
        return system_named(name)
    except NotStartedError as error:
        raise UsageError(str(error)) from error


def given_parameters(parameters: Sequence[str]) -> dict[str, str]:
    """Parameters by name, from words such as `rate_per_s=500`.

    Raises:
        UsageError: a word that is none.
    """
    pairs = [text.partition("=") for text in parameters]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise UsageError(f"a parameter is given as NAME=VALUE, not {name!r}")
    return {name: value for name, _, value in pairs}


def with_plan(given: dict[str, str], plan: Path | None, scenarios: Sequence[Scenario]) -> dict[str, str]:
    """Parameters, with the plan of faults of a file.

    Args:
        given: parameters by name.
        plan: the file; None: there is none.
        scenarios: that are run.

    Raises:
        UsageError: not one scenario that takes a plan, or a plan that cannot be played.
    """
    if plan is None:
        return given
    able = [each.name for each in catalog().values() if "plan" in each.parameters.__struct_fields__]
    if len(scenarios) != 1 or scenarios[0].name not in able:
        raise UsageError(f"--plan is for {', '.join(able)}: name exactly one scenario that takes it")
    try:
        return {**given, "plan": plan_text(plan)}
    except PlanError as error:
        raise UsageError(str(error)) from error


NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Names of scenarios. Default: all of them.", autocompletion=completed),
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        help=f"embedded, a server program, or a redis:// URL. Default: the value of {VARIABLE}, or embedded."
    ),
]
ServerFileOption = Annotated[
    Path | None,
    typer.Option(
        help="A file that holds that URL. Use it for a password, since every user can read a command line."
    ),
]
ProfileOption = Annotated[str, typer.Option(help="Length and size of the run: smoke, quick, standard or full.")]
ParamOption = Annotated[
    list[str] | None, typer.Option("--param", "-p", help="NAME=VALUE: sets a parameter. May be repeated.")
]
PlanOption = Annotated[
    Path | None,
    typer.Option(help="A TOML file of faults, for random_faults, in the place of those that are drawn."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn at random.")]
SystemOption = Annotated[
    str | None,
    typer.Option(help="What is measured: module:attribute of a system of your own. Default: OrderShop."),
]
ConsumerOption = Annotated[
    str | None,
    typer.Option(
        help="A command that starts a consumer of yours, in any language, to be measured in place of OrderShop's."
    ),
]
PromiseOption = Annotated[
    str,
    typer.Option(
        help="What that consumer promises: at_least_once, effectively_once or at_most_once; then, with commas "
        "between them, order=entity or order=stream, and recovers_within=10s."
    ),
]
ShapeOption = Annotated[
    Path | None, typer.Option(help="A TOML file with the fields of the events that it is given.")
]
ProbeOption = Annotated[
    str,
    typer.Option(
        help="A command that prints the ID of each event that has had its effect. Default: consumers post them."
    ),
]
RestartOption = Annotated[
    str,
    typer.Option(help="What becomes of a consumer that ends by itself: always, it is started again; or never."),
]
BudgetOption = Annotated[Path | None, typer.Option(help="A file of limits, such as slo.toml.")]
HistoryOption = Annotated[Path | None, typer.Option(help="Append the figures of the run to this file.")]
CoresOption = Annotated[
    str, typer.Option(help="Which cores the load, the server and the rest may use: all, one or apart.")
]
SpinOption = Annotated[
    float,
    typer.Option(
        min=0, max=1, envvar=SPIN_VARIABLE, help="Share of a core that the load may spend on waiting awake."
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, print the plan, start and write nothing.")
]
RunsOption = Annotated[Path, typer.Option(help="Directory in which run directories are made.")]
RunArgument = Annotated[Path, typer.Argument(help="A run directory.")]
