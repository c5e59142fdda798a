"""A real browser for tests of pages: headless Chromium, driven by Playwright.

    browser    one Chromium for the module; the test is skipped where there is none, and fails in CI
    page       a page of its own context, which notes down what went wrong on it
    watched    the same, as a context manager, for a fixture of a wider scope

    def test_nothing_is_wrong(page: Watched) -> None:
        page.goto((directory / "report.html").as_uri())
        assert page.complaints == []

A module that uses them imports both names; pytest finds fixtures in the namespace of a test module. Chromium is
looked for in `SHOPBENCH_CHROMIUM`, then in the PATH: Playwright's own browsers are never downloaded.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# As root, and in a container, Chromium has no sandbox; what it opens here are our own pages.
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


def chromium() -> str | None:
    """The path of a Chromium, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("SHOPBENCH_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class Watched:
    """A page, and what went wrong on it: errors of scripts and of the console, requests that failed.

    Everything else is the `Page`'s: `watched.goto(...)` is `watched.page.goto(...)`.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self._told(message.type, message.text))
        page.on("pageerror", lambda error: self._told("error", str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self._told("error", f"{request.url}: {request.failure}"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    def _told(self, kind: str, text: str) -> None:
        if kind in {"error", "warning", "assert"}:
            self.complaints.append(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium, one for a module: as long as it runs, no test can have an event loop of its own."""
    path = chromium()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: put the path of one into SHOPBENCH_CHROMIUM")
        pytest.skip("no Chromium here; SHOPBENCH_CHROMIUM names one")
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield one
        one.close()


@contextlib.contextmanager
def watched(browser: Browser) -> Iterator[Watched]:
    """A page in a context of its own, 1280 pixels wide."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    yield Watched(context.new_page())
    context.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Watched]:
    """A watched page for one test."""
    with watched(browser) as one:
        yield one
