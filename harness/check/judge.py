"""Record, then judge: each verdict is found by a checker, a pure function of a run's record.

    record --checkers--> verdicts        when a run ends, and whenever somebody judges it again
           --standing--> verdicts        as they were stored, where what they rest on is still there

A `Checker` is a value: the verdict's name, what it reads, and the function. It reads nothing but the record: no
server, no clock, no state of the process. So the same record has the same verdicts years later, and a newer
checker can judge an older run. One that crashes, or whose evidence is missing or cut, is UNKNOWN, and says which.

Checkers compose: a scenario gives a list of them, made of those that all loads have, those that every line has,
and its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from harness.record.evidence import EvidenceError
from harness.record.run import Record, RunError, Verdict

CONCLUDED = "concluded"


class Checker(Struct, frozen=True):
    """What finds one verdict in a record.

    Attributes:
        name: of the verdict.
        check: finds it, and answers it under that name; None: there is nothing to be said.
        reads: the sections of the evidence, and the files of the run, that it is found in.
        part: of the run that it is about, such as one of several loads; empty: all of it. In a run that did not
            come to its end only parts that did are judged. None: it is always judged.
    """

    name: str
    check: Callable[[Record], Verdict | None]
    reads: tuple[str, ...] = ()
    part: str | None = ""


def judge(record: Record, checkers: Iterable[Checker]) -> list[Verdict]:
    """What checkers find in a record, each by its name.

    Args:
        record: of a run.
        checkers: in the order of the verdicts.
    """
    concluded = _concluded(record)
    found = [
        judged(record, checker)
        for checker in checkers
        if concluded is None or checker.part is None or checker.part in concluded
    ]
    return [verdict for verdict in found if verdict is not None]


def judged(record: Record, checker: Checker) -> Verdict | None:
    """What one checker finds; UNKNOWN where it crashes, or what it reads is missing."""
    try:
        for name in checker.reads:
            record.see(name)
        verdict = checker.check(record)
    except (EvidenceError, RunError) as error:
        verdict = Verdict(name=checker.name, status="UNKNOWN", detail=str(error))
    except Exception as error:  # noqa: BLE001 - whatever breaks in a checker, its verdict is UNKNOWN
        detail = f"the checker crashed: {type(error).__name__}: {error}"
        verdict = Verdict(name=checker.name, status="UNKNOWN", detail=detail)
    if verdict is None:
        return None
    return replace(verdict, name=checker.name, rests_on=checker.reads)


def lacking(record: Record, verdict: Verdict) -> str:
    """What is missing of that which a verdict rests on, and how; empty where all of it is there."""
    try:
        for name in verdict.rests_on:
            record.see(name)
    except (EvidenceError, RunError) as error:
        return str(error)
    return ""


def standing(record: Record) -> Record:
    """A record with the verdicts that are stored in it; UNKNOWN where what one rests on is missing or cut.

    Args:
        record: of a run or a suite, as it was read from its directory.
    """
    members = [standing(member) for member in record.members()]
    lacks = {} if members else {verdict.name: lacking(record, verdict) for verdict in record.run.verdicts}
    of_members = {verdict.name: verdict for member in members for verdict in member.run.verdicts}
    verdicts = [
        of_members.get(each.name, _if_it_stands(each, lacks.get(each.name, ""))) for each in record.run.verdicts
    ]
    # A sentence must not say what no verdict says any more.
    headline = "" if any(lacks.values()) else record.run.headline
    return record.with_run(replace(record.run, verdicts=verdicts, headline=headline), members=members or None)


def _if_it_stands(verdict: Verdict, lack: str) -> Verdict:
    if not lack:
        return verdict
    detail = f"{lack}; it was {verdict.status}: {verdict.detail}"
    return replace(verdict, status="UNKNOWN", detail=detail)


def _concluded(record: Record) -> set[str] | None:
    """The parts of a run that came to their end, where not all of it did; None: all of it."""
    if record.run.status == "complete" or not record.evidence.exists:
        return None if record.run.status == "complete" else set()
    try:
        return set(record.evidence.value(CONCLUDED, list[str]))
    except EvidenceError:
        return set()


class Difference(Struct, frozen=True):
    """How one verdict that was found differs from the one that was stored.

    Attributes:
        name: of both.
        before: as it was stored; None: it is new.
        now: as it was found; None: it is gone.
    """

    name: str
    before: Verdict | None
    now: Verdict | None


def differences(stored: Sequence[Verdict], found: Sequence[Verdict]) -> list[Difference]:
    """What is new, gone or different among verdicts, by name, in the order in which they were found."""
    before = {verdict.name: verdict for verdict in stored}
    now = {verdict.name: verdict for verdict in found}
    pairs = [(name, before.get(name), now.get(name)) for name in dict.fromkeys([*now, *before])]
    return [
        Difference(name, old, new)
        for name, old, new in pairs
        if old is None or new is None or (old.status, old.detail) != (new.status, new.detail)
    ]
