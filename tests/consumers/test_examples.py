"""The consumers that people copy: each is killed, stopped and left without its sink, and loses nothing.

The one in Node needs a package of npm, and the one in Go its compiler: where they are not, they are skipped.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.server.own import OwnServer
from tests.consumer_trials import Trial, made_in, program_of
from tests.stores import open_own

EXAMPLES = Path(__file__).parents[2] / "examples" / "consumers"


def command_of(name: str, cache: Path) -> list[str]:
    """The command line of an example; skips the test where it cannot be run here.

    Args:
        name: its directory.
        cache: where what is fetched or made for it is kept.
    """
    directory = EXAMPLES / name
    if name == "python":
        return [sys.executable, str(directory / "consumer.py")]
    if name == "java":
        return [program_of("java"), str(directory / "Consumer.java")]
    source = directory / f"consumer.{'go' if name == 'go' else 'js'}"
    key = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(directory.iterdir()))).hexdigest()[:12]
    if name == "go":
        build = [program_of("go"), "build", "-o", "consumer", source.name]
        return [str(made_in("it cannot be built", build, cache / f"go-{key}", source) / "consumer")]
    install = [program_of("npm"), "install", "--no-audit", "--no-fund"]
    files = (source, directory / "package.json")
    return [
        program_of("node"),
        str(made_in("npm cannot install", install, cache / f"node-{key}", *files) / source.name),
    ]


@pytest.fixture(scope="module")
def emptied() -> Iterator[OwnServer]:
    """A server whose clients are disconnected, and which is emptied."""
    with open_own() as one:
        yield one


@pytest.fixture
def trial(request: pytest.FixtureRequest, tmp_path: Path, emptied: OwnServer) -> Iterator[Trial]:
    """An example that has begun."""
    cache = request.config.cache.mkdir("consumers")
    with Trial(tmp_path, emptied, command_of(request.param, cache)) as trial:
        trial.begin()
        yield trial


def _tried(*, rest: pytest.MarkDecorator) -> pytest.MarkDecorator:
    """Try each example; those that are slow to start as `rest` says."""
    others = (pytest.param("node", marks=pytest.mark.slow), *(pytest.param(n, marks=rest) for n in ("java", "go")))
    return pytest.mark.parametrize("trial", ["python", *others], indirect=True)


@_tried(rest=pytest.mark.slow)
def test_a_kill_in_the_middle_loses_nothing(trial: Trial) -> None:
    """What it had in hand when it was killed has its effect after its start, though nobody else is there."""
    trial.sink.slow(200)
    trial.publish(100)
    trial.until(lambda: trial.pending() and len(trial.lost) < 100, "it is in the middle")
    trial.consumer.kill()
    assert trial.lost
    trial.sink.slow(0)
    trial.consumer.start()
    trial.wait_for_all()


@_tried(rest=pytest.mark.long)
def test_what_another_one_left_is_taken_over_in_silence(trial: Trial) -> None:
    """What a killed consumer had in hand is claimed by one of another name, while nothing is published."""
    trial.sink.slow(5_000)
    trial.publish(30)
    trial.until(trial.pending, "it has something in hand")
    trial.consumer.kill()
    trial.sink.slow(0)
    trial.another("consumer-2")
    trial.wait_for_all()


@_tried(rest=pytest.mark.long)
def test_a_stop_while_the_sink_refuses_loses_nothing(trial: Trial) -> None:
    """It ends by itself when it is told to, though its sink refuses, and has the effects after its start."""
    trial.sink.refuse(503)
    ids = trial.publish(30)
    trial.until(lambda: len(trial.attempts.attempts_of(ids[0])) > 1, "it tries again")
    trial.consumer.stop()
    trial.publish(30)
    trial.sink.refuse(0)
    trial.consumer.start()
    trial.wait_for_all()


@_tried(rest=pytest.mark.long)
def test_poison_is_parked_and_the_rest_goes_on(trial: Trial) -> None:
    """An event that is refused for ever is parked, and those behind it have their effects."""
    trial.sink.poison(f"e{len(trial.published) + 7}")
    trial.publish(40)
    trial.until(lambda: trial.lost == [*trial.sink.poisoned], "the rest has its effect")
    trial.until(lambda: not trial.pending(), "it is acknowledged")
    parked = [fields for stream in trial.streams for _, fields in trial.client.xrange(f"{stream}:parked")]
    assert parked == [{"event_id": event_id} for event_id in trial.sink.poisoned]


@_tried(rest=pytest.mark.long)
def test_it_survives_an_emptied_server(trial: Trial) -> None:
    """Its streams and groups are gone; what is published from then on has its effect."""
    trial.client.flushall()
    trial.publish(30)
    trial.wait_for_all()


@_tried(rest=pytest.mark.long)
def test_it_survives_lost_connections(trial: Trial) -> None:
    """Each of its connections is closed by the server, again and again, while events come."""
    for _ in range(5):
        trial.publish(30)
        trial.client.client_kill_filter(_type="normal", skipme=True)
        trial.publish(30)
    trial.wait_for_all()


@_tried(rest=pytest.mark.long)
def test_pending_entries_that_were_deleted_do_not_stop_it(trial: Trial) -> None:
    """What it had in hand has been trimmed away by the time it comes back: it goes on with what there is."""
    trial.sink.refuse(503)
    trial.publish(30)
    trial.until(trial.pending, "it has something in hand")
    trial.consumer.kill()
    for stream in trial.streams:
        trial.client.xtrim(stream, maxlen=0, approximate=False)
    trial.published.clear()
    trial.sink.refuse(0)
    trial.publish(30)
    trial.consumer.start()
    trial.wait_for_all()
