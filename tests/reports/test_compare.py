"""Comparison: what differs, how much that matters, and how it is told."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_runs
from msgspec import to_builtins
from rich.console import Console

from harness.measure.failures import Failure
from harness.measure.hlog import LatencyLog
from harness.measure.operations import total_of
from harness.measure.recorder import Recorder
from harness.record.run import Figure, Record, RunError, Verdict, WorkerShare, load, save
from reports.compare import Comparison, compare, judged, listed, told_ratio
from reports.differences import question, weight_of
from reports.findings import printable
from reports.side_by_side import (
    comparison_charts,
    comparison_markdown,
    comparison_terminal,
    render_comparison,
    write_comparison,
)
from tests.reports.test_render import Page


def runs(directory: Path, **changed: Any) -> list[Record]:
    """Two runs of 12 s that differ in what is given, and in nothing else."""
    a = report_runs.append_run(directory / "a", seconds=12, per_s=100)
    return [a, report_runs.append_run(directory / "b", seconds=12, per_s=100, **changed)]


def only(records: list[Record]) -> Comparison:
    [part] = compare(records).parts
    return part


def environment(**changed: Any) -> dict[str, Any]:
    return report_runs.ENVIRONMENT | changed


# --- what differs ----------------------------------------------------------------------------------------


def test_nothing_differs(tmp_path: Path) -> None:
    """Runs with the same parameters and environment are comparable."""
    part = only(runs(tmp_path))
    assert (part.status, part.differences) == ("PASS", [])


@pytest.mark.parametrize(
    "changed",
    [
        {"parameters": {"rate_per_s": 4000, "pacing": "poisson"}},
        {"parameters": {"rate_per_s": 2000, "pacing": "poisson", "durability": "always"}},
        {"parameters": {"rate_per_s": 2000, "pacing": "poisson", "delivery": "at_most_once"}},
        {"environment": environment(load={"loop": "closed"})},
        {"environment": environment(host=report_runs.ENVIRONMENT["host"] | {"cpu": "another"})},
        {"environment": environment(server=report_runs.ENVIRONMENT["server"] | {"appendonly": "yes"})},
        {"status": "interrupted"},
        {"verdicts": [Verdict(name="append.send_lag", status="UNKNOWN", detail="late")]},
    ],
    ids=["rate", "durability", "delivery", "loop", "cpu", "appendonly", "status", "send_lag"],
)
def test_what_makes_a_comparison_invalid(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Another load, promise or machine, an unfinished run, a late instrument: not comparable."""
    part = only(runs(tmp_path, **changed))
    assert (part.status, len(part.invalid)) == ("FAIL", 1)


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("cores_plan", ("all", "one"), "shared cores in another way"),
        ("cores_plan", ("apart", "all"), "shared cores in another way"),
        ("dated_by", ("kernel", "clock"), "dated in another way"),
        ("dated_by", ("kernel", "both"), "dated in another way"),
    ],
)
def test_another_place_or_another_date_is_another_question(
    tmp_path: Path, name: str, values: tuple[str, str], why: str
) -> None:
    """Where processes ran, and by what answers were dated, decide what a latency is: such runs are not alike."""
    made = [environment(instrument={name: value}) for value in values]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, environment=each) for n, each in enumerate(made)]
    part = only(records)
    [found] = part.differences
    assert (found.name, found.weight) == (f"environment.instrument.{name}", "invalid")
    assert why in found.why
    assert part.status == "FAIL"
    assert part.sentence == f"Not comparable: instrument {name} differ."
    told = comparison_markdown(compare(records))
    assert "slower" not in told


def test_who_else_had_the_machine_is_no_difference(tmp_path: Path) -> None:
    """What the pumps and the neighbors did meanwhile is of each run its own."""
    made = [environment(meanwhile={"pumps": {"append": {"awake_share": n}}, "processes": None}) for n in (1, 2)]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, environment=each) for n, each in enumerate(made)]
    assert only(records).differences == []


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 8},
        {"environment": environment(python="3.13.1")},
        {"environment": environment(server=report_runs.ENVIRONMENT["server"] | {"version": "9.0"})},
        {"environment": environment(host=report_runs.ENVIRONMENT["host"] | {"host": "elsewhere"})},
        {"environment": environment(host=report_runs.ENVIRONMENT["host"] | {"kernel": "6.9"})},
    ],
    ids=["seed", "python", "server version", "host name", "kernel"],
)
def test_what_only_weakens_a_comparison(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Other random numbers, packages, server versions or host names leave a ratio standing, with reservations."""
    part = only(runs(tmp_path, **changed))
    assert (part.status, [d.weight for d in part.differences]) == ("UNKNOWN", ["weakens"])


def test_other_scenarios_are_not_comparable(tmp_path: Path) -> None:
    """Two single runs of different scenarios are set side by side, and called not comparable."""
    records = [report_runs.append_run(tmp_path / "a", 3, 10), report_runs.outage_run(tmp_path / "b", 50, 5)]
    assert "scenario" in [d.name for d in only(records).invalid]


def test_what_is_its_own_is_no_difference(tmp_path: Path) -> None:
    """The number of a producer and the port of a server that we start differ always, and mean nothing."""
    made = [
        environment(
            server={"url": f"redis://127.0.0.1:{port}", "owned": True}, load={"loop": "open", "producer": port}
        )
        for port in (1, 2)
    ]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, environment=e) for n, e in enumerate(made)]
    assert only(records).differences == []


def spread(*names: str, clock_offset_s: float) -> dict[str, Any]:
    """An environment in which some workers made the load, as Locust's do."""
    shares = [
        WorkerShare(name=name, arrivals=10, connections=1, clock_offset_s=clock_offset_s, clock_error_s=0.001)
        for name in names
    ]
    return environment(load={"loop": "open", "connections": 2, "workers": to_builtins(shares)})


def test_names_and_clocks_of_workers_are_no_difference(tmp_path: Path) -> None:
    """Two equal runs whose load Locust's workers made are comparable, and ask the same question."""
    made = [spread("a_1f", "a_2e", clock_offset_s=0.002), spread("a_3d", "a_4c", clock_offset_s=-0.001)]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, environment=e) for n, e in enumerate(made)]
    a, b = (record.run for record in records)
    assert (only(records).differences, question(a) == question(b)) == ([], True)


def test_number_of_workers_is_a_difference(tmp_path: Path) -> None:
    """A load that more workers made is another load."""
    made = [spread("a", clock_offset_s=0.0), spread("a", "b", clock_offset_s=0.0)]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, environment=e) for n, e in enumerate(made)]
    [found] = only(records).differences
    assert (found.name, found.values, found.weight) == ("environment.load.workers", ["1", "2"], "invalid")


def test_an_address_that_was_given_is_a_difference(tmp_path: Path) -> None:
    """Servers that are not ours are told by their address."""
    made = [environment(server={"url": f"redis://{host}", "owned": False}) for host in ("one", "two")]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, environment=e) for n, e in enumerate(made)]
    assert [d.name for d in only(records).differences] == ["environment.server.url"]


def test_what_came_of_a_parameter_is_told_once(tmp_path: Path) -> None:
    """Connections stand among the parameters and in the load, and make one difference."""
    made: list[dict[str, Any]] = [
        {"parameters": {"connections": n}, "environment": environment(load={"loop": "open", "connections": n})}
        for n in (1, 4)
    ]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, **each) for n, each in enumerate(made)]
    assert [d.name for d in only(records).differences] == ["parameters.connections"]


def test_what_one_run_did_not_record_is_told(tmp_path: Path) -> None:
    """A fact that only one run has is a difference."""
    part = only(runs(tmp_path, environment={k: v for k, v in report_runs.ENVIRONMENT.items() if k != "python"}))
    assert [(d.name, d.values[1]) for d in part.differences] == [("environment.python", "not recorded")]


def test_invalid_comes_first(tmp_path: Path) -> None:
    """What makes a comparison invalid stands above what weakens it."""
    part = only(runs(tmp_path, seed=8, parameters={"rate_per_s": 1}, environment=environment(python="3.13")))
    assert [d.weight for d in part.differences] == sorted(d.weight for d in part.differences)


def test_hostile_name_has_a_weight() -> None:
    """Whatever a fact is called, it has a weight."""
    assert weight_of("environment.\n.x")[0] == "weakens"


def test_question_is_what_makes_runs_comparable(tmp_path: Path) -> None:
    """Another seed asks the same question, another rate another one."""
    a, b = (r.run for r in runs(tmp_path / "1", seed=8))
    _, c = (r.run for r in runs(tmp_path / "2", parameters={"rate_per_s": 1}))
    assert (question(a) == question(b), question(a) == question(c)) == (True, False)


@pytest.mark.parametrize(
    ("words", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (list("abcdef"), "a, b, c, d and 2 more")]
)
def test_listed(words: list[str], text: str) -> None:
    """Words in a sentence, the last behind an and."""
    assert listed(words) == text


# --- figures ---------------------------------------------------------------------------------------------


def test_main_figure_has_the_interval_of_its_histogram(tmp_path: Path) -> None:
    """A figure that a histogram's quantile is has that quantile's ratio."""
    part = only(runs(tmp_path))
    line = next(line for line in part.key if line.name == "append.response.p99")
    behind = next(line for line in part.latency["append"] if line.name == "append.response.p99")
    [ratio] = line.ratios
    assert ratio is not None
    assert (line.ratios, ratio.low is None) == (behind.ratios, False)


def test_figure_of_a_whole_has_the_interval_of_its_parts(tmp_path: Path) -> None:
    """The latency of a journey is that of all its steps, and so is its interval."""
    records = []
    for name, seed in (("a", 1), ("b", 2)):
        recorder = report_runs.recorded(np.random.default_rng(seed), 20, 100, ("journey.browse", "journey.order"))
        value = total_of(LatencyLog(recorder.intervals()), "journey", "response").quantile_us(0.9)
        run = report_runs.run_of("x", figures=[Figure(name="journey.response.p90", value=value, unit="µs")])
        records.append(report_runs.finished(tmp_path / name, run, recorder, []))
    part = only(records)
    [ratio] = part.key[0].ratios
    assert ratio is not None
    assert (next(iter(part.latency)), ratio.low is None) == ("journey", False)


def test_figure_of_its_own_has_no_interval(tmp_path: Path) -> None:
    """A run has one rate: a ratio, no interval, and no word of more or less."""
    changed = [Figure(name="append.achieved_per_s", value=v, unit="1/s") for v in (100.0, 150.0)]
    records = [report_runs.append_run(tmp_path / str(n), 12, 100, figures=[f]) for n, f in enumerate(changed)]
    [line] = only(records).key
    assert (told_ratio(line, 0), judged(line, 0, comparable=True)) == ("× 1.50", "no interval")


def test_figure_that_one_run_lacks(tmp_path: Path) -> None:
    """A figure that a run could not measure has no ratio, and says so."""
    changed = [Figure(name="append.achieved_per_s", value=v, unit="1/s") for v in (100.0, None)]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, figures=[f]) for n, f in enumerate(changed)]
    [line] = only(records).key
    assert (told_ratio(line, 0), judged(line, 0, comparable=True)) == ("", "not measured")


@pytest.mark.parametrize(("other", "told"), [(0.0, ("", "equal")), (3.0, ("from 0", "no interval"))])
def test_zero_against_zero_is_equal(tmp_path: Path, other: float, told: tuple[str, str]) -> None:
    """What is 0 in both runs is equal and has no ratio; what grew from 0 says so."""
    changed = [Figure(name="append.failed", value=v, unit="events") for v in (0.0, other)]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, figures=[f]) for n, f in enumerate(changed)]
    [line] = only(records).key
    assert (told_ratio(line, 0), judged(line, 0, comparable=True)) == told


def of_other_speed(directory: Path, factor: float, **changed: Any) -> Record:
    """A run of 20 s, so many times slower than another one, and a figure that is of its first half only."""
    recorder = Recorder(0)
    rng = np.random.default_rng(4)
    due = np.sort(rng.integers(0, 20_000_000_000, 4000))
    recorder.record("append", due, due, due + (factor * rng.lognormal(13, 0.3, 4000)).astype(np.int64))
    log = LatencyLog(recorder.intervals())
    figures = [
        Figure(name="append.response.p90", value=log.total("append.response").quantile_us(0.9), unit="µs"),
        Figure(
            name="append.before.response.p90",
            value=log.total("append.response", 0, 10).quantile_us(0.9),
            unit="µs",
        ),
    ]
    return report_runs.finished(directory, report_runs.run_of("append", figures=figures, **changed), recorder, [])


def test_slower_run_is_called_slower_in_these_runs(tmp_path: Path) -> None:
    """A run of three times the latency is called slower, and nothing more than that of these two runs."""
    part = only([of_other_speed(tmp_path / "a", 1.0), of_other_speed(tmp_path / "b", 3.0)])
    line = next(line for line in part.key if line.name == "append.response.p90")
    assert judged(line, 0, comparable=not part.invalid) == "slower in these runs"


def test_not_comparable_runs_are_not_judged(tmp_path: Path) -> None:
    """Of runs that are not comparable nothing is called slower, however much slower it is."""
    records = [
        of_other_speed(tmp_path / "a", 1.0),
        of_other_speed(tmp_path / "b", 3.0, parameters={"rate_per_s": 1}),
    ]
    assert (
        "× 3.0" in comparison_markdown(compare(records)),
        "slower" in comparison_markdown(compare(records)),
    ) == (
        True,
        False,
    )


def test_figure_of_a_part_of_the_run_has_no_interval(tmp_path: Path) -> None:
    """A quantile of some other span than the whole run has not the interval of the whole run."""
    part = only([of_other_speed(tmp_path / "a", 1.0), of_other_speed(tmp_path / "b", 3.0)])
    [ratio] = next(line for line in part.key if line.name == "append.before.response.p90").ratios
    assert ratio is not None
    assert ratio.low is None


def test_suites_are_compared_by_member(tmp_path: Path) -> None:
    """Each scenario of two suites has a comparison of its own; what only one has is named."""
    a = report_runs.suite_run(tmp_path / "a")
    b = report_runs.suite_run(tmp_path / "b")
    save(b.directory, report_runs.run_of("suite", members=["append", "replay"]))
    found = compare([a, load(b.directory)])
    assert ([p.scenario for p in found.parts], found.alone) == (
        ["append", "replay"],
        ["crm_outage (only in A)", "micro (only in A)"],
    )


def test_run_against_the_member_of_a_suite(tmp_path: Path) -> None:
    """A single run is set against the member of a suite that has its scenario."""
    suite, run = report_runs.suite_run(tmp_path / "a"), report_runs.append_run(tmp_path / "b")
    assert [part.scenario for part in compare([suite, run]).parts] == ["append"]


@pytest.mark.parametrize("count", [1, 9])
def test_number_of_runs(tmp_path: Path, count: int) -> None:
    """One run is no comparison, nine have no colours left."""
    with pytest.raises(ValueError, match="2 to 8 runs"):
        compare([report_runs.empty_run(tmp_path)] * count)


def test_broken_part_is_an_error_of_the_run(tmp_path: Path) -> None:
    """A latency log that is cut off is told by the run's name."""
    records = runs(tmp_path)
    path = records[1].directory / "latency.hlog"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RunError, match="/b: "):
        compare([load(record.directory) for record in records])


# --- shapes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return runs(tmp_path_factory.mktemp("pair"), seed=8)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    root = tmp_path_factory.mktemp("hostile")
    a = report_runs.hostile_run(root / "a")
    return [a, report_runs.hostile_run(root / "b<img src=x onerror=alert(1)>")]


def test_page_says_what_differs_before_any_figure(pair: list[Record], tmp_path: Path) -> None:
    """Whether runs can be compared stands above the figures."""
    words = Page(render_comparison(compare(pair), tmp_path)).words
    places = [
        words.find(text) for text in ("Comparable, with reservations", "What differs", "Main figures", "× 1.00")
    ]
    assert (places == sorted(places), -1 in places) == (True, False)


def test_page_is_well_formed(pair: list[Record], hostile: list[Record], tmp_path: Path) -> None:
    """Every element is closed where it should be, whatever stands in the records; and ids are unique."""
    for records in (pair, hostile):
        page = Page(render_comparison(compare(records), tmp_path))
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert (page.errors, len(ids) - len(set(ids))) == ([], 0)


def test_page_says_what_an_interval_covers(pair: list[Record], tmp_path: Path) -> None:
    """The page says plainly that an interval does not cover what differs from run to run."""
    words = Page(render_comparison(compare(pair), tmp_path)).words
    assert "It does not cover how much one run differs from the next" in words


def test_exact_values_stand_in_the_page(pair: list[Record], tmp_path: Path) -> None:
    """The values of the figures on the page are those of the records, to the last digit."""
    page = Page(render_comparison(compare(pair), tmp_path))
    shown = {a["value"] for t, a in page.elements if t == "data"}
    wanted = {f.value for record in pair for f in record.run.figures if f.value is not None}
    assert wanted <= {float(v or "nan") for v in shown}


def test_charts_have_a_series_for_each_run(pair: list[Record]) -> None:
    """Response, service and send lag over the percentiles, and p99 over time: each with all runs."""
    charts = comparison_charts(only(pair))
    assert [(c.key, [s.name for s in c.series]) for c in charts] == [
        (key, ["A a", "B b"]) for key in ("response-0", "service-0", "send_lag-0", "time-0")
    ]


def test_charts_over_time_share_a_span(tmp_path: Path) -> None:
    """Operations of other lengths are drawn over one span of time: that of all of them."""
    records = [report_runs.short_and_long_run(tmp_path / name) for name in "ab"]
    timed = [c for c in comparison_charts(only(records)) if c.timed]
    spans = [[p["value"] for p in c.spec["params"] if p["name"] in {"from", "to"}] for c in timed]
    assert spans == [[0.0, 9.0], [0.0, 9.0]]


def test_page_links_to_the_reports(pair: list[Record], tmp_path: Path) -> None:
    """A run's name links to its report, where it has one, relative to the page."""
    (pair[0].directory / "report.html").touch()
    page = Page(render_comparison(compare(pair), pair[0].directory.parent))
    links = [a["href"] for t, a in page.elements if t == "a" and not (a["href"] or "").startswith("#")]
    assert links == ["a/report.html"]


def test_hostile_text_is_text_on_the_page(hostile: list[Record], tmp_path: Path) -> None:
    """Hostile text in every field, and in a directory's name, brings no element, and no password."""
    html = render_comparison(compare(hostile), tmp_path)
    page = Page(html)
    assert (page.count("script"), page.count("img"), "hunter2" in html) == (3, 0, False)
    assert printable(report_runs.HOSTILE + report_runs.SECRET_URL) in page.words


def test_hostile_markdown_has_no_tag_but_ours(hostile: list[Record]) -> None:
    """Hostile text leaves no HTML element in the Markdown, and no password."""
    text = comparison_markdown(compare(hostile))
    assert (
        set(re.findall(r"<(/?\w+)", text)) <= {"details", "/details", "summary", "/summary"},
        "hunter2" in text,
    ) == (
        True,
        False,
    )


@pytest.mark.parametrize("width", [20, 60, 120])
def test_terminal_fits_its_width(hostile: list[Record], pair: list[Record], width: int) -> None:
    """No line is wider than the terminal, and no escape sequence or markup gets through."""
    for records in (pair, hostile):
        console = Console(file=StringIO(), width=width)
        console.print(comparison_terminal(compare(records)))
        assert isinstance(console.file, StringIO)
        output = console.file.getvalue()
        assert (max(map(len, output.splitlines())) <= width, "\x1b" in output) == (True, False)


def test_same_records_same_bytes(pair: list[Record], tmp_path: Path) -> None:
    """A comparison is a function of the records."""
    first, second = (render_comparison(compare(pair), tmp_path) for _ in range(2))
    assert first == second


def test_write_comparison(pair: list[Record], tmp_path: Path) -> None:
    """The page and the Markdown are written beside one another."""
    path = write_comparison(compare(pair), tmp_path / "c.html")
    assert (path, sorted(p.name for p in tmp_path.iterdir())) == (tmp_path / "c.html", ["c.html", "c.md"])


def test_runs_without_anything(tmp_path: Path) -> None:
    """Runs that have nothing to show can be compared, and the page says that there is no evidence."""
    records = [report_runs.empty_run(tmp_path / name) for name in "ab"]
    words = Page(render_comparison(compare(records), tmp_path)).words
    assert ("these runs have no figures" in words, "no operation was recorded" in words) == (True, True)


# --- what failed -----------------------------------------------------------------------------------------


def refusing(*failures: Failure, **more: Any) -> dict[str, Any]:
    """An environment in which a pump was answered with errors."""
    pump = {"failures": to_builtins(list(failures)), "silent_since_s": None, "away": "", "dated_by": "kernel"}
    return environment(meanwhile={"pumps": {"append": pump | more}, "processes": None})


OOM = Failure(kind="OOM", count=8_355, text="OOM command not allowed <b>", first_s=0.2, last_s=4.9)


def test_failures_stand_side_by_side(tmp_path: Path) -> None:
    """By kind, with count, time and an example, in page, Markdown and terminal; also since when one was silent."""
    made = [refusing(OOM), refusing(silent_since_s=4.2, away="Connection refused"), environment()]
    records = [report_runs.append_run(tmp_path / str(n), 2, 10, environment=e) for n, e in enumerate(made)]
    compared = compare(records)
    page = Page(render_comparison(compared, tmp_path))
    for told in (page.words, comparison_markdown(compared), str(comparison_terminal(compared)).replace("\n", " ")):
        one_line = re.sub(r"\s+", " ", told)
        for said in ("8,355 (from 0.2 to 4.9 s)", "OOM command not allowed", "since 4.2 s", "Connection refused"):
            assert said in one_line
    assert page.count("b") == 0
    assert [each.values for each in compared.parts[0].refused] == [
        ["8,355 (from 0.2 to 4.9 s)", "none", "not recorded"],
        ["none", "since 4.2 s", "not recorded"],
    ]


@pytest.mark.parametrize("pumps", ["many", {"append": "x"}, {"append": {"failures": 7}}, {"append": {}}])
def test_where_nothing_failed_nothing_is_said(tmp_path: Path, pumps: Any) -> None:
    """Runs without failures, or whose record is of another shape, have no such part."""
    records = runs(tmp_path, environment=environment(meanwhile={"pumps": pumps}))
    assert compare(records).parts[0].refused == []
    assert "failed" not in comparison_markdown(compare(records))


# --- from run to run -------------------------------------------------------------------------------------


def several(directory: Path) -> list[Record]:
    """Two runs of one side, whose seeds differ, and two of another server."""
    other = environment(server=report_runs.ENVIRONMENT["server"] | {"version": "9.1.2"})
    made = []
    for at, name in enumerate("abcd"):
        changed: dict[str, Any] = {"environment": other} if name in "bd" else {}
        changed["figures"] = [Figure(name="append.response.p99", value=1_000.0 + 50 * at, unit="µs")]
        made.append(report_runs.append_run(directory / name, seconds=12, per_s=100, seed=7 + at // 2, **changed))
    return made


def test_runs_of_one_side_tell_what_they_differ_by(tmp_path: Path) -> None:
    """Alike but for their seeds: from where to where, by how much, and whether both sides overlap."""
    part = only(several(tmp_path))
    assert [each.letters for each in part.run_to_run[0].ranges] == [["A", "C"], ["B", "D"]]
    assert [(each.low, each.high) for each in part.run_to_run[0].ranges] == [(1000, 1100), (1050, 1150)]
    text = str(comparison_terminal(compare([part.sides[at].record for at in range(4)])))
    assert "from run to run:" in text
    assert "A, C: 1.00 ms to 1.10 ms, × 1.10 from run to run" in " ".join(text.split())
    assert "the two overlap" in " ".join(text.split())
    assert "From run to run" in comparison_markdown(compare(several(tmp_path / "again")))


def test_one_run_a_side_has_no_spread(tmp_path: Path) -> None:
    """Nothing is said where there is nothing to be seen."""
    a, b, *_ = several(tmp_path)
    assert only([a, b]).run_to_run == []
    assert "from run to run:" not in str(comparison_terminal(compare([a, b])))
