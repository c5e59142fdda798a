"""Which scenarios there are: what the directory holds, and what other packages add."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.cli.options import chosen
from harness.host import own_python
from harness.record.run import find_runs
from scenarios.catalog import GROUP, SCENARIOS

EXAMPLE = own_python.ROOT / "examples" / "ping"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory in which the example's package is installed, as pip would do it."""
    directory = tmp_path / "site"
    directory.mkdir()
    shutil.copy(EXAMPLE / "ping.py", directory)
    about = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    install(directory, about["name"], about["entry-points"][GROUP])
    return directory


def install(directory: Path, package: str, scenarios: dict[str, str]) -> None:
    metadata = directory / f"{package.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in scenarios.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python with what is installed in a directory, run in the one above it."""
    path = os.pathsep.join([str(site), str(own_python.ROOT)])
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_scenarios_come_in_the_order_that_they_say() -> None:
    """A whole run goes by each scenario's own place, from the plain to what takes a server down."""
    assert list(SCENARIOS) == [
        *("append", "mix", "replay", "lag", "crm_outage", "random_faults", "journey", "contention"),
        *("micro", "consumers", "retention", "groups", "redis_crash", "soak"),
    ]


def test_a_whole_run_takes_all_but_those_that_have_to_be_named() -> None:
    """What asks for a load of its own kind says so, so that a whole run gets no longer by it."""
    named = [name for name, each in SCENARIOS.items() if getattr(each, "only_by_name", False)]
    assert {"mix", "contention"} <= set(named)
    assert [each.name for each in chosen([])] == [name for name in SCENARIOS if name not in named]
    assert [each.name for each in chosen(["contention", "append"])] == ["contention", "append"]


def test_a_scenario_of_another_package_is_listed_after_ours(installed: Path) -> None:
    """`shopbench list` has it with its parameters, its figures and its profiles; so has the whole run's plan."""
    listed = python(installed, "-m", "harness", "list")
    heads = [line.partition(":")[0] for line in listed.stdout.splitlines() if not line.startswith(" ")]
    assert heads == [*SCENARIOS, "ping"], listed.stderr
    assert "PINGs: one after the other (at least 100 and at most 1,000,000; smoke 100)" in listed.stdout
    figures = python(installed, "-m", "harness", "list", "ping", "--figures")
    assert figures.stdout.splitlines()[1:] == ["    ping.p50  (µs)", "    ping.p99  (µs)"]


def test_a_scenario_of_another_package_is_in_the_form(installed: Path) -> None:
    """The web UI's form offers its profiles, and asks for its parameters."""
    program = """
from harness.locust.form import fields_of, named_by
from scenarios.catalog import SCENARIOS
for field in fields_of(SCENARIOS["ping"], named_by("embedded", [], None, "runs")):
    print(field.option, *field.choices)
"""
    asked = python(installed, "-c", program)
    assert asked.stdout.splitlines() == ["profile smoke quick", "server embedded", "seed", "pings"], asked.stderr


@pytest.mark.slow
def test_a_scenario_of_another_package_is_run_and_reported(installed: Path) -> None:
    """A smoke run leaves its figures in a record, and a report with its name and what came out."""
    ran = python(installed, "-m", "harness", "run", "ping", "--profile", "smoke")
    [record] = find_runs(installed.parent / "runs")
    assert record.run.status == "complete", ran.stderr
    assert [figure.name for figure in record.run.figures] == ["ping.p50", "ping.p99"]
    assert "ping.steady" in [verdict.name for verdict in record.run.verdicts]
    page = (record.directory / "report.html").read_text()
    assert "100 PINGs took" in page
    assert "ping.p99" in page
    judged = python(installed, "-m", "harness", "check", str(record.directory))
    assert "1 verdict, each as it was stored" in judged.stdout, judged.stderr


def test_two_scenarios_of_one_name_are_refused(tmp_path: Path) -> None:
    """Another package cannot take the place of a scenario of ours: one line says that the name is taken."""
    site = tmp_path / "site"
    install(site, "taken", {"append": "taken:scenario"})
    (site / "taken.py").write_text("class Append:\n    name = 'append'\nscenario = Append()\n")
    refused = python(site, "-m", "harness", "list")
    assert (refused.returncode, refused.stderr) == (
        2,
        "shopbench: ordershop_bench.scenarios: there is a scenario 'append' already\n",
    )


def test_what_is_no_scenario_is_refused(tmp_path: Path) -> None:
    """An entry point has to lead to a scenario, and be called like it."""
    site = tmp_path / "site"
    install(site, "nothing", {"haggle": "nothing:scenario"})
    (site / "nothing.py").write_text("scenario = 3\n")
    refused = python(site, "-m", "harness", "list")
    assert (refused.returncode, refused.stderr) == (
        2,
        "shopbench: ordershop_bench.scenarios: 'haggle' is no scenario of that name, but 3\n",
    )
