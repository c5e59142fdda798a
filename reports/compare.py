"""Two or more runs side by side: what differs between them first, then how many times slower or faster.

    records --differences--> what differs in question, machine, server, code; and how much that matters
            --ratios-------> each figure of B by A's (and of C by A's, ...), with an interval where there is one

The first run is what the others are set against. A ratio means something only where the runs asked the same
question under the same conditions, so each difference has a weight:

    invalid   the figures answer different questions, and their ratio answers none: another scenario, load,
              rate, durability or delivery; another kind of machine; a run that did not come to its end, or
              whose instrument could not keep its schedule
    weakens   the ratio stands, but this could be why: other packages, another kernel, other random numbers.
              A server's version and the revision of the code are here, too: they may be the very thing that is
              compared, and then should be the only thing that differs

With one invalid difference the runs are *not comparable*: ratios are shown, but not called slower or faster.

A parameter that this table does not know is invalid, since it was asked for; a fact of the environment that it
does not know only weakens. The name of a host weakens: a container has a new one each time.

There is one run a side, so an interval covers variation within these runs only (`harness.check.ratio`). Suites are
compared member by member, and a single run with the member of a suite that has its scenario.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from harness.check.ratio import Ratio, Seconds, ratios, seconds_of
from harness.measure.hlog import LatencyLog
from harness.measure.recorder import KINDS
from harness.measure.sample_size import too_few
from harness.record.run import Record, Run, Status
from reports import findings
from reports.failures import Refusal, refusals
from reports.findings import printable
from reports.latencies import intervals_of, operations, total_of
from reports.quantities import significant

Weight = Literal["invalid", "weakens"]

MOST_RUNS = 8
SEED = 1
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
NOT_RECORDED = "not recorded"

# The first that matches a difference's name gives its weight, and why.
_WEIGHTS: tuple[tuple[str, Weight, str], ...] = (
    (r"scenario", "invalid", "another question was asked"),
    (r"status", "invalid", "a run that did not come to its end has not measured everything"),
    (r"environment\.load\.workers", "invalid", "the load was spread in another way"),
    (r"environment\.load\..*", "invalid", "the load came in another way"),
    (r"parameters\.(producer|seed)|seed", "weakens", "other random numbers give other arrivals or data"),
    (r"parameters\.profile", "weakens", "only names a set of parameters; those that differ stand here by name"),
    (r"parameters\.(scenarios|send_lag_budget_ms|drain_timeout_s)", "weakens", "moves verdicts, not figures"),
    (r"parameters\.(duration_s|before_s|after_s)", "weakens", "a longer run meets more rare events"),
    (r"parameters\.(baseline|candidate)", "weakens", "other code: perhaps what is compared"),
    (r"parameters\.(durability|delivery)", "invalid", "an answer means something else"),
    (r"parameters\..*", "invalid", "another load was asked for"),
    (r"environment\.server\.(appendonly|appendfsync|save)", "invalid", "another durability"),
    (
        r"environment\.server\.(name|version)",
        "weakens",
        "perhaps what is compared; then nothing else should differ",
    ),
    (
        r"environment\.server\.data_directory\.is_synced",
        "invalid",
        "another durability: memory is not synced",
    ),
    (r"environment\.server\..*", "weakens", "the server was set up in another way"),
    (r"environment\.instrument\.cores_plan", "invalid", "load and server shared cores in another way"),
    (r"environment\.instrument\.dated_by", "invalid", "answers were dated in another way, some of them later"),
    (r"environment\.host\.(cpu|cores|machine)", "invalid", "another machine"),
    (r"environment\.host\.(host|memory_bytes)", "weakens", "perhaps another machine"),
    (
        r"environment\.host\.(revision|directory_revision|shopbench|packages\.ordershop-bench)",
        "weakens",
        "other code: perhaps what is compared; then nothing else should differ",
    ),
    (r"environment\.host\..*", "weakens", "another system, interpreter or library needs another time"),
    (r".*", "weakens", "may move figures"),
)
# What every run has of its own; an address only where we start the server, on a port that is free. Workers have
# names and clocks anew each time: of them only how many there were is a fact.
_OWN = re.compile(
    r"environment\.(load\.(producer|workers\..*)|meanwhile\..*"
    r"|server\.(owned|run_id|process_id|ping_us|lock|left_behind|data_directory\.path))",
    re.DOTALL,
)
_ADDRESS = "environment.server.url"
_LATENCY = re.compile(rf"\.({'|'.join(KINDS)})\.(p50|p90|p99|p99\.9|max)$")
_TIMES = {"ns", "µs", "us", "ms", "s"}


class Difference(msgspec.Struct, frozen=True):
    """Something that is not the same in all runs: its name, its value in each, and what that means."""

    name: str
    values: list[str]
    weight: Weight
    why: str


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
    """A figure in all runs, and the ratio of each but the first to the first."""

    label: str
    name: str
    unit: str
    values: list[float | None]
    ratios: list[Ratio | None]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one scenario, set against the first of them.

    `same` are the facts in which they agree; `key` the figures that matter, `latency` those of each operation
    and kind, `others` all the rest; `refused` is what was answered with an error, by kind.
    """

    scenario: str
    sides: list[Side]
    differences: list[Difference]
    same: list[tuple[str, str]]
    key: list[Line]
    latency: dict[str, list[Line]]
    others: list[Line]
    refused: list[Refusal]

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


def spoken_name(name: str) -> str:
    """The name of a difference, without where in the record it stands."""
    return re.sub(r"^(parameters|environment\.(host|load))\.|^environment\.", "", name).replace(".", " ")


# --- what differs ----------------------------------------------------------------------------------------


def differences(sides: Sequence[Side]) -> tuple[list[Difference], list[tuple[str, str]]]:
    """What is not the same in all runs, the invalid first, and what is."""
    facts = [_facts(side.run) for side in sides]
    owned = all(_is_owned(side.run) for side in sides)
    found: list[Difference] = []
    same: list[tuple[str, str]] = []
    for name in dict.fromkeys(name for f in facts for name in f):
        values = [f.get(name, NOT_RECORDED) for f in facts]
        if name == _ADDRESS and owned:
            continue
        if len(set(values)) == 1:
            same.append((name, values[0]))
        else:
            weight, why = weight_of(name)
            found.append(Difference(name, values, weight, why))
    found += _doubts(sides)
    return sorted(found, key=lambda d: d.weight != "invalid"), same


def weight_of(name: str) -> tuple[Weight, str]:
    """How much it matters that runs differ in something, and why."""
    return next((weight, why) for pattern, weight, why in _WEIGHTS if re.fullmatch(pattern, name, re.DOTALL))


def question(run: Run) -> tuple[tuple[str, str], ...]:
    """What makes a run comparable with others: its facts whose difference would be invalid."""
    facts = _facts(run).items()
    return tuple((name, value) for name, value in facts if name != "status" and weight_of(name)[0] == "invalid")


def _is_owned(run: Run) -> bool:
    server = run.environment.get("server")
    return isinstance(server, Mapping) and server.get("owned") is True


def _facts(run: Run) -> dict[str, str]:
    nested: Mapping[str, Any] = {
        "scenario": run.scenario,
        "status": run.status,
        "seed": run.seed,
        "parameters": run.parameters,
        "environment": run.environment,
    }
    facts = dict(findings.flattened(nested))
    load = run.environment.get("load")
    if isinstance(load, Mapping) and isinstance(load.get("workers"), list):
        facts["environment.load.workers"] = str(len(load["workers"]))
    # What came of a parameter stands among the parameters, and once is enough.
    asked = {f"environment.load.{name}" for name in run.parameters}
    return {name: value for name, value in facts.items() if not _OWN.fullmatch(name) and name not in asked}


def _doubts(sides: Sequence[Side]) -> list[Difference]:
    """What makes a single run doubtful, whatever the others are: it then stands here although nothing differs."""
    found = []
    if len({side.run.status for side in sides}) == 1 and sides[0].run.status != "complete":
        found.append(Difference("status", [side.run.status for side in sides], *weight_of("status")))
    named: dict[str, list[str]] = {}
    for at, side in enumerate(sides):
        for verdict in findings.validity(side.run)[0]:
            if verdict.status != "PASS":
                named.setdefault(verdict.name, ["" for _ in sides])[at] = f"{verdict.status}: {verdict.detail}"
    why = "a measurement that is in doubt itself"
    return found + [Difference(f"verdict {name}", values, "invalid", why) for name, values in named.items()]


# --- figures ---------------------------------------------------------------------------------------------


def _compared(sides: list[Side], seed: int) -> Comparison:
    found, same = differences(sides)
    logs = [side.record.latency for side in sides]
    for side in sides:
        # Nothing of it is compared; but a run whose timeline was cut off is broken, and is not to look whole.
        _ = side.record.history
    latency = _latency_lines(logs, seed)
    key = _key_lines(sides, latency)
    taken = {line.name for line in key}
    first = {f.name: f.unit for side in sides for f in side.run.figures}
    return Comparison(
        scenario=" / ".join(dict.fromkeys(side.run.scenario for side in sides)),
        sides=sides,
        differences=found,
        same=same,
        key=key,
        latency=latency,
        others=[_line(sides, "", name, unit, latency) for name, unit in first.items() if name not in taken],
        refused=refusals([side.run for side in sides]),
    )


def _latency_lines(logs: Sequence[LatencyLog], seed: int) -> dict[str, list[Line]]:
    """For each operation that all runs have, its quantiles of each kind, by operation."""
    found: dict[str, list[Line]] = {}
    for operation in operations(logs[0]):
        if not all(operation in operations(log) for log in logs[1:]):
            continue
        for kind in KINDS:
            seconds = [seconds_of(intervals_of(log, operation, kind)) for log in logs]
            totals = [total_of(log, operation, kind) for log in logs]
            by_run = [total.quantiles_us(list(QUANTILES.values())) for total in totals]
            fewest = min(total.total for total in totals)
            of_first = [_ratios_of(seconds[0], other, seed) for other in seconds[1:]]
            for at, label in enumerate(QUANTILES):
                line = Line(
                    label=f"{kind.replace('_', ' ')}, {label}{_few(label, fewest)}",
                    name=f"{operation}.{kind}.{label}",
                    unit="µs",
                    values=[values[at] for values in by_run],
                    ratios=[each[at] for each in of_first],
                )
                found.setdefault(operation, []).append(line)
    return found


def _few(name: str, fewest: int | None) -> str:
    """What to add to the label of a quantile that one of the runs has of too few values."""
    return " (too few values)" if too_few(name, fewest) else ""


def _ratios_of(first: Seconds, other: Seconds, seed: int) -> list[Ratio | None]:
    return ratios(first, other, list(QUANTILES.values()), seed=seed)


def _key_lines(sides: Sequence[Side], latency: Mapping[str, list[Line]]) -> list[Line]:
    labels: dict[str, tuple[str, str]] = {}
    for side in sides:
        for label, figure in findings.key_figures(side.run):
            labels.setdefault(figure.name, (label, figure.unit))
    return [_line(sides, label, name, unit, latency) for name, (label, unit) in labels.items()]


def _line(sides: Sequence[Side], label: str, name: str, unit: str, latency: Mapping[str, list[Line]]) -> Line:
    values = [side.run.figure(name) for side in sides]
    counts = [f.samples for side in sides for f in side.run.figures if f.name == name and f.samples is not None]
    return Line(
        label=(label or findings.spoken(name)) + _few(name, min(counts, default=None)),
        name=name,
        unit=unit,
        values=values,
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


def server_of(run: Run) -> str:
    """The server's name and version, as far as they were recorded."""
    server = run.environment.get("server")
    if not isinstance(server, Mapping):
        return ""
    return printable(" ".join(str(server[key]) for key in ("name", "version") if server.get(key)))
