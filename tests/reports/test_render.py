"""The HTML page: self-contained, well-formed, honest about what is missing, and deaf to hostile text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import report_runs

from harness.conduct.scenario import declared
from harness.measure.timeline import FaultWindow, History, Reading
from harness.record.files import save_measurements
from harness.record.run import Figure, Record, RunError, load, save
from reports import render, write_reports
from reports.findings import printable
from reports.gates import gate_rows
from scenarios.replay import Replay, ReplayByUsers

RUNS = (
    "append_run",
    "outage_run",
    "replay_run",
    "micro_run",
    "empty_run",
    "interrupted_run",
    "suite_run",
    "hostile_run",
)
VOID = {"meta", "link", "br", "hr", "img", "input", "line"}


class Page(HTMLParser):
    """A page taken apart: its elements, its text by element, and where its tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.errors: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.errors += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.errors.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif not self._open or self._open[-1] != "style":
            self.text.append(data)

    def count(self, tag: str, **attributes: str) -> int:
        return sum(t == tag and attributes.items() <= a.items() for t, a in self.elements)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    root = tmp_path_factory.mktemp("runs")
    return {name: getattr(report_runs, name)(root / name) for name in RUNS}


@pytest.fixture(scope="module")
def pages(records: dict[str, Record]) -> dict[str, Page]:
    return {name: Page(render(record)) for name, record in records.items()}


def page_of(directory: Path, **changed: Any) -> Page:
    save(directory, report_runs.run_of("append", **changed))
    return Page(render(load(directory)))


@pytest.mark.parametrize("name", RUNS)
def test_page_is_well_formed(pages: dict[str, Page], name: str) -> None:
    """Every element is closed where it should be, whatever stands in the record."""
    assert pages[name].errors == []


@pytest.mark.parametrize("name", RUNS)
def test_page_fetches_nothing(pages: dict[str, Page], name: str) -> None:
    """No element of the page points anywhere but into the page, and no style imports."""
    pointing = [
        a[key]
        for _, a in pages[name].elements
        for key in ("src", "href", "srcset", "action", "data", "poster")
        if key in a and not (a[key] or "").startswith("#")
    ]
    assert pointing == []


def test_policy_forbids_requests(pages: dict[str, Page]) -> None:
    """The page forbids itself every request, and needs no eval."""
    (policy,) = (a["content"] for t, a in pages["append_run"].elements if a.get("http-equiv"))
    assert policy is not None
    assert ("default-src 'none'" in policy, "unsafe-eval" in policy) == (True, False)


def test_style_has_no_url(records: dict[str, Record]) -> None:
    """The style sheet neither imports nor points at anything."""
    style = render(records["empty_run"]).split("<style>")[1].split("</style>")[0]
    assert re.findall(r"url\(|@import", style) == []


@pytest.mark.parametrize("name", RUNS)
def test_ids_are_unique(pages: dict[str, Page], name: str) -> None:
    """No two elements share an id, in a suite neither."""
    ids = [a["id"] for _, a in pages[name].elements if "id" in a]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", RUNS)
def test_every_chart_has_a_place_a_caption_and_a_table(pages: dict[str, Page], name: str) -> None:
    """Each chart's data go with a figure, a caption, a place to draw, and a table in a details element."""
    page = pages[name]
    drawn = sum(len(run["charts"]) for run in page.data["runs"])
    counts = (page.count("figure"), page.count("figcaption"), page.count("details", **{"class": "data"}))
    places = {a["data-chart"] for _, a in page.elements if "data-chart" in a}
    assert (*counts, len(places)) == (drawn,) * 4


def test_reading_order(pages: dict[str, Page]) -> None:
    """Verdict, trust, charts, tables, environment: in the order in which a reader asks."""
    words = pages["outage_run"].words
    headings = [
        "CRM was away for 20 s", "Events that waited", "Can the measurement be trusted?", "Latency by percentile",
        "Consumer lag", "Verdicts and figures", "Slowest operations", "how to repeat it", "What the words mean",
    ]  # fmt: skip
    places = [words.find(heading) for heading in headings]
    assert (places == sorted(places), -1 in places) == (True, False)


def test_figures_on_the_page_are_those_of_the_record(pages: dict[str, Page], records: dict[str, Record]) -> None:
    """Every figure's exact value stands in the page's table."""
    shown = [float(a["value"] or "nan") for t, a in pages["append_run"].elements if t == "data"]
    assert shown == [f.value for f in records["append_run"].run.figures]


def test_suite_has_a_section_per_member(pages: dict[str, Page], records: dict[str, Record]) -> None:
    """A suite says its own verdict first, then has a section for each of its runs, and a link to each."""
    page = pages["suite_run"]
    sections = page.count("section", **{"class": "member"})
    links = {a["href"] for t, a in page.elements if t == "a"}
    expected = {f"#r{n}" for n in range(len(records["suite_run"].run.members))}
    assert (sections, expected <= links) == (4, True)


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_unfinished_run_says_so(tmp_path: Path, status: str) -> None:
    """A run that did not come to its end says so before anything else, with its reason."""
    words = page_of(tmp_path, status=status, reason="no space left").words
    assert 0 < words.find(status.upper()) < words.find("no space left") < words.find("UNKNOWN", 40)


def test_sections_without_evidence_say_so(pages: dict[str, Page]) -> None:
    """A run with nothing in it renders, and says of each section that there is no evidence."""
    assert re.findall(r"No evidence(?: in|:)[^.]*\.", pages["empty_run"].words) == [
        "No evidence: this run has no figures.",
        "No evidence: nothing in this run says how far the instrument was behind its own schedule.",
        "No evidence: this run recorded no latency.",
        "No evidence: this run recorded no throughput.",
        "No evidence: nothing was checked.",
        "No evidence: this run has no figures.",
        "No evidence in this run of outcomes and ledger, memory and CPU.",
        "No evidence: the command was not recorded.",
        "No evidence: the environment was not recorded.",
    ]


@pytest.mark.parametrize(
    ("scenario", "missing"),
    [
        (ReplayByUsers, ["latency", "throughput"]),
        (Replay, ["replay speed by number of events"]),
    ],
    ids=["by users", "by size"],
)
def test_each_form_of_replay_misses_its_own(tmp_path: Path, scenario: type[Any], missing: list[str]) -> None:
    """A replay by Locust's users is one of latencies: nobody misses the speeds of several sizes in it."""
    figures = [Figure(name="replay.events_per_s", value=405_000.0, unit="1/s")]
    save(tmp_path, report_runs.run_of("replay", figures=figures, **declared(scenario)))
    words = Page(render(load(tmp_path))).words
    assert re.findall(r"this run recorded no ([^.]*)\.", words) == missing


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.98, 1.02, "0.980 × to 1.020 ×"),
        (None, 1.02, "up to 1.020 ×; too few rounds for its lower end"),
        (0.98, None, "from 0.980 ×; too few rounds for its upper end"),
        (None, None, "too few rounds"),
    ],
)
def test_open_end_of_an_interval(low: float | None, high: float | None, words: str) -> None:
    """An end that a gate has too few rounds for is told as that, not as something that was not measured."""
    values = {"ratio": 1.0, "low": low, "high": high}
    figures = [Figure(name=f"gate.append.p50.{name}", value=value, unit="×") for name, value in values.items()]
    [row] = gate_rows(report_runs.run_of("gate", figures=figures))
    assert row.interval == words


def test_faults_stand_in_a_table(tmp_path: Path) -> None:
    """Every fault is named with when it began and how long it lasted, also one that never healed."""
    faults = [
        FaultWindow(name="kill", target="crm", start_ns=20 * 10**9, end_ns=30 * 10**9),
        FaultWindow(name="cut", target="crm-redis", start_ns=40 * 10**9, end_ns=None),
    ]
    save(tmp_path, report_runs.run_of("lag"))
    save_measurements(tmp_path, [], History(faults), [], 0.0)
    words = Page(render(load(tmp_path))).words
    assert "killcrm20.0 s10.0 s cutcrm-redis40.0 snot healed" in words


def test_a_record_that_calls_from_now_seed(tmp_path: Path) -> None:
    """A run that was made before `delivery=from_now` got its name renders, in its own words."""
    save(tmp_path, report_runs.run_of("crm_outage", parameters={"delivery": "seed"}))
    assert "deliveryseed" in Page(render(load(tmp_path))).words


def test_hostile_text_brings_no_element(pages: dict[str, Page]) -> None:
    """Hostile text in every field leaves the page with its own three scripts and no image."""
    page = pages["hostile_run"]
    assert (page.count("script"), page.count("img"), page.count("iframe")) == (3, 0, 0)


def test_hostile_text_is_shown_as_text(pages: dict[str, Page]) -> None:
    """Hostile text appears as it is, its credentials masked."""
    assert printable(report_runs.HOSTILE + report_runs.SECRET_URL) in pages["hostile_run"].words


def test_hostile_text_in_the_data_is_text(pages: dict[str, Page]) -> None:
    """Hostile names of series come out of the page's data as they went in."""
    series = {s["name"] for c in pages["hostile_run"].data["runs"][0]["charts"] for s in c["series"]}
    assert printable(report_runs.HOSTILE + report_runs.SECRET_URL) in series


@pytest.mark.parametrize("name", ["hostile_run", "interrupted_run"])
def test_password_is_not_in_the_page(records: dict[str, Record], name: str) -> None:
    """A password in a URL, in any field, reaches neither the page's text nor its data."""
    assert "hunter2" not in render(records[name])


def test_template_syntax_in_a_record_is_text(tmp_path: Path) -> None:
    """What looks like a template expression is printed, never evaluated."""
    assert "{{ 7*7 }}" in page_of(tmp_path, headline="{{ 7*7 }}").words


def test_unknown_readings_stand_in_a_table(tmp_path: Path) -> None:
    """A reading that no chart knows is summed up in the table of readings, with its unit."""
    readings = [
        Reading(t_ns=n, name="disk.queue", value=v, unit="requests", labels={"device": "vda"})
        for n, v in enumerate((1.0, None, 4.0))
    ]
    save(tmp_path, report_runs.run_of("append"))
    save_measurements(tmp_path, [], History(readings), [], 0.0)
    words = Page(render(load(tmp_path))).words
    assert "disk.queuedevice vda3 (1 without an answer)1.00 requests2.50 requests4.00 requests" in words


def test_slow_operations_are_set_beside_faults(pages: dict[str, Page]) -> None:
    """The slowest operations stand in a table with when they were due and how long they took."""
    assert "append41.0 s800 ms" in pages["outage_run"].words


@pytest.mark.parametrize("name", ["append_run", "suite_run"])
def test_without_a_script_the_data_are_pointed_at(pages: dict[str, Page], name: str) -> None:
    """Tables that a script fills stay empty without one: the page says where their data are."""
    words = pages[name].words
    assert "series.csv has the data of the charts" in words


def test_command_can_be_pasted(tmp_path: Path) -> None:
    """The command that repeats the run is quoted for a shell."""
    words = page_of(tmp_path, command=["shopbench", "run", "append", "--note", "two words"]).words
    assert "shopbench run append --note 'two words'" in words


def test_same_record_same_bytes(records: dict[str, Record]) -> None:
    """Rendering is a function of the record: twice the same record is twice the same page."""
    assert render(records["outage_run"]) == render(load(records["outage_run"].directory))


def test_unreadable_part_is_an_error_of_the_run(tmp_path: Path) -> None:
    """A latency log that is none is reported as the run's error, in one line."""
    save(tmp_path, report_runs.run_of("append"))
    (tmp_path / "latency.hlog").write_text("not a log\n")
    with pytest.raises(RunError, match=r"latency\.hlog, line 1"):
        render(load(tmp_path))


def test_write_reports(records: dict[str, Record], tmp_path: Path) -> None:
    """All shapes of the report are written, and the page's path comes back."""
    page = write_reports(records["replay_run"], tmp_path)
    assert (page, sorted(p.name for p in tmp_path.iterdir())) == (
        tmp_path / "report.html",
        ["junit.xml", "report.html", "series.csv", "summary.md"],
    )


def test_workers_are_named_with_their_clocks_and_holes(tmp_path: Path) -> None:
    """A load that was spread says who made it; a worker that died is named with what nobody knows of it."""
    well = {
        "name": "host-a_1",
        "arrivals": 600,
        "connections": 2,
        "clock_offset_s": 0.0015,
        "clock_error_s": 0.0002,
    }
    gone = {"name": "<b>host</b>", "arrivals": 600, "connections": 1, "unseen": 400, "silent_from_s": 3.25}
    load = {"loop": "open", "connections": 3, "arrivals": "constant", "workers": [well, gone]}
    record = report_runs.append_run(tmp_path, seconds=5, environment={"host": {}, "server": {}, "load": load})
    page = Page(render(record))
    assert page.errors == []
    assert "+1.50 ms ± 0.20 ms" in page.words
    assert "silent from 3.2 s on, 400 operations have no record" in page.words
    assert "<b>host</b>" in page.words


@pytest.mark.parametrize("workers", [None, "two", [1], [{"name": "a"}]])
def test_workers_that_cannot_be_read_are_left_out(tmp_path: Path, workers: Any) -> None:
    """A record of another program, or of another time, still renders."""
    load = {"loop": "open", "connections": 3, "workers": workers}
    record = report_runs.append_run(tmp_path, seconds=5, environment={"host": {}, "server": {}, "load": load})
    page = Page(render(record))
    assert page.count("table", **{"class": "workers"}) == 0
