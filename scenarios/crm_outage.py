"""What happens when a consumer dies, or what it needs? Is every event accounted for?

Customers come and go at a steady rate while the CRM has a mail sent for each. Something is broken, stays broken
for a while, heals, and the CRM drains what waits. Then every event is accounted for by its ID.

    before_s          | outage_s             | after_s                     | the rest of the drain
    producers go on  ------------------------------------------------------+
    lag in its band   | fault -> lag rises   | healed -> first effect -> drained, lag back in its band
                                             |<- starting ->|<- draining ->|     what waits is highest at the first

    fault             done to          and what goes with it
    kill, stop        the CRM          it is started again
    kill_in_batch     the CRM          mail takes 100 ms a request, so that the CRM nearly always waits for one and
                                       dies with events in hand; a verdict says whether it had any, whatever
                                       others of the group had. Mail still sends what it was asked for, and is
                                       asked for it again
    freeze            the CRM          its events may be claimed after a third of the outage: with two consumers
                                       the other one takes them, and the frozen one comes back as a zombie
    cut, cut_half_open, delay          the line to Redis or, `link=crm-mail`, to the mail service; through proxies
    slow              the mail service `delay_ms` a request
    poison            the CRM          one event that always fails: it has to be parked, and the rest to go on
    pause, restart_empty               Redis itself: these reach the producers, too

`--param delivery=from_now` subscribes as tutorials do (from the end of the stream, without a position), so that
its loss can be set beside ours: all that was published while the CRM was away. Of an outage in which events were
lost it is not told when it was drained.

What the producers notice is told as ratios, of their response then against before, by whole seconds, with an
interval (`harness.check.ratio`); `unharmed_within` is how many times as slow passes, `unharmed_draining_within`
while the CRM drains, when it takes its share of the machine; 0: not judged.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.findings import PUMPED, Findings
from harness.conduct.scenario import ParameterError, ScenarioError, Stage
from harness.load.pacing import constant
from harness.locust.locustfile import locustfile
from harness.nemesis.faults import fault_kinds
from harness.nemesis.kind import FaultKind
from harness.nemesis.plan import Fault
from harness.record.run import KeyFigure, Record
from harness.server.open import kind_of
from scenarios.commands import CONSUMERS, PRODUCERS
from scenarios.line.account import ACCOUNT, add_account, add_line_arrival, line_checkers
from scenarios.line.line import Line
from scenarios.line.settings import Delivery, LineSettings
from scenarios.line.targets import TARGETS, target_of
from scenarios.outage.drain import add_recovery, drain_of
from scenarios.outage.fault import in_hand, in_hand_checker, planned_fault, watching_in_hand
from scenarios.outage.producers import add_producers, unharmed_checker
from scenarios.told import (
    Told,
    add_by_hand,
    arrived_said,
    by_hand_said,
    capital,
    lost_said,
    never_caught_up_said,
    told_of,
    twice_said,
)

if TYPE_CHECKING:
    Way = str
else:
    # Every kind of fault that the line has a target for, whoever has added it.
    Way = Literal[tuple(name for name, kind in fault_kinds().items() if target_of(kind))]
Link = Literal["crm-redis", "crm-mail"]

# How long mail takes where a kill is to hit in the middle of a batch.
IN_BATCH_MAIL_MS = 100.0
CLAIM_AFTER_MS = 30_000


class OutageParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `crm_outage`.

    Attributes:
        rate_per_s: all the time.
        before_s: of load before the fault.
        outage_s: from the fault to its healing.
        after_s: of load after it.
        fault: what is broken, and how.
        link: the line that is cut or delayed, where the fault is one of a line.
        delay_ms: by how much a line is delayed, or what mail takes where it is slow.
        delivery: how the consumer subscribes: at_least_once as the shop does, at_most_once, or from_now, from
            the end of the stream and without a position, as tutorials do; that one loses.
        durability: what a server that we start does before it answers: none, a log that is synced each second, or
            before each answer.
        consumers (consumers): that share the group's events.
        page (events): that a consumer reads at once of each stream.
        mail_delay_ms: that the mail service takes for a request.
        claim_after_ms: that a consumer is silent before others take over what it has in hand; 0: 30 s, or a third
            of the outage where it is frozen.
        idempotent: whether the mail service knows what it has been asked for before.
        drain_timeout_s: that the consumers may take to catch up when the load is over. Where nothing moves when
            it is up, they get more: until something moves, or nothing has for 3 claim times and 2 s.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.
        unharmed_within (times): as slow as before, at p50 and p99, producers may become while the consumer is
            away; 0: not judged.
        unharmed_draining_within (times): the same while it drains.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 1_000
    before_s: Annotated[float, Meta(gt=0, le=86_400)] = 9
    outage_s: Annotated[float, Meta(gt=0, le=86_400)] = 10
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 8
    fault: Way = "kill"
    link: Link = "crm-redis"
    delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 200
    delivery: Delivery = "at_least_once"
    durability: Literal["none", "everysec", "always"] = "everysec"
    consumers: Annotated[int, Meta(ge=1, le=64)] = 1
    page: Annotated[int, Meta(ge=1, le=10_000)] = 500
    mail_delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 0
    claim_after_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 0
    idempotent: bool = True
    drain_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 20
    unharmed_within: Annotated[float, Meta(ge=0, le=1_000_000)] = 3
    unharmed_draining_within: Annotated[float, Meta(ge=0, le=1_000_000)] = 30

    @property
    def kind(self) -> FaultKind:
        """What is done."""
        return fault_kinds()[self.fault]

    @property
    def target(self) -> str:
        """What it is done to."""
        return target_of(self.kind, self.link) or ""

    @property
    def watches_in_hand(self) -> bool:
        """Whether the fault is about what the consumer that is broken has in hand."""
        return self.kind.in_hand in {"hit", "kept"} and self.delivery == "at_least_once"

    def settings(self) -> LineSettings:
        """The line that the fault needs."""
        mail_delay_ms, claim_after_ms = self.mail_delay_ms, self.claim_after_ms or CLAIM_AFTER_MS
        if self.kind.in_hand == "hit":
            mail_delay_ms = max(mail_delay_ms, IN_BATCH_MAIL_MS)
        if self.kind.in_hand == "kept" and not self.claim_after_ms:
            claim_after_ms = math.ceil(self.outage_s * 1000 / 3)
        return LineSettings(
            delivery=self.delivery,
            durability=self.durability,
            consumers=self.consumers,
            page=self.page,
            claim_after_ms=claim_after_ms,
            mail_delay_ms=mail_delay_ms,
            is_idempotent=self.idempotent,
            has_links=TARGETS[self.target].is_link,
        )

    def planned(self) -> Fault:
        """The one fault of the run."""
        return Fault(
            name=self.kind.done_as,
            target=self.target,
            at_ns=int(self.before_s * 1e9),
            for_ns=int(self.outage_s * 1e9),
            options=self.kind.given_ms(self.delay_ms),
        )


class CrmOutage:
    """Something that a consumer needs breaks under load and heals."""

    name = "crm_outage"
    takes_consumers = True
    place = 40
    takes_systems = True
    summary = "a consumer is killed under load: is every event accounted for, and how long does recovery take?"
    parameters = OutageParameters
    commands = PRODUCERS | CONSUMERS
    figures = figure_names(
        "crm_outage",
        PUMPED,
        ACCOUNT,
        "s       {outage,detected,first_effect,back_in_band,drained,draining,caught_up,predicted_drain}_s",
        "events  backlog_events backlog_at_restart_events in_hand_events",
        "1/s     drain_rate_per_s",
        "event_seconds excess_lag_event_s",
        "share   prediction_error",
        "µs      {before,away,draining,after}.response.{p50,p99}",
        "times   {away,draining}.response.{p50,p99}_ratio{,.low,.high}",
    )
    key_figures = (
        KeyFigure("crm_outage.backlog_events", "Events that waited"),
        KeyFigure("crm_outage.lost", "Events lost"),
        KeyFigure("crm_outage.drained_s", "Drained after the restart"),
    )
    sections = ("latency", "throughput", "lag", "events")
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        # Too short to judge what producers notice: there is a second of each.
        "smoke": {
            "rate_per_s": 200,
            "before_s": 1,
            "outage_s": 2,
            "after_s": 3,
            "send_lag_budget_ms": 250,
            "unharmed_within": 0,
            "unharmed_draining_within": 0,
        },
        "quick": {},
        "standard": {"before_s": 20, "outage_s": 30, "after_s": 30},
        "full": {"before_s": 60, "outage_s": 120, "after_s": 120},
    }

    def scheduled_s(self, parameters: OutageParameters) -> float:
        """How long its load lasts."""
        return parameters.before_s + parameters.outage_s + parameters.after_s

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Load, fault, outage, restart, drain; then the account."""
        chosen: OutageParameters = parameters
        if chosen.target == "server" and "kill" not in kind_of(stage.server).can:
            raise ScenarioError(f"{chosen.fault} is done only to a server that we start")
        pacer = constant(chosen.rate_per_s, chosen.before_s + chosen.outage_s + chosen.after_s)
        with Line(stage, pacer, chosen.settings()) as line:
            findings.server = line.server.describe()
            watching = (lambda: watching_in_hand(line)) if chosen.watches_in_hand else None
            line.run_load(findings, [chosen.planned()], watching)
            line.wait_until_drained(chosen.drain_timeout_s)
            _conclude(chosen, line, findings)

    def checkers(self, parameters: OutageParameters, record: Record) -> list[Checker]:
        """What finds its verdicts in a record of a run."""
        spans = {"away": parameters.unharmed_within, "draining": parameters.unharmed_draining_within}
        between: list[Checker] = []
        # A fault on the server reaches producers, whatever consumers do.
        if parameters.target != "server":
            between += [unharmed_checker(span, within) for span, within in spans.items() if within]
        if parameters.kind.in_hand == "hit" and parameters.delivery == "at_least_once":
            between.append(in_hand_checker())
        # Without a server there is no answer; with an empty one, no script.
        leave_out = {"answered"} if parameters.kind.loses_data else ()
        return line_checkers("crm_outage", record=record, between=between, leave_out=leave_out)

    def headline(self, parameters: OutageParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

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


def _conclude(chosen: OutageParameters, line: Line, findings: Findings) -> None:
    fault = planned_fault(findings.history)
    if fault is None or fault.end_ns is None:
        raise ScenarioError(f"the load ended before {chosen.fault} was done and healed")
    drain = drain_of(line, findings, fault, arrival_per_s=chosen.rate_per_s)
    add_recovery(findings, fault, drain)
    add_line_arrival(findings, line, budget_ms=chosen.send_lag_budget_ms)
    add_producers(findings, fault, drain.caught_up_s)
    if chosen.kind.in_hand == "hit" and chosen.delivery == "at_least_once":
        # What was delivered to the consumer, and not acknowledged, while it was dead is what it had in hand.
        findings.figure("in_hand_events", in_hand(findings.history, fault), "events")
    add_account(findings, line, timeout_s=chosen.drain_timeout_s)
    add_by_hand(findings)


def headline(chosen: OutageParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    known = TARGETS[chosen.target]
    target = known.of_command if told.has_command else known.said
    if chosen.target == "crm":
        target = capital(told.consumer)
    said = chosen.kind.headline.format(target=target, ms=chosen.delay_ms)
    backlog = told.value("backlog_events")
    waited = (
        "the number of waiting events is not known" if backlog is None else f"{backlog:,.0f} events waited at most"
    )
    return (
        f"{said} for {told.value('outage_s') or 0:.1f} s{by_hand_said(told)}; {waited}; "
        f"{lost_said(told)}, {twice_said(told)}; {_caught_said(told)}{arrived_said(told)}."
    )


def _caught_said(told: Told) -> str:
    first_s, draining_s = told.value("first_effect_s"), told.value("draining_s")
    if never := never_caught_up_said(told):
        return never
    if draining_s is None or first_s is None:
        # With events missing nobody can tell from counts when the rest was applied.
        return "the moment when it had caught up is not known"
    said = (
        f"the first effect came {first_s:.2f} s after its return; "
        f"the events that waited then were drained {draining_s:.2f} s later"
    )
    caught_up_s, predicted_s = told.value("caught_up_s"), told.value("predicted_drain_s")
    if caught_up_s is None or predicted_s is None:
        return said
    return (
        f"{said}, and the events that came meanwhile {caught_up_s:.2f} s after its return "
        f"({predicted_s:.2f} s predicted)"
    )


scenario = CrmOutage()
CrmOutageUser = locustfile(scenario, __name__)
