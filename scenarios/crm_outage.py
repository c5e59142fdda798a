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

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.arrays import Int64s
from harness.check import checkers
from harness.check.figures import figure_names
from harness.check.judge import LATENCIES, TIMELINE, Checker
from harness.check.ratio import Ratio, ratios, seconds_of
from harness.conduct.conduct import PUMPED, Findings, ParameterError, ScenarioError, Stage
from harness.load.pacing import constant
from harness.locust.locustfile import locustfile
from harness.measure.hlog import LatencyLog
from harness.measure.outcomes import OK, UNKNOWN
from harness.measure.probes import InHand, Sampler
from harness.measure.timeline import FaultWindow, History, Mark
from harness.nemesis.faults import fault_kinds
from harness.nemesis.kind import FaultKind
from harness.nemesis.plan import Fault
from harness.record.run import KeyFigure, Record, Verdict
from harness.server.open import kind_of
from scenarios.commands import CONSUMERS, PRODUCERS
from scenarios.line.account import ACCOUNT, add_account, add_lag, add_line_arrival, line_checkers
from scenarios.line.line import Line
from scenarios.line.recovery import (
    Recovery,
    band,
    caught_up_ns,
    count_at,
    detected_s,
    excess_lag_event_s,
    highest_lag,
    predicted_drain_s,
    recovery,
)
from scenarios.line.settings import Delivery, LineSettings
from scenarios.line.targets import TARGETS, target_of
from scenarios.shop.shop import GROUP
from scenarios.told import Told, add_by_hand, arrived_said, by_hand_said, lost_said, told_of, twice_said

if TYPE_CHECKING:
    Way = str
else:
    # Every kind of fault that the line has a target for, whoever has added it.
    Way = Literal[tuple(name for name, kind in fault_kinds().items() if target_of(kind))]
Link = Literal["crm-redis", "crm-mail"]

# How long mail takes where a kill is to hit in the middle of a batch.
IN_BATCH_MAIL_MS = 100.0
CLAIM_AFTER_MS = 30_000
# In the group, the consumer that is broken; those beside it have others.
CONSUMER = "1"
# Longer than a look at what it has in hand takes.
LOOK_NS = 200_000_000
QUANTILES = {"p50": 0.5, "p99": 0.99}


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
        drain_timeout_s: that the consumers may take to catch up when the load is over.
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
    place = 40
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
            line.run_load(findings, [chosen.planned()], lambda: _watching(chosen, line, findings))
            line.wait_until_drained(chosen.drain_timeout_s)
            _conclude(chosen, line, findings)

    def checkers(self, parameters: OutageParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - by choice
        """What finds its verdicts in a record of a run."""
        spans = {"away": parameters.unharmed_within, "draining": parameters.unharmed_draining_within}
        between: list[Checker] = []
        # A fault on the server reaches producers, whatever consumers do.
        if parameters.target != "server":
            between += [_unharmed_checker(span, within) for span, within in spans.items() if within]
        if parameters.kind.in_hand == "hit" and parameters.delivery == "at_least_once":
            between.append(_in_hand_checker())
        # Without a server there is no answer; with an empty one, no script.
        leave_out = {"answered"} if parameters.kind.loses_data else ()
        return line_checkers("crm_outage", between=between, leave_out=leave_out)

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


@contextlib.contextmanager
def _watching(chosen: OutageParameters, line: Line, findings: Findings) -> Iterator[None]:
    """Sample what the consumer that is broken has in hand, where that is what the fault is about."""
    if chosen.kind.in_hand not in {"hit", "kept"} or chosen.delivery != "at_least_once":
        yield
        return
    streams = line.streams.names
    with (
        contextlib.closing(line.server.client(timeout_s=0.5)) as client,
        Sampler(
            [InHand(client, streams, GROUP, lambda: [CONSUMER])],
            clock=line.stage.clock,
            origin_ns=line.origin_ns,
            history=findings.history,
            on_error=findings.probe_failed,
        ),
    ):
        yield


class _Drain(Struct, frozen=True, kw_only=True):
    """The end of an outage as it was, and as the rates predict it; times count from the restart."""

    restart_ns: int
    backlog: float | None
    at_restart: int
    found: Recovery
    caught_up_s: float | None
    predicted_s: float | None

    @property
    def error(self) -> float | None:
        """By what share of the measured time since the first effect the prediction is too long."""
        first_s = self.found.first_effect_s
        if self.predicted_s is None or self.caught_up_s is None or first_s is None or self.caught_up_s <= first_s:
            return None
        return (self.predicted_s - first_s) / (self.caught_up_s - first_s) - 1

    @property
    def draining_s(self) -> float | None:
        """From the first effect until what waited then was applied."""
        if self.found.drained_s is None or self.found.first_effect_s is None:
            return None
        return self.found.drained_s - self.found.first_effect_s


def _conclude(chosen: OutageParameters, line: Line, findings: Findings) -> None:
    fault = _fault_of(findings.history)
    if fault is None or fault.end_ns is None:
        raise ScenarioError(f"the load ended before {chosen.fault} was done and healed")
    drain = _drain(chosen, line, findings, fault)
    _add_recovery(findings, fault, drain)
    add_line_arrival(findings, line, budget_ms=chosen.send_lag_budget_ms)
    _add_producers(findings, fault, drain.caught_up_s)
    if chosen.kind.in_hand == "hit" and chosen.delivery == "at_least_once":
        # What was delivered to the consumer, and not acknowledged, while it was dead is what it had in hand.
        findings.figure("in_hand_events", in_hand(findings.history, fault), "events")
    add_account(findings, line, timeout_s=chosen.drain_timeout_s)
    add_by_hand(findings)


def _drain(chosen: OutageParameters, line: Line, findings: Findings, fault: FaultWindow) -> _Drain:
    history, restart_ns = findings.history, fault.end_ns or fault.start_ns
    accepted_ns = _accepted_ns(line)

    def accepted_by(t_ns: int) -> int:
        return int(np.searchsorted(accepted_ns, t_ns, "right"))

    found = recovery(line.applied_at, history, restart_ns=restart_ns, backlog_until=accepted_by)
    if line.ledger.account().lost:
        # A count of effects says when a backlog was applied only where nothing of it is missing.
        found = replace(found, back_in_band_s=None, drained_s=None, drain_rate_per_s=None)
    caught_up_s = predicted_s = None
    if found.first_effect_s is not None and found.drain_rate_per_s is not None:
        first_ns = restart_ns + round(found.first_effect_s * 1e9)
        caught_ns = caught_up_ns(line.applied_at, accepted_by, from_ns=first_ns, within=band(history) or 0.0)
        caught_up_s = (caught_ns - restart_ns) / 1e9 if caught_ns is not None else None
        predicted_s = predicted_drain_s(
            # The first look that saw an effect may have seen a whole batch: that waits no more.
            max(0, accepted_by(first_ns) - count_at(line.applied_at, first_ns)),
            drain_per_s=found.drain_rate_per_s,
            arrival_per_s=chosen.rate_per_s,
            arriving_s=line.pacer.duration_ns / 1e9 - first_ns / 1e9,
        )
    return _Drain(
        restart_ns=restart_ns,
        backlog=highest_lag(history, fault.start_ns),
        at_restart=max(0, accepted_by(restart_ns) - count_at(line.applied_at, restart_ns)),
        found=found,
        caught_up_s=caught_up_s,
        predicted_s=predicted_s + (found.first_effect_s or 0.0) if predicted_s is not None else None,
    )


def _accepted_ns(line: Line) -> Int64s:
    """When each event was due that was acknowledged, or may have been taken all the same; what was refused waits
    for nobody.
    """
    outcomes = line.result.outcomes
    if outcomes is None:
        raise ScenarioError("the pump has kept no outcomes")
    due_ns = line.pacer.due_ns(0, outcomes.size)
    applied = np.zeros(outcomes.size, bool)
    seen = line.effects.sequences
    applied[seen[seen < outcomes.size]] = True
    accepted: Int64s = due_ns[(outcomes == OK) | ((outcomes == UNKNOWN) & applied)]
    return accepted


def _add_recovery(findings: Findings, fault: FaultWindow, drain: _Drain) -> None:
    history, found = findings.history, drain.found
    detected = detected_s(history)
    if detected is not None:
        history.add(Mark(t_ns=fault.start_ns + int(detected * 1e9), name="detected"))
    if history.mark("restart") is None:
        history.add(Mark(t_ns=drain.restart_ns, name="restart"))
    for name, seconds in (
        ("first effect", found.first_effect_s),
        ("back in band", found.back_in_band_s),
        ("drained", found.drained_s),
    ):
        if seconds is not None:
            history.add(Mark(t_ns=drain.restart_ns + int(seconds * 1e9), name=name))
    findings.figure("outage_s", (drain.restart_ns - fault.start_ns) / 1e9, "s")
    findings.figure("backlog_events", drain.backlog, "events")
    findings.figure("backlog_at_restart_events", drain.at_restart, "events")
    findings.figure("detected_s", detected, "s")
    findings.figure("first_effect_s", found.first_effect_s, "s")
    findings.figure("back_in_band_s", found.back_in_band_s, "s")
    findings.figure("draining_s", drain.draining_s, "s")
    findings.figure("drained_s", found.drained_s, "s")
    findings.figure("drain_rate_per_s", found.drain_rate_per_s, "1/s")
    findings.figure("excess_lag_event_s", excess_lag_event_s(history), "event seconds")
    findings.figure("caught_up_s", drain.caught_up_s, "s")
    findings.figure("predicted_drain_s", drain.predicted_s, "s")
    findings.figure("prediction_error", drain.error, "share")
    add_lag(findings)


def _fault_of(history: History) -> FaultWindow | None:
    """The fault of the plan, or None where it was not done."""
    return next((fault for fault in history.faults if not fault.by_hand), None)


def _spans(fault: FaultWindow, caught_up_s: float | None) -> dict[str, tuple[float, float]]:
    """From when to when producers were before the fault, in it, in the drain, and after the restart; seconds."""
    from_s, to_s = fault.start_ns / 1e9, (fault.end_ns or fault.start_ns) / 1e9
    # A drain takes seconds that it shares with what comes after; all that it has a part in count.
    end_s = math.ceil(to_s + caught_up_s) if caught_up_s is not None else math.inf
    return {
        "before": (0.0, from_s),
        "away": (from_s, to_s),
        "draining": (math.floor(to_s), end_s),
        "after": (to_s, math.inf),
    }


def _add_producers(findings: Findings, fault: FaultWindow, caught_up_s: float | None) -> None:
    """What producers noticed: their response while the consumer was away, and while it drained, against before."""
    log, spans = LatencyLog(findings.intervals), _spans(fault, caught_up_s)
    for name, span in spans.items():
        latencies = log.total("append.response", *span)
        for quantile, q in QUANTILES.items():
            findings.figure(f"{name}.response.{quantile}", latencies.quantile_us(q), "µs")
    for name in ("away", "draining"):
        for quantile, ratio in _ratios(log, spans["before"], spans[name]).items():
            figure = f"{name}.response.{quantile}_ratio"
            findings.figure(figure, ratio.value if ratio else None, "times")
            findings.figure(f"{figure}.low", ratio.low if ratio else None, "times")
            findings.figure(f"{figure}.high", ratio.high if ratio else None, "times")


def _unharmed_checker(span: str, within: float) -> Checker:
    """What finds whether producers were answered about as fast as before, in a span of `_spans`."""
    name = f"crm_outage.producers_unharmed_{span}"

    def check(record: Record) -> Verdict:
        fault = _fault_of(record.history)
        if fault is None:
            return Verdict(name=name, status="UNKNOWN", detail="there was no fault to compare with")
        spans = _spans(fault, record.run.figure("crm_outage.caught_up_s"))
        found = _ratios(record.latency, spans["before"], spans[span])
        return checkers.producers_unharmed(name, found, within=within)

    return Checker(name, check, reads=(LATENCIES, TIMELINE))


def _in_hand_checker() -> Checker:
    name = "crm_outage.hit_in_batch"

    def check(record: Record) -> Verdict:
        fault = _fault_of(record.history)
        return checkers.hit_in_batch(name, None if fault is None else in_hand(record.history, fault))

    return Checker(name, check, reads=(TIMELINE,))


def _ratios(log: LatencyLog, before: tuple[float, float], then: tuple[float, float]) -> dict[str, Ratio | None]:
    """The response at each quantile then, by that before."""
    parts = [
        seconds_of(
            [i for i in log.of("append.response") if from_s <= i.start_s and i.start_s + i.length_s <= to_s]
        )
        for from_s, to_s in (before, then)
    ]
    found = ratios(parts[0], parts[1], list(QUANTILES.values()), seed=1)
    return dict(zip(QUANTILES, found, strict=True))


def in_hand(history: History, fault: FaultWindow) -> float | None:
    """How many events the consumer had in hand when it was killed; None where nobody looked.

    The dead one gets no more, and others may claim what it had: it is the most that was seen while it was away.
    """
    end_ns = fault.end_ns or fault.start_ns
    pending = [
        r.value
        for r in history.readings("consumer.pending", consumer=CONSUMER)
        # The first look after the fault may have begun before it.
        if r.value is not None and fault.start_ns + LOOK_NS <= r.t_ns <= end_ns
    ]
    return max(pending, default=None)


def headline(chosen: OutageParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    said = chosen.kind.headline.format(target=TARGETS[chosen.target].said, ms=chosen.delay_ms)
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
    if told.value("lost") is None:
        return "it had not caught up when the run stopped waiting"
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
