"""A load at a rate: what scenarios that can be probed make of it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.capacity.probing import chosen_by_search, probed_parameters
from harness.check.figures import unit_of
from harness.conduct.scenario import ParameterError, parameters_of
from scenarios.catalog import SCENARIOS

PROBED = [each for each in SCENARIOS.values() if hasattr(each, "probing")]


def chosen(scenario: Any, **given: str) -> Any:
    """Its parameters, as a search begins with them."""
    return parameters_of(scenario, "quick", {**scenario.probing.chosen, **given})


def test_which_can_be_probed() -> None:
    """Those with one load at one rate."""
    assert [each.name for each in PROBED] == ["append", "mix", "lag", "journey"]


@pytest.mark.parametrize("scenario", PROBED, ids=lambda each: each.name)
def test_a_load_at_a_rate(scenario: Any) -> None:
    """The rate and the length are as asked, and the load is steady; all else is as it was."""
    before = chosen(scenario)
    after = scenario.at_rate(before, 123.5, 8.0)
    assert getattr(after, scenario.probing.rate) == 123.5
    assert scenario.scheduled_s(after) == pytest.approx(8.0)
    assert after.shape == "steady"
    own = chosen_by_search(scenario, before)
    assert scenario.probing.rate in own
    assert {name: getattr(after, name) for name in probed_parameters(scenario, before)} == probed_parameters(
        scenario, before
    )


@pytest.mark.parametrize("scenario", PROBED, ids=lambda each: each.name)
def test_what_is_probed_is_measured(scenario: Any) -> None:
    """The rate is one of its parameters, and the operation one whose response it has figures of."""
    parameters = chosen(scenario)
    operation = scenario.probed_operation(parameters)
    load = operation.removeprefix(scenario.name).removeprefix("append").removeprefix("_")
    name = ".".join(filter(None, (scenario.name, load, "response.p99")))
    assert unit_of(scenario.figures, name) == "µs"
    assert scenario.probed_operation(parameters, "embedded") == operation


def test_several_loads_are_none() -> None:
    """All durabilities one after the other have no one rate."""
    scenario: Any = SCENARIOS["append"]
    with pytest.raises(ParameterError, match="each durability has a rate of its own"):
        scenario.at_rate(chosen(scenario, durability="all"), 100, 5)


@pytest.mark.parametrize("name", ["append", "mix", "journey"])
def test_another_shape_is_none(name: str) -> None:
    """A ramp has no one rate."""
    scenario: Any = SCENARIOS[name]
    with pytest.raises(ParameterError, match="the rate is steady here"):
        scenario.at_rate(chosen(scenario, shape="ramp"), 100, 5)


def test_what_a_sentence_says_of_the_conditions() -> None:
    """What an append has been through; in memory nothing is synced, and of a URL nobody knows."""
    scenario: Any = SCENARIOS["append"]
    parameters = chosen(scenario)
    assert scenario.probed_said(parameters, {"owned": True}) == "synced each second"
    in_memory = {"owned": True, "data_directory": {"is_synced": False, "file_system": "tmpfs"}}
    assert "nothing is synced" in scenario.probed_said(parameters, in_memory)
    assert scenario.probed_said(parameters, {"owned": False}) == "as the server is set"
    lag: Any = SCENARIOS["lag"]
    assert lag.probed_said(chosen(lag, consumers="2"), {}) == "with 2 consumers"
