"""A consumer by command: what it is told, how it gets ready, what is done to it, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host.clock import SystemClock
from harness.server.open import open_server
from harness.system.contract import SystemContract
from harness.system.port import NotStartedError, Place, SystemUnderTest, Wanted
from tests.consumers import system


@pytest.mark.slow
class TestConsumer(SystemContract):
    """A good one keeps to the contract of all systems."""

    @staticmethod
    def system() -> SystemUnderTest:
        """Its events are counted once, since it says by which key they are the same."""
        return system("good")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An embedded server, empty, and a directory."""
    with open_server("embedded", SystemClock(), durability="none") as server:
        yield Place(server=server, directory=tmp_path, producer=7, wanted=Wanted())


def refused(place: Place, name: str, **options: str) -> str:
    """What is said of a consumer that does not get ready."""
    with pytest.raises(NotStartedError) as caught, system(name, ready_s=2.0, **options).started(place):
        pass
    return str(caught.value)


def test_a_command_that_there_is_not(place: Place) -> None:
    """It is named, at once."""
    from harness.system.consumer import ConsumerSystem, consumer_command

    with (
        pytest.raises(NotStartedError, match=r"^no-such-program: cannot be run \(No such file or directory\)$"),
        ConsumerSystem(consumer_command("no-such-program --fast")).started(place),
    ):
        pass
