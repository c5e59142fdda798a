"""What a system under test must keep to, and its smaller part, the target of a gate: tests that you inherit.

    class TestMySystem(SystemContract):
        @staticmethod
        def system() -> SystemUnderTest:
            return my_store.system

    class TestMyStore(TargetContract):
        @staticmethod
        def open_target() -> OpenTarget:
            return my_store.target

Each test runs on an embedded server of its own. A method that a target leaves out is skipped. What is asked is
what the gate relies on: that an append is done when it returns, for whoever opens the store next; that a replay
adds up to what was appended, no less and no more; that each new group is handed as many events as there are, out
of the server; and that only what was appended is found.

What is in an event a target alone knows. So two targets may do the same with different events, or hand out one of
them twice and another never, and these tests cannot tell: the store's own have to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis

from harness.account.event_ids import sequences_of
from harness.host.clock import SystemClock
from harness.nemesis.targets import abilities_of
from harness.server.dial import open_socket
from harness.server.open import open_server
from harness.server.server import Server
from harness.system.port import Place, SystemUnderTest, Wanted
from harness.system.target import OpenTarget

COUNT = 25
# An event that is delivered takes some bytes on its way, its ID at the least.
LEAST_BYTES = 10


class TargetContract:
    """The tests; a subclass says what opens the target."""

    @staticmethod
    def open_target() -> OpenTarget:
        """What opens the target on the URL of an empty server."""
        raise NotImplementedError

    @pytest.fixture
    def server(self) -> Iterator[Server]:
        """An embedded server, empty."""
        with open_server("embedded", SystemClock()) as one:
            yield one

    @pytest.fixture
    def target(self, server: Server) -> Iterator[Any]:
        """The target, open."""
        opened = self.open_target()(server.url.unmasked)
        yield opened
        opened.close()

    def test_an_append_answers_an_id_of_its_own(self, target: Any) -> None:
        """Each event gets an ID that no other has."""
        ids = [target.append(target.event(number)) for number in range(COUNT)]
        assert None not in ids
        assert len({str(each) for each in ids}) == COUNT

    def test_many_are_answered_one_by_one(self, target: Any) -> None:
        """`append_many` answers an ID for each event, none of which an append answers again."""
        _needs(target, "append_many")
        ids = list(target.append_many([target.event(number) for number in range(COUNT)]))
        ids.append(target.append(target.event(COUNT)))
        assert None not in ids
        assert len({str(each) for each in ids}) == COUNT + 1

    def test_an_append_is_done_when_it_returns(self, target: Any, server: Server) -> None:
        """Who opens the store afterwards replays everything that was appended."""
        _needs(target, "replay")
        for number in range(COUNT):
            target.append(target.event(number))
        other: Any = self.open_target()(server.url.unmasked)
        assert len(other.replay()) == COUNT
        other.close()

    def test_a_replay_adds_up_to_all_entities(self, target: Any) -> None:
        """Each number is an entity, however it was appended; a replay changes nothing."""
        _needs(target, "replay")
        assert len(target.replay()) == 0
        target.append(target.event(0))
        if hasattr(target, "append_many"):
            target.append_many([target.event(number) for number in range(1, COUNT)])
        appended = COUNT if hasattr(target, "append_many") else 1
        assert len(target.replay()) == len(target.replay()) == appended

    def test_each_group_gets_everything_once(self, target: Any) -> None:
        """A new group is handed all events; so is the next one."""
        _needs(target, "drain")
        for number in range(COUNT):
            target.append(target.event(number))
        assert [target.drain(group, COUNT) for group in ("one", "two")] == [COUNT, COUNT]

    def test_what_is_drained_comes_from_the_server(self, target: Any, server: Server) -> None:
        """Who opens the store afterwards is handed the events of others, and not only their number."""
        _needs(target, "drain")
        for number in range(COUNT):
            target.append(target.event(number))
        other: Any = self.open_target()(server.url.unmasked)
        with server.client() as client:
            # What the answer with the count takes itself is in the next one.
            before, idle = _sent_bytes(client), _sent_bytes(client)
            assert other.drain("one", COUNT) == COUNT
            drained = _sent_bytes(client) - idle - (idle - before)
        assert drained >= COUNT * LEAST_BYTES
        other.close()

    def test_what_was_appended_is_found(self, target: Any, server: Server) -> None:
        """`find_one` answers something for what was appended, by whomever, and None for anything else."""
        _needs(target, "find_one")
        target.append(target.event(3))
        appended = [3]
        if hasattr(target, "append_many"):
            target.append_many([target.event(number) for number in (5, 6)])
            appended += [5, 6]
        other: Any = self.open_target()(server.url.unmasked)
        for each in (target, other):
            assert None not in [each.find_one(number) for number in appended]
            assert each.find_one(4) is None
        other.close()


def _sent_bytes(client: redis.Redis) -> int:
    """What a server has sent so far, to all its clients."""
    return int(client.info("stats")["total_net_output_bytes"])


def _needs(target: Any, method: str) -> None:
    if not hasattr(target, method):
        pytest.skip(f"this target has no {method}")


class SystemContract:
    """The tests of a whole system: its commands append events that its consumers handle; a subclass says which.

    What is asked is what scenarios rely on: that each command appends one event, with its `event_id` in the entry;
    that entries have an order; that consumers have each event's effect once, in order, also when one was killed in
    the middle; and that nothing is left behind.
    """

    # So many events are appended before a consumer is killed, and after.
    EVENTS = 40

    @staticmethod
    def system() -> SystemUnderTest:
        """The system."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Place]:
        """An embedded server, empty, and a directory."""
        with open_server("embedded", SystemClock(), durability="none") as server:
            yield Place(server=server, directory=tmp_path, producer=7, wanted=Wanted())

    def test_each_command_appends_its_event(self, place: Place) -> None:
        """As many entries as commands, each with the event's ID, and with an order among those of a stream."""
        system = self.system()
        self._append(place, 0, self.EVENTS)
        found = self._entries(place)
        assert len({(stream, system.order(raw.decode())) for stream, raw, _ in found}) == self.EVENTS
        texts = [system.event_id(fields) for _, _, fields in found]
        assert sorted(sequences_of(place.producer, texts)) == list(range(self.EVENTS))

    def test_an_entry_tells_when_it_was_appended(self, place: Place) -> None:
        """By the server's clock, to the second."""
        system, clock = self.system(), SystemClock()
        before_s = clock.epoch_s()
        self._append(place, 0, 1)
        [(_, raw, _)] = self._entries(place)
        assert before_s - 1 <= system.epoch_s(raw.decode()) <= clock.epoch_s() + 1

    def test_each_event_has_its_effect_once_and_in_order(self, place: Place) -> None:
        """Effects come as the events did, entity by entity, and no event is left out."""
        system = self.system()
        with system.started(place) as running:
            self._until(running.listens)
            self._append(place, 0, self.EVENTS)
            self._until(lambda: len(running.effects(0)) >= self.EVENTS)
            seen = sequences_of(place.producer, running.effects(0)).tolist()
        assert sorted(seen) == list(range(self.EVENTS))
        for entity in range(0, self.EVENTS, system.events_an_entity):
            own = [event for event in seen if entity <= event < entity + system.events_an_entity]
            assert own == sorted(own)

    def test_a_kill_loses_nothing_and_repeats_nothing(self, place: Place) -> None:
        """A consumer that was killed, and comes back, goes on where it was."""
        system = self.system()
        with system.started(place) as running:
            self._until(running.listens)
            can = next(abilities_of(each) for each in running.targets if each.name == running.consumers[0])
            self._append(place, 0, self.EVENTS)
            can["kill"]()
            assert not running.is_running(running.consumers[0])
            self._append(place, self.EVENTS, self.EVENTS)
            can["start"]()
            self._until(lambda: len(running.effects(0)) >= 2 * self.EVENTS)
            seen = sequences_of(place.producer, running.effects(0)).tolist()
        assert sorted(seen) == list(range(2 * self.EVENTS))

    def _entries(self, place: Place) -> list[tuple[str, bytes, dict[bytes, bytes]]]:
        with contextlib.closing(place.server.client()) as opened:
            # redis-py's types allow text where this client answers bytes.
            client: Any = opened
            streams = [stream for stream in self.system().streams(place.server) if client.exists(stream)]
            return [(stream, raw, fields) for stream in streams for raw, fields in client.xrange(stream)]

    def _append(self, place: Place, first: int, count: int) -> None:
        source = self.system().source(place.server, "append", place.producer)
        with open_socket(place.server.url, 10.0) as connection:
            connection.sendall(source.pack(first, count))
            reader, answers = hiredis.Reader(), list[object]()
            while len(answers) < count:
                reader.feed(connection.recv(1 << 16))
                while (answer := reader.gets()) is not False:
                    answers.append(answer)
        assert not [answer for answer in answers if isinstance(answer, hiredis.ReplyError)]

    @staticmethod
    def _until(condition: Callable[[], bool]) -> None:
        clock = SystemClock()
        deadline_ns = clock.now_ns() + 20_000_000_000
        while not condition():
            assert clock.now_ns() < deadline_ns, "not within 20 s"
            clock.sleep_ns(20_000_000)
