"""Two or more runs side by side: what differs between them first, then how many times slower or faster.

    records --differences--> what differs in question, machine, server, code; and how much that matters
            --ratios-------> each figure of B by A's (and of C by A's, ...), with an interval where there is one

The first run is what the others are set against; what their differences mean for a ratio stands in
`reports.differences`. An interval is that of one run beside another, and covers variation within these two only
(`harness.check.ratio`); where runs are of one kind, `reports.run_to_run` says what they differ by. Suites are
compared member by member, and a single run with the member of a suite that has its scenario.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from harness.check.figures import is_of_probe
from harness.check.ratio import Ratio, Seconds, ratios, seconds_of
from harness.measure.hlog import LatencyLog
from harness.measure.operations import intervals_of
from harness.measure.recorder import KINDS
from harness.record.run import Record, Run, Status
from reports import findings
from reports.differences import Difference, differences, spoken_name
from reports.failures import Refusal, refusals
from reports.intervals import interval
from reports.latencies import operations, quantiles_of
from reports.quantities import quantity, significant
from reports.run_to_run import RunToRun, run_to_run

MOST_RUNS = 8
SEED = 1
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_LATENCY = re.compile(rf"\.({'|'.join(KINDS)})\.(p50|p90|p99|p99\.9|max)$")
_TIMES = {"ns", "µs", "us", "ms", "s"}


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A run that takes part: its letter, its directory's name, its record."""

    letter: str
    name: str
    record: Record
    status: Status

    @property
    def run(self) -> Run:
        """The record of the run."""
        return self.record.run


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A figure in all runs, and the ratio of each but the first to the first.

    `intervals` says of each run's value how sure it is; empty where there is nothing to say.
    """

    label: str
    name: str
    unit: str
    values: list[float | None]
    intervals: list[str]
    ratios: list[Ratio | None]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one scenario, set against the first of them.

    `same` are the facts in which they agree; `key` the figures that matter, `latency` those of each operation
    and kind, `others` all the rest; `refused` is what was answered with an error, by kind; `run_to_run` what the
    figures that matter differ by among runs that are alike.
    """

    scenario: str
    sides: list[Side]
    differences: list[Difference]
    same: list[tuple[str, str]]
    key: list[Line]
    latency: dict[str, list[Line]]
    others: list[Line]
    refused: list[Refusal]
    run_to_run: list[RunToRun] = []

    @property
    def invalid(self) -> list[Difference]:
        """The differences that make a ratio meaningless."""
        return [d for d in self.differences if d.weight == "invalid"]

    @property
    def status(self) -> Status:
        """PASS where only the runs' own measurements differ, UNKNOWN with reservations, FAIL where invalid."""
        return "FAIL" if self.invalid else "UNKNOWN" if self.differences else "PASS"

    @property
    def sentence(self) -> str:
        """Whether the runs can be compared, in words."""
        if self.invalid:
            return f"Not comparable: {listed([spoken_name(d.name) for d in self.invalid])} differ."
        if self.differences:
            names = listed([spoken_name(d.name) for d in self.differences])
            return f"Comparable, with reservations: {names} differ. This may be why figures differ."
        return "Comparable: nothing that was recorded of these runs differs."


class Comparisons(msgspec.Struct, frozen=True, kw_only=True):
    """All that is compared: the runs as given, a comparison for each scenario, and what has no counterpart."""

    sides: list[Side]
    parts: list[Comparison]
    alone: list[str]

    @property
    def is_comparable(self) -> bool:
        """Whether there is something to compare, and none of it answers different questions."""
        return bool(self.parts) and not any(part.invalid for part in self.parts)


def compare(records: Sequence[Record], *, seed: int = SEED) -> Comparisons:
    """Set runs against the first of them; suites member by member.

    Args:
        records: two to `MOST_RUNS` runs or suites.
        seed: of the resampling behind the intervals.

    Raises:
        RunError: a part of a record cannot be read.
        ValueError: fewer than two runs, or too many.
    """
    if not 2 <= len(records) <= MOST_RUNS:
        raise ValueError(f"2 to {MOST_RUNS} runs can be compared, not {len(records)}")
    members = [record.members() for record in records]
    sides = [
        Side(
            letter=chr(ord("A") + at),
            name=record.directory.resolve().name,
            record=record,
            status=findings.overall(record.run, [m.run for m in mine]),
        )
        for at, (record, mine) in enumerate(zip(records, members, strict=True))
    ]
    if not any(members):
        return Comparisons(sides=sides, parts=[_compared(sides, seed)], alone=[])
    by_scenario = [
        {r.run.scenario: r for r in mine or [side.record]} for side, mine in zip(sides, members, strict=True)
    ]
    scenarios = dict.fromkeys(name for found in by_scenario for name in found)
    parts, alone = [], []
    for name in scenarios:
        there = [(side, found[name]) for side, found in zip(sides, by_scenario, strict=True) if name in found]
        if len(there) == len(sides):
            taking_part = [
                msgspec.structs.replace(side, record=record, status=findings.overall(record.run))
                for side, record in there
            ]
            parts.append(_compared(taking_part, seed))
        else:
            alone.append(f"{name} (only in {listed([side.letter for side, _ in there])})")
    return Comparisons(sides=sides, parts=parts, alone=alone)


def listed(words: Sequence[str], most: int = 4) -> str:
    """Words as a list in a sentence; those beyond `most` as a number."""
    shown = list(words[:most]) + ([f"{len(words) - most} more"] if len(words) > most else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


# --- figures ---------------------------------------------------------------------------------------------


def _compared(sides: list[Side], seed: int) -> Comparison:
    found, same = differences([side.run for side in sides])
    logs = [side.record.latency for side in sides]
    for side in sides:
        # Nothing of it is compared; but a run whose timeline was cut off is broken, and is not to look whole.
        _ = side.record.history
    latency = _latency_lines(logs, seed)
    key = _key_lines(sides, latency)
    taken = {line.name for line in key}
    # Probes of a search have numbers: the third of one and the third of another were at different rates.
    first = {f.name: f.unit for side in sides for f in side.run.figures if not is_of_probe(f.name)}
    return Comparison(
        scenario=" / ".join(dict.fromkeys(side.run.scenario for side in sides)),
        sides=sides,
        differences=found,
        same=same,
        key=key,
        latency=latency,
        others=[_line(sides, "", name, unit, latency) for name, unit in first.items() if name not in taken],
        refused=refusals([side.run for side in sides]),
        run_to_run=run_to_run([side.run for side in sides], [side.letter for side in sides], key),
    )


def _latency_lines(logs: Sequence[LatencyLog], seed: int) -> dict[str, list[Line]]:
    """For each operation that all runs have, its quantiles of each kind, by operation."""
    found: dict[str, list[Line]] = {}
    for operation in operations(logs[0]):
        if not all(operation in operations(log) for log in logs[1:]):
            continue
        for kind in KINDS:
            seconds = [seconds_of(intervals_of(log, operation, kind)) for log in logs]
            by_run = [quantiles_of(intervals_of(log, operation, kind), list(QUANTILES.values())) for log in logs]
            of_first = [_ratios_of(seconds[0], other, seed) for other in seconds[1:]]
            for at, label in enumerate(QUANTILES):
                line = Line(
                    label=f"{kind.replace('_', ' ')}, {label}",
                    name=f"{operation}.{kind}.{label}",
                    unit="µs",
                    values=[figures[at].value for figures in by_run],
                    intervals=[interval(figures[at]) for figures in by_run],
                    ratios=[each[at] for each in of_first],
                )
                found.setdefault(operation, []).append(line)
    return found


def _ratios_of(first: Seconds, other: Seconds, seed: int) -> list[Ratio | None]:
    return ratios(first, other, list(QUANTILES.values()), seed=seed)


def _key_lines(sides: Sequence[Side], latency: Mapping[str, list[Line]]) -> list[Line]:
    labels: dict[str, tuple[str, str]] = {}
    for side in sides:
        for label, figure in findings.key_figures(side.run):
            labels.setdefault(figure.name, (label, figure.unit))
    return [_line(sides, label, name, unit, latency) for name, (label, unit) in labels.items()]


def _line(sides: Sequence[Side], label: str, name: str, unit: str, latency: Mapping[str, list[Line]]) -> Line:
    figures = [next((f for f in side.run.figures if f.name == name), None) for side in sides]
    values = [figure.value if figure else None for figure in figures]
    return Line(
        label=label or findings.spoken(name),
        name=name,
        unit=unit,
        values=values,
        intervals=[interval(figure) if figure else "" for figure in figures],
        ratios=_interval_behind(name, values, latency) or [_plain(values[0], value) for value in values[1:]],
    )


def _interval_behind(
    name: str, values: list[float | None], latency: Mapping[str, list[Line]]
) -> list[Ratio | None] | None:
    """The ratios of the histograms that a figure was taken from: of that kind and quantile, and of its values.

    Scenarios name a figure as they like (`append.always.response.p99` is of the operation `append_always`), so
    it is recognised by what it says: by the same value in every run.
    """
    match = _LATENCY.search(name)
    if not match or None in values:
        return None
    for lines in latency.values():
        for line in lines:
            if line.name.endswith(match[0]) and line.values == values:
                return line.ratios
    return None


def _plain(first: float | None, other: float | None) -> Ratio | None:
    return Ratio(other / first) if first and other is not None else None


# --- in words --------------------------------------------------------------------------------------------


def told_value(line: Line, at: int) -> str:
    """The value of the run at that place, its interval in brackets: 7.30 ms (6.90 to 8.10 ms)."""
    within = line.intervals[at]
    return quantity(line.values[at], line.unit) + (f" ({within})" if within else "")


def told_ratio(line: Line, at: int) -> str:
    """The ratio of the run at that place in `ratios`, its interval in brackets: × 1.24 (1.18 to 1.31)."""
    ratio = line.ratios[at]
    if ratio is None:
        first, other = line.values[0], line.values[at + 1]
        # Where nothing was measured, or 0 both times, there is no ratio to tell.
        return "" if None in (first, other) or first == other else "from 0"
    value = f"× {significant(ratio.value)}"
    if ratio.low is None or ratio.high is None:
        return value
    return f"{value} ({significant(ratio.low)} to {significant(ratio.high)})"


def judged(line: Line, at: int, *, comparable: bool) -> str:
    """What a ratio says, in words: only of runs that are comparable, and only with an interval to go by."""
    ratio = line.ratios[at]
    if line.values[0] is None or line.values[at + 1] is None:
        return "not measured"
    if line.values[0] == line.values[at + 1]:
        return "equal"
    if ratio is None or ratio.low is None or not comparable:
        return "no interval" if comparable else ""
    if not ratio.is_told_apart:
        return "no difference shown"
    more = ("slower", "faster") if line.unit in _TIMES else ("more", "less")
    return f"{more[0] if ratio.value > 1 else more[1]} in these runs"
