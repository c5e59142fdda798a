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

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.findings import PUMPED, Findings
from harness.conduct.scenario import Probing, Stage
from harness.load.pacing import Pacer, Ramp, Steps, constant
from harness.locust.locustfile import locustfile
from harness.measure.curves import SECOND_NS, curve_of, interpolated
from harness.measure.timeline import History, Mark, Phase
from harness.record.run import KeyFigure, Record
from harness.server.url import ServerUrl
from scenarios.arrival import add_part
from scenarios.commands import CONSUMERS, PRODUCERS
from scenarios.line.account import ACCOUNT, add_account, add_lag, add_line_arrival, caught_up_ns, line_checkers
from scenarios.line.line import Line
from scenarios.line.ramp import LEAST_GROWTH_SHARE, ramped
from scenarios.line.recovery import highest_rate_per_s, slope_per_s
from scenarios.line.settings import Delivery, LineSettings
from scenarios.told import (
    Told,
    add_by_hand,
    by_hand_said,
    capital,
    has_arrived,
    limit_said,
    lost_said,
    never_caught_up_said,
    told_of,
)


class LagParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `lag`.

    Attributes:
        base_per_s: before and after the burst; where a ramp begins; all the time where it is steady.
        peak_per_s: in the burst; where a ramp ends.
        before_s: of load before the burst; a ramp or a steady load lasts for all three together.
        peak_s: of the burst.
        after_s: of load after the burst.
        shape: of the load: a burst, one steady rate, or a ramp that finds what the consumers can take.
        delivery: how the consumer subscribes: at_least_once as the shop does, at_most_once, or from_now, from
            the end of the stream and without a position, as tutorials do; that one loses.
        durability: what a server that we start does before it answers: none, a log that is synced each second, or
            before each answer.
        consumers (consumers): that share the group's events.
        page (events): that a consumer reads at once of each stream.
        mail_delay_ms: that the mail service takes for a request.
        drain_timeout_s: that the consumers may take to catch up when the load is over. Where nothing moves when
            it is up, they get more: until something moves, or nothing has for 3 claim times and 2 s.
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

    def reaches_ns(self, rate_per_s: float) -> int:
        """When a ramp comes to a rate."""
        rise = self.peak_per_s - self.base_per_s
        share = (rate_per_s - self.base_per_s) / rise if rise else 1.0
        return int(min(max(share, 0.0), 1.0) * self.load_s * 1e9)

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
    takes_consumers = True
    place = 30
    takes_systems = True
    summary = "how far do consumers fall behind in a burst, and how fast do they catch up?"
    parameters = LagParameters
    commands = PRODUCERS | CONSUMERS
    figures = figure_names(
        "lag",
        PUMPED,
        ACCOUNT,
        "1/s     applied_per_s.max {capacity,ramped_to}_per_s",
        "events/s growth_per_s",
        "1/s     burst.{offered,reached,answered,applied}_per_s",
        "s       drain_s burst.arrived_s",
    )
    probing = Probing(
        rate="base_per_s", operations="events", chosen={"shape": "steady", "base_per_s": "2000"}, has_lag=True
    )
    key_figures = (
        KeyFigure("lag.seconds.max", "Longest wait of an event"),
        KeyFigure("lag.events.max", "Most events waiting"),
        KeyFigure("lag.drain_s", "Time to drain"),
    )
    sections = ("latency", "throughput", "lag")
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {
            "base_per_s": 200,
            "peak_per_s": 1_000,
            "before_s": 1,
            "peak_s": 1,
            "after_s": 2,
            "send_lag_budget_ms": 250,
        },
        # What two cores take, pump, server and consumers together, with a margin. A ramp came to 24,200 and 26,500
        # a second on quiet ones, and to 8,200 to 9,800 where others kept both busy; a burst of 12,000, which it
        # was, then arrived at 8,000.
        "quick": {"peak_per_s": 5_000},
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
            line.wait_until_drained(chosen.drain_timeout_s)
            _conclude(chosen, line, findings)

    def checkers(self, parameters: LagParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - none is chosen
        """What finds its verdicts in a record of a run."""
        return line_checkers("lag", record=record)

    def headline(self, parameters: LagParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: LagParameters, duration_s: float, _: str) -> LagParameters:
        """The parameters with which the load takes some seconds, its parts as long beside each other as before."""
        by = duration_s / parameters.load_s
        return replace(
            parameters,
            before_s=parameters.before_s * by,
            peak_s=parameters.peak_s * by,
            after_s=parameters.after_s * by,
        )

    def at_rate(self, parameters: LagParameters, rate_per_s: float, duration_s: float) -> LagParameters:
        """The parameters with which events come steadily at a rate."""
        third = duration_s / 3
        return replace(
            parameters, shape="steady", base_per_s=rate_per_s, before_s=third, peak_s=third, after_s=third
        )

    def probed_operation(self, _: LagParameters, server: ServerUrl | str = "embedded") -> str:  # noqa: ARG002
        """The operation of the producers."""
        return "append"

    def probed_said(self, parameters: LagParameters, _: Mapping[str, Any]) -> str:
        """How many consumers there are."""
        return "with 1 consumer" if parameters.consumers == 1 else f"with {parameters.consumers} consumers"


def _conclude(chosen: LagParameters, line: Line, findings: Findings) -> None:
    add_lag(findings)
    drain_s = _add_drain(chosen, line, findings)
    from_ns, to_ns = chosen.peak_ns
    highest = highest_rate_per_s(
        line.applied_at, over_ns=1_000_000_000, from_ns=from_ns, to_ns=to_ns + int((drain_s or 0) * 1e9)
    )
    findings.figure("applied_per_s.max", highest, "1/s")
    until_ns = None
    if chosen.shape == "ramp":
        shown = ramped(chosen, findings.history, line.applied_at)
        findings.figure("capacity_per_s", shown.capacity_per_s, "1/s")
        findings.figure("ramped_to_per_s", shown.highest_per_s, "1/s")
        # A ramp is meant to go beyond what there is: up to there it has to arrive. What consumers bear is no limit
        # of arriving, so that the second in which they reach it is judged as a whole.
        until_ns = chosen.reaches_ns(shown.capacity_per_s or shown.highest_per_s)
        if shown.capacity_per_s is not None:
            until_ns = -(-until_ns // SECOND_NS) * SECOND_NS
    elif chosen.shape == "steady":
        findings.figure("growth_per_s", _growth_per_s(chosen, findings.history), "events/s")
    else:
        findings.history.add(Phase(name="burst", start_ns=from_ns, end_ns=to_ns))
        add_part(findings, findings.history, "burst", from_ns, to_ns)
    add_line_arrival(findings, line, budget_ms=chosen.send_lag_budget_ms, until_ns=until_ns)
    if chosen.shape == "burst":
        findings.figure("burst.arrived_s", _arrived_s(chosen, findings.history), "s")
    add_account(findings, line, timeout_s=chosen.drain_timeout_s)
    add_by_hand(findings)


def _arrived_s(chosen: LagParameters, history: History) -> float | None:
    """How long after a burst the server had taken all of it that it ever took; None where nobody saw."""
    to_ns = chosen.peak_ns[1]
    due = interpolated(curve_of(history, "offered"), to_ns, within_ns=SECOND_NS)
    if due is None:
        return None
    taken_ns = next((t_ns for t_ns, count in curve_of(history, "reached") if count >= due), None)
    return None if taken_ns is None else max(0.0, (taken_ns - to_ns) / 1e9)


def _add_drain(chosen: LagParameters, line: Line, findings: Findings) -> float | None:
    """When all that had arrived by the end of the peak was applied, from then on."""
    to_ns = chosen.peak_ns[1]
    caught_up = caught_up_ns(line, to_ns + 1)
    drain_s = None
    if caught_up is not None:
        drain_s = max(0.0, (caught_up - to_ns) / 1e9)
        findings.history.add(Mark(t_ns=caught_up, name=f"{chosen.shape} applied"))
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


def headline(chosen: LagParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    said = {"burst": _burst_said, "ramp": _ramp_said, "steady": _steady_said}[chosen.shape](chosen, told)
    return f"{said}{by_hand_said(told)}; {_caught_said(chosen, told)}; of the events {lost_said(told)}."


def _fell_behind(told: Told) -> str:
    events, seconds = told.value("events.max"), told.value("seconds.max")
    if events is None:
        return "lag was not seen"
    said = f"{told.consumer} fell {events:,.0f} events behind"
    return said if seconds is None else f"{said}, {seconds:.2f} s"


def _burst_said(chosen: LagParameters, told: Told) -> str:
    due = f"a burst of {chosen.peak_per_s:,.0f}/s for {chosen.peak_s:g} s"
    limit = limit_said(told, part="burst")
    if limit:
        return f"In a burst of {chosen.peak_s:g} s {limit[0].lower()}{limit[1:]}; {_fell_behind(told)}"
    if has_arrived(told) is None:
        due = f"a burst in which {chosen.peak_per_s:,.0f}/s were due for {chosen.peak_s:g} s"
    return f"In {due} {_fell_behind(told)}"


def _ramp_said(chosen: LagParameters, told: Told) -> str:  # noqa: ARG001 - as for the other shapes
    capacity, highest = told.value("capacity_per_s"), told.value("ramped_to_per_s")
    if capacity is not None:
        said = f"{capital(told.consumer)} can handle {capacity:,.0f} events a second"
        return f"{said}: from there on lag grew without bound"
    limit = told.limited_by.get("")
    why = (
        f"beyond that rate the load did not arrive in full: {limit}"
        if limit
        else "the load never went beyond that rate"
    )
    return f"{capital(told.consumer)} can handle at least {highest or 0:,.0f} events a second: {why}"


def _steady_said(chosen: LagParameters, told: Told) -> str:
    growth_per_s, limit = told.value("growth_per_s"), limit_said(told)
    if growth_per_s is None:
        grew = "lag was not seen"
    elif growth_per_s > LEAST_GROWTH_SHARE * chosen.base_per_s:
        grew = f"lag grew by {growth_per_s:,.0f} events a second"
    else:
        grew = "lag did not grow"
    if limit:
        return f"{limit}; of what arrived {grew}" if growth_per_s is not None else f"{limit}; {grew}"
    if has_arrived(told) is None:
        return f"{chosen.base_per_s:,.0f}/s were due, and it was not seen how many arrived; {grew}"
    return f"At {chosen.base_per_s:,.0f}/s {grew}"


def _caught_said(chosen: LagParameters, told: Told) -> str:
    drain_s = told.value("drain_s")
    since = "the burst" if chosen.shape == "burst" else "the load"
    if drain_s is None:
        return never_caught_up_said(told) or "the moment when it had caught up was not seen"
    arrived_s = told.value("burst.arrived_s")
    late = ""
    if limit_said(told) and arrived_s is not None:
        late = f"the last of it arrived {arrived_s:.2f} s after its end, and "
    return f"{late}it had caught up {drain_s:.2f} s after {since}"


scenario = Lag()
LagUser = locustfile(scenario, __name__)
