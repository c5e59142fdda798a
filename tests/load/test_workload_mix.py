"""Mixed workloads: who is chosen, how large, into which stream; and that a seed says all of it."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from itertools import pairwise
from typing import Any

import hiredis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.account.event_ids import event_id
from harness.load.pacing import Poisson
from harness.load.striped import StripedSource
from harness.load.workload import (
    Cycle,
    Mix,
    MixedCommands,
    entity_id,
    entity_placeholder,
    payload_sizes,
    placeholder,
)

PRODUCER = 0xABCDEF012345


def source(mix: Mix, producer: int = PRODUCER) -> MixedCommands:
    """XADDs of events about entities, the payload of size number n 10 n bytes longer than the first."""
    event, entity = placeholder(producer), entity_placeholder(producer)
    about = entity if mix.entities else event
    templates = [
        [
            ["XADD", f"s{stream}", "*", "event_id", event, "entity", f"{about}:{'x' * 10 * n}"]
            for n in range(mix.sizes)
        ]
        for stream in range(mix.streams)
    ]
    return MixedCommands("append", templates, producer, mix)


def commands(packed: bytes) -> list[list[bytes]]:
    """RESP, read by hiredis; fails where anything is left over."""
    reader = hiredis.Reader()
    reader.feed(packed)
    found: list[Any] = []
    while (command := reader.gets()) is not False:
        found.append(command)
    assert b"".join(hiredis.pack_command(tuple(command)) for command in found) == packed, "bytes are left over"
    return found


mixes = st.builds(
    Mix,
    seed=st.integers(0, 1 << 40),
    entities=st.sampled_from([1, 2, 7, 5_000]),
    skew=st.sampled_from([0.0, 0.5, 1.0, 2.5]),
    streams=st.integers(1, 3),
    sizes=st.integers(1, 5),
) | st.builds(Mix, seed=st.integers(0, 1 << 40), streams=st.integers(1, 3), sizes=st.integers(1, 5))


@settings(max_examples=60, deadline=None)
@given(mix=mixes, cuts=st.lists(st.integers(0, 3_000), max_size=12), first=st.integers(0, 10_000))
def test_packing_does_not_depend_on_batching(mix: Mix, cuts: list[int], first: int) -> None:
    """However operations are cut into batches, their bytes are the same."""
    bounds = [0, *sorted(cuts), 3_000]
    whole = source(mix).pack(first, 3_000)
    parts = source(mix)
    assert b"".join(parts.pack(first + a, b - a) for a, b in pairwise(bounds)) == whole


@settings(max_examples=40, deadline=None)
@given(mix=mixes, first=st.integers(0, 1 << 30), count=st.integers(2, 40), workers=st.integers(1, 4))
def test_one_command_is_that_of_many(mix: Mix, first: int, count: int, workers: int) -> None:
    """Packed alone, which takes another way, a command is what it is among others; a worker's share, too."""
    mixed = source(mix)
    whole = commands(source(mix).pack(first, count * workers))
    assert [commands(mixed.pack(first + at, 1)) for at in range(count * workers)] == [[each] for each in whole]
    striped = StripedSource(mixed, workers - 1, workers)
    alone = [striped.pack(first // workers + at, 1) for at in range(count)]
    assert b"".join(alone) == striped.pack(first // workers, count)


def test_one_command_keeps_every_byte_of_its_payload() -> None:
    """Per cent signs, field names and bytes that are no text stand in a command packed alone as given."""
    mark, about = placeholder(PRODUCER), entity_placeholder(PRODUCER)
    payload = bytes(range(256)) * 2 + b"%(event)012x %d %% %(entity)s"
    templates = [[["A", mark, payload, about, mark], ["B", about, f"%{mark}%", payload, about]]]
    mixed = MixedCommands("a", templates, PRODUCER, Cycle(sizes=2))
    whole = mixed.pack(0, 64)
    assert b"".join(mixed.pack(number, 1) for number in range(64)) == whole
    assert [command[0] for command in commands(whole)] == [b"A", b"B"] * 32


@settings(max_examples=40, deadline=None)
@given(mix=mixes, first=st.integers(0, 1 << 30), count=st.integers(1, 1_500))
def test_every_command_is_whole(mix: Mix, first: int, count: int) -> None:
    """Each command is RESP, with its own event's ID, in the stream of its entity, of a size that there is."""
    entities, sizes = mix.draw(first, count)
    expected = []
    for number, entity, size in zip(range(first, first + count), entities.tolist(), sizes.tolist(), strict=True):
        event = event_id(PRODUCER, number)
        about = entity_id(PRODUCER, entity) if mix.entities else event
        stream = entity % mix.streams
        body = f"{about}:{'x' * 10 * size}"
        expected.append([x.encode() for x in ("XADD", f"s{stream}", "*", "event_id", event, "entity", body)])
    assert commands(source(mix).pack(first, count)) == expected


@settings(max_examples=30, deadline=None)
@given(mix=mixes)
def test_a_seed_says_all(mix: Mix) -> None:
    """The same seed gives the same bytes, also in the process to which the source was sent."""
    mine = source(mix)
    mine.pack(0, 10)
    sent = pickle.loads(pickle.dumps(mine))  # noqa: S301 - our own
    assert (sent.operation, sent.pack(500, 2_000)) == ("append", source(mix).pack(500, 2_000))


def test_another_seed_is_another_run() -> None:
    """Two seeds do not choose the same entities."""
    one, other = (Mix(seed=seed, entities=1_000).draw(0, 1_000)[0] for seed in (1, 2))
    assert np.count_nonzero(one == other) < 20


def test_only_the_producer_differs() -> None:
    """Two producers with one seed send the same commands but for their number."""
    mix = Mix(seed=3, entities=50, skew=1.0, sizes=4, streams=2)
    mine, theirs = source(mix, 1).pack(0, 500), source(mix, 2).pack(0, 500)
    assert mine.replace(placeholder(1)[:14].encode(), placeholder(2)[:14].encode()) == theirs


def test_sizes_do_not_move_entities() -> None:
    """The same seed meets the same entities with payloads of one size or of many."""
    one, many = (Mix(seed=3, entities=50, sizes=sizes).draw(0, 3_000)[0] for sizes in (1, 64))
    assert one.tolist() == many.tolist()


def test_a_pickled_source_is_small() -> None:
    """What follows from the mix is not sent to the pump's process, also after it was needed here."""
    mine = source(Mix(seed=1, entities=1_000_000, skew=1.0))
    mine.pack(0, 1)
    assert len(pickle.dumps(mine)) < 20_000

    large = source(Mix(seed=1, entities=10, sizes=64, streams=3))
    before = len(pickle.dumps(large))
    for number in range(200):
        large.pack(number, 1)
    assert len(pickle.dumps(large)) <= before + 20_000


def chi_square(observed: np.ndarray[Any, Any], shares: np.ndarray[Any, Any]) -> float:
    """Pearson's statistic of counts against shares."""
    expected = shares * observed.sum()
    return float(((observed - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("skew", [0.0, 0.5, 0.99, 1.0, 1.5])
def test_entities_follow_zipf(skew: float) -> None:
    """How often each entity is chosen is as the law says: chi-square below its 99.9 % quantile, seed fixed."""
    mix = Mix(seed=11, entities=100, skew=skew)
    weights = np.array([1 / (k + 1) ** skew for k in range(100)])
    observed = np.bincount(mix.draw(0, 200_000)[0], minlength=100)
    assert chi_square(observed, weights / weights.sum()) < 148.2  # 99 degrees of freedom


def test_sizes_are_equally_likely() -> None:
    """Each size is chosen as often as any other: chi-square below its 99.9 % quantile, seed fixed."""
    sizes = Mix(seed=11, entities=3, sizes=64).draw(0, 200_000)[1]
    assert chi_square(np.bincount(sizes, minlength=64), np.full(64, 1 / 64)) < 103.4  # 63 degrees of freedom


def test_size_and_entity_are_independent() -> None:
    """Hot entities have payloads of every size."""
    entities, sizes = Mix(seed=5, entities=1_000, skew=1.0, sizes=64).draw(0, 100_000)
    assert abs(float(np.corrcoef(entities, sizes)[0, 1])) < 0.01


def test_choices_do_not_repeat_the_arrivals() -> None:
    """The entities are not drawn from the numbers from which the same seed draws the gaps between arrivals."""
    gaps = np.diff(Poisson(1_000, 10, seed=1).due_ns(0, 1_025))
    entities, _ = Mix(seed=1, entities=1 << 20).draw(0, 1_024)
    assert abs(float(np.corrcoef(gaps, entities)[0, 1])) < 0.1


def test_new_entities_take_turns_over_streams() -> None:
    """Where each operation has an entity of its own, the streams get one after the other."""
    streams = Counter(command[1] for command in commands(source(Mix(seed=1, streams=3)).pack(0, 300)))
    assert streams == {b"s0": 100, b"s1": 100, b"s2": 100}


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"entities": -1},
        {"streams": 0},
        {"sizes": 0},
        {"entities": 2, "skew": -1.0},
        {"entities": 2, "skew": math.nan},
        {"skew": 1.0},
    ],
)
def test_mix_that_cannot_be(wrong: dict[str, Any]) -> None:
    """A mix refuses numbers that make no sense."""
    with pytest.raises(ValueError, match=r"seed and entities|a skew is|hotter"):
        Mix(**({"seed": 1} | wrong))


def test_template_for_each_stream_and_size() -> None:
    """A source refuses templates that do not fit its mix."""
    with pytest.raises(ValueError, match="each stream and size"):
        MixedCommands("append", [[["SET", placeholder(1)]]], 1, Mix(seed=1, streams=2))


def test_command_without_a_place_for_the_event() -> None:
    """A source refuses commands that could not be told apart."""
    with pytest.raises(ValueError, match="no place"):
        MixedCommands("append", [[["PING"]]], 1, Mix(seed=1))


def test_commands_of_which_only_some_have_a_place() -> None:
    """A source refuses it, too, when some of its commands could not be told apart."""
    templates = [[["SET", placeholder(1)], ["PING"]]]
    with pytest.raises(ValueError, match="that others have not"):
        MixedCommands("append", templates, 1, Mix(seed=1, sizes=2))


def test_slots_of_different_number() -> None:
    """Templates may carry the ID in more or fewer places; each is filled."""
    mark = placeholder(PRODUCER)
    mixed = MixedCommands("a", [[["ONE", mark]], [["THREE", mark, mark, mark]]], PRODUCER, Mix(seed=1, streams=2))
    ids = [event_id(PRODUCER, n).encode() for n in range(2)]
    assert commands(mixed.pack(0, 2)) == [[b"ONE", ids[0]], [b"THREE", *[ids[1]] * 3]]


def test_entity_is_never_an_event() -> None:
    """An entity's ID looks like an event's, and is never one."""
    assert (event_id(1, 5), entity_id(1, 5)) == (
        "00000000-0001-8000-8000-000000000005",
        "00000000-0001-8000-9000-000000000005",
    )


def test_fixed_sizes() -> None:
    """A fixed size is the only one."""
    assert payload_sizes("fixed", 300, 0.5) == [300]


def test_uniform_sizes() -> None:
    """Uniform sizes are evenly spaced, within their bounds."""
    assert payload_sizes("uniform", 100, 0.5, count=5) == [60, 80, 100, 120, 140]


@given(middle=st.integers(100, 10_000), spread=st.floats(0, 1))
def test_uniform_sizes_lie_within(middle: int, spread: float) -> None:
    """No uniform size is outside of (1 ± spread) times the middle."""
    sizes = payload_sizes("uniform", middle, spread)
    assert middle * (1 - spread) - 1 <= min(sizes) <= max(sizes) <= middle * (1 + spread) + 1


@given(spread=st.floats(0, 2))
def test_lognormal_sizes(spread: float) -> None:
    """Lognormal sizes have the median, and the spread of their logarithms, less what lies beyond the last part."""
    sizes = payload_sizes("lognormal", 1_000_000, spread, count=256)
    logarithms = np.log(sizes)
    assert np.median(logarithms) == pytest.approx(math.log(1_000_000), abs=0.02)
    assert float(logarithms.std()) == pytest.approx(spread, rel=0.03, abs=1e-3)


@pytest.mark.parametrize(("distribution", "spread"), [("uniform", 1.1), ("lognormal", -1.0), ("fixed", math.inf)])
def test_spread_that_cannot_be(distribution: Any, spread: float) -> None:
    """A spread that a distribution cannot have is refused."""
    with pytest.raises(ValueError, match="spread"):
        payload_sizes(distribution, 100, spread)
