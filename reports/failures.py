"""What was answered with an error in some runs, side by side: by load, by kind, with an example.

    append  OOM      8,355 (from 0.2 to 4.9 s)    none     OOM command not allowed when used memory > 'maxmemory'.
    append  silent   none                   since 4.2 s    Connection refused

A kind is the first word of an error, which is what the server calls it (`harness.measure.failures`). A run that
was recorded before failures were kept by kind has `not recorded`, and is not told apart from one without any
where no other has one, either: then there is nothing to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harness.measure.failures import Failure, seen_at
from harness.record.run import Run

NONE, NOT_RECORDED, SILENT = "none", "not recorded", "silent"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of failure of one load, in all runs.

    Attributes:
        load: which of a run's loads it is about, such as `append`, or `always` of `append`.
        kind: by which it was counted; `silent` where no answer came any more.
        values: how often, and when, in each run.
        text: an example, whole.
    """

    load: str
    kind: str
    values: list[str]
    text: str


class _Pump(msgspec.Struct, frozen=True):
    failures: list[Failure]
    silent_since_s: float | None = None
    away: str = ""


def refusals(runs: Sequence[Run]) -> list[Refusal]:
    """What was refused in any of some runs, load by load, in the order in which it was first seen."""
    pumps = [_pumps(run) for run in runs]
    found = []
    for load in dict.fromkeys(name for each in pumps for name in each):
        sides = [each.get(load) for each in pumps]
        kinds = dict.fromkeys(failure.kind for side in sides if side for failure in side.failures)
        found += [_of_kind(load, kind, sides) for kind in kinds]
        if any(side and side.silent_since_s is not None for side in sides):
            found.append(_silence(load, sides))
    return found


def _of_kind(load: str, kind: str, sides: Sequence[_Pump | None]) -> Refusal:
    values, text = [], ""
    for side in sides:
        failure = next((each for each in side.failures if each.kind == kind), None) if side else None
        text = text or (failure.text if failure else "")
        told = NONE if side else NOT_RECORDED
        values.append(f"{failure.count:,}{seen_at(failure)}" if failure else told)
    return Refusal(load=load, kind=kind, values=values, text=text or "an error without a word")


def _silence(load: str, sides: Sequence[_Pump | None]) -> Refusal:
    values = []
    for side in sides:
        since_s = side.silent_since_s if side else None
        told = NONE if side else NOT_RECORDED
        values.append(f"since {since_s:.1f} s" if since_s is not None else told)
    text = next((side.away for side in sides if side and side.away), "the server has not answered any more")
    return Refusal(load=load, kind=SILENT, values=values, text=text)


def _pumps(run: Run) -> dict[str, _Pump]:
    """What the record says of each load; what is no such thing, or older, is left out."""
    meanwhile: Any = run.environment.get("meanwhile")
    pumps: Any = meanwhile.get("pumps") if isinstance(meanwhile, Mapping) else None
    found = {}
    for name, facts in pumps.items() if isinstance(pumps, Mapping) else ():
        try:
            found[str(name)] = msgspec.convert(facts, _Pump)
        except msgspec.ValidationError:
            continue
    return found
