"""All scenarios, in the order in which a whole run takes them."""

from __future__ import annotations

from harness.conducting import Scenario
from scenarios import append, crm_outage, lag, micro_benchmarks, replay

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        append.scenario,
        replay.scenario,
        lag.scenario,
        crm_outage.scenario,
        micro_benchmarks.scenario,
    )
}
PROFILES = ("smoke", "quick", "standard", "full")
