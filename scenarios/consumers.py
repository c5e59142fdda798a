"""Can a group of consumers be restarted one by one, made smaller and larger, while events come?

Customers come and go at a steady rate while a group of CRMs shares their events, each taking some time for its
mails. An operator works on the group, one step after the other, and goes on when the group is whole again:

    roll      crm, crm-2, crm-3 ...  each is stopped (or killed, or frozen), stays away, comes back
    remove    the last one ends for good; when others have claimed all that it had in hand, it is deleted from the
              group, since what is deleted with a consumer is pending for nobody and lost
    add       one that the group did not know

    crm       ----X   away   |--back-- settle ------------------------------------------------
    crm-2     -------------------------------X   away   |--back-- settle ---------------------
    crm-3     ------------------------------------------------------------X claimed, deleted
    crm-4                                                                            |--------

The load lasts until `after_s` after the last step, and `at_most_s` in all. Then every event is accounted for by
its ID, and by who has handled it: each consumer writes that down itself (`scenarios.shop.counting_crm`). What
two have handled (`handled_again`) was delivered again; the mail service knows it by its `event_id`, and sends no
second mail. `--param delivery=from_now` has no group: each subscriber handles every event.

A request that is with the mail service when its consumer is killed is still carried out. So at most once loses
only what a consumer has read and not yet asked for: something in a backlog, with pages of more than a request.

Rejected: a plan of faults at fixed times; on a slow machine a consumer would be taken away before the one before
it is back, and the group be nobody.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import contextlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.findings import PUMPED, Findings
from harness.conduct.scenario import ParameterError, Stage
from harness.load.pacing import constant
from harness.locust.locustfile import locustfile
from harness.measure.timeline import History
from harness.nemesis.faults import fault_kinds, faults_of
from harness.nemesis.targets import PROCESS
from harness.record.run import KeyFigure, Record
from scenarios.commands import CONSUMERS, PRODUCERS
from scenarios.line.account import ACCOUNT, add_account, add_lag, add_line_arrival, line_checkers
from scenarios.line.line import Line
from scenarios.line.settings import Delivery, LineSettings
from scenarios.operations.operator import Operated, Operator, Steps, name_of, removed_clean
from scenarios.operations.shares import all_worked, claimed_s, gather_shares, handled_section, shares_by
from scenarios.shop.counting_crm import handled_path
from scenarios.told import (
    Told,
    add_by_hand,
    arrived_said,
    by_hand_said,
    has_arrived,
    lost_said,
    told_of,
    twice_said,
)

if TYPE_CHECKING:
    How = str
else:
    # Whatever can be done to a process, whoever has added it.
    How = Literal[tuple(faults_of(PROCESS))]


class ConsumersParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `consumers`.

    Attributes:
        rate_per_s: all the time.
        consumers (consumers): in the group at first.
        how: one of them is taken away.
        before_s: of load before the first step.
        away_s: that each is away.
        settle_s: from the return of one to the end of the next.
        after_s: of load after the last step.
        at_most_s: of load, where the steps take long.
        page (events): that a consumer reads at once of each stream.
        claim_after_ms: that a consumer is silent before others take over what it has in hand.
        mail_delay_ms: that the mail service takes for a request.
        delivery: how the consumer subscribes: at_least_once as the shop does, at_most_once, or from_now, from
            the end of the stream and without a position, as tutorials do; that one loses.
        durability: what a server that we start does before it answers: none, a log that is synced each second, or
            before each answer.
        drain_timeout_s: that the consumers may take to catch up when the load is over. Where nothing moves when
            it is up, they get more: until something moves, or nothing has for 3 claim times and 2 s.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 500
    consumers: Annotated[int, Meta(ge=2, le=63)] = 3
    how: How = "kill"
    before_s: Annotated[float, Meta(gt=0, le=86_400)] = 1
    away_s: Annotated[float, Meta(ge=0, le=86_400)] = 1
    settle_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.3
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 1
    at_most_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    page: Annotated[int, Meta(ge=1, le=10_000)] = 500
    claim_after_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 500
    mail_delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 20
    delivery: Delivery = "at_least_once"
    durability: Literal["none", "everysec", "always"] = "everysec"
    drain_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 20

    def steps(self) -> Steps:
        """What the operator does."""
        return Steps(
            how=self.how,
            consumers=self.consumers,
            before_s=self.before_s,
            away_s=self.away_s,
            settle_s=self.settle_s,
            after_s=self.after_s,
            has_group=self.delivery != "from_now",
        )


class Consumers:
    """A group of consumers, worked on under load."""

    name = "consumers"
    takes_consumers = True
    place = 80
    summary = "can the consumers of a group restart, leave and join under load, and is every event still handled?"
    parameters = ConsumersParameters
    commands = PRODUCERS | CONSUMERS | {"xautoclaim", "xclaim", "xgroup|delconsumer", "xinfo|consumers"}
    figures = figure_names(
        "consumers",
        PUMPED,
        ACCOUNT,
        "events  {before,roll,after}.events.max roll.claimed removed.deleted_with *.handled handled_again unnamed",
        "s       roll.{claimed,back}_s.max removed.claimed_s",
        "share   *.share",
    )
    key_figures = (
        KeyFigure("consumers.lost", "Events lost"),
        KeyFigure("consumers.removed.claimed_s", "Claimed from the one removed"),
        KeyFigure("consumers.roll.events.max", "Most events waiting"),
    )
    sections = ("latency", "throughput", "lag", "events")
    profiles: dict[str, dict[str, Any]] = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {
            "rate_per_s": 200,
            "consumers": 2,
            "before_s": 0.5,
            "away_s": 0.8,
            "settle_s": 0.1,
            "after_s": 0.5,
            "claim_after_ms": 300,
            "send_lag_budget_ms": 250,
        },
        "quick": {},
        "standard": {"before_s": 10, "away_s": 5, "settle_s": 5, "after_s": 10, "at_most_s": 300},
        "full": {
            "consumers": 8,
            "before_s": 30,
            "away_s": 20,
            "settle_s": 20,
            "after_s": 60,
            "claim_after_ms": 10_000,
            "at_most_s": 1_800,
        },
    }

    def scheduled_s(self, parameters: ConsumersParameters) -> float:
        """How long its load lasts where every consumer is back at once; and at most."""
        return min(
            parameters.before_s
            + (parameters.consumers + 1) * (parameters.away_s + parameters.settle_s)
            + parameters.after_s,
            parameters.at_most_s,
        )

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Load, roll, remove, add, drain; then the account."""
        chosen: ConsumersParameters = parameters
        pacer = constant(chosen.rate_per_s, chosen.at_most_s)
        settings = LineSettings(
            delivery=chosen.delivery,
            durability=chosen.durability,
            consumers=chosen.consumers,
            page=chosen.page,
            claim_after_ms=chosen.claim_after_ms,
            mail_delay_ms=chosen.mail_delay_ms,
            # Somebody else's consumer does not say what it has handled.
            consumer="scenarios.shop.counting_crm" if stage.system is None else "",
        )
        with contextlib.ExitStack() as stack:
            for number in range(1, chosen.consumers + 2):
                # Working files, as the outbox is; what they prove is in the figures.
                stack.callback(handled_path(stage.directory, str(number)).unlink, missing_ok=True)
            line = stack.enter_context(Line(stage, pacer, settings))
            findings.server = line.server.describe()
            operator = Operator(chosen.steps(), line, findings)
            line.run_load(findings, beside=operator.working)
            operator.conclude()
            line.wait_until_drained(chosen.drain_timeout_s)
            _conclude(chosen, line, operator, findings)

    def checkers(self, parameters: ConsumersParameters, record: Record) -> list[Checker]:
        """What finds its verdicts in a record of a run."""
        has_shares = not told_of(record).has_command
        return [
            # The shop's group promises no order among its consumers.
            *line_checkers("consumers", record=record, leave_out={"in_order"} if has_shares else ()),
            *_operator_checkers(parameters, has_shares=has_shares),
        ]

    def headline(self, parameters: ConsumersParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: ConsumersParameters, duration_s: float, _: str) -> ConsumersParameters:
        """The parameters with which the load takes some seconds, and does not end when the operator has done.

        Raises:
            ParameterError: the steps do not fit, even where every consumer is back at once.
        """
        steps_s = (parameters.consumers + 1) * (parameters.away_s + parameters.settle_s)
        if parameters.before_s + steps_s >= duration_s:
            raise ParameterError(
                f"consumers: {parameters.before_s:g} s before the first step and {steps_s:g} s for all of them do "
                f"not fit into {duration_s:g} s"
            )
        return replace(parameters, at_most_s=duration_s, after_s=duration_s)


# What is found ----------------------------------------------------------------------------------------------


def _operator_checkers(chosen: ConsumersParameters, *, has_shares: bool) -> list[Checker]:
    removed, worked = "consumers.removed_clean", "consumers.all_worked"
    consumers = chosen.consumers + 1
    sections = tuple(handled_section(name_of(number)) for number in range(1, consumers + 1))
    found = [
        Checker(
            removed,
            lambda record: removed_clean(removed, record.evidence.value("operator", Operated).deleted_with),
            reads=("operator",),
        ),
        Checker(
            worked,
            lambda record: all_worked(worked, shares_by(record.evidence, consumers)),
            reads=(*sections, "effects"),
        ),
    ]
    if not has_shares:
        return found[:1]
    return found if chosen.delivery != "from_now" else found[1:]


def _largest_between(history: History, name: str, from_ns: int, to_ns: int) -> float | None:
    values = [r.value for r in history.readings(name) if from_ns <= r.t_ns < to_ns and r.value is not None]
    return max(values, default=None)


def _conclude(chosen: ConsumersParameters, line: Line, operator: Operator, findings: Findings) -> None:
    history = findings.history
    first_ns = next(fault for fault in history.faults if not fault.by_hand).start_ns
    rolled_ns = operator.rolled_ns or first_ns
    for name, from_ns, to_ns in (
        ("before", 0, first_ns),
        ("roll", first_ns, rolled_ns),
        ("after", rolled_ns, int(chosen.at_most_s * 1e9)),
    ):
        findings.figure(f"{name}.events.max", _largest_between(history, "lag.events", from_ns, to_ns), "events")
    add_lag(findings)
    # One that is stopped finishes what it has in hand before it ends.
    claims = claimed_s(history) if fault_kinds()[chosen.how].in_hand != "finished" else []
    findings.figure("roll.claimed", sum(count for count, _ in claims) if claims else None, "events")
    findings.figure("roll.claimed_s.max", max((seconds for _, seconds in claims), default=None), "s")
    findings.figure("roll.back_s.max", max(operator.back_s, default=None), "s")
    findings.figure("removed.claimed_s", operator.claimed_s, "s")
    findings.figure("removed.deleted_with", operator.deleted_with, "events")
    findings.evidence.add_json("operator", Operated(deleted_with=operator.deleted_with))
    add_line_arrival(findings, line, budget_ms=chosen.send_lag_budget_ms)
    add_account(findings, line, timeout_s=chosen.drain_timeout_s)
    if line.stage.system is None:
        _add_shares(chosen, line, findings)
    add_by_hand(findings)


def _add_shares(chosen: ConsumersParameters, line: Line, findings: Findings) -> None:
    """Who has handled how many, as each consumer of ours has written it down."""
    gather_shares(line, findings.evidence, chosen.consumers + 1)
    shares = shares_by(findings.evidence, chosen.consumers + 1)
    for each, count in shares.handled.items():
        findings.figure(f"{each}.handled", count, "events")
        findings.figure(f"{each}.share", shares.share(each), "share")
    findings.figure("handled_again", shares.again, "events")
    findings.figure("unnamed", shares.unnamed, "events")


def headline(chosen: ConsumersParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    again, duplicated = told.value("handled_again"), told.value("duplicated")
    twice = (
        "none was handled twice"
        if not again
        else f"{again:,.0f} were handled again, {f'{duplicated:,.0f}' if duplicated else 'none'} of them "
        "with a second effect"
    )
    if told.has_command:
        twice = twice_said(told)
    # One that is stopped finishes what it has in hand, and only at least once claims what another had.
    kind = fault_kinds()[chosen.how]
    is_claimed = chosen.delivery == "at_least_once" and kind.in_hand != "finished"
    claims_s = [told.value("roll.claimed_s.max"), told.value("removed.claimed_s") if is_claimed else None]
    known_s = [seconds for seconds in claims_s if seconds is not None]
    claimed = (
        f"; another consumer had taken over the events in hand after {max(known_s):.2f} s at most"
        if known_s
        else ""
    )
    load = f", at {chosen.rate_per_s:,.0f}/s" if has_arrived(told) else ""
    return (
        f"{chosen.consumers} consumers were {kind.participle} one by one and came back, one was removed and one "
        f"added{load}{by_hand_said(told)}: of {told.value('acknowledged') or 0:,.0f} events {lost_said(told)}, "
        f"{twice}{claimed}{arrived_said(told)}."
    )


scenario = Consumers()
ConsumersUser = locustfile(scenario, __name__)
