"""Can the measurement be trusted? One sentence, and one table that it can be read from.

                            response   service   send lag   reading lag   floor: xadd
    append.always    p50      812 µs    790 µs      22 µs         11 µs        640 µs
                     p99     7.30 ms   7.10 ms     210 µs         90 µs       6.90 ms
                     max      295 ms    295 ms    1.20 ms        400 µs        291 ms

Send lag and reading lag are the instrument's own. A floor (`<load>.floor.<what>.service.<quantile>`) is what a
client takes that does nothing else, on the same machine and beside the same server. A load is whatever has a send
lag. Medians do not add up, so no remainder is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from harness.check.instrument import without_cause
from harness.record.run import Figure, Run, Status
from reports import findings
from reports.quantities import quantity

QUANTILES = ("p50", "p99", "max")
_KINDS = ("response", "service", "send_lag", "reading_lag")
_FIGURE = re.compile(rf"(.+)\.({'|'.join(_KINDS)})\.({'|'.join(QUANTILES)})")
_FLOOR = re.compile(rf"(.+)\.floor\.(\w+)\.service\.({'|'.join(QUANTILES)})")
_DATED = {
    "kernel": "answers are dated by the kernel, when they arrived",
    "clock": "answers are dated when they were read",
    "both": "some answers are dated by the kernel, others when they were read",
}
_CORES = {
    "all": "processes ran on whichever cores the system gave them",
    "one": "all processes shared one core",
    "apart": "the load had a core of its own",
}
_WORST: tuple[Status, ...] = ("PASS", "UNKNOWN", "FAIL")


class Row(NamedTuple):
    """A load at one quantile: its name where it begins, else empty; the quantile; a text for each column."""

    name: str
    quantile: str
    cells: list[str]


class Trust(NamedTuple):
    """How far a measurement can be trusted.

    Attributes:
        status: the worst of the verdicts on the instrument; None where there is none.
        sentence: the answer; empty where nothing is known.
        facts: how it was measured, as parts of a sentence.
        columns: of the table.
        rows: of the table, three for each load.
    """

    status: Status | None
    sentence: str
    facts: list[str]
    columns: list[str]
    rows: list[Row]


def trust(run: Run) -> Trust:
    """How far the measurement of a single run can be trusted."""
    table, floors = _by_load(run)
    verdicts = findings.validity(run)[0]
    doubts = [verdict for verdict in verdicts if verdict.status != "PASS"]
    if doubts:
        sentence = f"Not all of it. {_told_once([(verdict.name, verdict.detail) for verdict in doubts])}."
    elif verdicts:
        sentence = f"Yes: {_held(table)}."
    else:
        sentence = ""
    kinds = [kind for kind in _KINDS if any(kind in values for load in table.values() for values in load.values())]
    columns = [kind.replace("_", " ") for kind in kinds] + [f"floor: {what}" for what in floors]
    rows = [
        Row(
            load if quantile == QUANTILES[0] else "",
            quantile,
            [
                *(_told(values.get(quantile, {}).get(kind)) for kind in kinds),
                *(_told(_floor(floors[what], load, quantile)) for what in floors),
            ],
        )
        for load, values in table.items()
        for quantile in QUANTILES
    ]
    status = max((verdict.status for verdict in verdicts), key=_WORST.index, default=None)
    return Trust(status, sentence, _facts(run), columns, rows)


def _told_once(doubts: list[tuple[str, str]]) -> str:
    """Doubts with their reasons; who had the machine meanwhile, only once where it is the same for all."""
    split = [(name, *without_cause(detail)) for name, detail in doubts]
    causes = {cause for *_, cause in split}
    if len(causes) > 1:
        return "; ".join(f"{name}: {detail}" for name, detail in doubts)
    told = "; ".join(f"{name}: {reason}" for name, reason, _ in split)
    cause = causes.pop()
    return f"{told}. Meanwhile {cause}" if cause else told


_Table = dict[str, dict[str, dict[str, Figure]]]
_Floors = dict[str, dict[tuple[str, str], Figure]]


def _by_load(run: Run) -> tuple[_Table, _Floors]:
    """Figures by load, quantile and kind; and those of floors by what they are, load and quantile."""
    table: _Table = {}
    floors: _Floors = {}
    for figure in run.figures:
        # Of a floor only what it is the floor of is shown.
        if match := _FLOOR.fullmatch(figure.name):
            floors.setdefault(match[2], {})[match[1], match[3]] = figure
        elif ".floor." not in figure.name and (match := _FIGURE.fullmatch(figure.name)):
            table.setdefault(match[1], {}).setdefault(match[3], {})[match[2]] = figure
    with_lag = {
        load: values for load, values in table.items() if any("send_lag" in kinds for kinds in values.values())
    }
    return with_lag, floors


def _floor(found: Mapping[tuple[str, str], Figure], load: str, quantile: str) -> Figure | None:
    """The floor of a load, or of the scenario that it is a part of."""
    parts = load.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((found[name, quantile] for name in names if (name, quantile) in found), None)


def _told(figure: Figure | None) -> str:
    return "" if figure is None else findings.told(figure)


def _held(table: _Table) -> str:
    """That the instrument held its schedule, and how late it was beside the response, at p99: no share of it."""
    shares = []
    for values in table.values():
        lag, response = (values.get("p99", {}).get(kind) for kind in ("send_lag", "response"))
        if lag and response and lag.value is not None and response.value:
            shares.append(lag.value / response.value)
    if not shares:
        return "the instrument held its schedule"
    where = "" if len(shares) == 1 else f" in each of {len(shares)} loads"
    most = "" if len(shares) == 1 else "at most "
    return (
        f"the instrument held its schedule{where}; the p99 of its send lag is {most}"
        f"{quantity(max(shares), 'share')} of the response's"
    )


def _facts(run: Run) -> list[str]:
    """How it was measured and what disturbed it, as far as the record says."""
    about = run.environment.get("instrument")
    told = []
    if isinstance(about, Mapping):
        told += [_DATED.get(str(about.get("dated_by")), ""), _CORES.get(str(about.get("cores_plan")), "")]
    worst: dict[str, Figure] = {}
    for figure in findings.validity(run)[1]:
        name = figure.name.rpartition(".")[2]
        if figure.value is not None and (name not in worst or figure.value > (worst[name].value or 0)):
            worst[name] = figure
    for name, words in (
        ("gc_pause_max", "the longest garbage collection of the load took {}"),
        ("host_steal_share", "{} of the CPU time was taken by the host"),
    ):
        if name in worst and worst[name].value:
            told.append(words.format(findings.told(worst[name])))
    dropped = [f.value for f in findings.validity(run)[1] if f.name.endswith(".dropped") and f.value is not None]
    if dropped:
        count = sum(dropped)
        told.append(
            f"{count:,.0f} operations that were due were not sent" if count else "all that was due was sent"
        )
    return [each for each in told if each]
