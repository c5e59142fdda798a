"""Charts: what a specification says of the record, that every one compiles, and numbers in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import report_runs
import vl_convert
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from harness.measure.curves import add_curve, readings_of
from harness.measure.histogram import Histogram, SparseHistogram
from harness.measure.hlog import LatencyLog
from harness.measure.operations import total_of
from harness.measure.recorder import Interval, Recorder
from harness.measure.timeline import FaultWindow, History, Mark, Phase, Reading
from harness.record.files import save_measurements
from harness.record.run import Figure, Record, load, save
from reports import javascript
from reports.charts import charts
from reports.charts.view import Chart
from reports.drain import predicted_drain
from reports.latencies import busiest, holes, operations, start_of
from reports.quantities import exact, quantity
from reports.render import render
from scenarios.line.recovery import predicted_drain_s

# The marks that carry data; an empty chart has a group of marks for its frame all the same.
DATA = re.compile(r"mark-(line|rect|symbol|area|rule)\b")
RUNS = ("append_run", "outage_run", "replay_run", "micro_run", "empty_run", "interrupted_run", "hostile_run")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    root = tmp_path_factory.mktemp("runs")
    return {name: getattr(report_runs, name)(root / name) for name in RUNS}


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return report_runs.hour_long_run(tmp_path_factory.mktemp("hour"))


def chart(record: Record, key: str) -> Chart:
    return next(c for c in charts(record) if c.key == key)


def run_with(directory: Path, *entries: Any, figures: list[Figure] | None = None, scenario: str = "lag") -> Record:
    """A run of nothing but a timeline and figures."""
    save(directory, report_runs.run_of(scenario, figures=figures or []))
    save_measurements(directory, [], History(entries), [], 0.0)
    return load(directory)


def reading(t_s: float, value: float | None, name: str = "lag.events", **labels: str) -> Reading:
    return Reading(t_ns=int(t_s * 1e9), name=name, value=value, unit="events", labels=labels)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (8.0, "outages", "8 outages"),
        (132.4, "µs", "132 µs"),
        (0.41, "µs", "0.410 µs"),
        (1_240, "µs", "1.24 ms"),
        (999.6, "µs", "1.00 ms"),
        (18_700_000, "µs", "18.7 s"),
        (6.3, "s", "6.30 s"),
        (0.004, "s", "4.00 ms"),
        (312, "s", "5 min 12 s"),
        (7_260, "s", "2 h 1 min"),
        (412_345, "1/s", "412 k/s"),
        (405_000, "events/s", "405 k events/s"),
        (500, "1/s", "500/s"),
        (999_900, "1/s", "1.00 M/s"),
        (40_118, "events", "40,118 events"),
        (0, "events", "0 events"),
        (0, "s", "0 s"),
        (67_108_864, "bytes", "64.0 MiB"),
        (512, "bytes", "512 bytes"),
        (0.125, "share", "12.5 %"),
        (0.99993, "share", "99.99 %"),
        (1.0, "share", "100 %"),
        (3.14159, "furlong", "3.14 furlong"),
        (None, "µs", "not measured"),
        (float("nan"), "µs", "not measured"),
    ],
)
def test_quantity(value: float | None, unit: str, words: str) -> None:
    """A number is said with the digits that mean something, and its unit."""
    assert quantity(value, unit) == words


@pytest.mark.parametrize(("value", "text"), [(1240.0, "1240"), (0.1, "0.1"), (1e300, "1e+300"), (None, "")])
def test_exact(value: float | None, text: str) -> None:
    """The exact form of a number reads back as the same number."""
    assert exact(value) == text


@pytest.mark.parametrize("name", RUNS)
def test_every_specification_compiles(runs: dict[str, Record], name: str) -> None:
    """Vega-Lite takes every specification of every kind of run, and draws marks of its data."""
    empty = [c.key for c in charts(runs[name]) if not marks_of(vl_convert.vegalite_to_svg(c.spec))]
    assert empty == []


def marks_of(svg: str) -> int:
    """How many marks of data a picture has; axes, legends and the frame are none, the pointer's group is empty."""
    groups = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")  # noqa: S314 - our own picture
    of_data = (g for g in groups if DATA.search(g.get("class", "")) and "role-mark" in g.get("class", ""))
    return sum(len(group) for group in of_data)


def test_chart_without_data_has_no_marks(runs: dict[str, Record]) -> None:
    """The count of marks sees that a chart is empty, although its axes are drawn."""
    spec = chart(runs["append_run"], "throughput").spec | {"datasets": {"rows": []}}
    assert marks_of(vl_convert.vegalite_to_svg(spec)) == 0


def test_empty_run_has_no_charts(runs: dict[str, Record]) -> None:
    """Without evidence there is no chart, rather than an empty one."""
    assert charts(runs["empty_run"]) == []


def test_charts_of_an_outage(runs: dict[str, Record]) -> None:
    """An outage has every chart that its evidence is good for, in reading order."""
    assert [c.key for c in charts(runs["outage_run"])] == [
        "percentiles-0", "latency-0", "heat-0", "throughput", "lag-events", "lag-seconds", "drain", "ledger-0",
        "server-used_memory_bytes", "server-cpu_share", "host-cpu_share", "host-steal_share",
    ]  # fmt: skip


def test_percentile_curve_ends_at_the_slowest(runs: dict[str, Record]) -> None:
    """The last point of the response is the maximum, at 1 / (1 - p) of the number of operations."""
    record = runs["append_run"]
    total = record.latency.total("append.response")
    last = [row for row in chart(record, "percentiles-0").rows if row["s"] == "response"][-1]
    assert (last["x"], last["v"]) == (total.total, total.max_us)


def test_percentile_curve_passes_p90(runs: dict[str, Record]) -> None:
    """At 1 / (1 - p) = 10 stands the 90th percentile."""
    record = runs["append_run"]
    row = next(r for r in chart(record, "percentiles-0").rows if r["x"] == 10 and r["s"] == "service")
    assert row["v"] == record.latency.total("append.service").quantile_us(0.9)


def test_heat_map_holds_every_operation(runs: dict[str, Record]) -> None:
    """The cells of the heat map add up to the number of operations."""
    record = runs["outage_run"]
    counted = sum(row["n"] for row in chart(record, "heat-0").rows)
    assert counted == record.latency.total("append.response").total


def test_heat_map_draws_a_rectangle_per_cell(runs: dict[str, Record]) -> None:
    """Each cell is one mark, in one of the colours of the scale."""
    heat = chart(runs["outage_run"], "heat-0")
    svg = vl_convert.vegalite_to_svg(heat.spec)
    assert svg.count("var(--h-") == len(heat.rows)


def test_throughput_counts_every_reply(runs: dict[str, Record]) -> None:
    """Replies per second, over all seconds, are the operations recorded."""
    record = runs["append_run"]
    rows = chart(record, "throughput").rows
    replies = sum(row["v"] for row in rows if row["s"] == "answered or refused")
    assert replies == record.latency.total("append.response").total


# --- where a second stands -------------------------------------------------------------------------------


def run_of_loads(directory: Path, *entries: Any, **starts: tuple[float, ...]) -> Record:
    """A run of which the log has seconds that begin there, of each operation, with one value of 1 ms in each."""
    histogram = Histogram()
    histogram.record(np.array([1000]))
    intervals = [
        Interval(tag=f"{operation}.response", start_s=t, length_s=1.0, sparse=SparseHistogram(histogram))
        for operation, mine in starts.items()
        for t in mine
    ]
    save(directory, report_runs.run_of("append"))
    save_measurements(directory, intervals, History(entries), [], 0.0)
    return load(directory)


def test_no_effect_stands_before_its_fault(tmp_path: Path) -> None:
    """A second of a load that began between two seconds of the run is drawn where it was, in every chart."""
    fault = FaultWindow(name="kill", target="crm", start_ns=3_350_000_000, end_ns=4_000_000_000)
    record = run_of_loads(tmp_path, fault, append=(2.4, 3.4, 4.4))
    drawn = {key: [row["t"] for row in chart(record, key).rows] for key in ("latency-0", "heat-0", "throughput")}
    assert drawn == {
        "latency-0": [t for t in (2.4, 3.4, 4.4) for _ in range(3)],
        "heat-0": [2.4, 3.4, 4.4],
        "throughput": [2.4, 3.4, 4.4],
    }


def test_second_without_an_answer_is_no_line(tmp_path: Path) -> None:
    """While a load ran and nothing was answered, throughput is 0, and lines of latency have a gap."""
    record = run_of_loads(tmp_path, append=(0.4, 1.4, 4.4))
    p99 = [(row["t"], row["v"]) for row in chart(record, "latency-0").rows if row["s"] == "p99"]
    replies = [(row["t"], row["v"]) for row in chart(record, "throughput").rows]
    assert p99 == [(0.4, 1000), (1.4, 1000), (2.4, None), (3.4, None), (4.4, 1000)]
    assert replies == [(0.4, 1.0), (1.4, 1.0), (2.4, 0.0), (3.4, 0.0), (4.4, 1.0)]


def test_between_two_loads_nothing_is_drawn(tmp_path: Path) -> None:
    """Where one load has ended and the next has not begun, throughput has a gap, not a zero and not a line."""
    record = run_of_loads(tmp_path, append=(0.4, 1.4), append_always=(4.7, 5.7))
    replies = [(row["t"], row["v"]) for row in chart(record, "throughput").rows]
    assert replies == [(0.4, 1.0), (1.4, 1.0), (2.4, None), (3.4, None), (4.7, 1.0), (5.7, 1.0)]


@pytest.mark.parametrize(
    ("starts", "width_s", "missing"),
    [
        ([0.4, 1.4, 2.4], 1, []),
        ([0.4, 2.4], 1, [1.4]),
        # Less than a second is missing.
        ([0.4, 2.3], 1, []),
        ([0.0, 15.0], 5, [5.0, 10.0]),
        ([7.0], 1, []),
        ([], 1, []),
    ],
)
def test_holes(starts: list[float], width_s: int, missing: list[float]) -> None:
    """Whole spans that are missing between others are found, and nothing before or after them."""
    assert holes(starts, width_s) == missing


@given(t_s=st.floats(0, 1e6), width_s=st.sampled_from([1, 2, 5, 60]))
def test_span_of_a_moment(t_s: float, width_s: int) -> None:
    """An interval falls into a span that begins with it, or before it by less than the span is wide."""
    start = start_of(t_s, width_s)
    assert (start <= t_s < start + width_s, width_s > 1 or start == t_s) == (True, True)


def test_an_hour_is_merged(hour: Record) -> None:
    """However long a run, no series has more than 300 points in time."""
    longest = 0
    for each in charts(hour):
        if each.timed:
            series: dict[Any, set[float]] = {}
            for row in each.rows:
                series.setdefault((row.get("s"), row.get("k")), set()).add(row["t"])
            longest = max(longest, *map(len, series.values()))
    assert 100 < longest <= 300


def test_an_hour_fits_into_two_megabytes(hour: Record) -> None:
    """The page of a run of an hour is at most 2 MB."""
    assert len(render(hour).encode()) <= 2_000_000


def test_merging_keeps_the_peak(tmp_path: Path) -> None:
    """The highest reading of lag survives the merging of a long run."""
    entries = [reading(t, 1.0, group="crm") for t in range(3600)]
    entries[1234] = reading(1234, 99_999.0, group="crm")
    rows = chart(run_with(tmp_path, *entries), "lag-events").rows
    assert [(row["t"], row["v"]) for row in rows if row["v"] > 1] == [(1234.0, 99_999.0)]


@pytest.mark.parametrize(
    ("every_s", "seconds", "sentence"),
    [
        (0.1, 20, ""),
        (0.1, 60, "the highest reading of 0.2 s"),
        (0.1, 200, "the highest reading of 1 s"),
        (1, 3600, "the highest reading of 15 s"),
        (60, 3600, ""),
    ],
    ids=["short", "part of a second", "a second", "long", "seldom"],
)
def test_merged_readings_are_told(tmp_path: Path, every_s: float, seconds: int, sentence: str) -> None:
    """A caption says that readings were merged exactly where they were."""
    entries = [reading(n * every_s, 1.0) for n in range(int(seconds / every_s))]
    drawn = chart(run_with(tmp_path, *entries), "lag-events")
    assert sentence in drawn.caption
    assert ("Each point is" in drawn.caption, len(drawn.rows) < len(entries)) == (bool(sentence),) * 2


def test_gap_survives_the_merging(tmp_path: Path) -> None:
    """Where no reading of a span had an answer, the merged line has a gap."""
    entries = [reading(n / 10, None if 300 <= n < 310 else 1.0) for n in range(2000)]
    rows = chart(run_with(tmp_path, *entries), "lag-events").rows
    assert [row["t"] for row in rows if row["v"] is None] == [30.0]


@pytest.mark.parametrize(("groups", "words"), [(8, None), (11, "3 more groups are not drawn")])
def test_groups_that_are_not_drawn_are_told(tmp_path: Path, groups: int, words: str | None) -> None:
    """Of more than eight consumer groups the caption says how many have no line."""
    record = run_with(tmp_path, *(reading(0, 1.0 + n, group=f"g{n:02}") for n in range(groups)))
    drawn = chart(record, "lag-events")
    assert ("not drawn" in drawn.caption, (words or "") in drawn.caption) == (words is not None, True)
    assert len({row["s"] for row in drawn.rows}) == 8


def test_reading_without_an_answer_is_a_gap(tmp_path: Path) -> None:
    """A probe that had no answer leaves a hole in the line, never a zero."""
    rows = chart(run_with(tmp_path, reading(0, 5.0), reading(1, None), reading(2, 7.0)), "lag-events").rows
    assert [row["v"] for row in rows] == [5.0, None, 7.0]


def test_fault_that_never_healed_lasts_to_the_end(tmp_path: Path) -> None:
    """The shade of a fault without an end reaches the end of the run."""
    fault = FaultWindow(name="kill", target="crm", start_ns=10**9, end_ns=None)
    spec = chart(run_with(tmp_path, reading(0, 0.0), reading(9, 1.0), fault), "lag-events").spec
    assert spec["layer"][0]["data"]["values"] == [{"t": 1.0, "end": 9.0, "label": "kill crm", "row": 0}]


@pytest.mark.parametrize(("count", "heights"), [(1, 1), (3, 3), (12, 4), (13, 0)])
def test_names_of_faults_take_lines(tmp_path: Path, count: int, heights: int) -> None:
    """Names of faults stand on lines of their own, and too many of them in the table only."""
    faults = [FaultWindow(name="kill", target="crm", start_ns=n * 10**9, end_ns=None) for n in range(count)]
    drawn = chart(run_with(tmp_path, reading(0, 0.0), reading(20, 1.0), *faults), "lag-events")
    svg = vl_convert.vegalite_to_svg(drawn.spec)
    found = re.findall(r'transform="translate\([^,]+,([^)]+)\)"[^>]*>kill crm</text>', svg)
    assert (len(found), len(set(found))) == (count if heights else 0, heights)
    assert ("13 faults are named in their table" in drawn.caption) == (heights == 0)


def test_marks_are_named_on_the_lag(tmp_path: Path) -> None:
    """The moments of a recovery stand on the chart of the lag, by name."""
    record = run_with(tmp_path, reading(0, 0.0), reading(9, 1.0), Mark(t_ns=4 * 10**9, name="drained"))
    assert ">drained</text>" in vl_convert.vegalite_to_svg(chart(record, "lag-events").spec)


def test_lag_tells_groups_and_kinds_apart(runs: dict[str, Record]) -> None:
    """The legend of the lag names each consumer group, and what of its lag a line shows."""
    names = [s.name for s in chart(runs["outage_run"], "lag-events").series]
    assert names == ["crm", "mail", "not applied", "pending"]


@pytest.mark.parametrize(
    ("values", "lonely"),
    [
        ([1.0], [0]),
        ([None, 1.0, None], [1]),
        ([1.0] * 20, []),
        ([*[1.0] * 14, None, 2.0, None], [15]),
        ([1.0, None, *[1.0] * 14], [0]),
        ([1.0, 2.0], [0, 1]),
    ],
    ids=["one", "between gaps", "many", "behind a gap", "before a gap", "few"],
)
def test_value_that_no_line_shows_is_a_dot(tmp_path: Path, values: list[float | None], lonely: list[int]) -> None:
    """A value without a neighbour, and each of only a few, is drawn as a dot, which a line would not show."""
    drawn = chart(run_with(tmp_path, *(reading(t, v) for t, v in enumerate(values))), "lag-events")
    svg = vl_convert.vegalite_to_svg(drawn.spec)
    dots = svg.count('fill="var(--c-1)" stroke-width="2" opacity="1"')
    assert ([n for n, row in enumerate(drawn.rows) if row.get("o")], dots) == (lonely, len(lonely))


def test_run_of_one_second_is_seen(tmp_path: Path) -> None:
    """In a run of one second, each line over time is a dot."""
    report_runs.append_run(tmp_path, seconds=1, per_s=50)
    assert [row["o"] for row in chart(load(tmp_path), "latency-0").rows] == [1, 1, 1]


@pytest.mark.parametrize(
    ("told", "corners"),
    [
        # 200 a second are gained, and in the end nothing waits: 1100 must have waited at the first effect.
        ((1000, 300, 100, 1, 60, 6.5), [(0, 1000), (1, 1100), (1, 1100), (6.5, 0)]),
        # Of 1100, 500 had gone when the first effect was seen.
        ((1000, 300, 100, 1, 60, 4), [(0, 1000), (1, 1100), (1, 600), (4, 0)]),
        ((1000, 300, 100, 0, 60, 5), [(0, 1000), (5, 0)]),
        # The load ends at 3 s: 200 a second are gained until then, 300 from then on.
        ((1000, 300, 100, 0, 3, 4), [(0, 900), (3, 300), (4, 0)]),
        # More arrives than is applied, as long as anything does.
        ((1000, 100, 150, 0, 10, 25), [(0, 1000), (10, 1500), (25, 0)]),
        # The load was over before the first effect.
        ((1000, 200, 100, 2, 1, 7), [(0, 1000), (1, 1100), (2, 1100), (2, 1000), (7, 0)]),
    ],
    ids=[
        "first effect later",
        "a batch at once",
        "at once",
        "load ends",
        "grows until the load ends",
        "load was over",
    ],
)
def test_predicted_drain(told: tuple[float, ...], corners: list[tuple[float, float]]) -> None:
    """What waits falls to nothing where the prediction has its end, with a corner where the load ends."""
    assert predicted_drain(*told) == corners


@given(
    waiting=st.integers(1, 100_000),
    drain_per_s=st.floats(1, 10_000),
    arrival_per_s=st.floats(0, 10_000),
    arriving_s=st.floats(0, 1_000),
    first_s=st.floats(0, 100),
)
def test_line_and_figure_of_a_drain_agree(
    waiting: int, drain_per_s: float, arrival_per_s: float, arriving_s: float, first_s: float
) -> None:
    """The line to the end that a scenario predicts begins, at the first effect, with what waited there."""
    end_s = predicted_drain_s(waiting, drain_per_s=drain_per_s, arrival_per_s=arrival_per_s, arriving_s=arriving_s)
    assert end_s is not None
    corners = dict(predicted_drain(0, drain_per_s, arrival_per_s, first_s, first_s + arriving_s, first_s + end_s))
    tolerance = 1e-9 * (waiting + (drain_per_s + arrival_per_s) * (first_s + arriving_s + end_s))
    assert corners[first_s] == pytest.approx(waiting, abs=tolerance)


def test_drain_beside_its_prediction(runs: dict[str, Record]) -> None:
    """After an outage the measured lag stands beside the predicted, both since the restart."""
    rows = chart(runs["outage_run"], "drain").rows
    predicted = [(row["x"], row["v"]) for row in rows if row["s"] == "predicted"]
    # 10,012 wait at the restart; from 0.9 s on 2110 - 500 a second are gained, and at 7.4 s nothing waits.
    assert predicted == [(0.0, 10012.0), (0.9, 10462.0), (0.9, pytest.approx(6.5 * 1610)), (7.4, 0.0)]
    assert next(row for row in rows if row["s"] == "measured")["x"] == 0.0


def drained(record: Record, **changed: float | None) -> Record:
    """The outage with other figures, and without a moment at which lag was back where a reading says so."""
    figures = [
        structs.replace(f, value=changed[name]) if (name := f.name.removeprefix("crm_outage.")) in changed else f
        for f in record.run.figures
    ]
    return Record(record.directory, structs.replace(record.run, figures=figures))


def test_drain_says_both_times(runs: dict[str, Record]) -> None:
    """The caption says when lag was back, and when it should have been."""
    caption = chart(runs["outage_run"], "drain").caption
    assert caption.startswith("Lag was first back where it was 6.25 s after the restart; predicted: 7.40 s.")


def test_drain_that_was_not_seen(runs: dict[str, Record]) -> None:
    """Where lag was not back when nobody looked any more, the caption says that, and when it should have been."""
    record = drained(runs["outage_run"])
    record._history = History(
        e for e in record.history.entries if not isinstance(e, Reading) or e.t_ns < 44_000_000_000
    )
    caption = chart(record, "drain").caption
    assert caption.startswith("Lag was not seen back where it was; predicted: 7.40 s.")


def test_drain_that_is_never_to_be(runs: dict[str, Record]) -> None:
    """Where the rates predict no end, the measured lag stands alone, and the caption says why."""
    drawn = chart(drained(runs["outage_run"], drain_rate_per_s=0.0, predicted_drain_s=None), "drain")
    assert "predicted: never, at these rates." in drawn.caption
    assert {row["s"] for row in drawn.rows} == {"measured"}


@pytest.mark.parametrize(
    "missing",
    ["restart", "crm_outage.drain_rate_per_s", "crm_outage.predicted_drain_s", "rate_per_s", "after_s"],
)
def test_no_drain_without_evidence(runs: dict[str, Record], missing: str) -> None:
    """Without a restart, a rate of drain or load, a prediction, or an end of the load, there is no such chart."""
    run = runs["outage_run"].run
    changed = structs.replace(
        run,
        figures=[f for f in run.figures if f.name != missing],
        parameters={k: v for k, v in run.parameters.items() if k != missing},
    )
    record = Record(runs["outage_run"].directory, changed)
    if missing == "restart":
        kept = [e for e in record.history.entries if not (isinstance(e, Mark) and e.name == missing)]
        record._history = History(kept)
    assert "drain" not in [c.key for c in charts(record)]


def test_append_only_file_where_it_is_read(tmp_path: Path) -> None:
    """Readings of the append-only file have a chart each, by whatever name they come, in a unit to be read."""
    record = run_with(
        tmp_path,
        Reading(t_ns=0, name="server.aof_size_bytes", value=2.0**21, unit="bytes"),
        Reading(t_ns=0, name="server.aof_delayed_fsync", value=3.0, unit="fsyncs"),
    )
    told = [(c.title, c.unit, c.rows[0]["v"]) for c in charts(record) if c.section == "machine"]
    assert told == [
        ("Append-only file: delayed fsync", "fsyncs", 3.0),
        ("Append-only file: size bytes", "MiB", 2.0),
    ]


def test_no_append_only_file_no_word_of_it(runs: dict[str, Record]) -> None:
    """A run without such readings has no chart of them."""
    assert [c for c in charts(runs["outage_run"]) if "Append-only" in c.title] == []


def test_whole_of_parts_comes_first() -> None:
    """Operations that are parts of one have it before them, and its latencies are those of all of them."""
    rng = np.random.default_rng(1)
    parts = [report_runs.recorded(rng, 2, n, (name,)) for n, name in ((10, "x.rare"), (20, "x.often"), (5, "y"))]
    log = LatencyLog([interval for recorder in parts for interval in recorder.intervals()])
    assert operations(log) == ["x", "x.often", "x.rare", "y"]
    assert [total_of(log, name, "response").total for name in operations(log)] == [60, 40, 20, 10]


def test_only_the_busiest_operations_are_drawn() -> None:
    """Operations stand in the order of how often they were recorded."""
    rng = np.random.default_rng(1)
    rare, often = report_runs.recorded(rng, 1, 10, ("rare",)), report_runs.recorded(rng, 1, 20, ("often",))
    log = LatencyLog([*rare.intervals(), *often.intervals()])
    assert busiest(log) == ["often", "rare"]


def test_ledger_in_order(runs: dict[str, Record]) -> None:
    """The flow goes from attempted over acknowledged to applied, and says what became fewer."""
    rows = chart(runs["outage_run"], "ledger-0").rows
    assert [f"{row['s']} {row['text']}" for row in rows] == [
        "attempted 30,000",
        "acknowledged 29,997 · 3 fewer",
        "applied 29,999 · 2 more",
    ]


@pytest.mark.parametrize(
    ("lost", "recovered", "words"), [(0, 0, "all of them"), (1, 1, "as many"), (None, None, "as many")]
)
def test_as_many_are_not_all(tmp_path: Path, lost: int | None, recovered: int | None, words: str) -> None:
    """As many applied as acknowledged are all of them only where none was lost and none recovered."""
    counts = {"attempted": 9, "acknowledged": 8, "applied": 8, "lost": lost, "recovered": recovered}
    figures = [Figure(name=f"x.{name}", value=value, unit="events") for name, value in counts.items()]
    rows = chart(run_with(tmp_path, figures=figures), "ledger-0").rows
    assert rows[-1]["text"] == f"8 · {words}"


def refusing(directory: Path, scenario: str, operation: str, prefix: str, failed: int) -> Record:
    """A run of an operation of which some were refused, as a scenario tells it."""
    recorder = report_runs.recorded(np.random.default_rng(1), 2, 10, (operation,))
    figures = [Figure(name=f"{prefix}.failed", value=failed, unit="events")]
    return report_runs.finished(directory, report_runs.run_of(scenario, figures=figures), recorder, [])


@pytest.mark.parametrize(
    ("scenario", "operation", "prefix"),
    [
        ("append", "append", "append"),
        ("crm_outage", "append", "crm_outage"),
        ("redis_crash", "append_always", "redis_crash.always"),
    ],
)
def test_refusals_among_the_latencies_are_told(tmp_path: Path, scenario: str, operation: str, prefix: str) -> None:
    """Captions of latencies say how many of the replies were refusals, and nothing where there were none."""
    told = {
        failed: [
            "refused" in drawn.caption
            for drawn in charts(refusing(tmp_path, scenario, operation, prefix, failed))
            if drawn.section == "latency"
        ]
        for failed in (0, 1)
    }
    one = chart(load(tmp_path), "percentiles-0")
    assert told == {0: [False] * 3, 1: [True] * 3}
    assert one.caption.startswith("20 operations. 1 of these operations was refused.")


@pytest.mark.parametrize(
    ("part", "count", "tone"),
    [("lost", 0, "good"), ("lost", 1, "bad"), ("duplicated", 4, "warn"), ("recovered", 2, "plain")],
)
def test_tone_of_a_tile(tmp_path: Path, part: str, count: int, tone: str) -> None:
    """Lost events alarm, duplicates warn, recovered ones are neither good nor bad."""
    figures = [Figure(name=f"x.{p}", value=v, unit="events") for p, v in (("attempted", 9), (part, count))]
    assert [t for _, _, t in chart(run_with(tmp_path, figures=figures), "ledger-0").tiles] == [tone]


def test_classes_of_lost_events_stand_in_the_table(tmp_path: Path) -> None:
    """Where lost events are classed, the ledger's table has a row for each class."""
    figures = [
        Figure(name=f"x.{name}", value=value, unit="events")
        for name, value in (("attempted", 9), ("lost", 3), ("lost.not_in_stream", 3))
    ]
    table = chart(run_with(tmp_path, figures=figures), "ledger-0").table
    assert table is not None
    assert ["lost: not in stream", "3"] in table.rows


@pytest.mark.parametrize(
    ("speeds", "words"),
    [
        ({1000: 100.0, 100_000: 100.0}, "A flat line"),
        ({1000: 100.0, 100_000: 1.0}, "With ten times the events, a replay is 90.0 % slower per event."),
        ({1000: 100.0}, "One size only"),
    ],
)
def test_slope_of_a_replay(tmp_path: Path, speeds: dict[int, float], words: str) -> None:
    """The caption says how the speed changes with ten times the events."""
    figures = [Figure(name=f"replay.{n}.events_per_s", value=v, unit="1/s") for n, v in speeds.items()]
    assert chart(run_with(tmp_path, figures=figures), "replay").caption.startswith(words)


def stack_run(directory: Path, **p50_us: float) -> Record:
    """A run that has measured some layers of one append."""
    figures = [Figure(name=f"micro.stack.{layer}.p50", value=v, unit="µs") for layer, v in p50_us.items()]
    return run_with(directory, figures=figures, scenario="micro")


def test_stack_of_an_append(tmp_path: Path) -> None:
    """Each layer's bar begins where that of the layer within it ends, whatever the order of the figures."""
    rows = chart(stack_run(tmp_path, gateway=700.0, socket=40.0, store=130.0), "stack").rows
    assert [(row["s"], row["b"], row["v"]) for row in rows] == [
        ("socket", 0.0, 40.0),
        ("store", 40.0, 130.0),
        ("gateway", 130.0, 700.0),
    ]


def test_stack_in_words(tmp_path: Path) -> None:
    """The table says what each layer adds, also where it adds less than nothing, and what was not measured."""
    table = chart(stack_run(tmp_path, socket=40.0, redis_py=120.0, store_event=110.0), "stack").table
    assert table is not None
    assert table.rows == [
        ["bare socket, XADD", "40.0 µs", "", "not measured"],
        ["redis-py", "120 µs", "+80.0 µs", "not measured"],
        ["event store, event only", "110 µs", "−10.0 µs", "not measured"],
    ]


def test_stack_compiles(tmp_path: Path) -> None:
    """Vega-Lite draws a bar a layer, with its words."""
    svg = vl_convert.vegalite_to_svg(chart(stack_run(tmp_path, socket=40.0, store=130.0), "stack").spec)
    assert "event store, with entity cache: +90.0 µs, in all 130 µs" in svg


def strings(part: Any) -> Iterator[str]:
    """All strings of a specification but those in data rows and in the domains of scales."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, list):
        for each in part:
            yield from strings(each)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key not in {"datasets", "values", "domain", "sort"}:
                yield key
                yield from strings(value)


def test_hostile_text_is_data_only(runs: dict[str, Record]) -> None:
    """No field name, no expression and no title of a specification has text of the record in it."""
    found = [s for c in charts(runs["hostile_run"]) for s in strings(c.spec)]
    assert [s for s in found if "alert" in s or "evil" in s] == []


def test_every_axis_has_a_title(runs: dict[str, Record]) -> None:
    """Every axis that is drawn says what it measures, and in which unit."""
    axes = [
        channel["axis"]
        for record in runs.values()
        for each in charts(record)
        for layer in each.spec["layer"]
        for channel in layer["encoding"].values()
        if isinstance(channel, dict) and channel.get("axis")
    ]
    assert all(axis["title"] for axis in axes)


@pytest.mark.slow
def test_script_comes_out_of_the_cache(tmp_path: Path) -> None:
    """The script is made once, kept below the user's cache, and then read from there."""
    made = javascript._bundle(tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    path.write_text("kept")
    javascript._bundle.cache_clear()
    assert (javascript._bundle(tmp_path / "cache"), "vegaEmbed" in made) == ("kept", True)


def test_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """Where a directory cannot be made, the script is made anew."""
    (tmp_path / "file").write_text("in the way")
    assert javascript._bundle(tmp_path / "file" / "cache").startswith("(function")


def test_script_can_stand_in_a_page(runs: dict[str, Record]) -> None:
    """Nothing in the libraries' script ends a script element or begins a comment."""
    script = javascript.bundle()
    assert ("</script" in script, "<!--" in script) == (False, False)


def test_a_part_of_a_handful_is_not_drawn(tmp_path: Path) -> None:
    """Of six samples there is no curve; the table of steps has them."""
    recorder = Recorder()
    for operation, count in (("journey.pay", 6), ("journey.browse", 40)):
        due_ns = np.arange(count, dtype=np.int64) * 10_000_000
        recorder.record(operation, due_ns, due_ns, due_ns + 1_000_000)
    run = report_runs.run_of("journey")
    record = Record(tmp_path, run, history=History(), latency=LatencyLog(recorder.intervals()))
    titles = " ".join(chart.title for chart in charts(record))
    assert ("journey.browse" in titles, "journey.pay" in titles) == (True, False)
    page = render(record)
    assert ">Steps<" in page
    assert re.search(r"<th scope=\"row\">pay</th><td class=\"n\">6</td><td class=\"n\">1.00 ms", page)


def load_run(directory: Path) -> Record:
    """Two loads one after the other, 0.2 s and 4.4 s after the run's origin; of the second a part arrived late."""
    history = History()
    for name, begin_s, reached in (("always", 0.2, [100, 100]), ("none", 4.4, [60, 140])):
        for kind, counts in (("offered", [100, 100]), ("reached", reached), ("answered", reached)):
            add_curve(history, kind, list(readings_of(counts)), offset_ns=int(begin_s * 1e9), load=name)
    history.add(Phase(name="burst", start_ns=1_000_000_000, end_ns=2_000_000_000))
    return run_with(directory, *history.entries)


def test_each_in_the_second_in_which_it_happened(tmp_path: Path) -> None:
    """Offered and reached are drawn by when they happened, in seconds of each load, with a gap between loads."""
    drawn = chart(load_run(tmp_path), "throughput")
    steps = {
        kind: [(row["t"], row["v"]) for row in drawn.rows if row["s"] == kind] for kind in ("offered", "reached")
    }
    assert steps["offered"] == [
        (0.2, 100), (1.2, 100), (2.2, 100), (2.2, None), (4.4, 100), (5.4, 100), (6.4, 100), (6.4, None),
    ]  # fmt: skip
    assert steps["reached"][4:] == [(4.4, 60), (5.4, 140), (6.4, 140), (6.4, None)]
    assert [series.name for series in drawn.series] == ["offered", "reached", "answered"]


def test_a_burst_is_shaded_from_start_to_end(tmp_path: Path) -> None:
    """A part of the load with a name is a span of time in the charts over time."""
    [shade] = [
        layer
        for layer in chart(load_run(tmp_path), "throughput").spec["layer"]
        if isinstance(layer["mark"], dict) and layer["mark"].get("color") == "var(--phase)"
    ]
    assert shade["data"]["values"] == [{"t": 1.0, "end": 2.0, "label": "burst"}]
