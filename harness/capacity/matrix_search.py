"""A cell of a matrix that is a search for capacity: what is asked, and how it is conducted.

[[capacity]]
p99 = "5 ms"        --> budgets, a load without a rate of its own --> a record of `shopbench capacity`
minutes = 3
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from harness.capacity.budget import LAG, budgets_of, budgets_said
from harness.capacity.capacity import CapacitySearch, parameters_for
from harness.capacity.matrix import Search
from harness.capacity.probing import chosen_by_search, probed_parameters
from harness.conduct.conduct import conduct
from harness.conduct.scenario import ProbedScenario, Scenario, Stage, parameters_of
from harness.record.parameters import described
from harness.record.run import Record

# The profile whose parameters a load has, but for its rate and length.
PROFILE = "quick"


def called(search: Search) -> str:
    """What a search is called that has no name.

    Raises:
        ValueError: a limit is no duration.
    """
    return f"capacity at {budgets_said(budgets_of(search.limits))}"


def refused_by(scenario: Scenario, search: Search) -> str:
    """Why a scenario's capacity cannot be searched so, in a line; empty where it can."""
    probing = getattr(scenario, "probing", None)
    if probing is None:
        return f"{scenario.name} has no one load at one rate, so it has no capacity"
    if not search.limits:
        return 'say what has to be kept, such as p99 = "5 ms": without a budget every rate would do'
    try:
        budgets_of(search.limits)
    except ValueError as error:
        return str(error).removeprefix("--")
    if LAG in search.limits and not probing.has_lag:
        return f"lag: {scenario.name} measures no lag"
    return ""


def load_of(scenario: Any, given: Mapping[str, str]) -> msgspec.Struct:
    """The parameters of a load that is searched: what the search chooses itself is left out of what was given.

    Args:
        scenario: one that can be probed.
        given: parameters, as a command line has them.

    Raises:
        ParameterError: one of them cannot be, or it is no single steady load.
    """
    usual = {**scenario.probing.chosen}
    whole = parameters_of(scenario, PROFILE, {**usual, **given})
    own = set(chosen_by_search(scenario, whole)) - {scenario.probing.rate, "shape"}
    return parameters_of(scenario, PROFILE, {**usual, **{k: v for k, v in given.items() if k not in own}})


def searched(
    scenario: ProbedScenario,
    given: Mapping[str, str],
    search: Search,
    stage: Stage,
    *,
    command: Sequence[str],
    command_of: Callable[[ProbedScenario, msgspec.Struct], Sequence[str]],
) -> tuple[Record, BaseException | None]:
    """Search, into the directory of a stage; the record, and what ended it early, or None.

    Args:
        given: parameters of the load, as a command line has them.
        command: of the matrix.
        command_of: says what would repeat a probe.
    """
    load = load_of(scenario, given)
    high = described(scenario.parameters)[scenario.probing.rate].high
    parameters = parameters_for(
        scenario.name,
        budgets_of(search.limits),
        start_per_s=getattr(load, scenario.probing.rate),
        limit_s=search.minutes * 60,
        precision=search.precision,
        probe_s=search.seconds,
        long_probe_s=2 * search.seconds,
    )
    conducted = CapacitySearch(
        scenario, load, command_of=command_of, most_per_s=math.inf if high is None else high
    )
    return conduct(conducted, parameters, stage, command=command, also=probed_parameters(scenario, load))
