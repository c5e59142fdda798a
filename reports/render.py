"""One record in, one HTML file out: everything in it, nothing fetched, readable from a disk with the network off.

    record --findings--> words --\\
           --charts----> specs ---+--> templates/report.html.j2 --> report.html
    page, static/ ---------------/

A page reads from the top as a reader asks: what came out (a verdict, a sentence, three figures), can it be
trusted (the instrument's own lateness, what it dropped), what does it look like (charts), what exactly
(tables), and how do I do it again (environment, command). A suite says the first of these for all its
members together, with the verdicts that are its own, then has a section for each.

How text gets into a page, and why it stays text there, stands in `reports.page`.
"""

from __future__ import annotations

import msgspec

from harness.check.meanwhile import stalls
from harness.measure.timeline import FaultWindow, History, Reading
from harness.record.run import SCHEMA, Figure, Record, Run, Status
from reports import findings
from reports.capacity_page import CapacityView, capacity_view
from reports.charts import charts
from reports.charts.view import Chart, Section, label_of
from reports.gates import GateTable, gate_table, library_rows
from reports.intervals import intervals_said
from reports.latencies import operations, quantiles_of
from reports.losses import lost_examples
from reports.page import chart_script, drawing, libraries, page
from reports.quantities import quantity
from reports.trust import Trust, trust

# Points in time per chart: of a single run, and of each member of a suite.
INTERVALS = 300
INTERVALS_IN_SUITE = 120
_SLOWEST = 20

_SECTIONS: dict[Section, tuple[str, str]] = {
    "capacity": ("Rate and latency", "probes"),
    "latency": ("Latency", "latency"),
    "throughput": ("Throughput", "throughput"),
    "lag": ("Consumer lag", "consumer lag"),
    "events": ("Outcome of every event", "outcomes and ledger"),
    "replay": ("Replay", "replay speed by number of events"),
    "machine": ("Server and host", "memory and CPU"),
}
# What any run may leave; of the rest a scenario that is about something else has nothing to say.
_OF_EVERY_RUN: frozenset[Section] = frozenset({"events", "machine"})


class Block(msgspec.Struct, frozen=True):
    """A section of charts: its title, its charts, and what to say where it has none."""

    title: str
    charts: list[Chart]
    missing: str


class MicroRow(msgspec.Struct, frozen=True):
    """A micro-benchmark: its name, and the figures of it in words with a length from 0 to 100."""

    name: str
    cells: list[tuple[str, float]]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the template prints it."""

    id: str
    run: Run
    status: Status
    sentence: str
    interruption: str
    without_evidence: str
    key: list[tuple[str, Figure]]
    doubts: list[findings.Doubt]
    trust: Trust
    load: str
    workers: list[findings.WorkerRow]
    blocks: list[Block]
    absent: list[str]
    timed: bool
    steps: list[list[str]]
    micro_columns: list[str]
    micro: list[MicroRow]
    gate: GateTable | None
    capacity: CapacityView | None
    libraries: list[list[str]]
    faults: list[list[str]]
    lost: list[list[str]]
    slowest: list[list[str]]
    meanwhile: list[list[str]]
    stalls: list[str]
    readings: list[list[str]]
    parameters: list[tuple[str, str]]
    environment: list[tuple[str, str]]
    command: str


def render(record: Record) -> str:
    """The report of a run, or of a suite of runs, as one self-contained HTML page.

    Args:
        record: the run; its members are read too.

    Raises:
        RunError: a part of the record, or of a member's, cannot be read.
    """
    members = record.members()
    runs = [member.run for member in members]
    per_chart = INTERVALS_IN_SUITE if members else INTERVALS
    views = [_view(r, f"r{n}", per_chart) for n, r in enumerate(members or [record])]
    own = {f.name for run in runs for f in run.figures}
    return page(
        "report.html.j2",
        title=findings.title(record),
        run=record.run,
        status=findings.overall(record.run, runs),
        sentence=findings.sentence(record.run),
        interruption=findings.interruption(record.run),
        key=findings.key_figures(record.run, runs),
        doubts=findings.doubts(record.run, runs),
        intervals_said=intervals_said(runs or [record.run]),
        is_suite=bool(members),
        own_verdicts=findings.own_verdicts(record.run, runs),
        views=views,
        own_figures=[f for f in record.run.figures if f.name not in own],
        command=findings.command(record.run),
        parameters=list(findings.flattened(record.run.parameters)),
        environment=list(findings.flattened(record.run.environment)),
        schema=SCHEMA,
        libraries=libraries(),
        script=chart_script(),
        data=drawing({view.id: [c for block in view.blocks for c in block.charts] for view in views}),
    )


def _view(record: Record, identity: str, intervals: int) -> View:
    drawn = charts(record, intervals)
    by_section = {s: [c for c in drawn if c.section == s] for s in _SECTIONS}
    expected = _expected(record.run)
    columns, micro = _micro(record.run.figures)
    return View(
        id=identity,
        run=record.run,
        status=findings.overall(record.run),
        sentence=findings.sentence(record.run),
        interruption=findings.interruption(record.run),
        without_evidence=findings.without_evidence(record.run),
        key=findings.key_figures(record.run),
        doubts=findings.doubts(record.run),
        trust=trust(record.run),
        load=findings.load(record.run),
        workers=findings.workers(record.run),
        blocks=[
            Block(_SECTIONS[s][0], found, _SECTIONS[s][1])
            for s, found in by_section.items()
            if found or s in expected
        ],
        # Of a scenario that does not say what it leaves, nobody knows what it lacks.
        absent=[
            _SECTIONS[s][1]
            for s, found in by_section.items()
            if not found and s not in expected and s in _OF_EVERY_RUN and _leaves_any(record.run)
        ],
        timed=any(c.timed for c in drawn),
        steps=_steps(record),
        micro_columns=columns,
        micro=micro,
        gate=gate_table(record.run),
        capacity=capacity_view(record),
        libraries=library_rows(record.run) if record.run.scenario == "gate" else [],
        faults=_faults(record.history),
        lost=lost_examples(record),
        slowest=_slowest(record),
        meanwhile=_meanwhile(record.history),
        stalls=[str(stall) for stall in stalls(record.history.slowest, record.history.server_events)],
        readings=_readings(record),
        parameters=list(findings.flattened(record.run.parameters)),
        environment=list(findings.flattened(record.run.environment)),
        command=findings.command(record.run),
    )


def _steps(record: Record) -> list[list[str]]:
    """The parts of an operation, such as the steps of a journey: how many were answered, and how fast."""
    log = record.latency
    known = operations(log)
    rows = []
    for operation in known:
        if operation.rpartition(".")[0] not in known:
            continue
        quantiles = quantiles_of(list(log.of(f"{operation}.response")), [0.5, 0.99, 1.0])
        count = quantiles[0].samples or 0
        rows.append([operation.rpartition(".")[2], f"{count:,}", *map(findings.told, quantiles)])
    return rows


def _leaves_any(run: Run) -> bool:
    """Whether a run leaves what any run may: of a search its probes do; and of some scenarios nobody knows."""
    return run.sections is not None and "capacity" not in run.sections


def _expected(run: Run) -> list[str]:
    """The sections of which there should be evidence, so that its absence is said in the section's own place."""
    if run.sections is not None:
        return run.sections
    if gate_table(run) is not None:
        return []  # its rounds are all that it has
    return ["latency", "throughput"] if any(".response." in figure.name for figure in run.figures) else []


def _faults(history: History) -> list[list[str]]:
    return [
        [
            fault.name,
            fault.target,
            quantity(fault.start_ns / 1e9, "s"),
            "not healed" if fault.end_ns is None else quantity((fault.end_ns - fault.start_ns) / 1e9, "s"),
        ]
        for fault in history.faults
    ]


def _slowest(record: Record) -> list[list[str]]:
    faults = record.history.faults
    return [
        [
            slow.operation,
            quantity(slow.due_ns / 1e9, "s"),
            quantity(slow.response_ns / 1e3, "µs"),
            ", ".join(f"{f.name} {f.target}" for f in faults if _during(f, slow.due_ns)),
        ]
        for slow in record.history.slowest[:_SLOWEST]
    ]


def _meanwhile(history: History) -> list[list[str]]:
    """What the server did by itself, with how many slow responses waited beside it."""
    beside = {id(stall.event): stall for stall in stalls(history.slowest, history.server_events)}
    rows = []
    for event in history.server_events:
        stall = beside.get(id(event))
        waited = f"{stall.count:,} slow responses, up to {quantity(stall.longest_ns / 1e3, 'µs')}" if stall else ""
        took = quantity(event.lasted_ns / 1e3, "µs") if event.lasted_ns else ""
        rows.append([quantity(event.t_ns / 1e9, "s"), event.name, event.detail, took, waited])
    return rows


def _during(fault: FaultWindow, t_ns: int) -> bool:
    return fault.start_ns <= t_ns and (fault.end_ns is None or t_ns < fault.end_ns)


def _readings(record: Record) -> list[list[str]]:
    """What every probe saw, known to a chart or not: how often, lowest, mean, highest, last."""
    by_series: dict[tuple[str, str, str], list[float | None]] = {}
    for entry in record.history.entries:
        if isinstance(entry, Reading):
            by_series.setdefault((entry.name, label_of(entry), entry.unit), []).append(entry.value)
    rows = []
    for (name, label, unit), values in sorted(by_series.items()):
        known = [v for v in values if v is not None]
        told = [min(known), sum(known) / len(known), max(known), known[-1]] if known else [None] * 4
        missed = f" ({len(values) - len(known)} without an answer)" if len(known) < len(values) else ""
        rows.append([name, label, f"{len(values):,}{missed}", *(quantity(v, unit) for v in told)])
    return rows


def _micro(figures: list[Figure]) -> tuple[list[str], list[MicroRow]]:
    """Figures named `micro.<name>.<part>` as a table: a row per name, a column per part."""
    found: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        parts = figure.name.split(".", 2)
        if len(parts) == 3 and parts[0] == "micro" and parts[1] != "stack":  # that one is a chart
            found.setdefault(parts[1], {})[parts[2]] = figure
    columns = list(dict.fromkeys(part for row in found.values() for part in row))
    highest = {
        part: max((row[part].value or 0.0 for row in found.values() if part in row), default=0.0)
        for part in columns
    }
    rows = []
    for name, row in found.items():
        cells = []
        for part in columns:
            cell = row.get(part)
            value = (cell.value if cell else None) or 0.0
            length = 100 * value / highest[part] if highest[part] > 0 else 0.0
            cells.append((findings.told(cell) if cell else "", max(0.0, round(length, 1))))
        rows.append(MicroRow(name.replace("_", " "), cells))
    return [part.replace("_per_s", " per second").replace("per_s", "per second") for part in columns], rows
