"""A plan of faults of one's own: a TOML file, and the same as a text that stands in a record.

    [[fault]]
    name = "kill"              a kind of fault, as `shopbench list crm_outage` has them
    at_s = 2.0                 after the first arrival is due
    for_s = 1.5                until it is healed; left out: it is healed at once
    target = "crm"             what it is done to; left out: the first that can suffer it
    options = { within_s = 1 } how it is done; left out: as by default

The file is read once, on the command line, and becomes a parameter of the run: a text, in which its entries stand
as JSON. So the record has all of the plan, and it can be played again without the file.

Whatever is wrong with an entry is said in one line that names it, before anything is started. What its target can
suffer is known, and refused, when that has been started.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from harness.nemesis.faults import fault_kinds
from harness.nemesis.kind import FaultKind, Option
from harness.nemesis.plan import Fault
from harness.record.parameters import nearest

# A plan is written by hand.
MOST_BYTES = 1 << 20
Seconds = Annotated[float, Meta(ge=0, le=86_400)]


class PlanError(ValueError):
    """A plan that cannot be played; its text is one clear line."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A fault of a plan, as it is written.

    Attributes:
        name: of a kind of fault.
        at_s: when, after the first arrival is due.
        for_s: until it is healed.
        target: what it is done to; empty: the first that can suffer it.
        options: how.
    """

    name: str
    at_s: Seconds
    for_s: Seconds = 0.0
    target: str = ""
    options: dict[str, Option] = {}


def plan_text(path: Path) -> str:
    """The entries of a file as a parameter has them.

    Raises:
        PlanError: it cannot be read, or something in it cannot be played.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise PlanError(f"{path}: a plan has at most {MOST_BYTES:,} bytes")
        found = tomllib.loads(content.decode())
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"{path}: no TOML ({error})") from error
    entries = found.pop("fault", None)
    if found or not isinstance(entries, list) or not entries:
        also = f", and not {', '.join(found)}" if found else ""
        raise PlanError(f"{path}: a plan has one [[fault]] at least{also}")
    try:
        return msgspec.json.encode([_checked(number, each)[0] for number, each in enumerate(entries, 1)]).decode()
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def planned(text: str) -> list[Fault]:
    """The faults of a plan, in the order of their start; those without a target have an empty one.

    Args:
        text: as `plan_text` has made it.

    Raises:
        PlanError: something in it cannot be played.
    """
    try:
        entries = msgspec.json.decode(text, type=list[msgspec.Raw])
        decoded = [msgspec.json.decode(each) for each in entries]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise PlanError(f"a plan is given as a file, with --plan ({error})") from error
    faults = [_fault(*_checked(number, each)) for number, each in enumerate(decoded, 1)]
    return sorted(faults, key=lambda fault: fault.at_ns)


def _checked(number: int, given: Any) -> tuple[Entry, FaultKind]:
    """An entry of a plan, and its kind of fault."""
    named = given.get("name") if isinstance(given, dict) else None
    where = f"fault {number} ({named})" if isinstance(named, str) else f"fault {number}"
    try:
        entry = msgspec.convert(given, Entry)
    except msgspec.ValidationError as error:
        raise PlanError(f"{where}: {error}") from error
    kinds = fault_kinds()
    kind = kinds.get(entry.name)
    if kind is None:
        near = nearest(entry.name, kinds)
        meant = f"did you mean {near}? " if near else ""
        raise PlanError(f"{where}: there is no such fault; {meant}there are {', '.join(kinds)}")
    if kind.load in {"ends", "by_stream"}:
        raise PlanError(f"{where}: it wants a load of its own; crm_outage has it, with -p fault={kind.name}")
    known = [field.encode_name for field in msgspec.structs.fields(kind.options)]
    for option in entry.options:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise PlanError(f"{where}: there is no option {option!r}; {has}")
    try:
        kind.arguments({**kind.preset, **entry.options})
    except ValueError as error:
        raise PlanError(f"{where}: {error}") from error
    return entry, kind


def _fault(entry: Entry, kind: FaultKind) -> Fault:
    return Fault(
        name=kind.done_as,
        at_ns=round(entry.at_s * 1e9),
        for_ns=round(entry.for_s * 1e9),
        target=entry.target,
        options={**kind.preset, **entry.options},
    )
