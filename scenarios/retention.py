"""Does trimming keep the streams short, and never take what a consumer has not had?

Customers come and go at a steady rate while the CRM has a mail sent for each, and a trimmer goes over the streams
each `trim_every_s`. In the middle the CRM is away for a while: its events must stay, so the streams grow; when it
has caught up they are short again.

    stream length
                                        /|
                                      /  |  <- all that the CRM has not had
                                    /    |
      /|/|/|/|/|/|/|/|/|/|/|/|/|/|/      |/|/|/|/|/|/|/|/|
      before_s                    away_s          after_s

    policy acknowledged   `EventStore.trim`: what every group has acknowledged
           maxlen         XTRIM MAXLEN ~ `maxlen`, as everybody does it: a consumer that is away for longer loses
                          what it has not had, and nobody tells it
           maxlen_exact   the same with MAXLEN =: not an entry more stays
           none           nothing is trimmed: the streams grow

All but the first are there to be set beside it, and fail: trimmed to a length the account, `none` the bound. What
was trimmed before the consumer had read it is known event by event, for a round looks at what it takes.

The bound is what is appended in `BOUND_TRIMS` periods of the trimmer, beside what it keeps; it holds while the CRM
is there, and is known to hold only where the streams were seen before it went and after it had caught up. What
the memory of the whole server does is on the timeline, too; for some minutes it also grows by the IDs by which
repeated appends are recognised, so it is the streams' own that has figures.

The order of effects is not judged: it would have to be read from streams that are trimmed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.findings import PUMPED, Findings
from harness.conduct.scenario import ParameterError, ScenarioError, Stage
from harness.load.pacing import constant
from harness.locust.locustfile import locustfile
from harness.measure.timeline import History, Mark
from harness.nemesis.plan import Fault
from harness.record.files import TIMELINE
from harness.record.run import KeyFigure, Record, Verdict
from ordershop.services.crm import SOURCES
from scenarios.commands import CONSUMERS, PRODUCERS
from scenarios.line.account import ACCOUNT, add_account, add_lag, add_line_arrival, caught_up_ns, line_checkers
from scenarios.line.line import Line
from scenarios.line.settings import Delivery, LineSettings
from scenarios.operations.trimmer import Policy, Trimmer, Trimming
from scenarios.outage.fault import planned_fault
from scenarios.told import Told, add_by_hand, arrived_said, by_hand_said, has_command, lost_said, told_of

BOUND_TRIMS = 4
# A stream drops whole nodes where it is told `~`, and has so many entries in one.
NODE_ENTRIES = 100

_SAID: dict[Policy, str] = {
    "acknowledged": "The events that every group had acknowledged were trimmed",
    "maxlen": "The streams were trimmed to a length, whatever was acknowledged",
    "maxlen_exact": "The streams were trimmed to an exact length, whatever was acknowledged",
    "none": "Nothing was trimmed",
}

_CAUGHT_UP = "caught up"
_WHEN = {
    "before": "before the consumer went away",
    "away": "while it was away",
    "after": "after it had caught up",
}


class RetentionParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `retention`.

    Attributes:
        rate_per_s: all the time.
        before_s: of load before the CRM goes away.
        away_s: that it is away.
        after_s: of load after its return.
        policy: what is trimmed: what every group has acknowledged, all beyond about a length, all beyond exactly
            that, or nothing.
        trim_every_s: from one round of the trimmer to the next.
        keep (events): that stay in each stream although they are acknowledged.
        maxlen (events): that stay in each stream, for the policies of that name.
        fault: how the CRM goes away.
        delivery: how the consumer subscribes: at_least_once as the shop does, at_most_once, or from_now, from
            the end of the stream and without a position, as tutorials do; that one loses.
        durability: what a server that we start does before it answers: none, a log that is synced each second, or
            before each answer.
        drain_timeout_s: that the consumers may take to catch up when the load is over. Where nothing moves when
            it is up, they get more: until something moves, or nothing has for 3 claim times and 2 s.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 1_000
    before_s: Annotated[float, Meta(gt=0, le=86_400)] = 3
    away_s: Annotated[float, Meta(gt=0, le=86_400)] = 3
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 4
    policy: Policy = "acknowledged"
    trim_every_s: Annotated[float, Meta(gt=0, le=86_400)] = 0.5
    keep: Annotated[int, Meta(ge=0, le=100_000_000)] = 0
    maxlen: Annotated[int, Meta(ge=1, le=100_000_000)] = 500
    fault: Literal["kill", "stop", "freeze"] = "kill"
    delivery: Delivery = "at_least_once"
    durability: Literal["none", "everysec", "always"] = "everysec"
    drain_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 20

    def bound_events(self, streams: int) -> int:
        """How many events so many streams together may hold while the consumer is there."""
        kept = {"maxlen": self.maxlen + NODE_ENTRIES, "maxlen_exact": self.maxlen}.get(self.policy, self.keep)
        return int(self.rate_per_s * self.trim_every_s * BOUND_TRIMS) + kept * streams

    def trimming(self) -> Trimming:
        """What the trimmer does."""
        return Trimming(policy=self.policy, every_s=self.trim_every_s, keep=self.keep, maxlen=self.maxlen)


class Retention:
    """Streams that are trimmed under load, while a consumer is away for some of the time."""

    name = "retention"
    takes_consumers = True
    place = 90
    summary = "does trimming keep the streams short, without removing an event that a consumer still needs?"
    parameters = RetentionParameters
    commands = PRODUCERS | CONSUMERS | {"xtrim", "memory|usage"}
    figures = figure_names(
        "retention",
        PUMPED,
        ACCOUNT,
        "events  {before,away,after}.length.max bound trimmed trimmed_unread trimmed_in_hand",
        "bytes   {before,away,after}.memory_bytes.max",
        "trims   trims",
        "µs      trim.max",
    )
    key_figures = (
        KeyFigure("retention.lost", "Events lost"),
        KeyFigure("retention.away.length.max", "Longest while it was away"),
        KeyFigure("retention.after.length.max", "Longest afterwards"),
    )
    sections = ("latency", "throughput", "lag", "events")
    profiles: dict[str, dict[str, Any]] = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {
            "rate_per_s": 300,
            "before_s": 1,
            "away_s": 1.5,
            "after_s": 3,
            "trim_every_s": 0.2,
            "maxlen": 50,
            "send_lag_budget_ms": 250,
        },
        "quick": {},
        "standard": {"before_s": 20, "away_s": 20, "after_s": 20, "trim_every_s": 1, "maxlen": 5_000},
        "full": {"before_s": 120, "away_s": 300, "after_s": 300, "trim_every_s": 1, "maxlen": 50_000},
    }

    def scheduled_s(self, parameters: RetentionParameters) -> float:
        """How long its load lasts."""
        return parameters.before_s + parameters.away_s + parameters.after_s

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Load with a trimmer beside it, outage, drain; then the account."""
        chosen: RetentionParameters = parameters
        pacer = constant(chosen.rate_per_s, chosen.before_s + chosen.away_s + chosen.after_s)
        plan = [
            Fault(
                name=chosen.fault,
                target="crm",
                at_ns=int(chosen.before_s * 1e9),
                for_ns=int(chosen.away_s * 1e9),
            )
        ]
        settings = LineSettings(
            delivery=chosen.delivery, durability=chosen.durability, is_trimmed=chosen.policy != "none"
        )
        with Line(stage, pacer, settings) as line:
            findings.server = line.server.describe()
            trimmer = Trimmer(chosen.trimming(), line)
            with contextlib.ExitStack() as trimming:
                # It goes on while the consumer drains what is left.
                line.run_load(findings, plan, lambda: _entered(trimming, trimmer.trimming()))
                line.wait_until_drained(chosen.drain_timeout_s)
            trimmer.conclude()
            _conclude(chosen, line, trimmer, findings)

    def checkers(self, parameters: RetentionParameters, record: Record) -> list[Checker]:
        """What finds its verdicts in a record of a run."""
        # What was trimmed has no place; somebody else's consumers may promise an order of the rest.
        leave_out = () if has_command(record) else {"in_order"}
        return [*line_checkers("retention", record=record, leave_out=leave_out), _bounded_checker(parameters)]

    def headline(self, parameters: RetentionParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: RetentionParameters, duration_s: float, _: str) -> RetentionParameters:
        """The parameters with which the load takes some seconds; what is longer or shorter is the time after.

        Raises:
            ParameterError: the time that the consumer is away does not fit.
        """
        after_s = duration_s - parameters.before_s - parameters.away_s
        if after_s <= 0:
            raise ParameterError(
                f"retention: {parameters.before_s:g} s before the consumer goes and {parameters.away_s:g} s "
                f"without it do not fit into {duration_s:g} s"
            )
        return replace(parameters, after_s=after_s)


@contextlib.contextmanager
def _entered(stack: contextlib.ExitStack, context: contextlib.AbstractContextManager[None]) -> Iterator[None]:
    """Enter a context now, and leave it with a stack."""
    stack.enter_context(context)
    yield


# What is found ----------------------------------------------------------------------------------------------


def bounded(name: str, lengths: Mapping[str, list[float]], bound_events: int) -> Verdict:
    """Whether streams stayed short while everybody was there.

    One reading beyond the bound is evidence against; for it there have to be readings of each such time.

    Args:
        lengths: readings, events in all streams, by when they were taken: `before` the consumer went, and `after`
            it had caught up and the trimmer had been there.
        bound_events: as many may be there.
    """
    longest = max(itertools.chain(*lengths.values()), default=None)
    if longest is None:
        return Verdict(name=name, status="UNKNOWN", detail="the length of the streams was not seen")
    detail = f"at most {longest:,.0f} events were in the streams, {bound_events:,} may be"
    if longest > bound_events:
        return Verdict(name=name, status="FAIL", detail=detail)
    unseen = [_WHEN[when] for when, values in lengths.items() if not values]
    if unseen:
        detail = f"the length of the streams was not seen {' or '.join(unseen)}"
        return Verdict(name=name, status="UNKNOWN", detail=detail)
    return Verdict(name=name, status="PASS", detail=detail)


def _conclude(chosen: RetentionParameters, line: Line, trimmer: Trimmer, findings: Findings) -> None:
    history = findings.history
    fault = planned_fault(history)
    if fault is None or fault.end_ns is None:
        raise ScenarioError("the load ended before the consumer was taken away and asked to come back")
    restart_ns = fault.end_ns
    back_ns = caught_up_ns(line, restart_ns)
    back_ns = None if back_ns is None else max(back_ns, restart_ns)
    if back_ns is not None:
        history.add(Mark(t_ns=back_ns, name=_CAUGHT_UP))
    windows = _windows(chosen, history)
    for name in ("before", "away", "after"):
        for what, unit in (("length", "events"), ("memory_bytes", "bytes")):
            values = _between(history, f"stream.{what}", *windows.get(name, (0, 0)))
            findings.figure(f"{name}.{what}.max", max(values, default=None), unit)
    findings.figure("bound", chosen.bound_events(len(line.streams.names)), "events")
    findings.figure("trimmed", trimmer.removed, "events")
    if chosen.trimming().is_to_a_length:
        findings.figure("trimmed_unread", len(trimmer.unread), "events")
        findings.figure("trimmed_in_hand", len(trimmer.in_hand), "events")
    trimmer.gather(findings.evidence)
    findings.figure("trims", trimmer.rounds, "trims")
    findings.figure("trim.max", trimmer.longest_ns / 1000, "µs")
    add_lag(findings)
    add_line_arrival(findings, line, budget_ms=chosen.send_lag_budget_ms)
    add_account(findings, line, timeout_s=chosen.drain_timeout_s)
    add_by_hand(findings)


def _windows(chosen: RetentionParameters, history: History) -> dict[str, tuple[int, int]]:
    """From when to when lengths were taken before the consumer went, while it was away, and after it was back."""
    fault = planned_fault(history)
    if fault is None or fault.end_ns is None:
        return {}
    windows = {"before": (0, fault.start_ns), "away": (fault.start_ns, fault.end_ns)}
    caught_up_ns = history.mark(_CAUGHT_UP)
    if caught_up_ns is not None:
        # After it has caught up the trimmer needs a round.
        windows["after"] = (caught_up_ns + int(chosen.trim_every_s * 1e9), 1 << 62)
    return windows


def _bounded_checker(chosen: RetentionParameters) -> Checker:
    name = "retention.bounded"

    def check(record: Record) -> Verdict:
        windows = _windows(chosen, record.history)
        there = {
            when: _between(record.history, "stream.length", *windows.get(when, (0, 0)))
            for when in ("before", "after")
        }
        bound = record.run.figure("retention.bound")
        return bounded(name, there, chosen.bound_events(len(SOURCES)) if bound is None else int(bound))

    return Checker(name, check, reads=(TIMELINE,))


def _between(history: History, name: str, from_ns: int, to_ns: int) -> list[float]:
    return [r.value for r in history.readings(name) if from_ns <= r.t_ns < to_ns and r.value is not None]


def headline(chosen: RetentionParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    lengths = [
        f"{value:,.0f} {said}"
        for name, said in _WHEN.items()
        if (value := told.value(f"{name}.length.max")) is not None
    ]
    held = (
        f"the streams held at most {', '.join(lengths)}" if lengths else "the length of the streams was not seen"
    )
    return (
        f"{_SAID[chosen.policy]}{by_hand_said(told)}, {told.value('trimmed') or 0:,.0f} events in all: {held}; "
        f"of {told.value('acknowledged') or 0:,.0f} acknowledged events {lost_said(told)}{_trimmed_said(told)}"
        f"{arrived_said(told)}."
    )


def _trimmed_said(told: Told) -> str:
    """A part of a sentence on what was lost since it was trimmed too early; empty where nothing is known to be."""
    said = {"trimmed_unread": "before they were read", "trimmed_in_hand": "while the consumer had them in hand"}
    parts = [f"{count:,.0f} {words}" for name, words in said.items() if (count := told.value(f"lost.{name}"))]
    return f" (trimmed {' and '.join(parts)})" if parts else ""


scenario = Retention()
RetentionUser = locustfile(scenario, __name__)
