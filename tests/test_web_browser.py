"""The web UI in a real browser: a run is started from its form, watched, broken and healed, and its report opened.

Where SHOPBENCH_SCREENSHOTS names a directory, the pictures of the README are taken there on the way.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from playwright.sync_api import Browser, Route, expect

from harness.locust_web import STATIC, Outcome, Page
from tests.browser import Watched, browser, page
from tests.locusts import Locust
from tests.waiting import until

__all__ = ["browser", "page"]

pytestmark = pytest.mark.slow

LOAD = ("--peak-per-s", "1200", "--before", "6", "--peak-s", "6", "--after", "13", "--send-lag-budget-ms", "5000")
QUANTILES = (0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)


@contextmanager
def served(directory: Path, *arguments: str, base: str = "/") -> Iterator[tuple[Locust, str]]:
    """A Locust with a web UI, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}{base}"
    with Locust(directory, "lag", "--web-port", str(port), *arguments) as locust:
        until(lambda: locust.process.poll() is not None or _answers(port), "a web UI", 30)
        assert locust.process.poll() is None, locust.output
        yield locust, url


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def ended(locust: Locust) -> int:
    """The exit code after SIGTERM."""
    locust.process.send_signal(signal.SIGTERM)
    return locust.wait()


def show(page: Watched, tab: str) -> None:
    chosen = page.get_by_role("tab", name=tab)
    chosen.click()
    expect(chosen).to_have_attribute("aria-selected", "true")


def picture(page: Watched, name: str) -> None:
    directory = os.environ.get("SHOPBENCH_SCREENSHOTS")
    if directory:
        page.mouse.move(0, 0)
        page.screenshot(path=str(Path(directory) / name), full_page=True, animations="disabled")


def wait_for_waiting(page: Watched, comparison: str) -> None:
    """Wait until the ledger's number of waiting events compares as it is told."""
    shown = "document.querySelector('[data-ledger=waiting] dd')"
    page.wait_for_function(
        f"{shown} && Number({shown}.textContent.replaceAll(',', '')) {comparison}", timeout=30_000
    )


def test_a_crm_that_is_killed_and_started_by_hand(tmp_path: Path, page: Watched) -> None:
    """From the form to the report: lag and percentiles move, lag rises and falls, and nothing is lost."""
    with served(tmp_path, *LOAD) as (locust, url):
        page.goto(url)
        expect(page.get_by_text("no host attribute")).to_have_count(0)
        page.get_by_text("Custom parameters").click()
        page.locator("input[name=basePerS]").fill("300")
        page.get_by_role("button", name="Start").click()
        show(page, "Consumer lag")
        expect(page.locator(".shopbench path[d^=M]")).to_have_count(4, timeout=20_000)
        show(page, "Percentiles (ours)")
        row = page.get_by_role("row", name=re.compile(r"^append response [1-9]\d* \d"))
        expect(row).to_be_visible(timeout=10_000)
        show(page, "Faults")
        page.get_by_role("button", name="Kill CRM").click()
        expect(page.get_by_text("kill was done to crm")).to_be_visible()
        expect(page.locator("[data-fault=kill][data-open=true]")).to_have_count(1)
        expect(page.get_by_role("button", name="Kill CRM")).to_be_disabled()
        expect(page.locator("[data-ledger=lost] dd")).to_have_text("open until drained")
        wait_for_waiting(page, "> 3000")
        picture(page, "web-faults.png")
        page.get_by_role("button", name="Start CRM").click()
        expect(page.get_by_text("crm is back")).to_be_visible()
        wait_for_waiting(page, "< 200")
        expect(page.locator("[data-fault=kill][data-open=false]")).to_have_count(1)
        expect(page.locator("[data-ledger=lost] dd")).to_have_text("0", timeout=60_000)
        expect(page.locator("[data-ledger=duplicated] dd")).to_have_text(re.compile(r"^\d+$"))
        expect(page.get_by_text("STOPPED")).to_be_visible(timeout=60_000)
        _compare_with_record(page, locust)
        _look_at_report(page, url)
        assert ended(locust) == 0, locust.output
    assert page.complaints == []
    assert [each for each in page.requests if not each.startswith((url, "data:"))] == []


def _compare_with_record(page: Watched, locust: Locust) -> None:
    """What Locust's table and our charts show at the end is in the record, bucket by bucket."""
    show(page, "Consumer lag")
    expect(page.locator("[data-fault=kill]")).to_have_count(2)
    picture(page, "web-lag.png")
    show(page, "Percentiles (ours)")
    latency = locust.record().latency
    for kind, words in [("response", "response"), ("service", "service"), ("send_lag", "send lag")]:
        histogram = latency.total(f"append.{kind}")
        values = [f"{(value or 0) / 1000:g}" for value in histogram.quantiles_us(QUANTILES)]
        row = page.get_by_role("row", name=f"append {words}")
        assert row.locator("td").all_inner_texts() == ["append", words, str(histogram.total), *values]
    picture(page, "web-percentiles.png")
    show(page, "Statistics")
    total = latency.total("append.response").total
    expect(page.get_by_role("row", name=re.compile(rf"^RESP append {total} "))).to_be_visible()


def _look_at_report(page: Watched, url: str) -> None:
    """The link opens the report, and the page of our own shows the same as the tabs."""
    show(page, "Report (ours)")
    expect(page.get_by_text("lag.nothing_lost")).to_be_visible()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Report of the last run").click()
    expect(opened.value.locator("h1")).to_be_visible()
    expect(opened.value.get_by_text("PASS").first).to_be_visible()
    opened.value.close()
    page.goto(f"{url}shopbench/")
    expect(page.locator("[data-ledger=lost] dd")).to_have_text("0")
    expect(page.locator("[data-fault=kill]")).to_have_count(3)
    expect(page.get_by_role("cell", name=re.compile(r"^\d+\.\d{3}$")).first).to_be_visible()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("basePerS", "-5", "lag: base_per_s is more than 0 and at most 1,000,000 events a second, not -5"),
        ("server", "redis://h:port", "redis://h:port: not the URL of a Redis server"),
    ],
)
def test_a_form_that_cannot_be_says_so(
    browser: Browser, tmp_path: Path, page: Watched, field: str, value: str, says: str
) -> None:
    """The message stands in the form, also below a base path; nothing is started."""
    with served(tmp_path, "--web-base-path", "/bench", base="/bench/") as (locust, url):
        page.goto(url)
        page.get_by_text("Custom parameters").click()
        page.locator(f"input[name={field}]").fill(value)
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("alert")).to_contain_text(says)
        page.goto(f"{url}shopbench/")
        expect(page.get_by_text("No run yet")).to_be_visible()
        assert ended(locust) == 0
    assert not (tmp_path / "runs").exists()
    assert page.complaints == []


@pytest.mark.parametrize(
    ("status", "verdicts", "badges"),
    [
        ("complete", ["PASS", "PASS"], {"COMPLETE": "badge pass"}),
        ("complete", ["PASS", "UNKNOWN"], {"COMPLETE": "badge", "UNKNOWN": "badge"}),
        ("complete", ["UNKNOWN", "FAIL"], {"COMPLETE": "badge", "FAIL": "badge fail"}),
        ("complete", [], {"COMPLETE": "badge", "UNKNOWN": "badge"}),
        ("interrupted", ["PASS"], {"INTERRUPTED": "badge"}),
        ("failed", [], {"FAILED": "badge fail"}),
    ],
)
def test_a_run_looks_as_its_verdicts_are(
    page: Watched, status: str, verdicts: list[str], badges: dict[str, str]
) -> None:
    """Green is a run whose verdicts all pass; one that came to its end and failed says both."""
    told = [{"name": "lag.answered", "status": each, "detail": ""} for each in verdicts]
    outcome = Outcome(
        status=status, headline="Well.", reason="", verdicts=told, directory="runs/1", has_report=True
    )
    answer = Page(scenario="lag", is_running=False, doing="", live=None, outcome=outcome)

    def respond(route: Route) -> None:
        name = urlsplit(route.request.url).path.rpartition("/")[2]
        if name == "live":
            route.fulfill(content_type="application/json", body=msgspec.json.encode(answer))
        else:
            route.fulfill(path=STATIC / (name or "page.html"))

    page.route("http://shopbench.test/**", respond)
    page.goto("http://shopbench.test/shopbench/")
    shown = page.locator(".doing .badge")
    expect(shown).to_have_text(list(badges))
    assert [badge.get_attribute("class") for badge in shown.all()] == list(badges.values())
    assert page.complaints == []
