"""Updates that expect a version: what their writers were told, and what the stream holds of them.

    writer A   reads version 7 ........ writes, expecting 7    it is 7: written, it is 8 now
    writer B        reads version 7 ........ writes, expecting 7    it is 8: a conflict, nothing is written

Each update says in its own text which version its writer had read (`note`). So the stream alone tells whether one
was lost: the updates of an entity, in their order, are based on versions 1, 2, 3, ... without a gap. One that is
based on an older version was written over an update that its writer had not seen, and what that one said is gone.

    in the stream    based on 1    based on 2    based on 2    based on 4
    version then     1             2             3 !           4

Rejected: to compare counts alone. A version that counts up says nothing of what its writers knew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from pyroaring import BitMap

from harness.account.event_ids import sequences_of
from harness.account.ledger import set_of
from harness.arrays import Int64s
from harness.check.checkers import all_answered
from harness.check.judge import Checker
from harness.check.loads import named
from harness.load.workload import entity_id
from harness.measure.failures import Failure
from harness.record.evidence import Evidence
from harness.record.load_report import LoadReport, section_of
from harness.record.run import Verdict
from harness.record.sections import Sections
from ordershop.entities import Customer
from ordershop.event_store import EventStore
from ordershop.events import EventId, Stored

# What a failure of this kind is called: nothing has failed, somebody else came first.
CONFLICT = "conflict: another version than expected"
# Fewer of them say nothing about writers that meet.
LEAST_MEETINGS = 10
_BASED_ON = "based on version"

Fate = Literal["written", "refused"]

# The sections of the evidence.
TOLD_WRITTEN, TOLD_REFUSED = "updates.written", "updates.refused"
IN_STREAM, OF_ENTITY, BASED_ON = "updates.in_stream", "updates.of_entity", "updates.based_on"
WRITERS = "updates"


def note(version: int) -> str:
    """What an update says of the version that its writer had read."""
    return f"{_BASED_ON} {version}"


def version_noted(entity: object) -> int:
    """The version that an update's writer had read, by what it says; 0 where it does not say."""
    said = entity.name if isinstance(entity, Customer) else ""
    number = said.removeprefix(_BASED_ON).strip()
    return int(number) if said.startswith(_BASED_ON) and number.isdecimal() else 0


def word(fate: Fate, attempts: int) -> str:
    """What a writer was told of an update in the end, as a text, and after how many attempts."""
    return f"{fate} {attempts}"


class Writers(Struct, frozen=True, kw_only=True):
    """What is known of a load of updates besides each of them.

    Attributes:
        attempts: of all updates that were written or refused.
        conflicts: the attempts among them that met another version than they expected.
        retried: the updates that took more than one attempt.
        in_doubt: updates without an answer.
        versions: of each entity at the end, by the server's own count; -1 where it has none.
    """

    attempts: int
    conflicts: int
    retried: int
    in_doubt: int
    versions: list[int]


class Written(Struct, frozen=True):
    """The updates that a stream holds, in its order; three arrays of shape (n,).

    Attributes:
        numbers: of the updates, as their writers know them.
        entities: the number of each one's entity.
        based_on: the version that its writer had read.
    """

    numbers: Int64s
    entities: Int64s
    based_on: Int64s

    def stale(self) -> int:
        """How many were written over a version that their writer had not read."""
        by_entity = np.argsort(self.entities, kind="stable")
        entities = self.entities[by_entity]
        # A created entity has version 1, and each update adds one.
        first = np.searchsorted(entities, entities, "left")
        version = 1 + np.arange(entities.size) - first
        return int(np.count_nonzero(self.based_on[by_entity] != version))

    def versions(self, entities: int) -> Int64s:
        """The version of each entity that the updates add up to, shape (entities,)."""
        return 1 + np.bincount(self.entities, minlength=entities).astype(np.int64)


def written_by(store: EventStore, producer: int, after: EventId | None) -> Written:
    """The updates of a producer in the stream of updated customers.

    Args:
        after: from behind which entry on; None: all.

    Raises:
        StoreError: the stream cannot be read.
    """
    rows = [_row(each) for each in store.read("customer", "updated", after=after)]
    numbers = sequences_of(producer, [event for event, _, _ in rows])
    entities = sequences_of(producer, [_as_event(producer, entity) for _, entity, _ in rows])
    ours = (numbers >= 0) & (entities >= 0)
    based_on = np.array([version for _, _, version in rows], np.int64)
    return Written(numbers[ours], entities[ours], based_on[ours])


def _row(stored: Stored) -> tuple[str, str, int]:
    return stored.event_id, stored.entity.id, version_noted(stored.entity)


def _as_event(producer: int, identity: str) -> str:
    """The ID of the event of an entity's number; of what is no entity of the producer, something else."""
    return f"{identity[:19]}8{identity[20:]}" if identity[:24] == entity_id(producer, 0)[:24] else ""


def add_updates(
    sections: Sections, told: Mapping[str, str], written: Written, *, in_doubt: int, versions: list[int]
) -> Writers:
    """Put what writers were told, and what the stream holds, into the evidence.

    Args:
        told: by an update's number, the last `word` on it.
        in_doubt, versions: as `Writers` has them.
    """
    fates = {int(number): said.split(" ") for number, said in told.items()}
    tries = {number: int(attempts) for number, (_, attempts) in fates.items()}
    is_written = {number for number, (fate, _) in fates.items() if fate == "written"}
    sections.add_set(TOLD_WRITTEN, BitMap(is_written))
    sections.add_set(TOLD_REFUSED, BitMap(fates.keys() - is_written))
    for name, values in (
        (IN_STREAM, written.numbers),
        (OF_ENTITY, written.entities),
        (BASED_ON, written.based_on),
    ):
        sections.add_order(name, [values])
    writers = Writers(
        attempts=sum(tries.values()),
        conflicts=sum(tries.values()) - len(is_written),
        retried=sum(count > 1 for count in tries.values()),
        in_doubt=in_doubt,
        versions=versions,
    )
    sections.add_json(WRITERS, writers)
    return writers


def _written_in(evidence: Sections | Evidence) -> Written:
    return Written(*(evidence.order(name).astype(np.int64) for name in (IN_STREAM, OF_ENTITY, BASED_ON)))


def updates_checkers(prefix: str) -> list[Checker]:
    """What finds whether writers met, whether none of their updates was lost, and whether each was answered.

    Args:
        prefix: the scenario's name.
    """
    lost, met, answered = (named(prefix, "", what) for what in ("nothing_lost", "contended", "answered"))
    load = section_of("load")
    stream = (IN_STREAM, OF_ENTITY, BASED_ON)
    return [
        Checker(
            lost,
            lambda record: nothing_lost(
                lost,
                _written_in(record.evidence),
                record.evidence.value(WRITERS, Writers),
                BitMap(record.evidence.events(TOLD_WRITTEN)),
                BitMap(record.evidence.events(TOLD_REFUSED)),
            ),
            reads=(WRITERS, TOLD_WRITTEN, TOLD_REFUSED, *stream),
        ),
        Checker(
            met,
            lambda record: contended(
                met, record.evidence.value(WRITERS, Writers), _written_in(record.evidence).stale()
            ),
            reads=(WRITERS, *stream),
        ),
        Checker(
            answered,
            lambda record: each_answered(answered, record.evidence.value(load, LoadReport)),
            reads=(load,),
        ),
    ]


def nothing_lost(name: str, written: Written, writers: Writers, told: BitMap, refused: BitMap) -> Verdict:
    """Whether each update that was written has raised its entity's version by one, and none was written over.

    Args:
        written: what the stream holds.
        writers: what else is known of the load.
        told, refused: the updates whose writers were told that they were written, or were not.
    """
    if not written.numbers.size and not told:
        return Verdict(name=name, status="UNKNOWN", detail="no update was written")
    there = set_of(written.numbers)
    untold = len(there - told - refused)
    adding_up = written.versions(len(writers.versions))
    differ = int(np.count_nonzero(adding_up[: len(writers.versions)] != np.array(writers.versions, np.int64)))
    wrong = {
        "updates were written over a version that their writer had not read": written.stale(),
        "updates are not in the stream, and their writers were told that they were written": len(told - there),
        "updates are in the stream, and their writers were told of a conflict": len(refused & there),
        "updates are in the stream twice": int(written.numbers.size) - len(there),
        "updates are in the stream that no writer was told of": untold if untold > writers.in_doubt else 0,
        f"of {len(writers.versions):,} entities have another version than their updates add up to": differ,
    }
    if found := "; ".join(f"{count:,} {what}" for what, count in wrong.items() if count):
        return Verdict(name=name, status="FAIL", detail=found)
    detail = f"each of {written.numbers.size:,} updates in the stream has raised the version of its entity by one"
    if writers.in_doubt:
        detail += f"; {writers.in_doubt:,} had no answer, {untold:,} of them are there"
    return Verdict(name=name, status="PASS", detail=detail)


def contended(name: str, writers: Writers, stale: int) -> Verdict:
    """Whether writers met: without that nothing is known of what happens when they do.

    Args:
        writers: what is known of the load.
        stale: how many updates were written over a version that their writer had not read.
    """
    meetings = writers.conflicts + stale
    if not writers.attempts:
        return Verdict(name=name, status="UNKNOWN", detail="no update was answered")
    detail = (
        f"{meetings:,} of {writers.attempts:,} attempts ({meetings / writers.attempts:.1%}) came after another "
        "writer's update that theirs did not know of"
    )
    if meetings < LEAST_MEETINGS:
        more = "have fewer `entities`, more writers, or a longer `think_ms`"
        return Verdict(name=name, status="UNKNOWN", detail=f"{detail}; that is too few to say anything: {more}")
    return Verdict(name=name, status="PASS", detail=detail)


def conflicts_in(failures: list[Failure]) -> int:
    """How many updates were given up because of a conflict."""
    return sum(failure.count for failure in failures if failure.kind == CONFLICT)


def each_answered(name: str, load: LoadReport) -> Verdict:
    """Whether each update of a load was answered: that it was written, or with a conflict."""
    found, conflicts = all_answered(name, without_conflicts(load)), conflicts_in(load.failures)
    if not conflicts or found.status != "PASS":
        return found
    return replace(found, detail=f"{found.detail}, {conflicts:,} of them with a conflict")


def without_conflicts(load: LoadReport) -> LoadReport:
    """A load's report, with conflicts as what they are: answers."""
    kept = [failure for failure in load.failures if failure.kind != CONFLICT]
    count = conflicts_in(load.failures)
    fields = {name: getattr(load, name) for name in LoadReport.__struct_fields__}
    return LoadReport(**{**fields, "ok": load.ok + count, "failed": load.failed - count, "failures": kept})
