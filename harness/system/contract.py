"""What a target of the gate must keep to: tests that you inherit, and run with pytest on your own event store.

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

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from harness.host.clock import SystemClock
from harness.server.open import open_server
from harness.server.server import Server
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
