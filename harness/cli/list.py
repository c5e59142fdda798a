"""What `shopbench list` prints: scenarios, with all that can be chosen for them, and their figures.

    append: how fast is an append, at a rate, for each durability?
        load   6 s in smoke, 30 s in quick, 3 min in standard, 30 min in full; the start and the drain come on top
        rate_per_s=2000                where most are due
                                       events a second, more than 0 and at most 1,000,000; smoke 500

Everything comes from the scenario itself: `harness.record.parameters` and `harness.check.figures`.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import typer

from harness.check.checkers import EXIT_PASS
from harness.check.figures import FigureName
from harness.cli.options import NamesArgument, catalog, chosen, taking
from harness.cli.shown import say
from harness.conduct.scenario import Scenario, parameters_of
from harness.record.parameters import Parameter, described, told

WIDTH = 115
_INDENT = " " * 4
_COLUMN = 32
# With these a meaning goes on where its unit has ended.
_GO_ON = frozenset({"of", "that", "from", "until", "as", "who", "in"})


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    names: NamesArgument = None
    figures: Annotated[
        bool, typer.Option("--figures", help="List the figures of the scenarios, with units, for budgets.")
    ] = False


@taking(Asked)
def list_command(asked: Asked) -> int:
    """List the scenarios and their parameters: meaning, unit and choices, and how long each profile takes."""
    for scenario in chosen(asked.names or list(catalog())):
        for line in figures_of(scenario) if asked.figures else overview(scenario):
            say(line)
    return EXIT_PASS


def overview(scenario: Scenario) -> Iterator[str]:
    """A scenario, how long it takes, and each of its parameters; as lines."""
    yield f"{scenario.name}: {scenario.summary}"
    yield from _wrapped("load", _loads(scenario))
    chosen = {profile: parameters_of(scenario, profile, {}) for profile in scenario.profiles}
    for parameter in described(scenario.parameters).values():
        default = getattr(chosen["quick"], parameter.name)
        given = [
            f"{profile} {told(value)}"
            for profile, of in chosen.items()
            if (value := getattr(of, parameter.name)) != default
        ]
        what = "; ".join(each for each in (_values(parameter), ", ".join(given)) if each)
        label = f"{parameter.name}={_plain(default)}"
        yield from _wrapped(label, f"{_meaning(parameter)} ({what})" if what else _meaning(parameter))


def figures_of(scenario: Any) -> Iterator[str]:
    """The figures that a scenario can make, a line a unit; `*` stands for what only a run knows."""
    names: Sequence[FigureName] = getattr(scenario, "figures", ())
    yield f"{scenario.name}: {scenario.summary}"
    for unit, group in itertools.groupby(sorted(names, key=lambda each: each.unit), lambda each: each.unit):
        for each in group:
            yield f"{_INDENT}{each.name}  ({unit})"


def _loads(scenario: Scenario) -> str:
    scheduled_s = getattr(scenario, "scheduled_s", None)
    if scheduled_s is None:
        return "no schedule: the duration depends on this machine"
    each = [
        f"{duration(scheduled_s(parameters_of(scenario, profile, {})))} in {profile}"
        for profile in scenario.profiles
    ]
    return f"{', '.join(each)}; the start and the drain come on top"


def duration(seconds: float) -> str:
    """A time, as one says it."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7_200 else f"{seconds / 3_600:.3g} h"


def _values(parameter: Parameter) -> str:
    if parameter.kind in {"choice", "yes or no"}:
        return f"one of {', '.join(parameter.choices)}"
    return parameter.bounds


def _meaning(parameter: Parameter) -> str:
    """What it means, after its unit: `seconds of load before the fault`, `events a second: where most are due`."""
    meaning = parameter.meaning.rstrip(".")
    if not parameter.unit or not meaning:
        return parameter.unit or meaning
    goes_on = meaning.partition(" ")[0] in _GO_ON
    return f"{parameter.unit} {meaning}" if goes_on else f"{parameter.unit}: {meaning}"


def _plain(value: Any) -> str:
    """A value as `--param` takes it."""
    return told(value).replace(",", "")


def _wrapped(label: str, text: str) -> Iterator[str]:
    head = f"{_INDENT}{label}".ljust(_COLUMN)
    if len(head) > _COLUMN:
        yield head
        head = " " * _COLUMN
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head if head.endswith(" ") else f"{head} ",
        subsequent_indent=" " * _COLUMN,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head.rstrip()]
