"""How far do consumers fall behind, how fast do they catch up, and how much can they bear?

Customers come and go while the CRM has a mail sent for each. Lag is sampled each 100 ms, in events and in seconds.
The load has one of three shapes, each `before_s`, `peak_s` and `after_s` long:

    peak_per_s  |      ________                |           ramp_ -^   |
                |     |        |               |         _ -          |
                |     | burst  |               |    _ -               |  steady
    base_per_s  |_____|        |_____________  |_ -                   |______________________

    burst     how far the CRM falls behind, and when it has caught up
    ramp      its capacity: the rate of arrivals at which lag starts to grow without bound. Where it never does,
              or producers cannot keep to the schedule before it does, the capacity is at least the highest rate
              that there was, and that is said
    steady    whether it bears one rate: how fast lag grows in the second half

What a consumer bears depends on `page`, how many events it reads at once of each stream, on `mail_delay_ms`, how
long a request to the mail service takes, and on how many `consumers` share the group's events.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness import checking
from harness.conduct.figures import figure_names
from harness.conducting import PUMPED, Findings, Stage
from harness.history import History, Mark
from harness.pacing import Pacer, Ramp, Steps, constant
from harness.recording import LatencyLog
from scenarios.account import ACCOUNT, add_account, add_lag, largest
from scenarios.commands import CONSUMERS, PRODUCERS
from scenarios.line import Delivery, Line, LineSettings
from scenarios.recovery import Applied, count_at, highest_rate_per_s, slope_per_s, takeoff_s

# Lag that grows by less than this share of the arrivals is not without bound.
LEAST_GROWTH_SHARE = 0.05
# Where appends are behind the schedule by more than this, they are no longer a load that rises in a straight line.
BEHIND_S = 0.1


class LagParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `lag`.

    Attributes:
        base_per_s: before and after the burst; where a ramp begins; all the time where it is steady.
        peak_per_s: in the burst; where a ramp ends.
        before_s: of load before the burst; a ramp or a steady load lasts for all three together.
        peak_s: of the burst.
        after_s: of load after the burst.
        shape: of the load: a burst, one steady rate, or a ramp that finds what the consumers can take.
        delivery: how the consumer subscribes: at_least_once as the shop does, at_most_once, or seed, from the end
            of the stream and without a position, as tutorials do; that one loses.
        durability: what a server that we start does before it answers: none, a log that is synced each second, or
            before each answer.
        consumers (consumers): that share the group's events.
        page (events): that a consumer reads at once of each stream.
        mail_delay_ms: that the mail service takes for a request.
        drain_timeout_s: that the consumers may take to catch up when the load is over.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.
    """

    base_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 1_000
    peak_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 12_000
    before_s: Annotated[float, Meta(gt=0, le=86_400)] = 4
    peak_s: Annotated[float, Meta(gt=0, le=86_400)] = 4
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 8
    shape: Literal["burst", "steady", "ramp"] = "burst"
    delivery: Delivery = "at_least_once"
    durability: Literal["none", "everysec", "always"] = "everysec"
    consumers: Annotated[int, Meta(ge=1, le=64)] = 1
    page: Annotated[int, Meta(ge=1, le=10_000)] = 500
    mail_delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 0
    drain_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 20

    @property
    def load_s(self) -> float:
        """How long the load is."""
        return self.before_s + self.peak_s + self.after_s

    @property
    def peak_ns(self) -> tuple[int, int]:
        """From when to when the load is at its highest, or rises: all of it but for a burst."""
        if self.shape != "burst":
            return 0, int(self.load_s * 1e9)
        return int(self.before_s * 1e9), int((self.before_s + self.peak_s) * 1e9)

    def pacer(self) -> Pacer:
        """The schedule."""
        if self.shape == "ramp":
            return Ramp(self.base_per_s, self.peak_per_s, self.load_s)
        if self.shape == "steady":
            return constant(self.base_per_s, self.load_s)
        return Steps(
            [
                constant(self.base_per_s, self.before_s),
                constant(self.peak_per_s, self.peak_s),
                constant(self.base_per_s, self.after_s),
            ]
        )


class Lag:
    """A burst, a ramp or a steady load against consumers that send mail."""

    name = "lag"
    summary = "how far do consumers fall behind in a burst, and how fast do they catch up?"
    parameters = LagParameters
    commands = PRODUCERS | CONSUMERS
    figures = figure_names(
        "lag",
        PUMPED,
        ACCOUNT,
        "1/s     applied_per_s.max {capacity,ramped_to}_per_s",
        "events/s growth_per_s",
        "s       drain_s",
    )
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

    def scheduled_s(self, parameters: LagParameters) -> float:
        """How long its load lasts."""
        return parameters.load_s

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Put the load on the line, wait for the drain, and account."""
        chosen: LagParameters = parameters
        settings = LineSettings(
            delivery=chosen.delivery,
            durability=chosen.durability,
            consumers=chosen.consumers,
            page=chosen.page,
            mail_delay_ms=chosen.mail_delay_ms,
        )
        with Line(stage, chosen.pacer(), settings) as line:
            findings.server = line.server.describe()
            line.run_load(findings)
            is_drained = line.wait_until_drained(chosen.drain_timeout_s)
            _conclude(chosen, line, findings, is_drained=is_drained)

    def lasting(self, parameters: LagParameters, duration_s: float, _: str) -> LagParameters:
        """The parameters with which the load takes some seconds, its parts as long beside each other as before."""
        by = duration_s / parameters.load_s
        return replace(
            parameters,
            before_s=parameters.before_s * by,
            peak_s=parameters.peak_s * by,
            after_s=parameters.after_s * by,
        )


class Ramped(Struct, frozen=True, kw_only=True):
    """What a ramp has shown.

    Attributes:
        capacity_per_s: the rate of arrivals at which lag started to grow without bound; None where it never did.
        highest_per_s: up to which rate appends kept to the schedule; what came after it says nothing.
    """

    capacity_per_s: float | None
    highest_per_s: float


def ramped(chosen: LagParameters, history: History, applied: Applied) -> Ramped:
    """What a ramp has shown, as far as appends kept to its schedule.

    Args:
        history: with readings of `lag.events`.
        applied: effects over time; what was appended by a time is what had its effect, and what waited.
    """
    rise_per_s2 = (chosen.peak_per_s - chosen.base_per_s) / chosen.load_s
    points: list[tuple[float, float]] = []
    kept = 0
    for reading in history.readings("lag.events"):
        at_s = reading.t_ns / 1e9
        if reading.value is None or not 0 <= at_s <= chosen.load_s:
            continue
        points.append((at_s, reading.value))
        due = chosen.base_per_s * at_s + rise_per_s2 * at_s * at_s / 2
        behind = due - count_at(applied, reading.t_ns) - reading.value
        if behind <= BEHIND_S * (chosen.base_per_s + rise_per_s2 * at_s):
            kept = len(points)
    # A stall that was made up for is no end; what comes after the last reading on schedule is none of the ramp.
    del points[kept:]
    highest_per_s = chosen.base_per_s + rise_per_s2 * (points[-1][0] if points else 0.0)
    off_s = takeoff_s(points, rise_per_s2=rise_per_s2, least_growth_per_s=LEAST_GROWTH_SHARE * highest_per_s)
    return Ramped(
        capacity_per_s=chosen.base_per_s + rise_per_s2 * off_s if off_s is not None else None,
        highest_per_s=highest_per_s,
    )


def _conclude(chosen: LagParameters, line: Line, findings: Findings, *, is_drained: bool) -> None:
    add_lag(findings)
    drain_s = _add_drain(chosen, line, findings)
    from_ns, to_ns = chosen.peak_ns
    highest = highest_rate_per_s(
        line.applied_at, over_ns=1_000_000_000, from_ns=from_ns, to_ns=to_ns + int((drain_s or 0) * 1e9)
    )
    findings.figure("applied_per_s.max", highest, "1/s")
    said = _burst_said(chosen, findings.history)
    if chosen.shape == "ramp":
        shown = ramped(chosen, findings.history, line.applied_at)
        findings.figure("capacity_per_s", shown.capacity_per_s, "1/s")
        findings.figure("ramped_to_per_s", shown.highest_per_s, "1/s")
        said = _ramp_said(shown)
    elif chosen.shape == "steady":
        slope = _growth_per_s(chosen, findings.history)
        findings.figure("growth_per_s", slope, "events/s")
        said = _steady_said(chosen, slope)
    log = LatencyLog(findings.intervals)
    findings.verdicts.append(
        checking.instrument_kept_up("lag.send_lag", log.total("append.send_lag"), chosen.send_lag_budget_ms * 1000)
    )
    add_account(findings, line, is_drained=is_drained, timeout_s=chosen.drain_timeout_s)
    caught = (
        "it did not catch up" if drain_s is None else f"it had caught up {drain_s:.2f} s after the {chosen.shape}"
    )
    if chosen.shape != "burst" and drain_s is not None:
        caught = f"it had caught up {drain_s:.2f} s after the load"
    findings.headline = f"{said}; {caught}; {line.ledger.account().lost:,} events were lost."


def _add_drain(chosen: LagParameters, line: Line, findings: Findings) -> float | None:
    """When all that had arrived by the end of the peak was applied, from then on."""
    to_ns = chosen.peak_ns[1]
    until = line.pacer.total
    if chosen.shape == "burst":
        until = int(chosen.base_per_s * chosen.before_s + chosen.peak_per_s * chosen.peak_s)
    caught_up_ns = next((at_ns for at_ns, count in line.applied_at if count >= until), None)
    drain_s = None
    if caught_up_ns is not None:
        drain_s = max(0.0, (caught_up_ns - to_ns) / 1e9)
        findings.history.add(Mark(t_ns=caught_up_ns, name=f"{chosen.shape} applied"))
    findings.figure("drain_s", drain_s, "s")
    return drain_s


def _growth_per_s(chosen: LagParameters, history: History) -> float | None:
    """How fast lag grows in the second half of a steady load; its first half fills batches."""
    from_ns, to_ns = int(chosen.load_s * 5e8), chosen.peak_ns[1]
    return slope_per_s(
        [
            (r.t_ns / 1e9, r.value)
            for r in history.readings("lag.events")
            if r.value is not None and from_ns <= r.t_ns <= to_ns
        ]
    )


def _burst_said(chosen: LagParameters, history: History) -> str:
    events, seconds = largest(history, "lag.events"), largest(history, "lag.seconds")
    if events is None:
        return "Lag was not seen"
    said = f"In a burst of {chosen.peak_per_s:,.0f}/s for {chosen.peak_s:g} s "
    said += f"the CRM fell {events:,.0f} events behind"
    return said if seconds is None else f"{said}, {seconds:.2f} s"


def _ramp_said(shown: Ramped) -> str:
    if shown.capacity_per_s is None:
        return f"The CRM bears at least {shown.highest_per_s:,.0f} events a second: the load never went beyond it"
    return f"The CRM bears {shown.capacity_per_s:,.0f} events a second: from there on lag grew without bound"


def _steady_said(chosen: LagParameters, growth_per_s: float | None) -> str:
    if growth_per_s is None:
        return "Lag was not seen"
    if growth_per_s > LEAST_GROWTH_SHARE * chosen.base_per_s:
        return f"At {chosen.base_per_s:,.0f}/s lag grew by {growth_per_s:,.0f} events a second"
    return f"At {chosen.base_per_s:,.0f}/s lag did not grow"


scenario = Lag()

if "." not in __name__ and __name__ != "__main__":  # Locust loads a file by itself, under the file's own name
    from harness.locust_run import locustfile

    LagUser = locustfile(scenario)
