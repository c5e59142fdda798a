"""Tags choose what Locust's users do: they are a part of what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.record.run import load, save
from reports.compare import compare
from tests.locusts import Locust

pytestmark = pytest.mark.slow

QUIET = ("--headless", "--loglevel", "WARNING", "--only-summary")
JOURNEY = ["--users", "4", "--spawn-rate", "4", "--profile", "smoke", "--rate", "40", "-t", "1s"]


def test_tags_are_parameters(tmp_path: Path) -> None:
    """They stand in the record, and two runs that had others are not comparable."""
    with Locust(tmp_path, "journey", *QUIET, *JOURNEY, "--tags", "order", "browse") as locust:
        assert locust.wait() in {0, 3}, locust.output
    record = locust.record()
    assert record.run.parameters["tags"] == ["browse", "order"]
    without = {name: value for name, value in record.run.parameters.items() if name != "tags"}
    save(tmp_path / "other", replace(record.run, parameters=without))
    [part] = compare([record, load(tmp_path / "other")]).parts
    assert [each.name for each in part.invalid if each.name == "parameters.tags"] == ["parameters.tags"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--tags", "orderr"],
            "locust: no step of these users has the tag 'orderr'; did you mean order? there are browse, cancel, "
            "change, order, pay, read, unbilled, write",
        ),
        (["--exclude-tags", "read", "write"], "locust: these tags leave no step that users could take"),
    ],
)
def test_a_choice_without_a_step_is_refused(tmp_path: Path, arguments: list[str], says: str) -> None:
    """In one line, before anything starts."""
    with Locust(tmp_path, "journey", *QUIET, *JOURNEY, *arguments) as locust:
        assert locust.wait() == 2
    assert locust.output.splitlines() == [says]
    assert not (tmp_path / "runs").exists()
