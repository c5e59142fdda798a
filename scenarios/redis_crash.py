"""What is gone of what Redis had acknowledged, when it is killed under load? For each durability.

Customers come and go at a steady rate while the CRM has a mail sent for each. Redis is killed (SIGKILL), started
again on what it has on disk, producers and consumers reconnect, and what waits is drained. Then the streams are
read, and every acknowledged event that is in none of them is gone.

    --- acknowledged ---X killed          restarted      first append answered      backlog has had its effect
                   |<-->| gone  |-- outage_s --|---- restart_s ------|                        |
                        |---------------- producers_away_s ----------|                        |
                                               |------------------ drained_s -----------------|

    always      written and synced before each answer         promise: nothing acknowledged is gone
    everysec    written before the answer, synced each second by a thread      promise: no more than about 2 s are
    none        in memory only                                no promise: all is gone, and so are the groups

What a kill shows, and what not. SIGKILL ends the process; the kernel lives on, and what the process had written is
written, synced or not. Redis writes its log before the answers of the same turn of its loop go out, so that with
`everysec`, too, nothing should be gone. What is not synced is lost when the machine loses its power, which this
scenario does not simulate: it shows a lower bound of that loss, and the time to be back.

An event may be gone and have had its effect, where the consumer was quicker than the kill; so there are two
counts: `gone` is what the store has broken of its promise, `lost` what has had no effect. Of what the store has
kept each event must have its effect, whatever the durability (`kept_applied`): a consumer that comes back to an
empty server makes its groups again.

An append that was sent and not answered is UNKNOWN: it may be in the streams (`unknown_stored`) or not. While
Redis reads its log it answers, and refuses each command (LOADING): these appends have `failed`. A store sends both
again with the same `event_id`; the pump sends nothing twice, so that nothing hides a loss, and looks for a server
that is away every 250 ms, which is how exact `restart_s` is.

Rejected: the three durabilities as three runs; side by side in one record they share a machine and a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

if "." not in __name__:  # loaded by Locust, which looks first where it was started (harness/locust/locustfile.py)
    sys.path.sort(key=lambda each: Path(each) == Path.cwd() != Path(__file__).parents[1])

import contextlib
import functools
import threading
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.findings import PUMPED, Findings
from harness.conduct.scenario import ParameterError, ScenarioError, Stage
from harness.host.clock import Clock
from harness.host.threads import at_work
from harness.load.pacing import constant
from harness.locust.locustfile import locustfile
from harness.nemesis.plan import Fault
from harness.record.run import KeyFigure, Record, Verdict
from harness.server.open import kind_of
from harness.server.server import Durability
from scenarios.line.account import (
    ACCOUNT,
    Accounted,
    Judgement,
    add_account,
    add_line_arrival,
    caught_up_ns,
    line_checkers,
)
from scenarios.line.line import Line
from scenarios.line.recovery import first_fault_ns
from scenarios.line.settings import Delivery, LineSettings
from scenarios.several_loads import FindingsOfOne
from scenarios.shop.shop import DURABILITY_LABELS, durability_in_words
from scenarios.told import Told, add_by_hand, arrived_said, by_hand_said, told_of

DURABILITIES: tuple[Durability, ...] = ("always", "everysec", "none")
# The log is synced each second, and Redis lets one sync be late by another before it waits for it.
EVERYSEC_WINDOW_S = 2.0
POLL_S = 0.002
# For how long no effect comes before what waits is counted as drained, with events that never will have one.
QUIET_S = 1.0


class CrashParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen for `redis_crash`.

    Attributes:
        rate_per_s: all the time.
        before_s: of load before Redis is killed.
        outage_s: until it is started again.
        after_s: of load after it has started.
        durability: of the server: one, or all, one after the other.
        delivery: how the consumer subscribes: at_least_once as the shop does, at_most_once, or from_now, from
            the end of the stream and without a position, as tutorials do; that one loses.
        connections (connections): that appends come over.
        drain_timeout_s: that the consumers may take to catch up when the load is over. Where nothing moves when
            it is up, they get more: until something moves, or nothing has for 3 claim times and 2 s.
        send_lag_budget_ms: how late, at p99, the instrument may send; beyond it the measurement is not valid.
    """

    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 1_000
    before_s: Annotated[float, Meta(gt=0, le=86_400)] = 2
    outage_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.3
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 1.2
    durability: Literal["all", "always", "everysec", "none"] = "all"
    delivery: Delivery = "at_least_once"
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 1
    drain_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60
    send_lag_budget_ms: Annotated[float, Meta(gt=0, le=60_000)] = 20

    @property
    def durabilities(self) -> Sequence[Durability]:
        """Those that are measured, in their order."""
        return DURABILITIES if self.durability == "all" else (self.durability,)


class RedisCrash:
    """Redis is killed under load, once for each durability."""

    name = "redis_crash"
    takes_consumers = True
    place = 100
    wants_own_server = True
    summary = "Redis is killed under load: which acknowledged events are gone?"
    parameters = CrashParameters
    figures = figure_names(
        "redis_crash",
        PUMPED,
        ACCOUNT,
        "events  gone unknown_stored",
        "s       gone_{from,until}_s {producers_away,restart,drained}_s",
        within="{always,everysec,none}.",
    )
    key_figures = (
        KeyFigure("redis_crash.*.gone", "Gone"),
        KeyFigure("redis_crash.*.restart_s", "Longest time to be back", is_worst=True),
    )
    sections = ("latency", "throughput")
    words = DURABILITY_LABELS
    profiles: dict[str, dict[str, Any]] = {  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it
        "smoke": {"rate_per_s": 200, "before_s": 1, "after_s": 0.7, "send_lag_budget_ms": 250},
        "quick": {},
        "standard": {"before_s": 10, "outage_s": 1, "after_s": 10},
        "full": {"rate_per_s": 5_000, "before_s": 60, "outage_s": 5, "after_s": 60},
    }

    def scheduled_s(self, parameters: CrashParameters) -> float:
        """How long its load lasts, of all durabilities."""
        return len(parameters.durabilities) * (parameters.before_s + parameters.outage_s + parameters.after_s)

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Load, kill, restart, drain and look, once for each durability."""
        chosen: CrashParameters = parameters
        if "kill" not in kind_of(stage.server).can:
            raise ScenarioError(
                "redis_crash kills the server: it wants one that it starts itself, not one at a URL"
            )
        for at, durability in enumerate(chosen.durabilities):
            part = FindingsOfOne(findings, durability)
            doing = replace(stage, progress=_share_of(stage, at, len(chosen.durabilities), durability))
            try:
                _crash(doing, chosen, durability, part)
            finally:
                part.hand_over()
        add_by_hand(findings)

    def checkers(self, parameters: CrashParameters, record: Record) -> list[Checker]:
        """What finds its verdicts in a record of a run, those of each durability by themselves."""
        return [checker for each in parameters.durabilities for checker in _checkers(each, record)]

    def headline(self, parameters: CrashParameters, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record.

        Raises:
            RunError: its timeline cannot be read.
        """
        return headline(parameters, told_of(record))

    def lasting(self, parameters: CrashParameters, duration_s: float, _: str) -> CrashParameters:
        """The parameters with which the loads of all durabilities take some seconds; the time after gives way.

        Raises:
            ParameterError: the outages do not fit.
        """
        each_s = duration_s / len(parameters.durabilities)
        after_s = each_s - parameters.before_s - parameters.outage_s
        if after_s <= 0:
            raise ParameterError(
                f"redis_crash: {parameters.before_s:g} s before the kill and {parameters.outage_s:g} s until "
                f"the restart, {len(parameters.durabilities)} times, do not fit into {duration_s:g} s"
            )
        return replace(parameters, after_s=after_s)


def _share_of(stage: Stage, at: int, of: int, durability: Durability) -> Any:
    return lambda share, doing: stage.progress((at + share) / of, f"{durability}: {doing}")


# The kill ---------------------------------------------------------------------------------------------------


class Acknowledgements:
    """Looks every 2 ms how many appends are acknowledged, while it is entered, and notes when that grows.

    Args:
        line: under load.
        clock: for the times.
    """

    def __init__(self, line: Line, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._stop = threading.Event()
        self.seen: list[tuple[int, int]] = []

    def watching(self) -> contextlib.AbstractContextManager[None]:
        """Look, in a thread, while it is entered."""
        return at_work(self._watch, self._stop, "acknowledgements")

    def _watch(self) -> None:
        before = 0
        while not self._stop.wait(POLL_S):
            count = self._line.appended
            if count > before:
                before = count
                self.seen.append((self._clock.now_ns() - self._line.origin_ns, count))

    def first_after(self, t_ns: int) -> int | None:
        """When the count grew for the first time after a moment."""
        return next((at_ns for at_ns, _ in self.seen if at_ns > t_ns), None)


def _crash(stage: Stage, chosen: CrashParameters, durability: Durability, findings: Findings) -> None:
    pacer = constant(chosen.rate_per_s, chosen.before_s + chosen.outage_s + chosen.after_s)
    plan = [
        Fault(
            name="kill",
            target="server",
            at_ns=int(chosen.before_s * 1e9),
            for_ns=int(chosen.outage_s * 1e9),
        )
    ]
    settings = LineSettings(delivery=chosen.delivery, durability=durability, connections=chosen.connections)
    with Line(stage, pacer, settings) as line:
        findings.server = line.server.describe()
        answers = Acknowledgements(line, stage.clock)
        line.run_load(findings, plan, answers.watching)
        line.wait_until_drained(chosen.drain_timeout_s, QUIET_S)
        _conclude(chosen, line, findings, answers)


def _conclude(chosen: CrashParameters, line: Line, findings: Findings, answers: Acknowledgements) -> None:
    restart_ns = findings.history.mark("restart")
    if restart_ns is None:
        raise ScenarioError("the load ended before Redis was killed and asked to come back")
    add_line_arrival(findings, line, budget_ms=chosen.send_lag_budget_ms)
    found = add_account(findings, line, timeout_s=chosen.drain_timeout_s)
    _add_gone(findings, line, found)
    killed_ns = first_fault_ns(findings.history)
    back_ns = answers.first_after(restart_ns)
    drained_ns = caught_up_ns(line, restart_ns)
    for name, since_ns, at_ns in (
        ("producers_away_s", killed_ns, back_ns),
        ("restart_s", restart_ns, back_ns),
        # Until all that was due before it, and is not lost, has had its effect.
        ("drained_s", restart_ns, None if drained_ns is None else max(drained_ns, restart_ns)),
    ):
        findings.figure(name, None if at_ns is None else (at_ns - since_ns) / 1e9, "s")


def _add_gone(findings: Findings, line: Line, found: Accounted) -> None:
    """How many acknowledged events are in no stream, and how long before the kill they were due."""
    gone = np.asarray(found.gone.to_array(), np.int64)
    before_s = (first_fault_ns(findings.history) - line.pacer.due_ns(0, line.pacer.total)[gone]) / 1e9
    findings.figure("gone", gone.size, "events")
    findings.figure("gone_from_s", float(before_s.max()) if gone.size else None, "s")
    # Below 0: after the kill.
    findings.figure("gone_until_s", float(before_s.min()) if gone.size else None, "s")
    findings.figure("unknown_stored", found.unknown_stored, "events")


# Verdicts ---------------------------------------------------------------------------------------------------


def nothing_gone(name: str, found: Accounted) -> Verdict:
    """Whether each acknowledged event is in the streams."""
    acknowledged, gone = found.account.acknowledged, len(found.gone)
    if not acknowledged:
        return Verdict(name=name, status="UNKNOWN", detail="no event was acknowledged")
    if gone:
        detail = f"{gone:,} of {acknowledged:,} acknowledged events are gone from the streams"
        return Verdict(name=name, status="FAIL", detail=detail)
    detail = f"each of {acknowledged:,} acknowledged events is in the streams after the kill"
    return Verdict(name=name, status="PASS", detail=detail)


def gone_within(name: str, found: Accounted, *, from_s: float | None, window_s: float) -> Verdict:
    """Whether what is gone was appended in the last moments before the kill.

    Args:
        from_s: how long before the kill the first of it was due; None: not known.
        window_s: how long that may be.
    """
    if not len(found.gone) or from_s is None:
        return nothing_gone(name, found)
    detail = (
        f"{len(found.gone):,} of {found.account.acknowledged:,} acknowledged events are gone, "
        f"the first from {from_s:.3f} s before the kill; {window_s:g} s are allowed"
    )
    return Verdict(name=name, status="PASS" if from_s <= window_s else "FAIL", detail=detail)


def kept_applied(name: str, found: Accounted) -> Verdict:
    """Whether each acknowledged event that the streams have kept has had its effect."""
    if not found.account.acknowledged:
        return Verdict(name=name, status="UNKNOWN", detail="no event was acknowledged")
    if not found.facts.is_closed:
        return Verdict(name=name, status="UNKNOWN", detail="not drained, so the account is not closed")
    kept = found.account.lost - found.losses.not_in_stream.count
    if kept:
        detail = f"{kept:,} acknowledged events are in the streams and have had no effect"
        return Verdict(name=name, status="FAIL", detail=detail)
    return Verdict(name=name, status="PASS", detail="each event that the streams have kept has had its effect")


def _checkers(durability: Durability, record: Record) -> list[Checker]:
    """What finds the verdicts on the crash of a server of one durability."""
    also: dict[str, Judgement] = {"kept_applied": kept_applied}
    # Appends in flight when the server was killed have no answer, and where nothing is promised all may be lost.
    leave_out = {"answered"}
    if durability == "always":
        also["nothing_gone"] = nothing_gone
    else:
        leave_out.add("nothing_lost")
    if durability == "everysec":
        from_s = record.run.figure(f"redis_crash.{durability}.gone_from_s")
        also["gone_within"] = functools.partial(gone_within, from_s=from_s, window_s=EVERYSEC_WINDOW_S)
    return line_checkers("redis_crash", durability, record=record, leave_out=leave_out, also=also)


def headline(chosen: CrashParameters, told: Told) -> str:
    """What came out, in a sentence.

    Args:
        told: of a run with these parameters.
    """
    parts = []
    for durability in chosen.durabilities:
        acknowledged, gone = told.value(f"{durability}.acknowledged"), told.value(f"{durability}.gone")
        if acknowledged is None or gone is None:
            continue
        of = f"{f'{gone:,.0f}' if gone else 'none'} of {acknowledged:,.0f}"
        said = f"{durability_in_words(durability, told.server)}, {of} were gone"
        from_s, until_s = told.value(f"{durability}.gone_from_s"), told.value(f"{durability}.gone_until_s")
        if from_s is not None and until_s is not None:
            until = f"{until_s:.2f} s before" if until_s > 0 else "the moment of"
            said += f", from {from_s:.2f} s to {until} the kill"
        restart_s = told.value(f"{durability}.restart_s")
        if restart_s is not None:
            said += f", and appends were answered {restart_s:.2f} s after the restart"
        parts.append(said + arrived_said(told, durability))
    return (
        f"Redis was killed under load{by_hand_said(told)}. Of the acknowledged events, {'; '.join(parts)}. "
        "Killing a process is not a power failure: the kernel keeps what the process had written."
    )


scenario = RedisCrash()
RedisCrashUser = locustfile(scenario, __name__)
