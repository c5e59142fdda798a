"""Measured once more: a part of a run whose instrument fell behind is repeated at the end, and both are kept.

    run, complete --> which parts could not be decided, as the instrument fell behind?
                        append.always   a part of a scenario that can measure it alone (`MeasuredInParts`)
                        lag             a scenario as a whole
                      each is measured again, into a directory of its own
                        runs/.../first/      the record as it was
                        runs/.../again-always/   the second measurement, a record as any other
                        runs/.../            the record that is judged

Who judges: the second measurement, where its instrument held its schedule; else the first, which stays what it
was, UNKNOWN. All figures of the other one stand beside those that are judged, as `append.always.first...` or
`append.always.again...`, and its verdicts in `Run.repeats`.

A valid measurement is never replaced: only what fell behind is repeated, once. Nor is one that fails: a loss is a
loss, however late the instrument was, and no second try takes it back.

Rejected: to repeat at once. Whoever had the machine has it a second later, too.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
from msgspec.structs import replace

from harness.check.arrival import ArrivalRule
from harness.check.instrument import fell_behind
from harness.conduct.conduct import conduct
from harness.conduct.judging import AGAIN, judged_run
from harness.conduct.scenario import Scenario, Stage
from harness.measure.recorder import Interval
from harness.measure.timeline import Entry, FaultWindow, History, Phase, Reading, SlowMark
from harness.record import evidence, run
from harness.record.files import LATENCIES, TIMELINE, save_measurements
from harness.record.load_report import section_of
from harness.record.run import Figure, Record, Repeat, Run
from harness.record.sections import Sections

FIRST = "first"


@runtime_checkable
class MeasuredInParts(Protocol):
    """A scenario that measures one thing after the other, each with a name of its own in figures and operations.

    A part `append.always` has the figures and verdicts that begin so, and the operation `append_always`.
    """

    def alone(self, parameters: Any, part: str) -> msgspec.Struct:
        """The parameters that measure one part only."""
        ...


def parts_behind(scenario: Scenario, found: Run) -> list[str]:
    """The parts of a run that are worth a second measurement: their instrument fell behind, and nothing fails.

    Args:
        found: its record.
    """
    if found.status != "complete":
        return []
    behind = list(dict.fromkeys(v.name.rpartition(".")[0] for v in found.verdicts if fell_behind(v, found)))
    if not isinstance(scenario, MeasuredInParts):
        behind = [scenario.name] if behind else []
    failed = [verdict.name for verdict in found.verdicts if verdict.status == "FAIL"]
    return [part for part in behind if not any(_belongs(name, part) for name in failed)]


def _belongs(name: str, part: str) -> bool:
    return name.startswith(f"{part}.")


def measured_again(
    scenario: Scenario,
    parameters: msgspec.Struct,
    record: Record,
    stage_for: Callable[[Path], Stage],
    *,
    command: Sequence[str],
) -> tuple[Record, BaseException | None]:
    """Measure once more what could not be decided in a run, as its instrument fell behind; both are kept.

    Args:
        parameters: of the run.
        record: of the run; it is replaced by the one that is judged.
        stage_for: makes the stage of a directory.

    Returns:
        The record; and what ended the second measurement early, or None.
    """
    parts = parts_behind(scenario, record.run)
    if parts:
        _keep(record.directory, record.directory / FIRST)
    for part in parts:
        is_whole = all(_belongs(figure.name, part) for figure in record.run.figures)
        name = AGAIN if is_whole else f"{AGAIN}-{part.removeprefix(f'{scenario.name}.')}"
        alone = scenario.alone(parameters, part) if isinstance(scenario, MeasuredInParts) else parameters
        again, ended = conduct(scenario, alone, stage_for(record.directory / name), command=command)
        whole = merged(record, again, part, is_whole=is_whole)
        if whole.repeats[-1].is_judged:
            _save(record, again, part, whole, is_whole=is_whole)
        else:
            run.save(record.directory, whole)
        record = run.load(record.directory)
        if whole.repeats[-1].is_judged:
            run.save(record.directory, judged_run(scenario, record))
            record = run.load(record.directory)
        if ended is not None:
            return record, ended
    return record, None


def _keep(directory: Path, kept: Path) -> None:
    """Copy the record of a directory, which is about to be replaced."""
    kept.mkdir()
    for name in ("run.json", LATENCIES, TIMELINE, evidence.FILE):
        if (directory / name).exists():
            shutil.copyfile(directory / name, kept / name)


# The record that is judged -----------------------------------------------------------------------------------


def merged(first: Record, again: Record, part: str, *, is_whole: bool) -> Run:
    """The record of a run of which a part was measured once more.

    Args:
        first: as it was.
        again: the second measurement.
        part: what was measured once more, as its figures begin.
        is_whole: whether the run consists of nothing else.
    """
    behind = [verdict for verdict in again.run.verdicts if fell_behind(verdict, again.run)]
    is_judged = again.run.status == "complete" and not behind
    judging, other = (again.run, first.run) if is_judged else (first.run, again.run)
    of_first = [verdict for verdict in first.run.verdicts if _belongs(verdict.name, part)]
    reasons = [verdict.detail for verdict in of_first if fell_behind(verdict, first.run)]
    repeat = Repeat(
        part=part,
        reason="; ".join(reasons),
        again=again.directory.name,
        is_judged=is_judged,
        detail=again.run.reason or "; ".join(verdict.detail for verdict in behind),
        verdicts=[verdict for verdict in other.verdicts if _belongs(verdict.name, part)],
    )
    beside = [
        replace(figure, name=f"{part}.{FIRST if is_judged else AGAIN}.{figure.name.removeprefix(f'{part}.')}")
        for figure in other.figures
        if _belongs(figure.name, part)
    ]
    if not is_judged:
        return replace(first.run, figures=[*first.run.figures, *beside], repeats=[*first.run.repeats, repeat])
    if is_whole:
        return replace(judging, figures=[*judging.figures, *beside], repeats=[*first.run.repeats, repeat])
    return replace(
        first.run,
        duration_s=round(_offset_ns(first.run, again.run) / 1e9 + again.run.duration_s, 3),
        environment=_environment(first.run.environment, again.run.environment, part),
        figures=[*_in_place(first.run.figures, again.run.figures, part), *beside],
        # Of both, as their records on one timeline say: see `judged_run`.
        verdicts=[],
        repeats=[*first.run.repeats, repeat],
    )


def _in_place(first: Sequence[Figure], again: Sequence[Figure], part: str) -> list[Figure]:
    """Figures, with the second measurement's in the place of the first one's."""
    put = [each for each in again if _belongs(each.name, part)]
    found: list[Figure] = []
    for each in first:
        if not _belongs(each.name, part):
            found.append(each)
        else:
            found.extend(put)
            put = []
    found.extend(put)
    return found


def _environment(first: Mapping[str, Any], again: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The environment of a run, with what was so while a part was measured once more."""
    name = _load_of(part)
    load = dict(first.get("load", {}))
    for key in ("limited_by", "limited_at"):
        limits = {each: what for each, what in load.pop(key, {}).items() if each != name}
        limits.update(again.get("load", {}).get(key, {}))
        if limits:
            load[key] = limits
    meanwhile, later = first.get("meanwhile", {}), again.get("meanwhile", {})
    pumps = {**meanwhile.get("pumps", {}), **later.get("pumps", {})}
    of_then = {key: value for key, value in later.items() if key != "pumps"}
    return {**first, "load": load, "meanwhile": {**meanwhile, "pumps": pumps, f"{AGAIN}, {part}": of_then}}


def _load_of(part: str) -> str:
    """What the load of a part is called, among those of its run: `always` is that of `append.always`."""
    return part.partition(".")[2]


def _offset_ns(first: Run, again: Run) -> int:
    """How long after a run another one began."""
    begun, later = (dt.datetime.fromisoformat(each.started_at) for each in (first, again))
    return int((later - begun) / dt.timedelta(microseconds=1)) * 1_000


def _save(first: Record, again: Record, part: str, whole: Run, *, is_whole: bool) -> None:
    """Write the record that is judged in the place of the first one."""
    begun_s = dt.datetime.fromisoformat(whole.started_at).timestamp()
    if is_whole:
        intervals, entries = again.latency.intervals, again.history.entries
        _keep_evidence(again.directory, first.directory)
    else:
        intervals, entries = on_one_timeline(first, again, part)
        _evidence_of_both(first, again, part).save(first.directory)
    save_measurements(first.directory, intervals, History(entries), [], started_epoch_s=begun_s)
    run.save(first.directory, run.sealed(first.directory, whole))


def _keep_evidence(directory: Path, kept: Path) -> None:
    """Put the evidence of one directory in the place of another's."""
    (kept / evidence.FILE).unlink(missing_ok=True)
    if (directory / evidence.FILE).exists():
        shutil.copyfile(directory / evidence.FILE, kept / evidence.FILE)


def _evidence_of_both(first: Record, again: Record, part: str) -> Sections:
    """The evidence of a run, with that of a part from its second measurement, on the run's time."""
    name = _load_of(part)
    both = Sections()
    both.add_all(first.evidence, lambda section: None if section.endswith(f".{name}") else section)
    both.add_all(again.evidence, lambda section: section if section.endswith(f".{name}") else None)
    arrival = section_of("arrival", name)
    if both.has(arrival):
        rule = both.value(arrival, ArrivalRule)
        both.add_json(arrival, replace(rule, offset_ns=rule.offset_ns + _offset_ns(first.run, again.run)))
    return both


def on_one_timeline(first: Record, again: Record, part: str) -> tuple[list[Interval], list[Entry]]:
    """The latencies and the timeline of a run, with those of a part from its second measurement, when it was."""
    operation = part.replace(".", "_")
    offset_ns = _offset_ns(first.run, again.run)
    intervals = [each for each in first.latency.intervals if not each.tag.startswith(f"{operation}.")]
    intervals += [replace(each, start_s=each.start_s + offset_ns / 1e9) for each in again.latency.intervals]
    name = _load_of(part)
    entries = [e for e in first.history.entries if not _is_of_load(e, operation, name)]
    entries += [_later(entry, offset_ns) for entry in again.history.entries]
    return intervals, entries


def _is_of_load(entry: Entry, operation: str, name: str) -> bool:
    """Whether an entry of a timeline is one load's own: a slow operation, or what was due, sent or taken of it."""
    if isinstance(entry, SlowMark):
        return entry.operation == operation
    return isinstance(entry, Reading) and entry.labels.get("load") == name


def _later(entry: Entry, offset_ns: int) -> Entry:
    if isinstance(entry, Phase):
        return replace(entry, start_ns=entry.start_ns + offset_ns, end_ns=entry.end_ns + offset_ns)
    if isinstance(entry, FaultWindow):
        end_ns = None if entry.end_ns is None else entry.end_ns + offset_ns
        return replace(entry, start_ns=entry.start_ns + offset_ns, end_ns=end_ns)
    if isinstance(entry, SlowMark):
        return replace(entry, due_ns=entry.due_ns + offset_ns)
    return replace(entry, t_ns=entry.t_ns + offset_ns)
