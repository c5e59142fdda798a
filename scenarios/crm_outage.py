"""What happens when a consumer dies, or what it needs? Is every event accounted for?

Customers come and go at a steady rate while the CRM has a mail sent for each. Something is broken, stays broken
for a while, heals, and the CRM drains what waits. Then every event is accounted for by its ID.

    before_s          | outage_s             | after_s                     | the rest of the drain
    producers go on  ------------------------------------------------------+
    lag in its band   | fault -> lag rises   | healed -> first effect -> drained, lag back in its band
                                             |<- starting ->|<- draining ->|     what waits is highest at the first

    fault             done to          and what goes with it
    kill, stop        the CRM          it is started again; a kill of a command's consumer waits, for 2 s at most,
                                       until it has something in hand
    kill_in_batch     the CRM          mail takes 100 ms a request, or `mail_delay_ms`, so that the CRM waits for
                                       one and dies with events in hand; a verdict says whether it had any,
                                       whatever others of the group had. Mail still sends what it was asked
                                       for, and is asked for it again
    freeze            the CRM          its events may be claimed after a third of the outage: with two consumers
                                       the other one takes them, and the frozen one comes back as a zombie
    cut, cut_half_open, delay          the line to Redis or, `link=crm-mail`, to the mail service; through proxies
    slow              the mail service `delay_ms` a request
    poison            the CRM          one event that always fails: it has to be parked, and the rest to go on
    kill_then_quiet   the CRM          a kill in a batch as the load ends: nobody wakes who waits for something new
    kill_leader       a consumer       its first process only is killed; what it has started is seen to live on
    one_backlog       the CRM          stopped, while one stream gets events; when it is back only the others do
    kill_while_away   the CRM          killed while the mail service is away: nothing in hand was on its way
    stop_while_away   the CRM          told to stop while the mail service is away, which is back before it
    rolling           the CRM          a consumer of another name comes, and this one is stopped for good
    refuse            what has the effects of a command's consumer answers 503
    redeliver         the group        set back by 50 entries on each stream when all has drained
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
from harness.locust.locustfile import locustfile
from harness.nemesis.faults import fault_kinds
from harness.nemesis.faults.kill_in_batch import WITHIN_S
from harness.nemesis.kind import FaultKind
from harness.nemesis.plan import Fault
from harness.record.run import KeyFigure, Record
from harness.server.open import kind_of
from harness.system.consumer import ConsumerSystem
from scenarios.commands import CONSUMERS, PRODUCERS
from scenarios.line.account import ACCOUNT, add_account, add_lag, add_line_arrival, line_checkers
from scenarios.line.line import Line
from scenarios.line.settings import Delivery, LineSettings
from scenarios.line.targets import TARGETS, target_of
from scenarios.ordershop_system import ORDERSHOP
from scenarios.outage.done import add_done, done_checkers
from scenarios.outage.drain import add_recovery, drain_of
from scenarios.outage.fault import in_hand, in_hand_checker, planned_fault, watching_in_hand
from scenarios.outage.producers import add_producers, unharmed_checker
from scenarios.outage.redelivery import redeliver
from scenarios.outage.said import headline
from scenarios.outage.staging import Staged, staged
from scenarios.told import (
    add_by_hand,
    has_command,
    told_of,
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

    def has_to_hit(self, *, has_command: bool) -> bool:
        """Whether the fault is to find something in hand.

        Args:
            has_command: whether the consumer is a command of somebody else's; a kill of it is to hit, too.
        """
        hits = self.kind.in_hand == "hit" or (has_command and self.kind.name == "kill")
        return hits and self.delivery == "at_least_once"

    @property
    def watches_in_hand(self) -> bool:
        """Whether the fault is about what the consumer that is broken has in hand."""
        return self.kind.in_hand in {"hit", "kept"} and self.delivery == "at_least_once"

    def staged(self, an_entity: int = 1) -> Staged:
        """The load that the fault wants.

        Args:
            an_entity: so many events are about one entity.
        """
        times_s = self.before_s, self.outage_s, self.after_s
        return staged(self.kind, self.rate_per_s, *times_s, an_entity=an_entity)

    def settings(self, an_entity: int = 1) -> LineSettings:
        """The line that the fault needs.

        Args:
            an_entity: so many events are about one entity.
        """
        mail_delay_ms, claim_after_ms = self.mail_delay_ms, self.claim_after_ms or CLAIM_AFTER_MS
        if self.kind.in_hand == "hit":
            mail_delay_ms = mail_delay_ms or IN_BATCH_MAIL_MS
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
            by_stream=self.staged(an_entity).by_stream,
            outlasts=self.staged(an_entity).outlasts,
        )

    def planned(self, *, has_command: bool = False) -> Fault:
        """The one fault of the run.

        Args:
            has_command: whether the consumer is a command of somebody else's.
        """
        waits = {"within_s": WITHIN_S} if has_command and self.kind.name == "kill" else {}
        return Fault(
            name=self.kind.done_as,
            target=self.target,
            at_ns=int(self.before_s * 1e9),
            for_ns=int(self.outage_s * 1e9),
            options={**self.kind.given_ms(self.delay_ms), **waits},
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
        "s       taken_over_s",
        "s       {outage,detected,first_effect,back_in_band,drained,draining,caught_up,predicted_drain}_s",
        "events  backlog_events backlog_at_restart_events in_hand_events",
        "events  effects_meanwhile left_events set_back tried_again",
        "processes survivors",
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
        return parameters.staged().pacer.duration_ns / 1e9

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Load, fault, outage, restart, drain; then the account."""
        chosen: OutageParameters = parameters
        if chosen.target == "server" and "kill" not in kind_of(stage.server).can:
            raise ScenarioError(f"{chosen.fault} is done only to a server that we start")
        fault = chosen.planned(has_command=isinstance(stage.system, ConsumerSystem))
        is_over = chosen.kind.load == "is_over"
        an_entity = (stage.system or ORDERSHOP).events_an_entity
        with Line(stage, chosen.staged(an_entity).pacer, chosen.settings(an_entity)) as line:
            findings.server = line.server.describe()
            line.check(fault)
            watching = (lambda: watching_in_hand(line)) if chosen.watches_in_hand else None
            line.run_load(findings, [] if is_over else [fault], watching)
            line.wait_until_drained(chosen.drain_timeout_s)
            if is_over:
                redeliver(line, findings, fault, chosen.drain_timeout_s)
            _conclude(chosen, line, findings)

    def checkers(self, parameters: OutageParameters, record: Record) -> list[Checker]:
        """What finds its verdicts in a record of a run."""
        spans = {"away": parameters.unharmed_within, "draining": parameters.unharmed_draining_within}
        between: list[Checker] = []
        # A fault on the server reaches producers, whatever consumers do; of a load that ends nobody can be harmed.
        if parameters.target != "server" and parameters.kind.load == "goes_on":
            between += [unharmed_checker(span, within) for span, within in spans.items() if within]
        of_command = has_command(record)
        if parameters.has_to_hit(has_command=of_command):
            between.append(in_hand_checker())
        between += done_checkers(parameters.kind, counts_attempts=of_command)
        # Without a server there is no answer; with an empty one, no script.
        leave_out = {"answered"} if parameters.kind.loses_data else set()
        # For a while a roll has two, whatever their number is; of ours none promises an order that two keep.
        if "replace" in parameters.kind.needs and not of_command:
            leave_out.add("in_order")
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
    caught_up_s = None
    if chosen.kind.load == "is_over":
        add_lag(findings)
    else:
        drain = drain_of(line, findings, fault, arrival_per_s=chosen.rate_per_s)
        add_recovery(findings, fault, drain)
        caught_up_s = drain.caught_up_s
    add_line_arrival(findings, line, budget_ms=chosen.send_lag_budget_ms)
    add_producers(findings, fault, caught_up_s)
    if chosen.has_to_hit(has_command=isinstance(line.system, ConsumerSystem)):
        # What was delivered to the consumer, and not acknowledged, while it was dead is what it had in hand.
        findings.figure("in_hand_events", in_hand(findings.history, fault), "events")
    add_done(findings, line, chosen.kind, fault)
    add_account(findings, line, timeout_s=chosen.drain_timeout_s)
    add_by_hand(findings)


scenario = CrmOutage()
CrmOutageUser = locustfile(scenario, __name__)
