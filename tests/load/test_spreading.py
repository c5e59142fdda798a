"""A load in shares: what workers send and measure adds up to what one would have sent and measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.load.pacing import Stripe, constant
from harness.load.striped import StripedSource
from harness.load.workload import (
    Mix,
    MixedCommands,
    StampedCommand,
    entity_placeholder,
    placeholder,
)
from harness.measure.histogram import HIGHEST_US, Histogram, RecordingError
from harness.measure.hlog import LatencyLog
from harness.measure.recorder import KINDS, Interval, Recorder, merged, pack_intervals, unpack_intervals

PRODUCER = 0x0123456789AB
SECOND_NS = 1_000_000_000

# When an operation was due, how late it started, how long it took; also beyond what a histogram holds.
operations = st.lists(
    st.tuples(
        st.integers(0, 20 * SECOND_NS),
        st.integers(0, SECOND_NS),
        st.one_of(st.integers(0, SECOND_NS), st.integers(0, 2 * HIGHEST_US * 1000)),
    ),
    max_size=200,
)


def recorded(times: list[tuple[int, int, int]]) -> Recorder:
    """A recorder that has seen operations, one by one."""
    recorder = Recorder()
    for due, late, took in times:
        recorder.record("append", *(np.array([t], np.int64) for t in (due, due + late, due + late + took)))
    return recorder


def whole(intervals: list[Interval], tag: str) -> tuple[list[int], int]:
    total = LatencyLog(intervals).total(tag)
    return total.counts.tolist(), total.out_of_range


@given(times=operations, workers=st.sampled_from([1, 2, 4]), ticks=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_merged_histograms_equal_one_histogram_of_all(
    times: list[tuple[int, int, int]], workers: int, ticks: int
) -> None:
    """Bucket by bucket and second by second, however many workers measured and however often they reported."""
    expected = recorded(times).intervals()
    travelled: list[Interval] = []
    for worker in range(workers):
        share = times[worker::workers]
        recorder = Recorder()
        for tick in range(ticks):
            for due, late, took in share[tick::ticks]:
                recorder.record("append", *(np.array([t], np.int64) for t in (due, due + late, due + late + took)))
            travelled += unpack_intervals(pack_intervals(recorder.take()))
        assert recorder.intervals() == []
    together = merged(travelled)
    assert [(i.tag, i.start_s) for i in together] == sorted(
        ((i.tag, i.start_s) for i in expected), key=lambda key: (key[1], key[0])
    )
    by_key = {(i.tag, i.start_s): i for i in expected}
    for interval in together:
        same = by_key[interval.tag, interval.start_s]
        assert interval.histogram.counts.tolist() == same.histogram.counts.tolist()
        assert interval.sparse.out_of_range == same.sparse.out_of_range
    for kind in KINDS:
        assert whole(together, f"append.{kind}") == whole(expected, f"append.{kind}")


@given(content=st.binary(max_size=200))
def test_what_is_no_intervals_is_refused(content: bytes) -> None:
    """Any bytes but those that were packed are an error, and nothing else."""
    with pytest.raises(RecordingError):
        unpack_intervals(content)


def test_counts_that_do_not_fit_are_refused() -> None:
    """An index beyond the histogram's end is refused, and is not written somewhere."""
    histogram = Histogram()
    histogram.record(np.array([5], np.int64))
    interval = recorded([(0, 0, 0)]).intervals()[0]
    interval.sparse.index[:] = 60_000
    with pytest.raises(RecordingError, match="do not fit"):
        unpack_intervals(pack_intervals([interval]))


def sources() -> list[StampedCommand | MixedCommands]:
    event, entity = placeholder(PRODUCER), entity_placeholder(PRODUCER)
    templates = [[["XADD", f"s{s}", "*", event, entity, "x" * size] for size in (1, 30)] for s in range(3)]
    return [
        StampedCommand("append", ["XADD", "s", "*", "id", event], PRODUCER),
        MixedCommands("append", templates, PRODUCER, Mix(seed=3, entities=50, skew=1.0, streams=3, sizes=2)),
    ]


@given(kind=st.integers(0, 1), workers=st.integers(1, 5), count=st.integers(1, 3_000), batch=st.integers(1, 1_500))
@settings(max_examples=30, deadline=None)
def test_stripes_send_what_one_would_send(kind: int, workers: int, count: int, batch: int) -> None:
    """The commands of all workers, put in order, are those of one: byte for byte, however they are batched."""
    source = sources()[kind]
    one_by_one = [source.pack(i, 1) for i in range(count)]
    assert b"".join(one_by_one) == source.pack(0, count)
    for worker in range(workers):
        striped = StripedSource(source, worker, workers)
        mine = one_by_one[worker::workers]
        assert striped.operation == "append"
        packed = b"".join(striped.pack(at, min(batch, len(mine) - at)) for at in range(0, len(mine), batch))
        assert packed == b"".join(mine)


def test_a_stripe_of_arrivals_has_the_numbers_of_its_commands() -> None:
    """Arrival i of worker w is arrival i n + w of the whole: due then, and carrying that number."""
    pacer, workers = constant(100, 1), 3
    whole_due = pacer.due_ns(0, pacer.total)
    for worker in range(workers):
        stripe = Stripe(pacer, worker, workers)
        assert stripe.due_ns(0, stripe.total).tolist() == whole_due[worker::workers].tolist()
