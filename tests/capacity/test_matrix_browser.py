"""The page of a matrix in a real browser: it fetches nothing, nothing complains, it fits a telephone, it sorts.

Where SHOPBENCH_SCREENSHOTS names a directory, pictures of it are taken there.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import msgspec
import pytest
import report_runs
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from harness.capacity.matrix import Cell, Matrix, Measurement, conduct_matrix
from harness.capacity.matrix_file import matrix_of
from harness.capacity.matrix_table import table_of
from harness.record.run import Figure, Record, Verdict, load, save
from reports.matrix_page import write_matrix
from scenarios.catalog import SCENARIOS
from tests.browser import Watched, browser, watched

__all__ = ["browser"]
pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "matrix" / "durability.toml"
SERIOUS = {"serious", "critical"}
COSTS = {"none": 60.0, "everysec": 90.0, "always": 1_500.0}


def scripted(each: Measurement, where: Path) -> tuple[Record, BaseException | None]:
    """A run with figures as they could be; the slowest cell could not be decided."""
    durability = each.cell.parameters["durability"]
    if each.cell.search is not None:
        rate = Figure(name="capacity.append.passes_per_s", value=4e6 / COSTS[durability] + each.repeat, unit="1/s")
        verdict = Verdict(name="capacity.append.found", status="PASS", detail="it was found")
        save(where, report_runs.run_of("capacity", figures=[rate], verdicts=[verdict]))
        return load(where), None
    rate_per_s = float(each.cell.parameters["rate_per_s"])
    value = COSTS[durability] * (rate_per_s / 200) ** 0.4 * (1 + 0.05 * ((each.repeat * 7 + each.cell.number) % 3))
    status = "UNKNOWN" if (durability, rate_per_s) == ("always", 10_000) else "PASS"
    figures = [
        Figure(name=f"append.{durability}.response.{end}", value=value * times, unit="µs")
        for end, times in (("p50", 1.0), ("p99", 4.0), ("max", 40.0))
    ]
    verdict = Verdict(name="append.send_lag", status=status, detail="the instrument fell behind")  # type: ignore[arg-type]
    save(where, report_runs.run_of("append", figures=figures, verdicts=[verdict]))
    return load(where), None


def matrices() -> dict[str, Matrix]:
    """The ready one; one that is only begun; and one of a single cell whose names are long and hostile."""
    ready = matrix_of(EXAMPLE, SCENARIOS)
    hostile = Cell(
        number=1,
        server="</script><img src=x onerror=alert(1)>",
        configuration="w" * 80,
        load="x",
        asked="",
        which="embedded",
        scenario="append",
        parameters={"durability": "none", "rate_per_s": "200"},
    )
    plain = msgspec.structs.replace(hostile, number=2, server="embedded", configuration="")
    return {"ready": ready, "hostile": msgspec.structs.replace(ready, name="hostile", cells=[hostile, plain])}


def opened(page: Watched, matrix: Matrix, directory: Path) -> Watched:
    """The page of a matrix, from the disk and without a network."""
    conduct_matrix(matrix, directory, scripted)
    page.page.context.set_offline(True)
    page.goto(write_matrix(matrix, table_of(matrix, directory), directory).as_uri())
    return page


@pytest.mark.parametrize("name", ["ready", "hostile"])
def test_nothing_is_wrong_with_a_page(browser: Browser, tmp_path: Path, name: str) -> None:
    """No complaint, no request but for itself, nothing that axe finds serious, nothing wider than a telephone."""
    with watched(browser) as page:
        opened(page, matrices()[name], tmp_path)
        assert page.complaints == []
        assert len(page.requests) == 1
        for width, scheme in itertools.product((400, 1280), ("light", "dark")):
            page.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            found = Axe().run(page.page).response["violations"]
            assert [each["id"] for each in found if each["impact"] in SERIOUS] == []
            if directory := os.environ.get("SHOPBENCH_SCREENSHOTS"):
                picture = Path(directory) / f"matrix-{name}-{width}-{scheme}.png"
                page.screenshot(path=picture, full_page=True)


def test_the_table_is_sorted_by_what_is_pressed(browser: Browser, tmp_path: Path) -> None:
    """Up first, then down; numbers by their size and not by their words."""
    with watched(browser) as page:
        opened(page, matrices()["ready"], tmp_path)
        head = page.locator(".cells th", has_text="Response, p50")

        def values() -> list[float]:
            keys = [cell.get_attribute("data-key") for cell in page.locator(".cells tbody td:nth-child(3)").all()]
            known = [float(key) for key in keys if key]
            # What has no value comes last, either way.
            assert not any(keys[len(known) :])
            return known

        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        up = values()
        assert up == sorted(up)
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert values() == up[::-1]
