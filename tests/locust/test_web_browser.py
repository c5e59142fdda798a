"""The web UI in a real browser: a run is started from its form, watched, broken and healed, and its report opened.

Where SHOPBENCH_SCREENSHOTS names a directory, the pictures of the README are taken there on the way.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from playwright.sync_api import Browser, Route, expect

from harness.locust.web import STATIC, Outcome, Page
from ordershop.supervisor import free_port
from tests.browser import Watched, browser, page
from tests.locusts import Locust
from tests.verdicts import is_well
from tests.waiting import until

__all__ = ["browser", "page"]

pytestmark = pytest.mark.slow

LOAD = ("--peak-per-s", "600", "--before", "4", "--peak-s", "5", "--after", "9", "--send-lag-budget-ms", "5000")
QUANTILES = (0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)


@contextmanager
def served(
    directory: Path,
    *arguments: str,
    base: str = "/",
    port: int | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[tuple[Locust, str]]:
    """A Locust with a web UI, and its address."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}{base}"
    with Locust(directory, "lag", "--web-port", str(port), *arguments, environment=environment) as locust:
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
        page.get_by_label("Load: base (per second)").fill("300")
        page.get_by_role("button", name="Start").click()
        # What the run is about stands in front, and says what it is at.
        expect(page.get_by_role("tab", name="This run")).to_have_attribute("aria-selected", "true")
        expect(page.get_by_text("the schedule ends in")).to_be_visible(timeout=20_000)
        expect(page.locator("[data-count=answered] dd")).to_have_text(re.compile(r"^[1-9][\d,]*$"), timeout=20_000)
        expect(page.locator("[data-count=unanswered] dd")).to_have_text(re.compile(r"^[\d,]+$"))
        show(page, "Consumer lag")
        expect(page.locator(".shopbench path[d^=M]")).to_have_count(4, timeout=20_000)
        show(page, "Percentiles (ours)")
        row = page.get_by_role("row", name=re.compile(r"^append response [1-9]\d* \d"))
        expect(row).to_be_visible(timeout=10_000)
        show(page, "Faults")
        page.get_by_role("button", name="Kill CRM").click()
        expect(page.locator(".answer").get_by_text("CRM was killed")).to_be_visible()
        expect(page.locator(".doing").get_by_text(re.compile(r"^CRM was killed \S+ s ago$"))).to_be_visible()
        expect(page.locator("[data-fault=kill][data-open=true]")).to_have_count(1)
        expect(page.get_by_role("button", name="Kill CRM")).to_be_disabled()
        expect(page.locator("[data-ledger=lost] dd")).to_have_text("open until drained")
        wait_for_waiting(page, "> 1000")
        picture(page, "web-faults.png")
        page.get_by_role("button", name="Start CRM").click()
        expect(page.get_by_text("CRM is back")).to_be_visible()
        wait_for_waiting(page, "< 200")
        expect(page.locator("[data-fault=kill][data-open=false]")).to_have_count(1)
        expect(page.locator("[data-ledger=lost] dd")).to_have_text("0", timeout=60_000)
        expect(page.locator("[data-ledger=duplicated] dd")).to_have_text(re.compile(r"^\d+$"))
        expect(page.get_by_text("STOPPED")).to_be_visible(timeout=60_000)
        _compare_with_record(page, locust)
        _look_at_report(page, url)
        assert is_well(ended(locust), locust.record()), locust.output
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
        (
            "Load: base (per second)",
            "-5",
            "lag: base_per_s is more than 0 and at most 1,000,000 events a second, not -5",
        ),
        ("Run: seed", "one", "a seed is a whole number of 0 or more, not 'one'"),
    ],
)
def test_a_form_that_cannot_be_says_so(
    browser: Browser, tmp_path: Path, page: Watched, field: str, value: str, says: str
) -> None:
    """The message stands in the form, also below a base path; nothing is started."""
    with served(tmp_path, "--web-base-path", "/bench", base="/bench/") as (locust, url):
        page.goto(url)
        page.get_by_label(field).fill(value)
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("alert")).to_contain_text(says)
        page.goto(f"{url}shopbench/")
        expect(page.get_by_text("No run yet")).to_be_visible()
        assert ended(locust) == 0
    assert not (tmp_path / "runs").exists()
    assert page.complaints == []


def test_the_form_is_filled_and_offers_what_there_is(tmp_path: Path, page: Watched) -> None:
    """Fields by purpose, with the profile's values; another profile brings its own; no host, no secret."""
    url_of_server = "redis://me:s3cret@127.0.0.1:1/3"
    given = ("--profile", "smoke", "--server", url_of_server, "--also-server", "local=embedded", "--seed", "7")
    with served(tmp_path, *given) as (_, url):
        page.goto(url)
        profile, base = page.get_by_label("Run: profile"), page.get_by_label("Load: base (per second)")
        expect(base).to_be_visible()
        assert (profile.input_value(), base.input_value()) == ("smoke", "200")
        groups = page.locator("form [name*=': ']").evaluate_all("all => all.map(each => each.name.split(':')[0])")
        assert list(dict.fromkeys(groups)) == ["Run", "Load", "Consumers", "Server", "Judged by"]
        assert page.get_by_label("Run: server").locator("option").all_inner_texts() == [
            "given by --server",
            "local",
        ]
        page.get_by_label("Judged by: drain timeout (seconds)").fill("77")
        profile.select_option("full")
        expect(base).not_to_have_value("200")
        expect(page.get_by_label("Judged by: drain timeout (seconds)")).to_have_value("77")
        expect(page.get_by_label("Run: seed")).to_have_value("7")
        expect(page.locator("input[name=host]")).to_be_hidden()
        expect(page.get_by_role("banner").get_by_text("Host", exact=True)).to_be_hidden()
        assert "s3cret" not in page.content()
        picture(page, "web-form.png")
    assert page.complaints == []


@contextmanager
def proxied(port: int) -> Iterator[str]:
    """A reverse proxy as nginx is by default: plain http, another name outside, Host changed to the one inside."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as inside:
                headers = {**dict(self.headers), "Host": f"127.0.0.1:{port}", "Connection": "close"}
                inside.request(self.command, self.path, body or None, headers)
                answer = inside.getresponse()
                content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "content-length", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://bench.localhost:{server.server_port}"
        server.shutdown()


def test_behind_a_proxy_that_changes_host(tmp_path: Path, page: Watched) -> None:
    """The page says what to set; with that set, it starts runs."""
    with served(tmp_path) as (_, url), proxied(urlsplit(url).port or 0) as outside:
        page.goto(outside)
        says = f"start it with --allowed-origin {outside}"
        expect(page.locator(".shopbench-refused")).to_contain_text(says)
        assert not (tmp_path / "runs").exists()
    port = free_port()
    with proxied(port) as outside, served(tmp_path, "--allowed-origin", outside, port=port) as (locust, _):
        page.goto(outside)
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("tab", name="This run")).to_be_visible()
        expect(page.locator(".shopbench-refused")).to_have_count(0)
        until((tmp_path / "runs").exists, "a run", 30)
        ended(locust)


def test_a_password_is_asked_for(tmp_path: Path, page: Watched) -> None:
    """Nothing is shown before it, all is after it; it is in no process that Locust starts."""
    with served(tmp_path, environment={"SHOPBENCH_WEB_PASSWORD": "open sesame"}) as (_, url):
        page.goto(url)
        expect(page.page).to_have_url(re.compile(r"/login"))
        page.get_by_label("Password").fill("open")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("That is not the password.")).to_be_visible()
        page.get_by_label("Password").fill("open sesame")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_label("Run: profile")).to_be_visible()
        page.goto(f"{url}shopbench/")
        expect(page.get_by_text("No run yet").first).to_be_visible()


@pytest.mark.parametrize(
    ("status", "verdicts", "badges"),
    [
        ("complete", ["PASS", "PASS"], {"COMPLETE": "badge pass"}),
        ("complete", ["PASS", "UNKNOWN"], {"COMPLETE": "badge plain", "UNKNOWN": "badge"}),
        ("complete", ["UNKNOWN", "FAIL"], {"COMPLETE": "badge plain", "FAIL": "badge fail"}),
        ("complete", [], {"COMPLETE": "badge plain", "UNKNOWN": "badge"}),
        ("interrupted", ["PASS"], {"INTERRUPTED": "badge"}),
        ("failed", [], {"FAILED": "badge fail"}),
    ],
)
def test_a_run_looks_as_its_verdicts_are(
    page: Watched, status: str, verdicts: list[str], badges: dict[str, str]
) -> None:
    """Green is a run whose verdicts all pass; one that failed says both, and UNKNOWN has a colour of its own."""
    told = [{"name": "lag.answered", "status": each, "detail": ""} for each in verdicts]
    outcome = Outcome(
        status=status, headline="Well.", reason="", verdicts=told, directory="runs/1", has_report=True
    )
    answer = Page(scenario="lag", is_running=False, doing="", share=0.0, left_s=None, live=None, outcome=outcome)

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
