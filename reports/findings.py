"""What a record says, before anyone draws or writes it: the verdict, the figures that matter, the doubts.

Every shape of a report (HTML, Markdown, JUnit, terminal) takes its words from here, so that no two of them
disagree. The rules:

    overall   the worst of the verdicts, PASS < UNKNOWN < FAIL; a suite's with its members'. No verdict at
              all is UNKNOWN, and so is a run that did not come to its end, whatever was checked until then.
    key       the figures for a reader in a hurry, as the scenario has said them in its record. Where it measures
              several things one after the other, one of each, the worst in front; else three. Those that are
              missing make room for the first that there are; a record that does not say shows what loses events,
              is slow or is fast, by the names of its figures. A suite shows one of each member.
    validity  what says how far the measurement itself can be trusted: the verdicts about the instrument,
              its send lag and GC pauses, what it dropped, the CPU time that the host took.
    load      open or closed loop, and over how many connections: latencies of one do not compare with those
              of another.
    own       what a suite was held to as a whole, such as budgets: its verdicts that are none of its members'.

Text in a record came from outside (a host name, a server's banner, a key, an error): whoever prints it passes
it through `printable` first, which masks the credentials of a URL and drops control characters. Secrets
should never reach a record; this is the second line of defence.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from harness.check.instrument import without_cause
from harness.record.run import EVIDENCE_SINCE, Figure, KeyFigure, Record, Run, Status, Verdict, WorkerShare
from reports.intervals import interval
from reports.quantities import NOT_MEASURED, quantity


def part_words(label: str, run: Run) -> str:
    """What a part of a run is called in a report: of a durability in memory only, not that it was synced.

    Args:
        label: as the names of figures have it.
        run: whose scenario has said what to call it; where it has not, the label stands for itself.
    """
    server = run.environment.get("server")
    directory = server.get("data_directory") if isinstance(server, Mapping) else None
    if label in {"always", "everysec"} and isinstance(directory, Mapping) and directory.get("is_synced") is False:
        return f"appendfsync {label} on {directory.get('file_system')}, where nothing is synced"
    return printable(run.words.get(label, label))


# Where a scenario does not say which figures matter: these, by the ends of their names.
_TELLING = ("lost", "response.p99", "response.max", "achieved_per_s", "events_per_s")
UNCHECKED = "Nothing was checked: there is no evidence for a verdict."

OUTCOMES = ("ok", "failed", "unknown", "dropped")
LEDGER = ("attempted", "acknowledged", "applied", "lost", "duplicated", "unexpected", "recovered")

_ABOUT_THE_INSTRUMENT = re.compile(
    r"instrument|send_lag|load_reached|steal|\.(probes|evidence)$|^(gate|versus)\.(.\.)?control\."
)
# What to do about a verdict that could not be decided, by its name; the first that matches.
_ADVICE = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (r"send_lag|instrument|steal", "Repeat it while no other program uses this machine, or at a lower rate."),
        (r"\.evidence$", "Bring the file back, or repeat the run."),
        (r"\.finished$", "Repeat it, and let it come to its end."),
        (r"\.workers$", "Repeat it with workers that stay to the end."),
        (r"\.probes$", "Read the reason: something could not be asked of the server."),
        (r"^capacity\..*\.found$", "See the probes: each says why."),
        (r"^(gate|versus)\.rounds$", ""),
        (r"^versus\.answered", "Repeat it at a lower rate: --rate."),
        (r"^(gate|versus)\.(.\.)?(control|background)", "Repeat it while no other program uses this machine."),
        (r"^(gate|versus)\.", "Give it more minutes: --minutes."),
        (
            r"^budget",
            "Change the budget to the conditions of this run, or repeat it under those of the budget, for longer.",
        ),
        (
            r"\.drained$|nothing_|in_order|kept_applied",
            "Give it time to drain (drain_timeout_s), or a lower rate.",
        ),
        (r"outage_happened", "See what it has started that goes on; a shell may have to `exec` the consumer."),
        (
            r"poison_passed_over|recovered_within",
            "Repeat it with a longer load, or more time to drain (drain_timeout_s).",
        ),
        (r"producers_unharmed", "Repeat it with a longer load, so that there are seconds to compare."),
        (r"", "Repeat it."),
    )
)
_SEND_LAG = re.compile(r"(^|\.)send_lag\.")
_DISTURBED = re.compile(r"\.(dropped|host_steal_share|gc_pause_max)$")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)[0-9.]*(?:\+00:00|Z)$")
_RANK: dict[Status, int] = {"PASS": 0, "UNKNOWN": 1, "FAIL": 2}
_CREDENTIALS = re.compile(r"(?<=://)\S*@")
_SECRET_PARAMETER = re.compile(r"(?i)([?&](?:password|passwd|username|token|secret)=)[^&\s]*")
# What XML 1.0 cannot carry, and what moves a terminal's cursor; tab and line feed may stay.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text from a record as it may be shown: credentials of URLs masked, control characters as `�`."""
    masked = _SECRET_PARAMETER.sub(r"\1***", _CREDENTIALS.sub("***@", text))
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", masked)


def overall(run: Run, members: Sequence[Run] = ()) -> Status:
    """PASS, UNKNOWN or FAIL for a run as a whole, or for a suite with its members."""
    statuses: list[Status] = [v.status for v in run.verdicts] + [overall(member) for member in members]
    if run.status != "complete" or not statuses:
        statuses.append("UNKNOWN")
    return max(statuses, key=_RANK.__getitem__)


def own_verdicts(run: Run, members: Sequence[Run]) -> list[Verdict]:
    """The verdicts of a suite that none of its members has, in their order; none of a single run.

    A suite repeats the verdicts of its members. What it has beyond them stands nowhere else: a verdict that two
    members have is repeated twice, and a third one of the same words is its own.
    """
    if not members:
        return []
    repeated = Counter(verdict for member in members for verdict in member.verdicts)
    own = []
    for verdict in run.verdicts:
        if repeated[verdict]:
            repeated[verdict] -= 1
        else:
            own.append(verdict)
    return own


class Doubt(NamedTuple):
    """What could not be decided: the verdict's name, why, and what to do about it; empty where why says it."""

    name: str
    why: str
    advice: str


def doubts(run: Run, members: Sequence[Run] = ()) -> list[Doubt]:
    """What could not be decided of a run that does not fail, or of a suite's members; nothing where all was."""
    if overall(run, members) != "UNKNOWN":
        return []
    found = [verdict for verdict in run.verdicts if verdict.status == "UNKNOWN"]
    known = {verdict.name for verdict in found}
    found += [v for m in members for v in m.verdicts if v.status == "UNKNOWN" and v.name not in known]
    return [Doubt(v.name, v.detail, next(told for name, told in _ADVICE if name.search(v.name))) for v in found]


def sentence(run: Run) -> str:
    """The result in one sentence: the run's own headline, or what its verdicts add up to."""
    if run.headline:
        return run.headline
    if not run.verdicts:
        return UNCHECKED
    counts = {status: sum(v.status == status for v in run.verdicts) for status in ("PASS", "FAIL", "UNKNOWN")}
    said = {"PASS": "passed", "FAIL": "failed", "UNKNOWN": "could not be decided"}
    parts = [f"{n} {said[status]}" for status, n in counts.items() if n]
    checks = "check" if len(run.verdicts) == 1 else "checks"
    return f"{len(run.verdicts)} {checks}: {', '.join(parts)}."


def repeats(run: Run) -> list[str]:
    """What was measured once more, and which measurement is judged, a sentence or two for each."""
    told = []
    for repeat in run.repeats:
        # Who had the machine stands in the verdict, where the first one is judged still.
        reason = repeat.reason if repeat.is_judged else without_cause(repeat.reason)[0]
        why = f"{repeat.part} was measured once more, at the end. The first time {reason}."
        if repeat.is_judged:
            how = f"The second is judged; the first stands beside it, as {repeat.part}.first."
        else:
            how = (
                f"The second is not valid either ({repeat.detail}), and stands beside it, as {repeat.part}.again."
            )
        told.append(f"{why} {how}")
    return told


def interruption(run: Run) -> str:
    """Why the run did not come to its end, in words; empty for one that did."""
    said = {
        "running": "This run was still going on, or was killed, when the record was written.",
        "interrupted": "This run was interrupted before its end.",
        "failed": "This run failed before its end.",
    }
    return said.get(run.status, "")


def without_evidence(run: Run) -> str:
    """That a run keeps no evidence, in words, where it was made before there was any; else empty."""
    if run.schema >= EVIDENCE_SINCE or run.members or run.status == "running":
        return ""
    return "An older shopbench made this run and kept no evidence: its verdicts cannot be judged again."


def key_figures(run: Run, members: Sequence[Run] = ()) -> list[tuple[str, Figure]]:
    """The figures that matter, each with what to call it; of a suite, the first of each member."""
    if members:
        firsts = ((member.scenario, key_figures(member)) for member in members)
        return [(f"{scenario}: {key[0][0]}", key[0][1]) for scenario, key in firsts if key][:4]
    chosen = [shown for key in run.key_figures for shown in _shown(key, run)]
    if chosen and any("*" in key.name for key in run.key_figures):
        return chosen
    taken = {figure.name for _, figure in chosen}
    rest = [figure for figure in run.figures if figure.name not in taken and figure.value is not None]
    if not chosen:
        rest.sort(key=_telling)
    return [*chosen, *((spoken(figure.name), figure) for figure in rest)][:3]


def _telling(figure: Figure) -> int:
    ends = (at for at, end in enumerate(_TELLING) if figure.name.endswith(f".{end}"))
    return next(ends, len(_TELLING))


def _shown(key: KeyFigure, run: Run) -> list[tuple[str, Figure]]:
    """What a key figure is in a run: of several parts the highest in front; what could not be measured is last."""
    before, star, after = key.name.partition("*")
    if not star:
        return [(key.label, figure) for figure in run.figures if figure.name == key.name]
    parts = {f"{before}{label}{after}": label for label in run.words}
    found = [(part_words(parts[f.name], run), f) for f in run.figures if f.name in parts]
    found.sort(key=lambda each: -math.inf if each[1].value is None else each[1].value, reverse=True)
    if not key.is_worst:
        return [(f"{key.label}, {words}", figure) for words, figure in found]
    label = f"{key.label}: {found[0][0]}" if len(found) > 1 else key.label
    return [(label, figure) for _, figure in found[:1]]


def spoken(name: str) -> str:
    """The name of a figure as words: `append.response.p99.9` is "append response p99.9"."""
    return re.sub(r"(?<!p\d\d)\.|\.(?!\d)", " ", name).replace("_per_s", " per second").replace("_", " ")


def validity(run: Run) -> tuple[list[Verdict], list[Figure]]:
    """The verdicts and figures that say how far the measurement itself can be trusted."""
    verdicts = [v for v in run.verdicts if _ABOUT_THE_INSTRUMENT.search(v.name)]
    figures = [f for f in run.figures if _SEND_LAG.search(f.name) or _DISTURBED.search(f.name)]
    return verdicts, figures


def load(run: Run) -> str:
    """How the load came, in a sentence; empty where the record does not say."""
    found = run.environment.get("load")
    if not isinstance(found, Mapping):
        return ""
    if found.get("loop") == "closed":
        return "Closed loop: each call began when the one before had been answered."
    if found.get("loop") == "paced":
        users = f"{found['users']} users" if "users" in found else "users"
        arrivals = f", arrivals {found['arrivals']}" if "arrivals" in found else ""
        return f"Paced: {users} who do one thing at a time{arrivals}; each latency counts from when it was due."
    if found.get("loop") != "open":
        return ""
    count = found.get("connections")
    parts = [f"{count} {'connection' if count == 1 else 'connections'}"] if count is not None else []
    parts += [f"arrivals {found['arrivals']}"] if "arrivals" in found else []
    said = f"Open loop: {', '.join(parts)}; each latency counts from when its operation was due."
    payloads = found.get("payloads")
    return f"{said} {_payloads(payloads)}" if isinstance(payloads, Mapping) else said


def _payloads(found: Mapping[str, Any]) -> str:
    """What is known of payloads from a file, in a sentence."""
    lengths = found["bytes"]
    return (
        f"Payloads: {found['lines']:,} lines of a file, {lengths['least']:,} to {lengths['most']:,} bytes each; "
        f"its SHA-256 begins with {found['sha256'][:16]}."
    )


class WorkerRow(NamedTuple):
    """A worker of a load that several made, in words."""

    name: str
    connections: str
    arrivals: str
    clock: str
    state: str


def workers(run: Run) -> list[WorkerRow]:
    """The workers whose shares make up the load, where it was spread; empty where it was not, or is not said."""
    found = run.environment.get("load")
    told = found.get("workers", []) if isinstance(found, Mapping) else []
    try:
        shares = msgspec.convert(told, list[WorkerShare])
    except msgspec.ValidationError:
        return []
    rows = []
    for share in shares:
        clock = "not compared"
        if share.clock_offset_s is not None and share.clock_error_s is not None:
            clock = f"{share.clock_offset_s * 1e3:+.2f} ms ± {share.clock_error_s * 1e3:.2f} ms"
        state = "has reported its share"
        if share.silent_from_s is not None:
            state = f"silent from {share.silent_from_s:.1f} s on, {share.unseen:,} operations have no record"
        rows.append(WorkerRow(share.name, f"{share.connections:,}", f"{share.arrivals:,}", clock, state))
    return rows


def groups(figures: Sequence[Figure], parts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Figures named `<prefix>.<part>` by prefix, for those prefixes that have one of `parts` measured."""
    found: dict[str, dict[str, float]] = {}
    for figure in figures:
        prefix, _, part = figure.name.rpartition(".")
        if prefix and part in parts and figure.value is not None:
            found.setdefault(prefix, {})[part] = figure.value
    return found


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters or environment as pairs of a dotted name and text."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{name}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, 1):
                yield from flattened(item, f"{name}.{number}.")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        else:
            yield name, "" if value is None else str(value)


def command(run: Run) -> str:
    """The command that repeats the run, quoted for a shell."""
    return shlex.join(run.command)


def told(figure: Figure) -> str:
    """A figure's value in words; of a quantile with its interval, or with what it has too little of for one."""
    if figure.value is None:
        return NOT_MEASURED
    within = interval(figure)
    return f"{quantity(figure.value, figure.unit)} ({within})" if within else quantity(figure.value, figure.unit)


def moment(run: Run) -> str:
    """When a run began: `2026-11-23 14:15:02 UTC`; the record's own words where they are no such time."""
    match = _STAMP.match(run.started_at)
    return f"{match[1]} {match[2]} UTC" if match else run.started_at


def lasted(run: Run) -> str:
    """How long a run was; unknown where it goes on or was killed, for then the record is of its beginning."""
    return "unknown" if run.status == "running" else quantity(run.duration_s, "s")


def title(record: Record) -> str:
    """What the report is called: the scenario, and when it ran."""
    return f"{record.run.scenario} · {record.run.started_at}"
