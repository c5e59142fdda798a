"""The end of a run, and every later look at it: a scenario's checkers judge the record.

    judged_run(scenario, record)      the same call ends `shopbench run` and makes `shopbench check RUN`

A record has, besides the verdicts of its scenario, those that any run has: that it came to its end, that probes
and workers have told what they saw, what the server did; and those of other packages (`ordershop_bench.checkers`).
Then the instrument is looked at: a verdict that rests on one that was disturbed is UNKNOWN, and says by whom.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec
from msgspec.structs import replace

from harness.check import instrument
from harness.check.checkers import all_answered
from harness.check.judge import Checker, judge, lacking
from harness.check.loads import loads_of, named, workers_checkers
from harness.check.meanwhile import server_checkers
from harness.host.neighbors import Neighbors
from harness.host.plugins import found_of
from harness.host.throttling import Throttled
from harness.record.evidence import EvidenceError
from harness.record.load_report import LoadReport, section_of
from harness.record.run import Record, Run, RunError, Verdict, load

CHECKERS = "ordershop_bench.checkers"
PROBES = "probes"
AGAIN = "again"


@runtime_checkable
class Judged(Protocol):
    """A scenario whose verdicts and headline follow from its record."""

    @property
    def name(self) -> str:
        """Its name on the command line and in the record."""
        ...

    @property
    def parameters(self) -> type[msgspec.Struct]:
        """Its parameters, with their types and bounds."""
        ...

    def checkers(self, parameters: Any, record: Record) -> Sequence[Checker]:
        """What finds its verdicts in a record of a run with these parameters, in their order."""
        ...

    def headline(self, parameters: Any, record: Record) -> str:
        """What came out of a run with these parameters, in a sentence, from its record."""
        ...


def judged_run(scenario: object, record: Record) -> Run:
    """What a run is with the verdicts and the headline that its record gives.

    Args:
        scenario: that was run. One whose verdicts are found while it runs keeps those that are in the record.
        record: of the run, with its evidence.
    """
    run = record.run
    if isinstance(scenario, Judged):
        chosen = record.parameters(scenario.parameters)
        own = scenario.checkers(chosen, record)
        after = _after(record, {checker.name for checker in own})
        verdicts = judge(record, [*_before(record), *own, *_others(record), *after])
        headline = _headline(scenario, chosen, record) if run.status == "complete" else ""
    else:
        verdicts = [*judge(record, _before(record)), *run.verdicts, *judge(record, _after(record))]
        headline = run.headline
    verdicts = _with_failures(scenario, record, _beside_the_instrument(record, verdicts))
    return replace(run, verdicts=verdicts, headline=headline)


def _headline(scenario: Judged, chosen: Any, record: Record) -> str:
    """What came out, in a sentence; none where what it is made of cannot be read."""
    try:
        return scenario.headline(chosen, record)
    except (RunError, EvidenceError):
        return ""


def _before(record: Record) -> list[Checker]:
    prefix = record.run.scenario
    return [*workers_checkers(prefix, record), *_probes_checkers(prefix, record)]


def _after(record: Record, own: Collection[str] | None = None) -> list[Checker]:
    prefix = record.run.scenario
    return [_finished_checker(prefix), *_not_answered_checkers(prefix, record, own), *server_checkers(prefix)]


def _others(record: Record) -> list[Checker]:
    """What other packages add: each a `Checker`, whose verdict gets the scenario's name in front.

    Raises:
        PluginError: one cannot be taken.
    """
    others = found_of(CHECKERS, Checker).values()
    return [replace(other, name=f"{record.run.scenario}.{other.name}") for other in others]


def _probes_checkers(prefix: str, record: Record) -> list[Checker]:
    """Whether a probe has failed: its readings are not all there, so the run is not complete."""
    name = f"{prefix}.probes"

    def check(record: Record) -> Verdict:
        reasons = record.evidence.value(PROBES, list[str])
        return Verdict(name=name, status="UNKNOWN", detail="; ".join(reasons))

    return [Checker(name, check, reads=(PROBES,), part=None)] if record.evidence.has(PROBES) else []


def _finished_checker(prefix: str) -> Checker:
    name = f"{prefix}.finished"

    def check(record: Record) -> Verdict | None:
        if record.run.status == "complete":
            return None
        return Verdict(name=name, status="UNKNOWN", detail=record.run.reason)

    return Checker(name, check, part=None)


def _not_answered_checkers(prefix: str, record: Record, own: Collection[str] | None) -> list[Checker]:
    """What a load was answered, where not all was well, of a run that failed before it could say so itself.

    Args:
        own: the verdicts that its scenario would find; None: nobody knows. One that does not ask whether a load
            was answered, as its server is killed under it, is not asked here either.
    """
    if record.run.status != "failed":
        return []
    names = {load: named(prefix, load, "answered") for load in loads_of(record)}
    return [_not_answered_checker(name, load) for load, name in names.items() if own is None or name in own]


def _not_answered_checker(name: str, load: str) -> Checker:
    section = section_of("load", load)

    def check(record: Record) -> Verdict | None:
        found = all_answered(name, record.evidence.value(section, LoadReport))
        return found if found.status != "PASS" else None

    return Checker(name, check, reads=(section,), part=None)


def _with_failures(scenario: object, record: Record, found: list[Verdict]) -> list[Verdict]:
    """Verdicts, and what fails of a part's second measurement beside it, such as keys that a server evicted."""
    for repeat in record.run.repeats:
        is_whole = repeat.part == record.run.scenario
        if repeat.is_judged and not is_whole:
            again = judged_run(scenario, load(record.directory / repeat.again))
            failed = {verdict.name: verdict for verdict in again.verdicts if verdict.status == "FAIL"}
            found = [*(failed.pop(verdict.name, verdict) for verdict in found), *failed.values()]
    return found


# The instrument -------------------------------------------------------------------------------------------


def _beside_the_instrument(record: Record, found: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts, with what the record says of the instrument, and of who was in its way."""
    unique = {verdict.name: verdict for verdict in reversed(found)}
    in_order = [unique.pop(verdict.name) for verdict in found if verdict.name in unique]
    return [_with_cause(record, verdict) for verdict in in_order]


def _with_cause(record: Record, verdict: Verdict) -> Verdict:
    run = record.run
    if verdict.status == "UNKNOWN" and lacking(record, verdict):
        # Nobody was in the way: what it rests on is not there.
        return verdict
    who, held = _in_the_way(run, verdict)
    came = run.environment.get("load", {})
    [judged] = instrument.judged([verdict], run.figures, run.parameters, came, held)
    return instrument.with_cause(judged, who, held)


def _in_the_way(run: Run, verdict: Verdict) -> tuple[Neighbors | None, Throttled | None]:
    """Who and what had the machine while the part was measured that a verdict is about."""
    meanwhile: Mapping[str, Any] = run.environment.get("meanwhile", {})
    for repeat in run.repeats:
        later = meanwhile.get(f"{AGAIN}, {repeat.part}")
        if repeat.is_judged and later is not None and verdict.name.startswith(f"{repeat.part}."):
            meanwhile = later
    who, held = meanwhile.get("processes"), meanwhile.get("limits")
    return (
        None if who is None else msgspec.convert(who, Neighbors),
        None if held is None else msgspec.convert(held, Throttled),
    )
