"""All scenarios, in the order in which a whole run takes them."""

from __future__ import annotations

from harness.conduct.conduct import Scenario
from scenarios import (
    append,
    consumers,
    crm_outage,
    journey,
    lag,
    micro_benchmarks,
    random_faults,
    redis_crash,
    replay,
    retention,
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        append.scenario,
        replay.scenario,
        lag.scenario,
        crm_outage.scenario,
        random_faults.scenario,
        journey.scenario,
        micro_benchmarks.scenario,
        consumers.scenario,
        retention.scenario,
        redis_crash.scenario,
    )
}
PROFILES = ("smoke", "quick", "standard", "full")
