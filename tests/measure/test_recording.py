"""Recording: histograms against HdrHistogram's own and against sorted lists, the recorder, and its files."""

from __future__ import annotations

import base64
import contextlib
import heapq
import json
import os
import pickle
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.iterators import PercentileIterator
from hdrh.log import HistogramLogReader, HistogramLogWriter
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.measure.histogram import (
    DIGITS,
    HIGHEST_US,
    Histogram,
    RecordingError,
    SparseHistogram,
    highest_at,
    index_of,
    lowest_at,
)
from harness.measure.hlog import LatencyLog, read_hlog, write_hgrm, write_hlog
from harness.measure.recorder import KINDS, Interval, Recorder, SlowOperation

# How long an example takes says nothing here: the machine may be busy.
unhurried = settings(deadline=None)

MS = 1_000_000
S = 1_000_000_000

REFERENCE = HdrHistogram(1, HIGHEST_US, DIGITS)

edges = st.builds(lambda bits, off: max(0, (1 << bits) + off), st.integers(0, 31), st.integers(-2, 2))
values_us = st.one_of(st.integers(0, 5000), st.integers(0, HIGHEST_US), edges)
samples = st.lists(values_us, min_size=1, max_size=60)


def int64s(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def histogram_of(values: Sequence[int]) -> Histogram:
    histogram = Histogram()
    histogram.record(int64s(values))
    return histogram


def hdrh_of(values: Sequence[int]) -> HdrHistogram:
    """HdrHistogram's own, recorded one by one."""
    histogram = HdrHistogram(1, HIGHEST_US, DIGITS)
    for value in values:
        assert histogram.record_value(value)
    return histogram


def counts_of(histogram: HdrHistogram) -> list[int]:
    return np.frombuffer(histogram.counts, np.uint64).astype(np.int64).tolist()


def interval(tag: str, start_s: float, values: Sequence[int], length_s: float = 1.0) -> Interval:
    return Interval(tag=tag, start_s=start_s, length_s=length_s, sparse=SparseHistogram(histogram_of(values)))


def packed(payload: bytes, cookie: int = 0x1C849314) -> str:
    """A payload, wrapped as an encoded histogram is."""
    compressed = zlib.compress(payload)
    return base64.b64encode(struct.pack(">II", cookie, len(compressed)) + compressed).decode()


def header(
    counts: bytes, *, cookie: int = 0x1C849313, digits: int = 3, lowest: int = 1, top: int = HIGHEST_US
) -> bytes:
    return struct.pack(">IIIIQQd", cookie, len(counts), 0, digits, lowest, top, 1.0) + counts


# Where a value falls.


@unhurried
@given(values_us)
def test_index_is_that_of_hdrhistogram(value: int) -> None:
    """Each value from 0 to 1 h falls on the index on which HdrHistogram counts it."""
    assert [REFERENCE.get_counts_array_index(value)] == index_of(int64s([value])).tolist()


@unhurried
@given(values_us)
def test_a_bucket_has_the_bounds_of_hdrhistogram(value: int) -> None:
    """The lowest and the highest value of each bucket are those of HdrHistogram."""
    index = index_of(int64s([value]))
    expected = (REFERENCE.get_lowest_equivalent_value(value), REFERENCE.get_highest_equivalent_value(value))

    assert expected == (int(lowest_at(index)[0]), int(highest_at(index)[0]))


def test_buckets_lie_side_by_side() -> None:
    """Each bucket begins one above the end of the one before it: no value is in none or in two."""
    index = np.arange(Histogram().counts.size)

    assert lowest_at(index)[0] == 0
    assert np.array_equal(lowest_at(index)[1:], highest_at(index)[:-1] + 1)


@unhurried
@given(values_us)
def test_a_bucket_keeps_three_digits(value: int) -> None:
    """What is read for a value is never below it, and at most a thousandth above."""
    read = int(highest_at(index_of(int64s([value])))[0])

    assert value <= read <= value * 1.001


# Histograms.


@unhurried
@given(st.lists(samples, max_size=4))
def test_a_batch_is_recorded_as_its_values_one_by_one(batches: list[list[int]]) -> None:
    """Recording by array counts what HdrHistogram counts value by value."""
    histogram = Histogram()
    for batch in batches:
        histogram.record(int64s(batch))

    assert counts_of(hdrh_of([value for batch in batches for value in batch])) == histogram.counts.tolist()


@unhurried
@given(st.lists(st.integers(-(2**62), 2**62), max_size=40), samples)
def test_a_value_out_of_range_is_counted(wild: list[int], tame: list[int]) -> None:
    """Below 0 or above 1 h a value is counted as out of range: what is recorded and that is all there was."""
    histogram = histogram_of(wild + tame)
    beyond = sum(not 0 <= value <= HIGHEST_US for value in wild)

    assert (beyond, len(wild) + len(tame)) == (histogram.out_of_range, histogram.out_of_range + histogram.total)


@unhurried
@given(samples, st.integers(1, 100))
@example(list(range(100)), 7)  # 0.07 × 100 is a little more than 7 in floating point
def test_a_quantile_is_that_of_a_sorted_list(values: list[int], percent: int) -> None:
    """A quantile is the value that at least its share of a sorted list does not pass, at its bucket's end."""
    at_least = -(-percent * len(values) // 100)  # so many of them, rounded up
    exact = sorted(values)[at_least - 1]
    found = histogram_of(values).quantile_us(percent / 100)

    assert highest_at(index_of(int64s([exact]))).tolist() == [found]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60))
def test_quantiles_are_those_of_hdrhistogram(values: list[int]) -> None:
    """The quantiles that reports quote are those that HdrHistogram gives for the same values."""
    # A thousand of each, so that every rank is a whole number: its Python port does not round others up.
    theirs = HdrHistogram(1, HIGHEST_US, DIGITS)
    for value in values:
        theirs.record_value(value, 1000)
    percents = (10.0, 50.0, 75.0, 90.0, 99.0, 99.9, 100.0)
    expected = [theirs.get_value_at_percentile(percent) for percent in percents]

    assert expected == histogram_of(values * 1000).quantiles_us([percent / 100 for percent in percents])


def test_nothing_recorded_has_no_quantile() -> None:
    """Without a value there is no quantile, maximum, mean or deviation; none of them is 0."""
    empty = Histogram()

    assert empty.quantiles_us([0.5, 1.0]) == [None, None]
    assert (empty.max_us, empty.mean_us, empty.deviation_us) == (None, None, None)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=40))
def test_mean_and_deviation_are_those_of_hdrhistogram(values: list[int]) -> None:
    """Mean, standard deviation and maximum are those that HdrHistogram gives for the same values."""
    ours, theirs = histogram_of(values), hdrh_of(values)

    assert theirs.get_mean_value() == pytest.approx(ours.mean_us)
    assert theirs.get_stddev() == pytest.approx(ours.deviation_us, abs=1e-6)
    assert theirs.get_max_value() == ours.max_us


@unhurried
@given(samples)
def test_mean_is_near_that_of_the_values(values: list[int]) -> None:
    """The mean is that of the values themselves, to three digits."""
    assert np.mean(values) == pytest.approx(histogram_of(values).mean_us, rel=1e-3, abs=1e-9)


@unhurried
@given(samples, samples)
def test_adding_is_recording_both(one: list[int], other: list[int]) -> None:
    """Two histograms added are the histogram of all their values, dense or sparse."""
    both = histogram_of([*one, *other, -1, -1])
    added, sparse = histogram_of([*one, -1]), histogram_of([*one, -1])
    added.add(histogram_of([*other, -1]))
    SparseHistogram(histogram_of([*other, -1])).add_to(sparse)

    assert both.counts.tolist() == added.counts.tolist() == sparse.counts.tolist()
    assert both.out_of_range == added.out_of_range == sparse.out_of_range == 2


@unhurried
@given(samples)
def test_sparse_and_dense_are_the_same(values: list[int]) -> None:
    """A histogram folded into pairs of index and count unfolds into itself."""
    histogram = histogram_of([*values, -1])
    unfolded = SparseHistogram(histogram).dense()

    assert (histogram.counts.tolist(), 1) == (unfolded.counts.tolist(), unfolded.out_of_range)


@unhurried
@given(samples)
def test_distribution_is_a_counter(values: list[int]) -> None:
    """The distribution holds each value that occurs, as read at the end of its bucket, and how often."""
    found, counts = histogram_of(values).distribution()

    assert Counter(highest_at(index_of(int64s(values))).tolist()) == dict(
        zip(found.tolist(), counts.tolist(), strict=True)
    )


# Encoding.


@unhurried
@given(st.one_of(samples, st.just([]), st.just([0])))
def test_encoding_is_that_of_hdrhistogram(values: list[int]) -> None:
    """A histogram is encoded to the very text that HdrHistogram makes of the same values."""
    assert hdrh_of(values).encode().decode() == histogram_of(values).encode()


@unhurried
@given(samples, st.integers(1, 2**45))
def test_decoding_undoes_encoding(values: list[int], factor: int) -> None:
    """What was encoded is decoded without loss, however large its counts."""
    histogram = Histogram(histogram_of(values).counts * factor)

    assert histogram.counts.tolist() == Histogram.decode(histogram.encode()).counts.tolist()


@settings(max_examples=25, deadline=None)
@given(samples)
def test_hdrhistogram_decodes_what_we_encode(values: list[int]) -> None:
    """HdrHistogram reads our text and finds the same counts."""
    histogram = histogram_of(values)
    theirs = HdrHistogram.decode(histogram.encode())

    assert (histogram.counts.tolist(), len(values)) == (counts_of(theirs), theirs.get_total_count())


@unhurried
@given(samples, st.data())
def test_a_histogram_that_is_cut_off_is_refused(values: list[int], data: st.DataObject) -> None:
    """No beginning of an encoded histogram passes for one."""
    text = histogram_of(values).encode()

    with pytest.raises(RecordingError):
        Histogram.decode(text[: data.draw(st.integers(0, len(text) - 1))])


def decoded_or_refused(text: str) -> Histogram | None:
    try:
        return Histogram.decode(text)
    except RecordingError:
        return None


@unhurried
@given(samples, st.data())
def test_a_histogram_with_a_flipped_bit_is_refused_or_the_same(values: list[int], data: st.DataObject) -> None:
    """A bit that is not what it was is noticed, or says nothing about the counts; they are never others."""
    histogram = histogram_of(values)
    content = bytearray(base64.b64decode(histogram.encode()))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = decoded_or_refused(base64.b64encode(content).decode())

    assert found is None or found.counts.tolist() == histogram.counts.tolist()


@unhurried
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode())))
def test_garbage_is_refused(text: str) -> None:
    """Text that is no histogram is refused with a `RecordingError`, and with nothing else."""
    assert decoded_or_refused(text) is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 127, 128, 255, 130]), max_size=24).map(bytes))
def test_counts_that_cannot_be_are_refused(counts: bytes) -> None:
    """Counts made up to look like a histogram's are refused or read; none is negative."""
    found = decoded_or_refused(packed(header(counts)))

    assert found is None or found.counts.min() >= 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (packed(header(b"\x02"), cookie=0x1C849301), "not an HdrHistogram of encoding V2"),
        (packed(header(b"\x02", cookie=0x1C849301)), "not an HdrHistogram of encoding V2"),
        (packed(header(b"\x02", digits=2)), "a histogram of 2 digits from 1 to 3600000000"),
        (packed(header(b"\x02", lowest=1000)), "a histogram of 3 digits from 1000 to 3600000000"),
        (packed(header(b"\x02", top=1 << 40)), f"a histogram of 3 digits from 1 to {1 << 40}"),
        (packed(b"short"), "not an HdrHistogram"),
        (packed(header(bytes(10_000_000))), "a histogram that is cut off, or far too long"),
        (
            base64.b64encode(b"\x1c\x84\x93\x14\x00\x00\x00\x09only").decode(),
            "a histogram of 4 bytes that says it has 9",
        ),
    ],
)
def test_a_histogram_of_another_kind_is_refused(text: str, reason: str) -> None:
    """A histogram that is not of ours is refused, and the reason says what it is."""
    with pytest.raises(RecordingError) as refused:
        Histogram.decode(text)

    assert str(refused.value).startswith(reason)


# The recorder.


def recorded(*operations: tuple[str, int, int, int], slowest: int = 100) -> Recorder:
    """A recorder to which each operation (name, due, start, done) was given on its own."""
    recorder = Recorder(slowest=slowest)
    for name, *times in operations:
        recorder.record(name, *(int64s([time]) for time in times))
    return recorder


def test_three_kinds() -> None:
    """Response counts from the due time, service from the start, send lag lies between the two."""
    recorder = recorded(("append", 1_000 * MS, 1_002 * MS, 1_012 * MS))
    found = {i.tag: (i.start_s, i.length_s, i.histogram.max_us) for i in recorder.intervals()}
    expected = {
        "append.response": (1.0, 1.0, 12_007),
        "append.service": (1.0, 1.0, 10_007),
        "append.send_lag": (1.0, 1.0, 2_000),
    }

    assert expected == found


def test_nanoseconds_are_rounded_to_the_nearest_microsecond() -> None:
    """499 ns are 0 µs, 500 ns are 1 µs."""
    recorder = recorded(("append", 0, 0, 499), ("append", 0, 0, 500))

    assert recorder.intervals()[0].histogram.distribution()[0].tolist() == [0, 1]


def test_an_operation_stands_in_the_second_in_which_it_was_due() -> None:
    """An operation due at 0.9 s and answered at 5 s is one of the first second: a stall stands at its start."""
    recorder = recorded(("append", 900 * MS, 4_999 * MS, 5_000 * MS))

    assert [i.start_s for i in recorder.intervals()] == [0.0] * 3


def test_time_counts_from_the_origin() -> None:
    """Seconds and due times count from the run's origin, also those before it."""
    recorder = Recorder(origin_ns=100 * S)
    recorder.record("append", int64s([99 * S, 103 * S]), int64s([99 * S, 103 * S]), int64s([99 * S, 103 * S + 5]))

    assert [i.start_s for i in recorder.intervals() if i.tag == "append.response"] == [-1.0, 3.0]
    assert [slow.due_ns for slow in recorder.slowest()] == [3 * S, -1 * S]


def test_a_late_reply_opens_its_second_again() -> None:
    """A reply that comes long after its second was folded is added to it: still one line, of both values."""
    recorder = recorded(
        ("append", 0, 0, 1 * MS), ("append", 60 * S, 60 * S, 60 * S + MS), ("append", 5, 5, 90 * S)
    )
    responses = {i.start_s: i.histogram.total for i in recorder.intervals() if i.tag == "append.response"}

    assert responses == {0.0: 2, 60.0: 1}


def test_intervals_may_be_asked_for_while_recording_goes_on() -> None:
    """Asking for the intervals takes nothing away and ends nothing."""
    recorder = recorded(("append", 0, 0, 1 * MS))
    before = [i.histogram.total for i in recorder.intervals()]
    recorder.record("append", int64s([1]), int64s([1]), int64s([2]))

    assert (before, [i.histogram.total for i in recorder.intervals()]) == ([1, 1, 1], [2, 2, 2])


def test_an_operation_whose_clock_went_wrong_is_counted() -> None:
    """An operation that was done before it was due is out of range, and is counted."""
    response = recorded(("append", 5 * MS, 5 * MS, 1 * MS)).intervals()[0].histogram

    assert (response.total, response.out_of_range) == (0, 1)


def test_an_empty_batch_is_nothing() -> None:
    """Recording no operation leaves no trace."""
    recorder = Recorder()
    recorder.record("append", int64s([]), int64s([]), int64s([]))

    assert (recorder.intervals(), recorder.slowest()) == ([], [])


@pytest.mark.parametrize("name", ["", "a,b", "a b", "é", "a\n", 'a"'])
def test_a_name_that_cannot_stand_in_a_tag_is_refused(name: str) -> None:
    """An operation whose name would break the log's lines is refused when it is recorded."""
    with pytest.raises(ValueError, match="an operation is named by letters"):
        recorded((name, 0, 0, 1))


operation = st.tuples(
    st.sampled_from(["append", "replay"]),
    st.integers(0, 20 * S),
    st.integers(0, 3 * S),
    st.one_of(st.integers(0, 3 * S), st.integers(0, 30 * S)),
)


def batches_of(operations: list[tuple[str, int, int, int]], size: int) -> Recorder:
    """A recorder to which (name, due, lag, service) were given in batches."""
    recorder = Recorder(slowest=5)
    for first in range(0, len(operations), size):
        for name in ("append", "replay"):
            mine = [o[1:] for o in operations[first : first + size] if o[0] == name]
            due, lag, service = int64s(mine).reshape(-1, 3).T
            recorder.record(name, due, due + lag, due + lag + service)
    return recorder


@unhurried
@given(st.lists(operation, max_size=60), st.integers(1, 20))
def test_every_operation_is_in_the_second_and_kind_it_belongs_to(
    operations: list[tuple[str, int, int, int]], size: int
) -> None:
    """However they are batched, each operation is counted once in each kind, in the second it was due."""
    due = Counter((name, due_ns // S) for name, due_ns, _, _ in operations)
    expected = {(f"{name}.{kind}", float(s)): n for (name, s), n in due.items() for kind in KINDS}
    intervals = batches_of(operations, size).intervals()

    assert expected == {(i.tag, i.start_s): i.histogram.total for i in intervals}
    assert [i.start_s for i in intervals] == sorted(i.start_s for i in intervals)


@unhurried
@given(st.lists(operation, max_size=60), st.integers(1, 20))
def test_the_slowest_are_those_of_a_sorted_list(operations: list[tuple[str, int, int, int]], size: int) -> None:
    """The operations that are kept are the slowest of all, slowest first."""
    naive = heapq.nlargest(5, ((lag + service, due_ns, name) for name, due_ns, lag, service in operations))
    kept = batches_of(operations, size).slowest()

    assert [response for response, _, _ in naive] == [slow.response_ns for slow in kept]
    # Of two that are as slow as each other either may be kept.
    known = {(due_ns, lag + service, name) for name, due_ns, lag, service in operations}
    assert {(slow.due_ns, slow.response_ns, slow.operation) for slow in kept} <= known


def test_a_large_batch_keeps_its_slowest() -> None:
    """Of a batch far larger than what is kept, the slowest are kept."""
    response = np.random.default_rng(5).permutation(10_000) * 1_000
    due = np.arange(10_000) * 1_000
    recorder = Recorder(slowest=3)
    recorder.record("append", due, due, due + response)
    at = {int(r): int(d) for r, d in zip(response, due, strict=True)}

    assert [
        SlowOperation(operation="append", due_ns=at[r], response_ns=r) for r in (9_999_000, 9_998_000, 9_997_000)
    ] == recorder.slowest()


def test_memory_grows_with_time_and_not_with_operations() -> None:
    """A hundred times as many operations in the same seconds take no more room."""

    def room(times: int) -> int:
        recorder = Recorder()
        due = np.arange(10) * S
        for _ in range(times):
            recorder.record("append", due, due + 1_000, due + 2 * MS)
        recorder.intervals()
        return len(pickle.dumps(recorder))

    assert room(200) <= room(120)


def test_memory_does_not_grow_with_late_replies() -> None:
    """One operation late by a minute beside one in time: its second, opened again each time, stays one."""

    def room(times: int) -> int:
        recorder = Recorder(slowest=1)
        for _ in range(times):
            recorder.record("late", int64s([0]), int64s([0]), int64s([60 * S]))
            recorder.record("timely", int64s([60 * S]), int64s([60 * S]), int64s([60 * S + 1]))
        recorder.intervals()
        return len(pickle.dumps(recorder))

    assert room(640) <= max(room(times) for times in range(17, 34))


# The interval log.


def three_intervals() -> list[Interval]:
    return [
        interval("append.response", 0.0, [0, 1, 999, 2_000_000]),
        interval("append.send_lag", 0.0, [3]),
        interval("append.response", 1.0, []),
        interval("append.response", 2.0, [HIGHEST_US, 777, 777], length_s=0.25),
    ]


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Times, tags and every count of an interval log come back."""
    write_hlog(tmp_path / "latency.hlog", three_intervals(), 1_790_000_000.25)
    log = read_hlog(tmp_path / "latency.hlog")

    assert log.started_epoch_s == 1_790_000_000.25
    assert [(i.tag, i.start_s, i.length_s, i.histogram.counts.tolist()) for i in three_intervals()] == [
        (i.tag, i.start_s, i.length_s, i.histogram.counts.tolist()) for i in log.intervals
    ]


def test_a_log_s_lines(tmp_path: Path) -> None:
    """A line has its tag, start and length in seconds and its maximum in milliseconds, also below one."""
    write_hlog(tmp_path / "latency.hlog", three_intervals(), 12.5)
    lines = (tmp_path / "latency.hlog").read_text().splitlines()

    assert [line if line.startswith(("#", '"')) else line.rpartition(",")[0] for line in lines] == [
        "#[Histogram log format version 1.3]",
        "#[StartTime: 12.500 (seconds since epoch)]",
        "#[BaseTime: 12.500 (seconds since epoch)]",
        "#[Values are microseconds; Interval_Max is in milliseconds]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
        "Tag=append.response,0.000,1.000,2000.895",
        "Tag=append.send_lag,0.000,1.000,0.003",
        "Tag=append.response,1.000,1.000,0.000",
        "Tag=append.response,2.000,0.250,3600809.983",
    ]


def test_a_log_says_what_was_out_of_range(tmp_path: Path) -> None:
    """Values that no histogram holds are in the log all the same, as a comment that counts them."""
    write_hlog(tmp_path / "latency.hlog", [interval("append.response", 3.0, [-1, -2, 5])], 0)

    assert "#[append.response at 3.000: 2 values out of range]" in (tmp_path / "latency.hlog").read_text()


def test_hdrhistogram_reads_our_log(tmp_path: Path) -> None:
    """HdrHistogram's own reader finds the same tags, times and counts."""
    path = tmp_path / "latency.hlog"
    write_hlog(path, three_intervals(), 100.0)
    reader = HistogramLogReader(str(path), REFERENCE)
    found = []
    while (theirs := reader.get_next_interval_histogram()) is not None:
        found.append((theirs.get_tag(), theirs.get_start_time_stamp() / 1000, counts_of(theirs)))
    reader.close()

    assert [(i.tag, 100.0 + i.start_s, i.histogram.counts.tolist()) for i in three_intervals()] == found


def test_we_read_the_log_of_hdrhistogram(tmp_path: Path) -> None:
    """A log that HdrHistogram's own writer has written, without tags, is read."""
    path = tmp_path / "theirs.hlog"
    with path.open("w") as file:
        writer = HistogramLogWriter(file)
        writer.output_log_format_version()
        writer.output_comment("[Logged by somebody else]")
        writer.output_base_time(0)
        writer.output_legend()
        writer.output_interval_histogram(hdrh_of([7, 7, 70_000]), 1.5, 2.5)
    (found,) = read_hlog(path).intervals

    assert (found.tag, found.start_s, found.length_s) == ("", 1.5, 1.0)
    assert histogram_of([7, 7, 70_000]).counts.tolist() == found.histogram.counts.tolist()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "line 2: not a line of an interval log"),
        ("0.0,1.0,2.0", "line 2: not a line of an interval log"),
        ("1.2.3,1.0,2.0,HIST", "line 2: not a line of an interval log"),
        (".,1.0,2.0,HIST", "line 2: not a line of an interval log"),
        ("Tag=,0.0,1.0,2.0,HIST", "line 2: not a line of an interval log"),
        ("0.0,1.0,2.0,HIST", "not an HdrHistogram"),
    ],
)
def test_a_line_that_is_none_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    """A line that is none of the format's is refused, with its number."""
    path = tmp_path / "broken.hlog"
    path.write_text(f"#[Histogram log format version 1.3]\n{line}\n")
    with pytest.raises(RecordingError) as refused:
        read_hlog(path)

    assert reason in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_log_that_is_no_text_or_not_there_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A file that is no text, or no file at all, is a `RecordingError` that names it."""
    path = tmp_path / "latency.hlog"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(RecordingError, match=r"latency\.hlog"):
        read_hlog(path)


@unhurried
@given(st.binary(max_size=80), st.integers(0, 400))
def test_a_broken_log_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    """Bytes written over a log anywhere end in a `RecordingError` or in a log, never in another error."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.hlog"
    write_hlog(path, three_intervals()[:2], 12.5)
    content = path.read_bytes()
    path.write_bytes(content[:at] + junk + content[at + len(junk) :])
    with contextlib.suppress(RecordingError):
        read_hlog(path)


def test_a_span_of_the_log_is_the_intervals_within_it() -> None:
    """The total of a span takes the intervals of a tag that lie within it as a whole."""
    log = LatencyLog([interval("a", second, [second]) for second in range(5)] + [interval("b", 2, [9])])

    assert log.total("a", 1, 3).distribution()[0].tolist() == [1, 2]
    assert log.total("a", 0.5, 3.5).distribution()[0].tolist() == [1, 2]
    assert log.total("a").total == 5
    assert log.total("c").total == 0
    assert log.tags == ["a", "b"]


# The percentile distribution.


def test_hgrm(tmp_path: Path) -> None:
    """A percentile distribution, whole: milliseconds, five ticks to each half of what is left to 100 %."""
    write_hgrm(tmp_path / "latency.hgrm", histogram_of([1_000 * n for n in (1, 1, 1, 2)]))

    assert (tmp_path / "latency.hgrm").read_text() == (
        "       Value     Percentile TotalCount 1/(1-Percentile)\n"
        "\n"
        "       1.000 0.000000000000          3           1.00\n"
        "       1.000 0.100000000000          3           1.11\n"
        "       1.000 0.200000000000          3           1.25\n"
        "       1.000 0.300000000000          3           1.43\n"
        "       1.000 0.400000000000          3           1.67\n"
        "       1.000 0.500000000000          3           2.00\n"
        "       1.000 0.550000000000          3           2.22\n"
        "       1.000 0.600000000000          3           2.50\n"
        "       1.000 0.650000000000          3           2.86\n"
        "       1.000 0.700000000000          3           3.33\n"
        "       1.000 0.750000000000          3           4.00\n"
        "       2.000 0.775000000000          4           4.44\n"
        "       2.000 1.000000000000          4\n"
        "#[Mean    =        1.250, StdDeviation   =        0.433]\n"
        "#[Max     =        2.000, Total count    =            4]\n"
        "#[Buckets =           22, SubBuckets     =         2048]\n"
    )


def test_hgrm_of_nothing(tmp_path: Path) -> None:
    """The distribution of no value has no line, and says that there was none."""
    write_hgrm(tmp_path / "latency.hgrm", Histogram())
    lines = (tmp_path / "latency.hgrm").read_text().splitlines()

    assert lines[3] == "#[Max     =        0.000, Total count    =            0]"
    assert len(lines) == 5


class FloorTicks(PercentileIterator):
    """HdrHistogram's iterator with the ticks of its Java original, whose rounding the Python port has lost."""

    def increment_iteration_level(self) -> None:
        self.percentile_to_iterate_from = self.percentile_to_iterate_to
        if self.percentile_to_iterate_to == 100:
            return
        halves = 0
        while self.percentile_to_iterate_to >= 100 - 100 / 2 ** (halves + 1):
            halves += 1
        self.percentile_to_iterate_to += 100.0 / (self.percentile_ticks_per_half_distance * 2 ** (halves + 1))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=300))
def test_hgrm_has_the_numbers_of_hdrhistogram(tmp_path_factory: pytest.TempPathFactory, values: list[int]) -> None:
    """Every line has the value, level and count at which HdrHistogram's percentile iterator stops."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.hgrm"
    write_hgrm(path, histogram_of(values))
    found = [tuple(map(float, line.split()[:3])) for line in path.read_text().splitlines()[2:-3]]
    expected = [
        (
            at.value_iterated_to / 1000,
            round(at.percentile_level_iterated_to / 100, 12),
            at.total_count_to_this_value,
        )
        for at in FloorTicks(hdrh_of(values), 5)
    ]

    assert expected == found


# A second implementation.

HDR_JS = """
const hdr = require("hdr-histogram-js"), fs = require("fs");
const reader = new hdr.HistogramLogReader(fs.readFileSync(process.argv[1], "ascii"));
const found = [];
for (let h; (h = reader.nextIntervalHistogram()) !== null; ) {
  const counts = [], values = h.recordedValuesIterator;
  values.reset();
  while (values.hasNext()) {
    const at = values.next();
    counts.push([at.valueIteratedTo, at.countAtValueIteratedTo]);
  }
  found.push({
    tag: h.tag, start_ms: h.startTimeStampMsec, end_ms: h.endTimeStampMsec, total: h.totalCount, counts,
    p50: h.getValueAtPercentile(50), p99: h.getValueAtPercentile(99),
    hgrm: h.outputPercentileDistribution(5, 1000),
  });
}
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def node_environment() -> dict[str, str]:
    """The environment in which node finds `hdr-histogram-js`."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    environment = dict(os.environ)
    if modules := os.environ.get("SHOPBENCH_HDR_JS"):
        environment["NODE_PATH"] = modules
    tried = subprocess.run(
        [node, "-e", "require('hdr-histogram-js')"], env=environment, capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("node has no hdr-histogram-js; SHOPBENCH_HDR_JS may name the node_modules that have it")
    return environment


def test_a_second_implementation_reads_the_same(tmp_path: Path, node_environment: dict[str, str]) -> None:
    """hdr-histogram-js finds the same intervals, counts, percentiles and percentile distributions in our log."""
    rng = np.random.default_rng(11)
    recorder = Recorder()
    due = np.sort(rng.integers(0, 3 * S, 5_000))
    start = due + rng.integers(0, 50_000, due.size)
    recorder.record("append", due, start, start + rng.lognormal(13, 1.5, due.size).astype(np.int64))
    intervals = [*recorder.intervals(), interval("stall", 3.0, [HIGHEST_US, 0, 0, 5_000_000])]
    write_hlog(tmp_path / "latency.hlog", intervals, 1_790_000_000.0)
    expected = []
    for mine in intervals:
        write_hgrm(tmp_path / "latency.hgrm", mine.histogram)
        expected.append(
            {
                "tag": mine.tag,
                "start_ms": (1_790_000_000 + mine.start_s) * 1000,
                "end_ms": (1_790_000_001 + mine.start_s) * 1000,
                "total": mine.histogram.total,
                "counts": np.stack(mine.histogram.distribution(), axis=1).tolist(),
                "p50": mine.histogram.quantile_us(0.5),
                "p99": mine.histogram.quantile_us(0.99),
                "hgrm": (tmp_path / "latency.hgrm").read_text(),
            }
        )
    command = ["node", "-e", HDR_JS, str(tmp_path / "latency.hlog")]
    done = subprocess.run(command, env=node_environment, capture_output=True, check=True)

    assert expected == json.loads(done.stdout)


# One operation at a time.


# Late, early, and beyond what a histogram holds; in seconds of which some are long over.
moments = st.one_of(
    st.integers(-2 * S, 12 * S), st.integers(0, 3 * MS), st.just(0), st.integers(-(2 * HIGHEST_US) * 1000, S)
)
operations = st.tuples(
    st.sampled_from(["append", "journey.buy"]),
    st.integers(0, 12 * S),
    moments,
    moments | st.integers(HIGHEST_US * 1000 - 2_000, HIGHEST_US * 1000 + 2_000),
    st.none() | st.integers(-5, 3 * MS),
    st.booleans(),
)


@unhurried
@given(st.lists(operations, max_size=60), st.integers(0, 60), st.integers(1, 8))
def test_one_operation_is_recorded_as_many_are(
    drawn: list[tuple[str, int, int, int, int | None, bool]], taken_after: int, slowest: int
) -> None:
    """`record_one` and `record` leave the same log and the same slowest, whatever the values, also in turns."""
    many, mixed = Recorder(3, slowest), Recorder(3, slowest)
    for at, (operation, due_ns, late_ns, service_ns, lag_ns, is_one) in enumerate(drawn):
        if at == taken_after:
            assert told(many.take()) == told(mixed.take())
        start_ns = due_ns + late_ns
        done_ns = start_ns + service_ns
        read_ns = None if lag_ns is None else done_ns + lag_ns
        arrays = [int64s([due_ns]), int64s([start_ns]), int64s([done_ns])]
        read = None if read_ns is None else int64s([read_ns])
        many.record(operation, *arrays, read)
        if is_one:
            mixed.record_one(operation, due_ns, start_ns, done_ns, read_ns)
        else:
            mixed.record(operation, *arrays, read)
    assert many.slowest() == mixed.slowest()
    assert told(many.intervals()) == told(mixed.intervals())


def told(intervals: Sequence[Interval]) -> list[tuple[str, float, list[int], list[int], int]]:
    """Intervals as plain values."""
    return [
        (each.tag, each.start_s, each.sparse.index.tolist(), each.sparse.counts.tolist(), each.sparse.out_of_range)
        for each in intervals
    ]


def test_one_operation_under_a_name_that_no_tag_can_have_is_refused() -> None:
    """A name with a comma would be two columns of the log."""
    with pytest.raises(ValueError, match="an operation is named by"):
        Recorder().record_one("a,b", 0, 0, 0)


def test_how_late_a_reply_was_read_is_a_kind_of_its_own() -> None:
    """Where a reply's arrival is dated, the time until it was read is recorded, and is in no other kind."""
    recorder = Recorder()
    recorder.record_one("append", 1_000_000, 1_002_000, 1_052_000, 1_082_000)
    found = {each.tag: each.histogram.quantile_us(1.0) for each in recorder.intervals()}
    assert found == {
        "append.response": 52,
        "append.service": 50,
        "append.send_lag": 2,
        "append.reading_lag": 30,
    }
