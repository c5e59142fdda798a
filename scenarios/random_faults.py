"""A hundred outages at random: is every event accounted for after each of them, whatever they were?

Customers come and go at a steady rate while the CRM has a mail sent for each. Meanwhile faults are done that were
drawn from a seed before the run, so that they can be done again: `--seed`.

    crm         kill, stop, freeze          one after the other on a target, with a second between two;
    mail        kill, stop, freeze          on different targets they may overlap, as they do in life
    crm-redis   cut (reset, half-open)
    crm-mail    cut (reset, half-open)      each for 0.3 to 1.5 s; on average there is one every `every_s`

When the last one has healed, load goes on for a while, the line drains, and the account is made of all of them
together: if it closes without a loss, none of them has lost anything. With several consumers each of them is a
target, and what a frozen one has in hand is claimed by another meanwhile (`claim_after_ms`).

The mail service knows the IDs of events, so that what is delivered again has no second effect. `idempotent=false`
takes that from it: then `nothing_twice` fails, and says how much at least once repeats.

A plan of one's own takes the place of the one that is drawn: `--plan plan.toml` (`harness.conduct.plan_file`).

`delivery=from_now` subscribes as tutorials do. With `expect=loss` the run shows that this loses events, and how
many: then a loss is the verdict PASS, and no loss is FAIL, while all other verdicts are as ever. `while_down` says
what of it was published while the CRM was killed or stopped; it loses events while it asks again, too. The plan
depends on the seed and on how many faults there are, not on the delivery; so the same one can be played to both.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.arrays import Int64s
from harness.check import checkers
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.findings import PUMPED, Findings
from harness.conduct.plan_file import planned
from harness.conduct.scenario import ParameterError, ScenarioError, Stage
from harness.load.pacing import Pacer, constant
from harness.locust.locustfile import locustfile
from harness.measure.timeline import FaultWindow, History
from harness.nemesis.faults import fault_kinds
from harness.nemesis.plan import Fault, random_plan, refuse_overlap
from harness.nemesis.targets import LINE, PROCESS
from harness.record.files import TIMELINE
from harness.record.run import KeyFigure, Record, Verdict
from harness.system.consumer import ConsumerSystem
from scenarios.line.account import ACCOUNT, Accounted, add_account, add_lag, add_line_arrival, line_checkers
from scenarios.line.evidence import PLAN
from scenarios.line.line import Line
from scenarios.line.recovery import back_after_s, excess_lag_event_s
from scenarios.line.settings import Delivery, LineSettings
from scenarios.line.targets import target_of
from scenarios.told import Told, add_by_hand, arrived_said, by_hand_said, lost_said, told_of, twice_said

# Before the first fault, and after the last.
LEAD_S = 1.5
SHORTEST_S, LONGEST_S, GAP_S = 0.3, 1.5, 1.0
# A command may have processes of its own, and what has its effects can refuse.
COMMAND = (*PROCESS, "leader_kill", "survivors")
REFUSING = (*PROCESS, "refuse")
DRAWN = [
    kind
    for kind in fault_kinds().values()
    if kind.is_drawn and any(map(kind.is_possible, (COMMAND, REFUSING, LINE)))
]
# By name, without variants; those are drawn as options of what they are variants of.
NAMES = list(dict.fromkeys(kind.done_as for kind in DRAWN))
OPTIONS = {
    name: presets
    for name in NAMES
    if any(presets := [dict(kind.preset) for kind in DRAWN if kind.done_as == name])
}


class RandomFaultsParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `random_faults`.

    Attributes:
        outages (outages): that are drawn from the seed.
        every_s: from one to the next, on average.
        rate_per_s: all the time.
        delivery: how the consumer subscribes: at_least_once as the shop does, at_most_once, or from_now, from
            the end of the stream and without a position, as tutorials do; that one loses.
        expect: what passes: no_loss, or loss, where the delivery is one that loses.
        durability: what a server that we start does before it answers: none, a log that is synced each second, or
            before each answer.
        consumers (consumers): that share the group's events.
        page (events): that a consumer reads at once of each stream.
        mail_delay_ms: that the mail service takes for a request.
        claim_after_ms: that a consumer is silent before others take over what it has in hand.
        idempotent: whether the mail service knows what it has been asked for before.
        drain_timeout_s: that the consumers may take to catch up when the load is over. Where nothing moves when
            it is up, they get more: until something moves, or nothing has for 3 claim times and 2 s.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.
        plan: of one's own, in the place of what is drawn; it is given as a file, with --plan.

    Raises:
        ValueError: a plan that cannot be played.
    """

    outages: Annotated[int, Meta(ge=1, le=100_000)] = 8
    every_s: Annotated[float, Meta(ge=0.5, le=3_600)] = 1.2
    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 300
    delivery: Delivery = "at_least_once"
    expect: Literal["no_loss", "loss"] = "no_loss"
    durability: Literal["none", "everysec", "always"] = "everysec"
    consumers: Annotated[int, Meta(ge=1, le=64)] = 1
    page: Annotated[int, Meta(ge=1, le=10_000)] = 500
    mail_delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 20
    claim_after_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 800
    idempotent: bool = True
    drain_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 250
    plan: str = ""

    def __post_init__(self) -> None:
        self.own_plan()

    @property
    def faults_s(self) -> float:
        """For how long faults are done; at least for as long as a plan of one's own lasts."""
        last_ns = max((fault.at_ns + fault.for_ns for fault in self.own_plan()), default=0)
        return max(self.outages * self.every_s, LONGEST_S, last_ns / 1e9 - LEAD_S)

    def own_plan(self) -> list[Fault]:
        """The faults of a plan of one's own, each with its target.

        Raises:
            ValueError: it cannot be played.
        """
        return with_targets(planned(self.plan)) if self.plan else []

    def targets(self, *, has_command: bool = False) -> dict[str, list[str]]:
        """What is broken, and how.

        Args:
            has_command: whether the consumers are commands of somebody else's, which can be broken in more ways.
        """
        consumers = ["crm", *(f"crm-{number}" for number in range(2, self.consumers + 1))]
        can: dict[str, tuple[str, ...]] = dict.fromkeys(consumers, COMMAND if has_command else PROCESS)
        can |= {"mail": REFUSING if has_command else PROCESS}
        can |= dict.fromkeys(["crm-redis", "crm-mail"], LINE)
        return {target: [name for name in NAMES if fault_kinds()[name].is_possible(can[target])] for target in can}

    def faults(self, seed: int, *, has_command: bool = False) -> list[Fault]:
        """The faults, drawn from a seed, or those of a plan of one's own.

        Args:
            seed: of what is drawn.
            has_command: as for `targets`.

        Raises:
            ParameterError: they have no room.
        """
        if self.plan:
            return self.own_plan()
        try:
            return random_plan(
                seed,
                self.targets(has_command=has_command),
                count=self.outages,
                within_ns=(int(LEAD_S * 1e9), int((LEAD_S + self.faults_s) * 1e9)),
                for_ns=(int(SHORTEST_S * 1e9), int(LONGEST_S * 1e9)),
                gap_ns=int(GAP_S * 1e9),
                options=OPTIONS,
            )
        except ValueError as error:
            raise ParameterError(f"random_faults: {error}; give them more of `every_s`") from error


class RandomFaults:
    """A line on which something breaks all the time."""

    name = "random_faults"
    takes_consumers = True
    place = 50
    wants_own_server = True
    summary = "do many random outages lose an event, or cause an effect twice?"
    parameters = RandomFaultsParameters
    figures = figure_names(
        "random_faults",
        PUMPED,
        ACCOUNT,
        "events  while_down.{due,lost}",
        "s       longest_recovery_s",
        "event_seconds excess_lag_event_s",
        "outages outages outages.*",
    )
    key_figures = (
        KeyFigure("random_faults.outages", "Outages"),
        KeyFigure("random_faults.lost", "Events lost"),
        KeyFigure("random_faults.longest_recovery_s", "Longest recovery"),
    )
    sections = ("latency", "throughput", "lag", "events")
    profiles = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"outages": 4},
        "quick": {},
        "standard": {"outages": 100},
        "full": {"outages": 500},
    }

    def scheduled_s(self, parameters: RandomFaultsParameters) -> float:
        """How long its load lasts."""
        return parameters.faults_s + 2 * LEAD_S

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Load, with faults all the while; the drain; the account."""
        chosen: RandomFaultsParameters = parameters
        try:
            plan = chosen.faults(stage.seed, has_command=isinstance(stage.system, ConsumerSystem))
        except ParameterError as error:
            raise ScenarioError(str(error)) from error
        pacer = constant(chosen.rate_per_s, chosen.faults_s + 2 * LEAD_S)
        settings = LineSettings(
            delivery=chosen.delivery,
            durability=chosen.durability,
            consumers=chosen.consumers,
            page=chosen.page,
            mail_delay_ms=chosen.mail_delay_ms,
            claim_after_ms=chosen.claim_after_ms,
            is_idempotent=chosen.idempotent,
            has_links=True,
        )
        with Line(stage, pacer, settings) as line:
            findings.server = line.server.describe()
            line.run_load(findings, plan)
            line.wait_until_drained(chosen.drain_timeout_s)
            _conclude(chosen, line, findings)

    def checkers(self, parameters: RandomFaultsParameters, record: Record) -> list[Checker]:
        """What finds its verdicts in a record of a run."""
        between = [_all_done_checker()]
        if parameters.expect == "loss":
            also = {"loss_shown": _loss_shown}
            return line_checkers(
                "random_faults", record=record, between=between, leave_out={"nothing_lost"}, also=also
            )
        return line_checkers("random_faults", record=record, between=between)

    def headline(self, parameters: RandomFaultsParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: RandomFaultsParameters, duration_s: float, _: str) -> RandomFaultsParameters:
        """The parameters with which the load takes some seconds: with as many outages as there is time for.

        Raises:
            ParameterError: there is no time for one.
        """
        last_s = max((fault.at_ns + fault.for_ns for fault in parameters.own_plan()), default=0) / 1e9
        if duration_s < last_s + LEAD_S:
            raise ParameterError(
                f"random_faults: no room for a plan of {last_s:g} s and {LEAD_S:g} s more in {duration_s:g} s"
            )
        outages = int((duration_s - 2 * LEAD_S) / parameters.every_s)
        if outages < 1:
            raise ParameterError(f"random_faults: there is no time for an outage in {duration_s:g} s")
        return replace(parameters, outages=outages)


def _conclude(chosen: RandomFaultsParameters, line: Line, findings: Findings) -> None:
    history = findings.history
    healed = _healed(history)
    _add_faults(findings, healed)
    first = line.running.roles["crm"]
    down_due, down_lost = while_down(healed, line.pacer, line.ledger.lost(), first)
    # Of several consumers one is enough, so that the events of such a time are not those of a group that is down.
    findings.figure("while_down.due", down_due if chosen.consumers == 1 else None, "events")
    findings.figure("while_down.lost", down_lost if chosen.consumers == 1 else None, "events")
    findings.figure("longest_recovery_s", _longest_recovery_s(history, healed), "s")
    findings.figure("excess_lag_event_s", excess_lag_event_s(history), "event seconds")
    add_lag(findings)
    add_line_arrival(findings, line, budget_ms=chosen.send_lag_budget_ms)
    add_account(findings, line, timeout_s=chosen.drain_timeout_s)
    add_by_hand(findings)


def _healed(history: History) -> list[FaultWindow]:
    return [fault for fault in history.faults if fault.end_ns is not None and not fault.by_hand]


def _all_done_checker() -> Checker:
    name = "random_faults.all_done"

    def check(record: Record) -> Verdict:
        planned = record.evidence.value(PLAN, list[Fault])
        return checkers.all_faults_done(name, planned=len(planned), done=len(_healed(record.history)))

    return Checker(name, check, reads=(PLAN, TIMELINE))


def _loss_shown(name: str, found: Accounted) -> Verdict:
    return checkers.loss_shown(name, found.account, ending=found.facts.ending)


def headline(chosen: RandomFaultsParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    return (
        f"{told.value('outages') or 0:,.0f} outages {'as planned' if chosen.plan else 'at random'}"
        f"{by_hand_said(told)} "
        f"while {told.value('acknowledged') or 0:,.0f} events were appended: "
        f"{lost_said(told)}, {twice_said(told)}{arrived_said(told)}."
    )


def with_targets(plan: Sequence[Fault]) -> list[Fault]:
    """A plan in which each fault has a target: its own, or the first of a line that can suffer it.

    Raises:
        ValueError: none can, or a fault begins before the one before it on the same target has healed.
    """
    found: dict[str, list[Fault]] = {}
    for fault in plan:
        target = fault.target or target_of(fault_kinds()[fault.name])
        if target is None:
            raise ValueError(f"{fault.name} at {fault.at_ns / 1e9:g} s: nothing can suffer it; say its target")
        found.setdefault(target, []).append(replace(fault, target=target))
    for target, faults in found.items():
        try:
            refuse_overlap(faults)
        except ValueError as error:
            raise ValueError(f"{target}: {error}") from error
    return sorted(itertools.chain(*found.values()), key=lambda fault: fault.at_ns)


def _add_faults(findings: Findings, healed: list[FaultWindow]) -> None:
    findings.figure("outages", len(healed), "outages")
    for name in dict.fromkeys([*NAMES, *(fault.name for fault in healed)]):
        findings.figure(f"outages.{name}", sum(fault.name == name for fault in healed), "outages")


def while_down(
    faults: Sequence[FaultWindow], pacer: Pacer, lost: Int64s, consumer: str = "crm"
) -> tuple[int, int]:
    """How many events were due while the consumer was killed or stopped, and how many of those are lost.

    Args:
        faults: that have healed.
        pacer: when each event was due.
        lost: sequence numbers, shape (k,).
        consumer: what it is called.
    """
    is_down = np.zeros(pacer.total, bool)
    due_ns = pacer.due_ns(0, pacer.total)
    for fault in faults:
        if fault.target == consumer and fault.name in {"kill", "stop"} and fault.end_ns is not None:
            is_down |= (due_ns >= fault.start_ns) & (due_ns < fault.end_ns)
    return int(is_down.sum()), int(is_down[lost].sum())


def _longest_recovery_s(history: History, healed: list[FaultWindow]) -> float | None:
    """From a fault's healing until lag was back in its band, whatever else was broken meanwhile; the longest.

    None where lag did not come back after one of them, or its band is not known.
    """
    times = [back_after_s(history, fault) for fault in healed]
    known = [seconds for seconds in times if seconds is not None]
    return max(known) if known and len(known) == len(times) else None


scenario = RandomFaults()
RandomFaultsUser = locustfile(scenario, __name__)
