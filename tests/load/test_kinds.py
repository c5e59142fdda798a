"""Commands of several kinds in one schedule: what is recorded of each, and what counts as a miss."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import hiredis
import numpy as np
import pytest

from harness.load.account import PumpAccount
from harness.load.kinds import kinds_of
from harness.load.lane import Batch
from harness.load.striped import StripedSource
from harness.load.workload import Mix, MixedCommands, StampedCommand, entity_placeholder, placeholder
from harness.measure.hlog import LatencyLog
from harness.measure.outcomes import FAIL, OK
from harness.server.dial import ReplyError
from scenarios.mix import MixParameters, as_asked
from scenarios.shop.reads import APPEND, ENTITY, NAMES, PAGE, TAIL, MixedReads, Readable, ReadMix, due_of

PRODUCER = 7
ORIGIN_NS = 1_000_000_000


class EvenAndOdd:
    """Commands of two kinds in turn, each of which wants to be answered its own number."""

    operation = "x"
    reply = list

    @property
    def kinds(self) -> EvenAndOdd:
        return self

    @property
    def names(self) -> Sequence[str]:
        return "even", "odd"

    def of(self, first: int, count: int, step: int = 1) -> Sequence[int]:
        return [number % 2 for number in range(first, first + count * step, step)]

    def fault(self, number: int, kind: int, reply: Any) -> str:
        return "" if reply == [number] else f"not {self.names[kind]}"

    def pack(self, first: int, count: int, step: int = 1) -> bytes:
        return b"".join(b"%d;" % number for number in range(first, first + count * step, step))


# What a pump records ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("are_many", [False, True])
@pytest.mark.parametrize("read_ns", [None, ORIGIN_NS + 9_000])
def test_each_kind_is_an_operation_of_its_own(are_many: bool, read_ns: int | None) -> None:
    """Latencies stand under the kind's operation, one by one or as arrays; what is no answer to it has failed."""
    account = PumpAccount(EvenAndOdd(), 6, ORIGIN_NS, keep_outcomes=True)
    due = [ORIGIN_NS + number * 1_000 for number in range(1, 6)]
    batch = Batch(1, np.array(due, np.int64) if are_many else due, b"")
    batch.start_ns = ORIGIN_NS + 5_000
    replies = [[1], [7], ReplyError("OOM command not allowed"), [4], b"5"]
    assert account.answered(batch, replies, ORIGIN_NS + 8_000, read_ns) == 3
    account.fold()
    log = LatencyLog(account.recorder.intervals())
    assert {tag.rpartition(".")[0] for tag in log.tags} == {"x.even", "x.odd"}
    assert [log.total(f"x.{kind}.response").total for kind in ("even", "odd")] == [2, 3]
    assert log.total("x.odd.response").quantile_us(1.0) == 7
    assert account.counts[OK], account.counts[FAIL] == (2, 3)
    failures = {each.kind: each.count for each in account._failures.all()}
    assert failures == {"OOM": 1, "a reply of another kind": 1, "not even": 1}


def test_a_worker_knows_the_kinds_of_its_share() -> None:
    """By its own numbers: of three workers the last one has commands 2, 5, 8."""
    striped = StripedSource(EvenAndOdd(), 2, 3)
    kinds = kinds_of(striped)
    assert kinds is not None
    assert (striped.pack(0, 3), list(kinds.of(0, 3)), kinds.of(1, 1, 2)) == (b"2;5;8;", [0, 1, 0], [1])
    assert (kinds.fault(1, 1, [5]), kinds.fault(1, 1, [1]), tuple(kinds.names)) == ("", "not odd", ("even", "odd"))


def test_what_is_all_alike_has_no_kinds() -> None:
    """Neither a source that knows nothing of them, nor a share of it."""
    plain = StampedCommand("append", ["XADD", "s", "*", "id", placeholder(PRODUCER)], PRODUCER)
    assert kinds_of(plain) is None
    assert kinds_of(StripedSource(plain, 0, 2)) is None


# Reads beside writes ---------------------------------------------------------------------------------------

IDS = [f"17-{number}" for number in range(900)]


def reads(seed: int = 3, **given: Any) -> MixedReads:
    chosen = MixParameters(**{"entities": 909, "page_events": 10, "tail_events": 3, **given})
    template = ["SET", entity_placeholder(PRODUCER), placeholder(PRODUCER), "100%"]
    appends = MixedCommands("mix", [[template]], PRODUCER, Mix(seed=seed, entities=909))
    readable = Readable(namespace="n%:", producer=PRODUCER, event_ids=IDS, page_events=10, tail_events=3)
    return MixedReads(appends, chosen.mix(seed), readable)


def parsed(packed: bytes) -> list[list[bytes]]:
    reader = hiredis.Reader()
    reader.feed(packed)
    return list(iter(reader.gets, False))


def test_commands_do_not_depend_on_how_they_are_batched() -> None:
    """One by one, together, by three workers, or in another process: the same commands under the same numbers."""
    source = reads()
    whole = parsed(source.pack(0, 3_000))
    assert len(whole) == 3_000
    assert parsed(b"".join(source.pack(number, 1) for number in range(3_000))) == whole
    shares = [parsed(StripedSource(source, worker, 3).pack(0, 1_000)) for worker in range(3)]
    assert [each for three in zip(*shares, strict=True) for each in three] == whole
    assert parsed(pickle.loads(pickle.dumps(source)).pack(0, 3_000)) == whole  # noqa: S301 - our own
    assert parsed(reads(seed=4).pack(0, 3_000)) != whole


def test_each_kind_is_the_command_that_it_is_called() -> None:
    """By the first word; and each has its share, within what chance makes of it."""
    source, count = reads(), 20_000
    commands, kinds = parsed(source.pack(0, count)), list(source.of(0, count))
    words = {APPEND: b"SET", ENTITY: b"HGETALL", PAGE: b"XRANGE", TAIL: b"XREVRANGE"}
    assert [command[0] for command in commands] == [words[kind] for kind in kinds]
    assert due_of(source._mix, count) == {name: kinds.count(kind) for kind, name in enumerate(NAMES)}
    for kind, share in enumerate(MixParameters().shares.all):
        assert kinds.count(kind) / count == pytest.approx(share, abs=0.02)
    pages = [command for command, kind in zip(commands, kinds, strict=True) if kind == PAGE]
    assert {each[1] for each in pages} == {b"n%:events:{customer}_created"}
    assert len({each[2] for each in pages}) > 100


def test_a_mix_without_reads_and_one_of_reads_alone() -> None:
    """Shares of nothing are nothing, whatever chance says."""
    assert set(reads(read_share=0).of(0, 5_000)) == {APPEND}
    assert set(reads(read_share=1, page_share=0, tail_share=0).of(0, 5_000)) == {ENTITY}
    assert set(reads(read_share=1, page_share=0.5, tail_share=0.5).of(0, 5_000)) == {PAGE, TAIL}


def test_a_read_that_finds_something_else_is_a_miss() -> None:
    """Right is what was asked for, and whole."""
    source = reads()
    numbers = {kind: next(n for n in range(2_000) if source.of(n, 1) == [kind]) for kind in range(4)}
    command = {kind: parsed(source.pack(number, 1))[0] for kind, number in numbers.items()}
    identity = command[ENTITY][1].rpartition(b":")[2]
    start = command[PAGE][2]
    page = [[start, []], *[[b"18-0", []]] * 9]
    right: dict[int, Any] = {APPEND: [b"1-1"], ENTITY: [b"id", identity], PAGE: page, TAIL: [[b"1-1", []]] * 3}
    wrong: dict[int, list[Any]] = {
        APPEND: [[b"", b"version", b"3"], []],
        ENTITY: [[], [b"id", b"somebody else"]],
        PAGE: [[], page[:9], [[b"18-0", []]] * 10, [b"x"] * 10],
        TAIL: [[], [[b"1-1", []]] * 2],
    }
    for kind, number in numbers.items():
        assert source.fault(number, kind, right[kind]) == ""
        assert {source.fault(number, kind, each) for each in wrong[kind]} == {f"a miss of {NAMES[kind]}"}


# Whether a mix was as asked -----------------------------------------------------------------------------------

ASKED = {"append": 0.2, "entity": 0.8, "page": 0.0}
DUE = {"append": 200, "entity": 800, "page": 0}


@pytest.mark.parametrize(
    ("due", "answered", "missed", "status", "says"),
    [
        (DUE, DUE, {}, "PASS", "20.0% append (20.0% asked), 80.0% entity (80.0% asked); each read found"),
        (DUE, {"append": 230, "entity": 770}, {}, "UNKNOWN", "is not the one that was asked for"),
        (DUE, {"append": 200, "entity": 700}, {}, "UNKNOWN", "off are entity"),
        (DUE, DUE, {"entity": 3}, "FAIL", "3 of 800 (entity)"),
        (DUE, {}, {}, "UNKNOWN", "nothing was answered"),
        ({"append": 0, "entity": 5}, {"entity": 5}, {}, "UNKNOWN", "none was due of: append"),
    ],
)
def test_whether_a_mix_was_as_asked(
    due: dict[str, int], answered: dict[str, int], missed: dict[str, int], status: str, says: str
) -> None:
    """Each kind has its share of what was answered; a miss is worse than a share that is off."""
    found = as_asked("x", ASKED, due, answered, missed)
    assert (found.status, says in found.detail) == (status, True), found.detail


@pytest.mark.parametrize("given", [{"page_share": 0.6, "tail_share": 0.5}, {"entities": 50, "page_events": 51}])
def test_a_mix_that_cannot_be(given: dict[str, Any]) -> None:
    """Shares of the reads beyond all of them, and pages that are longer than the past, are refused."""
    with pytest.raises(ValueError, match="`page_"):
        MixParameters(**given)
    assert isinstance(MixParameters(read_share=0.5).mix(1), ReadMix)
