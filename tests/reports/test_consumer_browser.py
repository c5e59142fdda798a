"""The page of a consumer check in a real browser: it fetches nothing, nothing complains, it fits a telephone.

Where SHOPBENCH_SCREENSHOTS names a directory, pictures of it are taken there.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from harness.consumer_check.result import Check
from reports.consumer_page import write_check
from tests.browser import Watched, browser, watched
from tests.consumer_checks import check_of, failing_check, hostile_check, played

__all__ = ["browser"]
pytestmark = pytest.mark.slow

CHECKS = {
    "failing": failing_check(),
    "passing": check_of(*(played(name) for name in ("undisturbed", "kill", "stop", "freeze", "cut"))),
    "hostile": hostile_check(),
    "empty": check_of(status="interrupted"),
}
SERIOUS = {"serious", "critical"}


def opened(page: Watched, check: Check, directory: Path) -> Watched:
    """The page of a check, from the disk and without a network."""
    page.page.context.set_offline(True)
    page.goto(write_check(check, directory).as_uri())
    return page


@pytest.mark.parametrize("name", CHECKS)
def test_nothing_is_wrong_with_a_page(browser: Browser, tmp_path: Path, name: str) -> None:
    """No complaint, no request but for itself, nothing that axe finds serious, nothing wider than a telephone."""
    with watched(browser) as page:
        opened(page, CHECKS[name], tmp_path)
        assert page.complaints == []
        assert len(page.requests) == 1
        for width, scheme in itertools.product((400, 1280), ("light", "dark")):
            page.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            found = Axe().run(page.page).response["violations"]
            assert [each["id"] for each in found if each["impact"] in SERIOUS] == []
            if directory := os.environ.get("SHOPBENCH_SCREENSHOTS"):
                picture = Path(directory) / f"consumer-{name}-{width}-{scheme}.png"
                page.screenshot(path=picture, full_page=True)


def test_what_fails_is_open(browser: Browser, tmp_path: Path) -> None:
    """What fails is shown at once, what passes when it is asked for; a row of the table leads to its trial."""
    with watched(browser) as page:
        opened(page, failing_check(), tmp_path)
        assert page.locator("#kill-0 .seen").is_visible()
        assert not page.locator("#stop-0 .seen").is_visible()
        page.locator(".checked a", has_text="stopped").first.click()
        assert page.evaluate("location.hash") == "#stop-0"
        page.locator("#stop-0 > summary").click()
        assert page.locator("#stop-0 .seen").is_visible()


def test_a_telephone_shows_every_number_with_its_name(browser: Browser, tmp_path: Path) -> None:
    """Where the head of the table has no room, each cell says what it counts."""
    with watched(browser) as page:
        opened(page, failing_check(), tmp_path)
        page.set_viewport_size({"width": 400, "height": 900})
        cell = page.locator(".checked tr.fail td.n").nth(1)
        said = cell.evaluate("each => getComputedStyle(each, '::before').content")
        assert said.strip('"').split() == ["stuck"]
        assert cell.inner_text() == "0 to 32"
