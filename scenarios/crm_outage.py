"""What happens when a consumer dies? Is every event accounted for?

Customers are created at a steady rate while the CRM has a mail sent for each. The CRM is killed (or stopped, or
frozen), stays away for a while, comes back, and drains. Then every event is accounted for by its ID.

`--param delivery=seed` subscribes as the seed does (from the end of the stream, without a position), so that its
loss can be set beside ours: all that was published while the CRM was away.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness import checking
from harness.conducting import Findings, ParameterError, ScenarioError, Stage
from harness.faults import Fault
from harness.history import Mark
from harness.pacing import constant
from harness.recording import LatencyLog
from scenarios.account import add_account, add_lag
from scenarios.line import Delivery, Line, LineSettings
from scenarios.recovery import Recovery, count_at, recovery


class OutageParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `crm_outage`."""

    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 1_000
    before_s: Annotated[float, Meta(gt=0, le=86_400)] = 5
    outage_s: Annotated[float, Meta(gt=0, le=86_400)] = 10
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 8
    fault: Literal["kill", "stop", "freeze"] = "kill"
    delivery: Delivery = "at_least_once"
    durability: Literal["none", "everysec", "always"] = "everysec"
    drain_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 20


class CrmOutage:
    """A consumer that dies under load and comes back."""

    name = "crm_outage"
    summary = "what happens when a consumer dies? is every event accounted for?"
    parameters = OutageParameters
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"rate_per_s": 200, "before_s": 1, "outage_s": 2, "after_s": 3, "send_lag_budget_ms": 250},
        "quick": {},
        "standard": {"before_s": 20, "outage_s": 30, "after_s": 30},
        "full": {"before_s": 60, "outage_s": 120, "after_s": 120},
    }

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Load, fault, outage, restart, drain; then the account."""
        chosen: OutageParameters = parameters
        pacer = constant(chosen.rate_per_s, chosen.before_s + chosen.outage_s + chosen.after_s)
        plan = [
            Fault(
                name=chosen.fault,
                target="crm",
                at_ns=int(chosen.before_s * 1e9),
                for_ns=int(chosen.outage_s * 1e9),
            )
        ]
        with Line(stage, pacer, LineSettings(delivery=chosen.delivery, durability=chosen.durability)) as line:
            findings.server = line.server.describe()
            line.run_load(findings, plan)
            is_drained = line.wait_until_drained(chosen.drain_timeout_s)
            _conclude(chosen, line, findings, is_drained=is_drained)

    def lasting(self, parameters: OutageParameters, duration_s: float, _: str) -> OutageParameters:
        """The parameters with which the load takes some seconds; what is longer or shorter is the time after.

        Raises:
            ParameterError: the outage does not fit.
        """
        after_s = duration_s - parameters.before_s - parameters.outage_s
        if after_s <= 0:
            raise ParameterError(
                f"crm_outage: {parameters.before_s:g} s before the fault and {parameters.outage_s:g} s of it "
                f"do not fit into {duration_s:g} s"
            )
        return replace(parameters, after_s=after_s)


def _conclude(chosen: OutageParameters, line: Line, findings: Findings, *, is_drained: bool) -> None:
    history = findings.history
    restart_ns = history.mark("restart")
    if restart_ns is None:
        raise ScenarioError("the load ended before the CRM was killed and asked to come back")
    fault = history.faults[0]
    # Arrivals due before the restart, less what had its effect by then, waited for the CRM.
    due_until_restart = int(chosen.rate_per_s * restart_ns / 1e9)
    backlog = max(0, due_until_restart - count_at(line.applied_at, restart_ns))
    found = recovery(line.applied_at, history, restart_ns=restart_ns, backlog_until=due_until_restart)
    if line.ledger.account().lost:
        # A count of effects says when a backlog was applied only where nothing of it is missing.
        found = replace(found, back_in_band_s=None, drained_s=None, drain_rate_per_s=None)
    for name, seconds in (
        ("first effect", found.first_effect_s),
        ("back in band", found.back_in_band_s),
        ("drained", found.drained_s),
    ):
        if seconds is not None:
            history.add(Mark(t_ns=restart_ns + int(seconds * 1e9), name=name))
    findings.figure("outage_s", (restart_ns - fault.start_ns) / 1e9, "s")
    findings.figure("backlog_events", backlog, "events")
    findings.figure("first_effect_s", found.first_effect_s, "s")
    findings.figure("back_in_band_s", found.back_in_band_s, "s")
    findings.figure("drained_s", found.drained_s, "s")
    findings.figure("drain_rate_per_s", found.drain_rate_per_s, "1/s")
    add_lag(findings)
    log = LatencyLog(findings.intervals)
    away_from_s, away_to_s = fault.start_ns / 1e9, restart_ns / 1e9
    for name, span in (
        ("before", (0.0, away_from_s)),
        ("away", (away_from_s, away_to_s)),
        ("after", (away_to_s, float("inf"))),
    ):
        latencies = log.total("append.response", *span)
        findings.figure(f"{name}.response.p50", latencies.quantile_us(0.5), "µs")
        findings.figure(f"{name}.response.p99", latencies.quantile_us(0.99), "µs")
    findings.verdicts.append(
        checking.instrument_kept_up(
            "crm_outage.send_lag", log.total("append.send_lag"), chosen.send_lag_budget_ms * 1000
        )
    )
    add_account(findings, line, is_drained=is_drained, timeout_s=chosen.drain_timeout_s)
    findings.headline = _headline(chosen, line, found, backlog, (restart_ns - fault.start_ns) / 1e9)


def _headline(chosen: OutageParameters, line: Line, found: Recovery, backlog: int, outage_s: float) -> str:
    account = line.ledger.account()
    verb = {"kill": "was killed and away", "stop": "was stopped", "freeze": "was frozen"}[chosen.fault]
    lost = "none was lost" if not account.lost else f"{account.lost:,} were lost"
    twice = (
        "none had its effect twice" if not account.duplicated else f"{account.duplicated:,} effects happened twice"
    )
    caught = "it did not catch up"
    if found.drained_s is not None:
        caught = f"it had caught up {found.drained_s:.2f} s after it came back"
    return f"The CRM {verb} for {outage_s:.1f} s; {backlog:,} events waited; {lost}, {twice}; {caught}."


scenario = CrmOutage()

if __name__ == "crm_outage":  # `locust -f scenarios/crm_outage.py` loads a file under its own name
    from harness.locust_run import locustfile

    CrmOutageUser = locustfile(scenario)
