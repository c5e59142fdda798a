"""A directory of runs as a page: newest first, each with its verdict, and how the main figures went over time.

    runs/index.html     <- runs/20261123-141502-append/run.json, runs/20261124-090114-suite/run.json, ...

The page is made of the `run.json` files alone, and of those of the members of suites. What cannot be read is
listed by its name, with the reason: a run that was cut off is the one that somebody looks for.

A line of figures over time connects only runs that ask the same question on the same kind of machine
(`reports.differences.question`): a run at another rate begins a line of its own. Otherwise a smoke run between two
long ones would look like a regression. Where a line got another level, its change points say when, at which
revision, and by how much (`harness.check.change_points`). A history that runs were appended to
(`harness.check.trend`) makes lines longer than the directory goes back; a run that is in both counts once. Lines
are inline SVG, each point with its value as a title, so the page is small, prints, and needs its script for
nothing but the filter.

A file `index.html` that is not ours is never replaced.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from harness.capacity.matrix import MATRIX, Matrix, read_matrix
from harness.capacity.matrix_table import table_of
from harness.check import trend
from harness.check.change_points import Change, change_points
from harness.consumer_check import result as checks
from harness.consumer_check.rows import status_of
from harness.record.run import Record, Run, RunError, Status, load, write_atomically
from reports import findings
from reports.compare import listed
from reports.consumer_words import sentence
from reports.differences import question, server_of, spoken_name
from reports.findings import printable
from reports.matrix_page import sentence as matrix_sentence
from reports.page import page, static
from reports.quantities import quantity

MARK = '<meta name="generator" content="shopbench index">'
_FILES = ("run.json", MATRIX)
_STAMPED = re.compile(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-.+")
# Points of a line: the newest runs; more would be closer together than a pixel.
_MOST_POINTS = 60
_MOST_LINES = 3
_WIDTH, _HEIGHT, _EDGE = 180, 40, 4


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A run, a consumer check or a matrix of the directory, or what is there in place of one.

    Attributes:
        kind: `consumer check` or `matrix`, where it is one.
        reason: its sentence, of these; of what cannot be read, why.
    """

    name: str
    stamp: str
    record: Record | None = None
    members: list[Run] = []
    status: Status = "UNKNOWN"
    server: str = ""
    link: str = ""
    reason: str = ""
    kind: str = ""

    @property
    def runs(self) -> list[Run]:
        """The members of a suite, or the run itself; empty where it cannot be read."""
        return self.members or ([self.record.run] if self.record else [])

    @property
    def doubts(self) -> list[findings.Doubt]:
        """What could not be decided."""
        return findings.doubts(self.record.run, self.members) if self.record else []

    @property
    def scenarios(self) -> list[str]:
        """The scenarios that were run, as they may be shown."""
        return [printable(run.scenario) for run in self.runs]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a line needs of a run, be it in the directory or in the history."""

    name: str
    at: str
    revision: str
    server: str
    figures: dict[str, float]


class Point(msgspec.Struct, frozen=True):
    """A run's value on a line: its place in the picture in pixels, and its words."""

    x: float
    y: float
    words: str


class Level(msgspec.Struct, frozen=True):
    """A stretch of a line between change points, in pixels."""

    begin: float
    end: float
    y: float


class Sparkline(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over the runs of a group, oldest first; its levels, and what each change was, newest first."""

    label: str
    name: str
    last: str
    range: str
    points: list[Point]
    levels: list[Level] = []
    changes: list[str] = []

    @property
    def path(self) -> str:
        """The points as SVG has them."""
        return " ".join(f"{p.x:g},{p.y:g}" for p in self.points)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that ask the same question: their scenario, how they differ from its other groups, their lines."""

    scenario: str
    told: str
    count: int
    lines: list[Sparkline]


def entries(root: Path) -> list[Entry]:
    """What there is of runs directly below a directory, newest first.

    Args:
        root: the directory.

    Raises:
        RunError: no directory, a run itself, or without a single run.
    """
    if (root / "run.json").exists():
        raise RunError(f"{root}: is a run itself; an index is made of the directory that holds runs")
    try:
        directories = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise RunError(f"{root}: no directory of runs there ({error.strerror})") from error
    found = [_entry(p) for p in directories if _STAMPED.fullmatch(p.name) or any((p / n).exists() for n in _FILES)]
    if not found:
        raise RunError(f"{root}: there are no runs in it")
    return sorted(found, key=lambda entry: (entry.stamp, entry.name), reverse=True)


def _entry(directory: Path) -> Entry:
    link = quote(f"{directory.name}/report.html") if (directory / "report.html").exists() else ""
    try:
        if (directory / checks.FILE).exists():
            return _check_entry(directory, checks.load(directory), link)
        if matrix := read_matrix(directory):
            return _matrix_entry(directory, matrix, link)
        record = load(directory)
        members = [member.run for member in record.members()]
    except RunError as error:
        # A member names its own directory, below this one.
        reason = str(error).removeprefix(f"{directory}").removeprefix(": ").lstrip("/")
        return Entry(name=directory.name, stamp=_stamp_of(directory.name), reason=reason)
    return Entry(
        name=directory.name,
        stamp=record.run.started_at,
        record=record,
        members=members,
        status=findings.overall(record.run, members),
        server=server_of(record.run),
        link=link,
    )


def _check_entry(directory: Path, check: checks.Check, link: str) -> Entry:
    sides = enumerate(check.settings.sides)
    return Entry(
        name=directory.name,
        stamp=check.started_at,
        status=status_of(check),
        link=link,
        reason=" ".join(f"{side.label}: {sentence(check, at)}" for at, side in sides),
        kind="consumer check",
    )


def _matrix_entry(directory: Path, matrix: Matrix, link: str) -> Entry:
    table = table_of(matrix, directory)
    return Entry(
        name=directory.name,
        stamp=matrix.started_at,
        status=table.status,
        link=link,
        reason=f"{matrix.title}: {matrix_sentence(matrix, table)}",
        kind="matrix",
    )


def _stamp_of(name: str) -> str:
    """The time in a directory's name, as records have it; what has none comes last."""
    match = _STAMPED.fullmatch(name)
    return "{}-{}-{}T{}:{}:{}".format(*match.groups()) if match else ""


def groups(found: Sequence[Entry], history: Sequence[trend.Entry] = ()) -> list[Group]:
    """The runs that came to their end, by the question they ask; the scenario of the newest run first.

    Args:
        found: the runs of the directory, newest first.
        history: runs of before; those that ask what no run of the directory asks are left out.
    """
    by_question: dict[tuple[tuple[str, str], ...], list[tuple[str, Run]]] = {}
    for entry in found:
        for run in entry.runs:
            if run.status == "complete":
                by_question.setdefault(question(run), []).append((entry.name, run))
    by_scenario: dict[str, list[dict[str, str]]] = {}
    for asked, runs in by_question.items():
        by_scenario.setdefault(runs[0][1].scenario, []).append(dict(asked))
    order = list(by_scenario)
    made = []
    for asked, runs in sorted(by_question.items(), key=lambda item: order.index(item[1][0][1].scenario)):
        here = [_measured(trend.entry_of(run, server=server_of(run)), name) for name, run in runs]
        there = [_measured(entry) for entry in _only_there(history, dict(asked), runs)]
        over_time = sorted([*there, *here[::-1]], key=lambda each: each.at)
        newest = runs[0][1]
        made.append(
            Group(
                scenario=printable(newest.scenario),
                told=_told(dict(asked), by_scenario[newest.scenario], runs),
                count=len(over_time),
                lines=list(_lines(newest, over_time[-_MOST_POINTS:])),
            )
        )
    return made


def _measured(entry: trend.Entry, name: str = "") -> Measured:
    return Measured(
        name=name or printable(entry.at),
        at=entry.at,
        revision=printable(entry.revision or ""),
        server=printable(entry.server),
        figures=entry.figures,
    )


def _only_there(
    history: Sequence[trend.Entry], asked: dict[str, str], runs: Sequence[tuple[str, Run]]
) -> Iterator[trend.Entry]:
    """What the history has of a question beyond the runs that are in the directory."""
    here = {run.started_at for _, run in runs}
    return (
        each
        for each in history
        if each.scenario == runs[0][1].scenario and each.question == asked and each.at not in here
    )


def _told(mine: dict[str, str], all_of_them: list[dict[str, str]], runs: Sequence[tuple[str, Run]]) -> str:
    """How a group differs from the others of its scenario, in words."""
    differing = [n for n, v in mine.items() if any(other.get(n) != v for other in all_of_them)]
    profiles = dict.fromkeys(str(run.parameters["profile"]) for _, run in runs if "profile" in run.parameters)
    words = [f"profile {' or '.join(profiles)}"] if profiles else []
    words += [f"{spoken_name(name)}={mine[name]}" for name in differing]
    return printable(listed(words, 6)) if words else ""


def _lines(newest: Run, runs: Sequence[Measured]) -> Iterator[Sparkline]:
    """The main figures of the newest run, over all of these."""
    for label, figure in findings.key_figures(newest)[:_MOST_LINES]:
        known = [(at, run, run.figures[figure.name]) for at, run in enumerate(runs) if figure.name in run.figures]
        if not known:
            continue
        values = [value for _, _, value in known]
        ends = min(values), max(values)
        told = [quantity(v, figure.unit) for v in ends]
        xs = [_across(at, len(runs)) for at, _, _ in known]
        changes = change_points(values)
        yield Sparkline(
            label=label,
            name=figure.name,
            # The interval is known of the newest run only.
            last=findings.told(figure) if values[-1] == figure.value else quantity(values[-1], figure.unit),
            range="" if len(known) == 1 else "the same in all" if told[0] == told[1] else " to ".join(told),
            points=[
                Point(
                    x,
                    _up(value, ends),
                    f"{run.name}, {run.server or 'server unknown'}: {quantity(value, figure.unit)}",
                )
                for x, (_, run, value) in zip(xs, known, strict=True)
            ],
            levels=list(_levels(changes, xs, ends)),
            changes=[_in_words(change, known[change.at][1], figure.unit) for change in reversed(changes)],
        )


def _levels(changes: Sequence[Change], xs: Sequence[float], ends: tuple[float, float]) -> Iterator[Level]:
    """The bars of a line that has changed, each from its first point to its last."""
    bounds = [0, *(change.at for change in changes), len(xs)]
    values = [*(change.before for change in changes[:1]), *(change.after for change in changes)]
    for value, (begin, stop) in zip(values, itertools.pairwise(bounds), strict=False):
        yield Level(xs[begin], xs[stop - 1], _up(value, ends))


def _in_words(change: Change, run: Measured, unit: str) -> str:
    """A change as `× 1.17 since 20261123-141502-append, revision 57c6260: 103 µs to 121 µs`."""
    times = f"× {change.after / change.before:.2f} " if change.before > 0 and change.after > 0 else ""
    revision = f", revision {run.revision}" if run.revision else ""
    before, after = (quantity(value, unit) for value in (change.before, change.after))
    return f"{times}since {run.name}{revision}: {before} to {after}"


def _across(at: int, count: int) -> float:
    share = at / (count - 1) if count > 1 else 1.0
    return round(_EDGE + share * (_WIDTH - 2 * _EDGE), 1)


def _up(value: float, ends: tuple[float, float]) -> float:
    # A tenth of the value fills the height at least: a wobble of a percent is to look like one.
    middle = (ends[0] + ends[1]) / 2
    height = max(ends[1] - ends[0], abs(middle) / 10)
    share = 0.5 + (value - middle) / height if height else 0.5
    return round(_HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE), 1)


def render_index(root: Path, history: Sequence[trend.Entry] = ()) -> str:
    """The page of a directory of runs.

    Args:
        root: the directory.
        history: runs that lengthen the lines of those in the directory.

    Raises:
        RunError: there are no runs in it.
    """
    found = entries(root)
    scenarios = list(dict.fromkeys(name for entry in found for name in entry.scenarios))
    comparisons = sorted((p.name for p in root.glob("compare-*.html")), reverse=True)
    return page(
        "index.html.j2",
        entries=found,
        groups=groups(found, history),
        scenarios=scenarios,
        comparisons=[(name, quote(name)) for name in comparisons],
        width=_WIDTH,
        height=_HEIGHT,
        as_json=json.dumps,
        script=static("index.js"),
    )


def write_index(root: Path, history: Sequence[trend.Entry] = ()) -> Path:
    """Write `index.html` into a directory of runs, and return its path.

    Args:
        root: the directory.
        history: runs that lengthen the lines of those in the directory.

    Raises:
        RunError: there are no runs in it, or it has an `index.html` that is not ours.
        OSError: the file cannot be written.
    """
    path = root / "index.html"
    if not _is_ours(path):
        raise RunError(f"{path}: was not made by shopbench, and is left as it is")
    write_atomically(path, render_index(root, history).encode())
    return path


def refresh_index(root: Path, history: Sequence[trend.Entry] = ()) -> None:
    """Write `index.html` anew after a run, once there are two; a run has its report where that cannot be.

    Args:
        root: the directory that holds the run.
        history: as for `write_index`.
    """
    # Whoever wants the index asks for it, with `shopbench index`, and is told why there is none.
    with contextlib.suppress(RunError, OSError):
        if len(entries(root)) > 1:
            write_index(root, history)


def _is_ours(path: Path) -> bool:
    return not path.exists() or (path.is_file() and MARK.encode() in path.read_bytes()[:4096])
