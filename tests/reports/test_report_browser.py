"""Pages in a real browser: opened from the disk with the network off, and used as a reader uses them.

Nothing is fetched, nothing complains, every chart is drawn, axe finds nothing serious, nothing is wider than a
telephone; and what a reader does (zoom, point, hide a series, filter) does what it should.

Where SHOPBENCH_SCREENSHOTS names a directory, the picture of a report in the README is taken there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import report_runs
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from harness.record.run import Record, load
from reports import write_reports
from reports.charts import charts
from reports.compare import compare
from reports.index import write_index
from reports.quantities import quantity
from reports.side_by_side import write_comparison
from tests.browser import Watched, browser, page, watched
from tests.waiting import until

__all__ = ["browser", "page"]
pytestmark = pytest.mark.slow

PAGES = ("append", "outage", "suite", "hostile", "empty", "compare", "compare_suites", "compare_hostile", "index")
SERIOUS = {"serious", "critical"}
WIDTHS = (390, 1600)


class Seen(NamedTuple):
    """What a browser has seen of a page: what went wrong, what it asked for, how it came out."""

    complaints: list[str]
    requests: list[str]
    state: str | None
    marks: list[int]
    widths: list[int]
    violations: list[str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of page, in one directory of runs."""
    root = tmp_path_factory.mktemp("runs")
    makers: dict[str, Callable[[Path], Record]] = {
        "append": lambda where: report_runs.append_run(where, 20, 50),
        "outage": lambda where: report_runs.outage_run(where, 50, 40),
        "suite": report_runs.suite_run,
        "hostile": report_runs.hostile_run,
        "empty": report_runs.empty_run,
    }
    records = {name: make(root / name) for name, make in makers.items()}
    other = report_runs.append_run(root / "20261124-090114-append", 20, 50, seed=8)
    (root / "20261125-090114-lag").mkdir()
    (root / "20261125-090114-lag" / "run.json").write_text('{"schema": 1, ')
    hostile = report_runs.hostile_run(root / "<img src=x onerror=alert(1)>")
    found = {name: write_reports(record, record.directory) for name, record in records.items()}
    for name, pair in (
        ("compare", [records["append"], other]),
        ("compare_suites", [records["suite"], load(records["suite"].directory)]),
        ("compare_hostile", [records["hostile"], hostile]),
    ):
        found[name] = write_comparison(compare(pair), root / f"compare-{name}.html")
    return found | {"index": write_index(root)}


def opened(page: Watched, path: Path) -> Watched:
    """A page from the disk, without a network, once its charts are drawn."""
    page.page.context.set_offline(True)
    page.goto(path.as_uri())
    if path.name != "index.html":
        page.locator("html[data-charts]").wait_for(state="attached")
    return page


@pytest.fixture(scope="module")
def seen(browser: Browser, files: dict[str, Path]) -> dict[str, Seen]:
    """Each page, looked at once."""
    found = {}
    for name in PAGES:
        with watched(browser) as one:
            opened(one, files[name])
            marks = one.evaluate(
                "() => [...document.querySelectorAll('.plot')].map((plot) => plot.querySelectorAll("
                "'.mark-line path, .mark-rect path, .mark-symbol path').length)"
            )
            widths = []
            for width in WIDTHS:
                one.set_viewport_size({"width": width, "height": 900})
                # Charts are drawn anew for another width, in a frame of their own.
                one.evaluate(
                    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
                )
                widths.append(one.evaluate("document.documentElement.scrollWidth"))
            axe = Axe().run(one.page).response["violations"]
            found[name] = Seen(
                complaints=one.complaints,
                requests=one.requests,
                state=one.evaluate("document.documentElement.dataset.charts ?? null"),
                marks=marks,
                widths=widths,
                violations=[f"{v['id']}: {v['nodes'][0]['html']}" for v in axe if v["impact"] in SERIOUS],
            )
    return found


@pytest.mark.parametrize("name", PAGES)
def test_page_needs_no_network(seen: dict[str, Seen], files: dict[str, Path], name: str) -> None:
    """A page asks for its own file and for nothing else."""
    assert seen[name].requests == [files[name].as_uri()]


@pytest.mark.parametrize("name", PAGES)
def test_nothing_complains(seen: dict[str, Seen], name: str) -> None:
    """No script fails, and the console stays empty."""
    assert seen[name].complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_every_chart_is_drawn(seen: dict[str, Seen], name: str) -> None:
    """Each chart of a page has marks in its picture."""
    assert (seen[name].state, 0 in seen[name].marks) == (None if name == "index" else "drawn", False)


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(seen: dict[str, Seen], name: str) -> None:
    """Nothing stands in the way of somebody who cannot see, or has no mouse."""
    assert seen[name].violations == []


@pytest.mark.parametrize("name", PAGES)
def test_page_fits(seen: dict[str, Seen], name: str) -> None:
    """Nothing is wider than the page, on a telephone as on a large screen."""
    assert [w <= wide for w, wide in zip(seen[name].widths, WIDTHS, strict=True)] == [True, True]


# --- what a reader does ----------------------------------------------------------------------------------


def axis_labels(page: Watched) -> list[list[str]]:
    """The labels of the time axis of each chart over time, in the order of time."""
    found: list[list[str]] = page.evaluate(
        "() => [...document.querySelectorAll('.plot[tabindex]')].map((plot) => "
        "[...[...plot.querySelectorAll('.role-axis')].find((axis) => axis.textContent.includes('time since'))"
        ".querySelectorAll('.role-axis-label text')].map((text) => text.textContent))"
    )
    # In the document, labels that come back after a zoom stand behind those that never went.
    return [sorted(labels, key=float) for labels in found]


def drag(page: Watched, selector: str, from_share: float, to_share: float) -> None:
    """Drag over a chart, from a share of its width to another."""
    chart = page.locator(selector)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    y = box["y"] + box["height"] / 3
    page.mouse.move(box["x"] + from_share * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + to_share * box["width"], y, steps=4)
    page.mouse.up()


def test_a_line_for_each_series(page: Watched, files: dict[str, Path]) -> None:
    """The chart of percentiles has a line for each of its three latencies, the heat map a mark for each cell."""
    opened(page, files["append"])
    drawn = {chart.key: chart for chart in charts(load(files["append"].parent))}
    lines = page.locator("[data-chart='r0-percentiles-0'] .mark-line path").count()
    cells = page.locator("[data-chart='r0-heat-0'] .mark-rect path[fill^='var(--h-']").count()
    assert (lines, cells) == (3, len(drawn["heat-0"].rows))


def test_figures_are_those_of_the_record(page: Watched, files: dict[str, Path]) -> None:
    """Every figure on the page has, in the browser, the value that stands in run.json."""
    opened(page, files["append"])
    shown = page.eval_on_selector_all(
        ".figures tbody tr",
        "(rows) => rows.map((row) => [row.querySelector('th').textContent, "
        "row.querySelector('data') ? Number(row.querySelector('data').value) : null])",
    )
    record = json.loads((files["append"].parent / "run.json").read_bytes())
    assert shown == [[figure["name"], figure["value"]] for figure in record["figures"]]


def test_zoom_moves_all_time_axes(page: Watched, files: dict[str, Path]) -> None:
    """Dragging over one chart narrows the time axes of all charts alike, and a button shows all again."""
    opened(page, files["outage"])
    whole = axis_labels(page)
    drag(page, "[data-chart='r0-latency-0']", 0.4, 0.7)

    def is_narrow() -> bool:
        return all(10 < float(text) < 45 for labels in axis_labels(page) for text in labels)

    until(is_narrow, "all time axes are narrower")
    page.locator("[data-reset]").click()
    until(lambda: axis_labels(page) == whole, "all time axes are as they were")
    assert (len(whole) > 5, page.complaints) == (True, [])


def test_comparison_shows_all_again(page: Watched, tmp_path: Path) -> None:
    """Operations of other lengths have one span of time: zoomed into, and whole again, in each chart alike."""
    records = [report_runs.short_and_long_run(tmp_path / name) for name in "ab"]
    opened(page, write_comparison(compare(records), tmp_path / "compare.html"))
    whole = axis_labels(page)
    # The first chart is that of the longer operation; the drag goes on beyond its end.
    drag(page, "[data-chart='p0-time-1']", 0.6, 1.2)
    until(lambda: all("0" not in labels for labels in axis_labels(page)), "all time axes are narrower")
    page.locator("[data-reset]").click()
    until(lambda: axis_labels(page) == whole, "all time axes are as they were")
    assert (len(whole), whole[0] == whole[1], page.complaints) == (2, True, [])


def test_keys_zoom(page: Watched, files: dict[str, Path]) -> None:
    """Plus zooms into a chart that has the focus, 0 shows all again."""
    opened(page, files["append"])
    whole = axis_labels(page)
    page.locator("[data-chart='r0-latency-0']").focus()
    page.keyboard.press("+")
    until(lambda: axis_labels(page) != whole, "the time axes are narrower")
    page.keyboard.press("0")
    until(lambda: axis_labels(page) == whole, "the time axes are as they were")


def test_pointer_reads_exact_values(page: Watched, files: dict[str, Path]) -> None:
    """Over a chart, the pointer tells the value of each series at that second."""
    opened(page, files["append"])
    chart = next(c for c in charts(load(files["append"].parent)) if c.key == "latency-0")
    page.locator("[data-chart='r0-latency-0']").focus()
    page.keyboard.press("ArrowRight")  # at the first second
    expected = [[row["s"], quantity(row["v"], "µs")] for row in chart.rows if row["t"] == 0]
    told = page.eval_on_selector_all(
        "#tip div", "(lines) => lines.map((line) => [...line.children].map((part) => part.textContent))"
    )
    assert told == expected


def test_one_legend_hides_a_series_everywhere(page: Watched, files: dict[str, Path]) -> None:
    """A name in the legend of one chart hides its series in every chart of the run, and shows it again."""
    opened(page, files["outage"])
    crm = "[data-run='r0'] .chip[data-series='crm']"
    lines = page.locator(
        "[data-chart='r0-lag-events'] .mark-line path, [data-chart='r0-lag-seconds'] .mark-line path"
    )
    before = lines.count()
    page.locator(crm).first.click()
    until(lambda: lines.count() < before, "the lines of a group are gone")
    pressed = page.eval_on_selector_all(crm, "(chips) => chips.map((chip) => chip.getAttribute('aria-pressed'))")
    in_the_other = page.locator("[data-chart='r0-lag-seconds'] .mark-line path").count()
    page.locator(crm).first.click()
    until(lambda: lines.count() == before, "the lines are back")
    assert (pressed, in_the_other) == (["false", "false"], 0)


def test_legend_hides_a_run_of_a_comparison(page: Watched, files: dict[str, Path]) -> None:
    """In a comparison, the name of a run hides it in all charts."""
    opened(page, files["compare"])
    page.locator(".chip[data-series^='B ']").first.click()
    counts = "(plots) => plots.map((plot) => plot.querySelectorAll('.mark-line path').length)"
    until(lambda: page.eval_on_selector_all(".plot", counts) == [1, 1, 1, 1], "one line is left in each chart")


def test_hidden_table_is_filled_when_it_is_opened(page: Watched, files: dict[str, Path]) -> None:
    """The table behind a chart over time has a row for each second."""
    opened(page, files["append"])
    page.locator("#r0-latency-0 details.data summary").click()
    rows = page.locator("#r0-latency-0 details.data tbody tr")
    until(lambda: rows.count() == 20, "the table is there")


@pytest.mark.skipif("SHOPBENCH_SCREENSHOTS" not in os.environ, reason="SHOPBENCH_SCREENSHOTS names no directory")
def test_picture_of_a_report(page: Watched, tmp_path: Path) -> None:
    """The report of a real outage, from its verdict to the lag, with what stands between them left out."""
    command = ["run", "crm_outage", "--seed", "1", "--runs", str(tmp_path)]
    # Its verdicts are not this test's business: they depend on how busy the machine is.
    subprocess.run([sys.executable, "-m", "harness", *command], check=False, capture_output=True, timeout=300)
    [path] = tmp_path.glob("*-crm_outage/report.html")
    page.set_viewport_size({"width": 1200, "height": 900})
    opened(page, path)
    page.evaluate(
        "() => { for (const part of document.querySelectorAll('.timebar, .evidence > section:not(.trust)')) "
        "if (!part.querySelector('#r0-lag-events')) part.style.display = 'none'; }"
    )
    box = page.locator("#r0-lag-events").bounding_box()
    page.mouse.move(0, 0)
    page.screenshot(
        path=str(Path(os.environ["SHOPBENCH_SCREENSHOTS"]) / "report.png"),
        full_page=True,
        animations="disabled",
        clip={"x": 0, "y": 0, "width": 1200, "height": box["y"] + box["height"] + 16},
    )
    assert page.complaints == []


# --- the index -------------------------------------------------------------------------------------------


def rows_shown(page: Watched) -> list[str]:
    """The names of the runs that the index shows."""
    found: list[str] = page.eval_on_selector_all(
        ".index tbody tr",
        "(rows) => rows.filter((r) => r.offsetParent).map((r) => r.querySelector('th').textContent)",
    )
    return found


def test_filter_by_scenario(page: Watched, files: dict[str, Path]) -> None:
    """A scenario that is chosen stands in the address, and only runs with it are shown; and broken ones always."""
    opened(page, files["index"])
    everything = rows_shown(page)
    page.locator("#scenario").select_option("replay")
    chosen, address = rows_shown(page), page.evaluate("location.hash")
    page.locator("#scenario").select_option("")
    assert (chosen, address, rows_shown(page)) == (
        ["20261125-090114-lag", "suite"],
        "#scenario=replay",
        everything,
    )


def test_filter_by_verdict(page: Watched, files: dict[str, Path]) -> None:
    """A verdict that is chosen stands in the address beside the scenario, and only such runs are shown."""
    opened(page, files["index"])
    page.locator("#verdict").select_option("broken")
    broken = page.eval_on_selector_all(
        ".index tbody tr", "(rows) => rows.filter((r) => r.offsetParent).map((r) => r.className)"
    )
    assert set(broken) == {"broken-run"}
    page.locator("#verdict").select_option("UNKNOWN")
    page.locator("#scenario").select_option("replay")
    assert page.evaluate("location.hash") == "#scenario=replay&verdict=UNKNOWN"


def test_boxes_to_compare(page: Watched, files: dict[str, Path]) -> None:
    """Two that are ticked make the command that compares them, the older one first."""
    opened(page, files["index"])
    boxes = page.locator(".index input")
    boxes.nth(0).check()
    assert page.locator("#chosen").inner_text().startswith("Tick one more run")
    boxes.nth(1).check()
    told = page.locator("#command").inner_text()
    names = [boxes.nth(at).get_attribute("value") for at in (1, 0)]
    assert [told.startswith("shopbench compare "), *(str(name)[:8] in told for name in names)] == [True] * 3


def test_filter_by_keyboard(page: Watched, files: dict[str, Path]) -> None:
    """The filter is reached and set with the keyboard alone."""
    opened(page, files["index"])
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.id")
    page.keyboard.press("ArrowDown")
    until(lambda: page.evaluate("location.hash").startswith("#scenario="), "a scenario is chosen")
    assert focused == "scenario"


def test_filter_by_address(page: Watched, files: dict[str, Path]) -> None:
    """A link to a filtered list shows it, whatever the scenario is called; an unknown one shows all."""
    opened(page, files["index"])
    everything = len(rows_shown(page))
    shown: dict[str, int] = {}
    for name in ("crm_outage", "nonsense", "%E0%A4%A"):
        page.evaluate("(name) => { location.hash = 'scenario=' + name; }", name)
        until(lambda: page.evaluate("location.hash").endswith(name), "the address has changed")  # noqa: B023
        page.evaluate("() => new Promise((done) => setTimeout(done))")
        shown[name] = len(rows_shown(page))
    assert shown == {"crm_outage": 3, "nonsense": everything, "%E0%A4%A": everything}


def test_filter_by_hostile_scenario(page: Watched, files: dict[str, Path]) -> None:
    """Hostile text as a scenario's name is text in the filter, too, and filters."""
    opened(page, files["index"])
    options: Any = page.eval_on_selector_all("#scenario option", "(all) => all.map((one) => one.value)")
    page.locator("#scenario").select_option(next(o for o in options if "<img" in o))
    assert (len(rows_shown(page)), page.complaints) == (3, [])
