"""All scenarios, in the order in which a whole run takes them. Nobody keeps a list: each is found.

    ours       each file of this directory with a line `scenario = ...`; the others are not imported, since some
               bring Locust, which patches the process
    others'    what installed packages name as entry points of the group `ordershop_bench.scenarios`:

                   [project.entry-points."ordershop_bench.scenarios"]
                   haggle = "their_package.haggle:scenario"

A scenario says by its `place`, a number, where it comes; one that says nothing comes after those that do.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from harness.conduct.scenario import Scenario
from harness.host.plugins import PluginError, found

GROUP = "ordershop_bench.scenarios"
_MARK = re.compile(r"^scenario = ", re.MULTILINE)


def _all() -> Iterator[Scenario]:
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if _MARK.search(path.read_text(encoding="utf-8")):
            yield importlib.import_module(f"{__package__}.{path.stem}").scenario
    for name, each in found(GROUP).items():
        if getattr(each, "name", None) != name:
            raise PluginError(f"{GROUP}: {name!r} is no scenario of that name, but {each!r}")
        yield cast("Scenario", each)


def _place(scenario: Scenario) -> tuple[float, str]:
    return getattr(scenario, "place", float("inf")), scenario.name


def _by_name() -> dict[str, Scenario]:
    scenarios: dict[str, Scenario] = {}
    for each in sorted(_all(), key=_place):
        if scenarios.setdefault(each.name, each) is not each:
            raise PluginError(f"{GROUP}: there is a scenario {each.name!r} already")
    return scenarios


SCENARIOS: dict[str, Scenario] = _by_name()
