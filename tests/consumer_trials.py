"""Consumers that are commands, tried without a scenario: with a server, a sink and events.

    with Trial(directory, server, [sys.executable, "consumer.py"]) as trial:
        trial.begin()                     it runs, and an event of each stream has had its effect
        trial.publish(100)
        trial.consumer.kill()
        trial.consumer.start()
        trial.wait_for_all()              each event has had its effect, or the test fails with the consumer's log

The command knows nothing but its environment, which is the one that `shopbench run --consumer` gives.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import redis

from harness.server.own import OwnServer
from harness.system.command import CommandProcess
from harness.system.sink import Attempts, Sink
from tests.waiting import until

GROUP = "shopbench"
PLAIN = {"event_id": "{event_id}"}
CLAIM_MS = 300
_NUMBERS = itertools.count(1)


class Trial:
    """A command with two streams, a group and a sink, while it is entered.

    Args:
        directory: that its log is written to.
        server: that its streams are on.
        command: its command line.
        page: that it reads at once.
        shape: the fields of an event, with `{event_id}` in one of them.
    """

    def __init__(
        self,
        directory: Path,
        server: OwnServer,
        command: Sequence[str],
        *,
        page: int = 20,
        shape: Mapping[str, str] = PLAIN,
    ) -> None:
        self.client: redis.Redis = redis.Redis.from_url(str(server.url), protocol=2, decode_responses=True)
        self.streams = [f"trial{next(_NUMBERS)}:events:{number}" for number in (1, 2)]
        effects = directory / "effects.log"
        self.sink, self.attempts = Sink(effects), Attempts(effects)
        self._had: list[str] = []
        self.log = directory / "consumer.log"
        self._command = command
        self._page = page
        self._shape = shape
        self._url = str(server.url)
        self.published: list[str] = []
        self._stack = contextlib.ExitStack()
        self._stack.callback(self.client.close)
        self._stack.callback(self.sink.close)
        self.consumer = self._process("consumer-1")

    def _process(self, name: str) -> CommandProcess:
        environment = {
            "SHOPBENCH_REDIS_URL": self._url,
            "SHOPBENCH_STREAMS": " ".join(self.streams),
            "SHOPBENCH_GROUP": GROUP,
            "SHOPBENCH_CONSUMER": name,
            "SHOPBENCH_CLAIM_MS": str(CLAIM_MS),
            "SHOPBENCH_PAGE": str(self._page),
            "SHOPBENCH_EFFECTS": self.sink.url,
        }
        return CommandProcess(name, self._command, log=self.log, environment=environment)

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.enter_context(self.consumer)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def another(self, name: str) -> CommandProcess:
        """One more consumer by the same command, which runs from now on."""
        return self._stack.enter_context(self._process(name))

    def begin(self) -> None:
        """Wait until each stream has the group, and an event of each has had its effect, one after the other.

        Both at once would come in one reply to a consumer that is between two reads, and in two to one that waits.
        """
        for stream in self.streams:
            self.until(lambda stream=stream: self._has_group(stream), f"{stream} has the group")
        for _ in self.streams:
            self.publish(1)
            self.wait_for_all()

    def _has_group(self, stream: str) -> bool:
        try:
            return any(group["name"] == GROUP for group in self.client.xinfo_groups(stream))
        except redis.ResponseError:  # there is no such stream yet
            return False

    def publish(self, count: int) -> list[str]:
        """Append events to the streams in turn; their IDs."""
        first = len(self.published)
        ids = [f"e{number}" for number in range(first, first + count)]
        with self.client.pipeline(transaction=False) as together:
            for number, event_id in enumerate(ids, first):
                fields = {name: value.replace("{event_id}", event_id) for name, value in self._shape.items()}
                together.xadd(self.streams[number % 2], fields)
            together.execute()
        self.published += ids
        return ids

    def pending(self) -> int:
        """How many entries the group has in hand, of all streams."""
        return sum(self.client.xpending(stream, GROUP)["pending"] for stream in self.streams)

    @property
    def lost(self) -> list[str]:
        """Published, and without an effect so far."""
        while found := self.attempts.effects(len(self._had)):
            self._had += found
        had = set(self._had)
        return [event_id for event_id in self.published if event_id not in had]

    def until(self, condition: Any, what: str, within_s: float = 20.0) -> None:
        """Wait for a condition; where it does not come, the consumer's log says why."""
        try:
            until(condition, what, within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log ends: {self.log.read_text()[-2_000:]}") from error

    def wait_for_all(self) -> None:
        """Wait until each event has had its effect, and nothing is in hand any more."""
        self.until(lambda: not self.lost, "every event has had its effect")
        self.until(lambda: not self.pending(), "everything is acknowledged")


def program_of(name: str) -> str:
    """Where a program is; skips the test where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def made_in(what: str, command: Sequence[str], kept: Path, *files: Path) -> Path:
    """A directory in which a command has made or fetched something; skips the test where that does not succeed.

    Args:
        what: is said when it does not succeed.
        command: its command line; it works in a copy of `files`.
        kept: the directory, which is there from then on; several tests may ask for it at once.
    """
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent) as fresh:
            made = Path(fresh, "made")
            made.mkdir()
            for file in files:
                shutil.copy(file, made)
            ended = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=240, check=False)
            if ended.returncode:
                pytest.skip(f"{what}: {(ended.stderr or ended.stdout).strip()[-500:]}")
            with contextlib.suppress(OSError):  # somebody else was first
                made.rename(kept)
    return kept
