"""A scripted consumer that loses events on purpose, in many ways: what is said of each loss is what was done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from harness.account.event_ids import event_id
from harness.account.examples import Example
from harness.account.ledger import Ledger
from harness.check import checkers
from harness.nemesis.proxy import Proxy
from harness.record.sections import Sections
from harness.server.own import OwnServer
from scenarios.line.account import Accounted, accounted, lost_in
from scenarios.line.evidence import LineFacts, Streams
from scenarios.line.followed import COMMANDS, FOLLOWED, Followed, GroupTold

PRODUCER, GROUP = 7, "g"
ONE, TWO = "events:1", "events:2"


class Scripted:
    """A system of two streams, as far as `Streams` asks: the server's own IDs, an `event_id` in each entry."""

    group = GROUP

    def streams(self, server: Any) -> list[str]:
        return [ONE, TWO]

    def parked(self, server: Any) -> None:
        return None

    def event_id(self, fields: dict[bytes, bytes]) -> str:
        return fields.get(b"event_id", b"").decode()

    def order(self, entry_id: str) -> tuple[int, int]:
        high, _, low = entry_id.partition("-")
        return int(high), int(low)

    def epoch_s(self, entry_id: str) -> float:
        return self.order(entry_id)[0] / 1e3


class Trial:
    """A server with a consumer whose way to it is followed, and what became of the events."""

    def __init__(self, server: OwnServer, proxy: Proxy, direct: Any, consumer: Any) -> None:
        self.server = server
        self.proxy = proxy
        self.direct = direct
        self.consumer = consumer
        self.ledger = Ledger(PRODUCER, 1_000)
        self._count = 0
        self._effects: list[np.ndarray] = []

    def append(self, count: int, stream: str = ONE) -> list[str]:
        """Append so many events, past the proxy; the IDs of their entries."""
        numbers = range(self._count, self._count + count)
        self._count += count
        self.ledger.acknowledge(np.array(numbers, np.int64))
        return [self.direct.xadd(stream, {"event_id": event_id(PRODUCER, n), "v": "x"}).decode() for n in numbers]

    def read(self, count: int = 100, *, name: str = "c", **more: Any) -> list[tuple[str, str]]:
        """Read what is new, as the consumer; stream and ID of each."""
        found = self.consumer.xreadgroup(GROUP, name, {ONE: ">", TWO: ">"}, count=count, **more) or []
        self._last = {(stream, raw): fields for stream, entries in found for raw, fields in entries}
        return [(stream.decode(), raw.decode()) for stream, entries in found for raw, _ in entries]

    def effect(self, entries: Sequence[tuple[str, str]]) -> None:
        """Have the effects of entries that were read last."""
        texts = [self._last[stream.encode(), raw.encode()][b"event_id"].decode() for stream, raw in entries]
        self._effects.append(self.ledger.apply(texts).astype(np.int32))

    def ack(self, entries: Sequence[tuple[str, str]]) -> None:
        """Acknowledge entries, as the consumer."""
        for stream, raw in entries:
            self.consumer.xack(stream, GROUP, raw)

    def create(self, at: str = "0") -> None:
        """Make the group on both streams, as the consumer."""
        for stream in (ONE, TWO):
            self.consumer.xgroup_create(stream, GROUP, at, mkstream=True)

    def found(self, consumers: Sequence[str] = ("c",)) -> tuple[Accounted, Sections, list[Example]]:
        """The account, the evidence and an example of each class."""
        system: Any = Scripted()
        streams = Streams(self.direct, self.server, system, PRODUCER, 1_000, has_group=True)
        sections, noted = Sections(), self.ledger.noted()
        facts = LineFacts(
            capacity=1_000,
            events_an_entity=1,
            foreign=0,
            consumers=1,
            groups={},
            parked=0,
            waited_s=1.0,
        )
        streams.gather(sections, noted, self._effects, facts)
        told = GroupTold({"c": self.proxy}, list(consumers), streams, system, 0)
        told.gather(sections, lost_in(sections))
        account = accounted(sections)
        return account, sections, told.examples(account.losses, PRODUCER)

    def losses(self, consumers: Sequence[str] = ("c",)) -> dict[str, int]:
        """The classes that are not empty."""
        return {name: count for name, count in self.found(consumers)[0].losses.counts.items() if count}


@pytest.fixture
def trial(own_server: OwnServer, tmp_path: Path) -> Iterator[Trial]:
    """A trial on a server of its own."""
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy(own_server.port, told=tmp_path / "c.told"))
        direct = stack.enter_context(own_server.client())
        consumer = stack.enter_context(redis.Redis(port=proxy.port))
        yield Trial(own_server, proxy, direct, consumer)


def test_acknowledged_without_an_effect(trial: Trial) -> None:
    """Acknowledged before the effect, which never comes: the one loss of which the strong word may be said."""
    trial.create()
    trial.append(6)
    entries = trial.read()
    trial.effect(entries[:4])
    trial.ack(entries)
    account, sections, [example] = trial.found()
    assert account.losses.counts == {**dict.fromkeys(account.losses.counts, 0), "without_effect": 2}
    said = checkers.nothing_lost("x", account.account, ending="drained", losses=account.losses).detail
    assert said.endswith("(2 were acknowledged by the consumer without an effect)")
    assert (example.where, example.event_id) == ("without_effect", event_id(PRODUCER, 4))
    assert (example.stream, example.entry_id) == entries[4]
    assert [each.what for each in example.entry] == ["handed out to c", "XACK, answered as done"]
    assert [(each.what, each.reply) for each in example.group] == [
        (f"XGROUP CREATE {ONE} {GROUP} 0 MKSTREAM", "OK")
    ]
    assert len(sections.value(COMMANDS, list[Any])) == 2
    assert sections.value(FOLLOWED, Followed) == Followed(consumers=["c"])


def test_deleted_with_what_it_has_pending(trial: Trial) -> None:
    """A consumer that deletes itself takes with it what it has pending, whatever stream it is in."""
    trial.create()
    trial.append(5)
    trial.append(3, TWO)
    entries = trial.read()
    trial.effect(entries[:2])
    trial.ack(entries[:2])
    for stream in (ONE, TWO):
        trial.consumer.xgroup_delconsumer(stream, GROUP, "c")
    assert trial.losses() == {"dropped_with_consumer": 6}
    [example] = trial.found()[2]
    assert [(each.what, each.reply) for each in example.group][-1] == (f"XGROUP DELCONSUMER {ONE} {GROUP} c", "3")


def test_what_was_claimed_is_not_deleted_with_the_first(trial: Trial) -> None:
    """Claimed by another before the first is deleted: still pending, and its loss is no deletion's."""
    trial.create()
    trial.append(4)
    entries = trial.read()
    trial.consumer.xclaim(ONE, GROUP, "d", 0, [entries[0][1]])
    trial.consumer.xautoclaim(ONE, GROUP, "d", 0, entries[1][1], count=1)
    trial.consumer.xgroup_delconsumer(ONE, GROUP, "c")
    assert trial.losses() == {"pending": 2, "dropped_with_consumer": 2}


def test_made_anew_at_the_end(trial: Trial) -> None:
    """A group that is destroyed and made anew at `$` drops what was pending, and skips what it had not read."""
    trial.create()
    trial.append(6)
    trial.read(2)
    trial.append(1, TWO)
    trial.consumer.xgroup_destroy(ONE, GROUP)
    trial.consumer.xgroup_create(ONE, GROUP, "$")
    trial.append(2)
    entries = trial.read()
    trial.effect(entries)
    trial.ack(entries)
    assert trial.losses() == {"dropped_with_group": 2, "skipped_by_group": 4}


@pytest.mark.parametrize("to", ["$", "last"])
def test_set_beyond(trial: Trial, to: str) -> None:
    """A group that is set forward skips; what it had handed out before stays pending."""
    trial.create()
    ids = trial.append(6)
    trial.read(1)
    trial.consumer.xgroup_setid(ONE, GROUP, to if to == "$" else ids[4])
    assert trial.losses() == {"pending": 1, "skipped_by_group": 5 if to == "$" else 4} | (
        {} if to == "$" else {"never_delivered": 1}
    )


def test_never_claimed(trial: Trial) -> None:
    """What nobody claims is pending, and what nobody asks for was never delivered."""
    trial.create()
    trial.append(4)
    trial.read(3)
    assert trial.losses() == {"pending": 3, "never_delivered": 1}


def test_group_destroyed(trial: Trial) -> None:
    """Without a group at the end that is said; of what was acknowledged before, the acknowledgement."""
    trial.create()
    trial.append(4)
    trial.ack(trial.read(2)[:1])
    trial.consumer.xgroup_destroy(ONE, GROUP)
    assert trial.losses() == {"without_effect": 1, "group_gone": 3}


def test_deleted_entries(trial: Trial) -> None:
    """An entry that was deleted is in no stream, whoever had it."""
    trial.create()
    trial.append(4)
    entries = trial.read()
    trial.consumer.xdel(ONE, entries[0][1], entries[1][1])
    trial.ack(entries[:1])
    assert trial.losses() == {"not_in_stream": 2, "pending": 2}


def test_read_with_noack(trial: Trial) -> None:
    """Read with NOACK: it was never pending, and nobody acknowledged it."""
    trial.create()
    trial.append(3)
    trial.read(noack=True)
    assert trial.losses() == {"unkept": 3}


def test_acknowledged_twice_in_one_command(trial: Trial) -> None:
    """Of an XACK that was answered with fewer than it names, what was pending until then is acknowledged."""
    trial.create()
    trial.append(4)
    ids = [raw for _, raw in trial.read()]
    trial.consumer.xack(ONE, GROUP, ids[0])
    trial.consumer.xack(ONE, GROUP, *ids[:3])
    trial.consumer.xack(ONE, GROUP, ids[0])
    assert trial.losses() == {"without_effect": 3, "pending": 1}


def test_handed_out_again_after_a_deletion(trial: Trial) -> None:
    """Dropped, and handed out again by a group that was set back: only what came of that counts."""
    trial.create()
    trial.append(3)
    trial.read()
    trial.consumer.xgroup_delconsumer(ONE, GROUP, "c")
    trial.consumer.xgroup_setid(ONE, GROUP, "0")
    entries = trial.read()
    trial.ack(entries[:1])
    trial.effect(entries[1:2])
    trial.ack(entries[1:2])
    assert trial.losses() == {"without_effect": 1, "pending": 1}


def test_what_was_not_seen_is_not_said(trial: Trial) -> None:
    """Acknowledged, or set forward, by somebody who is not followed: nobody knows who, and that is said."""
    trial.create()
    trial.append(4)
    entries = trial.read(2)
    trial.direct.xack(ONE, GROUP, *(raw for _, raw in entries))
    trial.direct.xgroup_setid(ONE, GROUP, "$")
    account, _, _ = trial.found()
    assert trial.losses() == {"not_pending": 4}
    said = checkers.nothing_lost("x", account.account, ending="drained", losses=account.losses).detail
    assert said.endswith(
        "(4 were passed by the group, are not pending, and had no effect: who acknowledged or skipped them was "
        "not seen)"
    )


def test_a_consumer_that_is_not_followed(trial: Trial) -> None:
    """With another consumer that nobody follows, what was not seen may have happened there: no skip is claimed."""
    trial.create("$")
    trial.append(2)
    trial.consumer.xgroup_setid(ONE, GROUP, "$")
    assert trial.losses() == {"skipped_by_group": 2}
    assert trial.losses(("c", "d")) == {"not_pending": 2}


def test_a_deletion_whose_number_is_another(trial: Trial) -> None:
    """Where the server says another number than was seen to be pending, nobody knows which entries it was."""
    trial.create()
    trial.append(4)
    entries = trial.read()
    trial.direct.xack(ONE, GROUP, entries[0][1])
    trial.consumer.xgroup_delconsumer(ONE, GROUP, "c")
    _, sections, _ = trial.found()
    assert trial.losses() == {"not_pending": 4}
    assert not sections.value(FOLLOWED, Followed).is_certain


def test_a_script_is_not_seen(trial: Trial) -> None:
    """What a script acknowledges is not seen: the weak word, and that scripts were called."""
    trial.create()
    trial.append(2)
    [first, _] = trial.read()
    trial.consumer.eval("return redis.call('XACK', KEYS[1], 'g', ARGV[1])", 1, ONE, first[1])
    account, sections, _ = trial.found()
    assert account.losses.counts["not_pending"] == 1
    assert (sections.value(FOLLOWED, Followed).scripts, sections.value(FOLLOWED, Followed).is_whole) == (1, False)


def test_a_proxy_that_has_ended(trial: Trial) -> None:
    """What a proxy noted before it ended is read, and that it has ended is a gap."""
    trial.create()
    trial.append(2)
    trial.ack(trial.read(1))
    trial.proxy.counts()
    trial.proxy.close()
    account, sections, _ = trial.found()
    assert account.losses.counts["without_effect"] == 1
    assert sections.value(FOLLOWED, Followed).gaps[0].startswith("c: the proxy has ended")
