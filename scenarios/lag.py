"""How far do consumers fall behind in a burst, and how fast do they catch up?

Customers are created at a base rate, then at a peak rate for a while, then at the base rate again, while the CRM
has a mail sent for each. Lag is sampled each 100 ms, in events and in seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness import checking
from harness.conducting import Findings, Stage
from harness.history import Mark
from harness.pacing import Steps, constant
from harness.recording import LatencyLog
from scenarios.account import add_account, add_lag, largest
from scenarios.line import Delivery, Line, LineSettings
from scenarios.recovery import highest_rate_per_s


class LagParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `lag`."""

    base_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 1_000
    peak_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 12_000
    before_s: Annotated[float, Meta(gt=0, le=86_400)] = 4
    peak_s: Annotated[float, Meta(gt=0, le=86_400)] = 4
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 8
    delivery: Delivery = "at_least_once"
    durability: Literal["none", "everysec", "always"] = "everysec"
    drain_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 20


class Lag:
    """A burst against a consumer that sends mail."""

    name = "lag"
    summary = "how far do consumers fall behind in a burst, and how fast do they catch up?"
    parameters = LagParameters
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {
            "base_per_s": 200,
            "peak_per_s": 1_000,
            "before_s": 1,
            "peak_s": 1,
            "after_s": 2,
            "send_lag_budget_ms": 250,
        },
        "quick": {},
        "standard": {"before_s": 20, "peak_s": 20, "after_s": 40},
        "full": {"before_s": 60, "peak_s": 120, "after_s": 240},
    }

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Put the burst on the line, wait for the drain, and account."""
        chosen: LagParameters = parameters
        pacer = Steps(
            [
                constant(chosen.base_per_s, chosen.before_s),
                constant(chosen.peak_per_s, chosen.peak_s),
                constant(chosen.base_per_s, chosen.after_s),
            ]
        )
        with Line(stage, pacer, LineSettings(delivery=chosen.delivery, durability=chosen.durability)) as line:
            findings.server = line.server.describe()
            line.run_load(findings)
            is_drained = line.wait_until_drained(chosen.drain_timeout_s)
            _conclude(chosen, line, findings, is_drained=is_drained)

    def lasting(self, parameters: LagParameters, duration_s: float, _: str) -> LagParameters:
        """The parameters with which the burst, and what is around it, takes some seconds."""
        by = duration_s / (parameters.before_s + parameters.peak_s + parameters.after_s)
        return replace(
            parameters,
            before_s=parameters.before_s * by,
            peak_s=parameters.peak_s * by,
            after_s=parameters.after_s * by,
        )


def _conclude(chosen: LagParameters, line: Line, findings: Findings, *, is_drained: bool) -> None:
    add_lag(findings)
    peak_from_ns = int(chosen.before_s * 1e9)
    peak_to_ns = peak_from_ns + int(chosen.peak_s * 1e9)
    base_count = int(chosen.base_per_s * chosen.before_s + chosen.peak_per_s * chosen.peak_s)
    caught_up_ns = next((at_ns for at_ns, count in line.applied_at if count >= base_count), None)
    drain_s = None
    if caught_up_ns is not None:
        drain_s = max(0.0, (caught_up_ns - peak_to_ns) / 1e9)
        findings.history.add(Mark(t_ns=caught_up_ns, name="burst applied"))
    findings.figure("drain_s", drain_s, "s")
    capacity = highest_rate_per_s(
        line.applied_at, over_ns=1_000_000_000, from_ns=peak_from_ns, to_ns=peak_to_ns + int((drain_s or 0) * 1e9)
    )
    findings.figure("applied_per_s.max", capacity, "1/s")
    log = LatencyLog(findings.intervals)
    findings.verdicts.append(
        checking.instrument_kept_up("lag.send_lag", log.total("append.send_lag"), chosen.send_lag_budget_ms * 1000)
    )
    add_account(findings, line, is_drained=is_drained, timeout_s=chosen.drain_timeout_s)
    events, seconds = largest(findings.history, "lag.events"), largest(findings.history, "lag.seconds")
    behind = "Lag was not seen" if events is None else f"In a burst of {chosen.peak_per_s:,.0f}/s for "
    if events is not None:
        behind += f"{chosen.peak_s:g} s the CRM fell {events:,.0f} events behind"
    if seconds is not None:
        behind += f", {seconds:.2f} s"
    caught = "it did not catch up" if drain_s is None else f"it had caught up {drain_s:.2f} s after the burst"
    findings.headline = f"{behind}; {caught}; {line.ledger.account().lost:,} events were lost."


scenario = Lag()

if __name__ == "lag":  # `locust -f scenarios/lag.py` loads a file under its own name
    from harness.locust_run import locustfile

    LagUser = locustfile(scenario)
