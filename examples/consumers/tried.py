"""The consumers of the table, and what is said of some of them.

A sentence is about single repeats: it is so where each repeat that was tried bears it out, or the share it names.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.consumer_check.commands import ORDERSHOP
from harness.consumer_check.result import Played
from harness.consumer_check.trials import CLAIM_MS, TRIALS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = Path("examples", "consumers")
NAMES = tuple(trial.name for trial in TRIALS)


@dataclass(frozen=True)
class Consumer:
    """A consumer of the table.

    Attributes:
        name: of its results.
        title: in the table.
        directory: of its program, below `examples/consumers`; empty: it needs none.
        words: its command line; a program of its environment begins with `bin/`.
        library: of its requirements, whose version is shown; empty: none.
        shape: of its events; empty: the usual one.
    """

    name: str
    title: str
    directory: str = ""
    words: str = "bin/python {here}/consumer.py"
    library: str = ""
    shape: str = ""

    @property
    def here(self) -> Path:
        """Where its program is, from the root of the repository."""
        return EXAMPLES / self.directory

    @property
    def requirements(self) -> Path:
        """What its environment is made of."""
        return ROOT / self.here / "requirements.txt"

    @property
    def version(self) -> str:
        """Its library with the version that was installed."""
        if not self.library:
            return ""
        lines = self.requirements.read_text().split()
        return next(line.replace("==", " ") for line in lines if line.startswith(f"{self.library}=="))

    def command(self, environment: str = "") -> str:
        """Its command line.

        Args:
            environment: with a slash at its end; empty: as it is shown, the environment being active.
        """
        said = [word.format(here=self.here) for word in self.words.split()]
        return shlex.join(
            (f"{environment}{word}" if environment else word.removeprefix("bin/"))
            if word.startswith("bin/")
            else word
            for word in said
        )

    def digest(self) -> str:
        """Of its files: others than those have not been tried."""
        files = sorted(each for each in (ROOT / self.here).iterdir() if each.is_file()) if self.directory else []
        return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()[:8]


CONSUMERS = (
    Consumer("good", "redis-py, the loop done well", "python", library="redis"),
    Consumer("ordershop", "OrderShop's CRM", words=ORDERSHOP),
    Consumer("plain", "redis-py, the shortest loop", "plain_loop", library="redis"),
    Consumer("faststream", "FastStream, by default", "faststream", library="faststream"),
    Consumer(
        "faststream-from-0",
        'FastStream, with `last_id="0"`',
        "faststream",
        "bin/python {here}/consumer.py from_0",
        library="faststream",
    ),
    Consumer(
        "faststream-claiming",
        "FastStream, with a second subscriber that claims, as documented",
        "faststream",
        "bin/python {here}/consumer.py claiming",
        library="faststream",
    ),
    Consumer(
        "taskiq-redis",
        "taskiq-redis, as its README shows it",
        "taskiq_redis",
        "bin/taskiq worker --workers 1 --app-dir {here} consumer:broker",
        library="taskiq-redis",
        shape="shape.toml",
    ),
)


@dataclass(frozen=True)
class Said:
    """A sentence about a consumer, and how a trial of it is told to bear it out.

    Attributes:
        consumer: whose, by its name.
        trials: each of which has to bear it out, in the repeats that were tried.
        words: the sentence.
        holds: whether it does, in one repeat.
        claim_ms: that the consumer is told.
        once: whether one repeat is enough.
        share: of the repeats that have to bear it out; less than all where it is a race.
    """

    consumer: str
    trials: tuple[str, ...]
    words: str
    holds: Callable[[Played], bool]
    claim_ms: int = CLAIM_MS
    once: bool = False
    share: float = 1.0


def pending(least: int) -> Callable[[Played], bool]:
    """At least so many events are stuck, and pending."""
    return lambda played: played.counts.where.get("pending", 0) >= least


def is_kept(played: Played) -> bool:
    """Nothing is lost or stuck."""
    return played.counts.lost == 0 and played.counts.stuck == 0


def is_kept_and_repeats(played: Played) -> bool:
    """Nothing is lost or stuck, and something was had twice."""
    return is_kept(played) and bool(played.counts.repeated)


def is_exact(played: Played) -> bool:
    """Nothing is lost, stuck, or had twice."""
    return is_kept(played) and played.counts.repeated == 0


def never_delivered(played: Played) -> bool:
    """Events were never delivered."""
    return played.counts.where.get("never_delivered", 0) > 0


def skipped(played: Played) -> bool:
    """Events were skipped by a group that was made anew."""
    return played.counts.where.get("skipped_by_group", 0) > 0


ACCEPTED = (
    Said("faststream", ("kill", "stop"), "some are stuck, pending", pending(1)),
    Said("faststream-from-0", ("kill", "stop"), "some are never delivered", never_delivered),
    Said("faststream-claiming", ("kill",), "nothing is lost or stuck; some are repeated", is_kept_and_repeats),
    Said("faststream-claiming", ("cut",), "nothing is lost or stuck", is_kept),
    Said("taskiq-redis", ("kill_then_quiet",), "some are stuck, pending", pending(1), claim_ms=6_000),
    Said("taskiq-redis", ("kill",), "nothing is lost or stuck where there is traffic again", is_kept),
    Said("plain", ("kill",), "some are stuck, pending", pending(1)),
    Said(
        "plain",
        ("restart_empty",),
        "in at least half of the repeats some are skipped by a group that was made anew",
        skipped,
        share=0.5,
    ),
    Said("good", NAMES, "nothing is lost or stuck", is_kept, once=True),
    Said("ordershop", NAMES, "nothing is lost or stuck, nothing is had twice", is_exact, once=True),
)
