"""Locust drives a scenario: alone, over several processes, and to an exit code that says what was found."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import pytest

from harness.run import Record
from harness.servers import OwnServer
from ordershop.supervisor import free_port
from tests.locusts import Locust
from tests.waiting import until

pytestmark = pytest.mark.slow

QUIET = ("--headless", "--loglevel", "WARNING", "--only-summary")
APPEND = ("--durability", "everysec", "--rate", "1000", "--send-lag-budget-ms", "5000")
TWO = ("--users", "2", "--spawn-rate", "10")


def figures(record: Record, *names: str) -> list[float | None]:
    return [record.run.figure(f"{record.run.scenario}.{name}") for name in names]


def statuses(record: Record) -> dict[str, str]:
    return {verdict.name: verdict.status for verdict in record.run.verdicts}


def test_headless_with_locusts_own_options(tmp_path: Path) -> None:
    """Users, run time, HTML, CSV and JSON are Locust's; the numbers in ours and in its statistics agree."""
    (tmp_path / "locust.conf").write_text("headless = true\nusers = 2\nspawn-rate = 10\nrate = 1000\n")
    options = ["-t", "2s", "--html", "page.html", "--csv", "table", "--json-file", "stats"]
    options += ["--durability", "everysec", "--send-lag-budget-ms", "5000", "--loglevel", "WARNING"]
    with Locust(tmp_path, "append", "--config", "locust.conf", *options) as locust:
        assert locust.wait() == 0, locust.output
    record = locust.record()
    assert (record.run.status, record.run.parameters["connections"]) == ("complete", 2)
    assert figures(record, "ok", "failed", "unknown", "dropped") == [2000, 0, 0, 0]
    assert record.latency.total("append.response").total == 2000
    [row] = locust.statistics()
    assert (row["method"], row["name"], row["num_requests"], row["num_failures"]) == ("RESP", "append", 2000, 0)
    longest_us = record.latency.total("append.response").max_us
    assert longest_us is not None
    assert row["max_response_time"] == pytest.approx(longest_us / 1000)
    assert sum(row["response_times"].values()) == 2000
    assert (tmp_path / "page.html").exists()
    assert (tmp_path / "table_stats.csv").exists()
    assert (record.directory / "report.html").exists()


def test_two_processes_count_what_each_has_sent(tmp_path: Path) -> None:
    """The stream, the ledger and the record agree: two workers' shares are one load, nothing twice or missing."""
    options = ["--processes", "2", *TWO, "--profile", "smoke", "--json-file", "stats"]
    with Locust(tmp_path, "crm_outage", *QUIET, *options) as locust:
        assert locust.wait() == 0, locust.output
    record = locust.record()
    # 200 a second for 6 seconds, half of them from each worker; each event once through the CRM.
    assert figures(record, "ok", "acknowledged", "applied", "lost", "duplicated") == [1200, 1200, 1200, 0, 0]
    workers = record.run.environment["load"]["workers"]
    assert [worker["arrivals"] for worker in workers] == [600, 600]
    assert record.latency.total("append.response").total == 1200
    assert statuses(record)["crm_outage.workers"] == "PASS"
    [row] = locust.statistics()
    assert row["num_requests"] == 1200
    # On one machine all processes have the same clock, whatever was estimated.
    for worker in workers:
        assert abs(worker["clock_offset_s"]) <= worker["clock_error_s"] + 0.001


def test_a_worker_that_dies_is_a_hole(tmp_path: Path) -> None:
    """What a killed worker had not told is named as missing, and no verdict passes over it."""
    port = ["--master-bind-port", str(free_port())]
    to_master = ["--worker", "--master-port", port[1]]
    options = ["--master", "--expect-workers", "2", *port, *TWO, *APPEND, "-t", "8s"]
    with (
        Locust(tmp_path, "append", "--headless", *options) as master,
        Locust(tmp_path, "append", *to_master) as first,
        Locust(tmp_path, "append", *to_master) as second,
    ):
        # What a worker's statistics say comes from its pump; a master prints it each two seconds.
        until(lambda: re.search(r"RESP +append +[1-9]", master.output), "some load", 30)
        psutil.Process(second.process.pid).kill()
        assert master.wait() == 3, master.output
        assert first.wait() == 0, first.output
    record = master.record()
    [hole] = [w for w in record.run.environment["load"]["workers"] if w["silent_from_s"] is not None]
    assert hole["arrivals"] == 4000
    assert hole["unseen"] > 0
    ok, failed, unknown, dropped = figures(record, "ok", "failed", "unknown", "dropped")
    assert None not in (ok, failed, unknown, dropped)
    assert sum(filter(None, (ok, failed, unknown, dropped))) == 8000
    assert figures(record, "unseen") == [hole["unseen"]]
    assert statuses(record)["append.workers"] == statuses(record)["append.answered"] == "UNKNOWN"


@pytest.mark.parametrize("processes", [(), ("--processes", "2")])
def test_ctrl_c_ends_the_schedule_and_keeps_the_account(tmp_path: Path, processes: tuple[str, ...]) -> None:
    """Ctrl-C in the middle: what was due until then was answered, drained, accounted for and reported."""
    options = ["--before", "60", "--base", "300", "-t", "300s", *processes, *TWO]
    with Locust(tmp_path, "lag", *QUIET, *options) as locust:
        until(lambda: any((tmp_path / "runs").glob("*/outbox.jsonl")), "a mail service", 30)
        until(lambda: next((tmp_path / "runs").glob("*/outbox.jsonl")).stat().st_size > 10_000, "some mails", 30)
        locust.interrupt()
        code = locust.wait()
    record = locust.record()
    attempted, acknowledged, applied, lost = figures(record, "attempted", "acknowledged", "applied", "lost")
    assert attempted is not None, locust.output
    assert 0 < attempted == acknowledged == applied < 300 * 300
    assert lost == 0
    assert statuses(record)["lag.nothing_lost"] == statuses(record)["lag.drained"] == "PASS"
    assert code == 0, locust.output
    assert (record.directory / "report.html").exists()


def test_verdicts_make_the_exit_code(tmp_path: Path) -> None:
    """A run that loses events ends with 1: here one whose CRM subscribes as the seed's does."""
    options = ["--profile", "smoke", "--delivery", "seed"]
    with Locust(tmp_path, "crm_outage", *QUIET, *options) as locust:
        assert locust.wait() == 1, locust.output
    assert statuses(locust.record())["crm_outage.nothing_lost"] == "FAIL"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rate", "-5"], "locust: append: Expected `float` > 0.0 - at `$.rate_per_s`"),
        (["--profile", "fast"], "locust: there is no profile 'fast'; there are smoke, quick, standard, full"),
        (["--seed", "one"], "locust: a seed is a whole number of 0 or more, not 'one'"),
    ],
)
def test_bad_input_is_one_line_and_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    """What cannot be is refused before anything starts, in one line."""
    with Locust(tmp_path, "append", *QUIET, *arguments) as locust:
        assert locust.wait() == 2
    assert locust.output.splitlines() == [says]
    assert not (tmp_path / "runs").exists()


def test_a_choice_that_there_is_not(tmp_path: Path) -> None:
    """Locust's own parser refuses what is no choice, and names the choices."""
    with Locust(tmp_path, "append", *QUIET, "--durability", "sometimes") as locust:
        assert locust.wait() == 2
    assert "invalid choice: 'sometimes'" in locust.output


def test_a_server_that_is_away(tmp_path: Path) -> None:
    """What cannot be carried out says why, in one line, and ends with 2."""
    with Locust(tmp_path, "append", *QUIET, *APPEND, "--server", "redis://127.0.0.1:1") as locust:
        assert locust.wait() == 2
    [line] = [line for line in locust.output.splitlines() if line.startswith("locust: ")]
    assert line.startswith("locust: append: redis://127.0.0.1:1: does not answer")


def test_a_server_of_somebody_else(tmp_path: Path, own_server: OwnServer) -> None:
    """A run on a server at a URL leaves it as it was."""
    options = ["-t", "1s", *APPEND[2:], "--server", own_server.url]
    with Locust(tmp_path, "append", *QUIET, *options) as locust:
        assert locust.wait() == 0, locust.output
    assert figures(locust.record(), "ok") == [1000]
    with own_server.client() as client:
        assert client.dbsize() == 0
