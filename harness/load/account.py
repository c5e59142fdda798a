"""What became of each arrival of a pump, and when: outcomes, latencies, counts by second, errors by kind."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.arrays import Int64s
from harness.host.gc_pauses import GcPauses
from harness.load.kinds import kinds_of
from harness.load.lane import Batch
from harness.load.settings import Instrument, PumpResult
from harness.load.workload import Source
from harness.measure.curves import SECOND_NS
from harness.measure.failures import Failures, kind_of
from harness.measure.outcomes import FAIL, NOT_DUE, OK, Counts
from harness.measure.recorder import Recorder
from harness.server.dial import ReplyError

# All that hiredis makes of a reply that is no error.
_ANY = (bytes, str, int, float, bool, type(None), list, set, dict)
# What is counted of replies that are none to what was asked, as a proxy gives that mixes them up. A string may be
# a status or a value: those are not told apart.
ANOTHER_KIND = "a reply of another kind"
_KINDS = {bytes: "a string", int: "a number", type(None): "nil", list: "an array"}
_LONGEST_TOLD = 80

# Many at once are recorded so many at a time.
_FOLD_EVERY = 4_096


class PumpAccount:
    """The account of one pump: arrivals = ok + failed + unknown + dropped.

    Args:
        source: of what is sent: under which operation it is recorded, and what a right reply is. Commands of
            several kinds are recorded as parts of that operation.
        total: how many arrivals the schedule has.
        origin_ns: when the schedule begins.
        keep_outcomes: whether to remember the outcome of each.
        quotes: whether an example of each error is kept in the server's own words, or by its kind alone.

    Attributes:
        recorder: of the latencies.
        ship_at_ns: when what was measured is handed on next.
    """

    def __init__(
        self, source: Source, total: int, origin_ns: int, *, keep_outcomes: bool, quotes: bool = True
    ) -> None:
        self._right = frozenset(_ANY if source.reply is None else (source.reply,))
        self._kinds = kinds_of(source)
        self._operations: tuple[str, ...] = (source.operation,)
        if self._kinds is not None:
            self._operations = tuple(f"{source.operation}.{name}" for name in self._kinds.names)
        self._origin_ns = origin_ns
        self.recorder = Recorder(origin_ns)
        self.ship_at_ns = 0
        self._counts = [0] * 4
        self._outcomes = np.full(total, NOT_DUE, np.uint8) if keep_outcomes else None
        self._failures = Failures()
        self._quotes = quotes
        # By operation: due times, start, done, and when it was read.
        self._many: dict[str, list[tuple[Int64s, int, int, int | None]]] = {}
        self._many_count = 0
        self._offered: collections.Counter[int] = collections.Counter()
        self._answered: collections.Counter[int] = collections.Counter()
        self._last_reply_ns: int | None = None

    @property
    def counts(self) -> list[int]:
        """How many are OK, FAIL, UNKNOWN and DROPPED so far."""
        return self._counts

    def offered(self, due_ns: list[int] | Int64s) -> None:
        """Note arrivals that were due."""
        if len(due_ns) == 1:
            self._offered[(int(due_ns[0]) - self._origin_ns) // SECOND_NS] += 1
            return
        first, last = ((int(due_ns[at]) - self._origin_ns) // SECOND_NS for at in (0, -1))
        if first == last:
            self._offered[first] += len(due_ns)
            return
        seconds = (np.asarray(due_ns, np.int64) - self._origin_ns) // SECOND_NS
        for second, count in zip(*np.unique(seconds, return_counts=True), strict=True):
            self._offered[int(second)] += int(count)

    def answered(self, batch: Batch, replies: list[Any], done_ns: int, read_ns: int | None) -> int:
        """Note the replies to the next operations of a batch; answers how many of them are not as they should be.

        Args:
            done_ns: when they arrived; what arrived before it was sent did so as it was sent.
            read_ns: when they were read, where the kernel has told when they arrived; else None.
        """
        start_ns, count = batch.start_ns, len(replies)
        done_ns = max(done_ns, start_ns)
        self._last_reply_ns = done_ns
        number = batch.first + batch.done
        due_ns = batch.due_ns[batch.done : batch.done + count]
        kinds = None if self._kinds is None else self._kinds.of(number, count)
        if isinstance(due_ns, list):
            for at, due in enumerate(due_ns):
                operation = self._operations[0 if kinds is None else kinds[at]]
                self.recorder.record_one(operation, due, start_ns, done_ns, read_ns)
        else:
            self._note_many(due_ns, (start_ns, done_ns, read_ns), kinds)
        self.settle(number, count, OK)
        # One pass over the types, in C; which they are is asked only where one is not right.
        is_right = self._right.issuperset(map(type, replies))
        failed = 0 if is_right else self._note_failures(number, replies, done_ns)
        if kinds is not None:
            failed += self._note_faults(number, kinds, replies, done_ns)
        self._answered[(done_ns - self._origin_ns) // SECOND_NS] += count - failed
        return failed

    def _note_many(
        self, due_ns: Int64s, times_ns: tuple[int, int, int | None], kinds: Sequence[int] | None
    ) -> None:
        """Note the latencies of many that were answered together, each under its operation."""
        if kinds is None:
            self._many.setdefault(self._operations[0], []).append((due_ns, *times_ns))
        else:
            of = np.asarray(kinds, np.int64)
            for kind in np.unique(of):
                self._many.setdefault(self._operations[kind], []).append((due_ns[of == kind], *times_ns))
        self._many_count += due_ns.size
        if self._many_count >= _FOLD_EVERY:
            self.fold()

    def _note_faults(self, number: int, kinds: Sequence[int], replies: list[Any], done_ns: int) -> int:
        """Take those back whose reply is of the right type, and not what was asked for; answers how many."""
        failed = 0
        at_s = (done_ns - self._origin_ns) / 1e9
        for at, (kind, reply) in enumerate(zip(kinds, replies, strict=True)):
            if type(reply) not in self._right:
                continue
            fault = "" if self._kinds is None else self._kinds.fault(number + at, kind, reply)
            if fault:
                failed += 1
                self._counts[OK] -= 1
                self.settle(number + at, 1, FAIL)
                self._failures.note(fault, at_s, kind=fault)
        return failed

    def _note_failures(self, number: int, replies: list[Any], done_ns: int) -> int:
        """Take those back that were answered with an error, or with what is no reply; answers how many."""
        failed = 0
        at_s = (done_ns - self._origin_ns) / 1e9
        for at, reply in enumerate(replies):
            if type(reply) in self._right:
                continue
            failed += 1
            self._counts[OK] -= 1
            self.settle(number + at, 1, FAIL)
            if type(reply) is ReplyError:
                self._failures.note(str(reply) if self._quotes else kind_of(str(reply)), at_s)
            else:
                told = f"{ANOTHER_KIND}: {_told(reply)}" if self._quotes else ANOTHER_KIND
                self._failures.note(told, at_s, kind=ANOTHER_KIND)
        return failed

    def settle(self, first: int, count: int, outcome: int) -> None:
        """Note what became of `count` arrivals from number `first` on."""
        self._counts[outcome] += count
        if self._outcomes is not None:
            self._outcomes[first : first + count] = outcome

    def fold(self) -> None:
        """Record what was answered in large numbers."""
        for operation, entries in self._many.items():
            for is_dated in (True, False):
                self._record(operation, [entry for entry in entries if (entry[3] is not None) == is_dated])
        self._many.clear()
        self._many_count = 0

    def _record(self, operation: str, entries: list[tuple[Int64s, int, int, int | None]]) -> None:
        """Record what was answered in large numbers, all of it dated by the kernel, or none."""
        if not entries:
            return
        counts = [due.size for due, _, _, _ in entries]
        due_ns = np.concatenate([due for due, _, _, _ in entries])
        start_ns, done_ns = (
            np.repeat(np.array([entry[at] for entry in entries], np.int64), counts) for at in (1, 2)
        )
        read_ns = None
        if entries[0][3] is not None:
            read_ns = np.repeat(np.array([entry[3] for entry in entries], np.int64), counts)
        self.recorder.record(operation, due_ns, start_ns, done_ns, read_ns)

    def result(
        self,
        *,
        scheduled_ns: int,
        reconnects: int,
        cpu_share: float,
        pauses: GcPauses,
        instrument: Instrument,
        away: str | None,
    ) -> PumpResult:
        """All of it, when nothing more can come.

        Args:
            away: where the server was away, or silent, at the end: its last words, if any; else None.
        """
        counts = Counts(sum(self._counts), *self._counts)
        replied_ns = self._last_reply_ns
        failures = self._failures.all()
        silent_since_s = None
        if away is not None:
            silent_since_s = 0.0 if replied_ns is None else (replied_ns - self._origin_ns) / 1e9
        return PumpResult(
            arrivals=counts.arrivals,
            ok=counts.ok,
            failed=counts.failed,
            unknown=counts.unknown,
            dropped=counts.dropped,
            errors={failure.kind: failure.count for failure in failures},
            failures=failures,
            silent_since_s=silent_since_s,
            away=away or "",
            reconnects=reconnects,
            intervals=self.recorder.intervals(),
            slowest=self.recorder.slowest(),
            outcomes=self._outcomes[: counts.arrivals] if self._outcomes is not None else None,
            cpu_share=cpu_share,
            wall_ns=scheduled_ns if replied_ns is None else max(1, replied_ns - self._origin_ns),
            scheduled_ns=scheduled_ns,
            gc_pauses=pauses.count,
            gc_pause_max_ns=pauses.longest_ns,
            offered_in_s=_by_second(self._offered),
            answered_in_s=_by_second(self._answered),
            instrument=instrument,
        )


def _told(reply: Any) -> str:
    """Of what kind a reply is, and the beginning of what it says."""
    kind = _KINDS.get(type(reply), type(reply).__name__)
    return kind if reply is None else f"{kind}, {repr(reply)[:_LONGEST_TOLD]}"


def _by_second(counts: dict[int, int]) -> list[int]:
    """Counts as a list by second, from the schedule's origin on."""
    return [counts.get(second, 0) for second in range(max(counts, default=-1) + 1)]
