"""`shopbench capacity`: the highest rate at which a system keeps to budgets, as a record like any other.

    search asks for a rate --> Prober makes a run at it --> Point --> judged --> search asks for the next
                                                              |
                                        evidence "search" ----+--> figures, verdicts, the sentence, the page

What is found is kept probe by probe: a search that is ended by hand, or fails, says what it has seen until then.

Each probe begins on a server of its own (or a stream that was emptied, where the server is not ours), so that none
finds what another has left. How long that takes counts as time of the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import replace

from harness.capacity.budget import LAG, QUANTILES, LatencyBudget
from harness.capacity.judging import judged
from harness.capacity.point import Point
from harness.capacity.probed import Found, Probed, Progress, SearchPlan
from harness.capacity.probing import CommandOf, Prober
from harness.capacity.search import search
from harness.capacity.searched import SECTION, Searched, outcome, point_at, sentence, verdicts
from harness.check.figures import figure_names
from harness.check.judge import Checker
from harness.conduct.findings import Findings
from harness.conduct.scenario import ProbedScenario, ScenarioError, Stage
from harness.measure.bounds import Bounds
from harness.measure.sample_size import samples_wanted
from harness.record.run import KeyFigure, Record, Run, Verdict

LIMIT_S, PRECISION = 180.0, 0.05
# Of fewer seconds a quantile has no bounds (`harness.measure.bounds`).
PROBE_S, LONG_PROBE_S = 5.0, 10.0
# A probe has so many times the operations of which a quantile has an upper bound at all: those of a second hang
# together, and count as fewer.
_AMPLE = 2
# What is shown of a search: all points so far, and what the search is at.
Show = Callable[[Searched, Progress], None]


class CapacityParameters(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was chosen for a search; what was chosen for the load stands beside it.

    Attributes:
        scenario: that is probed.
        p50_ms, p90_ms, p99_ms, p99_9_ms, lag_s: budgets; None: there is none.
        precision: by what share the two rates may differ.
        start_per_s: the first rate that is tried.
        limit_s: that the search may take.
        probe_s, long_probe_s: that a probe is judged for, on the way and at the edge.
    """

    scenario: str
    p50_ms: Annotated[float, Meta(gt=0)] | None = None
    p90_ms: Annotated[float, Meta(gt=0)] | None = None
    p99_ms: Annotated[float, Meta(gt=0)] | None = None
    p99_9_ms: Annotated[float, Meta(gt=0)] | None = None
    lag_s: Annotated[float, Meta(gt=0)] | None = None
    precision: Annotated[float, Meta(gt=0, lt=1)] = PRECISION
    start_per_s: Annotated[float, Meta(gt=0)]
    limit_s: Annotated[float, Meta(gt=0)] = LIMIT_S
    probe_s: Annotated[float, Meta(ge=1)] = PROBE_S
    long_probe_s: Annotated[float, Meta(ge=1)] = LONG_PROBE_S

    @property
    def budgets(self) -> list[LatencyBudget]:
        """The budgets that there are."""
        limits_us = {
            **{name: _times(getattr(self, _field_of(name)), 1e3) for name in QUANTILES},
            LAG: _times(self.lag_s, 1e6),
        }
        return [LatencyBudget(name, limit_us) for name, limit_us in limits_us.items() if limit_us is not None]


def _field_of(statistic: str) -> str:
    return f"{statistic.replace('.', '_')}_ms"


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def parameters_for(
    scenario: str, budgets: Sequence[LatencyBudget], *, start_per_s: float, **given: float
) -> CapacityParameters:
    """The parameters of a search.

    Args:
        scenario: that is probed.
        budgets: that have to be kept.
        start_per_s: the first rate.
        given: others, by name.
    """
    limits = {
        "lag_s" if each.statistic == LAG else _field_of(each.statistic): each.limit_us
        / (1e6 if each.statistic == LAG else 1e3)
        for each in budgets
    }
    return CapacityParameters(scenario=scenario, start_per_s=start_per_s, **limits, **given)


def operations_for(budgets: Sequence[LatencyBudget]) -> int:
    """How many operations a probe has at least, so that each budget's quantile has an upper bound."""
    return _AMPLE * max(
        (samples_wanted(QUANTILES[each.statistic]) for each in budgets if each.statistic in QUANTILES), default=1
    )


class Capacity:
    """What judges the record of a search, whatever was probed."""

    name = "capacity"
    summary = "how many operations a second can there be, within budgets?"
    parameters = CapacityParameters
    figures = figure_names(
        "capacity",
        "1/s     *.{passes,fails}_per_s *.probe.*.rate_per_s",
        "µs      *.{passes,fails}.response.{p50,p90,p99,p99.9,max} *.{passes,fails}.send_lag.{p50,p99,max}",
        "µs      *.probe.*.{p50,p90,p99,p99.9} *.probe.*.send_lag_p99",
        "s       *.{passes,fails}.lag *.probe.*.lag *.took_s",
        "cores   *.{passes,fails,probe.*}.{server_core,instrument_core}",
        "share   *.{passes,fails,probe.*}.host_busy",
        "1       *.probes",
    )
    key_figures: tuple[KeyFigure, ...] = (
        KeyFigure("capacity.*.passes_per_s", "Highest rate that passes"),
        KeyFigure("capacity.*.fails_per_s", "Lowest rate that fails"),
        KeyFigure("capacity.*.probes", "Probes"),
    )
    sections: tuple[str, ...] = ("capacity",)
    profiles: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - the protocol wants a mapping, and nobody changes it

    def checkers(self, parameters: CapacityParameters, record: Record) -> list[Checker]:  # noqa: ARG002 - alike for all
        """What finds whether the capacity was found, in a record of a search."""
        prefix = f"capacity.{parameters.scenario}"

        def found(record: Record) -> Verdict:
            searched = record.evidence.value(SECTION, Searched)
            return verdicts(searched, outcome(searched), prefix)[0]

        def instrument(record: Record) -> Verdict | None:
            searched = record.evidence.value(SECTION, Searched)
            return _kept_up(f"{prefix}.send_lag", searched, outcome(searched))

        return [
            Checker(f"{prefix}.found", found, reads=(SECTION,), part=None),
            Checker(f"{prefix}.send_lag", instrument, reads=(SECTION,), part=None),
        ]

    def headline(self, parameters: CapacityParameters, record: Record) -> str:  # noqa: ARG002 - as other scenarios
        """What was found, in a sentence."""
        searched = record.evidence.value(SECTION, Searched)
        return sentence(searched, outcome(searched))


class CapacitySearch(Capacity):
    """A search, to be conducted like a scenario.

    Args:
        scenario: that is probed.
        load: its parameters.
        command_of: says what would repeat a probe.
        most_per_s: the highest rate that can be tried, as far as is known beforehand.
        show: told before each probe, and at the end.
    """

    def __init__(
        self,
        scenario: ProbedScenario,
        load: Struct,
        *,
        command_of: CommandOf,
        most_per_s: float = math.inf,
        show: Show = lambda *_: None,
    ) -> None:
        self._scenario = scenario
        self._load = load
        self._command_of = command_of
        self._most_per_s = most_per_s
        self._show = show
        name = scenario.name
        self.key_figures = tuple(replace(each, name=each.name.replace("*", name)) for each in Capacity.key_figures)

    def run(self, stage: Stage, parameters: Any, findings: Findings) -> None:
        """Search, and keep what is found, probe by probe."""
        _Searching(self._scenario, self._load, stage, parameters, findings, self._command_of).run(
            self._most_per_s, self._show
        )


class _Searching:
    """A search while it goes on."""

    def __init__(
        self,
        scenario: ProbedScenario,
        load: Struct,
        stage: Stage,
        chosen: CapacityParameters,
        findings: Findings,
        command_of: CommandOf,
    ) -> None:
        self._scenario, self._load, self._stage, self._chosen = scenario, load, stage, chosen
        self._findings = findings
        self._prober = Prober(scenario, load, stage, command_of)
        self._began_ns = stage.clock.now_ns()
        self._progress: Progress | None = None
        self._searched = Searched(
            scenario=scenario.name,
            operations=scenario.probing.operations,
            conditions="",
            budgets=chosen.budgets,
            precision=chosen.precision,
            start_per_s=chosen.start_per_s,
            most_per_s=None,
            limit_s=chosen.limit_s,
            points=[],
        )

    def run(self, most_per_s: float, show: Show) -> None:
        """Search until it is found, or the time is up."""
        chosen = self._chosen
        plan = SearchPlan(
            start_per_s=min(chosen.start_per_s, most_per_s),
            most_per_s=most_per_s,
            least_per_s=min(1.0, chosen.start_per_s),
            precision=chosen.precision,
            limit_s=chosen.limit_s,
            probe_s=chosen.probe_s,
            long_probe_s=max(chosen.probe_s, chosen.long_probe_s),
            operations=operations_for(chosen.budgets),
        )
        self._searched = replace(self._searched, most_per_s=None if math.isinf(most_per_s) else most_per_s)
        self._keep()

        def shown(progress: Progress) -> None:
            self._progress = progress
            show(self._searched, progress)

        try:
            found = search(plan, self._probe, self._elapsed_s, shown)
            # Which were the long ones is the search's to say: one may be cut short when time is nearly up.
            points = [
                replace(point, is_long=probed.is_long)
                for point, probed in zip(self._searched.points, found.probes, strict=True)
            ]
            self._searched = replace(self._searched, ended=found.ended, points=points)
        finally:
            self._keep()
            tell(self._searched, self._findings, self._elapsed_s())

    def _elapsed_s(self) -> float:
        return (self._stage.clock.now_ns() - self._began_ns) / 1e9

    def _probe(self, rate_per_s: float, seconds: float) -> Probed:
        """One probe, kept as soon as it is there.

        Raises:
            ScenarioError: the first one could not be carried out: no other could.
        """
        whole = max(1, int(seconds))
        point = self._prober.probe(
            rate_per_s, whole, is_long=seconds > self._chosen.probe_s, progress=self._stage.progress
        )
        self._searched = replace(self._searched, points=[*self._searched.points, point])
        self._know(self._prober.last)
        self._keep()
        if point.failed and point.number == 1:
            raise ScenarioError(point.failed)
        return judged(point, self._searched.budgets)

    def _know(self, last: Run | None) -> None:
        """What is to be said of the server and of the load: as the first probe's record has it."""
        if last is None or self._findings.server or not last.environment.get("server"):
            return
        self._findings.server = dict(last.environment["server"])
        load = last.environment.get("load", {})
        self._findings.load = {
            name: value for name, value in load.items() if name not in {"producer", "limited_by", "limited_at"}
        }
        said = self._scenario.probed_said(self._load, self._findings.server)
        self._searched = replace(self._searched, conditions=said)

    def _keep(self) -> None:
        self._findings.evidence.add_json(SECTION, self._searched)


# What was found -----------------------------------------------------------------------------------------------


def tell(searched: Searched, findings: Findings, took_s: float) -> None:
    """Put what a search has found into figures.

    Args:
        searched: as far as it has come.
        findings: of the search.
        took_s: how long it was.
    """
    found = outcome(searched)
    prefix = searched.scenario
    findings.figure(f"{prefix}.passes_per_s", found.passes, "1/s")
    findings.figure(f"{prefix}.fails_per_s", found.fails, "1/s")
    for side, status in (("passes", "PASS"), ("fails", "FAIL")):
        point = point_at(searched, found, status)
        if point is not None:
            _tell_edge(point, f"{prefix}.{side}", findings)
    findings.figure(f"{prefix}.probes", len(searched.points), "1")
    findings.figure(f"{prefix}.took_s", took_s, "s")
    for point in searched.points:
        _tell_probe(point, f"{prefix}.probe.{point.number}", findings)


def _tell_edge(point: Point, name: str, findings: Findings) -> None:
    for label, quantile in point.quantiles.items():
        bounds = Bounds(quantile.low_us, quantile.high_us, quantile.by)
        findings.figure(f"{name}.response.{label}", quantile.value_us, "µs", samples=point.samples, bounds=bounds)
    findings.figure(f"{name}.response.max", point.slowest_us, "µs")
    for label, value in point.send_lag_us.items():
        findings.figure(f"{name}.send_lag.{label}", value, "µs", samples=point.samples)
    _tell_cores(point, name, findings)


def _tell_probe(point: Point, name: str, findings: Findings) -> None:
    findings.figure(f"{name}.rate_per_s", point.rate_per_s, "1/s")
    for label, quantile in point.quantiles.items():
        bounds = Bounds(quantile.low_us, quantile.high_us, quantile.by)
        findings.figure(f"{name}.{label}", quantile.value_us, "µs", samples=point.samples, bounds=bounds)
    findings.figure(f"{name}.send_lag_p99", point.send_lag_us.get("p99"), "µs")
    _tell_cores(point, name, findings)


def _tell_cores(point: Point, name: str, findings: Findings) -> None:
    around = point.around
    if point.lag_s is not None:
        findings.figure(f"{name}.lag", point.lag_s, "s")
    findings.figure(f"{name}.server_core", around.server_core, "cores")
    findings.figure(f"{name}.instrument_core", around.instrument_core, "cores")
    findings.figure(f"{name}.host_busy", around.host_busy, "share")


def _kept_up(name: str, searched: Searched, found: Found) -> Verdict | None:
    """Whether the instrument held its schedule in the probes that the answer rests on; None: there are none."""
    points = [point for status in ("PASS", "FAIL") if (point := point_at(searched, found, status)) is not None]
    if not points:
        return None
    late = [(point.send_lag_us.get("p99", math.inf), point) for point in points]
    told = " and ".join(f"{us / 1000:.2f} ms at {point.rate_per_s:,.0f}/s" for us, point in late)
    detail = f"send lag at p99 is {told}, the budget {points[0].send_lag_budget_us / 1000:.2f} ms"
    if any(us > point.send_lag_budget_us for us, point in late):
        return Verdict(name=name, status="UNKNOWN", detail=f"the instrument fell behind: {detail}")
    return Verdict(name=name, status="PASS", detail=f"the instrument held its schedule: {detail}")
