"""Effects that a command tells of: those in a database of the consumer's own, printed one ID a line.

    --probe 'psql -Atc "select event_id from mails order by id"'

The command is run again and again, and prints every ID that it finds each time; what it did not print before is
new. So its order is that of the looks. An ID that it prints twice has had its effect twice. One that it prints
once may have had its effect twice all the same: behind a unique key nobody can tell.

What it prints before the consumers are started is of earlier runs, and left out. So that it disturbs little, it
rests for four times as long as it takes, and for a second at the least; where it fails, nobody can tell of effects
until it has been run again.
"""

from __future__ import annotations

import os
import subprocess
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.account.event_ids import event_id, sequences_of
from harness.host.clock import Clock
from harness.server.url import without_secrets

TIMEOUT_S = 30.0
LEAST_PAUSE_NS, PAUSE_SHARE = 1_000_000_000, 4


class ProbedEffects:
    """The effects that a command prints.

    Args:
        arguments: its command line.
        producer: whose events these are.
        clock: for the pauses.
        environment: variables that it has besides ours.
        directory: where it works.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        producer: int,
        clock: Clock,
        *,
        environment: Mapping[str, str],
        directory: Path,
    ) -> None:
        self._arguments = list(arguments)
        self._producer = producer
        self._clock = clock
        self._environment = {**os.environ, **environment}
        self._directory = directory
        self._next_ns = clock.now_ns()
        self._why_not = ""
        self._cannot_be_run = False
        # An event's number, or, below 0, the place of what is no event's ID among those.
        self._order = array("q")
        self._known = array("I")
        self._others: list[str] = []
        self._known_others: Counter[str] = Counter()

    def skip(self) -> None:
        """Leave out what is printed now: of earlier runs. A command that cannot print yet has nothing of these.

        Raises:
            OSError: there is no such program.
        """
        try:
            self.effects(0)
        except OSError:
            if self._cannot_be_run:
                raise
        del self._order[:]

    def effects(self, after: int) -> list[str]:
        """The IDs that were printed so far, but for the first ones.

        Raises:
            OSError: the command could not be run, failed, or did not end in time.
        """
        if self._clock.now_ns() >= self._next_ns:
            begun_ns = self._clock.now_ns()
            self._why_not = ""
            try:
                self._note(self._printed().split())
            except OSError as error:
                self._why_not = str(error)
            finally:
                now_ns = self._clock.now_ns()
                self._next_ns = now_ns + max(LEAST_PAUSE_NS, PAUSE_SHARE * (now_ns - begun_ns))
        if self._why_not:
            raise OSError(self._why_not)
        return [
            event_id(self._producer, number) if number >= 0 else self._others[-1 - number]
            for number in self._order[after:]
        ]

    def _printed(self) -> str:
        name = self._arguments[0]
        try:
            done = subprocess.run(
                self._arguments,
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"the probe {name} has not ended after {TIMEOUT_S:.0f} s") from error
        except OSError as error:
            self._cannot_be_run = True
            raise OSError(f"the probe {name} cannot be run ({error.strerror})") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").split("\n")
            last = next((line for line in reversed(said) if line.strip()), "")
            told = " ".join(map(without_secrets, last.split()))
            raise OSError(
                f"the probe {name} has ended with {done.returncode}: {told or 'it has written no error'}"
            )
        return done.stdout.decode("utf-8", "replace")

    def _note(self, ids: Sequence[str]) -> None:
        """Note what was not printed before, or not so often."""
        now: Counter[int] = Counter()
        others: Counter[str] = Counter()
        for text, number in zip(ids, sequences_of(self._producer, ids).tolist(), strict=True):
            if number < 0:
                others[text] += 1
                if others[text] > self._known_others[text]:
                    self._known_others[text] += 1
                    self._others.append(text)
                    self._order.append(-len(self._others))
                continue
            now[number] += 1
            if number >= len(self._known):
                self._known.extend([0] * (number + 1 - len(self._known)))
            if now[number] > self._known[number]:
                self._known[number] += 1
                self._order.append(number)
